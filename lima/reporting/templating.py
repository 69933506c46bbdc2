"""Render self-contained HTML pages with Jinja2. All text that is not trusted markup is escaped."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lima.display import visible


def render(name: str, **values: object) -> str:
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("lima.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters["points"] = _points
    environment.filters["p_value"] = lambda p_value: "<0.001" if p_value < 0.001 else f"{p_value:.3f}"
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
    environment.filters["grouped"] = lambda number: f"{number:,.0f}"
    environment.filters["fixed"] = lambda number, decimals: f"{number:.{decimals}f}".replace("-", "−")
    environment.filters["signed"] = lambda number: f"{number:+.2f}".replace("-", "−")
    return environment


def _visible(value: object) -> object:
    """Escape control characters in a template's value, except in trusted markup."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _points(share: float) -> str:
    shown = f"{100 * share:+.1f}"
    return "0.0" if float(shown) == 0 else shown.replace("-", "−")
