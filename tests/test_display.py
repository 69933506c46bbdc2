"""Controls in text from dumps, answers and authors reach no terminal and no page as they are."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.display import visible, visible_json, visible_line
from lima.errors import LimaError

ROOT = Path(__file__).parents[1]
# clears the screen; C1's form of the same; a link; text that reads backwards; isolates; marks; overwriting a line
HOSTILE = "\x1b[2J\x9b2J\x1b]8;;http://bad\x07 \u202egnp.exe\u202c \u2066x\u2069 \u200e\u200f\u061c good\rbad \x7f"
RAW = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\rb", r"a\rb"),
        ("\x9b2J", r"\x9b2J"),
        ("\u202egnp.exe", "‹U+202E›gnp.exe"),
        ("\u061c\u200f\u2069", "‹U+061C›‹U+200F›‹U+2069›"),
        ("f\udcff.xml", "f‹U+DCFF›.xml"),  # a file name that is not UTF-8
        ("Grüße, שלום, 你好 👩\u200d👧\tand\nmore", "Grüße, שלום, 你好 👩\u200d👧\tand\nmore"),
    ],
)
def test_a_control_is_shown_by_its_number_and_other_text_stays(text, shown):
    assert visible(text) == shown


def test_on_one_line_breaks_are_shown_too():
    assert visible_line("a\n\tb\u2028c") == r"a\n\tb‹U+2028›c"


@given(st.text(st.characters()))
def test_nothing_hidden_is_left_and_a_terminal_can_encode_it(text):
    assert not RAW.search(visible(text))
    visible(text).encode()
    assert len(visible_line(text).splitlines()) <= 1


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_keeps_its_values(text):
    document = json.dumps({"text": text}, ensure_ascii=False)
    assert json.loads(visible_json(document)) == {"text": text}
    assert not RAW.search(visible_json(document))


def test_an_error_shows_the_controls_of_the_value_it_names():
    assert str(LimaError(f"no such file: {HOSTILE}")) == f"no such file: {visible(HOSTILE)}"


def lima(*words: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "lima.cli", *words], cwd=ROOT, capture_output=True)


@pytest.fixture
def dump(tmp_path):
    """A row that cannot be read, whose score is hostile, in a folder with a hostile name."""
    folder = tmp_path / "beer\x1b[2J\u202e"
    folder.mkdir()
    score = HOSTILE.replace("\x1b", "").replace("\x07", "").replace("\r", "")  # what XML allows
    row = f'<row Id="1" PostTypeId="1" CreationDate="2020-01-01" Score="{score}" Title="How?" Body="b" />'
    (folder / "Posts.xml").write_text(f"<posts>\n{row}\n</posts>", encoding="utf-8")
    return folder


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_inspecting_a_hostile_dump_shows_its_controls(dump, options):
    done = lima("inspect", dump, *options)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode()
    assert "gnp.exe" in shown
    assert not RAW.search(shown)
    assert not RAW.search(done.stderr.decode())
    if options:
        [bad] = json.loads(shown)["bad_rows"]
        assert "\u202egnp.exe" in bad["reason"] or "\\u202e" in bad["reason"]


def test_a_name_that_is_not_utf_8_is_no_traceback(tmp_path):
    name = b"f\xff" + HOSTILE.replace("/", "").encode()
    path = Path(str(tmp_path)) / name.decode("utf-8", "surrogateescape")
    path.write_text("words")
    done = lima("inspect", path)
    assert done.returncode == 1
    assert not RAW.search(done.stderr.decode())
    assert b"Traceback" not in done.stderr


def test_a_hand_written_set_with_hostile_texts_is_checked_in_plain_characters(tmp_path):
    def row(number: int) -> dict:
        turns = [f"[/red]{HOSTILE} number {number}?", f"{HOSTILE} Because."]
        messages = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), turns, strict=True)]
        known = {"group": "A", "topic": HOSTILE, "kind": HOSTILE, "sensitive": False, "note": ""}
        return {"id": f"{HOSTILE}{number}", **known, "messages": messages}

    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row(n)) + "\n" for n in range(3)))
    done = lima("corpus", "check", tmp_path)
    assert done.returncode == 1, done.stderr
    assert not RAW.search(done.stdout.decode())
    assert b"Traceback" not in done.stderr
    assert b"gnp.exe" in done.stdout


def test_sets_of_prompts_with_hostile_names_are_compared_in_plain_characters(tmp_path):
    paths = [tmp_path / f"{name}\x1b[2J[bold]\u202e.txt" for name in ("one", "other")]
    for path in paths:
        path.write_text("Why is bread brown?\nPlan a wedding.")
    done = lima("corpus", "compare", *paths)
    assert done.returncode == 0, done.stderr
    assert not RAW.search(done.stdout.decode())
    assert b"[bold]" in done.stdout
