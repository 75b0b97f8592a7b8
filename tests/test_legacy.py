"""The check of a legacy job: what is read, what is mended, what is moved aside; and the schema's generations."""

import copy
from typing import Any, cast

import pytest
from bson import Code, DatetimeMS, Decimal128, Int64

from converter.extjson import Double, NestedTooDeep, RawText
from converter.models import checking
from converter.models.checking import MANY, check
from converter.models.legacy import MAX_NESTING, generation
from converter.repairs import NAMES, Repairs
from converter.times import FIRST_MILLISECOND, LAST_MILLISECOND
from tests.jobs import CREATED, Document, chapter, date

MISPLACED = object()
HIGH, LOW = "\ud800", "\udc00"
"""Lone surrogates."""


@pytest.mark.parametrize(
    ("value", "expected", "repair"),
    [
        (7, 7, None),
        (7.5, 7.5, None),
        (Int64(7), 7, None),
        (None, None, None),
        ("7", 7, "number-from-string"),
        (" -7 ", -7, "number-from-string"),
        ("7.50", 7.5, "number-from-string"),
        (".5", 0.5, "number-from-string"),
        ("1e3", 1000.0, "number-from-string"),
        ("1234567890123456", 1234567890123456, "number-from-string"),
        ("9007199254740993", 9007199254740993, "number-from-string"),
        ("+9223372036854775807", 2**63 - 1, "number-from-string"),
        ("-9223372036854775808", -(2**63), "number-from-string"),
        ("9007199254740993.0", 9007199254740993, "number-from-string"),
        ("000000000000000000000000007", 7, "number-from-string"),
        ("-0.10", -0.1, "number-from-string"),
        ("36893488147419103232", 3.6893488147419103e19, "number-rounded"),
        ("36893488147419103000", 3.6893488147419103e19, "number-from-string"),
        ("9223372036854775809", 9.223372036854776e18, "number-rounded"),
        (" 0.1234567890123456789 ", 0.12345678901234568, "number-rounded"),
        ("1e-400", 0.0, "number-rounded"),
        (Decimal128("12.50"), 12.5, "number-from-decimal"),
        (Decimal128("3"), 3.0, "number-from-decimal"),
        (Decimal128("0.1"), 0.1, "number-from-decimal"),
        (Decimal128("9007199254740993"), 9007199254740993, "number-from-decimal"),
        (Decimal128("0.1234567890123456789"), 0.12345678901234568, "number-rounded"),
        (Decimal128("123456789012345678901234567890"), 1.2345678901234568e29, "number-rounded"),
        (Decimal128("1E-6000"), 0.0, "number-rounded"),
        ("1e999", MISPLACED, "misplaced"),
        (Code("7", {"n": 1}), MISPLACED, "misplaced"),
        ("", MISPLACED, "misplaced"),
        ("NaN", MISPLACED, "misplaced"),
        ("0x10", MISPLACED, "misplaced"),
        ("1,5", MISPLACED, "misplaced"),
        ("٧", MISPLACED, "misplaced"),
        (Decimal128("NaN"), MISPLACED, "misplaced"),
        (Decimal128("sNaN"), MISPLACED, "misplaced"),
        (Decimal128("Infinity"), MISPLACED, "misplaced"),
        (Decimal128("1E+6000"), MISPLACED, "misplaced"),
        (Double("nan"), MISPLACED, "misplaced"),
        (float("-inf"), MISPLACED, "misplaced"),
        (True, MISPLACED, "misplaced"),
        (date(), MISPLACED, "misplaced"),
        ([], MISPLACED, "misplaced"),
        ({}, MISPLACED, "misplaced"),
    ],
)
def test_a_number(value: object, expected: object, repair: str | None) -> None:
    checked("targetChapters", value, expected, repair)
    if expected is not MISPLACED:
        assert type(expected) is type(cast(Any, check({"targetChapters": value}, Repairs()))["targetChapters"])


@pytest.mark.parametrize(
    ("value", "expected", "repair"),
    [
        (date(), date(), None),
        (DatetimeMS(FIRST_MILLISECOND), DatetimeMS(FIRST_MILLISECOND), None),
        (DatetimeMS(LAST_MILLISECOND), DatetimeMS(LAST_MILLISECOND), None),
        ("9999-12-31T23:59:59.999Z", DatetimeMS(LAST_MILLISECOND), "date-from-string"),
        (None, None, None),
        ("2025-07-19T03:04:05.42Z", date(), "date-from-string"),
        (" 2025-07-19T05:04:05.420+02:00 ", date(), "date-from-string"),
        ("2025-07-19 03:04:05.420", date(), "date-from-string"),
        ("2025-07-19", DatetimeMS(1_752_883_200_000), "date-from-string"),
        (str(CREATED), date(), "date-from-string"),
        (CREATED, date(), "date-from-number"),
        (Int64(CREATED), date(), "date-from-number"),
        (float(CREATED), date(), "date-from-number"),
        (CREATED + 0.5, MISPLACED, "misplaced"),
        (Code("2025-07-19", {"n": 1}), MISPLACED, "misplaced"),
        (DatetimeMS(FIRST_MILLISECOND - 1), MISPLACED, "misplaced"),
        (DatetimeMS(LAST_MILLISECOND + 1), MISPLACED, "misplaced"),
        (LAST_MILLISECOND, DatetimeMS(LAST_MILLISECOND), "date-from-number"),
        (LAST_MILLISECOND + 1, MISPLACED, "misplaced"),
        ("2025-13-01", MISPLACED, "misplaced"),
        ("Sat Jul 19 2025", MISPLACED, "misplaced"),
        ("", MISPLACED, "misplaced"),
        (Double("nan"), MISPLACED, "misplaced"),
        (Double("inf"), MISPLACED, "misplaced"),
        (True, MISPLACED, "misplaced"),
        ([CREATED], MISPLACED, "misplaced"),
    ],
)
def test_a_time(value: object, expected: object, repair: str | None) -> None:
    checked("updatedAt", value, expected, repair)


@pytest.mark.parametrize(
    ("value", "expected", "repair"),
    [
        (True, True, None),
        (None, None, None),
        ("true", True, "boolean-from-string"),
        (" False ", False, "boolean-from-string"),
        ("yes", MISPLACED, "misplaced"),
        (Code("true"), MISPLACED, "misplaced"),
        (1, MISPLACED, "misplaced"),
    ],
)
def test_a_truth_value(value: object, expected: object, repair: str | None) -> None:
    checked("humanLikeWriting", value, expected, repair)


@pytest.mark.parametrize(
    ("value", "expected", "repair"),
    [
        ("Low tide", "Low tide", None),
        ("", "", None),
        (None, None, None),
        ("a\ud800b\udfff", "a\ufffdb\ufffd", "lone-surrogate"),
        (7, MISPLACED, "misplaced"),
        (Code("Low tide", {"n": 1}), MISPLACED, "misplaced"),
        (b"bytes", MISPLACED, "misplaced"),
        (RawText(b'"raw"'), MISPLACED, "misplaced"),
    ],
)
def test_a_text(value: object, expected: object, repair: str | None) -> None:
    checked("title", value, expected, repair)


def checked(field: str, value: object, expected: object, repair: str | None) -> None:
    repairs = Repairs()
    job = check({field: value, "other": {"kept": [1]}}, repairs)

    assert {"other": {"kept": [1]}} | ({} if expected is MISPLACED else {field: expected}) == job
    kept_aside = expected is MISPLACED or repair == "number-rounded"
    assert ({field: value} if kept_aside else {}) == repairs.misplaced
    if repair == "number-rounded":
        read = "number-from-string" if isinstance(value, str) else "number-from-decimal"
        assert {read: 1, repair: 1} == repairs.counts
    else:
        assert ({} if repair is None else {repair: 1}) == repairs.counts


def test_a_raw_text_may_be_a_chapters_content() -> None:
    content = RawText(b'"raw"')

    assert {"chapters": [{"content": content}]} == check({"chapters": [{"content": content}]}, Repairs())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("gone", {"error": {"message": "gone"}}),
        ("a\ud800", {"error": {"message": "a\ufffd"}}),
        ("", {"error": None}),
        ({"message": "gone", "phase": "p"}, {"error": {"message": "gone", "phase": "p"}}),
        (7, {}),
    ],
)
def test_an_error_may_be_a_text(error: object, expected: Document) -> None:
    assert expected == check({"error": error}, Repairs())


def test_every_problem_of_a_job_is_mended_and_the_job_itself_left_alone() -> None:
    document = {
        "title": 7,
        "chapters": [1, chapter(cost="0.5", generatedAt="soon"), "two", chapter(title="\ud800"), None],
        "outline": {"0": "no array"},
        "a\ud800": [{"b\ud800": 1}],
        "metadata": {"phaseStartTimes": {"x" + HIGH: date(1), "x" + LOW: "soon", "y": None}},
    }
    before = copy.deepcopy(document)
    repairs = Repairs()
    job = check(document, repairs)

    assert before == document
    assert {
        "chapters": [
            {key: value for key, value in chapter(cost=0.5).items() if key != "generatedAt"},
            chapter(title="\ufffd"),
        ],
        "a\ufffd": [{"b\ufffd": 1}],
        "metadata": {"phaseStartTimes": {"x\ufffd": date(1)}},
    } == job
    assert {
        "title": 7,
        "chapters.0": 1,
        "chapters.1.generatedAt": "soon",
        "chapters.2": "two",
        "chapters.4": None,
        "outline": {"0": "no array"},
        "metadata.phaseStartTimes.x\ufffd~2": "soon",
        "metadata.phaseStartTimes.y": None,
    } == repairs.misplaced
    assert {"misplaced": 8, "number-from-string": 1, "lone-surrogate": 1, "key-renamed": 4} == repairs.counts
    positions = repairs.positions("chapters")
    assert [1, 3, 5] == [next(positions) for _ in range(3)]


def test_a_job_without_problems_is_taken_as_it_is() -> None:
    repairs = Repairs()
    document = {"_id": 1, "chapters": [chapter()], "other": {"a.b": "\ud800"}}

    assert document == check(document, repairs)
    assert ({}, {}) == (repairs.counts, repairs.misplaced)


@pytest.mark.parametrize("kind", [list, dict])
def test_a_job_to_be_mended_has_no_more_levels_than_MongoDB_allows(kind: type) -> None:
    def nested(levels: int) -> Any:
        value: Any = kind()
        for _ in range(levels - 1):
            value = [value] if kind is list else {"a": value}
        return value

    assert {"other": nested(MAX_NESTING - 1)} == check({"title": 7, "other": nested(MAX_NESTING - 1)}, Repairs())
    with pytest.raises(NestedTooDeep):
        check({"title": 7, "other": nested(MAX_NESTING)}, Repairs())


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, "1-2"),
        ({"outline": [{}], "chapters": [chapter()], "progress": {}}, "3"),
        ({"chapters": [{"title": "t"}], "outline": [{}], "progress": {"chaptersCompleted": 1}}, "1-2"),
        ({"progress": {"chaptersFailed": 0}}, "3"),
        ({"progress": {"hasFailures": False}}, "3"),
        ({"currentPhase": "completed"}, "4"),
        ({"currentPhase": "finalization"}, "1-2"),
        ({"humanLikeWriting": False, "currentPhase": "completed"}, "5"),
        ({"humanLikeWriting": None}, "1-2"),
        ({"outline": [{}, {"humanLikeElements": {}}]}, "5"),
        ({"metadata": {}, "humanLikeWriting": True}, "6"),
        ({"metadata": None, "humanLikeWriting": True}, "5"),
    ],
)
def test_the_generation_of_the_schema(document: Document, expected: str) -> None:
    assert expected == generation(check(document, Repairs()))


def test_a_repair_has_a_known_name() -> None:
    repairs = Repairs()
    repairs.count("misplaced")
    repairs.count("misplaced")

    assert {"misplaced": 2} == repairs.counts
    with pytest.raises(KeyError, match="guessed"):
        repairs.count("guessed")
    assert [] == [name for name, meaning in NAMES.items() if not meaning]


def test_two_places_with_one_path_are_both_kept() -> None:
    repairs = Repairs()
    for value in "abc":
        repairs.misplace("a.b", value)

    assert {"a.b": "a", "a.b~2": "b", "a.b~3": "c"} == repairs.misplaced


MANY_WRONG: list[tuple[Document, Document]] = [
    # Values that can be read, in a long array.
    (
        {"metadata": {"storyBible": {"timeline": [{"timestamp": "2025-07-19T03:04:05.42Z"}] * 50}}},
        {"metadata": {"storyBible": {"timeline": [{"timestamp": date()}] * 50}}},
    ),
    # Wrong elements among sound ones, in arrays within an array; and a field beside them.
    (
        {"title": 7, "outline": [{"keyEvents": ["a", 1, "b", 2]}, 3, {"keyEvents": [4, "c"] * 20}] * 2, "genre": "g"},
        {"outline": [{"keyEvents": ["a", "b"]}, {"keyEvents": ["c"] * 20}] * 2, "genre": "g"},
    ),
    # A map.
    (
        {"metadata": {"phaseStartTimes": {f"phase {number}": number or "soon" for number in range(40)}}},
        {"metadata": {"phaseStartTimes": {f"phase {number}": DatetimeMS(number) for number in range(1, 40)}}},
    ),
    # Nearly all of them in one of many.
    (
        {"chapters": [{"title": "sound"}] * 30 + [{"cost": "0.5", "tokensUsed": "7", "attempts": [], "title": 1}] * 4},
        {"chapters": [{"title": "sound"}] * 30 + [{"cost": 0.5, "tokensUsed": 7}] * 4},
    ),
    ({"outline": [7] * 50, "chapters": ["x", {"title": "one"}]}, {"outline": [], "chapters": [{"title": "one"}]}),
    ({"title": "\ud800", "genre": "\ud800", "progress": []}, {"title": "\ufffd", "genre": "\ufffd"}),
]


@pytest.mark.parametrize(("document", "expected"), MANY_WRONG, ids=range(len(MANY_WRONG)))
def test_a_part_with_too_many_errors_is_mended_in_smaller_parts(
    document: Document, expected: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each error takes a kilobyte to be told, and one document may hold millions."""
    at_once, in_parts = Repairs(), Repairs()
    assert expected == check(document, at_once)
    monkeypatch.setattr(checking, "MANY", 2)
    assert expected == check(document, in_parts)

    assert list(at_once.misplaced.items()) == list(in_parts.misplaced.items())
    assert at_once.counts == in_parts.counts
    for where in ("outline", "outline.0.keyEvents", "outline.2.keyEvents", "chapters"):
        first, second = at_once.positions(where), in_parts.positions(where)
        assert [next(first) for _ in range(9)] == [next(second) for _ in range(9)]


def test_more_errors_than_are_told_at_once() -> None:
    repairs = Repairs()
    found = check({"outline": [{"wordTarget": "7"}, 7] * MANY}, repairs)

    assert {"outline": [{"wordTarget": 7}] * MANY} == found
    assert {"misplaced": MANY, "number-from-string": MANY} == repairs.counts
    assert {f"outline.{2 * number + 1}": 7 for number in range(MANY)} == repairs.misplaced
