"""JSON text as bytes: what is to be known of it without parsing.

Where a value ends, how deep it nests, which escapes are no Unicode, whether a number is too long to be parsed.
"""

import re
from collections import deque
from collections.abc import Iterator
from typing import Final

from converter.errors import DumpError

MAX_DIGITS: Final = 4300
"""Digits of an integer that Python converts; ijson crashes the process on more."""

_WHITE = re.compile(rb"[ \t\r\n]*+")
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+("?)|[\[{]|[\]}]', re.DOTALL)
_REST_OF_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
_SAMPLED_DIGITS = re.compile(rb"[0-9]{4}")


_HEX = rb"[0-9a-fA-F]"
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]HH\\u[dD][c-fC-F]HH|(u[dD][89a-fA-F]HH)|.)".replace(b"H", _HEX),
    re.DOTALL,
)
# What a piece may end with when the rest of an escape, or the second half of a pair, is in the next one.
_UNFINISHED_ESCAPE = re.compile(
    rb"\\(?:u(?:H{0,3}|[dD][89abAB]HH(?:\\(?:uH{0,3})?)?))?\Z".replace(b"H", _HEX),
)
_LONGEST_UNFINISHED = len(rb"\ud83d\ude0")


class Text:
    """The piece of JSON text in memory, and where reading stands in it.

    A piece never ends within an escape, nor between the two halves of a surrogate pair.
    """

    def __init__(self, chunks: Iterator[bytes], offset: int) -> None:
        self._chunks = chunks
        self._ahead: deque[bytes] = deque()
        self._unfinished = b""
        self._digits = 0
        self._start = offset
        self.data = b""
        self.at = 0
        self._surrogate_escapes: bool | None = None
        self.long_digits = False

    @property
    def offset(self) -> int:
        return self._start + self.at

    @property
    def surrogate_escapes(self) -> bool:
        """Whether this piece has any, be they lone or not. Only looked for when asked: the fast lane never does."""
        if self._surrogate_escapes is None:
            self._surrogate_escapes = _SURROGATE_ESCAPE.search(self.data) is not None
        return self._surrogate_escapes

    def more(self) -> bool:
        """Go on to the next piece; False at the end of the dump."""
        self._start += len(self.data)
        self.at = 0
        self.data = self._ahead.popleft() if self._ahead else self._next()
        self._surrogate_escapes = None
        self.long_digits = self._has_long_digits(self.data)
        return bool(self.data)

    def ahead(self, size: int) -> bytes:
        """What is left of this piece, and as much of the next ones as makes it ``size`` bytes; less at the dump's end.

        Nothing is taken: reading stands where it stood, and the pieces stay as they are.
        """
        parts = [self.data[self.at :]]
        seen = len(parts[0])
        while seen < size and (len(parts) <= len(self._ahead) or self._read_ahead()):
            parts.append(self._ahead[len(parts) - 1][: size - seen])
            seen += len(parts[-1])
        return b"".join(parts)

    def _read_ahead(self) -> bool:
        try:
            piece = self._next()
        except DumpError as error:
            # Its turn comes behind the documents that stand before it. The frames that it went through hold this text.
            self._chunks = _failing(error.with_traceback(None))
            return False
        if piece:
            self._ahead.append(piece)
        return bool(piece)

    def take(self, size: int) -> None:
        """Go ``size`` bytes on, which were seen ``ahead``."""
        while (left := len(self.data) - self.at) < size:
            size -= left
            self.more()
        self.at += size

    def _next(self) -> bytes:
        for chunk in self._chunks:
            data = self._unfinished + chunk
            end = _end_of_escapes(data)
            self._unfinished = data[end:]
            if end:
                return data[:end]
        data, self._unfinished = self._unfinished, b""
        return data

    def skip_white(self) -> int:
        """Go to the next byte that is not white space, and return it; -1 at the end of the dump."""
        while True:
            white = _WHITE.match(self.data, self.at)
            assert white is not None
            self.at = white.end()
            if self.at < len(self.data):
                return self.data[self.at]
            if not self.more():
                return -1

    def _has_long_digits(self, data: bytes) -> bool:
        """Whether there may be more than MAX_DIGITS digits in a row, those of the pieces before counted."""
        before = self._digits
        self._digits = len(data) - len(data.rstrip(b"0123456789")) if data[-1:].isdigit() else 0
        if self._digits == len(data):
            self._digits += before
            return self._digits > MAX_DIGITS
        if before and before + len(data) - len(data.lstrip(b"0123456789")) > MAX_DIGITS:
            return True
        return may_have_long_digits(data)


def _failing(error: DumpError) -> Iterator[bytes]:
    yield from ()
    raise error


def may_have_long_digits(data: bytes) -> bool:
    """Whether there may be more than MAX_DIGITS digits in a row. If not, there are none."""
    # So many digits cover four samples at least. It is a hundred times as fast as to look at every byte.
    return len(data) > MAX_DIGITS and _SAMPLED_DIGITS.search(data[:: MAX_DIGITS // 4]) is not None


def _end_of_escapes(data: bytes) -> int:
    """Where to cut ``data``, whose beginning is not within an escape, so that its end isn't either."""
    at = data.find(b"\\", max(0, len(data) - _LONGEST_UNFINISHED))
    if at < 0:
        return len(data)
    at = len(data[:at].rstrip(b"\\"))
    while at >= 0:
        if _UNFINISHED_ESCAPE.match(data, at):
            return at
        at = data.find(b"\\", at + 2)
    return len(data)


def replace_surrogates(data: bytes) -> tuple[bytes, int]:
    """Escapes of lone surrogates become that of U+FFFD, which is as long; and how many there were."""
    count = 0

    def replace(escape: re.Match[bytes]) -> bytes:
        nonlocal count
        if escape[1] is None:
            return escape[0]
        count += 1
        return rb"\ufffd"

    replaced = _ESCAPE.sub(replace, data)
    return replaced, count


class Nesting:
    """Follows the brackets of one JSON value, strings left out."""

    def __init__(self) -> None:
        self.deepest = 0
        self._depth = 0
        self._in_string = False

    def end(self, data: bytes) -> int | None:
        """Take the next piece of the value: where in it the value ends, None if it goes on."""
        at = 0
        if self._in_string:
            rest = _REST_OF_STRING.match(data)
            assert rest is not None
            if not rest[1]:
                return None
            at = rest.end()
            self._in_string = False
            if self._depth == 0:
                return at
        for token in _TOKEN.finditer(data, at):
            byte = data[token.start()]
            if byte == ord('"'):
                if not token[1]:
                    self._in_string = True
                    return None
            elif byte in b"[{":
                self._depth += 1
                self.deepest = max(self.deepest, self._depth)
            else:
                self._depth -= 1
            if self._depth <= 0:
                return token.end()
        return None


def opening_brackets(data: bytes) -> int:
    """How many ``{`` and ``[`` there are, strings included: no value in it nests deeper."""
    # Three times as fast as bytes.count on prose.
    return 2 * len(data) - len(data.replace(b"{", b"")) - len(data.replace(b"[", b""))
