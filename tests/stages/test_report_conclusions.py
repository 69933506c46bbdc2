import dataclasses

import finished_run
import numpy as np
import pytest
from judged import judged

from lima import config
from lima.evaluation import statistics
from lima.evaluation.reliability import Usability
from lima.evaluation.statistics.estimates import Estimate, Interval
from lima.reporting import conclusions, metrics
from lima.reporting.measures import Measured
from lima.reporting.response_form import ResponseForm

YES, NO = Usability(usable=True, reasons=()), Usability(usable=False, reasons=("it fails 3 of 3 canaries",))
RANDOM = {"smollm2-135m": {"kind": "random", "layers": 2, "hidden": 8, "heads": 2, "context": 64}}


def measured(annotator, kind, outcomes, *, usability=YES):
    records = [judged(outcome, f"prompt-{n}") for n, outcome in enumerate(outcomes)]
    preference = statistics.measure_preference(
        records, confidence=0.95, resamples=2000, power=0.8, rng=np.random.default_rng(1)
    )
    return Measured(
        evaluation="lima-base",
        task="pairwise",
        annotator=annotator,
        kind=kind,
        judgments=len(records),
        persons=2 if kind == "people" else 0,
        simulated=0,
        missing={},
        reliability=None,
        usability=usability,
        preference=preference,
        scores=(),
        dialogues={},
        compared=None,
        preferred=None,
    )


def concluded(*annotators, forms=None, rival="base", **settings):
    values = finished_run.settings(**settings)
    values["evaluations"]["lima-base"]["rival"] = rival
    if rival not in values["contestants"]:
        values["contestants"][rival] = {"kind": "recorded", "reads": "corpus/recorded/authors.jsonl"}
    p = config.check(values, name="params.yaml")
    evaluations = {"lima-base": {m.annotator: m for m in annotators}}
    adjusted = metrics.adjusted({"lima-base": {m.annotator: m.preference for m in annotators}})
    (conclusion,) = conclusions.conclusions(p, evaluations, adjusted, forms or {})
    return conclusion


def form(without_content):
    share = Estimate(without_content, Interval(0, 1), 12, 12)
    return ResponseForm(12, share, share, 0.0, 100)


WINS, LOSSES = ["win"] * 28 + ["lose"] * 2, ["lose"] * 28 + ["win"] * 2
EVEN = ["win", "lose"] * 15


def test_people_lead_even_if_a_model_disagrees_and_the_model_is_named():
    conclusion = concluded(measured("gpt", "endpoint", LOSSES), measured("people", "people", WINS))
    assert conclusion.verdict == "People prefer lima to base."
    # (28 − 2) / 30
    assert "win / tie / lose 93 / 0 / 7" in conclusion.figures
    assert "net preference for lima +86.7 points" in conclusion.figures
    assert conclusion.figures.endswith("n = 30 prompts, 2 people.")
    assert "The model judge gpt differs: it prefers base (net −86.7)." in conclusion.limits


def test_the_preferred_side_can_be_the_rival_and_a_model_is_named_as_one():
    conclusion = concluded(measured("gpt", "endpoint", LOSSES))
    assert conclusion.verdict == "The model judge gpt prefers base to lima."
    assert "No usable judgment by people supports this." in conclusion.limits


def test_one_person_is_not_people():
    person = dataclasses.replace(measured("people", "people", WINS), persons=1)
    assert concluded(person).verdict == "One person prefers lima to base."


def test_no_preference_is_stated_with_the_difference_that_would_be_missed():
    conclusion = concluded(measured("people", "people", EVEN))
    assert conclusion.verdict == "People showed no clear preference between lima and base."
    # (1.96 + 0.84) · √(30/30) / √30 = 0.511
    assert "A difference below 51 points would probably be missed, so equality is not shown." in conclusion.limits


def test_an_adjusted_p_value_above_the_level_forbids_the_claim():
    first = measured("people", "people", WINS)
    evaluations = {"lima-base": {"people": first}}
    p = config.check(finished_run.settings(), name="params.yaml")
    (conclusion,) = conclusions.conclusions(p, evaluations, {("lima-base", "people"): 0.06}, {})
    assert conclusion.verdict.startswith("People showed no clear preference")


def test_an_unusable_judge_is_named_with_its_reason_and_is_no_headline():
    conclusion = concluded(measured("gpt", "endpoint", WINS, usability=NO), measured("longest", "baseline", WINS))
    assert conclusion.verdict == (
        "No conclusion about lima and base: no person has judged the answers, and gpt is unusable (it fails 3 of "
        "3 canaries)."
    )
    assert conclusion.is_open
    assert conclusion.figures == ""


def test_baselines_alone_support_no_conclusion():
    conclusion = concluded(measured("longest", "baseline", WINS))
    assert "no person and no model has judged the answers" in conclusion.verdict
    assert conclusion.figures == ""


def test_models_that_contradict_each_other_support_no_conclusion():
    conclusion = concluded(measured("gpt", "endpoint", WINS), measured("other", "endpoint", LOSSES))
    assert "contradict each other, with preferences for different sides (gpt lima, other base)" in conclusion.verdict
    assert conclusion.is_open


def test_random_weights_support_no_conclusion_whoever_judged():
    conclusion = concluded(measured("people", "people", WINS), models=RANDOM)
    assert conclusion.verdict == (
        "No conclusion about lima and base: lima and base come from a base model with random weights."
    )
    assert conclusion.figures.startswith("people: win / tie / lose 93")


def test_answers_without_content_on_both_sides_support_no_conclusion():
    both = {"lima": form(0.9), "base": form(1.0)}
    verdict = concluded(measured("people", "people", WINS), forms=both).verdict
    assert "90\N{NO-BREAK SPACE}% of lima's and 100\N{NO-BREAK SPACE}% of base's answers have no content" in verdict
    one = {"lima": form(0.1), "base": form(1.0)}
    conclusion = concluded(measured("people", "people", WINS), forms=one)
    assert conclusion.verdict == "People prefer lima to base."
    assert conclusion.limits[0] == (
        "100\N{NO-BREAK SPACE}% of base's answers have no content (empty, repetition or not language)."
    )


@pytest.mark.parametrize(
    ("rival", "shown"),
    [
        ("claude", "LIMA against Claude: win / tie / lose 24 / 22 / 54\N{NO-BREAK SPACE}% by people (net −30.0)"),
        ("alpaca-65b", "LIMA against Alpaca 65B: win / tie / lose 53 / 21 / 26\N{NO-BREAK SPACE}% by people"),
        ("GPT-4o", "LIMA against GPT-4: win / tie / lose 18 / 25 / 57\N{NO-BREAK SPACE}% by people"),
    ],
)
def test_the_papers_figure_is_shown_for_the_papers_rivals(rival, shown):
    assert shown in concluded(measured("people", "people", WINS), rival=rival).paper


def test_no_figure_of_the_paper_is_shown_for_another_rival():
    assert concluded(measured("people", "people", WINS)).paper == ""


def test_missing_judgments_are_counted():
    conclusion = concluded(measured("gpt", "endpoint", [*WINS, "unparsed", "failed"]))
    assert "2 of 32 judgments have no value and count for neither side." in conclusion.limits
