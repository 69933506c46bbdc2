# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Tables of one element a line, `<row NAME="VALUE" … />`, read on bytes: where values lie, what numbers and texts they are.

A quotation mark cannot stand inside a value, so the marks tell where values lie. What is not certain is not judged here
but left to an exact parser: a name that is unknown or comes twice, a character that XML forbids, a number of more than
eighteen digits, a reference to anything but a character, what is no row at all.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

import numpy as np

cdef enum:
    MOST_NAMES = 64
    MOST_DIGITS = 18
    MOST_REFERENCE = 10  # characters of `&#x10ffff;`

ctypedef const uint8_t* Bytes

cdef uint8_t[256] PLAIN  # bytes of a value that mean themselves
for byte in range(256):
    PLAIN[byte] = byte >= 32 and byte not in b'"&<\xef'

cdef struct Name:
    Bytes text
    Py_ssize_t size
    int number  # its place among the numbers, -1 where it is none
    bint told  # whether it is among the texts
    int next  # the name that came after it last time: rows tell their attributes in the same order


cdef class Names:
    """The attributes that a table's rows may have; which of them `scan` reads as numbers, and `attributes` as texts."""

    cdef readonly tuple names
    cdef readonly tuple numbers
    cdef readonly tuple texts
    cdef Name known[MOST_NAMES]
    cdef int count
    cdef int first  # the name that came first last time
    cdef bytes spelt

    def __init__(self, *names, numbers=(), texts=()):
        if not 0 < len(names) <= MOST_NAMES or len(set(names)) < len(names) or not {*numbers, *texts} <= set(names):
            raise ValueError(
                f"1 to {MOST_NAMES} names, each once, numbers and texts among them: {names}, {numbers}, {texts}"
            )
        self.names, self.numbers, self.texts = names, tuple(numbers), tuple(texts)
        self.count, self.first = len(names), 0
        self.spelt = "".join(names).encode()
        cdef Bytes at = <Bytes>PyBytes_AS_STRING(self.spelt)
        for n, name in enumerate(names):
            number = self.numbers.index(name) if name in self.numbers else -1
            self.known[n] = Name(at, len(name.encode()), number, name in self.texts, 0)
            at += self.known[n].size


cdef struct Found:  # what is found in a line, in places that hold zeros before
    int32_t* spans  # (names, 2)
    int64_t* numbers  # one every `stride`
    Py_ssize_t stride


def lines(const uint8_t[::1] block):
    """How many lines end in a block."""
    cdef Py_ssize_t count = 0
    cdef Bytes at = &block[0] if len(block) else NULL
    cdef Bytes past = at + len(block)
    while at != past:
        at = <Bytes>memchr(at, c"\n", past - at)
        if at == NULL:
            break
        at += 1
        count += 1
    return count


def scan(const uint8_t[::1] block, Py_ssize_t lines, Names names):
    """Where each line begins and ends, whether it is odd, its numbers, and where its values lie.

    `block` is so many whole lines, the last one's end included. Returns start and end (lines,), without the line's end;
    odd (lines,), of what is not surely a row: zeros are found there; numbers (numbers, lines); and spans (lines, names,
    2), of each value the first byte and past the last. What is not there is 0.
    """
    start, end, odd = np.empty(lines, np.int64), np.empty(lines, np.int64), np.empty(lines, np.bool_)
    numbers = np.zeros((len(names.numbers), lines), np.int64)
    spans = np.zeros((lines, names.count, 2), np.int32)
    if block.shape[0] > INT32_MAX:
        raise ValueError(f"a block of {block.shape[0]} bytes, at most {INT32_MAX}")
    if lines:
        _scan(block, names, start, end, odd.view(np.uint8), numbers.reshape(-1), spans)
    return start, end, odd, numbers, spans


cdef int _scan(
    const uint8_t[::1] block, Names names, int64_t[::1] starts, int64_t[::1] ends, uint8_t[::1] odd,
    int64_t[::1] numbers, int32_t[:, :, ::1] spans,
) except -1:
    cdef Py_ssize_t line, n, lines = len(starts)
    cdef Bytes first = &block[0]
    cdef Bytes at = first
    cdef Bytes past = first + len(block)
    cdef Bytes stop
    cdef Found found
    found.stride = lines
    for line in range(lines):
        stop = <Bytes>memchr(at, c"\n", past - at)
        if stop == NULL:
            raise ValueError(f"{line} lines, not {lines}")
        starts[line] = at - first
        ends[line] = stop - first - (stop > at and (stop - 1)[0] == c"\r")
        found.spans = &spans[line, 0, 0]
        found.numbers = &numbers[line] if len(numbers) else NULL
        odd[line] = not _row(first, at, first + ends[line], names, &found)
        if odd[line]:
            memset(found.spans, 0, 2 * names.count * sizeof(int32_t))
            for n in range(line, len(numbers), lines):
                numbers[n] = 0
        at = stop + 1
    return 0


cdef bint _row(Bytes block, Bytes at, Bytes end, Names names, Found* found) noexcept:
    """Whether it is surely a row, whose numbers and values are found then."""
    cdef int* likely = &names.first
    cdef int n
    cdef Name* name
    cdef Bytes close
    for n in range(2):  # rows stand two spaces in, or none
        at += at < end and at[0] == c" "
    if _forbidden(at, end) or not _begins(&at, end):
        return False
    while _follows(&at, end):
        n = _known(names, likely, at, end)
        if n < 0 or found.spans[2 * n]:
            return False
        name = &names.known[n]
        at += name.size + 2
        close = <Bytes>memchr(at, c'"', end - at)
        if close == NULL or name.number >= 0 and not _number(at, close, &found.numbers[name.number * found.stride]):
            return False
        found.spans[2 * n], found.spans[2 * n + 1] = <int32_t>(at - block), <int32_t>(close - block)
        at, likely = close + 1, &name.next
    return likely != &names.first and _ends(at, end)


cdef inline bint _begins(Bytes* at, Bytes end) noexcept:
    if end - at[0] < 4 or memcmp(at[0], b"<row", 4) != 0:
        return False
    at[0] += 4
    return True


cdef inline bint _follows(Bytes* at, Bytes end) noexcept:
    """Whether an attribute follows; if so, `at` is put to its name."""
    if end - at[0] < 4 or at[0][0] != c" " or at[0][1] == c"/":
        return False
    at[0] += 1
    return True


cdef inline bint _ends(Bytes at, Bytes end) noexcept:
    at += at < end and at[0] == c" "
    return end - at == 2 and at[0] == c"/" and at[1] == c">"


cdef inline bint _forbidden(Bytes at, Bytes end) noexcept:
    """Whether a control character stands there that XML forbids: so plain a loop that compilers take many at a time."""
    cdef uint8_t found = 0
    cdef Py_ssize_t n
    for n in range(end - at):
        found |= (at[n] < 32) & (at[n] != 9) & (at[n] != 13)
    return found


cdef inline int _known(Names names, int* likely, Bytes at, Bytes end) noexcept:
    """The index of the name that stands there, -1 where it is unknown."""
    cdef int n
    if _is(&names.known[likely[0]], at, end):
        return likely[0]
    for n in range(names.count):
        if _is(&names.known[n], at, end):
            likely[0] = n
            return n
    return -1


cdef inline bint _is(Name* name, Bytes at, Bytes end) noexcept:
    """Whether `NAME="` stands there."""
    return (
        end - at > name.size + 2
        and at[name.size] == c"="
        and at[name.size + 1] == c'"'
        and memcmp(at, name.text, name.size) == 0
    )


cdef inline bint _number(Bytes at, Bytes end, int64_t* number) noexcept:
    cdef bint negative = at < end and at[0] == c"-"
    cdef int64_t total = 0
    at += negative
    if at == end or end - at > MOST_DIGITS:
        return False
    while at < end:
        if not c"0" <= at[0] <= c"9":
            return False
        total = total * 10 + at[0] - c"0"
        at += 1
    number[0] = -total if negative else total
    return True


def attributes(bytes raw, Names names=None):
    """A row's attributes as an XML parser reads them, by their names; None where only such a parser can tell.

    Given `names`, of these only `texts` are told, in two thirds of the time; a row with another name is left to the
    parser.
    """
    cdef Bytes at = <Bytes>PyBytes_AS_STRING(raw)
    cdef Bytes end = at + PyBytes_GET_SIZE(raw)
    if not _begins(&at, end):
        return None
    cdef char* room = <char*>PyMem_Malloc(end - at)  # a text is never longer than what stands for it
    if room == NULL:
        raise MemoryError
    try:
        return _all(at, end, room) if names is None else _texts(at, end, room, names)
    except UnicodeDecodeError:
        return None
    finally:
        PyMem_Free(room)


cdef dict _all(Bytes at, Bytes end, char* room):
    cdef dict found = {}
    cdef Bytes name
    cdef Py_ssize_t size
    while _follows(&at, end):
        name = at
        while at < end and c"a" <= (at[0] | 32) <= c"z":
            at += 1
        if at == name or end - at < 2 or at[0] != c"=" or at[1] != c'"':
            return None
        word = PyUnicode_DecodeUTF8(<char*>name, at - name, NULL)
        at += 2
        size = _value(&at, end, room)
        if size < 0 or word in found:
            return None
        found[word] = PyUnicode_DecodeUTF8(room, size, NULL)
    return found if found and _ends(at, end) else None


cdef dict _texts(Bytes at, Bytes end, char* room, Names names):
    cdef dict found = {}
    cdef uint64_t seen = 0  # a bit a name
    cdef int* likely = &names.first
    cdef int n
    cdef Py_ssize_t size
    while _follows(&at, end):
        n = _known(names, likely, at, end)
        if n < 0 or seen >> n & 1:
            return None
        seen |= <uint64_t>1 << n
        likely = &names.known[n].next
        at += names.known[n].size + 2
        size = _value(&at, end, room)
        if size < 0:
            return None
        if names.known[n].told:
            found[names.names[n]] = PyUnicode_DecodeUTF8(room, size, NULL)
        elif not _ascii(room, size):
            PyUnicode_DecodeUTF8(room, size, NULL)  # raises where it is no UTF-8
    return found if seen and _ends(at, end) else None


cdef inline bint _ascii(char* text, Py_ssize_t size) noexcept:
    cdef uint8_t found = 0
    cdef Py_ssize_t n
    for n in range(size):
        found |= text[n]
    return found < 128


cdef inline Py_ssize_t _value(Bytes* at, Bytes end, char* room) noexcept:
    """As `_text`, of the value that begins there; `at` is put behind the mark that ends it."""
    cdef Bytes start = at[0]
    cdef Bytes close = <Bytes>memchr(start, c'"', end - start)
    if close == NULL:
        return -1
    at[0] = close + 1
    return _text(start, close, room)


cdef Py_ssize_t _text(Bytes at, Bytes end, char* room) noexcept:
    """How many bytes of UTF-8 a value means, which are written to `room`; -1 where that is not certain."""
    cdef char* out = room
    cdef Bytes run, semicolon
    cdef Py_ssize_t size
    while True:
        run = at
        while at < end and PLAIN[at[0]]:
            at += 1
        memcpy(out, run, at - run)
        out += at - run
        if at == end:
            return out - room
        if at[0] == c"&":
            semicolon = <Bytes>memchr(at, c";", min(end - at, MOST_REFERENCE))
            size = _encoded(_referred(at + 1, semicolon), out) if semicolon != NULL else 0
            if size == 0:
                return -1
            out += size
            at = semicolon
        elif at[0] == c"\t":  # within a value, it means a space
            out[0] = c" "
            out += 1
        elif at[0] == 0xEF and end - at > 2 and (at[1] != 0xBF or at[2] < 0xBE):  # not U+FFFE and U+FFFF
            out[0] = at[0]
            out += 1
        else:
            return -1
        at += 1


cdef inline uint32_t _referred(Bytes name, Bytes end) noexcept:
    """The character that is referred to, 0 where that is not certain."""
    cdef Py_ssize_t size = end - name
    if name[0] == c"#":
        return _code(name + 1, end)
    if size == 2 and name[1] == c"t":
        return c"<" if name[0] == c"l" else c">" if name[0] == c"g" else 0
    if size == 3:
        return c"&" if memcmp(name, b"amp", 3) == 0 else 0
    if size == 4:
        return c'"' if memcmp(name, b"quot", 4) == 0 else c"'" if memcmp(name, b"apos", 4) == 0 else 0
    return 0


cdef inline uint32_t _code(Bytes at, Bytes end) noexcept:
    """The number of a character, 0 where it is none."""
    cdef uint32_t base = 16 if at < end and at[0] == c"x" else 10
    cdef uint32_t code = 0
    at += base == 16
    while at < end:
        if c"0" <= at[0] <= c"9":
            code = code * base + at[0] - c"0"
        elif base == 16 and c"a" <= (at[0] | 32) <= c"f":
            code = code * base + (at[0] | 32) - c"a" + 10
        else:
            return 0
        at += 1
    return code


cdef inline Py_ssize_t _encoded(uint32_t code, char* out) noexcept:
    """How many bytes a character takes as UTF-8; 0 where XML has none such."""
    if code < 32 and code != 9 and code != 10 and code != 13 or 0xD800 <= code < 0xE000 or code > 0x10FFFF:
        return 0
    if code == 0xFFFE or code == 0xFFFF:
        return 0
    if code < 0x80:
        out[0] = code
        return 1
    if code < 0x800:
        out[0], out[1] = 0xC0 | code >> 6, 0x80 | code & 63
        return 2
    if code < 0x10000:
        out[0], out[1], out[2] = 0xE0 | code >> 12, 0x80 | code >> 6 & 63, 0x80 | code & 63
        return 3
    out[0], out[1], out[2], out[3] = 0xF0 | code >> 18, 0x80 | code >> 12 & 63, 0x80 | code >> 6 & 63, 0x80 | code & 63
    return 4
