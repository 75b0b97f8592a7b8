"""The values of a legacy job as the dump has them, None where it isn't certain what becomes of one. See ``values``."""

from fractions import Fraction
from typing import Any, Final

from bson import ObjectId

from converter.verification.recount import (
    HEX_ID,
    MADE_ID,
    STAGES,
    Document,
    Facts,
    as_object,
    as_text,
    entries_of,
    hashed,
    objects_of,
)
from converter.verification.values import (
    FALLBACKS,
    NUMBERS,
    character,
    decision,
    enhancement,
    filled,
    locations,
    number,
    numbers_in,
    outline_entry,
    sorted_if_all,
    story_bible_lists,
    texts,
    texts_of,
    time,
    usage_numbers,
)

_ENDED: Final = {"completed": "completed", "failed": "failed", "cancelled": "failed"}
_SEVERITIES: Final = ("info", "warning", "critical")
_RATES: Final = {
    "gpt-4o": (Fraction(5, 1_000_000), Fraction(15, 1_000_000)),
    "gpt-4o-mini": (Fraction(15, 100_000_000), Fraction(60, 100_000_000)),
}
"""US dollars for a token, prompt and completion."""
_MOST_TOKENS: Final = 10**8
_MOST_COST: Final = 10**4
"""Of a chapter. Beyond, the split between prompt and completion is lost in what a double can't tell apart."""
_CERTAINLY_WHOLE: Final = Fraction(1, 2_000_000)
_CERTAINLY_NOT: Final = Fraction(1, 500_000)
"""How far from a whole number: the limit of 1e-6 is between them, and doubles may round to either side of it."""


def source_values(document: Document) -> Facts:
    """What a legacy job of the dump holds."""
    identity = _identity(document.get("_id"))
    created, updated = time(document.get("createdAt")), time(document.get("updatedAt"))
    if document.get("createdAt") is None and identity is not None:
        created = int(identity[:8], 16) * 1000
    dates = {"createdAt": created, "updatedAt": updated}
    usage = as_object(document.get("modelUsage"))
    model = as_text(as_object(usage.get("chapterGeneration")).get("model"))
    durations = {stage: _amount(as_object(usage.get(legacy)).get("duration")) for stage, legacy in STAGES.items()}
    metadata = as_object(document.get("metadata"))
    error = document.get("error")
    return {
        "jobValues": {
            "_id": identity,
            **dates,
            "requestedAt": created,
            "receivedAt": created,
            "status": _ENDED.get(as_text(document.get("status")) or ""),
            "payload.targetWordCount": _amount(document.get("targetWordCount")),
            "payload.targetChapters": _amount(document.get("targetChapters")),
            "payload.humanLikeWriting": _boolean(document.get("humanLikeWriting"), default=True),
            "outline": [outline_entry(entry) for entry in objects_of(document.get("outline"))],
            "chapters": [_chapter(chapter, model) for chapter in objects_of(document.get("chapters"))],
            "failures.0.reason": filled(error["message"] if isinstance(error, dict) and "message" in error else error),
            "analysis.themes": _themes(document.get("analysis")),
            **numbers_in("qualityMetrics", document.get("qualityMetrics"), NUMBERS["qualityMetrics"]),
            **usage_numbers(usage),
        },
        "metricsValues": {
            **dates,
            **{f"latencyMs.{stage}": held for stage, held in durations.items()},
            "latencyMs.total": _sum(list(durations.values())),
            "cost.extra.estimatedRemainingUsd": _amount(
                as_object(metadata.get("costTracking")).get("estimatedRemaining")
            ),
        },
        "metadataValues": {**dates, **_story_bible(metadata), **_alerts(metadata), **_lists(metadata)},
    }


def _amount(value: object) -> int | float | None:
    """A number, 0 for one that is missing."""
    return 0 if value is None else number(value)


def _boolean(value: object, *, default: bool) -> bool | None:
    if value is None:
        return default
    return value if isinstance(value, bool) else None


def _sum(numbers: list[int | float | None]) -> float | None:
    """None where something else may stand for it, or where it is lost among much larger numbers."""
    known = [held for held in numbers if held is not None and held >= 0]
    return sum(known) or None if len(known) == len(numbers) and sum(known) < 2**53 else None


def _identity(value: object) -> str | None:
    if isinstance(value, ObjectId):
        return str(value)
    return value.lower() if type(value) is str and HEX_ID.fullmatch(value) else None


def _themes(analysis: object) -> str | None:
    """Where the analysis has an array of nothing but texts."""
    themes = as_object(analysis).get("themes")
    found = texts_of(themes)
    return texts(*found) if isinstance(themes, list) and len(found) == len(themes) else None


# ---------------------------------------------------------------------------------------------------------- chapters


def _chapter(chapter: Document, model: str | None) -> list[Any]:
    return [
        number(chapter.get("chapterNumber")),
        filled(chapter.get("title")),
        number(chapter.get("wordCount")),
        _amount(chapter.get("cost")),
        _amount(chapter.get("tokensUsed")),
        *_split(_amount(chapter.get("tokensUsed")), _amount(chapter.get("cost")), model),
        number(chapter.get("attempts")),
        number(chapter.get("qualityScore")),
        filled(chapter.get("failureReason")),
        time(chapter.get("lastAttemptAt")),
        time(chapter.get("generatedAt")),
    ]


def _split(
    tokens: int | float | None, cost: int | float | None, model: str | None
) -> tuple[int, int] | tuple[None, None]:
    """Prompt and completion tokens, from their sum and what they cost; 0 where no whole numbers solve that."""
    if not isinstance(tokens, int) or cost is None or not (0 <= tokens <= _MOST_TOKENS and 0 <= cost <= _MOST_COST):
        return None, None
    if model not in _RATES:
        return 0, 0
    for_prompt, for_completion = _RATES[model]
    completion = (Fraction(cost) - tokens * for_prompt) / (for_completion - for_prompt)
    nearest = round(completion)
    away = abs(completion - nearest)
    if _CERTAINLY_WHOLE < away < _CERTAINLY_NOT:
        return None, None
    if away >= _CERTAINLY_NOT or not 0 <= nearest <= tokens:
        return 0, 0
    return tokens - nearest, nearest


# ------------------------------------------------------------------------------------------------- novel_job_metadata


def _story_bible(metadata: Document) -> Facts:
    story_bible = as_object(metadata.get("storyBible"))
    characters, places = (entries_of(story_bible.get(field)) for field in ("characters", "locations"))
    names = [as_text(theme.get("name")) for theme in objects_of(story_bible.get("themes"))]
    starts = {phase: time(start) for phase, start in as_object(metadata.get("phaseStartTimes")).items()}
    return {
        # A name with a lone surrogate may meet another once that is mended.
        "storyBibleCharacters": sorted(
            character(name, entry, entry.get("description"), texts_of(entry.get("relationships")))
            for name, entry in characters.items()
        )
        if all(name not in FALLBACKS and as_text(name) == name for name in characters)
        else None,
        "storyBibleLocations": locations(places) if _stay_as_they_are(places) else None,
        "storyBibleThemes": [hashed(name.encode()) for name in dict.fromkeys(names) if name],
        **story_bible_lists(story_bible),
        "phaseStartTimes": sorted([phase, start] for phase, start in starts.items())
        if None not in starts.values() and _stay_as_they_are(starts)
        else None,
        **numbers_in(
            "enhancedQualityMetrics", metadata.get("enhancedQualityMetrics"), NUMBERS["enhancedQualityMetrics"]
        ),
        **numbers_in("performance", metadata.get("performance"), NUMBERS["performance"]),
    }


def _stay_as_they_are(keys: dict[str, Any]) -> bool:
    """Whether MongoDB takes all these keys of a map."""
    return all(key and as_text(key) == key and key[0] != "$" and "." not in key and "\0" not in key for key in keys)


def _alerts(metadata: Document) -> Facts:
    """By id those of which one is kept; and the messages of those that have no id, of which each is kept once."""
    alerts: dict[str, list[list[Any]]] = {}
    messages: set[str] | None = set()
    for entry in objects_of(metadata.get("continuityAlerts")):
        identity = as_text(entry.get("id")) or ""
        message = filled(entry.get("message"))
        if identity and not MADE_ID.fullmatch(identity):
            severity = as_text(entry.get("severity"))
            alert = [
                time(entry.get("timestamp")),
                message,
                severity if severity in _SEVERITIES else None,
                _boolean(entry.get("resolved"), default=False),
                texts(entry.get("details"), entry.get("suggestion")),
            ]
            alerts.setdefault(identity, []).append(alert)
        elif message is None or identity:
            messages = None
        elif messages is not None:
            messages.add(message)
    return {
        "alerts": {identity: _newest(candidates) for identity, candidates in alerts.items()},
        "alerts without an id": None if messages is None else sorted(messages),
    }


def _newest(candidates: list[list[Any]]) -> list[list[Any]]:
    """Of alerts with one id the newest is kept, a tie goes to the later one. Where a time isn't certain, any may be."""
    if any(alert[0] is None for alert in candidates):
        return candidates
    return [max(enumerate(candidates), key=lambda candidate: (candidate[1][0], candidate[0]))[1]]


def _lists(metadata: Document) -> Facts:
    decisions = objects_of(metadata.get("aiDecisions"))
    enhancements = objects_of(metadata.get("enhancementsApplied"))
    return {
        "aiDecisions": sorted(decision(entry.get("id"), entry, entry.get("reasoning")) for entry in decisions),
        "aiDecisions' times": sorted_if_all(time(entry.get("timestamp")) for entry in decisions),
        "aiDecisions' confidence": sorted_if_all(number(entry.get("confidence")) for entry in decisions),
        "enhancements": sorted(enhancement(entry.get("id"), entry) for entry in enhancements),
        "enhancements' times": sorted_if_all(time(entry.get("timestamp")) for entry in enhancements),
    }
