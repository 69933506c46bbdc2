"""Fused layers equal the model's own, and only layers that do are replaced."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import small
import torch
from families import build
from transformers.models.llama import modeling_llama

from lima.training import fused_layers
from lima.training.fused_layers import Kernels, fuse, plain
from lima.training.loss import LossModel
from lima.training.packing import pack
from lima.training.tokenization import IGNORED, Encoded

CPU = torch.device("cpu")
RECIPE = small.recipe(max_tokens=32)
EXAMPLES = [
    Encoded("a", (5, 9, 13, 2, 7, 40), (IGNORED, IGNORED, 13, 2, 7, 40), 0),
    Encoded("b", (6, 9, 33), (IGNORED, 9, 33), 0),
]


def gradients(model, *, bf16=False):
    loss_model = LossModel(model)
    loss_model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        loss = loss_model(pack(EXAMPLES))
    loss.backward()
    return loss.item(), torch.cat([w.grad.flatten() for w in loss_model.parameters() if w.grad is not None])


@pytest.mark.parametrize(
    ("family", "counts"),
    [
        ("llama", {"RMSNorm": 5, "SwiGLU": 2, "rotary embedding": 1}),
        ("qwen3", {"RMSNorm": 9, "SwiGLU": 2, "rotary embedding": 1}),  # norms of query and key too
        ("gemma3_text", {"rotary embedding": 1}),  # its norm multiplies by 1 + weight, its MLP is not SwiGLU
        ("nemotron", {"rotary embedding": 1}),  # rotates half of each head: its own code does
        ("cohere", {"SwiGLU": 2}),  # LayerNorm, and an interleaved rotary embedding
        ("gpt2", {}),
    ],
)
def test_layers_that_equal_the_fused_ones_are_replaced(family, counts):
    model = build(family, RECIPE).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.normal_(1, 0.3)
    loss, gradient = gradients(model)
    fused = fuse(model, plain(), device=CPU)
    assert fused.counts == counts
    try:
        fused_loss, fused_gradient = gradients(model)
    finally:
        fused.remove()
    assert fused_loss == pytest.approx(loss, rel=1e-5)
    assert (fused_gradient - gradient).norm() < 1e-4 * gradient.norm()
    assert gradients(model)[0] == loss  # removed


def test_removing_restores_the_function_of_transformers():
    own = modeling_llama.apply_rotary_pos_emb
    fused = fuse(build("llama", RECIPE), plain(), device=CPU)
    assert modeling_llama.apply_rotary_pos_emb is not own
    fused.remove()
    assert modeling_llama.apply_rotary_pos_emb is own


@pytest.mark.parametrize("broken", ["rms_norm", "swiglu", "rotary"])
def test_a_kernel_with_another_result_is_not_used(broken):
    kinds = {"rms_norm": "RMSNorm", "swiglu": "SwiGLU", "rotary": "rotary embedding"}
    good = plain()
    functions = {name: getattr(good, name) for name in (*kinds, "dropout_add")}
    functions[broken] = lambda *inputs: (
        [1.01 * result for result in functions_of_good(broken)(*inputs)]
        if broken == "rotary"
        else 1.01 * functions_of_good(broken)(*inputs)
    )

    def functions_of_good(name):
        return getattr(good, name)

    fused = fuse(build("llama", RECIPE), Kernels("broken", **functions), device=CPU)
    fused.remove()
    assert fused.counts.keys() == set(kinds.values()) - {kinds[broken]}


@pytest.mark.parametrize("failing", ["rms_norm", "swiglu", "rotary", "dropout_add"])
def test_a_kernel_that_fails_is_not_used_and_the_reason_is_shown(failing):
    def fails(*_):
        raise OSError("no C compiler\nand a long explanation")  # as Triton's launcher, which is not a RuntimeError

    kinds = {
        "rms_norm": "RMSNorm",
        "swiglu": "SwiGLU",
        "rotary": "rotary embedding",
        "dropout_add": "residual dropout",
    }
    functions = {name: getattr(plain(), name) for name in kinds} | {failing: fails}
    fused = fuse(dropping("llama"), Kernels("failing", **functions), device=CPU)
    fused.remove()
    assert fused.counts.keys() == set(kinds.values()) - {kinds[failing]}
    assert str(fused).endswith(f" (failing); not {kinds[failing]}: no C compiler")


def test_norms_return_the_dtype_of_the_computation():
    model = build("llama", RECIPE).eval()
    loss, gradient = gradients(model, bf16=True)
    fused = fuse(model, plain(), device=CPU)
    seen = []
    handle = model.model.layers[0].mlp.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    try:
        fused_loss, fused_gradient = gradients(model, bf16=True)
    finally:
        fused.remove()
        handle.remove()
    assert seen == [torch.bfloat16]
    assert fused_loss == pytest.approx(loss, rel=0.01)
    assert (fused_gradient - gradient).norm() < 0.05 * gradient.norm()


def dropping(family, **changes):
    return build(family, small.recipe(max_tokens=32, residual_dropout=0.4, **changes)).train()


def with_dropout_add(function):
    good = plain()
    return Kernels("other", good.rms_norm, good.swiglu, good.rotary, function)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("kind", [False, True, "selective"])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_dropout_in_the_addition_gives_the_loss_and_gradients_of_dropout_before_it(family, kind, bf16):
    results = []
    for dropout_add in (fused_layers.dropout_add, lambda residual, branch, rate: residual + branch):  # not used
        model = dropping(family, gradient_checkpointing=kind)
        fused = fuse(model, with_dropout_add(dropout_add), device=CPU)
        torch.manual_seed(3)
        results.append((fused.counts["residual dropout"], *gradients(model, bf16=bf16)))
        fused.remove()
    (count, loss, gradient), (none, expected, expected_gradient) = results
    assert (count, none) == (2, 0)
    assert loss == expected
    assert torch.equal(gradient, expected_gradient)
    assert gradients(model.eval())[0] != loss


@pytest.mark.parametrize("family", ["granite", "gemma2", "cohere", "gpt2"])
def test_layers_that_add_otherwise_keep_their_dropout(family):
    # multiplied by a factor; normalised before the addition; both at once; another structure
    model = dropping(family)
    for layer in model.model.layers if family == "granite" else []:
        layer.residual_multiplier = 0.5
    fused = fuse(model, plain(), device=CPU)
    fused.remove()
    assert fused.counts["residual dropout"] == 0


def test_the_layers_own_dropout_is_back_after_removal():
    model = dropping("llama")
    torch.manual_seed(3)
    loss, _ = gradients(model)
    fused = fuse(model, plain(), device=CPU)
    fused.remove()
    torch.manual_seed(3)
    assert gradients(model)[0] == loss


@pytest.mark.parametrize(
    "other",
    [
        lambda residual, branch, rate: residual + branch,
        lambda residual, branch, rate: residual + branch * (torch.rand_like(branch) >= rate + 0.1) / (1 - rate),
        lambda residual, branch, rate: residual + branch * (torch.rand_like(branch) >= rate),  # not scaled
        lambda residual, branch, rate: residual + torch.dropout(branch.detach(), rate, True) + 0 * branch,
    ],
)
def test_dropout_of_another_rate_scale_or_gradient_is_not_used(other):
    fused = fuse(dropping("llama"), with_dropout_add(other), device=CPU)
    fused.remove()
    assert fused.counts["residual dropout"] == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, within torch.compile
def test_compiled_dropout_has_the_rate_of_each_layer_and_follows_the_seed():
    added = fused_layers.compiled("aot_eager", whole=True).dropout_add
    zeros, ones = torch.zeros(40, 1000), torch.ones(40, 1000)
    for rate in (0.1, 0.3):
        torch.manual_seed(5)
        output = added(zeros, ones, rate)
        torch.manual_seed(5)
        assert torch.equal(added(zeros, ones, rate), output)
        # of 40,000 elements the share dropped has σ = √(0.3·0.7/40,000) = 0.0023
        assert float((output == 0).float().mean()) == pytest.approx(rate, abs=0.012)
        assert output.unique().tolist() == pytest.approx([0.0, 1 / (1 - rate)])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, within torch.compile
def test_compiled_functions_equal_the_plain_ones():
    """Traced and differentiated as for CUDA, without generating kernels, which takes a minute."""
    fused = fuse(dropping("llama"), fused_layers.compiled("aot_eager", whole=True), device=CPU)
    fused.remove()
    assert fused.counts == {"RMSNorm": 5, "SwiGLU": 2, "rotary embedding": 1, "residual dropout": 2}
    counts = "5 RMSNorm, 2 SwiGLU, 1 rotary embedding, 2 residual dropout"
    assert str(fused) == f"{counts} (torch.compile of PyTorch {torch.__version__})"


class RotaryInPlace(torch.autograd.Function):
    """As Liger's kernel: the rotated numbers replace the input's, and autograd's version counter does not change."""

    @staticmethod
    def forward(ctx, query, key, cosine, sine):
        ctx.save_for_backward(cosine, sine)
        for tensor, rotated in zip((query, key), fused_layers.rotary(query, key, cosine, sine), strict=True):
            tensor.data.copy_(rotated)
        return query.view_as(query), key.view_as(key)

    @staticmethod
    def backward(ctx, *upstream):
        cosine, sine = ctx.saved_tensors
        return *fused_layers.rotary(*upstream, cosine, -sine), None, None


@pytest.fixture
def liger(monkeypatch):
    """A package with the interface of liger-kernel, for CPUs; returns the arguments of its RMSNorm."""
    calls = []

    def norm(hidden, weight, epsilon, offset, casting_mode, in_place):
        calls.append((offset, casting_mode, in_place))
        return fused_layers.rms_norm(hidden, weight, epsilon)

    modules = {
        "liger_kernel": {},
        "liger_kernel.ops": {},
        "liger_kernel.ops.rms_norm": {"LigerRMSNormFunction": SimpleNamespace(apply=norm)},
        "liger_kernel.ops.swiglu": {"LigerSiLUMulFunction": SimpleNamespace(apply=fused_layers.swiglu)},
        "liger_kernel.transformers": {},
        "liger_kernel.transformers.rope": {"liger_rotary_pos_emb": RotaryInPlace.apply},
    }
    for name, attributes in modules.items():
        module = ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(fused_layers, "find_spec", lambda name: name == "liger_kernel")
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)  # takes a minute on a CPU
    return calls


def test_liger_is_preferred_and_called_with_its_arguments(liger):
    fused = fuse(build("llama", RECIPE), fused_layers.installed(), device=CPU)
    fused.remove()
    assert str(fused) == "5 RMSNorm, 2 SwiGLU, 1 rotary embedding (Liger)"
    assert set(liger) == {(0.0, "llama", False)}


def test_with_liger_selective_checkpointing_gives_the_gradients_of_none(liger):
    """Selective checkpointing keeps outputs of products, so that nothing may write into them."""
    results = []
    for kind in (False, "selective"):
        model = build("llama", small.recipe(max_tokens=32, gradient_checkpointing=kind)).train()
        fused = fuse(model, fused_layers.installed(), device=CPU)
        results.append(gradients(model))
        fused.remove()
    (loss, gradient), (other_loss, other_gradient) = results
    assert other_loss == loss
    assert (other_gradient - gradient).norm() < 1e-6 * gradient.norm()


def test_the_cpu_keeps_the_models_code_and_says_so(tmp_path, capsys):
    recipe = small.recipe(fused_layers=True, epochs=1)
    losses = []
    for changed in (recipe, recipe.model_copy(update={"fused_layers": False})):
        model, _, _, encoded = small.start(tmp_path, changed)
        metrics = small.fitted(model, encoded, encoded, recipe=changed, accelerator=small.accelerator(changed))
        losses.append([metric.loss for metric in metrics if hasattr(metric, "loss")])
    assert losses[0] == losses[1]
    assert capsys.readouterr().err.count("fused layers: none, since they need CUDA\n") == 1


def test_a_bf16_residual_stream_stays_near_fp32(tmp_path):
    """8 steps: the losses in bf16 with either stream are within 3 % of those in fp32."""
    curves, streams = {}, []
    for name, changes in {
        "fp32": {},
        "bf16": {"precision": "bf16"},
        "bf16 stream": {"precision": "bf16", "residual_precision": "bf16"},
    }.items():
        recipe = small.recipe(epochs=8, lr=4e-3, batch_size=7, micro_batch_tokens=1000, **changes)
        model, _, _, encoded = small.start(tmp_path, recipe)
        layer = model.model.layers[1]
        handle = layer.register_forward_pre_hook(lambda _, inputs, name=name: streams.append((name, inputs[0].dtype)))
        metrics = small.fitted(model, encoded, encoded[:2], recipe=recipe, accelerator=small.accelerator(recipe))
        curves[name] = [metric.loss for metric in metrics if hasattr(metric, "loss")]
        handle.remove()
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert set(streams) == {("fp32", torch.float32), ("bf16", torch.float32), ("bf16 stream", torch.bfloat16)}
    assert len(curves["fp32"]) == 8
    assert curves["fp32"][-1] < 0.9 * curves["fp32"][0]
    for name in ("bf16", "bf16 stream"):
        assert curves[name] == pytest.approx(curves["fp32"], rel=0.03)


def test_a_bf16_stream_in_fp32_is_an_error():
    with pytest.raises(ValueError, match=r"residual_precision bf16 has no effect in precision fp32"):
        small.recipe(residual_precision="bf16")
