import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.text import pii

# Invented values in the real formats; concatenated so that secret scanners do not report this file.
KEY = "AKIA" + "Q3T7ZK2M9XW4LB6D"
TOKEN = "ghp_" + "a8Kd02LmQz7Xr5Tn1Vb9Yc3Ef6Gh4Jk0PqSw"
WEB_TOKEN = "eyJ" + "hbGciOiJIUzI1" + ".eyJ" + "zdWIiOiI0MDc1" + "." + "Qm9iX2lzX25vdF9oZXJl91"


@pytest.mark.parametrize(
    ("text", "kind", "replaced"),
    [
        ("Ask jo.doe@brewers.org, please.", "email", "Ask name@example.com, please."),
        ("<J_Doe+x@mail.brewers.co.uk>", "email", "<name@example.com>"),
        ("```\nmail = 'jo@brewers.io'\n```", "email", "```\nmail = 'name@example.com'\n```"),
        ("Call (212) 736-5000 now", "phone", "Call 555-0100 now"),
        ("Call 212-736-5000.", "phone", "Call 555-0100."),
        ("Call 1-212-736-5000.", "phone", "Call 555-0100."),
        ("From abroad +44 20 7946 1234, please", "phone", "From abroad 555-0100, please"),
        ("From abroad +49 (0)30 901820", "phone", "From abroad 555-0100"),
        ("From abroad (+32) (0)70-12-34-56.", "phone", "From abroad 555-0100."),
        ("From Niue +683 4002, please", "phone", "From Niue 555-0100, please"),  # 7 digits: the shortest in use
        ("From there +123 4567 8901 2345", "phone", "From there 555-0100"),  # 15 digits: the maximum of E.164
        ("ping 93.184.216.34 first", "ip_address", "ping 192.0.2.1 first"),
        ("at http://93.184.216.34:8080/x", "ip_address", "at http://192.0.2.1:8080/x"),
        ("ping 2a00:1450:4001:81b::200e", "ip_address", "ping 2001:db8::1"),
        ("Card 4539 1488 0343 6467 is mine", "card_number", "Card 4111 1111 1111 1111 is mine"),
        ("my visa card: 4539148803436467", "card_number", "my visa card: 4111 1111 1111 1111"),
        ("Amex 3714 496353 98431.", "card_number", "Amex 4111 1111 1111 1111."),
        (f"set `{KEY}` there", "token", "set `YOUR_TOKEN` there"),
        (f"git clone https://{TOKEN}@host/x", "token", "git clone https://YOUR_TOKEN@host/x"),
        (f"Bearer {WEB_TOKEN}", "token", "Bearer YOUR_TOKEN"),
    ],
)
def test_personal_data_is_replaced_by_a_value_that_matches_no_rule(text, kind, replaced):
    masked = pii.mask(text)
    assert masked.text == replaced
    assert masked.counts == {kind: 1}
    assert pii.mask(replaced) == (replaced, {})


@pytest.mark.parametrize(
    "text",
    [
        "someone@example.com, me@mail.example.org, you@yourdomain.com, a@b.test, root@server.local",
        "git@github.com:brewers/malt.git and logo@2x.png and @app.route and a @ b.com",
        "127.0.0.1, 10.0.0.7, 192.168.1.1, 192.0.2.44, 198.51.100.7, 203.0.113.9, 255.255.255.0, 0.0.0.0, 8.8.8.8",
        "100.64.200.7 and 100.127.255.250 of a carrier's own network, 169.254.77.1",
        "a change of +12 34 56, and +123 4567 8901 23456",  # 6 digits and 16
        "version 104.0.5112.79, v52.3.61.2, Chrome/104.0.5112.79, section 4.3.2.1, 2.16.30.1, 300.10.99.1",
        "the network 56.0.0.0/8, any 123.123.123.123",
        "2001:db8::7, std::vector, 12:30:45, 00:1A:2B:3C:4D:5E, ::1, fe80::1",
        "on 2020-10-12, 12/10/2020, 10.12.2020, at 12:30:45.123, ISBN 978-0-306-40615-7, DOI 10.1000/182",
        "`0x5f3759df`, 4503599627370496, `4539 1488 0343 6467`, $n = 4539 1488 0343 6467$, 3.1415926535897932",
        "Card 4111 1111 1111 1111, 4242 4242 4242 4242 and 4539 1488 0343 6468",
        "call 555-0100 or 212-555-0123, +1 to that, a ratio of 200-300, pages 212-736, 1,212,736,500 people",
        "```\nx = (212) 736-5000\n```",
        "$a = (212) 736-5000$ and 2^31-1 = 2147483647 and 6.022 140 76",
        "AKIAIOSFODNN7EXAMPLE, ghp_" + "x" * 36 + ", sk-your-key-goes-here-please, sk-learn, hf_hub_download",
        "-----BEGIN PUBLIC KEY-----\n" + "MIIBIj" * 9,
    ],
)
def test_documentation_values_versions_dates_and_constants_are_unchanged(text):
    assert pii.mask(text) == (text, {})
    assert pii.find_secret(text) is None


@pytest.mark.parametrize("kind", ["", "RSA ", "OPENSSH ", "EC ", "ENCRYPTED "])
def test_a_private_key_is_a_secret_but_its_header_alone_is_not(kind):
    head = f"-----BEGIN {kind}PRIVATE KEY-----\n"
    assert pii.find_secret(head + "MIIEow" * 9) == "private_key"
    assert pii.find_secret(head + "(the key goes here)\n-----END") is None


@pytest.mark.parametrize(
    ("digits", "valid"), [("79927398713", True), ("79927398710", False), ("0", True), ("18", True)]
)
def test_luhn_requires_a_sum_that_is_a_multiple_of_ten(digits, valid):
    # 18: 8 + 2·1 = 10. 79927398713: from the right 3+7+9+7+9+7 = 42, doubled 1, 8, 3, 2, 9: 2+7+6+4+9 = 28; 70
    assert pii.luhn(digits) is valid


PIECES = st.sampled_from(
    ["jo@brewers.org", "+44 20 7946 1234", "93.184.216.34", "4539 1488 0343 6467", "`", "\n", " ", "$"]
)


@given(st.lists(PIECES | st.text(max_size=5), max_size=12).map(" ".join))
def test_masking_is_idempotent(text):
    once = pii.mask(text).text
    assert pii.mask(once).text == once


@pytest.mark.parametrize(
    "piece", ["1", "1.", "a@", "a.", "a@b.", "+1 ", "4539 ", "eyJa", "sk-", "2a00:", "(212) ", "-----BEGIN "]
)
def test_masking_takes_time_linear_in_the_length(piece):
    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        start = time.process_time()
        pii.mask(text)
        pii.find_secret(text)
        return time.process_time() - start

    # eight times the length: 8 if linear, 64 if quadratic
    assert min(seconds(160_000) for _ in range(2)) < 24 * max(seconds(20_000), 0.02)
