"""One process of a distributed training: `torchrun rank.py FOLDER LOSSES PRECISION [WORKING [STOP]]`.

With WORKING, they continue the state in that folder; with STOP, they save one after so many steps and end.
"""

import json
import sys
from pathlib import Path

import small

from lima.records import StepMetrics
from lima.training import checkpoint, launch, selfcheck, training_state
from lima.training.trainer import TrainingInterrupted

folder, losses = map(Path, sys.argv[1:3])
recipe = small.recipe(batch_size=5, micro_batch_tokens=60, epochs=3, precision=sys.argv[3])
accelerator = launch.accelerator(recipe)
model, tokenizer, eot_id, encoded = small.start(folder, recipe)
selfcheck.require(model, tokenizer, eot_id, recipe=recipe, accelerator=accelerator)


def save(epoch, loss_model):
    return checkpoint.save_epoch(losses.with_suffix(""), epoch, loss_model, accelerator, tokenizer, eot_id=eot_id)


kept, steps = None, []
working, stop = (*sys.argv[4:], None, None)[:2]
if working:
    kept = training_state.open_states(Path(working), accelerator, data=[], base=[], recipe=recipe)
metrics = small.fitted(
    model,
    encoded,
    encoded[:2],
    recipe=recipe,
    accelerator=accelerator,
    save=save,
    states=kept,
    should_stop=lambda: stop is not None and len(steps) + 1 >= int(stop),
)
try:
    for metric in metrics:
        if isinstance(metric, StepMetrics):
            steps.append([metric.loss, metric.grad_norm])
except TrainingInterrupted as interrupted:
    print(interrupted)
if accelerator.is_main_process:
    losses.write_text(json.dumps({"ranks": accelerator.num_processes, "steps": steps}))
accelerator.end_training()
