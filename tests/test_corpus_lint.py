"""The check of what is written by hand: each law broken once."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lima import config, corpus_lint, corpus_report
from lima.config.tools import CorpusLint
from lima.errors import LimaError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def settings(tmp_path) -> CorpusLint:
    (tmp_path / "allowed.txt").write_text("ser\n")
    shipped = YAML(typ="safe").load(ROOT / "params.yaml")["proofreading"]
    return CorpusLint.model_validate(shipped | {"spelling": str(tmp_path / "allowed.txt"), "most_openings": 2})


def row(id_: str, *turns: str, group: str = "A", kind: str = "explain", note: str = "") -> dict:
    said = [{"role": ("user", "assistant")[number % 2], "content": turn} for number, turn in enumerate(turns)]
    told = {"id": id_, "group": group, "topic": "bread", "kind": kind, "sensitive": False, "note": note}
    return told | {"messages": said}


GOOD = [
    row("a-1", "Why does dough rise?", "Yeast breathes out carbon dioxide, and gluten holds it."),
    row("a-2", "How old is the Moon?", "About four and a half billion years."),
    row("d-1", "Who was Ada Lovelace?", "A mathematician.", "When did she live?", "From 1815 to 1852."),
    row("a-dev", "Plan a picnic for nine vegetarians."),
    row("b-1", "Name seven winds of the Mediterranean.", group="B"),
    row("b-2", "-.-. ---", group="B", kind="unseen"),
    row("crowd", "Which smell takes you back to childhood?", group="B", kind="askreddit"),
    row("open", "I'd like to talk about whales.", group="B", kind="opening"),
]


def proof(tmp_path: Path, settings: CorpusLint, *rows: dict) -> corpus_lint.LintResult:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "all.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in rows), encoding="utf-8")
    return corpus_lint.lint([folder], settings)


def told(found: corpus_lint.LintResult) -> list[tuple[str, str]]:
    return [(finding.law, finding.says) for finding in found.faults]


def test_a_good_set_has_no_fault_and_each_line_plays_its_part(tmp_path, settings):
    found = proof(tmp_path, settings, *GOOD)
    assert told(found) == []
    parts = {name: [line.id for line in lines] for name, lines in found.parts.items()}
    assert parts == {
        "train": ["a-1", "a-2"],
        "dialogues": ["d-1"],
        "dev": ["a-dev"],
        "test": ["b-1", "b-2"],
        "crowd": ["crowd"],
        "openings": ["open"],
    }


BROKEN = [
    ([row("a-2", "Why?", "So.")], "schema", "id: a-2 stands already at"),
    ([row("a-3", "Why?", "")], "schema", "message 2 has no text"),
    ([row("a-3", "Why?", "So.", note="draft: check the facts")], "schema", "a-3 is a draft that nobody has edited"),
    ([row("b-3", "Why does the dough rise?", group="B")], "near-duplicate", "a-1 (train) and b-3 (test) are alike"),
    (
        [row(f"a-{n}", text, "Gladly, here it is.") for n, text in ((7, "Bees"), (8, "Fog"), (9, "Rye"))],
        "formula",
        "3 answers begin with 'gladly here it'",
    ),
    ([row("a-3", "Where do eels spawn?", "They recieve no visitors there.")], "spelling", "'recieve': receive?"),
    ([row("a-3", "Where do eels spawn?", "In the the Sargasso Sea.")], "spelling", "'the the': the?"),
]


@pytest.mark.parametrize(("more", "law", "says"), BROKEN)
def test_each_law_is_told_when_it_is_broken(tmp_path, settings, more, law, says):
    found = told(proof(tmp_path, settings, *GOOD, *more))
    assert [one for one, _ in found] == [law]
    assert says in found[0][1]


def test_prompts_may_be_misspelt_and_are_shown_and_an_allowed_word_is_not(tmp_path, settings):
    found = proof(tmp_path, settings, *GOOD, row("a-3", "Will I recieve it?", "Ser o no ser: yes."))
    assert told(found) == []
    assert [(finding.place, finding.says) for finding in found.doubtful] == [("a-3", "'recieve': receive?")]


def test_an_id_is_unique_over_folders_and_a_folder_without_a_file_is_told(tmp_path, settings):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.jsonl").write_text(json.dumps(GOOD[0]) + "\n")
    found = corpus_lint.lint([tmp_path / "one", tmp_path / "two"], settings)
    assert [law for law, _ in told(found)] == ["schema"]
    (tmp_path / "three").mkdir()
    with pytest.raises(LimaError, match="three"):
        corpus_lint.lint([tmp_path / "three"], settings)


def test_the_sheet_shows_table_1_the_closest_pairs_the_distance_and_the_faults(tmp_path, settings):
    found = proof(tmp_path, settings, *GOOD, row("a-3", "Where do eels spawn?", "They recieve no visitors."))
    sheet = corpus_report.render(found, settings)
    # Table 1's authors, group A: 200 examples of 40 and 334 tokens
    assert any([cell.strip() for cell in line.split("│")][1:4] == ["train", "3", "200"] for line in sheet.splitlines())
    assert "The 10 closest pairs" in sheet
    assert "the 1 test prompts of the kind unseen" in sheet
    assert "spelling: a-3: 'recieve': receive?" in sheet
    assert sheet.endswith("1 faults, 0 odd spellings in prompts, which may be meant")


def test_what_is_shipped_keeps_the_laws_and_no_two_prompts_are_near_each_other():
    p = config.load(ROOT / "params.yaml").proofreading
    found = corpus_lint.lint(
        [ROOT / folder for folder in p.folders], p.model_copy(update={"spelling": str(ROOT / p.spelling)})
    )
    assert told(found) == []
    assert found.closest[0].jaccard < 0.25
    assert found.unseen is not None
    assert found.unseen.mean < found.unseen.others / 2
    assert found.unseen.farther > 0.9
