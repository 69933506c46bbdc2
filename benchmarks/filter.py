"""HTML to Markdown, on the bodies of the shipped Stack Exchange dumps."""

from collections.abc import Iterator
from pathlib import Path

from markdownify import markdownify

from benchmarks.claims import Claim, claim, in_turn
from lima.records import Candidate
from lima.sources import base
from lima.sources.stack_exchange import reader
from lima.text.html_to_markdown import to_markdown

DUMPS = (Path("corpus/dumps/stack_exchange_stem"), Path("corpus/dumps/stack_exchange_other"))


def measure() -> Iterator[Claim]:
    """Our converter against markdownify, which is built on BeautifulSoup."""
    bodies = [
        text
        for dumps in DUMPS
        for found in reader.read(dumps, source="x", license="", tally=base.ReadStats())
        if isinstance(found, Candidate)
        for text in (found.description, found.response)
    ]
    ours, peer = in_turn(
        lambda: [to_markdown(body) for body in bodies], lambda: [markdownify(body) for body in bodies], pairs=9
    )
    speeds = {"ours": len(bodies) / ours, "peer": len(bodies) / peer}
    yield claim("HTML to Markdown, against markdownify", **speeds, unit="bodies/s", target="≥ 5")
