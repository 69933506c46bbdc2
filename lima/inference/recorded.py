"""Recorded responses: written by people, or generated outside the pipeline.

The format is detected from the first object: responses of this project, AlpacaEval's model outputs, and the answers of
MT-Bench (FastChat) and Arena-Hard. Answers are matched with prompts by id; AlpacaEval's, which have none, by text.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from lima import jsonl
from lima.errors import LimaError
from lima.jsonl import JsonObject
from lima.records import Prompt, Response
from lima.text import reasoning_blocks

Format = Literal["lima", "alpaca-eval", "mt-bench", "arena-hard"]
FAILED = "$ERROR$"  # what FastChat and Arena-Hard record in place of an answer after a failed request


def read(
    path: Path,
    prompts: Sequence[Prompt],
    *,
    contestant: str,
    required: bool = True,
    others: Callable[[int], object] = lambda _: None,
) -> list[Response]:
    """Read the recorded responses to these prompts, in the order of the prompts, renamed to the contestant.

    Responses to other prompts are left out. Reasoning blocks are removed.

    Args:
        required: whether a file without a response to any of the prompts is an error.
        others: called with the number of responses to other prompts.

    Raises:
        LimaError: an unknown format, answers of several models, a duplicate, or no response to any of the prompts.
    """
    position = {prompt.id: number for number, prompt in enumerate(prompts)}
    recorded = _read(path, prompts)
    responses = [
        response.model_copy(update={"contestant": contestant, "text": reasoning_blocks.without(response.text)})
        for response in recorded
        if response.prompt_id in position
    ]
    duplicates = [key for key, n in Counter((r.prompt_id, r.sample, r.turn) for r in responses).items() if n > 1]
    if duplicates:
        prompt_id, sample, _ = duplicates[0]
        raise LimaError(f"duplicate response to prompt {prompt_id} (sample {sample}) in {path}; keep one of the lines")
    if required and not responses:
        raise LimaError(
            f"no response to any of the {len(prompts)} prompts among the {len(recorded)} in {path}; check its prompt_id"
        )
    others(len(recorded) - len(responses))
    return sorted(responses, key=lambda response: (position[response.prompt_id], response.sample, response.turn))


def detect(row: JsonObject) -> Format | None:
    """The format of a file of answers, from its first object; None if it is not one."""
    if {"prompt_id", "text"} <= row.keys():
        return "lima"
    if {"instruction", "output"} <= row.keys():
        return "alpaca-eval"
    if {"uid", "messages"} <= row.keys():
        return "arena-hard"
    if {"question_id", "choices"} <= row.keys():
        return "mt-bench"
    return None


def _read(path: Path, prompts: Sequence[Prompt]) -> list[Response]:
    rows = jsonl.objects(path)
    match detect(rows[0]) if rows else "lima":
        case "lima":
            return list(jsonl.read(path, Response))
        case "alpaca-eval":
            named = [str(row.get("generator", "")) for row in rows]
            responses = list(_by_text(rows, prompts))
        case "mt-bench":
            named = [str(row.get("model_id", "")) for row in rows]
            responses = list(_by_id(_choices(path, rows), prompts))
        case "arena-hard":
            named = [str(row.get("model", "")) for row in rows]
            responses = list(_by_id(_messages(path, rows), prompts))
        case None:
            raise LimaError(
                f"{path} has an unknown format: its first object has the keys {', '.join(sorted(rows[0]))}; the "
                "formats are responses of this project, AlpacaEval model outputs, MT-Bench and Arena-Hard model answers"
            )
    if len(models := sorted(set(named))) > 1:
        raise LimaError(f"{path} has answers of {len(models)} models ({', '.join(models)}); write one file per model")
    return responses


def instruction(row: JsonObject) -> str:
    """The prompt of an object of AlpacaEval: its instruction, with the input if there is one."""
    return "\n\n".join(part for part in (str(row["instruction"]), str(row.get("input") or "")) if part)


def _choices(path: Path, rows: Sequence[JsonObject]) -> Iterator[tuple[str, int, int, str]]:
    """Question id, sample, turn and text; a turn is a text, or an object with a content (Arena-Hard 0.1)."""
    for row in rows:
        try:
            for sample, choice in enumerate(row["choices"]):
                for turn, answer in enumerate(choice["turns"]):
                    yield str(row["question_id"]), sample, turn, _text(answer)
        except (KeyError, TypeError) as error:
            raise _malformed(path, row.get("question_id"), error) from error


def _messages(path: Path, rows: Sequence[JsonObject]) -> Iterator[tuple[str, int, int, str]]:
    samples = Counter[str]()
    for row in rows:
        uid = str(row["uid"])
        try:
            answers = [_text(message) for message in row["messages"] if message["role"] == "assistant"]
        except (KeyError, TypeError) as error:
            raise _malformed(path, uid, error) from error
        for turn, answer in enumerate(answers):
            yield uid, samples[uid], turn, answer
        samples[uid] += 1


def _text(answer: object) -> str:
    """The text of an answer: a string, {"content": …} or {"answer": …}."""
    while isinstance(answer, dict):
        answer = answer["answer"] if "answer" in answer else answer["content"]
    if not isinstance(answer, str):
        raise TypeError(f"{answer!r} is not a text")
    return answer


def _malformed(path: Path, question: object, error: Exception) -> jsonl.MalformedLine:
    return jsonl.MalformedLine(f"{path}: the answer to question {question} cannot be read: {error}; correct the file")


def prompt_ids(prompts: Sequence[Prompt]) -> dict[str, str]:
    """Question id → prompt id. A question has the prompt's id, or the id in its source if no other prompt has that."""
    inner = Counter(prompt.provenance.id for prompt in prompts)
    ids = {prompt.provenance.id: prompt.id for prompt in prompts if inner[prompt.provenance.id] == 1}
    return ids | {prompt.id: prompt.id for prompt in prompts}


def by_text(prompts: Sequence[Prompt]) -> dict[str, list[str]]:
    """Text of a prompt with a single user turn → ids of the prompts with this text."""
    ids = defaultdict(list)
    for prompt in prompts:
        if [turn.role for turn in prompt.messages] == ["user"]:
            ids[prompt.messages[0].content.strip()].append(prompt.id)
    return dict(ids)


def _by_id(answers: Iterator[tuple[str, int, int, str]], prompts: Sequence[Prompt]) -> Iterator[Response]:
    ids = prompt_ids(prompts)
    for question, sample, turn, text in answers:
        if text != FAILED:
            yield _response(ids.get(question, question), sample, turn, text)


def _by_text(rows: Sequence[JsonObject], prompts: Sequence[Prompt]) -> Iterator[Response]:
    ids = by_text(prompts)
    samples = Counter[str]()
    for row in rows:
        for prompt_id in ids.get(instruction(row).strip(), [""]):  # "": not a prompt of this project
            yield _response(prompt_id, samples[prompt_id], 0, str(row["output"]))
            samples[prompt_id] += 1


def _response(prompt_id: str, sample: int, turn: int, text: str) -> Response:
    return Response(prompt_id=prompt_id, contestant="", sample=sample, turn=turn, text=text, finish="stop", tokens=None)
