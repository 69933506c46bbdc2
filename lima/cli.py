"""The command `lima`: what a person asks beside the pipeline."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lima.display import visible_json
from lima.errors import LimaError, file_fault

app = typer.Typer(
    help="From raw community dumps to an aligned model and an honest report. The pipeline itself is `dvc repro`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
profile = typer.Typer(
    help="Profiles: params.yaml for a laptop, for CI, for the paper's own sizes.", no_args_is_help=True
)
app.add_typer(profile, name="profile")
corpus = typer.Typer(
    help="What is written by hand: held to its laws, and compared with other sets.", no_args_is_help=True
)
app.add_typer(corpus, name="corpus")


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A dump in its own format: a file, an archive or a folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Tell of a dump, before anything is built on it: what would be kept, what dropped, and why."""
    from lima import config, inspection

    found = inspection.inspect(path, config.load())
    typer.echo(visible_json(found.model_dump_json(indent=2)) if as_json else inspection.render(found))


@app.command()
def dialogues(
    dump: Annotated[Path, typer.Argument(help="Stack Exchange with Comments.xml: an archive, or a folder of either.")],
    out: Annotated[Path, typer.Option(help="The JSON lines to write, FILE.jsonl; a sheet to read goes to FILE.md.")],
    most: Annotated[int | None, typer.Option(min=1, help="So many drafts, the best; else params.yaml's.")] = None,
) -> None:
    """Make drafts of dialogues from comment chains below answers, for a person to edit into training examples."""
    from lima import config, dialogue_drafts

    p = config.load().dialogues
    dialogue_drafts.check(out)
    found = dialogue_drafts.find(dump, p, most=most or p.most)
    sheet = dialogue_drafts.write(found, out)
    typer.echo(f"{dialogue_drafts.render(found)}\n\n{out} is to be edited, {sheet} to be read beside it")


@app.command()
def plan(
    arm: Annotated[str, typer.Argument(help="An arm of params.yaml.")],
    gpus: Annotated[int, typer.Option(help="GPUs of each node.")],
    memory: Annotated[float, typer.Option(min=1, help="GiB of each GPU.")],
    gpu: Annotated[str, typer.Option(help="The GPU's name, for its speed: H100, A100, …")],
    mfu: Annotated[float, typer.Option(min=0.01, max=1, help="Share of its speed that is assumed to be reached.")],
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
) -> None:
    """Say what training an arm will take, before anything starts, and what fits; status 1 if nothing does."""
    from lima import config, training_plan
    from lima.training.resources import PEAKS

    if gpus < 1:
        raise LimaError(
            f"--gpus is {gpus}; plans are for machines with GPUs. On a processor, `dvc repro train@{arm}` shows the "
            "speed and the time left after a few steps"
        )
    p = config.load()
    config.entry(p.arms, "arm", arm)
    machine = training_plan.Machine(nodes, gpus, memory, config.entry(PEAKS, "GPU", gpu), mfu)
    typer.echo(training_plan.render(arm, p, machine))
    if not any(f.fits for f in training_plan.plan(arm, p, machine).fits):
        raise typer.Exit(1)


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="A model of params.yaml, or a folder in Hugging Face's form.")],
) -> None:
    """Check that a base model trains on the right loss, packing and tokens; status 1 if a check fails."""
    from lima import config, model_check

    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    text, passed = model_check.check(model, config.load(), colour=colour)
    typer.echo(text)
    if not passed:
        raise typer.Exit(1)


@corpus.command("check")
def check_corpus(
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders of JSONL; else params.yaml's.")] = None,
) -> None:
    """Check what is written by hand: schema, doubles, lengths, formulas, spelling, diversity; status 1 for a fault."""
    from lima import config, corpus_lint, corpus_report

    p = config.load().proofreading
    proof = corpus_lint.lint(folders or [Path(folder) for folder in p.folders], p)
    typer.echo(corpus_report.render(proof, p))
    if proof.faults:
        raise typer.Exit(1)


@corpus.command("compare")
def compare_corpora(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Sets of prompts or dialogues: JSON, JSONL, CSV, Parquet, Arrow, or text with a prompt a line."
        ),
    ],
) -> None:
    """Compare how diverse sets of prompts are, at the size of the smallest."""
    from lima import config, corpus_report
    from lima.sources import prompt_files

    stems = [path.stem for path in files]
    sets = {path.stem if stems.count(path.stem) == 1 else str(path): prompt_files.read(path) for path in files}
    typer.echo(corpus_report.show(corpus_report.diversity(sets, config.load().proofreading)))


@profile.command("list")
def list_profiles() -> None:
    """Name the profiles, and the one in use."""
    from lima import config
    from lima.config import profiles

    used = config.load().profile
    for name in profiles.names():
        typer.echo(f"{'*' if name == used else ' '} {name}")


@profile.command("use")
def use_profile(
    name: Annotated[str, typer.Argument(help="One of `lima profile list`.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite a params.yaml that was changed by hand.")] = False,
) -> None:
    """Write a profile over params.yaml."""
    from lima.config import profiles

    profiles.use(name, force=force)
    typer.echo(f"params.yaml is now the profile {name}; `dvc repro` runs what it changes")


@profile.command("check")
def check_profile() -> None:
    """Check params.yaml, and that every input it names exists; status 1 with a list of what is wrong."""
    from lima import config
    from lima.config import profiles

    profiles.check_paths(config.load())
    typer.echo("params.yaml is valid, and every input it names exists")


@profile.command("show")
def show_profile(name: Annotated[str, typer.Argument(help="One of `lima profile list`.")]) -> None:
    """Print params.yaml as a profile would write it."""
    from lima.config import profiles

    typer.echo(profiles.compose(name), nl=False)


def main() -> None:
    """The console script; what a user can mend ends it with status 1 and no traceback."""
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
