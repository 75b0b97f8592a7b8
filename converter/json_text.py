"""JSON text as bytes: what is to be known of it without parsing.

Where a value ends, how deep it nests, which escapes are no Unicode, whether a number is too long to be parsed.
"""

import codecs
import re
from collections import deque
from collections.abc import Iterator
from typing import Final

from converter.errors import DumpError

MAX_DIGITS: Final = 4300
"""Digits of an integer that Python converts; ijson crashes the process on more."""

_WHITE = re.compile(rb"[ \t\r\n]*+")
# The parts of JSON, as ijson knows them: to it \v and \f are white space too.
_TOKEN = re.compile(
    rb'(?P<white>[ \t\r\n\v\f]++)|(?P<quote>")|(?P<mark>[\[\]{},:])|(?P<scalar>[^ \t\r\n\v\f\[\]{},:"]++)'
)
_REST_OF_SCALAR = re.compile(rb'[^ \t\r\n\v\f\[\]{},:"]*+')
_REST_OF_STRING = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+')
_SCALAR = re.compile(rb"true|false|null|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")


def _runs_of(item: bytes) -> re.Pattern[bytes]:
    """Many elements or members at once, each whole and with its comma: to look at every token takes ten times as long.

    VALUE stands for a text, a scalar or an object with one member, as Extended JSON has for nearly all its types.
    """
    plain = rb'(?:"%b"|%b)' % (_REST_OF_STRING.pattern, _SCALAR.pattern)
    flat = rb'(?P<flat>\{ "%b" : %b \})' % (_REST_OF_STRING.pattern, plain)
    item = item.replace(b"VALUE", b"(?:%b|%b)" % (plain, flat)).replace(b"TEXT", b'"%b"' % _REST_OF_STRING.pattern)
    return re.compile((rb" (?P<run>(?:%b , )*+)" % item).replace(b" ", rb"[ \t\r\n\v\f]*+"))


_ELEMENTS = _runs_of(b"VALUE")
_MEMBERS = _runs_of(b"TEXT : VALUE")
_DIGITS = re.compile(rb"([0-9]{2})[0-9]++")
_LONGEST_SCALAR: Final = 64
"""Of a shortened one: what is longer is none."""
_UTF8_PIECE: Final = 32 * 1024

# What may come next in a JSON value.
_VALUE: Final = "value"
_VALUE_OR_CLOSE: Final = "value or ]"
_KEY: Final = "key"
_KEY_OR_CLOSE: Final = "key or }"
_COLON: Final = "colon"
_COMMA_OR_CLOSE: Final = "comma or closing bracket"
_NOTHING: Final = "nothing"

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


class NotJson(Exception):
    """Text that breaks off being JSON at the byte ``at``, counted from the value's beginning."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


class Syntax:
    """Follows one JSON value through its pieces, by the grammar alone: nothing is kept, however large or deep it is.

    It takes just what ijson takes, which is https://www.rfc-editor.org/rfc/rfc8259 with two more bytes for white space.
    So a value which no parser is to be given can't hide that it is broken.
    """

    def __init__(self) -> None:
        self.deepest = 0
        self.not_utf8: int | None = None
        """The first byte that is no UTF-8. The grammar is followed beyond it."""
        self._taken = 0
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._open = bytearray()
        self._wanted = _VALUE
        self._in_string = False
        self._scalar = b""  # its beginning, if a piece ended in it
        self._scalar_at = 0
        self._comma_at: int | None = None

    def end(self, data: bytes) -> int | None:
        """Take the next piece: where in it the value ends, None if it goes on. Raises ``NotJson``.

        Pieces don't end within an escape.
        """
        found = None
        try:
            found = self._end(data)
        except NotJson as error:
            found = error.at - self._taken
            raise
        finally:
            self._check_utf8(data if found is None else data[: max(found, 0)])
            self._taken += len(data)
        return found

    def _end(self, data: bytes) -> int | None:
        at = self._end_of_string(data, 0) if self._in_string else self._end_of_scalar(data) if self._scalar else 0
        while at < len(data):
            if self._wanted is _NOTHING:
                return at
            run = self._end_of_run(data, at)
            if run > at:
                at = run
                continue
            token = _TOKEN.match(data, at)
            assert token is not None
            kind = token.lastgroup
            if kind == "scalar":
                if token.end() == len(data):
                    self._scalar, self._scalar_at = _shortened(token[0]), self._taken + at
                    return None
                self._take_scalar(token[0], self._taken + at)
                at = token.end()
            elif kind == "quote":
                self._take_value(self._taken + at, key=True)
                at = self._end_of_string(data, at + 1)
            else:
                if kind == "mark":
                    self._take_mark(data[at], self._taken + at)
                at = token.end()
        return len(data) if self._wanted is _NOTHING and not self._in_string else None

    def _end_of_run(self, data: bytes, at: int) -> int:
        if self._wanted in (_KEY, _KEY_OR_CLOSE):
            found, after = _MEMBERS.match(data, at), _KEY
        elif self._wanted == _VALUE_OR_CLOSE or (self._wanted == _VALUE and self._comma_at is not None):
            found, after = _ELEMENTS.match(data, at), _VALUE
        else:
            return at
        assert found is not None
        if found["run"]:
            self._wanted = after
            self._comma_at = self._taken + data.rindex(b",", at, found.end())
            if found["flat"]:
                self.deepest = max(self.deepest, len(self._open) + 1)
        return found.end()

    def _end_of_string(self, data: bytes, at: int) -> int:
        string = _REST_OF_STRING.match(data, at)
        assert string is not None
        end = string.end()
        if _UNFINISHED_ESCAPE.match(data, end):  # only a dump ends within an escape
            end = len(data)
        self._in_string = end == len(data)
        if not self._in_string and data[end] != ord('"'):
            raise NotJson(self._taken + end)
        return end if self._in_string else end + 1

    def _end_of_scalar(self, data: bytes) -> int:
        token = _REST_OF_SCALAR.match(data)
        assert token is not None
        scalar = self._scalar + token[0]
        if token.end() == len(data):
            self._scalar = _shortened(scalar)
        else:
            self._scalar = b""
            self._take_scalar(scalar, self._scalar_at)
        return token.end()

    def _take_scalar(self, scalar: bytes, at: int) -> None:
        if not _SCALAR.fullmatch(scalar):
            raise NotJson(at)
        self._take_value(at)

    def _take_value(self, at: int, *, key: bool = False) -> None:
        if key and self._wanted in (_KEY, _KEY_OR_CLOSE):
            self._wanted = _COLON
        elif self._wanted in (_VALUE, _VALUE_OR_CLOSE):
            self._wanted = _COMMA_OR_CLOSE if self._open else _NOTHING
        else:
            raise NotJson(at)

    def _take_mark(self, mark: int, at: int) -> None:
        """A bracket, a comma or a colon."""
        if mark in b"[{":
            self._take_value(at)
            self._open.append(mark)
            self.deepest = max(self.deepest, len(self._open))
            self._wanted = _VALUE_OR_CLOSE if mark == ord("[") else _KEY_OR_CLOSE
        elif mark in b"]}":
            empty = _VALUE_OR_CLOSE if mark == ord("]") else _KEY_OR_CLOSE
            if self._wanted in (_VALUE, _KEY) and self._comma_at is not None:
                raise NotJson(self._comma_at)
            # In ASCII the brackets of a pair are two apart.
            if self._wanted not in (empty, _COMMA_OR_CLOSE) or self._open.pop() != mark - 2:
                raise NotJson(at)
            self._wanted = _COMMA_OR_CLOSE if self._open else _NOTHING
        elif mark == ord(",") and self._wanted is _COMMA_OR_CLOSE:
            self._wanted = _VALUE if self._open[-1] == ord("[") else _KEY
            self._comma_at = at
        elif mark == ord(":") and self._wanted is _COLON:
            self._wanted = _VALUE
            self._comma_at = None
        else:
            raise NotJson(at)

    def _check_utf8(self, data: bytes) -> None:
        if self.not_utf8 is not None or (data.isascii() and not self._utf8.getstate()[0]):
            return
        for at in range(0, len(data), _UTF8_PIECE):
            before = len(self._utf8.getstate()[0])
            try:
                self._utf8.decode(data[at : at + _UTF8_PIECE])
            except UnicodeDecodeError as error:
                self.not_utf8 = self._taken + at - before + error.start
                return


def _shortened(scalar: bytes) -> bytes:
    """What a number of any length may be taken for: for the grammar two digits in a row are as good as a thousand."""
    return _DIGITS.sub(rb"\1", scalar)[:_LONGEST_SCALAR]


def opening_brackets(data: bytes) -> int:
    """How many ``{`` and ``[`` there are, strings included: no value in it nests deeper."""
    # Three times as fast as bytes.count on prose.
    return 2 * len(data) - len(data.replace(b"{", b"")) - len(data.replace(b"[", b""))
