"""The candidates that examples and dropped records were made of, looked up among those that scrape wrote."""

from collections.abc import Callable, Collection, Iterator

from lima import jsonl, storage
from lima.errors import LimaError
from lima.records import Candidate, Example


def candidates(source: str, ids: Collection[str]) -> Iterator[Candidate]:
    """Those of a source with one of these ids; the others are not decoded."""
    return jsonl.pick(storage.result_dir("scrape", source) / "candidates.jsonl", Candidate, ids)


def titles(examples: Collection[Example]) -> dict[str, str]:
    """By example: its prompt need not be the title."""
    found: dict[str, str] = {}
    for source in dict.fromkeys(example.provenance.source for example in examples):
        ids = {example.id for example in examples if example.provenance.source == source}
        found |= {candidate.id: candidate.title for candidate in candidates(source, ids)}
        if missing := ids - found.keys():
            raise LimaError(
                f"scrape has no candidate {min(missing)}, which the filters kept; run scrape@{source} again"
            )
    return found


def texts(source: str, ids: Collection[str], *, to_markdown: Callable[[str], str]) -> dict[str, str]:
    """Title and response of those candidates of a source, as Markdown."""
    found = {}
    for candidate in candidates(source, ids):
        response = to_markdown(candidate.response) if candidate.markup == "html" else candidate.response
        found[candidate.id] = "\n\n".join(part for part in (candidate.title, response.strip()) if part)
    return found
