"""`dvc exp run -S` changes only the overridden value of params.yaml, in every profile."""

import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from lima import config
from lima.config import profiles

ROOT = Path(__file__).parents[2]
PROFILES = [path.stem for path in sorted((ROOT / "lima/config/profiles").glob("*.yaml"))]


@pytest.mark.parametrize("name", PROFILES)
def test_setting_one_value_changes_only_that_value(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = tmp_path / "params.yaml"
    path.write_text(profiles.compose(name))
    before = config.load(path)
    apply_overrides(path, ["train.seed=4711", "mix.temperature=2.5"])  # what -S calls
    train = before.train.model_copy(update={"seed": 4711})
    mix = before.mix.model_copy(update={"temperature": 2.5})
    assert config.load(path) == before.model_copy(update={"train": train, "mix": mix})


def test_dvc_exp_run_leaves_a_readable_params_yaml(clone, tmp_path, monkeypatch):
    copy = tmp_path / "clone"
    shutil.copytree(clone, copy)
    monkeypatch.chdir(copy)
    (copy / "params.yaml").write_text(profiles.compose("paper-7b"))
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run(["git", *author, "commit", "-q", "-m", "paper-7b"], check=True)
    subprocess.run(["dvc", "exp", "run", "--queue", "-S", "train.epochs=11"], check=True, capture_output=True)
    written = tmp_path / "params.yaml"
    shown = subprocess.run(["git", "show", "refs/exps/celery/stash:params.yaml"], check=True, capture_output=True)
    written.write_bytes(shown.stdout)
    assert config.load(written).train.epochs == 11
