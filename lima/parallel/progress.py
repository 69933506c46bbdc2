"""One bar over jobs that run several at once, with what is running, and a line for each that is done again."""

import sys
from collections.abc import Iterable, Sequence

from tqdm import tqdm

from lima.display import visible_line
from lima.parallel.jobs import Event, Reply, Restarted, Started

SHOWN = 3  # names beside the bar


def follow(events: Iterable[Event], *, title: str, names: Sequence[str], sizes: Sequence[int]) -> list[Reply]:
    """The jobs' replies in their order; `sizes` in bytes tells how far the bar goes with each."""
    names = [visible_line(name) for name in names]
    replies: dict[int, Reply] = {}
    running: dict[int, str] = {}
    with tqdm(total=sum(sizes), desc=title, unit="B", unit_scale=True, disable=None) as bar:
        for event in events:
            if isinstance(event, Started):
                running[event.job] = names[event.job]
            elif isinstance(event, Restarted):
                tqdm.write(
                    f"{title}: {names[event.job]} is done again, its worker was killed {event.why}", file=sys.stderr
                )
            else:
                running.pop(event.job)
                replies[event.job] = event.reply
                bar.update(sizes[event.job])
            more = f" and {len(running) - SHOWN} more" if len(running) > SHOWN else ""
            bar.set_postfix_str(f"{len(replies)} of {len(names)}: {', '.join(list(running.values())[:SHOWN])}{more}")
    return [replies[job] for job in range(len(names))]
