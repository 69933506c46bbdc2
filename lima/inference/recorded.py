"""Recorded responses: written by people, or generated outside the pipeline."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lima import jsonl
from lima.errors import LimaError
from lima.records import Prompt, Response
from lima.text import reasoning_blocks


def read(path: Path, prompts: Sequence[Prompt], *, contestant: str) -> list[Response]:
    """Read the recorded responses to these prompts, in the order of the prompts, renamed to the contestant.

    Responses to other prompts are ignored. Reasoning blocks are removed.

    Raises:
        LimaError: a duplicate, or no response to any of the prompts.
    """
    position = {prompt.id: number for number, prompt in enumerate(prompts)}
    recorded = list(jsonl.read(path, Response))
    responses = [
        response.model_copy(update={"contestant": contestant, "text": reasoning_blocks.without(response.text)})
        for response in recorded
        if response.prompt_id in position
    ]
    duplicates = [key for key, count in Counter((r.prompt_id, r.sample) for r in responses).items() if count > 1]
    if duplicates:
        prompt_id, sample = duplicates[0]
        raise LimaError(f"duplicate response to prompt {prompt_id} (sample {sample}) in {path}; keep one of the lines")
    if not responses:
        raise LimaError(
            f"no response to any of the {len(prompts)} prompts among the {len(recorded)} in {path}; check its prompt_id"
        )
    return sorted(responses, key=lambda response: (position[response.prompt_id], response.sample))
