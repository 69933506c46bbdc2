import hashlib
import json
import os
import subprocess
import sys

import pytest
import small
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from lima.errors import LimaError
from lima.inference import model as generation
from lima.training import base_model, checkpoint, launch
from lima.training.checkpoint import CheckpointError

BARE = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
messages = [{"role": "user", "content": "Hi"}]
ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**ids, max_new_tokens=3, do_sample=False)
print(json.dumps({
    "text": tokenizer.apply_chat_template(messages, tokenize=False),
    "logits": model(ids["input_ids"]).logits[0, -1].tolist(),
    "stops": model.generation_config.eos_token_id,
    "stop": tokenizer.decode(model.generation_config.eos_token_id),
    "dtype": str(model.dtype),
    "answer": answer.shape[1] - ids["input_ids"].shape[1],
}))
"""


@pytest.fixture
def saved(tmp_path):
    model, tokenizer, eot_id, _ = small.start(tmp_path, small.recipe(residual_dropout=0.2))
    folder = tmp_path / "epoch-01"
    digest = checkpoint.save(folder, model, model.state_dict(), tokenizer, eot_id=eot_id)
    return model, tokenizer, eot_id, folder, digest


def test_transformers_loads_a_checkpoint_and_generates_with_its_chat_template(saved):
    model, tokenizer, eot_id, folder, _ = saved
    done = subprocess.run([sys.executable, "-c", BARE, folder], capture_output=True, text=True, check=True)
    output = json.loads(done.stdout)
    assert output["text"] == "Hi<|eot|>"
    assert (output["stops"], output["stop"]) in [([eot_id], "<|eot|>"), (eot_id, "<|eot|>")]
    assert output["dtype"] == "torch.bfloat16"
    assert 1 <= output["answer"] <= 3
    ids = tokenizer("Hi<|eot|>", return_tensors="pt").input_ids
    expected = model.eval().to(torch.bfloat16)(ids).logits[0, -1].tolist()
    assert output["logits"] == pytest.approx(expected, abs=0.02)


def test_a_checkpoint_has_bf16_safetensors_with_tied_weights_once(saved):
    *_, folder, _ = saved
    assert {path.name for path in folder.iterdir()} == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.sha256",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    with safe_open(folder / "model.safetensors", "pt") as weights:
        names = set(weights.keys())
        assert {weights.get_tensor(name).dtype for name in names} == {torch.bfloat16}
    assert "model.embed_tokens.weight" in names
    assert "lm_head.weight" not in names


def test_the_config_names_the_stored_dtype_and_the_stop_token(saved):
    *_, eot_id, folder, _ = saved
    config = json.loads((folder / "config.json").read_text())
    assert (config["dtype"], config["eos_token_id"]) == ("bfloat16", eot_id)
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [eot_id]


def test_a_checkpoint_has_eot_as_eos_and_the_recipes_sampling_settings(saved):
    *_, eot_id, folder, _ = saved
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|eot|>", eot_id)
    assert tokenizer.pad_token_id != eot_id
    assert (
        tokenizer.decode([tokenizer.pad_token_id], skip_special_tokens=True) == ""
    )  # EOS of the base model remains special
    settings = small.recipe().generation
    config = json.loads((folder / "generation_config.json").read_text())
    assert {
        key: config[key] for key in ("do_sample", "top_p", "temperature", "repetition_penalty", "max_new_tokens")
    } == {
        "do_sample": True,
        "top_p": settings.top_p,
        "temperature": settings.temperature,
        "repetition_penalty": settings.repetition_penalty,
        "max_new_tokens": settings.max_tokens,
    }


def test_transformers_generate_stops_at_eot(tmp_path):
    model, tokenizer = base_model.load(small.MODEL, seed=1)
    model.config.tie_word_embeddings = False
    LlamaForCausalLM(model.config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    model, tokenizer, eot_id = launch.starting_point(tmp_path / "base", small.recipe())
    messages = [{"role": "user", "content": "Hi"}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        last = model.model(ids["input_ids"]).last_hidden_state[0, -1]
        model.lm_head.weight[eot_id] = last * 100  # after this prompt EOT is all but certain
    folder = tmp_path / "epoch-01"
    checkpoint.save(folder, model, model.state_dict(), tokenizer, eot_id=eot_id)
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    answer = loaded.generate(**ids)
    assert answer[0, ids["input_ids"].shape[1] :].tolist() == [eot_id]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_weights_have_the_permissions_of_other_new_files(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        model, tokenizer, eot_id, _ = small.start(tmp_path, small.recipe())
        checkpoint.save(tmp_path / "epoch-01", model, model.state_dict(), tokenizer, eot_id=eot_id)
    finally:
        os.umask(before)
    written = [path for folder in ("base", "epoch-01") for path in (tmp_path / folder).iterdir()]
    assert len([path for path in written if path.name == "model.safetensors"]) == 2
    assert {path.stat().st_mode & 0o777 for path in written} == {mode}


def test_saving_does_not_change_the_model(saved):
    model, *_ = saved
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_the_digest_is_the_sha256_of_the_weights(saved):
    *_, folder, digest = saved
    assert digest == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert checkpoint.digest(folder) == (folder / "model.sha256").read_text() == digest


def test_generation_refuses_weights_changed_after_training(saved):
    *_, folder, _ = saved
    assert generation.load(folder, precision="fp32").ends
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(LimaError, match=r"model\.safetensors was changed after training wrote it"):
        generation.load(folder, precision="fp32")


def test_an_interrupted_save_leaves_no_checkpoint_and_the_next_save_works(saved):
    model, tokenizer, eot_id, folder, _ = saved

    class Interrupted:
        def save_pretrained(self, folder):
            raise KeyboardInterrupt

    second = folder.with_name("epoch-02")
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(second, model, model.state_dict(), Interrupted(), eot_id=eot_id)
    assert not second.exists()
    checkpoint.save(second, model, model.state_dict(), tokenizer, eot_id=eot_id)
    assert sorted(path.name for path in folder.parent.glob("epoch-*")) == ["epoch-01", "epoch-02"]


def test_check_accepts_a_complete_model(saved):
    checkpoint.check(saved[3])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], r"has no config\.json; use a model folder in Hugging Face format"),
        (["model.safetensors"], r"has no config\.json"),
        (["config.json"], r"has no weights; add \*\.safetensors files"),
        (["config.json", "pytorch_model.bin"], r"are pickled \(pytorch_model\.bin\) and could run code when loaded"),
        (["config.json", "a.pth", "b.pt"], r"are pickled \(a\.pth, b\.pt\).*convert them to safetensors"),
    ],
)
def test_a_folder_without_safe_weights_is_refused(files, message, tmp_path):
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(CheckpointError, match=rf"{tmp_path.name} {message}"):
        checkpoint.check(tmp_path)
