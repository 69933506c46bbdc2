"""Every reason why a candidate is dropped, by a candidate that is dropped for it alone; and bounds that belong."""

from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lima.config.sections import Filter
from lima.curation.decisions import REASONS
from lima.curation.filters import FilterResults
from lima.records import Candidate, Dropped, Example, Prompt, Provenance, Turn
from lima.sources import rules
from lima.text import removal_marks
from lima.text.html_to_markdown import to_markdown, to_marked

FILTER = Filter.model_validate(
    {
        "seed": 17,
        "workers": 1,
        "retries": 0,
        "unfiltered_reservoir": 5,
        "edits": "none.jsonl",
        "reviews": "none.jsonl",
        "language": {"wanted": "en", "least_probability": 0.95, "min_chars": 60},
        "near_duplicates": {"words": 5, "least_jaccard": 0.7, "permutations": 128, "bands": 32},
        "stack_exchange": {
            "prefilter": {"min_response_score": 10},
            "min_chars": 1200,
            "max_chars": 4096,
            "max_quoted_share": 0.5,
            "title_share": 0.25,
        },
        "wikihow": {"prefilter": {}, "min_chars": 20, "max_chars": 60},
        "reddit": {
            "min_score": 20,
            "min_response_score": 10,
            "min_chars": 20,
            "max_chars": 60,
            "prefilter": {"train_subreddits": ["WritingPrompts"], "prompt_subreddits": ["AskReddit"]},
        },
        **{reader: {"prefilter": {}} for reader in ("authored", "adversarial", "released_lima", "alpaca", "chat")},
        "natural_instructions": {
            "prefilter": {},
            "categories": ["Summarization", "Title Generation"],
            "min_distinct_share": 0.5,
            "max_unpolished_share": 1.0,
            "rewriting": ["Title Generation"],
            "max_unrelated_share": 0.1,
            "min_median_words": 3,
            "max_prompt_chars": 40,
        },
    }
)
STORY = "Once upon a time, a ghost sang."  # 31 characters
ANSWER = "Yeast eats sugar. " * 70  # 1,260 characters, 1,259 without the last blank
GERMAN = "Der Teig muss eine Stunde ruhen, bevor man ihn ausrollt, sonst reisst er beim Backen leicht ein."
KEY = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEow" * 8  # no key: nothing follows from it
SUMMARY = ("category:Summarization", "language:English")


def candidate(reader: str, **changes: object) -> Candidate:
    """One that its reader's filters keep."""
    usual: dict[str, dict[str, object]] = {
        "stack_exchange": {"site": "beer", "title": "How is beer made?", "description": "Tell.", "response": ANSWER},
        "wikihow": {"site": "Food", "title": "How to Boil Eggs", "response": "This article is about eggs."},
        "reddit": {"site": "WritingPrompts", "title": "[WP] A ghost sings.", "response": STORY},
        "natural_instructions": {
            "site": "task1",
            "title": "Sum up.",
            "description": "A text.",
            "response": "It is told.",
            "tags": SUMMARY,
        },
        "authored": {"site": "A", "title": "What is tea?", "response": "A drink."},
        "adversarial": {"site": "injection", "title": "What is tea?", "response": ""},
        "alpaca": {"site": "alpaca", "title": "What is tea?", "response": "A drink."},
    }
    values: dict[str, object] = {
        "number": "1",
        "description": "",
        "later_turns": (),
        "markup": "markdown",
        "score": 20,
        "response_score": 10,
        "tags": (),
    }
    values |= usual[reader] | changes
    number, site = str(values.pop("number")), str(values.pop("site"))
    if number != "1" and "response" not in changes:  # else all would be duplicates
        values["response"] = f"{values['response']} {number} {number} {number}"
    place = Provenance(source=reader, site=site, id=number, url="", author="", license="", digest="")
    return Candidate.model_validate({"id": f"{reader}/{site}/{number}", "provenance": place, **values})


def without_tags(html: str) -> str:
    return html.replace("<p>", "")


def sifted(reader: str, candidates: list[Candidate], settings: Filter = FILTER) -> list[Example | Prompt | Dropped]:
    pairs = rules.apply(candidates, reader=reader, settings=settings, to_markdown=without_tags, to_marked=without_tags)
    return [outcome for _, outcome in pairs]


def outcome(reader: str, **changes: object) -> Example | Prompt | Dropped:
    (only,) = sifted(reader, [candidate(reader, **changes)])
    return only


ASKED = {"site": "AskReddit", "title": "What do cooks never eat?", "response": ""}

# reader, changes to a candidate that is kept, reason, part of the detail, rule in the words of the paper or the project
ROWS = [
    ("reddit", {"site": "AskMen"}, "other_subreddit", "AskMen", "only r/AskReddit and r/WritingPrompts"),
    ("natural_instructions", {"tags": (SUMMARY[0], "language:Hindi")}, "other_language", "Hindi", "ours"),
    (
        "natural_instructions",
        {"tags": (SUMMARY[1],)},
        "other_category",
        "no category",
        "natural-language-generation tasks",
    ),
    (
        "natural_instructions",
        {"tags": SUMMARY[:1], "response": GERMAN},
        "other_language",
        "de, probability 0.999",
        "ours",
    ),
    (
        "natural_instructions",
        {"description": "A text.\nIt is.", "response": " a  Text. It is. "},
        "response_equals_input",
        "'a  Text. It is.'",
        "ours",
    ),
    ("natural_instructions", {"response": "it is"}, "short_outputs", "median 2 words, at least 3", "ours"),
    ("natural_instructions", {"title": " ", "description": ""}, "empty_text", "definition and input", "ours"),
    ("natural_instructions", {"description": "x" * 32}, "prompt_too_long", "41 characters, at most 40", "ours"),
    ("authored", {"title": " "}, "empty_text", "turn 1, user", "ours"),
    (
        "authored",
        {"later_turns": (Turn(role="assistant", content="!"),)},
        "turns_do_not_alternate",
        "user assistant assistant",
        "ours",
    ),
    ("wikihow", {"title": ""}, "empty_text", "title", "ours"),
    ("wikihow", {"response": " "}, "no_answer", "no body", "ours"),
    ("stack_exchange", {"response": ""}, "no_answer", "no response", "200 question–answer pairs"),
    ("reddit", {"response": ""}, "no_answer", "no reply", "a premise with a good continuation"),
    (
        "stack_exchange",
        {"response": "> Yeast eats sugar.\n" * 41 + "Malt gives it. " * 40},
        "mostly_quoted",
        "0.55, at most 0.5",
        "ours",
    ),
    ("alpaca", {"response": GERMAN}, "other_language", "de, probability 0.999", "ours"),
    ("authored", {"response": f"A key:\n\n```\n{KEY}\n```"}, "secret", "private_key", "ours"),
    ("reddit", {"response": "[removed]"}, "removed", "[removed]", "ours"),
    ("reddit", {"response": "I am a bot, and so on and on."}, "moderator", "I am a bot", "ours"),
    ("reddit", {"title": "[MODPOST] Rules of the contest"}, "moderator", "[MODPOST", "ours"),
    (
        "reddit",
        {"title": "[IP] A lighthouse"},
        "not_a_premise",
        "[IP]",
        "premises (love poems, short science fiction, …)",
    ),
    ("reddit", {"score": 19}, "low_score", "19, at least 20", "the most upvoted posts"),
    ("reddit", {"score": None}, "low_score", "no score, at least 20", "the most upvoted posts"),
    ("reddit", {"response_score": 9}, "low_response_score", "9, at least 10", "a good continuation"),
    ("reddit", {"response": f"{STORY} To be continued"}, "incomplete", "To be continued", "a good continuation"),
    ("reddit", {"response": f"{STORY}\n\n(Part 2 in the comments!)"}, "incomplete", "Part 2 in the comments", "ours"),
    ("reddit", {"response": f"{STORY}\n\nPart 2: r/mine"}, "incomplete", "Part 2: r/m", "ours"),
    ("reddit", {"response": f"{STORY}\n\nRest of it in a reply."}, "incomplete", "Rest of it in a reply", "ours"),
    ("reddit", {"response": f"{STORY}\n\n(1/3)"}, "incomplete", "(1/3)", "ours"),
    ("reddit", {"response": "[unavailable]"}, "removed", "[unavailable]", "ours"),
    ("reddit", ASKED | {"description": "Long story."}, "has_body", "11 characters", "title only, no body"),
    ("reddit", ASKED | {"title": "Cooks never eat this"}, "not_a_question", "Cooks never eat this", "prompts"),
    (
        "reddit",
        ASKED | {"title": "Redditors, what do you eat?"},
        "refers_to_site",
        "Redditors",
        "self-contained prompts",
    ),
    (
        "reddit",
        ASKED | {"title": "What do you think of this photo?"},
        "title_not_self_contained",
        "demonstrative: 'this'",
        "self-contained prompts",
    ),
    ("stack_exchange", {"response_score": 9}, "low_response_score", "9, at least 10", "if its score is at least 10"),
    (
        "stack_exchange",
        {"response_score": None},
        "low_response_score",
        "no score, at least 10",
        "if its score is at least 10",
    ),
    (
        "natural_instructions",
        {"response": "it is told here"},
        "unpolished",
        "no capital letter",
        "lightly edited to fit the style",
    ),
    ("stack_exchange", {"response": "x" * 1199}, "too_short", "1199 characters, at least 1200", "shorter than 1,200"),
    (
        "stack_exchange",
        {"response": "x" * 4097},
        "too_long",
        "4097 characters, at most 4096",
        "longer than 4,096 characters",
    ),
    (
        "stack_exchange",
        {"response": ANSWER + "I know."},
        "first_person",
        "Yeast eats sugar. I know.",
        "written in the first person",
    ),
    (
        "stack_exchange",
        {"response": "As mentioned, so. " + ANSWER},
        "refers_to_site",
        "As mentioned, so. Yeast eats",
        "as mentioned",
    ),
    (
        "stack_exchange",
        {"response": "Stack Exchange. " + ANSWER},
        "refers_to_site",
        "Stack Exchange. Yeast eats sugar.",
        "stack exchange",
    ),
    (
        "stack_exchange",
        {"response": "It can be found here. " + ANSWER},
        "refers_to_missing",
        "It can be found here. Yeast eats sugar.",
        "remove links, images",
    ),
    (
        "stack_exchange",
        {"title": "Flavour components in beer", "description": ""},
        "not_a_question",
        "Flavour components in beer",
        "ours",
    ),
    (
        "stack_exchange",
        {"response": "The yeast you describe lives. " + ANSWER, "description": "See the picture below."},
        "answers_body",
        "you describe",
        "self-contained in the title",
    ),
    (
        "stack_exchange",
        {"title": "What is this foam?"},
        "title_not_self_contained",
        "demonstrative: 'this'",
        "self-contained in the title",
    ),
]


@pytest.mark.parametrize(("reader", "changes", "reason", "detail", "words"), ROWS)
def test_candidate_is_dropped_with_reason_and_detail(reader, changes, reason, detail, words):
    assert outcome(reader, **changes) == Dropped(
        reason=reason, detail=detail, place=candidate(reader, **changes).id, raw=""
    )


def test_task_with_repeated_outputs_is_dropped_as_a_whole_and_the_next_task_is_kept():
    # 2 of 5 outputs differ: 0.4 < 0.5
    first = [candidate("natural_instructions", number=n, response=f"the answer is {n % 2}") for n in range(5)]
    second = [candidate("natural_instructions", number=n, site="task2") for n in range(1)]
    outcomes = sifted("natural_instructions", first + second)
    assert [(o.reason, o.detail) for o in outcomes[:5]] == [
        ("few_distinct_outputs", "0.400 of 5, at least 0.5") for _ in first
    ]
    assert isinstance(outcomes[5], Example)


@pytest.mark.parametrize(("rough", "detail"), [(1, None), (2, "0.100 of the task's 20 outputs, at most 0.05")])
def test_task_with_many_unpolished_outputs_is_dropped_as_a_whole(rough, detail):
    # of 20 outputs, 1 is 0.05, which may be; 2 are 0.1
    settings = FILTER.model_copy(
        update={"natural_instructions": FILTER.natural_instructions.model_copy(update={"max_unpolished_share": 0.05})}
    )
    outputs = [f"It went on {n} ." if n < rough else f"It went on for {n} days." for n in range(20)]
    task = [candidate("natural_instructions", number=n, response=text) for n, text in enumerate(outputs)]
    fine = sifted("natural_instructions", task, settings)[rough:]
    assert all(isinstance(result, Example) if detail is None else result.detail == detail for result in fine)
    assert {result.reason for result in fine if isinstance(result, Dropped)} == ({"unpolished"} if detail else set())


def titled(number: int, response: str) -> Candidate:
    tags = ("category:Title Generation", "language:English")
    return candidate(
        "natural_instructions", number=number, description="The bakery closes", response=response, tags=tags
    )


@pytest.mark.parametrize(("astray", "detail"), [(1, None), (2, "0.200 of the task's 10 outputs, at most 0.1")])
def test_task_with_many_unrelated_outputs_is_dropped_as_a_whole(astray, detail):
    # of 10 outputs, 1 is 0.1, which may be; "closing" begins like "closes", and "all of us" has no word to compare
    outputs = [f"A singer wins, number {n}" if n < astray else f"Closing time, number {n}" for n in range(9)]
    task = [titled(n, text) for n, text in enumerate([*outputs, "All of us"])]
    outcomes = sifted("natural_instructions", task)
    assert [result.reason for result in outcomes if isinstance(result, Dropped)] == ["unrelated"] * (
        10 if detail else 1
    )
    assert {result.detail for result in outcomes[astray:] if isinstance(result, Dropped)} == (
        {detail} if detail else set()
    )
    assert outcomes[0].detail == (detail or "'A singer wins, number 0'")


def test_every_reason_has_a_row():
    assert {row[2] for row in ROWS} | {
        "few_distinct_outputs",
        "unrelated",
        "near_duplicate",
        "rejected_by_hand",
    } == set(REASONS)


@pytest.mark.parametrize("reader", ["stack_exchange", "wikihow", "reddit", "natural_instructions", "authored"])
def test_the_usual_candidate_is_kept(reader):
    kept = outcome(reader)
    assert isinstance(kept, Example)
    assert kept.id == f"{reader}/{kept.provenance.site}/1"


@pytest.mark.parametrize("length", [1200, 4096])
def test_bounds_of_length_are_inclusive_and_ignore_surrounding_blanks(length):
    assert isinstance(outcome("stack_exchange", response=f"\n{'x' * length}\n"), Example)


def test_code_at_the_start_of_a_text_keeps_its_indentation():
    code = "    malt --dry"
    changes = {"response": f"\n{code}\n\n{ANSWER}", "description": f"\n{code}\n\nWhat does it do?\n"}
    kept = sifted("stack_exchange", [candidate("stack_exchange", number=n, **changes) for n in range(20)])
    assert {o.messages[1].content for o in kept} == {f"{code}\n\n{ANSWER.strip()}"}
    assert f"{code}\n\nWhat does it do?" in {o.messages[0].content for o in kept}  # by chance some have the title


def test_html_is_converted_before_measuring_and_markdown_is_not():
    assert isinstance(outcome("stack_exchange", response="<p>" * 1366 + "x" * 1200, markup="html"), Example)
    assert isinstance(outcome("stack_exchange", response="<p>" * 1366 + "x" * 1200), Dropped)


def test_title_of_a_wikihow_article_is_the_prompt_and_it_opens_as_the_following_answer():
    turns = [(turn.role, turn.content) for turn in outcome("wikihow").messages]
    assert turns == [("user", "How to boil eggs?"), ("assistant", "The following answer is about eggs.")]


def test_a_question_of_askreddit_becomes_a_prompt_without_its_tag():
    prompt = outcome("reddit", **(ASKED | {"title": "[Serious] What do cooks never eat?"}))
    assert isinstance(prompt, Prompt)
    assert [turn.content for turn in prompt.messages] == ["What do cooks never eat?"]


def test_language_of_a_task_without_language_tag_is_detected_from_all_outputs():
    """Each output is shorter than the 60 characters from which a single text is judged."""
    german = (
        "Der Teig muss eine Stunde ruhen.",
        "Man rollt ihn danach ganz dünn aus.",
        "Im Ofen wird er knusprig braun.",
    )
    english = ("The dough must rest for an hour.", "It is then rolled out very thinly.", "In the oven it turns brown.")
    for outputs, kinds in ((german, ["other_language"] * 3), (english, ["kept"] * 3)):
        task = [
            candidate("natural_instructions", number=n, response=r, tags=SUMMARY[:1]) for n, r in enumerate(outputs)
        ]
        results = sifted("natural_instructions", task)
        assert [result.reason if isinstance(result, Dropped) else "kept" for result in results] == kinds


def test_empty_output_of_a_task_is_dropped():
    task = [
        candidate("natural_instructions", number=n, response=text) for n, text in enumerate(["It is told."] * 3 + [" "])
    ]
    assert sifted("natural_instructions", task)[3].reason == "no_answer"


@pytest.mark.parametrize("site", ["writingprompts", "WRITINGPROMPTS"])
def test_names_of_subreddits_are_case_insensitive(site):
    assert isinstance(outcome("reddit", site=site), Example)
    assert isinstance(outcome("reddit", **(ASKED | {"site": "askreddit"})), Prompt)


def test_question_of_askreddit_may_lack_a_question_mark():
    assert isinstance(outcome("reddit", **(ASKED | {"title": "Men, what do you never eat"})), Prompt)


def test_prompt_of_a_task_is_definition_and_input():
    assert outcome("natural_instructions").messages[0].content == "Sum up.\n\nA text."


def test_role_of_the_last_turn_decides_between_example_and_prompt():
    later = (Turn(role="user", content="More?"), Turn(role="assistant", content="More."))
    assert isinstance(outcome("authored", response=""), Prompt)
    assert isinstance(outcome("authored", later_turns=later[:1]), Prompt)
    dialogue = outcome("authored", later_turns=later)
    assert isinstance(dialogue, Example)
    assert [turn.role for turn in dialogue.messages] == ["user", "assistant"] * 2


def test_random_choice_of_title_or_description_does_not_depend_on_the_order():
    # a quarter of 400: 100 titles, standard deviation √(400 · ¼ · ¾) ≈ 8.7; five of them either side
    candidates = [candidate("stack_exchange", number=n) for n in range(400)]
    forward, backward = sifted("stack_exchange", candidates), sifted("stack_exchange", candidates[::-1])
    assert forward == backward[::-1]
    assert abs(sum(o.messages[0].content == "How is beer made?" for o in forward) - 100) < 44
    assert {o.messages[0].content for o in forward} == {"How is beer made?", "Tell."}


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "Flavour components in beer"},  # asks nothing
        {"response": f"> It is still cloudy after two weeks\n\nWait. {ANSWER}"},  # quotes the description
        {"response": f"Warm your fermenter. {ANSWER}"},
    ],
)
def test_description_is_the_prompt_if_the_title_is_unsuitable(changes):
    description = "It is still cloudy after two weeks in my fermenter. What now?"
    offered = [candidate("stack_exchange", number=n, description=description, **changes) for n in range(20)]
    assert {o.messages[0].content for o in sifted("stack_exchange", offered)} == {description}


MARKS = (removal_marks.LINK, removal_marks.LINK_END, removal_marks.CUT)
LINKED = f'<p>It <a href="x">boils{removal_marks.CUT}</a>. <img src="x"> {ANSWER}</p>'
HTML = st.lists(
    st.sampled_from(
        ["<a>", "</a>", "<img>", "<p>", "here", "It boils:", "<pre>", "<td>", "<a>http://a.org</a>", *MARKS, "I"]
    )
).map(" ".join)


@given(HTML)
@example(LINKED)
@pytest.mark.parametrize("response_score", [10, 9])
def test_outcomes_contain_no_removal_marks(response_score, html):
    offered = [
        candidate(
            "stack_exchange", number=1, response=f"{html} {LINKED}", response_score=response_score, markup="html"
        ),
        candidate("stack_exchange", number=2, response=LINKED, description=html, markup="html"),
        candidate("stack_exchange", number=3, response=f"{html} {LINKED}", description="", markup="html"),
    ]
    pairs = list(
        rules.apply(offered, reader="stack_exchange", settings=FILTER, to_markdown=to_markdown, to_marked=to_marked)
    )
    plain = rules.unfiltered(
        offered, reader="stack_exchange", settings=FILTER, to_markdown=to_markdown, to_marked=to_marked
    )
    written = [result.model_dump_json() for _, result in pairs] + [example.model_dump_json() for example in plain]
    assert not [text for text in written if removal_marks.MARK.search(text)]


def test_removed_images_are_detected_at_their_position():
    image, rest = "<p>Good crumb looks so:</p><p><img></p>", f"<p>{ANSWER}</p>"
    for response, reason in ((image + rest, "refers_to_missing"), (rest + image.replace("so:", "open."), None)):
        offered = [candidate("stack_exchange", response=response, markup="html")]
        ((_, result),) = rules.apply(
            offered, reader="stack_exchange", settings=FILTER, to_markdown=to_markdown, to_marked=to_marked
        )
        assert (result.reason if isinstance(result, Dropped) else None) == reason


@pytest.mark.parametrize("description", ["", " <p> ", "See the picture below."])
def test_title_is_the_prompt_if_the_description_is_unsuitable(description):
    outcomes = sifted(
        "stack_exchange",
        [candidate("stack_exchange", number=n, description=description, markup="html") for n in range(20)],
    )
    assert {o.messages[0].content for o in outcomes} == {"How is beer made?"}


ANY = st.lists(
    st.sampled_from(ROWS).map(lambda row: (row[0], row[1]))
    | st.sampled_from(["stack_exchange", "wikihow", "reddit", "natural_instructions", "authored"]).map(
        lambda reader: (reader, {})
    ),
    max_size=12,
)


@given(ANY)
def test_funnel_adds_up_in_the_order_of_the_reasons(rows):
    for reader in {reader for reader, _ in rows}:
        offered = [candidate(reader, number=n, **changes) for n, (r, changes) in enumerate(rows) if r == reader]
        results = FilterResults(reader=reader, settings=FILTER)
        pairs = rules.apply(offered, reader=reader, settings=FILTER, to_markdown=str, to_marked=str)
        dropped = list(results.collect(pairs))
        funnel = results.funnel(reader, offered=len(offered))  # raises if it does not add up
        assert sum(funnel.dropped.values()) == len(dropped)
        assert list(funnel.dropped) == [reason for reason in REASONS if reason in funnel.dropped]
        gone = [record.id for record in (*results.kept(), *results.prompts())] + [drop.place for drop in dropped]
        assert sorted(gone) == sorted(c.id for c in offered)


def test_near_duplicate_with_most_votes_then_longest_then_smallest_id_is_kept():
    text = " ".join(f"The yeast of batch {n} eats sugar." for n in range(100))  # 500 runs of five words
    by_title = partial(candidate, "stack_exchange", description="")  # the title is always the prompt
    offered = [
        by_title(number=1, response=f"{text} end", response_score=12),
        by_title(number=2, response=text, response_score=30),
        by_title(number=3, response=f"{text} end", response_score=30, site="wine"),
        by_title(number=4, response=ANSWER, response_score=12),
        by_title(number=5, response=f"{text} end", response_score=30, site="yeast"),
    ]
    for order in (offered, offered[::-1]):
        results = FilterResults(reader="stack_exchange", settings=FILTER)
        sifted = rules.apply(order, reader="stack_exchange", settings=FILTER, to_markdown=str, to_marked=str)
        dropped = {drop.place: (drop.reason, drop.detail) for drop in results.collect(sifted)}
        assert sorted(example.id for example in results.kept()) == [
            "stack_exchange/beer/4",
            "stack_exchange/wine/3",
        ]
        assert set(dropped) == {f"stack_exchange/{name}" for name in ("beer/1", "beer/2", "yeast/5")}
        reason, detail = dropped["stack_exchange/beer/2"]
        # the answers differ by one run of 501, the exchanges by one of more: 500 / 501
        assert (reason, detail) == ("near_duplicate", "of stack_exchange/wine/3, Jaccard 0.998")


def test_personal_data_are_masked_and_counted_in_kept_records_only():
    mail = "Write to jo.doe@brewers.org or jo.doe@brewers.org."
    offered = [
        candidate("alpaca", number=1, response=mail, title="Call (212) 736-5000?"),
        candidate("alpaca", number=2, response="", title="Is jo.doe@brewers.org right?"),
        candidate("alpaca", number=3, response=mail, later_turns=(Turn(role="assistant", content="!"),)),
    ]
    results = FilterResults(reader="alpaca", settings=FILTER)
    list(results.collect(rules.apply(offered, reader="alpaca", settings=FILTER, to_markdown=str, to_marked=str)))
    assert [turn.content for turn in results.kept()[0].messages] == [
        "Call 555-0100?",
        "Write to name@example.com or name@example.com.",
    ]
    assert results.prompts()[0].messages[0].content == "Is name@example.com right?"
    assert results.personal_data("alpaca").masked == {"email": 3, "phone": 1}


HAND_WRITTEN = st.sampled_from(
    ["Write to jo.doe@brewers.org.", "Call (212) 736-5000?", GERMAN, "What is tea?", "A drink."]
)


@given(st.lists(st.tuples(HAND_WRITTEN, HAND_WRITTEN), max_size=6))
def test_hand_written_sources_are_not_masked_and_ignore_language_and_near_duplicates(pairs):
    examples = [
        candidate("authored", number=n, title=title, response=response) for n, (title, response) in enumerate(pairs)
    ]
    prompts = [candidate("adversarial", number=n, title=title, response="") for n, (title, _) in enumerate(pairs)]
    for reader, offered in (("authored", examples), ("adversarial", prompts)):
        results = FilterResults(reader=reader, settings=FILTER)
        assert (
            list(results.collect(rules.apply(offered, reader=reader, settings=FILTER, to_markdown=str, to_marked=str)))
            == []
        )
        left = {row.id: [turn.content for turn in row.messages] for row in (*results.kept(), *results.prompts())}
        assert left == {row.id: [text for text in (row.title, row.response) if text] for row in offered}
        assert results.personal_data(reader).masked == {}
    plain = list(rules.unfiltered(examples, reader="authored", settings=FILTER, to_markdown=str, to_marked=str))
    assert [row.messages[1].content for row in plain] == [row.response for row in examples]


def test_kept_examples_are_sorted_by_site_votes_and_id():
    votes = [("beer", 3, 1), ("beer", 4, 9), ("ai", 1, 5), ("beer", 2, 9), ("beer", 5, None)]
    results = FilterResults(reader="stack_exchange", settings=FILTER)
    offered = [candidate("stack_exchange", site=site, number=number, score=score) for site, number, score in votes]
    list(
        results.collect(rules.apply(offered, reader="stack_exchange", settings=FILTER, to_markdown=str, to_marked=str))
    )
    assert [example.provenance.id for example in results.kept()] == ["1", "2", "4", "3", "5"]


def test_articles_are_shuffled_independently_of_their_order():
    def kept(numbers: Iterator[int] | range) -> list[str]:
        results = FilterResults(reader="wikihow", settings=FILTER)
        offered = [candidate("wikihow", number=n) for n in numbers]
        list(results.collect(rules.apply(offered, reader="wikihow", settings=FILTER, to_markdown=str, to_marked=str)))
        return [example.provenance.id for example in results.kept()]

    assert kept(range(30)) == kept(reversed(range(30)))
    assert kept(range(30)) != [str(n) for n in sorted(range(30))]
    assert sorted(kept(range(30)), key=int) == [str(n) for n in range(30)]


def test_unfiltered_examples_are_only_converted():
    offered = [
        candidate("stack_exchange", number=1, response="<p>I agree, see below", response_score=-3, markup="html"),
        candidate("stack_exchange", number=2, response="<p>", markup="html"),
    ]
    plain = list(
        rules.unfiltered(
            offered, reader="stack_exchange", settings=FILTER, to_markdown=without_tags, to_marked=without_tags
        )
    )
    assert [(e.provenance.id, e.messages[1].content) for e in plain] == [("1", "I agree, see below")]
