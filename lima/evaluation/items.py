"""Items of an evaluation: one response to a prompt, or a pair of responses (LIMA §4)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lima import jsonl, storage
from lima.config.entries import Evaluation
from lima.curation import hashing
from lima.errors import LimaError
from lima.inference import scripted_dialogues
from lima.records import Prompt, Response

Position = tuple[str, int, int]  # prompt id, sample, turn


class Item(NamedTuple):
    prompt: Prompt  # of a response in a dialogue: the conversation before it
    responses: tuple[Response, ...]  # one; for a pair the contestant's and the rival's

    @property
    def response(self) -> Response:
        """The contestant's response."""
        return self.responses[0]

    @property
    def rival(self) -> Response:
        """The rival's response. Raises IndexError if the item is not a pair."""
        return self.responses[1]


@dataclass(frozen=True)
class Items:
    """Items in the order of the prompts, and the prompts that are incomplete."""

    items: list[Item]
    unanswered: dict[str, list[str]]  # contestant → ids of prompts without any response
    incomplete: list[Position]  # of pairs: samples of prompts that both answered, without the other side's response


class DuplicateResponse(LimaError):
    """Two responses of a contestant to the same prompt, sample and turn."""


def read(evaluation: Evaluation, *, seed: int) -> Items:
    """Read the prompts and responses of an evaluation below data/, and match them.

    Args:
        seed: of the draw of prompts, judge.seed.
    """
    prompts = list(jsonl.read(storage.result_dir("prompts") / f"{evaluation.prompts}.jsonl", Prompt))
    responses = {
        name: list(jsonl.read(storage.responses(name, evaluation.prompts), Response))
        for name in (evaluation.contestant, evaluation.rival)
    }
    return collect(select_prompts(prompts, evaluation, seed=seed), responses, evaluation)


def select_prompts(prompts: Sequence[Prompt], evaluation: Evaluation, *, seed: int) -> list[Prompt]:
    """Return the prompts of an evaluation, in their order: those of its groups, at most `most`, drawn by hash.

    Raises:
        LimaError: two prompts have the same id, or no prompt belongs to the groups.
    """
    repeated = [prompt_id for prompt_id, count in Counter(prompt.id for prompt in prompts).items() if count > 1]
    if repeated:
        raise LimaError(
            f"data/prompts/{evaluation.prompts}.jsonl contains {len(repeated)} prompt ids more than once, first "
            f"{repeated[0]}; make the ids unique in its source"
        )
    members = [p for p in prompts if not evaluation.only or any(_belongs(p, group) for group in evaluation.only)]
    if not members:
        raise LimaError(
            f"no prompt of data/prompts/{evaluation.prompts}.jsonl is in {', '.join(evaluation.only) or 'the set'}; "
            "correct `only` of the evaluation in params.yaml"
        )
    if evaluation.most is None:
        return members
    drawn = sorted(members, key=lambda prompt: (hashing.hash_uniform(seed, prompt.id), prompt.id))[: evaluation.most]
    ids = {prompt.id for prompt in drawn}
    return [prompt for prompt in members if prompt.id in ids]


def _belongs(prompt: Prompt, group: str) -> bool:
    source, *rest = group.split("/", 2)
    site, tags = rest[:1], rest[1:]
    return (
        prompt.provenance.source == source
        and (not site or prompt.provenance.site == site[0])
        and set(tags) <= {tag.rpartition(":")[2] for tag in prompt.tags}
    )


def collect(prompts: Sequence[Prompt], responses: Mapping[str, Sequence[Response]], evaluation: Evaluation) -> Items:
    """Match the responses of both contestants with the prompts; responses to other prompts are left out.

    Args:
        prompts: of the evaluation.
        responses: by contestant.

    Raises:
        DuplicateResponse: the message names contestant, prompt and sample.
        IncompleteDialogue: a response in a dialogue without a response to an earlier turn.
    """
    by_contestant = {
        name: _by_position(name, [r for r in responses[name] if _is_judged(r, evaluation)])
        for name in dict.fromkeys((evaluation.contestant, evaluation.rival))
    }
    answered = {name: {position[0] for position in by_position} for name, by_position in by_contestant.items()}
    unanswered = {
        name: missing
        for name, ids in answered.items()
        if (missing := [prompt.id for prompt in prompts if prompt.id not in ids])
    }
    order = {prompt.id: number for number, prompt in enumerate(prompts)}
    a, b = (by_contestant[name] for name in (evaluation.contestant, evaluation.rival))
    both = {prompt.id for prompt in prompts} - {prompt for missing in unanswered.values() for prompt in missing}
    paired = evaluation.task == "pairwise"
    incomplete = sorted(position for position in a.keys() ^ b.keys() if paired and position[0] in both)

    def ordered(positions: Iterable[Position]) -> list[Position]:
        return sorted((p for p in positions if p[0] in order), key=lambda p: (order[p[0]], *p[1:]))

    if evaluation.task == "dialogue":
        items = [item for side in (a, b) for item in _turns(prompts, side, ordered(side))]
    elif paired:
        items = [Item(prompts[order[p[0]]], (a[p], b[p])) for p in ordered(a.keys() & b.keys())]
    else:
        items = [Item(prompts[order[p[0]]], (side[p],)) for side in (a, b) for p in ordered(side)]
    return Items(items, unanswered, incomplete)


def _turns(
    scripts: Sequence[Prompt], responses: Mapping[Position, Response], ordered: Sequence[Position]
) -> Iterator[Item]:
    """One item per response of a contestant, in the order of the scripts and turns; its prompt is the conversation."""
    by_id = {script.id: script for script in scripts}
    if ordered:
        judged = [responses[position] for position in ordered]
        scripted_dialogues.check(scripts, judged, contestant=judged[0].contestant)
    for script_id, sample, turn in ordered:
        replies = [responses[script_id, sample, earlier].text for earlier in range(turn)]
        messages = scripted_dialogues.conversation(by_id[script_id], replies)
        prompt = by_id[script_id].model_copy(update={"messages": messages})
        yield Item(prompt, (responses[script_id, sample, turn],))


def _is_judged(response: Response, evaluation: Evaluation) -> bool:
    return evaluation.samples is None or response.sample < evaluation.samples


def _by_position(contestant: str, responses: Sequence[Response]) -> dict[Position, Response]:
    by_position: dict[Position, Response] = {}
    for response in responses:
        position = (response.prompt_id, response.sample, response.turn)
        if position in by_position:
            raise DuplicateResponse(
                f"two responses of {contestant} to prompt {response.prompt_id}, sample {response.sample}; "
                f"run `dvc repro --force sample@{contestant}`"
            )
        by_position[position] = response
    return by_position
