"""Ranking of contestants: Bradley–Terry strengths from all pairwise verdicts, with intervals."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import evalica
import numpy as np
import scipy.sparse.csgraph

from lima.evaluation.statistics.clusters import resampled_totals
from lima.evaluation.statistics.estimates import Interval, InvalidObservations, NotEstimable, NothingToMeasure, Numbers

ITERATIONS = 100  # of Newton's method; it usually takes 5 to 8
TOLERANCE = 1e-12
ELO = 400 / np.log(10)  # points of one unit of log strength


@dataclass(frozen=True)
class Strength:
    """Strength of one contestant on a log scale with mean 0 over the contestants.

    P(i beats j) = 1 / (1 + exp(−(strengthᵢ − strengthⱼ))), a tie counting as half a win.
    """

    contestant: str
    strength: float
    interval: Interval
    elo: float  # strength · 400 / ln 10
    rank: int  # 1 is the strongest
    ranks: Interval  # from the same resamples


def bradley_terry(
    first: Sequence[str],
    second: Sequence[str],
    points: Sequence[float],
    prompts: Sequence[Hashable],
    *,
    prior: float,
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> list[Strength]:
    """Maximum likelihood strengths of the Bradley–Terry model (Bradley & Terry 1952), strongest first.

    Strengths are computed by evalica (Newman 2023). A tie is half a win for both sides. Intervals are percentiles of a
    bootstrap over prompts: all verdicts of a prompt are drawn together. They are of each strength relative to the mean
    of the contestants; for the order of two contestants use their direct comparison.

    Args:
        first: contestant of each verdict.
        second: rival of each verdict.
        points: 1 (first wins), 0.5 (tie) or 0 (second wins).
        prompts: prompt of each verdict.
        prior: number of virtual ties added to each pair with a verdict. 0 is maximum likelihood; then a contestant that
            wins or loses everything has no finite strength. 1 keeps the strengths finite and pulls them towards 0.
        resamples: of the bootstrap.

    Raises:
        NotEstimable: contestants without a chain of verdicts between them, or without a finite strength.
    """
    _validate(first, second, points, prompts)
    names = sorted({*first, *second})
    won = _wins_by_prompt(first, second, points, prompts, names)
    total = won.sum(0)
    virtual = prior / 2 * ((total + total.T) > 0)
    require_connected(total + virtual, names)
    strengths = _evalica(total + virtual, names)
    drawn = newton(resampled_totals(won, resamples=resamples, rng=rng) + virtual)
    drawn = drawn[np.isfinite(drawn).all(1)]
    if 2 * len(drawn) < resamples:
        raise NotEstimable("strengths not finite in most resamples; pass prior=1 or add prompts")
    return _ranked(names, strengths, drawn, confidence=confidence)


def _validate(
    first: Sequence[str], second: Sequence[str], points: Sequence[float], prompts: Sequence[Hashable]
) -> None:
    if not len(first) == len(second) == len(points) == len(prompts):
        raise InvalidObservations("first, second, points and prompts of unequal length")
    if not len(first):
        raise NothingToMeasure("no verdicts to rank contestants")
    if not np.isin(points, (0, 0.5, 1)).all() or any(a == b for a, b in zip(first, second, strict=True)):
        raise InvalidObservations("points other than 0, 0.5, 1, or a contestant compared with itself")


def _wins_by_prompt(
    first: Sequence[str],
    second: Sequence[str],
    points: Sequence[float],
    prompts: Sequence[Hashable],
    names: Sequence[str],
) -> Numbers:
    """Wins of contestant i over j on each prompt, a tie counting half: (prompts, contestants, contestants)."""
    numbers = {name: number for number, name in enumerate(names)}
    groups = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts))}
    won = np.zeros((len(groups), len(names), len(names)))
    for a, b, point, prompt in zip(first, second, points, prompts, strict=True):
        won[groups[prompt], numbers[a], numbers[b]] += point
        won[groups[prompt], numbers[b], numbers[a]] += 1 - point
    return won


def _ranked(names: Sequence[str], strengths: Numbers, drawn: Numbers, *, confidence: float) -> list[Strength]:
    """Strengths and ranks with percentile intervals, strongest first.

    Args:
        strengths: (contestants,).
        drawn: of the resamples, (resamples, contestants).
    """
    levels = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(drawn, levels, axis=0)
    ranks = 1 + np.sum(drawn[:, None, :] > drawn[:, :, None] + 1e-9, axis=2)  # (resamples, contestants)
    best, worst = np.quantile(ranks, levels, axis=0, method="inverted_cdf")
    result = [
        Strength(
            contestant=name,
            strength=float(strengths[i]),
            interval=Interval(float(low[i]), float(high[i])),
            elo=float(ELO * strengths[i]),
            rank=int(1 + np.sum(strengths > strengths[i] + 1e-9)),
            ranks=Interval(float(best[i]), float(worst[i])),
        )
        for i, name in enumerate(names)
    ]
    return sorted(result, key=lambda strength: (-strength.strength, strength.contestant))


def win_probability(one: float, other: float) -> float:
    """Probability that a contestant of strength `one` is preferred to one of strength `other`, ties as half wins."""
    return float(1 / (1 + np.exp(other - one)))


def require_connected(wins: Numbers, names: Sequence[str]) -> None:
    """Raise unless every contestant has beaten every other one through some chain (Ford 1957).

    Raises:
        NotEstimable: names the groups between which one side always wins, or that were never compared.
    """
    for connection, problem in (
        ("weak", "contestants that were never compared"),
        ("strong", "a group of contestants that never loses to the others; pass prior=1"),
    ):
        groups, labels = scipy.sparse.csgraph.connected_components(wins > 0, directed=True, connection=connection)
        if groups > 1:
            parts = [
                "+".join(name for name, label in zip(names, labels, strict=True) if label == g) for g in range(groups)
            ]
            raise NotEstimable(f"no finite strengths: {problem}: {' | '.join(parts)}")


def newton(wins: Numbers) -> Numbers:
    """Log strengths with mean 0 for tables of wins of shape (…, contestants, contestants), by Newton's method.

    The log-likelihood Σ wᵢⱼ·log σ(sᵢ − sⱼ) is concave. A row whose maximum is infinite does not converge and is NaN.
    """
    size = wins.shape[-1]
    strengths = np.zeros(wins.shape[:-1])
    games = wins + np.swapaxes(wins, -1, -2)
    step = np.full(strengths.shape, np.inf)
    for _ in range(ITERATIONS):
        chances = 1 / (1 + np.exp(np.clip(strengths[..., None, :] - strengths[..., :, None], -500, 500)))
        gradient = np.sum(wins - games * chances, axis=-1)
        weights = games * chances * (1 - chances)
        hessian = np.eye(size) * weights.sum(-1)[..., None] - weights + 1 / size  # 1/size fixes the mean
        singular = np.abs(np.linalg.det(hessian)) < 1e-200
        hessian = np.where(singular[..., None, None], np.eye(size), hessian)
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        strengths = strengths + np.clip(step, -2, 2)
        strengths = strengths - strengths.mean(-1, keepdims=True)
        if np.abs(step).max() < TOLERANCE:
            break
    failed = (np.abs(step).max(-1) > 1e-6) | (np.abs(strengths).max(-1) > 30)
    return np.asarray(np.where(failed[..., None], np.nan, strengths))


def _evalica(wins: Numbers, names: Sequence[str]) -> Numbers:
    rows, columns = np.nonzero(wins)
    result = evalica.bradley_terry(
        [names[int(row)] for row in rows],
        [names[int(column)] for column in columns],
        [evalica.Winner.X] * len(rows),
        weights=wins[rows, columns].tolist(),
        tolerance=TOLERANCE,
        limit=100_000,
    )
    strengths = np.log(result.scores.reindex(names).to_numpy(float))
    return np.asarray(strengths - strengths.mean())
