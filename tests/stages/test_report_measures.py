import copy
import dataclasses
import math
from contextlib import chdir
from pathlib import Path

import pytest
import scipy.stats
import synthetic_run
from parsed_page import HOSTILE, Page, asks_nothing_of_the_network

from lima import jsonl
from lima.records import AnswerLikelihood, JudgeReply, Judgment, Usage
from lima.reporting import (
    accounting,
    adjusted_nets,
    annotator_agreement,
    answer_likelihood,
    breakdown,
    conclusions,
    dialogues,
    measures,
    metrics,
    prompt_browser,
    response_form,
    results,
    standings,
)
from lima.reporting.measures import measure


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small synthetic run with every task, for tests that only read: its parameters, results and measures."""
    with chdir(tmp_path_factory.mktemp("run")):
        p = synthetic_run.build(prompts=20)
        written = results.read(p)
        return p, written, measure(p, written)


def single(task, values, *, annotator="judge-large", evaluation="lima-alpaca-grade", **others):
    """Judgments of single responses: (prompt, contestant) → value."""
    return [
        Judgment(
            evaluation=evaluation,
            task=task,
            annotator=annotator,
            prompt_id=prompt,
            sample=0,
            contestant=contestant,
            value=value,
            reason=None if value else "unparsed",
            **others,
        )
        for (prompt, contestant), value in values.items()
    ]


def scored(task, values):
    return {score.key: score for score in measures.scores(task, single(task, values), ("a", "b"), confidence=0.95)}


def test_grades_are_shares_of_each_side_and_paired_differences():
    values = {(str(n), "a"): grade for n, grade in enumerate(["excellent", "excellent", "pass", "fail"])}
    values |= {(str(n), "b"): grade for n, grade in enumerate(["excellent", "fail", "fail", None])}
    found = scored("grade", values)
    assert found["excellent"].sides["a"].value == 2 / 4
    assert found["excellent"].sides["b"].value == pytest.approx(1 / 3)
    # of the three prompts that both have: excellent − excellent, excellent − fail, pass − fail → (0 + 1 + 0) / 3
    assert found["excellent"].difference.value == pytest.approx(1 / 3)
    assert found["excellent"].difference.count == 3


def test_ratings_are_means_with_their_paired_difference():
    values = {(str(n), "a"): str(rating) for n, rating in enumerate([4, 5, 6])}
    values |= {(str(n), "b"): str(rating) for n, rating in enumerate([3, 3, 6])}
    (mean,) = scored("rating", values).values()
    assert mean.sides["a"].value == pytest.approx(5)
    assert mean.difference.value == pytest.approx((1 + 2 + 0) / 3)


def test_attack_rates_leave_out_undecided_responses_and_those_without_content():
    outcomes = ["attack_succeeded", "resisted", "resisted", "neither", None, "refused", "answered"]
    found = scored("attack", {(str(n), "a"): value for n, value in enumerate(outcomes)})
    assert found["attack_success"].sides["a"].value == pytest.approx(1 / 3)
    assert found["over_refusal"].sides["a"].value == 1 / 2
    assert found["neither"].sides["a"].value == pytest.approx(1 / 6)
    assert found["attack_success"].sides["b"] is None


def test_constraints_are_counted_by_prompt_and_by_instruction():
    replies = [JudgeReply(first=None, value=value, text="") for value in ("kept", "kept", "violated")]
    (record,) = single("constraint", {("1", "a"): "violated"}, replies=tuple(replies))
    found = {score.key: score for score in measures.scores("constraint", [record], ("a", "b"), confidence=0.95)}
    assert found["kept"].sides["a"].value == 0
    assert found["instructions"].sides["a"].value == pytest.approx(2 / 3)


def test_dialogues_count_as_failed_from_their_first_failing_exchange():
    grades = {"1": ["excellent", "fail"], "2": ["pass", "pass"]}
    records = [
        record
        for prompt, values in grades.items()
        for turn, value in enumerate(values)
        for record in single("dialogue", {(prompt, "a"): value}, turn=turn)
    ]
    found = {score.key: score for score in measures.scores("dialogue", records, ("a", "b"), confidence=0.95)}
    assert found["failed"].sides["a"].value == 1 / 2
    assert found["fail"].sides["a"].value == 1 / 4


def graded(run, grades):
    """The run with judge-large's grades of dialogues replaced: (script, contestant) → a grade for each exchange."""
    p, written, _ = run
    written = copy.deepcopy(written)
    written.judgments["lima-base-dialogues"]["judge-large"] = [
        judgment.model_copy(update={"turn": turn})
        for (script, contestant), values in grades.items()
        for turn, value in enumerate(values)
        for judgment in single(
            "dialogue", {(f"dialogues/B/script-{script:02}", contestant): value}, evaluation="lima-base-dialogues"
        )
    ]
    return p, written, measure(p, written)


def test_the_report_lists_the_grade_of_each_response_and_the_first_failing_exchange(run):
    grades = {
        (0, "lima"): ["excellent", "pass", "fail", "pass"],
        (1, "lima"): ["pass", "pass", "pass", "fail"],
        (2, "lima"): ["pass", None, "fail"],
        (0, "base"): ["fail", "excellent"],
    }
    _, written, evaluations = graded(run, grades)
    [table] = [
        t for t in dialogues.tables(written, evaluations, confidence=0.95) if t.measured.annotator == "judge-large"
    ]
    courses = {(course.contestant, script): course for (script, _), row in table.courses.items() for course in row}
    shown = {who: (course.letters, course.first_failure) for who, course in courses.items()}
    assert shown == {
        ("lima", "dialogues/B/script-00"): ("E P F P", "3"),
        ("lima", "dialogues/B/script-01"): ("P P P F", "4"),
        ("lima", "dialogues/B/script-02"): ("P – F", "open"),
        ("base", "dialogues/B/script-00"): ("F E", "1"),
    }
    lima, base = table.rows
    # 1 of the 2 determined dialogues fails within three exchanges
    assert (lima.failed[0], len(lima.rates.first_failures), lima.responses, base.responses) == (1, 2, 10, 2)


def test_each_turn_of_a_conversation_has_its_response_and_its_grades(run):
    _, written, evaluations = graded(run, {(0, "lima"): ["excellent", None]})
    item = dialogues.shown(written, evaluations, most=1)[0]
    lima, base = item.conversations[:2]
    assert [len(side.exchanges) for side in (lima, base)] == [synthetic_run.EXCHANGES] * 2
    first, second = lima.exchanges[:2]
    assert "How do I store tea number 0" in first.asked and "a jar of glass" in second.asked
    assert ("judge-large", "excellent") in first.grades
    assert ("judge-large", "no grade: unparsed") in second.grades
    assert all(who != "judge-large" for exchange in base.exchanges for who, _ in exchange.grades)


def test_the_browser_has_the_dialogues_with_their_turns(run):
    p, written, evaluations = run
    rows = list(prompt_browser.entries(p, written, evaluations, limit=None))
    dialogue = next(row for row in rows if row.is_dialogue)
    assert len(rows) == len(written.test) + len(written.adversarial) + len(written.dialogues)
    column = dialogue.columns[0]
    assert column.trace == f"lima:{dialogue.prompt.id}#0"
    assert [answer.asked.shown for answer in column.answers] == [turn.content for turn in dialogue.prompt.messages]
    assert all(answer.grades for answer in column.answers)
    assert all(answer.asked is None for answer in rows[0].columns[0].answers)


def likelihood(values, tokens=10):
    return [
        AnswerLikelihood(prompt_id=f"p{n}", sample=0, log_likelihood=value, tokens=tokens, truncated=n == 0)
        for n, value in enumerate(values)
    ]


def test_the_likelihood_of_recorded_answers_is_a_mean_over_tokens_paired_with_the_base(run):
    scored = {"lima": likelihood([-20, -30, -40]), "base": likelihood([-25, -36, -41])}
    rows = answer_likelihood.measure(run[0], scored, confidence=0.95)
    assert rows["lima"].per_token == -3  # −90 / 30
    assert rows["lima"].perplexity == pytest.approx(math.exp(3))
    assert rows["lima"].difference.value == pytest.approx(0.4)  # (5 + 6 + 1) / 30
    # with equal tokens, the paired t interval of 0.5, 0.6, 0.1
    low, high = scipy.stats.ttest_1samp([0.5, 0.6, 0.1], 0).confidence_interval(0.95)
    interval = rows["lima"].difference.interval
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))
    assert (rows["lima"].reference, rows["base"].difference, rows["lima"].truncated) == ("base", None, 1)


def test_models_with_different_tokens_have_no_difference_and_one_answer_no_interval(run):
    scored = {"lima": likelihood([-20, -30]), "base": likelihood([-25, -36], tokens=12)}
    assert answer_likelihood.measure(run[0], scored, confidence=0.95)["lima"].difference is None
    some = {"lima": likelihood([-20, -30, -40]), "base": [*likelihood([-25, -36]), *likelihood([0, 0, -41], 12)[2:]]}
    row = answer_likelihood.measure(run[0], some, confidence=0.95)["lima"]
    assert (row.paired, row.difference.value) == (2, pytest.approx(0.55))  # (5 + 6) / 20
    [row] = answer_likelihood.measure(run[0], {"lima": likelihood([-20])}, confidence=0.95).values()
    assert (row.per_token, row.interval) == (-2, None)


def test_an_annotator_of_attacks_is_scored_together_with_the_rules(here):
    p = synthetic_run.build(prompts=12)
    panels = p.panels["rules"] | {"judge-large": p.panels["judges"]["judge-large"]}
    p = p.model_copy(update={"panels": {**p.panels, "rules": panels}})
    attack = list(jsonl.read(Path("data/judge/lima-base-attacks/rules/judgments.jsonl"), Judgment))
    undecided = [attack[0].model_copy(update={"annotator": "judge-large", "prompt_id": "x", "value": "resisted"})]
    jsonl.write(Path("data/judge/lima-base-attacks/judge-large/judgments.jsonl"), undecided)
    jsonl.write(Path("data/judge/lima-base-attacks/judge-large/canaries.jsonl"), [])
    for name in ("judgments", "canaries"):
        jsonl.write(Path(f"data/judge/lima-base-constraints/judge-large/{name}.jsonl"), [])
    found = measure(p, results.read(p))["lima-base-attacks"]
    alone, joined = (found[name].scores[0].sides["lima"].count for name in ("rules", "judge-large"))
    assert joined == alone + (undecided[0].contestant == "lima")


def test_a_model_that_always_says_a_is_unusable_and_people_are_not_tested_for_one_value(here):
    p = synthetic_run.build(prompts=20, always={"judge-large": "first"})
    written = results.read(p)
    wins = [
        judgment.model_copy(update={"value": "win", "replies": (JudgeReply(first="lima", value="win", text=""),)})
        for judgment in written.judgments["lima-base"]["people"]
    ]
    written.judgments["lima-base"]["people"] = wins
    found = measure(p, written)["lima-base"]
    assert not found["judge-large"].usability.usable
    assert any("order of the answers" in reason for reason in found["judge-large"].usability.reasons)
    assert found["people"].usability.usable
    assert found["judge-small"].usability.usable


def test_no_conclusion_rests_on_simulated_people_and_preferences_of_conversations_are_counted(here):
    p = synthetic_run.build(prompts=20)
    written = results.read(p)
    people = written.judgments["lima-base"]["people"]
    written.judgments["lima-base"]["people"] = [j.model_copy(update={"simulated": True}) for j in people]
    pairs = [people[0].model_copy(update={"value": value}) for value in ("win", "win", "lose", None)]
    written.preferences["lima-base-dialogues"] = {"judge-large": pairs}
    found = measure(p, written)
    persons = len({judgment.person for judgment in people})
    assert found["lima-base"]["people"].usability.reasons == (f"{persons} of its persons are simulated by a program",)
    assert not found["lima-base"]["people"].is_authority
    preferred = found["lima-base-dialogues"]["judge-large"].preferred
    assert (preferred.win, preferred.tie, preferred.lose) == (2, 0, 1)  # a skipped pair does not count


def test_missing_judgments_are_counted_by_reason_and_contestant():
    values = {("1", "a"): None, ("2", "a"): "pass", ("1", "b"): None}
    assert measures.missing(single("grade", values), pairwise=False) == {"a": {"unparsed": 1}, "b": {"unparsed": 1}}


def test_agreement_lists_people_first_and_baselines_last(run):
    p, written, evaluations = run
    rows = annotator_agreement.agreements(written, evaluations, p.report)
    pairs = {(row.first, row.second) for row in rows}
    assert ("people", "judge-large") in pairs
    assert ("longest", "random") not in pairs
    assert [row.with_baseline for row in rows] == sorted(row.with_baseline for row in rows)


def test_people_count_by_their_majority(here):
    p = synthetic_run.build(prompts=12)
    written = results.read(p)
    (first, *_) = written.judgments["lima-base"]["people"]
    votes = [
        first.model_copy(update={"person": str(n), "value": value}) for n, value in enumerate(["win", "win", "lose"])
    ]
    judge = first.model_copy(update={"annotator": "judge-large", "person": None, "value": "win"})
    for by_annotator in written.judgments.values():
        for name in by_annotator:
            by_annotator[name] = []
    written.judgments["lima-base"] |= {"people": votes, "judge-large": [judge]}
    evaluations = measure(p, written)
    rows = annotator_agreement.agreements(written, evaluations, p.report)
    found = {(row.first, row.second): row.estimate for row in rows}
    assert found["people", "judge-large"].value == 1
    by_group = {(row.first, row.second): row for row in annotator_agreement.groups(written, evaluations, p.report)}
    assert by_group["person", "person"].estimate.value == pytest.approx(1 / 3)  # one of three pairs agrees


def test_groups_have_the_agreement_of_the_paper_with_alpha_beside_the_baselines(run):
    p, written, evaluations = run
    rows = annotator_agreement.groups(written, evaluations, p.report)
    pairwise = {(row.first, row.second): row for row in rows if row.task == "pairwise"}
    assert list(pairwise) == [
        ("person", "person"),
        ("person", "model"),
        ("model", "model"),
        ("person", "baseline"),
        ("model", "baseline"),
    ]
    outcomes = [
        {
            (name, judgment.prompt_id): judgment.value
            for name, by in written.judgments.items()
            for judgment in by.get(judge, ())
            if judgment.task == "pairwise" and judgment.value
        }
        for judge in ("judge-large", "judge-small")
    ]
    pairs = [(one, outcomes[1][item]) for item, one in outcomes[0].items() if item in outcomes[1]]
    # 1 for equal values, ½ if exactly one is a tie
    expected = sum(1.0 if a == b else 0.5 if "tie" in (a, b) else 0.0 for a, b in pairs) / len(pairs)
    models = pairwise["model", "model"]
    assert (models.estimate.value, models.estimate.count) == (pytest.approx(expected), len(pairs))
    assert models.alpha.interval.low < models.alpha.value < models.alpha.interval.high
    assert pairwise["model", "baseline"].alpha is None
    assert {"grade", "dialogue", "rating"} <= {row.task for row in rows}


def test_recorded_judgments_are_a_group_of_their_own(run):
    p, written, evaluations = run
    recorded = {
        name: {who: dataclasses.replace(m, kind="recorded") if who == "judge-small" else m for who, m in by.items()}
        for name, by in evaluations.items()
    }
    groups = {(r.first, r.second) for r in annotator_agreement.groups(written, recorded, p.report)}
    assert {("person", "recorded"), ("model", "recorded"), ("recorded", "baseline")} <= groups
    assert ("model", "model") not in groups
    assert annotator_agreement.agreements(written, recorded, p.report)


def test_an_annotator_that_always_says_tie_has_half_the_agreement_and_a_kappa_of_zero(run):
    p, written, evaluations = run
    rows = annotator_agreement.agreements(written, evaluations, p.report)
    row = next(row for row in rows if (row.first, row.second) == ("judge-large", "always-tie"))
    assert row.estimate.value >= 0.5
    assert row.kappa.value == 0
    assert row.without_ties is None


def test_the_ranking_orders_contestants_as_the_synthetic_annotator_prefers_them(run):
    p, written, evaluations = run
    ranking = next(r for r in standings.rankings(written, evaluations, p.report) if r.annotator == "judge-large")
    assert ranking.standings[-1].contestant == "base"
    assert [row.rank for row in ranking.standings] == sorted(row.rank for row in ranking.standings)


def test_costs_are_sums_over_answers_and_replies(here):
    p = synthetic_run.build(prompts=12)
    written = results.read(p)
    usage = Usage(model="m", prompt_tokens=10, completion_tokens=5, cost=None, seconds=2.0, attempts=3)
    test, dialogue = written.responses["claude"][0], written.dialogue_responses["claude"][0]
    written.responses["claude"] = [test.model_copy(update={"usage": usage})]
    written.dialogue_responses["claude"] = [dialogue.model_copy(update={"usage": usage})]
    written.adversarial_responses["claude"] = []
    row = next(row for row in accounting.accounts(written) if row.name == "claude")
    assert (row.calls, row.attempts, row.prompt_tokens, row.completion_tokens, row.cost) == (2, 6, 20, 10, None)
    assert not [row for row in accounting.accounts(written) if row.name in ("lima", "longest")]


def test_nets_are_adjusted_for_length_and_people_are_joined_with_each_model(run):
    _, written, evaluations = run
    few = [j for j in written.judgments["lima-alpaca"]["people"] if j.prompt_id in {p.id for p in written.test[:8]}]
    joined = {**written.judgments["lima-alpaca"], "people": few}
    written = dataclasses.replace(written, judgments={**written.judgments, "lima-alpaca": joined})
    rows = [
        row
        for row in adjusted_nets.adjusted_nets(written, evaluations, confidence=0.95)
        if row.evaluation == "lima-alpaca"
    ]
    assert [(row.annotator, row.adjustment) for row in rows] == [
        ("people", "at equal length"),
        ("judge-large", "at equal length"),
        ("judge-small", "at equal length"),
        ("people and judge-large", "people, joined with the model"),
        ("people and judge-small", "people, joined with the model"),
    ]
    values = [
        {"win": 1, "lose": -1, "tie": 0}[j.value] for j in written.judgments["lima-alpaca"]["judge-large"] if j.value
    ]
    assert rows[1].raw == pytest.approx(sum(values) / len(values))
    assert all(row.net is not None for row in rows[3:])
    assert rows[3].interval.low < rows[3].net < rows[3].interval.high


def test_outcomes_are_grouped_by_source_and_kind(run):
    _, written, evaluations = run
    found = breakdown.breakdowns(written, evaluations, confidence=0.95, power=0.8)
    groups = {group.label: group for group in next(b for b in found if b.measured.annotator == "judge-large").groups}
    assert {"authored/B", "reddit/AskReddit", "kind: form", "sensitive"} <= groups.keys()
    assert not [label for label in groups if "topic" in label]
    assert groups["authored/B"].prompts + groups["reddit/AskReddit"].prompts == 20
    assert all(row.measured.kind != "baseline" for row in found)


def browser(p, written, evaluations, max_bytes=5_000_000):
    return prompt_browser.render(p, written, evaluations, max_bytes=max_bytes)


def test_the_browser_shows_every_prompt_and_the_judges_words(run):
    page = browser(*run)
    assert page.count('<details class="item"') == 20 + 48 + synthetic_run.DIALOGUES
    assert "VERDICT: A" in page
    assert "I would use this one." in page


def test_the_browser_marks_disagreement_and_outcomes_for_the_filters(run):
    p, written, evaluations = run
    rows = list(prompt_browser.entries(p, written, evaluations, limit=None))
    names, annotators = list(evaluations), list(dict.fromkeys(a for by in evaluations.values() for a in by))
    first = rows[0]
    judgment = next(j for j in written.judgments["lima-base"]["longest"] if j.prompt_id == first.prompt.id)
    place = f"{names.index('lima-base')}|{annotators.index('longest')}|{judgment.value}"
    assert place in first.outcomes.split(";")
    for row in rows[:20]:
        read = [
            (name, j.value)
            for name in names
            if p.evaluations[name].task == "pairwise"
            for annotator in ("people", "judge-large", "judge-small")
            for j in written.judgments[name][annotator]
            if j.prompt_id == row.prompt.id and j.value
        ]
        differing = [name for name in names if len({value for other, value in read if other == name}) > 1]
        assert row.disagreements >= len(differing)
        assert [chip.differ for chip in row.chips] == [f"lima-{chip.rival}" in differing for chip in row.chips]


def test_a_hostile_reply_stays_text_in_the_browser(run):
    p, written, evaluations = copy.deepcopy(run)
    hostile = HOSTILE + "</script><script>alert(2)</script>"
    judgments = written.judgments["lima-base"]["judge-large"]
    reply = JudgeReply(first="lima", value="first", text=hostile)
    judgments[0] = judgments[0].model_copy(update={"replies": (reply, reply)})
    responses = written.responses["lima"]
    responses[0] = responses[0].model_copy(update={"text": hostile})
    page = browser(p, written, evaluations)
    asks_nothing_of_the_network(page)
    assert [tag for tag, _ in Page(page).elements].count("script") == 1
    assert "img" not in {tag for tag, _ in Page(page).elements}


def test_a_large_browser_page_is_cut_to_fit_and_says_so(run):
    whole = browser(*run)
    limit = len(whole.encode()) * 3 // 4
    cut = browser(*run, max_bytes=limit)
    assert limit * 0.9 < len(cut.encode()) <= limit
    assert "Texts are cut after" in cut
    assert "more characters" in cut
    assert "Texts are cut after" not in whole


def test_contestants_without_content_are_found_and_leave_no_conclusion(here):
    p = synthetic_run.build(prompts=12, gibberish=("lima", "base"))
    written = results.read(p)
    evaluations = measure(p, written)
    forms = {name: response_form.measure(responses, confidence=0.95) for name, responses in written.responses.items()}
    assert (forms["lima"].without_content.value, forms["claude"].without_content.value) == (1, 0)
    adjusted = metrics.adjusted(measures.preferences_of(evaluations))
    found = {row.evaluation: row for row in conclusions.conclusions(p, evaluations, adjusted, forms)}
    assert found["lima-base"].is_open
    assert "have no content" in found["lima-base"].verdict
    assert not found["lima-claude"].is_open
