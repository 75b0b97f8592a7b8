"""What stands at each path of the documents: how often, of which types, between which bounds.

Documents go in one by one and only counts stay, in a tree of paths. So that the tree stays small whatever the dump
holds, the names of fields that the legacy schema doesn't have are kept while they are few. Where an object has many of
them they are data, as in a map, and all that they hold is counted as one entry ``*``.
"""

import json
import re
from collections.abc import Iterator
from types import NoneType
from typing import Any, Final, NamedTuple

from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.dbref import DBRef

from converter.extjson import INT32_MAX, Double, RawText, without_surrogates
from converter.profiling.shape import ANY, JOB, Shape

MAX_PATHS: Final = 5000
"""Paths that are told apart between two documents."""
NAMES: Final = (40, 10, 3, 0)
"""Names outside the schema that an object may have before they count as ``*``; the next number where paths become too
many."""
MAX_STEPS: Final = 12
"""Steps of a path; what lies deeper is not looked at."""
MAX_VALUES: Final = 20
"""Different values of an enumeration: a field that has more is none."""
MAX_VALUE_LENGTH: Final = 40
"""Characters of a value of an enumeration."""

NOT_FINITE: Final = "double (NaN or infinite)"

# By the names of https://www.mongodb.com/docs/manual/reference/operator/query/type/
_TYPE_NAMES: Final[dict[type, str]] = {
    NoneType: "null",
    ObjectId: "objectId",
    Decimal128: "decimal",
    Double: NOT_FINITE,
    Binary: "binData",
    bytes: "binData",
    Regex: "regex",
    Timestamp: "timestamp",
    Code: "javascript",
    MinKey: "minKey",
    MaxKey: "maxKey",
    DBRef: "dbPointer",
}

# What MongoDB's dotted paths and operators can't reach, or BSON can't hold.
_SPECIAL_NAME: Final = re.compile(r"^\$|[.\0]")
_PLAIN_NAME: Final = re.compile(r"[\w-]+")

Here = tuple[int, int, int | None, str | None]
"""A document: position of its dump among the dumps, index in it, byte offset in it, job id."""


class Tally:
    """The values of one type at one path."""

    __slots__ = ("count", "first", "high", "low", "values")

    def __init__(self, first: Here) -> None:
        self.count = 0
        self.first = first
        self.low: int | float | None = None
        """The least number, date (milliseconds), length of a string, number of elements or of fields."""
        self.high: int | float | None = None
        self.values: dict[str, int] | None = {}
        """How often each value, None where they are too many or too long. Only strings and truth values have them."""

    def absorb(self, other: "Tally") -> None:
        self.count += other.count
        self.first = min(self.first, other.first)
        if other.low is not None and other.high is not None:
            self.low = other.low if self.low is None else min(self.low, other.low)
            self.high = other.high if self.high is None else max(self.high, other.high)
        if self.values is None or other.values is None:
            self.values = None
            return
        for value, count in other.values.items():
            self.values[value] = self.values.get(value, 0) + count
        if len(self.values) > MAX_VALUES:
            self.values = None


class Node:
    """One path."""

    __slots__ = ("collapsed", "documents", "elements", "entries", "fields", "serial", "shape", "special", "types")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.types: dict[str, Tally] = {}
        self.fields: dict[str, Node] = {}
        self.entries: Node | None = None
        """All fields that have no node of their own."""
        self.elements: Node | None = None
        self.collapsed = False
        """Names outside the schema are not kept any more."""
        self.special: Tally | None = None
        """Names among the entries that have a dot or begin with a dollar sign."""
        self.documents = 0
        """In how many documents the path is. Not true below a node that is collapsed: its entries have been merged."""
        self.serial = 0

    @property
    def count(self) -> int:
        return sum(tally.count for tally in self.types.values())

    @property
    def first(self) -> Here:
        return min(tally.first for tally in self.types.values())

    def of_type(self, name: str) -> int:
        """How many values are of one type."""
        return self.types[name].count if name in self.types else 0

    def unnamed(self) -> list[str]:
        """The fields that the schema doesn't have."""
        return [name for name in self.fields if name not in self.shape.fields]

    def children(self) -> "Iterator[tuple[str | None, Node]]":
        """Fields by their names, in the order of the schema, and behind them those that it doesn't have."""
        yield from ((name, self.fields[name]) for name in self.shape.fields if name in self.fields)
        yield from ((name, self.fields[name]) for name in sorted(self.unnamed()))
        yield from ((None, node) for node in (self.entries, self.elements) if node is not None)


class Located(NamedTuple):
    """A node and where it is."""

    path: str
    name: str | None
    """Of the field; None for ``*`` and ``[]``."""
    node: Node
    parent: Node
    known: bool
    """Whether the legacy schema has it."""
    exact: bool
    """Whether ``node.documents`` is true: no names were merged above."""


def is_special(name: str) -> bool:
    """Whether a field's name has a dot or NUL, or begins with a dollar sign."""
    return _SPECIAL_NAME.search(name) is not None


class Paths:
    """The tree of all paths. Its root stands for the documents."""

    def __init__(self) -> None:
        self.root = Node(JOB)
        self.names = NAMES[0]
        """The number of ``NAMES`` in force."""
        self._serial = 0
        self._here: Here = (0, 0, None, None)
        self._size = 1
        self._cut = False

    def add(self, document: dict[str, Any], here: Here) -> bool:
        """Count one document. False if it is nested deeper than ``MAX_STEPS``, so that a part was not looked at."""
        self._serial += 1
        self._here = here
        self._cut = False
        self._count(self.root, document, MAX_STEPS)
        # Between documents, and not within one, so that the order of an object's fields makes no difference.
        if self._size > MAX_PATHS:
            self._bound()
        return not self._cut

    def _count(self, node: Node, value: Any, levels: int) -> None:
        """Count a value and all that it holds. This is where a profile's time goes, so there is one long function."""
        if node.serial != self._serial:
            node.serial = self._serial
            node.documents += 1
        types = node.types
        kind = type(value)
        measure: int | float
        if kind is str:
            tally = types.get("string") or self._tally(node, "string")
            measure = len(value)
            values = tally.values
            if values is not None:
                if value in values:
                    values[value] += 1
                elif measure > MAX_VALUE_LENGTH or len(values) == MAX_VALUES:
                    tally.values = None
                else:
                    values[value] = 1
        elif kind is dict:
            tally = types.get("object") or self._tally(node, "object")
            measure = len(value)
            if levels:
                fields = node.fields
                for name, held in value.items():
                    self._count(fields.get(name) or self._field(node, name), held, levels - 1)
            elif value:
                self._cut = True
        elif kind is list:
            tally = types.get("array") or self._tally(node, "array")
            measure = len(value)
            if levels and value:
                elements = node.elements
                if elements is None:
                    elements = node.elements = self._new(node.shape.elements or ANY)
                for held in value:
                    self._count(elements, held, levels - 1)
            elif value:
                self._cut = True
        elif kind is int:
            name = "int" if -INT32_MAX - 1 <= value <= INT32_MAX else "long"
            tally = types.get(name) or self._tally(node, name)
            measure = value
        elif kind is float and value - value == 0:
            tally = types.get("double") or self._tally(node, "double")
            measure = value
        elif kind is DatetimeMS:
            tally = types.get("date") or self._tally(node, "date")
            measure = int(value)
        elif kind is Int64:
            tally = types.get("long") or self._tally(node, "long")
            measure = int(value)
        else:
            self._count_other(node, value, kind)
            return
        tally.count += 1
        if tally.low is None or tally.high is None:
            tally.low = tally.high = measure
        elif measure < tally.low:
            tally.low = measure
        elif measure > tally.high:
            tally.high = measure

    def _count_other(self, node: Node, value: Any, kind: type) -> None:
        """Count a value of a type that has no measure; and a text that is still JSON, once it is read."""
        if kind is RawText:
            self._count(node, str(value), 0)
            return
        name = "bool" if kind is bool else NOT_FINITE if kind is float else _TYPE_NAMES.get(kind, kind.__name__)
        tally = node.types.get(name) or self._tally(node, name)
        tally.count += 1
        if kind is bool and tally.values is not None:
            text = "true" if value else "false"
            tally.values[text] = tally.values.get(text, 0) + 1

    def _tally(self, node: Node, name: str) -> Tally:
        tally = node.types[name] = Tally(self._here)
        return tally

    def _new(self, shape: Shape) -> Node:
        self._size += 1
        return Node(shape)

    def _field(self, node: Node, name: str) -> Node:
        """The node for a field that has none of its own yet."""
        shape = node.shape
        known = shape.fields.get(name)
        is_map = shape.entries is not None or node.collapsed
        # The first comparison is the cheap one, and usually enough.
        if known is None and not is_map and len(node.fields) >= self.names and len(node.unnamed()) >= self.names:
            self._collapse(node)
            is_map = True
        if known is None and is_map:
            if is_special(name):
                if node.special is None:
                    node.special = Tally(self._here)
                node.special.count += 1
            if node.entries is None:
                node.entries = self._new(shape.entries or ANY)
            return node.entries
        node.fields[name] = child = self._new(known or ANY)
        return child

    def located(self) -> Iterator[Located]:
        """All paths but the root, each before those below it."""
        yield from _located("", self.root, exact=True)

    # ---------------------------------------------------------------------------------------------- keeping it small

    def _bound(self) -> None:
        """Bring the tree back to ``MAX_PATHS``, with fewer names if need be."""
        self._size = sum(1 for _ in _nodes(self.root))
        for names in NAMES:
            if self._size > MAX_PATHS and names < self.names:
                self.names = names
                for node in list(_nodes(self.root)):
                    if len(node.unnamed()) > names:
                        self._collapse(node)
                self._size = sum(1 for _ in _nodes(self.root))

    def _collapse(self, node: Node) -> None:
        """Count the fields outside the schema as one entry."""
        node.collapsed = True
        for name in node.unnamed():
            child = node.fields.pop(name)
            if is_special(name):
                node.special = node.special or Tally(child.first)
                node.special.first = min(node.special.first, child.first)
                node.special.count += child.count
            if node.entries is None:
                node.entries = Node(ANY)
            self._absorb(node.entries, child)

    def _absorb(self, node: Node, other: Node) -> None:
        """Add to ``node`` what ``other`` has counted. Both stand outside the schema."""
        for name, tally in other.types.items():
            node.types.setdefault(name, Tally(tally.first)).absorb(tally)
        for name, child in other.fields.items():
            self._absorb(node.fields.setdefault(name, Node(ANY)), child)
        if other.entries is not None:
            node.entries = node.entries or Node(ANY)
            self._absorb(node.entries, other.entries)
        if other.elements is not None:
            node.elements = node.elements or Node(ANY)
            self._absorb(node.elements, other.elements)
        if other.special is not None:
            node.special = node.special or Tally(other.special.first)
            node.special.absorb(other.special)
        node.collapsed = node.collapsed or other.collapsed
        if node.collapsed or len(node.unnamed()) > self.names:
            self._collapse(node)


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for _, child in node.children():
        yield from _nodes(child)


def _located(prefix: str, parent: Node, *, exact: bool) -> Iterator[Located]:
    for name, node in parent.children():
        is_entry = node is parent.entries
        step = "*" if is_entry else "[]" if name is None else _step(name)
        path = f"{prefix}.{step}" if prefix and step != "[]" else prefix + step
        known = name in parent.shape.fields or (name is None and not (is_entry and parent.shape.entries is None))
        still_exact = exact and not (is_entry and parent.collapsed)
        yield Located(path, name, node, parent, known, still_exact)
        yield from _located(path, node, exact=still_exact)


def _step(name: str) -> str:
    """A name as one step of a path: in quotes where it would not be told from several."""
    text = without_surrogates(name)
    return text if _PLAIN_NAME.fullmatch(text) else json.dumps(text, ensure_ascii=False)
