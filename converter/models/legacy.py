"""The legacy ``jobs`` collection: the shape that a job should have. ``checking`` sees to it that it has."""

from typing import Annotated, Any, Final

from bson import Code, DatetimeMS
from pydantic import ConfigDict, GetPydanticSchema, with_config
from pydantic_core import PydanticCustomError, core_schema
from typing_extensions import TypedDict

from converter.extjson import INT64_MAX, RawText
from converter.times import FIRST_MILLISECOND, LAST_MILLISECOND


def is_time(milliseconds: int) -> bool:
    """Whether milliseconds since 1970 are taken for a time: in the years 1 to 9999."""
    return FIRST_MILLISECOND <= milliseconds <= LAST_MILLISECOND


def _check_time(value: object) -> object:
    if isinstance(value, DatetimeMS) and is_time(int(value)):
        return value
    raise PydanticCustomError("time_type", "Input should be a date in the years 1 to 9999")


def _refuse_code(value: object) -> object:
    # To pydantic, BSON's Code is a text as any other, and it would lose its scope.
    if type(value) is Code:
        raise PydanticCustomError("text_type", "Input should be a text")
    return value


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
_TEXT = core_schema.no_info_before_validator_function(_refuse_code, core_schema.str_schema(strict=True, min_length=0))
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


Location = tuple[int | str, ...]

MAX_NESTING: Final = 100
"""Levels of objects and arrays in a document: https://www.mongodb.com/docs/manual/reference/limits/"""


def path(location: Location) -> str:
    """MongoDB's dotted path of a place in a document: ``chapters.3.cost``."""
    return ".".join(str(step) for step in location)


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
