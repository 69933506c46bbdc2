import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lima import config, dialogue_drafts
from lima.curation import conversations
from lima.errors import LimaError
from lima.records import Candidate, Dropped, Example
from lima.sources.authored import reader
from lima.sources.base import ReadStats

ROOT = Path(__file__).parents[1]
SITES = [
    ROOT / "corpus/dumps/stack_exchange_other/cooking.example",
    ROOT / "corpus/dumps/stack_exchange_stem/programming.example",
]


def found(site: Path = SITES[0], most: int = 20) -> dialogue_drafts.Found:
    return dialogue_drafts.find(site, config.check(_params(), name="params.yaml").dialogues, most=most)


def _params() -> object:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(ROOT / "params.yaml")


def read(folder: Path) -> list[Candidate | Dropped]:
    return list(reader.read(folder, source="authored", licence="MIT", tally=ReadStats()))


@pytest.mark.parametrize("site", SITES)
def test_the_shipped_sites_have_drafts_the_best_first(site):
    totals = [draft.merit.total() for draft in found(site).drafts]
    assert len(totals) == 2
    assert totals == sorted(totals, reverse=True)


def test_no_more_than_asked_for_and_those_the_best():
    assert [dialogue_drafts.id_(draft) for draft in found(most=1).drafts] == ["dialogue-cooking.example-11"]


def test_every_thread_is_a_chain_or_left_out():
    for site in SITES:
        of = found(site)
        assert of.threads == of.chains + sum(of.left_out.values())


def test_a_draft_is_left_out_until_it_is_edited_and_then_an_example_that_keeps_its_attribution(tmp_path):
    out = tmp_path / "drafts.jsonl"
    dialogue_drafts.write(found(), out)
    assert [(row.reason, "edit it" in row.detail) for row in read(tmp_path)] == [("draft", True)] * 2
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    out.write_text("".join(json.dumps(row | {"note": "dialogue"}) + "\n" for row in rows))
    first, _ = [conversations.decide(row, to_markdown=lambda _, text: text) for row in read(tmp_path)]
    assert isinstance(first, Example)
    assert [turn.role for turn in first.messages] == ["user", "assistant"] * 3
    origin = first.provenance
    assert (first.id, origin.url) == ("authored/A/dialogue-cooking.example-11", "https://cooking.example/a/11")
    assert origin.author == "ladle-and-lid (question, comments), Pell Okonkwo (answer, comments); edited by group A"
    assert origin.licence == "CC BY-SA 3.0"  # not the authors' own
    assert "kind:dialogue" in first.tags


def test_the_sheet_shows_every_turn_as_it_is_within_a_fence_of_its_own(tmp_path):
    of = found(SITES[1])
    sheet = dialogue_drafts.write(of, tmp_path / "drafts.jsonl").read_text()
    for draft in of.drafts:
        for turn in draft.turns:
            assert re.search(rf"\*\*{turn.role}\*\*\n\n(```+)text\n{re.escape(turn.content)}\n\1\n", sheet)
    assert "````text" in sheet  # an answer with a code block of its own


def test_the_sheet_shows_the_controls_in_what_others_wrote(tmp_path):
    of = found(SITES[1], most=1)
    [draft] = of.drafts
    turns = tuple(turn.model_copy(update={"content": f"\x1b[2J\u202e{turn.content}"}) for turn in draft.turns)
    origin = draft.thread.provenance.model_copy(update={"author": "\x1b[2J\u202eBob"})
    hostile = replace(draft, turns=turns, thread=draft.thread.model_copy(update={"provenance": origin}))
    sheet = dialogue_drafts.write(replace(of, drafts=[hostile]), tmp_path / "drafts.jsonl").read_text()
    assert "\x1b" not in sheet and "\u202e" not in sheet
    assert sheet.count("\\x1b[2J‹U+202E›") >= len(turns)
    assert r"‹U+202E›Bob" in sheet


def test_edits_are_never_overwritten(tmp_path):
    out = tmp_path / "drafts.jsonl"
    dialogue_drafts.write(found(), out)
    before = out.read_text()
    with pytest.raises(LimaError, match=r"drafts\.jsonl is there already, and may hold somebody's edits"):
        dialogue_drafts.write(found(), out)
    assert out.read_text() == before


def test_a_file_that_would_not_be_read_is_not_written(tmp_path):
    with pytest.raises(LimaError, match=r"--out is .*drafts\.json; .* end with \.jsonl"):
        dialogue_drafts.check(tmp_path / "drafts.json")


def lima(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "lima.cli", *words], cwd=ROOT, capture_output=True, text=True)


def test_the_command_says_what_it_found(tmp_path):
    done = lima("dialogues", str(SITES[1]), "--out", str(tmp_path / "d.jsonl"), "--most", "1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"answers below which both spoke +3\n", done.stdout)
    assert re.search(r"drafts +1\n", done.stdout)
    assert "d.jsonl is to be edited" in done.stdout
    again = lima("dialogues", str(SITES[1]), "--out", str(tmp_path / "d.jsonl"))
    assert again.returncode == 1
    assert again.stderr.startswith("error: ") and "Traceback" not in again.stderr
