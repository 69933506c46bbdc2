"""The command `lima init`: questions on a terminal, the table of thresholds, and the plan."""

from pathlib import Path
from typing import NamedTuple

import typer

from lima import project_init, threshold_preview
from lima.config import profiles

FEW = 100  # examples, up to which few training steps are a concern
SHORT_EXAMPLES = 30  # as in the profile laptop
SIZE = 16  # training examples, as in the profile laptop: minutes on a CPU


class Options(NamedTuple):
    dumps: list[Path]
    out: Path
    base: str | None
    size: int | None
    judge_url: str | None
    judge_model: str | None
    judge_key: str
    min_score: int | None
    min_chars: int | None
    license: str | None
    short: int | None
    subreddits: list[str]
    limit: int | None
    dry_run: bool
    force: bool


def init(options: Options, *, ask: bool) -> None:
    """Create a project.

    Args:
        options: The command's options.
        ask: Ask for the options that are missing.
    """
    project_init.check_folder(options.out, force=options.force or options.dry_run)
    project_init.base_model(options.base)  # wrong options are reported before the dumps are read
    project_init.read_judge(options.judge_url, options.judge_model, options.judge_key)
    project_init.check_short(options.short or 0)
    settings = project_init.with_subreddits(profiles.load(profiles.WHOLE).filter, options.subreddits)
    previews = project_init.preview(options.dumps, settings, limit=options.limit)
    if ask:
        for shown in previews.values():
            typer.echo(threshold_preview.render(shown, shown.thresholds))
        options = _asked(options)
    choices = project_init.Choices(
        base=options.base,
        size=options.size or SIZE,
        judge=project_init.read_judge(options.judge_url, options.judge_model, options.judge_key),
        min_score=options.min_score,
        min_chars=options.min_chars,
        license=options.license,
        short=options.short or 0,
        subreddits=tuple(options.subreddits),
    )
    project_init.check_short(choices.short)
    proposal = project_init.plan(previews, choices)
    typer.echo(project_init.render_plan(proposal, choices.short))
    if proposal.size < choices.size:
        typer.echo(
            f"note: {choices.size} examples requested, {proposal.size} available besides those held out and a reserve "
            "of a tenth, since overlaps with test prompts are dropped; add dumps for more"
        )
    if not choices.short and proposal.size <= FEW:
        typer.echo(
            f"note: few training steps change little; --short {SHORT_EXAMPLES} adds an arm that also has "
            "short hand-written examples, and compares both"
        )
    if options.dry_run or (ask and not typer.confirm(f"Write the project to {options.out}?", default=True)):
        typer.echo("nothing written")
        return
    names = project_init.write(proposal, choices, options.out, force=options.force)
    typer.echo(
        f"\nwrote {len(names)} files to {options.out}; next:\n"
        f"  cd {options.out}\n"
        "  dvc repro validate    # the data only: data/mix/own/train.jsonl\n"
        "  dvc repro             # training, answers, judgments; reports/report.html\n"
        "  lima summary          # what was made, and what to do next\n"
        "  lima chat own base    # talk to the trained model and its base, side by side\n"
        "if something fails, `lima doctor` says what to do; "
        "params.yaml has every setting with its unit; `lima plan own …` estimates training on GPUs"
    )


def _asked(options: Options) -> Options:
    """Ask for the options that are None."""
    base, size, short = options.base, options.size, options.short
    url, model, key = options.judge_url, options.judge_model, options.judge_key
    if base is None:
        base = typer.prompt("Base model (folder, .gguf file, or ORGANIZATION/NAME@REVISION)", default="smollm2-135m")
    if size is None:
        size = typer.prompt("Training examples", default=SIZE, type=int)
    if short is None:
        text = "Short hand-written examples for a second arm, besides yours (0: no such arm)"
        short = typer.prompt(text, default=0, type=int)
    if url is None:
        url = typer.prompt("URL of a judge's server (empty: no judge)", default="", show_default=False)
        if url:
            model = typer.prompt("Model of the judge")
            key = typer.prompt("Environment variable with its API key (empty: none)", default="", show_default=False)
    return options._replace(base=base, size=size, short=short, judge_url=url or None, judge_model=model, judge_key=key)
