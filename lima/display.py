"""Escape control characters in text from others before a terminal or a page shows it.

ANSI escape sequences can hide, overwrite or forge lines of a terminal. Unicode's bidirectional controls make text read
in another order than it is stored ("Trojan Source").
"""

import re

CONTROLS = r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
BIDI = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
SURROGATES = r"\ud800-\udfff"  # of a file name that is not UTF-8; no terminal encodes them
HIDDEN = re.compile(f"[{CONTROLS}{BIDI}{SURROGATES}]")
HIDDEN_OR_BREAK = re.compile(f"[\t\n\u2028\u2029{CONTROLS}{BIDI}{SURROGATES}]")


def visible(text: str) -> str:
    r"""The text with controls escaped, "\x1b" or "‹U+202E›". Tab and newline stay."""
    return HIDDEN.sub(_escaped, text)


def visible_line(text: str) -> str:
    """The text on one line: tabs and line breaks are escaped too."""
    return HIDDEN_OR_BREAK.sub(_escaped, text)


def visible_json(text: str) -> str:
    r"""A JSON document with controls inside its strings escaped as JSON does it, "\u202e": the values stay the same."""
    return HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number < 0x100:
        return {"\t": r"\t", "\n": r"\n", "\r": r"\r"}.get(found[0], f"\\x{number:02x}")
    return f"‹U+{number:04X}›"
