"""Agreement tables, disagreements and their adjudication, and the items worth labelling next."""

from collections import Counter

from sample_study import NAMES, PLAIN, evaluation, judge, settings, study

from lima.annotation.agreement import agreement, in_process, labels_of_people
from lima.annotation.crowd import SimulatedPerson, fill
from lima.annotation.questions import StudyEvaluation, shown_value
from lima.annotation.study import ADJUDICATOR


def labels(values):
    return {(f"p{n}", 0, 0, NAMES[0], "digest"): value for n, value in enumerate(values)}


def rows(task, people, judges=None):
    table = agreement(task, people, judges or {}, settings(resamples=200))
    return {(row.names, row.measure): row for row in table}


def test_the_table_has_every_pair_of_people_and_each_judge_with_all_people():
    people = {"ann": labels(["win", "tie", "lose", "win"]), "bob": labels(["win", "win", "win", "lose"])}
    table = rows("pairwise", people, {"longest": labels(["win", "win", "win"])})
    pair = table["ann · bob", "agreement, ties count half"]
    assert (pair.value, pair.count) == (0.375, 4)  # 1 + ½ + 0 + 0 of 4
    judge = table["longest · people", "agreement, ties count half"]
    assert (judge.value, judge.count) == (0.75, 6)  # ann: 1 + ½ + 0, bob: 3, of 6
    assert ("all 2 people", "Krippendorff’s α") in table and ("ann · bob", "Cohen’s κ") in table
    assert pair.low < pair.value < pair.high


def test_fifty_shared_comparisons_give_the_table_of_agreement(tmp_path):
    """Three annotators who err in a fifth of their choices, and a judge that knows the true ones.

    Two of them agree on a win or a loss with .8² + 2 · .1² = .66, and half of 2 · .1 · .9 counts: .75. On a true tie
    it is .66 + .8 · .2 = .82. The judge agrees with .8 + .1 / 2 = .85 and with .8 + .2 / 2 = .9.
    """
    items = evaluation(50)
    s = study(tmp_path, items, **PLAIN, quota=50, overlap=4)
    fill(s, [*(SimulatedPerson(f"annotator-{n}", 0.2) for n in range(3)), SimulatedPerson("judge", 0.0)], seed=5)
    people = labels_of_people(s.annotations("secret-evaluation"))
    judge_labels = people.pop("judge")
    table = agreement("pairwise", people, {"judge": judge_labels}, settings(confidence=0.99))
    by_name = {(row.names, row.measure): row for row in table}
    ties = Counter(judge_labels.values())["tie"] / 50
    share = "agreement, ties count half"
    pairs = [row for (names, measure), row in by_name.items() if measure == share and "judge" not in names]
    assert len(pairs) == 3 and all(row.count == 50 for row in pairs)
    assert all(row.low <= 0.75 * (1 - ties) + 0.82 * ties <= row.high for row in pairs)
    with_judge = by_name["judge · people", share]
    assert with_judge.count == 150
    assert with_judge.low <= 0.85 * (1 - ties) + 0.9 * ties <= with_judge.high


def test_an_undefined_estimate_says_why():
    table = rows("grade", {name: labels(["pass"] * 4) for name in ("ann", "bob")})
    assert table["ann · bob", "agreement"].value == 1
    assert table["ann · bob", "Cohen’s κ"].value is None and "one value only" in table["ann · bob", "Cohen’s κ"].note


def test_the_table_is_the_same_in_a_process_of_its_own():
    people = {"ann": labels(["1", "5", "3"]), "bob": labels(["2", "5", "3"])}
    chosen = settings(resamples=50)
    assert in_process("rating", people, {}, chosen) == agreement("rating", people, {}, chosen)


def differing(folder):
    """Six items; ann and bob differ on the items 0 and 1."""
    items = evaluation(6)
    s = study(folder, items, **PLAIN)
    for name in ("ann", "bob"):
        person = s.store.person(name)
        while (assignment := s.next(person, items)[0]) is not None:
            q = s.question(assignment)
            number = int(q.prompt_id.rpartition("/")[2])
            value = "lose" if name == "bob" and number < 2 else "win"
            judge(s, person, assignment, shown_value(q, value, first=assignment.first))
    return s, items


def test_an_adjudicator_gets_the_items_on_which_people_differ(tmp_path):
    s, items = differing(tmp_path)
    assert {q.prompt_id for q, _ in s.disagreements(items)} == {"source/site/0", "source/site/1"}
    adjudicator = s.store.person(ADJUDICATOR)
    for left in (2, 1):
        assignment, progress = s.next_disagreement(adjudicator, items)
        assert progress.available - progress.judged == left
        judge(s, adjudicator, assignment, "tie")
    assert s.next_disagreement(adjudicator, items)[0] is None
    people = labels_of_people(s.annotations(items.name))
    assert people.keys() == {"ann", "bob"}  # adjudications are not part of agreement
    assert Counter(record.kind for record in s.annotations(items.name)) == {"main": 12, "adjudication": 2}


def judged(count, **values):
    """An evaluation with values of judges: annotator → value by number of the item."""
    items = evaluation(count)
    judges = {
        name: {(f"source/site/{n}", 0, 0, NAMES[0]): value for n, value in by.items()} for name, by in values.items()
    }
    return StudyEvaluation(items.name, items.task, items.questions, judges)


def test_items_on_which_judges_differ_are_worth_labelling(tmp_path):
    items = judged(4, longest={0: "win", 1: "win", 2: "win"}, model={0: "win", 1: "lose", 2: "tie"})
    s = study(tmp_path, items, **{**PLAIN, "overlap": 1})
    assert {q.prompt_id for q, _ in s.worth_labelling(items, 10)} == {"source/site/1", "source/site/2"}
    fill(s, [SimulatedPerson("simulated-1", 0.0)], seed=1)
    assert s.worth_labelling(items, 10) == []  # every item has as many people as the study wants


def test_the_order_disputed_begins_with_items_on_which_judges_differ(tmp_path):
    items = judged(
        20, longest=dict.fromkeys(range(20), "win"), model={n: "lose" if n == 7 else "win" for n in range(20)}
    )
    for order, expected in (("disputed", True), ("random", False)):
        s = study(tmp_path / order, items, **{**PLAIN, "order": order})
        firsts = {s.question(s.next(s.store.person(n), items)[0]).prompt_id for n in ("ann",)}
        assert (firsts == {"source/site/7"}) == expected
