from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima import config
from lima.curation import dialogues
from lima.curation.dialogues import Draft, QualityScore
from lima.records import Comment, Provenance, Thread

P = config.Dialogues(most=20, min_exchanges=2, min_merit=-1.0, full_exchanges=4, full_reply_chars=100, full_score=10)
PLACE = Provenance(source="forum", site="tea", id="7", url="https://x.example/a/7", author="", license="", digest="")
NAMES = {"asker": "Ada Lovelace", "answerer": "Bo-Yan", "other": "Cleo"}


def comment(speaker: str, text: str) -> Comment:
    return Comment(speaker=speaker, name=NAMES[speaker], text=text, score=0)


def thread(*remarks: tuple[str, str], score: int = 5, answer: str = "Green tea steeps for two minutes.") -> Thread:
    return Thread(
        title="How long should green tea steep?",
        question="Mine turns bitter.",
        answer=answer,
        score=score,
        asker=NAMES["asker"],
        answerer=NAMES["answerer"],
        remarks=tuple(comment(*remark) for remark in remarks),
        tags=("tea",),
        provenance=PLACE,
    )


def turns(*remarks: tuple[str, str]) -> list[tuple[str, str]]:
    return [(turn.role[0], turn.content) for turn in dialogues.chain(thread(*remarks))[0]]


def draft(*remarks: tuple[str, str], settings: config.Dialogues = P, **changes: object) -> Draft | str:
    return dialogues.draft(thread(*remarks, **changes), settings=settings, to_markdown=str)


ASKED, REPLIED = (
    ("asker", "And white tea?"),
    ("answerer", "White tea takes longer: four minutes, for steeping is slow."),
)


def test_asker_and_answerer_become_user_and_assistant_after_question_and_answer():
    made = draft(ASKED, REPLIED)
    assert [turn.role for turn in made.turns] == ["user", "assistant", "user", "assistant"]
    assert made.turns[0].content == "How long should green tea steep?\n\nMine turns bitter."
    assert [turn.content for turn in made.turns[1:]] == [made.thread.answer, ASKED[1], REPLIED[1]]


def test_consecutive_comments_of_one_speaker_form_one_turn():
    assert turns(("asker", "One?"), ("asker", "Two?"), ("answerer", "Both.")) == [("u", "One?\n\nTwo?"), ("a", "Both.")]


def test_chain_begins_with_asker_and_ends_with_answerer():
    remarks = [("answerer", "PS."), ASKED, REPLIED, ("asker", "Thanks!")]
    assert turns(*remarks) == [("u", ASKED[1]), ("a", REPLIED[1])]
    assert turns(("answerer", "PS."), ("asker", "Thanks!")) == []


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("@Bo-Yan And white tea?", "And white tea?"),
        ("@bo-yan: and white tea?", "and white tea?"),
        ("@Bo, and white tea?", "and white tea?"),
        ("And white tea, @Bo-Yan?", "And white tea, ?"),
        ("Like `@Bo-Yan` in code", "Like `@Bo-Yan` in code"),
        ("See [this table](https://x.example/t) of times", "See this table of times"),
        ("Write to me@Bo.example", "Write to me@Bo.example"),
    ],
)
def test_mentions_of_the_partner_and_link_targets_are_removed(text, left):
    assert turns(("asker", text), REPLIED)[0] == ("u", left)


def test_all_words_of_the_partners_name_are_removed():
    assert turns(ASKED, ("answerer", "@Ada Lovelace, four minutes."))[1] == ("a", "four minutes.")
    assert turns(ASKED, ("answerer", "@AdaLovelace four minutes."))[1] == ("a", "four minutes.")


@pytest.mark.parametrize("text", ["@Cleo that is black tea.", "That is black tea, @cleo.", "@Dora who has left: no."])
def test_comments_addressed_to_a_third_person_are_excluded(text):
    remarks = [ASKED, ("other", "Or black tea?"), ("answerer", text), REPLIED]
    assert turns(*remarks) == [("u", ASKED[1]), ("a", REPLIED[1])]


WORDS = st.sampled_from(
    ["Why?", "Four minutes.", "@Cleo no", "@Bo-Yan so?", "@Ada yes", "", " ", "[a](http://b.example)"]
)


@given(st.lists(st.tuples(st.sampled_from(sorted(NAMES)), WORDS), max_size=12))
def test_turns_alternate_begin_with_the_user_and_are_not_empty(remarks):
    made, uninterrupted = dialogues.chain(thread(*remarks))
    assert [turn.role for turn in made] == ["user", "assistant"] * (len(made) // 2)
    assert all(turn.content.strip() for turn in made)
    assert 0 < uninterrupted <= 1 if made else uninterrupted == 0


def test_missing_draft_has_a_reason():
    assert draft() == "no_chain"
    assert draft(ASKED, REPLIED, answer=" ") == "no_text"
    assert draft(ASKED, REPLIED, settings=P.model_copy(update={"min_exchanges": 3})) == "too_few_exchanges"
    assert draft(ASKED, REPLIED, settings=P.model_copy(update={"min_merit": 1.0})) == "little_merit"


def test_score_is_mean_of_positive_features_minus_off_topic():
    quality = QualityScore(
        exchanges=1, questions=1, replies=0.5, vocabulary=0.5, votes=0, uninterrupted=1, off_topic=0.25
    )
    assert quality.total() == pytest.approx(4 / 6 - 0.25)


def test_each_feature_of_the_score_follows_its_definition():
    remarks = [ASKED, ("other", "Or black?"), REPLIED, ("asker", "I see."), ("answerer", "Good."), ("asker", "Bye.")]
    quality = draft(*remarks).quality
    assert quality.exchanges == 3 / 4  # the first one and two more, of full_exchanges
    assert quality.questions == 1 / 2  # "And white tea?", not "I see."
    assert quality.replies == (len(REPLIED[1]) + len("Good.")) / 2 / 100
    assert quality.votes == 5 / 10
    assert quality.uninterrupted == 4 / 5  # from "And white tea?" to "Good."
    # of white, takes, longer, four, minutes, steeping, slow, good: minutes
    assert quality.vocabulary == 1 / 8
    assert quality.off_topic == 0


BETTER = {
    "more exchanges": [ASKED, REPLIED, ("asker", "And oolong?"), REPLIED],
    "more votes": [ASKED, REPLIED],
    "a longer reply": [ASKED, ("answerer", f"{REPLIED[1]} {REPLIED[1]}")],
    "words of the answer": [ASKED, ("answerer", REPLIED[1].replace("is slow", "green tea slows"))],
}


@pytest.mark.parametrize("why", BETTER)
def test_feature_increases_the_score(why):
    better = draft(*BETTER[why], score=9 if why == "more votes" else 5)
    assert better.quality.total() > draft(ASKED, REPLIED).quality.total()


WORSE = {
    "no question": [("asker", "White tea as well."), REPLIED],
    "somebody between": [ASKED, ("other", "Or black?"), REPLIED],
    "talk of votes": [ASKED, ("answerer", f"{REPLIED[1]} Please upvote.")],
    "talk of the answer's text": [ASKED, ("answerer", f"{REPLIED[1]} I added it.")],
    "the answer as something edited": [("asker", "Does the edit say so?"), REPLIED],
    "a reply that puts off": [ASKED, ("answerer", f"I don't know, but {REPLIED[1]}")],
    "another question": [ASKED, ("answerer", f"{REPLIED[1]} That is a different question.")],
    "a URL": [ASKED, ("answerer", f"{REPLIED[1]} https://x.example/tea")],
    "the site": [("asker", "And white tea, on Stack Exchange?"), REPLIED],
}


@pytest.mark.parametrize("why", WORSE)
def test_feature_decreases_the_score(why):
    assert draft(*WORSE[why]).quality.total() < draft(ASKED, REPLIED).quality.total()


@pytest.mark.parametrize(
    ("remarks", "edit"),
    [
        ([ASKED, ("answerer", "I take four minutes.")], "turn 4: first person (I take four minutes.)"),
        ([ASKED, ("answerer", "Four. I updated it.")], "turn 4: mentions the site (I updated)"),
        ([ASKED, ("answerer", "No idea.")], "turn 4: may not answer (No idea)"),
        ([("asker", "As in https://x.example ?"), REPLIED], "turn 3: contains a URL (https://x.example)"),
        ([ASKED, ("answerer", "As mentioned, four.")], "turn 4: refers to the site (As mentioned, four.)"),
    ],
)
def test_required_edits_name_the_turn(remarks, edit):
    assert edit in draft(*remarks).edits


def test_clean_chain_requires_no_edit():
    assert draft(ASKED, REPLIED).edits == ()
    assert replace(draft(ASKED, REPLIED), edits=()) == draft(ASKED, REPLIED)
