"""Great Expectations as the gate before training: what examples and prompts have to be like, and which rows are not."""

import html
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.expectations.row_conditions import Column

from lima.records import Example, FailedExpectation, Prompt, first_prompt

# Characters that no reader of a text is meant to see; the last two ranges are Unicode's other private-use planes.
CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd]"
WARNING = "warning"  # severity of an expectation whose failure does not stop training
Key = Callable[[Example | Prompt], str]
COLUMNS = (
    *("id", "source", "site", "licence", "author", "digest"),
    *("prompt", "text", "roles", "prompt_chars", "response_chars", "same_prompt_in", "near_prompt_in"),
)


@dataclass(frozen=True)
class Split:
    """One table of the gate: its rows, and what its place in the graph asks of them."""

    rows: Sequence[Example | Prompt]
    counts: Mapping[str, int]  # SOURCE, or SOURCE/SITE → rows
    answered: bool  # whether each row ends with a response
    apart_from: tuple[str, ...]  # the splits with which it may share no prompt
    near: Mapping[str, str]  # id of a row whose prompt is nearly one of a split for testing → which, and how near


@dataclass(frozen=True)
class Bounds:
    prompt_chars: tuple[int, int]
    response_chars: tuple[int, int]
    eot: str
    control_tokens: tuple[str, ...]  # of the base model


def table(split: Split, others: Mapping[str, Split], key: Key) -> pd.DataFrame:
    """One row an example or prompt, in the columns that the expectations speak of."""
    elsewhere = {key(row): f"{name}: {row.id}" for name in split.apart_from for row in others[name].rows}
    rows = []
    for row in split.rows:
        prompt = key(row)
        response = "".join(turn.content.strip() for turn in row.messages if turn.role == "assistant")
        rows.append(
            (
                row.id,
                row.provenance.source,
                f"{row.provenance.source}/{row.provenance.site}",
                row.provenance.licence.strip() or None,
                row.provenance.author.strip() or None,
                row.provenance.digest,
                prompt,
                "\n".join(turn.content for turn in row.messages),
                "".join(turn.role[0] for turn in row.messages),
                len(first_prompt(row).strip()),
                len(response),
                elsewhere.get(prompt),
                split.near.get(row.id),
            )
        )
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)


def of_the_table(split: Split) -> Iterator[gxe.Expectation]:
    """Schema and counts."""
    total = sum(split.counts.values())
    yield gxe.ExpectTableColumnsToMatchSet(column_set=list(COLUMNS), notes="the columns are those of the schema")
    yield gxe.ExpectTableRowCountToEqual(value=total, notes=f"{total} rows, as params.yaml asks")
    for place, count in split.counts.items():
        condition = Column("site" if "/" in place else "source") == place
        yield gxe.ExpectTableRowCountToEqual(value=count, row_condition=condition, notes=f"{count} rows from {place}")


def of_each_row(split: Split, bounds: Bounds) -> Iterator[gxe.Expectation]:
    """Identity, form, text and attribution."""
    yield gxe.ExpectColumnValuesToBeUnique(column="id", notes="no id comes twice")
    yield gxe.ExpectColumnValuesToBeUnique(column="prompt", notes="no prompt comes twice, case and punctuation aside")
    roles, ends = ("^s?(?:ua)+$", "assistant") if split.answered else ("^s?(?:ua)*u$", "user")
    yield gxe.ExpectColumnValuesToMatchRegex(
        column="roles",
        regex=roles,
        notes=f"turns alternate; the user begins, after a system turn at most, the {ends} ends",
    )
    lengths = {"prompt_chars": bounds.prompt_chars}
    if split.answered:
        lengths["response_chars"] = bounds.response_chars
    for column, (low, high) in lengths.items():
        what = column.removesuffix("_chars")
        yield gxe.ExpectColumnValuesToBeBetween(
            column=column, min_value=low, max_value=high, notes=f"{what}s have {low} to {high} characters"
        )
    yield gxe.ExpectColumnValuesToNotMatchRegex(
        column="text", regex=re.escape(bounds.eot), notes=f"no text holds the end-of-turn token {bounds.eot}"
    )
    if bounds.control_tokens:
        longest_first = sorted(bounds.control_tokens, key=len, reverse=True)
        yield gxe.ExpectColumnValuesToNotMatchRegex(
            column="text",
            regex="|".join(map(re.escape, longest_first)),
            severity=WARNING,
            notes="no text spells a control token of the base model (it is encoded as plain text)",
        )
    yield gxe.ExpectColumnValuesToNotMatchRegex(
        column="text", regex=CONTROL, notes="no text holds control, private-use or replacement characters"
    )
    yield gxe.ExpectColumnValuesToNotBeNull(column="licence", notes="every row names its licence")
    yield gxe.ExpectColumnValuesToNotBeNull(column="author", notes="every row names its author")
    yield gxe.ExpectColumnValuesToMatchRegex(
        column="digest", regex="^[0-9a-f]{64}$", notes="every row carries the SHA-256 of its raw record"
    )
    if split.apart_from:
        yield gxe.ExpectColumnValuesToBeNull(
            column="same_prompt_in", notes=f"no prompt is also in {' or '.join(split.apart_from)}"
        )
        yield gxe.ExpectColumnValuesToBeNull(
            column="near_prompt_in", notes="no prompt is nearly one of those that test the model"
        )


class Checked(NamedTuple):
    expectations: int
    failures: list[FailedExpectation]  # each stops training
    warnings: list[FailedExpectation]


def check(splits: Mapping[str, Split], bounds: Bounds, docs: Path, *, key: Key) -> Checked:
    """Check every split against its expectations, and write Data Docs (HTML) below `docs`.

    `key` maps a row to what it asks; rows with equal keys have the same prompt.
    """
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.resolve())}
    context.delete_data_docs_site(site_name="local_site")
    context.add_data_docs_site(
        site_name="gate",
        site_config={"class_name": "SiteBuilder", "store_backend": store},
    )
    asked, failures, warnings = 0, list[FailedExpectation](), list[FailedExpectation]()
    for name, split in splits.items():
        expected = [*of_the_table(split), *of_each_row(split, bounds)]
        results = _run(context, name, table(split, splits, key), expected)
        asked += len(expected)
        failures += _failures(name, [result for result in results if not _warns(result)])
        warnings += _failures(name, [result for result in results if _warns(result)])
    context.build_data_docs(site_names=["gate"])
    link_pages(docs)
    return Checked(asked, failures, warnings)


def link_pages(docs: Path) -> None:
    """Name every page in the index: its own tables are drawn by scripts from the network, and empty without it."""
    index = docs / "index.html"
    pages = sorted(page.relative_to(docs).as_posix() for page in docs.rglob("*.html") if page != index)
    links = "".join(f'<li><a href="{html.escape(page)}">{html.escape(page)}</a></li>' for page in pages)
    before, body, after = index.read_text(encoding="utf-8").partition("<body>")
    said = "<p>Style, tables and icons of these pages come from the network. Without it, each page is here:</p>"
    index.write_text(f"{before}{body}<section>{said}<ul>{links}</ul></section>{after}", encoding="utf-8")


def _run(
    context: gx.data_context.EphemeralDataContext, name: str, rows: pd.DataFrame, expected: list[gxe.Expectation]
) -> list[gx.core.ExpectationValidationResult]:
    asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
    suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expected))
    definition = gx.ValidationDefinition(name=name, data=asset.add_batch_definition_whole_dataframe(name), suite=suite)
    checkpoint = gx.Checkpoint(
        name=name,
        validation_definitions=[context.validation_definitions.add(definition)],
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["id"]},
    )
    outcome = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": rows})
    return [result for validation in outcome.run_results.values() for result in validation.results]


def _warns(result: gx.core.ExpectationValidationResult) -> bool:
    """Whether its failure is only a warning; an expectation that raised an exception is a failure."""
    return result.expectation_config.severity == WARNING and not list(_raised(result.exception_info))


def _failures(split: str, results: Iterable[gx.core.ExpectationValidationResult]) -> Iterator[FailedExpectation]:
    for result in results:
        if result.success:
            continue
        raised = [info["exception_message"] for info in _raised(result.exception_info)]
        ids = tuple(dict.fromkeys(str(row["id"]) for row in result.result.get("unexpected_index_list") or ()))
        observed = "; ".join(raised) or str(result.result.get("observed_value", f"{len(ids)} rows"))
        yield FailedExpectation(split=split, says=str(result.expectation_config.notes), observed=observed, ids=ids)


def _raised(info: Mapping[str, object]) -> list[Mapping[str, str]]:
    """Great Expectations puts one exception, or one a metric, into the same field."""
    each = [info, *info.values()]
    return [entry for entry in each if isinstance(entry, Mapping) and entry.get("raised_exception")]
