"""Base models with ChatML tokens: turns open with ChatML's role token and end with EOT."""

import pytest
import small
from tokenizers import AddedToken

from lima.training import base_model, launch, tokenization
from lima.training.tokenization import IGNORED


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chatml")
    model, tokenizer = base_model.load(small.MODEL, seed=1)
    tokenizer.add_special_tokens({"extra_special_tokens": [AddedToken(tokenization.ROLE, special=True)]})
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return launch.starting_point(folder, small.recipe())


def encoded(started, *texts):
    _, tokenizer, eot_id = started
    return tokenization.encode([small.example(1, *texts)], tokenizer, eot_id=eot_id, max_tokens=10_000)[0]


def test_turns_begin_with_their_role_and_end_with_eot(started):
    _, tokenizer, _ = started
    whole = encoded(started, "Hi", "Hello!")
    assert tokenizer.decode(whole.ids) == "<|im_start|>user\nHi<|eot|><|im_start|>assistant\nHello!<|eot|>"


def test_role_tokens_are_unsupervised(started):
    _, tokenizer, _ = started
    whole = encoded(started, "Hi", "Hello!", "Bye", "See you.")
    assert tokenizer.decode([token for token in whole.labels if token != IGNORED]) == "Hello!<|eot|>See you.<|eot|>"


def test_the_generation_prompt_ends_where_the_response_begins(started):
    _, tokenizer, _ = started
    whole = encoded(started, "Hi", "Hello!")
    messages = [{"role": "user", "content": "Hi"}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert whole.ids[: len(ids)] == tuple(ids)
    assert whole.labels[len(ids) - 1] == IGNORED != whole.labels[len(ids)]


def test_line_breaks_around_a_text_are_trimmed(started):
    assert encoded(started, "\n Hi", "\n\nHello!\n").ids == encoded(started, "Hi", "Hello!").ids


def test_special_tokens_of_the_base_model_remain_special(started):
    _, tokenizer, _ = started
    both = tokenizer(f"{tokenization.ROLE}<|eot|>", add_special_tokens=False).input_ids
    assert len(both) == 2
    assert tokenizer.decode(both, skip_special_tokens=True) == ""
