import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lima import jsonl
from lima.records import Candidate, Dropped
from lima.sources import shard_cache
from lima.sources.base import Prefilter, Scraped
from lima.sources.merge import join
from lima.sources.shard_cache import Job
from lima.sources.shards import partitions

EARLY = Prefilter(min_response_score=10, reservoir=5, shares=lambda _, numbers: np.full(len(numbers), 0.5))
PAGE = (
    '<html><head><link rel="canonical" href="https://www.wikihow.com/{slug}"></head><body><h1>{slug}</h1>'
    '<div id="breadcrumb"><a href="/Category:Cooking">Cooking</a></div>'
    '<div class="section steps"><ol><li>Stir it.</li></ol></div></body></html>'
)
SLUGS = st.lists(st.sampled_from(["Fry-Eggs", "Boil-Rice", "Bake-Bread", ""]), min_size=1, max_size=6)


def joined(folder: Path, *, enough: int) -> tuple[Scraped, bytes, bytes]:
    """The pages below a folder, in parts of at least so many bytes."""
    found = []
    for part in partitions("wikihow", folder / "pages", enough=enough):
        job = {"source": "w", "reader": "wikihow", "license": "", "part": part, "code": "", "store": f"{folder}/kept"}
        job |= {"author": "", "url": "", "root": f"{folder}/pages"}
        found.append(
            (
                part,
                shard_cache.cached(
                    Job(**job, min_response_score=10, reservoir=5, seed=17, answered=(), asked=()), EARLY
                ),
            )
        )
    into = folder / f"joined-{enough}"
    into.mkdir()
    counts = join("w", "wikihow", found, into)
    return counts, (into / "candidates.jsonl").read_bytes(), (into / "dropped.jsonl").read_bytes()


@settings(deadline=None, max_examples=30)
@given(slugs=SLUGS)
def test_the_bound_of_a_part_shows_in_no_byte_and_an_article_that_comes_again_is_found(tmp_path_factory, slugs):
    folder = tmp_path_factory.mktemp("how")
    (folder / "pages").mkdir()
    for number, slug in enumerate(slugs):
        (folder / f"pages/{number}.html").write_text(PAGE.format(slug=slug))
    one, *others = [joined(folder, enough=enough) for enough in (10**6, 1, 500)]
    assert others == [one, one]
    named = [slug for slug in slugs if slug]
    bad, again = slugs.count(""), len(named) - len(set(named))
    told = {reason: count for reason, count in (("no_article", bad), ("duplicate", again)) if count}
    assert one[0] == Scraped(
        source="w",
        rows=len(slugs),
        questions=len(named),
        answers=len(named),
        candidates=len(set(named)),
        dropped=told,
    )
    kept = [json.loads(line)["title"] for line in one[1].splitlines()]
    assert kept == list(dict.fromkeys(named))  # the first of each, in the order of the files


def test_an_article_that_comes_again_is_told_with_its_file(tmp_path):
    (tmp_path / "pages").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / f"pages/{name}.html").write_text(PAGE.format(slug="Boil-Rice" if name == "b" else "Fry-Eggs"))
    joined(tmp_path, enough=1)
    (again,) = jsonl.read(tmp_path / "joined-1/dropped.jsonl", Dropped)
    assert (again.reason, again.place) == ("duplicate", f"{tmp_path}/pages/c.html")
    assert again.detail == "w/Cooking/Fry-Eggs came before"
    assert len(list(jsonl.read(tmp_path / "joined-1/candidates.jsonl", Candidate))) == 2


@pytest.mark.parametrize("enough", [1, 10**6])
def test_what_was_dropped_while_reading_comes_before_what_came_again(tmp_path, enough):
    (tmp_path / "pages").mkdir()
    for name, slug in (("a", "Fry-Eggs"), ("b", "Fry-Eggs"), ("c", "")):
        (tmp_path / f"pages/{name}.html").write_text(PAGE.format(slug=slug))
    joined(tmp_path, enough=enough)
    dropped = jsonl.read(tmp_path / f"joined-{enough}/dropped.jsonl", Dropped)
    assert [record.reason for record in dropped] == ["no_article", "duplicate"]
