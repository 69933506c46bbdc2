"""How far a run has come, as a value: what a continued run needs to know beside weights and Adam's states."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lima.records import EpochMetrics, StepMetrics


@dataclass(frozen=True)
class Progress:
    """Every step and every epoch that is done, in order."""

    step_metrics: tuple[StepMetrics, ...] = ()
    epoch_metrics: tuple[EpochMetrics, ...] = ()

    @property
    def steps(self) -> int:
        """Optimizer steps done."""
        return len(self.step_metrics)

    @property
    def epoch(self) -> int:
        """The epoch under way, from 1; one more than there are once all are done."""
        return len(self.epoch_metrics) + 1

    def under_way(self) -> list[StepMetrics]:
        """The steps done of the epoch under way."""
        return [step for step in self.step_metrics if step.epoch == self.epoch]

    def train_loss(self) -> float:
        """Mean over the supervised tokens of the epoch under way, nats."""
        steps = self.under_way()
        return sum(s.loss * s.supervised_tokens for s in steps) / sum(s.supervised_tokens for s in steps)

    def after_step(self, metrics: StepMetrics) -> "Progress":
        return replace(self, step_metrics=(*self.step_metrics, metrics))

    def after_epoch(self, metrics: EpochMetrics) -> "Progress":
        return replace(self, epoch_metrics=(*self.epoch_metrics, metrics))

    def told(self) -> Iterator[StepMetrics | EpochMetrics]:
        """All metrics in the order in which they were measured."""
        for epoch in range(1, self.epoch + 1):
            yield from (step for step in self.step_metrics if step.epoch == epoch)
            yield from (metrics for metrics in self.epoch_metrics if metrics.epoch == epoch)
