import re

import judges
import pytest

from lima.errors import LimaError
from lima.evaluation import canaries
from lima.evaluation.tasks import TASKS
from lima.evaluation.verdicts import parse

COUNT = 8


def built(task, *, seed=17, per_kind=4, trusted=True):
    return canaries.build(
        task, judges.prompts(COUNT), judges.references(COUNT), seed=seed, per_kind=per_kind, trusted=trusted
    )


def results(task, answers, *, per_kind=COUNT):
    items = built(task, per_kind=per_kind)
    judged = [judges.judge(task, canary.prompt, canary.responses, answers) for canary in items]
    return {result.kind: (result.passed, result.failed) for result in canaries.evaluate(items, judged)}


def obeys(*shown):
    """Follows the first verdict in the texts that it can read."""
    read = [
        value for text in shown for value in re.findall(r"VERDICT: (\w+)|\[\[(\w+)\]\]|\"verdict\": \"(\w+)\"", text)
    ]
    return f"VERDICT: {''.join(read[0])}" if read else judges.honest_pair(*shown)


def test_an_honest_judge_passes_all_canaries_of_pairs():
    assert results("pairwise", judges.honest_pair) == dict.fromkeys(canaries.KINDS, (COUNT, 0))


@pytest.mark.parametrize(
    ("answers", "passed"),
    [
        (lambda *_: "VERDICT: A", {}),  # inconsistent on every pair
        (lambda *_: "VERDICT: TIE", {"reference": COUNT}),  # a tie is right for the reference against itself only
        (lambda *_: "Both are fine.", {}),
        (lambda first, second: f"VERDICT: {'A' if len(first) >= len(second) else 'B'}", {"empty": COUNT}),
        (obeys, {"empty": COUNT, "gibberish": COUNT, "constant": COUNT, "reference": COUNT}),
    ],
    ids=["always A", "always tie", "unparsed", "longest", "obeys the texts"],
)
def test_a_judge_with_a_defect_fails_the_canaries_of_its_kind(answers, passed):
    """The reference is shorter than random letters and than the constant answer."""
    assert {kind: count for kind, (count, _) in results("pairwise", answers).items() if count} == passed


@pytest.mark.parametrize(
    ("task", "good", "bad", "always"),
    [
        ("rating", "VERDICT: 5", "VERDICT: 1", "VERDICT: 5"),
        ("grade", "VERDICT: PASS", "VERDICT: FAIL", "VERDICT: EXCELLENT"),
        ("dialogue", "VERDICT: PASS", "VERDICT: FAIL", "VERDICT: PASS"),
        ("safety", "VERDICT: SAFE", "VERDICT: NEITHER", "VERDICT: UNSAFE"),
        ("attack", "VERDICT: RESISTED", "VERDICT: NEITHER", "VERDICT: SUCCEEDED"),
    ],
)
def test_scalar_tasks_have_canaries_that_an_honest_judge_passes_and_a_constant_one_fails(task, good, bad, always):
    honest = results(task, lambda text: good if judges.good(text) else bad)
    assert honest == dict.fromkeys(canaries.KINDS, (COUNT, 0))
    constant = results(task, lambda text: always)
    assert constant["gibberish"] == constant["injected"] == constant["empty"] == (0, COUNT)
    obedient = results(
        task, lambda text: obeys(text) if "ERDICT" in text.upper() else good if judges.good(text) else bad
    )
    assert obedient["injected"][1] > 0


def test_canaries_are_the_same_for_the_same_seed_and_at_most_one_per_kind_and_prompt():
    assert built("pairwise") == built("pairwise")
    assert built("pairwise") != built("pairwise", seed=18)
    for task in ("pairwise", "rating"):
        keys = [(c.prompt.id, *(response.contestant for response in c.responses)) for c in built(task)]
        assert len(set(keys)) == len(keys) == 4 * len(canaries.KINDS)


def test_injections_name_labels_of_their_task_and_gibberish_differs_between_prompts():
    for task, labels in canaries.INJECTED_LABELS.items():
        assert set(labels) <= set(TASKS[task].labels)
    texts = [c.responses[-1].text for c in built("pairwise", per_kind=COUNT) if c.kind == "gibberish"]
    assert len(set(texts)) == COUNT
    injected = [c.responses[-1].text for c in built("pairwise", per_kind=COUNT) if c.kind == "injected"]
    assert len({text.split("\n\n", 1)[1] for text in injected}) > 3
    assert {parse(text, TASKS["pairwise"].labels) for text in injected} >= {"first", "second"}


def test_references_are_judged_in_scalar_tasks_only_if_they_are_known_to_be_good():
    assert "reference" not in {canary.kind for canary in built("grade", trusted=False)}
    assert "reference" in {canary.kind for canary in built("pairwise", trusted=False)}


def test_a_canary_without_a_reply_is_neither_passed_nor_failed():
    items = built("grade", per_kind=1)
    judged = [judges.judge("grade", c.prompt, c.responses, lambda _: "VERDICT: FAIL") for c in items]
    lost = [j.model_copy(update={"value": None, "reason": "timed_out"}) for j in judged[:1]]
    cut = [j.model_copy(update={"value": None, "reason": "truncated"}) for j in judged[1:2]]
    counts = [(r.passed, r.failed, r.unanswered) for r in canaries.evaluate(items, [*lost, *cut, *judged[2:]])]
    assert counts[:3] == [(0, 0, 1), (0, 1, 0), (1, 0, 0)]
    with pytest.raises(LimaError, match=r"no judgment of the canary empty for prompt p\d; judge all canaries"):
        canaries.evaluate(items, judged[1:])


def test_canaries_need_a_reference_answer_and_a_task_of_models():
    with pytest.raises(LimaError, match=r"no reference answer to any of the 8 prompts of the canaries; name recorded"):
        canaries.build("grade", judges.prompts(COUNT), [], seed=1, per_kind=1, trusted=True)
    with pytest.raises(LimaError, match="no canaries for the task constraint; it is decided by code"):
        built("constraint")
