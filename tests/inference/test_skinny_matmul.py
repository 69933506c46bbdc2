import torch
from hypothesis import given
from hypothesis import strategies as st

from lima.inference import skinny_matmul


@given(st.integers(1, 2 * skinny_matmul.MAX_ROWS), st.integers(1, 3), st.integers(0, 10))
def test_the_product_equals_that_of_the_layer_for_any_number_of_rows(rows, batch, seed):
    torch.manual_seed(seed)
    layer, x = torch.nn.Linear(24, 40, bias=False), torch.randn(batch, rows, 24)
    expected = layer(x)
    skinny_matmul.use_skinny_matmul(layer)
    torch.testing.assert_close(layer(x), expected)


def test_only_layers_without_bias_are_replaced_and_they_use_current_weights():
    plain, biased = torch.nn.Linear(3, 5, bias=False), torch.nn.Linear(3, 5)
    skinny_matmul.use_skinny_matmul(torch.nn.ModuleList([plain, biased]))
    assert "forward" in vars(plain)
    assert "forward" not in vars(biased)
    with torch.no_grad():
        plain.weight.fill_(2.0)
    assert plain(torch.ones(1, 3)).tolist() == [[6.0] * 5]
