"""Held-out perplexity and dev score over the epochs, in one sentence (LIMA §3, appendix B)."""

from lima.config import Params
from lima.config.entries import BaselineAnnotator
from lima.reporting.results import ArmResults


def describe(p: Params, arm: ArmResults, *, dev_prompts: int) -> str:
    """Compare the first and the last scored epoch; "" with fewer than two. It describes, and infers nothing."""
    perplexities = {epoch.epoch: epoch.held_out_perplexity for epoch in arm.epochs}
    scored = sorted(epoch for epoch in arm.scores if epoch in perplexities)
    if len(scored) < 2:
        return ""
    first, last = scored[0], scored[-1]
    before, after = perplexities[first], perplexities[last]
    score = [100 * arm.scores[epoch].score for epoch in (first, last)]
    judge = p.select.annotator
    baseline = isinstance(judge, BaselineAnnotator)
    limit = "a baseline rule, which measures form" if baseline else "a model judge"
    return (
        f"From epoch {first} to {last}, held-out perplexity {_moves(before, after)} from {before:.2f} to {after:.2f}, "
        f"and the dev score {_moves(*score)} from {_points(score[0])} to {_points(score[1])} points "
        f"({dev_prompts} prompts, by {limit}; without an interval, so not a test)."
    )


def _moves(before: float, after: float) -> str:
    return "rises" if after > before else "falls" if after < before else "stays"


def _points(value: float) -> str:
    shown = f"{value:+.1f}".replace("-", "−")
    return shown if value else "0.0"
