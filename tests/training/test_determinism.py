"""`train.deterministic`: PyTorch's deterministic mode; operations and kernels without determinism are refused."""

import os
from types import SimpleNamespace

import pytest
import small
import torch
from pydantic import ValidationError

from lima.training import attention, determinism, varlen_attention
from lima.training.determinism import NotDeterministic
from lima.training.varlen_attention import Kernel, cumulative

HEADS = (4, 2, 8)  # query heads, key heads, width


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """PyTorch's mode and the environment are those of the process after each test."""
    filled = torch.utils.deterministic.fill_uninitialized_memory
    monkeypatch.delenv(determinism.WORKSPACE, raising=False)
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = filled


def trained(folder, train, change=lambda model: None):
    """Metrics without times, and weights, after training."""
    model, _, _, encoded = small.start(folder, train)
    change(model)
    metrics = small.fitted(model, encoded, encoded[:2], recipe=train, accelerator=small.accelerator(train))
    return [metric.model_dump(exclude={"seconds"}) for metric in metrics], model.state_dict()


def test_the_recipe_switches_the_mode_on_and_off():
    small.accelerator(small.recipe(deterministic=True))
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ[determinism.WORKSPACE] == ":4096:8"
    small.accelerator(small.recipe())
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_workspace_of_the_environment_is_kept_if_cublas_is_deterministic_with_it(monkeypatch):
    monkeypatch.setenv(determinism.WORKSPACE, ":16:8")
    determinism.configure(True)
    assert os.environ[determinism.WORKSPACE] == ":16:8"
    monkeypatch.setenv(determinism.WORKSPACE, ":0:0")
    with pytest.raises(NotDeterministic, match=r"CUBLAS_WORKSPACE_CONFIG is ':0:0'; unset it or set it to :4096:8"):
        determinism.configure(True)
    determinism.configure(False)  # without train.deterministic any value is accepted


def test_the_sums_of_several_processes_use_an_algorithm_of_fixed_order(monkeypatch):
    monkeypatch.delenv(determinism.REDUCTION, raising=False)
    determinism.configure(True)
    assert determinism.REDUCTION not in os.environ  # one process sums nothing
    monkeypatch.setenv("WORLD_SIZE", "2")
    determinism.configure(False)
    assert determinism.REDUCTION not in os.environ
    determinism.configure(True)
    assert os.environ[determinism.REDUCTION] == "Ring"
    monkeypatch.setenv(determinism.REDUCTION, "ring,CollnetChain")
    determinism.configure(True)
    assert os.environ[determinism.REDUCTION] == "ring,CollnetChain"
    monkeypatch.setenv(determinism.REDUCTION, "Ring,Tree")
    with pytest.raises(NotDeterministic, match=r"NCCL_ALGO is 'Ring,Tree', .*; unset it or set it to Ring"):
        determinism.configure(True)
    determinism.configure(False)


def test_results_on_a_cpu_are_the_same_to_the_bit(tmp_path):
    changes = {"residual_dropout": 0.3, "micro_batch_tokens": 60}
    metrics, weights = trained(tmp_path, small.recipe(**changes))
    again, same = trained(tmp_path, small.recipe(deterministic=True, **changes))
    assert again == metrics
    assert all(torch.equal(same[name], weight) for name, weight in weights.items())


def test_an_operation_without_a_deterministic_kernel_is_an_error_with_its_name(tmp_path):
    def put(module, inputs, output):
        """Adds zero with an operation that PyTorch does not implement deterministically."""
        return output + torch.zeros(4).put_(torch.tensor([0]), torch.zeros(1)).sum()

    def change(model):
        model.get_input_embeddings().register_forward_hook(put)

    trained(tmp_path, small.recipe(), change)
    match = (
        r"train.deterministic: put_ has no deterministic implementation in PyTorch .*; set train.deterministic: false"
    )
    with pytest.raises(NotDeterministic, match=match):
        trained(tmp_path, small.recipe(deterministic=True), change)


def test_other_errors_are_not_changed():
    with pytest.raises(RuntimeError, match=r"^out of memory$"), determinism.report_unsupported():
        raise RuntimeError("out of memory")


def attend(noise):
    """Causal attention of each example; `noise()` is added to the output's gradient."""

    class Noisy(torch.autograd.Function):
        @staticmethod
        def forward(ctx, output):
            return output.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient + noise()

    def kernel(query, key, value, cumulative, longest, *, scale, window):
        lengths = cumulative.diff().tolist()
        parts = zip(*(tensor.transpose(0, 1).split(lengths, dim=1) for tensor in (query, key, value)), strict=True)
        exact = [attention._reference(*(t[None] for t in part), scale=scale, window=window)[0] for part in parts]
        return Noisy.apply(torch.cat(exact, dim=1).transpose(0, 1))

    return kernel


def test_a_kernel_with_other_gradients_in_a_second_pass_is_rejected_in_the_deterministic_mode(monkeypatch):
    monkeypatch.setattr(varlen_attention, "REPEATED_LENGTHS", (20, 9))
    noise = iter(range(10**6))
    # below the tolerance of the comparison with one call per example, and visible in bf16
    varying = Kernel("varying", attend(lambda: 0.003 * (next(noise) % 2)))
    steady = Kernel("steady", attend(lambda: 0.0))

    def selected():
        return varlen_attention.select([varying, steady], attention._reference, heads=HEADS, device="cpu")

    assert selected() == (varying, [])
    determinism.configure(True)
    reason = "varying: its gradients differ between passes, which train.deterministic excludes"
    assert selected() == (steady, [reason])


def test_flash_attn_is_called_with_its_own_option():
    calls = []

    def flash_attn_varlen_func(*arguments, **options):
        calls.append(options.get("deterministic"))
        return arguments[0]

    kernel = varlen_attention._flash_attention(SimpleNamespace(flash_attn_varlen_func=flash_attn_varlen_func))
    query = torch.ones(5, 4, 8)
    for mode in (False, True):
        determinism.configure(mode)
        kernel(query, query, query, cumulative((5,)), 5, scale=None, window=None)
    assert calls == [None, True]


def test_micro_batches_by_the_free_memory_are_refused():
    with pytest.raises(ValidationError, match=r"micro_batch_tokens auto depends on the free memory"):
        small.recipe(deterministic=True, micro_batch_tokens="auto")
