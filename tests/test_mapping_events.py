"""Mapping rules "novel_job_events"."""

from typing import Any

import pytest
from bson import DatetimeMS

from converter.mapping.lifecycle import NEVER
from converter.times import LAST_MILLISECOND
from tests.jobs import (
    CREATED_ISO,
    MINUTE,
    SECOND,
    Document,
    chapter,
    date,
    events,
    job,
    metadata,
    novel_job,
    repairs,
    without,
)

SOURCE = "legacy-backfill"
START = {"metadata": {"phaseStartTimes": {"premise_analysis": date(MINUTE)}}}


def told(document: Document, kind: str, name: str, **options: Any) -> list[Document]:
    """The events or snapshots of one type, in order."""
    return [
        entry["event"] if "event" in entry else entry["snapshot"]
        for entry in events(document, **options)
        if kind == entry["kind"] and name == (entry["event"]["type"] if "event" in entry else entry["status"])
    ]


def test_an_event_as_a_whole() -> None:
    document = job(jobId="job-1", **START)

    assert [
        {
            "jobId": "job-1",
            "kind": "job-status",
            "emittedAt": CREATED_ISO,
            "status": "queued",
            "snapshot": {"queue": "novel-generation", "source": SOURCE},
            "createdAt": date(),
            "updatedAt": date(),
        },
        {
            "jobId": "job-1",
            "kind": "job-status",
            "emittedAt": "2025-07-19T03:05:05.420Z",
            "status": "running",
            "snapshot": {"queue": "novel-generation", "receivedAt": CREATED_ISO, "source": SOURCE},
            "createdAt": date(MINUTE),
            "updatedAt": date(MINUTE),
        },
        {
            "jobId": "job-1",
            "kind": "generation",
            "emittedAt": "2025-07-19T03:05:05.421Z",
            "event": {
                "type": "phase-transition",
                "occurredAt": "2025-07-19T03:05:05.420Z",
                "source": SOURCE,
                "from": "initialization",
                "to": "premise_analysis",
                "description": "Phase changed from initialization to premise_analysis",
            },
            "createdAt": date(MINUTE + 1),
            "updatedAt": date(MINUTE + 1),
        },
        {
            "jobId": "job-1",
            "kind": "job-status",
            "emittedAt": "2025-07-19T03:13:05.420Z",
            "status": "completed",
            "snapshot": {
                "queue": "novel-generation",
                "completedAt": "2025-07-19T03:13:05.420Z",
                "durationMs": 8 * MINUTE,
                "chaptersGenerated": 0,
                "totalWordCount": 0,
                "totalChaptersPlanned": 0,
                "source": SOURCE,
            },
            "createdAt": date(9 * MINUTE),
            "updatedAt": date(9 * MINUTE),
        },
    ] == [without(event, "_id") for event in events(document)]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("planning", ["queued"]),
        ("writing", ["queued", "running"]),
        ("completed", ["queued", "running", "completed"]),
        ("failed", ["queued", "running", "failed"]),
    ],
)
def test_the_course_of_a_job(status: str, expected: list[str]) -> None:
    assert expected == [event["status"] for event in events(job(status=status))]


@pytest.mark.parametrize("created", [None, "some day"])
def test_an_inferred_creation_is_marked(created: object) -> None:
    queued = {"queue": "novel-generation", "source": SOURCE}

    assert [queued] == told(job(), "job-status", "queued")
    assert [{**queued, "timestampInferred": True}] == told(job(createdAt=created), "job-status", "queued")


def test_an_inferred_start_is_marked() -> None:
    assert [
        {"queue": "novel-generation", "receivedAt": CREATED_ISO, "source": SOURCE, "timestampInferred": True}
    ] == told(job(), "job-status", "running")


def test_an_inferred_end_is_marked() -> None:
    ended = told(without(job(), "completedAt"), "job-status", "completed")

    assert [("2025-07-19T03:14:05.420Z", True)] == [(end["completedAt"], end["timestampInferred"]) for end in ended]


@pytest.mark.parametrize(
    ("fields", "options", "expected"),
    [
        (
            {"error": "The model was gone", "chapters": [chapter(status="failed", failureReason="c")]},
            {},
            "The model was gone",
        ),
        ({"chapters": [chapter(status="failed", failureReason="c"), chapter(status="failed")]}, {}, "c"),
        ({}, {}, "No reason was recorded"),
        (
            {"status": "writing", "error": "The model was gone"},
            {"in_flight": "fail"},
            "The job was still under way when it was migrated to the new schema",
        ),
    ],
)
def test_the_end_of_a_failed_job(fields: Document, options: Document, expected: str) -> None:
    document = job(**{"status": "failed", **fields})

    assert [
        {
            "queue": "novel-generation",
            "failedAt": "2025-07-19T03:13:05.420Z",
            "error": expected,
            "source": SOURCE,
        }
    ] == told(document, "job-status", "failed", **options)


def test_a_failed_job_without_any_reason_is_counted() -> None:
    assert 1 == repairs(job(status="failed"), "failure-reason-fallback")
    assert 0 == repairs(job(status="failed", error="The model was gone"), "failure-reason-fallback")


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        (
            {"timestamp": date(2 * MINUTE), "attempt": 2, "phase": "chapter_writing"},
            {"stage": "recovering", "attempt": 2, "phase": "chapter_writing", "source": SOURCE},
        ),
        ({"timestamp": date(2 * MINUTE), "attempt": None}, {"stage": "recovering", "source": SOURCE}),
        ({"attempt": 2}, {"stage": "recovering", "attempt": 2, "source": SOURCE, "timestampInferred": True}),
    ],
)
def test_a_recovery(attempt: Document, expected: Document) -> None:
    document = job(progress={"recoveryAttempts": [attempt]}, **START)
    recovered = [event for event in events(document) if event.get("snapshot", {}).get("stage") == "recovering"]

    assert [expected] == [event["snapshot"] for event in recovered]
    assert ["running"] == [event["status"] for event in recovered]
    time = "2025-07-19T03:06:05.420Z" if "timestamp" in attempt else "2025-07-19T03:05:05.421Z"
    assert [time] == [event["emittedAt"] for event in recovered]
    assert int("timestamp" not in attempt) == repairs(document, "timestamp-inferred")


def test_phases_in_order_of_time() -> None:
    phases = {"b": date(2), "c": date(3), "a": date(1)}

    assert [
        ("initialization", "a", "2025-07-19T03:04:05.421Z", "Phase changed from initialization to a"),
        ("a", "b", "2025-07-19T03:04:05.422Z", "Phase changed from a to b"),
        ("b", "c", "2025-07-19T03:04:05.423Z", "Phase changed from b to c"),
    ] == [
        (event["from"], event["to"], event["occurredAt"], event["description"])
        for event in told(job(metadata={"phaseStartTimes": phases}), "generation", "phase-transition")
    ]


def test_phases_that_start_together_come_by_name() -> None:
    phases = {"b": date(1), "c": date(1), "a": date(1)}
    told_phases = told(job(metadata={"phaseStartTimes": phases}), "generation", "phase-transition")

    assert ["a", "b", "c"] == [event["to"] for event in told_phases]


GENERATED, ATTEMPTED = "2025-07-19T03:09:05.420Z", "2025-07-19T03:10:05.420Z"


@pytest.mark.parametrize(
    ("status", "left_out", "expected", "inferred"),
    [
        ("completed", [], GENERATED, False),
        ("completed", ["generatedAt"], ATTEMPTED, True),
        ("completed", ["generatedAt", "lastAttemptAt"], "2025-07-19T03:05:05.420Z", True),
        ("generating", [], ATTEMPTED, False),
        ("generating", ["lastAttemptAt"], GENERATED, True),
        ("failed", [], ATTEMPTED, False),
        ("failed", ["lastAttemptAt"], GENERATED, True),
        ("failed", ["generatedAt", "lastAttemptAt"], "2025-07-19T03:05:05.420Z", True),
        ("pending", [], ATTEMPTED, False),
    ],
)
def test_the_time_of_a_chapter(status: str, left_out: list[str], expected: str, inferred: bool) -> None:
    entry = without(chapter(status=status, lastAttemptAt=date(6 * MINUTE)), *left_out)
    document = job(chapters=[entry], **START)
    of_the_chapter = told(document, "generation", "generation-progress") + told(document, "generation", "cost-tracking")

    assert {(expected, inferred)} == {
        (event["occurredAt"], event.get("timestampInferred", False)) for event in of_the_chapter
    }
    assert (1 if status == "pending" else 2) == len(of_the_chapter)
    assert len(of_the_chapter) * inferred == repairs(document, "timestamp-inferred")


def test_without_any_time_an_event_is_as_old_as_the_job() -> None:
    document = job(chapters=[chapter(generatedAt=None)])

    assert [CREATED_ISO] == [event["occurredAt"] for event in told(document, "generation", "cost-tracking")]


@pytest.mark.parametrize(
    ("fields", "outline", "expected"),
    [
        (
            {},
            [{"chapterNumber": 1, "wordTarget": 2000}, {"chapterNumber": 1, "wordTarget": 9}],
            {"status": "ai_completed", "details": "Chapter 1: Low tide", "wordsGenerated": 3, "wordTarget": 2000},
        ),
        (
            {"status": "generating", "wordCount": None, "generatedAt": None, "lastAttemptAt": date(5 * MINUTE)},
            [{"chapterNumber": 2, "wordTarget": 2000}, {"chapterNumber": 1}],
            {"status": "ai_generating", "details": "Chapter 1: Low tide", "wordsGenerated": 0},
        ),
        (
            {"status": "failed", "chapterNumber": 1.0, "lastAttemptAt": date(5 * MINUTE)},
            [{"chapterNumber": 1, "wordTarget": 2000}],
            {"status": "ai_failed", "details": "Chapter 1: Low tide", "wordsGenerated": 3, "wordTarget": 2000},
        ),
    ],
)
def test_generation_progress(fields: Document, outline: list[Document], expected: Document) -> None:
    document = job(chapters=[chapter(**fields)], outline=outline)

    assert [
        {
            "type": "generation-progress",
            "occurredAt": GENERATED,
            "source": SOURCE,
            "chapterNumber": 1,
            **expected,
        }
    ] == told(document, "generation", "generation-progress")


def test_a_pending_chapter_makes_no_progress() -> None:
    assert [] == told(job(chapters=[chapter(status="pending")]), "generation", "generation-progress")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"promptTokens": 1000, "completionTokens": 500, "totalTokens": 1500, "costInUsd": 0.0125}),
        ({"cost": None}, {"promptTokens": 0, "completionTokens": 0, "totalTokens": 1500, "costInUsd": 0}),
        ({"tokensUsed": 0}, {"promptTokens": 0, "completionTokens": 0, "totalTokens": 0, "costInUsd": 0.0125}),
        ({"tokensUsed": 0, "cost": 0}, None),
        ({"tokensUsed": None, "cost": None}, None),
        ({"tokensUsed": -1, "cost": -1}, None),
    ],
)
def test_cost_tracking(fields: Document, expected: Document | None) -> None:
    document = job(chapters=[chapter(**fields)], modelUsage={"chapterGeneration": {"model": "gpt-4o"}})
    common = {"type": "cost-tracking", "occurredAt": GENERATED, "source": SOURCE, "chapterNumber": 1, "model": "gpt-4o"}

    assert ([] if expected is None else [common | expected]) == told(document, "generation", "cost-tracking")


DECISION = {
    "id": "decision-1",
    "type": "plot",
    "summary": "s",
    "reasoning": "r",
    "confidence": 0.5,
    "impact": "i",
    "timestamp": date(MINUTE),
}
ENHANCEMENT = {
    "id": "enhancement-1",
    "type": "style",
    "name": "n",
    "description": "d",
    "details": "more",
    "timestamp": date(MINUTE),
}
MINUTE_LATER = "2025-07-19T03:05:05.420Z"


@pytest.mark.parametrize(
    ("field", "entry", "expected"),
    [
        (
            "aiDecisions",
            DECISION,
            {
                "type": "ai-decision",
                "occurredAt": MINUTE_LATER,
                "decisionId": "decision-1",
                "decisionType": "plot",
                "summary": "s",
                "confidence": 0.5,
                "impact": "i",
            },
        ),
        (
            "aiDecisions",
            {"id": "decision-2"},
            {
                "type": "ai-decision",
                "occurredAt": CREATED_ISO,
                "decisionId": "decision-2",
                "decisionType": "unknown",
                "timestampInferred": True,
            },
        ),
        (
            "enhancementsApplied",
            ENHANCEMENT,
            {
                "type": "enhancement-applied",
                "occurredAt": MINUTE_LATER,
                "enhancementId": "enhancement-1",
                "enhancementType": "style",
                "name": "n",
                "description": "d",
            },
        ),
        (
            "enhancementsApplied",
            {"id": "enhancement-2"},
            {
                "type": "enhancement-applied",
                "occurredAt": CREATED_ISO,
                "enhancementId": "enhancement-2",
                "timestampInferred": True,
            },
        ),
    ],
)
def test_domain_events(field: str, entry: Document, expected: Document) -> None:
    document = job(jobId="job-1", metadata={field: [entry]})

    assert [{"jobId": "job-1", "source": SOURCE, **expected}] == told(document, "domain", expected["type"])
    assert int("timestampInferred" in expected) == repairs(document, "timestamp-inferred")


def test_a_made_id_is_the_same_in_event_and_metadata() -> None:
    document = job(metadata={"aiDecisions": [{"summary": "s"}], "enhancementsApplied": [{"name": "n"}]})
    target = metadata(document)

    assert target["aiDecisions"][0]["decisionId"] == told(document, "domain", "ai-decision")[0]["decisionId"]
    assert (
        target["enhancements"][0]["enhancementId"]
        == told(document, "domain", "enhancement-applied")[0]["enhancementId"]
    )


def test_a_tie_moves_on_by_a_millisecond() -> None:
    times = [MINUTE, MINUTE, MINUTE + 1, MINUTE + 1, MINUTE + 5, 0]
    decisions = [{"id": str(position), "timestamp": date(time)} for position, time in enumerate(times)]
    document = job(status="planning", metadata={"aiDecisions": decisions})

    assert [
        (None, ".420Z", None),
        ("5", ".421Z", ".420Z"),
        ("0", ".420Z", ".420Z"),
        ("1", ".421Z", ".420Z"),
        ("2", ".422Z", ".421Z"),
        ("3", ".423Z", ".421Z"),
        ("4", ".425Z", ".425Z"),
    ] == [
        (
            entry.get("event", {}).get("decisionId"),
            entry["emittedAt"][-5:],
            entry["event"]["occurredAt"][-5:] if "event" in entry else None,
        )
        for entry in events(document)
    ]


def test_ties_at_the_end_of_time_stay_within_it() -> None:
    last = DatetimeMS(LAST_MILLISECOND)
    decisions = [
        {"id": name, "timestamp": DatetimeMS(LAST_MILLISECOND - before)} for name, before in [("a", 3), ("b", 5)]
    ]
    document = job(createdAt=last, completedAt=last, updatedAt=last, metadata={"aiDecisions": decisions})

    found = events(document)
    # Those that have room keep their time.
    assert ["b", "a"] == [event["event"]["decisionId"] for event in found[:2]]
    assert [f"9999-12-31T23:59:59.99{digit}Z" for digit in (4, 6, 7, 8, 9)] == [event["emittedAt"] for event in found]


def test_a_time_that_stands_for_never_is_a_time() -> None:
    never = DatetimeMS(NEVER)
    document = job(
        progress={"estimatedCompletion": never}, metadata={"storyBible": {"timeline": [{"timestamp": never}]}}
    )

    assert "9999-01-01T00:00:00.000Z" == novel_job(document)["progress"]["estimatedCompletion"]
    assert {"timestamp": "9999-01-01T00:00:00.000Z"} == metadata(document)["storyBibleMetadata"]["timeline"][0]
    assert 0 == repairs(document, "misplaced")


def identities(document: Document) -> dict[tuple[str, str], object]:
    """(what it tells, when) -> the ids of the domain events."""
    return {
        (entry["event"].get("summary", entry["event"].get("name")), entry["event"]["occurredAt"]): entry["_id"]
        for entry in events(document)
        if entry["kind"] == "domain"
    }


@pytest.mark.parametrize("field", ["aiDecisions", "enhancementsApplied"])
@pytest.mark.parametrize(
    "more",
    [
        {"id": "same", "timestamp": date(3 * SECOND)},
        {"id": "same", "timestamp": date(SECOND)},  # earlier than those that were there
        {"id": "same"},  # no time: earlier still
        {"timestamp": date(SECOND)},
        {"id": "position 2", "timestamp": date(SECOND)},
    ],
)
def test_ids_stay_when_a_later_export_is_longer(field: str, more: Document) -> None:
    text = "summary" if field == "aiDecisions" else "name"
    entries = [
        {"id": "same", "timestamp": date(2 * SECOND), text: "first"},
        {"id": "same", "timestamp": date(2 * SECOND + 10), text: "second"},
        {"timestamp": date(2 * SECOND + 20), text: "third"},
        {"timestamp": date(2 * SECOND + 30), text: "third"},
    ]
    before = identities(job(metadata={field: entries}))
    after = identities(job(metadata={field: [*entries, {**more, text: "new"}]}))

    assert 4 == len(set(before.values()))
    assert before == {told: after[told] for told in before}
    assert 5 == len(set(after.values()))


def test_the_latest_50_of_each_kind_are_embedded() -> None:
    document = job(
        chapters=[chapter(chapterNumber=number, generatedAt=date(number * SECOND)) for number in range(1, 61)],
        metadata={"aiDecisions": [{"id": str(number), "timestamp": date(number)} for number in range(60)]},
    )
    target = novel_job(document)

    assert [number for number in range(36, 61) for _ in range(2)] == [
        event["chapterNumber"] for event in target["events"]
    ]
    assert [str(number) for number in range(10, 60)] == [event["decisionId"] for event in target["domainEvents"]]
    of_the_kind = [event["event"] for event in events(document) if event["kind"] == "generation"]
    assert of_the_kind[-50:] == target["events"]
    assert 120 == len(of_the_kind)
