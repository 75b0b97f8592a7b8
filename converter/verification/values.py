"""Comparing a job value by value: what the dump holds in so many words must stand in the bundle.

``recount`` counts and adds up. Here each value is compared of which it is certain what becomes of it, by what the
collections' readers were promised and without the mapping's code. ``source_values`` has the dump's side. Where it isn't
certain (a number that is text, a date out of range, an entry without an id of its own), the dump's value is None, which
agrees with everything.
"""

import math
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import orjson
from bson import DatetimeMS

from converter import times
from converter.verification.recount import (
    MADE_ID,
    STAGES,
    Document,
    Facts,
    agree,
    as_object,
    as_text,
    hashed,
    objects_of,
)

Held = TypeVar("Held", int, float)

FALLBACKS: Final = ("", "Unnamed", "(not described)", "unknown")
"""What stands for a text that must not be empty."""
NUMBERS: Final = {
    "qualityMetrics": ("averageChapterLength", "genreAdherence", "characterConsistency", "plotContinuity"),
    "enhancedQualityMetrics": ("humanLikenessScore", "complexityScore", "consistencyScore", "creativityScore"),
    "performance": ("averageResponseTime", "totalRequests", "errorCount"),
    "modelUsage": ("tokensUsed", "cost", "duration"),
}
"""Objects that are kept as they are, and the numbers in them; in modelUsage, those of a stage."""

_LAST_TIME: Final = times.LAST_MILLISECOND - 366 * 24 * 60 * 60 * 1000
"""Of a time in the year 9999 it isn't certain what becomes of it: where the year ends, events that tie move back."""
_PARTS: Final = ("jobValues", "metricsValues", "metadataValues")


# ------------------------------------------------------------------------------------------------------------ values


def number(value: object) -> int | float | None:
    """A number that is one, and finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if isinstance(value, int) else float(value)


def numbers_in(path: str, holder: object, fields: Iterable[str]) -> dict[str, int | float | None]:
    """The numbers of an object, by their paths."""
    return {f"{path}.{field}": number(as_object(holder).get(field)) for field in fields}


def usage_numbers(usage: object) -> dict[str, int | float | None]:
    """The numbers of each stage of modelUsage, by their paths."""
    stages = {legacy: as_object(usage).get(legacy) for legacy in STAGES.values()}
    found = [numbers_in(f"modelUsage.{legacy}", held, NUMBERS["modelUsage"]) for legacy, held in stages.items()]
    return {path: held for stage in found for path, held in stage.items()}


def time(value: object) -> int | None:
    """Milliseconds since 1970 of a date that is one."""
    if isinstance(value, DatetimeMS) and times.FIRST_MILLISECOND <= int(value) <= _LAST_TIME:
        return int(value)
    return None


def filled(value: object) -> str | None:
    """What stands for a text that isn't empty, and for which nothing else had to stand."""
    text = as_text(value)
    return None if text is None or text in FALLBACKS else hashed(text.encode())


def texts(*held: object) -> str:
    """What stands for several texts, also for those that aren't there."""
    return hashed(orjson.dumps([as_text(value) for value in held]))


def texts_of(value: object) -> list[str]:
    """The texts in an array; what else is in it is moved aside."""
    found = map(as_text, value) if isinstance(value, list) else ()
    return [text for text in found if text is not None]


def sorted_if_all(found: Iterable[Held | None]) -> list[Held] | None:
    """In order, None where one of them isn't certain."""
    known = list(found)
    return None if None in known else sorted(held for held in known if held is not None)


def own(value: object) -> str | None:
    """A text for which nothing else stands."""
    text = as_text(value)
    return None if text is None or text in FALLBACKS or MADE_ID.fullmatch(text) else text


# ----------------------------------------------------------------------------- what is alike in dump and bundle


def outline_entry(entry: Document) -> list[Any]:
    """What an entry of the outline says: its two numbers, and digests of its texts."""
    return [
        number(entry.get("chapterNumber")),
        filled(entry.get("title")),
        number(entry.get("wordTarget")),
        texts(*texts_of(entry.get("keyEvents"))),
        texts(entry.get("plotAdvancement"), None, *texts_of(entry.get("characterFocus"))),
    ]


def character(name: str, entry: Document, summary: object, relationships: Iterable[str]) -> str:
    """A digest of the texts of a character of the story bible."""
    told = [text for text in relationships if text not in FALLBACKS]
    return texts(name, summary, *texts_of(entry.get("traits")), None, *told)


def locations(entries: dict[str, Document]) -> list[str]:
    """A digest of the texts of each location of the story bible, in order of the digests."""
    return sorted(texts(key, entry.get("description"), entry.get("significance")) for key, entry in entries.items())


def story_bible_lists(story_bible: Document) -> Facts:
    """Digests of the texts of plot threads, timeline and themes, by their paths in ``novel_job_metadata``."""
    threads, timeline, themes = (objects_of(story_bible.get(field)) for field in ("plotThreads", "timeline", "themes"))
    return {
        "storyBibleMetadata.plotThreads": [
            texts(*(entry.get(field) for field in ("title", "description", "status"))) for entry in threads
        ],
        "storyBibleMetadata.timeline": [
            texts(*(entry.get(field) for field in ("title", "description", "importance"))) for entry in timeline
        ],
        "storyBibleMetadata.themes": [
            texts(entry.get("name"), entry.get("description"), *texts_of(entry.get("examples"))) for entry in themes
        ],
    }


def decision(identity: object, entry: Document, reasoning: object) -> str:
    """A digest of the texts of one of ``aiDecisions``."""
    return texts(own(identity), own(entry.get("type")), entry.get("summary"), entry.get("impact"), reasoning)


def enhancement(identity: object, data: Document) -> str:
    """A digest of the texts of one of ``enhancements``."""
    return texts(own(identity), *(data.get(field) for field in ("type", "name", "description", "details")))


# -------------------------------------------------------------------------------------------------------- the bundle


def job_values(job: Document) -> Facts:
    """What a document of novel_jobs holds."""
    payload = job["payload"]
    return {
        "jobValues": {
            "_id": str(job["_id"]),
            **_dates(job),
            "requestedAt": _moment(job.get("requestedAt")),
            "receivedAt": _moment(job["receivedAt"]),
            "status": job["status"],
            "payload.targetWordCount": number(payload["targetWordCount"]),
            "payload.targetChapters": number(payload["targetChapters"]),
            "payload.humanLikeWriting": payload["humanLikeWriting"],
            "outline": [outline_entry(entry) for entry in job["outline"]],
            "chapters": [_chapter(chapter) for chapter in job["chapters"]],
            "failures.0.reason": filled(job["failures"][0]["reason"]) if job["failures"] else None,
            "analysis.themes": texts(*texts_of(as_object(job.get("analysis")).get("themes"))),
            **numbers_in("qualityMetrics", job.get("qualityMetrics"), NUMBERS["qualityMetrics"]),
            **usage_numbers(job.get("modelUsage")),
        }
    }


def _chapter(chapter: Document) -> list[Any]:
    return [
        number(chapter["chapterNumber"]),
        filled(chapter["title"]),
        number(chapter["wordCount"]),
        number(chapter["costInUsd"]),
        *(number(chapter["tokens"][field]) for field in ("totalTokens", "promptTokens", "completionTokens")),
        number(chapter.get("attemptCount")),
        number(chapter.get("qualityScore")),
        filled(chapter.get("failureReason")),
        _moment(chapter.get("lastAttemptAt")),
        _moment(chapter.get("generatedAt")),
    ]


def metrics_values(metrics: Document) -> Facts:
    """What a document of novel_job_metrics holds."""
    latency = {f"latencyMs.{stage}": metrics["latencyMs"][stage] for stage in (*STAGES, "total")}
    remaining = metrics["cost"].get("extra", {}).get("estimatedRemainingUsd")
    return {"metricsValues": _dates(metrics) | latency | {"cost.extra.estimatedRemainingUsd": remaining}}


def metadata_values(metadata: Document) -> Facts:
    """What a document of novel_job_metadata holds."""
    alerts = [(as_text(alert["alertId"]) or "", alert) for alert in metadata["continuityAlerts"]]
    decisions, enhancements = metadata["aiDecisions"], metadata["enhancements"]
    story_bible = metadata["storyBibleMetadata"]
    scores = story_bible.get("enhancedQualityMetrics")
    return {
        "metadataValues": {
            **_dates(metadata),
            "storyBibleCharacters": sorted(
                character(entry["name"], entry, entry.get("summary"), _descriptions(entry))
                for entry in metadata["storyBibleCharacters"].values()
            ),
            "storyBibleLocations": locations(metadata["storyBibleLocations"]),
            "storyBibleThemes": [hashed(name.encode()) for name in metadata["storyBibleThemes"]],
            **story_bible_lists(story_bible),
            "phaseStartTimes": sorted(
                [phase, _moment(start)] for phase, start in as_object(story_bible.get("phaseStartTimes")).items()
            ),
            **numbers_in("enhancedQualityMetrics", scores, NUMBERS["enhancedQualityMetrics"]),
            **numbers_in("performance", metadata["performance"], NUMBERS["performance"]),
            "alerts": [(identity, _alert(alert)) for identity, alert in alerts],
            "alerts without an id": sorted(
                {filled(alert["message"]) or "" for identity, alert in alerts if MADE_ID.fullmatch(identity)}
            ),
            "aiDecisions": sorted(
                decision(entry["decisionId"], entry, as_object(entry.get("metadata")).get("reasoning"))
                for entry in decisions
            ),
            "aiDecisions' times": sorted(times.milliseconds(entry["decidedAt"]) or 0 for entry in decisions),
            "aiDecisions' confidence": sorted_if_all(number(entry.get("confidence")) for entry in decisions),
            "enhancements": sorted(
                enhancement(entry["enhancementId"], as_object(entry.get("data"))) for entry in enhancements
            ),
            "enhancements' times": sorted(times.milliseconds(entry["createdAt"]) or 0 for entry in enhancements),
        }
    }


def _descriptions(entry: Document) -> list[str]:
    return [relation["description"] for relation in entry["relationships"]]


def _alert(alert: Document) -> list[Any]:
    context = alert["context"]
    told = texts(context.get("details"), context.get("suggestion"))
    return [_moment(alert["createdAt"]), filled(alert["message"]), alert["severity"], alert["resolved"], told]


def _dates(document: Document) -> Facts:
    return {field: int(document[field]) for field in ("createdAt", "updatedAt")}


def _moment(value: object) -> int | None:
    text = as_text(value)
    return None if text is None else times.milliseconds(text)


# --------------------------------------------------------------------------------------------------------- comparing


def differences(dump: Facts, bundle: Facts) -> list[str]:
    """The paths in the documents of one job whose values differ from the dump's."""
    found = []
    for part in _PARTS:
        for path, wanted in dump[part].items():
            different = _different_alerts if path == "alerts" else _different
            found += [f"{place} differs from the dump's" for place in different(path, wanted, bundle[part][path])]
    return found


def _different(path: str, dump: Any, bundle: Any) -> list[str]:
    if isinstance(dump, list) and isinstance(bundle, list) and len(dump) == len(bundle):
        pairs = enumerate(zip(dump, bundle, strict=True))
        return [f"{path}.{position}" for position, (one, other) in pairs if not _same(one, other)]
    return [] if _same(dump, bundle) else [path]


def _different_alerts(path: str, dump: dict[str, list[Any]], bundle: list[tuple[str, Any]]) -> list[str]:
    """``dump`` has, by id, the alerts of which one is in the bundle."""
    return [
        f"continuityAlerts.{position}"
        for position, (identity, alert) in enumerate(bundle)
        if identity in dump and not any(_same(candidate, alert) for candidate in dump[identity])
    ]


def _same(dump: Any, bundle: Any) -> bool:
    """Whether the bundle has what the dump has, as far as that is certain."""
    if dump is None:
        return True
    if isinstance(dump, list):
        return isinstance(bundle, list) and len(dump) == len(bundle) and all(map(_same, dump, bundle))
    if isinstance(dump, int | float) and not isinstance(dump, bool):
        return isinstance(bundle, int | float) and not isinstance(bundle, bool) and agree(dump, bundle)
    return bool(dump == bundle)
