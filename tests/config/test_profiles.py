import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from lima import config
from lima.cli import app
from lima.config import ParamsError, profiles
from lima.config.entries import GemmaModel

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "lima/config/profiles").glob("*.yaml")))
def test_every_profile_makes_usable_parameters_that_know_their_name(checkout, name):
    profiles.use(name, force=False, accept_gemma_terms=True)
    assert config.load().profile == name


def test_what_a_profile_leaves_out_stays_as_on_the_laptop(checkout):
    profiles.use("ci", force=False)
    ci = config.load()
    profiles.use("laptop", force=False)
    laptop = config.load()
    assert ci.filter == laptop.filter and ci.sources == laptop.sources
    assert list(laptop.arms) == ["lima", "unfiltered"]
    assert list(ci.arms) == ["lima"]  # a registry that a profile names replaces the laptop's


def test_the_papers_profiles_have_the_papers_numbers(checkout):
    profiles.use("paper-65b", force=False)
    train = config.load().train
    # §3: 15 epochs, 32 examples a step, 2,048 tokens, 1e-5 → 1e-6, β 0.9 and 0.95, decay 0.1, dropout up to 0.3
    assert (train.epochs, train.batch_size, train.max_tokens) == (15, 32, 2048)
    assert (train.lr, train.lr_end, train.beta1, train.beta2) == (1e-5, 1e-6, 0.9, 0.95)
    assert (train.weight_decay, train.residual_dropout) == (0.1, 0.3)
    profiles.use("paper-7b", force=False)
    smaller = config.load().train
    assert (smaller.batch_size, smaller.residual_dropout) == (64, 0.2)  # §3, smaller models


@pytest.mark.parametrize("name", ["paper-7b", "paper-65b"])
def test_the_papers_profiles_sample_and_select_with_the_papers_decoding(checkout, name):
    profiles.use(name, force=False)
    p = config.load()
    for decoding in (p.sample.decoding, p.select.decoding):
        # §4: nucleus sampling with p = 0.9, temperature 0.7, repetition penalty 1.2, 2,048 tokens
        assert (decoding.top_p, decoding.temperature, decoding.repetition_penalty) == (0.9, 0.7, 1.2)
        assert decoding.max_tokens == 2048


def test_the_ablations_of_the_laptop_have_two_repetitions_and_compare_equal_seeds(checkout):
    profiles.use("laptop-ablations", force=False)
    p = config.load()
    assert set(p.ablations) == {"diversity", "quality", "quantity"}
    for axis, arms in p.ablations.items():
        for arm in arms:
            repetitions = p.repetitions(arm)
            seeds = {(p.data_seed(name), p.of_arm(name).train.seed) for name in repetitions}
            assert len(repetitions) == len(seeds) == 2, (axis, arm)
    for name, evaluation in p.evaluations.items():
        if evaluation.rival != "base":
            assert p.data_seed(evaluation.contestant) == p.data_seed(evaluation.rival), name
            assert (ROOT / f"corpus/annotations/{name}.jsonl").exists()


def test_parameters_changed_by_hand_are_not_lost(checkout):
    profiles.use("ci", force=False)
    changed = Path("params.yaml").read_text().replace("epochs: 2", "epochs: 3")
    Path("params.yaml").write_text(changed)
    with pytest.raises(profiles.ProfileError, match="has manual changes"):
        profiles.use("laptop", force=False)
    assert Path("params.yaml").read_text() == changed
    profiles.use("laptop", force=True)
    assert config.load().profile == "laptop"


def test_profiles_are_listed_where_params_yaml_is_missing(checkout):
    done = subprocess.run([sys.executable, "-m", "lima.cli", "profile", "list"], capture_output=True, text=True)
    assert done.stdout.split() == profiles.names()


def use(*words):
    return CliRunner().invoke(app, ["profile", "use", *words])


@pytest.mark.parametrize("name", ["pretrained", "pretrained-gemma"])
def test_gemma_is_used_only_if_its_terms_are_accepted(checkout, name):
    profiles.use("laptop", force=False)
    refused = use("pretrained-gemma")
    assert refused.exit_code == 1 and "https://ai.google.dev/gemma/terms" in str(refused.exception)
    assert config.load().profile == "laptop"
    assert use(name, "--accept-gemma-terms").exit_code == 0
    assert config.load().models == {"gemma-3-270m": GemmaModel(kind="gemma", terms_accepted=True)}


def test_parameters_that_do_not_accept_gemmas_terms_are_an_error(checkout):
    use("pretrained", "--accept-gemma-terms")
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("terms_accepted: true", "terms_accepted: false"))
    with pytest.raises(ParamsError, match="terms_accepted"):
        config.load()


def test_an_unknown_profile_is_an_error_that_lists_the_profiles(checkout):
    with pytest.raises(profiles.ProfileError, match=r"profile not found: 'desktop'; use one of ci, laptop"):
        profiles.use("desktop", force=False)


WRONG = {
    "an unknown key": (
        "  epochs: 2 ",
        "  epochen: 2 ",
        r"train\.epochen: unknown key with the value 2; rename it to epochs, which is missing",
    ),
    "an unknown key unlike any other": (
        "  epochs: 2 ",
        "  epochs: 2\n  sleep: 8 ",
        r"train\.sleep: unknown key with the value 8; remove it",
    ),
    "a missing key": (
        "  epochs: 2 ",
        "  # ",
        r"train\.epochs: missing key; add it, no parameter has a default",
    ),
    "a wrong type": (
        "  epochs: 2 ",
        "  epochs: three ",
        r"train\.epochs: Input should be a valid integer, not 'three'",
    ),
    "an impossible value": ("temperature: 3.0", "temperature: 0.0", r"mix\.temperature: .* greater than 0, not 0\.0"),
    "a rate that rises": ("lr_end: 1.0e-5", "lr_end: 2.0", r"lr_end 2\.0 is more than lr 0\.0001"),
    "a range upside down": ("min_chars: 1200", "min_chars: 9200", r"min_chars 9200 is more than max_chars 4096"),
    "an unknown reference": ("model: smollm2-135m\n", "model: gpt2\n", r"'gpt2' is not one of the models"),
    "epochs that are not trained": (
        "last_epoch: 2",
        "last_epoch: 9",
        r"epochs 1 to 9 are not within train\.keep_epochs, 1 to 2",
    ),
    "a key with dots": (
        "  smollm2-135m:",
        "  llama-3.1-8b:",
        r"models: 'llama-3.1-8b' cannot be a key, since DVC cannot address it; .* for example 'llama-3_1-8b'",
    ),
    "a key with @": (
        "  authors: {",
        "  an@author: {",
        r"contestants: 'an@author' cannot be a key.* for example 'an_author'",
    ),
    "a key that leads out of data/": (
        "  unfiltered:  #",
        "  ../../victim:  #",
        r"arms: '\.\./\.\./victim' cannot be a key, since it is part of paths .* for example 'victim'",
    ),
    "an absolute path as a key": ("  reddit: {", "  /etc/reddit: {", r"sources: '/etc/reddit' cannot be a key"),
    "a comparison with a space": (
        "  lima-base: {",
        "  lima base: {",
        r"evaluations: 'lima base' .* for example 'lima_base'",
    ),
    "an annotator that begins with a hyphen": (
        "    longest: {",
        "    -longest: {",
        r"panels\.preference: '-longest' .* 'longest'",
    ),
    "a baseline for a task on single responses": (
        "panel: rules, template: lima/evaluation/prompts/constraint.md",
        "panel: preference, template: lima/evaluation/prompts/constraint.md",
        r"panels\.preference\.longest: a baseline cannot judge the task constraint of evaluation lima-base-constraints",
    ),
    "rules for pairs": (
        "lima-base: {task: pairwise, contestant: lima, rival: base, prompts: test, panel: preference",
        "lima-base: {task: pairwise, contestant: lima, rival: base, prompts: test, panel: rules",
        r"panels\.rules\.rules: rules cannot judge the task pairwise of evaluation lima-base, only",
    ),
    "an empty key": ("  unfiltered:  #", '  "":  #', r"arms: '' cannot be a key, .* for example 'name'"),
    "a key of digits alone": (
        "  unfiltered:  #",
        "  1000:  #",
        r'arms: YAML reads the key 1000 as int, .*; quote it: "1000"',
    ),
    "a key that YAML takes for a truth value": (
        "  unfiltered:  #",
        "  true:  #",
        r"arms: YAML reads the key True as bool",
    ),
    "a source that is misspelt": (
        "{stack_exchange_stem: 1,",
        "{stack_exchange_stm: 3,",
        r"is invalid:\n  arms\.lima\.examples: 'stack_exchange_stm' is not one of the sources \([a-z_, ]+\); "
        r"did you mean stack_exchange_stem\?$",
    ),
    "a key of an annotator that is misspelt": (
        "rule: finished",
        "rul: finished",
        r"  select\.annotator\.rule: missing key",
    ),
    "a kind that is misspelt": (
        "longest: {kind: baseline,",
        "longest: {kind: basline,",
        r"  panels\.preference\.longest: unknown kind: 'basline'; use one of [a-z, ]*; did you mean baseline\?$",
    ),
    "a kind that is missing": (
        "longest: {kind: baseline, rule",
        "longest: {rule",
        r"  panels\.preference\.longest: missing key: kind, in \{'rule': 'longest'\}; add it$",
    ),
    "nothing": ((ROOT / "params.yaml").read_text(), "", r"params\.yaml is empty; `lima profile use laptop --force`"),
    "a word": ((ROOT / "params.yaml").read_text(), "laptop", r"params\.yaml is not a mapping of sections: 'laptop'"),
    "not YAML": ("profile: laptop", "profile: [", r"is not valid YAML"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_parameter_is_named_with_its_key_its_value_and_what_would_be_right(checkout, case):
    before, after, message = WRONG[case]
    text = (ROOT / "lima/config/profiles/laptop.yaml").read_text()
    assert before in text
    Path("params.yaml").write_text(text.replace(before, after))
    with pytest.raises(ParamsError, match=message):
        config.load()


def test_a_key_of_digits_is_used_once_it_is_quoted(checkout):
    text = (ROOT / "lima/config/profiles/laptop.yaml").read_text()
    Path("params.yaml").write_text(
        text.replace("  unfiltered:  #", '  "1000":  #')
        .replace("arm: unfiltered", 'arm: "1000"')
        .replace("quality: [lima, unfiltered]", 'quality: [lima, "1000"]')
    )
    assert list(config.load().arms) == ["lima", "1000"]


def test_a_write_that_fails_leaves_the_parameters_whole(checkout, monkeypatch):
    profiles.use("laptop", force=False)
    before = Path("params.yaml").read_text()
    write = Path.write_text

    def torn(path: Path, text: str, **options: str) -> int:
        write(path, text[: len(text) // 2], **options)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", torn)
    with pytest.raises(OSError, match="No space left"):
        profiles.use("ci", force=False)
    assert Path("params.yaml").read_text() == before


DUMPS = "dumps: corpus/dumps/stack_exchange_other, license: CC BY-SA"
THRESHOLDS = "  stack_exchange_other: {}\n"


def with_thresholds(entry: str, *, prefilter: str = "{}") -> None:
    """Write params.yaml with an entry of source_filters, and a prefilter, for the source stack_exchange_other."""
    text = (ROOT / "lima/config/profiles/laptop.yaml").read_text()
    for before, after in ((DUMPS, f"{DUMPS}, prefilter: {prefilter}"), (THRESHOLDS, entry)):
        assert text.count(before) == 1
        text = text.replace(before, after)
    Path("params.yaml").write_text(text)


def test_a_source_may_have_thresholds_of_its_own(checkout):
    with_thresholds("  stack_exchange_other: {min_chars: 600}\n", prefilter="{min_response_score: 3}")
    p = config.load()
    own, shared = (p.rules(name).stack_exchange for name in ("stack_exchange_other", "stack_exchange_stem"))
    assert (own.min_chars, own.prefilter.min_response_score, own.max_chars) == (600, 3, 4096)
    assert shared == p.filter.stack_exchange
    assert p.rules("stack_exchange_other").language == p.filter.language


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "  stack_exchange_other: {min_char: 600}\n",
            r"  source_filters\.stack_exchange_other\.min_char: unknown key with the value 600",
        ),
        (
            "  stack_exchange_other: {min_chars: few}\n",
            r"  source_filters\.stack_exchange_other\.min_chars: Input should be a valid integer, not 'few'",
        ),
        (
            "  stack_exchange_other: {min_chars: 9000}\n",
            r"  source_filters\.stack_exchange_other: min_chars 9000 is more than max_chars 4096",
        ),
        (
            "  stack_exchange_other: {prefilter: {min_response_score: 1}}\n",
            r"  source_filters\.stack_exchange_other\.prefilter: the stage scrape applies it; move it to "
            r"sources\.stack_exchange_other\.prefilter",
        ),
        ("", r"  source_filters\.stack_exchange_other: missing entry; add stack_exchange_other: \{\}"),
        (
            "  stack_exchange_other: {}\n  stack_exchange_othr: {}\n",
            r"  source_filters\.stack_exchange_othr: 'stack_exchange_othr' is not one of the sources .*; did you mean",
        ),
    ],
)
def test_a_wrong_threshold_of_a_source_is_named_with_its_key(checkout, entry, message):
    with_thresholds(entry)
    with pytest.raises(ParamsError, match=message):
        config.load()


def test_a_wrong_prefilter_of_a_source_is_named_with_its_key(checkout):
    with_thresholds(THRESHOLDS, prefilter="{min_score: 1}")
    with pytest.raises(ParamsError, match=r"  sources\.stack_exchange_other\.prefilter\.min_score: unknown key"):
        config.load()


NEW_ARM = "  longer: {pool: kept, without: [], examples: {wikihow: 2}}\n\n# Ablations: "
NEW_CONTESTANT = (
    "\n  longer-arm: {kind: arm, arm: longer, reads: data/select/longer}\n\n"
    "# Evaluations of the contestants' responses."
)
NEW_COMPARISON = (
    "evaluations:\n  longer-lima: {task: pairwise, contestant: lima, rival: longer-arm, prompts: test, "
    "panel: preference, template: lima/evaluation/prompts/pairwise.md}\n"
)


@pytest.mark.parametrize(
    ("contestant", "comparison", "warnings"),
    [
        (
            False,
            False,
            {
                "longer": "arm longer has no comparison; add a contestant for it and a comparison "
                "to evaluations in params.yaml"
            },
        ),
        (
            True,
            False,
            {
                "longer": "arm longer has no comparison; add a comparison of the contestant longer-arm "
                "to evaluations in params.yaml"
            },
        ),
        (True, True, {}),
    ],
)
def test_an_arm_without_a_comparison_is_named_with_what_to_add(checkout, contestant, comparison, warnings):
    changes = [("\n# Ablations: ", NEW_ARM)]
    changes += [("\n\n# Evaluations of the contestants' responses.", NEW_CONTESTANT)] if contestant else []
    changes += [("evaluations:\n", NEW_COMPARISON)] if comparison else []
    text = (ROOT / "lima/config/profiles/laptop.yaml").read_text()
    for before, after in changes:
        assert text.count(before) == 1
        text = text.replace(before, after)
    Path("params.yaml").write_text(text)
    assert config.load().uncompared_arms() == warnings


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "lima/config/profiles").glob("*.yaml")))
def test_every_profile_compares_each_of_its_arms(checkout, name):
    profiles.use(name, force=False, accept_gemma_terms=True)
    assert config.load().uncompared_arms() == {}


def test_arms_that_differ_in_seeds_only_are_repetitions_with_a_training_seed_of_their_own(checkout):
    values = YAML(typ="safe").load((ROOT / "lima/config/profiles/laptop.yaml").read_text())
    arm = values["arms"]["unfiltered"]
    values["arms"] |= {
        "again": arm | {"train_seed": 18},
        "redrawn": arm | {"data_seed": 5},
        "random": arm | {"order": "random"},
    }
    with Path("params.yaml").open("w") as file:
        YAML(typ="safe").dump(values, file)
    p = config.load()
    assert p.repetitions("unfiltered") == ["again", "redrawn", "unfiltered"]
    assert p.repetitions("random") == ["random"]
    seeds = {arm: (p.data_seed(arm), p.of_arm(arm).train.seed) for arm in p.repetitions("unfiltered")}
    assert seeds == {"again": (17, 18), "redrawn": (5, 17), "unfiltered": (17, 17)}
    assert p.of_arm("again").mix == p.mix


def test_an_ablation_of_an_unknown_arm_is_an_error(checkout):
    text = (ROOT / "lima/config/profiles/laptop.yaml").read_text()
    assert "quality: [lima, unfiltered]" in text
    Path("params.yaml").write_text(text.replace("quality: [lima, unfiltered]", "quality: [lima, unfilterd]"))
    with pytest.raises(ParamsError, match=r"ablations\.quality: 'unfilterd' is not one of the arms .* unfiltered\?$"):
        config.load()


RECORDED = "  authors: {kind: recorded, reads: corpus/recorded/authors.jsonl}"
MISSING = {
    "sources.wikihow.dumps": (
        "dumps: corpus/dumps/wikihow,",
        "dumps: dumps/wikihow,",
        ": dumps/wikihow does not exist; put the dump there or correct params.yaml",
    ),
    "contestants.authors.reads": (
        RECORDED,
        "  authors: {kind: recorded, reads: answers.jsonl}",
        ": answers.jsonl does not exist; put the recorded responses there or correct params.yaml",
    ),
    "contestants.gpt.reads": (
        RECORDED,
        f"{RECORDED}\n  gpt:\n    {{kind: endpoint, url: 'http://h/v1', model: m, key_variable: K, reads: stamp.txt}}",
        ": stamp.txt does not exist; put a file there or correct params.yaml",
    ),
    "filter.reviews": (
        "reviews: corpus/reviews/decisions.jsonl",
        "reviews: mine.jsonl",
        ": mine.jsonl does not exist; put the decisions there or correct params.yaml",
    ),
    "filter.edits": (
        "edits: corpus/edits/shipped.jsonl",
        "edits: mine.jsonl",
        ": mine.jsonl does not exist; put the edits there or correct params.yaml",
    ),
    "mix.test_sets": (
        "test_sets: corpus/test_sets",
        "test_sets: mt-bench",
        ": mt-bench does not exist; put the test sets there or correct params.yaml",
    ),
    "models.folder.path": (
        "models:\n",
        "models:\n  folder: {kind: folder, path: models/llama}\n",
        ": models/llama does not exist; put the model there or correct params.yaml",
    ),
    "models.quantized.path": (
        "models:\n",
        "models:\n  quantized: {kind: gguf, path: models/llama.gguf}\n",
        ": models/llama.gguf does not exist; put the model there or correct params.yaml",
    ),
}


def with_missing(keys) -> config.Params:
    text = (ROOT / "lima/config/profiles/laptop.yaml").read_text()
    for key in keys:
        before, after, _ = MISSING[key]
        assert text.count(before) == 1, key
        text = text.replace(before, after)
    Path("params.yaml").write_text(text)
    return config.load()


@pytest.mark.parametrize("key", MISSING)
def test_an_input_that_does_not_exist_is_named_with_its_key_its_path_and_the_fix(checkout, key):
    (checkout / "corpus").symlink_to(ROOT / "corpus")
    params = with_missing([key])
    with pytest.raises(profiles.MissingPaths) as caught:
        profiles.check_paths(params)
    assert str(caught.value).splitlines()[1:] == [f"  {key}{MISSING[key][2]}"]


def test_all_inputs_that_do_not_exist_are_listed_with_status_1(checkout):
    (checkout / "corpus").symlink_to(ROOT / "corpus")
    keys = [key for key in MISSING if key not in ("contestants.gpt.reads", "models.quantized.path")]
    with_missing(keys)
    done = subprocess.run([sys.executable, "-m", "lima.cli", "profile", "check"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: params.yaml names 6 inputs that do not exist:\n")
    assert sorted(line.split()[0].removesuffix(":") for line in done.stderr.splitlines()[1:]) == sorted(keys)


@pytest.mark.parametrize("name", ["laptop", "ci", "laptop-ablations", "pretrained", "pretrained-gemma"])
def test_the_inputs_of_the_profiles_that_need_no_dumps_exist(checkout, name):
    (checkout / "corpus").symlink_to(ROOT / "corpus")
    profiles.use(name, force=False, accept_gemma_terms=True)
    profiles.check_paths(config.load())


def test_make_reproduce_checks_the_inputs_before_any_stage():
    recipe = (ROOT / "Makefile").read_text().partition("\nreproduce: ")[2].partition("\n\n")[0]
    commands = [line.removeprefix("\t@") for line in recipe.splitlines()[1:]]
    assert commands[0] == "lima profile check"
    assert re.match(r"start=\$\$SECONDS; dvc repro &&", commands[1])


def test_the_flow_checks_the_inputs_before_any_stage(checkout):
    from flows import reproduce

    with_missing(["mix.test_sets"])
    with pytest.raises(profiles.MissingPaths, match=r"mix\.test_sets: mt-bench does not exist"):
        reproduce.reproduce.fn()


def test_a_missing_file_says_where_to_start(checkout):
    with pytest.raises(
        ParamsError, match=r"params\.yaml not found in .*; change to a project, or create one: .*`lima init DUMP`"
    ):
        config.load()


def test_a_new_evaluation_gets_a_file_without_annotations_and_others_stay(checkout):
    profiles.use("ci", force=False)
    params = config.load()
    kept = checkout / "lima-base.jsonl"
    kept.write_text("{}\n")
    created = profiles.create_annotation_files(params, lambda key: checkout / f"{key}.jsonl")
    assert {path.stem for path in created} == params.evaluations.keys() - {"lima-base"}
    assert {path.read_text() for path in created} == {"\n"}
    assert kept.read_text() == "{}\n"


def test_profile_use_creates_the_annotation_files_of_its_evaluations(checkout):
    done = subprocess.run([sys.executable, "-m", "lima.cli", "profile", "use", "ci"], capture_output=True, text=True)
    assert "empty annotation files for new evaluations" in done.stdout
    assert (checkout / "corpus/annotations/lima-base-dialogues.jsonl").read_text() == "\n"
