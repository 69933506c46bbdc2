"""The self-check passes exact models and names the failed checks of others."""

import pytest
import small
import tokenizers_of
import torch
from families import ENDS, EXACT, FAMILIES, MORE, REFUSED, WITHOUT_DROPOUT
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM

from lima.config.entries import Lora
from lima.errors import LimaError
from lima.records import StepMetrics
from lima.training import attention, launch, lora_layers, loss, selfcheck, tokenization
from lima.training.loss import LossModel
from lima.training.packing import pack
from lima.training.selfcheck import SelfCheckFailed

LOSS, PACKED, GRADIENTS = (
    "loss equals the model's own",
    "packed loss equals unpacked loss",
    "packed gradients equal the model's own",
)
SUPERVISED, LEARNED = "EOT ends each response, supervised", "EOT's embeddings get a gradient"
CONTROL, POSITIONS = "control tokens in texts are plain text", "positions suffice for max_tokens"
RECIPE = small.recipe(max_tokens=64, residual_dropout=0.1)
ARCHITECTURES = {family: (settings, EXACT) for family, settings in FAMILIES.items() if "window" not in family} | MORE


def ready(family, recipe=RECIPE, *, lora=None, **changes):
    """A tiny model of an architecture, prepared for training, its tokenizer and the id of EOT."""
    tokenizer = tokenizers_of.byte_level()
    settings = {"initializer_range": 0.3, "max_position_embeddings": 128, **ENDS, **ARCHITECTURES[family][0]}
    torch.manual_seed(3)
    config = AutoConfig.for_model(family, **settings | {"vocab_size": len(tokenizer)} | changes)
    model = AutoModelForCausalLM.from_config(config)
    eot_id = tokenization.add_eot(model, tokenizer, "<|eot|>", start="mean")
    launch.configure_for_training(model, recipe)
    if lora:
        lora_layers.add(model, lora, seed=1)
    return model, tokenizer, eot_id


def failed(started, recipe=RECIPE):
    return {check.name for check in selfcheck.run(*started, recipe=recipe) if not check.passed}


def outcome(family, recipe):
    try:
        return failed(ready(family, recipe), recipe)
    except LimaError as error:
        return {type(error).__name__}


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_each_architecture_is_exact_or_refused(family):
    expected = ARCHITECTURES[family][1]
    with_dropout = outcome(family, RECIPE)
    assert (with_dropout == set()) == (expected == EXACT), with_dropout
    if expected != EXACT:
        without = outcome(family, small.recipe(max_tokens=64, residual_dropout=0.0))
        assert (without == set()) == (expected == WITHOUT_DROPOUT), without
        if expected == REFUSED:
            assert without == {"UnsupportedHead"} or GRADIENTS in without


@pytest.mark.parametrize("changes", [{"gradient_checkpointing": True}, {"precision": "bf16"}])
def test_the_checks_pass_with_gradient_checkpointing_and_bf16(changes):
    recipe = small.recipe(max_tokens=64, residual_dropout=0.1, **changes)
    checks = selfcheck.run(*ready("llama", recipe), recipe=recipe)
    assert all(check.passed for check in checks)
    assert ("loss in bf16" in {check.name for check in checks}) == (recipe.precision == "bf16")


def test_the_checks_pass_with_lora():
    assert failed(ready("llama", lora=Lora(rank=4, alpha=8))) == set()


def test_a_wrong_logit_scale_fails_with_the_values(monkeypatch):
    monkeypatch.setattr(loss, "logit_scale", lambda _: 1.0)
    started = ready("granite")
    checks = {check.name: check for check in selfcheck.run(*started, recipe=RECIPE)}
    assert {name for name, check in checks.items() if not check.passed} == {LOSS, GRADIENTS}
    model, tokenizer, eot_id = started
    with torch.no_grad():
        wrong = sum(float(LossModel(model).eval()(pack([e]))) for e in selfcheck.encoded(tokenizer, eot_id))
    assert checks[LOSS].got == f"{wrong:.4f}"
    with pytest.raises(SelfCheckFailed) as caught:
        selfcheck.require(*started, recipe=RECIPE, accelerator=small.accelerator(RECIPE))
    expected = checks[LOSS].expected
    assert str(caught.value).startswith(
        f"GraniteForCausalLM fails the self-check before training: {LOSS}: expected {expected}, got {wrong:.4f} "
        "(tolerance 0.0001 (relative)); "
    )


def test_attention_across_packed_examples_fails():
    model, tokenizer, eot_id = ready("stablelm")
    model.set_attn_implementation(attention.PACKED)  # StableLM's layers drop the lengths
    assert failed((model, tokenizer, eot_id)) == {PACKED, GRADIENTS}


def test_attention_that_drops_sinks_fails():
    def without_sinks(*tensors, s_aux=None, **rest):
        return attention.packed(*tensors, **rest)

    AttentionInterface.register("without sinks", without_sinks)
    model, tokenizer, eot_id = ready("gpt_oss")
    model.set_attn_implementation("without sinks")
    assert failed((model, tokenizer, eot_id)) == {LOSS, GRADIENTS}


def test_a_wrong_gradient_fails(monkeypatch):
    right = loss._FusedLinearCrossEntropy.backward

    def wrong(ctx, *upstream):
        hidden, *rest = right(ctx, *upstream)
        return 2 * hidden, *rest

    monkeypatch.setattr(loss._FusedLinearCrossEntropy, "backward", staticmethod(wrong))
    assert failed(ready("llama")) == {GRADIENTS}


def test_gradients_are_compared_in_the_first_and_last_layer_and_outside_the_layers():
    model, _, _ = ready("llama", num_hidden_layers=3)
    model.model.layers[0].mlp.up_proj.weight.requires_grad_(False)
    compared = selfcheck._compared(model).keys()
    assert {name for name in compared if "layers" not in name} == {
        *("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
    }
    assert {name.split(".")[2] for name in compared if "layers" in name} == {"0", "2"}
    assert "model.layers.2.mlp.up_proj.weight" in compared
    assert "model.layers.0.mlp.up_proj.weight" not in compared  # it is frozen


def test_the_check_reads_no_more_tokens_than_training():
    """The limit may be the number of positions of the model, beyond which it would fail."""
    recipe = small.recipe(max_tokens=24, residual_dropout=0.0)
    model, tokenizer, eot_id = ready("llama", recipe)
    assert all(len(example.ids) > 24 for example in selfcheck.encoded(tokenizer, eot_id))
    lengths = []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    selfcheck.run(model, tokenizer, eot_id, recipe=recipe)
    # each of the two examples by itself as the reference and unpacked, then both packed into one row
    assert lengths == [24, 24, 24, 24, 48]


def test_dropout_of_the_base_model_fails():
    model, tokenizer, eot_id = ready("llama")
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    assert LOSS in failed((model, tokenizer, eot_id))


def test_an_inexact_bf16_loss_fails(monkeypatch):
    recipe = small.recipe(max_tokens=64, precision="bf16")
    monkeypatch.setattr(selfcheck, "BF16_TOLERANCE", 0.0)
    assert failed(ready("llama", recipe), recipe) == {"loss in bf16"}


@pytest.mark.parametrize("place", ["get_input_embeddings", "get_output_embeddings"])
def test_frozen_embeddings_of_eot_fail(place):
    model, tokenizer, eot_id = ready("llama")
    getattr(model, place)().weight.requires_grad_(False)
    assert LEARNED in failed((model, tokenizer, eot_id))


def test_eot_as_padding_fails_because_its_embedding_has_no_gradient():
    model, tokenizer, eot_id = ready("llama")
    model.get_input_embeddings().padding_idx = eot_id
    assert failed((model, tokenizer, eot_id)) == {LEARNED}


def test_responses_without_a_supervised_eot_fail(monkeypatch):
    model, tokenizer, eot_id = ready("llama")
    right = tokenization.encode

    def unsupervised(*args, **rest):
        return [
            tokenization.Encoded(e.id, e.ids, tuple(tokenization.IGNORED if i == eot_id else i for i in e.labels), 0)
            for e in right(*args, **rest)
        ]

    monkeypatch.setattr(tokenization, "encode", unsupervised)
    assert failed((model, tokenizer, eot_id)) == {SUPERVISED}


def test_control_tokens_in_texts_fail_by_name(monkeypatch):
    started = ready("llama")

    def active(tokenizer, messages, *, add_generation_prompt=False):
        return tokenizer.apply_chat_template(
            messages, add_generation_prompt=add_generation_prompt, return_dict=False, sanitize_control_tokens=False
        )

    monkeypatch.setattr(tokenization, "chat_ids", active)
    monkeypatch.setattr(tokenization, "_refuse_control_tokens", lambda *_: None)
    (check,) = [check for check in selfcheck.run(*started, recipe=RECIPE) if not check.passed]
    assert check.name == CONTROL
    assert "<|im_end|>" in check.got


def test_too_few_positions_skip_the_other_checks():
    checks = selfcheck.run(*ready("gpt2", n_positions=8, max_position_embeddings=8), recipe=RECIPE)
    assert [(check.name, check.expected, check.got, check.passed) for check in checks] == [
        (POSITIONS, "at least 64", "8", False)
    ]
    assert checks[0].fix == "set train.max_tokens to at most 8"


def test_the_model_and_the_random_state_do_not_change():
    recipe = small.recipe(max_tokens=64, residual_dropout=0.3, gradient_checkpointing=True)
    model, tokenizer, eot_id = ready("llama", recipe)
    model.eval()
    model.model.layers[0].train()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    state, kept = torch.get_rng_state(), model.config._attn_implementation
    draws = []
    model.model.norm.register_forward_hook(lambda *_: draws.append(torch.rand(1)))
    selfcheck.run(model, tokenizer, eot_id, recipe=recipe)
    assert draws
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert model.config._attn_implementation == kept
    assert "forward" not in vars(model.get_output_embeddings())
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name])
        assert weight.grad is None


def test_training_after_the_check_is_bit_identical(tmp_path):
    recipe, runs = small.recipe(residual_dropout=0.3, gradient_checkpointing=True), []
    for checked in (False, True):
        model, tokenizer, eot_id, encoded = small.start(tmp_path, recipe)
        accelerator = small.accelerator(recipe)
        if checked:
            selfcheck.require(model, tokenizer, eot_id, recipe=recipe, accelerator=accelerator)
        metrics = list(small.fitted(model, encoded, encoded[:2], recipe=recipe, accelerator=accelerator))
        steps = [(metric.loss, metric.grad_norm) for metric in metrics if isinstance(metric, StepMetrics)]
        runs.append((steps, model.state_dict()))
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(weight, runs[1][1][name]) for name, weight in runs[0][1].items())
