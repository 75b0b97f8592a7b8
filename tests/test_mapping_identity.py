"""Mapping rules "Identity and time", and which documents are kept at all."""

from typing import Any

import pytest
from bson import DatetimeMS, DBRef, Decimal128, Int64, ObjectId

from converter.mapping import Rejected, map_job
from converter.mapping.identity import content_hash, id_maker, made_id
from converter.mapping.lifecycle import NEVER
from converter.times import FIRST_MILLISECOND, LAST_MILLISECOND
from tests.jobs import (
    CREATED,
    CREATED_ISO,
    IDENTITY,
    MINUTE,
    Document,
    converted,
    date,
    events,
    job,
    legacy,
    metadata,
    metrics,
    novel_job,
    rejected,
    repairs,
    without,
)

HEX = str(IDENTITY)


@pytest.mark.parametrize(
    ("fields", "expected", "counted"),
    [
        ({"jobId": "job-1"}, "job-1", None),
        ({"jobId": "007"}, "007", None),
        ({"jobId": " job-1\n"}, "job-1", "job-id-trimmed"),
        ({"jobId": ""}, HEX, None),
        ({"jobId": "  "}, HEX, "job-id-trimmed"),
        ({"jobId": None}, HEX, None),
        ({"jobId": 7}, HEX, "misplaced"),
        ({}, HEX, None),
        ({"_id": HEX}, HEX, "id-from-string"),
        ({"_id": HEX.upper()}, HEX, "id-from-string"),
        ({"_id": "legacy-7"}, "legacy-7", "id-made"),
        ({"_id": " legacy-7 "}, "legacy-7", "id-made"),
        ({"_id": "a\ud800"}, "a\ufffd", "id-made"),
        ({"_id": 7}, "7", "id-made"),
        ({"_id": Int64(7)}, "7", "id-made"),
        ({"_id": 7.5}, "7.5", "id-made"),
        ({"_id": Decimal128("7.50")}, "7.50", "id-made"),
        ({"_id": b"\x01\xff"}, "01ff", "id-made"),
        ({"_id": True}, "true", "id-made"),
        ({"_id": {"b": 1, "a": ObjectId("a" * 24)}}, '{"a":{"$oid":"aaaaaaaaaaaaaaaaaaaaaaaa"},"b":1}', "id-made"),
        ({"_id": date()}, '{"$date":"2025-07-19T03:04:05.420Z"}', "id-made"),
    ],
)
def test_job_id(fields: Document, expected: str, counted: str | None) -> None:
    result = converted(job(**fields))

    assert expected == result.job_id
    assert [expected] * 3 == [
        result.documents[name][0]["jobId"] for name in ("novel_jobs", "novel_job_metrics", "novel_job_metadata")
    ]
    assert {expected} == {event["jobId"] for event in result.documents["novel_job_events"]}
    assert {
        name for name in ("job-id-trimmed", "misplaced", "id-from-string", "id-made") if name in result.repairs
    } == ({counted} if counted else set())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"jobId": " job-1 "}, {"jobId": " job-1 "}),
        ({"jobId": "  "}, {"jobId": "  "}),
        ({"_id": "legacy-7"}, {"_id": "legacy-7"}),
        ({"_id": {"a": 1}}, {"_id": {"a": 1}}),
        ({"_id": None, "jobId": "job-1"}, {}),
        ({"_id": HEX}, {}),
    ],
)
def test_an_identity_that_was_changed_is_kept_as_it_was(fields: Document, expected: Document) -> None:
    assert expected == legacy(job(**fields))


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (IDENTITY, IDENTITY),
        (HEX, IDENTITY),
        ("legacy-7", ObjectId("687b0b25884ecb1f23142dd1")),
        (7, ObjectId("687b0b25fe9fc5d3069b8ac6")),
    ],
)
def test_the_id_of_the_novel_job(identity: object, expected: ObjectId) -> None:
    assert expected == novel_job(job(_id=identity))["_id"]


def test_ids_made_from_content_never_change() -> None:
    # 4 bytes of time, then BLAKE2b over "17:novel_job_metrics24:687b..." and so on, computed by other means.
    document = job()

    assert ObjectId("687b0b2527d88f0996256c32") == metrics(document)["_id"]
    assert ObjectId("687b0b25e604b4ae44b170ef") == metadata(document)["_id"]
    assert [
        ObjectId("687b0b253290a0c70593187b"),
        ObjectId("687b0b2541cb12d0dd81117f"),
        ObjectId("687b0d411c22701ce55bf73d"),
    ] == [event["_id"] for event in events(document)]


def test_an_id_begins_with_its_time_in_seconds() -> None:
    assert "687b0b25" == str(made_id(CREATED, "novel_jobs", "job-1"))[:8]
    assert "ffffffff" == str(made_id(-1, "novel_jobs", "job-1"))[:8]


def test_parts_of_an_id_do_not_run_into_each_other() -> None:
    assert content_hash("ab", "c") != content_hash("a", "bc")
    assert made_id(CREATED, "a", "b") == id_maker("a")(CREATED, "b")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([], Rejected("not-an-object", "a job is an object, this is an array")),
        ("text", Rejected("not-an-object", "a job is an object, this is a string")),
        (None, Rejected("not-an-object", "a job is an object, this is null")),
        (True, Rejected("not-an-object", "a job is an object, this is a boolean")),
        (7, Rejected("not-an-object", "a job is an object, this is a number")),
        (Int64(7), Rejected("not-an-object", "a job is an object, this is a number")),
        (7.5, Rejected("not-an-object", "a job is an object, this is a number")),
        (Decimal128("7"), Rejected("not-an-object", "a job is an object, this is a Decimal128")),
        ({}, Rejected("no-identity", "neither jobId nor _id says which job this is")),
        ({"_id": None, "jobId": " "}, Rejected("no-identity", "neither jobId nor _id says which job this is")),
        ({"_id": " "}, Rejected("no-identity", "neither jobId nor _id says which job this is")),
        ({"_id": b""}, Rejected("no-identity", "neither jobId nor _id says which job this is")),
        (
            {"_id": 7},
            Rejected(
                "no-creation-time", "createdAt is missing and _id is no ObjectId, so its time is unknown", job_id="7"
            ),
        ),
        (
            {"jobId": "job-1", "createdAt": "some day"},
            Rejected(
                "no-creation-time",
                "createdAt is missing and _id is no ObjectId, so its time is unknown",
                job_id="job-1",
            ),
        ),
    ],
)
def test_a_job_that_cannot_be_kept(document: object, expected: Rejected) -> None:
    assert expected == rejected(document)


def nested(levels: int) -> Any:
    value: Any = "leaf"
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("levels", [101, 300, 5000])
@pytest.mark.parametrize(
    "document",
    [
        lambda deep: job(other=deep),
        lambda deep: job(title=deep),
        lambda deep: job(outline=[deep]),
        lambda deep: job(other=[deep]),
        lambda deep: job(title=[deep]),
        lambda deep: job(_id=deep),
        lambda deep: without(job(other=deep), "updatedAt"),
        lambda deep: without(job(other=[deep]), "updatedAt"),
        lambda deep: job(metadata={"aiDecisions": [{"other": deep}]}),
        lambda deep: job(metadata={"enhancementsApplied": [{"other": deep}]}),
        lambda deep: job(metadata={"continuityAlerts": [{"other": deep}]}),
    ],
)
def test_a_job_nested_too_deep(document: Any, levels: int) -> None:
    expected = Rejected("nested-too-deep", "the document has more than 100 levels, MongoDB's limit")

    assert expected == map_job(document(nested(levels)))


@pytest.mark.parametrize(
    ("created", "identity", "expected", "repair"),
    [
        (date(), IDENTITY, CREATED_ISO, None),
        (None, IDENTITY, "2025-07-19T03:04:05.000Z", "created-at-from-object-id"),
        (None, HEX, "2025-07-19T03:04:05.000Z", "created-at-from-object-id"),
        (None, ObjectId("ffffffff" + "0" * 16), "2106-02-07T06:28:15.000Z", "created-at-from-object-id"),
        (CREATED_ISO, IDENTITY, CREATED_ISO, "date-from-string"),
        (CREATED, IDENTITY, CREATED_ISO, "date-from-number"),
        ("some day", IDENTITY, "2025-07-19T03:04:05.000Z", "misplaced"),
        (DatetimeMS(LAST_MILLISECOND + 1), IDENTITY, "2025-07-19T03:04:05.000Z", "misplaced"),
        (DatetimeMS(LAST_MILLISECOND), IDENTITY, "9999-12-31T23:59:59.999Z", None),
        (DatetimeMS(FIRST_MILLISECOND), IDENTITY, "0001-01-01T00:00:00.000Z", None),
    ],
)
def test_creation_time(created: object, identity: object, expected: str, repair: str | None) -> None:
    document = job(createdAt=created, _id=identity, status="planning")
    target = novel_job(document)

    assert expected == target["requestedAt"] == target["receivedAt"]
    assert expected == events(document)[0]["emittedAt"]
    assert repair is None or repairs(document, repair) == 1


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"updatedAt": date(3)}, date(3)),
        ({}, date()),
        ({"completedAt": date(7)}, date(7)),
        ({"completedAt": date(-7)}, date()),
        ({"other": [{"seen": date(8)}]}, date(8)),
        ({"progress": {"lastActivity": date(9), "estimatedCompletion": date(99)}}, date(9)),
        ({"other": {"sentinel": DatetimeMS(NEVER)}, "completedAt": date(7)}, date(7)),
        ({"other": {"late": DatetimeMS(NEVER - 1)}}, DatetimeMS(NEVER - 1)),
        ({"updatedAt": DatetimeMS(NEVER)}, DatetimeMS(NEVER)),
        ({"updatedAt": "some day", "completedAt": date(7)}, date(7)),
    ],
)
def test_update_time(fields: Document, expected: DatetimeMS) -> None:
    document = {"_id": IDENTITY, "createdAt": date(), **fields}

    assert [expected] * 3 == [make(document)["updatedAt"] for make in (novel_job, metrics, metadata)]
    assert repairs(document, "updated-at-inferred") == ("updatedAt" not in fields or fields["updatedAt"] == "some day")


def test_dates_of_metrics_and_metadata() -> None:
    for make in (metrics, metadata):
        target = make(job())
        assert (date(), date(10 * MINUTE)) == (target["createdAt"], target["updatedAt"])


def test_what_the_report_is_told() -> None:
    result = converted(job(status="cancelled", metadata={}))

    assert ("6", "cancelled") == (result.generation, result.legacy_status)
    assert "" == converted(without(job(), "status")).legacy_status


def test_a_reference_as_identity() -> None:
    assert '{"$id":1,"$ref":"novels"}' == converted(job(_id=DBRef("novels", 1))).job_id
