"""Ablations by property: means, differences from the reference, and conclusions that claim what the figures bear."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from ruamel.yaml import YAML

from lima import config
from lima.evaluation import ablations
from lima.evaluation.statistics.seeds import seed_difference, seed_mean
from lima.records import Judgment

LAPTOP = Path(__file__).parents[2] / "lima/config/profiles/laptop.yaml"
SMALL = {"pool": "kept", "without": [], "examples": {"stack_exchange_stem": 4}}
LARGE = {"pool": "kept", "without": [], "examples": {"stack_exchange_stem": 8}}
TWICE = {"train_seed": 18, "data_seed": 18}


def params(arms: dict, evaluations: dict, **axes: list[str]) -> config.Params:
    """The laptop's parameters with other arms, each with a contestant of its name, and a panel with a model."""
    values = YAML(typ="safe").load(LAPTOP)
    values["arms"], values["ablations"] = arms, axes
    values["contestants"] = {arm: {"kind": "arm", "arm": arm, "reads": arm} for arm in arms}
    values["panels"]["models"] = {
        "gpt": {"kind": "endpoint", "url": "http://h/v1", "model": "m", "key_variable": "K", "max_tokens": 9}
    }
    shared = {"prompts": "test", "template": "t.md", "panel": "models", "task": "rating"}
    values["evaluations"] = {name: shared | entry for name, entry in evaluations.items()}
    return config.check(values, name="test")


def ratings(evaluation: str, arm: str, values) -> list[Judgment]:
    return [
        Judgment(
            evaluation=evaluation,
            task="rating",
            annotator="gpt",
            prompt_id=f"p{n}",
            sample=0,
            contestant=arm,
            value=None if value is None else str(value),
            reason="unparsed" if value is None else None,
        )
        for n, value in enumerate(values)
    ]


def pairs(evaluation: str, arm: str, rival: str, values, annotator: str = "gpt") -> list[Judgment]:
    return [
        Judgment(
            evaluation=evaluation,
            task="pairwise",
            annotator=annotator,
            prompt_id=f"p{n}",
            sample=0,
            contestant=arm,
            rival=rival,
            value=value,
        )
        for n, value in enumerate(values)
    ]


TABLES = {
    "small": [3, 4, 2, 3, 5, 4, 3, 2],
    "small-2": [3, 3, 2, 4, 5, 4, 2, 2],
    "large": [5, 5, 4, 4, 6, 6, 5, 4],
    "large-2": [5, 6, 3, 5, 6, 5, 5, 4],
}
SEEDED = {"small": SMALL, "small-2": SMALL | TWICE, "large": LARGE, "large-2": LARGE | TWICE}
RATED = {
    "large-small": {"contestant": "large", "rival": "small"},
    "large-small-2": {"contestant": "large-2", "rival": "small-2"},
}


def rated(tables=TABLES) -> dict:
    return {
        "large-small": {
            "gpt": ratings("large-small", "large", tables["large"]) + ratings("large-small", "small", tables["small"])
        },
        "large-small-2": {
            "gpt": ratings("large-small-2", "large-2", tables["large-2"])
            + ratings("large-small-2", "small-2", tables["small-2"])
        },
    }


def test_repetitions_form_one_level_with_an_interval_over_prompts_and_seeds():
    p = params(SEEDED, RATED, quantity=["small", "large"])
    [table] = ablations.ablations(p, rated(), perplexities={"small": 9.5, "large-2": 8.0})
    small, large = table.levels
    assert (small.arms, large.arms) == (("small", "small-2"), ("large", "large-2"))
    assert (small.examples, large.examples, table.axis, table.annotator) == (4, 8, "quantity", "gpt")
    assert (small.perplexities, large.perplexities) == ((9.5, None), (None, 8.0))
    # 26/8, 25/8; 39/8, 39/8
    assert small.by_seed == (3.25, 3.125)
    assert large.by_seed == (4.875, 4.875)
    first, second = (np.array([TABLES[arm] for arm in level.arms], float) for level in (large, small))
    assert small.mean == seed_mean(second, confidence=0.95)
    [contrast] = table.contrasts
    assert contrast.estimate == seed_difference(first, second, confidence=0.95)
    assert contrast.estimate.value == 4.875 - 3.1875
    assert contrast.estimate.covers_seeds
    assert contrast.verdict == "higher"
    assert contrast.sentence.startswith(
        "large scores higher than small according to gpt (difference +1.69, 95% interval "
    )
    assert "seeds" not in contrast.sentence and "baseline" not in contrast.sentence


def test_smallest_detectable_difference_is_the_sum_of_two_quantiles_times_the_error():
    p = params(SEEDED, RATED, quantity=["small", "large"])
    [contrast] = ablations.ablations(p, rated())[0].contrasts
    e = contrast.estimate
    [whole] = e.components
    error = math.hypot(e.prompt_error, e.seed_error)
    assert whole.variance == pytest.approx(error**2)
    assert contrast.smallest == pytest.approx(
        (scipy.stats.t.ppf(0.975, whole.degrees) + scipy.stats.t.ppf(0.8, whole.degrees)) * error
    )
    assert contrast.p_value == pytest.approx(2 * scipy.stats.t.sf(e.value / error, whole.degrees))


def test_one_seed_a_recipe_is_a_statement_about_the_trained_models():
    arms = {name: SEEDED[name] for name in ("small", "large")}
    p = params(arms, {"large-small": RATED["large-small"]}, quantity=["small", "large"])
    [contrast] = ablations.ablations(p, {"large-small": rated()["large-small"]})[0].contrasts
    # the paired t-test over prompts
    reference = scipy.stats.ttest_rel(TABLES["large"], TABLES["small"])
    assert contrast.p_value == pytest.approx(reference.pvalue)
    assert not contrast.estimate.covers_seeds
    assert contrast.sentence.endswith("the training seeds are too few to judge the recipes.")


@pytest.mark.parametrize(
    ("seeds", "sentences"),
    [
        ({"train_seed": 18, "data_seed": 18}, 0),
        ({"train_seed": 18}, 2),  # of each recipe
        ({"data_seed": 18}, 2),
    ],
)
def test_repetitions_that_share_a_seed_do_not_cover_others(seeds, sentences):
    arms = {"small": SMALL, "small-2": SMALL | seeds, "large": LARGE, "large-2": LARGE | seeds}
    [contrast] = ablations.ablations(params(arms, RATED, quantity=["small", "large"]), rated())[0].contrasts
    assert contrast.estimate.covers_seeds
    assert len(contrast.limits) == sentences
    if sentences:
        kind, others = ("data", "draws of its examples") if "train_seed" in seeds else ("training", "training runs")
        assert contrast.limits[0] == (
            f"The repetitions of large share one {kind} seed: the interval does not cover other {others}."
        )


def test_an_undetected_difference_is_not_called_equality():
    tables = TABLES | {"large": [3, 4, 3, 3, 5, 4, 2, 2], "large-2": [3, 4, 2, 3, 5, 4, 3, 2]}
    p = params(SEEDED, RATED, quantity=["small", "large"])
    [contrast] = ablations.ablations(p, rated(tables))[0].contrasts
    assert contrast.verdict == "undetected"
    assert contrast.estimate.interval.low < 0 < contrast.estimate.interval.high
    assert contrast.sentence.startswith("No difference between large and small is shown by gpt (")
    assert (
        f"This does not show that they are equal: a true difference below {contrast.smallest:.2f} " in contrast.sentence
    )


def test_prompts_without_a_value_from_every_model_are_left_out_of_all_means():
    tables = TABLES | {"large": [None, *TABLES["large"][1:]], "small-2": [*TABLES["small-2"][:7], None]}
    p = params(SEEDED, RATED, quantity=["small", "large"])
    [table] = ablations.ablations(p, rated(tables))
    assert table.left_out == 2
    assert {level.mean.prompts for level in table.levels} == {6}
    assert table.levels[0].by_seed[0] == pytest.approx(sum(TABLES["small"][1:7]) / 6)


def test_several_contrasts_are_corrected_by_holm():
    arms = {"small": SMALL, "large": LARGE, "unfiltered": SMALL | {"pool": "unfiltered"}}
    evaluations = {f"{arm}-small": {"contestant": arm, "rival": "small"} for arm in ("large", "unfiltered")}
    third = [3, 5, 2, 3, 6, 4, 3, 3]
    judgments = {
        "large-small": {
            "gpt": ratings("large-small", "large", TABLES["large"]) + ratings("large-small", "small", TABLES["small"])
        },
        "unfiltered-small": {"gpt": ratings("unfiltered-small", "unfiltered", third)},
    }
    p = params(arms, evaluations, all=["small", "large", "unfiltered"])
    large, unfiltered = ablations.ablations(p, judgments)[0].contrasts
    assert large.adjusted == pytest.approx(2 * large.p_value)  # the smaller of two
    assert unfiltered.adjusted == pytest.approx(unfiltered.p_value)
    assert "test corrected for 2 comparisons" in large.sentence


def test_one_pair_of_models_has_the_interval_and_test_of_the_report():
    from lima.evaluation.statistics.preference import net_preference

    arms = {name: SEEDED[name] for name in ("small", "large")}
    p = params(arms, {"a": {"task": "pairwise", "contestant": "small", "rival": "large"}}, quantity=["small", "large"])
    outcomes = ["lose"] * 6 + ["tie", "win"]  # of small
    [table] = ablations.ablations(p, {"a": {"gpt": pairs("a", "small", "large", outcomes)}})
    [contrast] = table.contrasts
    net = net_preference(
        {f"p{n}": [v] for n, v in enumerate([1.0] * 6 + [0.0, -1.0])}, confidence=0.95, power=p.report.power
    )
    assert contrast.estimate.value == net.net == 5 / 8
    assert (contrast.estimate.interval, contrast.p_value, contrast.smallest) == (
        net.interval,
        net.p_value,
        net.smallest,
    )
    assert table.levels[1].by_seed == (5 / 8,)
    assert table.levels[0].mean is None


PAIRED = {
    "a": {"task": "pairwise", "contestant": "large", "rival": "small"},
    "b": {"task": "pairwise", "contestant": "large-2", "rival": "small-2"},
}


def paired(first: list[str], second: list[str]):
    judgments = {"a": {"gpt": pairs("a", "large", "small", first)}}
    if second:
        judgments["b"] = {"gpt": pairs("b", "large-2", "small-2", second)}
    [contrast] = ablations.ablations(params(SEEDED, PAIRED, quantity=["small", "large"]), judgments)[0].contrasts
    return contrast


def test_unanimous_repetitions_are_not_less_evidence_than_one_of_them():
    contrast = paired(["win"] * 12, ["win"] * 12)
    # 12 prompts that agree: 2 / 2¹² by the exact test over prompts
    assert (contrast.verdict, contrast.p_value) == ("higher", pytest.approx(2 / 2**12))
    assert 0.5 < contrast.estimate.interval.low < contrast.estimate.interval.high == 1
    assert contrast.smallest is not None


def test_repetitions_that_differ_by_more_than_their_mean_show_no_difference():
    # nets 10/12 and 2/12: mean 0.5, which the prompts alone would call a difference; two values, one degree of freedom
    contrast = paired(["win"] * 11 + ["lose"], ["win"] * 5 + ["tie"] * 4 + ["lose"] * 3)
    assert contrast.estimate.value == pytest.approx(0.5)
    assert contrast.verdict == "undetected"
    assert contrast.estimate.interval.low == -1 and contrast.estimate.interval.high == 1
    assert contrast.smallest > 1
    assert contrast.limits[0] == (
        "This does not show that they are equal: not even the largest possible difference, 1.00, is detected with a "
        "probability of 80%."
    )


def test_ties_alone_show_no_difference_and_not_equality():
    for second in ([], ["tie"] * 12):
        contrast = paired(["tie"] * 12, second)
        assert contrast.verdict == "undetected"
        assert contrast.estimate.interval.low < 0 < contrast.estimate.interval.high
        assert "This does not show that they are equal" in contrast.sentence


def test_no_difference_is_claimed_whose_interval_contains_zero(monkeypatch):
    net = ablations.net_preference({f"p{n}": [1.0] for n in range(12)}, confidence=0.95, power=0.8)
    wide = ablations.replace(net, interval=ablations.Interval(-0.01, 1.0))
    monkeypatch.setattr(ablations, "net_preference", lambda *_, **__: wide)
    contrast = paired(["win"] * 12, [])
    assert contrast.adjusted < 0.05
    assert contrast.verdict == "undetected"


@pytest.mark.parametrize(("rivals", "covers"), [(("small", "small-2"), True), (("small", "small"), False)])
def test_pairs_that_share_a_model_do_not_cover_the_seeds(rivals, covers):
    evaluations = {
        name: {"task": "pairwise", "contestant": arm, "rival": rival}
        for name, arm, rival in zip("ab", ("large", "large-2"), rivals, strict=True)
    }
    outcomes = ["win", "win", "tie", "win", "lose", "win", "win", "tie"]
    judgments = {
        "a": {"gpt": pairs("a", "large", rivals[0], outcomes)},
        "b": {"gpt": pairs("b", "large-2", rivals[1], outcomes[::-1])},
    }
    [contrast] = ablations.ablations(params(SEEDED, evaluations, quantity=["small", "large"]), judgments)[0].contrasts
    assert contrast.estimate.seeds == (2, len(set(rivals)))
    assert contrast.estimate.covers_seeds is covers


def test_baselines_and_unusable_annotators_support_no_conclusion_about_quality():
    arms = {name: SEEDED[name] for name in ("small", "large")}
    entry = {"task": "pairwise", "contestant": "large", "rival": "small", "panel": "preference"}
    p = params(arms, {"a": entry}, quantity=["small", "large"])
    judgments = {"a": {"longest": pairs("a", "large", "small", ["win"] * 8, "longest")}}
    [table] = ablations.ablations(p, judgments)
    assert table.form_only
    assert table.sentence.startswith("large scores higher than small according to the baseline longest (")
    assert table.sentence.endswith("A baseline measures form, not quality.")
    [table] = ablations.ablations(p, judgments, unusable=frozenset({("a", "longest")}))
    assert table.sentence == "The judgments of the baseline longest do not support a conclusion about large and small."


def test_values_without_a_spread_determine_no_difference():
    tables = dict.fromkeys(("small", "small-2"), [3] * 8) | dict.fromkeys(("large", "large-2"), [4] * 8)
    [contrast] = ablations.ablations(params(SEEDED, RATED, quantity=["small", "large"]), rated(tables))[0].contrasts
    assert (contrast.verdict, contrast.smallest, contrast.p_value) == ("not estimable", None, None)


def test_intervals_stay_within_the_range_of_the_values():
    # seeds that differ by 4 points: 1 degree of freedom, a reach of 12.7 standard errors
    tables = {"small": [1, 1, 2, 1], "small-2": [5, 6, 5, 5], "large": [6, 6, 5, 6], "large-2": [2, 1, 2, 2]}
    p = params(SEEDED, RATED, quantity=["small", "large"])
    [table] = ablations.ablations(p, rated(tables))
    intervals = [level.mean.interval for level in table.levels]
    assert [(interval.low, interval.high) for interval in intervals] == [(1, 6), (1, 6)]
    [contrast] = table.contrasts
    assert (contrast.estimate.interval.low, contrast.estimate.interval.high) == (-5, 5)


def test_an_ablation_without_judgments_of_its_reference_has_no_table():
    p = params(SEEDED, RATED, quantity=["small", "large"])
    only_large = {"large-small": {"gpt": ratings("large-small", "large", TABLES["large"])}}
    assert ablations.ablations(p, only_large) == []
