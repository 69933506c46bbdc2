"""Rules for readers of other packages: the reader's own `decide`, else dialogues are kept unchanged."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from lima import readers
from lima.config.sections import Filter, PluginFilter
from lima.curation import conversations
from lima.curation.decisions import REASONS, Outcome
from lima.readers import ReaderError
from lima.records import Candidate, Dropped

ToMarkdown = Callable[[Candidate, str], str]


class DecideFunction(Protocol):
    """`decide` of a reader; `thresholds` is its section filter.READER of params.yaml without `prefilter`."""

    def __call__(self, candidate: Candidate, *, thresholds: Mapping[str, Any], to_markdown: ToMarkdown) -> Outcome: ...


def rule(reader: str, settings: Filter, *, to_markdown: ToMarkdown) -> Callable[[Candidate], Outcome]:
    """Return the filter of a reader.

    Raises:
        ReaderError: params.yaml has thresholds for a reader without `decide`. The returned filter raises it if `decide`
            gives a reason that is not in REASONS.
    """
    section = settings.of_reader(reader)
    thresholds = section.thresholds() if isinstance(section, PluginFilter) else {}
    decide: DecideFunction | None = getattr(readers.plugin(reader), "decide", None)
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
