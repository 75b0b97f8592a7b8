"""Any object in the shape of a legacy job.

A job that has it already passes in one sweep of pydantic; the errors of any other say exactly which values to mend or
to move aside, so that the mapping never meets a value of the wrong type.
"""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, cast

from bson import DatetimeMS, Decimal128
from pydantic import TypeAdapter, ValidationError

from converter.extjson import INT64_MAX, NestedTooDeep, without_surrogates
from converter.models.legacy import MAX_NESTING, Job, Location, is_time, path
from converter.repairs import Names, Repairs
from converter.times import milliseconds

MANY: Final = 20_000
"""Wrong values in one part of a job, from which it is looked at in smaller parts."""

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
    mending = _Mending(repairs)
    mending.mend(mended, sorted(mended), (), dict)
    mending.close_gaps()
    return _JOB.validate_python(mended)


_GONE: Final = object()
"""Stands for an element that was moved aside: taken out of a long array one by one, each would move all behind it."""


class _Mending:
    """Reads or moves aside what has the wrong type."""

    def __init__(self, repairs: Repairs) -> None:
        self._repairs = repairs
        self._arrays: dict[int, list[Any]] = {}
        """Those from which elements were moved aside, by their identity."""

    def mend(self, holder: Any, steps: Sequence[Any], at: Location, whole: Callable[[Any], Any]) -> None:
        """Mend an object or array, which is ``at`` that place in the job, in these of its keys or positions.

        ``whole`` makes a job of a part of it. A part with too many errors is cut into smaller ones, because each error
        takes a kilobyte to be told, and one document may hold millions.
        """
        in_array = isinstance(holder, list)
        part = holder[steps[0] : steps[-1] + 1] if in_array else {step: holder[step] for step in steps}
        try:
            _JOB.validate_python(whole(part))
            return
        except ValidationError as error:
            count = error.error_count()
            told = error.errors(include_url=False, include_context=False, include_input=False) if count <= MANY else []
        if told:
            problems = ((problem["loc"][len(at) :], problem["type"]) for problem in told)
            # From the back, as the parts are: so the repairs don't depend on where the cuts are.
            for way, problem in sorted(problems, key=lambda found: list(map(_order, found[0])), reverse=True):
                step: Any = steps[int(way[0])] if in_array else way[0]
                self._mend_value(holder, (step, *way[1:]), problem, at)
        elif len(steps) > 1:
            size = max(1, len(steps) * MANY // (2 * count))
            for start in reversed(range(0, len(steps), size)):
                self.mend(holder, steps[start : start + size], at, whole)
        else:
            (step,) = steps
            inner = holder[step]
            inner_steps = range(len(inner)) if isinstance(inner, list) else sorted(inner)
            self.mend(inner, inner_steps, (*at, step), lambda held: whole([held] if in_array else {step: held}))

    def _mend_value(self, holder: Any, way: Location, problem: str, at: Location) -> None:
        """Mend the value that ``way`` leads to from ``holder``, which is ``at`` that place in the job."""
        repairs = self._repairs
        for step in way[:-1]:
            holder = holder[step]
        place, last = (*at, *way), way[-1]
        value = holder[last]
        if problem == "string_unicode":
            repairs.count("lone-surrogate")
            holder[last] = without_surrogates(value)
            return
        read = _READERS[problem](value, repairs) if problem in _READERS else None
        if read is not None:
            holder[last] = read
            if isinstance(read, float) and Decimal(repr(read)) != _decimal(value):
                repairs.keep_original(path(place), value)
            return
        repairs.misplace(path(place), value)
        if isinstance(holder, list):
            repairs.leave_gap(path(place[:-1]), int(last))
            holder[int(last)] = _GONE
            self._arrays[id(holder)] = holder
        else:
            del holder[last]

    def close_gaps(self) -> None:
        """Take out the elements that were moved aside."""
        for elements in self._arrays.values():
            elements[:] = [element for element in elements if element is not _GONE]


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


_DIGITS: Final = re.compile(r"[+-]?[0-9]{1,15}")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


def _decimal(value: object) -> Decimal | None:
    """Just what a Decimal128 or a text says, ``None`` if that is no number."""
    if isinstance(value, Decimal128):
        exact = value.to_decimal()
        return exact if exact.is_finite() else None
    return Decimal(value.strip()) if type(value) is str and _NUMBER.fullmatch(value.strip()) else None


def _read_number(value: object, repairs: Repairs) -> object:
    exact = _decimal(value)
    if exact is None:
        return None
    number: int | float = float(exact)
    if number - number != 0:  # it passes the largest double
        return None
    in_text = type(value) is str
    spelt_as_integer = in_text and str(value).strip().lstrip("+-").isdecimal()
    # An integer is also what has more digits than a double holds, but no fraction.
    if (spelt_as_integer or number != exact) and -INT64_MAX - 1 <= exact <= INT64_MAX and exact == int(exact):
        number = int(exact)
    repairs.count("number-from-string" if in_text else "number-from-decimal")
    return number


_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _read_time(value: object, repairs: Repairs) -> object:
    name = "date-from-string"
    if type(value) is str:
        text = value.strip()
        stamp = milliseconds(text) if _DATE.match(text) else int(text) if _DIGITS.fullmatch(text) else None
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
