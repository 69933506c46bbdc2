"""Filtering in parts: the results do not depend on the number of workers, the size of parts or a killed worker."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lima import jsonl
from lima.curation import hashing
from lima.records import Candidate, Example, Provenance
from lima.stages import filter as stage
from lima.stages.filter import FilterError

SHIPPED = Path(__file__).parents[2] / "params.yaml"
SOURCE = "stack_exchange_stem"
TASKS = "natural_instructions"
SMALL = 20_000  # bytes of candidates in a part


def answers(count: int) -> Iterator[Candidate]:
    """Candidates of all kinds of outcomes, with near duplicates far apart."""
    for number in range(count):
        words = ("Yeast eats sugar.", "I think so.", "As Bob said, yeast eats.", "Write to jo.doe@brewers.org.")[
            number % 4
        ]
        own = " ".join(f"Batch {number % 40} takes {number % 40 * day} days." for day in range(1, 60))
        yield Candidate(
            id=f"{SOURCE}/beer/{number}",
            title="How is beer made from malt?",
            description="<p>Tell <b>all</b> of it.</p>",
            response=f"<p>{words} {own}</p>" if number % 10 else "",
            later_turns=(),
            markup="html",
            score=number % 7,
            response_score=8 + number % 13,
            tags=(),
            provenance=place(SOURCE, "beer", number),
        )


def place(source: str, site: str, number: int) -> Provenance:
    return Provenance(source=source, site=site, id=str(number), url="", author="", license="CC BY-SA", digest="")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout whose candidates make several parts; returns a function that filters with a number of workers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "PART", SMALL)
    Path("none.jsonl").write_text("")
    jsonl.write(Path(f"data/scrape/{SOURCE}/candidates.jsonl"), answers(120))

    def filtered(source: str = SOURCE, *, workers: int = 1, retries: int = 2) -> dict[str, bytes]:
        yaml = YAML()
        values = yaml.load(SHIPPED)
        values["filter"] |= {"unfiltered_reservoir": 20, "edits": "none.jsonl", "reviews": "none.jsonl"}
        values["filter"] |= {"workers": workers, "retries": retries}
        yaml.dump(values, Path("params.yaml"))
        stage.main(source)
        return {path.name: path.read_bytes() for path in Path(f"data/filter/{source}").iterdir()}

    return filtered


@pytest.fixture
def fatal(checkout, monkeypatch):
    """A function after whose call the first worker that has judged a part is killed with SIGKILL."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
    return lambda: monkeypatch.setattr(stage, "WORK", "stages.fatal_parts:part")


def test_the_result_is_the_same_bytes_whatever_the_workers_and_the_size_of_parts(checkout, monkeypatch):
    results = [checkout(workers=workers) for workers in (1, 2, 3)]
    monkeypatch.setattr(stage, "PART", 2**30)
    results.append(checkout())
    assert all(result == results[0] for result in results[1:])
    kept = list(jsonl.read(Path(f"data/filter/{SOURCE}/kept.jsonl"), Example))
    assert kept and b"near_duplicate" in results[0]["dropped.jsonl"] and b'"email"' in results[0]["personal_data.json"]
    sample = [example.id for example in jsonl.read(Path(f"data/filter/{SOURCE}/unfiltered.jsonl"), Example)]
    assert len(sample) == 20
    assert sample == sorted(sample, key=lambda name: hashing.fast_hash_uniform(17, name))  # filter.seed
    assert not Path("work/kept/filter", SOURCE).exists()


def test_dropped_candidates_are_in_the_order_of_the_candidates(checkout):
    dropped = checkout()["dropped.jsonl"].splitlines()
    numbers = [
        int(line.split(b'"place":"')[1].split(b'"')[0].split(b"/")[-1]) for line in dropped if b"near_dup" not in line
    ]
    assert numbers == sorted(numbers)
    assert len(numbers) > 50


def test_the_part_of_a_killed_worker_is_judged_again(checkout, fatal, capfd):
    undisturbed = checkout()
    jsonl.write(Path(f"data/scrape/{SOURCE}/candidates.jsonl"), answers(120))
    fatal()
    assert checkout(workers=2) == undisturbed
    assert capfd.readouterr().err.count("is retried: its worker was killed by SIGKILL") == 1


def test_a_worker_killed_too_often_is_an_error_and_the_previous_result_stays(checkout, fatal):
    before = checkout()
    fatal()
    with pytest.raises(
        FilterError, match="the worker was killed 1 times, last by SIGKILL; if memory is short, use fewer"
    ):
        checkout(workers=2, retries=0)
    assert {path.name: path.read_bytes() for path in Path(f"data/filter/{SOURCE}").iterdir()} == before


def test_a_malformed_line_of_a_later_part_is_named_by_its_number(checkout):
    path = Path(f"data/scrape/{SOURCE}/candidates.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[99] = b'{"id": 1}\n'
    path.write_bytes(b"".join(lines))
    with pytest.raises(FilterError, match=r"candidates\.jsonl:100 is not a valid Candidate"):
        checkout()


def test_a_task_is_never_split(checkout, monkeypatch):
    """A task is dropped as a whole, by the share of its outputs that differ: 1 of 30, and 30 of 30."""

    def instances() -> Iterator[Candidate]:
        for task, output in (("task1", "The same long output."), ("task2", "Output number {}, which is long.")):
            for number in range(30):
                yield Candidate(
                    id=f"{TASKS}/{task}/{number}",
                    title="Write an explanation of the word.",
                    description=f"Word {number}.",
                    response=output.format(number),
                    later_turns=(),
                    markup="markdown",
                    score=None,
                    response_score=None,
                    tags=("category:Explanation", "language:English"),
                    provenance=place(TASKS, task, number),
                )

    jsonl.write(Path(f"data/scrape/{TASKS}/candidates.jsonl"), instances())
    whole = checkout(TASKS)
    assert whole["dropped.jsonl"].count(b"few_distinct_outputs") == 30
    assert whole["kept.jsonl"].count(b"task2") > 0
    monkeypatch.setattr(stage, "PART", 1)
    assert checkout(TASKS) == whole
