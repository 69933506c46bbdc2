from pathlib import Path

import pytest
from judged import judged
from ruamel.yaml import YAML

from lima import config, jsonl, retry
from lima.records import Unanswered

LAPTOP = Path(__file__).parents[1] / "lima/config/profiles/laptop.yaml"
MODEL = {"kind": "endpoint", "url": "http://127.0.0.1:9/v1", "model": "m", "key_variable": "", "max_tokens": 9}


@pytest.fixture
def params(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = YAML().load(LAPTOP)
    values["panels"]["preference"]["model"] = MODEL
    YAML().dump(values, Path("params.yaml"))
    return config.load()


def unanswered(*reasons):
    rows = [
        Unanswered(prompt_id=str(n), contestant="base", sample=0, reason=reason, detail="")
        for n, reason in enumerate(reasons)
    ]
    jsonl.write(Path("data/sample/base/unanswered.jsonl"), rows)


def judgments(*outcomes):
    rows = [judged(outcome, str(n), annotator="model") for n, outcome in enumerate(outcomes)]
    jsonl.write(Path("data/judge/lima-base/model/judgments.jsonl"), rows)


def test_stages_with_failed_requests_run_again_and_then_the_rest_of_the_pipeline(params, capsys):
    unanswered("timed_out", "too_long")
    judgments("failed", "win", "unparsed", "inconsistent")
    commands = []
    assert retry.run(params, dry_run=False, call=lambda words: commands.append(words[2:]) or 0) == 0
    # of base one request, since a prompt stays too long; of the judge both orders of one pair
    assert capsys.readouterr().out == "sample@base: 1 failed requests\njudge@lima-base: 2 failed requests\n"
    assert commands == [
        ["dvc", "repro", "--force", "--single-item", "sample@base"],
        ["dvc", "repro", "--force", "--single-item", "judge@lima-base"],
        ["dvc", "repro"],
    ]


def test_a_stage_that_fails_ends_the_command_with_its_status(params):
    unanswered("refused")
    judgments("failed")
    commands = []
    assert retry.run(params, dry_run=False, call=lambda words: commands.append(words) or 3) == 3
    assert len(commands) == 1


@pytest.mark.parametrize(
    ("reasons", "out"), [(["refused"], "sample@base: 1 failed requests\n"), ([], "no failed requests\n")]
)
def test_a_dry_run_and_a_run_without_failures_start_nothing(params, capsys, reasons, out):
    unanswered(*reasons)
    assert retry.run(params, dry_run=True, call=lambda words: pytest.fail("a command was started")) == 0
    assert capsys.readouterr().out == out
