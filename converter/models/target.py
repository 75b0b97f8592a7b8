"""The four target collections: what their readers require of each document, and their indexes.

The contracts are strict: nothing is converted, and what the readers would stumble over fails. A document is made of
BSON values, as ``extjson.decode`` gives them; the JSON Schemas describe the same document as a line of Extended JSON.
"""

from functools import cache
from typing import Annotated, Any, Final, Literal, NotRequired, get_args

from bson import DatetimeMS, ObjectId
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    with_config,
)
from pydantic_core import PydanticCustomError, core_schema
from typing_extensions import TypedDict

from converter.extjson import INT64_MAX, RawText

Collection = Literal["novel_jobs", "novel_job_events", "novel_job_metrics", "novel_job_metadata"]
COLLECTIONS: Final[tuple[Collection, ...]] = get_args(Collection)

INDEXES: Final[dict[Collection, list[tuple[str, list[tuple[str, int]], bool]]]] = {
    "novel_jobs": [
        ("idx_novel_jobs_jobId", [("jobId", 1)], True),
        ("idx_novel_jobs_status_createdAt", [("status", 1), ("createdAt", -1)], False),
    ],
    "novel_job_events": [
        ("idx_novel_job_events_jobId_emittedAt", [("jobId", 1), ("emittedAt", -1)], False),
        ("idx_novel_job_events_kind_emittedAt", [("jobId", 1), ("kind", 1), ("emittedAt", -1)], False),
    ],
    "novel_job_metrics": [
        ("idx_novel_job_metrics_jobId", [("jobId", 1)], True),
        ("idx_novel_job_metrics_updatedAt", [("updatedAt", -1)], False),
    ],
    "novel_job_metadata": [
        ("idx_novel_job_metadata_jobId", [("jobId", 1)], True),
        ("idx_novel_job_metadata_alert_resolution", [("jobId", 1), ("continuityAlerts.resolved", 1)], False),
    ],
}
"""Collection -> (name, [(field, direction)], unique)."""

_OBJECT_ID_JSON: Final = {
    "type": "object",
    "properties": {"$oid": {"type": "string", "pattern": "^[0-9a-f]{24}$"}},
    "required": ["$oid"],
    "additionalProperties": False,
}
# Not \d, which is any digit of Unicode: readers compare times as text.
_TIME: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"
_DATE_JSON: Final = {
    "type": "object",
    "properties": {
        "$date": {
            "anyOf": [
                {"type": "string", "pattern": _TIME},
                {"type": "object", "properties": {"$numberLong": {"type": "string"}}, "required": ["$numberLong"]},
            ]
        }
    },
    "required": ["$date"],
    "additionalProperties": False,
}

_NUMBER = core_schema.union_schema(
    [
        core_schema.int_schema(strict=True, ge=-INT64_MAX - 1, le=INT64_MAX),
        # A strict float takes any integer too, also one beyond a Long.
        core_schema.chain_schema(
            [core_schema.is_instance_schema(float), core_schema.float_schema(allow_inf_nan=False)]
        ),
    ],
    mode="left_to_right",
    custom_error_type="number_type",
    custom_error_message="Input should be a finite number",
)

Identity = Annotated[
    ObjectId,
    GetPydanticSchema(lambda *_: core_schema.is_instance_schema(ObjectId)),
    WithJsonSchema(_OBJECT_ID_JSON),
]
Date = Annotated[
    DatetimeMS,
    GetPydanticSchema(lambda *_: core_schema.is_instance_schema(DatetimeMS)),
    WithJsonSchema(_DATE_JSON),
]
Number = Annotated[int | float, GetPydanticSchema(lambda *_: _NUMBER), WithJsonSchema({"type": "number"})]
Text = Annotated[str, Field(strict=True)]
Required = Annotated[str, Field(strict=True, min_length=1)]
Trimmed = Annotated[str, Field(strict=True, pattern=r"^\S(?:[\s\S]*\S)?$")]
Time = Annotated[str, Field(strict=True, pattern=_TIME)]
Content = Annotated[
    str | RawText,
    GetPydanticSchema(
        lambda *_: core_schema.union_schema(
            [core_schema.is_instance_schema(RawText), core_schema.str_schema(strict=True)],
            mode="left_to_right",
            custom_error_type="content_type",
            custom_error_message="Input should be a valid string",
        )
    ),
    WithJsonSchema({"type": "string"}),
]
# Whatever it holds, and so only looked at from outside: that keys are texts is known of all that was read, and the
# writer insists on it.
Object = Annotated[
    dict[str, Any],
    GetPydanticSchema(lambda *_: core_schema.custom_error_schema(core_schema.is_instance_schema(dict), "dict_type")),
    WithJsonSchema({"type": "object", "additionalProperties": True}),
]
Status = Literal["queued", "running", "completed", "failed"]

# What is allowed beside the fields of an open model is not looked at. To "allow" it would be to copy it.
_OPEN = ConfigDict(strict=True, extra="ignore", json_schema_extra={"additionalProperties": True})
_CLOSED = ConfigDict(strict=True, extra="forbid")


# ----------------------------------------------------------------------------------------------------- novel_jobs


@with_config(_CLOSED)
class Payload(TypedDict):
    title: Text
    premise: Text
    genre: Text
    subgenre: Text
    targetWordCount: Number
    targetChapters: Number
    humanLikeWriting: bool


@with_config(_OPEN)
class OutlineEntry(TypedDict):
    chapterNumber: Number
    title: Required
    summary: Required
    keyEvents: list[Text]
    wordTarget: NotRequired[Number]
    humanLikeElements: NotRequired[Object]


@with_config(_CLOSED)
class ChapterTokens(TypedDict):
    promptTokens: Number
    completionTokens: Number
    totalTokens: Number


@with_config(_OPEN)
class Chapter(TypedDict):
    chapterNumber: Number
    title: Required
    status: Literal["pending", "in-progress", "completed", "failed"]
    wordCount: Number | None
    content: Content | None
    model: Text
    costInUsd: Number
    tokens: ChapterTokens
    attempts: list[Object]
    attemptCount: NotRequired[Number]
    lastAttemptAt: NotRequired[Time]
    generatedAt: NotRequired[Time]


@with_config(_CLOSED)
class Summary(TypedDict):
    chaptersGenerated: Number
    totalChaptersPlanned: Number
    totalWordCount: Number


@with_config(_CLOSED)
class Engine(TypedDict):
    clientType: Literal["openai", "mock"]
    modelOverrides: NotRequired[dict[str, Text]]


@with_config(_CLOSED)
class Context(TypedDict):
    job: Object
    analysis: Object | None
    chapters: list[Object]
    metadata: Object


@with_config(_OPEN)
class Event(TypedDict):
    type: Required
    occurredAt: Time


@with_config(_CLOSED)
class Failure(TypedDict):
    occurredAt: Time
    reason: Required
    stage: NotRequired[Required]
    metadata: NotRequired[Object]


@with_config(_CLOSED)
class NovelJob(TypedDict):
    _id: Identity
    jobId: Trimmed
    queue: Required
    status: Status
    payload: Payload
    requestedAt: NotRequired[Time | None]
    receivedAt: Time
    startedAt: NotRequired[Time]
    completedAt: NotRequired[Time]
    durationMs: NotRequired[Number]
    analysis: NotRequired[Object | None]
    outline: list[OutlineEntry]
    chapters: list[Chapter]
    context: Context
    summary: Summary
    engine: Engine
    events: list[Event]
    domainEvents: list[Event]
    failures: list[Failure]
    progress: NotRequired[Object]
    qualityMetrics: NotRequired[Object]
    modelUsage: NotRequired[Object]
    currentPhase: NotRequired[Text]
    createdAt: Date
    updatedAt: Date


# ----------------------------------------------------------------------------------------------- novel_job_events


@with_config(_CLOSED)
class NarratedEvent(TypedDict):
    _id: Identity
    jobId: Trimmed
    kind: Literal["generation", "domain"]
    emittedAt: Time
    event: Event
    createdAt: Date
    updatedAt: Date


@with_config(_CLOSED)
class StatusEvent(TypedDict):
    _id: Identity
    jobId: Trimmed
    kind: Literal["job-status"]
    emittedAt: Time
    status: Status
    snapshot: NotRequired[Object]
    createdAt: Date
    updatedAt: Date


NovelJobEvent = Annotated[NarratedEvent | StatusEvent, Field(discriminator="kind")]


# ---------------------------------------------------------------------------------------------- novel_job_metrics


@with_config(_CLOSED)
class Cost(TypedDict):
    totalUsd: Number
    analysisUsd: Number
    outlineUsd: Number
    chaptersUsd: Number
    extra: NotRequired[dict[str, Number]]


@with_config(_CLOSED)
class Amounts(TypedDict):
    total: Number
    analysis: Number
    outline: Number
    chapters: Number
    extra: NotRequired[dict[str, Number]]


@with_config(_CLOSED)
class NovelJobMetrics(TypedDict):
    _id: Identity
    jobId: Trimmed
    cost: Cost
    tokens: Amounts
    latencyMs: Amounts
    createdAt: Date
    updatedAt: Date


# --------------------------------------------------------------------------------------------- novel_job_metadata


@with_config(_CLOSED)
class Relationship(TypedDict):
    characterId: Required
    description: Required


@with_config(_CLOSED)
class Character(TypedDict):
    name: Required
    summary: NotRequired[Text]
    traits: list[Text]
    relationships: list[Relationship]
    metadata: Object


@with_config(_CLOSED)
class ContinuityAlert(TypedDict):
    alertId: Required
    title: Required
    message: Required
    severity: Literal["info", "warning", "critical"]
    createdAt: Time
    resolved: bool
    resolvedAt: NotRequired[Time]
    context: Object


@with_config(_CLOSED)
class Decision(TypedDict):
    decisionId: Required
    type: Required
    decidedAt: Time
    summary: NotRequired[Text]
    confidence: NotRequired[Number]
    impact: NotRequired[Text]
    metadata: NotRequired[Object]


@with_config(_CLOSED)
class Enhancement(TypedDict):
    enhancementId: Required
    createdAt: Time
    data: Object


def _distinct_alerts(alerts: list[ContinuityAlert]) -> list[ContinuityAlert]:
    if len({alert["alertId"] for alert in alerts}) < len(alerts):
        raise PydanticCustomError("alert_ids", "alertId should be unique within the job")
    return alerts


@with_config(_CLOSED)
class NovelJobMetadata(TypedDict):
    _id: Identity
    jobId: Trimmed
    storyBibleCharacters: dict[str, Character]
    storyBibleLocations: dict[str, Object]
    storyBibleThemes: list[Text]
    storyBibleMetadata: Object
    continuityAlerts: Annotated[list[ContinuityAlert], AfterValidator(_distinct_alerts)]
    aiDecisions: list[Decision]
    enhancements: list[Enhancement]
    performance: Object
    createdAt: Date
    updatedAt: Date


_MODELS: Final[dict[Collection, Any]] = {
    "novel_jobs": NovelJob,
    "novel_job_events": NovelJobEvent,
    "novel_job_metrics": NovelJobMetrics,
    "novel_job_metadata": NovelJobMetadata,
}


@cache
def _contract(collection: Collection) -> TypeAdapter[Any]:
    return TypeAdapter(_MODELS[collection])


@cache
def _contract_of_list(collection: Collection) -> TypeAdapter[Any]:
    return TypeAdapter(list[_MODELS[collection]])  # type: ignore[valid-type]


def violations(collection: Collection, document: object) -> list[str]:
    """What is wrong with a document, one ``path: problem`` each, without its values; empty if it keeps the contract."""
    return _problems(_contract(collection), document)


def violations_in(collection: Collection, documents: list[dict[str, Any]]) -> list[str]:
    """The same for several documents at once, which is cheaper; a path begins with the document's position."""
    return _problems(_contract_of_list(collection), documents)


def _problems(contract: TypeAdapter[Any], value: object) -> list[str]:
    try:
        contract.validate_python(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        return [f"{'.'.join(map(str, problem['loc'])) or 'document'}: {problem['msg']}" for problem in problems]
    return []


def json_schema(collection: Collection) -> dict[str, Any]:
    """The JSON Schema (2020-12) of one line of the collection's file in relaxed Extended JSON."""
    schema = _contract(collection).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": collection}
