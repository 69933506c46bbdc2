"""Pairwise preferences: shares of win, tie and loss, net preference with its interval, p-value and power (LIMA §4)."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lima.evaluation.pairwise import OUTCOMES, Outcome, outcome
from lima.evaluation.statistics.estimates import ByPrompt, Interval, NothingToMeasure, Numbers, totals, two_sided_z
from lima.evaluation.statistics.power import minimum_detectable_difference
from lima.evaluation.statistics.proportions import clustered_score_bounds, require_values
from lima.evaluation.statistics.significance import exact_sign_flip, sign_flip
from lima.records import Judgment

POINTS = {"win": 1, "lose": -1}  # every other outcome: 0
USABLE: tuple[Outcome, ...] = ("win", "tie", "lose")  # outcomes with a value


@dataclass(frozen=True)
class NetPreference:
    """Shares of win, tie and loss, which add up to 1, and the difference of the first and the last."""

    count: int  # verdicts
    prompts: int
    win: float
    tie: float
    lose: float
    net: float  # win − lose, −1 to 1
    interval: Interval  # of net
    effective: float  # effective sample size: count / design effect
    p_value: float  # null hypothesis: neither is preferred
    smallest: float | None  # minimum detectable net; None if all verdicts are ties


@dataclass(frozen=True)
class Preference:
    """Preference of one annotator in one comparison. Shares are of all verdicts and add up to 1.

    If no verdict is usable, nothing is estimated: net, interval, p_value and smallest are None, not 0.
    """

    n: int  # verdicts
    usable: int  # verdicts that are a win, a tie or a loss
    prompts: int
    shares: Mapping[Outcome, float]  # a share for each of OUTCOMES
    net: float | None  # win − lose
    interval: Interval | None  # of net
    p_value: float | None  # null hypothesis: neither is preferred
    smallest: float | None  # minimum detectable net; None if every verdict is a tie or unusable


def net_preference(values: ByPrompt, *, confidence: float, power: float) -> NetPreference:
    """Estimate win − lose; prompts are the independent units, samples of one prompt are not.

    The estimate is Σ values / N over all N verdicts. The interval is Tango's score interval at the effective sample
    size (`proportions.clustered_score_bounds`). The p-value is that of the exact randomisation test over prompts. The
    interval and the test are not inversions of each other: near the limit one can exclude 0 and the other not.

    Args:
        values: prompt → 1 (win), 0 (tie) or −1 (loss) of each sample.
        confidence: of the interval, 0 to 1.
        power: of the minimum detectable net, 0 to 1.

    Raises:
        NothingToMeasure: no verdicts.
        InvalidObservations: a value is not 1, 0 or −1.
    """
    require_values(values, {-1.0, 0.0, 1.0})
    sums, sizes = totals(values)
    prompts = [prompt for prompt in sorted(values) if len(values[prompt])]
    wins = np.array([sum(value > 0 for value in values[prompt]) for prompt in prompts], float)
    losses = wins - sums
    count, won, lost = sizes.sum(), wins.sum(), losses.sum()
    interval, effective = net_interval(wins, losses, sizes, confidence=confidence)
    return NetPreference(
        count=int(count),
        prompts=len(prompts),
        win=float(won / count),
        tie=float((count - won - lost) / count),
        lose=float(lost / count),
        net=float((won - lost) / count),
        interval=interval,
        effective=effective,
        p_value=exact_sign_flip(sums),
        smallest=minimum_detectable_difference(sums / sizes, confidence=confidence, power=power),
    )


def net_interval(wins: Numbers, losses: Numbers, sizes: Numbers, *, confidence: float) -> tuple[Interval, float]:
    """Interval of win − lose and the effective sample size.

    Args:
        wins: number of wins of each prompt, shape (prompts,).
        losses: number of losses of each prompt, shape (prompts,).
        sizes: number of observations of each prompt, shape (prompts,).
    """
    low, high, effective = clustered_score_bounds(wins, losses, sizes, z=two_sided_z(confidence))
    return Interval(float(low), float(high)), float(effective)


def measure_preference(
    judgments: Sequence[Judgment], *, confidence: float, resamples: int, power: float, rng: np.random.Generator
) -> Preference:
    """Estimate a preference; prompts are the independent units, samples of one prompt are not.

    Args:
        confidence: of the interval, 0 to 1.
        resamples: of the randomisation test.
        power: of the minimum detectable difference, 0 to 1.

    Raises:
        NothingToMeasure: no verdicts.
    """
    if not judgments:
        raise NothingToMeasure("no judgments to measure a preference; run `dvc repro judge`")
    outcomes = Counter[str](outcome(judgment) for judgment in judgments)
    usable = sum(outcomes[name] for name in USABLE)
    shares: dict[Outcome, float] = {name: outcomes[name] / len(judgments) for name in OUTCOMES}
    if not usable:
        prompts = len({judgment.prompt_id for judgment in judgments})
        return Preference(len(judgments), 0, prompts, shares, net=None, interval=None, p_value=None, smallest=None)
    by_prompt: defaultdict[str, list[int]] = defaultdict(list)
    for judgment in judgments:
        by_prompt[judgment.prompt_id].append(POINTS.get(outcome(judgment), 0))
    points = [by_prompt[prompt] for prompt in sorted(by_prompt)]  # the order of judgments does not matter
    sums = np.array([sum(values) for values in points], float)  # (prompts,)
    sizes = np.array([len(values) for values in points], float)  # (prompts,)
    wins = np.array([values.count(1) for values in points], float)  # (prompts,)
    interval, _ = net_interval(wins, wins - sums, sizes, confidence=confidence)
    return Preference(
        n=len(judgments),
        usable=usable,
        prompts=len(points),
        shares=shares,
        net=(outcomes["win"] - outcomes["lose"]) / len(judgments),
        interval=interval,
        p_value=sign_flip(sums, flips=resamples, rng=rng),
        smallest=minimum_detectable_difference(sums / sizes, confidence=confidence, power=power),
    )
