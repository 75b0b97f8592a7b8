"""All that can be done to one document without knowing the others: read, mapped, checked, counted, written as lines.

It needs nothing but the document and the task, so it can be done in this process or in another one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast

import bson.json_util
import orjson
from bson import Binary, ObjectId

from converter import contracts, extjson, mapping
from converter.documents import Framed, RawDocument, ReadBy, Unreadable
from converter.dump import read
from converter.mapping import Converted, Rejected, map_job
from converter.models.target import Collection
from converter.report.tally import Counted, counted
from converter.stages import lap


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done to every document of a run."""

    options: mapping.Options
    json_format: extjson.Mode
    dump_names: tuple[str, ...] = ()
    """The names that rejects are told by, where a run has several dumps."""


@dataclass(frozen=True, slots=True)
class Transformed:
    """A document that was accepted: what the mapping made of it, and the lines to write, by collection."""

    converted: Converted
    lines: contracts.Lines
    raw: RawDocument


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a run needs of an accepted document."""

    identities: tuple[bytes, bytes]
    """What no other job may share: jobId and ``_id``."""
    blocks: list[tuple[Collection, bytes, int]]
    """Collection, its lines in one piece, how many they are."""
    counted: Counted
    reader: ReadBy


@dataclass(frozen=True, slots=True)
class Refused:
    """What a run needs of a rejected document: why, and its line in rejects.ndjson."""

    rejected: Rejected
    line: bytes
    reader: ReadBy


def outcome(number: int, document: Framed | RawDocument | Unreadable, task: Task) -> Accepted | Refused:
    """The whole of it, for a document of the dump ``number``. Raises ``DumpError`` if it can't be read after all."""
    begun = perf_counter()
    raw = read(document, to_be_mapped=True)
    lap("read", begun)
    result = transform(raw, task.options, task.json_format)
    if isinstance(result, Rejected):
        return refused(number, read(document), result, task)
    begun = perf_counter()
    size = None if raw.offset is None or raw.end is None else raw.end - raw.offset
    count = counted(
        result.converted,
        result.lines,
        source=cast(Mapping[str, Any], result.raw.value),
        source_bytes=size,
        surrogates=result.raw.surrogates,
        not_utf8=result.raw.not_utf8,
    )
    job_id = result.converted.job_id
    identity: ObjectId = result.converted.documents["novel_jobs"][0]["_id"]
    identities = b"jobId " + job_id.encode("utf-8", "surrogatepass"), b"_id " + identity.binary
    blocks = [(collection, b"".join(lines), len(lines)) for collection, lines in result.lines.items()]
    accepted = Accepted(identities, blocks, count, raw.reader)
    lap("count", begun)
    return accepted


def transform(
    raw: RawDocument | Unreadable, options: mapping.Options, json_format: extjson.Mode
) -> Transformed | Rejected:
    """Mapped and checked."""
    if isinstance(raw, Unreadable):
        return Rejected(raw.reason, raw.detail)
    begun = perf_counter()
    converted = map_job(raw.value, options)
    begun = lap("map", begun)
    if isinstance(converted, Rejected):
        return converted
    lines = contracts.check(converted, json_format)
    lap("check", begun)
    if isinstance(lines, Rejected):
        return lines
    return Transformed(converted, lines, raw)


def refused(number: int, raw: RawDocument | Unreadable, rejected: Rejected, task: Task) -> Refused:
    """The reject with its line: the place, the reason, and the document whole."""
    head: dict[str, object] = {"dump": task.dump_names[number]} if task.dump_names else {}
    head |= {"index": raw.index, "offset": raw.offset}
    if rejected.job_id is not None:
        head["jobId"] = rejected.job_id
    head |= {"reason": rejected.reason, "detail": rejected.detail}
    return Refused(rejected, orjson.dumps(head)[:-1] + b',"document":' + _document(raw) + b"}\n", raw.reader)


_INDEX = re.compile(rb'"index":([0-9]+)')


def moved(line: bytes, by: int) -> bytes:
    """The line of a reject whose document turned out to have so many more before it."""
    # Nothing before it can look like it: in the dump's name a quote is escaped.
    return _INDEX.sub(lambda index: b'"index":%d' % (int(index[1]) + by), line, count=1)


def _document(raw: RawDocument | Unreadable) -> bytes:
    """A rejected document as Extended JSON; as text or Binary where it is too deep for that."""
    if isinstance(raw, Unreadable):
        return extjson.dumps(Binary(raw.raw) if raw.in_bson else raw.raw.decode("utf-8", "replace"))
    try:
        return extjson.dumps(raw.value)
    except (orjson.JSONEncodeError, RecursionError):
        return orjson.dumps(bson.json_util.dumps(raw.value))
