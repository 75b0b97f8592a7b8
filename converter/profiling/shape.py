"""The legacy schema as a tree: what a profile holds a document against, read off the types in ``models/legacy.py``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from bson import DatetimeMS
from typing_extensions import is_typeddict

from converter.extjson import RawText
from converter.models import legacy


@dataclass(frozen=True, slots=True)
class Shape:
    """What may stand at one path."""

    types: frozenset[str] | None = None
    """BSON types by the names of MongoDB's ``$type``; None for any."""
    fields: Mapping[str, "Shape"] = field(default_factory=dict)
    """In the order of the schema."""
    closed: bool = False
    """An object that should have no other fields than these."""
    entries: "Shape | None" = None
    """A map, whose keys are data and not names of fields: what each entry holds."""
    elements: "Shape | None" = None
    """What each element of an array holds."""


ANY: Final = Shape()

_TYPES: Final[dict[Any, set[str]]] = {
    str: {"string"},
    RawText: {"string"},
    int: {"int", "long"},
    float: {"double"},
    bool: {"bool"},
    DatetimeMS: {"date"},
    NoneType: {"null"},
}

# Fields of the legacy schema that the mapping passes on without looking at them, so that the model doesn't name them.
_PASSED_ON: Final[dict[Any, tuple[str, ...]]] = {
    legacy.Job: ("__v",),
    legacy.QualityMetrics: ("totalWordCount", "targetAccuracy", "completionRate"),
    legacy.Character: ("lastSeen", "firstAppearance"),
    legacy.PlotThread: ("introducedIn", "lastUpdated"),
    legacy.TimelineEntry: ("chapter",),
}
# `error` was assigned by the code, in two forms.
_ALSO_TEXT: Final = legacy.JobError


def _shape(annotation: Any) -> Shape:
    types: set[str] = set()
    fields: dict[str, Shape] = {}
    closed = False
    entries = elements = None
    for option in get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,):
        if option in _TYPES:
            types |= _TYPES[option]
        elif is_typeddict(option):
            types |= {"object", "string"} if option is _ALSO_TEXT else {"object"}
            # Mongoose gave every subdocument an `_id`.
            names = {"_id": Any} | get_type_hints(option) | dict.fromkeys(_PASSED_ON.get(option, ()), Any)
            fields = {name: ANY if hint is Any else _shape(hint) for name, hint in names.items()}
            closed = True
        elif get_origin(option) is list:
            types.add("array")
            elements = _shape(get_args(option)[0])
        elif get_origin(option) is dict:
            types.add("object")
            held = get_args(option)[1]
            entries = None if held is Any else _shape(held)
        else:
            raise TypeError(option)
    return Shape(frozenset(types), fields, closed, entries, elements)


JOB: Final = _shape(legacy.Job)
