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


def extracted(site: Path = SITES[0], most: int = 20) -> dialogue_drafts.ExtractedDrafts:
    return dialogue_drafts.extract(site, config.check(_params(), name="params.yaml").dialogues, most=most)


def _params() -> object:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(ROOT / "params.yaml")


def read(folder: Path) -> list[Candidate | Dropped]:
    return list(reader.read(folder, source="authored", license="MIT", tally=ReadStats()))


@pytest.mark.parametrize("site", SITES)
def test_drafts_of_the_shipped_sites_are_sorted_best_first(site):
    totals = [draft.quality.total() for draft in extracted(site).drafts]
    assert len(totals) == 2
    assert totals == sorted(totals, reverse=True)


def test_most_limits_the_drafts_to_the_best():
    assert [dialogue_drafts.id_(draft) for draft in extracted(most=1).drafts] == ["dialogue-cooking.example-11"]


def test_every_thread_is_a_chain_or_dropped():
    for site in SITES:
        counts = extracted(site)
        assert counts.threads == counts.chains + sum(counts.dropped.values())


def test_a_draft_is_dropped_until_it_is_edited_and_then_becomes_an_example_with_its_attribution(tmp_path):
    out = tmp_path / "drafts.jsonl"
    dialogue_drafts.write(extracted(), out)
    assert [(row.reason, "edit it" in row.detail) for row in read(tmp_path)] == [("draft", True)] * 2
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    out.write_text("".join(json.dumps(row | {"note": "dialogue"}) + "\n" for row in rows))
    first, _ = [conversations.decide(row, to_markdown=lambda _, text: text) for row in read(tmp_path)]
    assert isinstance(first, Example)
    assert [turn.role for turn in first.messages] == ["user", "assistant"] * 3
    origin = first.provenance
    assert (first.id, origin.url) == ("authored/A/dialogue-cooking.example-11", "https://cooking.example/a/11")
    assert origin.author == "ladle-and-lid (question, comments), Pell Okonkwo (answer, comments); edited by group A"
    assert origin.license == "CC BY-SA 3.0"  # not the authors' own
    assert "kind:dialogue" in first.tags


def test_the_markdown_file_shows_every_turn_unchanged_in_a_code_fence(tmp_path):
    drafts = extracted(SITES[1])
    sheet = dialogue_drafts.write(drafts, tmp_path / "drafts.jsonl").read_text()
    for draft in drafts.drafts:
        for turn in draft.turns:
            assert re.search(rf"\*\*{turn.role}\*\*\n\n(```+)text\n{re.escape(turn.content)}\n\1\n", sheet)
    assert "````text" in sheet  # an answer with a code block of its own


def test_the_markdown_file_escapes_control_characters_from_the_dump(tmp_path):
    drafts = extracted(SITES[1], most=1)
    [draft] = drafts.drafts
    turns = tuple(turn.model_copy(update={"content": f"\x1b[2J\u202e{turn.content}"}) for turn in draft.turns)
    origin = draft.thread.provenance.model_copy(update={"author": "\x1b[2J\u202eBob"})
    hostile = replace(draft, turns=turns, thread=draft.thread.model_copy(update={"provenance": origin}))
    sheet = dialogue_drafts.write(replace(drafts, drafts=[hostile]), tmp_path / "drafts.jsonl").read_text()
    assert "\x1b" not in sheet and "\u202e" not in sheet
    assert sheet.count("\\x1b[2J‹U+202E›") >= len(turns)
    assert r"‹U+202E›Bob" in sheet


def test_an_existing_file_is_never_overwritten(tmp_path):
    out = tmp_path / "drafts.jsonl"
    dialogue_drafts.write(extracted(), out)
    before = out.read_text()
    with pytest.raises(LimaError, match=r"drafts\.jsonl already exists and may contain edits"):
        dialogue_drafts.write(extracted(), out)
    assert out.read_text() == before


def test_another_extension_than_jsonl_is_rejected(tmp_path):
    with pytest.raises(LimaError, match=r"--out is .*drafts\.json, .* ends with \.jsonl"):
        dialogue_drafts.check(tmp_path / "drafts.json")


def lima(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "lima.cli", *words], cwd=ROOT, capture_output=True, text=True)


def test_the_command_prints_counts_and_the_output_files(tmp_path):
    done = lima("dialogues", str(SITES[1]), "--out", str(tmp_path / "d.jsonl"), "--most", "1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"threads of asker and answerer +3\n", done.stdout)
    assert re.search(r"drafts +1\n", done.stdout)
    assert re.search(r"edit .*d\.jsonl; .*d\.md shows", done.stdout)
    again = lima("dialogues", str(SITES[1]), "--out", str(tmp_path / "d.jsonl"))
    assert again.returncode == 1
    assert again.stderr.startswith("error: ") and "Traceback" not in again.stderr
