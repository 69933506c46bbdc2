from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.reporting.answers import as_html, evenly

# The tags and attributes that rendered Markdown may have.
TAGS = {
    *("p", "em", "strong", "code", "pre", "ol", "ul", "li", "blockquote", "hr", "br"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"class", "start", "style"}
PIECES = [
    "<script>",
    "</table>",
    "<img src=x>",
    "[a](http://x.example)",
    "![a](http://x.example)",
    "<http://x.example>",
]
PIECES += [
    "[a]: http://x.example",
    "&lt;b&gt;",
    "# a",
    "```html\n",
    "\n",
    "|",
    "\n|-|-|\n",
    "> ",
    "1. ",
    "`",
    "**",
    "$",
    '"',
]


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(str(html))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5)).map("".join))
def test_untrusted_text_becomes_only_allowed_tags_without_addresses(answer):
    for tag, attributes in Tags(as_html(answer)).tags:
        assert tag in TAGS
        assert set(attributes) <= ATTRIBUTES
        assert attributes.get("style", "text-align:").startswith("text-align:")


@pytest.mark.parametrize(
    "answer",
    [
        "<script>alert(1)</script>",
        "</table></main>",
        "[a](http://x.example)",
        "![a](http://x.example/p.png)",
        "<http://x.example>",
    ],
)
def test_tags_links_and_images_are_shown_as_text(answer):
    assert Tags(as_html(answer)).text.strip() == answer


def test_formatting_is_rendered_and_headings_are_paragraphs():
    assert as_html("# a\n\n1. **b**") == '<p class="heading">a</p>\n<ol>\n<li><strong>b</strong></li>\n</ol>\n'


@given(st.integers(1, 400), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_systematic_samples_are_in_order_at_equal_distance(total, count, seed):
    drawn = evenly(range(total), count, rng=np.random.default_rng(seed))
    steps = np.diff(drawn)
    assert len(drawn) == min(count, total)
    assert all(steps > 0)
    assert len(steps) == 0 or max(steps) - min(steps) <= 1


def test_every_prompt_is_equally_likely_to_be_sampled():
    rng = np.random.default_rng(7)
    shown = np.bincount([item for _ in range(4000) for item in evenly(range(10), 4, rng=rng)], minlength=10)
    # 4,000 · 4/10 = 1,600 each; standard deviation √(4,000·0.4·0.6) = 31, five of them 155
    assert all(abs(shown - 1600) < 155)
