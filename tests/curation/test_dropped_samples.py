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
def test_every_dropped_record_is_counted_and_samples_are_bounded(first, second, size):
    samples = DroppedSamples(size, seed=17)
    samples.add("scrape", first, source="a")
    samples.add("scrape", second, source="b")
    by_reason = {group.reason: group for group in samples.reasons()}
    for reason in REASONS:
        matching = [record for record in [*first, *second] if record.reason == reason]
        assert (reason in by_reason) == bool(matching)
        if matching:
            assert sum(by_reason[reason].counts.values()) == len(matching)
            assert by_reason[reason].counts["b"] == sum(record.reason == reason for record in second)
            assert len(by_reason[reason].shown) == min(size, len(matching))


@given(st.lists(DROPPED), st.lists(DROPPED), st.integers(1, 4))
def test_merged_samples_are_those_of_all_records(first, second, size):
    together, merged = DroppedSamples(size, seed=17), DroppedSamples(size, seed=17)
    for source, records in (("a", first), ("b", second)):
        together.add("scrape", records, source=source)
        alone = DroppedSamples(size, seed=17)
        alone.add("scrape", records, source=source)
        merged.merge(alone)
    assert list(merged.reasons()) == list(together.reasons())


@given(st.permutations(range(30)))
def test_samples_do_not_depend_on_the_order(order):
    shown = []
    for numbers in (order, range(30)):
        samples = DroppedSamples(5, seed=17)
        samples.add("filter", map(dropped, numbers), source="a")
        shown += [group.shown for group in samples.reasons()]
    assert shown[0] == shown[1]


def test_reasons_are_sorted_by_stage_then_by_order_of_the_filters():
    samples = DroppedSamples(5, seed=17)
    samples.add("scrape", [dropped(1, "closed"), dropped(2, "bad_row")], source="a")
    samples.add("filter", [dropped(3, "too_short"), dropped(4, "no_answer")], source="a")
    assert [(group.stage, group.reason) for group in samples.reasons()] == [
        ("scrape", "bad_row"),
        ("scrape", "closed"),
        ("filter", "no_answer"),
        ("filter", "too_short"),
    ]


def test_records_outside_the_sample_are_not_held_in_memory():
    # 2,000 records of 10,000 characters are 20 MB; five of them are 50 kB
    tracemalloc.start()
    samples = DroppedSamples(5, seed=17)
    samples.add("scrape", (dropped(number, size=10_000) for number in range(2_000)), source="a")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2_000_000
