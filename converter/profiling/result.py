"""What a profile says. Plain data in a fixed order, so that the same dumps give the same bytes."""

from typing import Final

from pydantic import BaseModel

ODDITIES: Final[dict[str, str]] = {
    "not-an-object": "documents that are no objects",
    "document-too-large": "documents too large to be read",
    "nested-too-deep": "documents of more levels than MongoDB allows (100)",
    "number-too-long": "documents with a number of too many digits",
    "near-16-mib": "documents whose text is larger than 12 MiB; MongoDB's limit is 16 MiB",
    "no-identity": "documents without an id",
    "repeated-id": "documents with an id, as _id or jobId, that an earlier document has",
    "no-creation-time": "documents without createdAt, and without an ObjectId that would tell it",
    "wrong-type": "values of a type that the legacy schema doesn't have there",
    "null-in-array": "nulls among the elements of an array",
    "unknown-field": "fields that the legacy schema doesn't have",
    "special-name": "names with a dot or NUL, or that begin with a dollar sign",
    "lone-surrogate": "lone surrogates, which are no Unicode, in texts",
    "deeper-than-shown": "documents with values deeper than a profile looks",
}
"""Kind of oddity -> what it counts."""


class _Result(BaseModel, frozen=True, strict=True, extra="forbid"):
    pass


class DumpRead(_Result):
    """One dump: its name without folders, and what it was found to be. Bytes are those on disk."""

    name: str
    dialect: str
    compression: str | None
    encoding: str
    bytes: int | None


class Place(_Result):
    """One document: in which dump, its 0-based index there, its byte offset where known, its job id if it has one."""

    dump: str
    index: int
    offset: int | None
    id: str | None


class SizeClass(_Result):
    """Documents of at most so many bytes that are in no smaller class."""

    up_to: int
    documents: int


class Sizes(_Result):
    """Bytes that the documents take as text (or BSON) in the dumps. UTF-16 documents are not in: theirs isn't known.

    Percentiles are the upper bound of the class they fall into: at most ``resolution``, a share, too large.
    """

    documents: int
    min: int
    mean: float
    p50: int
    p95: int
    max: int
    resolution: float
    classes: tuple[SizeClass, ...]


class TypeUse(_Result):
    """The values of one BSON type at one path.

    ``least`` and ``most`` are numbers; dates in ISO form (milliseconds since 1970 outside the years 1 to 9999);
    characters of strings; elements of arrays; fields of objects; None for types without a measure. ``values`` counts
    the different values of short strings and of truth values, None where they are too many or too long.
    """

    type: str
    count: int
    least: int | float | str | None
    most: int | float | str | None
    values: dict[str, int] | None


class PathUse(_Result):
    """One path: ``chapters[].content`` in the elements of an array, ``characters.*`` in the entries of a map.

    ``documents`` have it at least once; None where that isn't known, because names were merged into ``*``. ``count``
    times it is there, in ``parents`` objects or arrays that could have it.
    """

    path: str
    documents: int | None
    count: int
    parents: int
    types: tuple[TypeUse, ...]


class StatusUse(_Result):
    """The documents of one status, by schema generation."""

    status: str
    generations: dict[str, int]


class Oddity(_Result):
    """One kind of ``ODDITIES``, at one path if it has one, and the first document that has it."""

    kind: str
    path: str | None
    detail: str
    count: int
    first: Place


class Profile(_Result):
    """All there is to know about the dumps before they are converted.

    ``names`` outside the legacy schema are told apart in one object; where there are more, they count as ``*``.
    ``broken`` is the line that says why reading stopped early; all figures are of what was read up to there.
    """

    dumps: tuple[DumpRead, ...]
    documents: int
    sizes: Sizes | None
    generations: dict[str, int]
    statuses: tuple[StatusUse, ...]
    paths: tuple[PathUse, ...]
    names: int
    oddities: tuple[Oddity, ...]
    broken: str | None
