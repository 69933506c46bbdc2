"""Hand selection in Chromium, used by keyboard alone. Skipped without Playwright or Chromium."""

import contextlib
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
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.usefixtures("checkout"),
]
READING = 300  # milliseconds after which a key decides


@pytest.fixture(scope="module")
def browser():
    with (
        playwright.sync_playwright() as p,
        p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as launched,
    ):
        yield launched


@pytest.fixture
def opened(browser, tmp_path):
    """Open the page in a window of its own."""
    with contextlib.ExitStack() as stack:

        def add_selection(app):
            selection_routes.add_routes(app, config.load(), tmp_path / "indexes")

        made = study(tmp_path, evaluation(1), **PLAIN)
        address = stack.enter_context(serving(made, tmp_path, extend=add_selection))

        def make(**options):
            context = browser.new_context(**options)
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(60_000)
            page.goto(address)
            page.keyboard.press("Enter")
            page.wait_for_selector("main h1:has-text('Tasks')")
            page.goto(f"{address}/selection")
            page.wait_for_selector("#item")
            page.wait_for_timeout(READING)
            return page

        yield make


def press(page, *keys):
    """Press keys that show another candidate, and read it."""
    facts = page.text_content("#facts")
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_function("old => document.getElementById('facts').textContent !== old", arg=facts)
    page.wait_for_timeout(READING)


def choose_outcome(page, value):
    page.keyboard.press("f")
    page.locator("#status:focus").select_option(value)
    page.keyboard.press("Escape")


def decisions():
    return [(review.decision, review.reason) for review in read_reviews(Path("reviews.jsonl")).values()]


def test_candidates_are_accepted_edited_and_rejected_by_keyboard_alone(opened):
    page = opened()
    assert page.evaluate("document.getElementById('filter-box').open")
    press(page, "a")
    # the text of the next candidate begins below the header, without scrolling past the filter
    assert not page.evaluate("document.getElementById('filter-box').open")
    assert page.evaluate("document.getElementById('item').getBoundingClientRect().top") < 120
    page.keyboard.press("e")
    page.wait_for_selector("#editor")
    page.focus("#edit-prompt")
    page.keyboard.press("End")
    page.keyboard.type(" at home")
    page.wait_for_selector("#diff .added:has-text('at home')")
    assert page.locator("#diff .added").all_inner_texts() == [" at home"]  # the words, not their whole line
    press(page, "Control+Enter")
    page.keyboard.press("r")
    page.wait_for_selector("#reasons")
    page.keyboard.press("3")
    page.wait_for_selector("#empty")
    page.wait_for_selector("#pace:has-text('3 decided')")
    assert decisions() == [("accept", ""), ("accept", ""), ("reject", "style")]
    edited = [review.prompt is not None and review.prompt.endswith("at home") for review in reviews()]
    assert edited == [False, True, False]


def reviews():
    return read_reviews(Path("reviews.jsonl")).values()


def test_a_key_pressed_twice_decides_once(opened):
    page = opened()
    facts = page.text_content("#facts")
    page.keyboard.press("a")
    page.wait_for_function("old => document.getElementById('facts').textContent !== old", arg=facts)
    page.keyboard.press("a")  # before anybody can have read the next candidate
    page.wait_for_selector("#saved:has-text('press again')")
    page.wait_for_timeout(READING)
    assert decisions() == [("accept", "")]
    press(page, "a")
    assert len(decisions()) == 2


def test_the_list_is_that_of_the_last_filter_and_nothing_is_decided_meanwhile(opened):
    """Two changes of the outcome in a row; the reply to the first one arrives last."""
    page = opened()
    waiting = []

    def delay(route):
        if "status=kept" in route.request.url:
            waiting.append(route)
        else:
            route.continue_()

    page.route("**/candidates?*", delay)
    page.keyboard.press("f")
    page.select_option("#status", "too_short")
    page.wait_for_selector("#why:has-text('too_short')")
    page.select_option("#status", "kept")
    page.keyboard.press("Escape")
    page.keyboard.press("a")  # the candidate that is still shown is not of this filter
    page.select_option("#status", "too_short")
    page.wait_for_function("() => !document.getElementById('item').hasAttribute('aria-busy')")
    for route in waiting:
        route.continue_()
    page.wait_for_timeout(READING)
    assert page.is_visible("#why:has-text('too_short')") and page.locator(".row-button").count() == 1
    assert Path("reviews.jsonl").read_text() == ""


def test_a_search_ends_with_enter_or_escape_and_keeps_its_words(opened):
    page = opened()
    for end in ("Enter", "Escape"):
        page.keyboard.press("/")
        page.keyboard.press("Control+a")
        page.keyboard.type("pea")  # the beginning of a word
        page.keyboard.press(end)
        page.wait_for_selector("#left:has-text('1 candidates')")
        page.wait_for_selector("#item-title:has-text('Peas'), #prompt:has-text('Peas')")
        assert page.input_value("#text") == "pea"
    page.wait_for_timeout(READING)
    page.keyboard.press("a")  # the field does not have the focus
    page.wait_for_selector("#pace:has-text('1 decided')")
    assert [review.id for review in reviews()] == ["wikihow/Garden/3"]


def test_undo_after_another_filter_returns_to_the_candidate_and_keeps_the_list(opened):
    page = opened()
    choose_outcome(page, "too_short")
    page.wait_for_selector("#why:has-text('too_short')")
    page.wait_for_timeout(READING)
    page.keyboard.press("a")
    page.wait_for_selector("#empty")
    choose_outcome(page, "kept")
    page.wait_for_selector("#left:has-text('3 candidates')")
    page.keyboard.press("u")
    page.wait_for_selector("#saved:has-text('Undone')")
    assert "too_short" in page.text_content("#why")
    page.wait_for_timeout(READING)
    press(page, "r", "1")
    assert page.locator(".row-button").count() == 3 and not page.is_visible("#notice")
    assert page.text_content("#left") == "3 candidates"
    assert decisions() == [("reject", "inaccurate")]


def test_an_audit_of_a_rule_counts_confirmed_and_accepted_candidates(opened):
    page = opened()
    page.keyboard.press("r")
    page.wait_for_selector("#reasons")
    assert not page.is_visible("#rule")  # no rule dropped this one
    page.keyboard.press("Escape")
    choose_outcome(page, "too_short")
    page.wait_for_selector("#why:has-text('too_short')")
    page.wait_for_timeout(READING)
    page.keyboard.press("r")
    page.wait_for_selector("#rule:focus")
    page.keyboard.press("0")
    page.wait_for_selector("#empty")
    page.keyboard.press("f")
    page.wait_for_selector("#status option:has-text('(1; 1 audited, 0 accepted)')", state="attached")
    assert decisions() == [("reject", "rule")]
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    page.wait_for_selector("#saved:has-text('Undone')")
    page.keyboard.press("f")  # the filter is open already
    page.wait_for_selector("#status option:has-text('too_short (1)')", state="attached")


def test_the_editor_replaces_the_prompt_by_the_title_and_deletes_paragraphs(opened):
    page = opened()
    press(page, "e", "Control+Enter")  # an unchanged text is an acceptance
    page.keyboard.press("e")
    page.focus("#edit-prompt")
    page.keyboard.press("Control+a")
    page.keyboard.type("Thanks in advance!")
    page.keyboard.press("Alt+t")
    title = page.text_content("#item-title")
    assert page.input_value("#edit-prompt") == title
    page.fill("#edit-response", "First.\n\nSecond.\n\nSource: a page")
    page.focus("#edit-response")
    page.keyboard.press("Control+End")
    page.keyboard.press("Alt+x")
    assert page.input_value("#edit-response") == "First.\n\nSecond."
    page.keyboard.press("Control+Home")
    page.keyboard.press("Alt+x")
    assert page.input_value("#edit-response") == "Second."
    page.keyboard.press("Control+z")
    assert page.input_value("#edit-response") == "First.\n\nSecond."
    assert page.evaluate("innerHeight >= document.getElementById('save-edit').getBoundingClientRect().bottom")


SENTENCES = [
    # the text with the selection in brackets, the text without the sentence
    ("One. Two [x] two. Three.", "One. Three."),
    ("One. Two two[.]", "One."),
    ("[O]ne. Two.", "Two."),
    ("One.\n\nTwo [x]!\n\nThree.", "One.\n\n\n\nThree."),
    ("Is it 3.5 [x] %? Yes.", "Yes."),
    ("A [b. C] d. E.", "A b. E."),
    ('He said "I [do]." Then more.', "Then more."),
    ("No end [x]", ""),
]


def test_the_editor_deletes_the_sentence_with_the_selection(opened):
    page = opened()
    page.keyboard.press("e")
    for marked, expected in SENTENCES:
        start, end = marked.index("["), marked.index("]") - 1
        page.fill("#edit-response", marked.replace("[", "").replace("]", ""))
        page.focus("#edit-response")
        page.evaluate("(place) => document.getElementById('edit-response').setSelectionRange(...place)", [start, end])
        page.keyboard.press("Alt+s")
        assert page.input_value("#edit-response") == expected, marked


def test_the_editor_shows_the_next_words_that_break_a_rule(opened):
    """The rules of this source only count characters; those of others name words."""
    page = opened()
    page.keyboard.press("e")
    page.wait_for_selector("#verdict:has-text('keeps the rules')")
    page.fill("#edit-response", "Too little.")
    page.wait_for_selector("#verdict:has-text('too_short')")
    assert not page.is_visible("#show-passage")

    def first_person(route):
        text = route.request.post_data_json["response"]
        words = next((words for words in ("In my opinion it", "As I said") if words in text), "")
        route.fulfill(json={"reason": "first_person" if words else "", "detail": words})

    page.route("**/check", first_person)
    selected = "() => { const area = document.getElementById('edit-response');"
    selected += "return area.value.slice(area.selectionStart, area.selectionEnd); }"
    page.fill("#edit-response", "Stir the pot well.\n\nIn my opinion it is done. As I said, wait.")
    page.wait_for_selector("#verdict:has-text('my opinion')")
    page.keyboard.press("Alt+n")
    assert page.evaluate(selected) == "In my opinion it"
    page.keyboard.type("It")
    page.wait_for_selector("#verdict:has-text('As I said')")
    page.keyboard.press("Alt+n")
    page.keyboard.type("So")
    page.wait_for_selector("#verdict:has-text('keeps the rules')")
    assert page.input_value("#edit-response").endswith("It is done. So, wait.")


def test_keys_scroll_a_long_text_by_what_is_visible(opened):
    page = opened(viewport={"width": 1280, "height": 500})
    page.set_viewport_size({"width": 1280, "height": 300})
    visible = (
        "document.getElementById('bar').getBoundingClientRect().top"
        " - document.querySelector('.top').getBoundingClientRect().bottom"
    )
    page.evaluate("window.scrollTo(0, 0)")
    page.keyboard.press("j")
    page.wait_for_function("() => window.scrollY > 0")
    assert 0 < page.evaluate("window.scrollY") <= page.evaluate(visible)
    page.keyboard.press("k")
    page.wait_for_function("() => window.scrollY === 0")


PASSAGES = [
    # text as rendered, the words for which a rule dropped it, the highlighted text
    ("In short, I would not <b>buy</b> it.", "I would not buy", "I would not buy"),
    ("See the list:\nhere it is", "list: here", "list:\nhere"),
    ("Nothing of that", "I would not", ""),
    ("A share of 0.9", "0.90, at most 0.5", ""),
]


def test_the_words_for_which_a_rule_dropped_a_text_are_highlighted(opened):
    page = opened()
    for html, detail, expected in PASSAGES:
        marked = page.evaluate(
            "async ([html, detail]) => { const { mark } = await import('/static/passage.js');"
            "const root = document.createElement('div'); root.innerHTML = html; mark(root, detail);"
            "return [...root.querySelectorAll('mark')].map((node) => node.textContent).join(''); }",
            [html, detail],
        )
        assert marked == expected


def test_a_key_scrolls_to_the_highlighted_words(opened):
    page = opened(viewport={"width": 1280, "height": 500})
    page.evaluate(
        "async () => { const response = document.getElementById('response');"
        "response.lastElementChild.append(' the very last words');"
        "(await import('/static/passage.js')).mark(response, 'very last words'); }"
    )
    page.evaluate("window.scrollTo(0, 0)")
    page.keyboard.press("m")
    page.wait_for_function("() => document.querySelector('mark').getBoundingClientRect().bottom < innerHeight / 1.5")


def test_differences_are_words_with_some_context(opened):
    page = opened()
    before = "Soo... " + "one two three " * 20 + "end\n\nsame\n\nlast line"
    after = "One " + "one two three " * 20 + "END\n\nsame"
    places = page.evaluate(
        "async (texts) => (await import('/static/difference.js')).difference(...texts)", [before, after]
    )
    first, second = places
    assert [kind for kind, _ in first] == ["removed", "added", "equal", "removed", "added"]
    assert [text for kind, text in first if kind != "equal"] == ["Soo...", "One", "end", "END"]
    assert " … " in first[2][1] and len(first[2][1]) < 100
    assert second == [["removed", "\nlast line"]]


def test_a_phone_shows_every_control_of_selection_without_scrolling_sideways(opened):
    page = opened(viewport={"width": 390, "height": 844}, color_scheme="dark")
    for key, shown in (("r", ".reason[data-reason=other]"), ("Escape", ".choice"), ("e", "#save-edit")):
        page.keyboard.press(key)
        page.wait_for_selector(shown)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
