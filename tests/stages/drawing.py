"""Figures of reports, drawn once in a process for equal arguments: drawing takes most of the time of a report."""

import pickle
from functools import wraps

import pytest

from lima.reporting import ablation_page, data_card_figures, figures

DRAWN: dict[bytes, object] = {}
FUNCTIONS = [
    *((figures, name) for name in ("funnel", "loss", "epochs", "preferences")),
    *((data_card_figures, name) for name in ("funnel", "sites", "lengths")),
    (ablation_page, "_figure"),
]


def once(draw):
    @wraps(draw)
    def drawn(*arguments):
        key = pickle.dumps((draw.__module__, draw.__name__, arguments))
        if key not in DRAWN:
            DRAWN[key] = draw(*arguments)
        return DRAWN[key]

    return drawn


@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    with pytest.MonkeyPatch.context() as patched:
        for module, name in FUNCTIONS:
            patched.setattr(module, name, once(getattr(module, name)))
        yield
