from hypothesis import given
from hypothesis import strategies as st

from lima.training.packing import micro_batches_of_rank, pack, plan, split
from lima.training.tokenization import IGNORED, Encoded

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=70)
NUMBERS = st.integers(0, 2**31)


RANKS = st.integers(1, 5)


@given(LENGTHS, st.integers(1, 40), st.integers(1, 200), RANKS, NUMBERS, st.integers(1, 20))
def test_each_example_occurs_once_per_epoch_and_steps_have_batch_size_examples(
    lengths, batch_size, micro, ranks, seed, epoch
):
    steps = plan(lengths, batch_size=batch_size, micro_tokens=micro, ranks=ranks, seed=seed, epoch=epoch)
    sizes = [sum(map(len, step)) for step in steps]
    assert sorted(place for step in steps for part in step for place in part) == list(range(len(lengths)))
    assert set(sizes[:-1]) <= {batch_size}
    assert sizes[-1] == (len(lengths) - 1) % batch_size + 1  # 70 examples in 32s: 32, 32, 6


@given(LENGTHS, st.integers(1, 40), st.integers(1, 200), RANKS, NUMBERS, st.integers(1, 20))
def test_the_examples_of_a_step_depend_on_seed_and_epoch_only(lengths, size, micro, ranks, seed, epoch):
    def planned(micro, ranks):
        return plan(lengths, batch_size=size, micro_tokens=micro, ranks=ranks, seed=seed, epoch=epoch)

    def examples(steps):
        return [sorted(place for part in step for place in part) for step in steps]

    assert planned(micro, ranks) == planned(micro, ranks)
    assert examples(planned(micro, ranks)) == examples(planned(60, 1))


def test_epochs_and_seeds_have_different_orders():
    orders = [
        tuple(
            tuple(sorted(step[0]))
            for step in plan([1] * 50, batch_size=8, micro_tokens=8, ranks=1, seed=seed, epoch=epoch)
        )
        for seed in (1, 2)
        for epoch in (1, 2)
    ]
    assert len(set(orders)) == 4


@given(LENGTHS, st.integers(1, 200), RANKS)
def test_ranks_have_equally_many_micro_batches_of_at_most_micro_tokens(lengths, micro, ranks):
    parts = split(range(len(lengths)), lengths, micro_tokens=micro, ranks=ranks)
    assert sorted(place for part in parts for place in part) == list(range(len(lengths)))
    assert len(parts) % ranks == 0
    for part in parts:
        assert sum(lengths[place] for place in part) <= max(micro, max(lengths))


@given(LENGTHS, st.integers(1, 200), RANKS)
def test_micro_batches_are_balanced(lengths, micro, ranks):
    loads = [
        sum(lengths[index] for index in part)
        for part in split(range(len(lengths)), lengths, micro_tokens=micro, ranks=ranks)
    ]
    assert loads == sorted(loads, reverse=True)  # micro-batches that run at the same time are closest in size
    # before its last example, the largest micro-batch was the smallest
    assert max(loads) - min(loads) <= max(lengths)


def test_six_examples_in_two_micro_batches():
    # 12 tokens in tens: 2 micro-batches. 4 → a, 3 → b, 2 → b (3 < 4), 1 → a (4 < 5), 1 → either (5 = 5), 1 → the other
    parts = split(range(6), [1, 4, 1, 3, 1, 2], micro_tokens=10, ranks=1)
    assert sorted(sum([1, 4, 1, 3, 1, 2][place] for place in part) for part in parts) == [6, 6]


def test_an_idle_rank_repeats_the_first_micro_batch_with_weight_zero():
    parts = split(range(2), [5, 4], micro_tokens=9, ranks=3)
    assert parts == [[0], [1], []]
    assert [micro_batches_of_rank(parts, rank=rank, ranks=3) for rank in range(3)] == [
        [([0], 1.0)],
        [([1], 1.0)],
        [([0], 0.0)],
    ]


def test_pack_concatenates_examples_and_restarts_positions():
    batch = pack([Encoded("a", (5, 6, 7), (IGNORED, 6, 7), 0), Encoded("b", (8, 9), (IGNORED, 9), 1)])
    assert batch.ids.tolist() == [[5, 6, 7, 8, 9]]
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1]]
    assert batch.labels.tolist() == [[IGNORED, 6, 7, IGNORED, 9]]
    assert batch.examples == ("a", "b")
    assert batch.lengths == (3, 2)
    assert batch.supervised == 3
