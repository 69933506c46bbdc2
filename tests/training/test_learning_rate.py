import pytest

from lima.training.trainer import learning_rate


def test_the_learning_rate_is_linear_in_the_step():
    # five steps from 1e-5 to 1e-6: 9e-6 / 4 = 2.25e-6 less per step
    rates = [learning_rate(step, steps=5, lr=1e-5, lr_end=1e-6) for step in range(5)]
    assert rates == pytest.approx([1e-5, 7.75e-6, 5.5e-6, 3.25e-6, 1e-6], rel=1e-12)


def test_a_single_step_has_the_initial_rate():
    assert learning_rate(0, steps=1, lr=1e-5, lr_end=1e-6) == 1e-5
