"""A peer of the training engine: `python sft.py SETTINGS`, in an environment that need not hold lima.

SETTINGS is JSON: kind (trl or trainer), model (a folder), data (a file of JSON lines with input_ids and labels, none of
more than max_tokens), rows a micro-batch, accumulate micro-batches a step, packing (of TRL), bf16, threads. After
set-up it prints `ready`; for each line it reads it takes one step, and prints the step's seconds, CPU seconds and
supervised tokens, and the most memory that the process held, in bytes, as JSON.
"""

import json
import resource
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

IGNORED = -100


class Paced(TrainerCallback):
    """Waits for leave before each step, and tells what the step took."""

    def __init__(self, counts: list[int]) -> None:
        self.counts = counts

    def on_step_begin(self, args, state, control, **_):
        if not sys.stdin.readline():
            sys.exit()
        self.counts.clear()
        self.start = time.perf_counter(), time.process_time()

    def on_step_end(self, args, state, control, **_):
        report = {
            "seconds": time.perf_counter() - self.start[0],
            "cpu_seconds": time.process_time() - self.start[1],
            "supervised": sum(self.counts),
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        print(json.dumps(report), file=reports, flush=True)


def counting(take, counts):
    """The trainer's pass over a micro-batch, with a note of how many labels its shifted loss counts."""

    def counted(model, inputs, *rest, **named):
        counts.append(int((inputs["labels"][:, 1:] != IGNORED).sum()))
        return take(model, inputs, *rest, **named)

    return counted


def padded(pad: int):
    def collate(rows):
        longest = max(len(row["input_ids"]) for row in rows)
        fill = {"input_ids": pad, "labels": IGNORED, "attention_mask": 0}
        return {
            key: torch.tensor([[*row[key], *[value] * (longest - len(row[key]))] for row in rows])
            for key, value in fill.items()
        }

    return collate


def main(settings: dict) -> None:
    with Path(settings["data"]).open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows = [row | {"attention_mask": [1] * len(row["input_ids"])} for row in rows]
    model = AutoModelForCausalLM.from_pretrained(settings["model"], dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    common = {
        "output_dir": settings["scratch"],
        "per_device_train_batch_size": settings["rows"],
        "gradient_accumulation_steps": settings["accumulate"],
        "max_steps": 10_000,
        "learning_rate": 1e-5,
        "adam_beta2": 0.95,
        "weight_decay": 0.1,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch_fused",
        "lr_scheduler_type": "linear",
        "bf16": settings["bf16"],
        "gradient_checkpointing": False,
        "report_to": [],
        "logging_steps": 10_000,
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_num_workers": 0,
    }
    counts: list[int] = []
    if settings["kind"] == "trl":
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

        data = Dataset.from_list([{key: row[key] for key in ("input_ids", "labels")} for row in rows])
        rules = {"packing": settings["packing"], "max_length": settings["max_tokens"], "shuffle_dataset": False}
        arguments = SFTConfig(**common, **rules)
        trainer = SFTTrainer(model, args=arguments, train_dataset=data, processing_class=tokenizer)
    else:
        arguments = TrainingArguments(**common)
        trainer = Trainer(model, args=arguments, train_dataset=rows, data_collator=padded(tokenizer.pad_token_id))
    trainer.training_step = counting(trainer.training_step, counts)
    trainer.add_callback(Paced(counts))
    print("ready", file=reports, flush=True)
    trainer.train()


if __name__ == "__main__":
    reports, sys.stdout = sys.stdout, sys.stderr  # separates the reports from what libraries print
    torch.set_num_threads(json.loads(sys.argv[1])["threads"])
    main(json.loads(sys.argv[1]))
