"""A profile in the making: documents go in one by one, the profile comes out at the end.

Memory is bounded by the largest document. The ids, which all have to be kept to find the repeated ones, go to a
temporary database of SQLite, which it moves to the disk as it grows.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final

from converter import extjson, times
from converter.contracts import levels
from converter.documents import RawDocument, Unreadable
from converter.extjson import NestedTooDeep
from converter.mapping.identity import job_id, true_id
from converter.models import legacy
from converter.models.checking import check
from converter.profiling.paths import MAX_STEPS, Here, Located, Paths, Tally, is_special
from converter.profiling.result import ODDITIES, DumpRead, Oddity, PathUse, Place, Profile, StatusUse, TypeUse
from converter.profiling.sizes import SizeTally
from converter.repairs import Repairs

NEAR_LIMIT: Final = 12 * 1024 * 1024
MAX_STATUSES: Final = 30
NO_STATUS: Final = "(none)"
NOT_TEXT: Final = "(not text)"
OTHER_STATUSES: Final = "(others)"
UNKNOWN_GENERATION: Final = "unknown"

_SHOWN_CHARACTERS: Final = 64
_ID_BATCH: Final = 10_000


class Aggregate:
    """Counters over all documents of all dumps."""

    def __init__(self) -> None:
        self.documents = 0
        self._dumps: list[DumpRead] = []
        self._sizes = SizeTally()
        self._generations: Counter[str] = Counter()
        self._statuses: dict[str, Counter[str]] = {}
        self._paths = Paths()
        self._oddities: dict[str, tuple[Tally, str]] = {}
        self._ids = _Ids()

    def close(self) -> None:
        """Let go of the temporary database."""
        self._ids.close()

    def begin(self, dump: DumpRead) -> None:
        """All that is added from here on comes from this dump."""
        self._dumps.append(dump)

    def add(self, raw: RawDocument | Unreadable) -> None:
        """Count one document. Its value is not changed."""
        self.documents += 1
        document = raw.value if isinstance(raw, RawDocument) else None
        job, repairs = _checked(document)
        fields: Mapping[str, Any] = job if job is not None else document if isinstance(document, dict) else {}
        ids = _identities(fields)
        here = (len(self._dumps) - 1, raw.index, raw.offset, _shortened(ids[0]) if ids else None)
        self._add_size(raw, here)
        generation = legacy.generation(job) if job is not None else UNKNOWN_GENERATION
        self._generations[generation] += 1
        if isinstance(raw, Unreadable):
            self._odd(raw.reason, here, raw.detail)
            return
        surrogates = max(raw.surrogates, repairs.counts.get("lone-surrogate", 0))
        if surrogates:
            self._odd("lone-surrogate", here, count=surrogates)
        if not isinstance(document, dict):
            self._odd("not-an-object", here, f"the first is of type {type(document).__name__}")
            return
        self._add_status(document, generation)
        for identity in ids:
            self._ids.add(identity, here)
        if not ids:
            self._odd("no-identity", here)
        if fields.get("createdAt") is None and true_id(fields.get("_id"), Repairs()) is None:
            self._odd("no-creation-time", here)
        if not self._paths.add(document, here):
            self._odd("deeper-than-shown", here, f"paths end after {MAX_STEPS} steps")
            if levels(document) > legacy.MAX_NESTING:
                self._odd("nested-too-deep", here)

    def result(self, broken: str | None = None) -> Profile:
        """The profile of all documents so far; ``broken`` says why there are no more."""
        located = list(self._paths.located())
        oddities = [*self._document_oddities(), *(row for at in located for row in self._path_oddities(at))]
        kinds = list(ODDITIES)
        return Profile(
            dumps=tuple(self._dumps),
            documents=self.documents,
            sizes=self._sizes.result(),
            generations=dict(sorted(self._generations.items())),
            statuses=tuple(
                StatusUse(status=status, generations=dict(sorted(counts.items())))
                for status, counts in sorted(self._statuses.items())
            ),
            paths=tuple(_path_row(at) for at in located),
            names=self._paths.names,
            oddities=tuple(sorted(oddities, key=lambda row: kinds.index(row.kind))),
            broken=broken,
        )

    def _add_size(self, raw: RawDocument | Unreadable, here: Here) -> None:
        if raw.offset is None or raw.end is None:
            return
        size = raw.end - raw.offset
        self._sizes.add(size)
        if size > NEAR_LIMIT:
            self._odd("near-16-mib", here, f"the first has {size:,} bytes")

    def _add_status(self, document: dict[str, Any], generation: str) -> None:
        status = document.get("status")
        text = NO_STATUS if status is None else _shortened(status) if type(status) is str else NOT_TEXT
        if text not in self._statuses and len(self._statuses) >= MAX_STATUSES:
            text = OTHER_STATUSES
        self._statuses.setdefault(text, Counter())[generation] += 1

    def _odd(self, kind: str, here: Here, detail: str = "", *, count: int = 1) -> None:
        tally, _ = self._oddities.setdefault(kind, (Tally(here), detail))
        tally.count += count

    # ------------------------------------------------------------------------------------------------------ the rows

    def _document_oddities(self) -> Iterator[Oddity]:
        for kind, (tally, detail) in self._oddities.items():
            yield self._oddity(kind, None, detail, tally.count, tally.first)
        repeated = self._ids.repeated()
        if repeated is not None:
            count, first, before = repeated
            there = self._place(before)
            detail = f"the first repeats document {there.index:,} of {there.dump}"
            yield self._oddity("repeated-id", None, detail, count, first)

    def _path_oddities(self, at: Located) -> Iterator[Oddity]:
        node, shape = at.node, at.node.shape
        if at.parent.shape.closed and not at.known:
            yield self._oddity("unknown-field", at.path, ", ".join(sorted(node.types)), node.count, node.first)
        for name, tally in sorted(node.types.items()):
            if name == "null" and node is at.parent.elements:
                yield self._oddity("null-in-array", at.path, "", tally.count, tally.first)
            elif shape.types is not None and name not in shape.types:
                wanted = " or ".join(sorted(shape.types - {"null"}))
                yield self._oddity("wrong-type", at.path, f"{name} instead of {wanted}", tally.count, tally.first)
        special = at.parent.special if node is at.parent.entries else None
        if special is not None:
            yield self._oddity("special-name", at.path, "", special.count, special.first)
        if at.name is not None and is_special(at.name):
            yield self._oddity("special-name", at.path, "", node.count, node.first)

    def _oddity(self, kind: str, path: str | None, detail: str, count: int, first: Here) -> Oddity:
        return Oddity(kind=kind, path=path, detail=detail, count=count, first=self._place(first))

    def _place(self, here: Here) -> Place:
        dump, index, offset, identity = here
        return Place(dump=self._dumps[dump].name, index=index, offset=offset, id=identity)


def _path_row(at: Located) -> PathUse:
    node = at.node
    return PathUse(
        path=at.path,
        documents=node.documents if at.exact else None,
        count=node.count,
        parents=at.parent.of_type("array" if node is at.parent.elements else "object"),
        types=tuple(
            _type_row(name, tally)
            for name, tally in sorted(node.types.items(), key=lambda item: (-item[1].count, item[0]))
        ),
    )


def _type_row(name: str, tally: Tally) -> TypeUse:
    low: int | float | str | None = tally.low
    high: int | float | str | None = tally.high
    if name == "date":
        low, high = _date(tally.low), _date(tally.high)
    values = None
    if name in ("string", "bool") and tally.values is not None:
        counted: Counter[str] = Counter()
        for value, count in tally.values.items():
            counted[extjson.without_surrogates(value)] += count
        values = dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))
    return TypeUse(type=name, count=tally.count, least=low, most=high, values=values)


def _date(milliseconds: int | float | None) -> int | str | None:
    if milliseconds is None:
        return None
    whole = int(milliseconds)
    return times.iso(whole) if times.FIRST_MILLISECOND <= whole <= times.LAST_MILLISECOND else whole


def _checked(document: object) -> tuple[legacy.Job | None, Repairs]:
    """The document in the shape that a conversion sees, None if it has no such shape; and what had to be mended."""
    repairs = Repairs()
    if not isinstance(document, dict):
        return None, repairs
    try:
        return check(document, repairs), repairs
    except NestedTooDeep:
        return None, repairs


def _identities(fields: Mapping[str, Any]) -> list[str]:
    """What the document may be called: first its job id, as a conversion finds it, then its _id if that is another."""
    identity = fields.get("_id")
    stated = fields.get("jobId")
    try:
        found = [job_id(None, identity, Repairs())]
        if type(stated) is str:
            found.insert(0, job_id(stated, identity, Repairs()))
    except NestedTooDeep:  # no identity of a job
        return []
    return list(dict.fromkeys(name for name in found if name is not None))


def _shortened(text: str) -> str:
    fit = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
    return extjson.without_surrogates(fit)


class _Ids:
    """All ids of all documents, on disk."""

    def __init__(self) -> None:
        # Without a name it is a temporary file, which goes away with the connection.
        self._database = sqlite3.connect("")
        self._database.execute("CREATE TABLE ids (id TEXT, dump INTEGER, position INTEGER, start INTEGER, name TEXT)")
        self._batch: list[tuple[str, *Here]] = []

    def add(self, identity: str, here: Here) -> None:
        # An id can be as long as a document.
        key = identity if len(identity) <= _SHOWN_CHARACTERS else blake2b(identity.encode()).hexdigest()
        self._batch.append((key, *here))
        if len(self._batch) == _ID_BATCH:
            self._write()

    def repeated(self) -> tuple[int, Here, Here] | None:
        """How many documents have an id of an earlier one; the first of them, and the one that it repeats."""
        self._write()
        self._database.execute("DROP TABLE IF EXISTS again")
        # One sort instead of an index that would be written to all over the disk.
        self._database.execute(
            """
            CREATE TEMPORARY TABLE again AS SELECT * FROM (
                SELECT *, first_value(dump) OVER same AS first_dump, first_value(position) OVER same AS first_position,
                    first_value(start) OVER same AS first_start, first_value(name) OVER same AS first_name
                FROM ids WINDOW same AS (PARTITION BY id ORDER BY dump, position)
            ) WHERE (dump, position) != (first_dump, first_position)
            """
        )
        (count,) = self._database.execute("SELECT count(*) FROM (SELECT DISTINCT dump, position FROM again)").fetchone()
        if count == 0:
            return None
        row = self._database.execute("SELECT * FROM again ORDER BY dump, position, id LIMIT 1").fetchone()
        return count, row[1:5], row[5:9]

    def close(self) -> None:
        self._database.close()

    def _write(self) -> None:
        self._database.executemany("INSERT INTO ids VALUES (?, ?, ?, ?, ?)", self._batch)
        self._batch.clear()
