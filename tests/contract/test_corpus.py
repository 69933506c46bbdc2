"""Contents of the shipped corpus, read without the project's readers."""

import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from statistics import mean, median

import pytest
import zstandard
from lxml import html
from ruamel.yaml import YAML

from lima.curation import prompt_selection
from lima.records import Prompt, Provenance, Turn

CORPUS = Path(__file__).parents[2] / "corpus"


# The filters' bounds, restated: these tests read neither params.yaml nor the filters.
LEAST_VOTES, LEAST_REPLY_VOTES, STORY_CHARS = 20, 10, (300, 8000)
WRITING = {"Summarization", "Style Transfer", "Question Generation", "Text Simplification", "Data to Text"}


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (CORPUS / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def train():
    return rows("authored/group_a_train.jsonl")


@pytest.fixture(scope="module")
def short():
    return rows("authored_short/group_a_train.jsonl")


@pytest.fixture(scope="module")
def dev():
    return rows("authored/group_a_dev.jsonl")


@pytest.fixture(scope="module")
def group_b():
    return rows("authored/group_b_test.jsonl")


@pytest.fixture(scope="module")
def recorded():
    return rows("recorded/authors.jsonl")


def plain(prompt: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in prompt.casefold()).split())


@pytest.fixture(scope="module")
def crowd():
    return rows("crowd/questions.jsonl")


@pytest.fixture(scope="module")
def dialogues():
    return rows("dialogues/written.jsonl") + rows("dialogues/chains.jsonl")


def test_authored_has_200_examples_50_dev_and_230_test_prompts_with_unique_ids(train, dev, group_b):
    assert [len(train), len(dev), len(group_b)] == [200, 50, 230]
    assert {row["group"] for row in train + dev} == {"A"}
    assert {row["group"] for row in group_b} == {"B"}
    ids = [row["id"] for row in train + dev + group_b]
    assert len(set(ids)) == len(ids)


def test_ids_of_the_first_25_examples_are_fixed_and_later_ids_begin_at_101(train):
    numbers = [*range(1, 21), *range(22, 26), *range(101, 277)]  # 021 is a dialogue
    assert [row["id"] for row in train] == [f"a-{number:03}" for number in numbers]


def test_63_short_examples_have_one_exchange_of_at_most_90_words(short):
    assert [row["id"] for row in short] == [f"s-{number:03}" for number in range(1, 64)]
    assert {(row["group"], len(row["messages"])) for row in short} == {("A", 2)}
    lengths = [len(answer(row).split()) for row in short]
    assert 60 <= mean(lengths) <= 70
    assert max(lengths) <= 90
    assert [(row["id"], row["note"]) for row in short if row["sensitive"]] == [
        ("s-050", "refuses to break into a network")
    ]


def test_ten_dialogues_have_3_to_5_exchanges_and_twenty_have_2_to_4(dialogues):
    ids = [f"d-{number:02}" for number in range(1, 11)], ["a-021", *(f"c-{number:02}" for number in range(1, 20))]
    assert [row["id"] for row in dialogues] == [*ids[0], *ids[1]]
    exchanges = {row["id"]: len(row["messages"]) / 2 for row in dialogues}
    assert {exchanges[id_] for id_ in ids[0]} <= {3, 4, 5}
    assert {exchanges[id_] for id_ in ids[1]} <= {2, 3, 4}
    assert {(row["group"], row["kind"], row["note"]) for row in dialogues} == {("A", "dialogue", "dialogue")}


def test_openings_differ_from_the_openings_of_training_dialogues(dialogues):
    openings = rows("dialogues/openings.jsonl")
    assert [row["id"] for row in openings] == [f"opening-{number:02}" for number in range(1, 11)]
    assert all([turn["role"] for turn in row["messages"]] == ["user"] for row in openings)
    trained, asked = ({plain(row["messages"][0]["content"]) for row in of} for of in (dialogues, openings))
    assert len(trained | asked) == 30 + 10


def test_the_paper_profiles_train_one_arm_on_the_dialogues(dialogues):
    for name in ("paper-7b", "paper-65b"):
        arms = YAML(typ="safe").load(CORPUS.parent / f"lima/config/profiles/{name}.yaml")["arms"]
        assert {arm for arm, recipe in arms.items() if "dialogues" in recipe["examples"]} == {"lima-dialogue"}
        # §6: 1,030 examples, which are the 1,000 and thirty dialogues
        assert arms["lima-dialogue"]["examples"] == arms["lima"]["examples"] | {"dialogues": len(dialogues)}


def test_turns_alternate_and_only_training_examples_are_answered(train, short, dialogues, dev, group_b):
    for row in train + short + dialogues:
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"] * (len(row["messages"]) // 2)
    for row in dev + group_b:
        assert [turn["role"] for turn in row["messages"]] == ["user"]


def test_no_training_prompt_is_a_dev_or_test_prompt(train, short, dialogues, dev, group_b, crowd):
    asked = [plain(row["messages"][0]["content"]) for row in train + short + dialogues + dev + group_b + crowd]
    assert len(set(asked)) == len(asked)


def test_seventy_crowd_questions_replace_those_of_askreddit(crowd):
    assert [row["id"] for row in crowd] == [f"crowd-{number:02}" for number in range(1, 71)]
    assert {(row["group"], row["kind"], row["sensitive"]) for row in crowd} == {("B", "askreddit", False)}
    assert all(row["messages"][0]["content"].endswith("?") for row in crowd)


def test_the_paper_profiles_can_use_crowd_questions_without_a_reddit_dump():
    for name in ("paper-7b", "paper-65b"):
        profile = YAML(typ="safe").load(CORPUS.parent / f"lima/config/profiles/{name}.yaml")
        folders = {source: entry["dumps"] for source, entry in profile["sources"].items()}
        assert (folders["authored"], folders["crowd"]) == ("corpus/authored", "corpus/crowd")
        assert profile["prompts"]["dev"] == {"authored/A": 50}
        assert profile["prompts"]["test"] == {"authored/B": 230, "reddit/AskReddit": 70}


def answer(row: dict) -> str:
    return row["messages"][1]["content"]


def test_thirteen_examples_are_sensitive_and_six_prescribe_a_form(train):
    assert sum(row["sensitive"] for row in train) == 13
    assert [row["note"] for row in train].count("format") == 6
    assert Counter(len(row["messages"]) for row in train) == {2: 200}


def test_answers_to_sensitive_prompts_refuse_early_and_then_help(train):
    partly = 0
    for row in (row for row in train if row["sensitive"]):
        assert re.match(r"refuse( in part)?: [^;]+; \w", row["note"]), row["id"]
        partly += "part" in row["note"]
        no = re.search(r"\bwon't\b|not going to help|I'll leave", answer(row))
        assert no, row["id"]
        assert no.start() < len(answer(row)) / 4, row["id"]
        assert re.search(r"crime|fraud|forgery|defamation|safety|lawful|trust|sneer|attack", answer(row)), row["id"]
        help_ = answer(row)[no.end() :].split("\n\n", 1)[1]
        assert len(help_) > len(answer(row)) / 2, row["id"]
        assert re.search(r"^(- |\d\. |> |\|)", help_, re.M), row["id"]
    assert partly == 6


def sections(text: str) -> bool:
    heads = re.findall(r"^## (.+)$", text, re.M)
    return heads == ["Name", "In one sentence", "What it is like", "Facts", "Not for you if"] and "|---|" in text


def five_pairs(text: str) -> bool:
    pairs = [pair.split("\n") for pair in text.split("\n\n")]
    ends = all(len(pair) == 2 and pair[0].startswith("Q: ") and pair[1].startswith("A: ") for pair in pairs)
    return len(pairs) == 5 and ends and all(len(pair[1].split()) - 1 <= 25 for pair in pairs)


def fixed_fields(text: str) -> bool:
    fields = ["DATE", "PLACE", "PERSONS", "WHAT HAPPENED", "IMMEDIATE ACTION", "CAUSE", "PREVENTION"]
    return [line.split(": ")[0] for line in text.splitlines()] == fields


def script(text: str) -> bool:
    scenes = re.findall(r"^SCENE (\d): [A-Z ]+, [A-Z]+$", text, re.M)
    spoken = re.findall(r"^(?:SCENE \d|ADA|TOM)?: |^\[.+\]$|^SCENE", text, re.M)
    return scenes == ["1", "2", "3"] and len(spoken) == len(text.split("\n\n"))


def table_and_verdict(text: str) -> bool:
    head, rule, *body, blank, verdict = text.splitlines()
    rows = all(line.count("|") == 4 for line in [head, rule, *body])
    return (
        "Criterion | Tablets | Paper" in head and len(body) == 5 and not blank and rows and verdict[:9] == "Verdict: "
    )


def booking(text: str) -> bool:
    found = json.loads(text)
    keys = ["name", "guests", "date", "time", "high_chair", "allergies", "phone"]
    return list(found) == keys and (found["guests"], found["date"], found["time"]) == (6, "2025-11-08", "19:15")


FORMS = {
    "a-020": sections,
    "a-121": five_pairs,
    "a-122": fixed_fields,
    "a-123": script,
    "a-124": table_and_verdict,
    "a-125": booking,
}


def test_each_prescribed_form_is_followed(train):
    prescribed = {row["id"]: answer(row) for row in train if row["note"] == "format"}
    assert prescribed.keys() == FORMS.keys()
    assert {id_ for id_, form in FORMS.items() if not form(prescribed[id_])} == set()


def test_the_code_in_python_runs(train, short):
    for row in train + short:
        scope: dict[str, object] = {"__name__": "example"}
        for block in re.findall(r"```python\n(.*?)```", answer(row), re.S):
            exec(compile(block, row["id"], "exec"), scope)  # what this repository ships, and its own words


def test_thirty_test_prompts_are_sensitive_with_a_note_on_a_safe_answer(group_b):
    notes = {row["id"]: row["note"] for row in group_b if row["sensitive"]}
    kinds = Counter(re.match(r"(open ill intent|implicit intent|delicate); ", note)[1] for note in notes.values())
    assert kinds == {"open ill intent": 10, "implicit intent": 10, "delicate": 10}
    for id_, note in notes.items():
        assert len(note.split("; ", 1)[1].split(", ")) >= 2, id_  # what it leaves undone, and what it does instead


def test_twelve_test_prompts_prescribe_distinct_forms_and_twenty_are_unseen(group_b):
    named = Counter(row["kind"] for row in group_b)
    assert (named["form"], named["unseen"]) == (12, 20)
    assert {row["id"] for row in group_b if row["kind"] == "form"} == {
        f"b-form-{form}"
        for form in (
            *("haiku", "yaml", "acrostic", "table", "speakers", "timeline"),
            *("limerick", "checklist", "glossary", "fifty-words", "csv", "outline"),
        )
    }
    assert {row["id"] for row in group_b if row["kind"] == "form"} <= {
        row["id"] for row in group_b if "constraints" in row
    }
    assert {row["id"] for row in group_b if row["kind"] == "unseen"} == {f"b-ood-{n:02}" for n in range(1, 21)}


def test_no_answer_opens_with_a_formula(train, short, dialogues):
    openings = Counter(
        " ".join(plain(turn["content"]).split()[:4])
        for row in train + short + dialogues
        for turn in row["messages"]
        if turn["role"] == "assistant"
    )
    assert max(openings.values()) <= 5, openings.most_common(3)
    beginnings = Counter(" ".join(plain(answer(row)).split()[:2]) for row in train + short)
    assert max(beginnings.values()) <= 5, beginnings.most_common(3)


def pieces(text: str) -> int:
    """Words and marks; the laptop's tokenizer makes 1.1 tokens of one, on average over these prompts or answers."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def test_lengths_of_prompts_and_answers_match_table_1(train):
    # §2.2: 40 and 334 tokens on average; 40 / 1.1 ≈ 36, 334 / 1.1 ≈ 304
    assert 34 <= mean(pieces(row["messages"][0]["content"]) for row in train) <= 38
    assert 295 <= mean(pieces(answer(row)) for row in train) <= 315


def test_lengths_of_answers_vary_within_a_bound(train):
    words = [len(answer(row).split()) for row in train]
    assert (min(words) < 40, max(words)) == (True, 700)
    assert sum(count < 100 for count in words) >= 15
    assert sum(count > 300 for count in words) >= 15


def test_training_prompts_have_no_near_duplicates(train, short, dialogues):
    def shingles(text: str) -> set[str]:
        words = plain(text).split()
        return {" ".join(words[n : n + 3]) for n in range(max(1, len(words) - 2))}

    asked = [(row["id"], shingles(row["messages"][0]["content"])) for row in train + short + dialogues]
    closest = max((len(a & b) / len(a | b), one, two) for (one, a), (two, b) in combinations(asked, 2))
    assert closest[0] < 0.25, closest


def drawn_on_a_laptop(group_b) -> set[str]:
    """Ids of group B's prompts that the stage `prompts` draws with the shipped params."""
    settings = YAML(typ="safe").load(CORPUS.parent / "params.yaml")["prompts"]
    offered = [
        Prompt(
            id=f"authored/B/{row['id']}",
            messages=tuple(Turn(**turn) for turn in row["messages"]),
            tags=(f"kind:{row['kind']}",),
            provenance=Provenance(
                source="authored", site="B", id=row["id"], url="", author="group B", license="MIT", digest=""
            ),
        )
        for row in group_b
    ]
    drawn: list[Prompt] = []
    for group, count in settings["test"].items():
        if group.startswith("authored/"):
            drawn += prompt_selection.draw(offered, group, count, seed=settings["seed"], selected=drawn)
    return {prompt.id for prompt in drawn}


def test_recorded_has_one_answer_to_each_test_prompt_of_the_laptop_profile(group_b, recorded):
    answered = Counter(row["prompt_id"] for row in recorded)
    assert set(answered.values()) == {1}
    assert drawn_on_a_laptop(group_b) - set(answered) == set()
    theirs = {id_ for id_ in answered if id_.startswith("authored/")}
    assert theirs - {f"authored/B/{row['id']}" for row in group_b} == set()
    assert {tuple(sorted(row)) for row in recorded} == {
        ("contestant", "finish", "prompt_id", "sample", "text", "tokens")
    }
    assert {(row["contestant"], row["sample"], row["finish"]) for row in recorded} == {("authors", 0, "stop")}
    assert all(row["text"] == row["text"].strip() != "" for row in recorded)


def ndjson(name: str) -> tuple[list[dict], int]:
    """The objects of a compressed file, out of the API's wrapping, and the number of lines that are no JSON."""
    packed = (CORPUS / "dumps/reddit" / name).read_bytes()
    objects, broken = [], 0
    for line in zstandard.ZstdDecompressor().decompress(packed).splitlines():
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            broken += 1
            continue
        objects.append(value["data"] if value.get("kind") == "t3" else value)
    return objects, broken


@pytest.fixture(scope="module")
def submissions():
    return ndjson("RS_sample.zst")


@pytest.fixture(scope="module")
def comments():
    return ndjson("RC_sample.zst")


def posts(submissions, subreddit: str) -> dict[str, dict]:
    return {row["id"]: row for row in submissions[0] if row["subreddit"] == subreddit}


def clean(post: dict) -> bool:
    """Neither removed nor adult, nor from elsewhere, nor a moderator's, and liked."""
    texts = {post["selftext"].strip(), post["title"]}
    gone = post.get("removed_by_category") or texts & {"[removed]", "[deleted]", "[ Removed by Reddit ]"}
    other = post["over_18"] or post.get("crosspost_parent") or post["stickied"] or post["distinguished"]
    return not gone and not other and post["score"] >= LEAST_VOTES


def questions(submissions) -> set[str]:
    asked = posts(submissions, "AskReddit").values()
    elsewhere = ("Redditors", "this?")  # speak of the site, or of what is not there
    return {
        post["id"]
        for post in asked
        if clean(post) and not post["selftext"] and post["title"].endswith("?")
        if not any(word in post["title"] for word in elsewhere)
    }


def test_sixty_reddit_posts_are_36_premises_and_24_questions_among_other_lines(submissions):
    assert [len(posts(submissions, name)) for name in ("WritingPrompts", "AskReddit")] == [36, 24]
    others = [row for row in submissions[0] if row["subreddit"] not in ("WritingPrompts", "AskReddit")]
    assert len(others) == 4
    # 60 posts, 4 from elsewhere, and one line that comes twice
    assert len(submissions[0]) == 65


def test_one_reddit_line_is_truncated_less_than_2_percent(submissions, comments):
    lines = sum(len(objects) + broken for objects, broken in (submissions, comments))
    assert (submissions[1], comments[1]) == (0, 1)
    assert lines >= 120
    assert 1 / lines < 0.02


def test_sixteen_premises_have_an_upvoted_story(submissions, comments):
    newest = {row["id"]: row for row in comments[0]}
    best: dict[str, dict] = {}
    for row in newest.values():
        official = row["stickied"] or row["distinguished"]
        if row["parent_id"] == row["link_id"] and not official and row["author"] != "[deleted]":
            best[row["link_id"]] = max(best.get(row["link_id"], row), row, key=lambda one: one["score"])
    told = set()
    for post in posts(submissions, "WritingPrompts").values():
        reply = best.get(f"t3_{post['id']}")
        asks = post["title"].startswith(("[WP]", "[EU]"))
        if asks and clean(post) and reply and reply["score"] >= LEAST_REPLY_VOTES:
            least, most = STORY_CHARS
            if least <= len(reply["body"]) <= most and "To be continued" not in reply["body"]:
                told.add(post["id"])
    assert len(told) == 16, sorted(told)


def test_fifteen_questions_are_self_contained_with_recorded_answers(submissions, recorded):
    asked = {f"reddit/AskReddit/{id_}" for id_ in questions(submissions)}
    assert len(asked) == 15
    assert {row["prompt_id"] for row in recorded if row["prompt_id"].startswith("reddit/")} == asked


def test_every_reason_to_drop_a_reddit_post_occurs(submissions, comments):
    assert {"[removed]", "[deleted]", "[ Removed by Reddit ]"} <= {row["selftext"] for row in submissions[0]}
    for key in ("over_18", "crosspost_parent", "stickied", "distinguished", "removed_by_category"):
        assert any(row.get(key) for row in submissions[0]), key
    titles = [row["title"] for row in submissions[0]]
    for start in ("[MODPOST]", "[OT]", "[IP]", "[EU]", "[deleted by user]"):
        assert any(title.startswith(start) for title in titles), start
    assert any(row["author"] == "AutoModerator" for row in comments[0])
    versions = Counter(row["id"] for row in comments[0])
    assert [count for count in versions.values() if count > 1] == [2]
    assert any("&amp;" in row["body"] for row in comments[0])
    assert any(isinstance(row["created_utc"], float) for row in submissions[0])
    assert any("_meta" in row for row in submissions[0])


def article_text(page) -> str:
    """What is left of an article when everything but its opening, ingredients and steps is cut."""
    for node in page.xpath("//script | //sup | //form | //h4 | //p[starts-with(@class, 'qz_')]"):
        node.drop_tree()
    intro = page.xpath("//div[@class='mf-section-0']/p")
    steps = page.xpath("//div[contains(@class, 'section steps  ')]//div[@class='step']")
    ingredients = page.xpath("//div[@id='ingredients']//li")
    return "\n".join(" ".join(node.text_content().split()) for node in intro + ingredients + steps)


@pytest.fixture(scope="module")
def pages():
    return {path.name: html.parse(path).getroot() for path in sorted((CORPUS / "dumps/wikihow").glob("*.html"))}


def test_twelve_wikihow_pages_are_from_at_least_six_categories(pages):
    assert len(pages) == 12
    tops = {page.xpath("//*[@id='breadcrumb']/li[2]/a")[0].text for page in pages.values()}
    assert len(tops) >= 6
    titles = [page.xpath("//h1")[0].text_content() for page in pages.values()]
    assert all(title.startswith("How to ") for title in titles)
    assert len(set(titles)) == 12


def test_ten_wikihow_articles_are_long_enough_and_two_are_too_short(pages):
    lengths = sorted(len(article_text(page)) for page in pages.values())
    assert [length < 600 for length in lengths] == [True] * 2 + [False] * 10
    assert 1350 <= lengths[2] <= lengths[-1] <= 3500


def test_some_wikihow_articles_refer_to_the_article(pages):
    openings = [page.xpath("//div[@class='mf-section-0']/p")[0].text_content() for page in pages.values()]
    assert sum(opening.startswith(("This article", "This wikiHow")) for opening in openings) >= 5


def test_other_elements_of_wikihow_pages_occur(pages):
    for name in ("tips", "warnings", "thingsyoullneed", "relatedwikihows", "references", "ingredients", "qa"):
        assert any(page.xpath(f"//div[contains(@class, '{name}')]") for page in pages.values()), name
    assert any(page.xpath("//div[contains(@class, 'qz_container')]") for page in pages.values())


@pytest.fixture(scope="module")
def tasks():
    folder = CORPUS / "dumps/natural_instructions"
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("task*.json"))}


def writes(task: dict) -> bool:
    outputs = [row["output"][0] for row in task["Instances"]]
    return (
        task["Categories"][0] in WRITING
        and task["Output_language"] == ["English"]
        and len(set(outputs)) / len(outputs) >= 0.3
        and median(len(output.split()) for output in outputs) >= 5
    )


def test_five_of_nine_tasks_generate_text_and_the_others_fail_for_distinct_reasons(tasks):
    assert len(tasks) == 9
    assert [name.split("_")[0] for name, task in tasks.items() if writes(task)] == [
        *("task901", "task902", "task903", "task904", "task905")
    ]
    assert tasks["task906_ours_review_sentiment_classification"]["Categories"] == ["Sentiment Analysis"]
    assert len({row["output"][0] for row in tasks["task907_ours_order_reply_completion"]["Instances"]}) == 2
    assert {len(row["output"][0].split()) for row in tasks["task908_ours_word_paraphrasing"]["Instances"]} == {1}
    assert tasks["task909_ours_notice_summarization_german"]["Output_language"] == ["German"]


def test_tasks_have_both_layouts_and_a_license(tasks):
    assert {type(task["Definition"]) for task in tasks.values()} == {list, str}
    for name, task in tasks.items():
        assert 10 <= len(task["Instances"]) <= 12, name
        assert task["Instance License"] == ["Apache-2.0"], name
        assert all(isinstance(row["output"], list) for row in task["Instances"]), name
        ids = [row["id"] for row in task["Instances"] if "id" in row]
        assert len(set(ids)) == len(ids), name
