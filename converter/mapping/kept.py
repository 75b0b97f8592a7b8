"""What is kept without being understood: values of any shape, and the keys of maps."""

import math
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, Final

from bson import Code, DBRef, Int64

from converter.extjson import Double, NestedTooDeep, number, without_surrogates
from converter.models.legacy import MAX_NESTING, Location, path
from converter.repairs import Names, Repairs

Document = dict[str, Any]

_NUL: Final = "\0"
_DOT: Final = "\uff0e"
_DOLLAR: Final = "\uff04"

_HOLDERS: Final = (dict, list, tuple, DBRef)


INFERRED: Final = frozenset({"timestampInferred"})
"""The field of ours that marks an inferred time."""


def safe_key(key: str) -> str:
    """A key as MongoDB can query and update it: mapping rule "Map keys"."""
    if "." in key or _NUL in key:
        key = key.replace(".", _DOT).replace(_NUL, "\ufffd")
    if key[:1] == "$":
        key = _DOLLAR + key[1:]
    return without_surrogates(key) or "unnamed"


def safe_items(entries: Mapping[str, Any], repairs: Repairs) -> list[tuple[str, str, Any]]:
    """(safe key, true key, value) of a map, sorted by true key. Keys that meet get ``~2``, ``~3``."""
    items = []
    # Keys that need no change keep their name whoever comes first.
    unchanged = {key for key in entries if safe_key(key) == key}
    names = Names(unchanged)
    for key in sorted(entries):
        safe = key
        if key not in unchanged:
            repairs.count("key-renamed")
            safe = names.free(safe_key(key))
        items.append((safe, key, entries[key]))
    return items


def keep(value: Any, repairs: Repairs, level: int = 1) -> Any:
    """The value as it was, of the same BSON type, made fit to be written: safe keys, no lone surrogates.

    Raises ``NestedTooDeep`` beyond ``MAX_NESTING`` levels.
    """
    kind = type(value)
    # Texts and what else is plain come ahead of all that is rare.
    if kind is str:
        text = without_surrogates(value)
        if text is not value:
            repairs.count("lone-surrogate")
        return text
    if value is None or kind is bool or (kind is float and math.isfinite(value)):
        return value
    if isinstance(value, _HOLDERS):
        if level > MAX_NESTING:
            raise NestedTooDeep
        if level > repairs.nesting:
            repairs.nesting = level
        if isinstance(value, dict):
            return keep_entries(value, repairs, level)
        if isinstance(value, DBRef):
            return DBRef(keep(value.collection, repairs), keep(value.id, repairs, level + 1), value.database)
        return [keep(held, repairs, level + 1) for held in value]
    if isinstance(value, int):
        kept = value if isinstance(value, Int64) else number(value)
        if kept is not value:
            repairs.count("number-out-of-range")
        return kept
    if isinstance(value, Code):
        # Made anew of a plain text: made of a Code it would have that one's scope too, unmended.
        text = keep(str(value), repairs)
        return Code(text, None if value.scope is None else keep(value.scope, repairs, level))
    if isinstance(value, float) and not math.isfinite(value):
        return Double(value)
    return value


def keep_entries(entries: Mapping[Any, Any], repairs: Repairs, level: int = 1) -> Document:
    """``keep`` for every entry of an object, under safe keys."""
    # One look at the keys tells that nearly every object needs no renaming.
    if all(map(_is_plain, entries)):
        return {key: keep(held, repairs, level + 1) for key, held in entries.items()}
    named = {str(key): held for key, held in entries.items()}
    return {safe: keep(held, repairs, level + 1) for safe, _, held in safe_items(named, repairs)}


@cache
def _with_id(known: frozenset[str]) -> frozenset[str]:
    return known | {"_id"}


@lru_cache(maxsize=1024)
def _is_plain(key: object) -> bool:
    return type(key) is str and key.isascii() and "." not in key and _NUL not in key and key[:1] not in ("", "$")


def extras(
    entry: Mapping[str, Any],
    known: frozenset[str],
    repairs: Repairs,
    at: Location = (),
    taken: frozenset[str] = frozenset(),
) -> Document:
    """The fields of a legacy subdocument that have no rule of their own, kept; its ``_id`` is dropped on purpose.

    A field whose name the target uses for something else (``taken``) is moved to ``repairs.misplaced``; the subdocument
    is ``at`` that place.
    """
    accounted = _with_id(known)
    if entry.keys() <= accounted:
        return {}
    unknown = {key: held for key, held in entry.items() if key not in accounted}
    for key in sorted(key for key in unknown if safe_key(key) in taken) if taken else ():
        repairs.misplace(path((*at, key)), unknown.pop(key))
    return keep_entries(unknown, repairs)


def plain(entry: Mapping[str, Any], known: frozenset[str], repairs: Repairs) -> Document:
    """A legacy subdocument as it is: its known fields that aren't null, and ``extras``; times as they are."""
    kept = {key: held for key, held in entry.items() if held is not None and key in known}
    unknown = extras(entry, known, repairs)
    return kept | unknown if unknown else kept
