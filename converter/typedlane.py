"""The typed lane: a job whose outline and chapters have just the shape they should have, read in one sweep.

The decoder builds what ``models.legacy`` describes, straight from JSON: dates are dates when they come, nothing is left
to be checked, and the chapters' texts stay as they stand in the dump. Whatever isn't quite so, an unknown field of a
chapter included, is refused, and the document takes another way; the mapping makes the same of both.
"""

from abc import ABCMeta
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec
from bson import DatetimeMS, ObjectId
from msgspec import Meta, Raw
from msgspec.structs import asdict
from typing_extensions import is_typeddict

from converter import extjson, fastlane, times
from converter.extjson import INT64_MAX, RawText
from converter.models import legacy
from converter.models.checking import Checked, checked

# A double of exactly 0 may be one that vanished, which is to stay exact; Node.js writes its zeros as integers. msgspec
# knows no "but 0", so those below are left to the other lanes: no field should hold one.
_Number = Annotated[int, Meta(ge=-INT64_MAX - 1, le=INT64_MAX)] | Annotated[float, Meta(gt=0)]


_Object = ABCMeta("_Object", (), {})
"""Any object, decoded by ``extjson``. To the decoder a plain dict would be one of its own making."""
_Object.register(dict)


class _Identity(msgspec.Struct, forbid_unknown_fields=True, gc=False, rename={"hexadecimal": "$oid"}):
    """The ``_id`` of a subdocument, which is dropped."""

    hexadecimal: str


class _Date(msgspec.Struct, forbid_unknown_fields=True, gc=False, rename={"value": "$date"}):
    """A date as the decoder hands it out: it makes structs sooner than it calls back."""

    value: str | int


_NULL: Final = Raw(b"null")
_LEVELS: Final = extjson.MAX_LEVELS - 3
"""What is left of them where an outline entry holds an object; of a deeper document the others know what to say."""
_TYPED: Final = (legacy.Job, legacy.OutlineEntry, legacy.Chapter)
"""What a dump is full of. Anything else is read as objects, and checked: there, unknown fields are common."""
_HINTS: Final = {model: get_type_hints(model, include_extras=True) for model in _TYPED}


def _typed(hint: Any) -> Any:
    """What the decoder calls the type of a field of ``models.legacy``."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        plain = arguments[0]
        return {int | float: _Number, str | RawText: Raw, DatetimeMS: _Date}.get(plain, plain)
    if origin in (Union, UnionType):
        members = [_typed(member) for member in arguments]
        # With either of these comes null too.
        return next((member for member in members if member in (Any, Raw)), reduce(or_, members))
    if origin is list:
        return list[_typed(arguments[0])]  # type: ignore[misc]
    if origin is dict:
        return _Object
    if is_typeddict(hint):
        return _struct(hint) if hint in _TYPED else Any
    return hint


@cache
def _struct(model: Any) -> Any:
    own = {"_id": ObjectId | None, "revision": _Number | None} if model is legacy.Job else {"_id": _Identity | None}
    fields = own | {field: _typed(hint) for field, hint in _HINTS[model].items()}
    return msgspec.defstruct(
        model.__name__,
        [(field, kind, _NULL if kind is Raw else None) for field, kind in fields.items()],
        rename={"revision": "__v"},
        forbid_unknown_fields=True,
        gc=False,
    )


def _value(kind: type, decoded: Any) -> object:
    """An ObjectId or an object; if it is of another kind after all, the decoder refuses it."""
    return extjson.decode(decoded, _LEVELS)


_DATES: Final = {
    model: [field for field in hints if _typed(hints[field]) == _Date | None] for model, hints in _HINTS.items()
}
_REST: Final = [field for field, hint in _HINTS[legacy.Job].items() if _typed(hint) is Any]
_JOB: Final = msgspec.json.Decoder(_struct(legacy.Job), dec_hook=_value, float_hook=fastlane.fraction)


def read(data: bytes) -> Checked | None:
    """The job that ``data`` is, a JSON object; its long texts as ``extjson.RawText``. ``None`` if it has another shape.

    It is fit for the mapping and for nothing else: what is missing may be null, ``__v`` is gone, and the ``_id`` of a
    subdocument is no value of BSON.
    """
    try:
        decoded = _JOB.decode(data)
        fastlane.check_utf8(data)
        job = _fields(decoded, legacy.Job)
        del job["revision"]
        if job["outline"]:
            job["outline"] = [_fields(entry, legacy.OutlineEntry) for entry in job["outline"]]
        if job["chapters"]:
            job["chapters"] = [_fields(chapter, legacy.Chapter) for chapter in job["chapters"]]
            for chapter in job["chapters"]:
                chapter["content"] = _content(bytes(chapter["content"]))
        rest = {field: extjson.decode(job[field], _LEVELS) for field in _REST if job[field] is not None}
    except fastlane.REFUSED:
        return None
    return checked(job, rest)


def _fields(part: msgspec.Struct, model: Any) -> dict[str, Any]:
    fields = asdict(part)
    for field in _DATES[model]:
        if fields[field] is not None:
            value = fields[field].value
            stamp = times.milliseconds(value) if type(value) is str else value
            if stamp is None or not legacy.is_time(stamp):
                raise msgspec.ValidationError("a date is wanted")
            fields[field] = DatetimeMS(stamp)
    return fields


def _content(raw: bytes) -> str | RawText | None:
    if raw[:1] == b'"':
        return fastlane.text_of(raw)
    if raw == b"null":
        return None
    raise msgspec.ValidationError("a text is wanted")
