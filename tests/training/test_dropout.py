from types import SimpleNamespace

import pytest
import small
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from lima.training.dropout import UnknownArchitecture, add_residual_dropout, rates


class Attention(torch.nn.Module):
    """Gives its input back, with the weights that attention gives beside."""

    def forward(self, stream):
        return stream, "weights"


def branches(layers):
    """A model that is nothing but the sub-layers, each giving its input back."""
    made = [SimpleNamespace(self_attn=Attention(), mlp=torch.nn.Identity()) for _ in range(layers)]
    return SimpleNamespace(model=SimpleNamespace(layers=made)), made


def test_rates_rise_in_a_line_from_zero_at_the_bottom_to_the_top():
    # p·l/(L−1) with p = 0.2 and L = 5: steps of 0.05
    assert rates(5, 0.2) == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert rates(1, 0.3) == [0]


def test_each_sub_layer_drops_elements_at_its_layers_rate_and_keeps_the_mean():
    torch.manual_seed(0)
    model, layers = branches(4)
    add_residual_dropout(model, 0.3)
    ones = torch.ones(100, 1000)
    for layer, expected in zip(layers, (0, 0.1, 0.2, 0.3), strict=True):
        attention, weights = layer.self_attn(ones)
        assert weights == "weights"
        for output in (attention, layer.mlp(ones)):
            # of 100,000 elements the share dropped has σ = √(0.3·0.7/100,000) < 0.0015
            assert float((output == 0).float().mean()) == pytest.approx(expected, abs=0.0075)
            assert output.unique().tolist() == pytest.approx([0.0, 1 / (1 - expected)] if expected else [1.0])
            assert float(output.mean()) == pytest.approx(1, abs=0.011)


def test_elements_are_dropped_not_whole_branches_or_examples():
    torch.manual_seed(0)
    model, layers = branches(2)
    add_residual_dropout(model, 0.5)
    output = layers[1].mlp(torch.ones(20, 100))
    assert ((output == 0).any(dim=1) & (output != 0).any(dim=1)).all()


def test_nothing_is_dropped_in_evaluation(tmp_path):
    plain = small.start(tmp_path, small.recipe())[0].eval()
    dropping = small.start(tmp_path, small.recipe(residual_dropout=0.5))[0]
    ids = torch.arange(20)[None]
    with torch.no_grad():
        expected = plain(ids).logits
        assert torch.equal(dropping.eval()(ids).logits, expected)
        assert not torch.allclose(dropping.train()(ids).logits, expected)


def test_a_handle_takes_its_dropout_away():
    model, layers = branches(2)
    handles = add_residual_dropout(model, 0.9)
    assert len(handles) == 4
    for handle in handles:
        handle.remove()
    assert torch.equal(layers[1].mlp(torch.ones(1000)), torch.ones(1000))


def test_a_model_whose_branches_lie_elsewhere_is_refused_by_name():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1))
    with pytest.raises(
        UnknownArchitecture, match=r"GPT2LMHeadModel has no model\.layers.*set train\.residual_dropout to 0"
    ):
        add_residual_dropout(model, 0.2)
