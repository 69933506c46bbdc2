import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.curation import decisions, edits
from lima.curation.decisions import Outcome
from lima.curation.edits import Edit, EditError
from lima.records import Candidate, Example, Prompt
from tests.curation.test_reasons import candidate


def pair(prompt: str = "Sum up.", response: str = "A dog. A cat.") -> tuple[Candidate, Example]:
    row = candidate("natural_instructions")
    return row, decisions.example(row, prompt, response)


ID = pair()[0].id


def edit(**changes: str) -> Edit:
    return Edit.model_validate(
        {"id": ID, "field": "response", "before": "dog", "after": "hound", "why": "tone"} | changes
    )


def applied(outcome: Outcome, *due: Edit) -> Outcome:
    placed = {ID: [(f"edits.jsonl:{number}", change) for number, change in enumerate(due, start=1)]} if due else {}
    ((_, result),) = edits.apply_edits([(pair()[0], outcome)], placed)
    return result


def test_edits_of_an_example_are_applied_in_order():
    result = applied(
        pair()[1], edit(), edit(before="hound.", after="hound!"), edit(field="prompt", before="up", after="it up")
    )
    assert isinstance(result, Example)
    assert [turn.content for turn in result.messages] == ["Sum it up.", "A hound! A cat."]


def test_a_prompt_can_be_edited_and_has_no_response():
    prompt = decisions.prompt(pair()[0], "What is a dog?")
    result = applied(prompt, edit(field="prompt"))
    assert isinstance(result, Prompt)
    assert result.messages[0].content == "What is a hound?"
    with pytest.raises(EditError, match=r"^edits\.jsonl:1: .* has no response;"):
        applied(prompt, edit())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"before": "horse"}, "'horse' occurs 0 times in the response"),
        ({"before": "A "}, "'A ' occurs 2 times in the response"),
        ({"field": "prompt"}, "'dog' occurs 0 times in the prompt"),
        ({"before": "A dog. A cat.", "after": " "}, "the edited response of .* is empty"),
    ],
)
def test_edit_that_does_not_fit_is_an_error_with_its_line(changes, message):
    with pytest.raises(EditError, match=rf"^edits\.jsonl:1: {message}"):
        applied(pair()[1], edit(**changes))


def test_edit_of_a_dropped_or_unknown_example_is_an_error_with_its_line():
    gone = decisions.dropped(pair()[0], "too_short", "3 characters")
    with pytest.raises(EditError, match=r"^edits\.jsonl:1: .* is not kept \(too_short: 3 characters\)"):
        applied(gone, edit())
    with pytest.raises(EditError, match=r"^edits\.jsonl:1: no candidate has the id .* or to corpus/edits/none\.jsonl"):
        list(edits.apply_edits([], {ID: [("edits.jsonl:1", edit())]}))


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(EditError, match=r"filter\.edits not found: .*; correct the path"):
        edits.read_edits(tmp_path / "edits.jsonl", "reddit")


@given(st.text(), st.text(min_size=1), st.text(), st.text(min_size=1))
def test_inverse_edit_restores_the_text(head, before, tail, after):
    text = head + before + tail
    change = edit(before=before, after=after)
    if text.count(before) == 1 and (head + after + tail).count(after) == 1 and (head + after + tail).strip():
        edited = applied(pair(response=text)[1], change)
        back = (
            edits.apply_edit(edited, edit(before=after, after=before), place="")
            if text.strip()
            else pair(response=text)[1]
        )
        assert back == pair(response=text)[1]
