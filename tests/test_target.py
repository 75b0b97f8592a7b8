"""The contracts of the target's collections, which every document must keep, and their indexes."""

import copy
from typing import Any

import jsonschema
import orjson
import pytest
from bson import DatetimeMS, Decimal128, Int64, ObjectId

from converter.extjson import RawText, dumps
from converter.models.target import COLLECTIONS, INDEXES, Collection, json_schema, violations
from tests.jobs import alert, chapter, converted, date, job

REMOVED = object()
TIME = "2025-07-19T03:04:05.420Z"

RESULT = converted(
    job(
        error={"message": "m", "phase": "p", "timestamp": date()},
        outline=[
            {
                "chapterNumber": 1,
                "title": "t",
                "summary": "s",
                "keyEvents": ["k"],
                "wordTarget": 1,
                "humanLikeElements": {},
            }
        ],
        chapters=[chapter(lastAttemptAt=date())],
        modelUsage={"chapterGeneration": {"model": "gpt-4o"}},
        metadata={
            "storyBible": {
                "characters": {"Mara": {"description": "d", "traits": ["t"], "relationships": ["of Mara"]}},
                "locations": {"Harbour": {}},
                "themes": [{"name": "Loss"}],
            },
            "continuityAlerts": [alert(), alert(id="alert-2")],
            "aiDecisions": [{"id": "d", "type": "t", "timestamp": date(), "summary": "s", "confidence": 0.5}],
            "enhancementsApplied": [{"id": "e", "timestamp": date()}],
        },
    )
)


def document(collection: str, kind: str | None = None) -> Any:
    """A fresh document that keeps its contract."""
    return copy.deepcopy(next(entry for entry in RESULT.documents[collection] if kind in (None, entry.get("kind"))))


def changed(target: Any, path: str, value: object) -> Any:
    *way, last = (int(step) if step.isdigit() else step for step in path.split("."))
    holder = target
    for step in way:
        holder = holder[step]
    if value is REMOVED:
        del holder[last]
    else:
        holder[last] = value
    return target


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_what_the_mapping_makes_keeps_the_contract(collection: Collection) -> None:
    assert [] == [wrong for entry in RESULT.documents[collection] for wrong in violations(collection, entry)]


EVERYWHERE: list[tuple[str, object, str]] = [
    ("_id", "64b7", "_id: Input should be an instance of ObjectId"),
    ("jobId", "", "jobId: "),
    ("jobId", " job-1", "jobId: "),
    ("jobId", "job-1\n", "jobId: "),
    ("jobId", 7, "jobId: "),
    ("createdAt", TIME, "createdAt: Input should be an instance of DatetimeMS"),
    ("updatedAt", REMOVED, "updatedAt: Field required"),
    ("updatedAt", None, "updatedAt: "),
    ("surprise", 1, "surprise: "),
]
NUMBER = "Input should be a finite number"
JOB: list[tuple[str, object, str]] = [
    ("queue", "", "queue: "),
    ("status", "planning", "status: "),
    ("payload", REMOVED, "payload: Field required"),
    ("payload.title", None, "payload.title: "),
    ("payload.targetChapters", None, f"payload.targetChapters: {NUMBER}"),
    ("payload.targetChapters", "12", f"payload.targetChapters: {NUMBER}"),
    ("payload.targetChapters", True, f"payload.targetChapters: {NUMBER}"),
    ("payload.targetChapters", float("nan"), f"payload.targetChapters: {NUMBER}"),
    ("payload.targetChapters", float("inf"), f"payload.targetChapters: {NUMBER}"),
    ("payload.targetChapters", Decimal128("1"), f"payload.targetChapters: {NUMBER}"),
    ("payload.targetChapters", 2**63, f"payload.targetChapters: {NUMBER}"),
    ("payload.humanLikeWriting", 1, "payload.humanLikeWriting: "),
    ("receivedAt", "2025-07-19T03:04:05Z", "receivedAt: "),
    ("receivedAt", "2025-07-19T03:04:05.420+00:00", "receivedAt: "),
    ("receivedAt", TIME + "\n", "receivedAt: "),
    ("receivedAt", TIME.replace("7", "\N{ARABIC-INDIC DIGIT SEVEN}"), "receivedAt: "),
    ("requestedAt", date(), "requestedAt: "),
    ("startedAt", None, "startedAt: "),
    ("durationMs", None, f"durationMs: {NUMBER}"),
    ("outline.0.title", "", "outline.0.title: "),
    ("outline.0.summary", "", "outline.0.summary: "),
    ("outline.0.keyEvents", "all", "outline.0.keyEvents: "),
    ("outline.0.keyEvents", REMOVED, "outline.0.keyEvents: Field required"),
    ("outline.0.keyEvents.0", None, "outline.0.keyEvents.0: "),
    ("outline.0.wordTarget", None, f"outline.0.wordTarget: {NUMBER}"),
    ("outline.0.humanLikeElements", None, "outline.0.humanLikeElements: "),
    ("outline.0", None, "outline.0: "),
    ("chapters.0.attempts", 3, "chapters.0.attempts: "),
    ("chapters.0.status", "generating", "chapters.0.status: "),
    ("chapters.0.title", "", "chapters.0.title: "),
    ("chapters.0.wordCount", "3", f"chapters.0.wordCount: {NUMBER}"),
    ("chapters.0.content", 7, "chapters.0.content: "),
    ("chapters.0.tokens.totalTokens", None, f"chapters.0.tokens.totalTokens: {NUMBER}"),
    ("chapters.0.lastAttemptAt", date(), "chapters.0.lastAttemptAt: "),
    ("summary.totalWordCount", None, f"summary.totalWordCount: {NUMBER}"),
    ("engine.clientType", "legacy", "engine.clientType: "),
    ("engine.modelOverrides.chapter", None, "engine.modelOverrides.chapter: "),
    ("context.chapters", REMOVED, "context.chapters: Field required"),
    ("context.metadata", None, "context.metadata: Input should be a valid dictionary"),
    ("context.job", [], "context.job: Input should be a valid dictionary"),
    ("analysis", "a", "analysis: Input should be a valid dictionary"),
    ("events.0.type", "", "events.0.type: "),
    ("events.0.occurredAt", REMOVED, "events.0.occurredAt: Field required"),
    ("domainEvents", None, "domainEvents: "),
    ("failures.0.reason", "", "failures.0.reason: "),
    ("failures.0.stage", "", "failures.0.stage: "),
]
METADATA: list[tuple[str, object, str]] = [
    ("storyBibleCharacters", [], "storyBibleCharacters: "),
    ("storyBibleCharacters.Mara.name", "", "storyBibleCharacters.Mara.name: "),
    ("storyBibleCharacters.Mara.traits", None, "storyBibleCharacters.Mara.traits: "),
    ("storyBibleCharacters.Mara.relationships.0", "of Mara", "storyBibleCharacters.Mara.relationships.0: "),
    (
        "storyBibleCharacters.Mara.relationships.0.characterId",
        "",
        "storyBibleCharacters.Mara.relationships.0.characterId: ",
    ),
    ("storyBibleThemes.0", {"name": "Loss"}, "storyBibleThemes.0: "),
    ("storyBibleLocations.Harbour", None, "storyBibleLocations.Harbour: "),
    ("storyBibleMetadata", None, "storyBibleMetadata: "),
    ("performance", [], "performance: "),
    ("continuityAlerts.0.alertId", "", "continuityAlerts.0.alertId: "),
    ("continuityAlerts.0.alertId", "alert-1", "continuityAlerts: alertId should be unique within the job"),
    ("continuityAlerts.0.severity", "fatal", "continuityAlerts.0.severity: "),
    ("continuityAlerts.0.createdAt", date(), "continuityAlerts.0.createdAt: "),
    ("continuityAlerts.0.resolved", None, "continuityAlerts.0.resolved: "),
    ("aiDecisions.0.type", "", "aiDecisions.0.type: "),
    ("aiDecisions.0.confidence", None, f"aiDecisions.0.confidence: {NUMBER}"),
    ("enhancements.0.enhancementId", REMOVED, "enhancements.0.enhancementId: Field required"),
]
METRICS: list[tuple[str, object, str]] = [
    ("cost.totalUsd", None, f"cost.totalUsd: {NUMBER}"),
    ("cost.extra.recordedTotalUsd", "1", f"cost.extra.recordedTotalUsd: {NUMBER}"),
    ("tokens.chapters", float("nan"), f"tokens.chapters: {NUMBER}"),
    ("latencyMs", REMOVED, "latencyMs: Field required"),
]


@pytest.mark.parametrize(
    ("collection", "path", "value", "expected"),
    [
        *((collection, *case) for collection in COLLECTIONS if collection != "novel_job_events" for case in EVERYWHERE),
        *(("novel_jobs", *case) for case in JOB),
        *(("novel_job_metadata", *case) for case in METADATA),
        *(("novel_job_metrics", *case) for case in METRICS),
    ],
)
def test_what_breaks_a_contract(collection: Collection, path: str, value: object, expected: str) -> None:
    wrong = violations(collection, changed(document(collection), path, value))

    assert [expected] == [line[: len(expected)] for line in wrong]


@pytest.mark.parametrize(
    ("kind", "path", "value", "expected"),
    [
        ("generation", "emittedAt", date(), "generation.emittedAt: "),
        ("generation", "emittedAt", "2025-07-19T03:04:05.42Z", "generation.emittedAt: "),
        ("generation", "event", REMOVED, "generation.event: Field required"),
        ("generation", "event.type", "", "generation.event.type: "),
        ("generation", "event.occurredAt", REMOVED, "generation.event.occurredAt: Field required"),
        ("generation", "kind", "other", "document: "),
        ("generation", "_id", "64b7", "generation._id: "),
        ("domain", "snapshot", {}, "domain.snapshot: "),
        ("job-status", "status", REMOVED, "job-status.status: Field required"),
        ("job-status", "status", "planning", "job-status.status: "),
        ("job-status", "snapshot", "none", "job-status.snapshot: "),
        ("job-status", "jobId", " job-1", "job-status.jobId: "),
        ("job-status", "createdAt", TIME, "job-status.createdAt: "),
    ],
)
def test_what_breaks_the_contract_of_an_event(kind: str, path: str, value: object, expected: str) -> None:
    wrong = violations("novel_job_events", changed(document("novel_job_events", kind), path, value))

    assert [expected] == [line[: len(expected)] for line in wrong]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("payload.title", ""),
        ("payload.targetChapters", Int64(12)),
        ("payload.targetChapters", 2**63 - 1),
        ("payload.targetChapters", -1.5),
        ("requestedAt", None),
        ("analysis", None),
        ("startedAt", REMOVED),
        ("chapters.0.wordCount", None),
        ("chapters.0.content", None),
        ("chapters.0.content", RawText(b'"raw"')),
        ("chapters.0.mood", Decimal128("1")),
        ("outline.0.mood", None),
        ("failures.0.stage", REMOVED),
        ("jobId", "two words"),
        ("jobId", "7"),
    ],
)
def test_what_a_contract_allows(path: str, value: object) -> None:
    assert [] == violations("novel_jobs", changed(document("novel_jobs"), path, value))


@pytest.mark.parametrize("value", [None, [], "text", 7])
def test_what_is_no_document(value: object) -> None:
    assert 1 == len(violations("novel_job_metrics", value))


def test_a_violation_does_not_tell_the_value() -> None:
    wrong = violations("novel_jobs", changed(document("novel_jobs"), "outline.0.title", ["a secret"]))

    assert "outline.0.title" in wrong[0]
    assert "secret" not in wrong[0]


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_every_line_keeps_the_printed_schema(collection: Collection) -> None:
    schema = json_schema(collection)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)

    assert collection == schema["title"]
    for entry in RESULT.documents[collection]:
        assert [] == list(validator.iter_errors(orjson.loads(dumps(entry))))
        wrong = changed(copy.deepcopy(entry), "createdAt", TIME)
        assert [] != list(validator.iter_errors(orjson.loads(dumps(wrong))))


def test_a_date_outside_1970_to_9999_keeps_the_printed_schema() -> None:
    target = changed(document("novel_job_metrics"), "createdAt", DatetimeMS(-1))

    jsonschema.validate(orjson.loads(dumps(target)), json_schema("novel_job_metrics"))


def test_an_id_in_the_printed_schema_is_an_object_id() -> None:
    line = orjson.loads(dumps(document("novel_job_metrics") | {"_id": ObjectId("a" * 24)}))
    line["_id"] = "a" * 24

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(line, json_schema("novel_job_metrics"))


def test_the_indexes_of_the_target() -> None:
    assert {
        "novel_jobs": [
            ("idx_novel_jobs_jobId", [("jobId", 1)], True),
            ("idx_novel_jobs_status_createdAt", [("status", 1), ("createdAt", -1)], False),
        ],
        "novel_job_events": [
            ("idx_novel_job_events_jobId_emittedAt", [("jobId", 1), ("emittedAt", -1)], False),
            ("idx_novel_job_events_kind_emittedAt", [("jobId", 1), ("kind", 1), ("emittedAt", -1)], False),
        ],
        "novel_job_metrics": [
            ("idx_novel_job_metrics_jobId", [("jobId", 1)], True),
            ("idx_novel_job_metrics_updatedAt", [("updatedAt", -1)], False),
        ],
        "novel_job_metadata": [
            ("idx_novel_job_metadata_jobId", [("jobId", 1)], True),
            ("idx_novel_job_metadata_alert_resolution", [("jobId", 1), ("continuityAlerts.resolved", 1)], False),
        ],
    } == INDEXES
