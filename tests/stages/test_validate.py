import json
import re
from contextlib import chdir
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lima import jsonl
from lima.config.entries import RandomModel
from lima.records import Example, Prompt, Provenance, Turn, ValidationResult
from lima.stages import validate
from lima.training import base_model

pytestmark = [
    # raised inside Great Expectations and its dependencies, on import and at every run
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


QUESTIONS = {
    10: "Who first brewed with hops?",
    11: "What is question 11?",
    12: "Plan an evening about stout for nine guests.",
}


def provenance(number: int, site: str = "beer") -> Provenance:
    return Provenance(
        source="stack_exchange_other",
        site=site,
        id=str(number),
        url=f"https://beer.example/a/{number}",
        author="ann",
        license="CC BY-SA 4.0",
        digest=f"{number:064x}",
    )


def example(number: int, *, prompt: str = "", response: str = "Yeast eats sugar.", **changes: object) -> Example:
    turns = (
        Turn(role="user", content=prompt or f"Why does beer {number} foam?"),
        Turn(role="assistant", content=response),
    )
    values = {"id": f"x/{number}", "messages": turns, "tags": (), "provenance": provenance(number)} | changes
    return Example.model_validate(values)


def with_system(row: Example, *, at: int) -> Example:
    turns = list(row.messages)
    turns.insert(at, Turn(role="system", content="Be kind."))
    return row.model_copy(update={"messages": tuple(turns)})


def asked(number: int, site: str) -> Prompt:
    turns = (Turn(role="user", content=QUESTIONS[number]),)
    return Prompt(id=f"authored/{site}/{number}", messages=turns, tags=(), provenance=provenance(number, site))


def prepare() -> None:
    """Write four training examples, one held out, one dev and two test prompts: good enough for the gate."""
    shipped = Path(__file__).parents[2] / "lima/config/profiles/laptop.yaml"
    yaml = YAML()
    values = yaml.load(shipped)
    values["arms"]["lima"]["examples"] = {"stack_exchange_other": 4}
    values["mix"]["held_out"] = {"stack_exchange_other": 1}
    values["prompts"] |= {"dev": {"stack_exchange_other/A": 1}, "test": {"stack_exchange_other/B": 2}, "dialogues": {}}
    yaml.dump(values, Path("params.yaml"))
    jsonl.write(Path("data/mix/lima/train.jsonl"), [example(n) for n in range(4)])
    jsonl.write(Path("data/mix/lima/held_out.jsonl"), [example(9)])
    jsonl.write(Path("data/prompts/dev.jsonl"), [asked(10, "A")])
    jsonl.write(Path("data/prompts/test.jsonl"), [asked(11, "B"), asked(12, "B")])
    jsonl.write(Path("data/prompts/dialogues.jsonl"), [])
    base = Path("data/base") / values["train"]["model"]
    base.mkdir(parents=True)
    added = [{"content": text, "special": text != "  "} for text in ("<s>", "</s>", "<|im_end|>", "  ")]
    (base / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    (base / "tokenizer_config.json").write_text(json.dumps({"chat_control_tokens": ["<think>"]}))
    (base / "config.json").write_text(json.dumps({"max_position_embeddings": 2048}))


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare()
    return tmp_path


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    """The folder of a run on good data."""
    folder = tmp_path_factory.mktemp("validated")
    with chdir(folder):
        prepare()
        validate.main("lima")
    return folder


def gate() -> ValidationResult:
    return next(jsonl.read(Path("data/validate/lima/gate.json"), ValidationResult))


def test_data_docs_show_markup_and_control_characters_of_texts_as_text(checkout):
    hostile = "<script>alert(1)</script> \x1b[2J \u202etxt.exe \x9b1m"
    rows = [example(0, prompt=hostile), example(1, response=hostile), example(2, id=f"x/{hostile}"), example(2)]
    jsonl.write(Path("data/mix/lima/train.jsonl"), rows)
    with pytest.raises(validate.GateError):
        validate.main("lima")
    pages = "".join(page.read_text() for page in Path("data/validate/lima/docs").rglob("*.html"))
    assert "&lt;script&gt;alert(1)" in pages and '<td class="failed">failed</td>' in pages
    assert any(hostile in id_ for failure in gate().failures for id_ in failure.ids)
    assert "<script>alert(1)" not in pages
    assert not re.search("[\x1b\u202e\x9b]", pages)


def test_good_data_opens_the_gate_and_leaves_data_docs(validated, monkeypatch):
    monkeypatch.chdir(validated)
    assert gate().passed and gate().failures == ()
    page = Path("data/validate/lima/docs/index.html").read_text()
    assert '<h2 id="train">' in page and '<h2 id="held_out">' in page and "No expectation failed." in page
    assert page.count('<td class="met">met</td>') == gate().expectations


def test_data_docs_load_nothing_from_the_network(validated, monkeypatch):
    monkeypatch.chdir(validated)
    for page in Path("data/validate/lima/docs").rglob("*.html"):
        text = page.read_text()
        assert re.findall(r"<(?:script|link)\b|(?:src=.|url\(|@import.*)(?:https?:)?//", text) == []
        assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text


def test_one_system_turn_that_many_examples_share_opens_the_gate(checkout):
    jsonl.write(Path("data/mix/lima/train.jsonl"), [with_system(example(n), at=0) for n in range(4)])
    validate.main("lima")
    assert gate().passed


def test_every_page_of_the_docs_is_linked(validated, monkeypatch):
    monkeypatch.chdir(validated)
    docs = Path("data/validate/lima/docs")
    page = (docs / "index.html").read_text()
    linked = {(docs / link).resolve() for link in re.findall(r'<a href="([^":]+\.html)"', page)}
    pages = {page.resolve() for page in docs.rglob("*.html")} - {(docs / "index.html").resolve()}
    assert len(pages) == 8  # a page of expectations and one of results for each of four splits
    assert linked == pages


def test_the_gate_names_the_digest_of_the_very_file_it_saw(validated, monkeypatch):
    import hashlib

    monkeypatch.chdir(validated)
    assert gate().train_digest == hashlib.sha256(Path("data/mix/lima/train.jsonl").read_bytes()).hexdigest()


BAD = {
    "a prompt comes twice, but for its case": (example(3, prompt="WHY does beer 0 foam"), "prompts are unique"),
    "a prompt comes twice, but for a full-width letter": (
        example(3, prompt="Ｗhy does beer 0 foam?"),
        "prompts are unique",
    ),
    "the end-of-turn token in a text": (example(3, response="It ends.<|eot|> More"), "end-of-turn token"),
    "a control character": (example(3, response="bell \x07 rings"), "control"),
    "no license": (
        example(3, provenance=provenance(3).model_copy(update={"license": " "})),
        "every row has a license",
    ),
    "no author": (example(3, provenance=provenance(3).model_copy(update={"author": ""})), "has an author"),
    "a digest that is none": (example(3, provenance=provenance(3).model_copy(update={"digest": "0f"})), "SHA-256"),
    "an empty response": (example(3, response="  "), "responses have"),
    "a prompt that is too long": (example(3, prompt="why " * 5000), "prompts have"),
    "a prompt that is also in test": (example(3, prompt="what is question 11"), "no prompt is also in"),
    "a prompt that is nearly one in dev": (
        example(3, prompt="And who first brewed with hops, please?"),
        "near-duplicate of a dev or test",
    ),
    "a system turn before a prompt that is also in test": (
        with_system(example(3, prompt="what is question 11"), at=0),
        "no prompt is also in",
    ),
    "a system turn before a prompt that is nearly one in dev": (
        with_system(example(3, prompt="And who first brewed with hops, please?"), at=0),
        "near-duplicate of a dev or test",
    ),
    "a system turn within a dialogue": (with_system(example(3), at=1), "turns alternate"),
    "the user speaks last": (
        example(
            3,
            messages=(
                Turn(role="user", content="a?"),
                Turn(role="assistant", content="ok"),
                Turn(role="user", content="b"),
            ),
        ),
        "turns alternate",
    ),
}


def turns(roles: str, number: int) -> tuple[Turn, ...]:
    speakers = {"s": "system", "u": "user", "a": "assistant"}
    return tuple(Turn(role=speakers[role], content=f"Turn {place} of {number}.") for place, role in enumerate(roles))


def failed(split: str, says: str) -> tuple[str, ...]:
    """The ids that the gate names for one expectation of a split; () where it is met."""
    return next((f.ids for f in gate().failures if f.split == split and f.says == says), ())


def shut() -> None:
    with pytest.raises(validate.GateError, match="training cannot start"):
        validate.main("lima")


def test_turns_have_to_alternate_from_the_first_to_the_last(checkout):
    wrong = ["uuaa", "uaaa", "uuua", "uauuaa", "uaauua", "auua", "uaauaua", "u", "usa", "ssua"]
    rows = [example(n, messages=turns(roles, n)) for n, roles in enumerate(["ua", "uaua", "suauaua", *wrong])]
    jsonl.write(Path("data/mix/lima/train.jsonl"), rows)
    wrong = ["uuu", "uaau", "uuau", "ua", "uauuu"]
    prompts = [
        asked(11, "B").model_copy(update={"id": f"authored/B/{n}", "messages": turns(roles, n)})
        for n, roles in enumerate(["u", "uau", "uauau", *wrong])
    ]
    jsonl.write(Path("data/prompts/test.jsonl"), prompts)
    shut()
    assert failed(
        "train", "turns alternate, begin with the user (after at most one system turn) and end with the assistant"
    ) == tuple(row.id for row in rows[3:])
    assert failed(
        "test", "turns alternate, begin with the user (after at most one system turn) and end with the user"
    ) == tuple(row.id for row in prompts[3:])


def test_private_use_and_replacement_characters_shut_the_gate(checkout):
    texts = [
        "a tab\t, a line\nbreak, é and 🙂",
        "\ue000",
        "\uf8ff",
        "\ufffd",
        "\U000f0001",
        "\U0010fffd",
        "\x7f",
        "\x00",
    ]
    jsonl.write(Path("data/mix/lima/train.jsonl"), [example(n, response=f"It is {t}.") for n, t in enumerate(texts)])
    shut()
    said = "no text contains control, private-use or replacement characters"
    assert failed("train", said) == tuple(f"x/{n}" for n in range(1, len(texts)))


def test_no_two_splits_may_share_a_prompt_but_for_letters_case_and_signs(checkout):
    def rows(*questions: str) -> list[Prompt]:
        return [
            asked(10, "A").model_copy(
                update={"id": f"authored/{number}/{question}", "messages": (Turn(role="user", content=question),)}
            )
            for number, question in enumerate(questions)
        ]

    def answered(*questions: str) -> list[Example]:
        return [example(number, id=question, prompt=question) for number, question in enumerate(questions)]

    # each pair of splits shares one prompt: "th" is that of train and held_out
    jsonl.write(Path("data/mix/lima/train.jsonl"), answered("TH apples?", "TD, pears!", "tt: plums", "t nuts"))
    jsonl.write(Path("data/mix/lima/held_out.jsonl"), answered("th apples", "hd ﬁgs", "Ht  CHERRIES", "h dates"))
    jsonl.write(Path("data/prompts/dev.jsonl"), rows("td pears", "Hd figs.", "dt limes", "d kiwis"))
    jsonl.write(Path("data/prompts/test.jsonl"), rows("tt plums", "ht cherries", "dt ｌｉｍｅｓ", "t lemons"))
    shut()
    assert failed("train", "no prompt is also in held_out or dev or test") == ("TH apples?", "TD, pears!", "tt: plums")
    assert failed("held_out", "no prompt is also in dev or test") == ("hd ﬁgs", "Ht  CHERRIES")
    assert failed("dev", "no prompt is also in test") == ("authored/2/dt limes",)


def test_spelled_control_tokens_are_warnings_with_the_ids_of_the_rows(checkout, capsys):
    spelled = ["<s>", "</s>", "a<|im_end|>b", "<think>"]
    values = YAML(typ="safe").load(Path("params.yaml"))
    values["arms"]["lima"]["examples"] = {"stack_exchange_other": 5}
    YAML().dump(values, Path("params.yaml"))
    # two spaces are an added token of the base model, and ordinary text
    rows = [example(0, response="It is  written <s there, s>.")]
    rows += [example(n, response=f"It is written {text} there.") for n, text in enumerate(spelled, start=1)]
    jsonl.write(Path("data/mix/lima/train.jsonl"), rows)
    prompt = asked(11, "B").model_copy(update={"messages": (Turn(role="user", content="Why </s>?"),)})
    jsonl.write(Path("data/prompts/test.jsonl"), [prompt, asked(12, "B")])
    validate.main("lima")
    assert gate().passed and gate().failures == ()
    assert [(w.split, w.ids) for w in gate().warnings] == [
        ("train", ("x/1", "x/2", "x/3", "x/4")),
        ("test", ("authored/B/11",)),
    ]
    said = capsys.readouterr().err
    assert "Warnings" in said and "x/3" in said and "authored/B/11" in said and "contains a control" in said


def test_a_prompt_that_fills_the_context_is_a_warning_with_its_id_before_training(checkout, capsys):
    """The text has 2 n - 1 bytes and 2 n - 1 tokens of the byte-level tokenizer, and the context 1,000."""
    prompts = [asked(11, "B"), asked(12, "B")]
    for n, length in enumerate((500, 501)):
        prompts[n] = prompts[n].model_copy(
            update={"messages": (Turn(role="user", content=" ".join("ab"[n] * length)),)}
        )
    jsonl.write(Path("data/prompts/test.jsonl"), prompts)
    base = next(Path("data/base").iterdir())
    base_model.write(RandomModel(kind="random", layers=1, hidden=16, heads=2, context=1000), base, seed=1)
    validate.main("lima")
    assert gate().passed
    (warning,) = gate().warnings
    assert (warning.split, warning.ids) == ("test", ("authored/B/12",))
    assert "shorter than the context" in warning.says
    assert "authored/B/12" in capsys.readouterr().err


def test_a_missing_base_model_is_named_with_the_command_that_makes_it(checkout):
    (Path("data/base/smollm2-135m") / "tokenizer_config.json").unlink()
    with pytest.raises(
        validate.GateError,
        match=r"missing file data/base/smollm2-135m/tokenizer_config\.json; run `dvc repro base@smollm2-135m` first",
    ):
        validate.main("lima")


def test_the_gate_shuts_and_names_each_bad_row(checkout, capsys):
    bad = {case: row.model_copy(update={"id": f"x/{n}"}) for n, (case, (row, _)) in enumerate(BAD.items(), start=3)}
    jsonl.write(Path("data/mix/lima/train.jsonl"), [example(0), example(1), example(2), *bad.values()])
    shut()
    assert not gate().passed
    shown = capsys.readouterr().err
    for case, row in bad.items():
        [failure] = [f for f in gate().failures if BAD[case][1] in f.says and f.split == "train"]
        assert row.id in failure.ids, case
        assert row.id in shown, case
        assert not {"x/1", "x/2"} & set(failure.ids)  # good rows


def test_a_missing_row_shuts_the_gate_with_both_counts(checkout):
    jsonl.write(Path("data/mix/lima/train.jsonl"), [example(0), example(1), example(2)])
    with pytest.raises(validate.GateError):
        validate.main("lima")
    assert [(f.split, f.says, f.observed) for f in gate().failures] == [
        ("train", "4 rows, as set in params.yaml", "3"),
        ("train", "4 rows from stack_exchange_other", "3"),
    ]


def test_a_shut_gate_ends_the_command_with_a_status_and_no_traceback(checkout):
    import subprocess
    import sys

    lines = Path("data/mix/lima/train.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    row["provenance"]["license"] = ""
    row["id"] = "x/0 [/red]\x1b[2J\u202e"
    Path("data/mix/lima/train.jsonl").write_text("\n".join([json.dumps(row), *lines[1:]]) + "\n")
    done = subprocess.run([sys.executable, "-m", "lima.stages.validate", "lima"], capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        "Validation failed" in done.stderr
        and r"x/0 [/red]\x1b[2J‹U+202E›" in done.stderr
        and "Traceback" not in done.stderr
    )


def script(number: int, *texts: str) -> Prompt:
    messages = tuple(Turn(role="user", content=text) for text in texts)
    origin = provenance(number, "B")
    return Prompt(id=f"dialogues/B/{number}", messages=messages, tags=("kind:script",), provenance=origin)


def test_scripted_dialogues_share_no_opening_with_other_splits_and_contain_user_turns_only(checkout):
    values = YAML(typ="safe").load(Path("params.yaml"))
    values["prompts"]["dialogues"] = {"stack_exchange_other/B": 3}
    YAML().dump(values, Path("params.yaml"))
    trained, tested = example(1).messages[0].content, asked(11, "B").messages[0].content
    answered = script(23, "Why?").model_copy(update={"messages": example(9).messages})
    jsonl.write(
        Path("data/prompts/dialogues.jsonl"), [script(21, trained, "And?"), script(22, tested, "And?"), answered]
    )
    shut()
    assert failed("train", "no prompt is also in held_out or dev or test or dialogues") == ("x/1",)
    assert failed("test", "no prompt is also in dialogues") == (asked(11, "B").id,)
    assert failed("dialogues", "all turns are the user's (after at most one system turn)") == (answered.id,)
