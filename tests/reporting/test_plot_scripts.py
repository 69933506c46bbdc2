"""The page of `dvc plots show` and its scripts."""

import re
from configparser import ConfigParser
from pathlib import Path

from dvc_render.html import HTML
from dvc_render.vega import VegaRenderer

from lima.reporting import plot_scripts

ROOT = Path(__file__).parents[2]


def test_the_page_of_plots_loads_its_scripts_from_a_file_that_the_report_writes(tmp_path):
    config = ConfigParser()
    config.read(ROOT / ".dvc/config")
    template = (ROOT / ".dvc" / config["plots"]["html_template"]).read_text()
    page = HTML(template).with_scripts(VegaRenderer.SCRIPTS).with_element("<div></div>").embed()
    assert "https://" in VegaRenderer.SCRIPTS and "http" not in page
    [script] = re.findall(r'<script src="([^"]+)">', page)
    plot_scripts.write(tmp_path / "work")
    written = (tmp_path / "dvc_plots" / script).resolve()  # dvc writes dvc_plots/index.html
    text = written.read_text()
    assert "window.vegaEmbed" in text and "vega-lite" in text
    before = written.stat().st_mtime_ns
    plot_scripts.write(tmp_path / "work")
    assert written.stat().st_mtime_ns == before
    written.write_text(text.replace(plot_scripts.PACKAGE, "earlier", 1))  # by another version
    plot_scripts.write(tmp_path / "work")
    assert written.read_text() == text
