import torch
from hypothesis import given
from hypothesis import strategies as st

from lima.inference import skinny_matmul


@given(st.integers(1, 2 * skinny_matmul.MOST), st.integers(1, 3), st.integers(0, 10))
def test_however_many_rows_the_product_is_that_of_the_layer(rows, batch, seed):
    torch.manual_seed(seed)
    layer, x = torch.nn.Linear(24, 40, bias=False), torch.randn(batch, rows, 24)
    expected = layer(x)
    skinny_matmul.use_skinny_matmul(layer)
    torch.testing.assert_close(layer(x), expected)


def test_only_layers_without_bias_are_changed_and_they_follow_their_weights():
    plain, biased = torch.nn.Linear(3, 5, bias=False), torch.nn.Linear(3, 5)
    skinny_matmul.use_skinny_matmul(torch.nn.ModuleList([plain, biased]))
    assert "forward" in vars(plain)
    assert "forward" not in vars(biased)
    with torch.no_grad():
        plain.weight.fill_(2.0)
    assert plain(torch.ones(1, 3)).tolist() == [[6.0] * 5]
