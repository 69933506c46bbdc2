"""`lima trace`: from an answer or an example to checkpoint, training set, validation, raw record and license."""

import hashlib
import json
from pathlib import Path

import finished_run
import pytest

from lima import jsonl, lineage
from lima.records import Dropped, Prompt

DUMP = Path("corpus/authored/b.jsonl")


def line(number, text="How long?"):
    row = {"id": str(number), "group": "B", "topic": "tea", "kind": "explain", "sensitive": False, "note": ""}
    return json.dumps(row | {"messages": [{"role": "user", "content": text}]})


@pytest.fixture
def params(tmp_path, monkeypatch):
    """A finished run, the dump of its test prompts, and the digests of its lines."""
    monkeypatch.chdir(tmp_path)
    built = finished_run.build()
    lines = [line(number) for number in range(finished_run.PROMPTS)]
    DUMP.parent.mkdir(parents=True)
    DUMP.write_text("\n".join(lines) + "\n")
    path = Path("data/prompts/test.jsonl")
    prompts = [
        prompt.model_copy(
            update={
                "provenance": prompt.provenance.model_copy(
                    update={"digest": hashlib.sha256(lines[int(prompt.provenance.id)].encode()).hexdigest()}
                )
            }
        )
        for prompt in jsonl.read(path, Prompt)
    ]
    jsonl.write(path, prompts)
    return built


def test_an_answer_leads_to_checkpoint_validation_and_raw_record(params):
    sections = lineage.trace(params, "lima:authored/B/5").sections
    assert sections["answer"][0].startswith("lima, sample 0, ended by stop: 1. **Boil** the water.")
    assert any(entry.startswith("lima-base, always-tie: lima against base: tie") for entry in sections["judgments"])
    assert sections["checkpoint"] == [
        f"arm lima: data/train/lima/epoch-02, SHA-256 of its weights {'b' * 64}",
    ]
    assert sections["training"][0].endswith("10 examples, 2 epochs, seed 17")
    digest = hashlib.sha256(Path("data/mix/lima/train.jsonl").read_bytes()).hexdigest()
    assert sections["training set"] == [f"arm lima: data/mix/lima/train.jsonl, SHA-256 {digest}"]
    assert sections["validation"] == ["arm lima: passed, 31 expectations (data/validate/lima/docs/index.html)"]
    assert "author author 0; license CC BY-SA 4.0; https://example.org/5" in sections["origin"]
    assert sections["raw record"][-1] == "corpus/authored/b.jsonl:6"  # the prompts are numbered from 0, lines from 1


def test_a_response_of_a_dialogue_is_traced_like_an_answer(params):
    script = finished_run.prompt("B", 77).model_copy(update={"tags": ("kind:script",)})
    jsonl.write(Path("data/prompts/dialogues.jsonl"), [script])
    turns = [finished_run.response("lima", script, "Four.").model_copy(update={"turn": turn}) for turn in (0, 1)]
    jsonl.write(Path("data/sample/lima/dialogues.jsonl"), turns)
    sections = lineage.trace(params, f"lima:{script.id}#0").sections
    assert sections["answer"][1] == "lima, sample 0, response 2 of the dialogue, ended by stop: Four."
    assert sections["prompt"][0].startswith(f"{script.id} in data/prompts/dialogues.jsonl:1: ")


def test_an_answer_of_the_base_model_leads_to_its_folder(params):
    sections = lineage.trace(params, "base:authored/B/5#0").sections
    assert sections["checkpoint"][0].endswith("not fine-tuned")
    assert "training" not in sections


def test_a_changed_or_missing_raw_record_is_named(params):
    text = DUMP.read_text()
    DUMP.write_text(text.replace(line(5), line(5, "How hot?")))
    raw = lineage.trace(params, "authored/B/5").sections["raw record"][-1]
    assert raw == "corpus/authored/b.jsonl:6; its content has changed since scrape read it"
    DUMP.write_text(text.replace(line(5) + "\n", ""))
    raw = lineage.trace(params, "authored/B/5").sections["raw record"][-1]
    assert raw == "no record 5 in corpus/authored; the dumps have changed since scrape read them"
    DUMP.unlink()
    DUMP.parent.rmdir()
    assert lineage.trace(params, "authored/B/5").sections["raw record"][-1] == "the dumps are missing: corpus/authored"


def test_an_example_leads_to_its_arms_and_their_checkpoints(params):
    sections = lineage.trace(params, "stack_exchange_stem/physics/2").sections
    assert sections["training set"] == [
        "arm lima: data/mix/lima/train.jsonl:3",
        "arm unfiltered: data/mix/unfiltered/train.jsonl:3",
    ]
    assert len(sections["validation"]) == len(sections["checkpoint"]) == 2
    assert "checkpoint" not in lineage.trace(params, "stack_exchange_stem/physics/90").sections  # held out


def test_a_stack_exchange_row_of_a_plain_file_has_its_line(tmp_path):
    path = tmp_path / "Posts.xml"
    path.write_text('<posts>\n  <row Id="12" Title="a" />\n  <row Id="2" ParentId="12" />\n</posts>\n')
    assert lineage.row_of(path, "0" * 64, "2") == ":3"
    assert lineage.row_of(path, "0" * 64, "1") == ""


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("nobody:authored/B/5", "unknown contestant in nobody:authored/B/5: nobody; use one of lima, unfiltered, base"),
        ("lima:authored/B/50", "lima has no answer authored/B/50 in data/sample/lima; did you mean authored/B/5?"),
        ("lima:authored/B/5#3", "lima has no answer authored/B/5#3"),
        ("authored/B/50", "unknown id: authored/B/50; .* did you mean authored/B/5?"),
        (
            "authored/A/99",
            "authored/A/99 is in no arm and no prompt set: filter dropped it \\(too_short: 12 characters",
        ),
    ],
)
def test_an_unknown_id_is_refused_with_the_reason(params, wanted, message):
    dropped = Dropped(reason="too_short", detail="12 characters", place="authored/A/99", raw="")
    jsonl.write(Path("data/filter/authored/dropped.jsonl"), [dropped])
    with pytest.raises(lineage.UnknownId, match=message):
        lineage.trace(params, wanted)
