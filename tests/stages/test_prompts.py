from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lima import jsonl
from lima.curation.prompt_selection import SharedPrompt, WrongKind
from lima.curation.sampling import TooFewExamples
from lima.records import Prompt, Provenance, Turn
from lima.stages import prompts

SHIPPED = Path(__file__).parents[2] / "params.yaml"


def prompt(source: str, site: str, number: int, text: str = "") -> Prompt:
    place = Provenance(source=source, site=site, id=str(number), url="", author="", license="MIT", digest="")
    turns = (Turn(role="user", content=text or f"{source} {site} {number}?"),)
    return Prompt(id=f"{source}/{site}/{number}", messages=turns, tags=(), provenance=place)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_params(dev={"authored/A": 3}, test={"authored/B": 4, "reddit/AskReddit": 2})
    write("authored", [prompt("authored", site, number) for site in "AB" for number in range(5)])
    write("reddit", [prompt("reddit", "AskReddit", number) for number in range(5)])


def write_params(dev, test, adversarial=None, dialogues=None) -> None:
    yaml = YAML()
    values = yaml.load(SHIPPED)
    values["prompts"] |= {"dev": dev, "test": test, "adversarial": adversarial or {}, "dialogues": dialogues or {}}
    yaml.dump(values, Path("params.yaml"))


def write(source: str, rows: list[Prompt]) -> None:
    jsonl.write(Path(f"data/filter/{source}/prompts.jsonl"), rows)


def sites(name: str) -> list[str]:
    rows = jsonl.read(Path(f"data/prompts/{name}.jsonl"), Prompt)
    return [f"{row.provenance.source}/{row.provenance.site}" for row in rows]


def test_each_site_gives_the_number_that_params_ask_for(checkout, capsys):
    prompts.main()
    assert sites("dev") == ["authored/A"] * 3
    assert sites("test") == ["authored/B"] * 4 + ["reddit/AskReddit"] * 2
    assert capsys.readouterr().out == "prompts: 3 dev, 6 test, 0 adversarial, 0 dialogues\n"


def test_the_adversarial_suite_lies_apart_and_shares_no_prompt_with_dev(checkout):
    write("adversarial", [prompt("adversarial", "leaking", number) for number in range(3)])
    write_params({"authored/A": 1}, {"authored/B": 1}, {"adversarial/leaking": 2})
    prompts.main()
    assert (sites("test"), sites("adversarial")) == (["authored/B"], ["adversarial/leaking"] * 2)
    write(
        "adversarial", [prompt("adversarial", "leaking", number, text=f"authored A {number}?") for number in range(5)]
    )
    write_params({"authored/A": 5}, {"authored/B": 1}, {"adversarial/leaking": 5})
    with pytest.raises(SharedPrompt, match=r"share 5 prompt\(s\) by text"):
        prompts.main()


def test_too_few_are_told_with_source_and_site_and_leave_the_old_result(checkout):
    prompts.main()
    write_params(dev={"authored/A": 6}, test={"authored/B": 4})
    with pytest.raises(
        TooFewExamples,
        match=r"6 prompts requested of source authored, site A, 5 available; request fewer",
    ):
        prompts.main()
    assert sites("dev") == ["authored/A"] * 3


def test_a_prompt_of_dev_and_test_stops_the_stage(checkout):
    same = [prompt("authored", site, 1, "Why not?") for site in "AB"]
    write("authored", same)
    write_params(dev={"authored/A": 1}, test={"authored/B": 1})
    with pytest.raises(SharedPrompt, match="1 prompt"):
        prompts.main()
    assert not Path("data/prompts").exists()


def script(number: int, text: str = "") -> Prompt:
    turns = tuple(Turn(role="user", content=content) for content in (text or f"script {number}?", "And then?"))
    return prompt("dialogues", "B", number).model_copy(update={"messages": turns, "tags": ("kind:script",)})


def test_scripted_dialogues_are_a_set_of_their_own_and_share_no_prompt_with_dev(checkout):
    write("dialogues", [script(number) for number in range(3)])
    write_params({"authored/A": 1}, {"authored/B": 1}, dialogues={"dialogues/B/script": 2})
    prompts.main()
    assert (sites("test"), sites("dialogues")) == (["authored/B"], ["dialogues/B"] * 2)
    write("dialogues", [script(number, f"authored A {number}?") for number in range(5)])
    write_params({"authored/A": 5}, {"authored/B": 1}, dialogues={"dialogues/B/script": 5})
    with pytest.raises(SharedPrompt):
        prompts.main()


def test_scripts_are_drawn_as_dialogues_only_and_nothing_else_is(checkout):
    write("dialogues", [script(1), prompt("dialogues", "B", 2)])
    write_params({"authored/A": 1}, {"dialogues/B": 2})
    with pytest.raises(WrongKind, match=r"prompts\.test draws the scripted dialogue dialogues/B/1; draw scripts under"):
        prompts.main()
    write_params({"authored/A": 1}, {"authored/B": 1}, dialogues={"dialogues/B": 2})
    with pytest.raises(WrongKind, match=r"prompts\.dialogues draws dialogues/B/2, which is not a scripted dialogue"):
        prompts.main()
