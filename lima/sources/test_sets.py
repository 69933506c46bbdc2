"""Public test sets as they are published, which no arm may train on: every text of the user, in any known layout."""

from collections.abc import Iterator
from pathlib import Path

from lima.sources import chat_layouts as layouts
from lima.sources import containers
from lima.sources.base import DumpError
from lima.sources.json_rows import RowError


def read(path: Path) -> Iterator[tuple[str, str]]:
    """Each prompt of a file, or of every file below a folder, after its place, FILE:ROW. Raises DumpError"""
    for file in containers.files(path):
        empty = True
        for row in containers.rows(file):
            empty = False
            try:
                if isinstance(row.value, RowError):
                    raise row.value
                texts = layouts.user_texts(row.value)
            except RowError as error:
                raise DumpError(f"{row.place} cannot be read: {error}; correct it, or fetch the file again") from error
            if not texts:
                raise DumpError(
                    f"{row.place} has no prompt but {layouts.keys([row.value])}; name the prompt "
                    f"{', '.join(layouts.PROMPTS)} or messages, or take the file out of params.yaml's mix.test_sets"
                )
            yield from ((row.place, text) for text in texts)
        if empty:
            raise DumpError(f"{file} has no rows; fetch it again, or take it away")
