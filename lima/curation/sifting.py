"""The filters of each source over a stream of candidates, and what they leave, in order (LIMA §2)."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from lima.curation import chance, conversations, natural_instructions, reddit, stack_exchange, wikihow
from lima.curation.outcomes import REASONS, Outcome
from lima.params import Filter
from lima.records import Candidate, Dropped, Example, Funnel, Prompt

Convert = Callable[[str], str]  # HTML to Markdown


def sift(
    candidates: Iterable[Candidate], *, reader: str, p: Filter, to_markdown: Convert
) -> Iterator[tuple[Candidate, Outcome]]:
    """Each candidate with what becomes of it, in their order; none is held but a task of Super-Natural Instructions."""
    markdown = partial(_markdown, to_markdown)
    match reader:
        case "stack_exchange":
            decide = partial(stack_exchange.decide, p=p.stack_exchange, seed=p.seed, to_markdown=markdown)
        case "wikihow":
            decide = partial(wikihow.decide, p=p.wikihow, to_markdown=markdown)
        case "reddit":
            decide = partial(reddit.decide, p=p.reddit, to_markdown=markdown)
        case "natural_instructions":
            return natural_instructions.sift(candidates, p=p.natural_instructions)
        case "authored" | "suite" | "lima" | "alpaca":
            decide = partial(conversations.decide, to_markdown=markdown)
        case _:
            raise ValueError(f"no filters for the reader {reader!r}")
    return ((candidate, decide(candidate)) for candidate in candidates)


def unfiltered(candidates: Iterable[Candidate], *, reader: str, p: Filter, to_markdown: Convert) -> Iterator[Example]:
    """The candidates as they come, for arms without quality filters (§5); what has no text to convert is left."""
    markdown = partial(_markdown, to_markdown)
    share = p.stack_exchange.title_share
    for candidate in candidates:
        outcome: Outcome
        if reader == "stack_exchange":
            response = markdown(candidate, candidate.response)
            outcome = stack_exchange.example(candidate, response, share=share, seed=p.seed, to_markdown=markdown)
        else:
            outcome = conversations.decide(candidate, to_markdown=markdown)
        if isinstance(outcome, Example) and all(turn.content.strip() for turn in outcome.messages):
            yield outcome


class Bins:
    """Where candidates go: the dropped ones on, the others here."""

    def __init__(self, *, reader: str, seed: int) -> None:
        self._voted = reader in ("stack_exchange", "reddit")
        self._seed = seed
        self._kept: list[tuple[tuple[str, float, str], Example]] = []
        self._prompts: list[Prompt] = []
        self._dropped: Counter[str] = Counter()

    def fill(self, sifted: Iterable[tuple[Candidate, Outcome]]) -> Iterator[Dropped]:
        for candidate, outcome in sifted:
            match outcome:
                case Example():
                    self._kept.append((self._rank(candidate), outcome))
                case Prompt():
                    self._prompts.append(outcome)
                case Dropped():
                    self._dropped[outcome.reason] += 1
                    yield outcome

    def kept(self) -> list[Example]:
        """By site, and best first within it: by votes where a community gave them, else shuffled."""
        return [example for _, example in sorted(self._kept, key=lambda pair: pair[0])]

    def prompts(self) -> list[Prompt]:
        return sorted(self._prompts, key=lambda prompt: prompt.id)

    def funnel(self, source: str, *, offered: int) -> Funnel:
        reasons = {reason: self._dropped[reason] for reason in REASONS if self._dropped[reason]}
        return Funnel(source=source, offered=offered, kept=len(self._kept), prompts=len(self._prompts), dropped=reasons)

    def _rank(self, candidate: Candidate) -> tuple[str, float, str]:
        merit = -float(candidate.score or 0) if self._voted else chance.share(self._seed, candidate.id)
        return candidate.provenance.site, merit, candidate.id


def _markdown(to_markdown: Convert, candidate: Candidate, text: str) -> str:
    return to_markdown(text) if candidate.markup == "html" else text
