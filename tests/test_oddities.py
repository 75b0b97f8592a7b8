"""``fixtures/oddities.json``: a dump assembled by hand with everything odd that is known of legacy dumps.

Each of its jobs has a title that says what is odd about it. The tables here say where that is to be found again.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from bson import DatetimeMS

from converter import extjson, times
from converter.mapping import Converted, map_job
from converter.repairs import NAMES
from tests.limited import command
from tests.small_dumps import lines

ODDITIES = Path(__file__).parent.parent / "fixtures" / "oddities.json"

ABSENT: Final = object()
"""The place must not be there at all."""

T = "2025-07-19T{}Z".format

# What is odd about a job, which is its title -> where it is to be found -> what is to be found there; and the repairs
# that name it. Places: jobs/, metrics/, metadata/ and a way through that document; legacy/ and misplaced/ are parts of
# novel_jobs; events/TYPE/N/ is the Nth event of a type or status, events/N/ the Nth of all.
JOBS: dict[str, tuple[dict[str, Any], set[str]]] = {
    # ------------------------------------------------------------------------------------------------- the status
    "planning, nothing has begun": (
        {
            "jobs/status": "queued",
            "jobs/startedAt": ABSENT,
            "jobs/completedAt": ABSENT,
            "jobs/queue": "novel-generation",
            "legacy/status": "planning",
            "legacy/__v": ABSENT,
            "events/queued/0/snapshot": {"queue": "novel-generation", "source": "legacy-backfill"},
            "events/1": ABSENT,
        },
        set(),
    ),
    "planning with an outline": (
        {"jobs/status": "running", "jobs/outline/0/_id": ABSENT, "jobs/startedAt": T("03:00:00.000")},
        {"started-at-inferred"},
    ),
    "planning with a chapter": (
        {"jobs/status": "running", "jobs/chapters/0/_id": ABSENT, "jobs/chapters/0/content": None},
        set(),
    ),
    "planning with model usage": (
        {"jobs/status": "running", "jobs/engine/modelOverrides": {"outline": "gpt-4o-mini"}},
        set(),
    ),
    "planning with a phase start": (
        {
            "jobs/status": "running",
            "jobs/startedAt": T("03:00:01.000"),
            "events/phase-transition/0/event/from": "initialization",
            "events/phase-transition/0/event/to": "premise_analysis",
            "metadata/storyBibleMetadata/phaseStartTimes": {"premise_analysis": T("03:00:01.000")},
        },
        set(),
    ),
    "outlining": ({"jobs/status": "running", "legacy/status": "outlining"}, set()),
    "analyzing": ({"jobs/status": "running", "legacy/status": "analyzing"}, set()),
    "writing": ({"jobs/status": "running", "legacy/status": "writing"}, set()),
    "recovering": ({"jobs/status": "running", "legacy/status": "recovering"}, set()),
    "cancelled": (
        {
            "jobs/status": "failed",
            "legacy/status": "cancelled",
            "jobs/currentPhase": "pending",
            "events/failed/0/snapshot/error": "No reason was recorded",
        },
        {"failure-reason-fallback"},
    ),
    "unknown status": ({"jobs/status": "running", "legacy/status": "archived"}, {"status-inferred"}),
    "unknown status with completedAt": (
        {"jobs/status": "completed", "jobs/completedAt": T("03:50:00.000"), "legacy/status": "archived"},
        {"status-inferred"},
    ),
    "no status, phase completed": ({"jobs/status": "completed", "legacy/status": ABSENT}, {"status-inferred"}),
    "status null": ({"jobs/status": "running"}, {"status-inferred"}),
    "status a number": ({"jobs/status": "running", "misplaced/status": 7}, {"status-inferred", "misplaced"}),
    # ----------------------------------------------------------------------------------------------- who the job is
    "_id a 24-hex string": (
        {"jobs/_id": {"$oid": "687b0a90abcdefabcdefab01"}, "jobs/jobId": "687b0a90abcdefabcdefab01"},
        {"id-from-string"},
    ),
    "_id a number": ({"jobs/jobId": "42", "legacy/_id": 42}, {"id-made"}),
    "_id another string": ({"jobs/jobId": "novel-seven", "legacy/_id": "novel-seven"}, {"id-made"}),
    "_id an object": ({"legacy/_id": {"part．one": 1, "＄two": "zwei"}}, {"id-made", "key-renamed"}),
    "no _id, but a jobId": ({"jobs/jobId": "only-a-job-id", "legacy/_id": ABSENT}, {"id-made"}),
    "a jobId": (
        {
            "jobs/jobId": "the-old-api-s-id",
            "jobs/context/job/jobId": "the-old-api-s-id",
            "events/0/jobId": "the-old-api-s-id",
            "metrics/jobId": "the-old-api-s-id",
            "metadata/jobId": "the-old-api-s-id",
        },
        set(),
    ),
    "an empty jobId": ({"jobs/jobId": "687b0a900000000000000016"}, set()),
    "a padded jobId": ({"jobs/jobId": "padded", "legacy/jobId": "  padded  "}, {"job-id-trimmed"}),
    "jobId a number": ({"jobs/jobId": "687b0a900000000000000018", "misplaced/jobId": 17}, {"misplaced"}),
    # ------------------------------------------------------------------------------------------------------- times
    "no createdAt": (
        {"jobs/createdAt": {"$date": T("03:01:36.000")}, "jobs/requestedAt": T("03:01:36.000")},
        {"created-at-from-object-id"},
    ),
    "createdAt null, updatedAt missing": (
        {"jobs/createdAt": {"$date": T("03:01:36.000")}, "metrics/updatedAt": {"$date": T("06:30:00.500")}},
        {"created-at-from-object-id", "updated-at-inferred"},
    ),
    "dates as text": (
        {
            "jobs/createdAt": {"$date": T("03:00:00.100")},
            "jobs/updatedAt": {"$date": T("04:00:00.000")},
            "jobs/completedAt": T("03:50:00.250"),
        },
        {"date-from-string"},
    ),
    "dates as milliseconds": (
        {
            "jobs/createdAt": {"$date": T("03:00:00.001")},
            "jobs/updatedAt": {"$date": T("04:00:00.002")},
            "jobs/completedAt": T("03:50:00.005"),
        },
        {"date-from-number", "date-from-string"},
    ),
    "dates of Extended JSON 1": (
        {
            "jobs/createdAt": {"$date": T("03:00:00.042")},
            "jobs/updatedAt": {"$date": T("04:00:00.678")},
            "jobs/completedAt": T("03:50:00.250"),
        },
        set(),
    ),
    "fractions of 0 to 3 digits": (
        {
            "jobs/createdAt": {"$date": T("03:00:00.500")},
            "jobs/completedAt": T("03:50:00.420"),
            "jobs/progress/lastActivity": T("03:59:00.000"),
            "jobs/progress/estimatedCompletion": T("03:59:30.123"),
        },
        set(),
    ),
    "dates before 1970 and after 9999": (
        {
            "jobs/completedAt": "1969-12-31T23:59:59.999Z",
            "jobs/durationMs": 0,
            "misplaced/progress.lastActivity": {"$date": {"$numberLong": "253402300800000"}},
            "legacy/archivedAt": {"$date": {"$numberLong": "-62135596800001"}},
        },
        {"misplaced"},
    ),
    "a date that is none": (
        {
            "jobs/status": "completed",
            "jobs/completedAt": T("04:00:00.000"),
            "misplaced/completedAt": "yesterday",
            "events/completed/0/snapshot/timestampInferred": True,
        },
        {"misplaced", "completed-at-inferred"},
    ),
    "completed, completedAt missing, last activity": (
        {"jobs/completedAt": T("03:45:00.000"), "events/completed/0/snapshot/completedAt": T("03:45:00.000")},
        {"completed-at-inferred"},
    ),
    "completed, no end recorded at all": (
        {"jobs/completedAt": T("04:00:00.000"), "jobs/durationMs": 3_600_000},
        {"completed-at-inferred"},
    ),
    "failed, progress.failedAt": (
        {
            "jobs/completedAt": T("03:40:00.000"),
            "jobs/progress/failedAt": T("03:40:00.000"),
            "jobs/failures": [
                {
                    "occurredAt": T("03:41:00.000"),
                    "reason": "Out of tokens",
                    "stage": "chapter_writing",
                    "metadata": {},
                }
            ],
            "events/failed/0/snapshot/error": "Out of tokens",
        },
        set(),
    ),
    "failed, error.timestamp": (
        {
            "jobs/completedAt": T("03:41:00.000"),
            "jobs/failures/0/stage": "outline_generation",
            "jobs/failures/0/metadata": {"code": 429},
            "events/failed/0/snapshot/failedAt": T("03:41:00.000"),
        },
        set(),
    ),
    "completedAt of a running job": (
        {"jobs/status": "running", "jobs/completedAt": ABSENT, "legacy/completedAt": T("03:50:00.000")},
        set(),
    ),
    "completed before it started": (
        {
            "jobs/startedAt": T("03:10:00.000"),
            "jobs/completedAt": T("02:00:00.000"),
            "jobs/durationMs": 0,
            "metrics/latencyMs/total": 0,
            "events/0/status": "completed",
            "events/phase-transition/1/event/from": "chapter_writing",
            "events/phase-transition/1/event/to": "finalization",
        },
        set(),
    ),
    # ----------------------------------------------------------------------------------------------------- payload
    "payload missing but for this title": (
        {
            "jobs/payload": {
                "title": "payload missing but for this title",
                "premise": "",
                "genre": "",
                "subgenre": "",
                "targetWordCount": 0,
                "targetChapters": 0,
                "humanLikeWriting": True,
            },
            "jobs/context/job/humanLikeWriting": True,
            "jobs/analysis": None,
            "jobs/context/analysis": None,
            "jobs/context/chapters": [],
            "jobs/engine": {"clientType": "openai", "modelOverrides": {}},
        },
        {"payload-defaulted"},
    ),
    "numbers and booleans as text": (
        {
            "jobs/payload/targetWordCount": 80_000,
            "jobs/payload/targetChapters": 12.0,
            "jobs/payload/humanLikeWriting": False,
        },
        {"number-from-string", "boolean-from-string"},
    ),
    "Long, Decimal128, canonical": (
        {
            "jobs/payload/targetWordCount": 80_000,
            "jobs/payload/targetChapters": 12,
            "jobs/qualityMetrics": {
                "averageChapterLength": 2400,
                "genreAdherence": 0.5,
                "plotContinuity": 1.0,
                "totalWordCount": 80_000,
                "targetAccuracy": 0.98,
                "completionRate": 1,
            },
        },
        {"number-from-decimal"},
    ),
    "NaN, infinities, numbers that are none": (
        {
            "jobs/payload/targetWordCount": 0,
            "misplaced/targetWordCount": {"$numberDouble": "NaN"},
            "misplaced/targetChapters": "many",
            "misplaced/qualityMetrics.genreAdherence": {"$numberDouble": "-Infinity"},
            "misplaced/modelUsage.premiseAnalysis.tokensUsed": "NaN",
            "misplaced/modelUsage.premiseAnalysis.cost": {"$numberDouble": "Infinity"},
            "misplaced/modelUsage.premiseAnalysis.duration": {"$numberDecimal": "NaN"},
            "metrics/cost/totalUsd": 0.0,
            "metrics/tokens/total": 0,
            "metrics/latencyMs/total": 3_000_000,
        },
        {"misplaced", "payload-defaulted", "stage-untracked"},
    ),
    # ------------------------------------------------------------------------------------------------ outline, chapters
    "outline entries that lack things": (
        {
            "jobs/outline/0": {"chapterNumber": 1, "title": "Chapter 1", "summary": "(no summary)", "keyEvents": []},
            "jobs/outline/1": {"chapterNumber": 2, "title": "Chapter 2", "summary": "(no summary)", "keyEvents": []},
            "misplaced/outline.1.keyEvents": "one string",
            "jobs/outline/2/title": "Chapter 3.5",
            "jobs/outline/2/keyEvents": ["kept"],
            "misplaced/outline.2.keyEvents.1": None,
            "misplaced/outline.2.keyEvents.2": 7,
            "misplaced/outline.3": "a string",
            "misplaced/outline.4": None,
            "jobs/outline/3": {
                "chapterNumber": 6,
                "title": "Six",
                "summary": "six",
                "keyEvents": [],
                "wordTarget": 2000,
                "humanLikeElements": {"structureType": "frame", "a．b": 1},
                "mood": "dark",
            },
            "misplaced/outline.5.characterFocus": "Mara",
            "jobs/summary/totalChaptersPlanned": 4,
            "jobs/progress/outlineComplete": True,
        },
        {
            "outline-number-from-position",
            "outline-title-fallback",
            "outline-summary-fallback",
            "outline-key-events-defaulted",
            "misplaced",
            "key-renamed",
            "progress-computed",
        },
    ),
    "outline an object": (
        {"jobs/outline": [], "misplaced/outline": {"0": {"title": "One"}}},
        {"misplaced"},
    ),
    "chapters of generation 1": (
        {
            "jobs/chapters/0/status": "completed",
            "jobs/chapters/0/content": "Three\n words　here",
            "jobs/chapters/0/tokens": {"promptTokens": 1000, "completionTokens": 500, "totalTokens": 1500},
            "jobs/chapters/0/costInUsd": 0.0125,
            "jobs/chapters/0/model": "gpt-4o",
            "jobs/chapters/0/attempts": [],
            "jobs/chapters/0/qualityScore": 0.9,
            "jobs/chapters/0/generatedAt": T("03:20:00.000"),
            "events/generation-progress/0/event/wordTarget": 900,
            "events/generation-progress/0/event/wordsGenerated": 3,
            "events/generation-progress/0/emittedAt": T("03:20:00.000"),
            "events/cost-tracking/0/emittedAt": T("03:20:00.001"),  # a tie moves on
            "events/cost-tracking/0/event/occurredAt": T("03:20:00.000"),
            "events/cost-tracking/0/event/promptTokens": 1000,
        },
        {"chapter-status-inferred"},
    ),
    "every chapter status": (
        {
            "jobs/chapters/0/status": "completed",
            "jobs/chapters/0/attemptCount": 2,
            "jobs/chapters/0/attempts": [],
            "jobs/chapters/1/status": "in-progress",
            "jobs/chapters/1/legacyStatus": "generating",
            "jobs/chapters/1/wordCount": None,
            "jobs/chapters/1/content": None,
            "jobs/chapters/2/status": "failed",
            "jobs/chapters/2/failureReason": "The model refused",
            "jobs/chapters/3/status": "pending",
            "jobs/failures": [
                {
                    "occurredAt": T("03:22:00.000"),
                    "reason": "The model refused",
                    "stage": "chapter_writing",
                    "metadata": {"chapterNumber": 3, "attempts": 3},
                }
            ],
            "jobs/summary": {"chaptersGenerated": 1, "totalChaptersPlanned": 4, "totalWordCount": 3},
            "events/generation-progress/0/event/status": "ai_completed",
            "events/generation-progress/0/event/occurredAt": T("03:20:00.000"),
            "events/generation-progress/1/event/status": "ai_generating",
            "events/generation-progress/1/event/occurredAt": T("03:21:00.000"),  # not generatedAt
            "events/generation-progress/2/event/status": "ai_failed",
            "events/generation-progress/2/event/occurredAt": T("03:22:00.000"),
            "events/generation-progress/3": ABSENT,
            "events/cost-tracking/1": ABSENT,
        },
        set(),
    ),
    "chapters that lack things": (
        {
            "jobs/chapters/0/chapterNumber": 1,
            "jobs/chapters/0/title": "Chapter 1",
            "jobs/chapters/0/status": "completed",
            "jobs/chapters/0/wordCount": 4,
            "jobs/chapters/0/model": "unknown",
            "jobs/chapters/0/tokens": {"promptTokens": 0, "completionTokens": 0, "totalTokens": 100},
            "jobs/chapters/1/status": "pending",
            "jobs/chapters/1/legacyStatus": "polished",
            "jobs/chapters/1/costInUsd": 0,
            "jobs/chapters/2/chapterNumber": 3,
            "jobs/chapters/2/title": "Chapter 3",
            "jobs/chapters/2/attemptCount": 2,
            "jobs/chapters/2/error": "hm",
            "jobs/failures/0/reason": "No reason was recorded",
            "jobs/failures/0/occurredAt": T("03:00:00.000"),
            "jobs/failures/0/metadata/timestampInferred": True,
            "events/generation-progress/0/event/timestampInferred": True,
            "events/generation-progress/0/event/occurredAt": T("03:00:00.000"),
            "events/generation-progress/2/event/occurredAt": T("03:15:00.000"),  # the chapter's other time
        },
        {
            "chapter-number-from-position",
            "chapter-title-fallback",
            "chapter-status-inferred",
            "chapter-model-unknown",
            "chapter-cost-defaulted",
            "chapter-tokens-defaulted",
            "word-count-counted",
            "token-split-unknown",
            "number-from-string",
            "failure-reason-fallback",
            "failure-time-inferred",
            "timestamp-inferred",
        },
    ),
    "tokens that can't be split": (
        {
            "jobs/chapters/0/tokens": {"promptTokens": 0, "completionTokens": 0, "totalTokens": 1000},
            "jobs/chapters/0/costInUsd": 0.5,
            "jobs/chapters/1/tokens/promptTokens": 0,
        },
        {"token-split-unknown"},
    ),
    "tokens split by the rates of gpt-4o-mini": (
        {"jobs/chapters/0/tokens": {"promptTokens": 2000, "completionTokens": 1000, "totalTokens": 3000}},
        set(),
    ),
    "chapters a string": ({"jobs/chapters": [], "misplaced/chapters": "oops"}, {"misplaced"}),
    "wrong elements and values in chapters": (
        {
            "misplaced/chapters.0": None,
            "misplaced/chapters.1": 7,
            "misplaced/chapters.2": "text",
            "misplaced/chapters.3": [],
            "misplaced/chapters.4.title": ["five"],
            "misplaced/chapters.4.content": {"text": "inside"},
            "misplaced/chapters.4.cost": True,
            "misplaced/chapters.4.tokens": {"old": 1},
            "misplaced/chapters.4.model": "gpt-3",
            "jobs/chapters/0/tone": "dark",
            "jobs/chapters/0/wordCount": -1,
            "jobs/chapters/0/meta．data": {"＄set": 1},
            "jobs/chapters/1": ABSENT,
        },
        {"misplaced", "key-renamed"},
    ),
    "sixty chapters": (
        {
            "jobs/events/0/chapterNumber": 11,
            "jobs/events/49/chapterNumber": 60,
            "jobs/events/50": ABSENT,
            "events/generation-progress/59/event/chapterNumber": 60,
            "jobs/domainEvents": [],
        },
        set(),
    ),
    # ---------------------------------------------------------------------------------- progress, analysis, what failed
    "counters that drifted": (
        {
            "jobs/progress/chaptersCompleted": 7,
            "jobs/progress/totalChapters": 8,
            "jobs/progress/chaptersFailed": 2,
            "jobs/progress/failedChapterNumbers": [2, 3],
            "misplaced/progress.failedChapterNumbers.2": None,
            "jobs/progress/hasFailures": True,
            "jobs/summary": {"chaptersGenerated": 1, "totalChaptersPlanned": 9, "totalWordCount": 1},
        },
        {"number-from-string", "misplaced"},
    ),
    "recovery attempts": (
        {
            "events/running/1/snapshot": {
                "source": "legacy-backfill",
                "stage": "recovering",
                "attempt": 2,
                "timestampInferred": True,
            },
            "events/running/2/snapshot/phase": "chapter_writing",
            "events/running/2/emittedAt": T("03:30:00.000"),
            "events/running/3/snapshot/attempt": 3,
            "misplaced/progress.recoveryAttempts.2": "again",
            "jobs/progress/recoveryAttempts/2": {"timestamp": T("03:35:00.000"), "attempt": 3, "by": "cron"},
        },
        {"timestamp-inferred", "misplaced"},
    ),
    "progress a number": (
        {
            "misplaced/progress": 0.5,
            "jobs/progress": {"outlineComplete": False, "chaptersCompleted": 0, "totalChapters": 0},
        },
        {"misplaced", "progress-computed"},
    ),
    "an analysis": (
        {
            "jobs/analysis/characters": ["Mara", {"name": "Ilya", "age": 40}, 7],
            "jobs/analysis/humanLikeElements": {"mundane．detail": "tea"},
            "jobs/context/analysis/＄score": None,
            "jobs/context/analysis/themes": ["tide"],
        },
        {"key-renamed"},
    ),
    "analysis a string": ({"jobs/analysis": None, "misplaced/analysis": "a text about tides"}, {"misplaced"}),
    "error a string": (
        {
            "jobs/failures": [
                {
                    "occurredAt": T("03:50:00.000"),
                    "reason": "It broke",
                    "stage": "chapter_writing",
                    "metadata": {"timestampInferred": True},
                }
            ]
        },
        {"failure-time-inferred"},
    ),
    "error an empty string": ({"jobs/failures": [], "jobs/status": "failed"}, {"failure-reason-fallback"}),
    "error a number": ({"jobs/failures": [], "misplaced/error": 500}, {"misplaced", "failure-reason-fallback"}),
    "error without a message": (
        {"jobs/failures/0/reason": "No reason was recorded", "jobs/failures/0/stage": "finalization"},
        {"failure-reason-fallback"},
    ),
    # ------------------------------------------------------------------------------------------------------ metrics
    "costs not tracked": (
        {
            "metrics/cost": {
                "totalUsd": 0.775,
                "analysisUsd": 0.25,
                "outlineUsd": 0.5,
                "chaptersUsd": 0.025,
                "extra": {"estimatedRemainingUsd": 0.0, "recordedTotalUsd": 0.0, "recomputedTotalUsd": 0.775},
            },
            "metrics/tokens": {"total": 2030, "analysis": 10, "outline": 20, "chapters": 2000},
            "metrics/latencyMs": {"total": 600, "analysis": 100, "outline": 200, "chapters": 300},
            "jobs/engine/modelOverrides": {"analysis": "gpt-4o-mini", "outline": "gpt-4o-mini", "chapter": "gpt-4o"},
            "jobs/modelUsage/coverArt": {"model": "dall-e", "cost": 9},
            "legacy/metadata/costTracking/totalCost": 0,
        },
        set(),
    ),
    "costs tracked": (
        {
            "metrics/cost": {
                "totalUsd": 7.5,
                "analysisUsd": 1.5,
                "outlineUsd": 2.5,
                "chaptersUsd": 3.5,
                "extra": {"estimatedRemainingUsd": 0.125, "recordedTotalUsd": 7.5, "recomputedTotalUsd": 2.25},
            },
            "metrics/tokens/total": 4000,
            "metrics/tokens/chapters": 30,
            "legacy/metadata/costTracking/breakdown/images": 1,
            "legacy/metadata/costTracking/currency": "USD",
        },
        {"number-from-string", "stage-untracked"},
    ),
    "costs beyond every number": (
        {
            "metrics/cost/totalUsd": 0.0,
            "metrics/cost/outlineUsd": 1.7e308,
            "jobs/modelUsage/outlineGeneration/cost": 1.7e308,
        },
        {"sum-overflow"},
    ),
    # ---------------------------------------------------------------------------------------------------- story bible
    "characters and locations with odd names": (
        {
            "metadata/storyBibleCharacters/Mara/summary": "a diver",
            "metadata/storyBibleCharacters/Mara/traits": ["calm"],
            "metadata/storyBibleCharacters/Mara/metadata": {"lastSeen": 4, "firstAppearance": 1},
            "metadata/storyBibleCharacters/Mara/relationships": [
                {"characterId": "Mara Voss", "description": "Sister of Mara Voss"},
                {"characterId": "unknown", "description": "Fears the sea"},
                {"characterId": "unknown", "description": "(not described)"},
            ],
            "metadata/storyBibleCharacters/Dr．Ilya/name": "Dr．Ilya",
            "metadata/storyBibleCharacters/Dr． Ilya/name": "Dr. Ilya",
            "metadata/storyBibleCharacters/Dr． Ilya/relationships/0/characterId": "Mara Voss",
            "metadata/storyBibleCharacters/＄name/name": "$name",
            "metadata/storyBibleCharacters/unnamed/name": "Unnamed",
            "metadata/storyBibleCharacters/unnamed/summary": "nobody",
            "metadata/storyBibleCharacters/nul\ufffd/name": "nul\0",
            "metadata/storyBibleCharacters/lone \ufffd/name": "lone \ufffd",
            "misplaced/metadata.storyBible.characters.Tom": "a string",
            "misplaced/metadata.storyBible.characters.Mara.traits.1": 3,
            "metadata/storyBibleLocations": {
                "St． Ives": {"description": "harbour", "firstMentioned": 2, "significance": "home", "a．b": 1}
            },
            "misplaced/metadata.storyBible.locations.nowhere": 7,
            "legacy/metadata/storyBible/glossary": {"tide": "water"},
        },
        {"misplaced", "key-renamed", "character-name-fallback", "character-list-defaulted", "relationship-fallback"},
    ),
    "story bible lists": (
        {
            "metadata/storyBibleCharacters": {},
            "misplaced/metadata.storyBible.characters": ["Mara"],
            "metadata/storyBibleMetadata/plotThreads/1": {"status": "abandoned", "weight": 2},
            "misplaced/metadata.storyBible.plotThreads.2": "loose",
            "metadata/storyBibleMetadata/timeline/0/timestamp": T("03:05:00.000"),
            "metadata/storyBibleMetadata/timeline/1/timestamp": T("03:00:00.000"),
            "metadata/storyBibleMetadata/timeline/1/importance": "none",
            "metadata/storyBibleThemes": ["Sea"],
            "metadata/storyBibleMetadata/themes": [
                {"name": "Sea", "description": "d", "examples": ["tide"]},
                {"name": "Sea", "description": "again"},
                {"description": "no name"},
                {"name": ""},
            ],
            "misplaced/metadata.storyBible.themes.0.examples.1": None,
            "misplaced/metadata.storyBible.themes.4": "Time",
        },
        {"misplaced", "date-from-string"},
    ),
    "alerts": (
        {
            "metadata/continuityAlerts/0/alertId": "a-2",
            "metadata/continuityAlerts/0/title": "x" * 79 + "…",
            "metadata/continuityAlerts/0/message": "x" * 100,
            "metadata/continuityAlerts/0/severity": "info",
            "metadata/continuityAlerts/0/resolved": False,
            "metadata/continuityAlerts/1": {
                "alertId": "a-1",
                "title": "Mara is in two places at once.",
                "message": "Mara is in two places at once. The letter says noon.",
                "severity": "critical",
                "createdAt": T("03:20:00.000"),
                "resolved": True,
                "context": {
                    "chapter": 5,
                    "character": "Mara",
                    "plotThread": "The letter",
                    "note": "n",
                    "details": "chapters 2 and 5",
                    "suggestion": "move one",
                    "occurrences": 3,
                },
            },
            "legacy/metadata/supersededAlerts/0/message": "The older one.",
            "legacy/metadata/supersededAlerts/1/message": "Newest, and first of a tie.",
            "metadata/continuityAlerts/2/message": "only details",
            "metadata/continuityAlerts/2/severity": "info",
            "metadata/continuityAlerts/2/resolved": True,
            "metadata/continuityAlerts/2/createdAt": T("03:00:00.000"),
            "metadata/continuityAlerts/2/context/timestampInferred": True,
            "metadata/continuityAlerts/2/context/reviewer": "kim",
            "misplaced/metadata.continuityAlerts.3.severity": "fatal",
            "misplaced/metadata.continuityAlerts.5": 7,
        },
        {
            "alert-duplicate",
            "alert-id-made",
            "alert-message-fallback",
            "alert-severity-fallback",
            "alert-resolved-defaulted",
            "alert-time-inferred",
            "boolean-from-string",
            "misplaced",
        },
    ),
    "decisions and enhancements": (
        {
            "metadata/aiDecisions/0/summary": "same id again",
            "metadata/aiDecisions/1/decisionId": "d-1",
            "metadata/aiDecisions/1/confidence": 0.75,
            "metadata/aiDecisions/1/metadata": {
                "reasoning": "r",
                "alternatives": [{"option": "o", "reason": "x"}],
                "model": "gpt-4o",
            },
            "metadata/aiDecisions/2/type": "unknown",
            "metadata/aiDecisions/2/metadata/timestampInferred": True,
            "misplaced/metadata.aiDecisions.0.alternatives.1": "none",
            "misplaced/metadata.aiDecisions.3": False,
            "events/ai-decision/0/event/timestampInferred": True,
            "events/ai-decision/1/event/decisionId": "d-1",
            "events/ai-decision/1/event/impact": "high",
            "events/ai-decision/2/event/summary": "same id again",
            "jobs/domainEvents/4/summary": "same id again",
            "metadata/enhancements/0": {
                "enhancementId": "e-1",
                "createdAt": T("03:25:00.000"),
                "data": {"type": "dialogue", "name": "n", "description": "d", "details": "x", "score": 1},
            },
            "metadata/enhancements/1/data": {"name": "no id, no time", "timestampInferred": True},
            "misplaced/metadata.enhancementsApplied.2": None,
            "events/enhancement-applied/1/event/enhancementType": "dialogue",
        },
        {
            "decision-id-made",
            "decision-type-fallback",
            "decision-time-inferred",
            "enhancement-id-made",
            "enhancement-time-inferred",
            "timestamp-inferred",
            "misplaced",
            "number-from-string",
        },
    ),
    "the rest of the metadata": (
        {
            "metadata/storyBibleMetadata/enhancedQualityMetrics": {
                "humanLikenessScore": 0.8,
                "complexityScore": 0.7,
                "rhythm": 1,
            },
            "misplaced/metadata.enhancedQualityMetrics.consistencyScore": {"$numberDouble": "NaN"},
            "metadata/performance": {
                "averageResponseTime": 850.5,
                "totalRequests": 12,
                "errorCount": 1,
                "lastHealthCheck": T("03:45:00.500"),
                "region": "eu",
            },
            "metadata/storyBibleMetadata/currentStep": "chapter 3",
            "metadata/storyBibleMetadata/estimatedTimeRemaining": 360,
            "metadata/storyBibleMetadata/phaseStartTimes": {
                "premise_analysis": T("03:01:00.000"),
                "outline_generation": T("03:01:00.000"),
                "phase．three": T("03:02:00.000"),
            },
            "misplaced/metadata.phaseStartTimes.chapter_writing": "soon",
            "events/phase-transition/0/event/to": "outline_generation",
            "events/phase-transition/1/event/from": "outline_generation",
            "events/phase-transition/2/event/to": "phase.three",
            "legacy/metadata/flags": {"beta": True},
            "misplaced/metadata.supersededAlerts": ["theirs"],
        },
        {"misplaced", "key-renamed", "number-from-string"},
    ),
    "metadata a string": ({"misplaced/metadata": "none", "metadata/continuityAlerts": []}, {"misplaced"}),
    # ---------------------------------------------------------------------------------------------------- any values
    "fields outside the schema, of every type": (
        {
            "legacy/legacyScore": 0.30000000000000004,
            "legacy/n": None,
            "legacy/long": 9007199254740993,
            "legacy/price": {"$numberDecimal": "12.50"},
            "legacy/nan": {"$numberDouble": "NaN"},
            "legacy/cover": {"$binary": {"base64": "3q2+7w==", "subType": "00"}},
            "legacy/oldCover": {"$binary": {"base64": "3q2+7w==", "subType": "00"}},
            "legacy/pattern": {"$regularExpression": {"pattern": "^a.b$", "options": "i"}},
            "legacy/at": {"$timestamp": {"t": 1752894245, "i": 7}},
            "legacy/code": {"$code": "f()"},
            "legacy/min": {"$minKey": 1},
            "legacy/ref": {"$ref": "users", "$id": {"$oid": "5f0000000000000000000001"}},
            "legacy/when": {"$date": "2025-01-02T03:04:05.600Z"},
            "legacy/far": {"$date": {"$numberLong": "253402300800000"}},
            "legacy/huge": {"$numberDecimal": "123456789012345678901234567890"},
            "legacy/tooHuge": {"$numberDecimal": "1E+400"},
            "legacy/metadata．x": "dotted",
            "misplaced/misplaced": "theirs",
            "legacy/tags": [1, [2, {"a": "deep"}]],
        },
        {"key-renamed", "misplaced"},
    ),
    "objects that only look like Extended JSON": (
        {
            "legacy/id2": {"＄oid": "zz"},
            "legacy/when": {"＄date": "someday"},
            "legacy/both": {"＄oid": "687b0a900000000000000001", "x": 1},
            "legacy/int": {"＄numberInt": "99999999999"},
            "legacy/long": {"＄numberLong": 7.5},
            "legacy/op": {"＄set": {"a": 1}},
        },
        {"key-renamed"},
    ),
    "lone surrogates here": (
        {
            "jobs/payload/premise": "before \ufffd after",
            "jobs/payload/genre": "\ufffdx",
            "jobs/payload/subgenre": "\U0001f600 is none",
            "jobs/chapters/0/content": "\ufffd\ufffd two",
            "legacy/note": "\\ud800 is text",
        },
        set(),  # counted by the reader
    ),
    "control characters and line separators": (
        {
            "jobs/payload/premise": "nul \0, del \x7f, \u2028 and \u2029, / and \\, tab \t, “quotes”",
            "jobs/chapters/0/content": '}]},{"_id": {"$oid": "',
        },
        set(),
    ),
    "the same key twice": ({"jobs/payload/genre": "second"}, set()),
    "eighty levels": ({"legacy/tree" + "/d" * 80: "the bottom"}, set()),
}

# The other documents, by their place in the dump: why they can't be kept, and what is found of them in the rejects.
REJECTS: list[tuple[str, str | None, object]] = [
    ("not-an-object", None, "a text"),
    ("not-an-object", None, 42),
    ("not-an-object", None, None),
    ("not-an-object", None, True),
    ("not-an-object", None, ["an", "array"]),
    ("no-identity", None, {}),
    ("no-identity", None, "neither _id nor jobId"),
    ("no-creation-time", "no-time", "no createdAt, no ObjectId"),
    ("duplicate-job", "687b0a900000000000000001", "an _id seen before"),
    ("duplicate-job", "the-old-api-s-id", "a jobId seen before"),
    ("nested-too-deep", None, "below the limit"),
    ("nested-too-deep", None, "far below the limit"),
    ("number-too-long", None, "7" * 5000),
]
ELSEWHERE = {
    "in-flight-failed": "only with --in-flight=fail",
    "embedded-events-dropped": "needs a document of 16 MiB",
    "text-not-utf8": "only in BSON",
    "lone-surrogate": "counted while reading",
    "number-rounded": "in the table of test_legacy.py",
    "number-out-of-range": "only in documents that were not read from a dump",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the real command has made a bundle of the dump."""
    folder = tmp_path_factory.mktemp("oddities")
    done = command("convert", ODDITIES, "--out=bundle", "--json", "--progress=none", cwd=folder)
    assert (3, b"") == (done.returncode, done.stderr)
    (folder / "summary.json").write_bytes(done.stdout)
    return folder


Found = dict[str, Any]


@pytest.fixture(scope="module")
def bundle(folder: Path) -> dict[str, Found]:
    """Title -> the documents made of that job, by the first steps of the places above."""
    jobs = lines(folder / "bundle", "novel_jobs.ndjson")
    found: dict[str, Found] = {
        job["jobId"]: {"jobs": job, "legacy": (legacy := job["context"]["metadata"]["legacy"]), "events": []}
        | {"misplaced": {key.replace("．", "."): value for key, value in legacy.get("misplaced", {}).items()}}
        for job in jobs
    }
    for part in ("metrics", "metadata"):
        for document in lines(folder / "bundle", f"novel_job_{part}.ndjson"):
            found[document["jobId"]][part] = document
    for event in lines(folder / "bundle", "novel_job_events.ndjson"):
        found[event["jobId"]]["events"].append(event)
    return {job["payload"]["title"]: found[job["jobId"]] for job in jobs}


def at(found: Found, place: str) -> Any:
    part, *steps = place.split("/")
    value = found[part]
    if part == "misplaced":
        return value.get("/".join(steps), ABSENT)
    if part == "events" and not steps[0].isdigit():
        value = [event for event in value if steps[0] in (event.get("status"), event.get("event", {}).get("type"))]
        steps = steps[1:]
    for step in steps:
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (IndexError, KeyError):
            return ABSENT
    return value


def legacy_jobs() -> list[Any]:
    """The documents that can be decoded; an integer of 5,000 digits, or 300 levels, are left out."""
    texts = ODDITIES.read_text("utf-8").splitlines()[1:-1]
    short = [text.removesuffix(",") for text in texts if not re.search(r"7{4000}|\[{300}", text)]
    return [extjson.decode(json.loads(text, parse_float=extjson.exact_fraction)) for text in short]


@pytest.mark.parametrize("title", JOBS)
def test_every_oddity_is_found_again(title: str, bundle: dict[str, Found]) -> None:
    places, _ = JOBS[title]

    assert places == {place: at(bundle[title], place) for place in places}


def test_every_job_of_the_dump_is_in_the_table(bundle: dict[str, Found]) -> None:
    assert list(JOBS) == list(bundle)


def test_repairs_of_every_oddity() -> None:
    converted = [map_job(job) for job in legacy_jobs()]
    repairs = {
        result.documents["novel_jobs"][0]["payload"]["title"]: set(result.repairs)
        for result in converted
        if isinstance(result, Converted)
    }

    assert {title: names for title, (_, names) in JOBS.items()} == {
        title: names & repairs[title] for title, (_, names) in JOBS.items()
    }
    named = set[str]().union(*(names for _, names in JOBS.values()))
    assert set(NAMES) - ELSEWHERE.keys() == named


def test_all_accounted_for(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_bytes())
    reasons = [reason for reason, _, _ in REJECTS]

    assert (len(JOBS) + len(REJECTS), len(JOBS), len(REJECTS)) == (
        summary["read"],
        summary["accepted"],
        summary["rejected"],
    )
    assert {reason: reasons.count(reason) for reason in reasons} == summary["rejects_by_reason"]
    assert summary["repairs"]["lone-surrogate"] == 5


def test_every_reject_is_whole_and_in_its_place(folder: Path) -> None:
    rejects = lines(folder / "bundle", "rejects.ndjson")
    data = ODDITIES.read_bytes()

    assert [(reason, job_id) for reason, job_id, _ in REJECTS] == [
        (reject["reason"], reject.get("jobId")) for reject in rejects
    ]
    for number, ((_, _, document), reject) in enumerate(zip(REJECTS, rejects, strict=True)):
        index = len(JOBS) + number
        assert index == reject["index"]
        line = data.splitlines()[1 + index]
        assert line == data[reject["offset"] :].split(b"\n", 1)[0]
        if isinstance(document, str):
            assert document in json.dumps(reject["document"])
        else:
            assert document == reject["document"]


# ---------------------------------------------------------------------------------------------- nothing is lost at all


def test_every_value_is_somewhere_in_the_output(bundle: dict[str, Found]) -> None:
    lost = {}
    for job in legacy_jobs():
        if isinstance(job, dict) and job.get("title") in bundle:
            kept = set(leaves(extjson.decode(orjson.loads(orjson.dumps(bundle[job["title"]])))))
            missing = [leaf for leaf in leaves(dropped_on_purpose(job)) if kept.isdisjoint(spellings(leaf))]
            if missing:
                lost[job["title"]] = missing

    assert {} == lost


def dropped_on_purpose(job: dict[str, Any]) -> dict[str, Any]:
    """Without ``__v`` and the ``_id`` of subdocuments."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(held) for key, held in value.items() if key != "_id"}
        return [clean(held) for held in value] if isinstance(value, list) else value

    identity = {"_id": job["_id"]} if "_id" in job else {}
    return identity | {key: clean(held) for key, held in job.items() if key not in ("_id", "__v")}


def leaves(value: Any) -> Iterator[str]:
    """Every scalar as text, whatever its type."""
    if isinstance(value, dict | list):
        for held in value.values() if isinstance(value, dict) else value:
            yield from leaves(held)
    elif isinstance(value, DatetimeMS):
        in_range = times.FIRST_MILLISECOND <= int(value) <= times.LAST_MILLISECOND
        yield times.iso(int(value)) if in_range else str(int(value))
    elif isinstance(value, bool) or not isinstance(value, int | float):
        yield str(value)
    else:
        yield repr(float(value)) if abs(value) < 2**53 else str(value)


def spellings(leaf: str) -> set[str]:
    """The text of a value, and of what it may have been read as."""
    stripped = leaf.strip()
    found = {leaf, stripped.lower(), stripped.capitalize(), extjson.without_surrogates(leaf)}
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", stripped):
        found.add(repr(float(stripped)))
        if len(stripped.partition(".")[0]) == 13:
            found.add(times.iso(int(float(stripped))))
    stamp = times.milliseconds(stripped)
    if stamp is not None:
        found.add(times.iso(stamp))
    return found | ({"completed", "pending"} if leaf in ("None", "") else set())


def test_in_flight_jobs_can_be_failed_on_the_way(folder: Path) -> None:
    done = command("convert", ODDITIES, "--out=failed", "--in-flight=fail", "--progress=none", cwd=folder)
    jobs = lines(folder / "failed", "novel_jobs.ndjson")

    assert (3, b"") == (done.returncode, done.stderr)
    assert {"completed", "failed"} == {job["status"] for job in jobs}
    assert {
        "reason": "The job was still under way when it was migrated to the new schema",
        "stage": "migration",
        "occurredAt": T("04:00:00.000"),
        "metadata": {"timestampInferred": True},
    } == jobs[0]["failures"][0]
