"""Lines of XML tables, and layout normalization: UTF-8 bytes with one `<row …/>` per line for any input layout.

The readers of Posts.xml, Users.xml and Comments.xml work on lines, because published tables have one row per line. XML
does not require that. The layout is judged from the first `HEAD` bytes. In a regular table only what surrounds the rows
(declaration, comments, doctype, root tags) is overwritten with spaces, so that every row keeps its offset and its line
number. A table with several rows on a line, or with rows that span lines, is split into rows; a line number then counts
rows. A table in another encoding than UTF-8 is transcoded.
"""

import codecs
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from lima.sources.base import DumpError
from lima.sources.blocks import MOST, Fill

HEAD = MOST  # bytes from which the layout is judged; the longest row
CHUNK = 1 << 20  # bytes read at a time
LONGEST_TAG = 12  # bytes: `</comments>` plus one
TAIL = 1 << 16  # bytes at the end of a chunk that are searched for the start of its last element

_COMMENT, _INSTRUCTION = rb"<!--.*?-->", rb"<\?.*?\?>"
_DOCTYPE = rb"<!DOCTYPE[^\[>]*+(?:\[.*?\]\s*+)?+>"
_ROOT = rb"</?(?:posts|users|comments)\b[^<>]*+>"
_ATTRIBUTE = rb"\s++[^\s=<>\"'/]++\s*+=\s*+(?:\"[^\"<]*+\"|'[^'<]*+')"
HEADER = re.compile(
    rb"(?:\xef\xbb\xbf)?+(?:\s++|%s|%s|%s|%s)*+(?=<row\b)" % (_COMMENT, _INSTRUCTION, _DOCTYPE, _ROOT), re.DOTALL
)
FOOTER = re.compile(rb"(?:\s++|%s|%s)*+" % (_COMMENT, _INSTRUCTION), re.DOTALL)
CLOSING = re.compile(rb"</(?:posts|users|comments)\s*>")
TOKEN = re.compile(
    rb"(?P<space>\s++)|(?P<comment><!--)|(?P<around>\xef\xbb\xbf|%s|%s|%s)" % (_INSTRUCTION, _DOCTYPE, _ROOT)
    + rb"|(?P<row><row(?:%s)*+\s*+(?:/>|>\s*+</row\s*+>))" % _ATTRIBUTE,
    re.DOTALL,
)
MALFORMED_END = re.compile(rb"\n|<row\b|</?(?:posts|users|comments)\b|<!--")
DECLARED = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml\b[^>]*?\bencoding\s*=\s*[\"']([A-Za-z0-9._-]+)")
# Byte order marks, and the encodings of a leading `<`. UTF-32 precedes UTF-16, because its mark has the same prefix.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)

BOM = b"\xef\xbb\xbf"
LONGEST_AROUND = 100  # bytes of byte order mark, indentation and line end
FRAME = re.compile(rb"<\?|<!|</?(?:posts|users|comments)\b")  # declarations, comments and root tags


class Line(NamedTuple):
    number: int  # counted from 1
    raw: bytes


def one_row_a_line(fill: Fill, *, shown: str) -> Fill:
    """The table's bytes, normalized.

    Raises:
        DumpError: now or while reading, if the encoding is unknown or the bytes are not of that encoding.
    """
    head = read(fill, HEAD)
    fill = _joined(head, fill)
    if name := _encoding(head, shown):
        fill = _Transcoded(fill, name, shown)
        head = read(fill, HEAD)
        fill = _joined(head, fill)
    end = _header_end(head)
    if _irregular(head[end:]):
        return _Split(fill, shown)
    skipped = len(read(fill, end))
    header = _blank(head[:skipped])
    if header and header.rpartition(b"\n")[2] and not head[:skipped].rpartition(b"\n")[2].isspace():
        header = header[:-1] + b"\n"  # a row on the header's line
    return _Framed(_joined(header, fill))


def keeps_offsets(head: bytes, *, shown: str) -> bool:
    """Whether every row of a table stays at its offset, judged from the table's first `HEAD` bytes."""
    return not _encoding(head, shown) and not _irregular(head[_header_end(head) :])


def stream(fill: Fill) -> io.BufferedReader:
    return io.BufferedReader(_Stream(fill))


def lines(path: Path) -> Iterator[Line]:
    """The lines of rows; skips empty lines, declarations, comments and root tags.

    An overlong line is cut to a length that the row parser still rejects.
    """
    with (
        path.open("rb", buffering=0) as raw_file,
        stream(one_row_a_line(raw_file.readinto, shown=str(path))) as file,
        tqdm(total=path.stat().st_size, unit="B", unit_scale=True, disable=None) as bar,
    ):
        bar.set_description(path.name)
        number = 0
        while line := file.readline(MOST + LONGEST_AROUND):
            number += 1
            if raw := stripped(line):
                yield Line(number, raw)
            bar.update(len(line))
            while not line.endswith(b"\n") and (line := file.readline(MOST)):
                bar.update(len(line))


def stripped(line: bytes) -> bytes:
    """A line without byte order mark, indentation and line end; b"" if it is not a row."""
    raw = bare(line)
    return b"" if FRAME.match(raw) else raw


def bare(line: bytes) -> bytes:
    """A line without byte order mark, indentation and line end."""
    return line.removeprefix(BOM).strip()


def read(fill: Fill, size: int) -> bytes:
    """Read `size` bytes; fewer only at the end of the stream."""
    buffer = bytearray(size)
    view, filled = memoryview(buffer), 0
    while filled < size and (count := fill(view[filled:])):
        filled += count
    return bytes(view[:filled])


def _encoding(head: bytes, shown: str) -> str | None:
    """The encoding from which the table must be transcoded; None for UTF-8.

    A declared UTF-16 is ignored if the bytes are not UTF-16: `iconv` does not change the declaration.
    """
    if name := next((name for mark, name in MARKS if head.startswith(mark)), None):
        return name
    if not (declared := DECLARED.match(head)):
        return None
    try:
        name = codecs.lookup(declared[1].decode()).name
    except LookupError as error:
        raise DumpError(
            f"unknown encoding in {shown}: {declared[1].decode()!r}; "
            f"convert the table: iconv -f ENCODING -t UTF-8 {shown}"
        ) from error
    return None if name.startswith(("utf", "ascii")) else name


def _header_end(head: bytes) -> int:
    header = HEADER.match(head)
    return header.end() if header else 0


def _irregular(body: bytes) -> bool:
    """Whether an element starts within a line, or a row or comment spans lines."""
    for line in body.splitlines(keepends=True):
        text = line.strip()
        if text.find(b"<", 1) >= 0:
            return True
        row_goes_on = text.startswith(b"<row") and not text.endswith(b">")
        comment_goes_on = text.startswith(b"<!--") and b"-->" not in text
        if line.endswith(b"\n") and (row_goes_on or comment_goes_on):
            return True
    return False


def _blank(raw: bytes) -> bytes:
    """Replace everything except line ends with spaces."""
    return re.sub(rb"[^\r\n]", b" ", raw)


def _joined(head: bytes, fill: Fill) -> Fill:
    """A stream that yields `head` first."""
    rest = memoryview(head)

    def joined(view: memoryview) -> int:
        nonlocal rest
        if not rest:
            return fill(view)
        size = min(len(rest), len(view))
        view[:size] = rest[:size]
        rest = rest[size:]
        return size

    return joined


class _Stream(io.RawIOBase):
    def __init__(self, fill: Fill) -> None:
        super().__init__()
        self._fill = fill

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._fill(memoryview(buffer))


class _Transcoded:
    """A stream as UTF-8."""

    def __init__(self, fill: Fill, encoding: str, shown: str) -> None:
        self._fill, self._encoding, self._shown = fill, encoding, shown
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._output = bytearray()
        self._ended = False

    def __call__(self, view: memoryview) -> int:
        while not self._output and not self._ended:
            chunk = read(self._fill, CHUNK)
            self._ended = not chunk
            try:
                self._output += self._decoder.decode(chunk, final=self._ended).encode()
            except UnicodeError as error:
                raise DumpError(
                    f"{self._shown} is not valid {self._encoding}: {error}; download it again "
                    f"or convert it: iconv -f {self._encoding} -t UTF-8 {self._shown}"
                ) from error
        return _take(self._output, view)


class _Framed:
    """A table of one row a line, without its closing tag and the comments after it. Every row keeps its offset."""

    def __init__(self, fill: Fill) -> None:
        self._fill = fill

    def __call__(self, view: memoryview) -> int:
        count = self._fill(view)
        tail = bytes(view[max(0, count - TAIL) : count])
        last = tail.rfind(b"<")
        if last < 0:
            return count
        begun = tail[last:]
        if len(begun) < LONGEST_TAG:
            ahead = read(self._fill, LONGEST_TAG)
            self._fill = _joined(ahead, self._fill)
            begun += ahead
        if not begun.startswith(b"<row"):
            self._close(view, count, begun[len(tail) - last :])
        return count

    def _close(self, view: memoryview, count: int, ahead: bytes) -> None:
        """Overwrite a closing tag in what was read, and what follows the tag if it is only comments."""
        if not CLOSING.search(bytes(view[:count]) + ahead):
            return
        text = bytes(view[:count]) + read(self._fill, HEAD)
        for closing in CLOSING.finditer(text):
            start, end = closing.span()
            row_before = text[:start].rpartition(b"\n")[2].strip()
            tag = b"\n" + b" " * (end - start - 1) if row_before else b" " * (end - start)
            after = text[end:]
            text = text[:start] + tag + (_blank(after) if FOOTER.fullmatch(after) else after)
        view[:count] = text[:count]
        self._fill = _joined(text[count:], self._fill)


class _Split:
    """A table of any layout as rows, each on a line of its own.

    Line numbers are unchanged up to the first line with several rows. Malformed input is passed on unchanged, up to the
    end of its line, and the exact parser rejects it.
    """

    def __init__(self, fill: Fill, shown: str) -> None:
        self._fill, self._shown = fill, shown
        self._pending = b""
        self._output = bytearray()
        self._line_empty = True
        self._in_comment = self._ended = False

    def __call__(self, view: memoryview) -> int:
        while not self._output and not self._ended:
            chunk = read(self._fill, CHUNK)
            self._ended = not chunk
            self._pending = self._split(self._pending + chunk)
            if self._ended and self._in_comment:
                raise DumpError(f"{self._shown} is truncated: it ends within a comment; download it again")
        return _take(self._output, view)

    def _split(self, data: bytes) -> bytes:
        """Write complete tokens; returns the rest."""
        at = 0
        while at < len(data):
            if self._in_comment:
                if (end := data.find(b"-->", at)) < 0:
                    rest = data[max(at, len(data) - 2) :]
                    self._lines(data[at : len(data) - len(rest)])
                    return rest
                self._lines(data[at:end])
                self._in_comment, at = False, end + 3
            elif token := TOKEN.match(data, at):
                if token["row"]:
                    self._write(token["row"])
                elif token["comment"]:
                    self._in_comment = True
                else:
                    self._lines(token[0])
                at = token.end()
            else:
                end = self._malformed_end(data, at)
                if end < 0:
                    return data[at:]
                self._write(data[at:end])
                at = end
        return b""

    def _malformed_end(self, data: bytes, at: int) -> int:
        """End of a malformed token; -1 if more bytes are needed. A row can contain line ends but not `<`."""
        whole = self._ended or len(data) - at > 2 * MOST
        following = data.find(b"<", at + 1)  # may begin the `</row>` that completes the row
        if (
            not whole
            and (following < 0 or len(data) - following < LONGEST_TAG)
            and data.startswith((b"<", b"\xef"), at)
        ):
            return -1
        end = MALFORMED_END.search(data, at + 1)
        if end:
            return end.start()
        return len(data) if whole else -1

    def _write(self, row: bytes) -> None:
        if not self._line_empty:
            self._output += b"\n"
        count = row.count(b"\n")
        # XML reads a line end within a value as a space
        self._output += row.replace(b"\r\n", b" ").replace(b"\n", b" ") if count else row
        self._line_empty = False
        self._lines(row)

    def _lines(self, raw: bytes) -> None:
        """Write the line ends of `raw`, so that line numbers are unchanged."""
        if count := raw.count(b"\n"):
            self._output += b"\n" * count
            self._line_empty = True


def _take(output: bytearray, view: memoryview) -> int:
    """Move bytes from the front of `output` into `view`."""
    size = min(len(output), len(view))
    view[:size] = output[:size]
    del output[:size]
    return size
