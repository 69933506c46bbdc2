from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from lima import cli, training_plan
from lima.config import check, profiles
from lima.training import cost_formulas
from lima.training.cost_formulas import STRATEGIES, Shape
from lima.training_plan import LLAMA, Machine

ROOT = Path(__file__).parents[1]
SEVEN = LLAMA["huggyllama/llama-7b"]
SMOLLM = Shape(30, 576, 576, 192, 1536, 49152, tied=True)


@pytest.fixture
def paper(tmp_path, monkeypatch):
    """A checkout with a profile of the paper, without data and base model."""
    monkeypatch.chdir(ROOT)
    texts = {name: profiles.compose(name) for name in ("paper-7b", "paper-65b")}
    monkeypatch.chdir(tmp_path)

    def use(name):
        Path("params.yaml").write_text(texts[name])
        return check(YAML(typ="safe").load(texts[name]), name=name)

    return use


def test_parameters_are_counted_from_the_shape():
    # LLaMA 7B has 6,738,415,616 and SmolLM2-135M 134,515,008
    assert SEVEN.parameters == 6_738_415_616
    assert SMOLLM.parameters == 134_515_008
    assert LLAMA["huggyllama/llama-65b"].parameters == 65_285_660_672


def test_the_shape_of_an_unsupported_config_raises_with_the_missing_key():
    config = {"hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3, "num_hidden_layers": 30}
    config |= {"intermediate_size": 1536, "vocab_size": 49152, "tie_word_embeddings": True}
    assert Shape.from_config(config) == SMOLLM
    del config["intermediate_size"]
    with pytest.raises(KeyError, match="intermediate_size"):
        Shape.from_config(config)


def test_bytes_of_states_per_gpu_by_strategy():
    psi = SEVEN.parameters
    by_name = {s.name: cost_formulas.states(SEVEN, s, gpus=8, bf16=True) for s in STRATEGIES}
    assert by_name["a copy per GPU"] == (18 * psi, 0)  # 4 + 4 + 8, and 2 in bf16
    assert by_name["ZeRO-2"] == (2 * psi + 16 * psi / 8, 0)
    assert by_name["ZeRO-2, optimizer in RAM"] == (2 * psi, 16 * psi / 8)
    assert by_name["ZeRO-3"] == (2 * (psi / 8 + 1e9) + 16 * psi / 8, 0)
    assert by_name["ZeRO-3, optimizer in RAM"] == (2 * (psi / 8 + 1e9), 16 * psi / 8)


def test_bytes_of_activations_per_token():
    # 8·576 + 3·576 + 2·192 + 4·1536 = 12,864 numbers of 4 bytes in each of 30 layers
    assert cost_formulas.activations(SMOLLM, 10, bf16=False, recompute=False) == 10 * 30 * 4 * 12_864
    # selective: 2·576 + 2·192 + 2·576 + 2·1536 = 5,760 numbers beside the input of 576
    selective = cost_formulas.activations(SMOLLM, 10, bf16=False, recompute="selective")
    assert selective == 10 * 4 * (30 * (576 + 5_760) + 12_864)
    # bf16 halves the numbers but for the inputs of two norms; fused layers leave out 2·576 + 1536 numbers
    assert cost_formulas.activations(SMOLLM, 10, bf16=True, recompute=False) == 10 * 30 * (2 * 12_864 + 4 * 576)
    stream = cost_formulas.activations(SMOLLM, 10, bf16=True, recompute=False, bf16_residual=True)
    assert stream == 10 * 30 * 2 * 12_864
    fused = cost_formulas.activations(SMOLLM, 10, bf16=True, recompute=False, bf16_residual=True, fused=True)
    assert fused == 10 * 30 * 2 * (12_864 - 2 * 576 - 1536)
    # recomputed: an input of 576 numbers a layer, and one layer whole
    assert cost_formulas.activations(SMOLLM, 10, bf16=False, recompute=True) == 10 * 4 * (30 * 576 + 12_864)


def test_alpaca_counts_with_its_own_lengths_and_not_those_of_table_1(paper):
    # 50,000 · (14 + 147) tokens; the mean of Table 1 is 759, which gave an arm five times as expensive
    examples, tokens, supervised, counted = training_plan.tokens_of("alpaca", paper("paper-7b"))
    assert (examples, tokens, supervised, counted) == (50_000, 8_050_000, 7_350_000, False)


def test_tokens_steps_and_hours_of_the_papers_arm(paper):
    plan = training_plan.plan("lima", paper("paper-65b"), Machine(nodes=2, gpus=8, memory=141, peak=1e15, mfu=0.5))
    # Table 1: 200·640 + 200·649 + 200·1,823 + 150·308 + 50·328 + 200·374 tokens
    assert (plan.examples, plan.tokens, plan.counted) == (1000, 759_800, False)
    assert plan.steps == 15 * 32  # 1,000 examples in 32s
    shape = LLAMA["huggyllama/llama-65b"]
    flops = 15 * 6 * (shape.body * 759_800 + shape.head * plan.supervised)
    assert plan.hours == pytest.approx(flops / (16 * 1e15 * 0.5) / 3600)
    assert plan.disk == shape.parameters * (2 * 6 + 24)  # epochs 5 to 10 in bf16, and two states


def test_a_machine_that_is_too_small_gives_status_1_and_a_setting_that_fits(paper):
    paper("paper-65b")
    arguments = ["plan", "lima", "--gpus", "1", "--memory", "80", "--gpu", "H100", "--mfu", "0.4"]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 1
    assert done.output.count("does not fit") == len(STRATEGIES)
    assert "no strategy fits; this setting does: ZeRO-3, optimizer in RAM" in done.output
    assert "2 nodes" in done.output or "4 nodes" in done.output


def test_a_fitting_strategy_is_shown_with_its_launch_configuration(paper):
    paper("paper-7b")
    arguments = ["plan", "lima", "--gpus", "8", "--memory", "80", "--gpu", "H100", "--mfu", "0.4"]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert "fits: infra/accelerate/zero3.yaml" in done.output
    assert "a copy per GPU" in done.output


def test_several_arms_are_summed_and_priced(paper):
    p, machine = paper("paper-7b"), Machine(nodes=1, gpus=8, memory=80, peak=1e15, mfu=0.5)
    plans = [training_plan.plan(arm, p, machine) for arm in ("lima", "quantity-32k")]
    rows = {
        line.split()[0]: line.split()
        for line in training_plan.render(["lima", "quantity-32k"], p, machine, price=2.5).splitlines()
        if line
    }
    hours = sum(plan.hours for plan in plans)
    # six checkpoints of 6,738,415,616 parameters in bf16: 75.3 GiB an arm
    assert rows["lima"][-2] == "75.3"
    assert rows["all"][1:] == [
        "33,000",
        f"{sum(plan.tokens for plan in plans):,}*",
        rows["all"][3],
        f"{hours:,.2f}",
        f"{8 * hours:,.1f}",
        "150.6",
        f"{8 * hours * 2.5:,.2f}",
    ]


def test_an_arm_without_comparison_is_named(paper):
    p, machine = paper("paper-7b"), Machine(nodes=1, gpus=8, memory=80, peak=1e15, mfu=0.4)
    warning = "warning: arm alpaca has no comparison"
    assert warning not in training_plan.render(["alpaca"], p, machine, price=None)
    fewer = {name: evaluation for name, evaluation in p.evaluations.items() if name != "lima-alpaca"}
    changed = p.model_copy(update={"evaluations": fewer})
    assert warning in training_plan.render(["alpaca"], changed, machine, price=None)
    assert "has no comparison" not in training_plan.render(["lima"], changed, machine, price=None)


def test_the_suggested_setting_fits(paper):
    p, machine = paper("paper-65b"), Machine(nodes=1, gpus=1, memory=80, peak=1e15, mfu=0.4)
    suggestion = training_plan.suggest_config(p, machine)
    nodes = int(suggestion.split(" nodes")[0].split()[-1]) if "nodes" in suggestion else 1
    strategy = next(s for s in reversed(STRATEGIES) if suggestion.startswith(s.name))
    larger = Machine(nodes=nodes, gpus=1, memory=80, peak=1e15, mfu=0.4)
    changed = p.train.model_copy(
        update={"gradient_checkpointing": True}
        | ({"micro_batch_tokens": p.train.max_tokens} if "micro_batch_tokens" in suggestion else {})
    )
    assert training_plan.fit(
        LLAMA["huggyllama/llama-65b"], strategy, p.model_copy(update={"train": changed}), larger
    ).fits


def test_the_launch_configuration_of_every_strategy_exists():
    assert [s.config for s in STRATEGIES if not (ROOT / s.config).is_file()] == []


def test_a_model_of_unknown_shape_is_an_error(paper, tmp_path):
    p = paper("paper-7b")
    other = p.model_copy(update={"models": {"llama-7b": p.models["llama-7b"].model_copy(update={"id": "x/y"})}})
    with pytest.raises(training_plan.PlanError, match=r"run `dvc repro base@llama-7b`"):
        training_plan.shape_of(other)
