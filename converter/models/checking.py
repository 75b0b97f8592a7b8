"""Any object in the shape of a legacy job.

A job that has it already passes in one sweep of pydantic; the errors of any other say exactly which values to mend or
to move aside, so that the mapping never meets a value of the wrong type.
"""

import math
import re
from typing import Any, Final, cast

from bson import DatetimeMS, Decimal128
from pydantic import TypeAdapter, ValidationError

from converter.extjson import NestedTooDeep, without_surrogates
from converter.models.legacy import MAX_NESTING, Job, Location, is_time, path
from converter.repairs import Names, Repairs
from converter.times import milliseconds

MANY_ERRORS: Final = 20_000
"""Wrong values in one job from which they are no longer looked at one by one."""

_JOB: Final = TypeAdapter(Job)


class Checked(dict[str, Any]):
    """A document that was found to have the shape of ``Job`` when it was read."""


def checked(document: dict[str, Any], rest: dict[str, Any]) -> Checked | None:
    """The document with the fields of ``rest``, which are all that may still be of the wrong shape: then ``None``."""
    try:
        return Checked(document | cast(dict[str, Any], _JOB.validate_python(_with_error_object(rest))))
    except ValidationError:
        return None


def _with_error_object(document: dict[str, Any]) -> dict[str, Any]:
    if type(document.get("error")) is not str:
        return document
    return {**document, "error": {"message": document["error"]} if document["error"] else None}


def check(document: dict[str, Any], repairs: Repairs) -> Job:
    """The document in the shape of ``Job``; it is not changed itself.

    A number, date or truth value that was written as text (or a date as a number) is read; a lone surrogate is
    replaced; any other value of the wrong type is moved to ``repairs.misplaced``, by path. Each is counted. Raises
    ``NestedTooDeep``.
    """
    if isinstance(document, Checked):
        return cast(Job, document)
    document = _with_error_object(document)
    try:
        return _JOB.validate_python(document)
    except ValidationError:
        mended = _copy(document, repairs)
    try:
        return _JOB.validate_python(mended)
    except ValidationError as error:
        if error.error_count() > MANY_ERRORS:
            _move_worst_aside(mended, repairs)
            return check(mended, repairs)
        problems = error.errors(include_url=False, include_context=False, include_input=False)
    # From the back, so that taking an element out of an array moves none that is still to be looked at.
    for problem in sorted(problems, key=lambda problem: [_order(step) for step in problem["loc"]], reverse=True):
        _mend(mended, problem["loc"], problem["type"], repairs)
    return _JOB.validate_python(mended)


def _move_worst_aside(document: dict[str, Any], repairs: Repairs) -> None:
    """Move the fields aside, whole, that hold most of the errors: each error takes a kilobyte to be told."""
    counts = {field: _error_count({field: document[field]}) for field in Job.__annotations__ if field in document}
    worst = max(counts.values())
    for field, count in counts.items():
        if count == worst:
            repairs.misplace(field, document.pop(field))


def _error_count(document: dict[str, Any]) -> int:
    try:
        _JOB.validate_python(document)
    except ValidationError as error:
        return error.error_count()
    return 0


def _copy(value: Any, repairs: Repairs, level: int = 1) -> Any:
    """A copy of objects and arrays that may be changed; pydantic can't name a key with a lone surrogate, so they go."""
    if not isinstance(value, dict | list):
        return value
    if level > MAX_NESTING:
        raise NestedTooDeep
    if isinstance(value, list):
        return [_copy(held, repairs, level + 1) for held in value]
    copied = {}
    names = None
    for key in sorted(value):
        sound = without_surrogates(key)
        if sound is not key:
            repairs.count("key-renamed")
            names = names or Names(value)
            sound = names.free(sound)
        copied[sound] = _copy(value[key], repairs, level + 1)
    return copied


def _order(step: int | str) -> tuple[int, str]:
    return (step, "") if isinstance(step, int) else (0, step)


def _mend(document: Any, location: Location, problem: str, repairs: Repairs) -> None:
    """Read, or move aside, the value at ``location``, which has the wrong type."""
    holder = document
    for step in location[:-1]:
        holder = holder[step]
    last = location[-1]
    value = holder[last]
    if problem == "string_unicode":
        repairs.count("lone-surrogate")
        holder[last] = without_surrogates(value)
        return
    read = _READERS[problem](value, repairs) if problem in _READERS else None
    if read is not None:
        holder[last] = read
        return
    repairs.misplace(path(location), value)
    if isinstance(holder, list):
        repairs.leave_gap(path(location[:-1]), int(last))
    del holder[last]


_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,15}")
_FRACTION: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


def _read_number(value: object, repairs: Repairs) -> object:
    if isinstance(value, Decimal128):
        exact = value.to_decimal()
        number = float(exact) if exact.is_finite() else math.nan
        name = "number-from-decimal"
    elif type(value) is str and _FRACTION.fullmatch(value.strip()):
        text = value.strip()
        number = int(text) if _INTEGER.fullmatch(text) else float(text)
        name = "number-from-string"
    else:
        return None
    if number - number != 0:  # NaN and the infinities
        return None
    repairs.count(name)
    return number


_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _read_time(value: object, repairs: Repairs) -> object:
    name = "date-from-string"
    if type(value) is str:
        text = value.strip()
        stamp = milliseconds(text) if _DATE.match(text) else int(text) if _INTEGER.fullmatch(text) else None
    elif isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
        stamp = int(value)
        name = "date-from-number"
    else:
        return None
    if stamp is None or not is_time(stamp):
        return None
    repairs.count(name)
    return DatetimeMS(stamp)


def _read_boolean(value: object, repairs: Repairs) -> object:
    if type(value) is str and value.strip().lower() in ("true", "false"):
        repairs.count("boolean-from-string")
        return value.strip().lower() == "true"
    return None


_READERS: Final = {"number_type": _read_number, "time_type": _read_time, "bool_type": _read_boolean}
