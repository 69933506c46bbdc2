import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.sources.html import to_markdown

TAGS = [
    "p",
    "div",
    "b",
    "code",
    "pre",
    "ul",
    "ol",
    "li",
    "blockquote",
    "table",
    "tr",
    "td",
    "a",
    "sup",
    "h2",
    "del",
    "br",
]
TAG = st.sampled_from([f"<{tag}>" for tag in TAGS] + [f"</{tag}>" for tag in TAGS])
SOUP = st.lists(TAG | st.text(max_size=5), max_size=30).map("".join)
CODE = st.text("ab &<`|>*\n\t é", max_size=40)


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("<p>One\n two.</p>\n\n<p>Three &amp; four&nbsp;five.</p>", "One two.\n\nThree & four five."),
        ("<p><strong>Never</strong> say <em>so</em>.</p>", "Never say so."),
        ('<p>Read <a href="https://a.org/b">the manual</a>.</p>', "Read the manual."),
        ('<p>It is there: <a href="https://a.org/b">https://a.org/b</a></p>', "It is there:"),
        ('<p>Look<img src="x.png" alt="a cat"> here</p>', "Look here"),
        ("<p>Drink <strike>wine</strike> <s>gin</s> <del>rum</del> water</p>", "Drink water"),
        ("<p>10<sup>8</sup> of H<sub>2</sub>O, $a^2 &lt; b$</p>", "10^8 of H2O, $a^2 < b$"),
        ("line<br>line<br/><br>next", "line\nline\n\nnext"),
        (
            "<p>Call <code>f(x)\n</code>, press <kbd>Tab</kbd>, type <code>a`b`</code></p>",
            "Call `f(x)`, press `Tab`, type `` a`b` ``",
        ),
        ("<h2>How <em>to</em></h2><p>Thus.</p><hr>", "## How to\n\nThus.\n\n---"),
        ("<blockquote><p>To be</p>\n<p>or not</p></blockquote>", "> To be\n>\n> or not"),
        ("<ul><li>one</li><li><p>two</p></li><li></li></ul>", "- one\n- two"),
        ('<ol start="9"><li>nine</li><li>ten<ul><li>inner</li></ul></li></ol>', "9. nine\n10. ten\n    - inner"),
        ("<ul><li><p>a</p><p>b</p></li><li>c</li></ul>", "- a\n\n  b\n\n- c"),
        ("<ul><li>run<pre>a\n\n b\n</pre></li></ul>", "- run\n\n  ```\n  a\n\n   b\n  ```"),
        ("<pre><code>x &lt; 1\n  y\n</code></pre>", "```\nx < 1\n  y\n```"),
        ('<pre class="lang-py prettyprint"><code>x</code></pre>', "```py\nx\n```"),
        ('<pre><code class="hljs language-c++">x</code></pre>', "```c++\nx\n```"),
        ("<!-- language: lang-js --><pre>x</pre><pre>y</pre>", "```js\nx\n```\n\n```\ny\n```"),
        ("<!-- language-all: java --><pre>x</pre><pre>y</pre>", "```java\nx\n```\n\n```java\ny\n```"),
        ("<pre>```</pre>", "````\n```\n````"),
        (
            "<table><tr><th>a</th><th></th></tr><tr><td>b|c</td><td>d</td></tr></table>",
            "| a |  |\n| --- | --- |\n| b\\|c | d |",
        ),
        ("<table><tr><td>left</td><td><p>a</p><p>b</p></td></tr></table>", "left\n\na\n\nb"),
        ("a<script>if (x<y) alert('<p>no</p>')</script><style>p {}</style><!-- no -->b", "ab"),
        ("", ""),
    ],
)
def test_what_a_reader_sees_stays_and_markup_goes(html, markdown):
    assert to_markdown(html) == markdown


@given(st.text() | SOUP)
def test_any_text_becomes_tidy_markdown(html):
    markdown = to_markdown(html)
    prose = re.sub(r"(?ms)^[ >-]*(?:\d+\. )*(`{3,}).*?^[ >]*\1", "", markdown)
    assert markdown == markdown.strip(" \n")
    assert "\n\n\n" not in prose


@given(CODE.filter(lambda code: code.strip()))
def test_code_stands_verbatim_between_its_fences(code):
    # HTML ignores the first line break after <pre>; those at the end would only push the fence down
    lines = to_markdown(f"<p>a</p><pre><code>{escaped(code)}</code></pre><p>b</p>").split("\n")
    fence = lines[2]
    assert lines[:2] == ["a", ""]
    assert lines[-3:] == [fence, "", "b"]
    assert "\n".join(lines[3:-3]) == code.removeprefix("\n").rstrip("\n")
    assert re.fullmatch("```+", fence)
    assert fence not in code


@given(SOUP, SOUP)
def test_a_script_never_shows(before, after):
    assert "evil" not in to_markdown(f"{before}<script>evil()</script>{after}")


@pytest.mark.parametrize("tag", ["div", "b", "span", "a", "sup", "code"])
def test_deep_nesting_loses_nothing(tag):
    markdown = to_markdown(f"<{tag}>" * 10_000 + "deep" + f"</{tag}>" * 10_000 + "<p>after</p>")
    assert "deep" in markdown
    assert markdown.endswith("after")


def test_deep_quotes_and_lists_end():
    assert to_markdown("<blockquote>" * 3_000 + "deep") == "> " * 3_000 + "deep"
    assert to_markdown("<ul><li>" * 3_000 + "deep") == "- " * 3_000 + "deep"
