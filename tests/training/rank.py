"""One process of a distributed training: `torchrun --nproc_per_node=2 rank.py FOLDER LOSSES PRECISION [WORKING]`.

With WORKING, they continue the state in that folder.
"""

import json
import sys
from pathlib import Path

import small

from lima.records import StepMetrics
from lima.training import checkpoint, launch, selfcheck, training_state

folder, losses = map(Path, sys.argv[1:3])
recipe = small.recipe(batch_size=5, micro_batch_tokens=60, epochs=3, precision=sys.argv[3])
accelerator = launch.accelerator(recipe)
model, tokenizer, eot_id, encoded = small.start(folder, recipe)
selfcheck.require(model, tokenizer, eot_id, recipe=recipe, accelerator=accelerator)


def save(epoch, loss_model):
    return checkpoint.save_epoch(losses.with_suffix(""), epoch, loss_model, accelerator, tokenizer, eot_id=eot_id)


kept = None
if working := sys.argv[4:]:
    kept = training_state.open_states(Path(*working), accelerator, data=[], base=[], recipe=recipe)
metrics = small.fitted(model, encoded, encoded[:2], recipe=recipe, accelerator=accelerator, save=save, states=kept)
steps = [metric for metric in metrics if isinstance(metric, StepMetrics)]
if accelerator.is_main_process:
    result = {"ranks": accelerator.num_processes, "steps": [[step.loss, step.grad_norm] for step in steps]}
    losses.write_text(json.dumps(result))
accelerator.end_training()
