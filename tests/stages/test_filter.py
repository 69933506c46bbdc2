import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lima import config, jsonl
from lima.errors import LimaError
from lima.records import Candidate, Dropped, Example, Funnel, Prompt, Provenance
from lima.sources import rules
from lima.stages import filter as stage
from lima.text.html_to_markdown import to_markdown, to_marked

SHIPPED = Path(__file__).parents[2] / "params.yaml"
SOURCE = "stack_exchange_stem"


def candidate(number: int, *, words: str = "Yeast eats sugar.", score: int | None = 12) -> Candidate:
    place = Provenance(source=SOURCE, site="beer", id=str(number), url="", author="", license="CC BY-SA", digest="")
    return Candidate(
        id=f"{SOURCE}/beer/{number}",
        title="How is beer made from malt?",
        description="<p>Tell <b>all</b> of it.</p>",
        response=f"<p>{words} {'Malt gives sugar. ' * 70} {f'{number} ' * 9}</p>" if score is not None else "",
        later_turns=(),
        markup="html",
        score=number,
        response_score=score,
        tags=("brewing",),
        provenance=place,
    )


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yaml = YAML()
    values = yaml.load(SHIPPED)
    values["filter"] |= {"unfiltered_reservoir": 3, "edits": "edits.jsonl", "reviews": "reviews.jsonl"}
    yaml.dump(values, Path("params.yaml"))
    Path("edits.jsonl").write_text("")
    Path("reviews.jsonl").write_text("")
    write(
        [candidate(1), candidate(2), candidate(3, words="I think so."), candidate(4, score=2), candidate(5, score=None)]
    )


def write(candidates: list[Candidate]) -> None:
    jsonl.write(Path(f"data/scrape/{SOURCE}/candidates.jsonl"), candidates)


def result(name: str, kind):
    return list(jsonl.read(Path(f"data/filter/{SOURCE}/{name}"), kind))


def test_each_candidate_goes_to_one_file_and_the_funnel_counts_them(checkout, capsys):
    stage.main(SOURCE)
    assert [example.provenance.id for example in result("kept.jsonl", Example)] == ["2", "1"]  # by votes
    assert [(d.place[-1], d.reason) for d in result("dropped.jsonl", Dropped)] == [
        ("3", "first_person"),
        ("4", "low_response_score"),
        ("5", "no_answer"),
    ]
    assert result("prompts.jsonl", Prompt) == []
    reasons = {"no_answer": 1, "low_response_score": 1, "first_person": 1}
    assert result("funnel.json", Funnel) == [Funnel(source=SOURCE, offered=5, kept=2, prompts=0, dropped=reasons)]
    assert capsys.readouterr().out == f"{SOURCE}: 5 candidates, 2 kept, 0 prompts, the rest dropped\n"


def test_what_is_kept_is_markdown_with_its_tags_and_provenance(checkout):
    stage.main(SOURCE)
    for example in result("kept.jsonl", Example):
        assert example.messages[0].content in ("How is beer made from malt?", "Tell all of it.")
        assert example.messages[1].content.startswith("Yeast eats sugar. Malt gives")
        assert (example.tags, example.provenance.license) == (("brewing",), "CC BY-SA")


def test_the_unfiltered_are_answered_and_need_nothing_else(checkout):
    stage.main(SOURCE)
    unfiltered = {example.provenance.id for example in result("unfiltered.jsonl", Example)}
    assert len(unfiltered) == 3
    assert unfiltered < {"1", "2", "3", "4"}


def test_the_order_of_the_candidates_changes_nothing_but_that_of_the_dropped(checkout):
    names = ("kept.jsonl", "prompts.jsonl", "unfiltered.jsonl", "funnel.json")

    def written() -> list[str]:
        return [Path(f"data/filter/{SOURCE}/{name}").read_text() for name in names]

    stage.main(SOURCE)
    before = written()
    write(list(jsonl.read(Path(f"data/scrape/{SOURCE}/candidates.jsonl"), Candidate))[::-1])
    stage.main(SOURCE)
    assert written() == before


def test_no_candidates_are_no_error(checkout):
    write([])
    stage.main(SOURCE)
    assert result("funnel.json", Funnel) == [Funnel(source=SOURCE, offered=0, kept=0, prompts=0, dropped={})]


def test_an_unknown_source_is_told_which_there_are(checkout):
    with pytest.raises(config.ParamsError, match=r"unknown source: 'usenet'; params\.yaml has stack_exchange_stem"):
        stage.main("usenet")


def test_sifting_takes_no_candidate_before_its_turn(checkout):
    taken: list[int] = []

    def offered():
        for number in range(100):
            taken.append(number)
            yield candidate(number)

    sifted = rules.apply(
        offered(), reader="stack_exchange", settings=config.load().filter, to_markdown=to_markdown, to_marked=to_marked
    )
    assert isinstance(next(sifted)[1], Example)
    assert taken == [0]


def test_an_edit_changes_what_is_kept_and_nothing_else(checkout):
    stage.main(SOURCE)
    before = result("kept.jsonl", Example)
    change = {
        "id": f"{SOURCE}/beer/2",
        "field": "response",
        "before": "Yeast eats",
        "after": "Yeast eats up",
        "why": "x",
    }
    other = change | {"id": "wikihow/Food/1"}  # of another source's run
    Path("edits.jsonl").write_text(json.dumps(other) + "\n" + json.dumps(change) + "\n")
    stage.main(SOURCE)
    edited, same = result("kept.jsonl", Example)
    assert edited.messages[1].content == before[0].messages[1].content.replace("Yeast eats", "Yeast eats up")
    assert (edited.provenance, same) == (before[0].provenance, before[1])


def test_an_edit_that_does_not_fit_stops_the_stage_and_names_its_line(checkout):
    change = {"id": f"{SOURCE}/beer/2", "field": "response", "before": "Hops", "after": "", "why": "x"}
    Path("edits.jsonl").write_text(json.dumps(change) + "\n")
    with pytest.raises(LimaError, match=r"^edits\.jsonl:1: 'Hops' occurs 0 times in the response of "):
        stage.main(SOURCE)
