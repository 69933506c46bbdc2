"""No page has a serious finding of axe-core, by the rules of WCAG 2.2 A and AA. Skipped without Chromium."""

import shutil

import pytest
from sample_study import PLAIN, ScriptedReplies, evaluation, live, serving, settings, study
from test_annotation_selection import checkout  # noqa: F401  a fixture

from lima import config
from lima.annotation import selection_routes
from lima.annotation.reply_worker import ReplyFailed

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
AXE = axe.Axe()
OPTIONS = {"resultTypes": ["violations"], "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
DARK_PHONE = {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}}
CODE = "Use a *loop*:\n\n```python\nfor tea in teas:\n    drink(tea)  # hot\n```\n\n| a | b |\n|---|---|\n| $x^2$ | 2 |"


def findings(page):
    found = AXE.run(page, options=OPTIONS).response["violations"]
    return [
        f"{each['id']}: {each['help']} {[node['target'] for node in each['nodes']][:3]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def talk(page, address):
    """Every state of a conversation, each with its findings."""
    page.click("a[href^='/conversations/']")
    page.wait_for_selector("#proceeding")
    yield "opening", findings(page)
    page.click("#proceed")
    page.wait_for_selector("#grading")
    page.click("#help")
    yield "grading", findings(page)
    page.click("#off-subject")
    page.click(".grade[data-value=fail]")
    page.wait_for_selector("#composer")
    yield "composer", findings(page)
    page.fill("#message", "And then?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#failed")
    yield "failed", findings(page)
    page.click("#end")
    page.click("#proceed")
    page.wait_for_selector("#proceed-label:has-text('first message')")
    page.click("#proceed")
    page.wait_for_selector("#grading")
    page.click(".grade[data-value=pass]")
    page.wait_for_selector("#composer")
    page.click("#end")
    page.click("#proceed")
    page.wait_for_selector("#pair")
    yield "pair", findings(page)


def pages(page, address, s):
    """Every page with its findings."""
    page.goto(address)
    yield "welcome", findings(page)
    page.fill("#pseudonym", "ann")
    page.keyboard.press("Enter")
    page.wait_for_selector(".task")
    yield "tasks", findings(page)
    pairwise, grade = s.slugs
    page.goto(f"{address}/tasks/{pairwise}")
    page.wait_for_selector(".case")
    yield "check", findings(page)
    for task, slug in (("pairwise", pairwise), ("grade", grade)):
        s.store.record_check(s.store.person("ann"), task, passed=True)
        page.goto(f"{address}/tasks/{slug}")
        page.wait_for_selector("#answer-1")
        page.click("#skip")
        yield task, findings(page)
        page.click("#skip")
        page.click(".choice >> nth=0")
    page.goto(address)
    yield from talk(page, address)
    page.goto(f"{address}/admin")
    yield "admin", findings(page)


def test_no_page_has_a_serious_finding(tmp_path):
    """All pages on a dark phone; of a light wide screen those that have every colour."""
    rules = {**settings().conversations.model_dump(), "per_person": 2}
    evaluations = [evaluation(3), evaluation(2, task="grade", name="g")]
    s = study(tmp_path, *evaluations, **{**PLAIN, "comprehension": True}, conversations=rules)
    s.store.record_check(s.store.person("ann"), "dialogue", passed=True)
    source = ScriptedReplies(CODE, ReplyFailed("x", "Timeout"), default=CODE)
    with (
        serving(s, tmp_path, live=[live()], source=source) as address,
        playwright.sync_playwright() as p,
        p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_context(**DARK_PHONE).new_page()
        page.set_default_timeout(60_000)
        seen = dict(pages(page, address, s))
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 1280, "height": 800})
        for path in ("/", f"/tasks/{next(iter(s.slugs))}", "/admin"):
            page.goto(address + path)
            seen[f"light {path}"] = findings(page)
    assert len(seen) == 14 and {name: found for name, found in seen.items() if found} == {}


def selecting(page):
    """Every state of the page of selection, each with its findings."""
    page.wait_for_selector("#item")
    yield "list and candidate", findings(page)
    page.click("#reject")
    yield "reasons", findings(page)
    page.keyboard.press("Escape")
    page.click("#edit")
    page.wait_for_selector("#edit-response")
    page.fill("#edit-prompt", "Another prompt?")
    page.wait_for_selector("#diff .added")
    page.wait_for_selector("#diff .removed")
    yield "editor", findings(page)
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    page.select_option("#status", "too_short")
    page.wait_for_selector("#why")
    page.evaluate(
        "async () => (await import('/static/passage.js')).mark(document.getElementById('response'), 'Stir the pot')"
    )
    page.wait_for_selector("mark")
    yield "dropped candidate", findings(page)
    page.fill("#text", "nothing like this")
    page.keyboard.press("Enter")
    page.wait_for_selector("#empty")
    yield "empty list", findings(page)


@pytest.mark.usefixtures("checkout")
def test_no_state_of_selection_has_a_serious_finding(tmp_path):
    def add_selection(app):
        selection_routes.add_routes(app, config.load(), tmp_path / "indexes")

    with (
        serving(study(tmp_path, evaluation(1), **PLAIN), tmp_path, extend=add_selection) as address,
        playwright.sync_playwright() as p,
        p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(address)
        page.keyboard.press("Enter")
        page.wait_for_selector("main h1:has-text('Tasks')")
        seen = {}
        for scheme, width in (("light", 1280), ("dark", 1280), ("dark", 390)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 844})
            page.goto(f"{address}/selection")
            seen |= {(name, scheme, width): found for name, found in selecting(page)}
    assert len(seen) == 15 and {state: found for state, found in seen.items() if found} == {}
