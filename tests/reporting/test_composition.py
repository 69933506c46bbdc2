import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.records import Credit, Example, Provenance, Turn
from lima.reporting import composition, data_card


def credit(number: int, **changes: str) -> Credit:
    fields = {
        "split": "train",
        "id": str(number),
        "source": "forum",
        "site": "beer",
        "title": "",
        "author": "Ada",
        "address": "https://x.example",
        "license": "MIT",
        "license_address": "",
        "changes": "",
        "missing": "",
    }
    return Credit(**fields | changes)


def test_licenses_count_examples_distinct_authors_and_unknown_values():
    credits = [
        credit(1),
        credit(2),
        credit(3, author="unknown", missing="author"),
        credit(4, author="Bea (question), unknown (answer)", address="unknown", missing="author, address"),
        credit(5, license="CC BY-SA 4.0"),
        credit(6, split="held_out"),
    ]
    other, mit = composition.licenses(credits)
    # of the four under MIT, two are Ada's and two have no author, one of them no address either
    assert (mit.examples, mit.authors, mit.without_author, mit.without_address) == (4, 1, 2, 1)
    assert (other.license, other.examples) == ("CC BY-SA 4.0", 1)


@pytest.mark.parametrize(
    ("license", "forbids"),
    [
        ("CC BY-NC-ND 4.0", ["commercial use", "changed versions"]),
        ("CC BY-SA 4.0 (question), CC BY-NC-SA 3.0 (answer)", ["commercial use"]),
        ("CC BY-SA 4.0", []),
        ("MIT", []),
    ],
)
def test_excluded_uses_are_read_from_the_name_of_the_license(license, forbids):
    assert composition.licenses([credit(1, license=license)])[0].forbids == forbids


def test_lengths_sum_the_turns_of_each_role_by_source():
    place = Provenance(source="forum", site="", id="", url="", author="", license="", digest="")
    turns = [("user", "a b"), ("assistant", "c"), ("user", "d"), ("assistant", "e f")]
    row = Example(id="1", messages=tuple(Turn(role=r, content=c) for r, c in turns), tags=(), provenance=place)
    lengths = composition.measure([row], lambda texts: [len(text.split()) for text in texts])
    assert lengths == {"forum": composition.Lengths(prompts=[3], responses=[3])}  # 2 + 1, 1 + 2


@given(st.text(), st.integers(1, 20))
def test_a_truncated_text_has_at_most_the_given_length_and_ends_with_an_ellipsis(text, chars):
    shown = data_card.cut(text, chars)
    assert len(shown) <= chars or shown == text
    assert shown == text if len(text) <= chars else shown.endswith("…")
