"""Variable-length kernels compute the attention of a packed row in one call; CPU tests inject a reference kernel."""

import inspect
import re
import sys
from types import SimpleNamespace

import pytest
import small
import torch
from families import build
from torch.nn.attention import varlen

from lima.training import attention, varlen_attention
from lima.training.loss import LossModel
from lima.training.packing import pack
from lima.training.tokenization import IGNORED, Encoded
from lima.training.varlen_attention import Kernel, PackedRow, cumulative, select

RECIPE = small.recipe(max_tokens=32)
HEADS = (4, 2, 8)  # query heads, key heads, width
EXAMPLES = [
    Encoded("a", (5, 9, 13, 2, 7, 40), (IGNORED, IGNORED, 13, 2, 7, 40), 0),
    Encoded("b", (6, 9, 33), (IGNORED, 9, 33), 0),
    Encoded("c", (50, 5, 9, 13, 2, 8, 8, 1), (IGNORED, 5, 9, IGNORED, IGNORED, 8, 8, 1), 0),
]


def recording(calls, *, bounded=True, windows=True):
    """Attention over a whole row with a mask from the boundaries; not bounded: examples attend to earlier ones."""

    def attend(query, key, value, cumulative, longest, *, scale, window):
        calls.append((cumulative.tolist(), longest, window))
        assert cumulative.dtype == torch.int32
        tokens, heads, width = query.shape
        example = torch.bucketize(torch.arange(tokens), cumulative[1:], right=True)
        distance = torch.arange(tokens)[:, None] - torch.arange(tokens)[None]
        visible = distance >= 0
        if bounded:
            visible &= example[:, None] == example[None]
        if window is not None and windows:
            visible &= distance < window
        k, v = (tensor.repeat_interleave(heads // tensor.shape[1], dim=1).float() for tensor in (key, value))
        scores = torch.einsum("qhw,khw->hqk", query.float(), k) * (width**-0.5 if scale is None else scale)
        weights = scores.masked_fill(~visible, -torch.inf).softmax(dim=-1)
        return torch.einsum("hqk,khw->qhw", weights, v).to(query.dtype)

    return attend


def gradients(loss_model):
    loss_model.zero_grad()
    loss = loss_model(pack(EXAMPLES))
    loss.backward()
    return loss.item(), torch.cat([w.grad.flatten() for w in loss_model.parameters() if w.grad is not None])


@pytest.fixture
def fp32_kernels(monkeypatch):
    """Let kernels compute in fp32, so that equality is not limited by rounding."""
    monkeypatch.setattr(varlen_attention, "DTYPES", (torch.float32, torch.bfloat16))
    monkeypatch.setattr(varlen_attention, "WIDTH_STEP", 4)  # the tiny models' heads have four elements


@pytest.mark.parametrize("family", ["llama", "granite", "qwen3", "gemma3_text"])  # granite scales scores
def test_one_call_per_row_equals_one_call_per_example(family, fp32_kernels):
    calls = []
    model = build(family, RECIPE).eval()
    expected = gradients(LossModel(model))
    loss, gradient = gradients(LossModel(model, Kernel("reference", recording(calls))))
    assert calls == [([0, 6, 9, 17], 8, None)] * 2  # one call in each of two layers; no window is as short as 8 tokens
    assert loss == pytest.approx(expected[0], rel=1e-6)
    assert (gradient - expected[1]).norm() < 1e-5 * expected[1].norm()


def test_a_kernel_without_boundaries_changes_the_loss(fp32_kernels):
    model = build("llama", RECIPE).eval()
    loss, _ = gradients(LossModel(model, Kernel("unbounded", recording([], bounded=False))))
    assert abs(loss - gradients(LossModel(model))[0]) > 0.01


def test_attention_sinks_use_one_call_per_example(fp32_kernels):
    calls = []
    model = build("gpt_oss", RECIPE).eval()
    loss, _ = gradients(LossModel(model, Kernel("reference", recording(calls))))
    assert calls == []
    assert loss == gradients(LossModel(model))[0]


def test_fp32_and_odd_head_widths_use_one_call_per_example():
    calls = []
    row = PackedRow(cumulative((3, 2)), 3, Kernel("reference", recording(calls)))
    wide = torch.ones(1, 2, 5, 8)
    assert row.attention(wide, wide, wide, scale=None, window=None) is None  # fp32
    odd = wide[..., :5].bfloat16()
    assert row.attention(odd, odd, odd, scale=None, window=None) is None
    with torch.autocast("cpu", dtype=torch.bfloat16):  # rotated queries are fp32 under autocast
        output = row.attention(wide, wide, wide.bfloat16(), scale=None, window=None)
    assert (output.dtype, tuple(output.shape)) == (torch.bfloat16, (1, 5, 2, 8))


def raising(error):
    def attend(*_, **__):
        raise error

    return attend


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (recording([], bounded=False), r"broken: differs from one call per example by [\d.]+"),
        (recording([], windows=False), r"broken: differs from one call per example by [\d.]+"),
        (varlen_attention.torch_varlen(varlen), r"broken: .*"),  # PyTorch has no kernel for CPUs
        (raising(NotImplementedError()), r"broken: NotImplementedError$"),  # an error without a text
    ],
)
def test_the_first_kernel_that_equals_one_call_per_example_is_selected(broken, reason):
    exact = Kernel("exact", recording([]))
    kernel, rejected = select([Kernel("broken", broken), exact], attention._reference, heads=HEADS, device="cpu")
    assert kernel is exact
    assert len(rejected) == 1
    assert re.match(reason, rejected[0])
    assert select([Kernel("broken", broken)], attention._reference, heads=HEADS, device="cpu")[0] is None


@pytest.mark.parametrize("grouped_option", [True, False])
def test_pytorchs_kernel_is_called_with_the_options_of_its_version(grouped_option):
    calls = []

    def old(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, window_size=(-1, -1)):
        calls.append({"scale": scale, "window_size": window_size})

    def new(*tensors, scale=None, window_size=(-1, -1), enable_gqa=False):
        calls.append({"scale": scale, "window_size": window_size, "enable_gqa": enable_gqa})

    attend = varlen_attention.torch_varlen(SimpleNamespace(varlen_attn=new if grouped_option else old))
    query, key = torch.ones(5, 4, 8), torch.ones(5, 2, 8)
    attend(query, key, key, cumulative((5,)), 5, scale=0.5, window=3)
    attend(query, query, query, cumulative((5,)), 5, scale=None, window=None)
    options = [{"enable_gqa": True}, {"enable_gqa": False}] if grouped_option else [{}, {}]
    assert calls == [
        {"scale": 0.5, "window_size": (2, 0)} | options[0],  # a token and the two before it
        {"scale": None, "window_size": (-1, 0)} | options[1],
    ]


def test_pytorchs_installed_kernel_has_the_parameters_that_are_used():
    parameters = inspect.signature(varlen.varlen_attn).parameters
    assert list(parameters)[:7] == ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"]
    assert {"scale", "window_size"} <= parameters.keys()
    assert [kernel.name for kernel in varlen_attention.installed()] == [f"varlen_attn of PyTorch {torch.__version__}"]


@pytest.mark.parametrize("wrap", [lambda output: output, lambda output: (output, "softmax statistics")])
def test_flash_attn_is_called_causally_with_the_window(wrap):
    calls = []

    def flash_attn_varlen_func(*arguments, **options):
        calls.append(options)
        return wrap(arguments[0])

    attend = varlen_attention._flash_attention(SimpleNamespace(flash_attn_varlen_func=flash_attn_varlen_func))
    query = torch.ones(5, 4, 8)
    assert attend(query, query, query, cumulative((5,)), 5, scale=0.5, window=3) is query
    attend(query, query, query, cumulative((5,)), 5, scale=None, window=None)
    assert calls == [
        {"softmax_scale": 0.5, "causal": True, "window_size": (2, 0)},
        {"softmax_scale": None, "causal": True, "window_size": (-1, -1)},
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("raise ImportError('undefined symbol: _ZN3c10')", "undefined symbol: _ZN3c10"),  # for another PyTorch
        ("", "module 'flash_attn' has no attribute 'flash_attn_varlen_func'"),  # another package of that name
    ],
)
def test_a_package_that_cannot_be_used_is_rejected_with_the_reason(tmp_path, monkeypatch, content, reason):
    (tmp_path / "flash_attn.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "flash_attn", raising=False)
    kernel, rejected = select(varlen_attention.installed(), attention._reference, heads=HEADS, device="cpu")
    monkeypatch.delitem(sys.modules, "flash_attn", raising=False)
    assert kernel is None
    assert rejected[-1] == f"FlashAttention 2: {reason}"


def test_a_cpu_has_no_kernel(capsys):
    assert attention.select_kernel(build("llama", RECIPE), torch.device("cpu"), bf16=True, log=True) is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("family", "kernels", "expected"),
    [
        ("llama", True, "attention: one call of exact per row; not broken: "),
        ("llama", False, "attention: one call per example; not broken: "),
        ("gemma2", True, "attention: transformers' eager with a mask over the row\n"),
    ],
)
def test_the_choice_is_logged_once(family, kernels, expected, monkeypatch, capsys):
    broken, exact = Kernel("broken", recording([], bounded=False)), Kernel("exact", recording([]))
    monkeypatch.setattr(varlen_attention, "installed", lambda: [broken, exact] if kernels else [broken])
    monkeypatch.setattr(varlen_attention, "WIDTH_STEP", 4)
    # the device's name decides only; tensors are made on the CPU
    monkeypatch.setattr(varlen_attention, "select", lambda *a, device, **b: select(*a, device="cpu", **b))
    kernel = attention.select_kernel(build(family, RECIPE), torch.device("cuda"), bf16=True, log=True)
    assert (kernel is exact) == (family == "llama" and kernels)
    log = capsys.readouterr().err
    assert log.startswith(expected)
    assert log.count("\n") == 1


def test_in_fp32_no_kernel_is_selected(monkeypatch, capsys):
    monkeypatch.setattr(varlen_attention, "installed", lambda: [Kernel("exact", recording([]))])
    assert attention.select_kernel(build("llama", RECIPE), torch.device("cuda"), bf16=False, log=True) is None
    expected = "attention: one call per example, since the kernels need train.precision: bf16\n"
    assert capsys.readouterr().err == expected
