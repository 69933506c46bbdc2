from types import SimpleNamespace

import pytest
import small
import torch
from families import ENDS, FAMILIES, TINY, build
from transformers import AutoConfig, AutoModelForCausalLM, OPTConfig, OPTForCausalLM

from lima.training import launch, residual_dropout
from lima.training.loss import LossModel
from lima.training.packing import pack
from lima.training.residual_dropout import UnknownArchitecture, add_residual_dropout, rates
from lima.training.tokenization import Encoded

BATCH = pack([Encoded("a", tuple(range(1, 31)), tuple(range(1, 31)), 0)])
SMALL_OPT = {"hidden_size": 8, "ffn_dim": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "word_embed_proj_dim": 8}


class Attention(torch.nn.Module):
    """Returns its input, and attention weights."""

    def forward(self, stream):
        return stream, "weights"


def branches(layers):
    """A model of identity sub-layers, and its layers."""
    made = [SimpleNamespace(self_attn=Attention(), mlp=torch.nn.Identity()) for _ in range(layers)]
    return SimpleNamespace(model=SimpleNamespace(layers=made)), made


def test_rates_rise_linearly_from_zero_to_top():
    # p·l/(L−1) with p = 0.2 and L = 5: steps of 0.05
    assert rates(5, 0.2) == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert rates(1, 0.3) == [0]


def test_each_sub_layer_drops_elements_at_its_layers_rate_and_keeps_the_mean():
    torch.manual_seed(0)
    model, layers = branches(4)
    add_residual_dropout(model, 0.3)
    ones = torch.ones(100, 1000)
    for layer, expected in zip(layers, (0, 0.1, 0.2, 0.3), strict=True):
        attention, weights = layer.self_attn(ones)
        assert weights == "weights"
        for output in (attention, layer.mlp(ones)):
            # of 100,000 elements the share dropped has σ = √(0.3·0.7/100,000) < 0.0015
            assert float((output == 0).float().mean()) == pytest.approx(expected, abs=0.0075)
            assert output.unique().tolist() == pytest.approx([0.0, 1 / (1 - expected)] if expected else [1.0])
            assert float(output.mean()) == pytest.approx(1, abs=0.011)


def test_elements_are_dropped_not_whole_branches_or_examples():
    torch.manual_seed(0)
    model, layers = branches(2)
    add_residual_dropout(model, 0.5)
    output = layers[1].mlp(torch.ones(20, 100))
    assert ((output == 0).any(dim=1) & (output != 0).any(dim=1)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_drops_elements_added_to_the_residual_stream(family):
    model = build(family, small.recipe(max_tokens=32, residual_dropout=0.5)).train()
    inner = model.base_model
    layers = getattr(inner, "layers", None) or inner.h
    added = []  # the residual stream before, between and after a layer's two additions
    for layer in layers:
        norm = getattr(layer, "ln_2", None) or getattr(layer, "pre_feedforward_layernorm", None)
        norm = norm or getattr(layer, "post_attention_layernorm", None)
        seen = {}
        layer.register_forward_pre_hook(lambda _, args, kw, seen=seen: seen.update(a=args[0]), with_kwargs=True)
        if norm is not None:
            norm.register_forward_pre_hook(lambda _, args, seen=seen: seen.update(b=args[0]))
        layer.register_forward_hook(
            lambda _, args, out, seen=seen: seen.update(c=out if torch.is_tensor(out) else out[0])
        )
        added.append(seen)
    torch.manual_seed(0)
    loss_model = LossModel(model)
    loss_model(BATCH)
    for seen, rate in zip(added, (0.0, 0.5), strict=True):
        # Cohere adds both at once: an element is unchanged where both dropped it, p²
        additions = {("a", "b"): rate, ("b", "c"): rate} if "b" in seen else {("a", "c"): rate**2}
        for (before, after), expected in additions.items():
            silent = float((seen[after] == seen[before]).float().mean())  # 30 tokens of 16 elements: σ = 0.023
            assert silent == pytest.approx(expected, abs=0.1), (before, after)


@pytest.mark.parametrize("kind", [True, "selective"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_checkpointing_gives_bit_identical_gradients(family, kind):
    def gradients(**changes):
        loss_model = LossModel(build(family, small.recipe(max_tokens=32, residual_dropout=0.3, **changes))).train()
        torch.manual_seed(0)
        loss_model(BATCH).backward()
        return {name: weight.grad for name, weight in loss_model.named_parameters()}

    plain, recomputed = gradients(), gradients(gradient_checkpointing=kind)
    for name, gradient in plain.items():
        assert (gradient is None and recomputed[name] is None) or torch.equal(gradient, recomputed[name]), name


def test_dropout_keeps_the_mean():
    model = build("llama", small.recipe(max_tokens=32, residual_dropout=0.4)).train()
    branch = model.model.layers[1].mlp
    stream = torch.randn(4, 16)
    torch.manual_seed(0)
    with torch.no_grad():
        expected = branch.eval()(stream)
        branch.train()
        mean = torch.stack([branch(stream) for _ in range(4000)]).mean(dim=0)
    # an element x comes as 0 or x/0.6: σ of the mean is |x|·√(0.4/0.6)/√4000 = 0.013·|x|
    assert ((mean - expected).abs() <= 5 * 0.013 * expected.abs() + 1e-6).all()


def test_the_dropout_modules_of_the_base_model_are_disabled(tmp_path):
    model = build("gpt2", small.recipe(max_tokens=32))
    assert model.config.resid_pdrop == 0.1  # the base was pretrained with it
    loss_model = LossModel(model.train())
    assert loss_model(BATCH).item() == loss_model(BATCH).item()


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llama", {**TINY, "attention_dropout": 0.5}),  # a number that each layer passes to its attention
        ("starcoder2", {**TINY, "attention_dropout": 0.5, "residual_dropout": 0.5, "embedding_dropout": 0.5}),
        ("opt", {**SMALL_OPT, "vocab_size": 60, "dropout": 0.5, "layerdrop": 0.5}),
    ],
)
def test_the_dropout_attributes_of_the_base_model_are_disabled(family, settings):
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **ENDS, **settings))
    with torch.no_grad():
        torch.manual_seed(1)
        first = model.train()(BATCH.ids).logits
        torch.manual_seed(2)
        assert not torch.equal(model(BATCH.ids).logits, first)  # the base drops
        launch.configure_for_training(model, small.recipe(max_tokens=32))
        loss_model = LossModel(model).train()
        assert loss_model(BATCH).item() == loss_model(BATCH).item() == loss_model.eval()(BATCH).item()


def test_disabled_restores_the_rates():
    model, layers = branches(2)
    model.modules = lambda: [module for layer in layers for module in (layer.self_attn, layer.mlp)]
    add_residual_dropout(model, 0.9)
    ones = torch.ones(1000)
    with residual_dropout.disabled(model):
        assert torch.equal(layers[1].mlp(ones), ones)
    assert float((layers[1].mlp(ones) == 0).float().mean()) == pytest.approx(0.9, abs=0.05)  # σ = 0.0095


def test_evaluation_mode_has_no_dropout(tmp_path):
    plain = small.start(tmp_path, small.recipe())[0].eval()
    dropping = small.start(tmp_path, small.recipe(residual_dropout=0.5))[0]
    ids = torch.arange(20)[None]
    with torch.no_grad():
        expected = plain(ids).logits
        assert torch.equal(dropping.eval()(ids).logits, expected)
        assert not torch.allclose(dropping.train()(ids).logits, expected)


def test_removing_the_handles_removes_the_dropout():
    model, layers = branches(2)
    handles = add_residual_dropout(model, 0.9)
    assert len(handles) == 4
    for handle in handles:
        handle.remove()
    assert torch.equal(layers[1].mlp(torch.ones(1000)), torch.ones(1000))


def test_an_unknown_architecture_is_refused():
    model = OPTForCausalLM(OPTConfig(vocab_size=8, **SMALL_OPT))
    with pytest.raises(UnknownArchitecture, match=r"OPTForCausalLM has neither.*set train\.residual_dropout to 0"):
        residual_dropout.add_residual_dropout(model, 0.2)
