"""Significance tests of paired comparisons, and the correction for several of them (LIMA §4)."""

from collections.abc import Mapping

import numpy as np

from lima.evaluation.statistics.estimates import InvalidObservations, Numbers


def exact_sign_flip(sums: Numbers) -> float:
    """Two-sided p-value of the exact paired randomisation test over prompts: P(|Σ ±sumᵢ| ≥ |Σ sumᵢ|) (Fisher 1935).

    Under the null hypothesis the sign of each prompt's sum is random. The distribution of the total is the convolution
    of the prompts' distributions. With one verdict per prompt this is the sign test, McNemar's exact test.

    Args:
        sums: wins minus losses of each prompt, integers, shape (prompts,).

    Raises:
        InvalidObservations: a sum is not an integer; use `sign_flip`.
    """
    steps = np.abs(np.asarray(sums, float))
    if not np.array_equal(steps, np.round(steps)):
        raise InvalidObservations("sums that are not integers; use sign_flip")
    reach = int(steps.sum())
    chances = np.zeros(2 * reach + 1)  # of the totals −reach … reach
    chances[reach] = 1.0
    for step in steps.astype(int):
        if step:  # the ends are zero until the last step, so nothing wraps around
            chances = (np.roll(chances, step) + np.roll(chances, -step)) / 2
    total = np.arange(-reach, reach + 1)
    return float(min(1.0, chances[np.abs(total) >= abs(int(np.sum(sums)))].sum()))


def sign_flip(sums: Numbers, *, flips: int, rng: np.random.Generator) -> float:
    """Two-sided p-value of the paired randomisation test over prompts: (1 + #{|T*| ≥ |T|}) / (1 + flips).

    T is the total of `sums`, shape (prompts,). Under the null hypothesis the sign of each prompt's sum is random. With
    one sample per prompt this is the sign test. Sums of integers are exact, so ties with T are exact.
    """
    decided = sums[sums != 0]
    signs = 2.0 * rng.integers(2, size=(flips, len(decided))) - 1  # (flips, decided prompts)
    as_extreme = np.count_nonzero(np.abs(signs @ decided) >= abs(decided.sum()))
    return float((1 + as_extreme) / (1 + flips))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction; controls the family-wise error rate (LIMA §4; Holm 1979).

    Returns adjusted p-values in the order of the input: for p₁ ≤ … ≤ pₘ the k-th is max over j ≤ k of
    min(1, (m − j + 1)·pⱼ).
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
