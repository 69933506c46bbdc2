import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lima.inference import packed_linear


@given(st.integers(1, 128), st.integers(1, 3), st.booleans(), st.integers(0, 10))
def test_the_product_equals_that_of_the_layer_for_any_number_of_rows(rows, batch, bias, seed):
    torch.manual_seed(seed)
    layer, x = torch.nn.Linear(24, 40, bias=bias), torch.randn(batch, rows, 24)
    expected = layer(x)
    packed_linear.pack(layer)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), expected)


def test_the_weights_are_those_of_the_first_call_and_are_freed_unless_another_module_uses_them():
    tied, alone = torch.nn.Linear(3, 5, bias=False), torch.nn.Linear(3, 5, bias=False)
    embedding = torch.nn.Embedding(5, 3)
    embedding.weight = tied.weight
    packed_linear.pack(torch.nn.ModuleList([tied, alone, embedding]))
    with torch.inference_mode():
        alone.weight.fill_(2.0)
        assert alone(torch.ones(1, 3)).tolist() == [[6.0] * 5]
        expected = torch.ones(1, 3) @ tied.weight.T
        torch.testing.assert_close(tied(torch.ones(1, 3)), expected)
        assert alone(torch.ones(1, 3)).tolist() == [[6.0] * 5]
    assert alone.weight.numel() == 0
    assert torch.equal(embedding(torch.arange(5)), tied.weight)


@pytest.mark.parametrize("layer", [torch.nn.Linear(3, 5, dtype=torch.bfloat16), torch.nn.LayerNorm(3)])
def test_other_layers_are_unchanged(layer):
    packed_linear.pack(layer)
    assert "forward" not in vars(layer)
