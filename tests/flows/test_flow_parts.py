"""The parts of the flows that need no server: DVC's output, checkouts, chosen stages, tables."""

import logging
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Cancelled, Completed, Crashed, Failed

from flows import ablations, arm_runs, checkout, dvc_commands, evaluate, reproduce, results
from lima import config, jsonl
from lima.config import profiles
from lima.records import FailedExpectation, Judgment, ValidationResult


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Running stage 'train@lima':", [("train@lima", "running")]),
        ("Stage 'base@random' didn't change, skipping", [("base@random", "unchanged")]),
        ("Stage 'mix@a' is cached - skipping run, checking out outputs", [("mix@a", "restored")]),
        (
            "ERROR: failed to reproduce 'validate@a': failed to run: python -m x, exited with 1",
            [("validate@a", "failed")],
        ),
        ("WARNING: failed to reproduce 'train@a': failed to run: python", [("train@a", "failed")]),
        (
            "WARNING: Stages 'select@a', 'sample@a' and 'report' will be skipped due to this failure",
            [("select@a", "skipped"), ("sample@a", "skipped"), ("report", "skipped")],
        ),
        ("> python -m lima.stages.train lima", []),
    ],
)
def test_states_of_stages_are_read_from_dvc(line, expected):
    assert [(event.address, event.state) for event in dvc_commands.events(line)] == expected


@pytest.fixture
def shown(monkeypatch):
    """Runs `repro` on given lines without a server; the names of the task runs and their results."""
    runs = {}

    class Run:
        def __init__(self, name, result):
            self.name, self.result = name, result

        def wait(self):
            runs[self.name] = "cancelled" if self.result.cancelled() else self.result.result()

    class Stage:
        def with_options(self, *, task_run_name):
            self.name = task_run_name
            return self

        def submit(self, result):
            return Run(self.name, result)

    monkeypatch.setattr(dvc_commands, "stage", Stage())
    monkeypatch.setattr(dvc_commands, "get_run_logger", lambda: logging.getLogger("flow"))

    def lines(*texts, fails=False):
        def output(*arguments):
            yield from texts
            if fails:
                raise dvc_commands.StageFailed("dvc repro ended with status 1")

        monkeypatch.setattr(dvc_commands, "output", output)

    return lines, runs


def test_each_stage_and_key_is_a_task_run_with_its_state(shown):
    lines, runs = shown
    lines(
        "Stage 'base@random' didn't change, skipping",
        "Running stage 'mix@a':",
        "> python -m lima.stages.mix a",
        "Stage 'validate@a' is cached - skipping run, checking out outputs",
        "Running stage 'report':",
    )
    states = dvc_commands.repro()
    assert runs == states == {"base@random": "unchanged", "mix@a": "done", "validate@a": "restored", "report": "done"}


def test_a_failed_arm_is_visible_and_the_others_go_on(shown):
    lines, runs = shown
    lines(
        "Running stage 'train@a':",
        "WARNING: failed to reproduce 'train@a': failed to run: python -m lima.stages.train a, exited with 1",
        "WARNING: Stage 'select@a' will be skipped due to this failure",
        "Running stage 'train@b':",
        "ERROR: failed to reproduce 'train@a'",
        fails=True,
    )
    states = dvc_commands.repro("--keep-going")
    assert runs == states == {"train@a": "failed", "select@a": "skipped", "train@b": "done"}


def test_without_keep_going_a_failure_ends_the_flow(shown):
    lines, runs = shown
    lines("Running stage 'mix@a':", "ERROR: failed to reproduce 'mix@a': failed to run", fails=True)
    with pytest.raises(dvc_commands.StageFailed):
        dvc_commands.repro()
    assert runs == {"mix@a": "failed"}


def test_a_dvc_that_ends_for_another_reason_is_an_error_even_with_keep_going(shown):
    lines, _ = shown
    lines("ERROR: Unable to acquire lock", fails=True)
    with pytest.raises(dvc_commands.StageFailed):
        dvc_commands.repro("--keep-going")


def test_a_flow_run_waits_for_the_dvc_command_of_another_in_its_checkout(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    program = [sys.executable, str(Path(__file__).parents[1] / "holding.py"), "dvc", ""]
    other = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    monkeypatch.setattr(dvc_commands, "get_run_logger", lambda: logging.getLogger("flow"))
    monkeypatch.setattr(dvc_commands.time, "sleep", lambda seconds: other.communicate())  # the other command ends
    ended = []

    def command(words):
        ended.append(other.poll() == 0)
        return [sys.executable, "-c", "print('reproduced')"]

    monkeypatch.setattr(dvc_commands, "supervised", command)
    try:
        assert other.stdout.readline() == "held\n"
        assert list(dvc_commands.output("repro")) == ["reproduced"]
        assert ended == [True]
    finally:
        other.kill()
        other.wait()
    assert f"this checkout is in use, waiting until its DVC command ends: process {other.pid} since" in caplog.text


def git(folder: Path, *words: str) -> str:
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    return subprocess.run(
        ["git", "-C", str(folder), *author, *words], check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def clones(tmp_path, monkeypatch):
    """A repository with one commit, and a worker's clone of it."""
    origin, worker = tmp_path / "origin", tmp_path / "worker"
    origin.mkdir()
    git(origin, "init", "-q")
    (origin / "dvc.yaml").write_text("stages: {}\n")
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", "first")
    git(tmp_path, "clone", "-q", str(origin), str(worker))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(checkout.CHECKOUT, str(worker))
    monkeypatch.setattr("sys.path", [])
    for name in (checkout.COMMIT, checkout.REMOTE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", "")
    return origin, worker


def test_a_worker_runs_the_commit_of_the_flow_in_its_own_clone(clones, monkeypatch):
    origin, worker = clones
    (origin / "params.yaml").write_text("profile: ci\n")
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", "second")
    (worker / "dvc.lock").write_text("kept: true\n")
    monkeypatch.setenv(checkout.COMMIT, checkout.head(origin))
    assert checkout.prepare() == {"directory": str(worker)}
    assert Path.cwd() == worker
    assert checkout.head() == checkout.head(origin)
    assert (worker / "params.yaml").read_text() == "profile: ci\n"
    assert (worker / "dvc.lock").read_text() == "kept: true\n"


def test_a_run_without_a_commit_leaves_the_checkout_as_it_is(clones):
    _, worker = clones
    (worker / "dvc.yaml").write_text("stages: {a: 1}\n")
    assert checkout.prepare() == {"directory": str(worker)}
    assert (worker / "dvc.yaml").read_text() == "stages: {a: 1}\n"


def test_uncommitted_changes_and_a_missing_commit_are_errors(clones, monkeypatch):
    _, worker = clones
    monkeypatch.setenv(checkout.COMMIT, "0" * 40)
    with pytest.raises(
        checkout.CheckoutError, match=r"commit not found in .*/origin: 0{40}.*; push it with `git push`"
    ):
        checkout.prepare()
    (worker / "dvc.yaml").write_text("stages: {a: 1}\n")
    (worker / "new.py").touch()
    monkeypatch.setenv(checkout.COMMIT, checkout.head(worker))
    with pytest.raises(
        checkout.CheckoutError, match=r"uncommitted changes in .*: dvc\.yaml, new\.py; commit or remove"
    ):
        checkout.prepare()


def test_a_flow_run_whose_checkout_is_unusable_fails_with_the_reason(clones, monkeypatch):
    reported = []

    class Server:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def set_flow_run_state(self, run_id, state):
            reported.append((run_id, state.type, state.message))

    monkeypatch.setattr(checkout, "get_client", lambda sync_client: Server())
    monkeypatch.setenv(checkout.COMMIT, "0" * 40)
    run_id = uuid4()
    monkeypatch.setenv(checkout.RUN_ID, str(run_id))
    with pytest.raises(checkout.CheckoutError) as caught:
        checkout.prepare()
    assert reported == [(run_id, StateType.FAILED, str(caught.value))]  # not crashed, which looks like a lost worker


def test_the_work_pool_needs_a_default_dvc_remote(tmp_path):
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=tmp_path, check=True)
    with pytest.raises(checkout.CheckoutError, match=r"no default DVC remote in .*; run `dvc remote add -d NAME"):
        checkout.require_remote(tmp_path)
    checkout.share(tmp_path, str(tmp_path / "store"))
    checkout.require_remote(tmp_path)


def test_a_folder_without_the_project_is_an_error(clones, tmp_path, monkeypatch):
    monkeypatch.setenv(checkout.CHECKOUT, str(tmp_path))
    with pytest.raises(
        checkout.CheckoutError,
        match=r"not a checkout of this project: .*; start the worker with `make worker`, or set LIMA_CHECKOUT",
    ):
        checkout.prepare()


@pytest.fixture
def params(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    profiles.use("laptop", force=True)
    return config.load()


def test_stages_of_an_arm_and_evaluations_without_a_failed_arm(params):
    assert ablations.stages(params, "lima") == ["train@lima", "select@lima", "sample@lima"]
    judged = ablations.judgeable(params, {"lima"})
    assert judged == [name for name in params.evaluations if name != "lima-unfiltered"]
    assert ablations.judgeable(params, set()) == []


def test_an_arm_that_fails_stops_no_other(params, monkeypatch):
    calls = []

    def repro(*arguments):
        calls.append(arguments)
        return {arguments[1]: "failed" if arguments[1] == "train@lima" else "done"}

    monkeypatch.setattr(dvc_commands, "repro", repro)
    monkeypatch.setattr(ablations, "show_progress", lambda states: None)
    assert ablations.run_arms(params, ["lima", "unfiltered"]) == ["lima"]
    assert calls[1] == ("--keep-going", "train@unfiltered", "select@unfiltered", "sample@unfiltered")


def test_a_remote_that_cannot_be_written_is_an_error_with_what_to_do(monkeypatch):
    def log(*arguments):
        raise dvc_commands.StageFailed("ERROR: [Errno 28] No space left on device: '/store'")

    monkeypatch.setattr(dvc_commands, "log", log)
    with pytest.raises(
        dvc_commands.StageFailed, match=r"(?s)not shared: .*'/store'.*free space .* start the flow again"
    ):
        ablations.push("train@lima")


def test_a_failed_validation_names_the_rows(params, monkeypatch):
    rows = tuple(f"reddit/{n}" for n in range(12))
    failure = FailedExpectation(split="train", says="ids are unique", observed="12 rows", ids=rows)
    gate = ValidationResult(
        arm="lima", passed=False, train_digest="0", expectations=9, failures=(failure,), warnings=()
    )
    jsonl.write(Path("data/validate/lima/gate.json"), [gate])

    def repro(*arguments):
        raise dvc_commands.StageFailed("failed to reproduce 'validate@lima': failed to run")

    monkeypatch.setattr(dvc_commands, "repro", repro)
    with pytest.raises(results.ValidationFailed) as caught:
        ablations.validate(["lima", "unfiltered"])
    assert str(caught.value).splitlines()[1:] == [
        f"  arm lima, train: expected ids are unique; 12 rows: {', '.join(rows[:10])} and 2 more"
    ]


def test_evaluations_of_a_finished_contestant_are_chosen_by_rival(params):
    with pytest.raises(evaluate.EvaluationError, match=r"contestant lima has no checkpoint: data/select/lima; run"):
        evaluate.chosen(params, "lima", [])
    Path("data/select/lima").mkdir(parents=True)
    assert evaluate.chosen(params, "lima", ["base"]) == [
        "lima-base",
        "lima-base-constraints",
        "lima-base-attacks",
        "lima-base-dialogues",
        "lima-base-conversations",
    ]
    with pytest.raises(evaluate.EvaluationError, match="contestant base has no evaluation with authors; add one"):
        evaluate.chosen(params, "base", ["authors"])


def test_tables_have_the_preference_and_the_conclusion(params):
    outcomes = ["win"] * 6 + ["lose", "tie"]
    rows = [
        Judgment(
            evaluation="lima-unfiltered",
            task="pairwise",
            annotator="longest",
            prompt_id=f"p{n}",
            sample=0,
            contestant="lima",
            rival="unfiltered",
            value=value,
        )
        for n, value in enumerate(outcomes)
    ]
    jsonl.write(Path("data/judge/lima-unfiltered/longest/judgments.jsonl"), rows)
    shown = results.evaluation_table(params, ["lima-unfiltered"])
    assert "| lima-unfiltered | longest | 8 | 75% | 12% | 12% | +0.62 |" in shown
    table = results.ablation_table(results.ablations(params, results.read_judgments(params)))
    # unfiltered against the reference lima: 1 win, 6 losses
    assert "| unfiltered | 12 | -0.62 | – | -0.62 |" in table
    assert "reports/ablations.html" in table  # which annotators support a conclusion is decided there


@pytest.mark.parametrize("flow", [reproduce.reproduce, ablations.ablations, ablations.arm, evaluate.evaluate])
def test_every_parameter_of_a_flow_is_described_in_the_form(flow):
    properties = flow.parameters.model_dump()["properties"]
    assert properties
    assert [name for name, schema in properties.items() if not schema.get("description")] == []


class PrefectServer:
    """Flow runs of arms, started once per idempotency key, that end in given states; an exception is an answer too."""

    def __init__(self, *ends):
        self.waiting = list(ends)
        self.runs, self.started = {}, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def run_deployment(self, name, *, parameters, timeout, job_variables, tags, idempotency_key):
        if idempotency_key not in self.runs:
            self.started.append((name, parameters["arm"], job_variables["env"][checkout.COMMIT]))
            run = FlowRun(flow_id=uuid4(), parameters=parameters, job_variables=job_variables, tags=tags)
            self.runs[idempotency_key] = run
        return self.runs[idempotency_key]

    def count_flow_runs(self, flow_run_filter):
        [tag] = flow_run_filter.tags.all_
        return sum(tag in run.tags and run.state is not None and run.state.is_final() for run in self.runs.values())

    def read_flow_run(self, run_id):
        end = self.waiting.pop(0)
        if isinstance(end, Exception):
            raise end
        [run] = [run for run in self.runs.values() if run.id == run_id]
        run.state = end
        return run


@pytest.fixture
def prefect_server(monkeypatch):
    def end_in(*ends):
        server = PrefectServer(*ends)
        monkeypatch.setattr(arm_runs, "run_deployment", server.run_deployment)
        monkeypatch.setattr(arm_runs, "get_client", lambda sync_client: server)
        for module in (ablations, arm_runs):
            monkeypatch.setattr(module, "get_run_logger", lambda: logging.getLogger("flow"))
        monkeypatch.setattr(arm_runs, "INTERVAL", 0)
        return server

    return end_in


def test_an_arm_whose_worker_is_lost_is_started_again(prefect_server, caplog):
    server = prefect_server(Crashed(message="killed"), Completed())
    assert ablations.follow.fn("lima", "c0ffee") == "Completed"
    assert server.started == [("arm/arm", "lima", "c0ffee")] * 2
    assert "arm lima lost its worker (killed); it is started again" in caplog.text


def test_an_arm_that_loses_every_worker_fails(prefect_server):
    server = prefect_server(*[Crashed(message="killed")] * 3)
    with pytest.raises(dvc_commands.StageFailed, match="arm lima ended as Crashed: killed"):
        ablations.follow.fn("lima", "c0ffee")
    assert len(server.started) == 1 + ablations.LOST_WORKERS


@pytest.mark.parametrize("state", [Failed(message="a rule"), Cancelled(message="by a person")])
def test_an_arm_that_fails_or_is_cancelled_is_not_started_again(prefect_server, state):
    server = prefect_server(state)
    with pytest.raises(dvc_commands.StageFailed, match=state.message):
        ablations.follow.fn("lima", "c0ffee")
    assert len(server.started) == 1


def test_two_flows_share_the_unfinished_run_of_an_arm_at_a_commit(prefect_server):
    server = prefect_server()
    first = arm_runs.unfinished("lima", "c0ffee")
    assert arm_runs.unfinished("lima", "c0ffee").id == first.id
    assert arm_runs.unfinished("lima", "beef").id != first.id
    assert len(server.started) == 2


def test_an_arm_is_run_again_after_its_last_run_ended_even_if_an_earlier_one_was_deleted(prefect_server):
    server = prefect_server()
    for _ in range(3):
        arm_runs.unfinished("lima", "c0ffee").state = Completed()
    del server.runs[next(iter(server.runs))]
    assert arm_runs.unfinished("lima", "c0ffee").state is None
    assert len(server.started) == 4


def status_error(code):
    request = httpx.Request("GET", "http://127.0.0.1/api")
    return PrefectHTTPStatusError(str(code), request=request, response=httpx.Response(code, request=request))


def test_a_server_that_does_not_answer_is_asked_again(prefect_server):
    server = prefect_server(httpx.ConnectError("refused"), status_error(503), Completed())
    assert ablations.follow.fn("lima", "c0ffee") == "Completed"
    assert len(server.started) == 1


def test_a_rejected_request_for_the_state_of_an_arm_is_an_error(prefect_server):
    prefect_server(status_error(404))
    with pytest.raises(PrefectHTTPStatusError):
        ablations.follow.fn("lima", "c0ffee")


@pytest.fixture
def commands(monkeypatch):
    """Run DVC commands that fail with the given messages, then succeed; return the waits between them."""
    waits = []
    monkeypatch.setattr(dvc_commands.time, "sleep", waits.append)
    monkeypatch.setattr(dvc_commands, "get_run_logger", lambda: logging.getLogger("flow"))

    def run(*messages):
        left = list(messages)

        def command():
            if left:
                raise dvc_commands.StageFailed(left.pop(0))
            return "done"

        return dvc_commands.repeated(command)

    return run, waits


def test_a_remote_that_does_not_answer_is_asked_again(commands, caplog):
    run, waits = commands
    refused = 'unexpected error - Could not connect to the endpoint URL: "http://127.0.0.1:1/x"'
    assert run(refused, "timed out") == "done"
    assert waits == [10, 30]
    assert "the DVC remote does not answer; asking again in 10 s" in caplog.text


def test_a_remote_that_never_answers_is_an_error_with_its_address(commands):
    run, waits = commands
    with pytest.raises(dvc_commands.StageFailed, match="unreachable: store"):
        run(*["unreachable: store"] * 9)
    assert waits == list(dvc_commands.WAITS)


def test_a_command_that_fails_otherwise_is_not_repeated(commands):
    run, waits = commands
    with pytest.raises(dvc_commands.StageFailed, match="a rule"):
        run("a rule")
    assert not waits
