"""Look up the candidates of examples and dropped records in the output of the stage `scrape`."""

from collections.abc import Callable, Collection, Iterator

from lima import jsonl, storage
from lima.errors import LimaError
from lima.records import Candidate, Example


def candidates(source: str, ids: Collection[str]) -> Iterator[Candidate]:
    """The candidates of a source with the given ids; other lines are not decoded."""
    return jsonl.pick(storage.result_dir("scrape", source) / "candidates.jsonl", Candidate, ids)


def titles(examples: Collection[Example]) -> dict[str, str]:
    """Title of each example's candidate, by id; the prompt may differ from it. Raises LimaError for unknown ids."""
    titles_by_id: dict[str, str] = {}
    for source in dict.fromkeys(example.provenance.source for example in examples):
        ids = {example.id for example in examples if example.provenance.source == source}
        titles_by_id |= {candidate.id: candidate.title for candidate in candidates(source, ids)}
        if missing := ids - titles_by_id.keys():
            raise LimaError(
                f"candidate of a kept example not found in scrape: {min(missing)}; run scrape@{source} again"
            )
    return titles_by_id


def texts(source: str, ids: Collection[str], *, to_markdown: Callable[[str], str]) -> dict[str, str]:
    """Title and response of the candidates of a source with the given ids, as Markdown, by id."""
    texts_by_id = {}
    for candidate in candidates(source, ids):
        response = to_markdown(candidate.response) if candidate.markup == "html" else candidate.response
        texts_by_id[candidate.id] = "\n\n".join(part for part in (candidate.title, response.strip()) if part)
    return texts_by_id
