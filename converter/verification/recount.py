"""Counting a job anew: in the raw dump, and in the documents that were made from it.

Nothing here maps anything, and nothing is taken from the mapping: what both sides must have in common is counted on
each by itself. A value of the wrong type is not counted, because it is moved aside (mapping rule "Nothing is lost").
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import orjson
from bson import Decimal128, ObjectId

from converter import extjson, times

Document = dict[str, Any]
Facts = dict[str, Any]
"""What was counted, by name. JSON: numbers, text, and lists and objects of them."""

QUANTITIES: Final = {
    "chapters": "chapters",
    "chapterTexts": "chapter texts",
    "chapterCharacters": "characters of chapter text",
    "outline": "outline entries",
    "chapterCost": "cost of the chapters (USD)",
    "usageCost": "cost in modelUsage (USD)",
    "recordedCost": "total cost as recorded (USD)",
    "recomputedCost": "total cost, recomputed (USD)",
    "totalCost": "total cost (USD)",
    "chapterTokens": "tokens of the chapters",
    "totalTokens": "total tokens",
    "characters": "story bible: characters",
    "locations": "story bible: locations",
    "plotThreads": "story bible: plot threads",
    "timeline": "story bible: timeline",
    "themes": "story bible: themes",
    "alertOccurrences": "alerts",
    "namedAlerts": "alerts, one per id of their own",
    "decisions": "decisions",
    "enhancements": "enhancements",
}
"""Numbers that dump and bundle have in common, with their names for people."""

_DIGESTS: Final = {
    "payloadTexts": "title, premise, genre or subgenre",
    "outlineTexts": "the outline's summaries",
    "alertIds": "the ids of the alerts",
    "decisionIds": "the ids of the decisions",
    "enhancementIds": "the ids of the enhancements",
}

_OF_STAGES: Final = {"stageCosts": "costs", "stageTokens": "tokens"}
STAGES: Final = {"analysis": "premiseAnalysis", "outline": "outlineGeneration", "chapters": "chapterGeneration"}
_PAYLOAD_TEXTS: Final = ("title", "premise", "genre", "subgenre")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
HEX_ID: Final = re.compile(r"[0-9a-fA-F]{24}")
# An entry without an id of its own gets one of this form, which the dump can't be asked about.
MADE_ID: Final = re.compile(r"(?:alert|decision|enhancement)-[0-9a-f]{16}")
_NO_SUMMARY: Final = "(no summary)"
"""What stands in an outline entry that had no summary."""
TOKENS: Final = ("promptTokens", "completionTokens", "totalTokens")
"""What a chapter and its event say of the tokens that it took."""
EMBEDDED_EVENTS: Final = 50
"""How many of its latest events of each kind a job carries with it."""
EMBEDDED: Final = {"generation": "events", "domain": "domainEvents"}
"""Kind of event -> the field of novel_jobs that carries the latest of them."""


# ------------------------------------------------------------------------------------------------------------ values

_NEWEST_FIRST: Final = (("continuityAlerts", "createdAt"), ("aiDecisions", "decidedAt"), ("enhancements", "createdAt"))
"""Lists that the application cuts at their end, and the time of an entry."""


def agree(one: float, other: float) -> bool:
    """Whether two amounts are the same within 1e-9, relative for large and absolute for small ones."""
    # Amounts near the largest double can add up to an infinity, or to no number at all.
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9) or (math.isnan(one) and math.isnan(other))


def hashed(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def digest(value: object) -> str:
    """32 hexadecimal digits that stand for a BSON value without lone surrogates."""
    return hashed(extjson.mapped_line(value))


def digest_if_shallow(value: object) -> str | None:
    """The same for any value of a dump; None for what is nested too deep for JSON."""
    try:
        return hashed(extjson.dumps(value))
    except (orjson.JSONEncodeError, RecursionError):
        return None


def total(numbers: Iterable[int | float]) -> int | float:
    """The exactly rounded sum; 0 where a double can't hold it (repair "sum-overflow")."""
    try:
        exact = math.fsum(numbers)
    except OverflowError:
        return 0
    return int(exact) if exact.is_integer() and abs(exact) < 2**53 else exact


def as_object(value: object) -> Document:
    return value if isinstance(value, dict) else {}


def objects_of(value: object) -> list[Document]:
    return [held for held in value if isinstance(held, dict)] if isinstance(value, list) else []


def entries_of(value: object) -> dict[str, Document]:
    return {key: held for key, held in as_object(value).items() if isinstance(held, dict)}


def as_text(value: object) -> str | None:
    return extjson.without_surrogates(value) if type(value) is str else None


def _number(value: object) -> int | float | None:
    """A finite number, also where it was written as text or as Decimal128; else None."""
    if isinstance(value, Decimal128):
        exact = value.to_decimal()
        value = float(exact) if exact.is_finite() else None  # a signalling NaN can't be made a float
    elif type(value) is str:
        value = float(value) if _NUMBER.fullmatch(value.strip()) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return int(value) if -extjson.INT64_MAX - 1 <= value <= extjson.INT64_MAX else None
    return value if math.isfinite(value) else None


def _numbers(entries: Sequence[Mapping[str, Any]], field: str) -> list[int | float]:
    return [number for entry in entries if (number := _number(entry.get(field))) is not None]


def _own_ids(entries: Sequence[Mapping[str, Any]], field: str) -> list[str]:
    ids = (as_text(entry.get(field)) for entry in entries)
    return sorted(held for held in ids if held and not MADE_ID.fullmatch(held))


def _first_tracked(*candidates: int | float | None) -> int | float:
    """The first number above 0: a tracked 0 means that nobody looked."""
    return next((held for held in candidates if held is not None and held > 0), 0)


# ---------------------------------------------------------------------------------------------------------- the dump


def source_job_id(document: Document) -> str | None:
    """The job's identity by the rule "jobId"; None where an unusual ``_id`` leaves its spelling open."""
    named = as_text(document.get("jobId"))
    if named and named.strip():
        return named.strip()
    identity = document.get("_id")
    if type(identity) is str:
        text = extjson.without_surrogates(identity)
        return text.lower() if HEX_ID.fullmatch(text) else text.strip() or None
    if isinstance(identity, ObjectId | int | float | Decimal128) and not isinstance(identity, bool):
        return str(identity)
    return None


def source_facts(document: Document) -> Facts:
    """What a legacy job of the dump holds."""
    metadata = as_object(document.get("metadata"))
    story_bible = as_object(metadata.get("storyBible"))
    chapters = objects_of(document.get("chapters"))
    outline = objects_of(document.get("outline"))
    alerts = objects_of(metadata.get("continuityAlerts"))
    decisions = objects_of(metadata.get("aiDecisions"))
    enhancements = objects_of(metadata.get("enhancementsApplied"))
    summaries = [text for entry in outline if (text := as_text(entry.get("summary")))]
    alert_ids = sorted(set(_own_ids(alerts, "id")))
    return {
        **_text_facts([as_text(chapter.get("content")) for chapter in chapters]),
        "payloadTexts": digest([as_text(document.get(field)) or "" for field in _PAYLOAD_TEXTS]),
        "outline": len(outline),
        "outlineTexts": digest([text for text in summaries if text != _NO_SUMMARY]),
        **_source_costs(document, metadata, chapters),
        "characters": len(entries_of(story_bible.get("characters"))),
        "locations": len(entries_of(story_bible.get("locations"))),
        "plotThreads": len(objects_of(story_bible.get("plotThreads"))),
        "timeline": len(objects_of(story_bible.get("timeline"))),
        "themes": len(objects_of(story_bible.get("themes"))),
        "alertOccurrences": len(alerts),
        "namedAlerts": len(alert_ids),
        "alertIds": digest(alert_ids),
        "decisions": len(decisions),
        "decisionIds": digest(_own_ids(decisions, "id")),
        "enhancements": len(enhancements),
        "enhancementIds": digest(_own_ids(enhancements, "id")),
    }


def _text_facts(texts: list[str | None]) -> Facts:
    return {
        "chapters": len(texts),
        "chapterTexts": sum(text is not None for text in texts),
        "chapterCharacters": sum(len(text or "") for text in texts),
        "texts": [None if text is None else hashed(text.encode()) for text in texts],
    }


def _source_costs(document: Document, metadata: Document, chapters: list[Document]) -> Facts:
    """Mapping rules "novel_job_metrics"."""
    tracking = as_object(metadata.get("costTracking"))
    breakdown = as_object(tracking.get("breakdown"))
    usage = {stage: as_object(as_object(document.get("modelUsage")).get(legacy)) for stage, legacy in STAGES.items()}
    used = {stage: _number(held.get("cost")) for stage, held in usage.items()}
    chapter_costs = _numbers(chapters, "cost")
    chapter_cost = total(chapter_costs)
    stages = {
        stage: _first_tracked(_number(breakdown.get(stage)), used[stage])
        or (chapter_cost if stage == "chapters" else 0)
        for stage in STAGES
    }
    chapter_tokens = total(_numbers(chapters, "tokensUsed"))
    tokens = {stage: _first_tracked(_number(held.get("tokensUsed"))) for stage, held in usage.items()}
    tokens["chapters"] = tokens["chapters"] or chapter_tokens
    recorded = _number(tracking.get("totalCost")) or 0
    return {
        "chapterCost": chapter_cost,
        "usageCost": total(cost or 0 for cost in used.values()),
        "recordedCost": recorded,
        "recomputedCost": total(
            [used["analysis"] or 0, used["outline"] or 0, *(chapter_costs or [used["chapters"] or 0])]
        ),
        "stageCosts": stages,
        "totalCost": _first_tracked(recorded) or total(stages.values()),
        "chapterTokens": chapter_tokens,
        "stageTokens": tokens,
        "totalTokens": _first_tracked(_number(tracking.get("tokensUsed"))) or total(tokens.values()),
    }


def differences(dump: Facts, bundle: Facts) -> list[str]:
    """Where the facts of one job differ between dump and bundle, in words."""
    found = [
        f"{label}: {dump[name]:,} in the dump, {bundle[name]:,} in the bundle"
        for name, label in QUANTITIES.items()
        if not agree(dump[name], bundle[name])
    ]
    found += [
        f"{label} of the stage {stage} differ from the dump's"
        for name, label in _OF_STAGES.items()
        for stage in STAGES
        if not agree(dump[name][stage], bundle[name][stage])
    ]
    if len(dump["texts"]) == len(bundle["texts"]):
        pairs = enumerate(zip(dump["texts"], bundle["texts"], strict=True))
        found += [f"chapters.{position}.content differs from the dump's" for position, (a, b) in pairs if a != b]
    return found + [f"{label} differ from the dump's" for name, label in _DIGESTS.items() if dump[name] != bundle[name]]


# -------------------------------------------------------------------------------------------------------- the bundle


def job_facts(job: Document) -> Facts:
    """What a document of novel_jobs holds, and which events it calls for."""
    chapters = job["chapters"]
    summaries = [entry["summary"] for entry in job["outline"]]
    progressed = [chapter for chapter in chapters if chapter["status"] != "pending"]
    paid = [chapter for chapter in chapters if chapter["costInUsd"] > 0 or chapter["tokens"]["totalTokens"] > 0]
    usage = as_object(job.get("modelUsage"))
    used = {stage: _number(as_object(usage.get(legacy)).get("cost")) or 0 for stage, legacy in STAGES.items()}
    attempts = objects_of(as_object(job.get("progress")).get("recoveryAttempts"))
    called_for = {
        "job-status queued": 1,
        "job-status running": ("startedAt" in job) + len(attempts),
        "generation generation-progress": len(progressed),
        "generation cost-tracking": len(paid),
    }
    if job["status"] in ("completed", "failed"):
        called_for[f"job-status {job['status']}"] = 1
    return {
        **_text_facts([chapter["content"] for chapter in chapters]),
        "payloadTexts": digest([job["payload"][field] for field in _PAYLOAD_TEXTS]),
        "outline": len(summaries),
        "outlineTexts": digest([text for text in summaries if text != _NO_SUMMARY]),
        "chapterCost": total(chapter["costInUsd"] for chapter in chapters),
        "chapterTokens": total(chapter["tokens"]["totalTokens"] for chapter in chapters),
        "usageCost": total(used.values()),
        "used": used,
        "eventCost": total(chapter["costInUsd"] for chapter in paid),
        "eventTokens": {name: total(chapter["tokens"][name] for chapter in paid) for name in TOKENS},
        "calledFor": called_for,
        "embedded": {kind: [digest(event) for event in job[field]] for kind, field in EMBEDDED.items()},
    }


def metrics_facts(metrics: Document) -> Facts:
    """What a document of novel_job_metrics holds."""
    cost = metrics["cost"]
    extra = cost.get("extra", {})
    return {
        "totalCost": cost["totalUsd"],
        "stageCosts": {stage: cost[f"{stage}Usd"] for stage in STAGES},
        "stageTokens": {stage: metrics["tokens"][stage] for stage in STAGES},
        "recordedCost": extra.get("recordedTotalUsd", 0),
        "recomputedCost": extra.get("recomputedTotalUsd", 0),
        "totalTokens": metrics["tokens"]["total"],
    }


def metadata_facts(metadata: Document) -> Facts:
    """What a document of novel_job_metadata holds, and which events it calls for."""
    story_bible = metadata["storyBibleMetadata"]
    alerts = metadata["continuityAlerts"]
    decisions = metadata["aiDecisions"]
    enhancements = metadata["enhancements"]
    alert_ids = _own_ids(alerts, "alertId")
    return {
        "characters": len(metadata["storyBibleCharacters"]),
        "locations": len(metadata["storyBibleLocations"]),
        "plotThreads": len(objects_of(story_bible.get("plotThreads"))),
        "timeline": len(objects_of(story_bible.get("timeline"))),
        "themes": len(objects_of(story_bible.get("themes"))),
        "alertOccurrences": total(_numbers([alert["context"] for alert in alerts], "occurrences")),
        "namedAlerts": len(alert_ids),
        "alertIds": digest(alert_ids),
        "decisions": len(decisions),
        "decisionIds": digest(_own_ids(decisions, "decisionId")),
        "enhancements": len(enhancements),
        "enhancementIds": digest(_own_ids(enhancements, "enhancementId")),
        "calledFor": {
            "generation phase-transition": len(as_object(story_bible.get("phaseStartTimes"))),
            "domain ai-decision": len(decisions),
            "domain enhancement-applied": len(enhancements),
        },
    }


def event_facts(event: Document) -> Facts:
    """What a document of novel_job_events holds: its kind and name, its payload, what it says was spent."""
    if event["kind"] == "job-status":
        return {"name": f"job-status {event['status']}"}
    told = event["event"]
    facts = {"name": f"{event['kind']} {told['type']}", "kind": event["kind"], "payload": digest(told)}
    if told["type"] == "cost-tracking":
        facts |= {
            "cost": _number(told.get("costInUsd")) or 0,
            "tokens": {name: _number(told.get(name)) or 0 for name in TOKENS},
        }
    return facts


def contradictions(collection: str, document: Document) -> list[str]:
    """Where a document says two things of which one must be wrong, as ``path: what is wrong``."""
    if collection == "novel_jobs":
        return _job_contradictions(document)
    if collection == "novel_job_events":
        stamps = [int(document["createdAt"]), int(document["updatedAt"])]
        if stamps != [times.milliseconds(document["emittedAt"])] * 2:
            return ["createdAt, updatedAt: not the time of emittedAt"]
    if collection == "novel_job_metadata":
        return [f"{field}: not the newest first" for field, time in _NEWEST_FIRST if not _falls(document[field], time)]
    return []


def _falls(entries: list[Document], time: str) -> bool:
    stamps = [times.milliseconds(entry[time]) or 0 for entry in entries]
    return stamps == sorted(stamps, reverse=True)


def _job_contradictions(job: Document) -> list[str]:
    found = []
    summary = job["summary"]
    chapters = job["chapters"]
    completed = [chapter for chapter in chapters if chapter["status"] == "completed"]
    if summary["chaptersGenerated"] != len(completed):
        found.append(f"summary.chaptersGenerated: {len(completed)} chapters are completed")
    if not agree(summary["totalWordCount"], total(_numbers(completed, "wordCount"))):
        found.append("summary.totalWordCount: not the sum of the completed chapters' wordCount")
    planned = len(job["outline"]) or job["payload"]["targetChapters"] or len(chapters)
    if summary["totalChaptersPlanned"] != planned:
        found.append("summary.totalChaptersPlanned: neither outline nor target say so")
    started, ended = (times.milliseconds(job.get(field) or "") for field in ("startedAt", "completedAt"))
    if started is not None and ended is not None and job.get("durationMs") != max(ended - started, 0):
        found.append("durationMs: not from startedAt to completedAt")
    if job["context"]["job"] != {"jobId": job["jobId"], **job["payload"]}:
        found.append("context.job: not the job's id and payload")
    if ("startedAt" in job) != (job["status"] != "queued"):
        found.append("startedAt: belongs to every job but a queued one")
    if ("completedAt" in job) != (job["status"] in ("completed", "failed")):
        found.append("completedAt: belongs to completed and failed jobs, and to no other")
    return found


def cost_contradictions(job: Facts, metrics: Facts) -> list[str]:
    """Where a job's metrics are not what the job itself adds up to."""
    found = []
    used = job["used"]
    spent = [job["chapterCost"]]
    if not job["chapterCost"]:
        spent.append(used["chapters"])  # chapters without a cost can't be told from those that cost 0
    recomputed = [total([used["analysis"], used["outline"], chapters]) for chapters in spent]
    if not any(agree(metrics["recomputedCost"], candidate) for candidate in recomputed):
        found.append("cost.extra.recomputedTotalUsd: not what the job's chapters and modelUsage add up to")
    if not agree(
        metrics["totalCost"], _first_tracked(metrics["recordedCost"]) or total(metrics["stageCosts"].values())
    ):
        found.append("cost.totalUsd: neither the recorded total nor the sum of the stages")
    return found
