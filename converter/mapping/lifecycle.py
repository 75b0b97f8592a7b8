"""The course of one job: its status, and when it was created, started, changed and finished."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from bson import DatetimeMS, ObjectId

from converter.extjson import NestedTooDeep
from converter.models.legacy import MAX_NESTING, Job, is_time
from converter.repairs import Repairs
from converter.times import LAST_MILLISECOND

Status = Literal["queued", "running", "completed", "failed"]

STATUS: Final[dict[str, Status]] = {
    "completed": "completed",
    "failed": "failed",
    "cancelled": "failed",
    "outlining": "running",
    "analyzing": "running",
    "writing": "running",
    "recovering": "running",
}


NEVER: Final = LAST_MILLISECOND + 1 - 365 * 24 * 60 * 60 * 1000
"""The start of the year 9999, which people write for what never happens."""


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """All times in milliseconds since 1970."""

    status: Status
    created: int
    created_inferred: bool
    updated: int
    started: int | None
    """``None`` while queued."""
    started_inferred: bool
    completed: int | None
    """``None`` unless completed or failed."""
    completed_inferred: bool
    stopped_by_migration: bool
    """The option ``in-flight=fail`` made this job a failed one."""

    @property
    def duration(self) -> int | None:
        """Milliseconds from start to end, never below 0; ``None`` for a job that hasn't ended."""
        if self.started is None or self.completed is None:
            return None
        return max(0, self.completed - self.started)

    @property
    def fallback(self) -> int:
        """The time that stands for one that was not recorded."""
        return self.created if self.started is None else self.started


def lifecycle(
    job: Job, identity: ObjectId | None, in_flight: Literal["keep", "fail"], repairs: Repairs
) -> Lifecycle | None:
    """``None`` when no creation time can be found. Mapping rules "Identity and time" and "Status"."""
    created, created_inferred = _created(job, identity)
    if created is None:
        return None
    if created_inferred:
        repairs.count("created-at-from-object-id")
    updated = milliseconds(job.get("updatedAt"))
    if updated is None:
        repairs.count("updated-at-inferred")
        updated = max((created, *_known_times(job)))
    status = _status(job, repairs)
    stopped = in_flight == "fail" and status in ("queued", "running")
    if stopped:
        repairs.count("in-flight-failed")
        status = "failed"
    started, started_inferred = _started(job, status, created)
    if started_inferred:
        repairs.count("started-at-inferred")
    completed, inferred = _completed(job, status, updated)
    if inferred:
        repairs.count("completed-at-inferred")
    return Lifecycle(
        status, created, created_inferred, updated, started, started_inferred, completed, inferred, stopped
    )


def milliseconds(time: DatetimeMS | None) -> int | None:
    """A legacy time as a plain number, ``None`` if it is missing."""
    return None if time is None else time.__int__()  # a third of the time that int() takes


def phase_starts(job: Job) -> dict[str, int]:
    """Phase name -> its start, in order of time."""
    starts = (job.get("metadata") or {}).get("phaseStartTimes") or {}
    return dict(
        sorted(((str(phase), int(start)) for phase, start in starts.items()), key=lambda item: (item[1], item[0]))
    )


def _created(job: Job, identity: ObjectId | None) -> tuple[int | None, bool]:
    """When the job was created, and whether that is inferred from its ObjectId."""
    created = milliseconds(job.get("createdAt"))
    if created is None and identity is not None:
        return int.from_bytes(identity.binary[:4], "big") * 1000, True
    return created, False


def _status(job: Job, repairs: Repairs) -> Status:
    status = job.get("status")
    if status in STATUS:
        return STATUS[status]
    if status == "planning":
        usage: Any = job.get("modelUsage") or {}
        used = any(_says_anything(used) for stage, used in usage.items() if stage != "_id")
        started = used or job.get("outline") or job.get("chapters") or phase_starts(job)
        return "running" if started else "queued"
    repairs.count("status-inferred")
    finished = job.get("completedAt") is not None or job.get("currentPhase") == "completed"
    return "completed" if finished else "running"


def _says_anything(used: Any) -> bool:
    """Whether a stage was used: one that came with the job has only zeros, empty texts and an ``_id``."""
    return any(value for field, value in used.items() if field != "_id") if isinstance(used, dict) else bool(used)


def _started(job: Job, status: Status, created: int) -> tuple[int | None, bool]:
    """When the job started, and whether that is inferred from its creation."""
    if status == "queued":
        return None, False
    starts = phase_starts(job).values()
    return min(starts, default=created), not starts


def _completed(job: Job, status: Status, updated: int) -> tuple[int | None, bool]:
    """When the job ended, and whether that is inferred from its last activity or update."""
    if status not in ("completed", "failed"):
        return None, False
    progress = job.get("progress") or {}
    recorded = [job.get("completedAt")]
    if status == "failed":
        recorded += [progress.get("failedAt"), (job.get("error") or {}).get("timestamp")]
    for time in recorded:
        if time is not None:
            return int(time), False
    last_activity = milliseconds(progress.get("lastActivity"))
    return (updated if last_activity is None else last_activity), True


def _known_times(value: Any, level: int = 1) -> Iterator[int]:
    """Every time in the job but those that lie ahead of it: an estimate is no update, nor is the year 9999."""
    if isinstance(value, DatetimeMS):
        if is_time(int(value)) and int(value) < NEVER:
            yield int(value)
    elif isinstance(value, dict | list):
        if level > MAX_NESTING:
            raise NestedTooDeep
        held_values = (
            value if isinstance(value, list) else [value[key] for key in value if key != "estimatedCompletion"]
        )
        for held in held_values:
            yield from _known_times(held, level + 1)
