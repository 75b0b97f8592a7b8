"""What holds for every legacy job, believable or not."""

import copy
import json
import math
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any

import bson
import orjson
import pytest
from bson import DatetimeMS, Decimal128, Int64, ObjectId, json_util
from bson.codec_options import CodecOptions, DatetimeConversion
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from converter import contracts, extjson, times
from converter.mapping import Converted, Options, Rejected, map_job
from converter.repairs import NAMES
from tests import jobs
from tests.jobs import CREATED, SECOND, Document

# Measuring coverage takes as long as the tests themselves, and others come to the same places.
pytestmark = pytest.mark.no_cover

LAW = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
OPTIONS = st.builds(Options, queue=st.just("novels"), in_flight=st.sampled_from(["keep", "fail"]))
RELAXED, CANONICAL, VERSION_1 = (
    json_util.JSONOptions(json_mode=mode, datetime_conversion=DatetimeConversion.DATETIME_MS)
    for mode in (json_util.JSONMode.RELAXED, json_util.JSONMode.CANONICAL, json_util.JSONMode.LEGACY)
)
DEFAULT = Options()


def lines(document: object, options: Options = DEFAULT, mode: extjson.Mode = "relaxed") -> list[tuple[str, bytes]]:
    """The lines written for a job, none if it is rejected."""
    result = map_job(document, options)
    if isinstance(result, Rejected):
        return []
    checked = contracts.check(result, mode)
    assert isinstance(checked, dict), checked
    return [(collection, line) for collection, of_collection in checked.items() for line in of_collection]


# ------------------------------------------------------------------------------------------------- a job is kept


@LAW
@given(st.one_of(jobs.JOB, jobs.VALUE), OPTIONS)
def test_a_job_is_rejected_only_for_a_named_reason(document: object, options: Options) -> None:
    result = map_job(document, options)

    if isinstance(result, Rejected):
        assert result.reason in {"not-an-object", "no-identity", "no-creation-time"}
        assert result.detail != ""
    else:
        assert isinstance(result, Converted)
        assert set(result.repairs) <= set(NAMES)


@LAW
@given(jobs.BELIEVABLE_JOB, jobs.DEEP, st.data())
def test_a_nested_value_is_kept_up_to_the_limit_of_MongoDB(document: Document, deep: Document, data: Any) -> None:
    place = data.draw(st.sampled_from(["analysis", "legacyFlags", "title", "metadata", "outline", "_id", "chapters"]))
    document[place] = (
        [deep] if place in ("outline", "chapters") else {"aiDecisions": [deep]} if place == "metadata" else deep
    )

    result = map_job(document)
    checked = contracts.check(result, "relaxed") if isinstance(result, Converted) else result

    if isinstance(checked, Rejected):
        expected = {"nested-too-deep", "no-creation-time"} if place == "_id" else {"nested-too-deep"}
        assert checked.reason in expected
    else:
        deepest = max(contracts.levels(orjson.loads(line)) for line in chain(*checked.values()))
        assert deepest <= 100 + 2  # wrappers of dates


@LAW
@given(jobs.JOB, OPTIONS)
def test_every_document_keeps_its_contract(document: Document, options: Options) -> None:
    result = map_job(document, options)

    if isinstance(result, Converted):
        checked = contracts.check(result, "relaxed")
        assert isinstance(checked, dict), checked
        assert list(map(len, result.documents.values())) == list(map(len, checked.values()))


# ---------------------------------------------------------------------------------------------- nothing is lost

Token = tuple[str, object]


def leaves(value: object, dropped: bool = False) -> Iterator[object]:
    """Every scalar in a value; with ``dropped``, without what is dropped on purpose."""
    if isinstance(value, dict):
        for key, held in value.items():
            if not (dropped and key == "_id"):
                yield from leaves(held, dropped)
    elif isinstance(value, list):
        for held in value:
            yield from leaves(held, dropped)
    elif value is not None and value != "":
        yield value


def token(leaf: object) -> Token:
    if isinstance(leaf, bool):
        return "boolean", leaf
    if isinstance(leaf, str):
        return "text", extjson.without_surrogates(leaf)
    if isinstance(leaf, int) or (isinstance(leaf, float) and math.isfinite(leaf)):
        return "number", leaf
    return "other", extjson.dumps(leaf, "canonical")


def moment(milliseconds: float) -> list[Token]:
    first, last = times.FIRST_MILLISECOND, times.LAST_MILLISECOND
    return [("text", times.iso(int(milliseconds)))] if first <= milliseconds <= last else []


def forms(leaf: object) -> list[Token]:
    """The forms in which a leaf of the legacy document may be found again."""
    found = [token(leaf)]
    if isinstance(leaf, DatetimeMS):
        found += moment(int(leaf))
    elif isinstance(leaf, Decimal128):
        number = leaf.to_decimal()
        found += [("number", float(number)), ("number", int(number))] if number.is_finite() else []
    elif isinstance(leaf, str):
        text = leaf.strip()
        if text.lower() in ("true", "false"):
            found.append(("boolean", text.lower() == "true"))
        try:
            found.append(("number", float(text)))
            found += [("number", int(text))] if text.lstrip("+-").isdecimal() else []
        except ValueError:
            pass
        else:
            found += moment(float(text)) if math.isfinite(float(text)) else []
        stamp = times.milliseconds(text)
        found += [] if stamp is None else moment(stamp)
        if ObjectId.is_valid(leaf):
            found.append(token(ObjectId(leaf)))
    elif isinstance(leaf, int | float) and not isinstance(leaf, bool) and math.isfinite(leaf):
        found += moment(leaf)
    # A date that was written as text or number is a BSON date in createdAt and updatedAt.
    for kind, held in found[:]:
        stamp = times.milliseconds(held) if kind == "text" and isinstance(held, str) else None
        if stamp is not None:
            found.append(token(DatetimeMS(stamp)))
    return list(dict.fromkeys(found))


def missing(document: Document, result: Converted) -> list[object]:
    """The leaves of the legacy document that are found less often in its outputs than in itself."""
    wanted = Counter(
        tuple(forms(leaf))
        for key, held in document.items()
        if key != "__v"
        for leaf in leaves(held, dropped=key != "_id")
    )
    there = Counter(token(leaf) for leaf in leaves(result.documents))
    return [found for found, times in wanted.items() if sum(there[form] for form in found) < times]


@settings(LAW, max_examples=400)
@given(jobs.JOB, OPTIONS)
def test_no_value_is_lost(document: Document, options: Options) -> None:
    result = map_job(document, options)

    if isinstance(result, Converted):
        assert [] == missing(document, result)


FULL_JOB: Document = {
    "_id": jobs.IDENTITY,
    "jobId": "job-1",
    "status": "failed",
    "currentPhase": "chapter_writing",
    "premise": "p",
    "title": "t",
    "genre": "g",
    "subgenre": "s",
    "targetWordCount": 1,
    "targetChapters": 2,
    "humanLikeWriting": False,
    "outline": [
        {
            "chapterNumber": 1,
            "title": "t",
            "summary": "s",
            "keyEvents": ["k"],
            "characterFocus": ["c"],
            "plotAdvancement": "p",
            "wordTarget": 3,
            "genreElements": ["g"],
            "humanLikeElements": {"structureType": "s"},
            "other": 1,
        }
    ],
    "chapters": [jobs.chapter(lastAttemptAt=jobs.date(), failureReason="f", qualityScore=0.5, other=1)],
    "modelUsage": {
        stage: {"model": "gpt-4o", "tokensUsed": 1, "cost": 0.1, "duration": 5, "other": 1}
        for stage in ("premiseAnalysis", "outlineGeneration", "chapterGeneration", "other")
    },
    "progress": {
        "outlineComplete": True,
        "chaptersCompleted": 1,
        "totalChapters": 2,
        "chaptersFailed": 1,
        "failedChapterNumbers": [2],
        "hasFailures": True,
        "estimatedCompletion": jobs.date(),
        "lastActivity": jobs.date(),
        "failedAt": jobs.date(),
        "recoveryAttempts": [{"timestamp": jobs.date(), "attempt": 1, "phase": "p", "other": 1}],
        "other": 1,
    },
    "qualityMetrics": {
        "averageChapterLength": 1,
        "genreAdherence": 1,
        "characterConsistency": 1,
        "plotContinuity": 1,
        "o": 1,
    },
    "metadata": {
        "storyBible": {
            "characters": {"Mara": {"description": "d", "traits": ["t"], "relationships": ["r"], "lastSeen": 1}},
            "locations": {"Harbour": {"description": "d", "firstMentioned": 1, "significance": "s"}},
            "plotThreads": [{"title": "t", "description": "d", "status": "active", "introducedIn": 1}],
            "timeline": [{"title": "t", "description": "d", "chapter": 1, "timestamp": jobs.date(), "importance": "m"}],
            "themes": [{"name": "n", "description": "d", "examples": ["e"]}],
            "other": 1,
        },
        "continuityAlerts": [
            jobs.alert(details="d", suggestion="s", context={"chapter": 1}, other=1, resolvedAt=jobs.date())
        ],
        "enhancedQualityMetrics": {"humanLikenessScore": 0.5, "other": 1},
        "costTracking": {
            "totalCost": 1,
            "tokensUsed": 1,
            "estimatedRemaining": 1,
            "breakdown": {"analysis": 1, "outline": 1, "chapters": 1, "other": 1},
            "other": 1,
        },
        "enhancementsApplied": [
            {
                "id": "e",
                "type": "t",
                "name": "n",
                "description": "d",
                "details": "d",
                "timestamp": jobs.date(),
                "other": 1,
            }
        ],
        "aiDecisions": [
            {
                "id": "d",
                "type": "t",
                "summary": "s",
                "reasoning": "r",
                "confidence": 0.5,
                "alternatives": [{"option": "o", "reason": "r"}],
                "impact": "i",
                "timestamp": jobs.date(),
                "other": 1,
            }
        ],
        "performance": {"averageResponseTime": 1, "totalRequests": 1, "errorCount": 0, "lastHealthCheck": jobs.date()},
        "currentStep": "c",
        "estimatedTimeRemaining": 1,
        "phaseStartTimes": {"premise_analysis": jobs.date()},
        "other": 1,
    },
    "analysis": {"themes": ["t"], "characters": [1]},
    "error": {"message": "m", "phase": "p", "timestamp": jobs.date(), "other": 1},
    "createdAt": jobs.date(),
    "updatedAt": jobs.date(),
    "completedAt": jobs.date(),
    "other": {"o": 1},
}
PLACES = [place for place in jobs.places(FULL_JOB) if place != ("_id",)]


@pytest.mark.parametrize(
    "mark",
    ["a-mark", {"deep": ["a-mark"]}, ["a-mark"], [{"a": {"b": "a-mark"}}], ObjectId("a" * 24), Decimal128("987.654")],
    ids=["text", "object", "array", "nested", "ObjectId", "Decimal128"],
)
def test_a_value_is_found_again_wherever_it_was(mark: object) -> None:
    sought = next(leaves(mark))
    lost = []
    for place in PLACES:
        document = copy.deepcopy(FULL_JOB)
        holder: Any = document
        for step in place[:-1]:
            holder = holder[step]
        holder[place[-1]] = mark
        result = jobs.converted(document)
        there = {token(leaf) for leaf in leaves(result.documents)}
        if not there & set(forms(sought)):
            lost.append(place)

    assert [] == lost


# -------------------------------------------------------------------------------------- same input, same bytes


def backwards(value: object) -> object:
    """The same value with the keys of its objects the other way round."""
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return [backwards(held) for held in value] if isinstance(value, list) else value


@LAW
@given(jobs.JOB, OPTIONS)
def test_the_order_of_keys_changes_no_byte(document: Document, options: Options) -> None:
    assert lines(document, options) == lines(backwards(document), options)


@LAW
@given(jobs.JOB, OPTIONS)
def test_the_legacy_document_is_not_changed(document: Document, options: Options) -> None:
    before = extjson.dumps(document, "canonical")

    lines(document, options)

    assert before == extjson.dumps(document, "canonical")


@LAW
@given(jobs.BELIEVABLE_JOB)
def test_every_dialect_of_a_dump_gives_the_same_bytes(document: Document) -> None:
    # What a server can hold: no lone surrogates, and no NUL in keys.
    sound = extjson.decode(orjson.loads(extjson.dumps(document, "canonical")))
    try:
        mongodump = bson.encode(sound)
    except bson.errors.InvalidDocument:
        reject()
    expected = lines(sound)

    assert expected == lines(bson.decode(mongodump, CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)))
    for options in (RELAXED, CANONICAL, VERSION_1):
        assert expected == lines(extjson.decode(json.loads(json_util.dumps(sound, json_options=options))))


# ------------------------------------------------------------------------------------------------ ids and times


@LAW
@given(jobs.JOB, OPTIONS)
def test_ids_are_unique_and_events_strictly_in_order(document: Document, options: Options) -> None:
    result = map_job(document, options)

    if isinstance(result, Converted):
        identities = [entry["_id"] for entries in result.documents.values() for entry in entries]
        times = [event["emittedAt"] for event in result.documents["novel_job_events"]]
        assert len(identities) == len(set(identities))
        assert times == sorted(set(times))


WHOLE_SECOND = st.integers(0, 600).map(lambda seconds: DatetimeMS(CREATED + seconds * SECOND))


def timed(entry: st.SearchStrategy[Document], *fields: str) -> st.SearchStrategy[list[Document]]:
    """Entries whose times, where they have any, all have the same milliseconds, so that no tie crosses a second."""
    times = st.fixed_dictionaries({}, optional=dict.fromkeys(fields, WHOLE_SECOND))
    bare = entry.map(lambda entry: jobs.without(entry, *fields))
    return st.lists(st.builds(lambda entry, times: entry | times, bare, times), max_size=3)


@LAW
@given(st.data())
def test_a_longer_export_keeps_the_ids_of_what_was_there(data: Any) -> None:
    parts = {
        "chapters": timed(jobs.CHAPTER, "generatedAt", "lastAttemptAt"),
        "aiDecisions": timed(jobs.DECISION, "timestamp"),
        "enhancementsApplied": timed(jobs.ENHANCEMENT, "timestamp"),
        "continuityAlerts": timed(jobs.ALERT, "timestamp"),
        "recoveryAttempts": timed(st.just({}), "timestamp"),
    }
    first = {name: data.draw(part) for name, part in parts.items()}
    more = {name: data.draw(part) for name, part in parts.items()}

    def export(parts: dict[str, list[Document]]) -> Converted:
        metadata = {name: parts[name] for name in ("aiDecisions", "enhancementsApplied", "continuityAlerts")}
        progress = {"recoveryAttempts": parts["recoveryAttempts"]}
        return jobs.converted(jobs.job(chapters=parts["chapters"], metadata=metadata, progress=progress))

    shorter = export(first)
    longer = export({name: first[name] + more[name] for name in parts})

    for collection, documents in shorter.documents.items():
        assert {document["_id"] for document in documents} <= {
            document["_id"] for document in longer.documents[collection]
        }


# ---------------------------------------------------------------------------------------------------- the lines


@LAW
@given(jobs.JOB, OPTIONS)
def test_every_line_is_what_MongoDB_takes(document: Document, options: Options) -> None:
    result = map_job(document, options)
    if isinstance(result, Rejected):
        return
    written = iter(lines(document, options))
    for collection, documents in result.documents.items():
        for target in documents:
            held_in, line = next(written)
            assert collection == held_in
            assert extjson.dumps(target) + b"\n" == line
            assert b"\n" not in line[:-1]
            assert len(bson.encode(json_util.loads(line, json_options=RELAXED))) <= contracts.MAX_BYTES


WRAPPERS = [
    "$oid",
    "$date",
    "$numberInt",
    "$numberLong",
    "$numberDouble",
    "$numberDecimal",
    "$binary",
    "$binary $type",
    "$uuid",
    "$regularExpression",
    "$regex",
    "$regex $options",
    "$timestamp",
    "$code",
    "$code $scope",
    "$symbol",
    "$undefined",
    "$ref $id",
    "$ref $id $db",
    "$dbPointer",
]
INSIDE = ["pattern options", "base64 subType", "t i", "$ref $id"]
ODD = st.sampled_from(
    ["\0", "a\0b", "\ud800", "", "i", "AQ==", "04", "ff", "1e99999999999999999999", "sNaN", -1, 2**32]
)


def _with_keys(keys: str, held: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    return st.fixed_dictionaries(dict.fromkeys(keys.split(), held))


def _wrapper(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    held = ODD | inner
    inside = st.sampled_from(INSIDE).flatmap(lambda keys: _with_keys(keys, held))
    return st.sampled_from(WRAPPERS).flatmap(lambda keys: _with_keys(keys, held | inside))


PARSED = _wrapper(
    st.recursive(
        ODD | jobs.TEXT | st.floats() | st.integers() | st.none() | st.booleans(),
        lambda inner: _wrapper(inner) | st.dictionaries(jobs.KEY, inner, max_size=2) | st.lists(inner, max_size=2),
        max_leaves=4,
    )
)
"""What a JSON parser may hand over: wrappers of Extended JSON that hold anything."""


@settings(LAW, max_examples=1000)
@given(PARSED)
def test_whatever_a_wrapper_holds_MongoDB_takes_the_line(parsed: Any) -> None:
    for _, line in lines({"_id": jobs.IDENTITY, "legacyFlags": extjson.decode(parsed)}):
        assert contracts.bson_bytes(line) > 0


@LAW
@given(jobs.JOB)
def test_canonical_lines_hold_the_same_documents(document: Document) -> None:
    relaxed = [extjson.dumps(extjson.decode(orjson.loads(line))) for _, line in lines(document)]
    canonical = [extjson.dumps(extjson.decode(orjson.loads(line))) for _, line in lines(document, mode="canonical")]

    assert relaxed == canonical


# ------------------------------------------------------------------------------------------------ Extended JSON

# Without what no round trip can keep (keys that make an object look like a wrapper, lone surrogates) and NaN, which
# is not equal to itself.
SOUND_TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
BSON_SCALAR = st.one_of(
    jobs.SCALAR.filter(lambda value: not isinstance(value, str) and str(value) != "NaN"),
    SOUND_TEXT,
    jobs.CODE,
    st.just(extjson.Double("inf")),
)
BSON = st.recursive(
    BSON_SCALAR,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(SOUND_TEXT.filter(lambda key: key[:1] != "$"), inner, max_size=3)
    ),
    max_leaves=8,
)


@LAW
@given(BSON)
def test_canonical_Extended_JSON_keeps_values_and_types(value: object) -> None:
    again = extjson.decode(orjson.loads(extjson.dumps(value, "canonical")))

    assert value == again
    assert type(value) is type(again) or {type(value), type(again)} <= {
        int,
        Int64,
        float,
        extjson.Double,
        bytes,
        bson.Binary,
    }


@LAW
@given(BSON)
def test_relaxed_Extended_JSON_keeps_values(value: object) -> None:
    assert value == extjson.decode(orjson.loads(extjson.dumps(value)))


@pytest.mark.parametrize("oracle", [RELAXED, CANONICAL, VERSION_1], ids=["relaxed", "canonical", "version 1"])
@LAW
@given(value=BSON)
def test_what_pymongo_writes_is_read_as_it_reads_it(oracle: json_util.JSONOptions, value: object) -> None:
    text = json_util.dumps(value, json_options=oracle)

    # Version 1 has NaN and the infinities as bare words, as orjson doesn't read them.
    assert json_util.loads(text, json_options=oracle) == extjson.decode(json.loads(text))
