"""JSON: text -> documents. The only user of ijson.

ijson builds the values but doesn't say where they were. So it gets a document in pieces that end behind every ``}``
that could be the document's last: the piece after which it hands out the value tells the end. Whatever ijson can't be
trusted with (deep nesting, which exhausts memory; integers of thousands of digits, which crash it) is framed by
following its brackets instead, before ijson sees it.
"""

import codecs
import contextlib
import io
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import ijson
import orjson

from converter import extjson, fastlane
from converter.documents import TOO_DEEP, Document, Framed, Framing, RawDocument, Reason, Unreadable
from converter.errors import EXCERPT, DumpError, excerpt
from converter.json_text import (
    MAX_DIGITS,
    NotJson,
    Syntax,
    Text,
    may_have_long_digits,
    opening_brackets,
    replace_surrogates,
)
from converter.repairs import Names
from converter.sources import EXPORT_AGAIN, Origin

try:
    _yajl: Any = ijson.get_backend("yajl2_c")
    BACKEND = "yajl2_c"
except ImportError:
    BACKEND = str(ijson.backend)

MAX_DOCUMENT_BYTES: Final = 64 * 1024 * 1024
"""JSON text of one document: room for 16 MiB of BSON as canonical Extended JSON, indented."""

# ijson keeps a path for every open level, so its memory grows with the square of the depth. Up to so many brackets
# a document is fed to it without looking at how they nest.
_MAX_UNCHECKED_BRACKETS = 3000
# At every piece of a string ijson scans it again from its start: one of megabytes, full of `}`, would take hours.
_MAX_SCANNED_AGAIN = 2**31
_KEPT_OF_TOO_LARGE = 64 * 1024
_FIRST_LOOK_AHEAD = 512 * 1024

_SCALAR = re.compile(rb'[^ \t\r\n,\[\]{}"]*+')
_NUMBER = re.compile(rb"[-+.0-9eE]++")
# Every `}` but those which surely don't end a document: the next thing is another `}`, or a comma and a key.
_CUT = re.compile(rb'\}(?![ \t\r\n]*+(?:\}|,[ \t\r\n]*+"[^"\\]{0,64}+"[ \t\r\n]*+:))')
_LONG_NUMBER = re.compile(rb'"(?:[^"\\]++|\\.)*+"|([0-9]{%d})' % (MAX_DIGITS + 1), re.DOTALL)

# ijson takes these for white space, and nowhere else in JSON may they stand as they are.
_WHITE_TO_IJSON = bytes.maketrans(b"\v\f", b"  ")

_TOO_LONG = "a number of too many digits"


class _Doubtful(Exception):
    """The document that ijson is reading must be looked at before ijson reads on."""


class _Enough(Exception):
    """The document is complete, ijson needs no more of it."""


def _with_names_apart(value: Any) -> Any:
    """JSON with U+FFFD for lone surrogates. Names that differ only in these then meet and get ``~2``, ``~3``."""
    if isinstance(value, str):
        return extjson.without_surrogates(value)
    if isinstance(value, dict):
        sound = {name: extjson.without_surrogates(name) for name in value}
        names = Names(name for name in value if sound[name] == name)
        # In their own order: that of the keys is to change nothing.
        renamed = {name: names.free(sound[name]) for name in sorted(value) if sound[name] != name}
        return {renamed.get(name, name): _with_names_apart(held) for name, held in value.items()}
    return [_with_names_apart(held) for held in value] if isinstance(value, list) else value


class JsonReader:
    """The documents of a JSON text: the elements of one array, or values one behind the other."""

    def __init__(
        self, origin: Origin, text: Text, *, in_array: bool, fast: bool, framing: Framing | None, index: int, after: int
    ) -> None:
        self._origin = origin
        self._framing = framing
        self._text = text
        self._in_array = in_array
        self._fast = fast
        self._index = index
        self._after = after
        self._begin()

    def _begin(self) -> None:
        """A new ijson, which takes objects back to back; it is of no use after an error."""
        self._values: Iterator[object] = _yajl.items(self, "", multiple_values=True)

    def forget(self) -> None:
        """To be called in the end: the reader and its ijson hold each other, and no garbage collector sees that."""
        self._values = iter(())

    def documents(self, *, resumed: bool) -> Iterator[Document]:
        """All of them; then the reader is of no use any more."""
        try:
            yield from self._documents(resumed=resumed)
        finally:
            self.forget()

    def _documents(self, *, resumed: bool) -> Iterator[Document]:
        text = self._text
        if self._in_array and not resumed:
            text.skip_white()
            text.at += 1
        comma = self._in_array and resumed
        while not self._at_end(comma=comma):
            document = self._document(text.skip_white())
            if not self._in_array and self._index == 0 and text.skip_white() < 0:
                self._refuse_lone_object(document)
            if document.index >= self._after:
                yield document
            self._index += 1
            comma = self._in_array

    def _at_end(self, *, comma: bool) -> bool:
        """Go over what stands before the next document: white space, and a ``comma`` in an array; or find the end."""
        text = self._text
        byte = text.skip_white()
        if not self._in_array:
            return byte < 0
        if byte < 0:
            raise self._error(f"the array has no closing `]`, so the dump is truncated: {EXPORT_AGAIN}")
        if byte == ord("]"):
            text.at += 1
            rest = text.skip_white()
            if rest >= 0:
                raise self._error(self._garbage(rest))
            return True
        if not comma:
            return False
        if byte != ord(","):
            raise self._error(f"{excerpt(text.ahead(EXCERPT))} where a comma or `]` belongs: {EXPORT_AGAIN}")
        text.at += 1
        following = text.skip_white()
        if following == ord("]"):
            raise self._error("a comma before the closing `]`: remove it")
        if following < 0:
            raise self._error(f"the dump ends behind a comma, so it is truncated: {EXPORT_AGAIN}")
        return False

    def _garbage(self, byte: int) -> str:
        if byte in b"[{":
            return "the array is closed, but more JSON follows: split the dump, and give the files one after the other"
        return f"{excerpt(self._text.ahead(EXCERPT))} behind the closing `]`: remove it, or {EXPORT_AGAIN}"

    def _refuse_lone_object(self, document: Document) -> None:
        """An API's answer, an error message, or a script's export that holds the documents in an object: no dump."""
        value = document.value if isinstance(document, RawDocument) else None
        if not isinstance(value, dict) or "_id" in value or "jobId" in value:
            return
        what = "without _id and jobId"
        for key, held in value.items():
            if isinstance(held, list) and any(isinstance(element, dict) for element in held):
                what = f"with an array in {excerpt(key.encode())}"
        raise self._origin.error(
            f"this is one object {what}, not a collection: export the collection with mongoexport --jsonArray",
            offset=document.offset,
            index=0,
        )

    def _document(self, first: int) -> Document:
        """Read the value that begins here with the byte ``first``."""
        if first == ord("{"):
            return (self._fast_object() if self._fast else None) or self.read_object()
        if first in b'["':
            return self._framed(self._text.offset, [])
        return self._scalar()

    def _fast_object(self) -> Framed | RawDocument | None:
        """The object that begins here by the fast lane; None, and nothing is taken, if it isn't fit for that."""
        text = self._text
        data, at = text.data, text.at
        while (end := fastlane.end_of_object(data, at)) == fastlane.UNFINISHED:
            seen = len(data) - at
            # Twice as much each time: all attempts together then cost no more than twice the last.
            wanted = max(2 * seen, _FIRST_LOOK_AHEAD)
            data, at = text.ahead(min(wanted, MAX_DOCUMENT_BYTES + 1)), 0
            if len(data) == seen:
                return None
        if end is None or end - at > MAX_DOCUMENT_BYTES:
            return None
        document = data[at:end]
        # Whatever is handed out: ijson may have to say what is wrong with it, or whether the first is a dump's at all.
        skipped = 0 < self._index < self._after
        if may_have_long_digits(document) or (skipped and not fastlane.is_utf8(document)):
            return None
        start = text.offset
        # The first one is read here and now: it may turn out to be no job at all, and so the dump to be none.
        if self._framing and self._index > 0:
            text.take(len(document))
            held = None if self._framing == "place" else document
            return Framed(self._index, *self._places(start), held, False, self._origin)
        value = {} if skipped else fastlane.read(document)
        if value is None:
            return None
        text.take(len(document))
        return RawDocument(self._index, *self._places(start), value, reader="fastlane")

    def read_object(self) -> RawDocument | Unreadable:
        self._start = start = self._text.offset
        self._pieces: list[bytes] = []
        self._size = self._brackets = self._surrogates = 0
        self._complete = False
        try:
            value = next(self._values)
            # Had the document ended before its last piece did, ijson would have stumbled over the rest of it.
            self._complete = True
            with contextlib.suppress(_Enough):
                next(self._values)
        except (_Doubtful, ijson.JSONError, UnicodeDecodeError, ArithmeticError):
            # It may be broken; or whole, with a wrong byte behind it.
            self._begin()
            return self._framed(start, self._pieces)
        return self._decoded(start, value, self._surrogates, self._pieces)

    def read(self, size: int) -> bytes:
        """For ijson: the next piece of the object. It ends where the object ends, or before."""
        if size == 0:
            return b""
        if self._complete:
            raise _Enough
        text = self._text
        if text.at == len(text.data) and not text.more():
            raise self._truncated(self._start)
        cut = _CUT.search(text.data, text.at)
        end = cut.end() if cut else len(text.data)
        piece = text.data[text.at : end]
        text.at = end
        self._pieces.append(piece)
        self._size += len(piece)
        self._brackets += opening_brackets(piece)
        if (
            self._brackets > _MAX_UNCHECKED_BRACKETS
            or self._size > MAX_DOCUMENT_BYTES
            or self._size * len(self._pieces) > _MAX_SCANNED_AGAIN
            or text.long_digits
        ):
            raise _Doubtful
        if text.surrogate_escapes:
            piece, replaced = replace_surrogates(piece)
            self._surrogates += replaced
        return piece

    def _framed(self, start: int, pieces: list[bytes]) -> RawDocument | Unreadable:
        """Read a value by following its syntax first; ``pieces`` of it were read.

        What is only rejected must be JSON too: else the end that was found may be that of another document.
        """
        text = self._text
        syntax = Syntax()
        kept: list[bytes] = []
        size = 0
        piece = b"".join(pieces)
        while True:
            try:
                end = syntax.end(piece)
            except NotJson as found:
                seen = piece + text.ahead(EXCERPT)
                at = found.at if syntax.not_utf8 is None else min(found.at, syntax.not_utf8)
                raise self._broken(
                    start, b"".join([*kept, seen]), at, seen[at - size :] if at >= size else None
                ) from None
            taken = piece if end is None else piece[:end]
            size += len(taken)
            kept = [*kept, taken] if size <= MAX_DOCUMENT_BYTES else [b"".join([*kept, taken])[:_KEPT_OF_TOO_LARGE]]
            if end is not None:
                break
            if text.at == len(text.data) and not text.more():
                if syntax.not_utf8 is not None:
                    raise self._broken(start, b"".join(kept), syntax.not_utf8)
                raise self._truncated(start)
            piece = text.data[text.at :]
            text.at = len(text.data)
        text.at -= len(piece) - end
        raw = b"".join(kept)
        if syntax.not_utf8 is not None:
            raise self._broken(start, raw, syntax.not_utf8)
        if size > MAX_DOCUMENT_BYTES:
            detail = f"{size:,} bytes of JSON text, more than any document MongoDB can hold; only its beginning is kept"
            return self._unreadable(start, "document-too-large", detail, raw)
        if syntax.deepest > extjson.MAX_LEVELS:
            return self._unreadable(start, "nested-too-deep", TOO_DEEP, raw)
        return self._parsed(start, raw)

    def _scalar(self) -> RawDocument | Unreadable:
        """A value that is no object, array or text; or something that is no JSON at all."""
        text = self._text
        start = text.offset
        raw = b""
        while True:
            run = _SCALAR.match(text.data, text.at)
            assert run is not None
            raw += run[0]
            text.at = run.end()
            long = len(raw) > MAX_DIGITS
            if text.at < len(text.data) or (long and (len(raw) > MAX_DOCUMENT_BYTES or not _NUMBER.fullmatch(raw))):
                break
            if not text.more():
                if self._in_array:
                    raise self._truncated(start)
                break
        if not raw:
            raw = text.ahead(EXCERPT)[:EXCERPT]
            raise self._broken(start, raw)
        return self._parsed(start, raw)

    def _parsed(self, start: int, raw: bytes) -> RawDocument | Unreadable:
        """The value that ``raw`` is known to be, or to be nothing at all."""
        if any(token[1] for token in _LONG_NUMBER.finditer(raw)):
            return self._unreadable(start, "number-too-long", _TOO_LONG, raw)
        replaced, surrogates = replace_surrogates(raw)
        try:
            value, *more = _yajl.items(io.BytesIO(replaced), "", multiple_values=True, buf_size=len(replaced) + 1)
        except ArithmeticError:
            return self._unreadable(start, "number-too-long", _TOO_LONG, raw)
        except (ijson.JSONError, UnicodeDecodeError):
            raise self._broken(start, raw) from None
        if more:
            raise self._broken(start, raw)
        return self._decoded(start, value, surrogates, [raw])

    def _decoded(self, start: int, value: object, surrogates: int, pieces: list[bytes]) -> RawDocument | Unreadable:
        if not 0 < self._index < self._after:  # the first one may turn out to be no dump's
            try:
                value = extjson.decode(value)
                if surrogates:
                    strict = b"".join(pieces).translate(_WHITE_TO_IJSON)
                    value = extjson.decode(_with_names_apart(json.loads(strict, parse_float=Decimal)))
            except extjson.NestedTooDeep:
                return self._unreadable(start, "nested-too-deep", TOO_DEEP, b"".join(pieces))
        return RawDocument(self._index, *self._places(start), value, surrogates)

    def _unreadable(self, start: int, reason: Reason, detail: str, raw: bytes) -> Unreadable:
        return Unreadable(self._index, *self._places(start), reason, detail, raw)

    def _places(self, start: int) -> tuple[int | None, int | None]:
        return (start, self._text.offset) if self._origin.has_offsets else (None, None)

    def _error(self, message: str) -> DumpError:
        return self._origin.error(message, offset=self._text.offset, index=self._index)

    def _truncated(self, start: int) -> DumpError:
        begun = f" that starts at byte {start:,}" if self._origin.has_offsets else ""
        return self._error(f"the dump ends in the middle of a document{begun}, so it is truncated: {EXPORT_AGAIN}")

    def _broken(self, start: int, raw: bytes, at: int | None = None, shown: bytes | None = None) -> DumpError:
        """``raw`` is no JSON from byte ``at`` on, where it goes on as is ``shown``. A parser is asked for the rest."""
        problem = "this is not JSON"
        try:
            # It may end within a character: where pieces end must not matter.
            sound = raw[: codecs.utf_8_decode(raw, "strict", False)[1]]
        except UnicodeDecodeError as error:
            sound = raw[: error.start]
            if at is None or error.start <= at:
                at, shown, problem = error.start, None, "this is not UTF-8"
        try:
            orjson.loads(replace_surrogates(sound)[0])
        except orjson.JSONDecodeError as error:
            stopped = len(error.doc[: error.pos].encode())
            # Of a number or a word that is none it may know the very byte.
            agreed = at is not None and at <= stopped < len(sound) and _SCALAR.fullmatch(sound, at, stopped)
            if at is None or (agreed and problem == "this is not JSON"):
                at, shown, problem = stopped, None, f"this is not JSON ({error.msg})"
        at = at or 0
        message = f"{problem}, {excerpt(raw[at:] if shown is None else shown)}: {EXPORT_AGAIN}"
        return self._origin.error(message, offset=start + at, index=self._index)
