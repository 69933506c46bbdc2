import math

import pytest
import small
import torch

from lima.records import EpochMetrics, StepMetrics
from lima.training import packing, tokenization
from lima.training.loss import LossModel
from lima.training.precision import UpdateUnderflow, spacing
from lima.training.trainer import TrainingError, evaluate


def trained(folder, recipe, *, save=small.unsaved, train=None, change=None):
    """The model after training, its steps and its epochs."""
    model, _, _, encoded = small.start(folder, recipe)
    if change:
        change(model)
    train = encoded if train is None else train
    metrics = list(
        small.fitted(model, train, encoded[:2], recipe=recipe, accelerator=small.accelerator(recipe), save=save)
    )
    steps = [metric for metric in metrics if isinstance(metric, StepMetrics)]
    return model, steps, [metric for metric in metrics if isinstance(metric, EpochMetrics)]


def test_fifty_steps_equal_a_plain_pytorch_loop(tmp_path):
    # 7 examples in batches of 1: 7 steps an epoch, 56 in all; a bound of 0.5 that the norms exceed at first
    recipe = small.recipe(epochs=8, batch_size=1, max_grad_norm=0.5)
    model, steps, _ = trained(tmp_path, recipe)
    assert len(steps) == 56

    plain, _, _, encoded = small.start(tmp_path, recipe)
    adam = torch.optim.AdamW(plain.parameters(), lr=1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    lengths, done = [len(example.ids) for example in encoded], 0
    for epoch in range(1, 9):
        for step in packing.plan(lengths, batch_size=1, micro_tokens=10_000, ranks=1, seed=17, epoch=epoch):
            batch = [encoded[index] for part in step for index in part]
            supervised = sum(example.supervised for example in batch)
            loss_sum = torch.tensor(0.0)
            for example in batch:
                mean = plain(input_ids=torch.tensor([example.ids]), labels=torch.tensor([example.labels])).loss
                loss_sum = loss_sum + mean * example.supervised
            adam.zero_grad()
            (loss_sum / supervised).backward()
            norm = float(torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5))
            adam.param_groups[0]["lr"] = 1e-3 + (1e-4 - 1e-3) * done / 55
            adam.step()
            assert steps[done].loss == pytest.approx(loss_sum.item() / supervised, rel=1e-4)
            assert steps[done].grad_norm == pytest.approx(norm, rel=1e-3)
            assert steps[done].lr == pytest.approx(adam.param_groups[0]["lr"], rel=1e-9)
            done += 1
    for (name, weight), expected in zip(model.named_parameters(), plain.parameters(), strict=True):
        # fifty-six steps move a weight by about 56 · 5.5e-4 = 3e-2
        torch.testing.assert_close(weight, expected, rtol=0, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("micro_batch_tokens", [1, 60, 10_000])
def test_a_step_does_not_depend_on_its_micro_batches(micro_batch_tokens, tmp_path):
    _, reference, _ = trained(tmp_path, small.recipe(micro_batch_tokens=100))
    _, steps, _ = trained(tmp_path, small.recipe(micro_batch_tokens=micro_batch_tokens))
    assert [s.loss for s in steps] == pytest.approx([s.loss for s in reference], rel=1e-5)
    assert [s.grad_norm for s in steps] == pytest.approx([s.grad_norm for s in reference], rel=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_lowers_the_loss_under_residual_dropout(precision, tmp_path):
    recipe = small.recipe(epochs=20, lr=2e-2, lr_end=1e-3, residual_dropout=0.2, precision=precision)
    model, _, epochs = trained(tmp_path, recipe)
    # 257 tokens: the loss of an untrained model is near ln 257 = 5.55
    assert epochs[0].train_loss > 4
    assert epochs[-1].train_loss < 0.5 * epochs[0].train_loss
    assert epochs[-1].held_out_perplexity < 0.2 * epochs[0].held_out_perplexity
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}  # only the computation is bf16


def test_training_is_deterministic_for_a_seed(tmp_path):
    losses = [
        [step.loss for step in trained(tmp_path, small.recipe(residual_dropout=0.3, seed=seed, batch_size=7))[1]]
        for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_metrics_count_the_trained_tokens(tmp_path):
    recipe = small.recipe()
    _, _, _, encoded = small.start(tmp_path, recipe)
    _, steps, epochs = trained(tmp_path, recipe)
    assert [(step.step, step.epoch) for step in steps] == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2)]
    for epoch in (1, 2):
        epoch_steps = [step for step in steps if step.epoch == epoch]
        assert sum(step.tokens for step in epoch_steps) == sum(len(example.ids) for example in encoded)
        supervised = [step.supervised_tokens for step in epoch_steps]
        assert sum(supervised) == sum(example.supervised for example in encoded)
        mean = sum(step.loss * step.supervised_tokens for step in epoch_steps) / sum(supervised)
        assert epochs[epoch - 1].train_loss == pytest.approx(mean)
    assert [epoch.checkpoint for epoch in epochs] == ["epoch-01", "epoch-02"]


def test_held_out_perplexity_is_without_dropout(tmp_path):
    seen = []

    def save(epoch, loss_model):
        model = loss_model.model
        with torch.no_grad():
            model.eval()
            means = [
                (float(model(input_ids=torch.tensor([e.ids]), labels=torch.tensor([e.labels])).loss), e.supervised)
                for e in small.start(tmp_path, small.recipe())[3][:2]
            ]
        seen.append(math.exp(sum(mean * n for mean, n in means) / sum(n for _, n in means)))
        return f"epoch-{epoch:02}", ""

    _, _, epochs = trained(tmp_path, small.recipe(residual_dropout=0.5), save=save)
    assert [epoch.held_out_perplexity for epoch in epochs] == pytest.approx(seen, rel=1e-5)


def test_training_mode_is_restored_after_an_evaluation(tmp_path):
    modes = []

    def watch(model):
        layer = model.model.layers[0].mlp
        layer.register_forward_hook(lambda module, *_: modes.append(module.training))

    trained(tmp_path, small.recipe(batch_size=7, micro_batch_tokens=10_000), change=watch)
    assert modes == [True, False, True, False]  # a step and an evaluation, twice


def test_a_loss_that_is_not_finite_stops_training_and_names_the_examples(tmp_path):
    def spoil(model):
        with torch.no_grad():
            model.model.norm.weight.fill_(math.nan)

    with pytest.raises(
        TrainingError, match=r"the loss is nan in step 1 at learning rate 0\.001.*authored/A/\d, authored/A/\d"
    ):
        trained(tmp_path, small.recipe(), change=spoil)


def test_a_loss_above_max_loss_stops_training_and_names_the_examples(tmp_path):
    # 257 tokens: the loss of an untrained model is near ln 257 = 5.55
    with pytest.raises(
        TrainingError,
        match=r"the loss per token, 5\.\d+, exceeds train\.max_loss in step 1.*authored/A/\d",
    ):
        trained(tmp_path, small.recipe(max_loss=5.0))


def test_a_gradient_that_is_not_finite_stops_training_before_the_update(tmp_path):
    model, _, _, encoded = small.start(tmp_path, small.recipe())
    model.model.norm.weight.register_hook(lambda gradient: gradient * math.inf)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    with pytest.raises(TrainingError, match=r"the gradient norm is inf in step 1.*authored/A/\d"):
        list(
            small.fitted(model, encoded, encoded, recipe=small.recipe(), accelerator=small.accelerator(small.recipe()))
        )
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_bf16_weights_are_refused_with_the_numbers(tmp_path):
    model, _, _, encoded = small.start(tmp_path, small.recipe())
    # the median weight of N(0, 0.02) is 0.0135, between 2^-7 and 2^-6: the spacing of bf16 numbers is 2^-14 = 6.1e-5
    with pytest.raises(
        UpdateUnderflow,
        match=r"embed_tokens\.weight is bfloat16: an Adam step at train\.lr 1e-05 .* about 1e-05, but "
        r"bf16 numbers near the median weight 0\.01\d have a spacing of 6\.1e-05, .* half of it, 3\.1e-05",
    ):
        recipe = small.recipe(lr=1e-5, lr_end=1e-6)
        list(small.fitted(model.bfloat16(), encoded, encoded, recipe=recipe, accelerator=small.accelerator(recipe)))


@pytest.mark.parametrize("weight", [0.02, 0.5, 0.999, 1.0, 3.0, -7.0])
def test_spacing_is_the_distance_to_the_next_bf16_number(weight):
    number = torch.tensor(weight, dtype=torch.bfloat16)
    following = (number.view(torch.int16) + 1).view(torch.bfloat16)
    assert spacing(float(number)) == abs(float(following) - float(number))
    # an update of less than half the spacing is rounded to zero
    assert float((number.abs() + 0.49 * spacing(weight)).bfloat16()) == abs(float(number))


def test_a_step_without_supervised_tokens_is_an_error_before_training(tmp_path):
    recipe = small.recipe(batch_size=1)
    model, tokenizer, eot_id, encoded = small.start(tmp_path, recipe)
    unsupervised = tokenization.encode([small.example(9, "x" * 50, "y")], tokenizer, eot_id=eot_id, max_tokens=20)
    order = packing.plan([1] * 8, batch_size=1, micro_tokens=100, ranks=1, seed=recipe.seed, epoch=1)
    index = next(number for number, [[example]] in enumerate(order) if example == 7)
    assert index > 0  # other steps come before it
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    metrics = small.fitted(
        model, [*encoded, *unsupervised], encoded, recipe=recipe, accelerator=small.accelerator(recipe)
    )
    with pytest.raises(
        TrainingError,
        match=rf"step {index + 1} of epoch 1 has no supervised token: .* authored/A/9 .* raise train\.max_tokens",
    ):
        next(metrics)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_training_without_examples_is_an_error(tmp_path):
    with pytest.raises(TrainingError, match=r"no examples in train\.jsonl"):
        trained(tmp_path, small.recipe(), train=[])


def test_an_evaluation_without_examples_is_an_error(tmp_path):
    model, *_ = small.start(tmp_path, small.recipe())
    with pytest.raises(TrainingError, match=r"held_out\.jsonl has no supervised token"):
        evaluate(LossModel(model), [], small.accelerator(small.recipe()), micro_tokens=100)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_held_out_examples_without_supervised_tokens_are_an_error_before_training(tmp_path, count):
    model, tokenizer, eot_id, encoded = small.start(tmp_path, small.recipe())
    cut = tokenization.encode([small.example(1, "a" * 200, "b")], tokenizer, eot_id=eot_id, max_tokens=128)
    before = [weight.detach().clone() for weight in model.parameters()]
    rows = cut * count
    with pytest.raises(
        TrainingError, match=rf"none of the {count} examples of held_out\.jsonl has .* train\.max_tokens 128"
    ):
        next(small.fitted(model, encoded, rows, recipe=small.recipe(), accelerator=small.accelerator(small.recipe())))
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_an_unsupervised_held_out_example_does_not_change_the_perplexity(tmp_path):
    perplexities = []
    for name in ("without", "with"):
        model, tokenizer, eot_id, encoded = small.start(tmp_path, small.recipe())
        rows = encoded[:2]
        if name == "with":
            rows += tokenization.encode([small.example(1, "a" * 200, "b")], tokenizer, eot_id=eot_id, max_tokens=128)
        metrics = small.fitted(
            model, encoded, rows, recipe=small.recipe(), accelerator=small.accelerator(small.recipe())
        )
        perplexities.append([m.held_out_perplexity for m in metrics if isinstance(m, EpochMetrics)])
    assert perplexities[0] == pytest.approx(perplexities[1], rel=1e-6)


def test_an_unsupervised_example_does_not_change_a_step(tmp_path):
    recipe = small.recipe(batch_size=8, epochs=1)
    _, tokenizer, eot_id, encoded = small.start(tmp_path, recipe)
    unsupervised = tokenization.encode([small.example(9, "x" * 50, "y")], tokenizer, eot_id=eot_id, max_tokens=20)
    assert unsupervised[0].supervised == 0
    _, with_it, _ = trained(tmp_path, recipe, train=[*encoded, *unsupervised])
    _, without, _ = trained(tmp_path, recipe, train=encoded)
    assert with_it[0].loss == pytest.approx(without[0].loss, rel=1e-5)
    assert with_it[0].grad_norm == pytest.approx(without[0].grad_norm, rel=1e-4)
