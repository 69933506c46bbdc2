"""Messages of libraries during a run."""

import os

import pytest
import torch
from huggingface_hub.utils import are_progress_bars_disabled
from transformers.utils import logging

from lima.training import library_output

real_accelerator = pytest.importorskip("deepspeed.accelerator.real_accelerator")


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    monkeypatch.setattr(real_accelerator, "ds_accelerator", None)
    monkeypatch.setenv("DS_ACCELERATOR", "")
    monkeypatch.delenv("DS_ACCELERATOR")
    monkeypatch.setattr(logging, "_tqdm_active", True)


def test_loading_on_a_cpu_prints_no_warning_and_no_bar(monkeypatch):
    warnings = []
    monkeypatch.setattr(real_accelerator.accel_logger, "warning", lambda text, *_: warnings.append(text))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    downloads = are_progress_bars_disabled()
    library_output.reduce()
    assert real_accelerator.get_accelerator().device_name() == "cpu"
    assert (warnings, logging.is_progress_bar_enabled()) == ([], False)
    assert are_progress_bars_disabled() == downloads


def test_the_choice_of_the_user_and_that_of_a_gpu_are_kept(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    library_output.reduce()
    assert "DS_ACCELERATOR" not in os.environ
    monkeypatch.setenv("DS_ACCELERATOR", "xpu")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    library_output.reduce()
    assert os.environ["DS_ACCELERATOR"] == "xpu"
