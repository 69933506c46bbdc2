"""System turns: kept before a dialogue, ignored by prompt comparison, overlap and deduplication."""

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
    place = Provenance(source="s", site="t", id=str(number), url="", author="", license="MIT", digest="")
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
    outcome = conversations.decide(candidate(number, **changes), to_markdown=lambda _, text: text)
    assert isinstance(outcome, Example)
    return outcome


def test_a_system_turn_is_kept_before_the_first_prompt():
    assert [(turn.role, turn.content) for turn in example(0).messages] == [
        ("system", SYSTEM),
        ("user", "Question 0?"),
        ("assistant", ANSWERS[0]),
    ]
    prompt = conversations.decide(candidate(0, response=""), to_markdown=lambda _, text: text)
    assert isinstance(prompt, Prompt)
    assert [turn.role for turn in prompt.messages] == ["system", "user"]


def test_blank_system_turn_is_omitted():
    assert [turn.role for turn in example(0, system=" \n").messages] == ["user", "assistant"]


def test_a_system_turn_after_the_first_prompt_is_dropped_with_the_roles():
    later = (Turn(role="system", content="x"), Turn(role="assistant", content="y"))
    outcome = conversations.decide(candidate(0, later_turns=later), to_markdown=lambda _, text: text)
    assert isinstance(outcome, Dropped)
    assert (outcome.reason, outcome.detail) == ("turns_do_not_alternate", "system user assistant system assistant")


def test_the_first_user_turn_identifies_a_record():
    assert first_prompt(example(1)) == "Question 1?"
    assert normalize.comparison_key(example(0)) == normalize.comparison_key(example(0, system="")) == "question 0"


def test_shared_system_turn_is_neither_an_overlap_nor_a_near_duplicate():
    held = example(0)
    held_out_passages = NgramIndex(decontamination.passages([held]), settings=Contamination(words=6, least_words=4))
    assert held_out_passages.shared(example(1)) is None
    assert held_out_passages.shared(held)
    index = NearDuplicateIndex(NearDuplicates(words=3, least_jaccard=0.5, permutations=128, bands=128), [held])
    prompts = [Prompt.model_validate(example(n).model_dump() | {"messages": example(n).messages[:2]}) for n in (0, 1)]
    assert index.find(example(1)) is None
    assert (
        NearDuplicateIndex(NearDuplicates(words=3, least_jaccard=0.5, permutations=128, bands=128), prompts[:1]).find(
            prompts[1]
        )
        is None
    )


def test_an_edit_of_the_prompt_or_response_leaves_the_system_turn():
    record = example(0)
    for field, before, place in (("prompt", "Question", 1), ("response", "Yeast", 2)):
        edit = Edit.model_validate({"id": record.id, "field": field, "before": before, "after": "X", "why": "tone"})
        outcome = edits.apply_edit(record, edit, place="edits.jsonl:1")
        assert [turn.content.startswith("X") for turn in outcome.messages] == [n == place for n in range(3)]


def test_card_does_not_count_one_exchange_after_a_system_turn_as_dialogue():
    later = (Turn(role="user", content="And then?"), Turn(role="assistant", content="Bake it."))
    train = [example(0), example(1, later_turns=later)]
    _, sites = mixture.compose({"s": train}, {"s": 2}, held_out=(), most_per_site={}, temperature=3.0, seed=17)
    assert mixture.card("lima", "kept", train, sites, held_out=0).dialogues == 1
