"""Finished parts of an interrupted generation, so that a killed run repeats one part at most.

A response depends on the rows decoded with it through rounding. So all rows that share batches are stored together,
and a rerun gives the same bytes.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from lima import jsonl
from lima.records import Response

CODE = Path(__file__).parent  # a change of the generation code makes the stored batches invalid


class BatchCache:
    """Stores batches as JSONL files.

    Args:
        folder: of the files; the caller removes it after its result is published.
        depends: everything besides the batch that the responses depend on, such as the digest of the weights.
    """

    def __init__(self, folder: Path, depends: Sequence[str]) -> None:
        self._folder = folder
        self._depends = [*depends, version("torch"), version("transformers")]

    def responses(self, batch: Sequence[str], generate: Callable[[], Iterable[Response]]) -> list[Response]:
        """Return the stored responses of a batch, or generate and store them."""
        key = hashlib.sha256(json.dumps([self._depends, batch]).encode()).hexdigest()
        path = self._folder / f"{key}.jsonl"
        if not path.exists():
            jsonl.write(path, generate())
        return list(jsonl.read(path, Response))


def files_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the files in a folder, hexadecimal."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.glob("*") if path.is_file()):
        with path.open("rb") as content:
            digest.update(f"{path.name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
