"""The vote prefilter of the reader, and that it does not change the result of `filter`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from lima import config, jsonl, storage
from lima.records import Candidate, Dropped, Funnel
from lima.sources.base import Prefilter, ReadStats, Scraped
from lima.sources.stack_exchange import reader
from lima.stages import filter as sift
from lima.stages import scrape
from tests.sources.test_stack_exchange import answer, both, dump, question

SHIPPED = Path(__file__).parents[2] / "params.yaml"
SOURCE = "stack_exchange_stem"


def early(*, least: int = 10, reservoir: int = 0, shares: dict[str, float] | None = None) -> Prefilter:
    def shares_of(prefix: str, numbers: Sequence[int]) -> np.ndarray:
        return np.array([(shares or {}).get(f"{prefix}{number}", 0.5) for number in numbers], float)

    return Prefilter(min_response_score=least, reservoir=reservoir, shares=shares_of)


def read(path: Path, rule: Prefilter | None) -> tuple[list[str], list[tuple[str, str, str]]]:
    """The candidates' own ids; reason, detail and place of what was dropped."""
    records = list(reader.read(path, source="se", license="", tally=ReadStats(), early=rule))
    kept = [record.provenance.id for record in records if isinstance(record, Candidate)]
    return kept, [(r.reason, r.detail, r.place) for r in records if not isinstance(r, Candidate)]


def test_questions_without_an_answer_with_enough_votes_are_dropped(tmp_path):
    rows = [question(1), answer(2, 1, 10), question(3), answer(4, 3, 9), answer(5, 3, -2), question(6)]
    path = dump(tmp_path / "s", *rows)
    kept, dropped = read(path, early())
    assert kept == ["1"]
    assert dropped == [
        ("low_response_score", "question 3: 9, at least 10", f"{path}:5"),
        ("no_answer", "question 6", f"{path}:8"),
    ]


def test_questions_dropped_by_the_prefilter_are_reported_once_per_reason(tmp_path):
    scores = [n % 3 for n in range(300)]  # 0: no answer, 1: an answer with 9 votes, 2: one with 10
    rows = [question(2 * n) for n in range(300)]
    rows += [answer(2 * n + 1, 2 * n, score + 8) for n, score in enumerate(scores) if score]
    path = dump(tmp_path / "s", *rows)
    records = list(reader.read(path, source="se", license="", tally=ReadStats(), early=early()))
    dropped = [record for record in records if isinstance(record, Dropped)]
    # the first question is on line 3; 298 and 299 are the last ones of their kinds, on lines 301 and 300
    assert [(record.reason, record.detail, record.place, record.rows) for record in dropped] == [
        ("low_response_score", "question 2: 9, at least 10; so 99 more up to line 301", f"{path}:4", 100),
        ("no_answer", "question 0; so 99 more up to line 300", f"{path}:3", 100),
    ]
    assert len(records) == 2 + 100


def test_without_a_prefilter_nothing_is_dropped_for_its_votes(tmp_path):
    path = dump(tmp_path / "s", question(1), answer(2, 1, 1), question(3))
    assert read(path, None) == (["1", "3"], [])


def test_the_answered_questions_with_the_smallest_hashes_are_kept_regardless_of_votes(tmp_path):
    # hashes of the answered questions .3 .1 .2: the two smallest are 3 and 5; 7 has the smallest hash but no answer
    rows = [question(1), answer(2, 1, 1), question(3), answer(4, 3, 1), question(5), answer(6, 5, 1), question(7)]
    shares = {"se/s/1": 0.3, "se/s/3": 0.1, "se/s/5": 0.2, "se/s/7": 0.0}
    kept, dropped = read(dump(tmp_path / "s", *rows), early(reservoir=2, shares=shares))
    assert kept == ["3", "5"]
    assert [reason for reason, *_ in dropped] == ["low_response_score", "no_answer"]


def test_a_question_with_many_votes_takes_a_place_in_the_reservoir(tmp_path):
    # as in the unfiltered reservoir: question 1 takes the only place, so 3 is dropped
    rows = [question(1), answer(2, 1, 99), question(3), answer(4, 3, 1)]
    shares = {"se/s/1": 0.1, "se/s/3": 0.2}
    kept, _ = read(dump(tmp_path / "s", *rows), early(reservoir=1, shares=shares))
    assert kept == ["1"]


@pytest.mark.parametrize("body", ["", " ", "\n\u00a0"])
def test_a_blank_answer_does_not_count(tmp_path, body):
    rows = [question(1), answer(2, 1, 3, Body=body), question(3), answer(4, 3, 3)]
    shares = {"se/s/1": 0.1, "se/s/3": 0.2}
    kept, [(reason, detail, _)] = read(dump(tmp_path / "s", *rows), early(reservoir=1, shares=shares))
    assert (kept, reason, detail) == (["3"], "no_answer", "question 1")


def test_each_site_has_its_own_reservoir(tmp_path):
    for site in ("a", "b"):
        dump(tmp_path / site, question(1), answer(2, 1, 1), question(3), answer(4, 3, 1))
    shares = {"se/a/1": 0.1, "se/a/3": 0.2, "se/b/1": 0.8, "se/b/3": 0.9}
    kept, _ = read(tmp_path, early(reservoir=1, shares=shares))
    assert kept == ["1", "1"]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with a reservoir of three questions per site."""
    monkeypatch.chdir(tmp_path)
    yaml = YAML()
    values = yaml.load(SHIPPED)
    values["filter"] |= {"unfiltered_reservoir": 3, "edits": "edits.jsonl", "reviews": "edits.jsonl"}
    Path("edits.jsonl").write_text("")
    values["filter"]["stack_exchange"] |= {"min_chars": 1}
    yaml.dump(values, Path("params.yaml"))
    return Path(config.load().sources[SOURCE].dumps)


def scraped_and_filtered() -> dict[str, str]:
    scrape.main(SOURCE)
    sift.main(SOURCE)
    return {
        name: (storage.result_dir("filter", SOURCE) / name).read_text() for name in ("kept.jsonl", "unfiltered.jsonl")
    }


def scrape_everything() -> None:
    """Write the candidates that `scrape` would write without the prefilter."""
    entry = config.load().sources[SOURCE]
    records = reader.read(Path(entry.dumps), source=SOURCE, license=entry.license, tally=ReadStats())
    offered = [record for record in records if isinstance(record, Candidate)]
    jsonl.write(storage.result_dir("scrape", SOURCE) / "candidates.jsonl", offered)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_filter_gives_the_same_with_and_without_the_prefilter(checkout, seed):
    for site in ("beer", "coffee"):
        rows = []
        for number in range(0, 200, 2):
            score = (number * 7919 * seed) % 23 - 5
            rows += [question(number, Title="How is beer made from malt?")]
            rows += [answer(number + 1, number, score, Body=f"<p>Malt {number}.</p>")] if score else []
        dump(checkout / site, *rows)
    with_rule = scraped_and_filtered()
    stats = jsonl.read(storage.result_dir("scrape", SOURCE) / "stats.json", Scraped)
    funnel = jsonl.read(storage.result_dir("filter", SOURCE) / "funnel.json", Funnel)
    [counts], [sifted] = list(stats), list(funnel)
    assert counts.candidates < 200  # the prefilter dropped some
    assert counts.questions == sum(counts.dropped.values()) + sifted.offered
    scrape_everything()
    sift.main(SOURCE)
    without = {name: (storage.result_dir("filter", SOURCE) / name).read_text() for name in with_rule}
    assert with_rule == without
    assert all(with_rule.values())


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-3, 14)), max_size=30), st.integers(0, 5))
def test_every_question_is_a_candidate_or_dropped(tmp_path_factory, answers, reservoir):
    rows = [question(number) for number in range(10)]
    rows += [answer(100 + number, parent, score) for number, (parent, score) in enumerate(answers)]
    path = dump(tmp_path_factory.mktemp("dump") / "s", *rows)
    rule = early(reservoir=reservoir, shares={f"se/s/{n}": n / 10 for n in range(10)})
    records = list(reader.read(path, source="se", license="", tally=ReadStats(), early=rule))
    kept = [record.provenance.id for record in records if isinstance(record, Candidate)]
    best = {parent: max(score for other, score in answers if other == parent) for parent, _ in answers}
    spared = sorted(best)[:reservoir]
    assert sorted(kept) == [str(n) for n in range(10) if best.get(n, -99) >= 10 or n in spared]
    assert len(kept) + sum(record.rows for record in records if isinstance(record, Dropped)) == 10


def test_kept_records_are_unchanged_by_the_prefilter(tmp_path):
    path = dump(tmp_path / "s", question(1), answer(2, 1, 10), question(3))
    rule = early()
    [kept] = [
        r
        for r in reader.read(path, source="se", license="CC BY-SA", tally=ReadStats(), early=rule)
        if isinstance(r, Candidate)
    ]
    assert kept == both(path)[0][0]
