import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.curation.hashing import Reservoir, fast_hash_uniform, fast_hash_uniforms, generator, hash_uniform

NAMES = [f"source/site/{number}" for number in range(4000)]


def reservoir(names: list[str], *, size: int, seed: int) -> list[str]:
    filled = Reservoir[str](size, seed=seed)
    for name in names:
        filled.offer(name, name)
    return filled.items()


@pytest.mark.parametrize("hash_function", [hash_uniform, fast_hash_uniform])
def test_hashes_are_uniform(hash_function):
    # 4,000 names in 10 tenths: 400 each, standard deviation √(4,000 · 0.1 · 0.9) ≈ 19; five of them either side
    counts, _ = np.histogram([hash_function(17, name) for name in NAMES], bins=10, range=(0, 1))
    assert all(abs(count - 400) < 95 for count in counts)


@given(st.integers(0, 2**32), st.text(max_size=20), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_vectorised_hashes_equal_single_hashes(seed, prefix, numbers):
    assert fast_hash_uniforms(seed, prefix, numbers).tolist() == [
        fast_hash_uniform(seed, f"{prefix}{number}") for number in numbers
    ]


@pytest.mark.parametrize("hash_function", [hash_uniform, fast_hash_uniform])
def test_hash_depends_on_the_seed(hash_function):
    assert hash_function(17, "a") == hash_function(17, "a") != hash_function(18, "a")


def test_each_name_has_its_own_generator():
    first, again, other = (generator(17, name).random(3).tolist() for name in ("a", "a", "b"))
    assert first == again != other


@given(st.permutations(NAMES[:30]), st.integers(1, 40))
def test_reservoir_does_not_depend_on_the_order(names, size):
    items = reservoir(names, size=size, seed=17)
    assert items == reservoir(NAMES[:30], size=size, seed=17)
    assert len(items) == len(set(items)) == min(size, 30)


def test_first_items_with_equal_names_are_kept():
    filled = Reservoir[dict](2, seed=17)  # dicts cannot be compared
    for number in range(4):
        filled.offer("a", {"number": number})
    assert filled.items() == [{"number": 0}, {"number": 1}]


def test_reservoir_selects_every_item_equally_often():
    # 10 of 40 over 400 seeds: each 100 times, standard deviation √(400 · ¼ · ¾) ≈ 8.7; five of them either side
    times = dict.fromkeys(NAMES[:40], 0)
    for seed in range(400):
        for name in reservoir(NAMES[:40], size=10, seed=seed):
            times[name] += 1
    assert all(abs(count - 100) < 44 for count in times.values())
