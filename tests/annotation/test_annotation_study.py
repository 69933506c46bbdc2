"""Rules of a study: next item, overlap, quota, order of sides, attention checks, repeats, storage and records."""

from collections import Counter

import pytest
from sample_study import NAMES, PLAIN, evaluation, judge, question, study

from lima import jsonl
from lima.annotation.comprehension import CASES
from lima.annotation.questions import CONTROLS, Question
from lima.annotation.store import Conflict, Store, StudyError, now
from lima.annotation.study import Study, read_annotations, write_annotations
from lima.evaluation.tasks import TASKS
from lima.records import Annotation


def answer_all(study, person, evaluation, value="first"):
    given = []
    while (assignment := study.next(person, evaluation)[0]) is not None:
        given.append(assignment)
        judge(study, person, assignment, value)
    return given


def test_a_person_gets_every_item_once_in_an_order_of_their_own(tmp_path):
    items = evaluation(12)
    s = study(
        tmp_path,
        items,
        **PLAIN,
    )
    orders = [
        [assignment.question for assignment in answer_all(s, s.store.person(name), items)] for name in ("ann", "bob")
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(items.by_id)
    assert orders[0] != orders[1]


def test_an_item_is_judged_by_at_most_overlap_people(tmp_path):
    items = evaluation(6)
    s = study(tmp_path, items, **PLAIN, overlap=2)
    given = [a.question for n in range(4) for a in answer_all(s, s.store.person(f"p{n}"), items)]
    assert set(Counter(given).values()) == {2}  # 6 items · 2 people = 12 judgments of 24 possible


def test_a_skipped_item_does_not_count_towards_the_overlap(tmp_path):
    items = evaluation(1)
    s = study(tmp_path, items, **PLAIN, overlap=1)
    ann = s.store.person("ann")
    judge(s, ann, s.next(ann, items)[0], None, reason="knowledge")
    assert s.next(s.store.person("bob"), items)[0] is not None


def test_an_open_item_is_reserved_for_a_time_only(tmp_path):
    items = evaluation(1)
    s = study(tmp_path, items, **PLAIN, overlap=1)
    s.next(s.store.person("ann"), items)
    bob = s.store.person("bob")
    assert s.next(bob, items)[0] is None
    with s.store.writing() as database:
        database.execute("UPDATE assignments SET opened = opened - 60 * ?", [s.settings.reservation_minutes + 1])
    assert s.next(bob, items)[0] is not None


def test_a_person_gets_at_most_quota_items(tmp_path):
    items = evaluation(9)
    s = study(tmp_path, items, **PLAIN, quota=4)
    ann = s.store.person("ann")
    assert s.progress(ann, items).available == 4
    assert len(answer_all(s, ann, items)) == 4


def test_a_pilot_has_the_same_items_for_everyone_until_it_ends(tmp_path):
    items = evaluation(9)
    s = study(tmp_path, items, **{**PLAIN, "pilot": 3})
    people = [s.store.person(name) for name in ("ann", "bob")]
    piloted = [{a.question for a in answer_all(s, person, items)} for person in people]
    assert piloted[0] == piloted[1] and len(piloted[0]) == 3
    s.store.set_meta("phase", "main")
    assert len(answer_all(s, people[0], items)) == 6


def test_the_order_of_sides_is_balanced_over_10000_assignments(tmp_path):
    items = evaluation(1000)
    s = study(tmp_path, items, **PLAIN)
    shown, by_item = Counter(), Counter()
    for n in range(10):
        person = s.store.person(f"p{n}")
        main = []
        for q in items.questions:
            first = s._first(person, q, main, by_item={side: by_item[q.id, side] for side in NAMES})
            shown[first] += 1
            by_item[q.id, first] += 1
            main.append(type("A", (), {"first": first})())
    assert sum(shown.values()) == 10_000
    assert abs(shown[NAMES[0]] - 5000) <= 50  # 1 % of the assignments at most, half of them on each side
    assert all(abs(by_item[q.id, NAMES[0]] - by_item[q.id, NAMES[1]]) <= 1 for q in items.questions)


def test_an_order_cannot_be_predicted_from_the_position(tmp_path):
    items = evaluation(40)
    s = study(tmp_path, items, **PLAIN)
    firsts = ["".join("ab"[a.first == NAMES[1]] for a in answer_all(s, s.store.person(n), items)) for n in "xyz"]
    assert len(set(firsts)) == 3
    assert all("aa" in order or "bb" in order for order in firsts)


def test_attention_checks_and_repeats_are_mixed_in_at_the_stated_rate(tmp_path):
    items = evaluation(60)
    s = study(tmp_path, items, quota=60, comprehension=False, attention_every=10, repeat_every=10, repeat_gap=5)
    given = answer_all(s, s.store.person("ann"), items)
    kinds = Counter(assignment.kind for assignment in given)
    # one of each kind per block of 10: 60 main items are 8 of 10 in about 7.5 blocks
    assert kinds["main"] == 60 and 5 <= kinds["attention"] <= 8 and 5 <= kinds["repeat"] <= 8
    by_question = {a.question: a for a in given if a.kind == "main"}
    for repeat in (a for a in given if a.kind == "repeat"):
        original = by_question[repeat.question]
        assert repeat.first != original.first and repeat.ordinal - original.ordinal >= 5
    assert all(a.expected in ("first", "second") for a in given if a.kind == "attention")


@pytest.mark.parametrize("first", NAMES)
@pytest.mark.parametrize("shown", ["first", "second", "tie"])
def test_the_recorded_value_is_the_contestants_outcome(tmp_path, first, shown):
    s = study(tmp_path, evaluation(1), **PLAIN)
    ann = s.store.person("ann")
    assignment = s.next(ann, s.evaluations["secret-evaluation"])[0]
    with s.store.writing() as database:
        database.execute("UPDATE assignments SET first = ?", [first])
    judge(s, ann, s.store.assignment(assignment.id, ann)[0], shown)
    (record,) = s.annotations("secret-evaluation")
    preferred = {"first": first, "second": NAMES[1 - NAMES.index(first)], "tie": None}[shown]
    assert record.value == {NAMES[0]: "win", NAMES[1]: "lose", None: "tie"}[preferred]
    assert (record.first, record.person, record.contestant, record.rival) == (first, "ann", *NAMES)


@pytest.mark.parametrize("task", CONTROLS)
def test_every_task_accepts_its_values_and_no_other(tmp_path, task):
    items = evaluation(8, task=task)
    s = study(tmp_path, items, **PLAIN)
    ann = s.store.person("ann")
    with pytest.raises(StudyError, match="unknown value: perfect"):
        judge(s, ann, s.next(ann, items)[0], "perfect")
    for value in CONTROLS[task].values():
        judge(s, ann, s.next(ann, items)[0], value)
    recorded = [record.value for record in s.annotations(items.name)]
    assert recorded == list(CONTROLS[task].values()) if task != "pairwise" else len(recorded) == 3


def test_times_of_judgments_order_those_of_one_millisecond():
    times = [now() for _ in range(1000)]
    assert times == sorted(times) and len(set(times)) > 100


def test_people_and_models_have_the_same_values():
    for task, control in CONTROLS.items():
        values = set(control.values())
        assert values == ({"first", "second", "tie"} if task == "pairwise" else set(TASKS[task].values))
        assert {value for _, value in CASES[task]} <= values
        assert len({choice.key for choice in control.choices}) == len(values)


def test_a_skipped_item_has_no_value_and_needs_a_known_reason(tmp_path):
    s = study(tmp_path, evaluation(2), **PLAIN)
    ann = s.store.person("ann")
    assignment = s.next(ann, s.evaluations["secret-evaluation"])[0]
    with pytest.raises(StudyError, match="needs a reason"):
        judge(s, ann, assignment, None, reason="bored")
    judge(s, ann, assignment, None, reason="unreadable")
    (record,) = s.annotations("secret-evaluation")
    assert (record.value, record.reason) == (None, "unreadable")


def test_a_repeated_request_is_stored_once(tmp_path):
    s = study(tmp_path, evaluation(2), **PLAIN)
    ann = s.store.person("ann")
    assignment = s.next(ann, s.evaluations["secret-evaluation"])[0]
    saved = [judge(s, ann, assignment, "first", request="the-same-request") for _ in range(2)]
    assert saved[0] == saved[1] and len(s.annotations("secret-evaluation")) == 1


def test_a_second_tab_cannot_overwrite_a_judgment(tmp_path):
    s = study(tmp_path, evaluation(2), **PLAIN)
    ann = s.store.person("ann")
    items = s.evaluations["secret-evaluation"]
    tabs = [s.next(ann, items)[0] for _ in range(2)]
    assert tabs[0] == tabs[1]
    judge(s, ann, tabs[0], "first", request="from-tab-1")
    with pytest.raises(Conflict, match="already judged"):
        judge(s, ann, tabs[1], "second", request="from-tab-2")
    assert len(s.annotations(items.name)) == 1


def test_a_revision_replaces_the_judgment_and_keeps_its_id(tmp_path):
    s = study(tmp_path, evaluation(2, task="grade"), **PLAIN)
    ann = s.store.person("ann")
    items = s.evaluations["secret-evaluation"]
    assignment = s.next(ann, items)[0]
    judge(s, ann, assignment, "fail")
    (before,) = s.annotations(items.name)
    judge(s, ann, assignment, "pass", version=1)
    (after,) = s.annotations(items.name)
    assert (before.value, after.value, after.id) == ("fail", "pass", before.id)


def test_the_time_of_an_item_is_at_most_the_time_since_it_was_opened(tmp_path):
    s = study(tmp_path, evaluation(1), **PLAIN)
    ann = s.store.person("ann")
    judge(s, ann, s.next(ann, s.evaluations["secret-evaluation"])[0], "tie", seconds=86400.0)
    assert s.annotations("secret-evaluation")[0].seconds < 60


def test_annotations_survive_a_new_database(tmp_path):
    s = study(tmp_path, evaluation(3), **PLAIN)
    ann = s.store.person("ann")
    answer_all(s, ann, s.evaluations["secret-evaluation"])
    write_annotations(s, tmp_path / "annotations")
    (path,) = (tmp_path / "annotations").iterdir()
    written = path.read_bytes()
    other = Study(s.evaluations.values(), Store(tmp_path / "other.sqlite"), s.settings)
    assert read_annotations(other, path.parent) == 3
    assert other.next(other.store.person("ann"), other.evaluations["secret-evaluation"])[0] is None  # all judged
    write_annotations(other, path.parent)
    assert path.read_bytes() == written


def test_lines_added_by_another_program_meanwhile_are_kept(tmp_path):
    s = study(tmp_path, evaluation(2), **PLAIN)
    ann = s.store.person("ann")
    answer_all(s, ann, s.evaluations["secret-evaluation"])
    write_annotations(s, tmp_path / "annotations")
    path = tmp_path / "annotations/secret-evaluation.jsonl"
    (record, _) = jsonl.read(path, Annotation)
    pulled = record.model_copy(update={"id": "pulled", "person": "carla"})
    jsonl.write(path, [pulled])
    write_annotations(s, tmp_path / "annotations")
    assert sorted(r.person for r in jsonl.read(path, Annotation)) == ["ann", "ann", "carla"]


def test_judgments_of_texts_that_were_sampled_again_are_kept_but_judged_anew(tmp_path):
    s = study(tmp_path, evaluation(1), **PLAIN)
    ann = s.store.person("ann")
    answer_all(s, ann, s.evaluations["secret-evaluation"])
    new = question(0, texts=("another text", "and another"))
    again = Study([type(evaluation(1))(new.evaluation, "pairwise", (new,))], s.store, s.settings)
    assert again.next(ann, again.evaluations["secret-evaluation"])[0].question == new.id
    assert len(again.annotations("secret-evaluation")) == 1


def test_withdrawn_data_are_deleted_and_not_imported_again(tmp_path):
    s = study(tmp_path, evaluation(3), **PLAIN)
    ann, bob = s.store.person("ann"), s.store.person("bob")
    for person in (ann, bob):
        answer_all(s, person, s.evaluations["secret-evaluation"])
    write_annotations(s, tmp_path / "old")
    assert s.store.withdraw(ann) == 3
    write_annotations(s, tmp_path / "new")
    (path,) = (tmp_path / "new").iterdir()
    assert {record.person for record in jsonl.read(path, Annotation)} == {"bob"}
    s.known_files.clear()
    read_annotations(s, tmp_path / "old")
    assert {record.person for record in s.annotations("secret-evaluation")} == {"bob"}
    assert b"ann" not in (tmp_path / "new" / path.name).read_bytes()


def test_the_id_of_an_item_depends_on_its_texts():
    assert question(1).id != question(2).id
    assert question(1).id != question(1, texts=("x", "y")).id
    assert isinstance(question(1), Question)
