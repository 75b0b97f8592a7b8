"""Legacy jobs for the tests: builders with one obvious value per field, and hypothesis strategies for all others."""

import copy
from collections.abc import Callable
from typing import Any

from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import strategies as st

from converter.mapping import Converted, Options, Rejected, map_job
from converter.mapping.lifecycle import NEVER
from converter.times import LAST_MILLISECOND, iso

Document = dict[str, Any]

CREATED = 1_752_894_245_420
CREATED_ISO = "2025-07-19T03:04:05.420Z"
IDENTITY = ObjectId("687b0b250000000000000001")
"""Its time is that of ``CREATED``, but for the milliseconds."""

SECOND = 1000
MINUTE = 60 * SECOND


def date(after: int = 0) -> DatetimeMS:
    """A date so many milliseconds after ``CREATED``."""
    return DatetimeMS(CREATED + after)


def job(**fields: Any) -> Document:
    """A job that needs no repair of its identity and times; ``fields`` are added or replace others."""
    return {
        "_id": IDENTITY,
        "status": "completed",
        "createdAt": date(),
        "updatedAt": date(10 * MINUTE),
        "completedAt": date(9 * MINUTE),
        **fields,
    }


def chapter(**fields: Any) -> Document:
    """A chapter that needs no repair."""
    return {
        "chapterNumber": 1,
        "title": "Low tide",
        "content": "one two three",
        "wordCount": 3,
        "status": "completed",
        "attempts": 1,
        "generatedAt": date(5 * MINUTE),
        "tokensUsed": 1500,
        "cost": 0.0125,
        **fields,
    }


def alert(**fields: Any) -> Document:
    """A continuity alert that needs no repair."""
    return {
        "id": "alert-1",
        "severity": "warning",
        "message": "Mara is in two places. It is noon in both.",
        "timestamp": date(MINUTE),
        "resolved": False,
        **fields,
    }


def without(document: Document, *fields: str) -> Document:
    return {key: value for key, value in document.items() if key not in fields}


def converted(document: object, **options: Any) -> Converted:
    """The job mapped, which must not be rejected."""
    result = map_job(document, Options(**options))
    assert isinstance(result, Converted), result
    return result


def rejected(document: object) -> Rejected:
    result = map_job(document)
    assert isinstance(result, Rejected), result
    return result


def novel_job(document: Document, **options: Any) -> Document:
    return converted(document, **options).documents["novel_jobs"][0]


def events(document: Document, **options: Any) -> list[Document]:
    return converted(document, **options).documents["novel_job_events"]


def metrics(document: Document) -> Document:
    return converted(document).documents["novel_job_metrics"][0]


def metadata(document: Document) -> Document:
    return converted(document).documents["novel_job_metadata"][0]


def legacy(document: Document) -> Document:
    """What the novel job keeps of the legacy document without a place of its own."""
    kept: Document = novel_job(document)["context"]["metadata"]["legacy"]
    return kept


def repairs(document: Document, name: str) -> int:
    return converted(document).repairs.get(name, 0)


# ----------------------------------------------------------------------------------------------------- strategies

SURROGATE = st.sampled_from(["\ud800", "\udbff", "\udc00", "\udfff"])

# hypothesis leaves lone surrogates out of text() on purpose, and a dump may have them.
TEXT = st.one_of(
    st.text(max_size=12),
    st.builds(lambda before, lone, after: before + lone + after, st.text(max_size=3), SURROGATE, st.text(max_size=3)),
    st.sampled_from(["", " ", "7", " 7.5 ", "true", "2025-07-19T03:04:05Z", "NaN", "1752894245420", "Mara"]),
)
KEY = st.one_of(
    st.sampled_from(
        ["a", "b", "a.b", "a．b", "$a", "＄a", "", "unnamed", "a\0", "a\ufffd", "a\ud800", "a\udc00", "name"]
    ),
    TEXT,
)
INTEGER = st.one_of(st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1))
DOUBLE = st.floats(allow_nan=False)
DATE = st.one_of(
    st.integers(CREATED, CREATED + 10 * MINUTE),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0, -1, -62_135_596_800_000, NEVER - 1, NEVER, LAST_MILLISECOND, LAST_MILLISECOND + 1]),
).map(DatetimeMS)
OBJECT_ID = st.binary(min_size=12, max_size=12).map(ObjectId)
DECIMAL = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-1000, max_value=1000).map(Decimal128),
    st.sampled_from(["NaN", "sNaN", "-Infinity", "1E+6000", "1E-6000", "12.50", "3"]).map(Decimal128),
)
SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    INTEGER,
    INTEGER.map(Int64),
    DOUBLE,
    TEXT,
    DATE,
    OBJECT_ID,
    DECIMAL,
    st.binary(max_size=6),
    st.binary(max_size=6).map(lambda data: Binary(data, 128)),
    st.builds(Regex, st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=4), st.just("i")),
    st.builds(Timestamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.sampled_from([MinKey(), MaxKey(), DBRef("novels", IDENTITY)]),
)
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEY, inner, max_size=3)),
    max_leaves=6,
)
# Code is a str to Python and so to pydantic; where a text belongs, it is taken for one.
CODE = st.one_of(st.text(max_size=4).map(Code), st.builds(Code, st.text(max_size=4), st.just({"n": 1})))


def _nest(depth: int) -> Document:
    document: Document = {"leaf": 1}
    for _ in range(depth):
        document = {"deeper": document}
    return document


DEEP = st.integers(50, 130).map(_nest)

WORDS = st.sampled_from(["Mara", "Mara Voss", "the tide", "A storm. Then nothing.", "naïve façade", "星", "x" * 90])
NUMBER = st.one_of(st.integers(0, 3000), st.floats(0, 10, allow_nan=False))
RECENT = st.integers(CREATED, CREATED + 10 * MINUTE).map(DatetimeMS)


def _record(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    return st.fixed_dictionaries({}, optional=fields)


OUTLINE_ENTRY = _record(
    chapterNumber=st.integers(1, 5),
    title=WORDS,
    summary=WORDS,
    keyEvents=st.lists(WORDS, max_size=2),
    wordTarget=st.integers(0, 3000),
    humanLikeElements=_record(structureType=WORDS),
    _id=OBJECT_ID,
)
CHAPTER = _record(
    chapterNumber=st.integers(1, 5),
    title=WORDS,
    content=st.one_of(st.none(), WORDS),
    wordCount=st.one_of(st.none(), st.integers(0, 3000)),
    status=st.sampled_from(["pending", "generating", "completed", "failed"]),
    attempts=st.integers(0, 3),
    lastAttemptAt=RECENT,
    failureReason=WORDS,
    generatedAt=RECENT,
    tokensUsed=st.integers(0, 4000),
    cost=st.floats(0, 1),
    _id=OBJECT_ID,
)
STAGE = _record(
    model=st.sampled_from(["gpt-4o", "gpt-4o-mini", "other"]),
    tokensUsed=NUMBER,
    cost=NUMBER,
    duration=st.integers(0, 9000),
)
ALERT = _record(
    id=st.sampled_from(["alert-1", "alert-2"]),
    severity=st.sampled_from(["info", "warning", "critical", "fatal"]),
    message=WORDS,
    details=WORDS,
    suggestion=WORDS,
    context=_record(chapter=st.integers(1, 5), character=WORDS, details=WORDS),
    timestamp=RECENT,
    resolved=st.booleans(),
    _id=OBJECT_ID,
)
DECISION = _record(
    id=st.sampled_from(["decision-1", "decision-2"]),
    type=WORDS,
    summary=WORDS,
    reasoning=WORDS,
    confidence=st.floats(0, 1),
    alternatives=st.lists(_record(option=WORDS, reason=WORDS, _id=OBJECT_ID), max_size=2),
    impact=WORDS,
    timestamp=RECENT,
)
ENHANCEMENT = _record(
    id=st.sampled_from(["enhancement-1", "enhancement-2"]),
    type=WORDS,
    name=WORDS,
    description=WORDS,
    details=WORDS,
    timestamp=RECENT,
)
METADATA = _record(
    storyBible=_record(
        characters=st.dictionaries(
            st.one_of(WORDS, KEY),
            _record(
                description=WORDS,
                traits=st.lists(WORDS, max_size=2),
                relationships=st.lists(WORDS, max_size=2),
                lastSeen=st.integers(1, 5),
            ),
            max_size=3,
        ),
        locations=st.dictionaries(st.one_of(WORDS, KEY), _record(description=WORDS, _id=OBJECT_ID), max_size=3),
        plotThreads=st.lists(
            _record(title=WORDS, status=st.just("active"), introducedIn=st.integers(1, 5)), max_size=2
        ),
        timeline=st.lists(_record(title=WORDS, timestamp=RECENT, chapter=st.integers(1, 5)), max_size=2),
        themes=st.lists(_record(name=WORDS, description=WORDS), max_size=3),
    ),
    continuityAlerts=st.lists(ALERT, max_size=4),
    enhancedQualityMetrics=_record(complexityScore=st.floats(0, 1)),
    costTracking=_record(
        totalCost=NUMBER,
        tokensUsed=NUMBER,
        estimatedRemaining=NUMBER,
        breakdown=_record(analysis=NUMBER, outline=NUMBER, chapters=NUMBER),
    ),
    enhancementsApplied=st.lists(ENHANCEMENT, max_size=3),
    aiDecisions=st.lists(DECISION, max_size=3),
    performance=_record(totalRequests=NUMBER, lastHealthCheck=RECENT),
    currentStep=WORDS,
    estimatedTimeRemaining=NUMBER,
    phaseStartTimes=st.dictionaries(
        st.sampled_from(["premise_analysis", "outline_generation", "chapter_writing"]), RECENT, max_size=3
    ),
)
BELIEVABLE_JOB = st.fixed_dictionaries(
    {"_id": OBJECT_ID, "status": st.sampled_from(["planning", "writing", "completed", "failed", "cancelled"])},
    optional={
        "__v": st.integers(0, 9),
        "jobId": st.sampled_from(["job-1", " job-2 "]),
        "currentPhase": st.sampled_from(["premise_analysis", "chapter_writing", "completed"]),
        "title": WORDS,
        "premise": WORDS,
        "targetChapters": st.integers(0, 5),
        "humanLikeWriting": st.booleans(),
        "outline": st.lists(OUTLINE_ENTRY, max_size=3),
        "chapters": st.lists(CHAPTER, max_size=4),
        "modelUsage": _record(premiseAnalysis=STAGE, outlineGeneration=STAGE, chapterGeneration=STAGE),
        "progress": _record(
            chaptersCompleted=st.integers(0, 5),
            estimatedCompletion=RECENT,
            lastActivity=RECENT,
            failedAt=RECENT,
            recoveryAttempts=st.lists(_record(timestamp=RECENT, attempt=st.integers(1, 3), phase=WORDS), max_size=2),
        ),
        "qualityMetrics": _record(averageChapterLength=NUMBER, completionRate=NUMBER),
        "metadata": METADATA,
        "analysis": st.dictionaries(KEY, SCALAR, max_size=3),
        "error": st.one_of(WORDS, _record(message=WORDS, phase=WORDS, timestamp=RECENT, code=st.integers(0, 9))),
        "createdAt": RECENT,
        "updatedAt": RECENT,
        "completedAt": RECENT,
        "legacyFlags": VALUE,
    },
)


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside, containers too."""
    inside: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for step, held in inside for found in [(*here, step), *places(held, (*here, step))]]


def sanitized(value: Any) -> list[Any]:
    """What people's scripts make of a value."""
    if isinstance(value, DatetimeMS):
        stamp = int(value)
        return [stamp, str(stamp), float(stamp), iso(stamp)] if 0 <= stamp <= LAST_MILLISECOND else [str(stamp)]
    if isinstance(value, ObjectId):
        return [str(value), str(value).upper()]
    if isinstance(value, bool):
        return [str(value).lower(), int(value)]
    if isinstance(value, int | float):
        return [str(value), f" {value} ", Decimal128(str(value)), Int64(value) if isinstance(value, int) else value]
    return [str(value), [value]]


@st.composite
def broken_jobs(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Document:
    """A believable job with a few values sanitized or replaced by anything, and a few that have no business there."""
    document: Document = copy.deepcopy(draw(BELIEVABLE_JOB))
    for _ in range(draw(st.integers(1, 4))):
        ways = places(document)
        place = draw(st.sampled_from(ways))
        holder: Any = document
        for step in place[:-1]:
            holder = holder[step]
        value = draw(st.one_of(VALUE, st.sampled_from(sanitized(holder[place[-1]]))))
        if isinstance(holder, list) and draw(st.booleans()):
            holder.insert(place[-1], value)
        elif isinstance(holder, dict) and draw(st.integers(0, 2)) == 0:
            holder[draw(KEY)] = value
        else:
            holder[place[-1]] = value
    return document


JOB = st.one_of(BELIEVABLE_JOB, broken_jobs())
