"""A peer of the training engine: `python sft.py SETTINGS`, in an environment that need not hold lima.

SETTINGS is JSON: kind (trl or trainer), model (a folder), data (a file of JSON lines with input_ids and labels, none of
more than max_tokens), rows a micro-batch, accumulate micro-batches a step, packing (of TRL), bf16, threads. Optional:
cpu (true unless said), random (the folder has a configuration and no weights), attention (of transformers),
checkpointing, padding_free and liger (of TRL). After set-up it prints `ready`; for each line it reads it takes one
step, and prints the step's seconds, CPU seconds, tokens and supervised tokens, and the most memory that the process
held, in bytes, as JSON; on a GPU its memory.
"""

import json
import resource
import sys
import time
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

IGNORED = -100


class Paced(TrainerCallback):
    """Waits for leave before each step, and tells what the step took."""

    def __init__(self, counts: list[tuple[int, int]], *, cpu: bool) -> None:
        self.counts = counts
        self.cpu = cpu

    def on_step_begin(self, args, state, control, **_):
        if not sys.stdin.readline():
            sys.exit()
        self.counts.clear()
        if not self.cpu:
            torch.cuda.synchronize()
        self.start = time.perf_counter(), time.process_time()

    def on_step_end(self, args, state, control, **_):
        if not self.cpu:
            torch.cuda.synchronize()
        tokens, supervised = (sum(column) for column in zip(*self.counts, strict=True))
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        report = {
            "seconds": time.perf_counter() - self.start[0],
            "cpu_seconds": time.process_time() - self.start[1],
            "tokens": tokens,
            "supervised": supervised,
            "peak": resident if self.cpu else torch.cuda.max_memory_allocated(),
        }
        print(json.dumps(report), file=reports, flush=True)


def counting(take, counts):
    """The trainer's pass over a micro-batch, with a note of its tokens and how many labels its shifted loss counts."""

    def counted(model, inputs, *rest, **named):
        mask = inputs.get("attention_mask")
        tokens = int(inputs["input_ids"].numel() if mask is None else mask.sum())
        counts.append((tokens, int((inputs["labels"][:, 1:] != IGNORED).sum())))
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


def start(settings: dict, *, cpu: bool):
    """The model in fp32: its weights, or random ones made on the device."""
    options = {"dtype": torch.float32}
    if "attention" in settings:
        options["attn_implementation"] = settings["attention"]
    if not settings.get("random"):
        return AutoModelForCausalLM.from_pretrained(settings["model"], **options)
    with torch.device("cpu" if cpu else "cuda"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(settings["model"]), **options)


def main(settings: dict) -> None:
    cpu = settings.get("cpu", True)
    with Path(settings["data"]).open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows = [row | {"attention_mask": [1] * len(row["input_ids"])} for row in rows]
    model = start(settings, cpu=cpu)
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
        "gradient_checkpointing": settings.get("checkpointing", False),
        "report_to": [],
        "logging_steps": 10_000,
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": cpu,
        "dataloader_num_workers": 0,
    }
    counts: list[tuple[int, int]] = []
    if settings["kind"] == "trl":
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

        data = Dataset.from_list([{key: row[key] for key in ("input_ids", "labels")} for row in rows])
        rules = {"packing": settings["packing"], "max_length": settings["max_tokens"], "shuffle_dataset": False}
        rules |= {"padding_free": settings.get("padding_free", False)}
        arguments = SFTConfig(**common, **rules, use_liger_kernel=settings.get("liger", False))
        trainer = SFTTrainer(model, args=arguments, train_dataset=data, processing_class=tokenizer)
    else:
        arguments = TrainingArguments(**common)
        trainer = Trainer(model, args=arguments, train_dataset=rows, data_collator=padded(tokenizer.pad_token_id))
    trainer.training_step = counting(trainer.training_step, counts)
    trainer.add_callback(Paced(counts, cpu=cpu))
    print("ready", file=reports, flush=True)
    trainer.train()


if __name__ == "__main__":
    reports, sys.stdout = sys.stdout, sys.stderr  # separates the reports from what libraries print
    torch.set_num_threads(json.loads(sys.argv[1])["threads"])
    main(json.loads(sys.argv[1]))
