"""Render untrusted Markdown as safe HTML: no raw HTML, no images, no scripts; code highlighted, formulas as MathML."""

import re
from functools import lru_cache
from xml.etree import ElementTree

from latex2mathml.converter import convert_to_element
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import escape
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.texmath import texmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from lima.display import visible

CACHED = 512  # rendered texts kept in memory
MAX_HIGHLIGHTED = 20_000  # characters of a code block; longer ones are shown without colours
MAX_FORMULA = 2_000  # characters of a formula; longer ones are shown as code
# allowed in MathML; a formula may also set href, class, style and any other attribute
FORMULA_ATTRIBUTES = frozenset(
    {
        *("accent", "accentunder", "columnalign", "columnspacing", "depth", "display", "displaystyle", "fence", "form"),
        *("height", "linethickness", "lspace", "mathvariant", "maxsize", "minsize", "movablelimits", "notation"),
        *("rowspacing", "rspace", "scriptlevel", "separator", "stretchy", "symmetric", "voffset", "width", "xmlns"),
    }
)
NUMERIC_REFERENCE = re.compile(r"&amp;(#x?[0-9A-Fa-f]{1,6};)")  # latex2mathml writes symbols as text "&#x002B;"


@lru_cache(CACHED)
def to_html(text: str) -> str:
    """HTML of a Markdown text. HTML in it is shown as text, and control characters are made visible."""
    return partial_html(text)


def partial_html(text: str) -> str:
    """As `to_html` without the cache, for a text that is still being written."""
    return str(_markdown().render(visible(text)))


@lru_cache(1)
def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    markdown.disable("image")
    markdown.use(dollarmath_plugin, allow_labels=False, allow_space=False, allow_digits=False, double_inline=True)
    markdown.use(texmath_plugin, delimiters="brackets")
    markdown.add_render_rule("fence", _fence)
    markdown.add_render_rule("link_open", _link)
    for name in ("math_inline", "math_inline_double", "math_block", "math_single"):
        markdown.add_render_rule(name, _math)
    return markdown


def _link(self: RendererHTML, tokens: list[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    tokens[index].attrSet("rel", "noopener noreferrer nofollow")
    tokens[index].attrSet("target", "_blank")
    return str(self.renderToken(tokens, index, options, env))


def _fence(self: RendererHTML, tokens: list[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    code, language = tokens[index].content, tokens[index].info.split(maxsplit=1)[:1]
    shown = escape(code)
    if language and len(code) <= MAX_HIGHLIGHTED:
        try:
            lexer = get_lexer_by_name(language[0].lower())
        except ClassNotFound:
            pass  # an unknown language is shown without colours
        else:
            shown = highlight(code, lexer, HtmlFormatter(nowrap=True))
    return f'<pre class="code" tabindex="0"><code>{shown}</code></pre>\n'


def _math(self: RendererHTML, tokens: list[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[index]
    display = token.type in ("math_block", "math_inline_double")
    return formula(token.content.strip(), display=display)


def formula(latex: str, *, display: bool) -> str:
    """MathML of a formula; one that cannot be converted is shown as code."""
    style = "formula display" if display else "formula"
    try:
        if len(latex) > MAX_FORMULA:
            raise ValueError("too long")
        element = convert_to_element(latex, display="block" if display else "inline")
    except Exception:  # the converter raises errors of many kinds on malformed formulas
        return f'<span class="{style}"><code>{escape(latex)}</code></span>'
    for node in element.iter():
        for name in set(node.attrib) - FORMULA_ATTRIBUTES:
            del node.attrib[name]
    xml = NUMERIC_REFERENCE.sub(r"&\1", ElementTree.tostring(element, encoding="unicode"))
    return f'<span class="{style}">{xml}</span>'


def code_styles() -> str:
    """Style sheet of highlighted code, for light and dark pages."""
    light = HtmlFormatter(style="xcode").get_style_defs(".code")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".code")
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
