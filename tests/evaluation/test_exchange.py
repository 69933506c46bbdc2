import json
import math

import judges
import pytest
from typer.testing import CliRunner

from lima import jsonl
from lima.cli import app
from lima.errors import LimaError
from lima.evaluation import exchange
from lima.inference import recorded
from lima.records import JudgeReply, Judgment, Response, Turn

PROMPTS = judges.prompts(3)
NUMBERED = [
    prompt.model_copy(update={"id": f"mt/{n}", "provenance": judges.PLACE.model_copy(update={"id": str(81 + n)})})
    for n, prompt in enumerate(PROMPTS)
]


def question(n):
    return PROMPTS[n].messages[0].content


def response(n, contestant="lima", sample=0, turn=0):
    text = f"{contestant} on {n}, {sample}, {turn}"
    return Response(
        prompt_id=f"p{n}", contestant=contestant, sample=sample, turn=turn, text=text, finish="stop", tokens=None
    )


def save(path, rows):
    path.write_text(json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows))
    return path


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", exchange.FORMATS)
def test_exported_answers_are_recorded_responses(tmp_path, form):
    responses = [response(n, sample=sample) for n in range(3) for sample in range(2)]
    path = tmp_path / "answers.json"
    assert exchange.write(path, exchange.answers(responses, PROMPTS, form), form) in (3, 6)
    assert recorded.read(path, PROMPTS, contestant="lima") == responses


ALPACA = [
    {"instruction": question(0), "output": "Monday", "generator": "gpt4_1106_preview", "dataset": "helpful_base"},
    {"instruction": "Which day", "input": "is it?", "output": "unknown prompt", "generator": "gpt4_1106_preview"},
    {"instruction": question(2), "output": "Friday", "generator": "gpt4_1106_preview", "dataset": "koala"},
]
WORDS = ("first", "second")
MT_BENCH = [
    {"question_id": 81 + n, "answer_id": "x", "model_id": "vicuna", "tstamp": 1.5,
     "choices": [{"index": 0, "turns": [f"{word} {n}" for word in WORDS]}]} for n in range(2)
]  # fmt: skip
ARENA = [
    {"uid": "mt/0", "ans_id": "x", "model": "o3", "tstamp": 1.5, "metadata": {"token_len": 2},
     "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": {"answer": "Monday"}}]},
    {"uid": "mt/1", "ans_id": "y", "model": "o3", "tstamp": 1.5, "metadata": {},
     "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "<think>x</think>Friday"}]},
]  # fmt: skip
ARENA_0_1 = [
    {"question_id": "81", "answer_id": "x", "model_id": "o3", "choices": [{"index": 0, "turns": [{"content": "M"}]}]},
    {"question_id": "82", "answer_id": "x", "model_id": "o3", "choices": [{"index": 0, "turns": ["$ERROR$"]}]},
]


@pytest.mark.parametrize(
    ("rows", "prompts", "texts"),
    [
        (ALPACA, PROMPTS, {("p0", 0): "Monday", ("p2", 0): "Friday"}),
        (MT_BENCH, NUMBERED, {(f"mt/{n}", turn): f"{word} {n}" for n in range(2) for turn, word in enumerate(WORDS)}),
        (ARENA, NUMBERED, {("mt/0", 0): "Monday", ("mt/1", 0): "Friday"}),
        (ARENA_0_1, NUMBERED, {("mt/0", 0): "M"}),  # a failed request is no answer
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_answers_of_public_evaluations_are_matched_with_prompts(tmp_path, suffix, rows, prompts, texts):
    """By id, by the id in the source, or by the text of the prompt."""
    path = save(tmp_path / f"answers.{suffix}", rows)
    responses = recorded.read(path, prompts, contestant="rival")
    assert {(r.prompt_id, r.turn): r.text for r in responses} == texts
    assert {(r.contestant, r.sample) for r in responses} == {("rival", 0)}


def test_prompts_with_the_same_text_have_the_same_answer(tmp_path):
    twins = [PROMPTS[0], PROMPTS[0].model_copy(update={"id": "twin"})]
    responses = recorded.read(save(tmp_path / "a.json", ALPACA), twins, contestant="rival")
    assert [(r.prompt_id, r.text, r.sample) for r in responses] == [("p0", "Monday", 0), ("twin", "Monday", 0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[{"question": "?", "answer": "!"}]',
            "unknown format: its first object has the keys answer, question; the form",
        ),
        (
            json.dumps([ALPACA[0], ALPACA[2] | {"generator": "b"}]),
            r"answers of 2 models \(b, gpt4_1106_preview\); write one",
        ),
        ('{"instruction": "x",', r"a\.json:1 is not JSON: .*; correct the file"),
        ("[1]", "item 1 is not a JSON object; the file needs one object per answer"),
        ('{"uid": "p0", "messages": [{"content": "x"}]}', "the answer to question p0 cannot be read: 'role'; correct"),
        ('{"question_id": 1, "choices": [{"turns": [5]}]}', "the answer to question 1 cannot be read: 5 is not a text"),
        (json.dumps(ALPACA[1:2]), "no response to any of the 3 prompts among the 1 in"),
        ("", "no response to any of the 3 prompts among the 0 in"),
    ],
)
def test_an_unreadable_file_of_answers_is_an_error_with_the_fix(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(LimaError, match=message):
        recorded.read(path, PROMPTS, contestant="rival")


def test_a_prompt_of_several_turns_is_exported_as_mt_bench_only():
    turns = (*PROMPTS[0].messages, Turn(role="assistant", content="Monday."), Turn(role="user", content="Sure?"))
    dialogue = [PROMPTS[0].model_copy(update={"messages": turns})]
    (row,) = exchange.answers([response(0), response(0, turn=1)], dialogue, "mt-bench")
    assert row["choices"] == [{"index": 0, "turns": ["lima on 0, 0, 0", "lima on 0, 0, 1"]}]
    assert exchange.questions(dialogue, "mt-bench")[0]["turns"] == [question(0), "Sure?"]
    for form in ("alpaca-eval", "arena-hard"):
        with pytest.raises(LimaError, match="prompt p0 has 3 turns, and the format has one; export it as mt-bench"):
            exchange.answers([response(0)], dialogue, form)
        assert exchange.questions(PROMPTS, form)


# --- judgments -------------------------------------------------------------------------------------------------------


def judgment(n, in_first_order, in_second_order, value, reason=None):
    sides = ("lima", "base")
    replies = [
        JudgeReply(first=side, value=side_value, text=f"words {n}", reason=None if side_value else "unparsed")
        for side, side_value in zip(sides, (in_first_order, in_second_order), strict=True)
    ]
    return Judgment(
        evaluation="e", task="pairwise", annotator="gpt-4", prompt_id=f"p{n}", sample=0, contestant="lima",
        rival="base", value=value, reason=reason, replies=tuple(replies),
    )  # fmt: skip


JUDGMENTS = [
    judgment(0, "first", "second", "win"),
    judgment(1, "first", "first", None, "inconsistent"),
    judgment(2, "tie", "second", "tie"),
    judgment(0, "second", "first", "lose"),
    judgment(1, None, "tie", None, "unparsed"),
]
TEXTS = {(name, f"p{n}", sample): f"{name} {n}" for name in ("lima", "base") for n in range(3) for sample in range(2)}
JUDGMENTS = [j.model_copy(update={"sample": int(number > 2)}) for number, j in enumerate(JUDGMENTS)]


@pytest.mark.parametrize("form", ["mt-bench", "arena-hard"])
def test_exported_judgments_of_two_orders_are_read_again(tmp_path, form):
    path = tmp_path / "judgments.jsonl"
    exchange.write(path, exchange.judgment_rows(JUDGMENTS, PROMPTS, {}, form), form)
    read = [found.judgment for found in exchange.read_judgments(path, PROMPTS, evaluation="e")]
    plain = [
        j.model_copy(
            update={
                "replies": tuple(
                    sorted((r.model_copy(update={"detail": ""}) for r in j.replies), key=lambda reply: reply.first)
                )
            }
        )
        for j in read
    ]
    expected = [j.model_copy(update={"replies": tuple(sorted(j.replies, key=lambda r: r.first))}) for j in JUDGMENTS]
    assert plain == expected


def test_exported_preferences_are_read_again_without_the_orders(tmp_path):
    path = tmp_path / "annotations.json"
    exchange.write(path, exchange.judgment_rows(JUDGMENTS, PROMPTS, TEXTS, "alpaca-eval"), "alpaca-eval")
    rows = json.loads(path.read_text())
    assert rows[0]["output_1"] == "base 0" and rows[0]["output_2"] == "lima 0"
    read = [found.judgment for found in exchange.read_judgments(path, PROMPTS, evaluation="e")]
    assert [(j.prompt_id, j.sample, j.contestant, j.rival, j.annotator, j.value) for j in read] == [
        (j.prompt_id, j.sample, "lima", "base", "gpt-4", j.value) for j in JUDGMENTS
    ]


ANNOTATION = {
    "instruction": question(0), "output_1": "x", "generator_1": "gpt-4", "output_2": "y", "generator_2": "alpaca",
    "dataset": "koala", "annotator": "weighted_alpaca_eval_gpt4_turbo",
}  # fmt: skip


@pytest.mark.parametrize(
    ("preference", "value"),
    [
        (1, "lose"),
        (2.0, "win"),
        (1.5, "tie"),
        (0, "tie"),
        (1.0001, "lose"),
        (1.87, "win"),
        (None, None),
        (math.nan, None),
    ],
)
def test_a_preference_of_alpaca_eval_is_that_of_the_second_output(tmp_path, preference, value):
    path = save(tmp_path / "annotations.json", [ANNOTATION | {"preference": preference}])
    ((read, _),) = exchange.read_judgments(path, PROMPTS, evaluation="e")
    assert (read.contestant, read.rival, read.value) == ("alpaca", "gpt-4", value)
    assert read.reason == (None if value else "unparsed")


def mt_bench(first, second, **others):
    return {
        "question_id": 82, "model_1": "llama", "model_2": "vicuna", "g1_winner": first, "g2_winner": second,
        "judge": ["gpt-4", "pair-v2"], "g1_judgment": "[[A]]", "g2_judgment": "[[B]]", "turn": 2, "tstamp": 1.5,
        **others,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "value", "reason", "replies"),
    [
        ("model_1", "model_1", "win", None, ["first", "second"]),
        ("model_2", "model_2", "lose", None, ["second", "first"]),
        ("model_1", "model_2", None, "inconsistent", ["first", "first"]),
        ("tie", "model_2", "tie", None, ["tie", "first"]),
        ("error", "model_2", None, "unparsed", [None, "first"]),
    ],
)
def test_winners_of_mt_bench_name_models_and_not_positions(tmp_path, first, second, value, reason, replies):
    path = save(tmp_path / "pair.jsonl", [mt_bench(first, second)])
    ((read, _),) = exchange.read_judgments(path, NUMBERED, evaluation="e", annotator="judge")
    assert (read.prompt_id, read.turn, read.annotator) == ("mt/1", 1, "judge")
    assert (read.contestant, read.rival, read.value, read.reason) == ("llama", "vicuna", value, reason)
    assert [(reply.first, reply.value) for reply in read.replies] == list(
        zip(["llama", "vicuna"], replies, strict=True)
    )


@pytest.mark.parametrize(
    ("scores", "value"),
    [
        (("B>>A", "A>B"), "win"),  # the baseline is A in the first game
        (("A>B", "B>>A"), "lose"),
        (("A=B", "A>B"), "tie"),
        (("A>B", "A>B"), None),
        ((None, "A>B"), None),
    ],
)
def test_games_of_arena_hard_show_the_baseline_first(tmp_path, scores, value):
    games = [{"user_prompt": "?", "judgment": "words", "score": score} for score in scores]
    row = {"question_id": "81", "model": "lima", "judge": "gpt-4-1106", "games": games}
    path = save(tmp_path / "lima.jsonl", [row])
    ((read, _),) = exchange.read_judgments(path, NUMBERED, evaluation="e", rival="gpt-4-0314")
    assert (read.contestant, read.rival, read.value) == ("lima", "gpt-4-0314", value)
    assert [reply.first for reply in read.replies] == ["gpt-4-0314", "lima"]
    with pytest.raises(LimaError, match="the file does not name the baseline model; name it with --rival"):
        exchange.read_judgments(path, NUMBERED, evaluation="e")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"question_id": 81, "model": "x", "judge": ["gpt-4", "single-v1"], "score": 9, "turn": 1},
            "from 1 to 10, which no",
        ),
        ({"a": 1}, "unknown format: its first object has the keys a; the formats are AlpacaEval annotations"),
        (mt_bench("A", "B"), r"judgment 1 cannot be read: .*the winner 'A' is not one of error, model_1"),
        (ANNOTATION | {"preference": 3}, "the preference 3 is not between 1 and 2"),
        (mt_bench("tie", "tie", question_id=1), "none of the 1 judgments in .* is about one of the 3 prompts"),
    ],
)
def test_unreadable_judgments_are_an_error_with_the_fix(tmp_path, row, message):
    with pytest.raises(LimaError, match=message):
        exchange.read_judgments(save(tmp_path / "j.jsonl", [row]), NUMBERED, evaluation="e")


def test_judgments_of_other_tasks_and_without_texts_cannot_be_exported():
    rating = JUDGMENTS[0].model_copy(update={"task": "rating", "rival": None, "value": "5"})
    with pytest.raises(LimaError, match="judgments of the task rating cannot be exported"):
        exchange.judgment_rows([rating], PROMPTS, {}, "mt-bench")
    with pytest.raises(LimaError, match="judgment of an unknown prompt: p0; name its file with --prompts"):
        exchange.judgment_rows(JUDGMENTS, [], {}, "mt-bench")
    with pytest.raises(LimaError, match="no response of base to prompt p0; name its file with --responses"):
        exchange.judgment_rows(JUDGMENTS, PROMPTS, {}, "alpaca-eval")


def test_the_commands_export_and_import_files(tmp_path):
    prompts, answers = tmp_path / "prompts.jsonl", tmp_path / "responses.jsonl"
    jsonl.write(prompts, PROMPTS)
    jsonl.write(answers, [response(n) for n in range(3)])
    run = CliRunner().invoke
    options = ["--prompts", str(prompts), "--out", str(tmp_path / "out.json")]
    done = run(app, ["evaluation", "export", str(answers), "--format", "alpaca-eval", *options])
    assert (done.exit_code, done.output.split(" in ")[0]) == (0, "3 answers")
    back = ["evaluation", "import", str(tmp_path / "out.json"), "--prompts", str(prompts), "--name", "lima"]
    done = run(app, [*back, "--out", str(tmp_path / "back.jsonl")])
    assert done.output.startswith("3 responses to 3 of 3 prompts; written to")
    assert list(jsonl.read(tmp_path / "back.jsonl", Response)) == [response(n) for n in range(3)]

    judged, texts = tmp_path / "judgments.jsonl", tmp_path / "texts.jsonl"
    jsonl.write(judged, JUDGMENTS[:3])
    jsonl.write(texts, [response(n, name) for n in range(3) for name in ("lima", "base")])
    export = ["evaluation", "export", str(judged), "--format", "alpaca-eval", "--responses", str(texts), *options]
    assert run(app, export).output.startswith("3 judgments in")
    done = run(app, [*back[:-2], "--evaluation", "e", "--out", str(tmp_path / "judged.jsonl")])
    assert done.output.startswith("3 of 3 judgments are about prompts of the set; written to")
    assert [j.value for j in jsonl.read(tmp_path / "judged.jsonl", Judgment)] == ["win", None, "tie"]
    with pytest.raises(LimaError, match="has neither responses nor judgments; name a file such as"):
        exchange.export_file(prompts, tmp_path / "x", "mt-bench", prompts=PROMPTS)
