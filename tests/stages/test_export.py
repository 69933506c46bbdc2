"""`lima export` and `lima serve`: folders that transformers loads, cards that the hub reads, the server's command."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import finished_run
import pytest
import tiny_model
from ruamel.yaml import YAML

from lima import export, jsonl
from lima.config.entries import FolderModel, HubModel
from lima.evaluation.checkpoint_selection import SelectedCheckpoint

CHECKPOINT = Path("data/train/lima/epoch-02")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run whose selected checkpoint is a model."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        finished_run.build()
        tiny_model.save(CHECKPOINT)
        settings = CHECKPOINT / "generation_config.json"
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {"temperature": 0.7, "do_sample": True}))
        digest = hashlib.sha256((CHECKPOINT / "model.safetensors").read_bytes()).hexdigest()
        [chosen] = jsonl.read(Path("data/select/lima/chosen.json"), SelectedCheckpoint)
        jsonl.write(Path("data/select/lima/chosen.json"), [chosen.model_copy(update={"digest": digest})])
        value = {"net": 0.5, "low": 0.1, "high": 0.8, "usable": 11}
        Path("reports").mkdir()
        figures = {"evaluations": {"lima-base": {"judge": value, "always-tie": value | {"low": None, "high": None}}}}
        Path("reports/metrics.json").write_text(json.dumps(figures))
    return folder


@pytest.fixture
def params(finished, tmp_path, monkeypatch):
    from lima import config

    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return config.load()


def front_matter(path: Path) -> dict[str, object]:
    return YAML(typ="safe").load(path.read_text().split("---\n")[1])


def test_exported_files_are_writable_though_those_of_dvc_are_not(params):
    for path in Path("data").rglob("*"):
        if path.is_file():
            path.chmod(0o444)
    export.export(params, "lima", Path("out"), base_license="MIT")
    assert [path for path in Path("out").rglob("*") if not path.stat().st_mode & 0o200] == []


def test_the_model_folder_loads_and_its_card_states_data_recipe_licenses_and_figures(params):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    export.export(params, "lima", Path("out"), base_license="Apache-2.0")
    model = AutoModelForCausalLM.from_pretrained("out/model", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained("out/model", local_files_only=True)
    turns = [{"role": "user", "content": "Why?"}]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    assert model.generate(**ids, max_new_tokens=2).shape[1] > ids["input_ids"].shape[1]
    card = Path("out/model/README.md").read_text()
    assert front_matter(Path("out/model/README.md"))["license"] == "other"
    for row in (
        "| temperature | 0.7 |",
        "| stack_exchange_stem | 6 |",
        "| train.epochs | 2 |",
        "| lima-base | lima – base | judge | +0.500 | +0.100 to +0.800 | 11 |",
        "| lima-base | lima – base | always-tie (a rule about form) | +0.500 | – | 11 |",
        "Base model: Apache-2.0. Training data: CC BY-SA 4.0, 10 examples.",
    ):
        assert row in card


def test_the_dataset_folder_has_its_splits_and_an_attribution_of_every_example(params):
    export.export(params, "lima", Path("out"), base_license="MIT")
    front = front_matter(Path("out/dataset/README.md"))
    assert front["license"] == ["cc-by-sa-4.0"]
    rows = {}
    for entry in front["configs"][0]["data_files"]:
        lines = (Path("out/dataset") / entry["path"]).read_text().splitlines()
        rows[entry["split"]] = [json.loads(line) for line in lines]
    assert {split: len(examples) for split, examples in rows.items()} == {"train": 10, "held_out": 2}
    assert [turn["role"] for turn in rows["train"][0]["messages"]] == ["user", "assistant"]
    with Path("out/dataset/attribution.csv").open(newline="") as file:
        credited = {(row["split"], row["id"]) for row in csv.DictReader(file)}
    assert credited == {(split, row["id"]) for split, examples in rows.items() for row in examples}


def test_a_folder_with_files_changed_weights_and_an_unselected_arm_are_refused(params):
    Path("out").mkdir()
    Path("out/notes.txt").write_text("mine")
    with pytest.raises(export.ExportError, match="output folder is not empty: out"):
        export.export(params, "lima", Path("out"), base_license="MIT")
    assert [path.name for path in Path("out").iterdir()] == ["notes.txt"]
    with (CHECKPOINT / "model.safetensors").open("ab") as weights:
        weights.write(b"0")
    with pytest.raises(export.ExportError, match="weights have changed since select"):
        export.export(params, "lima", Path("new"), base_license="MIT")
    Path("data/select/lima/chosen.json").unlink()
    with pytest.raises(export.ExportError, match="run `dvc repro select@lima`"):
        export.export(params, "lima", Path("new"), base_license="MIT")
    assert not Path("new").exists()


def test_an_unknown_license_of_the_base_model_is_refused(params):
    hub = params.model_copy(update={"models": {params.train.model: HubModel(kind="hub", id="a/b", revision="main")}})
    with pytest.raises(export.ExportError, match=r"unknown license of the base model .* --base-license"):
        export.export(hub, "lima", Path("new"), base_license=None)
    Path("base").mkdir()
    Path("base/README.md").write_text("---\nlicense: gemma\n---\n# Model\n")
    assert export.stated_license(FolderModel(kind="folder", path="base")) == "gemma"


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ({"vllm", "transformers"}, ["/bin/vllm", "serve", "m", "--served-model-name", "lima"]),
        ({"transformers"}, ["/bin/transformers", "serve", "m", "--host", "127.0.0.1", "--port", "8000"]),
    ],
)
def test_vllm_serves_where_it_is_installed_else_transformers(installed, expected, monkeypatch):
    monkeypatch.setattr(export.shutil, "which", lambda name: f"/bin/{name}" if name in installed else None)
    command = export.serve_command(Path("m"), name="lima", host="127.0.0.1", port=8000)
    assert command[: len(expected)] == expected
    assert command[-4:] == ["--host", "127.0.0.1", "--port", "8000"]


def test_without_a_server_the_packages_are_named(monkeypatch):
    monkeypatch.setattr(export.shutil, "which", lambda name: None)
    with pytest.raises(export.NoServer, match="pip install vllm"):
        export.serve_command(Path("m"), name="lima", host="127.0.0.1", port=8000)


def converter(folder: Path, text: str) -> Path:
    path = folder / "convert_hf_to_gguf.py"
    path.write_text(text)
    return path


def test_llama_cpps_converter_writes_the_gguf_file_of_the_exported_model(params, tmp_path):
    writes = "import sys; assert sys.argv[2] == '--outfile'; open(sys.argv[3], 'w').write(sys.argv[1])"
    export.export(params, "lima", Path("out"), base_license="Apache-2.0")
    text = export.write_gguf(Path("out"), converter(tmp_path, writes))
    assert Path("out/model.gguf").read_text() == "out/model"
    assert "llama-cli -m out/model.gguf" in text


def test_a_converter_that_is_missing_or_fails_is_an_error_with_its_last_line(params, tmp_path):
    with pytest.raises(export.ExportError, match=r"converter not found: nowhere\.py; it is convert_hf_to_gguf\.py"):
        export.write_gguf(Path("out"), Path("nowhere.py"))
    fails = converter(tmp_path, "import sys; print('Traceback', file=sys.stderr); sys.exit('unknown pre-tokenizer')")
    with pytest.raises(export.ExportError, match=r"conversion of out/model failed: unknown pre-tokenizer; run it by"):
        export.write_gguf(Path("out"), fails)
    with pytest.raises(export.ExportError, match="failed"):  # a converter that writes nothing
        export.write_gguf(Path("out"), converter(tmp_path, "print('nothing to do')"))
