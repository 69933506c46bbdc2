"""The output of scrape, filter and prompts for one small source, from which arms are drawn."""

from pathlib import Path

from ruamel.yaml import YAML
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from lima import jsonl
from lima.records import Candidate, Dropped, Example, Funnel, Provenance, Turn
from lima.sources.base import Scraped

SHIPPED = Path(__file__).parents[2] / "params.yaml"
SIZES = {"physics": 30, "beer": 3}


def example(source: str, site: str, number: int) -> Example:
    place = Provenance(source=source, site=site, id=str(number), url="", author="", license="MIT", digest="")
    turns = (Turn(role="user", content=f"{source} {site} {number}?"), Turn(role="assistant", content="!"))
    return Example(id=f"{source}/{site}/{number}", messages=turns, tags=(), provenance=place)


def candidate(example: Example) -> Candidate:
    return Candidate(
        id=example.id,
        title=f"{example.messages[0].content} (title)",
        description="",
        response="!",
        later_turns=(),
        markup="markdown",
        score=None,
        response_score=None,
        tags=(),
        provenance=example.provenance,
    )


def build() -> Path:
    """Write params.yaml and data/ below the current folder; return the file of kept examples."""
    write_params(lambda values: None)
    for pool, first in (("kept", 0), ("unfiltered", 20)):  # of physics, ten are in both
        rows = [example("wikihow", site, first + n) for site, size in SIZES.items() for n in range(size)]
        jsonl.write(Path(f"data/filter/wikihow/{pool}.jsonl"), rows)
    for split in ("dev", "test", "dialogues"):
        jsonl.write(Path(f"data/prompts/{split}.jsonl"), [])
    Path("tests.jsonl").write_text('{"prompt": "Nothing that is asked elsewhere"}\n')
    write_scrape([candidate(example("wikihow", site, n)) for site, size in SIZES.items() for n in range(20 + size)])
    tokenizer = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    Path("data/base/smollm2-135m").mkdir(parents=True)
    tokenizer.save("data/base/smollm2-135m/tokenizer.json")
    return Path("data/filter/wikihow/kept.jsonl")


def write_scrape(offered: list[Candidate], *, raw: str = "<li>cut", detail: str = "90 characters") -> None:
    """What scrape and filter say of the source: 12 rows that could not be read, 7 answers that were too short."""
    bad = [Dropped(reason="bad_row", detail="no XML", place=f"dumps/a.xml:{n}", raw=raw) for n in range(12)]
    short = [Dropped(reason="too_short", detail=detail, place=row.id, raw="") for row in offered[:7]]
    stats = Scraped(
        source="wikihow", rows=99, questions=80, answers=70, candidates=len(offered), dropped={"bad_row": 12}
    )
    kept = len(offered) - len(short)
    funnel = Funnel(source="wikihow", offered=len(offered), kept=kept, prompts=0, dropped={"too_short": len(short)})
    for name, rows in {
        "scrape/wikihow/candidates.jsonl": offered,
        "scrape/wikihow/dropped.jsonl": bad,
        "scrape/wikihow/stats.json": [stats],
        "filter/wikihow/dropped.jsonl": short,
        "filter/wikihow/funnel.json": [funnel],
    }.items():
        jsonl.write(Path("data") / name, rows)


def write_params(change) -> None:
    yaml = YAML()
    values = yaml.load(SHIPPED)
    values["arms"] = {
        "lima": {"pool": "kept", "without": [], "examples": {"wikihow": 6}},
        "unfiltered": {"pool": "unfiltered", "without": [], "examples": {"wikihow": 6}},
    }
    values["contestants"], values["evaluations"] = {}, {}
    values["mix"] |= {"most_per_site": {}, "held_out": {"wikihow": 8}, "test_sets": "tests.jsonl"}
    change(values)
    yaml.dump(values, Path("params.yaml"))
