from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lima.training.batches import pack, plan, split
from lima.training.encode import IGNORED, Encoded

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=70)
NUMBERS = st.integers(0, 2**31)


@given(LENGTHS, st.integers(1, 40), st.integers(1, 200), NUMBERS, st.integers(1, 20))
def test_every_example_comes_once_an_epoch_and_a_step_has_exactly_batch_size(lengths, batch_size, micro, seed, epoch):
    steps = plan(lengths, batch_size=batch_size, micro_tokens=micro, seed=seed, epoch=epoch)
    sizes = [sum(map(len, step)) for step in steps]
    assert sorted(place for step in steps for part in step for place in part) == list(range(len(lengths)))
    assert set(sizes[:-1]) <= {batch_size}
    assert sizes[-1] == (len(lengths) - 1) % batch_size + 1  # 70 examples in 32s: 32, 32, 6


@given(LENGTHS, st.integers(1, 40), NUMBERS, st.integers(1, 20))
def test_the_plan_is_a_function_of_its_arguments_and_the_order_not_of_the_micro_batches(lengths, size, seed, epoch):
    def flat(micro):
        steps = plan(lengths, batch_size=size, micro_tokens=micro, seed=seed, epoch=epoch)
        return [[place for part in step for place in part] for step in steps]

    assert flat(60) == flat(60) == flat(7)


def test_each_epoch_and_each_seed_has_an_order_of_its_own():
    orders = [
        tuple(
            place for step in plan([1] * 50, batch_size=8, micro_tokens=8, seed=seed, epoch=epoch) for place in step[0]
        )
        for seed in (1, 2)
        for epoch in (1, 2)
    ]
    assert len(set(orders)) == 4


@given(LENGTHS, st.integers(1, 200))
def test_a_micro_batch_holds_at_most_micro_tokens_and_as_many_examples_as_fit(lengths, micro):
    parts = split(range(len(lengths)), lengths, micro)
    assert [place for part in parts for place in part] == list(range(len(lengths)))
    for part in parts:
        assert sum(lengths[place] for place in part) <= micro or len(part) == 1
    for part, following in pairwise(parts):
        assert sum(lengths[place] for place in part) + lengths[following[0]] > micro


def test_packed_examples_lie_side_by_side_and_their_positions_restart():
    batch = pack([Encoded("a", (5, 6, 7), (IGNORED, 6, 7), 0), Encoded("b", (8, 9), (IGNORED, 9), 1)])
    assert batch.ids.tolist() == [[5, 6, 7, 8, 9]]
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1]]
    assert batch.labels.tolist() == [[IGNORED, 6, 7, IGNORED, 9]]
    assert batch.examples == ("a", "b")
    assert batch.supervised == 3
