import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lima.sources import byte_search

FEW = st.binary(max_size=40).map(lambda raw: bytes(byte % 3 for byte in raw))  # so that needles occur, NULs too


@given(FEW, FEW.map(lambda raw: raw[:3]), st.integers(0, 40), st.integers(0, 40))
def test_a_needle_is_where_bytes_find_says(block, needle, start, stop):
    start, stop = min(start, len(block)), min(stop, len(block))
    assert byte_search.find(block, needle, start, stop) == block.find(needle, start, stop)
    assert byte_search.find(np.frombuffer(block, np.uint8), needle, start, stop) == block.find(needle, start, stop)
