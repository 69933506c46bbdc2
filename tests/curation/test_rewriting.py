import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lima.curation import rewriting

BODY = (
    "Upload a video to YouTube, then show it to Bob. Boil the eggs in Paris, says Bob. Take the Eggs and eat the eggs."
)

PIECES = st.lists(
    st.sampled_from(
        (
            *(
                "This article",
                "this wikiHow",
                " teaches you",
                "[1]",
                "[[2]",
                " X Research source",
                "wikiHow",
                ".",
                "\n",
                "\n\n",
            ),
            *(
                "[WP]",
                "[Serious]",
                "(EU)",
                " - wikiHow",
                " (with Pictures)",
                "3 Ways to",
                " Cook",
                "How to",
                "?",
                " ",
                "Eggs",
            ),
            *("Edit: thanks", "---", "r/mine", "Once upon a time.", "Thanks for the gold!", "This answer"),
        )
    ),
    max_size=9,
).map("".join)


@pytest.mark.parametrize(
    ("title", "prompt"),
    [
        ("How to Cook an Omelette", "How to cook an omelette?"),  # §2.1's own example
        ("3 Ways to Cook an Omelette (with Pictures) - wikiHow", "How to cook an omelette?"),
        ("Simple Ways to Cook an Omelette: 10 Steps", "How to cook an omelette: 10 steps?"),
        ("How to Verify Your YouTube Account", "How to verify your YouTube account?"),
        ("How to Meet Bob and Eggs", "How to meet Bob and eggs?"),  # Bob within a sentence, eggs also in small letters
        ("How to Be Sure That I'm Right?", "How to be sure that I'm right?"),
    ],
)
def test_an_articles_title_becomes_the_question_a_user_would_ask(title, prompt):
    assert rewriting.article_title(title, body=BODY) == prompt


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("This article will show you how.\n\n1. Boil.", "The following answer will show you how.\n\n1. Boil."),
        ("This wikiHow teaches you how.", "The following answer teaches you how."),
        ("This wikiHow article teaches you how.", "The following answer teaches you how."),
        ("Eggs are good. This article tells why.", "Eggs are good. This answer tells why."),
        ("Read this article to the end.", "Read this answer to the end."),
        ("Boil.[3] Salt.[12]", "Boil. Salt."),
        ("Boil. X Research source\n\nSalt.", "Boil.\n\nSalt."),
        ("Boil. Ask on wikiHow for more. Salt.", "Boil. Salt."),
        ("Boil.\n\nThis article was co-authored by Bob.", "Boil."),
        ("Boil.\n\nThis article has been viewed 3 times.\n\n\nSalt.", "Boil.\n\nSalt."),
    ],
)
def test_article_opens_as_the_following_answer_without_references_to_its_site(body, answer):
    assert rewriting.article_body(body) == answer


@pytest.mark.parametrize(
    "title", ["[WP] A ghost.", "[WP]A ghost.", "[EU] : A ghost.", "A ghost. [WP]", "[SP] [WP] A ghost."]
)
def test_tag_is_removed_from_a_premise(title):
    assert rewriting.premise(title) == "A ghost."


@pytest.mark.parametrize(
    "reply",
    [
        "Once.\n\nUpon a time.\n\n---\n\nMore at r/mystories!",
        "Once.\n\nUpon a time.\n\n***\n\nEdit: Thanks for the gold, kind stranger!",
        "EDIT 2: wow\n\nOnce.\n\nUpon a time.",
        "Once.\n\nEdit: typo\n\nUpon a time.\n\nIf you enjoyed this, follow me.",
        "First time posting here, be gentle\n\n---\n\nOnce.\n\nUpon a time.\n\nThank you for reading!",
        "Once.\n\nUpon a time. More at r/mystories!",
        "Once.\n\nUpon a time.\nr/mystories",
        "Once.\n\nUpon a time.\n\n*More of my tales:* [here](https://example.org/tales).",
        "Once.\n\nUpon a time. (You can find more at mytales.com!)",
        "Once.\n\nUpon a time. https://www.reddit.com/r/mystories. Read on at u/teller.",
        "Once.\n\nUpon a time.\n\nVisit my blog, tales.blog, for the rest of them.\n\n^(/r/mystories)",
    ],
)
def test_notes_to_the_forum_are_removed_from_a_story(reply):
    assert rewriting.story(reply) == "Once.\n\nUpon a time."


def test_line_with_a_link_is_removed_after_a_line_without_full_stop():
    assert rewriting.story("Once\nupon a time\nr/mystories") == "Once\nupon a time"


def test_indentation_of_code_and_verses_is_unchanged():
    verses = "    So sang\n    the ghost.\n\n\tAnd went.\n\nOnce."
    assert rewriting.story(f"\n{verses}\n\nEdit: typo") == verses
    assert rewriting.article_body(f"\n{verses}\n") == verses


def test_speech_of_a_character_is_unchanged():
    story = '"Thanks," she said, and gave him the silver.\n\n* * *\n\nThey never met again.'
    assert rewriting.story(story) == story


@pytest.mark.parametrize(
    "end",
    [
        "There was more at stake.",
        'He typed "https://example.org" and waited. Nothing came.',
        "Find me, she read. He never did.",
        "It ran at 5 m/s or so.",
    ],
)
def test_end_of_a_story_is_not_a_promotion(end):
    assert rewriting.story(f"Once.\n\n{end}") == f"Once.\n\n{end}"


@given(PIECES | st.text())
@example("?\n")  # the title: "How to ?", and then "How to?"
@pytest.mark.parametrize(
    "rewritten",
    [
        lambda text: rewriting.article_title(text, body=BODY),
        rewriting.article_body,
        rewriting.premise,
        rewriting.question,
        rewriting.story,
    ],
    ids=["article_title", "article_body", "premise", "question", "story"],
)
def test_rewriting_is_idempotent(rewritten, text):
    once = rewritten(text)
    assert rewritten(once) == once
