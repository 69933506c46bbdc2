"""HTML as a stream of tags and texts, in time linear in its length whatever stands in it.

The tokenizer of HTML5, as far as text needs it: quotes count after "=" alone, a tag or comment that is never closed
takes the rest with it, as in a browser, and what a script holds is not looked at. No tree is built, so that nothing is
too deep; libxml2's cuts off what is deeper than 2,048 elements.
"""

import html
import re

# Each alternative matches wherever it begins, or the end of the text ends it: nothing is scanned twice.
TOKEN = re.compile(
    r"(?P<text>(?:[^<]|<(?![a-z/!?]))[^<]*+(?:<(?![a-z/!?])[^<]*+)*+)"
    r"|<(?P<raw>script|style|textarea|title|xmp|iframe|noembed|noframes)(?![^\s/>]).*?(?:</(?P=raw)(?![^\s/>])[^>]*+|\Z)>?"
    r"|<(?P<tag>[a-z][^\s/>]*+)(?P<attributes>(?:[^>=]++|=\s*+(?:\"[^\"]*+\"|'[^']*+')?+)*+)>?"
    r"|</(?P<end>[a-z][^\s/>]*+)[^>]*+>?"
    r"|<!--(?P<comment>.*?)(?:-->|\Z)"
    r"|<[^>]*+>?",  # a doctype, a processing instruction, "</" before what is no name
    re.DOTALL | re.IGNORECASE,
)
ATTRIBUTE = re.compile(r"(?:^|[\s/\"'])(class|start)\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s\"'>]++))", re.IGNORECASE)
LONG_NUMBER = re.compile(r"&#(?:\d{8,}|x[0-9a-f]{8,});?", re.IGNORECASE)  # beyond the last character there is


def attribute(attributes: str, name: str) -> str:
    """The value of `class` or `start`; "" where the tag has none."""
    for found in ATTRIBUTE.finditer(attributes):
        if found[1].lower() == name:
            return unescaped(found[2] or found[3] or found[4] or "")
    return ""


def unescaped(text: str) -> str:
    """The text with its character references resolved; one that stands for no character becomes U+FFFD."""
    if "&" not in text:
        return text
    return html.unescape(LONG_NUMBER.sub("\ufffd", text) if "&#" in text else text)
