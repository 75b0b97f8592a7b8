"""The legacy ``jobs`` collection: the shape that a job should have, and what is done where it hasn't.

``check`` brings any object into the shape of ``Job``. A job that has it already passes in one sweep of pydantic; the
errors of any other say exactly which values to mend or to move aside, so that the mapping never meets a value of the
wrong type.
"""

import math
import re
from typing import Annotated, Any, Final, cast

from bson import DatetimeMS, Decimal128
from pydantic import ConfigDict, GetPydanticSchema, TypeAdapter, ValidationError, with_config
from pydantic_core import PydanticCustomError, core_schema
from typing_extensions import TypedDict

from converter.extjson import INT64_MAX, NestedTooDeep, RawText, without_surrogates
from converter.repairs import Repairs
from converter.times import FIRST_MILLISECOND, LAST_MILLISECOND, milliseconds

LAST_TIME: Final = LAST_MILLISECOND - 366 * 24 * 60 * 60 * 1000
"""The latest time that is taken for one: events that tie move on by a millisecond, and must stay within year 9999."""


def _check_time(value: object) -> object:
    if isinstance(value, DatetimeMS) and FIRST_MILLISECOND <= int(value) <= LAST_TIME:
        return value
    raise PydanticCustomError("time_type", "Input should be a date in the years 1 to 9998")


_NUMBER = core_schema.union_schema(
    [
        core_schema.int_schema(strict=True, ge=-INT64_MAX - 1, le=INT64_MAX),
        core_schema.float_schema(strict=True, allow_inf_nan=False),
    ],
    mode="left_to_right",
    custom_error_type="number_type",
    custom_error_message="Input should be a finite number",
)

# pydantic looks at a text's encoding, and so finds lone surrogates, only where there is a limit to check.
_TEXT = core_schema.str_schema(strict=True, min_length=0)
_TIME = core_schema.no_info_plain_validator_function(_check_time)

_CONTENT = core_schema.no_info_wrap_validator_function(
    lambda value, text: value if type(value) is RawText else text(value), _TEXT
)

# In a field, null is as good as missing. In an array it is a wrong element.
_Text = Annotated[str, GetPydanticSchema(lambda *_: _TEXT)]
_Number = Annotated[int | float, GetPydanticSchema(lambda *_: _NUMBER)]
_Time = Annotated[DatetimeMS, GetPydanticSchema(lambda *_: _TIME)]
Text = _Text | None
Number = _Number | None
Boolean = Annotated[bool, GetPydanticSchema(lambda *_: core_schema.bool_schema(strict=True))] | None
Time = _Time | None

_STRICT = ConfigDict(strict=True, extra="allow")


@with_config(_STRICT)
class OutlineEntry(TypedDict, total=False):
    chapterNumber: Number
    title: Text
    summary: Text
    keyEvents: list[_Text] | None
    characterFocus: list[_Text] | None
    plotAdvancement: Text
    wordTarget: Number
    genreElements: list[_Text] | None
    humanLikeElements: dict[Any, Any] | None


@with_config(_STRICT)
class Chapter(TypedDict, total=False):
    chapterNumber: Number
    title: Text
    content: Annotated[str | RawText, GetPydanticSchema(lambda *_: _CONTENT)] | None
    wordCount: Number
    status: Text
    attempts: Number
    lastAttemptAt: Time
    failureReason: Text
    qualityScore: Number
    generatedAt: Time
    tokensUsed: Number
    cost: Number


@with_config(_STRICT)
class StageUsage(TypedDict, total=False):
    model: Text
    tokensUsed: Number
    cost: Number
    duration: Number


@with_config(_STRICT)
class ModelUsage(TypedDict, total=False):
    premiseAnalysis: StageUsage | None
    outlineGeneration: StageUsage | None
    chapterGeneration: StageUsage | None


@with_config(_STRICT)
class RecoveryAttempt(TypedDict, total=False):
    timestamp: Time
    attempt: Number
    phase: Text


@with_config(_STRICT)
class Progress(TypedDict, total=False):
    outlineComplete: Boolean
    chaptersCompleted: Number
    chaptersFailed: Number
    totalChapters: Number
    failedChapterNumbers: list[_Number] | None
    hasFailures: Boolean
    estimatedCompletion: Time
    lastActivity: Time
    failedAt: Time
    recoveryAttempts: list[RecoveryAttempt] | None


@with_config(_STRICT)
class QualityMetrics(TypedDict, total=False):
    averageChapterLength: Number
    genreAdherence: Number
    characterConsistency: Number
    plotContinuity: Number


@with_config(_STRICT)
class JobError(TypedDict, total=False):
    message: Text
    phase: Text
    timestamp: Time


@with_config(_STRICT)
class Character(TypedDict, total=False):
    description: Text
    traits: list[_Text] | None
    relationships: list[_Text] | None


@with_config(_STRICT)
class PlotThread(TypedDict, total=False):
    title: Text
    description: Text
    status: Text


@with_config(_STRICT)
class TimelineEntry(TypedDict, total=False):
    title: Text
    description: Text
    timestamp: Time
    importance: Text


@with_config(_STRICT)
class Theme(TypedDict, total=False):
    name: Text
    description: Text
    examples: list[_Text] | None


@with_config(_STRICT)
class StoryBible(TypedDict, total=False):
    characters: dict[_Text, Character] | None
    locations: dict[_Text, dict[Any, Any]] | None
    plotThreads: list[PlotThread] | None
    timeline: list[TimelineEntry] | None
    themes: list[Theme] | None


@with_config(_STRICT)
class ContinuityAlert(TypedDict, total=False):
    id: Text
    severity: Text
    message: Text
    details: Text
    suggestion: Text
    context: dict[Any, Any] | None
    timestamp: Time
    resolved: Boolean


@with_config(_STRICT)
class EnhancedQualityMetrics(TypedDict, total=False):
    humanLikenessScore: Number
    complexityScore: Number
    consistencyScore: Number
    creativityScore: Number


@with_config(_STRICT)
class CostBreakdown(TypedDict, total=False):
    analysis: Number
    outline: Number
    chapters: Number


@with_config(_STRICT)
class CostTracking(TypedDict, total=False):
    totalCost: Number
    tokensUsed: Number
    estimatedRemaining: Number
    breakdown: CostBreakdown | None


@with_config(_STRICT)
class Enhancement(TypedDict, total=False):
    id: Text
    type: Text
    name: Text
    description: Text
    details: Text
    timestamp: Time


@with_config(_STRICT)
class Decision(TypedDict, total=False):
    id: Text
    type: Text
    summary: Text
    reasoning: Text
    confidence: Number
    alternatives: list[dict[Any, Any]] | None
    impact: Text
    timestamp: Time


@with_config(_STRICT)
class Performance(TypedDict, total=False):
    averageResponseTime: Number
    totalRequests: Number
    errorCount: Number
    lastHealthCheck: Time


@with_config(_STRICT)
class Metadata(TypedDict, total=False):
    storyBible: StoryBible | None
    continuityAlerts: list[ContinuityAlert] | None
    enhancedQualityMetrics: EnhancedQualityMetrics | None
    costTracking: CostTracking | None
    enhancementsApplied: list[Enhancement] | None
    aiDecisions: list[Decision] | None
    performance: Performance | None
    currentStep: Text
    estimatedTimeRemaining: Number
    phaseStartTimes: dict[_Text, _Time] | None


@with_config(_STRICT)
class Job(TypedDict, total=False):
    """One legacy job. ``_id``, ``__v`` and every field that isn't named here pass through as they are."""

    jobId: Text
    status: Text
    currentPhase: Text
    premise: Text
    title: Text
    genre: Text
    subgenre: Text
    targetWordCount: Number
    targetChapters: Number
    humanLikeWriting: Boolean
    outline: list[OutlineEntry] | None
    chapters: list[Chapter] | None
    modelUsage: ModelUsage | None
    progress: Progress | None
    qualityMetrics: QualityMetrics | None
    metadata: Metadata | None
    analysis: dict[Any, Any] | None
    error: JobError | None
    createdAt: Time
    updatedAt: Time
    completedAt: Time


MANY_ERRORS: Final = 20_000
"""Wrong values in one job from which they are no longer looked at one by one."""

_JOB: Final = TypeAdapter(Job)

Location = tuple[int | str, ...]

MAX_NESTING: Final = 100
"""Levels of objects and arrays in a document: https://www.mongodb.com/docs/manual/reference/limits/"""


class Checked(dict[str, Any]):
    """A document that was found to have the shape of ``Job`` when it was read."""


def checked(document: dict[str, Any], rest: dict[str, Any]) -> Checked | None:
    """The document with the fields of ``rest``, which are all that may still be of the wrong shape: then ``None``."""
    try:
        return Checked(document | cast(dict[str, Any], _JOB.validate_python(_with_error_object(rest))))
    except ValidationError:
        return None


def _with_error_object(document: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(document.get("error"), str):
        return document
    return {**document, "error": {"message": document["error"]} if document["error"] else None}


def check(document: dict[str, Any], repairs: Repairs) -> Job:
    """The document in the shape of ``Job``; it is not changed itself.

    A number, date or truth value that was written as text (or a date as a number) is read; a lone surrogate is
    replaced; any other value of the wrong type is moved to ``repairs.misplaced``, by path. Each is counted. Raises
    ``NestedTooDeep``.
    """
    if isinstance(document, Checked):
        return cast(Job, document)
    document = _with_error_object(document)
    try:
        return _JOB.validate_python(document)
    except ValidationError:
        mended = _copy(document, repairs)
    try:
        return _JOB.validate_python(mended)
    except ValidationError as error:
        if error.error_count() > MANY_ERRORS:
            _move_worst_aside(mended, repairs)
            return check(mended, repairs)
        problems = error.errors(include_url=False, include_context=False, include_input=False)
    # From the back, so that taking an element out of an array moves none that is still to be looked at.
    for problem in sorted(problems, key=lambda problem: [_order(step) for step in problem["loc"]], reverse=True):
        _mend(mended, problem["loc"], problem["type"], repairs)
    return _JOB.validate_python(mended)


def _move_worst_aside(document: dict[str, Any], repairs: Repairs) -> None:
    """Move the fields aside, whole, that hold most of the errors: each error takes a kilobyte to be told."""
    counts = {field: _error_count({field: document[field]}) for field in Job.__annotations__ if field in document}
    worst = max(counts.values())
    for field, count in counts.items():
        if count == worst:
            repairs.misplace(field, document.pop(field))


def _error_count(document: dict[str, Any]) -> int:
    try:
        _JOB.validate_python(document)
    except ValidationError as error:
        return error.error_count()
    return 0


def _copy(value: Any, repairs: Repairs, level: int = 1) -> Any:
    """A copy of objects and arrays that may be changed; pydantic can't name a key with a lone surrogate, so they go."""
    if not isinstance(value, dict | list):
        return value
    if level > MAX_NESTING:
        raise NestedTooDeep
    if isinstance(value, list):
        return [_copy(held, repairs, level + 1) for held in value]
    copied = {}
    for key in sorted(value):
        stem = sound = without_surrogates(key)
        if sound != key:
            repairs.count("key-renamed")
            ordinal = 2
            while sound in copied or sound in value:
                sound, ordinal = f"{stem}~{ordinal}", ordinal + 1
        copied[sound] = _copy(value[key], repairs, level + 1)
    return copied


def _order(step: int | str) -> tuple[int, str]:
    return (step, "") if isinstance(step, int) else (0, step)


def path(location: Location) -> str:
    """MongoDB's dotted path of a place in a document: ``chapters.3.cost``."""
    return ".".join(str(step) for step in location)


def _mend(document: Any, location: Location, problem: str, repairs: Repairs) -> None:
    """Read, or move aside, the value at ``location``, which has the wrong type."""
    holder = document
    for step in location[:-1]:
        holder = holder[step]
    last = location[-1]
    value = holder[last]
    if problem == "string_unicode":
        repairs.count("lone-surrogate")
        holder[last] = without_surrogates(value)
        return
    read = _READERS[problem](value, repairs) if problem in _READERS else None
    if read is not None:
        holder[last] = read
        return
    repairs.misplace(path(location), value)
    if isinstance(holder, list):
        repairs.leave_gap(path(location[:-1]), int(last))
    del holder[last]


_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,15}")
_FRACTION: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


def _read_number(value: object, repairs: Repairs) -> object:
    if isinstance(value, Decimal128):
        exact = value.to_decimal()
        number = float(exact) if exact.is_finite() else math.nan
        name = "number-from-decimal"
    elif isinstance(value, str) and _FRACTION.fullmatch(value.strip()):
        text = value.strip()
        number = int(text) if _INTEGER.fullmatch(text) else float(text)
        name = "number-from-string"
    else:
        return None
    if number - number != 0:  # NaN and the infinities
        return None
    repairs.count(name)
    return number


_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _read_time(value: object, repairs: Repairs) -> object:
    name = "date-from-string"
    if isinstance(value, str):
        text = value.strip()
        stamp = milliseconds(text) if _DATE.match(text) else int(text) if _INTEGER.fullmatch(text) else None
    elif isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
        stamp = int(value)
        name = "date-from-number"
    else:
        return None
    if stamp is None or not FIRST_MILLISECOND <= stamp <= LAST_TIME:
        return None
    repairs.count(name)
    return DatetimeMS(stamp)


def _read_boolean(value: object, repairs: Repairs) -> object:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        repairs.count("boolean-from-string")
        return value.strip().lower() == "true"
    return None


_READERS: Final = {"number_type": _read_number, "time_type": _read_time, "bool_type": _read_boolean}


def generation(job: Job) -> str:
    """The schema generation that wrote a job, told by its fields: ``1-2`` (they can't be told apart) to ``6``."""
    outline = job.get("outline") or []
    chapters = job.get("chapters") or []
    progress = job.get("progress") or {}
    if job.get("metadata") is not None:
        return "6"
    if job.get("humanLikeWriting") is not None or any(entry.get("humanLikeElements") is not None for entry in outline):
        return "5"
    if job.get("currentPhase") == "completed":
        return "4"
    counts_failures = progress.get("chaptersFailed") is not None or progress.get("hasFailures") is not None
    if counts_failures or any(chapter.get("status") is not None for chapter in chapters):
        return "3"
    return "1-2"
