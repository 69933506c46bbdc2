"""Reading Posts.xml, one process, on rows of the shipped corpus repeated under new ids."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lxml import etree

from benchmarks.claims import Claim, claim, in_turn
from lima.sources import reading, stack_exchange

ROWS = Path("corpus/dumps/stack_exchange_stem/programming.example/Posts.xml")
COPIES = 400


def measure() -> Iterator[Claim]:
    """Candidates out of Posts.xml against lxml.iterparse, which only visits the rows."""
    with tempfile.TemporaryDirectory() as folder:
        posts = Path(folder) / "large.example" / "Posts.xml"
        posts.parent.mkdir()
        posts.write_text(many(ROWS.read_text(encoding="utf-8-sig")), encoding="utf-8")
        megabytes = posts.stat().st_size / 1e6

        def ours() -> None:
            for _ in stack_exchange.read(posts.parent, source="x", licence="", tally=reading.Tally()):
                pass

        def peer() -> None:
            for _, row in etree.iterparse(str(posts), tag="row"):
                row.clear()

        seconds = in_turn(ours, peer, pairs=3)
    speeds = {"ours": megabytes / seconds[0], "peer": megabytes / seconds[1]}
    yield claim("Posts.xml to candidates, against lxml.iterparse alone", **speeds, unit="MB/s", target="≥ 0.5")


def many(text: str) -> str:
    """The file's whole rows `COPIES` times, each time with ids of their own."""
    rows = [line for line in text.splitlines() if line.strip().startswith("<row ") and line.strip().endswith("/>")]
    copies = []
    for copy in range(COPIES):
        shift = copy * 1_000_000
        for row in rows:
            copies.append(
                re.sub(r'\b(Id|ParentId|AcceptedAnswerId)="(\d+)"', lambda m: f'{m[1]}="{int(m[2]) + shift}"', row)  # noqa: B023
            )
    return "\n".join(['<?xml version="1.0" encoding="utf-8"?>', "<posts>", *copies, "</posts>", ""])
