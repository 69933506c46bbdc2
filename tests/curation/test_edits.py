import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.curation import decisions, edits
from lima.curation.decisions import Outcome
from lima.curation.edits import Edit, EditError
from lima.records import Candidate, Example, Prompt
from tests.curation.test_reasons import candidate


def pair(prompt: str = "Sum up.", response: str = "A dog. A cat.") -> tuple[Candidate, Example]:
    one = candidate("natural_instructions")
    return one, decisions.example(one, prompt, response)


ID = pair()[0].id


def edit(**changes: str) -> Edit:
    return Edit.model_validate(
        {"id": ID, "field": "response", "before": "dog", "after": "hound", "why": "tone"} | changes
    )


def applied(outcome: Outcome, *due: Edit) -> Outcome:
    placed = {ID: [(f"edits.jsonl:{number}", one) for number, one in enumerate(due, start=1)]} if due else {}
    ((_, found),) = edits.applied([(pair()[0], outcome)], placed)
    return found


def test_edits_of_one_example_are_made_in_their_order():
    found = applied(
        pair()[1], edit(), edit(before="hound.", after="hound!"), edit(field="prompt", before="up", after="it up")
    )
    assert isinstance(found, Example)
    assert [turn.content for turn in found.messages] == ["Sum it up.", "A hound! A cat."]


def test_a_prompt_can_be_edited_and_has_no_response():
    asked = decisions.prompt(pair()[0], "What is a dog?")
    found = applied(asked, edit(field="prompt"))
    assert isinstance(found, Prompt)
    assert found.messages[0].content == "What is a hound?"
    with pytest.raises(EditError, match=r"^edits\.jsonl:1: .* has no response$"):
        applied(asked, edit())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"before": "horse"}, "'horse' stands 0 times in the response"),
        ({"before": "A "}, "'A ' stands 2 times in the response"),
        ({"field": "prompt"}, "'dog' stands 0 times in the prompt"),
        ({"before": "A dog. A cat.", "after": " "}, "nothing would be left of the response"),
    ],
)
def test_an_edit_that_does_not_fit_is_an_error_that_names_its_line(changes, told):
    with pytest.raises(EditError, match=rf"^edits\.jsonl:1: {told}"):
        applied(pair()[1], edit(**changes))


def test_an_edit_of_what_is_dropped_or_not_there_is_an_error_that_names_its_line():
    gone = decisions.dropped(pair()[0], "too_short", "3 characters")
    with pytest.raises(EditError, match=r"^edits\.jsonl:1: .* is not kept \(too_short: 3 characters\)"):
        applied(gone, edit())
    with pytest.raises(EditError, match=r"^edits\.jsonl:1: no candidate has the id .* or to corpus/edits/none\.jsonl"):
        list(edits.applied([], {ID: [("edits.jsonl:1", edit())]}))


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(EditError, match=r"there is no .*; filter\.edits in params\.yaml names it"):
        edits.of_source(tmp_path / "edits.jsonl", "reddit")


@given(st.text(), st.text(min_size=1), st.text(), st.text(min_size=1))
def test_an_edit_undoes_its_inverse(head, before, tail, after):
    text = head + before + tail
    one = edit(before=before, after=after)
    if text.count(before) == 1 and (head + after + tail).count(after) == 1 and (head + after + tail).strip():
        there = applied(pair(response=text)[1], one)
        back = (
            edits.edited(there, edit(before=after, after=before), place="") if text.strip() else pair(response=text)[1]
        )
        assert back == pair(response=text)[1]
