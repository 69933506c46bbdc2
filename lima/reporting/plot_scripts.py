"""The scripts of `dvc plots show` from an installed package, so that its page needs no network.

DVC's page of plots loads Vega from a server. `.dvc/plots.html`, set as `plots.html_template` in `.dvc/config`, loads
the file written here instead.
"""

from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGE = "vl-convert-python"  # contains Vega, Vega-Lite and Vega-Embed (BSD-3-Clause)
GLOBALS = "window.vegaEmbed = vegaEmbed"  # what DVC's page calls


def write(folder: Path) -> None:
    """Write `vega.js` with vegaEmbed as a global name, unless this version's file is there.

    Args:
        folder: `work/`, which `.dvc/plots.html` names.
    """
    script, mark = folder / "vega.js", f"// {PACKAGE} {version(PACKAGE)}\n"
    if script.exists() and script.read_text(encoding="utf-8").startswith(mark):
        return
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = script.with_suffix(".unfinished")
    unfinished.write_text(mark + _bundle(), encoding="utf-8")
    unfinished.replace(script)


@cache
def _bundle() -> str:
    import vl_convert  # imported here, since loading it and making the bundle take seconds

    return str(vl_convert.javascript_bundle(GLOBALS))
