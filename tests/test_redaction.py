import html
import json
import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.redaction import mask, redact, url_secrets

KEYS = st.text(alphabet=string.ascii_letters + string.digits + "-_/+=.\"\\'&<%", min_size=8, max_size=60)
BODIES = st.text(max_size=300)


def pieces(key):
    """Every substring of 8 characters of the key."""
    return {key[start : start + 8] for start in range(len(key) - 7)}


@given(KEYS, BODIES, BODIES)
def test_no_eight_characters_of_a_key_remain(key, before, after):
    shown = redact(before + key + after, [key])
    assert not [piece for piece in pieces(key) if piece in shown]


@given(KEYS, st.integers(0, 52), st.integers(8, 60), BODIES)
def test_a_part_of_a_key_is_redacted(key, start, length, before):
    shown = redact(f"{before}{key[start : start + length]} …", [key])
    assert not [piece for piece in pieces(key) if piece in shown]


def quoted_html(text: str) -> str:
    return f'"{html.escape(text)}"'


@pytest.mark.parametrize("escape", [json.dumps, quote, repr, quoted_html])
def test_an_escaped_key_is_redacted(escape):
    key = 'sk-"ab/cd+ef&gh<ij'
    shown = redact(f"wrong key {escape(key)}.", [key])
    assert not [piece for piece in pieces(escape(key)[1:-1]) if piece in shown]


def test_text_that_is_not_secret_is_unchanged():
    text = "The key to it all: sk-abc is short, sk-abcdefg2 is another."
    assert redact(text, ["sk-abcdefg1"]) == "The key to it all: sk-abc is short, …2 is another."
    assert redact(text, []) == text
    assert redact(text, [""]) == text


def test_a_short_key_is_redacted_in_errors_only():
    assert redact("wrong key: abc", ["abc"]) == "wrong key: …"
    assert mask("none of them", ["none"], piece=8) == "none of them"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no route to https://ann:pa55@host/v1", "no route to https://…@host/v1"),
        ("https://host/v1?api_key=abc&x=1 fails", "https://host/v1?api_key=…&x=1 fails"),
        ("https://host/v1?x=1&token=abc", "https://host/v1?x=1&token=…"),
        ("mail ann@host, see https://host/@ann", "mail ann@host, see https://host/@ann"),
    ],
)
def test_credentials_in_urls_are_redacted(text, shown):
    assert redact(text, []) == shown


def test_the_secrets_of_a_url_are_its_user_password_and_keys():
    assert url_secrets("https://ann:p%40ss@host/v1?api-key=abc&model=m") == ["ann", "p%40ss", "p@ss", "abc"]
    assert url_secrets("http://127.0.0.1:8000/v1") == []
