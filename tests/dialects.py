"""The same documents as mongoexport, mongodump and people's scripts write them, without the project's own encoder."""

import bz2
import codecs
import gzip
import json
import lzma
from collections.abc import Callable, Sequence
from itertools import cycle
from random import Random
from typing import Any, Literal

import bson
from bson import DatetimeMS, DBRef, Int64, ObjectId, json_util
from bson.codec_options import DatetimeConversion

from converter.sources import zstd

Document = dict[str, Any]
Version = Literal["relaxed", "canonical", "v1", "v1 with dates as text"]

_OLD = json_util.JSONOptions(json_mode=json_util.JSONMode.LEGACY)
_NEW = json_util.JSONOptions(json_mode=json_util.JSONMode.CANONICAL)
_END_OF_9999 = 253_402_300_799_999


def documents_of(text: str) -> list[Document]:
    """The documents of a JSON array in Extended JSON, read by pymongo."""
    options = json_util.JSONOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
    read: list[Document] = json_util.loads(text, json_options=options)
    return read


def extended_json(value: Any, version: Version) -> Any:
    """A BSON value as plain JSON: Extended JSON 2 in either form, or 1."""
    match value:
        case dict():
            return {key: extended_json(held, version) for key, held in value.items()}
        case list():
            return [extended_json(held, version) for held in value]
        case DBRef():
            return extended_json(value.as_doc(), version)
        case ObjectId():
            return {"$oid": str(value)}
        case DatetimeMS():
            return {"$date": _date(int(value), version)}
        case None | bool() | str():
            return value
        case int() if version == "canonical":
            is_long = isinstance(value, Int64) or not -(2**31) <= value < 2**31
            return {"$numberLong" if is_long else "$numberInt": str(int(value))}
        case int() if version == "relaxed" or not isinstance(value, Int64):
            return int(value)
        case float() if value - value == 0:
            return {"$numberDouble": repr(value)} if version == "canonical" else value
        case float():
            return {"$numberDouble": "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"}
    return json_util.default(value, _NEW if version in ("relaxed", "canonical") else _OLD)


def _date(stamp: int, version: Version) -> object:
    if version == "v1" or (version == "v1 with dates as text" and not 0 <= stamp <= _END_OF_9999):
        return stamp
    if version == "canonical" or not 0 <= stamp <= _END_OF_9999:
        return {"$numberLong": str(stamp)}
    whole = DatetimeMS(stamp - stamp % 1000).as_datetime().strftime("%Y-%m-%dT%H:%M:%S")
    if version == "relaxed":
        fraction = f".{stamp % 1000:03}".rstrip("0").rstrip(".")  # as mongoexport cuts it
        return f"{whole}{fraction}Z"
    return f"{whole}.{stamp % 1000:03}+0000"


def _compact(document: Document, version: Version = "relaxed") -> str:
    return json.dumps(extended_json(document, version), ensure_ascii=False, separators=(",", ":"))


def _pretty(document: Document) -> str:
    return json.dumps(extended_json(document, "relaxed"), ensure_ascii=False, indent="\t")


def _array(texts: Sequence[str], separator: str = ",") -> str:
    return f"[{separator.join(texts)}]\n"


def _indented_anew(documents: Sequence[Document]) -> str:
    tree = extended_json(list(documents), "relaxed")
    return json.dumps(tree, ensure_ascii=False, indent=2, separators=(" ,", " : ")).replace("\n", "\r\n")


def _escaped(documents: Sequence[Document]) -> str:
    return _array([json.dumps(extended_json(document, "relaxed")).replace("/", r"\/") for document in documents])


def _mixed(documents: Sequence[Document]) -> str:
    versions: cycle[Version] = cycle(("v1 with dates as text", "canonical", "v1", "relaxed"))
    return _array([_compact(document, version) for document, version in zip(documents, versions, strict=False)])


TEXTS: dict[str, Callable[[Sequence[Document]], str]] = {
    "array": lambda documents: _array([_compact(document) for document in documents]),
    "array, pretty": lambda documents: _array([_pretty(document) for document in documents], ",\n"),
    "array, indented anew": _indented_anew,
    "array, escaped": _escaped,
    "array, canonical": lambda documents: _array([_compact(document, "canonical") for document in documents]),
    "array, v1": lambda documents: _array([_compact(document, "v1") for document in documents]),
    "array, v1 with dates as text": lambda documents: _array(
        [_compact(document, "v1 with dates as text") for document in documents]
    ),
    "array, mixed": _mixed,
    "lines": lambda documents: "".join(_compact(document) + "\n" for document in documents),
    "lines, CRLF and blank ones": lambda documents: "\r\n\r\n".join(_compact(document) for document in documents),
    "lines, pretty": lambda documents: "".join(_pretty(document) + "\n" for document in documents),
    "lines, nothing between": lambda documents: "".join(_compact(document) for document in documents),
}


def write_bson(documents: Sequence[Document]) -> bytes:
    return b"".join(map(bson.encode, documents))


DIALECTS: dict[str, Callable[[Sequence[Document]], bytes]] = {
    **{name: (lambda documents, write=write: write(documents).encode()) for name, write in TEXTS.items()},
    "bson": write_bson,
}

ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "utf-8-bom": lambda text: codecs.BOM_UTF8 + text.encode(),
    "utf-16-le": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "utf-16-be": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
}

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": zstd.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


def shuffled(value: Any, random: Random) -> Any:
    """The same value, the keys of its objects in another order."""
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key], random) for key in keys}
    if isinstance(value, list):
        return [shuffled(held, random) for held in value]
    return value


def storable(value: Any) -> Any:
    """The value without what only JSON text can hold: lone surrogates, and NUL in a key."""
    if isinstance(value, dict):
        return {_sound(key).replace("\0", ""): storable(held) for key, held in value.items()}
    if isinstance(value, list):
        return [storable(held) for held in value]
    return _sound(value) if type(value) is str else value


def _sound(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
