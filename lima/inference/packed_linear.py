"""Linear layers on a CPU with weights packed once (oneDNN), for the small batches of decoding.

A decoding step multiplies one row per prompt with every weight matrix, and BLAS packs the matrix anew in each product.
Layers with the same input, such as the projections of attention, are one product.
"""

from collections import Counter
from functools import partial
from typing import TypeGuard

import torch
from torch import Tensor

SAME_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))  # names within a module


def pack(model: torch.nn.Module) -> None:
    """Replace forward() of the model's linear layers in fp32 on a CPU; other layers are unchanged.

    Weights are packed at the first call, and the unpacked ones are freed unless another module uses them, so that the
    model takes no more memory. Later changes of a weight have no effect.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    users = Counter(id(weight) for module in model.modules() for weight in module.parameters(recurse=False))
    groups: list[list[torch.nn.Linear]] = []
    for module in model.modules():
        for names in SAME_INPUT:
            layers = [layer for name in names if _packable(layer := getattr(module, name, None))]
            if len(layers) == len(names) and _alike(layers):
                groups.append(layers)
    grouped = {id(layer) for group in groups for layer in group}
    groups += [[module] for module in model.modules() if _packable(module) and id(module) not in grouped]
    for group in groups:
        product = _Product(group, shared=any(users[id(layer.weight)] > 1 for layer in group))
        for number, layer in enumerate(group):
            layer.forward = partial(product, number)  # type: ignore[method-assign]


def _packable(module: object) -> TypeGuard[torch.nn.Linear]:
    return (
        type(module) is torch.nn.Linear and module.weight.device.type == "cpu" and module.weight.dtype == torch.float32
    )


def _alike(layers: list[torch.nn.Linear]) -> bool:
    return len({(layer.in_features, layer.bias is None) for layer in layers}) == 1


class _Product:
    """One product of the layers' common input; calls with the same input take their parts of it."""

    def __init__(self, layers: list[torch.nn.Linear], *, shared: bool) -> None:
        self._layers = layers
        self._shared = shared  # another module uses the weights
        self._packed: Tensor | None = None
        self._bias: Tensor | None = None
        self._input: Tensor | None = None
        self._parts: tuple[Tensor, ...] = ()

    def __call__(self, number: int, x: Tensor) -> Tensor:
        if x is not self._input:
            if self._packed is None:
                self._pack()
            product = torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "")
            self._input, self._parts = x, product.split([layer.out_features for layer in self._layers], dim=-1)
        part = self._parts[number]
        if number == len(self._layers) - 1:
            self._input, self._parts = None, ()
        return part

    def _pack(self) -> None:
        with torch.inference_mode(False), torch.no_grad():
            weights = torch.cat([layer.weight for layer in self._layers])
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weights)
            if self._layers[0].bias is not None:
                self._bias = torch.cat([layer.bias for layer in self._layers])
            if not self._shared:
                for layer in self._layers:
                    layer.weight.data = layer.weight.new_empty(0)
