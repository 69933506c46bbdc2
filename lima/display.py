"""Escape control characters in untrusted text before a terminal or a page shows it.

ANSI escape sequences can hide, overwrite or forge lines of a terminal. Unicode's bidirectional controls change the
order in which text is displayed ("Trojan Source").
"""

import re

CONTROLS = r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 except tab and newline, DEL, C1
BIDI = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
SURROGATES = r"\ud800-\udfff"  # of a file name that is not UTF-8; no terminal encodes them
HIDDEN = re.compile(f"[{CONTROLS}{BIDI}{SURROGATES}]")
HIDDEN_OR_BREAK = re.compile(f"[\t\n\u2028\u2029{CONTROLS}{BIDI}{SURROGATES}]")


def visible(text: str) -> str:
    r"""Escape control characters as "\x1b" or "‹U+202E›"; tab and newline are unchanged."""
    return HIDDEN.sub(_escaped, text)


def visible_line(text: str) -> str:
    """Escape control characters, tabs and line breaks."""
    return HIDDEN_OR_BREAK.sub(_escaped, text)


def visible_json(text: str) -> str:
    r"""Escape control characters inside JSON strings as "\u202e"; the parsed values are unchanged."""
    return HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    if number < 0x100:
        return {"\t": r"\t", "\n": r"\n", "\r": r"\r"}.get(match[0], f"\\x{number:02x}")
    return f"‹U+{number:04X}›"
