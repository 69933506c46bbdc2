import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lima.config import ParamsError
from lima.stages import base

ROOT = Path(__file__).parents[2]
RANDOM = {"kind": "random", "layers": 2, "hidden": 32, "heads": 2, "context": 64}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yaml = YAML()
    values = yaml.load(ROOT / "params.yaml")
    values["models"] |= {"random": RANDOM, "gone": {"kind": "folder", "path": "nowhere"}}
    yaml.dump(values, Path("params.yaml"))
    return tmp_path


def test_a_model_becomes_a_folder_that_training_takes(checkout, capsys):
    base.main("random")
    from lima.training import checkpoint

    checkpoint.check(Path("data/base/random"))
    # 257 tied embeddings of 32; two layers: attention 4 · 32², mlp 3 · 32 · 128, norms 2 · 32; and a last norm: 41,152
    assert capsys.readouterr().out.endswith("random: 0.0 million parameters, from random\n")


def test_the_same_seed_writes_the_same_bytes(checkout):
    written = []
    for _ in range(2):
        base.main("random")
        written.append({path.name: path.read_bytes() for path in Path("data/base/random").iterdir()})
    assert written[0] == written[1]


def test_an_unknown_model_is_told_which_there_are(checkout):
    with pytest.raises(ParamsError, match=r"unknown model: 'gpt'; params\.yaml has .*random, gone"):
        base.main("gpt")


def test_what_a_user_can_mend_ends_the_command_without_a_traceback_and_leaves_the_older_model(checkout):
    old = Path("data/base/gone/config.json")
    old.parent.mkdir(parents=True)
    old.write_text("old")
    command = [sys.executable, "-m", "lima.stages.base", "gone"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 1
    assert done.stderr == "error: model folder not found: nowhere; correct the model's path in params.yaml\n"
    assert old.read_text() == "old"
