import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima import reader_names
from lima.curation import attribution
from lima.display import visible_line
from lima.records import Credit, Example, Provenance, Turn

TURNS = (Turn(role="user", content="How long?"), Turn(role="assistant", content="An hour."))


def example(number: int = 1, *, author="Ada", url="https://x.example/a/1", license="CC BY-SA 4.0") -> Example:
    place = Provenance(
        source="forum", site="beer", id=str(number), url=url, author=author, license=license, digest="0" * 64
    )
    return Example(id=f"forum/beer/{number}", messages=TURNS, tags=(), provenance=place)


def credits(train: list[Example], held_out: list[Example] = (), title: str = "How long is a brew?"):
    titles = {row.id: title for row in [*train, *held_out]}
    splits = {"train": train, "held_out": held_out}
    return list(attribution.credits(splits, titles=titles, readers={"forum": "stack_exchange"}))


def rows(credits: list[Credit]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(attribution.to_csv(credits), newline="")))


def test_credit_has_title_author_address_license_and_changes():
    (row,) = rows(credits([example()]))
    assert row == {
        "split": "train",
        "id": "forum/beer/1",
        "source": "forum",
        "site": "beer",
        "title": "How long is a brew?",
        "author": "Ada",
        "address": "https://x.example/a/1",
        "license": "CC BY-SA 4.0",
        "license_address": "https://creativecommons.org/licenses/by-sa/4.0/",
        "changes": attribution.CHANGES["stack_exchange"],
        "missing": "",
    }


TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["=1+1", "a,b", 'say "so"', "two\nlines", "\u2028", "\x85", "\r", "", "'=x", "\x00"]
)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT), max_size=6))
def test_csv_has_one_line_per_example_in_order_for_any_text(texts):
    train = [
        example(number, author=author, url=url, license=license)
        for number, (author, url, license, _) in enumerate(texts)
    ]
    lines = attribution.to_csv(credits(train, title="".join(title for *_, title in texts))).splitlines()
    assert len(lines) == 1 + len(train)
    assert [line.split(",")[1] for line in lines[1:]] == [row.id for row in train]


@given(TEXT)
def test_no_cell_is_a_formula_and_text_is_recoverable(text):
    (row,) = rows(credits([example(author=text)]))
    cell = row["author"]
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    words = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", attribution.NAMELESS.sub("unknown", text)).split())
    assert (cell[1:] if cell.startswith("'") else cell) == visible_line(words)


@pytest.mark.parametrize(
    ("author", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("\u202e=1+1", "‹U+202E›=1+1"),
        ("\x1b[2J\r+1", "[2J +1"),
        ("\x00@SUM(1)", "'@SUM(1)"),
    ],
)
def test_controls_do_not_reach_the_table(author, cell):
    (row,) = rows(credits([example(author=author)]))
    assert row["author"] == cell


@pytest.mark.parametrize(
    ("author", "shown"),
    [
        ("", "unknown"),
        (" ", "unknown"),
        ("[deleted]", "unknown"),
        ("Ada (question), an unnamed user (answer)", "Ada (question), unknown (answer)"),
        ("user 17", "user 17"),
    ],
)
def test_a_missing_author_is_named_as_unknown(author, shown):
    (row,) = credits([example(author=author)])
    assert (row.author, row.missing) == (shown, "author" if "unknown" in shown else "")


def test_a_missing_address_or_license_is_named_as_unknown():
    (row,) = credits([example(url="", license=" ")])
    assert (row.address, row.license, row.license_address) == ("unknown", "unknown", "")
    assert row.missing == "address, license"


@pytest.mark.parametrize(
    ("license", "address"),
    [
        (
            "CC BY-SA 3.0 (question), CC BY-SA 4.0 (answer)",
            "https://creativecommons.org/licenses/by-sa/3.0/ https://creativecommons.org/licenses/by-sa/4.0/",
        ),
        ("CC BY-NC-SA 3.0", "https://creativecommons.org/licenses/by-nc-sa/3.0/"),
        ("CC BY-SA", ""),  # of which version?
        ("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0"),
    ],
)
def test_a_licenses_address_follows_from_its_name(license, address):
    assert attribution.license_address(license) == address


def test_held_out_examples_follow_training_examples():
    table = credits([example(2), example(1)], [example(3)])
    assert [(row.split, row.id[-1]) for row in table] == [("train", "2"), ("train", "1"), ("held_out", "3")]


def test_credits_are_read_from_the_csv_that_they_were_written_to():
    table = credits([example(1, author="=1+1"), example(2, author="'t Hooft")], [example(3)])
    assert attribution.from_csv(attribution.to_csv(table)) == table


def test_every_reader_has_a_note_on_changes():
    assert attribution.CHANGES.keys() == set(reader_names.BUILT_IN)
