"""Contestants and judges against `transformers serve`, an OpenAI-compatible server that is not part of this project."""

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from conftest import free_port
from transformers import AutoModelForCausalLM, AutoTokenizer

from lima.chat_types import ChatRequest, ChatResponse
from lima.config.entries import EndpointAnnotator, EndpointContestant, Evaluation, RandomModel
from lima.config.sections import Canaries, Decoding, Judge, RequestSettings
from lima.evaluation import canaries, reliability
from lima.evaluation.annotators import annotate
from lima.evaluation.items import Item
from lima.evaluation.reliability import Bounds
from lima.inference import chat_session, endpoint
from lima.inference.chat_client import EndpointError
from lima.records import Prompt, Provenance, Response, Turn
from lima.training import base_model, tokenization

COMMAND = shutil.which("transformers", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
STARTUP = 300.0  # seconds; four on an idle machine
MODEL = RandomModel(kind="random", layers=2, hidden=32, heads=2, context=512)
PLACE = Provenance(source="authored", site="B", id="1", url="", author="ann", license="MIT", digest="0")
DECODING = Decoding(
    top_p=0.9, temperature=0.7, repetition_penalty=1.2, max_tokens=6, batch_size=4, precision="fp32", seed=17
)
SETTINGS = RequestSettings.model_validate(
    {
        "concurrency": 2,
        "retries": 2,
        "timeout": 60.0,
        "max_retry_after": 1.0,
        "max_rate_limit_wait": 1.0,
        "max_failed_share": 0.0,
        "budget": {"calls": None, "tokens": None, "cost": None},
    }
)
BOUNDS = Bounds(max_unusable_share=0.1, max_inconsistent_share=0.4, max_constant_share=0.95, max_failed_canaries=0.34)
GRADES = """# System

Choose FAIL, PASS or EXCELLENT. End with the line VERDICT: LABEL.

# User

$prompt

$answer
"""  # short: the model's context has 512 bytes
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMMAND is None, reason="the command transformers is not installed"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The model's folder with the shipped chat template, and the server's address."""
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    base_model.write(MODEL, folder / "base", seed=1)
    model = AutoModelForCausalLM.from_pretrained(folder / "base")
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    tokenization.add_eot(model, tokenizer, "<|eot|>", start="mean")
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    command = [COMMAND, "serve", str(folder / "model"), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        _wait(port, server, folder / "log")
        yield str(folder / "model"), f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait()


def _wait(port, server, log):
    deadline = time.monotonic() + STARTUP
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"transformers serve has not started: {log.read_text()[-2000:]}")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMA_CACHE", str(tmp_path / "cache.sqlite"))


def entry(served, **changes):
    model, url = served
    values = {"kind": "endpoint", "url": url, "model": model, "key_variable": "", "reads": ""}
    return EndpointContestant(**values | changes)


def ask_all(requests, contestant):
    return chat_session.ask_all(requests, contestant, SETTINGS, stage="sample", description="served")


def test_a_contestant_answers_with_usage_and_a_rerun_is_the_same(served):
    prompts = [
        Prompt(id=name, messages=(Turn(role="user", content=f"{name}?"),), tags=(), provenance=PLACE) for name in "ab"
    ]
    requests = endpoint.chat_requests(prompts, served=entry(served), samples=2, decoding=DECODING)
    replies = ask_all(requests, entry(served))
    responses = [endpoint.response(prompts[0], 0, reply, contestant="served") for reply in replies]
    assert all(isinstance(response, Response) for response in responses)
    assert all(1 <= response.tokens <= 6 for response in responses)
    assert {response.usage.attempts for response in responses} == {1}
    assert all(response.usage.prompt_tokens > 0 for response in responses)
    assert ask_all(requests, entry(served)) == replies


def test_a_judges_system_turn_is_accepted_by_the_shipped_chat_template(served):
    turns = Turn(role="system", content="Compare both responses."), Turn(role="user", content="A: x\nB: y")
    requests = [
        ChatRequest(model=served[0], messages=messages, options={"max_tokens": 6, "seed": 1}, attempt=0)
        for messages in (turns, turns[1:])
    ]
    with_system, without = ask_all(requests, entry(served))
    assert isinstance(with_system, ChatResponse)
    assert isinstance(without, ChatResponse)
    assert with_system.usage.prompt_tokens > without.usage.prompt_tokens


def test_random_weights_as_a_judge_are_unusable_by_their_canaries(served, tmp_path):
    prompts = [
        Prompt(id=name, messages=(Turn(role="user", content=f"{name}?"),), tags=(), provenance=PLACE) for name in "ab"
    ]
    references = [
        Response(prompt_id=p.id, contestant="x", sample=0, text="An answer.", finish="stop", tokens=None)
        for p in prompts
    ]
    known = canaries.build("grade", prompts, references, seed=1, per_kind=1, trusted=True)
    judge = Judge(**SETTINGS.model_dump(), seed=1, canaries=Canaries(references="", per_kind=1))
    template = tmp_path / "grade.md"
    template.write_text(GRADES)
    judgments = annotate(
        [Item(canary.prompt, canary.responses) for canary in known],
        evaluation=Evaluation(
            task="grade", contestant="x", rival="y", prompts="test", panel="p", template=str(template)
        ),
        key="e",
        name="random",
        annotator=EndpointAnnotator(
            kind="endpoint", url=served[1], model=served[0], key_variable="", max_tokens=4, send=("max_tokens", "seed")
        ),
        judge=judge,
        annotations=tmp_path,
        done=lambda: None,
    )
    results = canaries.evaluate(known, judgments)
    assert sum(result.failed for result in results) == len(known) == 5
    assert {judgment.reason for judgment in judgments} <= {"unparsed", "truncated"}
    found = reliability.usable(reliability.measure(judgments, lengths={}, canaries=results), BOUNDS)
    assert not found.usable
    assert "it fails 1 of 1 canaries of the kind gibberish" in found.reasons


def test_another_model_than_the_served_one_stops_at_once(served):
    missing = entry(served, model="another")
    requests = [
        ChatRequest(model="another", messages=(Turn(role="user", content=f"{n}"),), options={}, attempt=0)
        for n in range(20)
    ]
    with pytest.raises(EndpointError, match=r"failed after 1 attempt: status 400 .*check url, model and key"):
        ask_all(requests, missing)
