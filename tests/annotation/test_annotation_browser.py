"""The pages in Chromium, used by keyboard alone. Skipped without Playwright or Chromium."""

import shutil

import pytest
from sample_study import PLAIN, ScriptedReplies, evaluation, live, question, serving, settings, study

from lima.annotation.questions import CONTROLS, StudyEvaluation
from lima.annotation.reply_worker import ReplyFailed

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
        page.set_default_timeout(60_000)
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


# --- live conversations ---


def talk(page, address):
    """Log in and open the conversations, by keyboard."""
    page.goto(address)
    page.keyboard.press("Enter")
    page.wait_for_selector(".task")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/conversations/*")


def live_study(folder, **changes):
    rules = {**settings().conversations.model_dump(), "per_person": 2, "exchanges": 2, **changes}
    return study(folder, evaluation(1), **PLAIN, conversations=rules)


def test_a_pair_of_conversations_by_keyboard_alone(tab, tmp_path):
    s = live_study(tmp_path)
    source = ScriptedReplies("Begin with **soil**.", "x" * 40, ReplyFailed("secret", "Timeout"), "Another one.")
    with serving(s, tmp_path, live=[live()], source=source) as address:
        page = tab()
        talk(page, address)
        page.wait_for_selector("#proceed-label:has-text('Send the first message')")
        page.keyboard.press("Enter")
        page.wait_for_selector("#grading")
        assert page.locator(".bubble.assistant strong").text_content() == "soil"
        page.keyboard.press("c")
        page.keyboard.type("3 good points")  # digits in a comment are text
        page.keyboard.press("Escape")
        page.keyboard.press("3")
        page.wait_for_selector("#message:focus")
        page.keyboard.type("And 2 more? e")  # letters and digits in a message are text
        page.keyboard.press("Enter")
        page.wait_for_selector("#grading")
        page.keyboard.press("o")
        page.keyboard.press("1")
        page.wait_for_selector("#proceed-text:has-text('complete')")
        page.keyboard.press("u")
        page.keyboard.press("u")  # the first answer
        page.wait_for_selector("#question:has-text('Change the grade of answer 1')")
        page.keyboard.press("2")
        page.wait_for_selector(".badge.pass")
        page.keyboard.press("Enter")  # ends the first conversation
        page.wait_for_selector("#proceed-label:has-text('Send the first message')")
        page.keyboard.press("Enter")
        page.wait_for_selector("#failed-text:has-text('did not answer in time')")
        page.keyboard.press("r")
        page.wait_for_selector("#grading")
        page.keyboard.press("3")
        page.wait_for_selector("#message:focus")
        page.keyboard.press("Escape")
        page.keyboard.press("e")
        page.wait_for_selector("#proceed-text:has-text('End this conversation?')")
        page.keyboard.press("Enter")
        page.wait_for_selector("#pair")
        page.keyboard.press("2")
        page.wait_for_selector("#finished:not([hidden])")
        page.keyboard.press("Enter")
        page.wait_for_selector(".task-count:has-text('2 of 2')")
    *graded, pair = sorted(s.annotations("secret-talk"), key=lambda record: record.task == "pairwise")
    off_subject, revised, later = graded  # in the order of time
    assert (revised.turn, revised.value, revised.comment) == (0, "pass", "3 good points")
    assert (off_subject.turn, off_subject.value, off_subject.reason) == (1, "fail", "off_subject")
    assert off_subject.exchange.asked == "And 2 more? e"
    assert (later.turn, later.value, later.contestant != revised.contestant) == (0, "excellent", True)
    assert pair.value == ("lose" if pair.first == pair.contestant else "win")


def test_a_message_during_a_broken_connection_is_delivered_once(tab, tmp_path):
    s = live_study(tmp_path)
    source = ScriptedReplies()
    with serving(s, tmp_path, live=[live()], source=source) as address:
        page = tab()
        talk(page, address)
        lost = []

        def lose_reply(route):
            if not lost:
                route.fetch()
            lost.append(route)
            route.abort()

        page.wait_for_selector("#proceeding")
        page.route("**/messages", lose_reply)
        page.keyboard.press("Enter")
        page.wait_for_selector("#saved[data-state=failed]")
        page.unroute("**/messages")
        page.reload()
        page.wait_for_selector("#grading")
    assert lost and len(source.asked) == 1


def test_a_reload_follows_the_answer_that_is_being_written(tab, tmp_path):
    s = live_study(tmp_path)
    source = ScriptedReplies("word " * 20 + "end", pause=0.08)
    with serving(s, tmp_path, live=[live()], source=source) as address:
        page = tab()
        talk(page, address)
        page.wait_for_selector("#proceeding")
        page.keyboard.press("Enter")
        page.wait_for_selector(".bubble.writing .text:has-text('word')")
        page.reload()
        page.wait_for_selector(".bubble.writing .text:has-text('word')")
        page.wait_for_selector("#grading")
        assert page.locator(".bubble.assistant .text").text_content().strip().endswith("end")
    assert len(source.asked) == 1


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
