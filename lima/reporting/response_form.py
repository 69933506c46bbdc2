"""Form of responses, measured without any annotator: complete, repetitive, without content (not in the paper)."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from lima.evaluation.baselines import repeated
from lima.evaluation.gibberish import gibberish
from lima.evaluation.statistics.estimates import Estimate
from lima.evaluation.statistics.proportions import clustered_share
from lima.records import Response


@dataclass(frozen=True)
class ResponseForm:
    """Form of one contestant's responses to the test prompts."""

    responses: int
    complete: Estimate  # share that ended with an end token and was not truncated
    without_content: Estimate  # share that is empty, repetition or not language
    repetition: float  # mean share of repeated word 4-grams
    characters: float  # median length


def measure(responses: Sequence[Response], *, confidence: float) -> ResponseForm:
    """Measure the form of one contestant's responses; there must be at least one."""
    ended: dict[str, list[float]] = {}
    empty: dict[str, list[float]] = {}
    for response in responses:
        ended.setdefault(response.prompt_id, []).append(float(response.finish == "stop"))
        empty.setdefault(response.prompt_id, []).append(float(gibberish(response.text) is not None))
    return ResponseForm(
        responses=len(responses),
        complete=clustered_share(ended, confidence=confidence),
        without_content=clustered_share(empty, confidence=confidence),
        repetition=mean(repeated(response.text) for response in responses),
        characters=median(len(response.text) for response in responses),
    )
