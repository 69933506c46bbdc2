"""Annotators and statistics of preferences (LIMA §4). `__all__` is the public API."""

from typing import TYPE_CHECKING

from lima.lazy_names import lazy_names

if TYPE_CHECKING:
    from lima.evaluation.statistics import (
        Interval,
        Preference,
        bootstrap,
        holm,
        measure_preference,
        minimum_detectable_difference,
        wilson,
    )

__all__ = [
    "Interval",
    "Preference",
    "bootstrap",
    "holm",
    "measure_preference",
    "minimum_detectable_difference",
    "wilson",
]
_NAMES = {
    "statistics": (
        "Interval",
        "Preference",
        "bootstrap",
        "holm",
        "measure_preference",
        "minimum_detectable_difference",
        "wilson",
    ),
}
__getattr__ = lazy_names(__name__, _NAMES, extra="pipeline")
