import json

import numpy as np
import pytest
import tiny_model
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from lima.config.sections import Decoding
from lima.errors import LimaError
from lima.inference import generate, model, nucleus_sampling
from lima.records import Prompt, Provenance, Turn

PLACE = Provenance(source="authored", site="B", id="1", url="", author="ann", licence="MIT", digest="0")
TEXTS = ["Hi", "What is yeast?", "Name three rivers in Europe, please.", "?", "Why does bread rise when it is warm?"]
PROMPTS = [
    Prompt(id=f"authored/B/{number}", messages=(Turn(role="user", content=text),), tags=(), provenance=PLACE)
    for number, text in enumerate(TEXTS)
]


def decoding(**changes):
    values = {
        "top_p": 0.9,
        "temperature": 0.7,
        "repetition_penalty": 1.2,
        "max_tokens": 40,
        "batch_size": 4,
        "precision": "fp32",
        "seed": 17,
    }
    return Decoding.model_validate(values | changes)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """For so small a model, waking a second thread costs more than it brings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return model.load(tiny_model.save(tmp_path_factory.mktemp("tiny")), precision="fp32")


def answered(loaded, prompts=PROMPTS, *, samples=1, **changes):
    given = generate.generate(loaded, prompts, contestant="tiny", samples=samples, decoding=decoding(**changes))
    return {(response.prompt_id, response.sample): response for response in given}


def written_one_by_one(loaded, prompt, *, sample, settings, prompt_too=False):
    """The reference: no cache, no padding, no batch; the penalty by hand, over what was written and nothing else."""
    ids, written, rng = model.render(loaded.tokenizer, prompt), [], generate.generator(17, prompt.id, sample)
    while len(written) < settings.max_tokens:
        with torch.inference_mode():
            logits = loaded.model(input_ids=torch.tensor([ids + written])).logits[0, -1].tolist()
        for token in set(written + ids if prompt_too else written):
            above = logits[token] > 0
            logits[token] *= 1 / settings.repetition_penalty if above else settings.repetition_penalty
        uniform = torch.tensor([rng.random()])
        drawn = nucleus_sampling.draw(
            torch.tensor([logits]), uniform, temperature=settings.temperature, top_p=settings.top_p
        ).item()
        if drawn in loaded.ends:
            return written, True
        written.append(drawn)
    return written, False


def test_a_batch_writes_what_each_prompt_would_get_alone_without_cache_and_padding(loaded):
    batched = answered(loaded, samples=2, repetition_penalty=1.8)
    for (prompt_id, sample), response in batched.items():
        prompt = next(prompt for prompt in PROMPTS if prompt.id == prompt_id)
        ids, ended = written_one_by_one(loaded, prompt, sample=sample, settings=decoding(repetition_penalty=1.8))
        assert response.text == loaded.tokenizer.decode(ids, skip_special_tokens=True)
        assert (response.finish, response.tokens) == ("stop" if ended else "length", len(ids))


def test_tokens_that_stand_only_in_the_prompt_are_not_penalised(loaded):
    ours = answered(loaded, repetition_penalty=1.8)
    settings = decoding(repetition_penalty=1.8)
    theirs = {p.id: written_one_by_one(loaded, p, sample=0, settings=settings, prompt_too=True) for p in PROMPTS}
    # the reference above agrees with us; the one that counts the prompt's tokens too, as transformers does, does not
    assert any(ours[p.id, 0].text != loaded.tokenizer.decode(theirs[p.id][0]) for p in PROMPTS)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
def test_the_same_seed_gives_the_same_texts_in_whatever_batch(loaded, batch_size):
    alone = answered(loaded, samples=2, batch_size=1)
    assert answered(loaded, PROMPTS[::-1], samples=2, batch_size=batch_size) == alone


def test_samples_of_one_prompt_and_seeds_differ(loaded):
    texts = {response.text for response in answered(loaded, PROMPTS[:1], samples=8, temperature=2.0).values()}
    assert len(texts) > 1
    assert answered(loaded, temperature=2.0) != answered(loaded, temperature=2.0, seed=18)


def test_eot_ends_an_answer_and_is_no_part_of_it(loaded):
    responses = answered(loaded, samples=6, temperature=2.0, top_p=1.0, max_tokens=100, batch_size=30)
    stopped = [response for response in responses.values() if response.finish == "stop"]
    assert stopped
    assert all(response.tokens < 100 and "<|eot|>" not in response.text for response in stopped)


def test_ids_without_a_token_are_never_sampled(loaded, tmp_path):
    padded = model.load(tiny_model.save(tmp_path), precision="fp32")
    known = len(padded.tokenizer)
    padded.model.resize_token_embeddings(known + 200, mean_resizing=False)
    with torch.no_grad():
        padded.model.get_output_embeddings().weight[known:] *= 50  # likelier than any token
    asked = [generate.GenerationRequest(p, n, model.render(padded.tokenizer, p)) for p in PROMPTS for n in range(4)]
    # the model's own choice is an id that has no token
    first = padded.model(input_ids=torch.tensor([asked[0].ids])).logits[0, -1]
    assert first.argmax() >= known
    answers = generate.sampled(padded, asked, decoding(temperature=2.0, top_p=1.0))
    assert sum(len(ids) for ids, _ in answers) > 100
    assert all(id_ < known for ids, _ in answers for id_ in ids)


def test_an_end_that_is_no_token_of_the_tokenizer_still_ends_an_answer(tmp_path):
    padded = model.load(tiny_model.save(tmp_path), precision="fp32")
    known = len(padded.tokenizer)
    padded.model.resize_token_embeddings(known + 1, mean_resizing=False)
    asked = [generate.GenerationRequest(PROMPTS[0], 0, model.render(padded.tokenizer, PROMPTS[0]))]
    ids = torch.tensor([asked[0].ids])
    with torch.no_grad():
        last = padded.model.model(ids).last_hidden_state[0, -1]
        padded.model.get_output_embeddings().weight[known] = last * 100  # all but certain
    ending = model.Checkpoint(padded.model, padded.tokenizer, frozenset({known}), padded.context)
    assert generate.sampled(ending, asked, decoding()) == [([], True)]


def test_any_of_several_end_tokens_ends_an_answer(loaded):
    asked = [generate.GenerationRequest(p, 0, model.render(loaded.tokenizer, p)) for p in PROMPTS]
    endless = model.Checkpoint(loaded.model, loaded.tokenizer, frozenset(), loaded.context)
    free = [ids for ids, _ in generate.sampled(endless, asked, decoding())]
    ends = frozenset(ids[6] for ids in free)
    assert len(ends) > 2
    several = model.Checkpoint(loaded.model, loaded.tokenizer, ends, loaded.context)
    for ids, (written, ended) in zip(free, generate.sampled(several, asked, decoding()), strict=True):
        stop = next(place for place, token in enumerate(ids) if token in ends)
        assert (written, ended) == (ids[:stop], True)


@pytest.mark.parametrize("ends", [258, [3], [3, 258], [7, 3, 258]])
def test_the_end_tokens_are_all_that_the_generation_config_names(tmp_path, ends):
    folder = tiny_model.save(tmp_path)
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(config | {"eos_token_id": ends}))
    named = {ends} if isinstance(ends, int) else set(ends)
    assert model.load(folder, precision="fp32").ends == named


def test_an_answer_without_end_is_cut_at_max_tokens_and_says_so(loaded):
    never = model.Checkpoint(loaded.model, loaded.tokenizer, frozenset(), loaded.context)
    assert {(r.finish, r.tokens) for r in answered(never, max_tokens=7).values()} == {("length", 7)}


def test_an_answer_ends_where_the_context_does(loaded):
    longest = model.render(loaded.tokenizer, PROMPTS[4])
    tight = model.Checkpoint(loaded.model, loaded.tokenizer, frozenset(), len(longest) + 3)
    assert answered(tight)["authored/B/4", 0].tokens == 3
    assert answered(tight)["authored/B/0", 0].tokens > 3


def test_answers_that_the_context_cuts_are_counted(loaded, capsys):
    lengths = [len(model.render(loaded.tokenizer, prompt)) for prompt in PROMPTS]
    longest = max(lengths)
    assert lengths.count(longest) == 2  # of two samples each
    answered(model.Checkpoint(loaded.model, loaded.tokenizer, loaded.ends, longest + 40), samples=2)
    assert capsys.readouterr().err == ""
    answered(model.Checkpoint(loaded.model, loaded.tokenizer, loaded.ends, longest + 39), samples=2)
    assert capsys.readouterr().err == (
        f"tiny: the context of {longest + 39} tokens leaves less than max_tokens 40 for 4 of 10 answers, which end "
        "where it does\n"
    )


def test_learned_positions_are_used_to_the_last_and_not_beyond(loaded, capsys):
    config = GPT2Config(vocab_size=len(loaded.tokenizer), n_positions=80, n_embd=16, n_layer=1, n_head=2)
    config.bos_token_id = config.eos_token_id = None
    few = model.Checkpoint(GPT2LMHeadModel(config).eval(), loaded.tokenizer, frozenset(), 80)
    answers = answered(few, max_tokens=200)
    for prompt in PROMPTS:
        response = answers[prompt.id, 0]
        assert response.tokens == 80 - len(model.render(loaded.tokenizer, prompt))
        assert response.finish == "length"


def test_a_prompt_that_fills_the_context_is_named_with_its_length(loaded):
    longest = len(model.render(loaded.tokenizer, PROMPTS[2]))
    full = model.Checkpoint(loaded.model, loaded.tokenizer, loaded.ends, longest)
    with pytest.raises(
        LimaError, match=rf"prompt authored/B/2 has {longest} tokens, .* a context of {longest}; shorten"
    ):
        answered(full)


def test_a_dialogue_is_rendered_by_the_template_up_to_the_assistants_turn(loaded):
    turns = (Turn(role="user", content="a"), Turn(role="assistant", content="b"), Turn(role="user", content="c"))
    prompt = PROMPTS[0].model_copy(update={"messages": turns})
    wanted = "<|start|>user\na<|eot|><|start|>assistant\nb<|eot|><|start|>user\nc<|eot|><|start|>assistant\n"
    assert loaded.tokenizer.decode(model.render(loaded.tokenizer, prompt)) == wanted


def test_a_base_without_template_reads_the_plain_text_and_an_empty_line(tmp_path):
    plain = model.load(tiny_model.save(tmp_path, template=None), precision="fp32")
    assert plain.tokenizer.decode(model.render(plain.tokenizer, PROMPTS[0])) == "Hi\n\n"
    assert len(answered(plain, max_tokens=3)) == len(PROMPTS)


def test_a_folder_without_weights_is_named(tmp_path):
    folder = tiny_model.save(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(LimaError, match=rf"{folder} is no Hugging Face folder with config\.json and \*\.safetensors"):
        model.load(folder, precision="fp32")


def test_a_rows_generator_depends_on_seed_prompt_and_sample():
    first = generate.generator(17, "a", 0).random(3)
    assert np.array_equal(first, generate.generator(17, "a", 0).random(3))
    for other in (generate.generator(18, "a", 0), generate.generator(17, "b", 0), generate.generator(17, "a", 1)):
        assert not np.array_equal(first, other.random(3))


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_checkpoint_computes_in_the_precision_asked_for(tmp_path, precision, dtype):
    loaded = model.load(tiny_model.save(tmp_path), precision=precision)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {dtype}


def test_reasoning_is_no_part_of_a_sampled_answer(loaded, monkeypatch):
    monkeypatch.setattr(type(loaded.tokenizer), "decode", lambda *_, **__: "<think>a\nb</think>\n\nYes.")
    (response,) = generate.generate(loaded, PROMPTS[:1], contestant="tiny", samples=1, decoding=decoding(max_tokens=3))
    assert response.text == "Yes."
