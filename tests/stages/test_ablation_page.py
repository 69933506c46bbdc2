"""The page of the ablations: conclusions that the figures bear, with seeds, intervals and the paper's figures."""

from contextlib import chdir
from pathlib import Path

import ablation_run
import pytest
from drawing import drawn_once  # noqa: F401  a fixture
from parsed_page import Page, asks_nothing_of_the_network

from lima import config
from lima.evaluation.statistics.estimates import Estimate, Interval
from lima.records import Judgment
from lima.reporting import ablation_page, results
from lima.reporting.measures import measure
from lima.reporting.response_form import ResponseForm

RANDOM = {"smollm2-135m": {"kind": "random", "layers": 2, "hidden": 8, "heads": 2, "context": 64}}
LONGEST = {"longest": {"kind": "baseline", "rule": "longest"}}


def built(folder, *, forms=None, **settings):
    """Parameters and ablations of a synthetic run."""
    with chdir(folder):
        p = ablation_run.build(**settings)
        written = results.read(p)
        found = ablation_page.axes(p, written, measure(p, written), forms or {})
        return p, {axis.name: axis for axis in found}


def empty(share: float, *contestants: str) -> dict[str, ResponseForm]:
    """Forms of contestants of whose answers a share has no content."""
    estimate = Estimate(share, Interval(0, 1), 20, 20)
    return {name: ResponseForm(20, estimate, estimate, 0.0, 9.0) for name in contestants}


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    return built(tmp_path_factory.mktemp("rated"))


def test_the_registry_of_the_profile_gives_three_ablations_with_their_seeds(rated):
    _, axes = rated
    assert list(axes) == ["diversity", "quality", "quantity"]
    assert [recipe.level.examples for recipe in axes["quantity"].recipes] == [8, 16, 28]
    assert axes["diversity"].recipes[1].seeds == (("wikihow-8", 17, 17), ("wikihow-8-b", 18, 18))
    assert all(recipe.level.perplexities == (9.9, 9.9) for recipe in axes["quality"].recipes)


def test_a_difference_is_claimed_with_its_interval_and_a_flat_axis_is_not_called_equal(rated):
    _, axes = rated
    quality, quantity = axes["quality"].conclusion, axes["quantity"].conclusion
    assert quality.short == "unfiltered-8 scores lower than stackexchange-8 according to judge."
    [claim] = quality.claims
    assert claim.estimate.covers_seeds and claim.estimate.interval.high < 0
    assert quality.others == ("No judgment by people supports this.",)
    assert len(quantity.claims) == 2
    for contrast in quantity.claims:
        assert contrast.claim.startswith("No difference between ")
        assert contrast.limits[0].startswith("This does not show that they are equal: a true difference below ")


def test_the_page_shows_seeds_intervals_and_the_papers_figures(rated):
    p, axes = rated
    html = ablation_page.render(p, list(axes.values()))
    asks_nothing_of_the_network(html)
    table = axes["quality"].shown[0].table
    for level in table.levels:
        assert " · ".join(f"{seed:.2f}" for seed in level.by_seed) in html
        assert f"[{level.mean.interval.low:.2f}, {level.mean.interval.high:.2f}]" in html
    assert "unfiltered Stack Exchange 3.33, filtered 3.83" in html
    pictures = [attributes["aria-label"] for tag, attributes in Page(html).elements if tag == "svg"]
    assert len(pictures) == 3
    assert pictures[1].startswith("quality, mean rating, 1 to 6 by judge. stackexchange-8 ")
    assert html.count("in the paper, 7B") == 2  # the paper has no numbers for quantity


def test_answers_without_content_support_no_conclusion(tmp_path):
    both = empty(0.8, "unfiltered-8", "unfiltered-8-b", "stackexchange-8", "stackexchange-8-b")
    _, axes = built(tmp_path, forms=both)
    quality = axes["quality"].conclusion
    assert quality.is_open
    assert quality.reason == (
        "No conclusion about unfiltered-8 and stackexchange-8: 80% of unfiltered-8's answers have no content (empty, "
        "repetition or not language). 80% of stackexchange-8's answers have no content (empty, repetition or not "
        "language)."
    )
    [claim] = axes["diversity"].conclusion.claims  # the answers of wikihow-8 have content
    assert claim.limits[0].startswith("80% of stackexchange-8's answers have no content")


def test_simulated_people_support_no_conclusion(tmp_path):
    with chdir(tmp_path):
        ablation_run.build(annotators={"people": {"kind": "people"}})
        for path in Path("data/judge").glob("*/people/judgments.jsonl"):
            rows = [Judgment.model_validate_json(line) for line in path.read_text().splitlines()]
            simulated = [row.model_copy(update={"person": "simulated-1", "simulated": True}) for row in rows]
            path.write_text("".join(row.model_dump_json() + "\n" for row in simulated))
        p = config.load()
        written = results.read(p)
        [axis, *_] = ablation_page.axes(p, written, measure(p, written), {})
    assert axis.conclusion.reason == "No conclusion about quality: people are unusable."


def test_models_that_contradict_each_other_support_no_conclusion(tmp_path):
    with chdir(tmp_path):
        ablation_run.build(annotators={"judge": ablation_run.MODEL, "other": ablation_run.MODEL})
        for name in ("unfiltered-8", "unfiltered-8-b"):
            path = Path(f"data/judge/{name}/other/judgments.jsonl")
            rows = [Judgment.model_validate_json(line) for line in path.read_text().splitlines()]
            turned = [row.model_copy(update={"value": str(7 - int(row.value))}) for row in rows]
            path.write_text("".join(row.model_dump_json() + "\n" for row in turned))
        p = config.load()
        written = results.read(p)
        axes = {axis.name: axis for axis in ablation_page.axes(p, written, measure(p, written), {})}
    assert axes["quality"].conclusion.reason == (
        "No conclusion about unfiltered-8 and stackexchange-8: the model judges contradict each other (judge: lower, "
        "other: higher)."
    )


def test_values_without_a_spread_have_no_interval(tmp_path):
    p, axes = built(tmp_path, always="3")
    html = ablation_page.render(p, list(axes.values()))
    assert "3.00 <small>no spread</small>" in html
    assert "[3.00, 3.00]" not in html and "[+0.00, +0.00]" not in html
    assert "(3.00 to 3.00)" not in html


def test_one_seed_a_recipe_is_a_claim_about_the_trained_models(tmp_path):
    _, axes = built(tmp_path, repeated=False)
    [claim] = axes["quality"].conclusion.claims
    assert claim.limits == (
        "This holds for these trained models: the training seeds are too few to judge the recipes.",
    )


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"always": "3"}, "No conclusion about quality: no person has judged these recipes, and judge is unusable."),
        (
            {"task": "pairwise", "annotators": LONGEST},
            "No conclusion about quality: no person and no model has judged these recipes.",
        ),
        ({"models": RANDOM}, "No conclusion: the base model has random weights."),
        ({"annotators": {}}, "No conclusion: no annotator has judged the reference and another recipe."),
    ],
)
def test_without_a_usable_annotator_or_trained_weights_there_is_no_conclusion(tmp_path, settings, reason):
    p, axes = built(tmp_path, **settings)
    for axis in axes.values():
        assert axis.conclusion.is_open
        assert axis.conclusion.short == reason
    assert reason in ablation_page.render(p, list(axes.values()))
