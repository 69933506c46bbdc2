"""Generate a contestant's responses to the test and adversarial prompts and to the scripted dialogues.

`python -m lima.stages.sample CONTESTANT`
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from lima import config, jsonl, storage
from lima.chat_types import counts
from lima.config import Params
from lima.config.entries import ArmContestant, BaseContestant, Contestant, EndpointContestant, RecordedContestant
from lima.config.sections import Decoding, Sample
from lima.curation import hashing
from lima.errors import LimaError, run_command
from lima.evaluation.checkpoint_selection import SelectedCheckpoint
from lima.inference import endpoint, generation_cache, recorded, scripted_dialogues
from lima.inference.generation_cache import BatchCache, files_digest
from lima.parallel import progress
from lima.records import AnswerLikelihood, Prompt, Response, Unanswered

Outcome = Response | Unanswered
REPLY = "word "  # a token of the replies that the estimate of the cost of dialogues assumes


@dataclass(frozen=True)
class PromptSets:
    test: list[Prompt]
    adversarial: list[Prompt]
    dialogues: list[Prompt]  # scripts

    @property
    def single(self) -> list[Prompt]:
        """The prompts that are answered once per sample."""
        return self.test + self.adversarial


@dataclass(frozen=True)
class Sampled:
    """Outcomes of one contestant, in the order of the prompts."""

    single: Sequence[Outcome]
    dialogues: Sequence[Outcome]
    likelihoods: Sequence[AnswerLikelihood] = field(default_factory=list)  # of contestants with weights only


@storage.alone("sample")
def main(contestant: str) -> None:
    params = config.load()
    answerer = config.entry(params.contestants, "contestant", contestant)
    prompts = read_prompts()
    samples = samples_per_prompt(answerer, params.sample)
    match answerer:
        case ArmContestant(arm=arm):
            (chosen,) = jsonl.read(storage.result_dir("select", arm) / "chosen.json", SelectedCheckpoint)
            sampled = from_folder(Path(chosen.checkpoint), prompts, contestant, params, samples=samples)
        case BaseContestant(model=model):
            sampled = from_folder(storage.result_dir("base", model), prompts, contestant, params, samples=samples)
        case RecordedContestant(reads=path):
            sampled = from_file(Path(path), prompts, contestant)
        case EndpointContestant() as served:
            sampled = from_endpoint(served, prompts, contestant, params)
    test_ids = {prompt.id for prompt in prompts.test}
    responses = [outcome for outcome in sampled.single if isinstance(outcome, Response)]
    answers = [response for response in responses if response.prompt_id in test_ids]
    attempts = [response for response in responses if response.prompt_id not in test_ids]
    turns = [outcome for outcome in sampled.dialogues if isinstance(outcome, Response)]
    unanswered = [o for o in (*sampled.single, *sampled.dialogues) if isinstance(o, Unanswered)]
    with storage.publish("sample", contestant) as folder:
        jsonl.write(folder / "responses.jsonl", answers)
        jsonl.write(folder / "adversarial.jsonl", attempts)
        jsonl.write(folder / "dialogues.jsonl", turns)
        jsonl.write(folder / "unanswered.jsonl", unanswered)
        jsonl.write(folder / "likelihood.jsonl", sampled.likelihoods)
    shutil.rmtree(storage.kept_dir("sample", contestant), ignore_errors=True)
    missing = len(test_ids - {response.prompt_id for response in answers})
    without = f"; {missing} prompts without a response" if missing else ""
    suite = f", {len(attempts)} to the adversarial suite" if attempts else ""
    scripted = f", {len(turns)} in {len({turn.prompt_id for turn in turns})} scripted dialogues" if turns else ""
    print(
        f"{contestant}: {len(answers)} responses to {len(test_ids) - missing} of {len(test_ids)} prompts"
        f"{without}{suite}{scripted}"
    )
    if unanswered:
        reasons = counts(Counter(failure.reason for failure in unanswered))
        requests = len(sampled.single) + len(sampled.dialogues)
        print(
            f"{contestant}: {len(unanswered)} of {requests} requests failed "
            f"({reasons}); see {storage.result_dir('sample', contestant)}/unanswered.jsonl"
        )


def read_prompts() -> PromptSets:
    folder = storage.result_dir("prompts")
    return PromptSets(
        *(list(jsonl.read(folder / f"{name}.jsonl", Prompt)) for name in ("test", "adversarial", "dialogues"))
    )


def cost(contestant: str) -> str:
    """Describe the requests that the stage would send for an endpoint contestant, without sending any.

    Raises:
        LimaError: the contestant is not an endpoint, or there are no prompts.
    """
    from lima.inference import chat_session  # imports openai

    params = config.load()
    served = config.entry(params.contestants, "contestant", contestant)
    if not isinstance(served, EndpointContestant):
        raise LimaError(f"{contestant} is not an endpoint: kind {served.kind}; sampling it sends no requests")
    prompts, settings = read_prompts(), params.sample
    requests = endpoint.chat_requests(
        prompts.single, served=served, samples=samples_per_prompt(served, settings), decoding=settings.decoding
    )
    longest = REPLY * settings.dialogues.max_tokens
    turns = scripted_dialogues.placeholders(prompts.dialogues, most_turns=settings.dialogues.turns, reply=longest)
    requests += endpoint.chat_requests(turns, served=served, samples=1, decoding=dialogue_decoding(settings))
    spent = chat_session.spent("sample")
    return (
        f"{contestant}: {chat_session.estimate(requests, served)}\n"
        f"spent by the stage sample so far: {spent.calls:,} calls, {spent.tokens:,} tokens, cost {spent.cost:,.2f}"
    )


def from_folder(folder: Path, prompts: PromptSets, contestant: str, params: Params, *, samples: int) -> Sampled:
    """Generate responses with local weights, and score the recorded answers.

    A killed run continues after its last finished batch.
    """
    from lima.inference import generate, likelihood, model  # loading torch and transformers takes seconds
    from lima.training import library_output

    settings = params.sample
    library_output.reduce()
    loaded = model.load(folder, precision=settings.decoding.precision)
    weights = [contestant, files_digest(folder), files_digest(generation_cache.CODE)]

    def answer(asked: list[Prompt], *, samples: int, decoding: Decoding) -> Iterator[Outcome]:
        return generate.generate(
            loaded,
            asked,
            contestant=contestant,
            samples=samples,
            decoding=decoding,
            batches=BatchCache(storage.kept_dir("sample", contestant), [*weights, decoding.model_dump_json()]),
        )

    answers = answer(prompts.single, samples=samples, decoding=settings.decoding)
    total = len(prompts.single) * samples
    single = in_order(prompts.single, tqdm(answers, total=total, desc=contestant, disable=None))
    with progress.phase(f"{contestant}: scripted dialogues"):
        dialogues = scripted_dialogues.respond(
            prompts.dialogues,
            lambda turns: answer(turns, samples=1, decoding=dialogue_decoding(settings)),
            most_turns=settings.dialogues.turns,
        )
    references = reference_answers(prompts.test, settings)
    scored = likelihood.score(loaded, prompts.test, references, max_tokens=settings.likelihood.max_tokens)
    title = f"{contestant}: likelihood of recorded answers"
    return Sampled(single, dialogues, list(tqdm(scored, total=len(references), desc=title, disable=None)))


def from_file(path: Path, prompts: PromptSets, contestant: str) -> Sampled:
    """Read recorded responses to the test prompts and the scripted dialogues."""

    def others(count: int) -> None:
        if count:
            print(f"{contestant}: {count} responses in {path} are to other prompts and are not used")

    responses = recorded.read(path, [*prompts.test, *prompts.dialogues], contestant=contestant, others=others)
    scripts = {script.id for script in prompts.dialogues}
    scripted_dialogues.check(prompts.dialogues, responses, contestant=contestant)
    return Sampled(
        single=[response for response in responses if response.prompt_id not in scripts],
        dialogues=[response for response in responses if response.prompt_id in scripts],
    )


def from_endpoint(served: EndpointContestant, prompts: PromptSets, contestant: str, params: Params) -> Sampled:
    """Request responses; those of earlier runs are read from the response cache."""
    from lima.inference import chat_session  # imports openai

    settings = params.sample

    def answer(asked: list[Prompt], *, samples: int, decoding: Decoding) -> list[Outcome]:
        requests = endpoint.chat_requests(asked, served=served, samples=samples, decoding=decoding)
        replies = iter(chat_session.ask_all(requests, served, settings, stage="sample", description=contestant))
        return [
            endpoint.response(prompt, sample, next(replies), contestant=contestant)
            for prompt in asked
            for sample in range(samples)
        ]

    return Sampled(
        single=answer(prompts.single, samples=samples_per_prompt(served, settings), decoding=settings.decoding),
        dialogues=scripted_dialogues.respond(
            prompts.dialogues,
            lambda turns: answer(turns, samples=1, decoding=dialogue_decoding(settings)),
            most_turns=settings.dialogues.turns,
        ),
    )


def samples_per_prompt(contestant: Contestant, settings: Sample) -> int:
    own = None if isinstance(contestant, RecordedContestant) else contestant.samples
    return own or settings.samples


def dialogue_decoding(settings: Sample) -> Decoding:
    return settings.decoding.model_copy(update={"max_tokens": settings.dialogues.max_tokens})


def reference_answers(test: list[Prompt], settings: Sample) -> list[Response]:
    """The recorded answers to the test prompts that are scored, in the order of the prompts; maybe none."""
    answers = recorded.read(Path(settings.likelihood.answers), test, contestant="", required=False)
    drawn = sorted(answers, key=lambda answer: hashing.hash_uniform(settings.decoding.seed, answer.prompt_id))
    kept = {(answer.prompt_id, answer.sample) for answer in drawn[: settings.likelihood.most]}
    return [answer for answer in answers if (answer.prompt_id, answer.sample) in kept]


def in_order(prompts: list[Prompt], responses: Iterable[Outcome]) -> list[Outcome]:
    place = {prompt.id: number for number, prompt in enumerate(prompts)}
    return sorted(responses, key=lambda response: (place[response.prompt_id], response.sample))


if __name__ == "__main__":
    run_command(main)
