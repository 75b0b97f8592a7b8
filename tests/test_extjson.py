"""Extended JSON in all its dialects to BSON values, and back."""

import json
from decimal import Decimal
from typing import Any

import orjson
import pytest
from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

from converter import extjson
from converter.extjson import Double, RawText, decode, dumps, mapped_line

STAMP = 1_704_164_645_678
IDENTITY = "65f000000000000000000001"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, 7),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, Decimal128("9223372036854775808")),
        (10**34, Decimal128("10000000000000000000000000000000000")),
        (10**40 + 1, "10000000000000000000000000000000000000001"),
        (Decimal("0.1"), 0.1),
        (Decimal("1.0"), 1.0),
        (Decimal("0"), 0.0),
        (Decimal("1E+400"), Decimal128("1E+400")),
        (Decimal("1E-400"), Decimal128("1E-400")),
        (Decimal("1E+9999"), "1E+9999"),
    ],
)
def test_a_number_becomes_the_narrowest_value_that_holds_it(value: Any, expected: object) -> None:
    actual = extjson.number(value)

    assert (type(expected), expected) == (type(actual), actual)


def test_an_exact_fraction() -> None:
    assert 1.5 == extjson.exact_fraction("1.5")
    assert Decimal128("1E+400") == extjson.exact_fraction("1e400")


WRAPPERS = [
    ({"$oid": IDENTITY}, ObjectId(IDENTITY)),
    ({"$date": "2024-01-02T03:04:05.678Z"}, DatetimeMS(STAMP)),
    ({"$date": {"$numberLong": str(STAMP)}}, DatetimeMS(STAMP)),
    ({"$date": {"$numberLong": "-1"}}, DatetimeMS(-1)),
    ({"$date": {"$numberLong": "253402300800000"}}, DatetimeMS(253_402_300_800_000)),
    ({"$date": STAMP}, DatetimeMS(STAMP)),
    ({"$date": 1.5e12}, DatetimeMS(1_500_000_000_000)),
    ({"$date": Decimal("1.5E+12")}, DatetimeMS(1_500_000_000_000)),
    ({"$date": "2024-01-02T03:04:05.678+0000"}, DatetimeMS(STAMP)),
    ({"$numberInt": "3"}, 3),
    ({"$numberInt": "-2147483648"}, -(2**31)),
    ({"$numberLong": "5"}, Int64(5)),
    ({"$numberLong": "9223372036854775807"}, Int64(2**63 - 1)),
    ({"$numberLong": 5}, Int64(5)),
    ({"$numberDouble": "1.0"}, 1.0),
    ({"$numberDouble": "-0.0"}, -0.0),
    ({"$numberDouble": "1E-07"}, 1e-07),
    ({"$numberDouble": "Infinity"}, Double("inf")),
    ({"$numberDouble": "-Infinity"}, Double("-inf")),
    ({"$numberDouble": 1.5}, 1.5),
    ({"$numberDouble": 2}, 2.0),
    ({"$numberDecimal": "12.50"}, Decimal128("12.50")),
    ({"$binary": {"base64": "AQI=", "subType": "05"}}, Binary(b"\1\2", 5)),
    ({"$binary": "AQI=", "$type": "05"}, Binary(b"\1\2", 5)),
    ({"$uuid": "c3f4b1f0-0b2a-4d55-9f41-1c2d3e4f5a6b"}, Binary(bytes.fromhex("c3f4b1f00b2a4d559f411c2d3e4f5a6b"), 4)),
    ({"$regularExpression": {"pattern": "^a", "options": "i"}}, Regex("^a", 2)),
    ({"$regex": "^a", "$options": "i"}, Regex("^a", 2)),
    ({"$timestamp": {"t": 1_757_000_000, "i": 3}}, Timestamp(1_757_000_000, 3)),
    ({"$code": "f()"}, Code("f()")),
    ({"$code": "f()", "$scope": {"n": {"$numberInt": "1"}}}, Code("f()", {"n": 1})),
    ({"$symbol": "s"}, "s"),
    ({"$minKey": 1}, MinKey()),
    ({"$maxKey": 1}, MaxKey()),
    ({"$undefined": True}, None),
    ({"$ref": "novels", "$id": {"$oid": IDENTITY}}, DBRef("novels", ObjectId(IDENTITY))),
    ({"$ref": "novels", "$id": 1, "$db": "d"}, DBRef("novels", 1, "d")),
]


@pytest.mark.parametrize(("wrapper", "expected"), WRAPPERS, ids=lambda value: str(value)[:40])
def test_a_wrapper_becomes_the_value_that_it_stands_for(wrapper: dict[str, Any], expected: object) -> None:
    nested = json.loads(json.dumps(wrapper, default=float))

    assert {"a": [expected]} == decode({"a": [nested]})
    actual = decode(wrapper)
    assert (type(expected), expected) == (type(actual), actual)


@pytest.mark.parametrize(
    "wrapper",
    [
        {"$oid": "not an id"},
        {"$oid": 7},
        {"$oid": IDENTITY, "other": 1},
        {"other": 1, "$oid": IDENTITY},
        {"$date": "yesterday"},
        {"$date": None},
        {"$date": True},
        {"$date": {"$numberLong": "1", "other": 1}},
        {"$date": 2**63 - 1.0},
        {"$date": float("inf")},
        {"$numberInt": "2147483648"},
        {"$numberInt": True},
        {"$numberInt": "1.5"},
        {"$numberInt": "٣"},
        {"$numberLong": "9223372036854775808"},
        {"$numberLong": [1]},
        {"$numberDouble": "one"},
        {"$numberDouble": True},
        {"$numberDouble": None},
        {"$numberDouble": 10**20},
        {"$numberDecimal": "one"},
        {"$numberDecimal": 1},
        {"$binary": {"base64": "AQI="}},
        {"$binary": 1, "$type": "00"},
        {"$uuid": "no uuid"},
        {"$regularExpression": 1},
        {"$timestamp": {"t": 1}},
        {"$timestamp": 1},
        {"$code": 1},
        # What pymongo would make something of, and lose a part.
        {"$undefined": "everything"},
        {"$regularExpression": {"pattern": "a", "options": "g"}},
        {"$regex": "a", "$options": "ig"},
        # What pymongo would make something of that BSON has no form for.
        {"$regularExpression": {"pattern": "a\0b", "options": ""}},
        {"$regularExpression": {"pattern": "a", "options": "i\0"}},
        {"$regex": "a\0b", "$options": ""},
        {"$regex": "\0"},
        {"$binary": {"base64": "A A E C!!", "subType": "00"}},
        {"$binary": "A A E C!!", "$type": "00"},
        {"$numberDouble": "1e400"},
        {"$numberDouble": "9" * 400 + "."},
        {"$numberDouble": "1e-400"},
        {"$numberDouble": "1e99999999999999999999"},
        {"$numberDouble": "-1E-99999999999999999999"},
        {"$date": 1.75},
        {"$minKey": 2},
        {"$ref": 1, "$id": 1},
        {"$dbPointer": 1},
        {"$set": {"a": 1}},
        {"$": 1},
        # A wrapper where there should be a text: a Code is a str, and pymongo takes bytes for a pattern.
        {"$oid": {"$code": IDENTITY}},
        {"$date": {"$code": "2025-07-19", "$scope": {}}},
        {"$numberInt": {"$code": "1"}},
        {"$numberLong": {"$code": "1"}},
        {"$numberDouble": {"$code": "1"}},
        {"$code": {"$code": "f()"}},
        {"$symbol": {"$code": "f()"}},
        {"$regex": {"$uuid": "88888888-8888-8888-8888-888888888888"}, "$options": ""},
        {"$regularExpression": {"pattern": {"$code": "a"}, "options": ""}},
        {"$ref": {"$code": "a"}, "$id": 1},
    ],
    ids=str,
)
def test_what_only_looks_like_a_wrapper_stays_an_object(wrapper: dict[str, Any]) -> None:
    expected = list(wrapper)

    assert expected == list(decode(wrapper))


@pytest.mark.parametrize(
    ("parsed", "expected"),
    [
        ([1, "a", [2, {"$numberInt": "3"}]], [1, "a", [2, 3]]),
        ({"a": 2**63}, {"a": Decimal128("9223372036854775808")}),
        ({"a": Decimal("1.5")}, {"a": 1.5}),
        ({"a": float("-inf")}, {"a": Double("-inf")}),
        (float("inf"), Double("inf")),
        ({}, {}),
        (Decimal("1.5"), 1.5),
        (2**64, Decimal128("18446744073709551616")),
        ("text", "text"),
        (True, True),
        (None, None),
    ],
)
def test_everything_else_is_decoded_in_place(parsed: Any, expected: object) -> None:
    actual = decode(parsed)

    assert (type(expected), expected) == (type(actual), actual)


def nested(levels: int, kind: type) -> Any:
    value: Any = kind()
    for _ in range(levels - 1):
        value = [value] if kind is list else {"a": value}
    return value


@pytest.mark.parametrize("kind", [list, dict])
def test_decoding_follows_no_more_levels_than_are_good_for_it(kind: type) -> None:
    assert nested(extjson.MAX_LEVELS, kind) == decode(nested(extjson.MAX_LEVELS, kind))
    with pytest.raises(extjson.NestedTooDeep):
        decode(nested(extjson.MAX_LEVELS + 1, kind))


@pytest.mark.parametrize(
    ("value", "relaxed", "canonical"),
    [
        (None, "null", "null"),
        (True, "true", "true"),
        (3, "3", '{"$numberInt":"3"}'),
        (Int64(3), "3", '{"$numberLong":"3"}'),
        (2**31, "2147483648", '{"$numberLong":"2147483648"}'),
        (2**63, '{"$numberDecimal":"9223372036854775808"}', '{"$numberDecimal":"9223372036854775808"}'),
        (1.0, "1.0", '{"$numberDouble":"1.0"}'),
        (Double("nan"), '{"$numberDouble":"NaN"}', '{"$numberDouble":"NaN"}'),
        (float("inf"), '{"$numberDouble":"Infinity"}', '{"$numberDouble":"Infinity"}'),
        (float("-inf"), '{"$numberDouble":"-Infinity"}', '{"$numberDouble":"-Infinity"}'),
        ("é\u2028", '"é\u2028"', '"é\u2028"'),
        ("a\ud800b", '"a\ufffdb"', '"a\ufffdb"'),
        (ObjectId("ab" * 12), '{"$oid":"abababababababababababab"}', '{"$oid":"abababababababababababab"}'),
        (DatetimeMS(STAMP), '{"$date":"2024-01-02T03:04:05.678Z"}', '{"$date":{"$numberLong":"1704164645678"}}'),
        (DatetimeMS(0), '{"$date":"1970-01-01T00:00:00.000Z"}', '{"$date":{"$numberLong":"0"}}'),
        (DatetimeMS(-1), '{"$date":{"$numberLong":"-1"}}', '{"$date":{"$numberLong":"-1"}}'),
        (
            DatetimeMS(253_402_300_800_000),
            '{"$date":{"$numberLong":"253402300800000"}}',
            '{"$date":{"$numberLong":"253402300800000"}}',
        ),
        (
            Regex("\ud800", 2),
            '{"$regularExpression":{"options":"i","pattern":"\ufffd"}}',
            '{"$regularExpression":{"options":"i","pattern":"\ufffd"}}',
        ),
        (
            Code("f", {"n": 1, "d": DatetimeMS(0)}),
            '{"$code":"f","$scope":{"d":{"$date":"1970-01-01T00:00:00.000Z"},"n":1}}',
            '{"$code":"f","$scope":{"d":{"$date":{"$numberLong":"0"}},"n":{"$numberInt":"1"}}}',
        ),
        (
            DBRef("c", DatetimeMS(0)),
            '{"$id":{"$date":"1970-01-01T00:00:00.000Z"},"$ref":"c"}',
            '{"$id":{"$date":{"$numberLong":"0"}},"$ref":"c"}',
        ),
        (Code("\ud800"), '{"$code":"\ufffd"}', '{"$code":"\ufffd"}'),
        (DBRef("c", 1), '{"$id":1,"$ref":"c"}', '{"$id":{"$numberInt":"1"},"$ref":"c"}'),
        (
            Timestamp(1, 2),
            '{"$timestamp":{"i":2,"t":1}}',
            '{"$timestamp":{"i":2,"t":1}}',
        ),
        ({"b": 1, "a": [2.5]}, '{"a":[2.5],"b":1}', '{"a":[{"$numberDouble":"2.5"}],"b":{"$numberInt":"1"}}'),
        ({"\ud800": 1}, '{"\ufffd":1}', '{"\ufffd":{"$numberInt":"1"}}'),
        ({"\uffff": 1, "\U00010000": 2}, '{"\uffff":1,"\U00010000":2}', None),
        (RawText(b'"raw \\n text"'), '"raw \\n text"', '"raw \\n text"'),
    ],
)
def test_a_value_as_Extended_JSON(value: object, relaxed: str, canonical: str | None) -> None:
    assert relaxed == dumps(value).decode()
    if canonical is not None:
        assert canonical == dumps(value, "canonical").decode()


def test_what_is_no_BSON_value_is_an_error() -> None:
    with pytest.raises(TypeError):
        dumps(object())


DOCUMENT = {
    "_id": ObjectId(IDENTITY),
    "date": DatetimeMS(STAMP),
    "early": DatetimeMS(-1),
    "long": Int64(5),
    "nan": Double("nan"),
    "code": Code("f", {"n": 1}),
    "raw": RawText(b'"raw"'),
    "bytes": b"\1",
    "list": [None, True, 1.5, "text"],
}


@pytest.mark.parametrize("mode", ["relaxed", "canonical"])
def test_a_mapped_document_is_written_as_any_other(mode: extjson.Mode) -> None:
    assert dumps(DOCUMENT, mode) + b"\n" == mapped_line(DOCUMENT, mode)


def test_a_raw_text_is_the_text_that_its_JSON_says() -> None:
    assert "a\nb" == str(RawText(b'"a\\nb"'))


def test_surrogates_in_pairs_are_no_business_of_ours() -> None:
    text = orjson.loads(rb'"\ud83d\ude00"')

    assert text is extjson.without_surrogates(text)
    assert "\ufffd\ufffd" == extjson.without_surrogates("\udc00\ud800")
