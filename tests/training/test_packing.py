"""Examples that lie side by side in a row must not see each other."""

from dataclasses import replace

import pytest
import small
import torch
from families import FAMILIES, build

from lima.training import attention
from lima.training.loss import LossModel, UnsupportedHead, fuse_output_head, slice_tokens
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


def gradients(learner, batches):
    learner.zero_grad()
    for batch in batches:
        learner(batch).backward()
    return torch.cat([weight.grad.flatten() for weight in learner.parameters() if weight.grad is not None])


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_packed_examples_equal_those_of_each_alone(family):
    model = build(family, RECIPE).eval()
    together = logits(model, pack(EXAMPLES))
    alone = torch.cat([logits(model, pack([example])) for example in EXAMPLES])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    # the law bites: as one stretch whose positions run on, the examples see each other
    tokens = pack(EXAMPLES).ids.numel()
    running = replace(pack(EXAMPLES), positions=torch.arange(tokens)[None], lengths=(tokens,))
    assert (logits(model, running) - alone).abs().max() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_packed_examples_equal_the_sum_of_each_alone(family):
    learner = LossModel(build(family, RECIPE)).eval()
    together, alone = gradients(learner, [pack(EXAMPLES)]), gradients(learner, [pack([e]) for e in EXAMPLES])
    assert (together - alone).norm() < 1e-5 * alone.norm()


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_transformers_own_loss(family):
    model = build(family, RECIPE).eval()
    ours, nats = model.config._attn_implementation, torch.tensor(0.0)
    model.set_attn_implementation("eager")
    for example in EXAMPLES:
        ids, labels = torch.tensor([example.ids]), torch.tensor([example.labels])
        nats = nats + model(input_ids=ids, labels=labels).loss * example.supervised  # its mean over supervised tokens
    nats.backward()
    expected = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
    model.set_attn_implementation(ours)
    learner = LossModel(model)
    assert learner(pack(EXAMPLES)).item() == pytest.approx(nats.item(), rel=1e-5)
    assert (gradients(learner, [pack(EXAMPLES)]) - expected).norm() < 1e-5 * expected.norm()


def test_the_loss_is_the_same_however_few_logits_exist_at_a_time(monkeypatch):
    learner = LossModel(build("llama", RECIPE)).eval()
    whole = learner(pack(EXAMPLES)).item(), gradients(learner, [pack(EXAMPLES)])
    monkeypatch.setattr("lima.training.loss.SLICE", 9 * 60 * 4)  # nine tokens' logits over 60 words in fp32
    seen = []
    monkeypatch.setattr("lima.training.loss.logits_of", lambda rows, matrix: seen.append(len(rows)) or matrix @ rows.T)
    sliced = learner(pack(EXAMPLES)).item(), gradients(learner, [pack(EXAMPLES)])
    assert set(seen) == {8}  # 4 + 2 + 5 supervised tokens and five places that are none, eight at a time
    assert sliced[0] == pytest.approx(whole[0], rel=1e-6)
    assert (sliced[1] - whole[1]).norm() < 1e-6 * whole[1].norm()


@pytest.mark.parametrize(
    ("tokens", "slices"), [(0, []), (8, [8]), (512, [512]), (520, [520]), (536, [272, 264]), (1168, [392, 392, 384])]
)
def test_slices_are_as_few_as_their_bound_allows_and_about_as_long(tokens, slices):
    size = slice_tokens(tokens, vocabulary=48_000)  # 524 tokens' logits take 96 MiB
    assert [min(size, tokens - start) for start in range(0, tokens, size)] == slices


def test_a_vocabulary_beyond_the_bound_still_takes_eight_tokens_at_a_time():
    assert slice_tokens(80, vocabulary=10**8) == 8


def test_logits_exist_only_where_a_token_is_supervised(monkeypatch):
    learner = LossModel(build("llama", RECIPE)).eval()
    seen = []
    monkeypatch.setattr("lima.training.loss.logits_of", lambda rows, matrix: seen.append(len(rows)) or matrix @ rows.T)
    learner(pack(EXAMPLES))
    assert sum(example.supervised for example in EXAMPLES) == 11
    assert seen == [16]  # the next multiple of eight


def test_in_bf16_the_loss_is_within_a_percent_of_fp32s():
    learner = LossModel(build("llama", RECIPE)).eval()
    exact = gradients(learner, [pack(EXAMPLES)])
    nats = learner(pack(EXAMPLES)).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert learner(pack(EXAMPLES)).item() == pytest.approx(nats, rel=0.01)
        rounded = gradients(learner, [pack(EXAMPLES)])
    assert rounded.dtype == torch.float32
    assert (rounded - exact).norm() < 0.05 * exact.norm()


def test_a_head_that_does_more_than_multiply_is_refused_by_name():
    model = build("llama", RECIPE)
    model.set_output_embeddings(torch.nn.Linear(16, 60, bias=True))
    with pytest.raises(UnsupportedHead, match=r"the output head of LlamaForCausalLM is Linear\(.*bias=True\)"):
        fuse_output_head(model)


def test_attention_that_only_transformers_computes_is_left_to_it():
    kinds = {family: build(family, RECIPE).config._attn_implementation for family in FAMILIES}
    assert kinds.pop("mistral, its window shorter than the examples") == "sdpa"
    assert kinds.pop("gemma2") == "eager"  # it bends attention's logits
    assert kinds.pop("stablelm") == kinds.pop("nemotron") == "sdpa"  # their layers drop the lengths
    assert set(kinds.values()) == {attention.PACKED}
