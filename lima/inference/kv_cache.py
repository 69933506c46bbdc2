"""In-place key-value cache of a batch whose rows join and leave (continuous batching).

All rows end at the same slot and are padded on the left, so that the model's own attention masks apply. A step writes
in place, a row that joins is copied from the cache of its prefill, and the last row takes the place of one that leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedConfig
from transformers.cache_utils import CacheLayerMixin, DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

from lima.errors import LimaError

BLOCK = 128  # slots by which the buffers grow


@dataclass
class Slots:
    """The slots in use, shared by the layers of a cache."""

    place: Tensor  # (1,), the slot of the next token, on the model's device, where a CUDA graph reads it
    bucket: int  # attention reads a multiple of this many slots
    end: int = 0  # slots in use
    capacity: int = 0

    @property
    def width(self) -> int:
        """Number of slots that attention reads in the next step; the mask excludes those that are not in use."""
        return (self.end // self.bucket + 1) * self.bucket


class SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, each (rows, heads, slots, width of a head).

    It keeps all tokens of layers with a sliding window too; the model's mask excludes those before the window.
    """

    is_compileable = True  # so that the model makes the mask of a step without reading the values of tensors
    is_sliding = False
    keys: Tensor
    values: Tensor

    def __init__(self, slots: Slots, size: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.slots = slots
        self.size = size  # rows

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = self._zeros(key_states), self._zeros(value_states)
        self.is_initialized = True

    def _zeros(self, states: Tensor) -> Tensor:
        """An empty buffer; values that are masked must be finite."""
        return states.new_zeros(self.size, states.shape[1], self.slots.capacity, states.shape[3])

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write the newest token of the first rows, (rows, heads, 1, width); return all their keys and values."""
        keys, values = (buffer[: len(key_states), :, : self.slots.width] for buffer in (self.keys, self.values))
        keys.index_copy_(2, self.slots.place, key_states)
        values.index_copy_(2, self.slots.place, value_states)
        return keys, values

    def grow(self) -> None:
        """Copy to buffers of the present capacity."""
        old = self.keys, self.values
        self.lazy_initialization(*old)
        for buffer, before in zip((self.keys, self.values), old, strict=True):
            buffer[:, :, : before.shape[2]] = before

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.slots.width, 0

    def get_seq_length(self) -> Tensor:  # type: ignore[override]  # a CUDA graph reads it
        return self.slots.place

    def get_max_length(self) -> int:
        return -1


class SlotCache(Cache):
    """Keys, values and mask of at most `size` rows.

    Args:
        bucket: of the number of slots that attention reads. With 1 it reads those in use; CUDA graphs need few
            different numbers. Divides BLOCK.

    Raises:
        LimaError: the model has layers that do not cache keys and values, such as linear attention.
    """

    def __init__(self, config: PreTrainedConfig, size: int, device: torch.device, *, bucket: int) -> None:
        self.slots = Slots(torch.zeros(1, dtype=torch.long, device=device), bucket)
        self.lengths: list[int] = []  # tokens of each row
        self.mask = torch.ones(size, 0, dtype=torch.bool, device=device)  # (rows, slots)
        self.attention: list[SlotLayer] = []
        layers: list[Any] = DynamicCache(config=config).layers
        for number, layer in enumerate(layers):
            if type(layer) in (DynamicLayer, DynamicSlidingWindowLayer):
                self.attention.append(SlotLayer(self.slots, size))
                layers[number] = self.attention[-1]
            elif type(layer) is not DummyLayer:
                raise LimaError(
                    f"sampling does not support the model's cache: {type(layer).__name__}; serve the model with vLLM "
                    "and add a contestant of kind endpoint"
                )
        super().__init__(layers=layers)

    def prefill_cache(self) -> Cache:
        """An empty cache for a prefill, which keeps all tokens."""
        layers = [DynamicLayer() if isinstance(layer, SlotLayer) else layer for layer in self.layers]  # type: ignore[no-untyped-call]
        return Cache(layers=layers)

    def join(self, prefilled: Cache, rows: Sequence[int], lengths: Sequence[int]) -> None:
        """Append rows.

        Args:
            prefilled: the cache of prompts, padded on the left to the longest.
            rows: of `prefilled`; one may occur several times.
            lengths: tokens of these rows without padding.
        """
        kept, used, before = len(self.lengths), max(self.lengths, default=0), self.slots.end
        self.lengths += lengths
        self.slots.end = end = max(self.lengths)
        self._reserve()
        index = torch.tensor(rows, device=self.mask.device)
        for layer, new in zip(self.layers, prefilled.layers, strict=True):
            if not isinstance(layer, SlotLayer):
                continue
            assert isinstance(new, DynamicLayer)
            keys, values = cast(Tensor, new.keys), cast(Tensor, new.values)
            if not layer.is_initialized:
                layer.lazy_initialization(keys, values)
            for buffer, states in ((layer.keys, keys), (layer.values, values)):
                if end != before:
                    buffer[:kept, :, end - used : end] = buffer[:kept, :, before - used : before].clone()
                buffer[kept : len(self.lengths), :, end - states.shape[2] : end] = states[index]
        slots = torch.arange(self.slots.capacity, device=self.mask.device)
        starts = end - torch.tensor(self.lengths, device=self.mask.device)
        self.mask[: len(self.lengths)] = (slots >= starts[:, None]) & (slots < end)

    def leave(self, row: int) -> None:
        """Remove a row; the last row takes its place."""
        last = len(self.lengths) - 1
        if row != last:
            self.lengths[row] = self.lengths[last]
            for buffer in (self.mask, *(b for layer in self.attention for b in (layer.keys, layer.values))):
                buffer[row] = buffer[last]
        self.lengths.pop()

    def begin_step(self) -> None:
        """Make the next slot visible to all rows."""
        self._reserve()
        self.mask[: len(self.lengths), self.slots.end] = True
        self.slots.place.fill_(self.slots.end)

    def end_step(self) -> None:
        """Count the token that the model has written to each row."""
        self.slots.end += 1
        self.lengths = [length + 1 for length in self.lengths]

    def _reserve(self) -> None:
        """Grow the buffers if the next slot lies outside."""
        if self.slots.end < self.slots.capacity:
            return
        self.slots.capacity = (self.slots.end // BLOCK + 1) * BLOCK
        missing = self.slots.capacity - self.mask.shape[1]
        self.mask = torch.nn.functional.pad(self.mask, (0, missing), value=True)
        for layer in self.attention:
            if layer.is_initialized:
                layer.grow()
