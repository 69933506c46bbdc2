"""The filter rules of each source (LIMA §2): `rules.py` in its folder, or `decide` of a reader of another package."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Protocol, cast

from lima import reader_names
from lima.config.sections import Filter, PluginFilter
from lima.curation import conversations
from lima.curation.conversations import HAND_WRITTEN
from lima.curation.decisions import REASONS, Convert, Outcome, Outcomes
from lima.curation.filters import common_rejection, with_common_rules
from lima.reader_names import ReaderError
from lima.records import Candidate, Dropped, Example
from lima.text import pii

ConvertHtml = Callable[[str], str]  # HTML to Markdown


class Rules(Protocol):
    """The module `rules` of a source."""

    def outcomes(
        self, candidates: Iterable[Candidate], *, settings: Filter, to_markdown: Convert, to_marked: Convert
    ) -> Outcomes:
        """Each candidate with its outcome, lazily and in order."""

    def unfiltered(
        self, candidate: Candidate, *, settings: Filter, to_markdown: Convert, to_marked: Convert
    ) -> Outcome:
        """The example of a candidate without quality filters."""


class DecideFunction(Protocol):
    """`decide` of a reader; `thresholds` is its section filter.READER of params.yaml without `prefilter`."""

    def __call__(self, candidate: Candidate, *, thresholds: Mapping[str, object], to_markdown: Convert) -> Outcome: ...


def apply(
    candidates: Iterable[Candidate],
    *,
    reader: str,
    settings: Filter,
    to_markdown: ConvertHtml,
    to_marked: ConvertHtml,
) -> Outcomes:
    """Each candidate with its outcome, lazily and in order; only a task of Super-Natural Instructions is buffered.

    Args:
        candidates: Candidates of one source.
        reader: The source's reader, which selects its rules.
        settings: The section `filter` of params.yaml.
        to_markdown: Converts HTML to Markdown without links and images.
        to_marked: As `to_markdown`, with `lima.text.removal_marks` where links and images were. Only rules read it.

    Raises:
        ReaderError: The reader is unknown, or its thresholds have no filter.
    """
    outcomes = rules(reader).outcomes(
        candidates,
        settings=settings,
        to_markdown=partial(_markdown, to_markdown),
        to_marked=partial(_markdown, to_marked),
    )
    return with_common_rules(outcomes, reader=reader, settings=settings)


def unfiltered(
    candidates: Iterable[Candidate],
    *,
    reader: str,
    settings: Filter,
    to_markdown: ConvertHtml,
    to_marked: ConvertHtml,
) -> Iterator[Example]:
    """Examples without quality filters, for ablation arms (§5).

    Examples with an empty turn, in another language or with a secret are skipped. Personal data are masked as in
    `FilterResults`.
    """
    plain = partial(
        rules(reader).unfiltered,
        settings=settings,
        to_markdown=partial(_markdown, to_markdown),
        to_marked=partial(_markdown, to_marked),
    )
    for candidate in candidates:
        outcome = plain(candidate)
        if not isinstance(outcome, Example) or not all(turn.content.strip() for turn in outcome.messages):
            continue
        if not common_rejection(outcome, candidate, reader=reader, settings=settings):
            yield outcome if reader in HAND_WRITTEN else pii.mask_record(outcome)[0]


def rules(reader: str) -> Rules:
    """Import the rules of a built-in reader, or return those of a reader of another package."""
    if reader in reader_names.BUILT_IN:
        return cast(Rules, import_module(f"lima.sources.{reader}.rules"))
    return PluginRules(reader)


def whole_sites(reader: str) -> bool:
    """Whether the candidates of a site must be offered to the rules together: WHOLE_SITES of the rules."""
    return getattr(rules(reader), "WHOLE_SITES", False)


class PluginRules:
    """The rules of a reader of another package: its own `decide`, else conversations are used unchanged."""

    def __init__(self, reader: str) -> None:
        self._reader = reader

    def outcomes(
        self, candidates: Iterable[Candidate], *, settings: Filter, to_markdown: Convert, to_marked: Convert
    ) -> Outcomes:
        """Each candidate with its outcome.

        Raises:
            ReaderError: params.yaml has thresholds for a reader without `decide`, or `decide` returns a reason that is
                not in REASONS.
        """
        decide = _plugin_rule(self._reader, settings, to_markdown=to_markdown)
        return ((candidate, decide(candidate)) for candidate in candidates)

    def unfiltered(
        self, candidate: Candidate, *, settings: Filter, to_markdown: Convert, to_marked: Convert
    ) -> Outcome:
        return conversations.decide(candidate, to_markdown=to_markdown)


def _markdown(to_markdown: ConvertHtml, candidate: Candidate, text: str) -> str:
    return to_markdown(text) if candidate.markup == "html" else text


def _plugin_rule(reader: str, settings: Filter, *, to_markdown: Convert) -> Callable[[Candidate], Outcome]:
    """Return the filter of a reader.

    Raises:
        ReaderError: params.yaml has thresholds for a reader without `decide`. The returned filter raises it if `decide`
            gives a reason that is not in REASONS.
    """
    section = settings.of_reader(reader)
    thresholds = section.thresholds() if isinstance(section, PluginFilter) else {}
    decide: DecideFunction | None = getattr(reader_names.plugin(reader), "decide", None)
    if decide is None:
        if thresholds:
            raise ReaderError(
                f"params.yaml has thresholds for the reader {reader!r}, which has no filter: {', '.join(thresholds)}; "
                f"remove them from filter.{reader} and from its sources"
            )
        return partial(conversations.decide, to_markdown=to_markdown)

    def checked(candidate: Candidate) -> Outcome:
        outcome = decide(candidate, thresholds=thresholds, to_markdown=to_markdown)
        if isinstance(outcome, Dropped) and outcome.reason not in REASONS:
            raise ReaderError(
                f"the reader {reader!r} drops {candidate.id} for the unknown reason {outcome.reason!r}; "
                "use a reason of lima.curation.decisions.REASONS"
            )
        return outcome

    return checked
