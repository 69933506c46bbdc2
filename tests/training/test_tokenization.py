import pytest
import small
import torch
from tokenizers import Tokenizer, models, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lima.records import Turn
from lima.training import base_model, tokenization
from lima.training.tokenization import IGNORED, EncodingError

DIALOGUE = small.example(9, "Tea or coffee?", "Tea.", "Why?", "It keeps\n\n  better.")


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    return small.start(tmp_path_factory.mktemp("encode"), small.recipe())


def encoded(example, started, *, max_tokens=10_000):
    _, tokenizer, eot_id, _ = started
    return tokenization.encode([example], tokenizer, eot_id=eot_id, max_tokens=max_tokens)[0]


@pytest.mark.parametrize("example", [*small.examples(), DIALOGUE], ids=lambda e: e.id)
def test_training_ids_equal_the_rendered_chat_template(example, started):
    _, tokenizer, _, _ = started
    messages = [turn.model_dump() for turn in example.messages]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert text == "".join(f"{turn.content}<|eot|>" for turn in example.messages)
    assert encoded(example, started).ids == tuple(tokenizer(text, add_special_tokens=False).input_ids)


def test_the_generation_prompt_is_a_prefix_of_the_training_ids(started):
    _, tokenizer, _, _ = started
    messages = [turn.model_dump() for turn in DIALOGUE.messages[:3]]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    whole = encoded(DIALOGUE, started)
    assert whole.ids[: len(ids)] == tuple(ids)
    assert whole.labels[len(ids)] != IGNORED
    assert whole.labels[len(ids) - 1] == IGNORED


def test_only_responses_and_their_eot_are_supervised(started):
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


def test_tokens_beyond_max_tokens_are_cut_and_counted(started):
    whole = encoded(DIALOGUE, started)
    for length in (1, 20, len(whole.ids) - 1, len(whole.ids), len(whole.ids) + 1):
        part = encoded(DIALOGUE, started, max_tokens=length)
        assert (part.ids, part.labels) == (whole.ids[:length], whole.labels[:length])
        assert len(part.ids) + part.cut == len(whole.ids)
        assert part.cut >= 0


def test_eot_is_a_new_token_initialised_with_the_mean_embedding(tmp_path):
    model, tokenizer = base_model.load(small.MODEL, seed=1)
    known, eos_id = len(tokenizer), tokenizer.eos_token_id
    mean = model.get_input_embeddings().weight.mean(dim=0)
    eot_id = tokenization.add_eot(model, tokenizer, "<|eot|>", start="mean")
    assert eot_id == known
    assert eot_id not in (eos_id, tokenizer.pad_token_id, tokenizer.bos_token_id)
    assert tokenizer("a<|eot|>b", add_special_tokens=False).input_ids[1] == eot_id
    torch.testing.assert_close(model.get_input_embeddings().weight[eot_id], mean)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def llama(rows, *, tied=False):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config)


def embeddings(model):
    return [model.get_input_embeddings().weight, model.get_output_embeddings().weight]


@pytest.mark.parametrize("start", ["mean", "eos"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("spare", [0, 1, 5])  # rows of the embeddings beyond the tokenizer's tokens
def test_eot_changes_one_row_of_each_embedding(spare, tied, start):
    _, tokenizer = base_model.load(small.MODEL, seed=1)
    known = len(tokenizer)
    model = llama(known + spare, tied=tied)
    before = [matrix.detach().clone() for matrix in embeddings(model)]
    eot_id = tokenization.add_eot(model, tokenizer, "<|eot|>", start=start)
    assert eot_id == known
    for old, new in zip(before, embeddings(model), strict=True):
        assert len(new) == max(known + spare, known + 1) == model.config.vocab_size
        # the mean is over tokens, without the spare rows
        expected = old[:known].mean(dim=0) if start == "mean" else old[tokenizer.convert_tokens_to_ids(base_model.END)]
        torch.testing.assert_close(new[eot_id], expected)
        kept = [row for row in range(len(old)) if row != eot_id]
        assert torch.equal(new[kept], old[kept])


def with_ids(vocabulary, *, eos="a"):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocab=vocabulary, merges=[])))
    if eos:
        tokenizer.add_special_tokens({"eos_token": eos})
    return tokenizer


@pytest.mark.parametrize("rows", [10, 30])
def test_a_vocabulary_with_gaps_keeps_its_embeddings(rows):
    tokenizer = with_ids({"a": 0, "b": 1, "c": 9})  # ids 2 to 8 have no token
    model = llama(rows)
    before = [matrix.detach().clone() for matrix in embeddings(model)]
    eot_id = tokenization.add_eot(model, tokenizer, "<|eot|>", start="mean")
    assert eot_id not in (0, 1, 9)
    for old, new in zip(before, embeddings(model), strict=True):
        torch.testing.assert_close(new[eot_id], old[[0, 1, 9]].mean(dim=0))
        kept = [row for row in range(rows) if row != eot_id]
        assert torch.equal(new[kept], old[kept])


def test_a_token_beyond_the_embeddings_is_not_in_the_mean():
    model = llama(2)
    before = [matrix.detach().clone() for matrix in embeddings(model)]
    eot_id = tokenization.add_eot(model, with_ids({"a": 0, "b": 1, "c": 9}), "<|eot|>", start="mean")
    for old, new in zip(before, embeddings(model), strict=True):
        torch.testing.assert_close(new[eot_id], old.mean(dim=0))


def test_an_eot_with_the_id_of_another_token_is_refused():
    tokenizer = with_ids({"a": 1, "b": 2, "c": 3})  # three tokens, so the fourth would get id 3
    with pytest.raises(EncodingError, match=r"'<\|eot\|>' gets the id 3 of token 'c'"):
        tokenization.add_eot(llama(4), tokenizer, "<|eot|>", start="mean")


def test_the_template_begins_with_the_base_models_bos(started):
    model, tokenizer = base_model.load(small.MODEL, seed=1)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    model.resize_token_embeddings(len(tokenizer))
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    eot_id = tokenization.add_eot(model, tokenizer, "<|eot|>", start="mean")
    one = tokenization.encode([DIALOGUE], tokenizer, eot_id=eot_id, max_tokens=10_000)[0]
    assert one.ids[0] == tokenizer.bos_token_id
    assert one.ids.count(tokenizer.bos_token_id) == 1
    assert one.supervised == encoded(DIALOGUE, started).supervised


def test_bos_is_kept_and_eos_replaced_by_eot(started):
    model, tokenizer = base_model.load(small.MODEL, seed=1)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    ends = [("<s>", tokenizer.bos_token_id), (base_model.END, tokenizer.eos_token_id)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"<s> $A {base_model.END}", special_tokens=ends
    )
    eos_id = tokenizer.eos_token_id
    assert tokenizer("a").input_ids[0::2] == [tokenizer.bos_token_id, eos_id]
    eot_id = tokenization.add_eot(model, tokenizer, "<|eot|>", start="mean")
    row = tokenization.encode([DIALOGUE], tokenizer, eot_id=eot_id, max_tokens=10_000)[0]
    assert row.ids[0] == tokenizer.bos_token_id
    assert row.ids.count(tokenizer.bos_token_id) == 1
    assert eos_id not in row.ids
    assert row.supervised == encoded(DIALOGUE, started).supervised


def test_an_eos_that_equals_bos_is_not_prepended():
    model, tokenizer = base_model.load(small.MODEL, seed=1)
    tokenizer.bos_token = base_model.END  # as in GPT-2: BOS and EOS are one token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {base_model.END}", special_tokens=[(base_model.END, tokenizer.eos_token_id)]
    )
    eot_id = tokenization.add_eot(model, tokenizer, "<|eot|>", start="mean")
    row = tokenization.encode([DIALOGUE], tokenizer, eot_id=eot_id, max_tokens=10_000)[0]
    assert tokenizer.bos_token_id not in row.ids


def test_a_base_model_without_eos_needs_eot_start_mean():
    tokenizer = with_ids({letter: number for number, letter in enumerate("abc\n")}, eos=None)
    with pytest.raises(EncodingError, match=r"has no EOS token; set train\.eot_start to mean"):
        tokenization.add_eot(llama(4), tokenizer, "<|eot|>", start="eos")
    eot_id = tokenization.add_eot(llama(4), tokenizer, "<|eot|>", start="mean")
    row = tokenization.encode([small.example(1, "ab", "ca")], tokenizer, eot_id=eot_id, max_tokens=99)[0]
    assert (row.ids, row.supervised) == ((0, 1, eot_id, 2, 0, eot_id), 3)
    assert tokenizer.pad_token_id is None


def test_an_existing_token_as_eot_is_refused():
    model, tokenizer = base_model.load(small.MODEL, seed=1)
    with pytest.raises(EncodingError, match=r"'<\|endoftext\|>' is already a token of the base model"):
        tokenization.add_eot(model, tokenizer, base_model.END, start="mean")


def test_a_text_with_eot_is_refused_with_the_id_of_the_example(started):
    with pytest.raises(EncodingError, match=r"authored/A/5: contains the end-of-turn token <\|eot\|>"):
        encoded(small.example(5, "Say <|eot|>", "No."), started)


@pytest.mark.parametrize("roles", [("tool",), ("user", "system"), ("system", "system")])
def test_the_template_refuses_other_roles_and_late_system_turns(started, roles):
    _, tokenizer, _, _ = started
    with pytest.raises(Exception, match=f"one system turn at most, not {roles[-1]}"):
        tokenizer.apply_chat_template([{"role": role, "content": "Be kind."} for role in roles])


def test_a_system_turn_is_unsupervised(started):
    plain = small.example(9, "Tea or coffee?", "Tea.")
    system = plain.model_copy(update={"messages": (Turn(role="system", content="Be kind."), *plain.messages)})
    _, tokenizer, _, _ = started
    one, other = encoded(system, started), encoded(plain, started)
    assert tokenizer.decode(one.ids) == "Be kind.<|eot|>Tea or coffee?<|eot|>Tea.<|eot|>"
    head = len(one.ids) - len(other.ids)
    assert one.labels == (IGNORED,) * head + other.labels
    assert one.ids[head:] == other.ids  # the rest is identical
