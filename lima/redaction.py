"""Redaction of secrets in text from a server, before the text is truncated, displayed, logged or stored."""

import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

PIECE = 8  # characters; every substring of a secret of this length is redacted, a shorter secret only as a whole
MASK = "…"
NAMES_OF_SECRETS = r"(?:x-)?(?:api[-_]?key|key|access[-_]?token|auth[-_]?token|token|sig|signature|secret|password)"
USERINFO = re.compile(r"(?<=://)[^/\s?#@\"'<>]+@(?=[^\s@/])")
PARAMETER = re.compile(rf"([?&;]{NAMES_OF_SECRETS}=)[^&\s\"'<>#;]+", re.IGNORECASE)


def redact(text: str, secrets: Iterable[str]) -> str:
    """Redact an error text: every part of a secret, and credentials in URLs."""
    text = mask(text, secrets, piece=1)
    return PARAMETER.sub(rf"\1{MASK}", USERINFO.sub(f"{MASK}@", text))


def mask(text: str, secrets: Iterable[str], *, piece: int = PIECE) -> str:
    """Replace every substring of PIECE or more characters of a secret, also in escaped form.

    Args:
        piece: secrets with fewer characters are not redacted. A response may contain a word that is also a server's
            key ("none"); an error is safer without it.
    """
    grams = {gram for secret in secrets if len(secret) >= piece for form in _forms(secret) for gram in _grams(form)}
    covered = [False] * len(text)
    for gram in grams:
        start = text.find(gram)
        while start >= 0:
            covered[start : start + len(gram)] = [True] * len(gram)
            start = text.find(gram, start + 1)
    if not any(covered):
        return text
    return "".join(
        MASK if hidden and (index == 0 or not covered[index - 1]) else "" if hidden else character
        for index, (character, hidden) in enumerate(zip(text, covered, strict=True))
    )


def url_secrets(url: str) -> list[str]:
    """Return the user, the password and the secret parameters of a URL, encoded and decoded."""
    parts = urlsplit(url)
    userinfo, at, _ = parts.netloc.rpartition("@")
    encoded = [*userinfo.split(":", 1)] if at else []
    encoded += [value for name, value in parse_qsl(parts.query) if re.fullmatch(NAMES_OF_SECRETS, name, re.IGNORECASE)]
    return [text for secret in encoded for text in dict.fromkeys((secret, unquote(secret))) if text]


def _forms(secret: str) -> set[str]:
    """A secret unchanged and escaped for JSON, URLs and HTML."""
    escaped = json.dumps(secret)[1:-1]
    return {secret, escaped, escaped.replace("/", r"\/"), quote(secret), quote_plus(secret), html.escape(secret)}


def _grams(secret: str) -> Iterator[str]:
    """All substrings of PIECE characters; a shorter secret as a whole."""
    for start in range(max(1, len(secret) - PIECE + 1)):
        yield secret[start : start + PIECE]
