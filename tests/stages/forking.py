"""Forks a process that trains for each line it reads, and tells its id and then its status.

Importing torch takes longer than this training; and torch's autograd refuses to run in the fork of a process that has
used it, so this one never trains itself.
"""

import os
import sys
import time

import torch
from accelerate import Accelerator  # noqa: F401  # imported once, for all forks
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401

from lima import tracking  # noqa: F401
from lima.stages import train
from lima.training import checkpoint, disk_space, launch, throughput, trainer, training_state  # noqa: F401


def slow_down(seconds: float) -> None:
    draw = trainer.dropout_seed
    trainer.dropout_seed = lambda *numbers: time.sleep(seconds) or draw(*numbers)


torch.set_num_threads(1)
for line in sys.stdin:
    process = os.fork()
    if not process:
        slow_down(float(line))
        sys.stdout = sys.stderr
        train.main("lima")
        sys.exit()
    print(process, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
