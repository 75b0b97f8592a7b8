"""``novel_job_metrics``: one document per job. Mapping rules "novel_job_metrics"."""

import math
from collections.abc import Sequence
from typing import Any, Final

from bson import DatetimeMS

from converter.extjson import INT64_MAX
from converter.mapping.identity import made_id
from converter.mapping.kept import Document
from converter.mapping.lifecycle import Lifecycle
from converter.models.legacy import Job
from converter.repairs import Repairs

# Stage -> its name in modelUsage.
_STAGES: Final = {"analysis": "premiseAnalysis", "outline": "outlineGeneration", "chapters": "chapterGeneration"}


def novel_job_metrics(job: Job, job_id: str, course: Lifecycle, repairs: Repairs) -> Document:
    """What the job cost, in US dollars, tokens and milliseconds."""
    return {
        "_id": made_id(course.created, "novel_job_metrics", job_id),
        "jobId": job_id,
        "cost": _cost(job, repairs),
        "tokens": _tokens(job, repairs),
        "latencyMs": _latency(job, course, repairs),
        "createdAt": DatetimeMS(course.created),
        "updatedAt": DatetimeMS(course.updated),
    }


def total(numbers: Sequence[int | float], repairs: Repairs) -> int | float:
    """The exactly rounded sum. Integers stay one as long as a Long holds it."""
    if all(isinstance(number, int) for number in numbers):
        exact = sum(numbers)
        return exact if abs(exact) <= INT64_MAX else float(exact)
    try:
        return math.fsum(numbers)
    except OverflowError:
        repairs.count("sum-overflow")
        return 0.0


def _tracked(number: int | float | None) -> bool:
    # The service that fed costTracking was off for months: 0 means that nobody looked, not that it was free.
    return number is not None and number > 0


def _stage_usage(job: Job, stage: str, field: str) -> Any:
    usage: Any = job.get("modelUsage") or {}
    return (usage.get(_STAGES[stage]) or {}).get(field)


def _chapter_numbers(job: Job, field: str) -> list[int | float]:
    chapters: Any = job.get("chapters") or []
    return [chapter[field] for chapter in chapters if chapter.get(field) is not None]


def _cost(job: Job, repairs: Repairs) -> Document:
    tracking = (job.get("metadata") or {}).get("costTracking") or {}
    breakdown: Any = tracking.get("breakdown") or {}
    chapter_costs = _chapter_numbers(job, "cost")
    costs: Document = {}
    for stage in _STAGES:
        used = _stage_usage(job, stage, "cost")
        if _tracked(breakdown.get(stage)):
            costs[f"{stage}Usd"] = float(breakdown[stage])
        elif _tracked(used):
            costs[f"{stage}Usd"] = float(used)
        elif stage == "chapters" and chapter_costs:
            costs[f"{stage}Usd"] = float(total(chapter_costs, repairs))
        else:
            if used != 0:
                repairs.count("stage-untracked")
            costs[f"{stage}Usd"] = 0.0
    recorded = tracking.get("totalCost")
    parts = [_stage_usage(job, stage, "cost") or 0 for stage in ("analysis", "outline")]
    parts += chapter_costs or [_stage_usage(job, "chapters", "cost") or 0]
    return {
        "totalUsd": float(recorded) if _tracked(recorded) else float(total(list(costs.values()), repairs)),  # type: ignore[arg-type]
        **costs,
        "extra": {
            "estimatedRemainingUsd": float(tracking.get("estimatedRemaining") or 0),
            "recordedTotalUsd": float(recorded or 0),
            "recomputedTotalUsd": float(total(parts, repairs)),
        },
    }


def _tokens(job: Job, repairs: Repairs) -> Document:
    chapter_tokens = _chapter_numbers(job, "tokensUsed")
    tokens: Document = {}
    for stage in _STAGES:
        used = _stage_usage(job, stage, "tokensUsed")
        if _tracked(used):
            tokens[stage] = used
        elif stage == "chapters" and chapter_tokens:
            tokens[stage] = total(chapter_tokens, repairs)
        else:
            if used != 0:
                repairs.count("stage-untracked")
            tokens[stage] = 0
    recorded = ((job.get("metadata") or {}).get("costTracking") or {}).get("tokensUsed")
    return {"total": recorded if _tracked(recorded) else total(list(tokens.values()), repairs), **tokens}


def _latency(job: Job, course: Lifecycle, repairs: Repairs) -> Document:
    durations: Document = {}
    for stage in _STAGES:
        duration = _stage_usage(job, stage, "duration")
        if duration is None:
            repairs.count("stage-untracked")
        durations[stage] = duration or 0
    return {"total": total(list(durations.values()), repairs) or course.duration or 0, **durations}
