import pytest
import small
import torch
from tokenizers import processors
from transformers import LlamaConfig, LlamaForCausalLM

from lima.training import base, encode
from lima.training.encode import IGNORED, EncodingError

DIALOGUE = small.example(9, "Tea or coffee?", "Tea.", "Why?", "It keeps\n\n  better.")


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    return small.start(tmp_path_factory.mktemp("encode"), small.recipe())


def encoded(example, started, *, max_tokens=10_000):
    _, tokenizer, eot_id, _ = started
    return encode.encode([example], tokenizer, eot_id=eot_id, max_tokens=max_tokens)[0]


@pytest.mark.parametrize("example", [*small.examples(), DIALOGUE], ids=lambda e: e.id)
def test_the_ids_trained_on_are_those_the_chat_template_renders(example, started):
    _, tokenizer, _, _ = started
    messages = [turn.model_dump() for turn in example.messages]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert text == "".join(f"{turn.content}<|eot|>" for turn in example.messages)
    assert encoded(example, started).ids == tuple(tokenizer(text, add_special_tokens=False).input_ids)


def test_what_is_asked_at_generation_is_the_head_of_what_was_trained_on(started):
    _, tokenizer, _, _ = started
    asked = [turn.model_dump() for turn in DIALOGUE.messages[:3]]
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    whole = encoded(DIALOGUE, started)
    assert whole.ids[: len(ids)] == tuple(ids)
    assert whole.labels[len(ids)] != IGNORED
    assert whole.labels[len(ids) - 1] == IGNORED


def test_responses_and_their_eot_are_supervised_and_nothing_else(started):
    _, tokenizer, eot_id, _ = started
    whole = encoded(DIALOGUE, started)
    runs, last = [], IGNORED
    for label in whole.labels:
        if label != IGNORED:
            runs = runs if last != IGNORED else [*runs, []]
            runs[-1].append(label)
        last = label
    assert [tokenizer.decode(run) for run in runs] == ["Tea.<|eot|>", "It keeps\n\n  better.<|eot|>"]
    assert whole.supervised == sum(map(len, runs)) == len("Tea.") + 1 + len("It keeps\n\n  better.") + 1
    assert all(label in (IGNORED, token) for label, token in zip(whole.labels, whole.ids, strict=True))
    assert whole.ids.count(eot_id) == 4


def test_what_is_beyond_max_tokens_is_cut_and_counted(started):
    whole = encoded(DIALOGUE, started)
    for length in (1, 20, len(whole.ids) - 1, len(whole.ids), len(whole.ids) + 1):
        part = encoded(DIALOGUE, started, max_tokens=length)
        assert (part.ids, part.labels) == (whole.ids[:length], whole.labels[:length])
        assert len(part.ids) + part.cut == len(whole.ids)
        assert part.cut >= 0


def test_eot_is_new_and_neither_eos_nor_padding_and_starts_as_the_mean_of_all_tokens(tmp_path):
    model, tokenizer = base.load(small.MODEL, seed=1)
    known = len(tokenizer)
    mean = model.get_input_embeddings().weight.mean(dim=0)
    eot_id = encode.add_eot(model, tokenizer, "<|eot|>", start="mean")
    assert eot_id == known
    assert eot_id not in (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id)
    assert tokenizer("a<|eot|>b", add_special_tokens=False).input_ids[1] == eot_id
    torch.testing.assert_close(model.get_input_embeddings().weight[eot_id], mean)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


@pytest.mark.parametrize("spare", [0, 5])  # rows of the embeddings beyond the tokenizer's tokens
def test_untied_embeddings_each_start_eot_as_their_own_mean(spare):
    _, tokenizer = base.load(small.MODEL, seed=1)
    known = len(tokenizer)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=known + spare,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    means = [e.weight[:known].mean(dim=0) for e in (model.get_input_embeddings(), model.get_output_embeddings())]
    eot_id = encode.add_eot(model, tokenizer, "<|eot|>", start="mean")
    torch.testing.assert_close(model.get_input_embeddings().weight[eot_id], means[0])
    torch.testing.assert_close(model.get_output_embeddings().weight[eot_id], means[1])
    assert not torch.allclose(*means)


def test_a_base_that_begins_texts_with_bos_keeps_doing_so(started):
    model, tokenizer = base.load(small.MODEL, seed=1)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    model.resize_token_embeddings(len(tokenizer))
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    eot_id = encode.add_eot(model, tokenizer, "<|eot|>", start="mean")
    one = encode.encode([DIALOGUE], tokenizer, eot_id=eot_id, max_tokens=10_000)[0]
    assert one.ids[0] == tokenizer.bos_token_id
    assert one.ids.count(tokenizer.bos_token_id) == 1
    assert one.supervised == encoded(DIALOGUE, started).supervised


def test_an_eot_that_the_base_model_knows_already_is_refused():
    model, tokenizer = base.load(small.MODEL, seed=1)
    with pytest.raises(EncodingError, match=r"'<\|endoftext\|>' is already a token of the base model"):
        encode.add_eot(model, tokenizer, base.END, start="mean")


def test_eot_written_out_in_a_text_is_refused_with_the_examples_id(started):
    with pytest.raises(EncodingError, match=r"authored/A/5 holds the end-of-turn token in its text"):
        encoded(small.example(5, "Say <|eot|>", "No."), started)


def test_the_template_refuses_a_third_speaker(started):
    _, tokenizer, _, _ = started
    with pytest.raises(Exception, match="only user and assistant speak here, not system"):
        tokenizer.apply_chat_template([{"role": "system", "content": "Be kind."}])
