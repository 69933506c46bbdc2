import re
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from lima import cli, model_check
from lima.config.entries import RandomModel
from lima.model_check import UnknownModel
from lima.training import base_model, loss
from lima.training.launch import LaunchError
from lima.training.selfcheck import Check
from lima.training.tokenization import IGNORED, Encoded

ROOT = Path(__file__).parents[1]
MODEL = {"kind": "random", "layers": 2, "hidden": 32, "heads": 2, "context": 128}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """params.yaml with an untrained model, and that model as the folder `a model`."""
    monkeypatch.chdir(tmp_path)
    yaml = YAML()
    values = yaml.load(ROOT / "params.yaml")
    values["models"]["untrained"] = MODEL
    values["train"] |= {"max_tokens": 100, "precision": "fp32"}
    yaml.dump(values, Path("params.yaml"))
    base_model.write(RandomModel(**MODEL), Path("a model"), seed=1)
    return tmp_path


def run_check(model):
    return CliRunner().invoke(cli.app, ["check", model])


@pytest.mark.parametrize("model", ["untrained", "a model"])
def test_it_shows_each_check_and_the_tokens_of_an_example(checkout, model):
    done = run_check(model)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == f"{model}: LlamaForCausalLM"
    assert re.split(r"\s{2,}", lines[2]) == ["check", "expected", "got", "tolerance", "result"]
    assert re.fullmatch(r"loss equals the model's own +(\d+\.\d{3}).* +\1.* +0\.0001 \(relative\) +passed", lines[3])
    assert all(line.endswith("passed") for line in lines[3:10])
    # one token per byte: 13 of the prompt and EOT; 5 of the response and EOT
    assert lines[-2] == "20 tokens, 6 supervised ([…]: supervised, others: not supervised):"
    assert lines[-1] == "N·a·m·e· ·a· ·f·r·u·i·t·.·<|eot|>·[P]·[l]·[u]·[m]·[.]·[<|eot|>]"


def test_a_failed_check_gives_status_1_and_advice(checkout, monkeypatch):
    monkeypatch.setattr(loss, "logit_scale", lambda _: 0.5)
    done = run_check("untrained")
    assert done.exit_code == 1
    assert re.search(
        r"\nloss equals the model's own +\d+\.\d{4} +\d+\.\d{4} +0\.0001 \(relative\) +FAILED\n", done.output
    )
    assert re.search(r"\npacked loss equals unpacked loss .* passed\n", done.output)
    assert "\nloss equals the model's own: choose a base model of an architecture that docs/" in done.output


def test_the_written_base_model_is_checked(checkout):
    base_model.write(RandomModel(**MODEL | {"context": 64}), Path("data/base/untrained"), seed=1)
    error = run_check("untrained").exception  # 64 positions, not the 128 of params.yaml
    assert isinstance(error, LaunchError)
    assert "the 64 positions of data/base/untrained" in str(error)


def test_neither_a_model_nor_a_folder_is_an_error_that_lists_the_models(checkout):
    error = run_check("nothing").exception
    assert isinstance(error, UnknownModel)
    assert re.fullmatch(r"model or folder not found: 'nothing'; models in params\.yaml: .*untrained.*", str(error))


class Letters:
    """Token 0 is A, 1 is B, …; 26 is an escape character."""

    def decode(self, ids):
        return "".join("\x1b" if token == 26 else chr(65 + token) for token in ids)


def test_supervised_tokens_are_green_and_the_others_dim_and_escapes_are_shown_as_text():
    example = Encoded("a", (0, 26, 1), (IGNORED, IGNORED, 1), 0)
    text = model_check.render_example(example, Letters(), colour=True)
    assert text.splitlines()[-1] == "\x1b[2mA\x1b[0m·\x1b[2m\\x1b\x1b[0m·\x1b[32mB\x1b[0m"


def test_a_table_aligns_its_columns_and_ends_with_the_fixes():
    checks = [
        Check("short", "1", "1", "none", True, "nothing"),
        Check("a longer name", "1.0000", "2", "none", False, "do this"),
    ]
    assert model_check.render(checks).splitlines() == [
        "check          expected  got  tolerance  result",
        "short          1         1    none       passed",
        "a longer name  1.0000    2    none       FAILED",
        "a longer name: do this",
    ]


@pytest.mark.parametrize(
    ("terminal", "no_color", "expected"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_colour_is_for_a_terminal_and_without_no_color(checkout, monkeypatch, terminal, no_color, expected):
    seen = []

    def recording(model, p, *, colour):
        seen.append(colour)
        return "", True

    monkeypatch.setattr(model_check, "check", recording)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setenv("NO_COLOR", no_color)
    cli.check("untrained")
    assert seen == [expected]
