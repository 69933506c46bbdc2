"""One of the processes that train together: `torchrun --nproc_per_node=2 tests/training/rank.py FOLDER LOSSES`."""

import json
import sys
from pathlib import Path

import small

from lima.records import StepMetrics
from lima.training import launch

folder, losses = map(Path, sys.argv[1:])
recipe = small.recipe(batch_size=5, micro_batch_tokens=60, epochs=3)
accelerator = launch.accelerator(recipe)
model, _, _, encoded = small.start(folder, recipe)
metrics = small.fitted(model, encoded, encoded[:2], recipe=recipe, accelerator=accelerator)
steps = [metric for metric in metrics if isinstance(metric, StepMetrics)]
if accelerator.is_main_process:
    told = {"ranks": accelerator.num_processes, "steps": [[step.loss, step.grad_norm] for step in steps]}
    losses.write_text(json.dumps(told))
accelerator.end_training()
