"""Sampling from the laptop's base model on this machine, against transformers' own generate with the same settings."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.claims import Claim, claim, in_turn
from lima import config
from lima.config.sections import Decoding
from lima.inference import generate as generate_module
from lima.inference import model
from lima.records import Prompt, Provenance, Turn
from lima.training import base_model

PROMPTS = Path("corpus/authored/group_b_test.jsonl")
COUNT = 16
DECODING = Decoding(
    top_p=0.9, temperature=0.7, repetition_penalty=1.2, max_tokens=64, batch_size=COUNT, precision="fp32", seed=17
)


def measure() -> Iterator[Claim]:
    """Tokens a second over one batch; every row writes all its tokens, so that both sides do the same work."""
    with tempfile.TemporaryDirectory() as folder:
        base_model.write(
            config.load(Path("lima/config/profiles/laptop.yaml")).models["smollm2-135m"], Path(folder), seed=0
        )
        loaded = model.load(Path(folder), precision=DECODING.precision)
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=model.DTYPES[DECODING.precision]).eval()
    endless = model.Checkpoint(loaded.model, loaded.tokenizer, ends=frozenset(), context=loaded.context)
    prompts = read(COUNT)

    def ours() -> None:
        list(generate_module.generate(endless, prompts, contestant="x", samples=1, decoding=DECODING))

    def peer() -> None:
        generate(plain, [model.render(loaded.tokenizer, prompt) for prompt in prompts])

    def one_at_a_time() -> None:
        for prompt in prompts:
            generate(plain, [model.render(loaded.tokenizer, prompt)])

    ours()  # the first pass pays for threads and caches
    tokens = COUNT * DECODING.max_tokens
    for words, other, pairs, target in (
        ("Sampling a batch, against transformers' generate", peer, 3, "≥ 1"),
        ("Sampling a batch, against transformers' generate one prompt at a time", one_at_a_time, 1, "≥ 3"),
    ):
        seconds = in_turn(ours, other, pairs=pairs)
        yield claim(words, ours=tokens / seconds[0], peer=tokens / seconds[1], unit="tokens/s", target=target)


@torch.inference_mode()
def generate(model: Any, rows: list[list[int]]) -> None:
    ids, mask = generate_module.padded_left(rows, model.device)
    model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=True,
        top_p=DECODING.top_p,
        top_k=0,
        temperature=DECODING.temperature,
        repetition_penalty=DECODING.repetition_penalty,
        min_new_tokens=DECODING.max_tokens,
        max_new_tokens=DECODING.max_tokens,
        pad_token_id=0,
    )


def read(count: int) -> list[Prompt]:
    rows = [json.loads(line) for line in PROMPTS.read_text(encoding="utf-8").splitlines()[:count]]
    origin = Provenance(source="x", site="x", id="x", url="", author="", license="", digest="")
    return [Prompt(id=row["id"], messages=(Turn(**row["messages"][0]),), tags=(), provenance=origin) for row in rows]
