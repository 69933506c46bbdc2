"""Lines of files that are compressed with zstd, as Reddit's monthly dumps are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from lima.sources.reading import DumpError

WINDOW = 2**31  # bytes; the monthly dumps need it, zstandard's own limit is 2^27


def lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Each line, without its end, and its place, FILE:LINE. Raises DumpError where the file is cut short or damaged"""
    number, rest = 0, b""
    try:
        for text in _decompressed(path):
            *whole, rest = (rest + text).split(b"\n")
            for line in whole:
                number += 1
                yield f"{path}:{number}", line.rstrip(b"\r")
    except (zstandard.ZstdError, EOFError) as error:
        where = f"after line {number}" if number else "at its start"
        raise DumpError(f"{path} is cut short or damaged {where} ({error}); fetch it again") from error
    if rest:
        number += 1
        yield f"{path}:{number}", rest.rstrip(b"\r")
    if not number:
        raise DumpError(f"{path} is empty; fetch it again, or take it away")


def _decompressed(path: Path) -> Iterator[bytes]:
    """The bytes of all frames; a frame that does not end is an EOFError, which zstandard's own reader passes over."""
    frame: Any = None
    with path.open("rb") as file:
        while packed := file.read(zstandard.DECOMPRESSION_RECOMMENDED_INPUT_SIZE):
            while packed:
                if frame is None or frame.eof:
                    frame = zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj()
                yield frame.decompress(packed)
                packed = frame.unused_data if frame.eof else b""
        if frame is not None and not frame.eof:
            raise EOFError(f"the last of {file.tell()} bytes ends no frame")
