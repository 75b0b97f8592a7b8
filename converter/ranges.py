"""A plain dump in byte ranges, so that several processes frame, read and convert it at once.

Where a range's first document begins can't be proven from within the range: a part of a document parses like a
document. So whoever works on one looks for the separator that the dump's first documents have between them, begins
there, and says where it began and where it ended. A range counts only if it began where the one before it had ended,
and the first begins where the dump does: by induction every accepted place is a true one. A wrong guess costs time and
nothing else: the range is done again, from its proven beginning.
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from types import MappingProxyType
from typing import Final, TypeVar

from converter import storage
from converter.bson_documents import MAX_BSON_BYTES
from converter.documents import Document
from converter.dump import Dump, Plain, read
from converter.errors import DumpError
from converter.mapping import Rejected
from converter.transformation import Accepted, Refused, Task, outcome, refused

FURTHER: Final = 4
"""How many times its own length a range may be read on behind its end, for its last document, unless it is proven."""
_LEAST_FURTHER: Final = 8 << 20
"""Or so many bytes, where it is a short one."""

_PIECE: Final = 2 << 20
_PIECE_BEHIND: Final = 256 << 10
"""Bytes read at once: within a range, and behind its end, where its last document seldom needs more than a few."""
_LEARNED_FROM: Final = 16
_LONGEST_KEY: Final = 256
_LONGEST_GAP: Final = 4096
"""Bytes of white space in a separator: it is held in memory, and looked for in every range."""
_ATTEMPTS: Final = 16
"""Wrong beginnings that are tried before a range is given back: each may cost a reading of the whole range."""
_WHITE: Final = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Separator:
    """Bytes that stand where one document ends and another begins, and where in them the first one ends."""

    text: bytes
    end: int


@dataclass(frozen=True, slots=True)
class Range:
    """Documents of a dump: those that follow a place from ``start`` on and before ``end`` at which a document ends."""

    plain: Plain
    separator: Separator | None
    start: int
    end: int | None
    """None for the last range, which goes on to the dump's end and proves that it is one."""
    index: int | None = None
    """How many documents are before ``start``, which then is proven; None where a beginning is to be looked for."""

    @property
    def first_index(self) -> int:
        """From which its documents are counted: 0 where the dump begins, else 1: who knows how many are before?"""
        return 0 if self.index == 0 else 1

    def words(self) -> str:
        end = self.plain.size if self.end is None else self.end
        return f"bytes {self.start:,} to {end:,} of {self.plain.origin.path}"


Found = TypeVar("Found")
Outcome = tuple[int, int, Accepted | Refused]
"""Where a document begins and ends, and what became of it."""


@dataclass(frozen=True, slots=True)
class ConvertedRange:
    """What became of the documents of a range, whose indexes are counted from its ``first_index``."""

    began: int | None = None
    """None: no beginning was found."""
    documents: tuple[Outcome, ...] = ()
    complete: bool = False
    """Nothing follows but the end of the dump."""
    cut: bool = False
    """There may be more documents in it."""
    error: DumpError | None = None
    """Behind the documents."""


@dataclass(slots=True)
class Chain:
    """How far a dump was converted without a gap."""

    number: int
    """Which dump."""
    index: int
    """Documents up to there."""
    at: int
    """Where the last of them ended."""
    complete: bool = False
    wrong: int = 0
    """Ranges in a row that did not begin where they should have."""
    given_up: bool = False
    """What is left is no longer done in ranges."""

    def ranges(self, plain: Plain, separator: Separator | None, size: int) -> Iterator[Range]:
        """What is left of the dump, cut at multiples of ``size``. The first one is proven.

        It is at least one: where everything was read, nothing may follow, and nothing be missing.
        """
        start = self.at
        index: int | None = self.index
        while True:
            end = start + size - (start - plain.start) % size
            yield Range(plain, separator, start, end if end < plain.size else None, index)
            if end >= plain.size:
                return
            start, index = end, None

    def is_behind(self, piece: Range) -> bool:
        """Whether all documents of a range are done."""
        return self.complete or (piece.end is not None and self.at >= piece.end)

    def proven(self, piece: Range) -> Range:
        """What is left of a range, of which the beginning is known then."""
        return replace(piece, start=self.at, index=self.index)

    @property
    def shift(self) -> int:
        """What is to be added to the indexes that a worker counts from a range's ``first_index``."""
        return self.index - min(self.index, 1)


def separator(dump: Dump) -> Separator | None:
    """What divides the documents of ``dump``, learned from its first ones; None if no range of it could be begun."""
    plain = dump.plain
    if plain is None:
        return None
    try:
        if plain.dialect == "bson":
            return _bson_separator(plain)
        for one, other in pairwise(islice(dump.frames(by_place=True), _LEARNED_FROM)):
            found = _json_separator(plain, one.end or 0, other.offset or 0)
            if found is not None:
                return found
    except DumpError:
        pass  # whoever reads the dump from its beginning meets it again, at its place
    return None


def _json_separator(plain: Plain, end: int, start: int) -> Separator | None:
    """From the closing brace of a document, which ends at ``end``, to the first key of one that begins at ``start``."""
    if start - end > _LONGEST_GAP:
        return None
    text = plain.origin.read(end - 1, start + _LONGEST_KEY)
    opening = start - end + 1
    key = len(text) - len(text[opening + 1 :].lstrip(_WHITE))
    if text[:1] != b"}" or text[opening : opening + 1] != b"{" or text[key : key + 1] != b'"':
        return None
    closing = text.find(b'"', key + 1)
    return None if closing < 0 or b"\\" in text[key:closing] else Separator(text[: closing + 1], 1)


def _bson_separator(plain: Plain) -> Separator | None:
    """Type and name of the first document's first element. Before them stands the document's length."""
    element = plain.origin.read(4, 4 + _LONGEST_KEY)
    name = element.find(b"\0", 1)
    return None if element[0] == 0 or name < 0 else Separator(element[: name + 1], -4)


def fitting(dump: Dump, most_bytes: int, most_documents: int) -> int:
    """How long ranges should be, in bytes: of documents like the dump's first ones half of ``most_documents``."""
    try:
        first = list(islice(dump.frames(by_place=True), _LEARNED_FROM))
    except DumpError:
        return most_bytes
    taken = first[-1].end if first else None
    return most_bytes if taken is None else min(most_bytes, -(-taken // len(first)) * max(most_documents // 2, 1))


def converted(number: int, piece: Range, task: Task, most: int) -> ConvertedRange:
    """The outcomes of the first ``most`` documents of a range of the dump ``number``.

    Raises ``DumpError`` where this isn't the dump that was meant.
    """

    def attempt(began: int, outcomes: Iterator[Outcome]) -> tuple[ConvertedRange, DumpError | None]:
        documents: list[Outcome] = []
        error = None
        try:
            documents.extend(islice(outcomes, most))
        except DumpError as found:
            error = found.moved(0)  # without the frames that it went through, which would keep the dump's bytes
        cut = error is None and len(documents) == most
        complete = error is None and not cut and (not documents or piece.end is None or documents[-1][1] < piece.end)
        return ConvertedRange(began, tuple(documents), complete, cut, error), error

    return begun(number, piece, task, attempt) or ConvertedRange()


def begun(
    number: int,
    piece: Range,
    task: Task,
    attempt: Callable[[int, Iterator[Outcome]], tuple[Found, DumpError | None]],
    refusals: Mapping[int, Rejected] = MappingProxyType({}),
) -> Found | None:
    """What ``attempt`` makes of the outcomes from the range's beginning on. None if no beginning is found.

    ``refusals`` are documents, counted from 0, that are rejected whatever they are. Where the beginning isn't proven,
    an attempt that ends with an error is repeated from the next place that looks like one.
    """
    plain = piece.plain
    _refuse_another_file(plain)
    end = plain.size if piece.end is None else piece.end
    if piece.index is not None:
        return attempt(piece.start, _outcomes(number, piece, piece.start, plain.size, task, refusals))[0]
    limit = min(plain.size, end + max(FURTHER * (end - piece.start), _LEAST_FURTHER))
    at = piece.start
    for _ in range(_ATTEMPTS):
        began = _end_of_document(piece, at, end)
        if began is None:
            break
        found, error = attempt(began, _outcomes(number, piece, began, limit, task, refusals))
        if error is None:
            return found
        # Most likely this was in the middle of a document. What was read is not read again.
        at = max(began + 1, error.offset or 0)
    return None


def _refuse_another_file(plain: Plain) -> None:
    """A worker on another machine may see another file by this name, or none."""
    try:
        size = plain.origin.size()
    except DumpError as error:
        if storage.is_url(plain.origin.path):
            raise plain.origin.error(f"the worker {platform.node()}: {error.message}", offset=None) from None
        found = error.message
    else:
        if size == plain.size:
            return
        found = f"a file of {size:,} bytes, not {plain.size:,}"
    message = f"the worker {platform.node()} finds {found}: all workers must see the same dump under this path"
    raise plain.origin.error(message, offset=None)


def _end_of_document(piece: Range, start: int, end: int) -> int | None:
    """The first place from ``start`` on, and before ``end``, where a document seems to end."""
    assert piece.separator is not None
    text, ahead = piece.separator.text, piece.separator.end
    while start < end:
        stop = min(start + _PIECE_BEHIND, end)
        # With what it takes to recognize an end that is the first place, or the last.
        base = max(start - 1, 0)
        data = piece.plain.origin.read(base, stop + len(text) + abs(ahead))
        place = data.find(text, max(start - ahead - base, 0))
        while place >= 0 and base + place + ahead < stop:
            found = base + place + ahead
            if piece.plain.dialect != "bson" or _may_be_bson(piece.plain, data[place - 5 : place], found):
                return found
            place = data.find(text, place + 1)
        start = stop
    return None


def _may_be_bson(plain: Plain, before: bytes, start: int) -> bool:
    """Whether a document may begin there: one ends before, and the length leads to the end of this one."""
    length = int.from_bytes(before[1:], "little")
    end = start + length
    if before[0] != 0 or not 5 <= length <= MAX_BSON_BYTES or end > plain.size:
        return False
    return plain.origin.read(end - 1, end) == b"\0"


def _outcomes(
    number: int, piece: Range, at: int, limit: int, task: Task, refusals: Mapping[int, Rejected]
) -> Iterator[Outcome]:
    """Those from ``at`` on. No byte from ``limit`` on is read."""
    documents = piece.plain.documents(_chunks(piece, at, limit), at=at, index=piece.first_index)
    for position, document in enumerate(documents):
        start, end = _place(document)
        if position in refusals:
            yield start, end, refused(number, read(document), refusals[position], task)
        else:
            yield start, end, outcome(number, document, task)
        if piece.end is not None and end >= piece.end:
            return


def _place(document: Document) -> tuple[int, int]:
    assert document.offset is not None
    assert document.end is not None
    return document.offset, document.end


def _chunks(piece: Range, at: int, limit: int) -> Iterator[bytes]:
    plain = piece.plain
    end = plain.size if piece.end is None else piece.end
    while at < limit:
        data = plain.origin.read(at, min(at + _PIECE, end) if at < end else min(at + _PIECE_BEHIND, limit))
        if not data:
            break
        yield data
        at += len(data)
    if at < plain.size:
        raise plain.origin.error("too far behind the end of the range", offset=at)
