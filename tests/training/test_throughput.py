import platform
import subprocess
import sys

import pytest
import small
import torch

from lima.records import StepMetrics
from lima.training.throughput import Throughput, known_peak, memory, multiplied, parameters

CPU = torch.device("cpu")
# 64 MiB, written and let go, four times; prints the pages that the kernel had to give for each.
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
def test_a_gpu_is_known_by_the_words_of_its_name(device, peak):
    assert known_peak(device) == peak


def test_mfu_is_the_floating_point_work_of_a_step_over_what_all_processes_could_do():
    told = Throughput(body=10**6, head=10**5, device=CPU, ranks=2, peak=1e10).of_step(step())
    # forward and backward: six operations a parameter and token, the head's only where a token is supervised
    assert told["mfu"] == pytest.approx((6 * 10**6 * 1000 + 6 * 10**5 * 400) / 2 / (2 * 1e10))
    assert told["tokens_per_second"] == 500


def test_of_an_unknown_device_no_mfu_is_told():
    pace = Throughput(body=1, head=1, device=CPU, ranks=1, peak=None)
    told = pace.of_step(step())
    assert told["mfu"] is None
    assert pace.words(told)["mfu"] == "?"


def test_the_bar_shows_a_share_and_gigabytes():
    pace = Throughput(body=10**6, head=0, device=CPU, ranks=1, peak=6e9)
    told = pace.of_step(step()) | {"peak_memory": 4.84e9}
    assert pace.words(told) == {"mfu": "50%", "memory": "4.8 GB"}


def test_embedding_and_head_are_told_apart_from_the_body_tied_or_not(tmp_path):
    recipe = small.recipe()
    model, *_ = small.start(tmp_path, recipe)
    body, head = parameters(model)
    assert head == model.config.vocab_size * model.config.hidden_size
    whole = sum(weight.numel() for weight in model.parameters())
    assert body == whole - (1 if model.config.tie_word_embeddings else 2) * head
    untied = type(model)(type(model.config)(**{**model.config.to_dict(), "tie_word_embeddings": False}))
    tied = type(model)(type(model.config)(**{**model.config.to_dict(), "tie_word_embeddings": True}))
    assert parameters(tied) == parameters(untied)


def test_a_cpu_is_measured_and_reaches_what_it_says(tmp_path):
    recipe = small.recipe()
    model, *_ = small.start(tmp_path, recipe)
    pace = Throughput.of(model, small.accelerator(recipe), bf16=False)
    assert pace.peak is not None
    # of ten measurements the best is the limit: one is not far above another's best, whatever else runs
    again = max(multiplied(torch.float32) for _ in range(10))
    assert 0.1 * again < pace.peak < 10 * again


def test_memory_is_what_the_process_held_at_most():
    before = memory(CPU)
    held = torch.ones(2**27)  # 512 MiB
    during = memory(CPU)
    del held
    assert during >= before
    assert during >= 2**29
    assert memory(CPU) >= during  # the most, not the present


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told")
def test_freed_memory_is_used_again_without_the_kernel():
    def faults(how):
        done = subprocess.run([sys.executable, "-c", TOUCHING, how], check=True, capture_output=True, text=True)
        return [int(line) for line in done.stdout.split()]

    kept, given_back = faults("kept"), faults("given back")
    assert max(kept[1:]) < kept[0] / 4  # the first time there is nothing to use again
    assert max(kept[1:]) < min(given_back) / 4
