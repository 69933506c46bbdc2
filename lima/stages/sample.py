"""Generate a contestant's responses to the test and adversarial prompts: `python -m lima.stages.sample CONTESTANT`."""

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from lima import config, jsonl, storage
from lima.chat_types import counts
from lima.config import Params
from lima.config.entries import ArmContestant, BaseContestant, EndpointContestant, RecordedContestant
from lima.errors import LimaError, run_command
from lima.evaluation.checkpoint_selection import SelectedCheckpoint
from lima.inference import endpoint, generation_cache, recorded
from lima.inference.generation_cache import BatchCache, files_digest
from lima.records import Prompt, Response, Unanswered


@storage.alone("sample")
def main(contestant: str) -> None:
    params = config.load()
    answerer = config.entry(params.contestants, "contestant", contestant)
    test, adversarial = read_prompts()
    prompts = test + adversarial
    outcomes: Sequence[Response | Unanswered]
    match answerer:
        case ArmContestant(arm=arm):
            (chosen,) = jsonl.read(storage.result_dir("select", arm) / "chosen.json", SelectedCheckpoint)
            outcomes = from_folder(Path(chosen.checkpoint), prompts, contestant, params)
        case BaseContestant(model=model):
            outcomes = from_folder(storage.result_dir("base", model), prompts, contestant, params)
        case RecordedContestant(reads=path):
            outcomes = recorded.read(Path(path), test, contestant=contestant)
        case EndpointContestant() as served:
            outcomes = from_endpoint(served, prompts, contestant, params)
    responses = [outcome for outcome in outcomes if isinstance(outcome, Response)]
    unanswered = [outcome for outcome in outcomes if isinstance(outcome, Unanswered)]
    test_ids = {prompt.id for prompt in test}
    answers = [response for response in responses if response.prompt_id in test_ids]
    with storage.publish("sample", contestant) as folder:
        written = jsonl.write(folder / "responses.jsonl", answers)
        tried = jsonl.write(folder / "adversarial.jsonl", [r for r in responses if r.prompt_id not in test_ids])
        jsonl.write(folder / "unanswered.jsonl", unanswered)
    shutil.rmtree(storage.kept_dir("sample", contestant), ignore_errors=True)
    missing = len(test_ids - {response.prompt_id for response in answers})
    without = f"; {missing} prompts without a response" if missing else ""
    suite = f", {tried} to the adversarial suite" if tried else ""
    print(f"{contestant}: {written} responses to {len(test) - missing} of {len(test)} prompts{without}{suite}")
    if unanswered:
        reasons = counts(Counter(failure.reason for failure in unanswered))
        print(
            f"{contestant}: {len(unanswered)} of {len(prompts) * params.sample.samples} requests failed "
            f"({reasons}); see {storage.result_dir('sample', contestant)}/unanswered.jsonl"
        )


def read_prompts() -> tuple[list[Prompt], list[Prompt]]:
    """Return the test and the adversarial prompts."""
    folder = storage.result_dir("prompts")
    return list(jsonl.read(folder / "test.jsonl", Prompt)), list(jsonl.read(folder / "adversarial.jsonl", Prompt))


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
    test, adversarial = read_prompts()
    requests = endpoint.chat_requests(
        test + adversarial, served=served, samples=params.sample.samples, decoding=params.sample.decoding
    )
    spent = chat_session.spent("sample")
    return (
        f"{contestant}: {chat_session.estimate(requests, served)}\n"
        f"spent by the stage sample so far: {spent.calls:,} calls, {spent.tokens:,} tokens, cost {spent.cost:,.2f}"
    )


def from_folder(folder: Path, prompts: list[Prompt], contestant: str, params: Params) -> list[Response | Unanswered]:
    """Generate responses; a killed run goes on after its last finished batch."""
    from lima.inference import generate, model  # imported here, since loading torch and transformers takes seconds

    decoding, samples = params.sample.decoding, params.sample.samples
    loaded = model.load(folder, precision=decoding.precision)
    depends = [contestant, files_digest(folder), files_digest(generation_cache.CODE), decoding.model_dump_json()]
    answers = generate.generate(
        loaded,
        prompts,
        contestant=contestant,
        samples=samples,
        decoding=decoding,
        batches=BatchCache(storage.kept_dir("sample", contestant), depends),
    )
    return in_order(prompts, tqdm(answers, total=len(prompts) * samples, desc=contestant, disable=None))


def from_endpoint(
    served: EndpointContestant, prompts: list[Prompt], contestant: str, params: Params
) -> list[Response | Unanswered]:
    """Request responses; those of earlier runs are read from the response cache."""
    from lima.inference import chat_session  # imports openai

    settings = params.sample
    requests = endpoint.chat_requests(prompts, served=served, samples=settings.samples, decoding=settings.decoding)
    replies = iter(chat_session.ask_all(requests, served, settings, stage="sample", description=contestant))
    return [
        endpoint.response(prompt, sample, next(replies), contestant=contestant)
        for prompt in prompts
        for sample in range(settings.samples)
    ]


def in_order(prompts: list[Prompt], responses: Iterable[Response | Unanswered]) -> list[Response | Unanswered]:
    place = {prompt.id: number for number, prompt in enumerate(prompts)}
    return sorted(responses, key=lambda response: (place[response.prompt_id], response.sample))


if __name__ == "__main__":
    run_command(main)
