"""Have a contestant answer the test prompts and the adversarial suite: `python -m lima.stages.sample CONTESTANT`."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from lima import config, jsonl, storage
from lima.chat_types import FailureLimit, counts, limited
from lima.config import Params
from lima.config.entries import ArmContestant, BaseContestant, EndpointContestant, RecordedContestant
from lima.errors import run_command
from lima.evaluation.checkpoint_selection import SelectedCheckpoint
from lima.inference import endpoint, recorded, response_cache
from lima.records import Prompt, Response, Unanswered


@storage.alone("sample")
def main(contestant: str) -> None:
    p = config.load()
    answerer = config.entry(p.contestants, "contestant", contestant)
    test, adversarial = (
        list(jsonl.read(storage.result_dir("prompts") / f"{name}.jsonl", Prompt)) for name in ("test", "adversarial")
    )
    prompts = test + adversarial
    unanswered: list[Unanswered] = []
    match answerer:
        case ArmContestant(arm=arm):
            (chosen,) = jsonl.read(storage.result_dir("select", arm) / "chosen.json", SelectedCheckpoint)
            responses = from_folder(Path(chosen.checkpoint), prompts, contestant, p)
        case BaseContestant(model=model):
            responses = from_folder(storage.result_dir("base", model), prompts, contestant, p)
        case RecordedContestant(reads=path):
            responses = recorded.read(Path(path), test, contestant=contestant)
        case EndpointContestant() as served:
            given = asyncio.run(from_endpoint(served, prompts, contestant, p))
            responses = [outcome for outcome in given if isinstance(outcome, Response)]
            unanswered = [outcome for outcome in given if isinstance(outcome, Unanswered)]
    asked = {prompt.id for prompt in test}
    answers = [response for response in responses if response.prompt_id in asked]
    with storage.publish("sample", contestant) as folder:
        written = jsonl.write(folder / "responses.jsonl", answers)
        tried = jsonl.write(folder / "adversarial.jsonl", [r for r in responses if r.prompt_id not in asked])
        jsonl.write(folder / "unanswered.jsonl", unanswered)
    missing = len(asked - {response.prompt_id for response in answers})
    without = f"; {missing} prompts without an answer" if missing else ""
    suite = f", {tried} to the adversarial suite" if tried else ""
    print(f"{contestant}: {written} responses to {len(test) - missing} of {len(test)} prompts{without}{suite}")
    if unanswered:
        reasons = counts(Counter(failure.reason for failure in unanswered))
        print(
            f"{contestant}: {len(unanswered)} of {len(prompts) * p.sample.samples} questions have no answer "
            f"({reasons}); {storage.result_dir('sample', contestant)}/unanswered.jsonl names them"
        )


def from_folder(folder: Path, prompts: list[Prompt], contestant: str, p: Params) -> list[Response]:
    from lima.inference import generate, model  # torch and transformers: seconds that other contestants do not pay

    decoding, samples = p.sample.decoding, p.sample.samples
    loaded = model.load(folder, precision=decoding.precision)
    answers = generate.generate(loaded, prompts, contestant=contestant, samples=samples, decoding=decoding)
    return in_order(prompts, tqdm(answers, total=len(prompts) * samples, desc=contestant, disable=None))


async def from_endpoint(
    served: EndpointContestant, prompts: list[Prompt], contestant: str, p: Params
) -> list[Response | Unanswered]:
    """Answers that an earlier run was given are read from the response cache."""
    from lima.inference import chat_client  # imports openai

    questions = len(prompts) * p.sample.samples
    limit = FailureLimit(questions, share=p.sample.max_failed_share, setting="sample.max_failed_share")
    with (
        tqdm(total=questions, desc=contestant, disable=None) as bar,
        response_cache.open_cache(storage.REPLIES) as cache,
    ):
        async with chat_client.connected(
            served.url,
            key_variable=served.key_variable,
            retries=p.sample.retries,
            timeout=p.sample.timeout,
            seed=p.sample.decoding.seed,
            known=cache.knows(served.url, served.model),
        ) as server:
            return await endpoint.generate(
                prompts,
                served=served,
                contestant=contestant,
                samples=p.sample.samples,
                concurrency=p.sample.concurrency,
                decoding=p.sample.decoding,
                ask=limited(response_cache.cached(server.ask, cache, url=served.url), limit),
                done=bar.update,
            )


def in_order(prompts: list[Prompt], responses: Iterable[Response]) -> list[Response]:
    place = {prompt.id: number for number, prompt in enumerate(prompts)}
    return sorted(responses, key=lambda response: (place[response.prompt_id], response.sample))


if __name__ == "__main__":
    run_command(main)
