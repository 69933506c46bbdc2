"""Detection and masking of personal data and secrets in community texts (not in the paper).

Each rule is a pattern and a check of the match. The check leaves documentation values (example.com, 192.0.2.1), version
numbers and dates unchanged. Replacements read naturally and match no rule, so that masking is idempotent. A private key
has no replacement: the caller drops the text.
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
    is_real: Callable[[re.Match[str]], bool]  # False for placeholders, reserved values and lookalikes
    replacement: str
    in_code: bool  # whether code and formulas are searched too; numbers there are usually constants


class Masked(NamedTuple):
    text: str
    counts: Counter[str]  # replacements by kind


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
RESOLVERS = frozenset(("1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9"))  # public DNS resolvers

CARD = re.compile(r"(?<![\w.,+-])([3-6]\d{3})(?:([ -]?)\d{4}\2\d{4}\2\d{4}|([ -]?)\d{6}\3\d{5})(?![\w-]|[.,]\d)")
PUBLISHED_CARDS = frozenset(
    ("4111111111111111", "4242424242424242", "4012888888881881", "5555555555554444", "378282246310005")
)
ABOUT_CARDS = re.compile(r"\b(?:card|visa|mastercard|amex)\b[^\n]{0,40}$", re.IGNORECASE)

PHONE = re.compile(
    r"(?<![\w.+/=-])(?:(?:\+[1-9]\d{0,2}|\(\+[1-9]\d{0,2}\))[ .-]?(?:\(0?\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}"
    r"|(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[.-])[2-9]\d\d[ .-]\d{4})(?![\w-]|\.\d)"
)


def find_secret(text: str) -> str | None:
    """The kind of a secret that cannot be masked, or None. Never returns the secret itself."""
    return "private_key" if PRIVATE_KEY.search(text) else None


def mask(text: str) -> Masked:
    """Replace personal data and tokens, one rule after the other."""
    counts: Counter[str] = Counter()
    for rule in RULES:
        searched = text if rule.in_code else prose.without_code(text)
        spans = [match.span() for match in rule.pattern.finditer(searched) if rule.is_real(match)]
        for start, end in reversed(spans):
            text = text[:start] + rule.replacement + text[end:]
        counts[rule.kind] += len(spans)
    return Masked(text, +counts)


def mask_record(record: Kind) -> tuple[Kind, Counter[str]]:
    """Mask every turn of a record; returns the record and the number of replacements by kind."""
    turns = [mask(turn.content) for turn in record.messages]
    counts = sum((turn.counts for turn in turns), Counter[str]())
    if not counts:
        return record, counts
    messages = tuple(Turn(role=old.role, content=new.text) for old, new in zip(record.messages, turns, strict=True))
    return record.model_copy(update={"messages": messages}), counts


def _is_token(match: re.Match[str]) -> bool:
    """Has a digit and more than 10 distinct characters, as random tokens do, and no word typical of placeholders."""
    return bool(re.search(r"\d", match[0])) and len(set(match[0])) > 10 and not PLACEHOLDER.search(match[0])


def _is_email(match: re.Match[str]) -> bool:
    """Excludes reserved domains (RFC 2606), made-up domains, file names such as logo@2x.png, and git@HOST."""
    name, domain, top = match[1].lower(), f"{match[2]}{match[3]}".lower(), match[3].lower()
    return name != "git" and top not in FILES and not RESERVED.search(domain) and not MADE_UP.match(domain)


def _is_ip_address(match: re.Match[str]) -> bool:
    """A public address: not private, not reserved for documentation (RFC 5737, 3849), not a version number."""
    before = match.string[max(0, match.start() - 20) : match.start()]
    if match[0] in RESOLVERS or VERSION.search(before):
        return False
    if match.re is IPV4 and (all(int(part) < 32 for part in match.groups()) or len({*match.groups()}) == 1):
        return False
    try:
        return ip_address(match[0]).is_global
    except ValueError:  # 300.1.1.1, or a time of day
        return False


def _is_card_number(match: re.Match[str]) -> bool:
    """Passes Luhn's check. Without separators, a word for a payment card must precede it on the same line."""
    digits = re.sub(r"\D", "", match[0])
    if digits in PUBLISHED_CARDS or not luhn(digits):
        return False
    before = match.string[max(0, match.start() - 60) : match.start()]
    return digits != match[0] or bool(ABOUT_CARDS.search(before))


def _is_phone_number(match: re.Match[str]) -> bool:
    """7 digits (the shortest in use) to 15 (E.164). Excludes the fictional numbers 555-0100 to 555-0199."""
    digits = re.sub(r"\D", "", match[0])
    return 7 <= len(digits) <= 15 and not re.search(r"55501\d\d$", digits)


def luhn(digits: str) -> bool:
    """Luhn's check: the digits' sum, with every second digit from the right doubled, is a multiple of 10.

    The two digits of a doubled digit above 9 are added.
    """
    doubled = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
    numbers = [int(digit) for digit in reversed(digits)]
    return (sum(numbers[::2]) + sum(doubled[number] for number in numbers[1::2])) % 10 == 0


RULES = (
    Rule("token", TOKEN, _is_token, "YOUR_TOKEN", in_code=True),
    Rule("email", EMAIL, _is_email, "name@example.com", in_code=True),
    Rule("ip_address", IPV4, _is_ip_address, "192.0.2.1", in_code=True),
    Rule("ip_address", IPV6, _is_ip_address, "2001:db8::1", in_code=True),
    Rule("card_number", CARD, _is_card_number, "4111 1111 1111 1111", in_code=False),
    Rule("phone", PHONE, _is_phone_number, "555-0100", in_code=False),
)
