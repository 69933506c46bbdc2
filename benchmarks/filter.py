"""HTML to Markdown, and the rules of the stage `filter`, on real Stack Exchange candidates or the shipped ones.

DATATROVE_PYTHON names a Python that has the peer: `pip install 'datatrove[processing]' spacy` in its own environment.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from markdownify import markdownify

from benchmarks.claims import Claim, claim, in_turn
from benchmarks.slices import in_slices
from lima import config, jsonl
from lima.curation.filters import FilterResults
from lima.records import Candidate
from lima.sources import base, filter_parts, rules
from lima.sources.stack_exchange import reader
from lima.stages import filter as stage
from lima.text.html_to_markdown import to_markdown, to_marked

DUMPS = (Path("corpus/dumps/stack_exchange_stem"), Path("corpus/dumps/stack_exchange_other"))
REAL = Path("../shared/realdata/stack_exchange")
SITES = ("beer.stackexchange.com.7z", "iot.stackexchange.com.7z", "matheducators-2014", "ai-2017", "coffee-2015")
VOTES = 10  # least votes of an answer: few of these sites have as many
COPIES = 4  # of the candidates, under other ids, for two workers
TEXTS = 600  # given to the peer
# prints the processor time of a text in the quality filters of FineWeb's pipeline
DATATROVE = """
import json, sys, time
from datatrove.data import Document
from datatrove.pipeline import filters
chain = [filters.GopherRepetitionFilter(), filters.GopherQualityFilter(), filters.C4QualityFilter(
    filter_no_terminal_punct=False), filters.FineWebQualityFilter()]
documents = [Document(text=json.loads(line), id=str(n)) for n, line in enumerate(open(sys.argv[1]))]
def passes(document):
    for step in chain:
        answer = step.filter(document)
        if not (answer if isinstance(answer, bool) else answer[0]):
            return False
    return True
passes(documents[0])
start = time.process_time()
for document in documents:
    passes(document)
print(len(documents) / (time.process_time() - start))
"""


def measure() -> Iterator[Claim]:
    yield beside_markdownify()
    found = candidates([REAL / site for site in SITES] if REAL.exists() else DUMPS)
    yield from beside_datatrove(found)
    yield from on_two_cores(found)


def beside_markdownify() -> Claim:
    """Our converter against markdownify, which is built on BeautifulSoup."""
    bodies = [text for candidate in candidates(DUMPS) for text in (candidate.description, candidate.response)]
    ours, peer = in_turn(
        lambda: [to_markdown(body) for body in bodies], lambda: [markdownify(body) for body in bodies], pairs=9
    )
    speeds = {"ours": len(bodies) / ours, "peer": len(bodies) / peer}
    return claim("HTML to Markdown, against markdownify", **speeds, unit="bodies/s", target="≥ 5")


def candidates(dumps: Sequence[Path]) -> list[Candidate]:
    """Answered candidates, whose answers all have votes enough."""
    return [
        row.model_copy(update={"response_score": max(VOTES, row.response_score or 0)})
        for path in dumps
        for row in reader.read(path, source="benchmark", license="", tally=base.ReadStats())
        if isinstance(row, Candidate) and row.response
    ]


def beside_datatrove(found: Sequence[Candidate]) -> Iterator[Claim]:
    """All rules, HTML to Markdown included, against quality filters on Markdown; candidates per second of processor."""
    python = os.environ.get("DATATROVE_PYTHON")
    if not python:
        print("DATATROVE_PYTHON names no interpreter that has datatrove: no claim beside it", file=sys.stderr)
        return
    found = found[:: max(1, len(found) // TEXTS)]
    settings = config.load().filter
    convert = {"to_markdown": to_markdown, "to_marked": to_marked}
    results = FilterResults(reader="stack_exchange", settings=settings)
    list(rules.apply(found[:100], reader="stack_exchange", settings=settings, **convert))
    start = time.process_time()
    list(results.collect(rules.apply(found, reader="stack_exchange", settings=settings, **convert)))
    ours = len(found) / (time.process_time() - start)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as texts:
        texts.writelines(json.dumps(to_markdown(candidate.response)) + "\n" for candidate in found)
        texts.flush()
        printed = subprocess.run([python, "-c", DATATROVE, texts.name], check=True, capture_output=True, text=True)
    words = "candidates filtered, against four quality filters of datatrove on their Markdown"
    yield claim(words, ours=ours, peer=float(printed.stdout), unit="per CPU-s", target="≥ 1")


def on_two_cores(found: Sequence[Candidate]) -> Iterator[Claim]:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "candidates.jsonl")
        copies = [row.model_copy(update={"id": f"{row.id}-{copy}"}) for copy in range(COPIES) for row in found]
        jsonl.write(path, copies)
        one, two = in_slices(partial(judge, path, 1), partial(judge, path, 2), times=2)
    speeds = {"ours": len(copies) / two, "peer": len(copies) / one}
    yield claim("candidates filtered by two workers, against one", **speeds, unit="per s", target="≥ 1.7")


def judge(candidates: Path, workers: int) -> None:
    """The stage's work without near duplicates, its results on disk."""
    settings = config.load().filter.model_copy(update={"workers": workers})
    with tempfile.TemporaryDirectory() as folder:
        plan = filter_parts.plan(
            candidates,
            source="benchmark",
            reader="stack_exchange",
            settings=settings,
            changes={},
            enough=stage.PART,
            folder=Path(folder),
        )
        stage.judged(plan.parts, "benchmark")
