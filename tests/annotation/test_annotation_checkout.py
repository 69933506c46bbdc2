"""From the responses of a checkout through people's annotations to judgments of the stage judge."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from lima import cli, config, jsonl
from lima.annotation import checkout
from lima.errors import LimaError
from lima.records import Annotation, Judgment, Prompt, Provenance, Response, Turn
from lima.stages import judge

LAPTOP = Path(__file__).parents[2] / "lima/config/profiles/laptop.yaml"
PLACE = Provenance(source="authored", site="B", id="1", url="", author="ann", license="MIT", digest="0")
NAMES = [f"p{number}" for number in range(12)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yaml = YAML()
    values = yaml.load(LAPTOP)
    values["panels"]["preference"]["people"] = {"kind": "people"}
    for evaluation in values["evaluations"].values():
        evaluation["template"] = "pairwise"
    yaml.dump(values, tmp_path / "params.yaml")
    prompts = [Prompt(id=n, messages=(Turn(role="user", content=n),), tags=(), provenance=PLACE) for n in NAMES]
    jsonl.write(tmp_path / "data/prompts/test.jsonl", prompts)
    for contestant in ("lima", "base"):
        responses = [
            Response(prompt_id=n, contestant=contestant, sample=0, text=f"{contestant} {n}", finish="stop", tokens=None)
            for n in NAMES
        ]
        jsonl.write(tmp_path / f"data/sample/{contestant}/responses.jsonl", responses)
    (tmp_path / "corpus/annotations").mkdir(parents=True)
    (tmp_path / "corpus/annotations/lima-base.jsonl").touch()
    return tmp_path


def run(*arguments):
    result = CliRunner().invoke(cli.app, ["annotate", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_people_become_an_annotator_of_the_stage_judge(folder):
    assert "judgments" in run("simulate", "--people", "2", "--error", "0.1")
    annotations = list(jsonl.read(folder / "corpus/annotations/lima-base.jsonl", Annotation))
    main = {(a.person, a.prompt_id): a.value for a in annotations if a.kind == "main"}
    assert len(main) == 2 * len(NAMES) and all(a.simulated for a in annotations)
    judge.main("lima-base")
    judgments = list(jsonl.read(folder / "data/judge/lima-base/people/judgments.jsonl", Judgment))
    assert {(j.person, j.prompt_id): j.value for j in judgments} == main
    assert all(judgment.simulated for judgment in judgments)


def test_the_judges_of_an_earlier_run_are_shown_beside_people(folder):
    judge.main("lima-base")
    (evaluation,) = checkout.load_evaluations(config.load())
    assert evaluation.judges.keys() == {"longest", "random", "always-tie"}
    assert set(evaluation.judges["always-tie"].values()) == {"tie"}
    assert len(evaluation.judges["longest"]) == len(NAMES)


def test_commands_export_import_and_withdraw(folder):
    run("simulate", "--people", "1")
    assert "12 annotations" in run("export", "lima-base", "--out", "out.json", "--format", "argilla")
    assert "judgments deleted" in run("withdraw", "simulated-1")
    assert (folder / "corpus/annotations/lima-base.jsonl").read_text() == "\n"
    assert "0 annotations imported" in run("import", "out.json")  # withdrawn people are not imported again
    links = run("invite", "2", "--address", "http://192.0.2.1:8765/").split()
    assert len(set(links)) == 2 and all(link.startswith("http://192.0.2.1:8765/join#") for link in links)


def test_an_evaluation_without_responses_is_named(folder):
    with pytest.raises(LimaError, match="no responses for the evaluation lima-authors; run `dvc repro sample`"):
        run("export", "lima-authors", "--out", "x.jsonl")
    with pytest.raises(LimaError, match="lima-bass"):
        run("export", "lima-bass", "--out", "x.jsonl")
