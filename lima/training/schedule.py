"""The learning rate as a pure function of the step: linear, without warm-up (§3)."""


def rate(step: int, *, steps: int, lr: float, lr_end: float) -> float:
    """Rate of optimizer step `step` of 0 … steps − 1: `lr` at the first, `lr_end` at the last."""
    return lr + (lr_end - lr) * step / max(1, steps - 1)
