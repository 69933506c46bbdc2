"""Cache of rejected examples below work/, shared by the arms that draw from the same pool.

An entry is named by a digest of everything that it depends on: the settings, the texts, the code and the versions of
libraries. Arms that differ only in the number of examples share one entry.
"""

import tempfile
import unicodedata
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import xxhash

from lima import jsonl, records, storage
from lima.curation import decontamination, dedup, mixture, sampling
from lima.curation.decontamination import Rejection
from lima.text import normalize

MODULES = (decontamination, dedup, mixture, normalize, records, sampling)
MOST_ENTRIES = 32  # older entries are removed
BLOCK = 1 << 20  # bytes


def rejections(
    compute: Callable[[], Iterable[Rejection]], *, settings: Iterable[str], texts: Iterable[str], files: Iterable[Path]
) -> list[Rejection]:
    """Return the cached result of `compute`, or compute and cache it.

    Args:
        compute: The function whose result is cached.
        settings: The function's name and settings.
        texts: Texts that the result depends on.
        files: Files that it depends on, by content.
    """
    store = storage.kept_dir("mix", "pool")
    entry = store / f"{_digest(settings, texts, files)}.jsonl"
    if entry.exists():
        return list(jsonl.read(entry, Rejection))
    computed = list(compute())
    store.mkdir(parents=True, exist_ok=True)
    # a working folder of its own: several arms may compute the same entry at the same time
    with storage.report_disk_full(store), tempfile.TemporaryDirectory(dir=store) as working:
        jsonl.write(Path(working, entry.name), computed)
        Path(working, entry.name).replace(entry)
    entries = sorted(store.glob("*.jsonl"), key=lambda path: (path != entry, -path.stat().st_mtime))
    for old in entries[MOST_ENTRIES:]:
        old.unlink(missing_ok=True)
    return computed


def _digest(settings: Iterable[str], texts: Iterable[str], files: Iterable[Path]) -> str:
    total = xxhash.xxh3_128()
    code = [Path(str(module.__file__)) for module in (*MODULES,)]
    for part in (version("rensa"), unicodedata.unidata_version, *settings):
        _add(total, part)
    for path in (*code, *files):
        _add(total, _file_digest(path))
    for text in texts:
        _add(total, text)
    return total.hexdigest()


def _add(total: xxhash.xxh3_128, part: str) -> None:
    encoded = part.encode("utf-8", "surrogatepass")
    total.update(f"{len(encoded)}:".encode() + encoded)


def _file_digest(path: Path) -> str:
    total = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK):
            total.update(block)
    return total.hexdigest()
