"""Dumps: bytes -> documents, each with its place in the dump. The only user of ijson.

ijson builds the values but doesn't say where they were. So it gets a document in pieces that end behind every ``}``
that could be the document's last: the piece after which it hands out the value tells the end. Whatever ijson can't be
trusted with (deep nesting, which exhausts memory; integers of thousands of digits, which crash it) is framed by
following its brackets instead, before ijson sees it.
"""

import codecs
import contextlib
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Literal, Self

import bson
import ijson
import orjson
from bson import Code, DBRef
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError

from converter import extjson, fastlane, storage, typedlane
from converter.errors import DumpError
from converter.json_text import (
    MAX_DIGITS,
    Nesting,
    Text,
    may_have_long_digits,
    opening_brackets,
    replace_surrogates,
)
from converter.sources import EXPORT_AGAIN, Origin, Source
from converter.stages import timed

try:
    _yajl: Any = ijson.get_backend("yajl2_c")
    BACKEND = "yajl2_c"
except ImportError:
    BACKEND = str(ijson.backend)

Dialect = Literal["json-array", "json-lines", "bson"]
Reader = Literal["auto", "ijson"]
ReadBy = Literal["fastlane", "ijson", "bson"]
Framing = Literal["data", "place"]
"""What a frame carries: the document's bytes, or where they stand in the file."""
Reason = Literal["nested-too-deep", "document-too-large", "number-too-long"]

MAX_DEPTH: Final = extjson.MAX_LEVELS
MAX_DOCUMENT_BYTES: Final = 64 * 1024 * 1024
"""JSON text of one document: room for 16 MiB of BSON as canonical Extended JSON, indented."""
MAX_BSON_BYTES: Final = 48 * 1024 * 1024
"""More than MongoDB's 16 MiB, so that a document that is only too large for MongoDB is still read and reported."""

# ijson keeps a path for every open level, so its memory grows with the square of the depth. Up to so many brackets
# a document is fed to it without looking at how they nest.
_MAX_UNCHECKED_BRACKETS = 3000
# At every piece of a string ijson scans it again from its start: one of megabytes, full of `}`, would take hours.
_MAX_SCANNED_AGAIN = 2**31
_KEPT_OF_TOO_LARGE = 64 * 1024
_FIRST_LOOK_AHEAD = 512 * 1024
_EXCERPT = 24

_SCALAR = re.compile(rb'[^ \t\r\n,\[\]{}"]*+')
# Every `}` but those which surely don't end a document: the next thing is another `}`, or a comma and a key.
_CUT = re.compile(rb'\}(?![ \t\r\n]*+(?:\}|,[ \t\r\n]*+"[^"\\]{0,64}+"[ \t\r\n]*+:))')
_LONG_NUMBER = re.compile(rb'"(?:[^"\\]++|\\.)*+"|([0-9]{%d})' % (MAX_DIGITS + 1), re.DOTALL)

_BSON_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="surrogatepass"
)
_REFERENCE: Final = frozenset(("$ref", "$id", "$db"))
_BSON_OPTIONS_REPLACE: CodecOptions[dict[str, Any]] = _BSON_OPTIONS.with_options(unicode_decode_error_handler="replace")
# Type bytes an element may begin with: https://bsonspec.org/spec.html
_BSON_TYPES = frozenset(range(0x01, 0x14)) | {0x7F, 0xFF}
_EMPTY_BSON = b"\x05\0\0\0\0"

_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_TOO_LONG = "a number of too many digits"


@dataclass(frozen=True, slots=True)
class RawDocument:
    """One document of a dump: usually a dict, but anything that an array can hold.

    ``offset`` and ``end`` are bytes of the decompressed dump (``end`` is just behind the document), None in UTF-16.
    ``surrogates`` counts the lone surrogates, ``not_utf8`` the other bytes that were no Unicode and became U+FFFD.
    """

    index: int
    offset: int | None
    end: int | None
    value: object
    surrogates: int = 0
    not_utf8: int = 0
    reader: ReadBy = field(default="ijson", compare=False)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A document whose beginning and end are known, but that is not to be decoded. ``raw`` is its own bytes."""

    index: int
    offset: int | None
    end: int | None
    reason: Reason
    detail: str
    raw: bytes
    in_bson: bool = False

    @property
    def reader(self) -> ReadBy:
        return "bson" if self.in_bson else "ijson"


@dataclass(frozen=True, slots=True)
class Framed:
    """A document that was found and not yet read: ``read`` makes one of the others of it, anywhere and at any time."""

    index: int
    offset: int | None
    end: int | None
    data: bytes | None
    """None: it stands in the file between ``offset`` and ``end``."""
    in_bson: bool
    origin: Origin


Document = Framed | RawDocument | Unreadable


def read(document: Document, *, to_be_mapped: bool = False) -> RawDocument | Unreadable:
    """The document with its values. Raises DumpError for one that can't be read.

    One that is only ``to_be_mapped`` may come without what no rule of the mapping asks for, but then is read faster.
    """
    if not isinstance(document, Framed):
        return document
    place = document.index, document.offset, document.end
    data = document.data if document.data is not None else document.origin.read(document.offset or 0, document.end or 0)
    if document.in_bson:
        return _bson_document(place, data, document.origin)
    value = (typedlane.read(data) if to_be_mapped else None) or fastlane.read(data)
    if value is not None:
        return RawDocument(*place, value, reader="fastlane")
    text = Text(iter([data]), document.offset or 0)
    reader = _JsonReader(document.origin, text, in_array=False, fast=False, framing=None, index=document.index, after=0)
    text.skip_white()
    try:
        return reader.read_object()
    finally:
        reader.forget()


@dataclass(frozen=True, slots=True)
class Plain:
    """A dump that is a plain file in UTF-8 or BSON: any process can read it from any place at which a document ends."""

    origin: Origin
    dialect: Dialect
    size: int
    start: int
    """Where its text begins: behind the byte order mark."""
    fast: bool

    def documents(self, chunks: Iterator[bytes], *, at: int, index: int) -> Iterator[Document]:
        """``chunks`` from byte ``at`` on: where the dump begins, with an ``index`` of 0, or where a document ends."""
        if self.dialect == "bson":
            yield from _bson_documents(self.origin, chunks, at=at, index=index, after=0, framing="data")
            return
        in_array = self.dialect == "json-array"
        text = Text(chunks, at)
        reader = _JsonReader(self.origin, text, in_array=in_array, fast=self.fast, framing="data", index=index, after=0)
        try:
            yield from reader.documents(resumed=index > 0)
        finally:
            reader.forget()


class Dump:
    """A dump that was found to be one: its dialect is known, its documents can be read."""

    def __init__(self, source: Source, reader: Reader) -> None:
        """Tell what ``source`` holds by its first bytes. Raises DumpError for anything that is not a dump."""
        self._source = source
        self._fast = reader == "auto" and fastlane.works()
        self._reader: _JsonReader | None = None
        self.path = source.path
        self.compression = source.compression
        self.encoding = source.encoding
        self.size = source.size
        self.seekable = source.seekable
        self.dialect = _dialect(source)

    @classmethod
    def open(cls, path: str, *, buffer_size: int = 2 * 1024 * 1024, reader: Reader = "auto") -> Self:
        """Open the dump at ``path``; ``-`` is standard input. Raises DumpError.

        With ``reader="ijson"`` no document takes the fast lane.
        """
        if BACKEND != "yajl2_c":
            raise DumpError(
                "ijson's C backend (yajl2_c) is missing, reading would be 150 times slower: "
                "reinstall ijson from a wheel (pip install --force-reinstall ijson)",
                path=path,
            )
        source = Source(path, buffer_size=buffer_size)
        try:
            return cls(source, reader)
        except BaseException:
            source.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._source.close()

    @property
    def plain(self) -> Plain | None:
        """What other processes need to know to read it in parts; None where they can't."""
        if not self.seekable or self.size is None:
            return None
        return Plain(self._source.origin, self.dialect, self.size, self._source.start, self._fast)

    def bytes_read(self) -> int:
        """Bytes taken from the file so far, for progress against ``size``: compressed ones if it is compressed."""
        return self._source.bytes_read()

    @property
    def read_fast(self) -> int:
        """Documents that took the fast lane so far, those skipped included, since ``documents`` was called last."""
        return self._reader.read_fast if self._reader else 0

    def documents(self, *, after: int = 0, offset: int | None = None) -> Iterator[RawDocument | Unreadable]:
        """``frames``, read."""
        return map(read, self._frames(after, offset, None))

    def frames(self, *, after: int = 0, offset: int | None = None, by_place: bool = False) -> Iterator[Document]:
        """The documents behind the first ``after``, which count on in ``index``.

        ``offset``, the ``end`` of the last document done, makes that immediate when the dump is seekable; otherwise
        the documents before are read and dropped. Raises DumpError where the dump can't be read on: every complete
        document before that place came out first. What is quickly found is only framed; the rest had to be read to be
        found. With ``by_place`` frames of a seekable file carry no bytes: another process reads them from there. Those
        of an object do, because there every reading is a request.
        """
        in_place = by_place and self.seekable and not storage.is_url(self.path)
        return timed("read", self._frames(after, offset, "place" if in_place else "data"))

    def _frames(self, after: int, offset: int | None, framing: Framing | None) -> Iterator[Document]:
        source = self._source
        seek = offset if self.seekable and after > 0 else None
        chunks = source.chunks(seek)
        index = 0 if seek is None else after
        if self.dialect == "bson":
            return _bson_documents(source.origin, chunks, at=seek or 0, index=index, after=after, framing=framing)
        text = Text(chunks, source.start if seek is None else seek)
        in_array = self.dialect == "json-array"
        self._reader = _JsonReader(
            source.origin, text, in_array=in_array, fast=self._fast, framing=framing, index=index, after=after
        )
        return self._reader.documents(resumed=seek is not None)


# ------------------------------------------------------------------------------------------------ what a file holds


def _dialect(source: Source) -> Dialect:
    head = source.head
    if _is_bson(head):
        return "bson"
    text = head.lstrip(b" \t\r\n")
    if text.startswith((b"[", b"{")) and text[1:2] != b"\0":
        return "json-array" if text.startswith(b"[") else "json-lines"
    place = source.start + len(head) - len(text)
    raise source.error(f"{_description(text)}; {_WANTED}", offset=place)


_WANTED = "wanted: a dump by mongoexport (JSON) or mongodump (.bson), plain or compressed"


def _is_bson(head: bytes) -> bool:
    # No text begins like this: as a length, its fourth byte alone would make it 150 MB. (UTF-16 without a byte order
    # mark has a zero where the first name begins.)
    if head == _EMPTY_BSON or head.startswith(_EMPTY_BSON * 2):
        return True
    length = int.from_bytes(head[:4], "little")
    return len(head) > 5 and 5 < length <= MAX_BSON_BYTES and head[4] in _BSON_TYPES and head[5] >= 0x20


def _description(text: bytes) -> str:
    """What a file is that is not a dump, for its user."""
    if not text:
        return "the dump is empty"
    sample = text[:1024]
    if (sample[:1] in b"[{" and sample[1:2] == b"\0") or (sample[:1] == b"\0" and sample[1:2] in b"[{"):
        return "this looks like UTF-16 without a byte order mark, save it as UTF-8"
    if sample.startswith(b"<"):
        return "this is HTML or XML"
    if b"\0" in sample or sum(byte < 0x20 and byte not in b"\t\r\n\f\x1b" for byte in sample):
        return "this is binary data of an unknown kind"
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    else:
        return f"this is a single JSON value, {_excerpt(text)}, not documents"
    first_line = sample.splitlines()[0]
    if first_line.count(b",") > 1 or first_line.count(b"\t") > 1:
        return "this looks like CSV, which loses types and nesting"
    return f"this is text that begins with {_excerpt(text)}, not JSON"


def _excerpt(data: bytes) -> str:
    return ascii(data[:_EXCERPT].decode("utf-8", errors="replace"))


# ------------------------------------------------------------------------------------------------------------- BSON


def _bson_documents(
    origin: Origin, chunks: Iterator[bytes], *, at: int, index: int, after: int, framing: Framing | None
) -> Iterator[Framed]:
    """BSON documents back to back, each of which begins with its length: https://bsonspec.org/spec.html"""
    buffer = bytearray()

    def fill(size: int) -> bool:
        while len(buffer) < size:
            chunk = next(chunks, None)
            if chunk is None:
                return False
            buffer.extend(chunk)
        return True

    while fill(1):
        truncated = f"the dump ends in the middle of the document that starts at byte {at:,}: {EXPORT_AGAIN}"
        if not fill(4):
            raise origin.error(truncated, offset=at + len(buffer), index=index)
        length = int.from_bytes(buffer[:4], "little", signed=True)
        if not len(_EMPTY_BSON) <= length <= MAX_BSON_BYTES:
            raise origin.error(
                f"corrupt BSON, a document of {length:,} bytes can't be: {EXPORT_AGAIN}", offset=at, index=index
            )
        if not fill(length):
            raise origin.error(truncated, offset=at + len(buffer), index=index)
        raw = bytes(buffer[:length])
        del buffer[:length]
        if index >= after:
            yield Framed(index, at, at + length, None if framing == "place" else raw, True, origin)
        at += length
        index += 1


def _bson_document(place: tuple[int, int | None, int | None], data: bytes, origin: Origin) -> RawDocument | Unreadable:
    not_utf8 = 0
    try:
        try:
            value = bson.decode(data, _BSON_OPTIONS)
        except BSONError as error:
            if "codec can't decode" not in str(error):
                raise
            value = bson.decode(data, _BSON_OPTIONS_REPLACE)
            not_utf8 = repr(value).count("\ufffd") - data.count("\ufffd".encode())
    except BSONError as error:
        if "recursion depth" in str(error):
            return Unreadable(*place, "nested-too-deep", _TOO_DEEP, data, in_bson=True)
        problem = f"corrupt BSON ({error}): {EXPORT_AGAIN}"
        raise origin.error(problem, offset=place[1], index=place[0]) from None
    if _deeper_than(MAX_DEPTH, value):
        return Unreadable(*place, "nested-too-deep", _TOO_DEEP, data, in_bson=True)
    if b"\2$ref\0" in data:
        value = _with_plain_references(value)
    return RawDocument(*place, value, not_utf8=not_utf8, reader="bson")


def _with_plain_references(value: Any) -> Any:
    """A DBRef that holds other fields as the object that it is in Extended JSON: pymongo makes one of that too."""
    if isinstance(value, DBRef):
        fields = {key: _with_plain_references(held) for key, held in value.as_doc().items()}
        if fields.keys() <= _REFERENCE:
            return DBRef(value.collection, fields["$id"], value.database)
        return fields
    if isinstance(value, dict):
        return {key: _with_plain_references(held) for key, held in value.items()}
    return [_with_plain_references(held) for held in value] if isinstance(value, list) else value


def _deeper_than(depth: int, value: object) -> bool:
    """Level by level, because a recursion would not survive what this is looking for."""
    level: list[Any] = [value]
    while level := [
        inner for outer in level for inner in _held(outer) if isinstance(inner, dict | list | DBRef | Code)
    ]:
        depth -= 1
        if depth == 0:
            return True
    return False


def _held(value: Any) -> Iterable[object]:
    if isinstance(value, Code):
        return () if value.scope is None else value.scope.values()
    if isinstance(value, DBRef):
        return value.as_doc().values()
    return value.values() if isinstance(value, dict) else value


# ------------------------------------------------------------------------------------------------------------- JSON


class _Doubtful(Exception):
    """The document that ijson is reading must be looked at before ijson reads on."""


class _Enough(Exception):
    """The document is complete, ijson needs no more of it."""


class _JsonReader:
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
        self.read_fast = 0
        self._begin()

    def _begin(self) -> None:
        """A new ijson, which takes objects back to back; it is of no use after an error."""
        self._values: Iterator[object] = _yajl.items(self, "", multiple_values=True)

    def forget(self) -> None:
        """To be called in the end: the reader and its ijson hold each other, and no garbage collector sees that."""
        self._values = iter(())

    def documents(self, *, resumed: bool) -> Iterator[Document]:
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
            raise self._error(f"{_excerpt(text.ahead(_EXCERPT))} where a comma or `]` belongs: {EXPORT_AGAIN}")
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
        return f"{_excerpt(self._text.ahead(_EXCERPT))} behind the closing `]`: remove it, or {EXPORT_AGAIN}"

    def _refuse_lone_object(self, document: Document) -> None:
        """An API's answer, an error message, or a script's export that holds the documents in an object: no dump."""
        value = document.value if isinstance(document, RawDocument) else None
        if not isinstance(value, dict) or "_id" in value or "jobId" in value:
            return
        what = "without _id and jobId"
        for key, held in value.items():
            if isinstance(held, list) and any(isinstance(element, dict) for element in held):
                what = f"with an array in {_excerpt(key.encode())}"
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
        self.read_fast += 1
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
        except (_Doubtful, ArithmeticError):
            self._begin()
            return self._framed(start, self._pieces)
        except (ijson.JSONError, UnicodeDecodeError):
            self._begin()
            return self._framed(start, self._pieces, broken=True)
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

    def _framed(self, start: int, pieces: list[bytes], *, broken: bool = False) -> RawDocument | Unreadable:
        """Read a value by following its brackets first. ``pieces`` of it were read; ``broken``: ijson refused them.

        A broken document may still be a whole one with a wrong byte behind it.
        """
        text = self._text
        nesting = Nesting()
        piece = b"".join(pieces)
        kept = [piece]
        size = len(piece)
        end = nesting.end(piece)
        if end is None and broken:
            raise self._broken(start, piece + text.ahead(_EXCERPT))
        while end is None:
            if text.at == len(text.data) and not text.more():
                raise self._truncated(start)
            piece = text.data[text.at :]
            text.at = len(text.data)
            size += len(piece)
            if size <= MAX_DOCUMENT_BYTES:
                kept.append(piece)
            elif len(kept) > 1 or len(kept[0]) > _KEPT_OF_TOO_LARGE:
                kept = [b"".join(kept)[:_KEPT_OF_TOO_LARGE]]
            end = nesting.end(piece)
        excess = len(piece) - end
        text.at -= excess
        size -= excess
        if size > MAX_DOCUMENT_BYTES:
            detail = f"{size:,} bytes of JSON text, more than any document MongoDB can hold; only its beginning is kept"
            return self._unreadable(start, "document-too-large", detail, b"".join(kept)[:_KEPT_OF_TOO_LARGE])
        raw = b"".join(kept)[:size]
        if nesting.deepest > MAX_DEPTH:
            return self._unreadable(start, "nested-too-deep", _TOO_DEEP, raw)
        return self._parsed(start, raw)

    def _scalar(self) -> RawDocument | Unreadable:
        text = self._text
        start = text.offset
        raw = b""
        while True:
            run = _SCALAR.match(text.data, text.at)
            assert run is not None
            raw += run[0]
            text.at = run.end()
            if text.at < len(text.data) or len(raw) > MAX_DIGITS:
                break
            if not text.more():
                if self._in_array:
                    raise self._truncated(start)
                break
        if not raw:
            raw = text.ahead(_EXCERPT)[:_EXCERPT]
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
            except extjson.NestedTooDeep:
                return self._unreadable(start, "nested-too-deep", _TOO_DEEP, b"".join(pieces))
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

    def _broken(self, start: int, raw: bytes) -> DumpError:
        """``raw`` is no JSON: find out where and why, with a parser that tells the place."""
        try:
            # It may end within a character: where pieces end must not matter.
            sound = raw[: codecs.utf_8_decode(raw, "strict", False)[1]]
            at, problem = 0, "this is not JSON"
        except UnicodeDecodeError as error:
            sound = raw[: error.start]
            at, problem = error.start, "this is not UTF-8"
        try:
            orjson.loads(replace_surrogates(sound)[0])
        except orjson.JSONDecodeError as error:
            stopped = len(error.doc[: error.pos].encode())
            if stopped < len(sound) or sound == raw:
                at, problem = stopped, f"this is not JSON ({error.msg})"
        message = f"{problem}, {_excerpt(raw[at:])}: {EXPORT_AGAIN}"
        return self._origin.error(message, offset=start + at, index=self._index)
