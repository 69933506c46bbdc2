"""Tensor files of a training state: safetensors, with their SHA-256 computed while they are written."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from lima.training import fingerprint

FILE_BYTES = 4 * 2**30  # of a file, unless one tensor is larger
ALIGNMENT = 8  # bytes; the length of a header is a multiple


def write(path: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    """Write fp32 tensors of the CPU to a safetensors file on disk; return the file's SHA-256, hexadecimal.

    Neither copies the tensors nor reads the file again; other threads run meanwhile.
    """
    if wrong := [name for name, tensor in tensors.items() if tensor.dtype != torch.float32]:
        raise TypeError(f"not fp32: {', '.join(wrong)}")
    arrays = {name: tensor.contiguous().numpy() for name, tensor in tensors.items()}
    entries, end = {}, 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        entries[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % ALIGNMENT)
    contents: list[bytes | memoryview] = [len(header).to_bytes(8, "little"), header]
    contents += [array.reshape(-1).data for array in arrays.values()]
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for content in contents:
            file.write(content)
            digest.update(content)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def write_all(folder: Path, stem: str, tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[str, str]:
    """Write tensors to files of at most FILE_BYTES, or of one larger tensor; return the digests by file name.

    Args:
        stem: Beginning of the files' names: STEM-00001.safetensors, STEM-00002.safetensors, …
        tensors: Names and tensors, which are released once they are written.
    """
    digests: dict[str, str] = {}
    pending: dict[str, torch.Tensor] = {}

    def write_pending() -> None:
        name = f"{stem}-{len(digests) + 1:05}.safetensors"
        digests[name] = write(folder / name, pending)
        pending.clear()

    for name, tensor in tensors:
        if pending and sum(waiting.nbytes for waiting in pending.values()) + tensor.nbytes > FILE_BYTES:
            write_pending()
        pending[name] = tensor.to("cpu")
    if pending:
        write_pending()
    return digests


def changed(folder: Path, expected: Mapping[str, str]) -> list[str]:
    """Names of the files that are missing or have another digest."""

    def differs(name: str) -> bool:
        return not (folder / name).is_file() or fingerprint.digest(folder / name) != expected[name]

    with ThreadPoolExecutor() as threads:  # hashing does not hold the interpreter's lock
        return [name for name, wrong in zip(expected, threads.map(differs, expected), strict=True) if wrong]
