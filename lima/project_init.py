"""Create a project from dumps: params.yaml, dvc.yaml and the corpus files that its evaluations need (`lima init`)."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from math import ceil
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ruamel.yaml import YAML

import lima
from lima import jsonl, threshold_preview
from lima.config import Params, check, profiles
from lima.config.sections import Filter, RedditPrefilter
from lima.errors import LimaError
from lima.threshold_preview import Preview, Thresholds

ARM = "own"
SHORT, SHORT_ARM = "authored_short", "own-short"  # source and arm of the short hand-written examples
FILES = (  # of the checkout, or of share/lima of an installed package, that a project contains
    "dvc.yaml",
    ".dvc/config",
    ".dvc/plots.html",
    ".dvc/plots/outcomes.json",
    ".dvcignore",
    "corpus/LICENSE.md",
    "corpus/spelling.txt",
    "corpus/adversarial/suite.jsonl",
    "corpus/authored/group_a_dev.jsonl",
    "corpus/authored/group_a_train.jsonl",
    "corpus/authored/group_b_test.jsonl",
    "corpus/authored_short/group_a_train.jsonl",
    "corpus/dialogues/openings.jsonl",
    "corpus/dialogues/scripts.jsonl",
    "corpus/edits/none.jsonl",
    "corpus/judgments/README.md",
    "corpus/recorded/authors.jsonl",
    "corpus/reviews/decisions.jsonl",
    "corpus/test_sets/household_quiz.jsonl",
    "corpus/test_sets/short_tasks.csv",
    *(f"infra/accelerate/{name}.yaml" for name in ("ddp", "zero2", "zero2-offload", "zero3", "zero3-nodes")),
    "infra/accelerate/zero3-offload.yaml",
    *(f"infra/deepspeed/{name}.json" for name in ("zero2", "zero2-offload", "zero3", "zero3-offload")),
)
NOTEBOOK = "docs/results.ipynb"  # becomes results.ipynb of a project
SHARE = "share/lima"  # where a wheel installs FILES, below the environment's folder
IGNORED_AT_ROOT = ("lima", "data/", "work/", "reports/", "mlflow.db*", "mlartifacts/")
IGNORED = "".join([*(f"/{name}\n" for name in IGNORED_AT_ROOT), "__pycache__/\n", ".publish/\n"])
LICENSES = {"stack_exchange": "CC BY-SA", "natural_instructions": "Apache-2.0"}  # of the published dumps
RESERVED = ("authored", SHORT, "adversarial", "dialogues")  # sources of every project
HELD_OUT = 2  # examples per source for perplexity, as in the profile laptop
MARGIN = 1.1  # examples needed per example of the arm: mix drops overlaps with test prompts and held-out examples
PER_SITE = 1  # examples per site of the readers in threshold_preview.ONE_PER_SITE, §2.1
PROMPTS = 8  # most test prompts from a site of the dumps
POOL = 3  # unfiltered candidates per example of an arm, from which a comparison with unfiltered data is proposed
JUDGE_TOKENS = 1024  # tokens of a judge's reply
SUFFIXES = re.compile(
    r"(\.(stackexchange\.com|com|net|7z|jsonl?|csv|tsv|parquet|arrow|warc|html|xml|gz|zst))+$", re.IGNORECASE
)
PLAIN = re.compile(r"(?!(?:true|false|yes|no|on|off|null)$)[A-Za-z_/][\w /.-]*[\w/.]|[A-Za-z]")  # YAML reads it as text
SUBREDDIT = re.compile(r"\w{2,24}", re.ASCII)
HUB = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+)")


class InitError(LimaError):
    """A project cannot be created from these arguments."""


class Judge(NamedTuple):
    """A model behind an OpenAI-compatible server."""

    url: str
    model: str
    key_variable: str  # environment variable with the API key; "" for a server without a key


class Choices(NamedTuple):
    """What the user decides. None: the proposal is used."""

    base: str | None
    size: int
    judge: Judge | None
    min_score: int | None
    min_chars: int | None
    license: str | None
    short: int  # short hand-written examples of a second arm; 0: no such arm
    subreddits: tuple[str, ...] = ()  # of Reddit dumps, whose posts become examples; empty: those of the paper


class SourcePlan(NamedTuple):
    """One dump as a source of the project."""

    name: str
    preview: Preview
    thresholds: Thresholds
    available: int  # examples that pass the thresholds
    held_out: int
    examples: int  # of the arm


class Plan(NamedTuple):
    sources: tuple[SourcePlan, ...]
    unfiltered: dict[str, int]  # examples per source of the arm without filters; empty: no such arm

    @property
    def size(self) -> int:
        return sum(source.examples for source in self.sources)


def preview(dumps: Sequence[Path], settings: Filter, *, limit: int | None) -> dict[str, Preview]:
    """Read each dump; keys are the names of the sources."""
    read: dict[str, Preview] = {}
    for dump in dumps:
        if not dump.exists():
            raise InitError(f"dump not found: {dump}; correct the path")
        read[source_name(dump, read)] = threshold_preview.read(dump, settings, limit=limit)
    return read


def with_subreddits(settings: Filter, subreddits: Sequence[str]) -> Filter:
    """The settings with these subreddits in place of the paper's; without any, unchanged.

    Raises:
        InitError: a name contains other characters than Reddit allows.
    """
    for name in subreddits:
        if not SUBREDDIT.fullmatch(name):
            raise InitError(f"--subreddit is not a name of a subreddit: {name!r}; use for example --subreddit AskMen")
    if not subreddits:
        return settings
    prefilter = RedditPrefilter(train_subreddits=list(subreddits), prompt_subreddits=[])
    return settings.with_reader("reddit", settings.reddit.model_copy(update={"prefilter": prefilter}))


def source_name(dump: Path, known: Mapping[str, object]) -> str:
    """A valid and unused key of `sources`: the dump's name without its ending."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", SUFFIXES.sub("", dump.resolve().name)).strip("_").lower() or "dump"
    taken = {*known, *RESERVED}
    numbered = (plain if number == 1 else f"{plain}_{number}" for number in range(1, len(taken) + 2))
    return next(name for name in numbered if name not in taken)


def plan(previews: Mapping[str, Preview], choices: Choices) -> Plan:
    """Divide the arm's size among the sources, and choose each source's thresholds.

    Raises:
        InitError: no dump has an example that passes the thresholds.
    """
    with_examples = {name: p for name, p in previews.items() if max(p.kept.values())}
    if not with_examples:
        tables = "\n".join(threshold_preview.render(p, p.thresholds) for p in previews.values())
        raise InitError(f"no training examples in the dumps, at any threshold:\n{tables}\nadd another dump")
    shares = _shares(choices.size, {name: p.kept[_thresholds(p, choices, None)] for name, p in previews.items()})
    sources = []
    for name, p in previews.items():
        needed = ceil(MARGIN * shares[name]) + HELD_OUT
        thresholds = _thresholds(p, choices, needed)
        available = p.kept[thresholds]
        held_out = min(HELD_OUT, available // 4)
        examples = min(shares[name], int((available - held_out) / MARGIN) or min(available, 1))
        sources.append(SourcePlan(name, p, thresholds, available, held_out, examples))
    if not any(source.examples for source in sources):
        tables = "\n".join(threshold_preview.render(s.preview, s.thresholds) for s in sources)
        raise InitError(f"no example passes the thresholds:\n{tables}\nlower --min-score or --min-chars")
    return Plan(tuple(sources), _unfiltered(sources))


def _thresholds(p: Preview, choices: Choices, needed: int | None) -> Thresholds:
    """The user's thresholds; else the strictest that give `needed` examples, or with None those that give most."""
    chosen = (
        max(p.kept, key=lambda t: (p.kept[t], t == p.thresholds))
        if needed is None
        else threshold_preview.suggest(p, needed)
    )
    if choices.min_score is None and choices.min_chars is None:
        return chosen
    score, bounds = p.thresholds
    if choices.min_score is not None and score is not None:
        score = choices.min_score
    if choices.min_chars is not None and bounds is not None:
        bounds = bounds._replace(min_chars=choices.min_chars)
    wanted = Thresholds(score, bounds)
    if wanted not in p.kept:
        scores = sorted({t.min_score for t in p.kept if t.min_score is not None})
        chars = sorted({t.bounds.min_chars for t in p.kept if t.bounds is not None})
        raise InitError(
            f"{p.path}: thresholds were not counted: --min-score {score} --min-chars {bounds and bounds.min_chars}; "
            f"use one of the table: votes {scores}, characters {chars}; other values can be set in params.yaml later"
        )
    return wanted


def _shares(size: int, available: Mapping[str, int]) -> dict[str, int]:
    """Divide `size` evenly; a source with fewer examples leaves the rest to the others."""
    shares = dict.fromkeys(available, 0)
    for _ in range(min(size, sum(available.values()))):
        name = min((n for n in available if shares[n] < available[n]), key=lambda n: shares[n])
        shares[name] += 1
    return shares


def _unfiltered(sources: Sequence[SourcePlan]) -> dict[str, int]:
    """Examples of the arm without filters: as many as the arm has, from sources with many more candidates (§5)."""
    many = [s for s in sources if s.thresholds.bounds and s.preview.with_response >= POOL * max(s.examples, 1)]
    size = sum(source.examples for source in sources)
    shares = _shares(size, {s.name: s.preview.with_response // POOL for s in many})
    return {name: count for name, count in shares.items() if count} if sum(shares.values()) == size else {}


def render_plan(proposal: Plan, short: int) -> str:
    """Describe the project before it is written."""
    lines = [threshold_preview.render(s.preview, s.thresholds) for s in proposal.sources]
    lines.append(f"\narm {ARM}: {proposal.size} examples")
    for s in proposal.sources:
        if s.thresholds == Thresholds(None, None):
            why = ""
        else:
            why = (
                " at the default thresholds" if s.thresholds == s.preview.thresholds else " at the thresholds marked *"
            )
        more = "; read without --limit for all" if s.preview.limited else ""
        lines.append(f"  {s.name}: {s.examples} of {s.available:,}{why}, {s.held_out} held out{more}")
    if short:
        lines.append(f"arm {SHORT_ARM}: the same, and {short} short hand-written examples (MIT)")
    if proposal.unfiltered:
        lines.append(f"arm unfiltered: {sum(proposal.unfiltered.values())} examples without filters, for comparison")
    return "\n".join(lines)


def params_text(proposal: Plan, choices: Choices, root: Path) -> str:
    """The text of params.yaml for a project in `root`: the profile laptop with the project's entries, validated."""
    model, entry = base_model(choices.base)
    changes = [
        f"profile: {ARM}",
        *(["models:", f"  {model}: {entry}"] if entry else []),
        *_sources(proposal, choices, root),
        *_arms(proposal, choices.short),
        *_contestants(proposal, model, choices.short),
        *_comparisons(proposal, choices.judge, choices.short),
        *_stage_sections(proposal, model, choices.short),
    ]
    return profiles.overlay(
        "\n".join(changes) + "\n",
        name=str(root / "params.yaml"),
        replaced=("test", "most_per_site", "held_out"),
    )


def _sources(proposal: Plan, choices: Choices, root: Path) -> list[str]:
    return [
        "sources:",
        *(_source(s, choices, root) for s in proposal.sources),
        "  authored: {reader: authored, dumps: corpus/authored, license: MIT}  # dev and test prompts",
        *(
            [f"  {SHORT}: {{reader: authored, dumps: corpus/{SHORT}, license: MIT}}  # short answers"]
            if choices.short
            else []
        ),
        "  adversarial: {reader: adversarial, dumps: corpus/adversarial, license: MIT}  # prompts only",
        "  dialogues: {reader: authored, dumps: corpus/dialogues, license: MIT}  # scripted dialogues",
        "",
        "# Thresholds of a single source, which replace those of its reader in the section filter: {min_chars: 600}.",
        "source_filters:",
        *(_source_filter(s) for s in proposal.sources),
        "  authored: {}",
        *([f"  {SHORT}: {{}}"] if choices.short else []),
        "  adversarial: {}",
        "  dialogues: {}",
        "",
    ]


def _arms(proposal: Plan, short: int) -> list[str]:
    own = {s.name: s.examples for s in proposal.sources if s.examples}
    ablations = {"quality": [ARM, "unfiltered"]} if proposal.unfiltered else {}
    ablations |= {"short_examples": [ARM, SHORT_ARM]} if short else {}
    return [
        "# Training recipes, one per arm. examples: training examples drawn from each source.",
        "arms:",
        f"  {ARM}:",
        "    pool: kept",
        "    without: []",
        f"    examples: {_flow(own)}  # add authored: 5 for hand-written examples",
        *_short_arm(own, short),
        *_unfiltered_arm(proposal),
        f"ablations: {_flow(ablations)}  # §5",
        "",
    ]


def _contestants(proposal: Plan, model: str, short: int) -> list[str]:
    return [
        "# Contestants answer the test prompts. `reads` is the DVC dependency of their answers.",
        "contestants:",
        f"  {ARM}: {{kind: arm, arm: {ARM}, reads: data/select/{ARM}}}",
        *([f"  {SHORT_ARM}: {{kind: arm, arm: {SHORT_ARM}, reads: data/select/{SHORT_ARM}}}"] if short else []),
        *(["  unfiltered: {kind: arm, arm: unfiltered, reads: data/select/unfiltered}"] if proposal.unfiltered else []),
        f"  base: {{kind: base, model: {model}, reads: data/base/{model}}}",
        "  authors: {kind: recorded, reads: corpus/recorded/authors.jsonl}  # written by people",
        "",
    ]


def _comparisons(proposal: Plan, judge: Judge | None, short: int) -> list[str]:
    """Evaluations and the panels of annotators that judge them."""
    return [
        "# Comparisons of two contestants. Each has a file corpus/annotations/NAME.jsonl of judgments.",
        "evaluations:",
        *(
            f"  {name}: {{task: {task}, contestant: {contestant}, rival: {rival}, prompts: {prompts}, panel: {panel}, "
            f"template: lima/evaluation/prompts/{task}.md}}"
            for name, task, contestant, rival, prompts, panel in _evaluations(proposal, short)
        ),
        "",
        "# Panels of annotators: baseline, rules, people, recorded, or endpoint (an OpenAI-compatible server).",
        "panels:",
        "  pairs:",
        *(f"    {rule}: {{kind: baseline, rule: {rule}}}" for rule in ("longest", "random", "always-tie")),
        "    people: {kind: people}  # judgments of `lima annotate`; none at first",
        *([_judge(judge)] if judge else []),
        "  rules:",
        "    rules: {kind: rules}",
    ]


def _stage_sections(proposal: Plan, model: str, short: int) -> list[str]:
    """Parameters of stages that name the project's sources or its model."""
    return [
        "filter:",
        "  edits: corpus/edits/none.jsonl  # light edits of kept examples, §2.1; none in this file",
        "prompts:",
        f"  test: {_flow(_test_prompts(proposal))}  # prompts per SOURCE/SITE or SOURCE/SITE/TAG",
        "mix:",
        f"  most_per_site: {_flow(_per_site(proposal))}  # examples per site",
        f"  held_out: {_flow({s.name: s.held_out for s in proposal.sources if s.held_out})}  # examples for perplexity",
        "train:",
        f"  model: {model}",
        "proofreading:",
        f"  folders: [corpus/authored, {f'corpus/{SHORT}, ' if short else ''}corpus/dialogues]",
    ]


def _source(s: SourcePlan, choices: Choices, root: Path) -> str:
    license = choices.license or LICENSES.get(s.preview.reader, "unknown")
    values: dict[str, object] = {"reader": s.preview.reader, "dumps": _relative(s.preview.path, root)}
    values["license"] = license
    if s.preview.reader == "stack_exchange" and s.thresholds.min_score != s.preview.thresholds.min_score:
        values["prefilter"] = {"min_response_score": s.thresholds.min_score}
    if s.preview.reader == "reddit" and choices.subreddits:
        values["prefilter"] = {"train_subreddits": list(choices.subreddits), "prompt_subreddits": []}
    note = "  # set the license of the dump" if license == "unknown" else ""
    return f"  {s.name}: {_flow(values)}{note}"


def _source_filter(s: SourcePlan) -> str:
    changes: dict[str, object] = {}
    (score, bounds), present = s.thresholds, s.preview.thresholds
    if s.preview.reader == "reddit" and score != present.min_score:
        changes["min_response_score"] = score
    if bounds and present.bounds:
        for name, value in bounds._asdict().items():
            if value != getattr(present.bounds, name):
                changes[name] = value
    kept = f"  # keeps {s.available:,} of {s.preview.candidates:,} candidates"
    return f"  {s.name}: {_flow(changes)}{kept}"


def _short_arm(own: Mapping[str, int], short: int) -> list[str]:
    if not short:
        return []
    return [
        f"  {SHORT_ARM}:  # the same, and short hand-written examples: few steps see more answers and their ends",
        "    pool: kept",
        "    without: []",
        f"    examples: {_flow({**own, SHORT: short})}",
    ]


def _unfiltered_arm(proposal: Plan) -> list[str]:
    if not proposal.unfiltered:
        return []
    return [
        "  unfiltered:  # as many examples, without filters (§5, quality)",
        "    pool: unfiltered",
        "    without: []",
        f"    examples: {_flow(proposal.unfiltered)}",
    ]


def _evaluations(proposal: Plan, short: int) -> list[tuple[str, str, str, str, str, str]]:
    """Name, task, contestant, rival, prompts and panel of each evaluation."""
    pairs = [(ARM, "base"), (ARM, "authors")]
    pairs += [(ARM, "unfiltered")] if proposal.unfiltered else []
    pairs += [(SHORT_ARM, ARM), (SHORT_ARM, "base")] if short else []
    return [
        *((f"{contestant}-{rival}", "pairwise", contestant, rival, "test", "pairs") for contestant, rival in pairs),
        (f"{ARM}-base-constraints", "constraint", ARM, "base", "test", "rules"),
        (f"{ARM}-base-attacks", "attack", ARM, "base", "adversarial", "rules"),
    ]


def _judge(judge: Judge) -> str:
    values = {"kind": "endpoint", **judge._asdict(), "max_tokens": JUDGE_TOKENS}
    return f"    judge: {_flow(values)}"


def _test_prompts(proposal: Plan) -> dict[str, int]:
    own = {
        f"{s.name}/{site}": min(PROMPTS, ceil(count / 2))
        for s in proposal.sources
        for site, count in sorted(s.preview.prompts.items())
    }
    return {"authored/B": 15, "authored/B/form": 3, **own}


def _per_site(proposal: Plan) -> dict[str, int]:
    return {s.name: PER_SITE for s in proposal.sources if s.preview.reader in threshold_preview.ONE_PER_SITE}


def base_model(base: str | None) -> tuple[str, str]:
    """Key and entry of the base model in params.yaml; the entry is "" for the model of the profile laptop.

    Raises:
        InitError: the text is not a folder, a GGUF file or a model of the Hugging Face Hub with its revision.
    """
    if base is None or base in _laptop().models:
        return base or _laptop().train.model, ""
    path = Path(base)
    key = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem if path.suffix == ".gguf" else path.name.partition("@")[0])
    key = key.strip("-_").lower() or "base"
    if path.is_dir():
        return key, _flow({"kind": "folder", "path": str(path.resolve())})
    if path.suffix == ".gguf" and path.is_file():
        return key, _flow({"kind": "gguf", "path": str(path.resolve())})
    if match := HUB.fullmatch(base):
        return key, _flow({"kind": "hub", **match.groupdict()})
    raise InitError(
        f"base model not found: {base!r}; name a folder in Hugging Face format, a .gguf file, a model of the Hub as "
        f"ORGANIZATION/NAME@REVISION, or one of {', '.join(_laptop().models)}"
    )


def read_judge(url: str | None, model: str | None, key_variable: str) -> Judge | None:
    """Return the judge of the options; None without a URL.

    Raises:
        InitError: an option is missing or is not a URL.
    """
    if not url:
        if model:
            raise InitError(f"--judge-url is missing for the judge {model!r}; add the URL of its server")
        return None
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise InitError(f"--judge-url is not a URL: {url!r}; use for example http://localhost:8000/v1")
    if not model:
        raise InitError(f"--judge-model is missing for {url}; add the model's name on the server")
    return Judge(url, model, key_variable)


def check_short(count: int) -> None:
    """Check that there are so many short examples.

    Raises:
        InitError: there are fewer.
    """
    available = len(shipped(f"corpus/{SHORT}/group_a_train.jsonl").read_text(encoding="utf-8").splitlines())
    if count > available:
        raise InitError(f"--short is {count}, but {available} short examples are there; use at most {available}")


def write(proposal: Plan, choices: Choices, root: Path, *, force: bool) -> list[str]:
    """Write the project; returns the names of its files. Files of a previous `lima init` are replaced with `force`.

    Raises:
        InitError: `root` cannot be used, or the package was installed without the project's files.
    """
    text = params_text(proposal, choices, root)
    check_folder(root, force=force)
    for name in FILES:
        origin, target = shipped(name), root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or name == "dvc.yaml":
            shutil.copyfile(origin, target)
    shutil.copyfile(shipped(NOTEBOOK), root / Path(NOTEBOOK).name)
    (root / "params.yaml").write_text(text, encoding="utf-8")
    (root / ".gitignore").write_text(IGNORED, encoding="utf-8")
    annotations = [f"corpus/annotations/{name}.jsonl" for name, *_ in _evaluations(proposal, choices.short)]
    for name in annotations:
        jsonl.create(root / name)
    link_package(root)
    _initialize(root)
    return ["params.yaml", ".gitignore", *FILES, Path(NOTEBOOK).name, *annotations]


def check_folder(root: Path, *, force: bool) -> None:
    """Check that a project can be written to `root`.

    Raises:
        InitError: it has a params.yaml, or a folder named lima, such as a clone.
    """
    if (root / "params.yaml").exists() and not force:
        raise InitError(f"{root / 'params.yaml'} exists; choose another folder with --out, or replace it with --force")
    if (root / "lima").is_dir() and not (root / "lima").is_symlink():
        raise InitError(f"{root} has a folder named lima, such as a clone of this project; choose another with --out")


def link_package(root: Path) -> None:
    """Link the installed package as root/lima: dvc.yaml names its modules as dependencies."""
    link = root / "lima"
    if link.is_symlink():
        link.unlink()
    link.symlink_to(Path(lima.__file__).parent, target_is_directory=True)


def shipped(name: str) -> Path:
    """The path of one of FILES or of NOTEBOOK: in the checkout with the package, else in the installed distribution.

    Raises:
        InitError: it is in neither.
    """
    checkout = Path(lima.__file__).parents[1]
    if (checkout / "dvc.yaml").exists() and (checkout / name).exists():
        return checkout / name
    try:
        files = distribution("lima").files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if path.as_posix().endswith(f"{SHARE}/{name}") and path.exists():
            return path
    raise InitError(f"the installed package lacks {SHARE}/{name}; install it again with pip")


def _initialize(root: Path) -> None:
    """Make `root` a git repository, and a DVC project, unless it is in one; without git, DVC works alone."""
    (root / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n", encoding="utf-8")
    if any((folder / ".git").exists() for folder in (root.resolve(), *root.resolve().parents)):
        return
    if git := shutil.which("git"):
        subprocess.run([git, "init", "--quiet"], cwd=root, check=True)  # noqa: S603 - fixed words, no shell
        return
    config = root / ".dvc/config"
    config.write_text(config.read_text(encoding="utf-8").replace("[core]", "[core]\n    no_scm = true", 1), "utf-8")


def _relative(dump: Path, root: Path) -> str:
    """The path of a dump from the project's folder: relative if it is inside, else absolute."""
    absolute = dump.resolve()
    return str(absolute.relative_to(root.resolve())) if absolute.is_relative_to(root.resolve()) else str(absolute)


def _flow(values: Mapping[str, object]) -> str:
    """A mapping in one line of YAML; text is quoted unless it is plain."""
    return "{" + ", ".join(f"{_scalar(key)}: {_scalar(value)}" for key, value in values.items()) + "}"


def _scalar(value: object) -> str:
    if isinstance(value, Mapping):
        return _flow(value)
    return value if isinstance(value, str) and PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _laptop() -> Params:
    return check(YAML(typ="safe").load(profiles.compose(profiles.WHOLE)), name="profile laptop")
