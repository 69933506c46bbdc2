"""Forks the processes of a distributed training for each job, a line of JSON, and prints their exit statuses.

torch and DeepSpeed are imported once for all jobs, which takes longer than a training. Like a launcher, it kills the
other processes some time after one has failed. Each process writes its log to OUT.RANK.log, the main one its steps
to OUT.
"""

import errno
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import small
from accelerate.state import AcceleratorState

from lima.records import StepMetrics
from lima.training import checkpoint, launch, selfcheck, state_files, state_parts, training_state
from lima.training.trainer import TrainingInterrupted


def train(job, rank):
    out = Path(job["out"])
    recipe = small.recipe(batch_size=5, micro_batch_tokens=60, epochs=3, **job["recipe"])
    accelerator = launch.accelerator(recipe)
    model, tokenizer, eot_id, encoded = small.start(Path(job["base"]), recipe)
    kept, steps = None, []
    if job["check"]:
        selfcheck.require(model, tokenizer, eot_id, recipe=recipe, accelerator=accelerator)
    if job["working"]:
        working = Path(job["working"][min(rank, len(job["working"]) - 1)])
        working.mkdir(parents=True, exist_ok=True)
        kept = training_state.open_states(working, accelerator, data=[], base=[], recipe=recipe)

    def save(epoch, loss_model):
        if not job["checkpoints"]:
            return "", ""
        return checkpoint.save_epoch(out.with_suffix(""), epoch, loss_model, accelerator, tokenizer, eot_id=eot_id)

    metrics = small.fitted(
        model,
        encoded,
        encoded[:2],
        recipe=recipe,
        accelerator=accelerator,
        save=save,
        states=kept,
        should_stop=lambda: job["stop"] is not None and len(steps) + 1 >= job["stop"],
    )
    try:
        for metric in metrics:
            if isinstance(metric, StepMetrics):
                steps.append([metric.loss, metric.grad_norm])
    except TrainingInterrupted as interrupted:
        print(interrupted)
    if accelerator.is_main_process:
        out.write_text(json.dumps({"ranks": accelerator.num_processes, "steps": steps}))
    accelerator.end_training()


def inject(fault):
    """Let this process fail at its n-th file of a state."""
    written, write = [], state_files.write

    def failing(path, tensors):
        written.append(path)
        if len(written) == fault["file"]:
            path.write_bytes(b"incomplete")
            match fault["kind"]:
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "full":
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                case "error":
                    raise RuntimeError("broken")
                case "hang":
                    threading.Event().wait()
                case "late":
                    time.sleep(1)
        return write(path, tensors)

    state_files.write = failing


def run(job, rank):
    """Train in this process, a fork, and end it."""
    log = os.open(f"{job['out']}.{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        os.environ |= job["environment"]
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        AcceleratorState._reset_state(reset_partial_state=True)
        for name, value in job["limits"].items():
            setattr(state_parts, name, value)
        if job["fault"] and rank == job["fault"]["rank"]:
            inject(job["fault"])
        train(job, rank)
        status = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def forked(job, rank):
    return os.fork() or run(job, rank)


if __name__ == "__main__":
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # DeepSpeed prints to standard output
    if "--deepspeed" in sys.argv:
        import deepspeed  # noqa: F401  # imported once
    gc.freeze()  # a fork's collections do not touch, and so copy, the memory that it shares with this process
    for line in sys.stdin:
        job = json.loads(line)
        running = {forked(job, rank): rank for rank in range(job["processes"])}
        statuses, failed = {}, None
        while running:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process:
                rank = running.pop(process)
                statuses[rank] = os.waitstatus_to_exitcode(status)
                failed = failed or (statuses[rank] and time.monotonic())
            elif failed and time.monotonic() > failed + job["grace"] and any(Path.cwd().glob(job["awaited"])):
                for process in running:
                    os.kill(process, signal.SIGKILL)
            else:
                time.sleep(0.01)
        print(json.dumps([statuses[rank] for rank in range(job["processes"])]), file=results, flush=True)
