import gc
import json
import weakref
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_model
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    MistralConfig,
    Qwen3NextConfig,
)

from lima.config.sections import Decoding
from lima.errors import LimaError
from lima.inference import generate, kv_cache, model, nucleus_sampling
from lima.inference.cuda_graphs import GraphedStep
from lima.inference.generation_cache import BatchCache
from lima.records import Prompt, Provenance, Response, Turn, Unanswered

PLACE = Provenance(source="authored", site="B", id="1", url="", author="ann", license="MIT", digest="0")
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
    """For a model this small, a second thread is slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return model.load(tiny_model.save(tmp_path_factory.mktemp("tiny")), precision="fp32")


def generated(loaded, prompts=PROMPTS, *, samples=1, **changes):
    responses = generate.generate(loaded, prompts, contestant="tiny", samples=samples, decoding=decoding(**changes))
    return {(response.prompt_id, response.sample): response for response in responses}


def reference_response(loaded, prompt, *, sample, settings, penalise_prompt=False):
    """Reference without cache, padding or batch; the penalty applies to generated tokens only."""
    ids, written, rng = model.render(loaded.tokenizer, prompt), [], generate.generator(17, prompt.id, sample)
    while len(written) < settings.max_tokens:
        with torch.inference_mode():
            logits = loaded.model(input_ids=torch.tensor([ids + written])).logits[0, -1].tolist()
        for token in set(written + ids if penalise_prompt else written):
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


def test_a_batch_equals_the_reference_without_cache_and_padding(loaded):
    batched = generated(loaded, samples=2, repetition_penalty=1.8)
    for (prompt_id, sample), response in batched.items():
        prompt = next(prompt for prompt in PROMPTS if prompt.id == prompt_id)
        ids, ended = reference_response(loaded, prompt, sample=sample, settings=decoding(repetition_penalty=1.8))
        assert response.text == loaded.tokenizer.decode(ids, skip_special_tokens=True)
        assert (response.finish, response.tokens) == ("stop" if ended else "length", len(ids))


class Captured:
    """A graph that calls the step again, and checks that it would read and write the same tensors."""

    def __init__(self, step, pool):
        self.step = step
        self.batch = step.args[0].__self__
        self.before = self.state()

    def state(self):
        batch = self.batch
        tensors = [batch._tokens, batch._positions, batch._cache.mask, batch._cache.slots.place, batch._graphed._logits]
        tensors += [tensor for layer in batch._cache.layers for tensor in (layer.keys, layer.values)]
        return batch._cache.slots.width, [tensor.data_ptr() for tensor in tensors]

    def replay(self):
        assert self.state() == self.before
        self.step()

    def pool(self):
        return "pool"


def refused(step, pool):
    raise RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.parametrize(("mode", "capture"), [("eager", None), ("static", None), ("graph", Captured)])
def test_waiting_rows_take_the_places_of_finished_ones_and_equal_the_reference(loaded, monkeypatch, mode, capture):
    monkeypatch.setattr(kv_cache, "BLOCK", 16)  # the buffers grow several times
    monkeypatch.setattr(generate, "BUCKET", 8)
    monkeypatch.setattr(generate, "GraphedStep", partial(GraphedStep, capture=capture))
    monkeypatch.setitem(generate.PREFILL_TOKENS, "cpu", 150)  # two or three prompts
    settings = decoding(batch_size=3, temperature=2.0, top_p=1.0, max_tokens=30)
    # the shortest prompts first, so that the rows move when longer ones join; two samples each
    prompts = sorted(PROMPTS, key=lambda prompt: len(prompt.messages[0].content))
    requests = [
        generate.GenerationRequest(prompt, sample, model.render(loaded.tokenizer, prompt))
        for prompt in prompts
        for sample in (0, 1)
    ]
    ends = frozenset({*loaded.ends, *range(0, 256, 12)})  # responses of different lengths
    often = model.Checkpoint(loaded.model, loaded.tokenizer, ends, loaded.context)
    joined, join = [], generate.Batch.join

    def counted(batch, rows):
        joined.append((len(batch.rows), len(rows)))
        join(batch, rows)

    monkeypatch.setattr(generate.Batch, "join", counted)
    answers = generate.sampled(often, requests, settings, mode=mode)
    for request, answer in zip(requests, answers, strict=True):
        assert answer == reference_response(often, request.prompt, sample=request.sample, settings=settings)
    assert len({len(ids) for ids, _ in answers}) > 3
    assert joined[0] == (0, 3)
    assert all(active + new <= 3 for active, new in joined)
    assert sum(active > 0 for active, _ in joined) > 1  # rows joined others that were being decoded


def test_without_a_graph_sampling_continues_and_the_reason_is_printed_once(loaded, monkeypatch, capsys):
    monkeypatch.setattr(generate, "GraphedStep", partial(GraphedStep, capture=refused))
    requests = [generate.GenerationRequest(p, 0, model.render(loaded.tokenizer, p)) for p in PROMPTS]
    expected = generate.sampled(loaded, requests, decoding(), mode="eager")
    assert generate.sampled(loaded, requests, decoding(), mode="graph") == expected
    assert capsys.readouterr().err == (
        "no CUDA graph of a decoding step: operation not permitted when stream is capturing; "
        "sampling continues without, slower\n"
    )


COMMON = {"vocab_size": 300, "bos_token_id": None, "eos_token_id": None, "initializer_range": 0.3}
SMALL = COMMON | {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
ARCHITECTURES = {
    "grouped queries": LlamaConfig(**SMALL, num_key_value_heads=2),
    "sliding window": MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=12),
    "sliding and full": Gemma3TextConfig(
        **SMALL,
        num_key_value_heads=1,
        head_dim=8,
        sliding_window=12,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "biases of distance": BloomConfig(**COMMON, hidden_size=32, n_layer=2, n_head=4),
    "learned positions": GPT2Config(**COMMON, n_embd=32, n_layer=2, n_head=4),
}


@pytest.mark.parametrize("mode", ["eager", "static"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_greedy_tokens_are_those_of_transformers_generate(loaded, name, mode):
    torch.manual_seed(1)
    config = ARCHITECTURES[name]
    network = AutoModelForCausalLM.from_config(config).eval()
    ids = [torch.randint(0, 300, (length,)).tolist() for length in (5, 40, 17, 17, 9)]
    expected = [
        network.generate(torch.tensor([row]), max_new_tokens=30, do_sample=False, pad_token_id=0)[
            0, len(row) :
        ].tolist()
        for row in ids
    ]
    tokenizer = SimpleNamespace(get_vocab=lambda: {str(number): number for number in range(300)})
    checkpoint = model.Checkpoint(network, tokenizer, frozenset(), 1024)
    requests = [generate.GenerationRequest(PROMPTS[0], number, row) for number, row in enumerate(ids)]
    greedy = decoding(top_p=1e-6, repetition_penalty=1.0, max_tokens=30, batch_size=3)
    assert [tokens for tokens, _ in generate.sampled(checkpoint, requests, greedy, mode=mode)] == expected


class HostAccess(TorchDispatchMode):
    """Records operations with which the host waits for a GPU or copies to it; a CUDA graph may contain neither."""

    NAMES = ("item", "_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "lift_fresh")

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, operation, _, args=(), kwargs=None):
        if operation.overloadpacket.__name__ in self.NAMES:
            self.operations.append(str(operation))
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "biases of distance"])  # copies its biases
def test_a_step_in_a_graph_neither_waits_for_the_gpu_nor_copies_to_it(loaded, monkeypatch, name):
    steps = []

    def capture(step, pool):
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)  # transformers asks for it
        with HostAccess() as access:
            step()
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
        steps.append(access.operations)
        return SimpleNamespace(replay=step, pool=lambda: None)

    monkeypatch.setattr(generate, "GraphedStep", partial(GraphedStep, capture=capture))
    network = AutoModelForCausalLM.from_config(ARCHITECTURES[name]).eval()
    tokenizer = SimpleNamespace(get_vocab=lambda: {str(number): number for number in range(300)})
    checkpoint = model.Checkpoint(network, tokenizer, frozenset(), 1024)
    requests = [generate.GenerationRequest(PROMPTS[0], number, [5] * (3 + 9 * number)) for number in range(3)]
    generate.sampled(checkpoint, requests, decoding(max_tokens=2, batch_size=3), mode="graph")
    assert steps == [[]]


@pytest.mark.parametrize("mode", ["eager", "static", "graph"])
def test_the_cache_of_a_batch_is_free_once_its_responses_are_sampled(loaded, monkeypatch, mode):
    """Without the garbage collector, which does not run when the memory of a GPU is short."""
    caches = []

    def capture(step, pool):
        return SimpleNamespace(replay=lambda: None, pool=lambda: None)

    class Recorded(kv_cache.SlotCache):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            caches.append(weakref.ref(self))

    monkeypatch.setattr(generate, "SlotCache", Recorded)
    monkeypatch.setattr(generate, "GraphedStep", partial(GraphedStep, capture=capture))
    requests = [generate.GenerationRequest(PROMPTS[0], 0, model.render(loaded.tokenizer, PROMPTS[0]))]
    gc.collect()
    gc.disable()
    try:
        generate.sampled(loaded, requests, decoding(max_tokens=3), mode=mode)
        assert [cache() for cache in caches] == [None]
    finally:
        gc.enable()


def test_a_model_without_keys_and_values_is_refused_with_what_to_do(loaded):
    config = Qwen3NextConfig(**SMALL, num_key_value_heads=2, layer_types=["linear_attention", "full_attention"])
    recurrent = model.Checkpoint(SimpleNamespace(config=config, device=torch.device("cpu")), None, frozenset(), 64)
    request = generate.GenerationRequest(PROMPTS[0], 0, [1, 2])
    with pytest.raises(LimaError, match="does not support the model's cache: LinearAttentionLayer; serve the model"):
        generate.sampled(recurrent, [request], decoding())


def test_samples_of_a_prompt_share_its_prefill(loaded, monkeypatch):
    prefilled, prefill = [], generate.Batch._prefill

    def counted(batch, prompts, rows):
        prefilled.append(len(prompts))
        prefill(batch, prompts, rows)

    monkeypatch.setattr(generate.Batch, "_prefill", counted)
    generated(loaded, samples=2, batch_size=10)
    assert sum(prefilled) == len(PROMPTS)


def test_tokens_that_are_only_in_the_prompt_are_not_penalised(loaded):
    responses = generated(loaded, repetition_penalty=1.8)
    settings = decoding(repetition_penalty=1.8)
    references = {
        p.id: reference_response(loaded, p, sample=0, settings=settings, penalise_prompt=True) for p in PROMPTS
    }
    # a reference that also penalises the prompt's tokens, as transformers does, differs
    assert any(responses[p.id, 0].text != loaded.tokenizer.decode(references[p.id][0]) for p in PROMPTS)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
def test_the_same_seed_gives_the_same_texts_in_every_batch_size(loaded, batch_size):
    alone = generated(loaded, samples=2, batch_size=1)
    assert generated(loaded, PROMPTS[::-1], samples=2, batch_size=batch_size) == alone


def test_samples_of_one_prompt_and_seeds_differ(loaded):
    texts = {response.text for response in generated(loaded, PROMPTS[:1], samples=8, temperature=2.0).values()}
    assert len(texts) > 1
    assert generated(loaded, temperature=2.0) != generated(loaded, temperature=2.0, seed=18)


def test_eot_ends_a_response_and_is_not_part_of_it(loaded):
    responses = generated(loaded, samples=6, temperature=2.0, top_p=1.0, max_tokens=100, batch_size=30)
    stopped = [response for response in responses.values() if response.finish == "stop"]
    assert stopped
    assert all(response.tokens < 100 and "<|eot|>" not in response.text for response in stopped)


def test_ids_without_a_token_are_never_sampled(loaded, tmp_path):
    padded = model.load(tiny_model.save(tmp_path), precision="fp32")
    known = len(padded.tokenizer)
    padded.model.resize_token_embeddings(known + 200, mean_resizing=False)
    with torch.no_grad():
        padded.model.get_output_embeddings().weight[known:] *= 50  # likelier than any token
    requests = [generate.GenerationRequest(p, n, model.render(padded.tokenizer, p)) for p in PROMPTS for n in range(4)]
    # the model's own choice is an id that has no token
    first = padded.model(input_ids=torch.tensor([requests[0].ids])).logits[0, -1]
    assert first.argmax() >= known
    answers = generate.sampled(padded, requests, decoding(temperature=2.0, top_p=1.0))
    assert sum(len(ids) for ids, _ in answers) > 100
    assert all(id_ < known for ids, _ in answers for id_ in ids)


def test_an_end_token_outside_the_tokenizer_ends_a_response(tmp_path):
    padded = model.load(tiny_model.save(tmp_path), precision="fp32")
    known = len(padded.tokenizer)
    padded.model.resize_token_embeddings(known + 1, mean_resizing=False)
    requests = [generate.GenerationRequest(PROMPTS[0], 0, model.render(padded.tokenizer, PROMPTS[0]))]
    ids = torch.tensor([requests[0].ids])
    with torch.no_grad():
        last = padded.model.model(ids).last_hidden_state[0, -1]
        padded.model.get_output_embeddings().weight[known] = last * 100  # all but certain
    ending = model.Checkpoint(padded.model, padded.tokenizer, frozenset({known}), padded.context)
    assert generate.sampled(ending, requests, decoding()) == [([], True)]


def test_any_of_several_end_tokens_ends_an_answer(loaded):
    requests = [generate.GenerationRequest(p, 0, model.render(loaded.tokenizer, p)) for p in PROMPTS]
    endless = model.Checkpoint(loaded.model, loaded.tokenizer, frozenset(), loaded.context)
    free = [ids for ids, _ in generate.sampled(endless, requests, decoding())]
    ends = frozenset(ids[6] for ids in free)
    assert len(ends) > 2
    several = model.Checkpoint(loaded.model, loaded.tokenizer, ends, loaded.context)
    for ids, (written, ended) in zip(free, generate.sampled(several, requests, decoding()), strict=True):
        stop = next(place for place, token in enumerate(ids) if token in ends)
        assert (written, ended) == (ids[:stop], True)


@pytest.mark.parametrize("ends", [258, [3], [3, 258], [7, 3, 258]])
def test_the_end_tokens_are_those_of_the_generation_config(tmp_path, ends):
    folder = tiny_model.save(tmp_path)
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(config | {"eos_token_id": ends}))
    named = {ends} if isinstance(ends, int) else set(ends)
    assert model.load(folder, precision="fp32").ends == named


def test_a_response_without_end_is_truncated_at_max_tokens(loaded):
    never = model.Checkpoint(loaded.model, loaded.tokenizer, frozenset(), loaded.context)
    assert {(r.finish, r.tokens) for r in generated(never, max_tokens=7).values()} == {("length", 7)}


def test_a_response_ends_at_the_context_limit(loaded):
    longest = model.render(loaded.tokenizer, PROMPTS[4])
    tight = model.Checkpoint(loaded.model, loaded.tokenizer, frozenset(), len(longest) + 3)
    assert generated(tight)["authored/B/4", 0].tokens == 3
    assert generated(tight)["authored/B/0", 0].tokens > 3


def test_responses_that_the_context_limits_are_counted(loaded, capsys):
    lengths = [len(model.render(loaded.tokenizer, prompt)) for prompt in PROMPTS]
    longest = max(lengths)
    assert lengths.count(longest) == 2  # of two samples each
    generated(model.Checkpoint(loaded.model, loaded.tokenizer, loaded.ends, longest + 40), samples=2)
    assert capsys.readouterr().err == ""
    generated(model.Checkpoint(loaded.model, loaded.tokenizer, loaded.ends, longest + 39), samples=2)
    assert capsys.readouterr().err == (
        f"tiny: 4 of 10 responses are limited by the context of {longest + 39} tokens to less than max_tokens 40\n"
    )


def test_learned_positions_are_used_up_to_the_last(loaded, capsys):
    config = GPT2Config(vocab_size=len(loaded.tokenizer), n_positions=80, n_embd=16, n_layer=1, n_head=2)
    config.bos_token_id = config.eos_token_id = None
    few = model.Checkpoint(GPT2LMHeadModel(config).eval(), loaded.tokenizer, frozenset(), 80)
    answers = generated(few, max_tokens=200)
    for prompt in PROMPTS:
        response = answers[prompt.id, 0]
        assert response.tokens == 80 - len(model.render(loaded.tokenizer, prompt))
        assert response.finish == "length"


def test_a_prompt_that_fills_the_context_is_unanswered_with_its_length_and_the_others_go_on(loaded):
    longest = len(model.render(loaded.tokenizer, PROMPTS[2]))
    full = model.Checkpoint(loaded.model, loaded.tokenizer, loaded.ends, longest)
    outcomes = generated(full, samples=2)
    missing = {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, Unanswered)}
    lengths = {p.id: len(model.render(loaded.tokenizer, p)) for p in PROMPTS}
    assert {name for name, _ in missing} == {name for name, length in lengths.items() if length >= longest}
    assert {outcome.reason for outcome in missing.values()} == {"too_long"}
    assert missing["authored/B/2", 1].detail == (
        f"the prompt has {longest} tokens, and the context {longest}; shorten it"
    )
    assert {key for key, outcome in outcomes.items() if isinstance(outcome, Response)} == {
        (name, sample) for name, length in lengths.items() if length < longest for sample in (0, 1)
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_raise_with_checkpoint_prompt_and_token(tmp_path, value):
    broken = model.load(tiny_model.save(tmp_path), precision="fp32")
    forward, steps = broken.model.forward, []

    def fails_at_the_third_token(*args, **kwargs):
        output = forward(*args, **kwargs)
        steps.append(kwargs["input_ids"].shape[1] == 1)  # not a prefill
        if sum(steps) == 2:
            output.logits[1, -1, 7] = value
        return output

    broken.model.forward = fails_at_the_third_token
    requests = [generate.GenerationRequest(p, 4, model.render(broken.tokenizer, p)) for p in PROMPTS[:4]]
    endless = model.Checkpoint(broken.model, broken.tokenizer, frozenset(), broken.context, broken.name)
    says = rf"NaN or infinite: checkpoint {tmp_path}, prompt authored/B/1, sample 4, token 3; set precision"
    with pytest.raises(LimaError, match=says):
        generate.sampled(endless, requests, decoding())


def test_an_interrupted_run_repeats_the_rows_of_one_queue_and_gives_the_same_bytes(loaded, tmp_path, monkeypatch):
    def run(folder, settings=None, depends=("weights",)):
        batches = BatchCache(folder, depends) if folder else None
        settings = settings or decoding(batch_size=1)
        return list(
            generate.generate(loaded, PROMPTS, contestant="tiny", samples=2, decoding=settings, batches=batches)
        )

    whole, sampled, batches = run(None), generate.sampled, []

    def killed_in_the_third_queue(*args):
        batches.append(1)
        if len(batches) == 3:
            raise KeyboardInterrupt
        return sampled(*args)

    monkeypatch.setattr(generate, "sampled", killed_in_the_third_queue)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "kept")
    # 5 prompts, 2 samples: queues of 4, 4 and 2 rows; two are stored
    assert run(tmp_path / "kept") == whole
    assert len(batches) == 3 + 1
    assert run(tmp_path / "kept") == whole
    assert len(batches) == 4
    run(tmp_path / "kept", depends=("other weights",))
    assert len(batches) == 7


def test_a_dialogue_is_rendered_by_the_template_up_to_the_assistants_turn(loaded):
    turns = (Turn(role="user", content="a"), Turn(role="assistant", content="b"), Turn(role="user", content="c"))
    prompt = PROMPTS[0].model_copy(update={"messages": turns})
    expected = "<|start|>user\na<|eot|><|start|>assistant\nb<|eot|><|start|>user\nc<|eot|><|start|>assistant\n"
    assert loaded.tokenizer.decode(model.render(loaded.tokenizer, prompt)) == expected


def test_without_a_template_the_prompt_is_plain_text_and_an_empty_line(tmp_path):
    plain = model.load(tiny_model.save(tmp_path, template=None), precision="fp32")
    assert plain.tokenizer.decode(model.render(plain.tokenizer, PROMPTS[0])) == "Hi\n\n"
    assert len(generated(plain, max_tokens=3)) == len(PROMPTS)


def test_a_folder_without_weights_raises(tmp_path):
    folder = tiny_model.save(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        LimaError, match=rf"{folder} is not a Hugging Face folder: config\.json or \*\.safetensors is missing"
    ):
        model.load(folder, precision="fp32")


def test_the_random_generator_depends_on_seed_prompt_and_sample():
    first = generate.generator(17, "a", 0).random(3)
    assert np.array_equal(first, generate.generator(17, "a", 0).random(3))
    for other in (generate.generator(18, "a", 0), generate.generator(17, "b", 0), generate.generator(17, "a", 1)):
        assert not np.array_equal(first, other.random(3))


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_checkpoint_is_loaded_in_the_given_precision(tmp_path, precision, dtype):
    loaded = model.load(tiny_model.save(tmp_path), precision=precision)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {dtype}


def test_reasoning_blocks_are_removed_from_a_response(loaded, monkeypatch):
    monkeypatch.setattr(type(loaded.tokenizer), "decode", lambda *_, **__: "<think>a\nb</think>\n\nYes.")
    (response,) = generate.generate(loaded, PROMPTS[:1], contestant="tiny", samples=1, decoding=decoding(max_tokens=3))
    assert response.text == "Yes."
