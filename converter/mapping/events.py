"""``novel_job_events``: what happened to a job, told from what the legacy document knows. Mapping rules "Events"."""

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from bson import DatetimeMS

from converter.mapping.chapters import heading
from converter.mapping.identity import id_maker
from converter.mapping.jobs import NO_REASON
from converter.mapping.kept import Document
from converter.mapping.lifecycle import Lifecycle, milliseconds, phase_starts
from converter.models.legacy import Job
from converter.repairs import Repairs
from converter.times import FIRST_MILLISECOND, LAST_MILLISECOND, iso

SOURCE: Final = "legacy-backfill"

# Chapter status -> status of its generation-progress event. A pending chapter has none.
PROGRESS_STATUS: Final = {"completed": "ai_completed", "in-progress": "ai_generating", "failed": "ai_failed"}

FIRST_PHASE: Final = "initialization"


class _Story:
    """The events of one job as they are told: each with its time, its kind and what tells it from its like."""

    def __init__(self, course: Lifecycle, repairs: Repairs) -> None:
        self.course = course
        self.repairs = repairs
        self.told: list[tuple[int, str, str, str, int, Document]] = []
        self.seen: dict[tuple[str, str, str], int] = {}

    def status(self, status: str, time: int | None, discriminator: str, snapshot: Document) -> None:
        snapshot["source"] = SOURCE
        if time is None:
            time = self._inferred(snapshot, self.course.fallback)
        self._tell(time, "job-status", status, discriminator, {"status": status, "snapshot": snapshot})

    def event(
        self, kind: str, name: str, time: int | None, discriminator: str, event: Document, other: int | None = None
    ) -> None:
        """``other`` is what stands for a missing time, if the entry has another."""
        event["type"] = name
        event["source"] = SOURCE
        if time is None:
            time = self._inferred(event, self.course.fallback if other is None else other)
        event["occurredAt"] = iso(time)
        self._tell(time, kind, name, discriminator, {"event": event})

    def _tell(self, time: int, kind: str, name: str, discriminator: str, content: Document) -> None:
        # Counted in the dump's order, which a longer export goes on with, and not in the order of time.
        same = (kind, name, discriminator)
        ordinal = self.seen[same] = self.seen.get(same, 0) + 1
        self.told.append((time, kind, name, discriminator, ordinal, content))

    def _inferred(self, content: Document, time: int) -> int:
        self.repairs.count("timestamp-inferred")
        content["timestampInferred"] = True
        return time

    def documents(self, job_id: str) -> list[Document]:
        """The documents by ``emittedAt``, which is strictly increasing: readers page by it, so no two may share one."""
        event_id = id_maker("novel_job_events", job_id)
        told = sorted(self.told, key=itemgetter(0))
        times = _distinct([event[0] for event in told])
        documents = []
        for emitted, (_, kind, name, discriminator, ordinal, content) in zip(times, told, strict=True):
            date = DatetimeMS(emitted)
            documents.append(
                {
                    "_id": event_id(emitted, kind, name, discriminator, str(ordinal)),
                    "jobId": job_id,
                    "kind": kind,
                    "emittedAt": iso(emitted),
                    **content,
                    "createdAt": date,
                    "updatedAt": date,
                }
            )
        return documents


def _distinct(times: list[int]) -> list[int]:
    """The times, which are in order, moved on where two are the same; and back, where the year 9999 ends."""
    emitted = FIRST_MILLISECOND - 1
    for position, occurred in enumerate(times):
        times[position] = emitted = occurred if occurred > emitted else emitted + 1
    if emitted > LAST_MILLISECOND:
        room = range(LAST_MILLISECOND - len(times) + 1, LAST_MILLISECOND + 1)
        times = [min(time, latest) for time, latest in zip(times, room, strict=True)]
    return times


def novel_job_events(
    job: Job,
    *,
    job_id: str,
    queue: str,
    course: Lifecycle,
    outline: list[Document],
    chapters: list[Document],
    totals: Document,
    failed: list[Document],
    decisions: list[Document],
    enhancements: list[Document],
    repairs: Repairs,
) -> list[Document]:
    """The events in order of ``emittedAt``.

    ``decisions`` and ``enhancements`` are those of ``novel_job_metadata`` in the dump's order; the others as in
    ``novel_jobs``.
    """
    story = _Story(course, repairs)
    _tell_status(story, job, queue, totals, failed)
    _tell_phases(story, job)
    _tell_chapters(story, job, outline, chapters)
    metadata = job.get("metadata") or {}
    for (discriminator, time), decision in zip(_entries(metadata.get("aiDecisions")), decisions, strict=True):
        _tell_decision(story, job_id, discriminator, time, decision)
    for (discriminator, time), applied in zip(_entries(metadata.get("enhancementsApplied")), enhancements, strict=True):
        _tell_enhancement(story, job_id, discriminator, time, applied)
    return story.documents(job_id)


def _tell_status(story: _Story, job: Job, queue: str, totals: Document, failed: list[Document]) -> None:
    course = story.course
    queued: Document = {"queue": queue}
    if course.created_inferred:
        queued["timestampInferred"] = True
    story.status("queued", course.created, "", queued)
    if course.started is not None:
        begun: Document = {"queue": queue, "receivedAt": iso(course.created)}
        if course.started_inferred:
            begun["timestampInferred"] = True
        story.status("running", course.started, "", begun)
    for position, attempt in enumerate((job.get("progress") or {}).get("recoveryAttempts") or []):
        snapshot: Document = {"stage": "recovering"}
        for field in ("attempt", "phase"):
            if attempt.get(field) is not None:
                snapshot[field] = attempt[field]
        time = attempt.get("timestamp")
        story.status("running", None if time is None else int(time), f"recovering {position}", snapshot)
    if course.completed is None:
        return
    ended: Document = {"queue": queue}
    if course.completed_inferred:
        ended["timestampInferred"] = True
    if course.status == "completed":
        ended |= {"completedAt": iso(course.completed), "durationMs": course.duration, **totals}
    else:
        ended |= {"failedAt": iso(course.completed), "error": _final_error(failed, course, story.repairs)}
    story.status(course.status, course.completed, "", ended)


def _final_error(failed: list[Document], course: Lifecycle, repairs: Repairs) -> str:
    if not failed:
        repairs.count("failure-reason-fallback")
        return NO_REASON
    # The migration's own failure record comes last and is why such a job ends; else the job's own error comes first.
    reason: str = failed[-1 if course.stopped_by_migration else 0]["reason"]
    return reason


def _tell_phases(story: _Story, job: Job) -> None:
    previous = FIRST_PHASE
    for phase, start in phase_starts(job).items():
        description = f"Phase changed from {previous} to {phase}"
        event: Document = {"from": previous, "to": phase, "description": description}
        story.event("generation", "phase-transition", start, phase, event)
        previous = phase


def _tell_chapters(story: _Story, job: Job, outline: list[Document], chapters: list[Document]) -> None:
    targets = {entry["chapterNumber"]: entry["wordTarget"] for entry in reversed(outline) if "wordTarget" in entry}
    for position, (legacy, chapter) in enumerate(zip(job.get("chapters") or [], chapters, strict=True)):
        number, tokens, discriminator = chapter["chapterNumber"], chapter["tokens"], str(position)
        # generatedAt is when the slot was created, so it says little about a chapter that isn't finished.
        time, other = milliseconds(legacy.get("generatedAt")), milliseconds(legacy.get("lastAttemptAt"))
        if chapter["status"] != "completed":
            time, other = other, time
        if chapter["status"] in PROGRESS_STATUS:
            event: Document = {
                "chapterNumber": number,
                "status": PROGRESS_STATUS[chapter["status"]],
                "details": f"{heading(number)}: {chapter['title']}",
                "wordsGenerated": chapter["wordCount"] or 0,
            }
            if number in targets:
                event["wordTarget"] = targets[number]
            story.event("generation", "generation-progress", time, discriminator, event, other)
        if chapter["costInUsd"] > 0 or tokens["totalTokens"] > 0:
            spent = {"chapterNumber": number, "model": chapter["model"], "costInUsd": chapter["costInUsd"], **tokens}
            story.event("generation", "cost-tracking", time, discriminator, spent, other)


def _entries(entries: Sequence[Mapping[str, Any]] | None) -> Iterator[tuple[str, int | None]]:
    """What tells entries from each other in every export, their own ids or else their positions; and their times."""
    for position, entry in enumerate(entries or ()):
        yield entry.get("id") or f"position {position}", milliseconds(entry.get("timestamp"))


def _tell_decision(story: _Story, job_id: str, discriminator: str, time: int | None, decision: Document) -> None:
    event: Document = {"jobId": job_id, "decisionId": decision["decisionId"], "decisionType": decision["type"]}
    event |= {field: decision[field] for field in ("summary", "confidence", "impact") if field in decision}
    story.event("domain", "ai-decision", time, discriminator, event)


def _tell_enhancement(story: _Story, job_id: str, discriminator: str, time: int | None, enhancement: Document) -> None:
    data: dict[str, Any] = enhancement["data"]
    event: Document = {"jobId": job_id, "enhancementId": enhancement["enhancementId"]}
    if "type" in data:
        event["enhancementType"] = data["type"]
    event |= {field: data[field] for field in ("name", "description") if field in data}
    story.event("domain", "enhancement-applied", time, discriminator, event)
