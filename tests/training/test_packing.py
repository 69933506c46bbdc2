"""Packed examples do not attend to each other."""

from dataclasses import replace

import pytest
import small
import torch
from families import FAMILIES, build

from lima.training import attention
from lima.training.logit_chunks import chunk_tokens
from lima.training.loss import LossModel, UnsupportedHead, fuse_output_head
from lima.training.packing import pack
from lima.training.tokenization import IGNORED, Encoded

RECIPE = small.recipe(max_tokens=32)
EXAMPLES = [
    Encoded("a", (5, 9, 13, 2, 7, 40), (IGNORED, IGNORED, 13, 2, 7, 40), 0),
    Encoded("b", (6, 9, 33), (IGNORED, 9, 33), 0),
    Encoded("c", (50, 5, 9, 13, 2, 8, 8, 1), (IGNORED, 5, 9, IGNORED, IGNORED, 8, 8, 1), 0),
]


def logits(model, batch):
    with torch.no_grad():
        hidden = model.base_model(
            input_ids=batch.ids, position_ids=batch.positions, lengths=batch.lengths, use_cache=False
        ).last_hidden_state
        return model.get_output_embeddings()(hidden)[0]


def gradients(loss_model, batches):
    loss_model.zero_grad()
    for batch in batches:
        loss_model(batch).backward()
    return torch.cat([weight.grad.flatten() for weight in loss_model.parameters() if weight.grad is not None])


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_logits_equal_unpacked_logits(family):
    model = build(family, RECIPE).eval()
    packed = logits(model, pack(EXAMPLES))
    unpacked = torch.cat([logits(model, pack([example])) for example in EXAMPLES])
    torch.testing.assert_close(packed, unpacked, rtol=0, atol=1e-5)
    # the test is sensitive: as one example with continuing positions, the logits differ
    tokens = pack(EXAMPLES).ids.numel()
    running = replace(pack(EXAMPLES), positions=torch.arange(tokens)[None], lengths=(tokens,))
    assert (logits(model, running) - unpacked).abs().max() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_gradients_equal_the_sum_of_unpacked_gradients(family):
    loss_model = LossModel(build(family, RECIPE)).eval()
    packed, unpacked = gradients(loss_model, [pack(EXAMPLES)]), gradients(loss_model, [pack([e]) for e in EXAMPLES])
    assert (packed - unpacked).norm() < 1e-5 * unpacked.norm()


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_equal_those_of_transformers(family):
    model = build(family, RECIPE).eval()
    implementation, loss_sum = model.config._attn_implementation, torch.tensor(0.0)
    model.set_attn_implementation("eager")
    for example in EXAMPLES:
        ids, labels = torch.tensor([example.ids]), torch.tensor([example.labels])
        loss_sum = (
            loss_sum + model(input_ids=ids, labels=labels).loss * example.supervised
        )  # its mean over supervised tokens
    loss_sum.backward()
    expected = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
    model.set_attn_implementation(implementation)
    loss_model = LossModel(model)
    assert loss_model(pack(EXAMPLES)).item() == pytest.approx(loss_sum.item(), rel=1e-5)
    assert (gradients(loss_model, [pack(EXAMPLES)]) - expected).norm() < 1e-5 * expected.norm()


def test_the_loss_does_not_depend_on_the_chunk_size(monkeypatch):
    loss_model = LossModel(build("llama", RECIPE)).eval()
    whole = loss_model(pack(EXAMPLES)).item(), gradients(loss_model, [pack(EXAMPLES)])
    monkeypatch.setattr("lima.training.logit_chunks.CHUNK_BYTES", 9 * 60 * 4)  # nine tokens, 60 words, fp32
    seen = []
    monkeypatch.setattr("lima.training.loss.logits_of", lambda rows, matrix: seen.append(len(rows)) or matrix @ rows.T)
    sliced = loss_model(pack(EXAMPLES)).item(), gradients(loss_model, [pack(EXAMPLES)])
    assert set(seen) == {8}  # 4 + 2 + 5 supervised tokens and five padding rows, eight at a time
    assert sliced[0] == pytest.approx(whole[0], rel=1e-6)
    assert (sliced[1] - whole[1]).norm() < 1e-6 * whole[1].norm()


@pytest.mark.parametrize(
    ("tokens", "slices"), [(0, []), (8, [8]), (512, [512]), (520, [520]), (536, [272, 264]), (1168, [392, 392, 384])]
)
def test_chunks_are_few_and_of_similar_length(tokens, slices):
    size = chunk_tokens(tokens, vocabulary=48_000)  # 524 tokens' logits take 96 MiB
    assert [min(size, tokens - start) for start in range(0, tokens, size)] == slices


def test_a_chunk_has_at_least_eight_tokens():
    assert chunk_tokens(80, vocabulary=10**8) == 8


def test_logits_are_computed_for_supervised_tokens_only(monkeypatch):
    loss_model = LossModel(build("llama", RECIPE)).eval()
    seen = []
    monkeypatch.setattr("lima.training.loss.logits_of", lambda rows, matrix: seen.append(len(rows)) or matrix @ rows.T)
    loss_model(pack(EXAMPLES))
    assert sum(example.supervised for example in EXAMPLES) == 11
    assert seen == [16]  # the next multiple of eight


def test_the_bf16_loss_is_within_one_percent_of_fp32():
    loss_model = LossModel(build("llama", RECIPE)).eval()
    exact = gradients(loss_model, [pack(EXAMPLES)])
    loss_sum = loss_model(pack(EXAMPLES)).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss_model(pack(EXAMPLES)).item() == pytest.approx(loss_sum, rel=0.01)
        rounded = gradients(loss_model, [pack(EXAMPLES)])
    assert rounded.dtype == torch.float32
    assert (rounded - exact).norm() < 0.05 * exact.norm()


def test_an_output_head_with_a_bias_is_refused():
    model = build("llama", RECIPE)
    model.set_output_embeddings(torch.nn.Linear(16, 60, bias=True))
    with pytest.raises(UnsupportedHead, match=r"the output head of LlamaForCausalLM is not .*: Linear\(.*bias=True\)"):
        fuse_output_head(model)


def test_unsupported_attention_uses_an_implementation_of_transformers():
    kinds = {family: build(family, RECIPE).config._attn_implementation for family in FAMILIES}
    assert kinds.pop("mistral, its window shorter than the examples") == "sdpa"
    assert kinds.pop("gemma2") == "eager"  # soft-capped attention logits
    assert kinds.pop("stablelm") == kinds.pop("nemotron") == "sdpa"  # their layers drop the lengths
    assert set(kinds.values()) == {attention.PACKED}
