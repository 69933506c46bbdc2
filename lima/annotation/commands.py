"""The commands below `lima annotate`."""

from typing import Annotated

import typer

app = typer.Typer(help="Judge answers in the browser.")


@app.callback(invoke_without_command=True)
def annotate(
    context: typer.Context,
    only: Annotated[
        list[str] | None, typer.Option(help="An evaluation to include; may be repeated. [default: all]")
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
