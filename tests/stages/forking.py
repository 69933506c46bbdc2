"""Forks a process that trains for each line it reads (SECONDS FOLDER), and writes its id and then its exit status.

Each micro-batch takes SECONDS, writes the file `stepping`, and does not end while a file `hold` names an existing path.

Importing torch takes longer than this training; and torch's autograd refuses to run in the fork of a process that has
used it, so this one never trains itself.
"""

import gc
import os
import sys
import time
from pathlib import Path

import deepspeed  # noqa: F401  # accelerate imports it when a checkpoint is saved
import torch
from accelerate import Accelerator  # noqa: F401  # imported once, for all forks
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM  # noqa: F401

from lima import tracking  # noqa: F401
from lima.stages import train
from lima.training import checkpoint, disk_space, launch, throughput, trainer, training_state  # noqa: F401

HOLD = Path("hold")


def slow_down(seconds: float) -> None:
    draw = trainer.dropout_seed

    def held(*numbers: int) -> int:
        time.sleep(seconds)
        Path("stepping").touch()
        while HOLD.exists() and Path(HOLD.read_text()).exists():
            time.sleep(0.01)
        return draw(*numbers)

    trainer.dropout_seed = held


torch.set_num_threads(1)
gc.freeze()  # a fork's collections do not touch, and so copy, the memory that it shares with this process
print("ready", flush=True)  # after what libraries print on import
for line in sys.stdin:
    process = os.fork()
    if not process:
        seconds, folder = line.split(maxsplit=1)
        slow_down(float(seconds))
        os.chdir(folder.rstrip("\n"))
        sys.stdout = sys.stderr
        train.main("lima")
        sys.exit()
    print(process, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
