"""Secrets and personal data in community texts: what is found, and what stands in its place (ours).

A rule is a pattern and a test of what it found, so that documentation values (example.com, 192.0.2.1), version numbers
and dates are left alone. What stands in a finding's place reads naturally and is no finding itself: a masked text is
masked no further. A private key has no stand-in: a text that shows one is dropped.
"""

import re
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from typing import NamedTuple, TypeVar

from lima.records import Example, Prompt, Turn
from lima.text import prose

Kind = TypeVar("Kind", Example, Prompt)


class Rule(NamedTuple):
    kind: str
    pattern: re.Pattern[str]
    real: Callable[[re.Match[str]], bool]  # whether it is what it looks like
    instead: str
    in_code: bool  # numbers in code and formulas are constants


class Masked(NamedTuple):
    text: str
    found: Counter[str]  # findings a kind


PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[\s\w:,.()-]{0,200}?[A-Za-z0-9+/=]{40}")

TOKEN = re.compile(
    r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[opsur]_[A-Za-z0-9]{36,255}|github_pat_\w{22,255}|glpat-[\w-]{20,64}"
    r"|sk-(?:ant-|proj-)?[\w-]{20,200}|[sr]k_live_[A-Za-z0-9]{24,99}|xox[abeoprs]-[A-Za-z0-9-]{10,255}"
    r"|AIza[\w-]{35}|SG\.[\w-]{22}\.[\w-]{43}|hf_[A-Za-z0-9]{34}|npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{50,999}"
    r"|eyJ[\w-]{10,2000}\.eyJ[\w-]{10,2000}\.[\w-]{20,2000})(?![\w-])"
)
PLACEHOLDER = re.compile(r"example|your|xxx|\.\.\.|placeholder|changeme|abcdef|123456789", re.IGNORECASE)

EMAIL = re.compile(r"(?<![\w.%+-])([\w.%+-]{1,64})@((?:[A-Za-z0-9-]{1,63}\.){1,8})([A-Za-z]{2,24})(?![\w-])")
RESERVED = re.compile(r"(?:^|\.)(?:example\.(?:com|net|org)|example|test|invalid|local|localhost|internal)$")
MADE_UP = re.compile(r"^(?:your|my|some|the|any)?-?(?:domain|company|site|server|host|mail|email|provider)\.\w+$")
FILES = frozenset("png jpg jpeg gif svg webp css js py rb java md txt html json yaml yml xml sh so".split())  # noqa: SIM905

IPV4 = re.compile(r"(?<![\w.-])(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?![\w-]|\.\w|/\d)")
IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")
VERSION = re.compile(r"(?:\bv|version|release|build|firmware|update|section|§|[A-Za-z]/)[\s:.=]*$", re.IGNORECASE)
RESOLVERS = frozenset(("1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9"))  # everybody's

CARD = re.compile(r"(?<![\w.,+-])([3-6]\d{3})(?:([ -]?)\d{4}\2\d{4}\2\d{4}|([ -]?)\d{6}\3\d{5})(?![\w-]|[.,]\d)")
PUBLISHED_CARDS = frozenset(
    ("4111111111111111", "4242424242424242", "4012888888881881", "5555555555554444", "378282246310005")
)
ABOUT_CARDS = re.compile(r"\b(?:card|visa|mastercard|amex)\b[^\n]{0,40}$", re.IGNORECASE)

PHONE = re.compile(
    r"(?<![\w.+/=-])(?:\+[1-9]\d{0,2}[ .-]?(?:\(0?\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}"
    r"|(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[.-])[2-9]\d\d[ .-]\d{4})(?![\w-]|\.\d)"
)


def secret(text: str) -> str | None:
    """The kind of secret for which no stand-in makes sense, never the secret itself."""
    return "private_key" if PRIVATE_KEY.search(text) else None


def masked(text: str) -> Masked:
    found: Counter[str] = Counter()
    for rule in RULES:
        shown = text if rule.in_code else prose.without_code(text)
        spans = [match.span() for match in rule.pattern.finditer(shown) if rule.real(match)]
        for start, end in reversed(spans):
            text = text[:start] + rule.instead + text[end:]
        found[rule.kind] += len(spans)
    return Masked(text, +found)


def without(record: Kind) -> tuple[Kind, Counter[str]]:
    """The record with its turns masked, and what was found in them."""
    turns = [masked(turn.content) for turn in record.messages]
    found = sum((turn.found for turn in turns), Counter[str]())
    if not found:
        return record, found
    messages = tuple(Turn(role=old.role, content=new.text) for old, new in zip(record.messages, turns, strict=True))
    return record.model_copy(update={"messages": messages}), found


def _token(found: re.Match[str]) -> bool:
    """Digits and letters mixed, as chance mixes them, and no word that marks a placeholder."""
    return bool(re.search(r"\d", found[0])) and len(set(found[0])) > 10 and not PLACEHOLDER.search(found[0])


def _email(found: re.Match[str]) -> bool:
    """Not of a reserved domain (RFC 2606), a made-up one, a file name as in logo@2x.png, or git's address of a host."""
    name, domain, top = found[1].lower(), f"{found[2]}{found[3]}".lower(), found[3].lower()
    return name != "git" and top not in FILES and not RESERVED.search(domain) and not MADE_UP.match(domain)


def _address(found: re.Match[str]) -> bool:
    """A public address: not private, nor of documentation (RFC 5737, 3849), nor a network, nor four small numbers."""
    before = found.string[max(0, found.start() - 20) : found.start()]
    if found[0] in RESOLVERS or VERSION.search(before):
        return False
    if found.re is IPV4 and (all(int(part) < 32 for part in found.groups()) or len({*found.groups()}) == 1):
        return False
    try:
        return ip_address(found[0]).is_global
    except ValueError:  # 300.1.1.1, or a time of day
        return False


def _card(found: re.Match[str]) -> bool:
    """Luhn's check; a number without gaps only where the words before it speak of cards."""
    digits = re.sub(r"\D", "", found[0])
    if digits in PUBLISHED_CARDS or not luhn(digits):
        return False
    before = found.string[max(0, found.start() - 60) : found.start()]
    return digits != found[0] or bool(ABOUT_CARDS.search(before))


def _phone(found: re.Match[str]) -> bool:
    """7 digits, as in Niue, to the 15 of E.164, and none of the numbers kept for fiction, 555-0100 to 555-0199."""
    digits = re.sub(r"\D", "", found[0])
    return 7 <= len(digits) <= 15 and not re.search(r"55501\d\d$", digits)


def luhn(digits: str) -> bool:
    """Σ of the digits, every second from the right doubled and its digits added, is a multiple of ten."""
    doubled = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
    numbers = [int(digit) for digit in reversed(digits)]
    return (sum(numbers[::2]) + sum(doubled[number] for number in numbers[1::2])) % 10 == 0


RULES = (
    Rule("token", TOKEN, _token, "YOUR_TOKEN", in_code=True),
    Rule("email", EMAIL, _email, "name@example.com", in_code=True),
    Rule("ip_address", IPV4, _address, "192.0.2.1", in_code=True),
    Rule("ip_address", IPV6, _address, "2001:db8::1", in_code=True),
    Rule("card_number", CARD, _card, "4111 1111 1111 1111", in_code=False),
    Rule("phone", PHONE, _phone, "555-0100", in_code=False),
)
