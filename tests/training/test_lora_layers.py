import pytest
import small
import torch
from families import build
from transformers import AutoModelForCausalLM

from lima.config.entries import Lora
from lima.training import checkpoint, launch, lora_layers, tokenization, training_state
from lima.training.loss import LossModel
from lima.training.trainer import TrainingInterrupted

LORA = Lora(rank=4, alpha=8)


def start(folder, recipe):
    small.start(folder, recipe)
    model, tokenizer, eot_id = launch.starting_point(folder / "base", recipe, LORA)
    encoded = tokenization.encode(small.examples(), tokenizer, eot_id=eot_id, max_tokens=128)
    return model, tokenizer, eot_id, encoded


def train(model, encoded, recipe, **more):
    accelerator = small.accelerator(recipe)
    return list(small.fitted(model, encoded, encoded[:2], recipe=recipe, accelerator=accelerator, **more))


def test_only_adapters_and_embeddings_are_trained(tmp_path):
    model, *_ = start(tmp_path, small.recipe())
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    # two layers of seven linear maps, two matrices each, and the embedding, tied to the head
    assert len(trained) == 2 * 7 * 2 + 1
    assert all("lora_" in name or name == "model.embed_tokens.weight" for name in trained)


def test_new_adapters_do_not_change_the_logits(tmp_path):
    ids = torch.arange(20)[None]
    plain = small.start(tmp_path, small.recipe())[0].eval()
    model = start(tmp_path, small.recipe())[0].eval()
    assert torch.equal(model(ids).logits, plain(ids).logits)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2"])
def test_a_merged_state_has_the_plain_names_and_the_same_logits(family):
    recipe = small.recipe(max_tokens=32)
    model, plain = build(family, recipe).eval(), build(family, recipe).eval()
    names = set(plain.state_dict())
    lora_layers.add(model, LORA, seed=1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:  # initially zero
                weight.normal_(std=0.1)
    merged = lora_layers.merged(model.state_dict(), LORA)
    assert set(merged) == names
    plain.load_state_dict(merged)
    ids = torch.arange(20)[None]
    torch.testing.assert_close(plain(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-4)


def test_a_model_with_transposed_weights_is_refused():
    with pytest.raises(
        lora_layers.UnsupportedAdapter, match="does not support the transposed weights of GPT2LMHeadModel"
    ):
        lora_layers.add(build("gpt2", small.recipe()), LORA, seed=1)


def test_lora_training_lowers_the_loss_and_writes_a_plain_checkpoint(tmp_path):
    recipe = small.recipe(epochs=6, lr=2e-2, lr_end=1e-3, residual_dropout=0.1)
    model, tokenizer, eot_id, encoded = start(tmp_path, recipe)

    def save(epoch, loss_model):
        return checkpoint.save_epoch(
            tmp_path, epoch, loss_model, small.accelerator(recipe), tokenizer, eot_id=eot_id, lora=LORA
        )

    metrics = train(model, encoded, recipe, save=save)
    assert metrics[-1].train_loss < 0.8 * metrics[3].train_loss  # three steps per epoch, then the epoch's metrics
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "epoch-06").eval()
    assert not any("lora" in name for name in saved.state_dict())
    ids = torch.tensor([encoded[0].ids])
    torch.testing.assert_close(saved(ids).logits.float(), model.eval()(ids).logits, rtol=0.05, atol=0.05)


def test_a_resumed_run_is_bit_identical(tmp_path):
    recipe, calls = small.recipe(epochs=2, residual_dropout=0.3, batch_size=2), []
    whole, *_, encoded = start(tmp_path, recipe)
    train(whole, encoded, recipe)
    kept = training_state.open_states(
        tmp_path / "work", small.accelerator(recipe), data=[], base=[], recipe=recipe, lora=LORA
    )
    first, second = start(tmp_path, recipe)[0], start(tmp_path, recipe)[0]
    with pytest.raises(TrainingInterrupted):
        train(first, encoded, recipe, states=kept, should_stop=lambda: calls.append(1) or len(calls) == 5)
    train(second, encoded, recipe, states=kept)
    state = second.state_dict()
    assert all(torch.equal(state[name], weight) for name, weight in whole.state_dict().items())


def test_a_state_with_other_adapters_is_not_continued(tmp_path):
    recipe, marker = small.recipe(), tmp_path / "work" / "mark"
    for lora, kept in ((None, False), (LORA, False), (LORA, True), (Lora(rank=4, alpha=9), False)):
        training_state.open_states(
            tmp_path / "work", small.accelerator(recipe), data=[], base=[], recipe=recipe, lora=lora
        )
        assert marker.exists() == kept
        marker.touch()


def test_a_frozen_head_gets_no_gradient():
    model = build("llama", small.recipe(max_tokens=32))
    lora_layers.add(model, LORA, seed=1)
    model.get_output_embeddings().weight.requires_grad_(False)
    loss_model = LossModel(model)
    loss_model(small.batch()).backward()
    assert model.get_output_embeddings().weight.grad is None
    assert all(weight.grad is not None for name, weight in loss_model.named_parameters() if "lora_B" in name)
