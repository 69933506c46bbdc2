"""A page that a stage wrote, as its elements, and a text that would break it if it could."""

import base64
import hashlib
import re
from html.parser import HTMLParser

HOSTILE = (
    '</div></table></section><script>alert(1)</script><img src="http://evil.example/a.png" onerror="alert(1)">\n\n'
    "[press](javascript:alert(1)) ![pixel](http://evil.example/p.png) <http://evil.example/auto>\n\n"
    '[ref]: http://evil.example/ref "title"\n\n[ref] {{ 7 * 7 }} {% raw %}\n'
    "\x1b[2J \x9b2J \u202egnp.exe\u202c \u2066\u2069\u200e\u200f\u061c\x07"
)
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
VOID = {"meta", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """The elements of a page, and the words that its marked figures show."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.figures: dict[str, str] = {}  # metric → value
        self.rows: list[dict[str, int]] = []  # of the funnel
        self.open: list[str] = []
        self.cell = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if "data-metric" in attributes:
            assert self.figures.setdefault(attributes["data-metric"], attributes["value"]) == attributes["value"]
        if attributes.get("data-funnel") == "offered":
            self.rows.append({})
        self.cell = attributes.get("data-funnel", "") if tag == "td" else self.cell

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag  # what a hostile </table> would break
        self.cell = "" if tag == "td" else self.cell

    def handle_data(self, data):
        if self.cell and data.strip():
            self.rows[-1][self.cell] = int(data.replace(",", ""))


def asks_nothing_of_the_network(html: str) -> None:
    for _, attributes in Page(html).elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "action", "poster", "srcset", "data", "background"):
            assert re.fullmatch(r"#[\w-]+|(cards/[\w-]+|report|answers|ablations)\.html", attributes.get(name, "#x")), (
                attributes
            )
        assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", attributes.get("style", ""))
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = policy[1].partition("img-src data:")[2]
    assert allowed in ("", *(f"; script-src 'sha256-{value}'; base-uri 'none'; form-action 'none'" for value in hashes))
    assert len(scripts) == (allowed != "")
