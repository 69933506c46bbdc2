"""Messages of libraries that are not for the user: progress bars of loading, and warnings about a missing GPU."""

import os

import torch
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
from transformers.utils import logging


def reduce() -> None:
    """Switch off transformers' progress bars, which cut into those of the stages, and DeepSpeed's search for a GPU.

    Call it before a model is loaded. DeepSpeed is imported by accelerate wherever it is installed; without a GPU it
    warns that it uses the CPU. Bars of downloads and a DS_ACCELERATOR of the user are kept.
    """
    shown = not are_progress_bars_disabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # and with it those of downloads
    if shown:
        enable_progress_bars()
    if not torch.accelerator.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
