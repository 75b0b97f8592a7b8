"""Extended JSON to BSON values, and back.

BSON values are plain Python (``None``, ``bool``, ``int``, ``float``, ``str``, ``list``, ``dict``) and, for what JSON
has no word for, the types of the ``bson`` package: ``ObjectId``, ``DatetimeMS`` for every date whatever its year,
``Int64`` where a dump says Long, ``Decimal128``, ``Binary`` and their like.

The format: https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/ and, for version 1,
https://www.mongodb.com/docs/manual/reference/mongodb-extended-json-v1/.
"""

import math
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from decimal import Context, Decimal, DecimalException
from typing import Any, Final, Literal

import orjson
from bson import Code, DatetimeMS, Decimal128, Int64, ObjectId, Regex, json_util
from bson.codec_options import DatetimeConversion
from bson.dbref import DBRef
from bson.decimal128 import create_decimal128_context
from bson.errors import BSONError, InvalidId

from converter.times import LAST_MILLISECOND, iso, milliseconds

Mode = Literal["relaxed", "canonical"]

INT32_MAX: Final = 2**31 - 1
INT64_MAX: Final = 2**63 - 1

_DECIMAL128: Final[Context] = create_decimal128_context()
_SORTED: Final = orjson.OPT_SORT_KEYS
_LINE: Final = _SORTED | orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_APPEND_NEWLINE

_OPTIONS: Final[dict[Mode, json_util.JSONOptions]] = {
    "relaxed": json_util.JSONOptions(
        json_mode=json_util.JSONMode.RELAXED, datetime_conversion=DatetimeConversion.DATETIME_MS
    ),
    "canonical": json_util.JSONOptions(
        json_mode=json_util.JSONMode.CANONICAL, datetime_conversion=DatetimeConversion.DATETIME_MS
    ),
}


class Double(float):
    """A double that JSON has no number for: NaN or an infinity.

    orjson writes a plain ``float`` of that kind as ``null`` without a word; a subclass it hands to us.
    """


class RawText:
    """A long text that is still JSON: its bytes with the quotes, valid, and escaped just as orjson would write it."""

    __slots__ = ("json",)

    def __init__(self, json: bytes) -> None:
        self.json = json

    def __str__(self) -> str:
        text: str = orjson.loads(self.json)
        return text


class NestedTooDeep(Exception):
    """A document has more levels than MongoDB can hold."""


MAX_LEVELS: Final = 250
"""Levels of JSON that ``decode`` follows: MongoDB's 100, and ample room for the wrappers of Extended JSON."""


# -------------------------------------------------------------------------------------------------------- numbers


def number(value: int | Decimal) -> int | float | Decimal128 | str:
    """A number of JSON text as the narrowest BSON value that holds it.

    Long or double where they can; Decimal128 for what overflows or vanishes in them; the digits as a string beyond
    Decimal128's 34 digits. So nothing is lost.
    """
    if isinstance(value, int):
        if -INT64_MAX - 1 <= value <= INT64_MAX:
            return value
        exact = Decimal(value)
    else:
        double = float(value)
        if math.isfinite(double) and (double or not value):
            return double
        exact = value
    nearest = _DECIMAL128.create_decimal(exact)
    return Decimal128(nearest) if nearest == exact else str(exact)


def exact_fraction(text: str) -> float | Decimal128 | str:
    """What ``number`` makes of a fraction in JSON text."""
    return number(Decimal(text))


# ------------------------------------------------------------------------------------------------------- decoding


# ``type(...) is str`` throughout: the Code of a wrapper inside the wrapper is a str too, and no text.


def _object_id(value: object) -> object:
    try:
        return ObjectId(value) if type(value) is str else None
    except InvalidId:
        return None


def _date(value: object) -> object:
    if type(value) is str:
        stamp = milliseconds(value)
        return None if stamp is None else DatetimeMS(stamp)
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and -INT64_MAX - 1 <= value <= INT64_MAX:
        return DatetimeMS(int(value))
    return None


_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")


def _whole(value: object, limit: int) -> int | None:
    if type(value) is str and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and -limit - 1 <= value <= limit:
        return value
    return None


def _int(value: object) -> object:
    return _whole(value, INT32_MAX)


def _long(value: object) -> object:
    whole = _whole(value, INT64_MAX)
    return None if whole is None else Int64(whole)


_DOUBLE: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|NaN|[+-]?Infinity")


def _double(value: object) -> object:
    if isinstance(value, bool | Code) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, str) and not _DOUBLE.fullmatch(value):
        return None
    double = float(value)
    try:
        if type(value) is str and not value[-1:].isalpha() and exact_fraction(value) != double:
            return None  # what passes the largest double, or vanishes, is a number but no double
    except DecimalException:  # nor is what has an exponent that nothing can hold
        return None
    return double if math.isfinite(double) else Double(double)


# The wrappers that a dump is full of. Each function gets what the wrapper holds and gives the BSON value, or None when
# that is no such value: then the object is what it looks like, an object.
_COMMON: Final[dict[str, Callable[[object], object]]] = {
    "$oid": _object_id,
    "$date": _date,
    "$numberInt": _int,
    "$numberLong": _long,
    "$numberDouble": _double,
}

# The rare ones are left to pymongo, but only when the object has exactly these keys: it overlooks others in some.
_RARE: Final = frozenset(
    frozenset(keys.split())
    for keys in (
        "$numberDecimal",
        "$binary",
        "$binary $type",
        "$uuid",
        "$regularExpression",
        "$regex",
        "$regex $options",
        "$timestamp",
        "$code",
        "$code $scope",
        "$symbol",
        "$minKey",
        "$maxKey",
        "$undefined",
        "$ref $id",
        "$ref $id $db",
        "$dbPointer",
    )
)
_TEXTS: Final = frozenset(("$regex", "$options", "pattern", "options", "$code", "$symbol", "$ref", "$db"))
"""What pymongo takes to be text in these wrappers without looking, or takes as bytes too."""


_REGEX_OPTIONS: Final = frozenset("ilmsux")


def _says_what_it_seems(wrapper: dict[str, object]) -> bool:
    """Whether pymongo would make of a wrapper all that it holds: it passes over what it doesn't understand."""
    inner = wrapper.get("$regularExpression", wrapper.get("$binary"))
    held = wrapper | inner if isinstance(inner, dict) else wrapper
    pattern = held.get("pattern", held.get("$regex", ""))
    options = held.get("options", held.get("$options", ""))
    encoded = held.get("base64", held.get("$binary", ""))
    return (
        all(type(held[key]) is str for key in held.keys() & _TEXTS)
        and "\0" not in str(pattern)  # BSON ends a pattern with it
        and _REGEX_OPTIONS.issuperset(str(options))
        and (type(encoded) is not str or b64encode(b64decode(encoded)).decode() == encoded)
        and wrapper.get("$undefined", True) is True
    )


def _unwrap(wrapper: dict[str, object], key: str) -> object:
    """The BSON value that a wrapper stands for, its inside decoded already; the same object if it is no known wrapper.

    ``key`` is one of its keys.
    """
    if len(wrapper) == 1 and key in _COMMON:
        value = _COMMON[key](wrapper[key])
        return wrapper if value is None else value
    if frozenset(wrapper) in _RARE:
        try:
            if _says_what_it_seems(wrapper):
                return json_util.object_hook(dict(wrapper), _OPTIONS["relaxed"])
        except (BSONError, ValueError, TypeError, KeyError, AttributeError, DecimalException):
            return wrapper
    return wrapper


def decode(value: Any, levels: int = MAX_LEVELS) -> Any:
    """Parsed JSON to BSON values.

    In: what ijson, orjson or msgspec gives, Extended JSON version 2 (relaxed, canonical) and 1 in any mixture. Out:
    BSON values; objects and arrays are changed in place. An object that only resembles a wrapper stays the object that
    it is. Raises ``NestedTooDeep`` beyond so many ``levels`` of objects and arrays.
    """
    kind = type(value)
    if kind is dict:
        if not levels:
            raise NestedTooDeep
        key = ""
        for key, held in value.items():
            inner = type(held)
            if inner is str:
                continue
            if inner is dict and len(held) == 1:
                # Nearly always a date or an ObjectId, and a dump is full of them.
                ((wrapper, text),) = held.items()
                read = _COMMON.get(wrapper) if type(text) is str else None
                if read is not None:
                    plain = read(text)
                    value[key] = held if plain is None else plain
                    continue
            if inner is dict or inner is list or inner is Decimal:
                value[key] = decode(held, levels - 1)
            elif inner is int:
                if not -INT64_MAX <= held <= INT64_MAX:
                    value[key] = number(held)
            elif inner is float and held - held != 0:  # NaN and the infinities
                value[key] = Double(held)
        # Every key of a wrapper starts with "$", so one look at the last of them tells apart nearly all other objects.
        return _unwrap(value, key) if key[:1] == "$" else value
    if kind is list:
        if not levels:
            raise NestedTooDeep
        for position, held in enumerate(value):
            if type(held) is not str:
                value[position] = decode(held, levels - 1)
        return value
    if kind is Decimal or kind is int:
        return number(value)
    if kind is float and not math.isfinite(value):
        return Double(value)
    return value


# ------------------------------------------------------------------------------------------------------- encoding


def object_id_wrapper(value: ObjectId) -> dict[str, object]:
    """``{"$oid": ...}``, the same in both modes."""
    return {"$oid": value.binary.hex()}


def date_wrapper(value: DatetimeMS, mode: Mode) -> dict[str, object]:
    """Extended JSON of a date; before 1970 and after 9999 relaxed is as canonical."""
    stamp = value.__int__()  # a quarter of the time that int() takes
    if mode == "relaxed" and 0 <= stamp <= LAST_MILLISECOND:
        return {"$date": iso(stamp)}
    return {"$date": {"$numberLong": str(stamp)}}


def _wrap(value: object, mode: Mode) -> Any:
    """The Extended JSON of a BSON value that JSON has no word for. Raises ``TypeError`` for what is no BSON value."""
    if isinstance(value, ObjectId):
        return object_id_wrapper(value)
    if isinstance(value, DatetimeMS):
        return date_wrapper(value, mode)
    if isinstance(value, float):
        return {"$numberDouble": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    return json_util.default(value, _OPTIONS[mode])


def encode(value: object, mode: Mode) -> object:
    """A BSON value as JSON that orjson can write, whatever it holds: the careful way, value by value.

    Lone surrogates become U+FFFD, integers beyond a Long what ``number`` makes of them.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and not isinstance(value, Code):
        return without_surrogates(value)
    if isinstance(value, RawText):
        return orjson.Fragment(value.json)
    if isinstance(value, dict):
        return {without_surrogates(key): encode(held, mode) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [encode(held, mode) for held in value]
    if isinstance(value, int):
        fitting = value if isinstance(value, Int64) else number(value)
        if not isinstance(fitting, int):
            return encode(fitting, mode)
        if mode == "relaxed":
            return int(fitting)
        is_long = isinstance(fitting, Int64) or not -INT32_MAX - 1 <= fitting <= INT32_MAX
        return {"$numberLong" if is_long else "$numberInt": str(int(fitting))}
    if isinstance(value, float) and math.isfinite(value):
        return float(value) if mode == "relaxed" else {"$numberDouble": repr(float(value))}
    # What these three hold are texts and BSON values again.
    if isinstance(value, Code):
        scope = {} if value.scope is None else {"$scope": encode(value.scope, mode)}
        return {"$code": without_surrogates(str(value)), **scope}
    if isinstance(value, DBRef):
        return encode(value.as_doc(), mode)
    wrapped = _wrap(value, mode)
    return encode(wrapped, mode) if isinstance(value, Regex) else wrapped


def _encode_relaxed(value: object) -> object:
    # What a document of the mapping is full of, ahead of all else.
    return orjson.Fragment(value.json) if type(value) is RawText else encode(value, "relaxed")


def without_surrogates(text: str) -> str:
    """The text with every lone surrogate replaced by U+FFFD: UTF-8, and so BSON, has no form for one."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
    return text


def dumps(document: object, mode: Mode = "relaxed") -> bytes:
    """One line of Extended JSON, without the newline, for any BSON value; object keys sorted by code point.

    Raises ``orjson.JSONEncodeError`` for what is nested deeper than 254 levels.
    """
    return orjson.dumps(encode(document, mode), option=_SORTED)


def mapped_line(document: object, mode: Mode = "relaxed") -> bytes:
    """``dumps`` and a newline, for a document of the mapping, whose texts and numbers have been looked at already."""
    if mode == "relaxed":
        return orjson.dumps(document, default=_encode_relaxed, option=_LINE)
    return dumps(document, mode) + b"\n"
