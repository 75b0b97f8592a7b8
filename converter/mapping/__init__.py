"""The mapping of one legacy job to the documents of the four target collections. Pure: no file, no clock, no chance.

>>> map_job({"_id": ObjectId("64b7..."), "status": "completed", ...})
Converted(job_id="64b7...", documents={"novel_jobs": [...], ...}, ...)
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

from converter.extjson import NestedTooDeep
from converter.mapping.chapters import chapters, outline
from converter.mapping.events import novel_job_events
from converter.mapping.identity import job_id, made_id, true_id
from converter.mapping.jobs import failures, legacy_values, novel_job, payload, summary
from converter.mapping.kept import Document, keep, safe_items
from converter.mapping.lifecycle import lifecycle
from converter.mapping.metadata import ai_decisions, continuity_alerts, enhancements_applied, novel_job_metadata
from converter.mapping.metrics import novel_job_metrics
from converter.models.checking import check
from converter.models.legacy import generation
from converter.repairs import Repairs

VERSION: Final = 1
"""Goes up whenever the same job would give other bytes."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user may choose about the mapping."""

    queue: str = "novel-generation"
    in_flight: Literal["keep", "fail"] = "keep"
    """What becomes of a job that is still queued or running: kept so, or turned into a failed one."""


@dataclass(frozen=True, slots=True)
class Converted:
    """The documents made from one job."""

    job_id: str
    documents: dict[str, list[Document]]
    """Collection -> its documents; events in order of ``emittedAt``."""
    repairs: dict[str, int]
    """Repair name -> how often in this job."""
    generation: str
    """The schema generation of the legacy document."""
    legacy_status: str
    """The status as the dump had it, empty if it had none."""
    nesting: int
    """Levels of the deepest value that was kept without being understood."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A document that can't be kept as a job."""

    reason: str
    detail: str
    job_id: str | None = None


def map_job(document: object, options: Options = Options()) -> Converted | Rejected:
    """Map one legacy job. The document, made of BSON values as ``extjson.decode`` gives them, isn't changed."""
    if not isinstance(document, dict):
        return Rejected("not-an-object", f"a job is an object, this is {_kind(document)}")
    repairs = Repairs()
    try:
        return _map(document, options, repairs)
    except NestedTooDeep:
        return Rejected("nested-too-deep", "the document has more than 100 levels, MongoDB's limit")


def _kind(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")


def _map(document: Document, options: Options, repairs: Repairs) -> Converted | Rejected:
    job = check(document, repairs)
    legacy_identity: Any = job.get("_id")
    identity = true_id(legacy_identity, repairs)
    named = job_id(job.get("jobId"), legacy_identity, repairs)
    if named is None:
        return Rejected("no-identity", "neither jobId nor _id says which job this is")
    course = lifecycle(job, identity, options.in_flight, repairs)
    if course is None:
        return Rejected(
            "no-creation-time", "createdAt is missing and _id is no ObjectId, so its time is unknown", named
        )

    asked = payload(job, repairs)
    planned = outline(job, repairs)
    written = chapters(job, repairs)
    totals = summary(job, planned, written, repairs)
    failed = failures(job, course, written, repairs)
    alerts, superseded = continuity_alerts(job, course, repairs)
    decisions = ai_decisions(job, course, repairs)
    enhancements = enhancements_applied(job, course, repairs)
    events = novel_job_events(
        job,
        job_id=named,
        queue=options.queue,
        course=course,
        outline=planned,
        chapters=written,
        totals=totals,
        failed=failed,
        decisions=decisions,
        enhancements=enhancements,
        repairs=repairs,
    )
    metrics = novel_job_metrics(job, named, course, repairs)
    metadata = novel_job_metadata(job, named, course, alerts, decisions, enhancements, repairs)
    legacy = legacy_values(job, named, course, identity is not None, superseded, repairs)
    if identity is None:
        repairs.count("id-made")
    target = novel_job(
        job,
        identity=identity or made_id(course.created, "novel_jobs", named),
        job_id=named,
        queue=options.queue,
        course=course,
        asked=asked,
        outline=planned,
        chapters=written,
        totals=totals,
        failed=failed,
        events=events,
        legacy=legacy,
        repairs=repairs,
    )
    # Last, because every rule above may have moved a value aside.
    if repairs.misplaced:
        # Its keys are paths, whose dots are ours and no repair of the dump.
        legacy["misplaced"] = {
            safe: keep(value, repairs) for safe, _, value in safe_items(repairs.misplaced, Repairs())
        }
    return Converted(
        job_id=named,
        documents={
            "novel_jobs": [target],
            "novel_job_events": events,
            "novel_job_metrics": [metrics],
            "novel_job_metadata": [metadata],
        },
        repairs=repairs.counts,
        generation=generation(job),
        legacy_status=job.get("status") or "",
        nesting=repairs.nesting,
    )
