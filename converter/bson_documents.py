"""BSON: bytes -> documents, framed by their lengths, read by pymongo."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import bson
from bson import Code, DBRef, Regex
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError

from converter import extjson
from converter.documents import TOO_DEEP, Framed, Framing, RawDocument, Unreadable
from converter.repairs import Names
from converter.sources import EXPORT_AGAIN, Origin

MAX_BSON_BYTES: Final = 48 * 1024 * 1024
"""More than MongoDB's 16 MiB, so that a document that is only too large for MongoDB is still read and reported."""

_BSON_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="surrogatepass"
)
_REFERENCE: Final = frozenset(("$ref", "$id", "$db"))
# Each byte that is no UTF-8 as a surrogate of its own, so that names which differ only in such bytes stay apart.
_BSON_OPTIONS_ESCAPE: CodecOptions[dict[str, Any]] = _BSON_OPTIONS.with_options(
    unicode_decode_error_handler="surrogateescape"
)
# Type bytes an element may begin with: https://bsonspec.org/spec.html
_BSON_TYPES = frozenset(range(0x01, 0x14)) | {0x7F, 0xFF}
_EMPTY_BSON = b"\x05\0\0\0\0"


def is_bson(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is BSON."""
    # No text begins like this: as a length, its fourth byte alone would make it 150 MB. (UTF-16 without a byte order
    # mark has a zero where the first name begins.)
    if head == _EMPTY_BSON or head.startswith(_EMPTY_BSON * 2):
        return True
    length = int.from_bytes(head[:4], "little")
    return len(head) > 5 and 5 < length <= MAX_BSON_BYTES and head[4] in _BSON_TYPES and head[5] >= 0x20


def frames(
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


def read(place: tuple[int, int | None, int | None], data: bytes, origin: Origin) -> RawDocument | Unreadable:
    """The document that ``data`` is, with its index, offset and end as its ``place``. Raises DumpError."""
    is_utf8 = True
    try:
        try:
            value = bson.decode(data, _BSON_OPTIONS)
        except BSONError as error:
            if "codec can't decode" not in str(error):
                raise
            value = bson.decode(data, _BSON_OPTIONS_ESCAPE)
            is_utf8 = False
    except BSONError as error:
        if "recursion depth" in str(error):
            return Unreadable(*place, "nested-too-deep", TOO_DEEP, data, in_bson=True)
        problem = f"corrupt BSON ({error}): {EXPORT_AGAIN}"
        raise origin.error(problem, offset=place[1], index=place[0]) from None
    if _deeper_than(extjson.MAX_LEVELS, value):
        return Unreadable(*place, "nested-too-deep", TOO_DEEP, data, in_bson=True)
    if b"\2$ref\0" in data:
        value = _with_plain_references(value)
    not_utf8 = 0
    if not is_utf8:
        value = _with_replacements(value)
        not_utf8 = repr(value).count("\ufffd") - data.count("\ufffd".encode())
    return RawDocument(*place, value, not_utf8=not_utf8, reader="bson")


def _with_plain_references(value: Any) -> Any:
    """A DBRef that holds other fields as the object that it is in Extended JSON: pymongo makes one of that too."""
    if isinstance(value, DBRef):
        fields = {key: _with_plain_references(held) for key, held in value.as_doc().items()}
        if fields.keys() <= _REFERENCE:
            return DBRef(value.collection, fields["$id"], value.database)
        return fields
    if isinstance(value, Code):
        return value if value.scope is None else Code(str(value), _with_plain_references(dict(value.scope)))
    if isinstance(value, dict):
        return {key: _with_plain_references(held) for key, held in value.items()}
    return [_with_plain_references(held) for held in value] if isinstance(value, list) else value


def _with_replacements(value: Any) -> Any:
    """The value with U+FFFD for what is no UTF-8 in its texts; names that meet then get ``~2``, ``~3``."""
    if isinstance(value, Code):
        return Code(_replaced(value), None if value.scope is None else _with_replacements(value.scope))
    if isinstance(value, str):
        return _replaced(value)
    if isinstance(value, DBRef):
        database = None if value.database is None else _replaced(value.database)
        return DBRef(_replaced(value.collection), _with_replacements(value.id), database)
    if isinstance(value, Regex):
        return Regex(_replaced(value.pattern), value.flags)
    if isinstance(value, dict):
        names = Names(key for key in value if _replaced(key) == key)
        # By their bytes: the order of the keys is to change nothing.
        renamed = {key: names.free(sound) for key in sorted(value) if (sound := _replaced(key)) != key}
        return {renamed.get(key, key): _with_replacements(held) for key, held in value.items()}
    return [_with_replacements(held) for held in value] if isinstance(value, list) else value


def _replaced(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


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
