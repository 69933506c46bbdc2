import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from lima.curation.dropped_samples import DroppedSamples
from lima.records import Dropped

REASONS = ["too_short", "no_answer", "bad_row", "closed"]
DROPPED = st.builds(
    Dropped, reason=st.sampled_from(REASONS), detail=st.text(max_size=2), place=st.text(max_size=2), raw=st.just("")
)


def dropped(number: int, reason: str = "too_short", size: int = 0) -> Dropped:
    return Dropped(reason=reason, detail="", place=f"a/{number}", raw="x" * size)


@given(st.lists(DROPPED), st.lists(DROPPED), st.integers(1, 4))
def test_every_dropped_record_is_counted_and_no_pile_shows_more_than_its_size(first, second, size):
    piles = DroppedSamples(size, seed=17)
    piles.add("scrape", first, source="a")
    piles.add("scrape", second, source="b")
    found = {pile.reason: pile for pile in piles.found()}
    for reason in REASONS:
        of = [record for record in [*first, *second] if record.reason == reason]
        assert (reason in found) == bool(of)
        if of:
            assert sum(found[reason].counts.values()) == len(of)
            assert found[reason].counts["b"] == sum(record.reason == reason for record in second)
            assert len(found[reason].shown) == min(size, len(of))


@given(st.permutations(range(30)))
def test_the_same_are_shown_in_whatever_order_they_come(order):
    shown = []
    for numbers in (order, range(30)):
        piles = DroppedSamples(5, seed=17)
        piles.add("filter", map(dropped, numbers), source="a")
        shown += [pile.shown for pile in piles.found()]
    assert shown[0] == shown[1]


def test_reasons_come_as_the_filters_ask_after_the_stages_in_their_order():
    piles = DroppedSamples(5, seed=17)
    piles.add("scrape", [dropped(1, "closed"), dropped(2, "bad_row")], source="a")
    piles.add("filter", [dropped(3, "too_short"), dropped(4, "no_answer")], source="a")
    assert [(pile.stage, pile.reason) for pile in piles.found()] == [
        ("scrape", "bad_row"),
        ("scrape", "closed"),
        ("filter", "no_answer"),
        ("filter", "too_short"),
    ]


def test_what_is_not_shown_is_not_held():
    # 2,000 records of 10,000 characters are 20 MB; five of them are 50 kB
    tracemalloc.start()
    piles = DroppedSamples(5, seed=17)
    piles.add("scrape", (dropped(number, size=10_000) for number in range(2_000)), source="a")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2_000_000
