"""Attention keys of an epoch, and operations of a layer, counted without a GPU."""

import torch

from benchmarks.device import counts
from benchmarks.device.records import TINY
from benchmarks.device.sections import ALL, recipe

TRAIN = recipe(TINY, micro_batch_tokens=64, **ALL)


def test_each_example_has_a_key_of_its_own_and_a_row_has_one():
    keys = counts.attention_keys([5, 3, 5], per_row=False)
    assert len(keys) == 3
    assert keys[0] == keys[2] != keys[1]
    # (rows, heads, tokens, width); the strides are those of the row of 13 tokens
    assert keys[1][0] == ((1, 1, 3, 8), (13 * 8, 8, 8, 1))
    assert counts.attention_keys([5, 3], per_row=False)[0] != keys[0]  # the same example in another row
    assert len(counts.attention_keys([5, 3, 5], per_row=True)) == 1


def test_a_layer_with_all_changes_copies_nothing_around_attention_and_adds_gradients_in_place():
    operations = counts._layer(TINY, TRAIN, per_row=True)["operations"]
    assert operations["variable-length attention"] == operations["variable-length attention, backward"] == 1
    assert not {"aten.clone.default", "aten.select_backward.default", "aten.slice_backward.default"} & set(operations)
    # seven matrices and two norms; a matrix product for each matrix forward, and two backward
    assert operations["aten.add_.Tensor"] == 7 + 2
    assert operations["aten.mm.default"] == 3 * 7
    # each matrix is cast to bf16, and its gradient to fp32
    assert operations["aten._to_copy.default"] == 2 * 7


def test_selective_checkpointing_computes_no_matrix_product_and_no_attention_again():
    selective = TRAIN.model_copy(update={"gradient_checkpointing": "selective"})
    record = counts._layer(TINY, selective, per_row=False)
    assert record["operations"]["aten.mm.default"] == 3 * 7
    # one call per example: the row has as many calls forward as backward
    forward = record["operations"]["aten._scaled_dot_product_flash_attention_for_cpu.default"]
    assert forward == record["operations"]["aten._scaled_dot_product_flash_attention_for_cpu_backward.default"]
    whole = counts._layer(TINY, selective.model_copy(update={"gradient_checkpointing": True}), per_row=False)
    assert whole["operations"]["aten.mm.default"] == 4 * 7 - 1  # the output of the last product is not needed


def test_bytes_are_those_that_an_operation_reads_and_writes():
    with counts.Dispatched() as dispatched:
        torch.ones(4, 2) + torch.ones(4, 2)
        torch.ones(4, 2).view(8)
    assert dispatched.operations["aten.add.Tensor"] == 1
    assert dispatched.bytes["aten.add.Tensor"] == 3 * 8 * 4
    assert not any("view" in name for name in dispatched.operations)
