import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lima.inference import nucleus_sampling

logits_lists = st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=40)


def softmax(logits, temperature):
    """Reference softmax in pure Python."""
    weights = [math.exp(logit / temperature) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def drawn(logits, uniform, *, temperature=1.0, top_p=1.0):
    return int(
        nucleus_sampling.draw(torch.tensor([logits]), torch.tensor([uniform]), temperature=temperature, top_p=top_p)
    )


def test_a_generated_tokens_logit_is_divided_once_where_positive_and_multiplied_where_negative():
    logits = torch.tensor([[2.4, -1.0, 2.4, 0.0]])
    generated = torch.tensor([[1, 0, 0, 3]])
    # 2.4 / 1.2 = 2, -1 · 1.2 = -1.2; not generated: unchanged
    expected = torch.tensor([[2.0, -1.2, 2.4, 0.0]])
    torch.testing.assert_close(nucleus_sampling.repetition_penalized(logits, generated, penalty=1.2), expected)


def test_tokens_are_ordered_by_probability_within_the_nucleus():
    # shares .5, .3, .15, .05; at p = .7 the first two, .8 together: the first below .5 / .8 = .625
    logits = [math.log(share) for share in (0.15, 0.5, 0.05, 0.3)]
    assert [drawn(logits, u, top_p=0.7) for u in (0.0, 0.62, 0.63, 0.999999)] == [1, 1, 3, 3]


def test_temperature_is_applied_before_the_nucleus_is_computed():
    # shares .6 and .4 at temperature ½: .36 and .16 of .52, so .692 and .308; at p = .65 one token is enough
    logits = [math.log(0.6), math.log(0.4)]
    assert drawn(logits, 0.99, temperature=0.5, top_p=0.65) == 0
    assert drawn(logits, 0.99, temperature=1.0, top_p=0.65) == 1


@pytest.mark.parametrize("logits", [[1.0, 0.0], [2.0, 0.0, 1.0], [0.5, 3.0, -1.0, 1.0]])
def test_a_token_with_a_mass_of_exactly_top_p_is_the_whole_nucleus(logits):
    scaled = torch.tensor(logits)
    top = int(scaled.argmax())
    mass = float((scaled - scaled.logsumexp(dim=-1)).double().exp()[top])  # of the most likely token
    assert drawn(logits, 0.999999, top_p=mass) == top
    assert drawn(logits, 0.999999, top_p=math.nextafter(mass, 1)) != top  # a larger top_p includes the next token


@given(logits_lists, st.floats(0.05, 1), st.floats(0.3, 3))
def test_the_nucleus_is_the_smallest_set_with_the_mass(logits, top_p, temperature):
    shares = softmax(logits, temperature)
    uniforms = [number / 400 for number in range(400)]
    rows = torch.tensor([logits]).repeat(400, 1)
    drawn = nucleus_sampling.draw(rows, torch.tensor(uniforms), temperature=temperature, top_p=top_p)
    hit = sorted((shares[token] for token in set(drawn.tolist())), reverse=True)
    # every sampled token lies in the reference nucleus: more likely tokens have less than the mass
    ranked = sorted(shares, reverse=True)
    before = [sum(ranked[: ranked.index(share)]) for share in hit]
    assert all(mass < top_p + 1e-5 for mass in before)
    # every token of the nucleus with more than one grid step of mass is sampled
    edge = next((n for n in range(1, len(ranked) + 1) if sum(ranked[:n]) >= top_p), len(ranked))
    expected = [
        share for share in ranked[:edge] if share / sum(ranked[:edge]) > 2 / 400 and share > ranked[edge - 1] + 1e-6
    ]
    assert len(hit) >= len(set(expected))


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 1), st.floats(0, 1, exclude_max=True, width=32))
def test_a_vocabulary_larger_than_the_head_equals_the_reference(seed, top_p, uniform):
    logits = torch.randn(1, 8 * nucleus_sampling.HEAD, generator=torch.Generator().manual_seed(seed))
    ranked, tokens = torch.softmax(logits[0].double(), 0).sort(descending=True)
    edge = int((ranked.cumsum(0) < top_p).sum()) + 1
    target = uniform * ranked[:edge].sum()
    token = nucleus_sampling.draw(logits, torch.tensor([uniform]), temperature=1.0, top_p=top_p)
    rank = int((tokens == token).nonzero())
    # the reference interval of the sampled token contains the number, up to rounding in single precision
    assert ranked[:rank].sum() - 1e-5 <= target <= ranked[: rank + 1].sum() + 1e-5


@pytest.mark.parametrize("uniform", [0.0, 0.25, 0.5, 0.75, 0.999999])
def test_a_row_depends_only_on_its_own_logits_and_number(uniform):
    others = torch.randn(3, 300, generator=torch.Generator().manual_seed(1)) * 9
    row = torch.randn(1, 300, generator=torch.Generator().manual_seed(2))
    alone = nucleus_sampling.draw(row, torch.tensor([uniform]), temperature=0.7, top_p=0.9)
    numbers = torch.tensor([0.1, 0.9, 0.3, uniform])
    assert nucleus_sampling.draw(torch.cat([others, row]), numbers, temperature=0.7, top_p=0.9)[-1] == alone
