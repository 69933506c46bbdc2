"""Data validation with Great Expectations, run before training; the only module that imports it."""

import html
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.expectations.row_conditions import Column

from lima import validation_docs
from lima.display import visible
from lima.records import Example, FailedExpectation, Prompt, first_prompt
from lima.validation_docs import CheckedSplit, Expected

# Control, replacement and private-use characters; the last two ranges are Unicode's private-use planes.
CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd]"
WARNING = "warning"  # severity of an expectation whose failure does not stop training
Key = Callable[[Example | Prompt], str]
COLUMNS = (
    *("id", "source", "site", "license", "author", "digest"),
    *("prompt", "text", "roles", "prompt_chars", "response_chars", "same_prompt_in", "near_prompt_in", "too_long"),
)


@dataclass(frozen=True)
class Split:
    """A table to validate: its rows, and the requirements of its split."""

    rows: Sequence[Example | Prompt]
    counts: Mapping[str, int]  # SOURCE, or SOURCE/SITE → rows
    answered: bool  # whether each row must end with a response
    apart_from: tuple[str, ...]  # names of splits with which it may not share a prompt
    near: Mapping[str, str]  # id of a row → near-duplicate in a test split, and the similarity
    scripted: bool = False  # whether each row is a scripted dialogue
    too_long: Mapping[str, str] = field(default_factory=dict)  # id of a prompt that fills the context → its length


@dataclass(frozen=True)
class Bounds:
    """Length limits in characters (inclusive), and tokens that no text may contain."""

    prompt_chars: tuple[int, int]
    response_chars: tuple[int, int]
    eot: str
    control_tokens: tuple[str, ...]  # of the base model


def table(split: Split, others: Mapping[str, Split], key: Key) -> pd.DataFrame:
    """Build a data frame with one row per example or prompt; texts are HTML."""
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
                row.provenance.license.strip() or None,
                row.provenance.author.strip() or None,
                row.provenance.digest,
                prompt,
                "\n".join(turn.content for turn in row.messages),
                "".join(turn.role[0] for turn in row.messages),
                len(first_prompt(row).strip()),
                len(response),
                elsewhere.get(prompt),
                split.near.get(row.id),
                split.too_long.get(row.id),
            )
        )
    escaped = [[_escaped(value) if isinstance(value, str) else value for value in row] for row in rows]
    return pd.DataFrame(escaped, columns=list(COLUMNS), dtype=object)


def _escaped(text: str) -> str:
    """The text as HTML. Great Expectations writes values into the Data Docs without escaping them."""
    return html.escape(text, quote=False)


def table_expectations(split: Split) -> Iterator[gxe.Expectation]:
    """Expectations on schema and counts."""
    total = sum(split.counts.values())
    yield gxe.ExpectTableColumnsToMatchSet(column_set=list(COLUMNS), notes="the columns match the schema")
    yield gxe.ExpectTableRowCountToEqual(value=total, notes=f"{total} rows, as set in params.yaml")
    for place, count in split.counts.items():
        condition = Column("site" if "/" in place else "source") == place
        yield gxe.ExpectTableRowCountToEqual(value=count, row_condition=condition, notes=f"{count} rows from {place}")


def row_expectations(split: Split, bounds: Bounds) -> Iterator[gxe.Expectation]:
    """Expectations on ids, turns, lengths, text and attribution."""
    yield gxe.ExpectColumnValuesToBeUnique(column="id", notes="ids are unique")
    yield gxe.ExpectColumnValuesToBeUnique(column="prompt", notes="prompts are unique, ignoring case and punctuation")
    roles, ends = ("^s?(?:ua)+$", "assistant") if split.answered else ("^s?(?:ua)*u$", "user")
    order = f"turns alternate, begin with the user (after at most one system turn) and end with the {ends}"
    if split.scripted:
        roles, order = "^s?u+$", "all turns are the user's (after at most one system turn)"
    yield gxe.ExpectColumnValuesToMatchRegex(column="roles", regex=roles, notes=order)
    lengths = {"prompt_chars": bounds.prompt_chars}
    if split.answered:
        lengths["response_chars"] = bounds.response_chars
    for column, (low, high) in lengths.items():
        what = column.removesuffix("_chars")
        yield gxe.ExpectColumnValuesToBeBetween(
            column=column, min_value=low, max_value=high, notes=f"{what}s have {low} to {high} characters"
        )
    yield gxe.ExpectColumnValuesToNotMatchRegex(
        column="text",
        regex=re.escape(_escaped(bounds.eot)),
        notes=f"no text contains the end-of-turn token {bounds.eot}",
    )
    if bounds.control_tokens:
        longest_first = sorted(bounds.control_tokens, key=len, reverse=True)
        yield gxe.ExpectColumnValuesToNotMatchRegex(
            column="text",
            regex="|".join(re.escape(_escaped(token)) for token in longest_first),
            severity=WARNING,
            notes="no text contains a control token of the base model (it is encoded as plain text)",
        )
    if not split.answered:
        yield gxe.ExpectColumnValuesToBeNull(
            column="too_long",
            severity=WARNING,
            notes="prompts are shorter than the context of the base model (it cannot answer the others)",
        )
    yield gxe.ExpectColumnValuesToNotMatchRegex(
        column="text", regex=CONTROL, notes="no text contains control, private-use or replacement characters"
    )
    yield gxe.ExpectColumnValuesToNotBeNull(column="license", notes="every row has a license")
    yield gxe.ExpectColumnValuesToNotBeNull(column="author", notes="every row has an author")
    yield gxe.ExpectColumnValuesToMatchRegex(
        column="digest", regex="^[0-9a-f]{64}$", notes="every row has the SHA-256 of its raw record"
    )
    if split.apart_from:
        yield gxe.ExpectColumnValuesToBeNull(
            column="same_prompt_in", notes=f"no prompt is also in {' or '.join(split.apart_from)}"
        )
        yield gxe.ExpectColumnValuesToBeNull(
            column="near_prompt_in", notes="no prompt is a near-duplicate of a dev or test prompt"
        )


class Checked(NamedTuple):
    expectations: int
    failures: list[FailedExpectation]  # each stops training
    warnings: list[FailedExpectation]


def check(splits: Mapping[str, Split], bounds: Bounds, docs: Path, *, key: Key) -> Checked:
    """Validate every split and write Data Docs (HTML).

    Args:
        splits: by name.
        bounds: limits that hold for all splits.
        docs: folder of the Data Docs.
        key: maps a row to its normalised prompt; rows with equal keys have the same prompt.
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
    checked: list[CheckedSplit] = []
    count, failures, warnings = 0, list[FailedExpectation](), list[FailedExpectation]()
    for name, split in splits.items():
        expected = [*table_expectations(split), *row_expectations(split, bounds)]
        results = _run(context, name, table(split, splits, key), expected)
        count += len(expected)
        checked.append(CheckedSplit(name, len(split.rows), [_expected(result) for result in results]))
        failures += _failures(name, [result for result in results if not _warns(result)])
        warnings += _failures(name, [result for result in results if _warns(result)])
    context.build_data_docs(site_names=["gate"])
    validation_docs.finish(docs, checked)
    for page in docs.rglob("*.html"):
        page.write_text(visible(page.read_text(encoding="utf-8")), encoding="utf-8")
    return Checked(count, failures, warnings)


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
    """Whether a failure is only a warning. An expectation that raised an exception is never one."""
    return result.expectation_config.severity == WARNING and not list(_raised(result.exception_info))


def _failures(split: str, results: Iterable[gx.core.ExpectationValidationResult]) -> Iterator[FailedExpectation]:
    for result in results:
        if not result.success:
            each = _expected(result)
            yield FailedExpectation(split=split, says=each.text, observed=each.observed, ids=each.ids)


def _expected(result: gx.core.ExpectationValidationResult) -> Expected:
    """The result of an expectation in its own words."""
    text = str(result.expectation_config.notes)
    if result.success:
        return Expected(text, "met", _shown(result.result.get("observed_value", "")), ())
    raised = [info["exception_message"] for info in _raised(result.exception_info)]
    ids = tuple(
        dict.fromkeys(html.unescape(str(row["id"])) for row in result.result.get("unexpected_index_list") or ())
    )
    observed = "; ".join(raised) or _shown(result.result.get("observed_value", f"{len(ids)} rows"))
    return Expected(text, "warning" if _warns(result) else "failed", observed, ids)


def _shown(observed: object) -> str:
    return ", ".join(map(str, observed)) if isinstance(observed, list) else str(observed)


def _raised(info: Mapping[str, object]) -> list[Mapping[str, str]]:
    """Exceptions of an expectation: the field holds one exception, or one per metric."""
    each = [info, *info.values()]
    return [entry for entry in each if isinstance(entry, Mapping) and entry.get("raised_exception")]
