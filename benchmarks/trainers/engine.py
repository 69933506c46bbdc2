"""The training engine as `benchmarks.trainers.sft` runs its peers: the same settings, the same protocol."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from lima import config
from lima.config.sections import Train
from lima.training import launch, trainer
from lima.training.packing import plan
from lima.training.tokenization import Encoded
from lima.training.trainer import Requests, StepBatch, train_step


def main(settings: dict[str, Any]) -> None:
    changes = {
        "precision": "bf16" if settings["bf16"] else "fp32",
        "micro_batch_tokens": settings["micro_batch_tokens"],
    }
    same_as_peers = {
        "lr": 1e-5,
        "lr_end": 1e-6,
        "residual_dropout": settings["dropout"],
        "max_tokens": settings["max_tokens"],
    }
    recipe = Train.model_validate(config.load().train.model_dump() | changes | same_as_peers)
    accelerator = launch.accelerator(recipe)
    model, _, _ = launch.starting_point(Path(settings["model"]), recipe)
    learner, optimizer = trainer.prepare(model, recipe, accelerator)
    with Path(settings["data"]).open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    train = [Encoded(str(n), tuple(row["input_ids"]), tuple(row["labels"]), 0) for n, row in enumerate(rows)]
    lengths = [len(example.ids) for example in train]
    learner.train()
    print("ready", file=reports, flush=True)
    number = 0
    for epoch in range(1, 1000):
        rules = {"batch_size": settings["examples"], "micro_tokens": recipe.micro_tokens, "ranks": 1, "seed": 17}
        for parts in plan(lengths, epoch=epoch, **rules):
            if not sys.stdin.readline():
                return
            start = time.perf_counter(), time.process_time()
            step = StepBatch([[train[place] for place in part] for part in parts], number, recipe.lr)
            train_step(step, learner, optimizer, accelerator, recipe, Requests())
            number += 1
            report = {
                "seconds": time.perf_counter() - start[0],
                "cpu_seconds": time.process_time() - start[1],
                "supervised": step.supervised,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
            print(json.dumps(report), file=reports, flush=True)


if __name__ == "__main__":
    reports, sys.stdout = sys.stdout, sys.stderr  # separates the reports from what libraries print
    torch.set_num_threads(json.loads(sys.argv[1])["threads"])
    main(json.loads(sys.argv[1]))
