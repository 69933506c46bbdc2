"""Dumps at fsspec addresses (s3://, hf://, https://, file:// …), read as a stream without a local copy.

Readers take an address in place of a path: `RemotePath` has the part of pathlib's interface that they use. Only files
that are read from front to back, and Parquet files, are read in this way; an archive needs a local copy.
"""

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Self, cast

import fsspec
from fsspec.utils import get_protocol

from lima.sources.base import DumpError

STREAMED = frozenset(
    ("adversarial", "alpaca", "authored", "chat", "natural_instructions", "reddit", "released_lima")
)  # readers
VERSIONS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "oid", "size")  # names in a file's description


class Size(NamedTuple):
    st_size: int  # bytes


def is_address(name: str) -> bool:
    return "://" in name


def location(name: str) -> Path:
    """The path of a dump, or the address with the same interface. file:// is a local path."""
    if not is_address(name):
        return Path(name)
    if name.startswith("file://"):
        return Path(name.removeprefix("file://"))
    return cast(Path, RemotePath(name))


def require_local(path: Path, reader: str) -> None:
    """Raise DumpError if the path is an address and the reader cannot read from one."""
    if is_address(str(path)) and reader not in STREAMED:
        raise DumpError(f"the reader {reader} needs a local copy of {path}; download it and correct the path")


def version(path: Path) -> str:
    """What a server says about the version of a file: ETag, time of change, size; "" for a local path."""
    return path.version() if isinstance(path, RemotePath) else ""


class RemotePath:
    """A file or folder at an address.

    Raises:
        DumpError: in all methods, if the server does not answer, or not with the whole file.
    """

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        with self._reported():
            self._fs, self._name = fsspec.core.url_to_fs(self._address)
        self._pure = PurePosixPath(self._address.partition("://")[2].partition("?")[0].lstrip("/"))

    def __str__(self) -> str:
        return self._address

    def __repr__(self) -> str:
        return f"RemotePath({self._address!r})"

    def __hash__(self) -> int:
        return hash(self._address)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self._address == other._address

    def __lt__(self, other: Self) -> bool:
        return self._address < other._address

    @property
    def name(self) -> str:
        return self._pure.name

    @property
    def suffix(self) -> str:
        return self._pure.suffix

    @property
    def suffixes(self) -> list[str]:
        return self._pure.suffixes

    @property
    def parent(self) -> PurePosixPath:
        return self._pure.parent

    def relative_to(self, other: Self) -> PurePosixPath:
        return self._pure.relative_to(other._pure)

    def is_relative_to(self, other: Self) -> bool:
        return self._pure.is_relative_to(other._pure)

    def absolute(self) -> Self:
        return self

    def resolve(self) -> Self:
        return self

    def exists(self) -> bool:
        return bool(self._description())

    def is_file(self) -> bool:
        return self._description().get("type") == "file"

    def is_dir(self) -> bool:
        return self._description().get("type") == "directory"

    def stat(self) -> Size:
        """The size; 0 if the server does not give one."""
        return Size(self._description().get("size") or 0)

    def version(self) -> str:
        known = self._description()
        return json.dumps({name: str(known[name]) for name in VERSIONS if known.get(name) is not None})

    def iterdir(self) -> Iterator["RemotePath"]:
        with self._reported():
            names = self._fs.ls(self._name, detail=False)
        for name in names:
            if name.rstrip("/") != self._name:
                yield RemotePath(self._fs.unstrip_protocol(name))

    def open(self, mode: str = "rb", buffering: int = -1) -> io.BufferedReader:
        if mode != "rb":
            raise io.UnsupportedOperation(f"{self._address} is opened for reading bytes only")
        with self._reported():
            return io.BufferedReader(_Stream(self, self._fs.open(self._name, "rb")))

    def read_bytes(self) -> bytes:
        with self.open() as file:
            return file.read()

    def _description(self) -> dict[str, Any]:
        """What the server says about the file; empty if it is not there."""
        with self._reported():
            try:
                found: dict[str, Any] = self._fs.info(self._name)
            except FileNotFoundError as error:
                # fsspec raises it for any failed request over HTTP
                cause = error.__cause__
                if type(cause).__module__.startswith("aiohttp") and getattr(cause, "status", 0) != 404:
                    raise self.unreadable(error.__cause__) from error
                return {}
            return found

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except DumpError:
            raise
        except FileNotFoundError as error:
            raise DumpError(f"not found: {self._address}; correct the address") from error
        except ImportError as error:
            raise DumpError(f"cannot read {self._address}: {error}") from error
        except PermissionError as error:
            raise DumpError(
                f"access denied: {self._address}; set the credentials of {get_protocol(self._address)} as fsspec reads "
                "them"
            ) from error
        except (OSError, ValueError, EOFError) as error:
            raise self.unreadable(error) from error
        except Exception as error:
            # errors of clients share no class: aiohttp's and botocore's are known by their module
            if type(error).__module__.partition(".")[0] not in ("aiohttp", "botocore", "httpx", "huggingface_hub"):
                raise
            raise self.unreadable(error) from error

    def unreadable(self, error: BaseException | None) -> DumpError:
        reason = str(error) or type(error).__name__
        return DumpError(f"cannot read {self._address}: {reason}; check the address and the network, then start again")


class _Stream(io.RawIOBase):
    """A remote file. Errors of the connection, and an end before the announced size, raise DumpError."""

    def __init__(self, path: RemotePath, file: Any) -> None:
        super().__init__()
        self._path = path
        self._file = file
        self._size = getattr(file, "size", None)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable()) and self._size is not None

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with self._path._reported():
            self._at = self._file.seek(offset, whence)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with self._path._reported():
            block = self._file.read(len(buffer))
        if not block and self._size is not None and self._at < self._size:
            raise self._path.unreadable(EOFError(f"{self._at:,} of {self._size:,} bytes received"))
        buffer[: len(block)] = block
        self._at += len(block)
        return len(block)

    def close(self) -> None:
        self._file.close()
        super().close()
