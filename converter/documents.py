"""The documents of a dump, each with its place in it: found, read, or not to be read."""

from dataclasses import dataclass, field
from typing import Final, Literal

from converter import extjson
from converter.sources import Origin

ReadBy = Literal["fastlane", "ijson", "bson"]
Framing = Literal["data", "place"]
"""What a frame carries: the document's bytes, or where they stand in the file."""
Reason = Literal["nested-too-deep", "document-too-large", "number-too-long"]

TOO_DEEP: Final = f"nested deeper than {extjson.MAX_LEVELS} levels"


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
