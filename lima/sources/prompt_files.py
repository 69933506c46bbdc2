"""The first prompt of each row of a file, in any layout of chat rows or prompts, or a prompt a line of plain text."""

from pathlib import Path

from lima.sources import chat_layouts as layouts
from lima.sources import containers
from lima.sources.base import DumpError
from lima.sources.json_rows import RowError


def read(path: Path) -> list[str]:
    """The prompts of a file, or of every data file below a folder. Raises DumpError where a row has none."""
    if not path.exists():
        raise DumpError(f"there is no {path}; name a file with a prompt a row, or a folder of such files")
    found = []
    for file in containers.files(path):
        for row in containers.rows(file):
            try:
                if isinstance(row.value, RowError):
                    raise row.value
                prompt = layouts.first_prompt(row.value)
            except RowError as error:
                raise DumpError(f"{row.place} cannot be read: {error}; correct it, or fetch the file again") from error
            if not prompt:
                raise DumpError(
                    f"{row.place}: no prompt, but {layouts.keys([row.value])}; name the prompt "
                    f"{', '.join(layouts.PROMPTS)} or messages"
                )
            found.append(prompt)
    if not found:
        raise DumpError(f"{path} has no prompts; it should have a prompt a row")
    return found
