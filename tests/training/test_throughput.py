import platform
import subprocess
import sys

import pytest
import small
import torch

from lima.records import StepMetrics
from lima.training.throughput import Throughput, known_peak, matmul_flops, parameters, peak_memory

CPU = torch.device("cpu")
# Writes and frees 64 MiB four times; prints the page faults of each.
TOUCHING = """
import resource, sys
from lima.training.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * 2**26
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def step(*, tokens=1000, supervised=400, seconds=2.0):
    return StepMetrics(
        step=1, epoch=1, loss=1, lr=1, grad_norm=1, tokens=tokens, supervised_tokens=supervised, seconds=seconds
    )


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA L40S", 362e12),
        ("Tesla V100-SXM2-32GB", 125e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA GeForce GTX 1080", None),
    ],
)
def test_the_peak_of_a_gpu_follows_from_its_name(device, peak):
    assert known_peak(device) == peak


def test_mfu_is_the_flops_of_a_step_over_the_peak_of_all_processes():
    speed = Throughput(body=10**6, head=10**5, device=CPU, ranks=2, peak=1e10).of_step(step())
    # forward and backward: six operations a parameter and token, the head's only where a token is supervised
    assert speed["mfu"] == pytest.approx((6 * 10**6 * 1000 + 6 * 10**5 * 400) / 2 / (2 * 1e10))
    assert speed["tokens_per_second"] == 500


def test_an_unknown_device_has_no_mfu():
    throughput = Throughput(body=1, head=1, device=CPU, ranks=1, peak=None)
    speed = throughput.of_step(step())
    assert speed["mfu"] is None
    assert throughput.progress_fields(speed)["mfu"] == "?"


def test_the_progress_bar_shows_percent_and_gigabytes():
    throughput = Throughput(body=10**6, head=0, device=CPU, ranks=1, peak=6e9)
    speed = throughput.of_step(step()) | {"peak_memory": 4.84e9}
    assert throughput.progress_fields(speed) == {"mfu": "50%", "memory": "4.8 GB"}


def test_body_and_head_are_counted_separately_tied_or_not(tmp_path):
    recipe = small.recipe()
    model, *_ = small.start(tmp_path, recipe)
    body, head = parameters(model)
    assert head == model.config.vocab_size * model.config.hidden_size
    total = sum(weight.numel() for weight in model.parameters())
    assert body == total - (1 if model.config.tie_word_embeddings else 2) * head
    untied = type(model)(type(model.config)(**{**model.config.to_dict(), "tie_word_embeddings": False}))
    tied = type(model)(type(model.config)(**{**model.config.to_dict(), "tie_word_embeddings": True}))
    assert parameters(tied) == parameters(untied)


def test_the_peak_of_a_cpu_is_measured(tmp_path):
    recipe = small.recipe()
    model, *_ = small.start(tmp_path, recipe)
    throughput = Throughput.for_model(model, small.accelerator(recipe), bf16=False)
    assert throughput.peak is not None
    # the best of ten measurements is a limit, also under load
    again = max(matmul_flops(torch.float32) for _ in range(10))
    assert 0.1 * again < throughput.peak < 10 * again


def test_peak_memory_is_the_maximum_of_the_process():
    before = peak_memory(CPU)
    held = torch.ones(2**27)  # 512 MiB
    during = peak_memory(CPU)
    del held
    assert during >= before
    assert during >= 2**29
    assert peak_memory(CPU) >= during  # the maximum, not the current value


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is configured")
def test_freed_memory_is_reused_without_page_faults():
    def faults(mode):
        done = subprocess.run([sys.executable, "-c", TOUCHING, mode], check=True, capture_output=True, text=True)
        return [int(line) for line in done.stdout.split()]

    kept, returned = faults("kept"), faults("returned")
    assert max(kept[1:]) < kept[0] / 4  # the first allocation has nothing to reuse
    assert max(kept[1:]) < min(returned) / 4
