"""Progress on a terminal: a bar over parallel jobs, and the elapsed time of work without a known length.

Without a terminal nothing is shown, except a line for each retry.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm

from lima.display import visible_line
from lima.parallel.jobs import Event, Reply, Restarted, Started

SHOWN = 3  # names of running jobs after the bar


def follow(events: Iterable[Event], *, title: str, names: Sequence[str], sizes: Sequence[int]) -> list[Reply]:
    """Show progress until all jobs have ended.

    Args:
        events: of a process pool or Ray.
        title: label of the bar.
        names: of the jobs.
        sizes: of the jobs, in bytes; the unit of the bar.

    Returns:
        The replies, in the order of the jobs.
    """
    names = [visible_line(name) for name in names]
    replies: dict[int, Reply] = {}
    running: dict[int, str] = {}
    with tqdm(total=sum(sizes), desc=title, unit="B", unit_scale=True, disable=None) as bar:
        for event in events:
            if isinstance(event, Started):
                running[event.job] = names[event.job]
            elif isinstance(event, Restarted):
                tqdm.write(
                    f"{title}: {names[event.job]} is retried: its worker was killed {event.why}", file=sys.stderr
                )
            else:
                running.pop(event.job)
                replies[event.job] = event.reply
                bar.update(sizes[event.job])
            more = f" and {len(running) - SHOWN} more" if len(running) > SHOWN else ""
            bar.set_postfix_str(f"{len(replies)} of {len(names)}: {', '.join(list(running.values())[:SHOWN])}{more}")
    return [replies[job] for job in range(len(names))]


@contextmanager
def phase(title: str) -> Iterator[None]:
    """Show a title with the elapsed time while a phase of a stage runs."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # imported here, since it is shown on terminals only
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as shown:
        shown.add_task(visible_line(title))
        yield
