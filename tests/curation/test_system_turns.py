"""A system turn is kept before a dialogue, and is neither its prompt nor a text that two dialogues share."""

from lima.config.sections import Contamination, NearDuplicates
from lima.curation import conversations, decontamination, edits, mixture
from lima.curation.decontamination import NgramIndex
from lima.curation.dedup import NearDuplicateIndex
from lima.curation.edits import Edit
from lima.records import Candidate, Dropped, Example, Prompt, Provenance, Turn, first_prompt
from lima.text import normalize

SYSTEM = "You are a baker who answers in short and plain sentences, and who never mentions any brand of flour at all."
ANSWERS = ("Yeast makes gas, and the dough holds it.", "Salt slows the yeast down a little.")


def candidate(number: int, **changes: object) -> Candidate:
    place = Provenance(source="s", site="t", id=str(number), url="", author="", licence="MIT", digest="")
    values = {
        "id": f"s/t/{number}",
        "title": f"Question {number}?",
        "description": "",
        "response": ANSWERS[number],
        "later_turns": (),
        "markup": "markdown",
        "score": None,
        "response_score": None,
        "tags": (),
        "provenance": place,
        "system": SYSTEM,
    }
    return Candidate.model_validate(values | changes)


def example(number: int, **changes: object) -> Example:
    found = conversations.decide(candidate(number, **changes), to_markdown=lambda _, text: text)
    assert isinstance(found, Example)
    return found


def test_a_system_turn_is_kept_before_the_first_prompt():
    assert [(turn.role, turn.content) for turn in example(0).messages] == [
        ("system", SYSTEM),
        ("user", "Question 0?"),
        ("assistant", ANSWERS[0]),
    ]
    prompt = conversations.decide(candidate(0, response=""), to_markdown=lambda _, text: text)
    assert isinstance(prompt, Prompt)
    assert [turn.role for turn in prompt.messages] == ["system", "user"]


def test_a_blank_system_turn_is_none():
    assert [turn.role for turn in example(0, system=" \n").messages] == ["user", "assistant"]


def test_a_system_turn_after_the_first_prompt_is_dropped_with_the_roles():
    later = (Turn(role="system", content="x"), Turn(role="assistant", content="y"))
    found = conversations.decide(candidate(0, later_turns=later), to_markdown=lambda _, text: text)
    assert isinstance(found, Dropped)
    assert (found.reason, found.detail) == ("turns_do_not_alternate", "system user assistant system assistant")


def test_the_first_user_turn_identifies_a_record():
    assert first_prompt(example(1)) == "Question 1?"
    assert normalize.comparison_key(example(0)) == normalize.comparison_key(example(0, system="")) == "question 0"


def test_dialogues_that_share_a_system_turn_share_no_passage_and_are_no_near_duplicates():
    held = example(0)
    reserved = NgramIndex(decontamination.passages([held]), p=Contamination(words=6, least_words=4))
    assert reserved.shared(example(1)) is None
    assert reserved.shared(held)
    seen = NearDuplicateIndex(NearDuplicates(words=3, least_jaccard=0.5, permutations=128, bands=128), [held])
    asked = [Prompt.model_validate(example(n).model_dump() | {"messages": example(n).messages[:2]}) for n in (0, 1)]
    assert seen.find(example(1)) is None
    assert (
        NearDuplicateIndex(NearDuplicates(words=3, least_jaccard=0.5, permutations=128, bands=128), asked[:1]).find(
            asked[1]
        )
        is None
    )


def test_an_edit_of_the_prompt_or_response_leaves_the_system_turn():
    one = example(0)
    for field, before, place in (("prompt", "Question", 1), ("response", "Yeast", 2)):
        edit = Edit.model_validate({"id": one.id, "field": field, "before": before, "after": "X", "why": "tone"})
        found = edits.edited(one, edit, place="edits.jsonl:1")
        assert [turn.content.startswith("X") for turn in found.messages] == [n == place for n in range(3)]


def test_one_exchange_after_a_system_turn_is_no_dialogue_in_the_card():
    later = (Turn(role="user", content="And then?"), Turn(role="assistant", content="Bake it."))
    train = [example(0), example(1, later_turns=later)]
    _, sites = mixture.compose({"s": train}, {"s": 2}, held_out=(), most_per_site={}, temperature=3.0, seed=17)
    assert mixture.card("lima", "kept", train, sites, held_out=0).dialogues == 1
