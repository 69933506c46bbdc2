import pytest
import small
import torch
from families import build
from transformers import AutoModelForCausalLM

from lima.config.entries import Lora
from lima.training import checkpoint, launch, lora_layers, training_state
from lima.training.loss import LossModel

LORA = Lora(rank=4, alpha=8)


def start(folder, recipe):
    small.start(folder, recipe)
    model, tokenizer, eot_id = launch.starting_point(folder / "base", recipe, LORA)
    encoded = small.encode.encode(small.examples(), tokenizer, eot_id=eot_id, max_tokens=128)
    return model, tokenizer, eot_id, encoded


def train(model, encoded, recipe, **more):
    accelerator = small.accelerator(recipe)
    return list(small.fitted(model, encoded, encoded[:2], recipe=recipe, accelerator=accelerator, **more))


def test_only_the_small_matrices_and_the_embeddings_are_trained(tmp_path):
    model, *_ = start(tmp_path, small.recipe())
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    # two layers of seven linear maps, two matrices each, and the embedding, which is the head too
    assert len(trained) == 2 * 7 * 2 + 1
    assert all("lora_" in name or name == "model.embed_tokens.weight" for name in trained)


def test_before_a_step_the_model_is_the_base(tmp_path):
    ids = torch.arange(20)[None]
    plain = small.start(tmp_path, small.recipe())[0].eval()
    model = start(tmp_path, small.recipe())[0].eval()
    assert torch.equal(model(ids).logits, plain(ids).logits)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2"])
def test_a_merged_state_is_the_plain_models_and_gives_its_answers(family):
    recipe = small.recipe(max_tokens=32)
    model, plain = build(family, recipe).eval(), build(family, recipe).eval()
    names = set(plain.state_dict())
    lora_layers.add(model, LORA, seed=1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:  # they start as zeros
                weight.normal_(std=0.1)
    merged = lora_layers.merged(model.state_dict(), LORA)
    assert set(merged) == names
    plain.load_state_dict(merged)
    ids = torch.arange(20)[None]
    torch.testing.assert_close(plain(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-4)


def test_a_model_with_transposed_matrices_is_refused_by_name():
    with pytest.raises(lora_layers.UnsupportedAdapter, match="GPT2LMHeadModel keeps its matrices transposed"):
        lora_layers.add(build("gpt2", small.recipe()), LORA, seed=1)


def test_training_learns_and_leaves_a_checkpoint_that_needs_nothing_new(tmp_path):
    recipe = small.recipe(epochs=6, lr=2e-2, lr_end=1e-3, residual_dropout=0.1)
    model, tokenizer, eot_id, encoded = start(tmp_path, recipe)

    def save(epoch, learner):
        return checkpoint.save_epoch(
            tmp_path, epoch, learner, small.accelerator(recipe), tokenizer, eot_id=eot_id, lora=LORA
        )

    metrics = train(model, encoded, recipe, save=save)
    assert metrics[-1].train_loss < 0.8 * metrics[3].train_loss  # three steps an epoch, then the epoch's own
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "epoch-06").eval()
    assert not any("lora" in name for name in saved.state_dict())
    ids = torch.tensor([encoded[0].ids])
    torch.testing.assert_close(saved(ids).logits.float(), model.eval()(ids).logits, rtol=0.05, atol=0.05)


def test_a_stopped_run_is_continued_to_the_bit(tmp_path):
    recipe, told = small.recipe(epochs=2, residual_dropout=0.3, batch_size=2), []
    whole, *_, encoded = start(tmp_path, recipe)
    train(whole, encoded, recipe)
    kept = training_state.keep(tmp_path / "work", small.accelerator(recipe), data=[], base=[], recipe=recipe, lora=LORA)
    first, second = start(tmp_path, recipe)[0], start(tmp_path, recipe)[0]
    with pytest.raises(small.fit.Stopped):
        train(first, encoded, recipe, states=kept, stopping=lambda: told.append(1) or len(told) == 5)
    train(second, encoded, recipe, states=kept)
    state = second.state_dict()
    assert all(torch.equal(state[name], weight) for name, weight in whole.state_dict().items())


def test_other_matrices_never_continue_an_old_run(tmp_path):
    recipe, mark = small.recipe(), tmp_path / "work" / "mark"
    for lora, there in ((None, False), (LORA, False), (LORA, True), (Lora(rank=4, alpha=9), False)):
        training_state.keep(tmp_path / "work", small.accelerator(recipe), data=[], base=[], recipe=recipe, lora=lora)
        assert mark.exists() == there
        mark.touch()


def test_a_frozen_head_gets_no_gradient():
    model = build("llama", small.recipe(max_tokens=32))
    lora_layers.add(model, LORA, seed=1)
    model.get_output_embeddings().weight.requires_grad_(False)
    learner = LossModel(model)
    learner(small.batch()).backward()
    assert model.get_output_embeddings().weight.grad is None
    assert all(weight.grad is not None for name, weight in learner.named_parameters() if "lora_B" in name)
