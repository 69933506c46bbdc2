from hypothesis import given
from hypothesis import strategies as st

from lima.training.packing import micro_batches_of_rank, pack, plan, split
from lima.training.tokenization import IGNORED, Encoded

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=70)
NUMBERS = st.integers(0, 2**31)


RANKS = st.integers(1, 5)


@given(LENGTHS, st.integers(1, 40), st.integers(1, 200), RANKS, NUMBERS, st.integers(1, 20))
def test_every_example_comes_once_an_epoch_and_a_step_has_exactly_batch_size(
    lengths, batch_size, micro, ranks, seed, epoch
):
    steps = plan(lengths, batch_size=batch_size, micro_tokens=micro, ranks=ranks, seed=seed, epoch=epoch)
    sizes = [sum(map(len, step)) for step in steps]
    assert sorted(place for step in steps for part in step for place in part) == list(range(len(lengths)))
    assert set(sizes[:-1]) <= {batch_size}
    assert sizes[-1] == (len(lengths) - 1) % batch_size + 1  # 70 examples in 32s: 32, 32, 6


@given(LENGTHS, st.integers(1, 40), st.integers(1, 200), RANKS, NUMBERS, st.integers(1, 20))
def test_a_steps_examples_depend_on_seed_and_epoch_alone_and_the_plan_is_a_function(
    lengths, size, micro, ranks, seed, epoch
):
    def planned(micro, ranks):
        return plan(lengths, batch_size=size, micro_tokens=micro, ranks=ranks, seed=seed, epoch=epoch)

    def examples(steps):
        return [sorted(place for part in step for place in part) for step in steps]

    assert planned(micro, ranks) == planned(micro, ranks)
    assert examples(planned(micro, ranks)) == examples(planned(60, 1))


def test_each_epoch_and_each_seed_has_an_order_of_its_own():
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
def test_each_rank_gets_as_many_micro_batches_and_each_holds_at_most_micro_tokens(lengths, micro, ranks):
    parts = split(range(len(lengths)), lengths, micro_tokens=micro, ranks=ranks)
    assert sorted(place for part in parts for place in part) == list(range(len(lengths)))
    assert len(parts) % ranks == 0
    for part in parts:
        assert sum(lengths[place] for place in part) <= max(micro, max(lengths))


@given(LENGTHS, st.integers(1, 200), RANKS)
def test_micro_batches_are_alike_in_tokens(lengths, micro, ranks):
    loads = [
        sum(lengths[p] for p in part) for part in split(range(len(lengths)), lengths, micro_tokens=micro, ranks=ranks)
    ]
    assert loads == sorted(loads, reverse=True)  # those that run at the same time are the most alike
    # the last example that went to the fullest found it the emptiest
    assert max(loads) - min(loads) <= max(lengths)


def test_six_examples_in_two_micro_batches():
    # 12 tokens in tens: 2 micro-batches. 4 → a, 3 → b, 2 → b (3 < 4), 1 → a (4 < 5), 1 → either (5 = 5), 1 → the other
    parts = split(range(6), [1, 4, 1, 3, 1, 2], micro_tokens=10, ranks=1)
    assert sorted(sum([1, 4, 1, 3, 1, 2][place] for place in part) for part in parts) == [6, 6]


def test_a_rank_without_work_repeats_the_first_micro_batch_with_weight_zero():
    parts = split(range(2), [5, 4], micro_tokens=9, ranks=3)
    assert parts == [[0], [1], []]
    assert [micro_batches_of_rank(parts, rank=rank, ranks=3) for rank in range(3)] == [
        [([0], 1.0)],
        [([1], 1.0)],
        [([0], 0.0)],
    ]


def test_packed_examples_lie_side_by_side_and_their_positions_restart():
    batch = pack([Encoded("a", (5, 6, 7), (IGNORED, 6, 7), 0), Encoded("b", (8, 9), (IGNORED, 9), 1)])
    assert batch.ids.tolist() == [[5, 6, 7, 8, 9]]
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1]]
    assert batch.labels.tolist() == [[IGNORED, 6, 7, IGNORED, 9]]
    assert batch.examples == ("a", "b")
    assert batch.lengths == (3, 2)
    assert batch.supervised == 3
