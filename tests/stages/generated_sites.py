"""A checkout with generated Stack Exchange sites, and `scrape` on it in a process of its own, which a test may kill."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = "stack_exchange_stem"
DUMPS = Path("corpus/dumps") / SOURCE
OUT = Path("data/scrape") / SOURCE
KEPT = Path("work/kept/scrape") / SOURCE
BODY = "&lt;p&gt;" + "Turn the screw until the needle stands still, then read the scale. " * 12 + "&lt;/p&gt;"
QUESTION = (
    '<row Id="{}" PostTypeId="1" Score="{}" Title="How is number {} read?" Body="{}" CreationDate="2020-01-01" />'
)
ANSWER = '<row Id="{}" PostTypeId="2" ParentId="{}" Score="{}" Body="{}" CreationDate="2020-01-01" />'


def checkout(folder: Path, *, sites: int, kilobytes: int, workers: int) -> None:
    """params.yaml, and sites of about the same size, each with votes of its own and one row cut short."""
    text = (ROOT / "params.yaml").read_text()
    assert "\n  workers: 2  " in text
    folder.joinpath("params.yaml").write_text(text.replace("\n  workers: 2  ", f"\n  workers: {workers}  "))
    pairs = kilobytes * 1000 // (2 * len(BODY) + 200)
    for site in range(sites):
        place = folder / DUMPS / f"site{site:02}.example"
        place.mkdir(parents=True)
        with (place / "Posts.xml").open("w") as posts:
            posts.write("<posts>\n")
            for n in range(1, 2 * pairs, 2):
                posts.write(QUESTION.format(n, n % (site + 2), n, BODY) + "\n")
                posts.write(ANSWER.format(n + 1, n, 9 + n % (site + 3), BODY) + "\n")
            posts.write("<row cut in ha\n</posts>\n")


def scrape(folder: Path, **more: object) -> subprocess.Popen[str]:
    """Start the stage, which a file `hold` stops (held_parts.py)."""
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    env |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    return subprocess.Popen(
        [sys.executable, Path(__file__).with_name("held_parts.py"), SOURCE],
        cwd=folder,
        env=env | more.pop("env", {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **more,
    )


def hold(folder: Path, parts: int) -> None:
    """Let workers stop once this number of parts is finished."""
    folder.joinpath("hold").write_text(str(parts))


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def result(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / OUT).iterdir())}


def kept(folder: Path) -> dict[str, tuple[int, int]]:
    """Which file on the disk each finished part is, and when it was written."""
    counts = (folder / KEPT).glob("*/part.json")
    return {path.parent.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in counts}


def stats(folder: Path) -> dict[str, object]:
    return json.loads((folder / OUT / "stats.json").read_text())
