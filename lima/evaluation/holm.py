"""Holm's correction: several comparisons at one level, and no false discovery at all but with that chance (LIMA §4)."""

from collections.abc import Mapping


def adjust(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values that may be held against the level as they are, in the order given.

    With p₁ ≤ … ≤ pₘ the k-th becomes max over j ≤ k of min(1, (m − j + 1)·pⱼ).
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for before, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - before) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
