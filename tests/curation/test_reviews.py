"""Decisions of hand selection, applied to the candidates with the same texts."""

from pathlib import Path

import pytest

from lima import jsonl
from lima.curation import decisions, reviews
from lima.curation.reviews import Review, ReviewError, apply_reviews, content_digest
from lima.records import Dropped, Example, Turn
from tests.curation.test_reasons import candidate

ROW = candidate("wikihow", response="Mix flour and water.")
KEPT = decisions.example(ROW, "How do I bake?", "Mix flour and water.")


def review(decision="reject", row=ROW, **values):
    fields = {"id": row.id, "digest": content_digest(row), "status": "kept", "person": "ann", "seconds": 3.0}
    return Review.model_validate({**fields, "decision": decision, "time": "2026-01-01T00:00:00Z", **values})


def outcome(before, *made, row=ROW):
    ((_, after),) = apply_reviews([(row, before)], {r.digest: r for r in made})
    return after


def test_a_rejected_example_is_dropped_with_the_reason():
    dropped = outcome(KEPT, review(reason="style"))
    assert (dropped.reason, dropped.detail, dropped.place) == ("rejected_by_hand", "style", ROW.id)


def test_an_accepted_example_is_unchanged_and_an_edited_one_has_the_new_texts():
    assert outcome(KEPT, review("accept")) == KEPT
    edited = outcome(KEPT, review("accept", prompt="How?", response="Mix."))
    assert [turn.content for turn in edited.messages] == ["How?", "Mix."]


def test_an_edit_leaves_a_system_turn_and_later_turns_unchanged():
    later = (Turn(role="user", content="And then?"), Turn(role="assistant", content="Bake it."))
    whole = KEPT.model_copy(update={"messages": (Turn(role="system", content="Be brief."), *KEPT.messages, *later)})
    edited = outcome(whole, review("accept", prompt="How?", response="Mix."))
    assert [turn.content for turn in edited.messages] == ["Be brief.", "How?", "Mix.", "And then?", "Bake it."]


def test_a_dropped_candidate_is_accepted_only_with_its_texts():
    dropped = decisions.dropped(ROW, "too_short", "20 characters")
    assert outcome(dropped, review("accept")) == dropped
    accepted = outcome(dropped, review("accept", prompt="How?", response="Mix."))
    assert isinstance(accepted, Example) and accepted.provenance == ROW.provenance
    assert isinstance(outcome(dropped, review("reject", reason="style")), Dropped)


def test_a_decision_survives_new_votes_and_a_new_id_but_not_new_texts():
    voted = ROW.model_copy(update={"score": 99, "id": "wikihow/other/7"})
    assert outcome(KEPT, review(reason="style"), row=voted).reason == "rejected_by_hand"
    assert outcome(KEPT, review(reason="style"), row=ROW.model_copy(update={"response": "Other."})) == KEPT


def test_the_last_decision_about_the_same_texts_counts(tmp_path):
    jsonl.write(tmp_path / "r.jsonl", [review(reason="style"), review("accept")])
    (read,) = reviews.read_reviews(tmp_path / "r.jsonl").values()
    assert read.decision == "accept"


def test_a_missing_file_is_named():
    with pytest.raises(ReviewError, match=r"filter\.reviews not found: none\.jsonl; correct the path"):
        reviews.read_reviews(Path("none.jsonl"))
