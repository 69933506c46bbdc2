"""Answers that were given elsewhere, by people or by models of another time."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lima import jsonl
from lima.errors import LimaError
from lima.records import Prompt, Response
from lima.text import reasoning_blocks


def read(path: Path, prompts: Sequence[Prompt], *, contestant: str) -> list[Response]:
    """The recorded answers to these prompts, under the contestant's name, in the prompts' order.

    A prompt without an answer stays without one. Reasoning blocks are removed.

    Raises LimaError where an answer comes twice, or none fits a prompt.
    """
    place = {prompt.id: number for number, prompt in enumerate(prompts)}
    recorded = list(jsonl.read(path, Response))
    fitting = [
        response.model_copy(update={"contestant": contestant, "text": reasoning_blocks.without(response.text)})
        for response in recorded
        if response.prompt_id in place
    ]
    twice = [key for key, count in Counter((r.prompt_id, r.sample) for r in fitting).items() if count > 1]
    if twice:
        prompt_id, sample = twice[0]
        raise LimaError(f"{path} answers prompt {prompt_id} (sample {sample}) more than once; keep one of the lines")
    if not fitting:
        raise LimaError(
            f"{path} has {len(recorded)} responses, but none whose prompt_id is among the {len(prompts)} prompts"
        )
    return sorted(fitting, key=lambda response: (place[response.prompt_id], response.sample))
