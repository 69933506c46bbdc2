"""Self-check of a model before its first training step: loss, packing, gradients, EOT, control tokens and positions.

Two short examples show whether the fused loss and the packed attention are exact for this very model. The reference
is the model's own forward pass over each example alone, in evaluation mode, with transformers' eager attention. Ours
runs in training mode without residual dropout, so that a dropout of the base's own shows as a wrong loss. Both compute
in fp32, whatever train.precision is; weights, gradients, modes and random numbers are left as they are.
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
from lima.training import residual_dropout, tokenization
from lima.training.loss import LossModel
from lima.training.packing import pack
from lima.training.tokenization import IGNORED, Encoded

LOSS_TOLERANCE = 1e-4  # relative, of a loss summed over the examples; fp32 sums in another order differ by about 1e-6
GRADIENT_TOLERANCE = 1e-3  # relative, of each weight's gradient
BF16_TOLERANCE = 0.05  # relative, of the loss computed in bf16, whose numbers have 8 bits
NOISE = 1e-2  # share of all gradients' norm below which one weight's gradient may be rounding alone
CONTROL_TOKENS = 32  # at most, that are tried
TEXTS = (("Name a fruit.", "Plum."), ("Hi", "Hello!", "Bye", "See you."))  # user, assistant, user, …
OTHER_MODEL = "choose a base model of an architecture that docs/training.md lists as exact"


class SelfCheckFailed(LimaError):
    """A model that would train wrongly; names the failed checks with their figures."""


@dataclass(frozen=True)
class Check:
    name: str
    expected: str
    got: str
    tolerance: str
    passed: bool
    fix: str  # what to do where it fails


@dataclass(frozen=True)
class Measured:
    """Summed loss (natural log) of the examples, and its gradients by the weight's name."""

    loss: float
    gradients: dict[str, torch.Tensor]


def require(model: Any, tokenizer: Any, eot_id: int, *, recipe: Train, accelerator: Accelerator) -> None:
    """Run the checks on the main process; raise SelfCheckFailed on all processes if one fails."""
    outcome: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            outcome = [run(model, tokenizer, eot_id, recipe=recipe)]
        except LimaError as error:  # raised below, by all processes
            outcome = [error]
    (checks,) = broadcast_object_list(outcome)
    if isinstance(checks, LimaError):
        raise checks
    failed = [check for check in checks if not check.passed]
    if failed:
        figures = "; ".join(f"{c.name}: expected {c.expected}, got {c.got} (tolerance {c.tolerance})" for c in failed)
        fixes = "; ".join(dict.fromkeys(check.fix for check in failed))
        raise SelfCheckFailed(f"{type(model).__name__} fails the self-check before training: {figures}; {fixes}")


def run(model: Any, tokenizer: Any, eot_id: int, *, recipe: Train) -> list[Check]:
    """All checks of a model that is ready for training and not yet wrapped; only the first if positions are too few."""
    positions = _positions(model, recipe)
    if not positions.passed:
        return [positions]
    whole = encoded(tokenizer, eot_id)
    cut = [Encoded(e.id, e.ids[: recipe.max_tokens], e.labels[: recipe.max_tokens], 0) for e in whole]
    with _unchanged(model), residual_dropout.disabled(model):
        own = _own(model, cut)
        learner = LossModel(model).train()
        with torch.no_grad():
            apart = Measured(sum(float(learner(pack([example]))) for example in cut), {})
        packed = _measure(model, [learner(pack(cut))])
        checks = [
            _loss("loss equals the model's own", own, apart),
            _loss("packed loss equals apart", apart, packed),
            _gradients("packed gradients equal the model's own", own, packed),
        ]
        if recipe.precision == "bf16":
            with torch.no_grad(), torch.autocast(model.device.type, dtype=torch.bfloat16):
                rounded = Measured(float(learner(pack(cut))), {})
            checks.append(_loss("loss in bf16", own, rounded, tolerance=BF16_TOLERANCE))
    checks += [_eot_supervised(whole, eot_id), _eot_learned(model, eot_id, packed), _control(tokenizer, eot_id)]
    return [*checks, positions]


def encoded(tokenizer: Any, eot_id: int) -> list[Encoded]:
    """The examples of the check, whole."""
    return _encode(TEXTS, tokenizer, eot_id)


def _encode(dialogues: Sequence[Sequence[str]], tokenizer: Any, eot_id: int) -> list[Encoded]:
    examples = [
        Example.model_construct(
            id=f"self-check/{number}",
            messages=tuple(
                Turn(role="assistant" if place % 2 else "user", content=text) for place, text in enumerate(texts)
            ),
        )
        for number, texts in enumerate(dialogues, start=1)
    ]
    longest = 2 * sum(len(text.encode()) + 20 for texts in dialogues for text in texts)  # tokens: nothing is cut
    return tokenization.encode(examples, tokenizer, eot_id=eot_id, max_tokens=longest)


@contextmanager
def _unchanged(model: Any) -> Iterator[None]:
    """Restore random numbers, modes, attention and output head after the block."""
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
                head.forward = forward


def _set_attention(model: Any, name: str) -> None:
    if model._can_set_attn_implementation() and model.config._attn_implementation != name:
        model.set_attn_implementation(name)


def _own(model: Any, examples: Sequence[Encoded]) -> Measured:
    """From the model's own logits, each example alone."""
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


def _measure(model: Any, losses: Sequence[torch.Tensor]) -> Measured:
    total = torch.stack([loss.float() for loss in losses]).sum()
    weights = _compared(model)
    gradients = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
    pairs = zip(weights, gradients, strict=True)
    return Measured(float(total.detach()), {name: gradient for name, gradient in pairs if gradient is not None})


def _compared(model: Any) -> dict[str, torch.Tensor]:
    """Trained weights of the first and the last layer, and those outside the layers, the embeddings among them."""
    layers: dict[int, dict[str, torch.Tensor]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            layer = next((int(part) for part in name.split(".") if part.isdigit()), -1)
            layers.setdefault(layer, {})[name] = weight
    inside = sorted(layer for layer in layers if layer >= 0)
    return {name: weight for layer in {-1, *inside[:1], *inside[-1:]} for name, weight in layers.get(layer, {}).items()}


def _loss(name: str, expected: Measured, got: Measured, *, tolerance: float = LOSS_TOLERANCE) -> Check:
    passed = abs(got.loss - expected.loss) <= tolerance * abs(expected.loss)  # False if a loss is not a number
    return Check(name, f"{expected.loss:.4f}", f"{got.loss:.4f}", f"{tolerance:g} of it", passed, OTHER_MODEL)


def _gradients(name: str, expected: Measured, got: Measured) -> Check:
    """The largest relative difference, ‖got − expected‖ / max(‖expected‖, NOISE · ‖all expected‖), of a weight."""
    whole = sum(float(gradient.norm()) ** 2 for gradient in expected.gradients.values()) ** 0.5
    worst, where = 0.0, "none differs"
    for weight in sorted(expected.gradients.keys() | got.gradients.keys()):
        zero = torch.zeros(())  # a weight that takes no part
        ours, own = got.gradients.get(weight, zero), expected.gradients.get(weight, zero)
        difference = float((ours - own).norm()) / max(float(own.norm()), NOISE * whole, torch.finfo().tiny)
        if not difference <= worst:  # larger, or not a number
            worst, where = difference, weight
    passed = worst <= GRADIENT_TOLERANCE
    return Check(name, "0", f"{worst:.1e} ({where})", f"{GRADIENT_TOLERANCE:g}", passed, OTHER_MODEL)


def _eot_supervised(examples: Sequence[Encoded], eot_id: int) -> Check:
    expected = sum(len(texts) // 2 for texts in TEXTS)  # a response each
    got = sum(example.labels.count(eot_id) for example in examples)
    fix = "correct the chat template of the base model's tokenizer"
    return Check("EOT ends each response, supervised", str(expected), str(got), "none", expected == got, fix)


def _eot_learned(model: Any, eot_id: int, packed: Measured) -> Check:
    """The embedding of EOT gets a gradient, at the input and at the output."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    got = []
    for place, embeddings in (("input", model.get_input_embeddings()), ("output", model.get_output_embeddings())):
        gradient = packed.gradients.get(names[id(embeddings.weight)])
        norm = 0.0 if gradient is None else float(gradient[eot_id].norm())
        got.append((place, norm, embeddings.weight.requires_grad))
    text = ", ".join(f"{place} {norm:.2g}{'' if trained else ' (frozen)'}" for place, norm, trained in got)
    passed = all(norm > 0 and norm < float("inf") for _, norm, _ in got)
    fix = "let the embeddings of EOT be trained"
    return Check("EOT's embeddings get a gradient", "above 0", text, "none", passed, fix)


def _control(tokenizer: Any, eot_id: int) -> Check:
    """Control tokens that a text spells are plain text: encoded without the token's id, or the row is refused."""
    control = tokenization.control_ids(tokenizer)
    tokens = [tokenizer.convert_ids_to_tokens(token) for token in sorted(control - {eot_id})[:CONTROL_TOKENS]]
    active = []
    plain = _control_count(("a", "b"), tokenizer, eot_id, control)
    for token in tokens:
        try:
            count = _control_count((f"a {token} a", f"b {token} b"), tokenizer, eot_id, control)
        except tokenization.EncodingError:  # training refuses such rows by name
            continue
        if count != plain:
            active.append(token)
    got = f"{len(active)} of {len(tokens)} active" + (f": {', '.join(active)}" if active else "")
    fix = "use a tokenizer whose control tokens can be encoded as text"
    return Check("control tokens in texts are plain text", f"0 of {len(tokens)} active", got, "none", not active, fix)


def _control_count(texts: Sequence[str], tokenizer: Any, eot_id: int, control: frozenset[int]) -> int:
    (example,) = _encode([texts], tokenizer, eot_id)
    return sum(token in control for token in example.ids)


def _positions(model: Any, recipe: Train) -> Check:
    """Absent in models without a limit, such as those with ALiBi."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    fix = f"set train.max_tokens to at most {limit}"
    passed = limit is None or limit >= recipe.max_tokens
    got = "no limit" if limit is None else str(limit)
    return Check("positions suffice for max_tokens", f"at least {recipe.max_tokens}", got, "none", passed, fix)
