"""The command `lima`: inspect data, check parameters, models and the corpus. The pipeline itself runs under DVC."""

import os
import sys
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lima.annotation import commands as annotation_commands
from lima.display import visible_json
from lima.errors import LimaError, file_fault

if TYPE_CHECKING:
    from lima.config import Params

app = typer.Typer(
    help="Build a fine-tuning set from raw community dumps, train on it and report the result. "
    "Run the pipeline with `dvc repro`; this command has the tools around it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
profile = typer.Typer(
    help="Profiles: prepared versions of params.yaml for a laptop, for CI and for the paper's model sizes.",
    no_args_is_help=True,
)
app.add_typer(profile, name="profile")
corpus = typer.Typer(
    help="Validate the hand-written corpus and compare it with other prompt sets.", no_args_is_help=True
)
app.add_typer(corpus, name="corpus")
evaluation = typer.Typer(
    help="Exchange answers and judgments with AlpacaEval, MT-Bench (FastChat) and Arena-Hard.", no_args_is_help=True
)
app.add_typer(evaluation, name="evaluation")

arms = typer.Typer(help="Arms: training recipes, and what they are compared with.", no_args_is_help=True)
app.add_typer(arms, name="arms")

app.add_typer(annotation_commands.app, name="annotate")
mlflow = typer.Typer(help="Runs in MLflow.", no_args_is_help=True)
app.add_typer(mlflow, name="mlflow")


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"lima {version('lima')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that precede every command; the help text is that of `app`."""


@app.command()
def inspect(
    path: Annotated[
        str,
        typer.Argument(help="A dump in its original format: a file, an archive, a folder or an address (https://)."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this number of candidates.")] = None,
    skip: Annotated[int, typer.Option(min=0, help="Leave out this number of candidates first.")] = 0,
) -> None:
    """Show what a dump contains: how many rows would be kept or dropped, and why.

    Thresholds are those of params.yaml, or of the profile laptop outside of a project.
    """
    from lima import config, inspection
    from lima.config import profiles
    from lima.sources import remote

    params = config.load() if Path("params.yaml").exists() else profiles.load(profiles.WHOLE)
    result = inspection.inspect(remote.location(path), params, limit=limit, skip=skip)
    typer.echo(visible_json(result.model_dump_json(indent=2)) if as_json else inspection.render(result))


@app.command()
def init(
    dumps: Annotated[list[Path], typer.Argument(help="Dumps in their original format: files, archives or folders.")],
    out: Annotated[Path, typer.Option(help="Folder of the new project.")] = Path("lima-project"),
    base: Annotated[
        str | None,
        typer.Option(help="Base model: a folder, a .gguf file, or ORGANIZATION/NAME@REVISION. (default: smollm2-135m)"),
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Training examples of the arm. (default: 16)")] = None,
    judge_url: Annotated[str | None, typer.Option(help="OpenAI-compatible server of a judge; none by default.")] = None,
    judge_model: Annotated[str | None, typer.Option(help="The judge's model name on the server.")] = None,
    judge_key: Annotated[str, typer.Option(help="Environment variable with the API key, not the key.")] = "",
    min_score: Annotated[int | None, typer.Option(help="Fewest votes of a response, one of the table.")] = None,
    min_chars: Annotated[int | None, typer.Option(help="Fewest characters of a response, one of the table.")] = None,
    license: Annotated[str | None, typer.Option(help="License of the dumps. (default: by format, or unknown)")] = None,
    short: Annotated[
        int | None,
        typer.Option(
            min=0, help="Short hand-written examples of a second arm, besides those of the dumps. (default: 0)"
        ),
    ] = None,
    subreddit: Annotated[
        list[str] | None,
        typer.Option(
            help="Reddit: a subreddit whose posts become examples; may be repeated. (default: WritingPrompts)"
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Count only this number of candidates per dump.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; use the options and the proposals.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the thresholds and the plan; write nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace params.yaml and dvc.yaml of the folder.")] = False,
) -> None:
    """Create a project from dumps: show what each threshold would keep, then write params.yaml and its files."""
    from lima import project_commands

    options = project_commands.Options(
        dumps,
        out,
        base,
        size,
        judge_url,
        judge_model,
        judge_key,
        min_score,
        min_chars,
        license,
        short,
        subreddit or [],
        limit,
        dry_run,
        force,
    )
    project_commands.init(options, ask=not yes and sys.stdin.isatty() and sys.stdout.isatty())


@app.command()
def doctor() -> None:
    """Check versions, disk, memory, GPU, servers, keys and locks; exit with status 1 if a run cannot start."""
    from lima import doctor as diagnosis

    findings = diagnosis.diagnose()
    typer.echo(diagnosis.render(findings, colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR")))
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)


@app.command()
def summary(
    seconds: Annotated[int | None, typer.Option(min=0, help="Time that the run took, to show.")] = None,
) -> None:
    """Show what a run has made, where it is, and what to do next."""
    from lima import config, run_summary

    typer.echo(run_summary.summarize(config.load(), seconds=seconds))


@app.command()
def dialogues(
    dump: Annotated[Path, typer.Argument(help="A Stack Exchange dump with Comments.xml: an archive or a folder.")],
    out: Annotated[Path, typer.Option(help="Output file FILE.jsonl; a readable version is written to FILE.md.")],
    most: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of drafts. (default: dialogues.most of params.yaml)")
    ] = None,
) -> None:
    """Extract draft dialogues from comment threads, for a person to edit into training examples."""
    from lima import config, dialogue_drafts

    params = config.load().dialogues
    dialogue_drafts.check(out)
    drafts = dialogue_drafts.extract(dump, params, most=most or params.most)
    sheet = dialogue_drafts.write(drafts, out)
    typer.echo(f"{dialogue_drafts.render(drafts)}\n\nedit {out}; {sheet} shows the same drafts for reading")


@app.command()
def card(
    arm: Annotated[
        str, typer.Argument(help="An arm of params.yaml whose training set `dvc repro mix@ARM` has written.")
    ],
    out: Annotated[Path, typer.Option(help="Output file FILE.html.")],
) -> None:
    """Write the data card of an arm, before it is trained; the stage report writes those of all arms."""
    from lima import config, storage
    from lima.reporting import data_card, token_counts
    from lima.reporting.dropped_rows import DroppedRows

    params = config.load()
    config.entry(params.arms, "arm", arm)
    rows = DroppedRows(params.report.card.dropped, seed=params.mix.seed)
    count = token_counts.counter(storage.result_dir("base", params.train.model))
    out.write_text(data_card.render(params, data_card.read(params, arm, rows), count=count), encoding="utf-8")
    typer.echo(f"wrote {out}")


@app.command()
def plan(
    arms: Annotated[list[str], typer.Argument(metavar="ARM...", help="Arms of params.yaml.")],
    gpus: Annotated[int, typer.Option(help="GPUs per node.")],
    memory: Annotated[float, typer.Option(min=1, help="Memory per GPU, in GiB.")],
    gpu: Annotated[str, typer.Option(help="GPU model, which sets the peak FLOP/s: H100, A100, …")],
    mfu: Annotated[float, typer.Option(min=0.01, max=1, help="Model FLOPs utilization to assume, 0.01 to 1.")],
    nodes: Annotated[int, typer.Option(min=1, help="Number of nodes.")] = 1,
    price: Annotated[float | None, typer.Option(min=0, help="Price of one GPU for an hour, for the cost.")] = None,
) -> None:
    """Estimate time, memory, disk and cost of training arms; exit with status 1 if no configuration fits."""
    from lima import config, training_plan
    from lima.training.cost_formulas import PEAKS

    if gpus < 1:
        raise LimaError(
            f"--gpus is {gpus}, but estimates need at least one GPU; on a CPU, run `dvc repro train@{arms[0]}`: it "
            "shows the speed and the remaining time after a few steps"
        )
    params = config.load()
    for arm in arms:
        config.entry(params.arms, "arm", arm)
    machine = training_plan.Machine(
        nodes, gpus, memory, config.entry(PEAKS, "GPU", gpu, place="the table of peak FLOP/s"), mfu
    )
    typer.echo(training_plan.render(arms, params, machine, price=price))
    if not any(strategy.fits for strategy in training_plan.fits(params, machine)):
        raise typer.Exit(1)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="An arm of params.yaml.")],
    second: Annotated[str, typer.Argument(help="Another arm.")],
) -> None:
    """Show what differs between two arms: recipe, data (with shared examples), metrics and evaluations."""
    from lima import arm_comparison, config

    typer.echo(arm_comparison.render(arm_comparison.compare(config.load(), first, second)))


@app.command()
def trace(
    record: Annotated[
        str,
        typer.Argument(metavar="ID", help="An example or prompt, SOURCE/SITE/ID, or an answer, CONTESTANT:ID#SAMPLE."),
    ],
) -> None:
    """Trace an answer or example back to checkpoint, training set, validation, raw record, author and license."""
    from lima import config, lineage

    typer.echo(lineage.trace(config.load(), record).render())


@app.command()
def export(
    arm: Annotated[str, typer.Argument(help="An arm whose checkpoint the stage select has chosen.")],
    out: Annotated[Path, typer.Option(help="A new folder; it gets the folders model and dataset.")],
    base_license: Annotated[
        str | None, typer.Option(help="License of the base model. (default: as its package or model card states)")
    ] = None,
    gguf_converter: Annotated[
        Path | None, typer.Option(help="convert_hf_to_gguf.py of a clone of llama.cpp; it writes OUT/model.gguf.")
    ] = None,
) -> None:
    """Write the selected checkpoint and its training data as Hugging Face folders with cards."""
    from lima import config
    from lima import export as exporting

    typer.echo(exporting.export(config.load(), arm, out, base_license=base_license))
    if gguf_converter:
        typer.echo(exporting.write_gguf(out, gguf_converter))


@app.command()
def serve(
    arm: Annotated[str, typer.Argument(help="An arm whose checkpoint the stage select has chosen.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    show: Annotated[bool, typer.Option("--show", help="Print the command and do not run it.")] = False,
) -> None:
    """Serve the selected checkpoint with an OpenAI-compatible API: vLLM if installed, else transformers."""
    import shlex

    from lima import config
    from lima import export as exporting

    config.entry(config.load().arms, "arm", arm)
    folder = Path(exporting.selected(arm).checkpoint)
    command = exporting.serve_command(folder, name=arm, host=host, port=port)
    typer.echo(shlex.join(command))
    if not show:
        os.execv(command[0], command)  # noqa: S606 - a list of arguments, no shell


@app.command()
def cost(
    name: Annotated[str, typer.Argument(help="An evaluation, or a contestant of the kind endpoint, of params.yaml.")],
) -> None:
    """Estimate calls, tokens and cost of the missing answers or judgments; sends no requests."""
    from lima import config
    from lima.stages import judge, sample

    typer.echo(judge.cost(name) if name in config.load().evaluations else sample.cost(name))


@app.command()
def retry(
    dry_run: Annotated[bool, typer.Option(help="List the stages, without running them.")] = False,
) -> None:
    """Send the failed requests of all contestants and annotators again; everything else comes from the cache."""
    from lima import config
    from lima import retry as retries

    raise typer.Exit(retries.run(config.load(), dry_run=dry_run))


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="A model of params.yaml, or a folder in Hugging Face format.")],
) -> None:
    """Check a base model's loss, packing and tokenization; exit with status 1 if a check fails."""
    from lima import config, model_check

    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    text, passed = model_check.check(model, config.load(), colour=colour)
    typer.echo(text)
    if not passed:
        raise typer.Exit(1)


@corpus.command("check")
def check_corpus(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders of JSONL files. (default: proofreading.folders of params.yaml)")
    ] = None,
) -> None:
    """Lint the hand-written corpus: schema, near-duplicates, repeated openings, spelling; status 1 on an error."""
    from lima import config, corpus_lint, corpus_report

    params = config.load().proofreading
    result = corpus_lint.lint(folders or [Path(folder) for folder in params.folders], params)
    typer.echo(corpus_report.render(result, params))
    if result.errors:
        raise typer.Exit(1)


@corpus.command("compare")
def compare_corpora(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Sets of prompts or dialogues: JSON, JSONL, CSV, Parquet, Arrow, or text with one prompt per line."
        ),
    ],
) -> None:
    """Compare the diversity of prompt sets, subsampled to the size of the smallest set."""
    from lima import config, corpus_report
    from lima.sources import prompt_files

    stems = [path.stem for path in files]
    sets = {path.stem if stems.count(path.stem) == 1 else str(path): prompt_files.read(path) for path in files}
    typer.echo(corpus_report.show(corpus_report.diversity(sets, config.load().proofreading)))


@arms.command("add")
def add_arm(
    name: Annotated[str, typer.Argument(help="Name of the new arm and of its contestant.")],
    copied: Annotated[str, typer.Option("--from", help="The arm whose entry is copied.")],
    examples: Annotated[
        list[str] | None, typer.Option(help="SOURCE=N: examples drawn from a source, 0 for none; repeatable.")
    ] = None,
    pool: Annotated[str | None, typer.Option(help="kept or unfiltered.")] = None,
    order: Annotated[str | None, typer.Option(help="best or random: order of the examples of a site.")] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Tag whose examples are excluded, instead of the copied arm's; repeatable.")
    ] = None,
    data_seed: Annotated[int | None, typer.Option(min=0, help="Seed of the draw of examples.")] = None,
    train_seed: Annotated[int | None, typer.Option(min=0, help="Seed of batches and dropout.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Both seeds: a repetition of the copied arm.")] = None,
    axis: Annotated[
        list[str] | None, typer.Option(help="An ablation of params.yaml that the arm becomes a part of; repeatable.")
    ] = None,
) -> None:
    """Add an arm to params.yaml, with its contestant, evaluations and their annotation files."""
    from lima.config import new_arm

    added = new_arm.add(
        new_arm.NewArm(
            name,
            copied=copied,
            examples=new_arm.counts(examples or []),
            pool=pool,
            order=order,
            without=without,
            data_seed=seed if data_seed is None else data_seed,
            train_seed=seed if train_seed is None else train_seed,
            axes=axis or (),
        )
    )
    count = len(added.evaluations)
    typer.echo(
        f"added arm {added.arm} with contestant {added.contestant} and {count} evaluation{'s' * (count != 1)}: "
        f"{', '.join(added.evaluations)}"
    )
    typer.echo("run `dvc repro` to train and compare it")


@arms.command("list")
def list_arms() -> None:
    """List the arms: examples, pool, seeds, ablations and the contestants that each is compared with."""
    from lima import config
    from lima.config import new_arm

    typer.echo(new_arm.table(config.load()))


class ExchangeFormat(StrEnum):
    """Public formats, as values of --format."""

    ALPACA_EVAL = "alpaca-eval"
    MT_BENCH = "mt-bench"
    ARENA_HARD = "arena-hard"


PromptsOption = Annotated[Path, typer.Option(help="The prompts that were answered.")]


@evaluation.command("export")
def export_evaluation(
    source: Annotated[
        Path, typer.Argument(help="responses.jsonl of a contestant, or judgments.jsonl of an annotator.")
    ],
    form: Annotated[ExchangeFormat, typer.Option("--format", help="The format to write.")],
    out: Annotated[Path, typer.Option(help="Output file.")],
    prompts: PromptsOption = Path("data/prompts/test.jsonl"),
    responses: Annotated[
        list[Path] | None, typer.Option(help="responses.jsonl of both contestants, for judgments in alpaca-eval.")
    ] = None,
) -> None:
    """Write answers or pairwise judgments for the tools of a public evaluation."""
    from lima import jsonl
    from lima.evaluation import exchange
    from lima.records import Prompt

    known = list(jsonl.read(prompts, Prompt))
    typer.echo(exchange.export_file(source, out, form.value, prompts=known, responses=responses or []))


@evaluation.command("import")
def import_evaluation(
    source: Annotated[Path, typer.Argument(help="Model answers or pairwise judgments of a public evaluation.")],
    out: Annotated[Path, typer.Option(help="Output file in JSON Lines.")],
    prompts: PromptsOption = Path("data/prompts/test.jsonl"),
    name: Annotated[str | None, typer.Option(help="The contestant or annotator. (default: from the file)")] = None,
    evaluation: Annotated[str, typer.Option(help="The evaluation of imported judgments.")] = "imported",
    rival: Annotated[str | None, typer.Option(help="The baseline model, if the file does not name it.")] = None,
) -> None:
    """Read answers or pairwise judgments of a public evaluation; the format is detected."""
    from lima import jsonl
    from lima.evaluation import exchange
    from lima.records import Prompt

    known = list(jsonl.read(prompts, Prompt))
    typer.echo(exchange.import_file(source, out, prompts=known, name=name, evaluation=evaluation, rival=rival))


@app.command()
def chat(
    contestants: Annotated[
        list[str],
        typer.Argument(help="Contestants of kind arm, base or endpoint, or folders in Hugging Face format."),
    ],
    blind: Annotated[bool, typer.Option("--blind", help="Show letters in random order instead of names.")] = False,
) -> None:
    """Chat with contestants in the terminal, side by side and streamed, with the decoding of the stage sample."""
    from lima import config
    from lima.annotation import terminal_chat

    terminal_chat.run(config.load(), contestants, blind=blind)


@mlflow.command("publish")
def publish_runs() -> None:
    """Create or complete the run of each trained arm from the files that the stages wrote."""
    from lima import config, mlflow_runs, tracking

    for line in mlflow_runs.publish(config.load()):
        typer.echo(line)
    typer.echo(f"published to {tracking.location()}")


@profile.command("list")
def list_profiles() -> None:
    """List the profiles; an asterisk marks the current one."""
    from lima import config
    from lima.config import profiles

    used = config.load().profile if Path("params.yaml").exists() else None
    for name in profiles.names():
        typer.echo(f"{'*' if name == used else ' '} {name}")


@profile.command("use")
def use_profile(
    name: Annotated[str, typer.Argument(help="A name listed by `lima profile list`.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite manual changes in params.yaml.")] = False,
    accept_gemma_terms: Annotated[
        bool,
        typer.Option(
            "--accept-gemma-terms",
            help="For the profile pretrained: start from Gemma 3 270M in Python packages, not from a model of the hub; "
            "you accept https://ai.google.dev/gemma/terms.",
        ),
    ] = False,
) -> None:
    """Replace params.yaml by a profile, and create missing annotation files of its evaluations."""
    from lima import config
    from lima.config import profiles

    if accept_gemma_terms and name == profiles.PRETRAINED:
        name = profiles.GEMMA
    profiles.use(name, force=force, accept_gemma_terms=accept_gemma_terms)
    _create_annotation_files(config.load())
    typer.echo(f"params.yaml now contains the profile {name}; run `dvc repro` to update the results")


@profile.command("check")
def check_profile() -> None:
    """Validate params.yaml, check that every input it names exists, and create missing annotation files.

    Exits with status 1 and a list of errors.
    """
    from lima import config, dvc_files
    from lima.config import profiles

    params = config.load()
    profiles.check_paths(params)
    dvc_files.check()
    _create_annotation_files(params)
    typer.echo("params.yaml is valid, and every input it names exists")


def _create_annotation_files(params: "Params") -> None:
    from lima import storage
    from lima.config import profiles

    if created := profiles.create_annotation_files(params, storage.annotations):
        files = "1 empty annotation file" if len(created) == 1 else f"{len(created)} empty annotation files"
        typer.echo(f"created {files} for new evaluations: {', '.join(map(str, created))}")


@profile.command("show")
def show_profile(name: Annotated[str, typer.Argument(help="A name listed by `lima profile list`.")]) -> None:
    """Print the params.yaml of a profile."""
    from lima.config import profiles

    typer.echo(profiles.compose(name), nl=False)


def main() -> None:
    """Entry point of the console script. User-facing errors exit with status 1 and without a traceback."""
    try:
        app()
    except LimaError as error:
        raise SystemExit(f"error: {error}") from error
    except OSError as error:
        if (fault := file_fault(error)) is None:
            raise
        raise SystemExit(f"error: {fault}") from error


if __name__ == "__main__":
    main()
