"""``novel_job_metadata``: story bible, alerts, decisions, enhancements. Mapping rules "novel_job_metadata"."""

import re
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Final

from bson import DatetimeMS

from converter.extjson import dumps
from converter.mapping.identity import content_hash, made_id
from converter.mapping.kept import INFERRED, Document, extras, keep_entries, plain, safe_items
from converter.mapping.lifecycle import Lifecycle, phase_starts
from converter.models.legacy import (
    Character,
    ContinuityAlert,
    Decision,
    EnhancedQualityMetrics,
    Enhancement,
    Job,
    Location,
    Performance,
    PlotThread,
    StoryBible,
    Theme,
    TimelineEntry,
    path,
)
from converter.repairs import Repairs
from converter.times import iso

SEVERITIES: Final = ("info", "warning", "critical")
TITLE_LENGTH: Final = 80
_FEW_NAMES: Final = 200
"""To look for each of more names takes longer than to look at each part of a text."""

_CHARACTER_FIELDS: Final = frozenset(Character.__annotations__)
_PLOT_THREAD_FIELDS: Final = frozenset(PlotThread.__annotations__)
_TIMELINE_FIELDS: Final = frozenset(TimelineEntry.__annotations__)
_THEME_FIELDS: Final = frozenset(Theme.__annotations__)
_ALERT_FIELDS: Final = frozenset(ContinuityAlert.__annotations__)
_ALERT_CONTEXT_FIELDS: Final = frozenset({"details", "suggestion", "occurrences", "timestampInferred"})
_QUALITY_FIELDS: Final = frozenset(EnhancedQualityMetrics.__annotations__)
_ENHANCEMENT_FIELDS: Final = frozenset(Enhancement.__annotations__)
_ENHANCEMENT_DATA: Final = sorted(_ENHANCEMENT_FIELDS - {"id", "timestamp"})
_DECISION_FIELDS: Final = frozenset(Decision.__annotations__)
_PERFORMANCE_FIELDS: Final = frozenset(Performance.__annotations__)

_FIRST_SENTENCE: Final = re.compile(r".+?(?:[.!?…。！？]+[\"'”’»)]*(?= |$)|$)")


def novel_job_metadata(
    job: Job,
    job_id: str,
    course: Lifecycle,
    alerts: list[Document],
    decisions: list[Document],
    enhancements: list[Document],
    repairs: Repairs,
) -> Document:
    """The document, from the job and what ``continuity_alerts`` and the two functions below it made."""
    metadata = job.get("metadata") or {}
    story_bible = metadata.get("storyBible") or {}
    target: Document = {
        "_id": made_id(course.created, "novel_job_metadata", job_id),
        "jobId": job_id,
        "storyBibleCharacters": _characters(story_bible.get("characters") or {}, repairs),
        "storyBibleLocations": _locations(story_bible.get("locations") or {}, repairs),
        "storyBibleThemes": _theme_names(story_bible),
        "storyBibleMetadata": {
            "plotThreads": [
                plain(thread, _PLOT_THREAD_FIELDS, repairs) for thread in story_bible.get("plotThreads") or []
            ],
            "timeline": [_timeline_entry(entry, repairs) for entry in story_bible.get("timeline") or []],
            "themes": [plain(theme, _THEME_FIELDS, repairs) for theme in story_bible.get("themes") or []],
            "phaseStartTimes": {safe: iso(start) for safe, _, start in safe_items(phase_starts(job), repairs)},
        },
        "continuityAlerts": alerts,
        "aiDecisions": _newest_first(decisions, "decidedAt"),
        "enhancements": _newest_first(enhancements, "createdAt"),
        "performance": _performance(metadata.get("performance") or {}, repairs),
        "createdAt": DatetimeMS(course.created),
        "updatedAt": DatetimeMS(course.updated),
    }
    scores = metadata.get("enhancedQualityMetrics")
    if scores is not None:
        target["storyBibleMetadata"]["enhancedQualityMetrics"] = plain(scores, _QUALITY_FIELDS, repairs)
    for field in ("currentStep", "estimatedTimeRemaining"):
        value = metadata.get(field)
        if value is not None:
            target["storyBibleMetadata"][field] = value
    return target


# ---------------------------------------------------------------------------------------------------- story bible


def _characters(characters: Mapping[str, Character], repairs: Repairs) -> Document:
    entries = safe_items(characters, repairs)
    names = _Names({name: safe for safe, name, _ in entries if name})
    mapped = {}
    for safe, name, character in entries:
        target: Document = {
            "name": name or "Unnamed",
            "traits": character.get("traits") or [],
            "relationships": [_relationship(text, names, repairs) for text in character.get("relationships") or []],
            "metadata": extras(character, _CHARACTER_FIELDS, repairs),
        }
        if not name:
            repairs.count("character-name-fallback")
        for field in ("traits", "relationships"):
            if character.get(field) is None:
                repairs.count("character-list-defaulted")
        if character.get("description") is not None:
            target["summary"] = character["description"]
        mapped[safe] = target
    return mapped


class _Names:
    """The keys of the characters, by their names."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = keys
        # The longest name is looked for first, so "Mara Voss" isn't taken for "Mara".
        self._names = sorted(keys, key=lambda name: (-len(name), name))
        self._lengths = sorted(set(map(len, keys)), reverse=True)

    def longest_in(self, text: str) -> str | None:
        """The key of the longest name in the text; of several, of the first by the alphabet."""
        if len(self._names) <= _FEW_NAMES:
            return next((self._keys[name] for name in self._names if name in text), None)
        for length in self._lengths:
            parts = (text[at : at + length] for at in range(len(text) - length + 1))
            found = min((part for part in parts if part in self._keys), default=None)
            if found is not None:
                return self._keys[found]
        return None


def _relationship(text: str, names: _Names, repairs: Repairs) -> Document:
    if not text:
        repairs.count("relationship-fallback")
    return {"characterId": names.longest_in(text) or "unknown", "description": text or "(not described)"}


def _locations(locations: Mapping[str, Any], repairs: Repairs) -> Document:
    nothing_known: frozenset[str] = frozenset()
    return {safe: extras(entry, nothing_known, repairs) for safe, _, entry in safe_items(locations, repairs)}


def _theme_names(story_bible: StoryBible) -> list[str]:
    return list(dict.fromkeys(theme["name"] for theme in story_bible.get("themes") or [] if theme.get("name")))  # type: ignore[misc]


def _timeline_entry(entry: TimelineEntry, repairs: Repairs) -> Document:
    target = plain(entry, _TIMELINE_FIELDS, repairs)
    if "timestamp" in target:
        target["timestamp"] = iso(int(target["timestamp"]))
    return target


def _performance(performance: Performance, repairs: Repairs) -> Document:
    target = plain(performance, _PERFORMANCE_FIELDS, repairs)
    if "lastHealthCheck" in target:
        target["lastHealthCheck"] = iso(int(target["lastHealthCheck"]))
    return target


# --------------------------------------------------------------------------------------------------------- alerts


def continuity_alerts(job: Job, course: Lifecycle, repairs: Repairs) -> tuple[list[Document], list[Document]]:
    """(alerts, superseded): one alert per id, newest first; and those that a newer one of the same id replaced."""
    newest: dict[str, tuple[int, int, Document]] = {}
    occurrences: dict[str, int] = {}
    superseded = []
    place = ("metadata", "continuityAlerts")
    entries = (job.get("metadata") or {}).get("continuityAlerts") or []
    for position, entry in zip(repairs.positions(path(place)), entries, strict=False):
        time, alert = _alert(entry, (*place, position), course, repairs)
        identity = alert["alertId"]
        occurrences[identity] = occurrences.get(identity, 0) + 1
        other = newest.get(identity)
        if other is None:
            newest[identity] = (time, position, alert)
            continue
        repairs.count("alert-duplicate")
        if time >= other[0]:
            superseded.append(other[2])
            newest[identity] = (time, position, alert)
        else:
            superseded.append(alert)
    for identity, (_, _, alert) in newest.items():
        alert["context"]["occurrences"] = occurrences[identity]
    ordered = sorted(newest.values(), key=lambda entry: entry[:2], reverse=True)
    return [alert for _, _, alert in ordered], superseded


def _alert(entry: ContinuityAlert, at: Location, course: Lifecycle, repairs: Repairs) -> tuple[int, Document]:
    context = keep_entries(entry.get("context") or {}, repairs)
    for field in sorted(context.keys() & _ALERT_CONTEXT_FIELDS):
        repairs.misplace(path((*at, "context", field)), context.pop(field))
    context |= extras(entry, _ALERT_FIELDS, repairs, at, frozenset(context) | _ALERT_CONTEXT_FIELDS)
    context |= {field: entry[field] for field in ("details", "suggestion") if entry.get(field) is not None}
    time = entry.get("timestamp")
    if time is None:
        repairs.count("alert-time-inferred")
        context["timestampInferred"] = True
    moment = course.fallback if time is None else int(time)
    message = entry.get("message")
    if not message:
        repairs.count("alert-message-fallback")
        message = entry.get("details") or "(no message)"
    severity = entry.get("severity")
    if severity not in SEVERITIES:
        repairs.count("alert-severity-fallback")
        if severity is not None:
            repairs.misplace(path((*at, "severity")), severity)
        severity = "info"
    if entry.get("resolved") is None:
        repairs.count("alert-resolved-defaulted")
    return moment, {
        "alertId": _identity(entry, "alert", repairs),
        "title": title(message),
        "message": message,
        "severity": severity,
        "createdAt": iso(moment),
        "resolved": entry.get("resolved") or False,
        "context": context,
    }


def title(message: str) -> str:
    """The message's first sentence, at most ``TITLE_LENGTH`` characters; never empty."""
    # One character more than fits tells that the rest doesn't.
    sentence = _FIRST_SENTENCE.match(" ".join(message.split())[: TITLE_LENGTH + 1])
    text = sentence[0] if sentence else ""
    if len(text) > TITLE_LENGTH:
        text = text[: TITLE_LENGTH - 1].rstrip() + "…"
    return text or "(no message)"


# ---------------------------------------------------------------------------------------- decisions, enhancements


def ai_decisions(job: Job, course: Lifecycle, repairs: Repairs) -> list[Document]:
    """The model's decisions, in the dump's order."""

    def target(entry: Decision, at: Location, details: Document, time: str) -> Document:
        details |= extras(entry, _DECISION_FIELDS, repairs, at, INFERRED)
        if entry.get("reasoning") is not None:
            details["reasoning"] = entry["reasoning"]
        alternatives = entry.get("alternatives")
        if alternatives is not None:
            details["alternatives"] = [extras(option, frozenset(), repairs) for option in alternatives]
        decision_type = entry.get("type")
        if not decision_type:
            repairs.count("decision-type-fallback")
            decision_type = "unknown"
        decision: Document = {
            "decisionId": _identity(entry, "decision", repairs),
            "type": decision_type,
            "decidedAt": time,
            "metadata": details,
        }
        for field in ("summary", "confidence", "impact"):
            if entry.get(field) is not None:
                decision[field] = entry[field]
        return decision

    entries = (job.get("metadata") or {}).get("aiDecisions")
    return _in_order(entries, "aiDecisions", "decision", target, course, repairs)


def enhancements_applied(job: Job, course: Lifecycle, repairs: Repairs) -> list[Document]:
    """What was enhanced, in the dump's order."""

    def target(entry: Enhancement, at: Location, data: Document, time: str) -> Document:
        data |= {field: entry[field] for field in _ENHANCEMENT_DATA if entry.get(field) is not None}  # type: ignore[literal-required]
        data |= extras(entry, _ENHANCEMENT_FIELDS, repairs, at, INFERRED)
        return {"enhancementId": _identity(entry, "enhancement", repairs), "createdAt": time, "data": data}

    entries = (job.get("metadata") or {}).get("enhancementsApplied")
    return _in_order(entries, "enhancementsApplied", "enhancement", target, course, repairs)


def _newest_first(documents: list[Document], time_field: str) -> list[Document]:
    """A tie goes to the later one."""
    return sorted(documents, key=itemgetter(time_field))[::-1]


def _in_order(
    entries: list[Any] | None,
    field: str,
    noun: str,
    target: Callable[[Any, Location, Document, str], Document],
    course: Lifecycle,
    repairs: Repairs,
) -> list[Document]:
    mapped = []
    place = ("metadata", field)
    for position, entry in zip(repairs.positions(path(place)), entries or [], strict=False):
        details: Document = {}
        time = entry.get("timestamp")
        if time is None:
            repairs.count(f"{noun}-time-inferred")
            details["timestampInferred"] = True
        moment = iso(course.fallback if time is None else int(time))
        mapped.append(target(entry, (*place, position), details, moment))
    return mapped


def _identity(entry: Mapping[str, Any], noun: str, repairs: Repairs) -> str:
    """The entry's own id, else one made from its content."""
    own: str | None = entry.get("id")
    if own:
        return own
    repairs.count(f"{noun}-id-made")
    content = {key: held for key, held in entry.items() if key != "_id" and held is not None}
    return f"{noun}-{content_hash(dumps(content).decode()).hex()}"
