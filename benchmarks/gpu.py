"""Correctness and speed of training and sampling on one GPU: `python -m benchmarks.gpu [--out FOLDER]`.

Takes at most six minutes, needs no network, and uses random weights. Each section runs in a process of its own, which
is killed soon after its limit of time, and each measurement is guarded: a failure is a record like the others. FOLDER
gets `gpu.jsonl`, one record a line as they are measured, and `gpu.txt`, the same as a table, also after a stop signal.
`--only SECTION …` runs some sections, `--tiny` small models, on a CPU too. TRL, transformers' Trainer, flash-attn,
Liger and vLLM are measured where they are installed (TRL_PYTHON names another interpreter that has TRL).
"""

import argparse
import importlib.metadata
import json
import os
import platform
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.claims import Claim, claim
from benchmarks.device.records import FULL, TINY, Clock, Record

SECONDS = 350  # of all sections together
GRACE = 10  # seconds beyond its limit after which a section's process is killed
# seconds that a section may take; later ones get less if the time of all is short
SECTIONS = {
    "correctness": 45.0,
    "ceilings": 10.0,
    "training": 95.0,
    "training_large": 50.0,
    "determinism": 30.0,
    "peers": 55.0,
    "sampling": 40.0,
    "profile": 20.0,
    "vllm": 90.0,
    "counts": 200.0,
}
PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "trl",
    "liger-kernel",
    "flash-attn",
    "flash-attn-3",
    "vllm",
    "triton",
)
RESULTS = Path(__file__).parent / "results"
AGAINST_TRL = 1.15  # speed beside the best of TRL with fp32 weights
# section, beginning of the name, tokens/s on one H200
TARGETS = (
    ("training 1.1B", "all, gradient checkpointing", 50_000),
    ("training 1.1B", "all, without checkpointing", 65_000),
    ("training 7B", "all", 12_000),
    ("sampling", "lima, 256", 12_000),
)


def measure() -> Iterator[Claim]:
    """The claims of `benchmarks.run`: figures beside the targets and beside TRL; none without a GPU."""
    import torch

    if not torch.cuda.is_available():
        print("no CUDA device: the GPU benchmark is skipped", file=sys.stderr)
        return
    yield from claims(run(RESULTS, SECTIONS, tiny=False, seconds=SECONDS))


def claims(records: list[Record]) -> Iterator[Claim]:
    """Each best figure beside its target, and training beside TRL's best, where both were measured."""
    for section, name, target in TARGETS:
        best = _best(records, section, name)
        if best:
            yield claim(f"{section}, {name}, on one H200", ours=best, peer=target, unit="tokens/s", target="≥ 1")
    ours, trl = _best(records, "training 1.1B", "all, without checkpointing"), _best(records, "peers", "TRL")
    if ours and trl:
        words = "training 1.1B, against the best of TRL with fp32 weights"
        yield claim(words, ours=ours, peer=trl, unit="tokens/s", target=f"≥ {AGAINST_TRL}")


def _best(records: Iterable[Record], section: str, name: str) -> float:
    start = name.removesuffix(", without checkpointing")
    matching = (r for r in records if r["section"] == section and r["name"].startswith(start))
    if start != name:
        matching = (record for record in matching if "checkpointing" not in record["name"])
    return max((float(record["value"]) for record in matching if record.get("unit") == "tokens/s"), default=0.0)


def run(out: Path, sections: Iterable[str], *, tiny: bool, seconds: float, processes: bool = True) -> list[Record]:
    """Run sections, write their records and the table to `out`, and return the records.

    Args:
        processes: Each section in a process of its own; else in this one.
    """
    out.mkdir(parents=True, exist_ok=True)
    clock, records = Clock.after(seconds), []
    with (out / "gpu.jsonl").open("w", encoding="utf-8") as lines:
        names = ["machine", *sections]
        source = _in_processes(names, tiny=tiny, clock=clock) if processes else _here(names, tiny, clock)
        try:
            for record in source:
                records.append(record)
                lines.write(json.dumps(record, ensure_ascii=False) + "\n")
                lines.flush()
                print(summary(record), file=sys.stderr, flush=True)
        finally:
            source.close()
            _write_tables(out / "gpu.txt", records)
    return records


def _write_tables(path: Path, records: list[Record]) -> None:
    with path.open("w", encoding="utf-8") as text:
        for console in (Console(width=200, file=text), Console(width=200)):
            for table in tables(records):
                console.print(table)


def machine() -> Record:
    """Date, GPU, driver and versions; programs and packages that are missing are left out."""
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    cuda = torch.cuda.is_available()
    return {
        "section": "machine",
        "name": torch.cuda.get_device_name(0) if cuda else f"CPU, {platform.machine()}, {os.cpu_count()} cores",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "capability": list(torch.cuda.get_device_capability(0)) if cuda else None,
        "memory_gb": torch.cuda.get_device_properties(0).total_memory / 1e9 if cuda else None,
        "versions": versions,
    }


def _here(sections: Iterable[str], tiny: bool, clock: Clock) -> Generator[Record]:
    for name in sections:
        yield from section(name, tiny=tiny, seconds=clock.left())


def section(name: str, *, tiny: bool, seconds: float) -> Iterator[Record]:
    """Records of a section, measured in this process within its limit and `seconds`."""
    import torch

    from benchmarks.device import sections

    if name == "machine":
        yield machine()
        return
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    clock = Clock.after(min(SECTIONS[name], seconds))
    yield from sections.SECTIONS[name](TINY if tiny else FULL, device, clock)


def command(name: str, *, tiny: bool) -> list[str]:
    """Command of a section's process."""
    return [sys.executable, "-m", "benchmarks.gpu", "--worker", name, *(["--tiny"] if tiny else [])]


class Worker:
    """The process of a section; it imports its libraries at once and starts to measure on `records`.

    It is killed together with the processes that it has started, which else keep the GPU and its output open.
    """

    def __init__(self, name: str, *, tiny: bool) -> None:
        self.name = name
        self.process = subprocess.Popen(
            command(name, tiny=tiny),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def records(self, *, seconds: float) -> Iterator[Record]:
        """Let the process begin; yield its records, and one that tells of its failure if it has not ended well."""
        assert self.process.stdin
        end = time.monotonic() + seconds + GRACE
        try:
            self.process.stdin.write(f"{seconds}\n")
            self.process.stdin.flush()
            while (line := self.lines.get(timeout=max(0.1, end - time.monotonic()))) is not None:
                yield self._record(line)
        except queue.Empty:
            self.kill()
            yield {"section": self.name, "name": "process", "error": f"killed after {seconds + GRACE:.0f} s"}
            return
        except BrokenPipeError:  # it has ended before it began; its status says why
            pass
        status = self.process.wait()
        if status:
            yield {"section": self.name, "name": "process", "error": f"ended with status {status}"}

    def _record(self, line: str) -> Record:
        try:
            record: Record = json.loads(line)
        except ValueError:  # a process that ends while it writes
            return {"section": self.name, "name": "process", "error": f"unreadable record: {line.strip()[:200]}"}
        return record

    def kill(self) -> None:
        """End the process and those that it has started."""
        with suppress(ProcessLookupError):  # all have ended
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        self.kill()
        self.process.wait()
        self.reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            with suppress(BrokenPipeError):  # a line that an ended process did not read
                pipe.close()


def _in_processes(sections: Iterable[str], *, tiny: bool, clock: Clock) -> Generator[Record]:
    """Sections one after the other; each process imports its libraries while the section before it runs."""
    names = list(sections)
    workers = {names[0]: Worker(names[0], tiny=tiny)} if names else {}
    try:
        for place, name in enumerate(names):
            for following in names[place + 1 : place + 2]:
                workers[following] = Worker(following, tiny=tiny)
            if clock.left() <= 0:
                yield {"section": name, "name": "section", "skipped": "no time left"}
            else:
                left = clock.left()
                yield from workers[name].records(seconds=min(left, SECTIONS.get(name, left)))
            workers.pop(name).close()
    finally:
        for worker in workers.values():
            worker.close()


def work(name: str, *, tiny: bool) -> None:
    """The process of a section: wait for the seconds that it may take, then print a record a line."""
    # the records have a file of their own; what libraries and processes that they start print goes to standard error
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as reports:
        os.dup2(2, 1)
        from benchmarks.device import sections  # noqa: F401 - imported before the wait, which it would else prolong

        line = sys.stdin.readline()
        if line:
            threading.Thread(target=_end_with_parent, daemon=True).start()
            for record in section(name, tiny=tiny, seconds=float(line)):
                print(json.dumps(record, ensure_ascii=False), file=reports, flush=True)


def _end_with_parent() -> None:
    """End this process and those that it has started once the parent has ended, whose signals do not reach them."""
    os.read(0, 1)  # b"" at the end; without the lock of sys.stdin, which a thread may not hold when Python ends
    os.killpg(os.getpid(), signal.SIGKILL)


def summary(record: Record) -> str:
    """One line about a record."""
    if record["section"] == "machine":
        return f"{record['name']}, {record.get('versions') or record}"
    if "value" not in record:
        rest = record.get("error") or record.get("skipped") or record.get("text") or ""
        return f"{record['section']}: {record['name']}: {rest}"
    return f"{record['section']}: {record['name']}: {record['value']:,.4g} {record['unit']}"


def tables(records: Iterable[Record]) -> Iterator[Table]:
    """All records as a table, and the rows of the profile as another."""
    shown = Table("section", "name", "value", "unit", "MFU or limit", "GB", "notes")
    profiled = Table("operation", "calls", "ms", "share")
    for record in records:
        if record["section"] == "machine" and "date" in record:
            shown.title = f"{record['name']}, {record['date']}, {record['versions']}"
            continue
        for row in record.get("rows", ()):
            profiled.add_row(row["name"], f"{row['calls']:,}", f"{row['ms']:.2f}", f"{row['share']:.1%}")
        share = record.get("mfu") or record.get("share_of_peak") or record.get("busy")
        bound = f"≤ {record['limit']:g}: {'holds' if record['ok'] else 'FAILS'}" if "limit" in record else ""
        value = f"{record['value']:,.4g}" if "value" in record else "–"
        notes = [record.get(key) for key in ("error", "skipped", "text")]
        notes += [f"not {reason}" for reason in record.get("rejected", ())]
        shown.add_row(
            *(record["section"], record["name"], value, record.get("unit", "")),
            f"{share:.1%}" if share else bound,
            f"{record['gb']:.1f}" if record.get("gb") else "",
            "; ".join(note for note in notes if note),
        )
    yield shown
    if profiled.row_count:
        yield profiled


def main() -> None:
    parser = argparse.ArgumentParser(description="Correctness and speed of training and sampling on one GPU.")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of gpu.jsonl and gpu.txt")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections to run")
    parser.add_argument("--tiny", action="store_true", help="small models")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="limit of all sections together")
    parser.add_argument("--worker", choices=("machine", *SECTIONS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, tiny=options.tiny)
        return
    import torch

    if not options.tiny and not torch.cuda.is_available() and set(options.only) != {"counts"}:
        sys.exit(
            "error: no CUDA device; use a machine with a GPU, --tiny to run small models on this CPU, or --only counts"
        )
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # writes the table and ends the processes
    run(options.out, options.only, tiny=options.tiny, seconds=options.seconds)


if __name__ == "__main__":
    main()
