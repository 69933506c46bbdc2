"""Examples that lie side by side in a row must not see each other."""

import pytest
import small
import torch

from lima.training.batches import Batch, pack
from lima.training.fit import summed_loss

CPU = torch.device("cpu")


@pytest.fixture
def started(tmp_path):
    model, _, _, encoded = small.start(tmp_path, small.recipe())
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(8)  # wide, so that what a token attends to shows
    return model.eval(), encoded


def logits(model, batch):
    with torch.no_grad():
        return model(input_ids=batch.ids, position_ids=batch.positions, use_cache=False).logits[0]


def gradients(model, batches):
    model.zero_grad()
    for batch in batches:
        summed_loss(model, batch, CPU).backward()
    return torch.cat([weight.grad.flatten() for weight in model.parameters()])


def test_logits_of_packed_examples_equal_those_of_each_alone(started):
    model, encoded = started
    assert model.config._attn_implementation == "sdpa"
    together = logits(model, pack(encoded))
    alone = torch.cat([logits(model, pack([example])) for example in encoded])
    torch.testing.assert_close(together, alone, rtol=0, atol=2e-4)
    # the law bites: positions that run on let the examples see each other
    packed = pack(encoded)
    running = Batch(packed.ids, torch.arange(packed.ids.numel())[None], packed.labels, packed.examples)
    assert (logits(model, running) - alone).abs().max() > 0.5


def test_gradients_of_packed_examples_equal_the_sum_of_each_alone(started):
    model, encoded = started
    together, alone = gradients(model, [pack(encoded)]), gradients(model, [pack([e]) for e in encoded])
    assert (together - alone).norm() < 1e-5 * alone.norm()


def test_the_summed_loss_is_transformers_own_over_the_supervised_tokens(started):
    model, encoded = started
    for example in encoded:
        ids, labels = torch.tensor([example.ids]), torch.tensor([example.labels])
        mean = model(input_ids=ids, labels=labels).loss.item()  # transformers' mean over supervised tokens
        ours = summed_loss(model, pack([example]), CPU).item()
        assert ours == pytest.approx(mean * example.supervised, rel=1e-5)
