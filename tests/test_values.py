"""What of a job in the dump is certain, and so must stand in the bundle."""

from typing import Any

import pytest
from bson import DatetimeMS, Decimal128, ObjectId

from converter.mapping import Converted, map_job
from converter.verification.source_values import source_values
from converter.verification.values import differences, job_values, metadata_values, metrics_values
from tests import jobs

IDENTITY = ObjectId("64b7f00000000000000000aa")


def bundle_values(document: dict[str, Any]) -> dict[str, Any]:
    mapped = map_job(document)
    assert isinstance(mapped, Converted)
    made = mapped.documents
    return {
        **job_values(made["novel_jobs"][0]),
        **metrics_values(made["novel_job_metrics"][0]),
        **metadata_values(made["novel_job_metadata"][0]),
    }


def agreeing(document: dict[str, Any]) -> dict[str, Any]:
    """What is certain of a job; the bundle has the same."""
    dump = source_values(document)
    assert [] == differences(dump, bundle_values(document))
    return dump


@pytest.mark.parametrize(
    ("created", "milliseconds"),
    [
        (DatetimeMS(5), 5),
        (None, 0x64B7F000 * 1000),
        ("2025-07-19T03:04:05.420Z", None),
        (1_752_894_245_420, None),
        (DatetimeMS(253_402_300_799_999), None),
        (DatetimeMS(2**62), None),
    ],
)
def test_times(created: object, milliseconds: int | None) -> None:
    dump = agreeing(jobs.job(_id=IDENTITY, createdAt=created))
    found = [dump[part]["createdAt"] for part in ("jobValues", "metricsValues", "metadataValues")]
    assert [milliseconds] * 3 == found


@pytest.mark.parametrize(
    ("identity", "expected"),
    [(IDENTITY, str(IDENTITY)), (str(IDENTITY).upper(), str(IDENTITY)), ("a name", None), (7, None)],
)
def test_identities(identity: object, expected: str | None) -> None:
    assert expected == agreeing(jobs.job(_id=identity))["jobValues"]["_id"]


@pytest.mark.parametrize(
    ("tokens", "cost", "model", "split"),
    [
        (3000, 1000 * 0.005 / 1000 + 2000 * 0.015 / 1000, "gpt-4o", [1000, 2000]),
        (3000, 1000 * 0.00015 / 1000 + 2000 * 0.0006 / 1000, "gpt-4o-mini", [1000, 2000]),
        (3000, 0.04, "gpt-4o", [500, 2500]),
        (3000, 99.0, "gpt-4o", [0, 0]),  # more than the tokens can have cost
        (3000, 0.0400001, "gpt-4o", [0, 0]),  # not whole
        (3000, 0.04 + 1e-11, "gpt-4o", [None, None]),  # 1e-6 from whole: doubles don't tell
        (3000, 0.04, "another", [0, 0]),
        (3000, None, "gpt-4o", [0, 0]),
        (None, None, "gpt-4o", [0, 0]),
        (3000.0, 0.04, "gpt-4o", [None, None]),
        ("3000", 0.04, "gpt-4o", [None, None]),
        (10**12, 0.04, "gpt-4o", [None, None]),
    ],
)
def test_the_split_of_tokens(tokens: object, cost: object, model: str, split: list[int | None]) -> None:
    chapter = jobs.chapter(tokensUsed=tokens, cost=cost)
    dump = agreeing(jobs.job(chapters=[chapter], modelUsage={"chapterGeneration": {"model": model}}))
    assert split == dump["jobValues"]["chapters"][0][5:7]


def alert(identity: str | None, message: str, time: object, **fields: object) -> dict[str, Any]:
    return {"id": identity, "message": message, "timestamp": time, "severity": "info"} | fields


def test_of_alerts_with_one_id_the_newest_is_kept() -> None:
    alerts = [alert("a", "new", DatetimeMS(9)), alert("a", "newer", DatetimeMS(9)), alert("a", "old", DatetimeMS(1))]
    dump = agreeing(jobs.job(metadata={"continuityAlerts": alerts}))
    kept = bundle_values(jobs.job(metadata={"continuityAlerts": alerts[:2]}))
    assert [] == differences(dump, kept)
    other = bundle_values(jobs.job(metadata={"continuityAlerts": alerts[:1]}))
    assert ["continuityAlerts.0 differs from the dump's"] == differences(dump, other)


def test_where_a_time_is_not_certain_any_alert_of_the_id_may_be_kept() -> None:
    alerts = [alert("a", "one", "2025-01-01"), alert("a", "two", DatetimeMS(9)), alert("a", "three", None)]
    dump = agreeing(jobs.job(metadata={"continuityAlerts": alerts}))
    assert 3 == len(dump["metadataValues"]["alerts"]["a"])
    other = bundle_values(jobs.job(metadata={"continuityAlerts": [alert("a", "four", DatetimeMS(9))]}))
    assert ["continuityAlerts.0 differs from the dump's"] == differences(dump, other)


def test_alerts_without_an_id() -> None:
    alerts = [alert(None, "one", None), alert("", "one", None), alert(None, "two", None)]
    dump = agreeing(jobs.job(metadata={"continuityAlerts": alerts}))
    assert 2 == len(dump["metadataValues"]["alerts without an id"])
    for odd in (alert(None, "", None), alert("alert-0123456789abcdef", "one", None)):
        dump = agreeing(jobs.job(metadata={"continuityAlerts": [*alerts, odd]}))
        assert dump["metadataValues"]["alerts without an id"] is None


@pytest.mark.parametrize("name", ["a.b", "$a", "", "\ud800", "Unnamed"])
def test_names_that_change_are_not_compared(name: str) -> None:
    story_bible = {"characters": {"A": {}, name: {"description": "b"}}, "locations": {"A": {}, name: {}}}
    dump = agreeing(jobs.job(metadata={"storyBible": story_bible, "phaseStartTimes": {name: DatetimeMS(5)}}))
    characters = dump["metadataValues"]["storyBibleCharacters"]
    assert (name in ("a.b", "$a")) == (characters is not None)
    assert (name == "Unnamed") == (dump["metadataValues"]["storyBibleLocations"] is not None)
    assert (name == "Unnamed") == (dump["metadataValues"]["phaseStartTimes"] is not None)


@pytest.mark.parametrize("number", ["7", Decimal128("7"), float("nan"), True, [7]])
def test_numbers_that_are_none_are_not_compared(number: object) -> None:
    dump = agreeing(
        jobs.job(
            targetWordCount=number,
            modelUsage={"premiseAnalysis": {"duration": number}},
            metadata={"performance": {"errorCount": number}, "aiDecisions": [{"confidence": number}]},
        )
    )
    assert dump["jobValues"]["payload.targetWordCount"] is None
    assert dump["metricsValues"]["latencyMs.analysis"] is None
    assert dump["metricsValues"]["latencyMs.total"] is None
    assert dump["metadataValues"]["performance.errorCount"] is None
    assert dump["metadataValues"]["aiDecisions' confidence"] is None


@pytest.mark.parametrize("error", ["oops", {"message": "oops"}, None, {}, {"message": 7}, ""])
def test_the_reason_of_a_failure(error: object) -> None:
    dump = agreeing(jobs.job(error=error))
    assert ("oops" in str(error)) == (dump["jobValues"]["failures.0.reason"] is not None)
