"""The loss in bf16 with fp32 weights stays within the stated tolerance of fp32; with bf16 weights it does not."""

import pytest
import torch

from benchmarks import bf16
from lima.training import base_model, launch


def test_the_tolerance_is_that_of_independent_roundings():
    # two layers of 20 roundings, 160 supervised tokens: 2⁻⁸ · √(40 / 160) of the first loss
    assert bf16.tolerances(bf16.Curve([4.0, 2.0], [160, 40])) == [4 / 512, 4 / 256]
    assert bf16.worst(bf16.Curve([4.0, 2.0], [160, 40]), bf16.Curve([4.0, 2.5], [160, 40])) == (1, 0.5, 4 / 256)


def test_bf16_with_fp32_weights_follows_fp32_and_bf16_weights_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "_warn_if_bf16_is_slow", lambda: None)  # it multiplies large matrices
    torch.set_num_threads(1)
    base_model.write(bf16.MODEL, tmp_path, seed=1)
    exact = bf16.curve(tmp_path, bf16=False, steps=40)
    assert exact.losses[-1] < 0.85 * exact.losses[0]
    _, difference, tolerance = bf16.worst(exact, bf16.curve(tmp_path, bf16=True, steps=40))
    assert 0 < difference <= 0.5 * tolerance  # a tenth in 200 steps
    _, difference, tolerance = bf16.worst(exact, bf16.curve(tmp_path, bf16=True, steps=40, fp32_weights=False))
    assert difference > tolerance
    assert tolerance == pytest.approx(0.01, rel=0.5)
