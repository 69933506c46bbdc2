"""The GPU benchmark runs whole on a CPU with tiny models, and reports failures as data."""

import io
import json
import os
import subprocess
import sys
import threading

import pytest
import torch

from benchmarks import gpu, run
from benchmarks.device import sections
from benchmarks.device.records import TINY, Clock, examples, guarded
from lima.training import launch

# takes a line for each step and reports it as benchmarks/trainers/sft.py does
FAKE_PEER = """
import json, sys
print("ready")
for _ in sys.stdin:
    print(json.dumps({"seconds": 0.5, "cpu_seconds": 0.5, "tokens": 100, "supervised": 80, "peak": 1e9}))
"""
RECORD = json.dumps({"section": "x", "name": "y", "value": 1.0, "unit": "s"})
SCRIPTS = {
    "good": f"input(); print('''{RECORD}''')",
    "dies": f"input(); print('''{RECORD}''', flush=True); import os; os._exit(3)",
    "hangs": "input(); import time; time.sleep(900)",
    "never starts": "raise SystemExit(4)",
    "leaves a process": f"""input(); import subprocess, sys; 
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)"]); print('{RECORD}')""",
    "is cut off": """input(); print('{"section": "x", "na', end="")""",
}


def test_all_sections_run_on_a_cpu(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(launch, "_warn_if_bf16_is_slow", lambda: None)  # it multiplies large matrices
    peer = tmp_path / "peer.py"
    peer.write_text(FAKE_PEER)
    monkeypatch.setattr(sections, "PEER", peer)
    monkeypatch.setenv("TRL_PYTHON", sys.executable)
    torch.set_num_threads(1)
    measured = [section for section in gpu.SECTIONS if section != "counts"]  # the same on a GPU; see test_counts.py
    records = gpu.run(tmp_path / "out", measured, tiny=True, seconds=200, processes=False)
    lines = (tmp_path / "out" / "gpu.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == json.loads(json.dumps(records))
    assert [record for record in records if "error" in record] == []
    by_name = {(record["section"], record["name"]): record for record in records}
    assert all(record["ok"] for record in records if "limit" in record)
    assert sum("limit" in record for record in records) == 10
    # runs on a CPU are equal to the bit with and without the deterministic mode
    unequal = ("two runs", "a resumed run", "two runs without it")
    assert [by_name["determinism", name]["value"] for name in unequal] == [0, 0, 0]
    assert by_name["correctness", "attention kernels"]["text"] == "none"
    assert "varlen_attn of PyTorch" in by_name["correctness", "attention kernels"]["rejected"][0]
    # a step of 100 tokens in half a second
    assert by_name["peers", "TRL, packing"]["value"] == 200
    assert by_name["peers", "TRL, padding-free, Liger"]["skipped"] == "liger-kernel is not installed"
    assert {record["section"] for record in records} == {
        "machine",
        "correctness",
        "ceilings",
        "training 1.1B",
        "training 7B",
        "determinism",
        "peers",
        "sampling",
        "profile",
        "vllm",
    }
    assert len(by_name["profile", "top"]["rows"]) == 15
    assert sum(row["share"] for row in by_name["profile", "top"]["rows"]) <= 1.001
    printed = capsys.readouterr().out
    assert printed.endswith((tmp_path / "out" / "gpu.txt").read_text())  # DeepSpeed, where installed, prints a line
    assert "aten::mm" in printed


def test_a_process_that_fails_or_hangs_is_a_record_and_the_rest_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "GRACE", 1)
    monkeypatch.setattr(gpu, "command", lambda name, *, tiny: [sys.executable, "-c", SCRIPTS[name]])
    records_of = gpu.Worker.records
    monkeypatch.setattr(  # only the process that hangs runs out of time
        gpu.Worker,
        "records",
        lambda self, *, seconds: records_of(self, seconds=2.0 if self.name == "hangs" else seconds),
    )
    records = list(gpu._in_processes(["never starts", "dies", "hangs", "good"], tiny=True, clock=Clock.after(300)))
    assert records == [
        {"section": "never starts", "name": "process", "error": "ended with status 4"},
        json.loads(RECORD),
        {"section": "dies", "name": "process", "error": "ended with status 3"},
        {"section": "hangs", "name": "process", "error": "killed after 3 s"},
        json.loads(RECORD),
    ]


def test_a_section_is_killed_after_its_own_limit_and_the_next_keep_their_time(monkeypatch):
    monkeypatch.setattr(gpu, "GRACE", 1)
    monkeypatch.setattr(gpu, "SECTIONS", {"hangs": 1.0})
    monkeypatch.setattr(gpu, "command", lambda name, *, tiny: [sys.executable, "-c", SCRIPTS[name]])
    records = list(gpu._in_processes(["hangs", "good"], tiny=True, clock=Clock.after(300)))
    assert records == [{"section": "hangs", "name": "process", "error": "killed after 2 s"}, json.loads(RECORD)]


def test_a_line_that_is_cut_off_does_not_stop_the_rest(monkeypatch):
    monkeypatch.setattr(gpu, "command", lambda name, *, tiny: [sys.executable, "-c", SCRIPTS[name]])
    assert list(gpu._in_processes(["is cut off", "good"], tiny=True, clock=Clock.after(300))) == [
        {"section": "is cut off", "name": "process", "error": 'unreadable record: {"section": "x", "na'},
        json.loads(RECORD),
    ]


def test_a_process_that_a_section_leaves_ends_with_it(monkeypatch):
    monkeypatch.setattr(gpu, "command", lambda name, *, tiny: [sys.executable, "-c", SCRIPTS[name]])
    worker = gpu.Worker("leaves a process", tiny=True)
    records = worker.records(seconds=300)
    assert next(records) == json.loads(RECORD)
    closing = threading.Thread(target=worker.close, daemon=True)  # waits for the end of the worker's output
    closing.start()
    closing.join(timeout=120)
    assert not closing.is_alive()


def test_records_are_apart_from_what_libraries_and_processes_print(tmp_path, monkeypatch):
    def section(name, *, tiny, seconds):
        os.system("echo printed by a process")
        print("printed by a library")
        yield json.loads(RECORD) | {"seconds": seconds}

    monkeypatch.setattr(gpu, "section", section)
    monkeypatch.setattr(gpu, "_end_with_parent", lambda: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO("5\n"))
    before = os.dup(1)
    try:
        with (tmp_path / "output").open("wb") as output:
            os.dup2(output.fileno(), 1)
        gpu.work("good", tiny=True)
    finally:
        os.dup2(before, 1)
        os.close(before)
    lines = (tmp_path / "output").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [json.loads(RECORD) | {"seconds": 5.0}]


def test_a_section_ends_with_its_parent():
    code = "from benchmarks.gpu import _end_with_parent; _end_with_parent()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, start_new_session=True)
    process.stdin.close()
    assert process.wait(timeout=300) == -9


def test_a_stop_signal_leaves_the_table_of_the_records_so_far(tmp_path, monkeypatch):
    def stopped(*_):
        yield json.loads(RECORD)
        sys.exit(143)

    monkeypatch.setattr(gpu, "_here", stopped)
    with pytest.raises(SystemExit):
        gpu.run(tmp_path, ["x"], tiny=True, seconds=10, processes=False)
    assert (tmp_path / "gpu.jsonl").read_text() == RECORD + "\n"
    assert " y " in (tmp_path / "gpu.txt").read_text()


def test_each_section_has_a_limit_and_a_function():
    assert list(gpu.SECTIONS) == list(sections.SECTIONS)
    # those without a package that is not installed by default fit into the time of all
    assert sum(limit for name, limit in gpu.SECTIONS.items() if name not in ("vllm", "counts")) <= gpu.SECONDS


def test_without_time_left_sections_are_skipped(monkeypatch):
    monkeypatch.setattr(gpu, "command", lambda name, *, tiny: [sys.executable, "-c", SCRIPTS["good"]])
    records = list(gpu._in_processes(["a", "b"], tiny=True, clock=Clock.after(-1)))
    assert [(record["section"], record["skipped"]) for record in records] == [
        ("a", "no time left"),
        ("b", "no time left"),
    ]


def test_a_failed_part_is_a_record_and_the_next_parts_run():
    def fails():
        raise torch.OutOfMemoryError("CUDA out of memory\nand a long explanation")

    records = list(guarded("s", Clock.after(10), {"a": fails, "b": lambda: {"value": 1, "unit": "s"}}))
    assert [(r["name"], r.get("error"), r.get("value")) for r in records] == [
        ("a", "OutOfMemoryError: CUDA out of memory", None),
        ("b", None, 1),
    ]
    late = list(guarded("s", Clock.after(5), {"a": fails}, needed=10))
    assert late == [{"section": "s", "name": "a", "skipped": "no time left"}]


def test_examples_have_the_lengths_of_lima():
    # LIMA's own examples on SmolLM2's tokenizer: 38 to 2,048 tokens, mean 575, median 428
    lengths = sorted(len(ids) for ids, _ in examples(2000, vocabulary=100, longest=2048, seed=1))
    assert lengths[0] >= 38
    assert lengths[-1] <= 2048
    assert lengths[1000] == pytest.approx(428, rel=0.08)
    assert sum(lengths) / 2000 == pytest.approx(550, rel=0.08)
    tiny = examples(100, vocabulary=100, longest=TINY.max_tokens, seed=1)
    assert max(len(ids) for ids, _ in tiny) <= TINY.max_tokens
    assert all(labels[0] == -100 and labels[-1] == ids[-1] for ids, labels in tiny)


def test_claims_compare_with_the_targets_and_with_trl():
    def record(section, name, value):
        return {"section": section, "name": name, "value": value, "unit": "tokens/s"}

    records = [
        record("training 1.1B", "all, 8,192", 60_000.0),
        record("training 1.1B", "all, gradient checkpointing, 16,384", 70_000.0),
        record("training 1.1B", "one call per example, 8,192", 90_000.0),
        record("peers", "TRL, packing", 50_000.0),
        {"section": "training 7B", "name": "all, 2,048", "error": "OutOfMemoryError"},
    ]
    made = [(c.ours, c.peer, c.holds) for c in gpu.claims(records)]
    assert made == [(70_000, 50_000, True), (60_000, 65_000, False), (60_000, 50_000, True)]  # 1.2 ≥ 1.15


def test_without_a_gpu_the_benchmark_yields_no_claims(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert list(gpu.measure()) == []
    assert "no CUDA device" in capsys.readouterr().err
    assert "gpu" in run.NAMES
