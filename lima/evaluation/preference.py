"""How often one contestant is preferred to another, and how sure that is (LIMA §4)."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import get_args

import numpy as np

from lima.evaluation.intervals import Interval, NothingToMeasure, Numbers, bootstrap, two_sided_z
from lima.records import Verdict

OUTCOMES: tuple[str, ...] = get_args(Verdict.model_fields["outcome"].annotation)
POINTS = {"win": 1, "lose": -1}  # any other outcome speaks for neither: 0
USABLE = ("win", "tie", "lose")  # outcomes that are a verdict


@dataclass(frozen=True)
class Preference:
    """What one annotator's verdicts on one comparison come to; shares are of all verdicts and add up to 1.

    Without a usable verdict there is no estimate: net, interval, p_value and smallest are None, not 0.
    """

    n: int  # verdicts
    usable: int  # of these, verdicts that are a win, a tie or a loss
    prompts: int
    shares: dict[str, float]  # a share for each of OUTCOMES
    net: float | None  # win − lose
    interval: Interval | None  # of net
    p_value: float | None  # of "neither is preferred"
    smallest: float | None  # net that would most likely have been seen; None where nothing was decided


def measure(
    verdicts: Sequence[Verdict], *, confidence: float, resamples: int, power: float, rng: np.random.Generator
) -> Preference:
    if not verdicts:
        raise NothingToMeasure("a preference without a verdict; run `dvc repro judge`")
    outcomes = Counter[str](verdict.outcome for verdict in verdicts)
    usable = sum(outcomes[outcome] for outcome in USABLE)
    shares = {outcome: outcomes[outcome] / len(verdicts) for outcome in OUTCOMES}
    if not usable:
        prompts = len({verdict.prompt_id for verdict in verdicts})
        return Preference(len(verdicts), 0, prompts, shares, net=None, interval=None, p_value=None, smallest=None)
    by_prompt: defaultdict[str, list[int]] = defaultdict(list)
    for verdict in verdicts:
        by_prompt[verdict.prompt_id].append(POINTS.get(verdict.outcome, 0))
    points = [by_prompt[prompt] for prompt in sorted(by_prompt)]  # the generator meets prompts in one order
    sums, sizes = np.array([sum(p) for p in points], float), np.array([len(p) for p in points], float)
    return Preference(
        n=len(verdicts),
        usable=usable,
        prompts=len(points),
        shares=shares,
        net=(outcomes["win"] - outcomes["lose"]) / len(verdicts),
        interval=bootstrap(sums, sizes, confidence=confidence, resamples=resamples, rng=rng),
        p_value=sign_flip(sums, flips=resamples, rng=rng),
        smallest=minimum_detectable_difference(sums / sizes, confidence=confidence, power=power),
    )


def sign_flip(sums: Numbers, *, flips: int, rng: np.random.Generator) -> float:
    """Two-sided p-value of the paired randomisation test over prompts: (1 + #{|T*| ≥ |T|}) / (1 + flips).

    If neither contestant is preferred, each prompt's sum of points could as well have had the other sign; T is their
    total. With one sample a prompt this is the sign test. Sums are whole numbers, so ties with T are exact.
    """
    decided = sums[sums != 0]
    signs = 2.0 * rng.integers(2, size=(flips, len(decided))) - 1  # (flips, decided prompts)
    as_extreme = np.count_nonzero(np.abs(signs @ decided) >= abs(decided.sum()))
    return float((1 + as_extreme) / (1 + flips))


def minimum_detectable_difference(nets: Numbers, *, confidence: float, power: float) -> float | None:
    """Minimum detectable net: δ = (z₁₋α/₂ + z_power) · s / √n over n prompts, α = 1 − confidence.

    s² = Σ net² / n is the spread of the prompts' nets when the true net is 0. A design with n such prompts finds a net
    of δ with probability `power`; more than 1 means that not even unanimity would have been enough by this reckoning.
    """
    spread = sqrt(float(np.mean(nets**2)))
    if not spread:
        return None
    return (two_sided_z(confidence) + NormalDist().inv_cdf(power)) * spread / sqrt(len(nets))
