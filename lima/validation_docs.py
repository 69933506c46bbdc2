"""Data Docs that need no network: an index of all expectations, and the pages of Great Expectations with own styles.

Great Expectations loads styles, icons and scripts of its pages from other servers. Without them its index is empty, and
its other pages are unstyled. Their text is kept here; links to other servers are removed.
"""

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

State = Literal["met", "failed", "warning"]
REMOTE = re.compile(
    r"<script\b.*?</script\s*>|<link\b[^>]*?>|<img\b[^>]*?\bsrc=[\"']?(?:https?:)?//[^>]*>|@import[^;]*;",
    re.DOTALL | re.IGNORECASE,
)
SHOWN = 20  # ids of rows per expectation in the index
STYLE = """
:root { color-scheme: light dark; --ground: #fdfcf9; --ink: #1d1c1a; --soft: #5c5953; --rule: #d9d5cb;
  --good: #2b6b3f; --bad: #8a2f1c; --link: #1f5fa8 }
@media (prefers-color-scheme: dark) { :root { --ground: #171716; --ink: #e9e6df; --soft: #a9a59c; --rule: #3c3a36;
  --good: #8fcaa0; --bad: #f0a48f; --link: #7fb2ee } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 64rem; padding: 1rem 1.25rem 3rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word }
a { color: var(--link) !important }
h1, h2, h3, h4, h5, h6 { line-height: 1.25; margin: 1.5rem 0 .5rem; font-size: 1.1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.3rem; border-top: 1px solid var(--rule); padding-top: 1rem }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; font-size: .9rem }
th, td { border-bottom: 1px solid var(--rule); padding: .35rem .6rem .35rem 0; text-align: left; vertical-align: top }
td:not(:first-child) { overflow-wrap: anywhere }
td.number, th.number { text-align: right }
.met, .text-success { color: var(--good) } .failed, .warning, .text-danger, .text-warning { color: var(--bad) }
.text-success::before { content: "met " } .text-danger::before { content: "failed " }
.text-warning::before { content: "warning " }
ol.breadcrumb { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 1rem }
.sticky, .modal, footer, .ge-walkthrough, .navbar-brand, [data-toggle=collapse], [data-toggle=modal], .btn, .lead,
  .sticky-top > .mr-auto .float-left { display: none }
[style*="font-size"] { font-size: inherit !important }
[style*="color"] { color: inherit !important }
"""


class Expected(NamedTuple):
    """An expectation and its result."""

    text: str
    state: State
    observed: str
    ids: tuple[str, ...]  # rows that do not meet it


class CheckedSplit(NamedTuple):
    name: str
    rows: int
    expected: Sequence[Expected]


def finish(docs: Path, splits: Sequence[CheckedSplit]) -> None:
    """Write the index, and make every page independent of the network."""
    for page in docs.rglob("*.html"):
        page.write_text(offline(page.read_text(encoding="utf-8")), encoding="utf-8")
    pages = {split.name: _pages(docs, split.name) for split in splits}
    (docs / "index.html").write_text(index(splits, pages), encoding="utf-8")


def offline(page: str) -> str:
    """Remove scripts and everything that is loaded from another server, and add the styles."""
    before, head, after = REMOTE.sub("", page).partition("</head>")
    viewport = "" if 'name="viewport"' in before else '<meta name="viewport" content="width=device-width">'
    return f"{before}{viewport}<style>{STYLE}</style>{head}{after}"


def _pages(docs: Path, split: str) -> dict[str, str]:
    """Addresses of the pages of Great Expectations about a split, by what they show."""
    [result] = (docs / "validations" / split).rglob("*.html")  # one run
    pages = {"expectations": docs / "expectations" / f"{split}.html", "results": result}
    return {title: page.relative_to(docs).as_posix() for title, page in pages.items()}


def index(splits: Sequence[CheckedSplit], pages: dict[str, dict[str, str]]) -> str:
    """The index page: the number of expectations per split and state, then each expectation."""
    counts = "".join(
        f'<tr><td><a href="#{html.escape(split.name)}">{html.escape(split.name)}</a></td>'
        f'<td class="number">{split.rows:,}</td><td class="number">{len(split.expected)}</td>'
        + "".join(
            f'<td class="number {state if count else ""}">{count}</td>'
            for state in ("met", "failed", "warning")
            for count in [sum(each.state == state for each in split.expected)]
        )
        + "</tr>"
        for split in splits
    )
    failed = any(each.state == "failed" for split in splits for each in split.expected)
    verdict = "Training cannot start: an expectation failed." if failed else "No expectation failed."
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Validation of the data</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>
<h1>Validation of the data</h1>
<p class="{"failed" if failed else "met"}">{verdict}</p>
<table><thead><tr><th>split</th><th class="number">rows</th><th class="number">all</th>
<th class="number">met</th><th class="number">failed</th><th class="number">warnings</th></tr></thead>
<tbody>{counts}</tbody></table>
{"".join(_section(split, pages[split.name]) for split in splits)}
</body></html>
"""


def _section(split: CheckedSplit, pages: dict[str, str]) -> str:
    links = " · ".join(f'<a href="{html.escape(page)}">{title}</a>' for title, page in pages.items())
    rows = "".join(
        f'<tr><td class="{each.state}">{each.state}</td><td>{html.escape(each.text)}</td>'
        f"<td>{html.escape(each.observed)}{_ids(each.ids)}</td></tr>"
        for each in sorted(split.expected, key=lambda each: each.state == "met")
    )
    return (
        f'<h2 id="{html.escape(split.name)}">{html.escape(split.name)}</h2>'
        f"<p>In the words of Great Expectations: {links}</p>"
        f"<table><thead><tr><th>result</th><th>expectation</th><th>observed</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _ids(ids: Iterable[str]) -> str:
    listed = list(ids)
    more = f", and {len(listed) - SHOWN:,} more" if len(listed) > SHOWN else ""
    return f": {html.escape(', '.join(listed[:SHOWN]))}{more}" if listed else ""
