"""The commands below `lima annotate`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Judge answers in the browser.")


@app.callback(invoke_without_command=True)
def annotate(
    context: typer.Context,
    only: Annotated[
        list[str] | None, typer.Option(help="An evaluation to include; may be repeated. (default: all)")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Other machines can connect to addresses beyond loopback.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8765,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Judge answers in the browser; the judgments are written to corpus/annotations/EVALUATION.jsonl."""
    if context.invoked_subcommand:
        return
    from lima import config
    from lima.annotation import checkout

    checkout.serve(config.load(), names=only or [], host=host, port=port, browser=browser)


class ExportFormat(StrEnum):
    """Formats of `lima annotate export`."""

    JSONL = "jsonl"
    LABEL_STUDIO = "label-studio"
    ARGILLA = "argilla"


@app.command("invite")
def invite(
    number: Annotated[int, typer.Argument(min=1, max=200, help="Number of people.")],
    address: Annotated[str, typer.Option(help="Address of the server, as people reach it.")],
    admin: Annotated[bool, typer.Option("--admin", help="Invite administrators.")] = False,
) -> None:
    """Print invitation links, one for each person; the server may be running."""
    from lima.annotation.checkout import DATABASE
    from lima.annotation.store import Store

    store = Store(DATABASE)
    for _ in range(number):
        typer.echo(f"{address.rstrip('/')}/join#{store.invite('admin' if admin else 'person')}")
    store.close()


@app.command("export")
def export_annotations(
    evaluation: Annotated[str, typer.Argument(help="An evaluation of params.yaml.")],
    out: Annotated[Path, typer.Option(help="Output file; for Label Studio its interface is written to FILE.xml.")],
    form: Annotated[ExportFormat, typer.Option("--format", help="The format to write.")] = ExportFormat.JSONL,
) -> None:
    """Write the annotations of an evaluation for another tool."""
    from lima import config
    from lima.annotation import checkout, exchange

    with checkout.opened(config.load(), [evaluation]) as study:
        typer.echo(f"{out}: {exchange.export(study, evaluation, out, form.value)} annotations")


@app.command("import")
def import_annotations(
    path: Annotated[Path, typer.Argument(help="JSONL of this command, or JSON of Label Studio or Argilla.")],
) -> None:
    """Add annotations that were made with another tool or on another machine."""
    from lima import config
    from lima.annotation import checkout, exchange

    with checkout.opened(config.load()) as study:
        typer.echo(f"{path}: {exchange.load(study, path)} annotations imported")


@app.command("withdraw")
def withdraw(person: Annotated[str, typer.Argument(help="Pseudonym.")]) -> None:
    """Delete all judgments of a person, on the person's request."""
    from lima import config
    from lima.annotation import checkout

    with checkout.opened(config.load()) as study:
        typer.echo(f"{study.store.withdraw(study.store.person(person))} judgments deleted")


@app.command("simulate")
def simulate(
    people: Annotated[int, typer.Option(min=1, max=100, help="Number of simulated people.")] = 3,
    error: Annotated[float, typer.Option(min=0, max=1, help="Probability of a choice other than the true one.")] = 0.2,
    exchanges: Annotated[
        int, typer.Option(min=0, help="Exchanges of each live conversation with the contestants; 0 for none.")
    ] = 0,
) -> None:
    """Fill the study with simulated people, for a demonstration; their annotations are marked as simulated."""
    from lima import config
    from lima.annotation import checkout, crowd, simulated_talk
    from lima.annotation.contestant_replies import open_replies
    from lima.annotation.conversations import Conversations

    params = config.load()
    with checkout.opened(params) as study:
        crew = [crowd.SimulatedPerson(f"simulated-{number}", error) for number in range(1, people + 1)]
        count = crowd.fill(study, crew, seed=study.settings.seed)
        if exchanges:
            live = checkout.load_live(params)
            replies = open_replies(params, checkout.contestants_of(live))
            held = simulated_talk.hold(
                Conversations(study, live), crew, replies, exchanges=exchanges, seed=study.settings.seed
            )
            typer.echo(f"{held} simulated conversations")
        typer.echo(f"{count} simulated judgments; delete them with `lima annotate withdraw simulated-1` and so on")
