"""Parity: what one legacy document holds, and what was written of it, counted in the same way.

The legacy side is counted from the dump's own document and knows no rule of the mapping. So a difference always means
that something was lost or made up. An element of the wrong kind (a number among the chapters) counts on neither side:
the repair ``misplaced`` tells of it.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from bson import Decimal128

from converter.extjson import INT64_MAX, RawText

QUANTITIES: Final[dict[str, str]] = {
    "outline_entries": "Outline entries",
    "chapters": "Chapters",
    "completed_chapters": "Completed chapters",
    "words": "Words in completed chapters",
    "chapter_tokens": "Tokens of the chapters",
    "chapter_cost_usd": "Cost of the chapters, US dollars",
    "recorded_tokens": "Tokens as recorded",
    "recorded_cost_usd": "Cost as recorded, US dollars",
    "characters": "Characters",
    "locations": "Locations",
    "themes": "Themes, distinct names",
    "plot_threads": "Plot threads",
    "timeline_entries": "Timeline entries",
    "alerts": "Continuity alerts, repetitions counted",
    "decisions": "Decisions of the model",
    "enhancements": "Enhancements",
}
"""Quantity -> what it is called in a table. Each is the same before and after a sound conversion."""

Quantities = dict[str, int | float]

_TEXTS: Final = (str, RawText)  # and no Code, which is a str to Python, and none to MongoDB


def legacy_quantities(document: Mapping[str, Any]) -> Quantities:
    """The quantities of one document of the dump, whatever shape it is in."""
    chapters = _objects(document.get("chapters"))
    completed = [chapter for chapter in chapters if _completed(chapter)]
    metadata = _object(document.get("metadata"))
    story_bible = _object(metadata.get("storyBible"))
    tracking = _object(metadata.get("costTracking"))
    names = (theme.get("name") for theme in _objects(story_bible.get("themes")))
    return {
        "outline_entries": len(_objects(document.get("outline"))),
        "chapters": len(chapters),
        "completed_chapters": len(completed),
        "words": rounded_sum([_words(chapter) for chapter in completed]),
        "chapter_tokens": rounded_sum([_number(chapter.get("tokensUsed")) for chapter in chapters]),
        "chapter_cost_usd": rounded_sum([_number(chapter.get("cost")) for chapter in chapters]),
        "recorded_tokens": _number(tracking.get("tokensUsed")) or 0,
        "recorded_cost_usd": float(_number(tracking.get("totalCost")) or 0),
        "characters": len(_objects(list(_object(story_bible.get("characters")).values()))),
        "locations": len(_objects(list(_object(story_bible.get("locations")).values()))),
        "themes": len({name for name in names if type(name) is str and name}),
        "plot_threads": len(_objects(story_bible.get("plotThreads"))),
        "timeline_entries": len(_objects(story_bible.get("timeline"))),
        "alerts": len(_objects(metadata.get("continuityAlerts"))),
        "decisions": len(_objects(metadata.get("aiDecisions"))),
        "enhancements": len(_objects(metadata.get("enhancementsApplied"))),
    }


def written_quantities(documents: Mapping[str, Sequence[Mapping[str, Any]]]) -> Quantities:
    """The quantities of one job's documents, by collection."""
    (job,) = documents["novel_jobs"]
    (metrics,) = documents["novel_job_metrics"]
    (metadata,) = documents["novel_job_metadata"]
    chapters = job["chapters"]
    completed = [chapter for chapter in chapters if chapter["status"] == "completed"]
    legacy_metadata = job["context"]["metadata"]["legacy"].get("metadata", {})
    story_bible = metadata["storyBibleMetadata"]
    return {
        "outline_entries": len(job["outline"]),
        "chapters": len(chapters),
        "completed_chapters": len(completed),
        "words": rounded_sum([chapter["wordCount"] for chapter in completed]),
        "chapter_tokens": rounded_sum([chapter["tokens"]["totalTokens"] for chapter in chapters]),
        "chapter_cost_usd": rounded_sum([chapter["costInUsd"] for chapter in chapters]),
        "recorded_tokens": legacy_metadata.get("costTracking", {}).get("tokensUsed") or 0,
        "recorded_cost_usd": metrics["cost"]["extra"]["recordedTotalUsd"],
        "characters": len(metadata["storyBibleCharacters"]),
        "locations": len(metadata["storyBibleLocations"]),
        "themes": len(metadata["storyBibleThemes"]),
        "plot_threads": len(story_bible["plotThreads"]),
        "timeline_entries": len(story_bible["timeline"]),
        "alerts": sum(alert["context"]["occurrences"] for alert in metadata["continuityAlerts"]),
        "decisions": len(metadata["aiDecisions"]),
        "enhancements": len(metadata["enhancements"]),
    }


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [element for element in value if isinstance(element, dict)] if isinstance(value, list) else []


def _completed(chapter: Mapping[str, Any]) -> bool:
    # Generations 1 and 2 know no status of a chapter: it is there when it is finished.
    status = chapter.get("status")
    if status == "completed":
        return True
    content = chapter.get("content")
    return status not in ("pending", "generating", "failed") and type(content) in _TEXTS and content != ""


def _words(chapter: Mapping[str, Any]) -> int | float:
    recorded = _number(chapter.get("wordCount"))
    if recorded is not None:
        return recorded
    content = chapter.get("content")
    return len(str(content).split()) if type(content) in _TEXTS else 0


_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


def _number(value: object) -> int | float | None:
    """The finite number that a value is or spells."""
    # The two types that a dump is full of, ahead of all others.
    if type(value) is int:
        return value if -INT64_MAX - 1 <= value <= INT64_MAX else None
    if type(value) is float:
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return int(value) if not isinstance(value, bool) and -INT64_MAX - 1 <= value <= INT64_MAX else None
    if isinstance(value, Decimal128):
        exact = value.to_decimal()
    elif type(value) is str and _NUMBER.fullmatch(value.strip()):
        exact = Decimal(value.strip())
    else:
        return value if isinstance(value, float) and math.isfinite(value) else None
    # A signalling NaN can't be made a float, and an integer may have more digits than one holds.
    if not (exact.is_finite() and math.isfinite(nearest := float(exact))):
        return None
    return int(exact) if -INT64_MAX - 1 <= exact <= INT64_MAX and exact == int(exact) else nearest


def rounded_sum(numbers: Iterable[int | float | None]) -> int | float:
    """The exactly rounded sum, so that the order doesn't matter; 0 where it passes the largest double."""
    present = [number for number in numbers if number is not None]
    try:
        plain = sum(present)  # a float if one of them is
        return plain if isinstance(plain, int) else math.fsum(present)
    except OverflowError:
        return 0
