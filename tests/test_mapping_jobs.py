"""Mapping rules "novel_jobs": status, times, payload, context, summary, engine, failures, progress."""

from collections.abc import Callable
from typing import Any

import pytest
from bson import Code, DBRef, Decimal128, Int64, ObjectId

from converter.extjson import Double, RawText, dumps
from tests.jobs import (
    IDENTITY,
    MINUTE,
    Document,
    chapter,
    converted,
    date,
    events,
    job,
    legacy,
    novel_job,
    rejected,
    repairs,
    without,
)

HIGH, LOW = "\ud800", "\udc00"
"""Lone surrogates."""


@pytest.mark.parametrize(
    ("status", "fields", "expected", "inferred"),
    [
        ("completed", {}, "completed", False),
        ("failed", {}, "failed", False),
        ("cancelled", {}, "failed", False),
        ("outlining", {}, "running", False),
        ("analyzing", {}, "running", False),
        ("writing", {}, "running", False),
        ("recovering", {}, "running", False),
        ("planning", {}, "queued", False),
        ("planning", {"outline": [], "chapters": [], "modelUsage": {}}, "queued", False),
        ("planning", {"modelUsage": {"premiseAnalysis": None}}, "queued", False),
        ("planning", {"outline": [{}]}, "running", False),
        ("planning", {"chapters": [{}]}, "running", False),
        ("planning", {"modelUsage": {"_id": IDENTITY, "premiseAnalysis": {"_id": IDENTITY}}}, "queued", False),
        ("planning", {"modelUsage": {"premiseAnalysis": {"cost": 0, "model": "", "other": None}}}, "queued", False),
        ("planning", {"modelUsage": {"premiseAnalysis": {"cost": 0.5}}}, "running", False),
        ("planning", {"modelUsage": {"premiseAnalysis": {"model": "gpt-4o"}}}, "running", False),
        ("planning", {"modelUsage": {"other": 7}}, "running", False),
        ("planning", {"metadata": {"phaseStartTimes": {"premise_analysis": date()}}}, "running", False),
        ("planning", {"completedAt": date()}, "queued", False),
        ("Completed", {}, "running", True),
        ("Completed", {"completedAt": date()}, "completed", True),
        ("", {"currentPhase": "completed"}, "completed", True),
        (None, {"currentPhase": "finalization"}, "running", True),
        (7, {"completedAt": date()}, "completed", True),
    ],
)
def test_status(status: object, fields: Document, expected: str, inferred: bool) -> None:
    document = without(job(status=status), "completedAt") | fields

    assert expected == novel_job(document)["status"]
    assert int(inferred) == repairs(document, "status-inferred")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("completed", {}),
        ("failed", {}),
        ("cancelled", {"status": "cancelled"}),
        ("writing", {"status": "writing"}),
        ("weird", {"status": "weird"}),
        ("", {"status": ""}),
        (None, {}),
        (7, {"misplaced": {"status": 7}}),
    ],
)
def test_a_status_that_was_changed_is_kept_as_it_was(status: object, expected: Document) -> None:
    assert expected == without(legacy(job(status=status)), "completedAt")


@pytest.mark.parametrize("status", ["planning", "writing", "completed", "failed"])
def test_in_flight_jobs_are_kept_unless_they_are_to_fail(status: str) -> None:
    document = job(status=status)
    in_flight = status in ("planning", "writing")

    assert {"planning": "queued", "writing": "running"}.get(status, status) == novel_job(document)["status"]
    assert ("failed" if in_flight else status) == novel_job(document, in_flight="fail")["status"]
    assert int(in_flight) == converted(document, in_flight="fail").repairs.get("in-flight-failed", 0)


def test_the_failure_of_a_job_that_was_in_flight_names_the_migration() -> None:
    document = without(job(status="writing"), "completedAt")
    target = novel_job(document, in_flight="fail")

    assert "2025-07-19T03:14:05.420Z" == target["completedAt"]
    assert [
        {
            "occurredAt": "2025-07-19T03:14:05.420Z",
            "reason": "The job was still under way when it was migrated to the new schema",
            "stage": "migration",
            "metadata": {"timestampInferred": True},
        }
    ] == target["failures"]
    recorded = novel_job(job(status="writing"), in_flight="fail")["failures"]
    assert [("2025-07-19T03:13:05.420Z", {})] == [(entry["occurredAt"], entry["metadata"]) for entry in recorded]


PHASES = {"chapter_writing": date(4 * MINUTE), "premise_analysis": date(MINUTE)}


@pytest.mark.parametrize(
    ("fields", "expected", "inferred"),
    [
        ({"metadata": {"phaseStartTimes": PHASES}}, "2025-07-19T03:05:05.420Z", False),
        ({"metadata": {"phaseStartTimes": {}}}, "2025-07-19T03:04:05.420Z", True),
        ({"metadata": {}}, "2025-07-19T03:04:05.420Z", True),
        ({}, "2025-07-19T03:04:05.420Z", True),
        ({"status": "planning"}, None, False),
    ],
)
def test_the_start(fields: Document, expected: str | None, inferred: bool) -> None:
    document = job(**fields)

    assert expected == novel_job(document).get("startedAt")
    assert int(inferred) == repairs(document, "started-at-inferred")


ENDS = {
    "completedAt": date(1),
    "progress": {"failedAt": date(2), "lastActivity": date(4)},
    "error": {"message": "m", "timestamp": date(3)},
    "updatedAt": date(5),
}


def ends(*left_out: str) -> Document:
    document = {key: dict(value) if isinstance(value, dict) else value for key, value in ENDS.items()}
    for name in left_out:
        holder, _, field = name.rpartition(".")
        del (document[holder] if holder else document)[field]  # type: ignore[attr-defined]
    return document


@pytest.mark.parametrize(
    ("status", "left_out", "expected", "inferred"),
    [
        ("failed", [], ".421Z", False),
        ("failed", ["completedAt"], ".422Z", False),
        ("failed", ["completedAt", "progress.failedAt"], ".423Z", False),
        ("failed", ["completedAt", "progress.failedAt", "error.timestamp"], ".424Z", True),
        ("failed", ["completedAt", "progress.failedAt", "error.timestamp", "progress.lastActivity"], ".425Z", True),
        ("completed", [], ".421Z", False),
        ("completed", ["completedAt"], ".424Z", True),
        ("completed", ["completedAt", "progress.lastActivity"], ".425Z", True),
        ("writing", [], None, False),
        ("planning", [], None, False),
    ],
)
def test_the_end_is_the_first_time_that_exists(
    status: str, left_out: list[str], expected: str | None, inferred: bool
) -> None:
    document = without(job(status=status), *ENDS) | ends(*left_out)
    target = novel_job(document)

    assert (expected and f"2025-07-19T03:04:05{expected}") == target.get("completedAt")
    assert int(inferred) == repairs(document, "completed-at-inferred")
    assert ("completedAt" in target) == ("durationMs" in target)


def test_an_end_that_does_not_fit_the_status_is_kept() -> None:
    assert {"status": "writing", "completedAt": "2025-07-19T03:13:05.420Z"} == legacy(job(status="writing"))


@pytest.mark.parametrize(("end", "expected"), [(date(9 * MINUTE), 8 * MINUTE), (date(0), 0)])
def test_the_duration_is_never_below_0(end: Any, expected: int) -> None:
    document = job(completedAt=end, metadata={"phaseStartTimes": PHASES})

    assert expected == novel_job(document)["durationMs"]


PAYLOAD = {
    "title": "Low tide",
    "premise": "Mara comes home",
    "genre": "mystery",
    "subgenre": "cozy",
    "targetWordCount": 50_000,
    "targetChapters": 12,
    "humanLikeWriting": False,
}


@pytest.mark.parametrize(
    ("fields", "expected", "defaulted", "other"),
    [
        (PAYLOAD, PAYLOAD, 0, None),
        (
            {},
            {
                "title": "",
                "premise": "",
                "genre": "",
                "subgenre": "",
                "targetWordCount": 0,
                "targetChapters": 0,
                "humanLikeWriting": True,
            },
            7,
            None,
        ),
        (PAYLOAD | {"title": None}, PAYLOAD | {"title": ""}, 1, None),
        (PAYLOAD | {"title": ""}, PAYLOAD | {"title": ""}, 0, None),
        (PAYLOAD | {"title": 7}, PAYLOAD | {"title": ""}, 1, "misplaced"),
        (PAYLOAD | {"title": "a\ud800b"}, PAYLOAD | {"title": "a\ufffdb"}, 0, "lone-surrogate"),
        (PAYLOAD | {"targetChapters": "12"}, PAYLOAD, 0, "number-from-string"),
        (PAYLOAD | {"targetChapters": Int64(12)}, PAYLOAD, 0, None),
        (PAYLOAD | {"targetChapters": Decimal128("12")}, PAYLOAD, 0, "number-from-decimal"),
        (PAYLOAD | {"targetChapters": Double("nan")}, PAYLOAD | {"targetChapters": 0}, 1, "misplaced"),
        (PAYLOAD | {"targetChapters": True}, PAYLOAD | {"targetChapters": 0}, 1, "misplaced"),
        (PAYLOAD | {"humanLikeWriting": "false"}, PAYLOAD, 0, "boolean-from-string"),
        (PAYLOAD | {"humanLikeWriting": 0}, PAYLOAD | {"humanLikeWriting": True}, 1, "misplaced"),
    ],
)
def test_payload(fields: Document, expected: Document, defaulted: int, other: str | None) -> None:
    document = job(**fields)
    target = novel_job(document)

    assert expected == target["payload"]
    assert {"jobId": target["jobId"], **expected} == target["context"]["job"]
    assert defaulted == repairs(document, "payload-defaulted")
    assert other is None or repairs(document, other) == 1


def test_the_queue_is_an_option() -> None:
    assert "novel-generation" == novel_job(job())["queue"]
    assert "night" == novel_job(job(), queue="night")["queue"]
    assert {"night"} == {event["snapshot"]["queue"] for event in events(job(), queue="night")}


@pytest.mark.parametrize(
    ("analysis", "expected"),
    [
        ({"themes": ["loss"], "at": date()}, {"themes": ["loss"], "at": date()}),
        ({"a.b": 1, "$c": 2, "d": {"e\0": 3}}, {"a．b": 1, "＄c": 2, "d": {"e\ufffd": 3}}),
        ({}, {}),
        (None, None),
        ("oops", None),
    ],
)
def test_analysis(analysis: object, expected: object) -> None:
    target = novel_job(job(analysis=analysis))

    assert expected == target["analysis"]
    assert expected == target["context"]["analysis"]
    assert [] == target["context"]["chapters"]


def test_what_has_no_other_place_is_kept_in_the_context() -> None:
    document = job(
        __v=3,
        legacyFlags={"tags": ["a"], "long": Int64(5), "at": date(), "odd.key": None},
        metadata={
            "owner": "Mara",
            "_id": ObjectId("a" * 24),
            "storyBible": {"moods": ["grey"], "_id": ObjectId("a" * 24)},
            "costTracking": {
                "totalCost": 0,
                "breakdown": {"analysis": 1, "editing": 2},
                "currency": "USD",
            },
        },
    )

    assert {
        "legacyFlags": {"tags": ["a"], "long": Int64(5), "at": date(), "odd．key": None},
        "metadata": {
            "owner": "Mara",
            "storyBible": {"moods": ["grey"]},
            "costTracking": {"totalCost": 0, "breakdown": {"analysis": 1, "editing": 2}, "currency": "USD"},
        },
    } == legacy(document)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"metadata": {"costTracking": {"totalCost": 1}}}, {"metadata": {"costTracking": {"totalCost": 1}}}),
        ({"metadata": {"storyBible": {}}}, {}),
        ({"metadata": None}, {}),
        ({"misplaced": 1}, {"misplaced": {"misplaced": 1}}),
        ({"metadata": {"supersededAlerts": 1}}, {"misplaced": {"metadata．supersededAlerts": 1}}),
        ({"other": 2**63}, {"other": Decimal128("9223372036854775808")}),
        ({"other": float("inf")}, {"other": Double("inf")}),
        ({"other": ["a\ud800"]}, {"other": ["a\ufffd"]}),
        ({"": 1}, {"unnamed": 1}),
        ({"a" + HIGH: 1, "a" + LOW: 2}, {"a\ufffd": 1, "a\ufffd~2": 2}),
        ({"other": {"a" + HIGH: 1, "a" + LOW: 2}}, {"other": {"a\ufffd": 1, "a\ufffd~2": 2}}),
        (
            {"title": 7, "other": {"a" + HIGH: 1, "a\ufffd": 2}},
            {"other": {"a\ufffd~2": 1, "a\ufffd": 2}, "misplaced": {"title": 7}},
        ),
        ({"other": {"a.b": 1, "a．b": 2, "a．b~2": 3}}, {"other": {"a．b": 2, "a．b~2": 3, "a．b~3": 1}}),
    ],
)
def test_legacy_values(fields: Document, expected: Document) -> None:
    assert expected == legacy(job(**fields))


@pytest.mark.parametrize(
    ("fields", "repair", "expected"),
    [
        ({"other": [2**63, {"a": -(2**63) - 1}]}, "number-out-of-range", 2),
        ({"other": [2**63 - 1, Int64(1)]}, "number-out-of-range", 0),
        ({"other": ["a\ud800", "b"]}, "lone-surrogate", 1),
        ({"other": {"a.b": {"$c": 1, "d": 2}}}, "key-renamed", 2),
    ],
)
def test_repairs_of_what_is_kept_without_being_understood(fields: Document, repair: str, expected: int) -> None:
    assert expected == repairs(job(**fields), repair)


def test_code_is_kept_with_its_scope() -> None:
    kept = legacy(job(other=Code("a\ud800", {"n": 1}), plain=Code("f")))

    assert b'{"$code":"a\xef\xbf\xbd","$scope":{"n":1}}' == dumps(kept["other"])
    assert Code("f") == kept["plain"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"chapters": "oops"}, {"chapters": "oops"}),
        (
            {"chapters": ["oops", chapter(cost="dear"), 7]},
            {"chapters．0": "oops", "chapters．1．cost": "dear", "chapters．2": 7},
        ),
        (
            {"chapters": [None, {"model": "m", "tokens": {"a": 1}}]},
            {"chapters．0": None, "chapters．1．model": "m", "chapters．1．tokens": {"a": 1}},
        ),
        (
            {"outline": [{"keyEvents": ["a", 1, None]}]},
            {"outline．0．keyEvents．1": 1, "outline．0．keyEvents．2": None},
        ),
        ({"metadata": {"continuityAlerts": [42]}}, {"metadata．continuityAlerts．0": 42}),
        (
            {"metadata": {"continuityAlerts": [42, {"severity": 5}, {"severity": "fatal"}]}},
            {
                "metadata．continuityAlerts．0": 42,
                "metadata．continuityAlerts．1．severity": 5,
                "metadata．continuityAlerts．2．severity": "fatal",
            },
        ),
        (
            {
                "metadata": {
                    "aiDecisions": [1, {"timestampInferred": 2}],
                    "enhancementsApplied": [3, {"timestampInferred": 4}],
                }
            },
            {
                "metadata．aiDecisions．0": 1,
                "metadata．aiDecisions．1．timestampInferred": 2,
                "metadata．enhancementsApplied．0": 3,
                "metadata．enhancementsApplied．1．timestampInferred": 4,
            },
        ),
        (
            {"metadata": {"storyBible": {"characters": {"a": {"traits": 1}, "a.traits": 2}}}},
            {
                "metadata．storyBible．characters．a．traits": 2,
                "metadata．storyBible．characters．a．traits~2": 1,
            },
        ),
        ({"metadata": {"phaseStartTimes": {"x": "soon"}}}, {"metadata．phaseStartTimes．x": "soon"}),
        ({"progress": [1]}, {"progress": [1]}),
        ({"error": 7}, {"error": 7}),
        ({"title": {"a.b": "\ud800"}}, {"title": {"a．b": "\ufffd"}}),
        ({"updatedAt": True}, {"updatedAt": True}),
    ],
)
def test_a_value_of_the_wrong_shape_is_moved_by_path(fields: Document, expected: Document) -> None:
    document = job(**fields)

    assert expected == legacy(document)["misplaced"]
    assert len(expected) == repairs(document, "misplaced")


def test_a_path_is_no_renamed_key() -> None:
    assert 0 == repairs(job(chapters=["oops"]), "key-renamed")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"outline": [{}, {}], "chapters": [chapter(), chapter(wordCount=4), chapter(status="failed")]},
            {"chaptersGenerated": 2, "totalChaptersPlanned": 2, "totalWordCount": 7},
        ),
        ({"targetChapters": 12}, {"chaptersGenerated": 0, "totalChaptersPlanned": 12, "totalWordCount": 0}),
        (
            {"chapters": [chapter(status="pending")]},
            {"chaptersGenerated": 0, "totalChaptersPlanned": 1, "totalWordCount": 0},
        ),
        (
            {"chapters": [chapter(wordCount=1e308)] * 2},
            {"chaptersGenerated": 2, "totalChaptersPlanned": 2, "totalWordCount": 0.0},
        ),
        (
            {"chapters": [chapter(wordCount=2**62)] * 2},
            {"chaptersGenerated": 2, "totalChaptersPlanned": 2, "totalWordCount": 2.0**63},
        ),
    ],
)
def test_summary(fields: Document, expected: Document) -> None:
    assert expected == novel_job(job(**fields))["summary"]


def test_a_sum_beyond_all_doubles_is_counted() -> None:
    assert 1 == repairs(job(chapters=[chapter(wordCount=1e308)] * 2), "sum-overflow")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "premiseAnalysis": {"model": "gpt-4o-mini"},
                "outlineGeneration": {"model": "gpt-4o"},
                "chapterGeneration": {"model": "o1"},
            },
            {"analysis": "gpt-4o-mini", "outline": "gpt-4o", "chapter": "o1"},
        ),
        ({"outlineGeneration": {"model": ""}, "chapterGeneration": None, "editing": {"model": "x"}}, {}),
        (None, {}),
    ],
)
def test_engine(usage: Document | None, expected: Document) -> None:
    assert {"clientType": "openai", "modelOverrides": expected} == novel_job(job(modelUsage=usage))["engine"]


def failure(**fields: Any) -> Document:
    return {"occurredAt": "2025-07-19T03:13:05.420Z", "reason": "The model was gone", "metadata": {}, **fields}


INFERRED = {"timestampInferred": True}


@pytest.mark.parametrize(
    ("fields", "expected", "counted"),
    [
        ({"error": "The model was gone"}, failure(metadata=INFERRED), {"failure-time-inferred"}),
        (
            {"error": "The model was gone", "currentPhase": "finalization"},
            failure(metadata=INFERRED, stage="finalization"),
            {"failure-time-inferred"},
        ),
        (
            {"error": {"message": "m", "phase": "p", "timestamp": date(1), "code": 7, "_id": 1}, "currentPhase": "f"},
            failure(occurredAt="2025-07-19T03:04:05.421Z", reason="m", stage="p", metadata={"code": 7}),
            set(),
        ),
        (
            {"error": {"phase": "p"}},
            failure(reason="No reason was recorded", stage="p", metadata=INFERRED),
            {"failure-time-inferred", "failure-reason-fallback"},
        ),
        (
            {"error": {"message": "m", "timestampInferred": 7}},
            failure(reason="m", metadata=INFERRED),
            {"failure-time-inferred", "misplaced"},
        ),
        (
            {"status": "writing", "error": "The model was gone"},
            failure(occurredAt="2025-07-19T03:14:05.420Z", metadata=INFERRED),
            {"failure-time-inferred"},
        ),
        ({"error": ""}, None, set()),
        ({"error": {}}, None, set()),
        ({"error": None}, None, set()),
    ],
)
def test_the_failure_of_the_job(fields: Document, expected: Document | None, counted: set[str]) -> None:
    document = job(**fields)
    names = {"failure-time-inferred", "failure-reason-fallback", "misplaced"}

    assert ([] if expected is None else [expected]) == novel_job(document)["failures"]
    assert counted == names & converted(document).repairs.keys()


@pytest.mark.parametrize(
    ("fields", "expected", "counted"),
    [
        (
            {"failureReason": "m", "lastAttemptAt": date(2), "attempts": 3},
            failure(occurredAt="2025-07-19T03:04:05.422Z", reason="m", metadata={"chapterNumber": 1, "attempts": 3}),
            set(),
        ),
        (
            {"failureReason": "m"},
            failure(
                occurredAt="2025-07-19T03:09:05.420Z",
                reason="m",
                metadata={"chapterNumber": 1, "attempts": 1, "timestampInferred": True},
            ),
            {"failure-time-inferred"},
        ),
        (
            {"generatedAt": None, "attempts": None},
            failure(
                occurredAt="2025-07-19T03:04:05.420Z",
                reason="No reason was recorded",
                metadata={"chapterNumber": 1, "timestampInferred": True},
            ),
            {"failure-time-inferred", "failure-reason-fallback"},
        ),
    ],
)
def test_the_failure_of_a_chapter(fields: Document, expected: Document, counted: set[str]) -> None:
    document = job(chapters=[chapter(), chapter(status="failed", **fields)])
    names = {"failure-time-inferred", "failure-reason-fallback"}

    assert [expected | {"stage": "chapter_writing"}] == novel_job(document)["failures"]
    assert counted == names & converted(document).repairs.keys()


PROGRESS = {
    "outlineComplete": True,
    "chaptersCompleted": 5,
    "totalChapters": 9,
    "chaptersFailed": 1,
    "failedChapterNumbers": [4],
    "hasFailures": True,
}


@pytest.mark.parametrize(
    ("progress", "expected", "computed"),
    [
        (PROGRESS, PROGRESS, 0),
        (
            PROGRESS | {"lastActivity": date(), "estimatedCompletion": date(1), "failedAt": date(2), "eta": date(3)},
            PROGRESS
            | {
                "lastActivity": "2025-07-19T03:04:05.420Z",
                "estimatedCompletion": "2025-07-19T03:04:05.421Z",
                "failedAt": "2025-07-19T03:04:05.422Z",
                "eta": date(3),
            },
            0,
        ),
        (
            PROGRESS | {"recoveryAttempts": [{"timestamp": date(), "attempt": 1, "by": "x", "_id": 1}, {"phase": "p"}]},
            PROGRESS
            | {
                "recoveryAttempts": [{"timestamp": "2025-07-19T03:04:05.420Z", "attempt": 1, "by": "x"}, {"phase": "p"}]
            },
            0,
        ),
        (
            without(PROGRESS, "outlineComplete", "chaptersCompleted"),
            PROGRESS | {"chaptersCompleted": 1},
            2,
        ),
        (None, {"outlineComplete": True, "chaptersCompleted": 1, "totalChapters": 2}, 3),
    ],
)
def test_progress(progress: Document | None, expected: Document, computed: int) -> None:
    document = job(progress=progress, outline=[{}, {}], chapters=[chapter(), chapter(status="pending")])

    assert expected == novel_job(document)["progress"]
    assert computed == repairs(document, "progress-computed")


def test_an_outline_that_is_not_there_is_not_complete() -> None:
    assert novel_job(job())["progress"]["outlineComplete"] is False


def test_usage_quality_and_phase_are_kept() -> None:
    document = job(
        currentPhase="finalization",
        qualityMetrics={"genreAdherence": 0.5, "completionRate": 1, "plotContinuity": None, "_id": 1},
        modelUsage={
            "outlineGeneration": {"model": "m", "cost": Int64(1), "retries": 2, "_id": 1, "duration": None},
            "chapterGeneration": None,
            "editing": {"cost": 3},
        },
    )
    target = novel_job(document)

    assert "finalization" == target["currentPhase"]
    assert {"genreAdherence": 0.5, "completionRate": 1} == target["qualityMetrics"]
    assert {
        "outlineGeneration": {"model": "m", "cost": Int64(1), "retries": 2},
        "editing": {"cost": 3},
    } == target["modelUsage"]
    assert set() == {"currentPhase", "qualityMetrics", "modelUsage"} & novel_job(job()).keys()


def test_a_raw_text_is_passed_on_untouched() -> None:
    content = RawText(b'"three \\n words more"')
    document = job(chapters=[chapter(content=content, wordCount=None)], title=7)

    assert content is novel_job(document)["chapters"][0]["content"]
    assert 3 == novel_job(document)["chapters"][0]["wordCount"]


def test_what_codes_and_references_hold_is_made_safe_too() -> None:
    plain = Code("f()", {"a.b": 1})
    document = job(
        code=Code("\ud800", {"a.b": {"$c": 1}}), plain=plain, reference=DBRef("c", {"$x": [{"y.z": "\ud800"}]})
    )
    expected = {
        "code": Code("\ufffd", {"a\uff0eb": {"\uff04c": 1}}),
        "plain": Code("f()", {"a\uff0eb": 1}),
        "reference": DBRef("c", {"\uff04x": [{"y\uff0ez": "\ufffd"}]}),
    }
    assert expected == {field: legacy(document)[field] for field in expected}
    assert {"a.b": 1} == plain.scope


@pytest.mark.parametrize("identity", [Code("64b7aaaaaaaaaaaaaaaaaa00"), Code("f()", {"n": 1})])
def test_a_code_is_no_text_that_spells_an_identity(identity: Code) -> None:
    assert identity == legacy(job(_id=identity))["_id"]


@pytest.mark.parametrize("nested", [lambda inner: Code("", {"a": inner}), lambda inner: DBRef("c", inner)])
def test_levels_of_codes_and_references_count(nested: Callable[[object], object]) -> None:
    value: object = 1
    for _ in range(101):
        value = nested(value)
    assert "nested-too-deep" == rejected(job(deep=value)).reason
