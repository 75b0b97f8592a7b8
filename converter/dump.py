"""Dumps: what is one, which dialect it is in, and its documents from any place on."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

import orjson

from converter import bson_documents, fastlane, storage, typedlane
from converter.documents import Document, Framed, Framing, RawDocument, Unreadable
from converter.errors import DumpError, excerpt
from converter.json_documents import BACKEND, JsonReader
from converter.json_text import Text
from converter.sources import LONGEST_HEAD, Origin, Source
from converter.stages import timed

Dialect = Literal["json-array", "json-lines", "bson"]
Reader = Literal["auto", "ijson"]


def read(document: Document, *, to_be_mapped: bool = False) -> RawDocument | Unreadable:
    """The document with its values. Raises DumpError for one that can't be read.

    One that is only ``to_be_mapped`` may come without what no rule of the mapping asks for, but then is read faster.
    """
    if not isinstance(document, Framed):
        return document
    place = document.index, document.offset, document.end
    data = document.data if document.data is not None else document.origin.read(document.offset or 0, document.end or 0)
    if document.in_bson:
        return bson_documents.read(place, data, document.origin)
    value = (typedlane.read(data) if to_be_mapped else None) or fastlane.read(data)
    if value is not None:
        return RawDocument(*place, value, reader="fastlane")
    text = Text(iter([data]), document.offset or 0)
    reader = JsonReader(document.origin, text, in_array=False, fast=False, framing=None, index=document.index, after=0)
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
            yield from bson_documents.frames(self.origin, chunks, at=at, index=index, after=0, framing="data")
            return
        in_array = self.dialect == "json-array"
        text = Text(chunks, at)
        reader = JsonReader(self.origin, text, in_array=in_array, fast=self.fast, framing="data", index=index, after=0)
        yield from reader.documents(resumed=index > 0)


class Dump:
    """A dump that was found to be one: its dialect is known, its documents can be read."""

    def __init__(self, source: Source, reader: Reader) -> None:
        """Tell what ``source`` holds by its first bytes. Raises DumpError for anything that is not a dump."""
        self._source = source
        self._fast = reader == "auto" and fastlane.works()
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
            return bson_documents.frames(source.origin, chunks, at=seek or 0, index=index, after=after, framing=framing)
        text = Text(chunks, source.start if seek is None else seek)
        in_array = self.dialect == "json-array"
        reader = JsonReader(
            source.origin, text, in_array=in_array, fast=self._fast, framing=framing, index=index, after=after
        )
        return reader.documents(resumed=seek is not None)


# ------------------------------------------------------------------------------------------------ what a file holds


def _dialect(source: Source) -> Dialect:
    head = source.head()
    if bson_documents.is_bson(head):
        return "bson"
    text = head.lstrip(b" \t\r\n")
    if text.startswith((b"[", b"{")) and text[1:2] != b"\0":
        return "json-array" if text.startswith(b"[") else "json-lines"
    place = source.start + len(head) - len(text)
    if not text and len(head) >= LONGEST_HEAD:
        raise source.error(f"nothing but white space at its beginning; {_WANTED}", offset=source.start)
    raise source.error(f"{_description(text)}; {_WANTED}", offset=place)


_WANTED = "wanted: a dump by mongoexport (JSON) or mongodump (.bson), plain or compressed"


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
        return f"this is a single JSON value, {excerpt(text)}, not documents"
    first_line = sample.splitlines()[0]
    if first_line.count(b",") > 1 or first_line.count(b"\t") > 1:
        return "this looks like CSV, which loses types and nesting"
    return f"this is text that begins with {excerpt(text)}, not JSON"
