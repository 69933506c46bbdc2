import evalica
import numpy as np
import pytest

from lima.evaluation.statistics.estimates import InvalidObservations, NotEstimable, NothingToMeasure
from lima.evaluation.statistics.ranking import bradley_terry, newton, win_probability

NAMES = ("alpaca", "base", "lima", "rival")


def verdicts(rng, *, prompts: int, strengths=(0.0, -1.0, 0.8, 0.2), tie: float = 0.2):
    rows = []
    for prompt in range(prompts):
        for i in range(len(NAMES)):
            for j in range(i):
                won = rng.random() < win_probability(strengths[i], strengths[j])
                rows.append((NAMES[i], NAMES[j], 0.5 if rng.random() < tie else float(won), prompt))
    return [list(column) for column in zip(*rows, strict=True)]


def ranked(columns, prior: float = 0, resamples: int = 200, seed: int = 1):
    rng = np.random.default_rng(seed)
    return bradley_terry(*columns, prior=prior, confidence=0.95, resamples=resamples, rng=rng)


def test_strengths_equal_evalicas_and_maximise_the_likelihood():
    columns = verdicts(np.random.default_rng(2), prompts=40)
    strengths = {row.contestant: row.strength for row in ranked(columns)}
    winners = {1.0: evalica.Winner.X, 0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw}
    reference = evalica.bradley_terry(
        columns[0], columns[1], [winners[p] for p in columns[2]], tolerance=1e-13, limit=10_000
    )
    logs = np.log(reference.scores)
    expected = (logs - logs.mean()).to_dict()
    assert strengths == pytest.approx(expected, abs=1e-9)
    won = np.zeros((4, 4))
    for first, second, points, _ in zip(*columns, strict=True):
        won[NAMES.index(first), NAMES.index(second)] += points
        won[NAMES.index(second), NAMES.index(first)] += 1 - points
    assert newton(won) == pytest.approx(np.array([strengths[name] for name in NAMES]), abs=1e-9)


def test_two_contestants_have_the_log_odds_of_the_win_share():
    # 6 wins, 2 ties, 2 losses: 7 of 10 points, log(0.7 / 0.3) apart
    columns = [["a"] * 10, ["b"] * 10, [1.0] * 6 + [0.5] * 2 + [0.0] * 2, list(range(10))]
    first, second = ranked(columns, resamples=50)
    assert first.contestant == "a"
    assert first.strength - second.strength == pytest.approx(np.log(0.7 / 0.3), abs=1e-9)
    assert first.elo - second.elo == pytest.approx(400 * np.log10(0.7 / 0.3), abs=1e-6)
    assert win_probability(first.strength, second.strength) == pytest.approx(0.7)


def test_swapping_the_sides_of_verdicts_changes_nothing():
    first, second, points, prompts = verdicts(np.random.default_rng(4), prompts=20)
    swapped = [second, first, [1 - point for point in points], prompts]
    for one, other in zip(ranked([first, second, points, prompts]), ranked(swapped), strict=True):
        assert one.contestant == other.contestant
        assert (one.strength, one.interval.low) == pytest.approx((other.strength, other.interval.low), abs=1e-9)


def test_intervals_cover_the_true_strengths_and_prompts_are_clusters():
    truth = np.array([0.0, -1.0, 0.8, 0.2])
    rng, covered = np.random.default_rng(9), 0
    for _ in range(60):
        columns = verdicts(rng, prompts=50, tie=0.0)
        copies = [column * 4 for column in columns]  # each verdict four times, of the same prompts
        for row in ranked(copies):
            covered += row.interval.low <= (truth - truth.mean())[NAMES.index(row.contestant)] <= row.interval.high
    # 240 dependent checks, standard error about 0.02; over verdicts the intervals were half as wide: 0.67
    assert covered / 240 >= 0.89


def test_a_contestant_that_wins_everything_needs_a_prior():
    columns = [["a", "a", "b"], ["b", "c", "c"], [1.0, 1.0, 0.5], [1, 2, 3]]
    with pytest.raises(NotEstimable, match=r"never loses .*pass prior=1: (a \| b\+c|b\+c \| a)"):
        ranked(columns)
    rows = ranked(columns, prior=1)
    assert [row.rank for row in rows] == [1, 2, 2]
    assert all(np.isfinite([row.interval.low, row.interval.high]).all() for row in rows)


def test_contestants_that_were_never_compared_have_no_common_scale():
    with pytest.raises(NotEstimable, match="never compared"):
        ranked([["a", "c"], ["b", "d"], [0.5, 0.5], [1, 2]], prior=1)


def test_invalid_verdicts_raise():
    with pytest.raises(NothingToMeasure):
        ranked([[], [], [], []])
    with pytest.raises(InvalidObservations, match="points"):
        ranked([["a"], ["b"], [2.0], [1]])
    with pytest.raises(InvalidObservations, match="itself"):
        ranked([["a"], ["a"], [1.0], [1]])
