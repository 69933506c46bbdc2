"""Self-check of a model before its first training step: loss, packing, gradients, EOT, control tokens and positions.

Two short examples test whether the fused loss and the packed attention are exact for this model. The reference is the
model's own forward pass over each example alone, in evaluation mode, with transformers' eager attention. The tested
forward pass runs in training mode without residual dropout, so that any other dropout changes the loss. Both compute in
fp32, also with train.precision: bf16. Weights, gradients, modes and random states do not change.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.nn.functional import cross_entropy

from lima.config.sections import Train
from lima.errors import LimaError
from lima.records import Example, Turn
from lima.training import determinism, residual_dropout, tokenization
from lima.training.loss import LossModel
from lima.training.packing import pack
from lima.training.protocols import CausalLM, ChatTokenizer
from lima.training.tokenization import IGNORED, Encoded

LOSS_TOLERANCE = 1e-4  # relative, of the summed loss; the order of fp32 sums changes it by about 1e-6
GRADIENT_TOLERANCE = 1e-3  # relative, of each weight's gradient
BF16_TOLERANCE = 0.05  # relative, of the loss in bf16, which has 8 significant bits
NOISE = 1e-2  # fraction of the total gradient norm below which a weight's gradient may be rounding error
CONTROL_TOKENS = 32  # maximum number tested
TEXTS = (("Name a fruit.", "Plum."), ("Hi", "Hello!", "Bye", "See you."))  # user, assistant, user, …
OTHER_MODEL = "choose a base model of an architecture that docs/training.md lists as exact"


class SelfCheckFailed(LimaError):
    """Raised for a model that would train incorrectly; names the failed checks with their values."""


@dataclass(frozen=True)
class Check:
    name: str
    expected: str
    got: str
    tolerance: str
    passed: bool
    fix: str  # advice if it fails


@dataclass(frozen=True)
class LossAndGradients:
    """Summed loss (natural log) of the examples, and its gradients by name of the weight."""

    loss: float
    gradients: dict[str, torch.Tensor]


def require(model: CausalLM, tokenizer: ChatTokenizer, eot_id: int, *, recipe: Train, accelerator: Accelerator) -> None:
    """Run the checks on the main process; raise SelfCheckFailed on all processes if one fails."""
    outcome: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            outcome = [run(model, tokenizer, eot_id, recipe=recipe)]
        except LimaError as error:  # raised below on all processes
            outcome = [error]
    (checks,) = broadcast_object_list(outcome)
    if isinstance(checks, LimaError):
        raise checks
    failed = [check for check in checks if not check.passed]
    if failed:
        figures = "; ".join(f"{c.name}: expected {c.expected}, got {c.got} (tolerance {c.tolerance})" for c in failed)
        fixes = "; ".join(dict.fromkeys(check.fix for check in failed))
        raise SelfCheckFailed(f"{type(model).__name__} fails the self-check before training: {figures}; {fixes}")


@determinism.report_unsupported()
def run(model: CausalLM, tokenizer: ChatTokenizer, eot_id: int, *, recipe: Train) -> list[Check]:
    """Run all checks on a model prepared for training and not yet wrapped; only `positions` if they do not suffice."""
    positions = _positions(model, recipe)
    if not positions.passed:
        return [positions]
    complete = encoded(tokenizer, eot_id)
    cut = [Encoded(e.id, e.ids[: recipe.max_tokens], e.labels[: recipe.max_tokens], 0) for e in complete]
    with _unchanged(model), residual_dropout.disabled(model):
        own = _reference(model, cut)
        loss_model = LossModel(model).train()
        with torch.no_grad():
            unpacked = LossAndGradients(sum(float(loss_model(pack([example]))) for example in cut), {})
        packed = _measure(model, [loss_model(pack(cut))])
        checks = [
            _loss("loss equals the model's own", own, unpacked),
            _loss("packed loss equals unpacked loss", unpacked, packed),
            _gradients("packed gradients equal the model's own", own, packed),
        ]
        if recipe.precision == "bf16":
            with torch.no_grad(), torch.autocast(model.device.type, dtype=torch.bfloat16):
                rounded = LossAndGradients(float(loss_model(pack(cut))), {})
            checks.append(_loss("loss in bf16", own, rounded, tolerance=BF16_TOLERANCE))
    checks += [_eot_supervised(complete, eot_id), _eot_learned(model, eot_id, packed), _control(tokenizer, eot_id)]
    return [*checks, positions]


def encoded(tokenizer: ChatTokenizer, eot_id: int) -> list[Encoded]:
    """The examples of the check, untruncated."""
    return _encode(TEXTS, tokenizer, eot_id)


def _encode(dialogues: Sequence[Sequence[str]], tokenizer: ChatTokenizer, eot_id: int) -> list[Encoded]:
    examples = [
        Example.model_construct(
            id=f"self-check/{number}",
            messages=tuple(
                Turn(role="assistant" if index % 2 else "user", content=text) for index, text in enumerate(texts)
            ),
        )
        for number, texts in enumerate(dialogues, start=1)
    ]
    max_tokens = 2 * sum(
        len(text.encode()) + 20 for texts in dialogues for text in texts
    )  # upper bound: nothing is truncated
    return tokenization.encode(examples, tokenizer, eot_id=eot_id, max_tokens=max_tokens)


@contextmanager
def _unchanged(model: CausalLM) -> Iterator[None]:
    """Restore random state, modes, attention and output head after the block."""
    head, attention = model.get_output_embeddings(), model.config._attn_implementation
    forward = vars(head).get("forward")
    modes = [(module, module.training) for module in model.modules()]
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            _set_attention(model, attention)
            for module, training in modes:
                module.training = training
            vars(head).pop("forward", None)
            if forward is not None:
                vars(head)["forward"] = forward


def _set_attention(model: CausalLM, name: str) -> None:
    if model._can_set_attn_implementation() and model.config._attn_implementation != name:
        model.set_attn_implementation(name)


def _reference(model: CausalLM, examples: Sequence[Encoded]) -> LossAndGradients:
    """Loss and gradients from the model's own logits, one example at a time."""
    attention = model.config._attn_implementation
    _set_attention(model, "eager")
    model.eval()
    losses = []
    for example in examples:
        logits = model(input_ids=torch.tensor([example.ids], device=model.device), use_cache=False).logits[0, :-1]
        labels = torch.tensor(example.labels[1:], device=model.device)
        losses.append(cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="sum"))
    measured = _measure(model, losses)
    _set_attention(model, attention)
    return measured


def _measure(model: CausalLM, losses: Sequence[torch.Tensor]) -> LossAndGradients:
    total = torch.stack([loss.float() for loss in losses]).sum()
    weights = _compared(model)
    gradients = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
    pairs = zip(weights, gradients, strict=True)
    return LossAndGradients(float(total.detach()), {name: gradient for name, gradient in pairs if gradient is not None})


def _compared(model: CausalLM) -> dict[str, torch.Tensor]:
    """Trained weights of the first and last layers and outside the layers (such as embeddings)."""
    layers: dict[int, dict[str, torch.Tensor]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            layer = next((int(part) for part in name.split(".") if part.isdigit()), -1)
            layers.setdefault(layer, {})[name] = weight
    numbers = sorted(layer for layer in layers if layer >= 0)
    return {
        name: weight for layer in {-1, *numbers[:1], *numbers[-1:]} for name, weight in layers.get(layer, {}).items()
    }


def _loss(name: str, expected: LossAndGradients, got: LossAndGradients, *, tolerance: float = LOSS_TOLERANCE) -> Check:
    passed = abs(got.loss - expected.loss) <= tolerance * abs(expected.loss)  # False for NaN
    return Check(name, f"{expected.loss:.4f}", f"{got.loss:.4f}", f"{tolerance:g} (relative)", passed, OTHER_MODEL)


def _gradients(name: str, expected: LossAndGradients, got: LossAndGradients) -> Check:
    """Largest relative difference over the weights, ‖got − expected‖ / max(‖expected‖, NOISE · ‖all expected‖)."""
    total_norm = sum(float(gradient.norm()) ** 2 for gradient in expected.gradients.values()) ** 0.5
    worst, worst_weight = 0.0, "none differs"
    for weight in sorted(expected.gradients.keys() | got.gradients.keys()):
        zero = torch.zeros(())  # of a weight without gradient
        actual, reference = got.gradients.get(weight, zero), expected.gradients.get(weight, zero)
        difference = float((actual - reference).norm()) / max(
            float(reference.norm()), NOISE * total_norm, torch.finfo().tiny
        )
        if not difference <= worst:  # larger or NaN
            worst, worst_weight = difference, weight
    passed = worst <= GRADIENT_TOLERANCE
    return Check(name, "0", f"{worst:.1e} ({worst_weight})", f"{GRADIENT_TOLERANCE:g}", passed, OTHER_MODEL)


def _eot_supervised(examples: Sequence[Encoded], eot_id: int) -> Check:
    expected = sum(len(texts) // 2 for texts in TEXTS)  # one per response
    got = sum(example.labels.count(eot_id) for example in examples)
    fix = "correct the chat template of the base model's tokenizer"
    return Check("EOT ends each response, supervised", str(expected), str(got), "none", expected == got, fix)


def _eot_learned(model: CausalLM, eot_id: int, packed: LossAndGradients) -> Check:
    """Check that EOT's input and output embeddings receive a gradient."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    got = []
    for name, embeddings in (("input", model.get_input_embeddings()), ("output", model.get_output_embeddings())):
        gradient = packed.gradients.get(names[id(embeddings.weight)])
        norm = 0.0 if gradient is None else float(gradient[eot_id].norm())
        got.append((name, norm, embeddings.weight.requires_grad))
    text = ", ".join(f"{name} {norm:.2g}{'' if trained else ' (frozen)'}" for name, norm, trained in got)
    passed = all(norm > 0 and norm < float("inf") for _, norm, _ in got)
    fix = "let the embeddings of EOT be trained"
    return Check("EOT's embeddings get a gradient", "above 0", text, "none", passed, fix)


def _control(tokenizer: ChatTokenizer, eot_id: int) -> Check:
    """Check that control tokens spelled in a text are encoded without the token's id, or the row is rejected."""
    control = tokenization.control_ids(tokenizer)
    tokens = [tokenizer.convert_ids_to_tokens(token) for token in sorted(control - {eot_id})[:CONTROL_TOKENS]]
    active = []
    plain = _control_count(("a", "b"), tokenizer, eot_id, control)
    for token in tokens:
        try:
            count = _control_count((f"a {token} a", f"b {token} b"), tokenizer, eot_id, control)
        except tokenization.EncodingError:  # training rejects such rows
            continue
        if count != plain:
            active.append(token)
    got = f"{len(active)} of {len(tokens)} active" + (f": {', '.join(active)}" if active else "")
    fix = "use a tokenizer whose control tokens can be encoded as text"
    return Check("control tokens in texts are plain text", f"0 of {len(tokens)} active", got, "none", not active, fix)


def _control_count(texts: Sequence[str], tokenizer: ChatTokenizer, eot_id: int, control: frozenset[int]) -> int:
    (example,) = _encode([texts], tokenizer, eot_id)
    return sum(token in control for token in example.ids)


def _positions(model: CausalLM, recipe: Train) -> Check:
    """Check the number of positions; models with ALiBi have no limit."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    fix = f"set train.max_tokens to at most {limit}"
    passed = limit is None or limit >= recipe.max_tokens
    got = "no limit" if limit is None else str(limit)
    return Check("positions suffice for max_tokens", f"at least {recipe.max_tokens}", got, "none", passed, fix)
