"""The last look at a converted job: every document against its contract and MongoDB's limits, then as bytes."""

from typing import Any, Final

import bson
import orjson

from converter import extjson
from converter.mapping import Converted, Rejected
from converter.models.legacy import MAX_NESTING
from converter.models.target import COLLECTIONS, Collection, violations, violations_in

MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes of BSON in a document: https://www.mongodb.com/docs/manual/reference/limits/"""

# BSON is larger than relaxed JSON by a factor of less than 8 ("0," takes at most 13 bytes), so a line below this fits.
_SURELY_FITS: Final = MAX_BYTES // 8

# Levels that the target puts around a value kept from the legacy document, at most. No rule makes more of its own.
_ADDED_LEVELS: Final = 10


Lines = dict[Collection, list[bytes]]
"""Collection -> the line of each document, with its newline."""


def check(converted: Converted, mode: extjson.Mode) -> Lines | Rejected:
    """The lines of every collection, in the order of ``COLLECTIONS``.

    ``Rejected`` if a document breaks its contract, has more than 100 levels, or more than 16 MiB of BSON even without
    its embedded events, which are given up first and counted as a repair.
    """
    lines: Lines = {}
    deep = converted.nesting > MAX_NESTING - _ADDED_LEVELS
    for collection in COLLECTIONS:
        documents = converted.documents[collection]
        wrong = violations_in(collection, documents) if len(documents) > 1 else violations(collection, documents[0])
        if wrong:
            return Rejected("contract", f"{collection}: {'; '.join(wrong[:5])}", converted.job_id)
        written = lines[collection] = []
        for document in documents:
            if deep and levels(document) > MAX_NESTING:
                detail = f"{collection}: the document would have more than {MAX_NESTING} levels"
                return Rejected("nested-too-deep", detail, converted.job_id)
            line = _line(document, mode)
            if len(line) > _SURELY_FITS:
                size = bson_bytes(line)
                if size > MAX_BYTES and collection == "novel_jobs":
                    converted.repairs["embedded-events-dropped"] = 1
                    line = _line(document | {"events": [], "domainEvents": []}, mode)
                    size = bson_bytes(line)
                if size > MAX_BYTES:
                    detail = f"{collection}: {size:,} bytes of BSON are more than MongoDB's limit of {MAX_BYTES:,}"
                    return Rejected("document-too-large", detail, converted.job_id)
            written.append(line)
    return lines


def _line(document: dict[str, Any], mode: extjson.Mode) -> bytes:
    """The line of a document that keeps its contract."""
    # Ids and dates as plain JSON: orjson writes them several times faster than it asks back how to.
    plain = document.copy()
    created, updated = document["createdAt"], document["updatedAt"]
    plain["_id"] = extjson.object_id_wrapper(document["_id"])
    plain["createdAt"] = wrapper = extjson.date_wrapper(created, mode)
    plain["updatedAt"] = wrapper if updated is created else extjson.date_wrapper(updated, mode)
    return extjson.mapped_line(plain, mode)


def bson_bytes(line: bytes) -> int:
    """The exact size of the document that ``mongoimport`` makes of a line."""
    return len(bson.encode(extjson.decode(orjson.loads(line))))


def levels(value: Any) -> int:
    """How deep objects and arrays are nested; 0 for a plain value."""
    if isinstance(value, dict):
        return 1 + max(map(levels, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(levels, value), default=0)
    return 0
