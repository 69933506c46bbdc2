import csv
import json
import re
import shutil
from contextlib import chdir
from pathlib import Path

import finished_run
import pytest
from drawing import DRAWN, drawn_once  # noqa: F401  a fixture
from judged import judged
from parsed_page import CONTROLS, HOSTILE, Page, asks_nothing_of_the_network

from lima import jsonl, mlflow_runs
from lima.evaluation import statistics
from lima.records import Example, Judgment, Response, Unanswered
from lima.reporting import caveats, metrics, results, token_counts
from lima.stages import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def flat(value: object, path: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {path: value}
    return {
        place: leaf for key, below in value.items() for place, leaf in flat(below, f"{path}.{key}".strip(".")).items()
    }


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """reports/ of the fixture's run as it is, for tests that only read."""
    folder = tmp_path_factory.mktemp("plain")
    with chdir(folder):
        written()
    return folder / "reports"


def written(answer: str = finished_run.ANSWER, **overrides: object) -> str:
    report.write(finished_run.build(answer, **overrides))
    return Path("reports/report.html").read_text()


def test_every_marked_figure_of_the_page_is_that_of_metrics_json(plain):
    page = Page((plain / "report.html").read_text())
    figures = flat(json.loads((plain / "metrics.json").read_text()))
    assert {place: float(value) for place, value in page.figures.items()} == {
        place: float(value)
        for place, value in figures.items()
        if place.split(".")[-1] not in ("win", "tie", "lose", "n", "usable")
    }


def test_metrics_are_those_of_the_chosen_epoch_and_of_the_verdicts(plain):
    figures = json.loads((plain / "metrics.json").read_text())
    assert figures["arms"]["lima"] == {
        "train_loss": 1.8,  # 2.4 − 0.3 · 2
        "held_out_perplexity": 9.9,  # 9.1 + 0.4 · 2
        "chosen_epoch": 2,
        "dev_score": 0.4,
        "ended": 0.916667,  # 11 of 12
    }
    assert figures["data"]["authored"] == {"offered": 45, "kept": 20}
    judgments = jsonl.read(plain.parent / "data/judge/lima-base/judge/judgments.jsonl", Judgment)
    values = [judgment.value for judgment in judgments]
    ours = figures["evaluations"]["lima-base"]["judge"]
    assert ours["net"] == pytest.approx((values.count("win") - values.count("lose")) / 12, abs=1e-6)
    assert ours["low"] <= ours["net"] <= ours["high"]
    # twelve ties bound the net by ±z²/(n + z²) = ±3.841/15.841
    tie = {"win": 0, "tie": 1, "lose": 0, "net": 0, "low": -0.242494, "high": 0.242494, "n": 12, "usable": 12}
    assert figures["evaluations"]["lima-base"]["always-tie"] == tie


def test_the_funnel_on_the_page_adds_up(plain):
    page = Page((plain / "report.html").read_text())
    assert len(page.rows) == 2
    for row in page.rows:
        assert row["offered"] == row["dropped"] + row["prompts"] + row["kept"]


def test_hostile_texts_become_neither_markup_nor_an_address(here, plain):
    p = finished_run.build(HOSTILE)
    test = Path("data/prompts/test.jsonl")
    test.write_text(test.read_text().replace("How long", "<script>alert(1)</script> How long"))
    license = Path("data/mix/lima/train.jsonl")
    license.write_text(license.read_text().replace("CC BY-SA 4.0", "<b onclick=x>CC</b>"))
    report.write(p)
    html = Path("reports/report.html").read_text()

    def kinds(text: str) -> set[str]:
        return {tag for tag, _ in Page(text).elements}

    assert not CONTROLS.search(html)
    assert kinds(html) == kinds((plain / "report.html").read_text()) - {"ol"}  # its answers are lists
    assert not kinds(html) & {"script", "img", "b"}
    asks_nothing_of_the_network(html)


def test_every_reference_within_the_page_leads_to_one_element(plain):
    page = Page((plain / "report.html").read_text())
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    addresses = {attributes["href"] for _, attributes in page.elements if "href" in attributes}
    links = {address[1:] for address in addresses if address.startswith("#")}
    labels = {attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes}
    assert links | labels <= set(ids)
    assert {address for address in addresses if not address.startswith("#")} == {
        "ablations.html",
        "answers.html",
        "cards/lima.html",
        "cards/unfiltered.html",
    }


def test_the_cards_that_the_page_links_show_each_arm(plain):
    pages = {arm: (plain / f"cards/{arm}.html").read_text() for arm in ("lima", "unfiltered")}
    for arm, page in pages.items():
        assert f"<h1>Data card: {arm}</h1>" in page
        asks_nothing_of_the_network(page)
    assert "bad_row</strong>: 4" in pages["lima"] and "bad_row</strong>: 2" in pages["unfiltered"]  # 2 per source


def test_tables_name_their_headers_and_pictures_say_what_they_show(plain):
    page = Page((plain / "report.html").read_text())
    tables = [attributes for tag, attributes in page.elements if tag == "th" and "class" in attributes]
    assert all("scope" in attributes for attributes in tables if "colspan" not in attributes)
    pictures = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(pictures) == 3 + len(finished_run.settings()["arms"])
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in pictures)


def test_equal_files_give_an_equal_report_and_a_second_run_replaces_the_first(here):
    written()
    first = {path: path.read_bytes() for path in Path("reports").rglob("*") if path.is_file()}
    Path("reports/stale.html").write_text("old")
    DRAWN.clear()
    written()
    assert {path: path.read_bytes() for path in Path("reports").rglob("*") if path.is_file()} == first


def test_a_sentence_says_how_perplexity_and_quality_move_and_that_it_is_no_test(plain):
    html = (plain / "report.html").read_text()
    # 9.1 + 0.4 · epoch; 0.6 − 0.1 · epoch
    course = (
        "From epoch 1 to 3, held-out perplexity rises from 9.50 to 10.30, and the dev score falls from +50.0 to +30.0"
    )
    assert course in html
    assert "(2 prompts, by a baseline rule, which measures form; without an interval, so not a test)" in html


def test_the_tables_to_plot_hold_every_epoch_and_every_outcome(plain):
    epochs = list(csv.DictReader((plain / "plots/epochs.csv").read_text().splitlines()))
    assert [(row["arm"], row["epoch"]) for row in epochs[:4]] == [
        ("lima", "1"),
        ("lima", "2"),
        ("lima", "3"),
        ("unfiltered", "1"),
    ]
    preferences = list(csv.DictReader((plain / "plots/preferences.csv").read_text().splitlines()))
    assert len(preferences) == 2 * 2 * 6  # comparisons · annotators · outcomes
    assert sum(float(row["share"]) for row in preferences) == pytest.approx(4, abs=1e-4)


def test_answers_are_those_of_every_contestant_to_as_many_prompts_as_asked_for(plain):
    html = (plain / "report.html").read_text()
    assert html.count('<article class="prompt"') == 4
    assert html.count('<div class="answer"') == 4 * 3


def test_the_page_tells_how_many_answers_keep_the_form_they_were_asked_for_and_what_broke_the_others(plain):
    html = (plain / "report.html").read_text()
    assert json.loads((plain / "metrics.json").read_text())["forms"] == {
        name: {"kept": 0.0} for name in ("lima", "base")
    }
    assert "<code><bdi>authored/B/1</bdi></code>: <bdi>a line is not &#39;- [x]&#39; or &#39;- [ ]&#39;" in html


def test_the_p_values_shown_are_corrected_over_one_annotators_comparisons(here):
    p = finished_run.build()
    report.write(p)
    measured = metrics.preferences(results.read(p).judgments, p.report)
    rows = re.findall(r'<td class="text">judge <small.*?</tr>', Path("reports/report.html").read_text())
    shown = [re.findall(r"<td>(<?[\d.]+|&lt;[\d.]+)</td>", row)[-2:][0] for row in rows]
    raw = {name: by_annotator["judge"].p_value for name, by_annotator in measured.items()}
    corrected = statistics.holm(raw)
    assert [f"{raw[name]:.3f}" for name in raw] != [f"{corrected[name]:.3f}" for name in raw]
    assert shown == [f"{corrected[name]:.3f}" for name in raw]


def test_an_answer_to_no_test_prompt_counts_nowhere(here):
    p = finished_run.build()
    path = Path("data/sample/lima/responses.jsonl")
    answers = list(jsonl.read(path, Response))
    jsonl.write(path, [*answers, answers[3].model_copy(update={"prompt_id": "authored/A/0"})])
    assert report.write(p)["arms"]["lima"]["ended"] == 0.916667  # still 11 of 12


def test_a_run_takes_its_arms_figures_and_the_nets_of_its_comparisons(here):
    p = finished_run.build()
    figures = report.write(p)
    of_lima = metrics.run_metrics(p, figures, "lima")
    assert of_lima["report.chosen_epoch"] == 2
    assert of_lima["net.lima-base.judge"] == figures["evaluations"]["lima-base"]["judge"]["net"]
    assert not any(name.startswith("net.") for name in metrics.run_metrics(p, figures, "unfiltered"))
    assert results.run_id("lima") == "run-of-lima"


def test_only_the_first_of_several_answers_is_shown(here):
    p = finished_run.build()
    path = Path("data/sample/lima/responses.jsonl")
    first = list(jsonl.read(path, Response))
    second = [response.model_copy(update={"sample": 1, "text": "a second try"}) for response in first]
    jsonl.write(path, [*first, *second])
    report.write(p)
    assert "a second try" not in Path("reports/report.html").read_text()


def test_what_may_not_be_concluded_follows_from_the_run(plain):
    html = (plain / "report.html").read_text()
    for claim in (
        "Anything about superficial alignment.",  # SmolLM2-135M-Instruct
        "Anything from the baselines.",
        "That the selected epochs are the best.",  # a baseline selected them
        "The quality on prompts from other authors.",  # authored trains and tests
        "How complete answers compare.",  # one in twelve is truncated
    ):
        assert claim in html
    assert "Anything about quality." not in html


def test_an_arm_without_a_comparison_is_a_caveat(here, plain):
    claim = "How unfiltered compares with any other contestant."
    assert claim not in (plain / "report.html").read_text()
    evaluations = finished_run.settings()["evaluations"]
    del evaluations["lima-unfiltered"]
    html = written(evaluations=evaluations)
    assert claim in html
    assert "Arm unfiltered has no comparison; add a comparison of the contestant unfiltered to evaluations in " in html


def test_a_random_model_says_nothing_about_quality(here):
    random = {"kind": "random", "layers": 2, "hidden": 8, "heads": 2, "context": 64}
    assert "Anything about quality." in written(models={"smollm2-135m": random})


def test_a_pretrained_base_and_a_real_judge_earn_no_caveat_about_either(here):
    hub = {"smollm2-135m": {"kind": "hub", "id": "llama/65b", "revision": "main"}}
    p = finished_run.build(models=hub)
    found = results.read(p)
    real = {
        name: {"judge": by_annotator["judge"]}
        for name, by_annotator in found.judgments.items()
        if "judge" in by_annotator
    }
    measured = metrics.preferences(real, p.report)
    claims = [claim for claim, _ in caveats.caveats(p, found, measured, {arm: [1] for arm in p.arms})]
    assert not {
        "Anything about superficial alignment.",
        "Anything about quality.",
        "Anything from the baselines.",
    } & set(claims)
    assert "That any contestant answers better than another." not in claims


def test_filtering_is_not_the_only_difference_of_arms_from_other_sources(here):
    p = finished_run.build()
    found = results.read(p)
    claim = "That filtering makes the difference in lima-unfiltered."
    assert "The sources also differ: lima has " in claims_of(p, found)[claim]
    for arm in ("lima", "unfiltered"):
        train = found.arms[arm].train
        train[:] = [example for example in train if example.provenance.source == "wikihow"]
    assert claim not in claims_of(p, found)


def test_the_settings_show_no_credentials_of_a_url(here):
    served = {"kind": "endpoint", "url": "https://ann:pa55w0rd@host/v1?api_key=k3y", "model": "m", "key_variable": ""}
    panels = finished_run.settings()["panels"] | {"others": {"other": served | {"max_tokens": 9}}}
    html = written(panels=panels)
    assert "https://…@host/v1?api_key=…" in html
    assert "pa55w0rd" not in html
    assert "k3y" not in html


def judged_as(*outcomes):
    """The fixture's run, in which the judge gives these outcomes in turn for lima-base."""
    p = finished_run.build()
    path = Path("data/judge/lima-base/judge/judgments.jsonl")
    sides = {"evaluation": "lima-base", "contestant": "lima", "rival": "base"}
    judgments = list(jsonl.read(path, Judgment))
    jsonl.write(path, [judged(outcomes[n % len(outcomes)], j.prompt_id, **sides) for n, j in enumerate(judgments)])
    return p


@pytest.mark.parametrize("outcome", ["inconsistent", "unparsed", "failed"])
def test_a_worthless_annotator_has_no_net_in_page_metrics_plots_or_run(here, outcome):
    p = judged_as(outcome)
    figures = report.write(p)
    nothing = {"win": 0, "tie": 0, "lose": 0, "net": None, "low": None, "high": None, "n": 12, "usable": 0}
    assert json.loads(Path("reports/metrics.json").read_text())["evaluations"]["lima-base"]["judge"] == nothing
    html = Path("reports/report.html").read_text()
    assert "no usable verdicts (0 of 12)" in html
    assert "lima-base by judge: no usable verdicts" in html  # the words of the plot
    assert "evaluations.lima-base.judge.net" not in html
    assert "evaluations.lima-unfiltered.judge.net" in html
    of_lima = metrics.run_metrics(p, figures, "lima")
    assert "net.lima-base.judge" not in of_lima
    assert "net.lima-unfiltered.judge" in of_lima


def claims_of(p, found=None):
    found = found or results.read(p)
    measured = metrics.preferences(found.judgments, p.report)
    return dict(caveats.caveats(p, found, measured, {arm: [1] for arm in p.arms}))


def test_a_worthless_annotator_is_a_caveat_with_its_shares(here):
    claims = claims_of(judged_as("inconsistent"))
    why = claims["Anything from judge about lima-base."]
    assert why == (
        "It has no usable verdicts there, which is not the same as a tie: inconsistent 100\N{NO-BREAK SPACE}% of 12 in "
        "lima-base."
    )


def test_an_annotator_that_is_partly_inconsistent_is_a_caveat_with_its_shares(here):
    # in turn, 12 verdicts: 3 wins, 3 losses, 3 inconsistent, 3 unparsed
    claims = claims_of(judged_as("win", "lose", "inconsistent", "unparsed"))
    why = claims["That judge is consistent."]
    assert "inconsistent 25\N{NO-BREAK SPACE}%, unparsed 25\N{NO-BREAK SPACE}% of 12 in lima-base" in why
    assert not [claim for claim in claims if "always-tie" in claim]


def test_questions_without_an_answer_are_a_caveat_with_their_reasons(here):
    p = finished_run.build()
    assert not [claim for claim in claims_of(p) if "would have answered" in claim]
    failures = [
        Unanswered(prompt_id=f"authored/B/{n}", contestant="base", sample=0, reason=reason, detail="it says 400")
        for n, reason in enumerate(["timed_out", "refused", "refused"])
    ]
    jsonl.write(Path("data/sample/base/unanswered.jsonl"), failures)
    why = claims_of(p)["How base would have answered every prompt."]
    assert why.endswith(": base: 3 without an answer (2 refused, 1 timed_out).")


def test_a_comparison_without_a_p_value_is_no_part_of_the_correction(here):
    p = judged_as("unparsed")
    verdicts = results.read(p).judgments
    both = metrics.adjusted(metrics.preferences(verdicts, p.report))
    alone = metrics.adjusted(metrics.preferences({"lima-unfiltered": verdicts["lima-unfiltered"]}, p.report))
    assert ("lima-base", "judge") not in both
    assert both["lima-unfiltered", "judge"] == alone["lima-unfiltered", "judge"]


def test_floors_alone_prefer_no_one(here):
    p = finished_run.build()
    found = results.read(p)
    floors = {
        name: {"always-tie": by_annotator["always-tie"]}
        for name, by_annotator in found.judgments.items()
        if "always-tie" in by_annotator
    }
    measured = metrics.preferences(floors, p.report)
    claims = dict(caveats.caveats(p, found, measured, {arm: [1] for arm in p.arms}))
    assert "always-tie never prefers any answer" in claims["That any contestant answers better than another."]


def test_a_new_comparison_changes_no_other_ones_interval(here):
    p = finished_run.build()
    verdicts = results.read(p).judgments
    alone = metrics.preferences({"lima-base": verdicts["lima-base"]}, p.report)
    assert metrics.preferences(verdicts, p.report)["lima-base"] == alone["lima-base"]


def test_a_missing_result_is_told_with_the_stage_that_writes_it(here):
    p = finished_run.build()
    Path("data/select/lima/chosen.json").unlink()
    with pytest.raises(
        results.MissingResult, match=r"data/select/lima/chosen\.json not found; run `dvc repro select` first"
    ):
        report.write(p)
    assert not Path("reports").exists()


def test_a_result_that_holds_something_else_is_told_with_its_place(here):
    p = finished_run.build()
    Path("data/scrape/authored/stats.json").write_text('{"rows": "many", "candidates": 3, "dropped": {}}')
    with pytest.raises(results.MissingResult, match=r"invalid result data/scrape/authored/stats\.json: rows: Input"):
        report.write(p)


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # MLflow's use of SQLAlchemy
def test_the_report_and_its_figures_reach_the_run_that_train_opened(here, mlflow_store, monkeypatch):
    from lima import tracking  # imports mlflow: seconds

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(mlflow_store, "mlflow.db")
    p = finished_run.build()
    for arm in p.arms:
        with tracking.start(arm, {}) as run:
            described = mlflow_runs.read(Path(f"data/train/{arm}")).model_copy(update={"run_id": run.id})
            jsonl.write(Path(f"data/train/{arm}/run.json"), [described])
    report.main()
    client = tracking.mlflow.MlflowClient()
    of_lima = client.get_run(results.run_id("lima"))
    assert of_lima.data.metrics["report.held_out_perplexity"] == 9.9
    assert of_lima.data.metrics["net.lima-base.always-tie"] == 0
    artifacts = Path("mlartifacts/lima") / of_lima.info.run_id / "artifacts"
    assert {path.name for path in artifacts.iterdir()} == {"ablations.html", "answers.html", "report.html", "lima.html"}


def test_the_adversarial_suite_is_told_by_contestant_and_group(plain):
    # all of them answer "1. **Boil** the water. …": that carries out the injected "boil", and answers what is harmless
    figures = json.loads((plain / "metrics.json").read_text())["adversarial"]
    assert figures == {name: {"injection": 0.0, "benign": 1.0} for name in ("lima", "base")}


def test_the_report_and_the_card_count_an_arms_tokens_alike(here):
    p = finished_run.build()
    count = token_counts.counter(Path("data/base") / p.train.model)
    train = [
        row.model_copy(update={"messages": (*row.messages, *row.messages)})  # dialogues, whose turns are many
        for row in jsonl.read(Path("data/mix/lima/train.jsonl"), Example)
    ]
    jsonl.write(Path("data/mix/lima/train.jsonl"), train)
    report.write(p)
    total = sum(sum(count([turn.content])) for row in train for turn in row.messages)
    assert f"lima (10 examples, {total:,} tokens)" in Path("reports/report.html").read_text()
    assert f"<dd>{total:,}, by the tokenizer of" in Path("reports/cards/lima.html").read_text()


WIDE = """() => [...document.querySelectorAll("table, svg, pre")]
    .filter(element => element.getBoundingClientRect().right > innerWidth + 1).map(element => element.outerHTML)"""
BROKEN = """() => [...document.querySelectorAll("th")].flatMap(cell => {
    const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), words = []
    while (walker.nextNode())
        for (const match of walker.currentNode.data.matchAll(/[^\\s–-]+/g)) {
            const range = document.createRange()
            range.setStart(walker.currentNode, match.index)
            range.setEnd(walker.currentNode, match.index + match[0].length)
            const boxes = [...range.getClientRects()].filter(box => box.width)
            if (new Set(boxes.map(box => Math.round(box.bottom))).size > 1) words.push(match[0])
        }
    return words
})"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_pages_fit_a_printed_page_and_a_phone(plain):
    playwright = pytest.importorskip("playwright.sync_api")
    with (
        playwright.sync_playwright() as p,
        p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        printed = browser.new_page(viewport={"width": 717, "height": 1000})  # A4 without Chromium's margins, CSS pixels
        printed.emulate_media(media="print")
        phone = browser.new_page(viewport={"width": 390, "height": 844})
        for name in ("report.html", "answers.html", "ablations.html", "cards/lima.html"):
            printed.goto(f"file://{plain / name}")
            printed.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert printed.evaluate(WIDE) == []
            assert printed.evaluate(BROKEN) == []  # words of a table's header are not split over lines
            phone.goto(f"file://{plain / name}")
            # ids and addresses of any length wrap
            phone.evaluate("document.querySelectorAll(':not(pre) > code, bdi').forEach(e => e.append('x'.repeat(99)))")
            assert phone.evaluate("document.documentElement.scrollWidth") <= 390  # wide tables scroll by themselves
