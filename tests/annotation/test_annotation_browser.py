"""The pages in Chromium, used by keyboard alone. Skipped without Playwright or Chromium."""

import shutil

import pytest
from sample_study import PLAIN, evaluation, question, serving, study

from lima.annotation.questions import CONTROLS, StudyEvaluation

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium):
    """Open a page in a context of its own; the test fails on errors of its scripts."""
    problems, contexts = [], []

    def open_tab(**options):
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(8000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        return page

    yield open_tab
    for context in contexts:
        context.close()
    assert problems == []


def start(page, address):
    """Log in and open the first task, by keyboard."""
    page.goto(address)
    page.keyboard.press("Enter")
    page.wait_for_selector(".task")
    page.keyboard.press("Enter")
    page.wait_for_url("**/tasks/*")


def count(page, text):
    page.wait_for_function("text => document.getElementById('count').textContent === text", arg=text)


def values(s, name="secret-evaluation"):
    return [(record.value, record.comment, record.reason) for record in s.annotations(name)]


def test_a_comparison_by_keyboard_alone(tab, tmp_path):
    s = study(tmp_path, evaluation(4), **{**PLAIN, "comprehension": True})
    with serving(s, tmp_path) as address:
        page = tab()
        start(page, address)
        page.wait_for_selector(".case")
        for key in ("1", "0", "1", "Enter"):  # the first case is wrong
            page.keyboard.press(key)
        page.wait_for_selector(".case.wrong")
        page.keyboard.press("2")
        page.keyboard.press("Tab")
        for key in ("0", "1", "Enter"):
            page.keyboard.press(key)
        count(page, "0 of 4")
        page.keyboard.press("c")
        page.keyboard.type("1 is shorter")  # digits in the comment are text
        page.keyboard.press("Escape")
        page.keyboard.press("1")
        count(page, "1 of 4")
        assert page.text_content("#saved") == "Saved"
        page.keyboard.press("s")
        page.keyboard.press("2")
        count(page, "2 of 4")
        page.keyboard.press("0")
        count(page, "3 of 4")
        page.keyboard.press("u")
        page.wait_for_selector("#revising:not([hidden])")
        page.keyboard.press("2")
        page.wait_for_selector("#revising", state="hidden")
        page.keyboard.press("2")
        page.wait_for_selector("#finished:not([hidden])")
        page.keyboard.press("Enter")
        page.wait_for_selector(".task-count:has-text('finished')")
    recorded = values(s)
    assert [comment for _, comment, _ in recorded] == ["1 is shorter", "", "", ""]
    assert sorted(reason for *_, reason in recorded) == ["", "", "", "unreadable"]
    assert "tie" not in {value for value, *_ in recorded}  # it was revised


def test_single_answers_by_keyboard_alone(tab, tmp_path):
    tasks = [task for task in CONTROLS if task != "pairwise"]
    s = study(tmp_path, *(evaluation(2, task=task, name=task) for task in tasks), **PLAIN)
    with serving(s, tmp_path) as address:
        page = tab()
        page.goto(address)
        page.keyboard.press("Enter")
        page.wait_for_selector(".task")
        for task, slug in zip(tasks, s.slugs, strict=True):
            page.goto(f"{address}/tasks/{slug}")
            for number, choice in enumerate((CONTROLS[task].choices[0], CONTROLS[task].choices[-1])):
                count(page, f"{number} of 2")
                page.keyboard.press(choice.key)
            page.wait_for_selector("#finished:not([hidden])")
    for task in tasks:
        choices = CONTROLS[task].choices
        assert [value for value, *_ in values(s, task)] == [choices[0].value, choices[-1].value]


def test_two_tabs_a_double_click_and_the_back_button_save_each_item_once(tab, tmp_path):
    s = study(tmp_path, evaluation(4), **PLAIN)
    with serving(s, tmp_path) as address:
        page = tab()
        start(page, address)
        count(page, "0 of 4")
        other = page.context.new_page()
        other.goto(page.url)
        count(other, "0 of 4")
        page.dblclick(".choice[data-value=first]")
        count(page, "1 of 4")
        other.keyboard.press("2")  # the item that the first tab has judged
        other.wait_for_selector("#notice:has-text('another tab')")
        count(other, "1 of 4")
        page.keyboard.press("0")
        count(page, "2 of 4")
        page.go_back()
        page.wait_for_selector(".task")
        page.go_forward()
        count(page, "2 of 4")
    assert len(values(s)) == 2


def test_a_judgment_during_a_broken_connection_is_delivered_once(tab, tmp_path):
    s = study(tmp_path, evaluation(3), **PLAIN)
    with serving(s, tmp_path) as address:
        page = tab()
        start(page, address)
        count(page, "0 of 3")
        lost = []

        def lose_reply(route):
            """The server stores the judgment, but its reply does not arrive; then the connection is down."""
            if not lost:
                route.fetch()
            lost.append(route)
            route.abort()

        page.route("**/judgments", lose_reply)
        page.keyboard.press("1")
        page.wait_for_selector("#saved[data-state=failed]")
        assert page.is_disabled(".choice[data-value=second]")
        page.reload()  # a reload does not lose it either
        page.wait_for_selector("#notice:has-text('not saved yet')")
        page.unroute("**/judgments")
        count(page, "1 of 3")
    assert len(lost) >= 2 and len(values(s)) == 1


def test_hostile_answers_run_no_script_and_load_nothing(tab, tmp_path):
    from test_annotation_app import HOSTILE

    texts = ("\n\n".join(HOSTILE), "<script>document.title = 'taken'</script>")
    s = study(tmp_path, StudyEvaluation("e", "pairwise", (question(1, evaluation="e", texts=texts),)), **PLAIN)
    with serving(s, tmp_path) as address:
        page = tab()
        requested, dialogs = [], []
        page.on("request", lambda request: requested.append(request.url))
        page.on("dialog", lambda dialog: (dialogs.append(dialog), dialog.dismiss()))
        start(page, address)
        page.wait_for_selector("#answer-2")
        page.wait_for_load_state("networkidle")
        assert page.title() == CONTROLS["pairwise"].title and dialogs == []
        assert [url for url in requested if not url.startswith(address)] == []
        assert page.locator("#answers script, #answers img, #answers [onload], #answers [onerror]").count() == 0


def test_a_phone_shows_every_control_without_scrolling_sideways(tab, tmp_path):
    wide = "```\n" + "x" * 300 + "\n```\n\n" + "y" * 200
    s = study(tmp_path, StudyEvaluation("e", "pairwise", (question(1, evaluation="e", texts=(wide, "b")),)), **PLAIN)
    with serving(s, tmp_path) as address:
        page = tab(viewport={"width": 390, "height": 844})
        start(page, address)
        page.wait_for_selector("#answer-2")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        for button in page.locator(".choice").all():
            box = button.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] >= 40
