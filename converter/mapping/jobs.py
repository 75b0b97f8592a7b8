"""``novel_jobs``: one document per job. Mapping rules "novel_jobs"."""

from typing import Any, Final

from bson import DatetimeMS, ObjectId

from converter.mapping.kept import INFERRED, Document, extras, keep, keep_entries, plain
from converter.mapping.lifecycle import Lifecycle
from converter.mapping.metrics import total
from converter.models.legacy import (
    CostBreakdown,
    CostTracking,
    Job,
    JobError,
    Metadata,
    ModelUsage,
    Progress,
    QualityMetrics,
    RecoveryAttempt,
    StageUsage,
    StoryBible,
)
from converter.repairs import Repairs
from converter.times import iso

EMBEDDED_EVENTS: Final = 50
"""How many of the latest events of each kind a job carries with it."""

NO_REASON: Final = "No reason was recorded"

# Payload field -> what stands for a missing one. humanLikeWriting: the default of the legacy schema.
PAYLOAD: Final[dict[str, str | int | bool]] = {
    "title": "",
    "premise": "",
    "genre": "",
    "subgenre": "",
    "targetWordCount": 0,
    "targetChapters": 0,
    "humanLikeWriting": True,
}

# Target stage -> the legacy name of the same stage in modelUsage.
STAGES: Final = {"analysis": "premiseAnalysis", "outline": "outlineGeneration", "chapter": "chapterGeneration"}

_JOB_FIELDS: Final = frozenset(Job.__annotations__) | {"_id", "__v"}
_METADATA_FIELDS: Final = frozenset(Metadata.__annotations__)
_STORY_BIBLE_FIELDS: Final = frozenset(StoryBible.__annotations__)
_COST_TRACKING_FIELDS: Final = frozenset(CostTracking.__annotations__)
_COST_BREAKDOWN_FIELDS: Final = frozenset(CostBreakdown.__annotations__)
_PROGRESS_FIELDS: Final = frozenset(Progress.__annotations__)
_RECOVERY_FIELDS: Final = frozenset(RecoveryAttempt.__annotations__)
_QUALITY_FIELDS: Final = frozenset(QualityMetrics.__annotations__)
_USAGE_FIELDS: Final = frozenset(ModelUsage.__annotations__)
_STAGE_FIELDS: Final = frozenset(StageUsage.__annotations__)
_ERROR_FIELDS: Final = frozenset(JobError.__annotations__)


def payload(job: Job, repairs: Repairs) -> Document:
    """What the job was asked to write."""
    mapped: Document = {}
    for field, default in PAYLOAD.items():
        value = job.get(field)
        if value is None:
            repairs.count("payload-defaulted")
            value = default
        mapped[field] = value
    return mapped


def summary(job: Job, outline: list[Document], chapters: list[Document], repairs: Repairs) -> Document:
    """Totals over the completed chapters."""
    completed = [chapter for chapter in chapters if chapter["status"] == "completed"]
    return {
        "chaptersGenerated": len(completed),
        "totalChaptersPlanned": len(outline) or job.get("targetChapters") or len(chapters),
        "totalWordCount": total([chapter["wordCount"] for chapter in completed], repairs),
    }


def failures(job: Job, course: Lifecycle, chapters: list[Document], repairs: Repairs) -> list[Document]:
    """What went wrong: the job's own error, each failed chapter, and the migration where it ended the job."""
    mapped = []
    error = job.get("error")
    if error:
        details = extras(error, _ERROR_FIELDS, repairs, ("error",), INFERRED)
        time = error.get("timestamp")
        if time is None:
            repairs.count("failure-time-inferred")
            details["timestampInferred"] = True
        ended = course.updated if course.completed is None else course.completed
        failure = {
            "occurredAt": iso(ended if time is None else int(time)),
            "reason": _reason(error.get("message"), repairs),
            "metadata": details,
        }
        stage = error.get("phase") or job.get("currentPhase")
        if stage:
            failure["stage"] = stage
        mapped.append(failure)
    for chapter in chapters:
        if chapter["status"] == "failed":
            details = {"chapterNumber": chapter["chapterNumber"]}
            if "attemptCount" in chapter:
                details["attempts"] = chapter["attemptCount"]
            occurred = chapter.get("lastAttemptAt")
            if occurred is None:
                repairs.count("failure-time-inferred")
                details["timestampInferred"] = True
                occurred = chapter.get("generatedAt") or iso(course.fallback)
            mapped.append(
                {
                    "occurredAt": occurred,
                    "reason": _reason(chapter.get("failureReason"), repairs),
                    "stage": "chapter_writing",
                    "metadata": details,
                }
            )
    if course.stopped_by_migration and course.completed is not None:
        mapped.append(
            {
                "occurredAt": iso(course.completed),
                "reason": "The job was still under way when it was migrated to the new schema",
                "stage": "migration",
                "metadata": {"timestampInferred": True} if course.completed_inferred else {},
            }
        )
    return mapped


def _reason(message: str | None, repairs: Repairs) -> str:
    if message:
        return message
    repairs.count("failure-reason-fallback")
    return NO_REASON


def novel_job(
    job: Job,
    *,
    identity: ObjectId,
    job_id: str,
    queue: str,
    course: Lifecycle,
    asked: Document,
    outline: list[Document],
    chapters: list[Document],
    totals: Document,
    failed: list[Document],
    events: list[Document],
    legacy: Document,
    repairs: Repairs,
) -> Document:
    """The document, from the job and from what the other rules made of its parts.

    ``events`` are the job's documents of ``novel_job_events``, in order of ``emittedAt``.
    """
    created = iso(course.created)
    analysis = job.get("analysis")
    kept_analysis = None if analysis is None else keep_entries(analysis, repairs)
    target: Document = {
        "_id": identity,
        "jobId": job_id,
        "queue": queue,
        "status": course.status,
        "payload": asked,
        "requestedAt": created,
        "receivedAt": created,
        "analysis": kept_analysis,
        "outline": outline,
        "chapters": chapters,
        "context": {
            "job": {"jobId": job_id, **asked},
            "analysis": kept_analysis,
            "chapters": [],
            "metadata": {"legacy": legacy},
        },
        "summary": totals,
        "engine": {"clientType": "openai", "modelOverrides": _models(job)},
        "events": _latest(events, "generation"),
        "domainEvents": _latest(events, "domain"),
        "failures": failed,
        "progress": _progress(job, outline, totals, repairs),
        "createdAt": DatetimeMS(course.created),
        "updatedAt": DatetimeMS(course.updated),
    }
    if course.started is not None:
        target["startedAt"] = iso(course.started)
    if course.completed is not None:
        target["completedAt"] = iso(course.completed)
        target["durationMs"] = course.duration
    if job.get("currentPhase") is not None:
        target["currentPhase"] = job["currentPhase"]
    quality = job.get("qualityMetrics")
    if quality is not None:
        target["qualityMetrics"] = plain(quality, _QUALITY_FIELDS, repairs)
    usage = job.get("modelUsage")
    if usage is not None:
        target["modelUsage"] = _model_usage(usage, repairs)
    return target


def _latest(events: list[Document], kind: str) -> list[Document]:
    return [event["event"] for event in events if event["kind"] == kind][-EMBEDDED_EVENTS:]


def _models(job: Job) -> dict[str, str]:
    usage: Any = job.get("modelUsage") or {}
    named = {stage: (usage.get(legacy) or {}).get("model") for stage, legacy in STAGES.items()}
    return {stage: model for stage, model in named.items() if model}


def _model_usage(usage: ModelUsage, repairs: Repairs) -> Document:
    mapped: Document = {
        stage: plain(used, _STAGE_FIELDS, repairs)  # type: ignore[arg-type]
        for stage, used in usage.items()
        if stage in _USAGE_FIELDS and used is not None
    }
    return mapped | extras(usage, _USAGE_FIELDS, repairs)


def _progress(job: Job, outline: list[Document], totals: Document, repairs: Repairs) -> Document:
    progress = job.get("progress") or {}
    mapped = plain(progress, _PROGRESS_FIELDS, repairs)
    for field in ("estimatedCompletion", "lastActivity", "failedAt"):
        if field in mapped:
            mapped[field] = iso(int(mapped[field]))
    if "recoveryAttempts" in mapped:
        mapped["recoveryAttempts"] = [_recovery(attempt, repairs) for attempt in mapped["recoveryAttempts"]]
    computed = {
        "outlineComplete": bool(outline),
        "chaptersCompleted": totals["chaptersGenerated"],
        "totalChapters": totals["totalChaptersPlanned"],
    }
    for field, value in computed.items():
        if field not in mapped:
            repairs.count("progress-computed")
            mapped[field] = value
    return mapped


def _recovery(attempt: RecoveryAttempt, repairs: Repairs) -> Document:
    mapped = plain(attempt, _RECOVERY_FIELDS, repairs)
    if "timestamp" in mapped:
        mapped["timestamp"] = iso(int(mapped["timestamp"]))
    return mapped


def legacy_values(
    job: Job,
    job_id: str,
    course: Lifecycle,
    identity_kept: bool,
    superseded_alerts: list[Document],
    repairs: Repairs,
) -> Document:
    """Every value of the legacy document that has no other place; ``misplaced`` is added when all is mapped."""
    taken = frozenset({"metadata", "misplaced"})
    kept = extras(job, _JOB_FIELDS, repairs, taken=taken)
    legacy_identity: Any = job.get("_id")
    if not identity_kept and legacy_identity is not None:
        kept["_id"] = keep(legacy_identity, repairs)
    if job.get("jobId") is not None and job.get("jobId") != job_id:
        kept["jobId"] = job["jobId"]
    if job.get("status") is not None and job.get("status") != course.status:
        kept["status"] = job["status"]
    completed = job.get("completedAt")
    if completed is not None and course.completed is None:
        kept["completedAt"] = iso(int(completed))
    metadata = job.get("metadata")
    if metadata is not None:
        kept_metadata = extras(metadata, _METADATA_FIELDS, repairs, ("metadata",), frozenset({"supersededAlerts"}))
        story_bible = extras(metadata.get("storyBible") or {}, _STORY_BIBLE_FIELDS, repairs)
        if story_bible:
            kept_metadata["storyBible"] = story_bible
        costs = metadata.get("costTracking")
        if costs is not None:
            kept_metadata["costTracking"] = plain(costs, _COST_TRACKING_FIELDS, repairs)
            breakdown = costs.get("breakdown")
            if breakdown is not None:
                kept_metadata["costTracking"]["breakdown"] = plain(breakdown, _COST_BREAKDOWN_FIELDS, repairs)
        if superseded_alerts:
            kept_metadata["supersededAlerts"] = superseded_alerts
        if kept_metadata:
            kept["metadata"] = kept_metadata
    return kept
