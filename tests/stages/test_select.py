from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_model
from chat_server import Sent, said, serving
from judged import judged
from ruamel.yaml import YAML

import lima
from lima import jsonl
from lima.errors import LimaError
from lima.evaluation.checkpoint_selection import SelectedCheckpoint
from lima.mlflow_runs import TrainingRun
from lima.records import EpochMetrics, EpochScore, Prompt, Provenance, Response, Turn
from lima.stages import select

LAPTOP = Path(__file__).parents[2] / "lima/config/profiles/laptop.yaml"
PLACE = Provenance(source="authored", site="A", id="1", url="", author="ann", license="MIT", digest="0")


def set_params(**changes):
    yaml = YAML()
    values = yaml.load(LAPTOP)
    values["train"] |= {"epochs": 3, "keep_epochs": [1, 3]}
    longest = {"kind": "baseline", "rule": "longest"}
    values["select"] |= {"annotator": longest, "template": "pairwise", "last_epoch": 3} | changes
    values["select"]["decoding"]["max_tokens"] = 12
    yaml.dump(values, Path("params.yaml"))


def epochs(*numbers):
    rows = [
        EpochMetrics(epoch=n, train_loss=2.0, held_out_perplexity=8.0 + n, checkpoint=f"epoch-{n:02}", digest=str(n))
        for n in numbers
    ]
    jsonl.write(Path("data/train/lima/epochs.jsonl"), rows)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A trained arm whose first epoch is the base itself; what select tells MLflow lands in this list."""
    monkeypatch.chdir(tmp_path)
    set_params()
    prompts = [
        Prompt(id=f"authored/A/{n}", messages=(Turn(role="user", content="?" * n),), tags=(), provenance=PLACE)
        for n in range(1, 5)
    ]
    jsonl.write(Path("data/prompts/dev.jsonl"), prompts)
    tiny_model.save(Path("data/base/smollm2-135m"), seed=1)
    for n in (1, 2, 3):
        tiny_model.save(Path(f"data/train/lima/epoch-{n:02}"), seed=n)
    epochs(1, 2, 3)
    run = TrainingRun(run_id="r1", started=0, parameters={}, tags={}, measurements={})
    jsonl.write(Path("data/train/lima/run.json"), [run])
    told = []

    @contextmanager
    def join(run_id):
        yield SimpleNamespace(
            checkpoint=lambda *shown: told.append((run_id, *shown)),
            register=lambda epoch, folder, *, name, alias: told.append((run_id, epoch, folder, name, alias)),
        )

    monkeypatch.setattr(lima, "tracking", SimpleNamespace(join=join), raising=False)
    return told


def scores():
    return list(jsonl.read(Path("data/select/lima/scores.jsonl"), EpochScore))


def chosen():
    (record,) = jsonl.read(Path("data/select/lima/chosen.json"), SelectedCheckpoint)
    return record


def test_every_epoch_is_scored_against_the_base_and_the_best_is_chosen(published):
    select.main("lima")
    assert [(s.epoch, s.checkpoint, s.digest) for s in scores()] == [
        (1, "epoch-01", "1"),
        (2, "epoch-02", "2"),
        (3, "epoch-03", "3"),
    ]
    best = max(scores(), key=lambda s: (s.score, -s.epoch))
    record = chosen()
    assert (record.epoch, record.digest) == (best.epoch, best.digest)
    assert record.checkpoint == f"data/train/lima/epoch-{best.epoch:02}"
    assert f"win − lose of {best.score:+.3f} against the untuned base on 4 dev prompts by longest" in record.why


def test_a_checkpoint_equal_to_the_base_ties_with_it_everywhere(published):
    set_params(last_epoch=1)
    select.main("lima")
    (only,) = scores()
    assert (only.win, only.tie, only.lose, only.score) == (0, 1, 0, 0)


def test_the_answers_it_rests_on_are_kept_the_bases_first(published):
    select.main("lima")
    kept = list(jsonl.read(Path("data/select/lima/responses.jsonl"), Response))
    names = ["smollm2-135m", "lima/epoch-01", "lima/epoch-02", "lima/epoch-03"]
    assert list(dict.fromkeys(r.contestant for r in kept)) == names
    assert len(kept) == 4 * 4


def test_mlflow_gets_every_epochs_folder_and_scores_in_the_run_of_training(published):
    select.main("lima")
    *scored, registered = published
    assert [(run, epoch, folder) for run, epoch, folder, _ in scored] == [
        ("r1", n, Path(f"data/train/lima/epoch-{n:02}")) for n in (1, 2, 3)
    ]
    shares = scores()[0].model_dump(include={"ended", "win", "tie", "lose", "score"})
    assert published[0][3] == {f"epoch/dev_{name}": share for name, share in shares.items()}
    assert registered == ("r1", chosen().epoch, Path(chosen().checkpoint), "lima-lima", "selected")


def test_only_the_configured_epochs_are_looked_at(published):
    set_params(first_epoch=2, last_epoch=3)
    select.main("lima")
    assert [s.epoch for s in scores()] == [2, 3]


def test_a_missing_epoch_is_named(published):
    epochs(1, 2)
    with pytest.raises(
        LimaError, match=r"data/train/lima/epochs\.jsonl lacks some of the epochs 1 to 3; run `dvc repro train@lima`"
    ):
        select.main("lima")


@pytest.mark.parametrize(
    ("reply", "counts"),
    [("VERDICT: A", "4 inconsistent"), ("Both are fine.", "4 unparsed"), ("VERDICT:", "4 unparsed")],
)
def test_an_annotator_without_a_usable_verdict_chooses_no_epoch(published, reply, counts):
    with serving(lambda *_: said(reply)) as server:
        judge_by(server.url)
        with pytest.raises(LimaError, match=rf"annotator m gave no usable judgment of epoch-01 \({counts}\)"):
            select.main("lima")
    assert not Path("data/select/lima").exists()


def test_answers_of_a_selection_are_kept_for_another_judge(published, monkeypatch):
    from lima.inference import generate

    generated = []
    respond = generate.generate
    monkeypatch.setattr(
        generate, "generate", lambda *args, **named: generated.append(named["contestant"]) or respond(*args, **named)
    )
    with serving(lambda _, n: Sent(status=401, body="no") if n == 0 else said("VERDICT: TIE")) as server:
        judge_by(server.url, concurrency=1)
        with pytest.raises(LimaError, match="401"):
            select.main("lima")
        assert generated == ["smollm2-135m", "lima/epoch-01"]
        select.main("lima")
        assert generated == ["smollm2-135m", "lima/epoch-01", "lima/epoch-02", "lima/epoch-03"]
        first = Path("data/select/lima/responses.jsonl").read_bytes()
        kept = sorted(Path("work/kept/select/lima").iterdir())
        assert [path.is_file() for path in kept] == [True] * 4  # one file per checkpoint, no batches
        asked = len(server.asked)
        select.main("lima")
        assert len(server.asked) == asked
    assert len(generated) == 4  # another selection of the same checkpoints generates nothing
    kept[0].with_name("of-another-run.jsonl").write_text("")
    set_params()
    select.main("lima")
    assert sorted(Path("work/kept/select/lima").iterdir()) == kept
    assert Path("data/select/lima/responses.jsonl").read_bytes() == first


def test_answers_of_the_base_are_taken_from_another_arm(published, monkeypatch):
    from lima.inference import generate

    select.main("lima")
    whole, kept = Path("data/select/lima/responses.jsonl").read_bytes(), Path("work/kept/select/lima")
    other = Path("work/kept/select/unfiltered")
    kept.rename(other)
    for path in other.iterdir():
        if next(jsonl.read(path, Response)).contestant != "smollm2-135m":
            path.unlink()
    generated, respond = [], generate.generate
    monkeypatch.setattr(
        generate, "generate", lambda *args, **named: generated.append(named["contestant"]) or respond(*args, **named)
    )
    select.main("lima")
    assert generated == ["lima/epoch-01", "lima/epoch-02", "lima/epoch-03"]
    assert Path("data/select/lima/responses.jsonl").read_bytes() == whole
    assert len(list(kept.glob("*.jsonl"))) == 4


@pytest.mark.parametrize("change", ["weights", "decoding", "prompts", "base"])
def test_kept_answers_of_other_weights_settings_or_prompts_are_not_used(published, change):
    with serving(lambda *_: Sent(status=401, body="no")) as server:
        judge_by(server.url)
        with pytest.raises(LimaError, match="401"):
            select.main("lima")
        before = set(Path("work/kept/select/lima").glob("*.jsonl"))
        assert len(before) == 2
        if change == "weights":
            rows = [m.model_copy(update={"digest": f"new {m.digest}"}) for m in read_epochs()]
            jsonl.write(Path("data/train/lima/epochs.jsonl"), rows)
        elif change == "decoding":
            judge_by(server.url, temperature=0.8)
        elif change == "prompts":
            path = Path("data/prompts/dev.jsonl")
            jsonl.write(path, list(jsonl.read(path, Prompt))[1:])
        else:
            tiny_model.save(Path("data/base/smollm2-135m"), seed=5)
        with pytest.raises(LimaError, match="401"):
            select.main("lima")
        new = set(Path("work/kept/select/lima").glob("*.jsonl")) - before
        assert len(new) == {"weights": 1, "base": 1}.get(change, 2)


def read_epochs():
    return list(jsonl.read(Path("data/train/lima/epochs.jsonl"), EpochMetrics))


def judge_by(url, *, temperature=None, concurrency=8):
    """Let a model at this address judge, and change the temperature of sampling if one is given."""
    values = YAML(typ="safe").load(Path("params.yaml"))
    model = {"kind": "endpoint", "url": url, "model": "m", "key_variable": "", "max_tokens": 9}
    values["select"]["annotator"] = model
    if temperature is not None:
        values["select"]["decoding"]["temperature"] = temperature
    values["judge"]["concurrency"] = concurrency
    YAML().dump(values, Path("params.yaml"))


def test_shares_are_of_all_prompts_and_what_is_no_verdict_counts_for_neither_side():
    outcomes = ["win", "win", "tie", "lose", "inconsistent", "unparsed", "win", "lose"]
    judgments = [judged(outcome, str(n)) for n, outcome in enumerate(outcomes)]
    given = [
        Response(prompt_id=str(n), contestant="a", sample=0, text="", finish=finish, tokens=None)
        for n, finish in enumerate(["stop", "length", "stop", "stop"])
    ]
    metrics = EpochMetrics(epoch=5, train_loss=1.0, held_out_perplexity=7.0, checkpoint="epoch-05", digest="d")
    scored = select.score(metrics, given, judgments)
    # of eight: three wins, one tie, two losses; 3/8 − 2/8; three of four answers ended
    assert (scored.win, scored.tie, scored.lose, scored.score, scored.ended) == (0.375, 0.125, 0.25, 0.125, 0.75)
