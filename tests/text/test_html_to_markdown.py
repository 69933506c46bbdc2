import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lima.text import removal_marks
from lima.text.html_to_markdown import to_markdown, to_marked

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
CLOSED = st.lists(TAG | st.text(st.characters(exclude_characters="<"), max_size=5), max_size=30).map("".join)
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
        ("<p>10<sup>8</sup> of H<sub>2</sub>O, $a^2 &lt; b$</p>", "10^8 of H₂O, $a^2 < b$"),
        (
            "<p>1010<sub>2</sub> is ten, log<sub>2</sub>8 is 3, SO<sub>4</sub><sup>2-</sup></p>",
            "1010₂ is ten, log₂8 is 3, SO₄^(2-)",
        ),
        (
            "<p>x<sub>i</sub>, x<sub>i+1</sub>, x<sub>max</sub>, x<sub>i</sub>y, x<sup>2</sup>y</p>",
            "x_i, x_(i+1), x_max, x_(i)y, x^(2)y",
        ),
        ("<p><code>x<sub>1</sub> + 10<sup>8</sup></code></p><pre>y<sub>2</sub></pre>", "`x1 + 10^8`\n\n```\ny2\n```"),
        (
            "<p><sub>The scale is logarithmic.</sub></p><p>It grows. <sup>Source: a survey</sup></p>",
            "The scale is logarithmic.\n\nIt grows. Source: a survey",
        ),
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
        (
            "<table><tr><th>Flour<th>Time<tr><td>rye<td>9 h<br>cold<tr><td>spelt<td><p>5 h<br/><br>warm</p></table>",
            "| Flour | Time |\n| --- | --- |\n| rye | 9 h cold |\n| spelt | 5 h warm |",
        ),
        ("<table><tr><td>left</td><td><p>a</p><p>b</p></td></tr></table>", "left\n\na\n\nb"),
        ("a<script>if (x<y) alert('<p>no</p>')</script><style>p {}</style><!-- no -->b", "ab"),
        ("<p>x<sup>n+1</sup>, e<sup>-x</sup>, 1<sup>st</sup></p>", "x^(n+1), e^(-x), 1^st"),
        ("a\r\nb<pre>c\r\n\r\nd\re</pre>", "a b\n\n```\nc\n\nd\ne\n```"),
        ("<ul><li>one<li>two<ul><li>in</ul>out<p>three</ul>end", "- one\n\n- two\n  - in\n\n  out\n\n  three\n\nend"),
        ("<table><tr><td>a<td>b<tr><td>c<td>d</table>e", "| a | b |\n| --- | --- |\n| c | d |\n\ne"),
        ("<p>a <del>gone</p><p>b</p>", "a\n\nb"),
        ("<ul><li>a<select><option>x</li><li>b</ul>", "- a\n- b"),
        ("<svg><p>no</p></svg>yes<svg/>", "yes"),
        ("<pre><ul><li>x</li></ul>\n</pre>y", "```\nx\n```\n\ny"),
        ("<p>a < b <- c, 1<2 & R&D</p>", "a < b <- c, 1<2 & R&D"),
        ('<p title="a>b" class=x>c</p><IMG SRC=x>d', "c\n\nd"),
        ("<!-- never closed <p>a</p>", ""),
        ("a<p never='closed", "a"),
        ("<p it's>don't</p>", "don't"),
        ("&#99999999999999999999;&#" + "9" * 5000 + ";&#x41;&bogus;", "\ufffd\ufffdA&bogus;"),
        ("<a href='x'><code>f</a>(x)</code> <b><i>g</b></i>", "`f(x)` g"),
        ("<SCRIPT>if (a<b) '</p>'</SCRIPT >c<script>d", "c"),
        ("<?<script>c</script>d", "cd"),
        ("<ul><li>a</li><td></td></ul>b", "- a\n\nb"),
        ("\x00a\x01\x07\x1b", "a\x07\x1b"),
        ("", ""),
    ],
)
def test_visible_text_is_kept_and_markup_is_removed(html, markdown):
    assert to_markdown(html) == markdown


A, Z, CUT = removal_marks.LINK, removal_marks.LINK_END, removal_marks.CUT


@pytest.mark.parametrize(
    ("html", "marked"),
    [
        ('<p>Read <a href="x">the manual</a>.</p>', f"Read {A}the manual{Z}."),
        ("<p>It is there: <a>https://a.org/b</a></p>", f"It is there: {A}{Z}"),
        ("<p>Look<img src=x></p><iframe src=y></iframe><video>no</video>", f"Look{CUT}\n\n{CUT}{CUT}"),
        ("<p><a><img></a></p><svg><a>no<img></a></svg>", f"{A}{CUT}{Z}\n\n{CUT}"),
        ("<pre>a <a>b</a><img></pre>", "```\na b\n```"),
        (f"<p>{A}a{CUT}&#x10fff2;</p><pre>{Z}b</pre>", "a\n\n```\nb\n```"),
    ],
)
def test_marks_replace_links_and_images_and_never_come_from_the_input(html, marked):
    assert to_marked(html) == marked
    assert not removal_marks.MARK.search(to_markdown(html))


@given(st.text() | SOUP | st.text(alphabet=[A, Z, CUT, "a", "<", ">", "p", " "]))
def test_marked_and_plain_markdown_have_the_same_words(html):
    plain, unmarked = to_markdown(html), removal_marks.removed(to_marked(html))
    assert re.findall(r"[^\W\d_]+", unmarked) == re.findall(r"[^\W\d_]+", plain)


@given(st.text() | SOUP)
def test_any_input_gives_trimmed_markdown_without_runs_of_empty_lines(html):
    markdown = to_markdown(html)
    prose = re.sub(r"(?ms)^[ >-]*(?:\d+\. )*(`{3,}).*?^[ >]*\1", "code", markdown)
    assert markdown == markdown.strip(" \n")
    assert "\n\n\n" not in prose


@given(CODE.filter(lambda code: code.strip()))
def test_code_is_verbatim_between_its_fences(code):
    # HTML ignores the first line break after <pre>; the converter also strips line breaks at the end
    lines = to_markdown(f"<p>a</p><pre><code>{escaped(code)}</code></pre><p>b</p>").split("\n")
    fence = lines[2]
    assert lines[:2] == ["a", ""]
    assert lines[-3:] == [fence, "", "b"]
    assert "\n".join(lines[3:-3]) == code.removeprefix("\n").rstrip("\n")
    assert re.fullmatch("```+", fence)
    assert fence not in code


@given(CLOSED, SOUP)
def test_the_content_of_a_script_is_never_kept(before, after):
    # after unclosed markup such as <?, the script tag is part of that markup, as in a browser
    assert "evil" not in to_markdown(f"{before}<script>evil()</script>{after}")


@pytest.mark.parametrize("tag", ["div", "b", "span", "a", "sup", "code", "blockquote", "li", "ul", "td", "pre"])
def test_deep_nesting_loses_nothing(tag):
    markdown = to_markdown(f"<{tag}>" * 10_000 + "deep" + f"</{tag}>" * 10_000 + "<p>after</p>")
    assert "deep" in markdown
    assert markdown.endswith("after")


def test_elements_nested_deeper_than_24_become_paragraphs():
    assert to_markdown("<blockquote>" * 3_000 + "deep") == "> " * 24 + "deep"
    assert to_markdown("<ul><li>" * 3_000 + "deep") == "- " * 12 + "deep"
    inner = "<blockquote>" * 30 + "in" + "</blockquote>" * 30
    assert to_markdown(f"<blockquote>{inner}<p>out</p></blockquote>").endswith("\n>\n> out")


@pytest.mark.parametrize(
    "unclosed",
    [
        *("<", "<a ", '<a href="', "<!--", "</", "&#", "&#9999999999", "<b>", "<li>", "<ul><li>a", "<blockquote>a"),
        *("<table><tr><td>", "<td>a|", "<pre>`", "<p><del>x</p>", "<svg><p>", "$a", "$$", "\\begin{a}", "\\[", "\\("),
        *(
            "a<sub>b</sub>",
            "<sub>a",
            "a<sub>^",
            "a<sup>_",
            "\\begin{a}\\begin{b}\\end{b}",
            "<code>`",
            "<a>http://",
            "<script>",
            "<br> ",
            "<p class=",
            "<ol start='",
        ),
        *("<!-- language: ", "</ul>", "<ul></ol>", "<a><code><sup>", "\x00", "\x1b", "`", "<p><sup>x", "= ="),
    ],
)
def test_hostile_html_takes_time_linear_in_its_length(unclosed):
    def seconds(length: int) -> float:
        body = unclosed * (length // len(unclosed))
        start = time.process_time()
        to_markdown(body)
        return time.process_time() - start

    # eight times the length: 8 if linear, 64 if quadratic; below 20 ms the measurement is noise
    assert min(seconds(80_000) for _ in range(2)) < 24 * max(seconds(10_000), 0.02)


@given(SOUP, st.lists(st.sampled_from(["alpha", "beta", "gamma"]), min_size=1))
def test_words_outside_of_removed_elements_survive_any_surrounding_tags(soup, words):
    kept = re.sub(r"</?(?:del|a)\b[^>]*>|[<>&`|^]", lambda match: match[0] if len(match[0]) > 1 else "", soup)
    kept = kept.replace("<del>", "").replace("<a>", "")
    text = to_markdown("".join(f"{kept}<p>{word}</p>" for word in words))
    assert re.findall("alpha|beta|gamma", text) == words


FORMULAS = [
    "$a_b * c_d$",
    r"$$\begin{align} x &= 1 \\" + "\n   y  &= *2* \\\\\n\\end{align}$$",
    r"\(a  < b\)",
    r"\[ [0, 1]  \to \mathbb{R}_+ \]",
    "\\begin{align}\n  a &= b \\\\\n  \\begin{pmatrix} 1 &  2 \\end{pmatrix}\n\\end{align}",
    r"$\text{costs  \$5} \# \_$",
]


@given(st.lists(st.sampled_from(FORMULAS), min_size=1), st.sampled_from(["p", "li", "blockquote", "td", "span"]))
def test_formulas_are_verbatim_apart_from_the_prefix_of_their_lines(formulas, tag):
    markdown = to_markdown("".join(f"<{tag}>so {escaped(formula)}</{tag}>" for formula in formulas))
    prefix = {"li": r"(?m)^(?:- |  )", "blockquote": r"(?m)^> ?"}.get(tag, "(?!)")
    shown = re.sub(prefix, "", markdown)
    assert all(f"so {formula}" in shown for formula in formulas)


@pytest.mark.parametrize("formula", FORMULAS)
def test_whitespace_is_collapsed_around_a_formula_but_not_in_it(formula):
    assert to_markdown(f"<p>as \n {escaped(formula)}  it  is") == f"as {formula} it is"


def test_prices_on_one_line_are_not_a_formula():
    assert to_markdown("<p>$5 and\n $6</p><p>a\nb</p>") == "$5 and $6\n\na b"


LIST = st.recursive(st.just([]), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=8)


@given(LIST, st.booleans(), st.sampled_from(["ul", "ol"]))
def test_a_nested_list_parses_as_commonmark_with_the_same_nesting(items, closed, tag):
    """Whether or not the items have end tags."""

    def html(inner: list, level: int = 0) -> str:
        end = "</li>" if closed else ""
        return f"<{tag}>" + "".join(f"<li>x{level}{html(i, level + 1) if i else ''}{end}" for i in inner) + f"</{tag}>"

    def nesting(inner: list, level: int = 1) -> list[int]:
        return [depth for i in inner for depth in (level, *nesting(i, level + 1))]

    depth, read = 0, []
    for token in MarkdownIt("commonmark").parse(to_markdown(html(items)) if items else ""):
        depth += token.nesting if token.type.endswith(("list_open", "list_close")) else 0
        read += [depth] if token.type == "list_item_open" else []
    assert read == nesting(items)
