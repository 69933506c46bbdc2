"""Hand selection in Chromium, used by keyboard alone. Skipped without Playwright or Chromium."""

import shutil
from pathlib import Path

import pytest
from sample_study import PLAIN, evaluation, serving, study
from test_annotation_selection import checkout  # noqa: F401  a fixture

from lima import config
from lima.annotation import selection_routes
from lima.curation.reviews import read_reviews

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.mark.usefixtures("checkout")
def test_candidates_are_accepted_edited_and_rejected_by_keyboard_alone(tmp_path):
    def add_selection(app):
        selection_routes.add_routes(app, config.load(), tmp_path / "indexes")

    with (
        serving(study(tmp_path, evaluation(1), **PLAIN), tmp_path, extend=add_selection) as address,
        playwright.sync_playwright() as p,
        p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page()
        page.set_default_timeout(8000)
        page.goto(address)
        page.keyboard.press("Enter")
        page.wait_for_selector(".task")
        page.goto(f"{address}/selection")
        page.wait_for_selector("#item")
        assert page.evaluate("document.getElementById('filter-box').open")

        def press(*keys):
            facts = page.text_content("#facts")
            for key in keys:
                page.keyboard.press(key)
            page.wait_for_function("old => document.getElementById('facts').textContent !== old", arg=facts)

        press("a")
        # the text of the next candidate begins below the header, without scrolling past the filter
        assert not page.evaluate("document.getElementById('filter-box').open")
        assert page.evaluate("document.getElementById('item').getBoundingClientRect().top") < 120
        page.keyboard.press("e")
        page.wait_for_selector("#editor")
        page.focus("#edit-prompt")
        page.keyboard.press("End")
        page.keyboard.type(" at home")
        page.wait_for_selector("#diff .added:has-text('at home')")
        press("Control+Enter")
        page.keyboard.press("r")
        page.wait_for_selector("#reasons")
        page.keyboard.press("3")
        page.wait_for_selector("#empty")
        page.wait_for_selector("#pace:has-text('3 decided')")
    reviews = list(read_reviews(Path("reviews.jsonl")).values())
    assert [(review.decision, review.reason) for review in reviews] == [
        ("accept", ""),
        ("accept", ""),
        ("reject", "style"),
    ]
    assert [review.prompt is not None and review.prompt.endswith("at home") for review in reviews] == [
        False,
        True,
        False,
    ]
