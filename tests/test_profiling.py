import io
import itertools
import json
import os
import random
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import bson
import pytest
from bson import DatetimeMS, Decimal128, Int64, ObjectId, json_util
from bson.codec_options import DatetimeConversion
from hypothesis import given
from hypothesis import strategies as st

from converter import profiling
from converter.documents import RawDocument, Reason, Unreadable
from converter.errors import DumpError, OutputError, OutputExists
from converter.extjson import RawText, dumps
from converter.models.legacy import MAX_NESTING
from converter.profiling import Profile, ProfileRequest, profile
from converter.profiling import aggregate as aggregate_module
from converter.profiling import paths as paths_module
from converter.profiling.aggregate import Aggregate
from converter.profiling.rendering import percent
from converter.profiling.result import ODDITIES, DumpRead, PathUse
from converter.profiling.sizes import RESOLUTION, SizeTally

SMALL = Path(__file__).parent.parent / "fixtures" / "small.json"
ID = ObjectId("686621ece6c3a9438441dc9f")
HEX = str(ID)
JOB: dict[str, Any] = {"_id": ID, "status": "completed"}
THIS_DUMP = DumpRead(name="jobs.json", dialect="json-array", compression=None, encoding="utf-8", bytes=None)


def profile_of(*documents: object, surrogates: int = 0) -> Profile:
    """The profile of documents that are in memory, of 100 bytes each."""
    aggregate = Aggregate()
    aggregate.begin(THIS_DUMP)
    for index, document in enumerate(documents):
        aggregate.add(RawDocument(index, index * 101 + 1, index * 101 + 101, document, surrogates))
    found = aggregate.result()
    aggregate.close()
    return found


def path(found: Profile, name: str) -> PathUse:
    (use,) = [use for use in found.paths if use.path == name]
    return use


def oddities(found: Profile) -> list[tuple[str, str | None, int, int]]:
    """Kind, path, count, and the index of the first document."""
    return [(oddity.kind, oddity.path, oddity.count, oddity.first.index) for oddity in found.oddities]


# ------------------------------------------------------------------------------------------------- a recount by others

MAPS = {"metadata.storyBible.characters", "metadata.storyBible.locations", "metadata.phaseStartTimes"}


def occurrences(value: object, at: str = "", *, wrappers: bool = False) -> Iterator[tuple[str, object]]:
    """Every path in a document with what stands there. ``wrappers``: it is Extended JSON still."""
    if isinstance(value, dict) and not (wrappers and value and all(name.startswith("$") for name in value)):
        for name, held in value.items():
            step = (
                "*" if at in MAPS else name if re.fullmatch(r"[\w-]+", name) else json.dumps(name, ensure_ascii=False)
            )
            inner = f"{at}.{step}" if at else step
            yield inner, held
            yield from occurrences(held, inner, wrappers=wrappers)
    elif isinstance(value, list):
        for held in value:
            yield f"{at}[]", held
            yield from occurrences(held, f"{at}[]", wrappers=wrappers)


def recount(documents: list[Any], *, wrappers: bool = False) -> dict[str, tuple[int, int]]:
    """Path -> (in how many documents, how often)."""
    counts: dict[str, list[int]] = {}
    for document in documents:
        found = [name for name, _ in occurrences(document, wrappers=wrappers)]
        for name in found:
            counts.setdefault(name, [0, 0])[1] += 1
        for name in set(found):
            counts[name][0] += 1
    return {name: (in_documents, often) for name, (in_documents, often) in counts.items()}


def counts_of(found: Profile) -> dict[str, tuple[int | None, int]]:
    return {use.path: (use.documents, use.count) for use in found.paths}


# ------------------------------------------------------------------------------------------------- the shipped fixture


def test_the_small_fixture_is_counted_as_a_naive_walk_over_its_json_counts_it() -> None:
    documents = json.loads(SMALL.read_text("utf-8"))
    found = profile(ProfileRequest(dumps=(str(SMALL),)))
    assert recount(documents, wrappers=True) == counts_of(found)
    statuses: dict[str, int] = {}
    for document in documents:
        statuses[document["status"]] = statuses.get(document["status"], 0) + 1
    assert statuses == {use.status: sum(use.generations.values()) for use in found.statuses}
    assert 14 == found.documents
    assert {"1-2": 3, "3": 2, "4": 1, "5": 3, "6": 5} == found.generations
    assert found.broken is None


def test_sizes_of_the_small_fixture_are_those_of_its_documents() -> None:
    text = SMALL.read_text("utf-8")
    sizes, at = [], 1
    while text[at - 1] != "]":
        _, end = json.JSONDecoder().raw_decode(text, at)
        sizes.append(len(text[at:end].encode()))
        at = end + 1
    found = profile(ProfileRequest(dumps=(str(SMALL),))).sizes
    assert found is not None
    assert (14, min(sizes), sum(sizes) / 14, max(sizes)) == (found.documents, found.min, found.mean, found.max)
    assert 14 == sum(size.documents for size in found.classes)
    for size_class, before in zip(found.classes, (0, *(size.up_to for size in found.classes)), strict=False):
        assert sum(before < size <= size_class.up_to for size in sizes) == size_class.documents


def test_numbers_and_dates_of_the_small_fixture_have_the_bounds_that_its_json_has() -> None:
    documents = json.loads(SMALL.read_text("utf-8"))
    found = profile(ProfileRequest(dumps=(str(SMALL),)))
    costs = [chapter["cost"] for document in documents for chapter in document["chapters"] if "cost" in chapter]
    (double,) = path(found, "chapters[].cost").types
    assert ("double", len(costs), min(costs), max(costs)) == (double.type, double.count, double.least, double.most)
    created = [document["createdAt"]["$date"] for document in documents if "createdAt" in document]
    (date,) = path(found, "createdAt").types
    assert ("date", len(created), min(created), max(created)) == (date.type, date.count, date.least, date.most)
    texts = [chapter["content"] for document in documents for chapter in document["chapters"]]
    lengths = [len(text) for text in texts if text is not None]
    string, null = path(found, "chapters[].content").types
    assert (len(lengths), min(lengths), max(lengths)) == (string.count, string.least, string.most)
    assert ("null", len(texts) - len(lengths)) == (null.type, null.count)


def test_a_dump_has_the_same_paths_in_every_dialect(tmp_path: Path) -> None:
    options = json_util.JSONOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
    documents = json_util.loads(SMALL.read_text("utf-8"), json_options=options)
    forms = {
        "jobs.bson": b"".join(map(bson.encode, documents)),
        "canonical.json": b"\n".join(dumps(document, "canonical") for document in documents),
        "utf-16.json": SMALL.read_text("utf-8").encode("utf-16"),
    }
    expected = profile(ProfileRequest(dumps=(str(SMALL),)))
    for name, data in forms.items():
        (tmp_path / name).write_bytes(data)
        found = profile(ProfileRequest(dumps=(str(tmp_path / name),)))
        assert expected.paths == found.paths
        assert expected.statuses == found.statuses
        assert oddities(expected) == oddities(found)


def test_every_field_of_the_legacy_schema_is_known() -> None:
    entry = {"_id": ID}
    known = {
        "_id": ID,
        "__v": 0,
        "jobId": "a",
        "error": "out of tokens",
        "outline": [entry | {"chapterNumber": 1, "humanLikeElements": {"structureType": "frame"}}],
        "chapters": [entry | {"content": None, "cost": 1, "lastAttemptAt": DatetimeMS(0)}],
        "modelUsage": {"premiseAnalysis": {"model": "gpt-4o", "cost": 0.5, "duration": Int64(4)}},
        "progress": {"recoveryAttempts": [{"timestamp": None, "attempt": 1, "phase": "x"}]},
        "qualityMetrics": {"totalWordCount": 1, "targetAccuracy": 0.5, "completionRate": 1},
        "analysis": {"anything": [{"at": "all"}]},
        "metadata": {
            "storyBible": {
                "characters": {"Renée": {"description": "", "lastSeen": 1, "firstAppearance": "Chapter 1"}},
                "locations": {"Harbour": {"firstMentioned": 1, "significance": "much"}},
                "plotThreads": [{"introducedIn": 1, "lastUpdated": 2, "status": "active"}],
                "timeline": [{"chapter": 1, "importance": "minor"}],
                "themes": [{"examples": ["a"]}],
            },
            "continuityAlerts": [{"context": {"chapter": 1}, "resolved": False}],
            "aiDecisions": [{"alternatives": [{"option": "a", "reason": "b"}]}],
            "costTracking": {"breakdown": {"analysis": 0}},
            "phaseStartTimes": {"outline_generation": DatetimeMS(0)},
        },
    }
    assert [] == oddities(profile_of(known))


# -------------------------------------------------------------------------------------------------------------- laws

names = st.sampled_from(
    ["a", "b", "status", "chapters", "metadata", "storyBible", "characters", "a.b", "$c", "*", "[]"]
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from([ID, DatetimeMS(-1), DatetimeMS(10**15), Int64(3), Decimal128("1.5"), b"\0", "\ud800", "x" * 50]),
)
values = st.recursive(
    scalars, lambda held: st.lists(held, max_size=3) | st.dictionaries(names, held, max_size=4), max_leaves=12
)
documents = st.lists(st.dictionaries(names, values, max_size=6), max_size=5)


@given(documents)
def test_every_path_is_counted_as_a_naive_walk_counts_it(documents: list[dict[str, Any]]) -> None:
    found = profile_of(*documents)
    assert recount(documents) == counts_of(found)
    for use in found.paths:
        assert use.count == sum(kind.count for kind in use.types)


@given(documents, st.randoms())
def test_the_order_of_fields_makes_no_difference(documents: list[dict[str, Any]], chance: random.Random) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, list):
            return [shuffled(held) for held in value]
        if not isinstance(value, dict):
            return value
        fields = list(value.items())
        chance.shuffle(fields)
        return {name: shuffled(held) for name, held in fields}

    expected = profile_of(*documents).model_dump_json()
    assert expected == profile_of(*map(shuffled, documents)).model_dump_json()


@given(documents)
def test_documents_are_not_changed_and_every_profile_can_be_shown(documents: list[dict[str, Any]]) -> None:
    before = repr(documents)
    found = profile_of(*documents)
    assert before == repr(documents)
    assert found == Profile.model_validate_json(found.model_dump_json())
    printed = profiling.text(found, io.StringIO())
    assert [] == [character for character in printed if not character.isprintable() and character != "\n"]
    assert [] == [line for line in printed.splitlines() if len(line) > 100 and line.isascii()]
    printed.encode()
    profiling.html(found).encode()


@given(st.lists(st.integers(0, 2**40) | st.integers(0, 200), min_size=1))
def test_percentiles_are_at_most_the_resolution_too_large(sizes: list[int]) -> None:
    tally = SizeTally()
    for size in sizes:
        tally.add(size)
    found = tally.result()
    assert found is not None
    ranked = sorted(sizes)
    for rank, about in ((50, found.p50), (95, found.p95)):
        exact = ranked[-(-rank * len(sizes) // 100) - 1]
        assert exact <= about <= exact * (1 + RESOLUTION)
    assert (min(sizes), max(sizes), len(sizes)) == (found.min, found.max, found.documents)


# -------------------------------------------------------------------------------------------------- tables stay small


def scattered(document: int) -> dict[str, Any]:
    """A document with 50 names of its own."""
    own = {f"name {document}-{name}": {"x": name, "y": [document]} for name in range(50)}
    return JOB | {"analysis": {"map": own}}


def test_many_names_count_as_one_entry() -> None:
    found = profile_of(*map(scattered, range(4)))
    entries = {use.path: use for use in found.paths if use.path.startswith("analysis.map.")}
    assert ["analysis.map.*", "analysis.map.*.x", "analysis.map.*.y", "analysis.map.*.y[]"] == list(entries)
    assert [(None, 200)] * 4 == [(use.documents, use.count) for use in entries.values()]
    (number,) = entries["analysis.map.*.x"].types
    assert (0, 49) == (number.least, number.most)


@pytest.mark.parametrize("extra", [0, 1])
def test_few_names_are_told_apart(extra: int) -> None:
    document = JOB | {"analysis": {f"name{number}": number for number in range(paths_module.NAMES[0] + extra)}}
    below = [use.path for use in profile_of(document).paths if use.path.startswith("analysis.")]
    assert (1 if extra else paths_module.NAMES[0]) == len(below)


def test_names_of_the_schema_are_kept_where_others_are_not() -> None:
    document = JOB | {f"name{number}": "a" for number in range(100)} | {"$name": "b", "title": "Zoë"}
    found = profile_of(document, document | {"_id": ObjectId()})
    assert ["_id", "status", "title", "*"] == [use.path for use in found.paths]
    assert [("unknown-field", "*", 202, 0), ("special-name", "*", 2, 0)] == oddities(found)
    assert {"a": 200, "b": 2} == path(found, "*").types[0].values


def test_merged_names_do_not_depend_on_the_order_of_documents() -> None:
    sample = [scattered(1), JOB | {"analysis": {"map": {"Zoë": {"x": "a", "z": None}}}}, scattered(2)]
    dumped = {
        json.dumps([use.model_dump() for use in profile_of(*order).paths]) for order in itertools.permutations(sample)
    }
    assert 1 == len(dumped)


def test_what_was_known_of_single_names_is_known_of_all_together() -> None:
    first = JOB | {
        "analysis": {f"$name{number}": [{"a.b": "x" * number, "c": number % 2 == 0}] for number in range(30)}
    }
    second = {"_id": ObjectId(), "analysis": {f"other{number}": {"$": None} for number in range(30)}}
    found = profile_of(first, second)
    below = [use for use in found.paths if use.path.startswith("analysis.*[]")]
    assert [("object", None), ("string", None), ("bool", {"true": 15, "false": 15})] == [
        (kind.type, kind.values) for use in below for kind in use.types
    ]
    assert [
        ("special-name", "analysis.*", 30, 0),
        ("special-name", 'analysis.*."$"', 30, 1),
        ("special-name", 'analysis.*[]."a.b"', 30, 0),
    ] == oddities(found)


def test_paths_stay_below_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths_module, "MAX_PATHS", 300)
    chance = random.Random(1)

    def tangle(levels: int) -> Any:
        if levels == 0:
            return 1
        return {f"n{chance.randrange(30)}": tangle(levels - 1) for _ in range(3)} | {"list": [tangle(levels - 1)]}

    sample = [JOB | {"analysis": tangle(4)} for _ in range(40)]
    found = profile_of(*sample)
    assert len(found.paths) <= 300
    assert found.names < paths_module.NAMES[0]
    leaves = sum(1 for document in sample for _, value in occurrences(document["analysis"]) if value == 1)
    counted = sum(kind.count for use in found.paths for kind in use.types if kind.type == "int")
    assert leaves == counted


def test_an_enumeration_has_few_short_values() -> None:
    most = paths_module.MAX_VALUES
    assert {"a": 2, "b": 1} == path(profile_of({"genre": "b"}, {"genre": "a"}, {"genre": "a"}), "genre").types[0].values
    assert path(profile_of(*({"genre": str(n)} for n in range(most))), "genre").types[0].values is not None
    assert path(profile_of(*({"genre": str(n)} for n in range(most + 1))), "genre").types[0].values is None
    assert path(profile_of({"genre": "a"}, {"genre": "a" * 41}), "genre").types[0].values is None
    assert {"true": 1, "false": 1} == path(profile_of({"x": True}, {"x": False}), "x").types[0].values


def test_a_status_that_is_code_is_no_text() -> None:
    assert ["(not text)"] == [use.status for use in profile_of({"_id": ID, "status": bson.Code("x")}).statuses]


def test_an_identity_that_is_nested_too_deep_is_none() -> None:
    identity: object = 1
    for _ in range(MAX_NESTING + 1):
        identity = {"a": identity}

    assert 1 == profile_of({"_id": identity}).documents


def test_statuses_have_a_limit() -> None:
    found = profile_of(*({"status": f"status {n:03}"} for n in range(50)), {"status": 3}, {})
    assert 31 == len(found.statuses)
    others = next(use for use in found.statuses if use.status == aggregate_module.OTHER_STATUSES)
    assert {"1-2": 22} == others.generations
    found = profile_of({"status": 3}, {"status": None}, {"status": "x" * 100}, {})
    assert ["(none)", "(not text)", "x" * 63 + "…"] == [use.status for use in found.statuses]


# ------------------------------------------------------------------------------------------------------------- values


def test_types_have_the_names_of_mongodb() -> None:
    values: dict[str, tuple[object, ...]] = {
        "int": (1, -(2**31)),
        "long": (Int64(1), 2**31),
        "double": (0.5,),
        "double (NaN or infinite)": (float("nan"), float("-inf")),
        "bool": (True,),
        "date": (DatetimeMS(0),),
        "objectId": (ID,),
        "null": (None,),
        "decimal": (Decimal128("1"),),
        "binData": (b"a", bson.Binary(b"a", 5)),
        "regex": (bson.Regex("a"),),
        "timestamp": (bson.Timestamp(1, 1),),
        "javascript": (bson.Code("a"),),
        "minKey": (bson.MinKey(),),
        "maxKey": (bson.MaxKey(),),
        "dbPointer": (bson.DBRef("a", ID),),
        "string": ("a",),
        "array": ([],),
        "object": ({},),
    }
    for name, samples in values.items():
        for sample in samples:
            assert [name] == [use.type for use in path(profile_of({"x": sample}), "x").types]


def test_a_text_that_is_still_json_counts_as_the_text_that_it_is() -> None:
    text = "Zoë\n“…”" * 100
    raw = {"chapters": [{"content": RawText(json.dumps(text, ensure_ascii=False).encode())}]}
    read = {"chapters": [{"content": text}]}
    assert profile_of(JOB | read) == profile_of(JOB | raw)


def test_dates_outside_of_the_calendar_are_milliseconds() -> None:
    (use,) = path(profile_of({"x": DatetimeMS(10**15)}, {"x": DatetimeMS(0)}), "x").types
    assert ("1970-01-01T00:00:00.000Z", 10**15) == (use.least, use.most)


def test_presence_is_told_of_documents_and_of_parents() -> None:
    found = profile_of(
        {"chapters": [{"title": "a"}, {"title": "b", "cost": 1}, {}]},
        {"chapters": [{"cost": 2}]},
        {"chapters": None},
        {},
    )
    seen = {use.path: (use.documents, use.count, use.parents) for use in found.paths}
    assert {
        "chapters": (3, 3, 4),
        "chapters[]": (2, 4, 2),
        "chapters[].title": (1, 2, 4),
        "chapters[].cost": (2, 2, 4),
    } == seen


# ----------------------------------------------------------------------------------------------------------- oddities

SPECIAL = [("special-name", at, 1, 0) for at in ('analysis."a.b"', 'analysis."a.b"."$c"')]
DEEP: Any = 1
for _ in range(120):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ([JOB], []),
        ([[1], "a", None], [("not-an-object", None, 3, 0)]),
        ([{"createdAt": DatetimeMS(0)}], [("no-identity", None, 1, 0)]),
        ([{"_id": 7, "createdAt": "2025-07-19T03:04:05Z"}], [("wrong-type", "createdAt", 1, 0)]),
        ([{"_id": HEX}], []),
        ([JOB, {"_id": 7}, {"_id": "x"}], [("no-creation-time", None, 2, 1)]),
        ([JOB, JOB | {"title": "b"}, JOB], [("repeated-id", None, 2, 1)]),
        ([JOB, {"_id": HEX}], [("repeated-id", None, 1, 1)]),
        ([JOB | {"jobId": "a"}, JOB | {"jobId": "b"}], [("repeated-id", None, 1, 1)]),
        ([JOB | {"jobId": "a"}, {"_id": ObjectId(), "jobId": "a"}], [("repeated-id", None, 1, 1)]),
        ([JOB | {"jobId": HEX}, {"_id": ObjectId(), "jobId": "b"}], []),
        ([{"_id": "x" * 70 + end, "createdAt": DatetimeMS(0)} for end in "ab"], []),
        ([JOB | {"title": 1}], [("wrong-type", "title", 1, 0)]),
        ([JOB, JOB | {"_id": 1, "createdAt": "2025-07-19T03:04:05Z"}], [("wrong-type", "createdAt", 1, 1)]),
        ([JOB | {"chapters": [{"cost": "1"}, {"cost": float("nan")}]}], [("wrong-type", "chapters[].cost", 1, 0)] * 2),
        ([JOB | {"chapters": [None, {}, None]}], [("null-in-array", "chapters[]", 2, 0)]),
        ([JOB | {"analysis": {"x": [None]}}], [("null-in-array", "analysis.x[]", 1, 0)]),
        ([JOB | {"note": {"by": "me"}}], [("unknown-field", "note", 1, 0)]),
        ([JOB | {"chapters": [{"note": 1}, {"note": "a"}]}], [("unknown-field", "chapters[].note", 2, 0)]),
        (
            [JOB | {"metadata": {"storyBible": {"characters": {"Dr. No": {}, "$x": {}, "Zoë": {}}}}}],
            [("special-name", "metadata.storyBible.characters.*", 2, 0)],
        ),
        ([JOB | {"analysis": {"a.b": {"$c": 1}}}], SPECIAL),
        ([JOB | {"title": "\ud800"}], [("lone-surrogate", None, 1, 0)]),
        ([JOB | {"analysis": {"x": DEEP}}], [("nested-too-deep", None, 1, 0), ("deeper-than-shown", None, 1, 0)]),
    ],
)
def test_oddities(sample: list[object], expected: list[tuple[str, str | None, int, int]]) -> None:
    assert expected == oddities(profile_of(*sample))


def test_an_oddity_shows_its_first_document() -> None:
    found = profile_of(JOB, {"_id": "b", "jobId": "a" * 100, "createdAt": DatetimeMS(0), "note": 1}, JOB)
    repeated, unknown = found.oddities
    assert "the first repeats document 0 of jobs.json" == repeated.detail
    assert ("jobs.json", 2, 203, HEX) == (
        repeated.first.dump,
        repeated.first.index,
        repeated.first.offset,
        repeated.first.id,
    )
    assert ("jobs.json", 1, 102, "a" * 63 + "…") == tuple(unknown.first.model_dump().values())


def test_replaced_surrogates_are_an_oddity() -> None:
    assert [("lone-surrogate", None, 3, 0)] == oddities(profile_of(JOB, surrogates=3))


def test_large_and_unreadable_documents() -> None:
    aggregate = Aggregate()
    aggregate.begin(THIS_DUMP)
    large = 12 * 2**20
    aggregate.add(RawDocument(0, 0, large, JOB))
    aggregate.add(RawDocument(1, 0, large + 1, JOB | {"_id": "b", "createdAt": DatetimeMS(0)}))
    aggregate.add(Unreadable(2, 50, 70, "nested-too-deep", "nested deeper than 250 levels", b"{}"))
    found = aggregate.result()
    aggregate.close()
    assert [("nested-too-deep", None, 1, 2), ("near-16-mib", None, 1, 1)] == oddities(found)
    assert {"1-2": 2, "unknown": 1} == found.generations
    assert 3 == found.documents
    assert found.sizes is not None
    assert (20, large + 1) == (found.sizes.min, found.sizes.max)


def test_every_reason_for_which_a_document_is_unreadable_is_an_oddity() -> None:
    assert set(get_args(Reason)) <= set(ODDITIES)


def test_a_document_that_has_no_shape_is_counted_all_the_same() -> None:
    found = profile_of(JOB | {"title": DEEP})
    assert [("nested-too-deep", None), ("wrong-type", "title"), ("deeper-than-shown", None)] == [
        (oddity.kind, oddity.path) for oddity in found.oddities
    ]
    assert {"unknown": 1} == found.generations
    assert HEX == found.oddities[0].first.id


# -------------------------------------------------------------------------------------------------------- whole dumps


def test_several_dumps_are_one_profile(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"[" + dumps(JOB) + b"]")
    (tmp_path / "b.bson").write_bytes(bson.encode({"_id": "x", "createdAt": DatetimeMS(0)}) + bson.encode(JOB))
    found = profile(ProfileRequest(dumps=(str(tmp_path / "a.json"), str(tmp_path / "b.bson"))))
    assert [("a.json", "json-array"), ("b.bson", "bson")] == [(dump.name, dump.dialect) for dump in found.dumps]
    assert 3 == found.documents
    (repeated,) = found.oddities
    assert ("repeated-id", "b.bson", 1) == (repeated.kind, repeated.first.dump, repeated.first.index)
    assert "the first repeats document 0 of a.json" == repeated.detail
    assert "document 1 of b.bson" in profiling.text(found, io.StringIO())


def test_of_a_broken_dump_there_is_a_profile_of_what_could_be_read(tmp_path: Path) -> None:
    dump = tmp_path / "jobs.json"
    dump.write_bytes(b"[" + dumps(JOB) + b',{"_id":')
    found = profile(ProfileRequest(dumps=(str(dump), str(SMALL))))
    assert 1 == found.documents
    assert found.broken is not None
    assert found.broken.startswith(f"{dump}, byte ")
    shown = profiling.text(found, io.StringIO())
    assert shown.startswith("broken dump, this is what could be read:")
    assert "Broken dump" in profiling.html(found)


@pytest.mark.parametrize("content", [b"", b"<html>", b'[{"_id":'])
def test_of_nothing_there_is_no_profile(tmp_path: Path, content: bytes) -> None:
    dump = tmp_path / "jobs.json"
    dump.write_bytes(content)
    with pytest.raises(DumpError):
        profile(ProfileRequest(dumps=(str(dump),)))


def test_an_empty_collection_has_a_profile(tmp_path: Path) -> None:
    dump = tmp_path / "jobs.json"
    dump.write_bytes(b"[]\n")
    found = profile(ProfileRequest(dumps=(str(dump),)))
    assert (0, None, (), ()) == (found.documents, found.sizes, found.paths, found.oddities)
    assert "0 documents" in profiling.text(found, io.StringIO())
    assert "0 documents" in profiling.html(found)


def test_without_offsets_there_are_no_sizes(tmp_path: Path) -> None:
    dump = tmp_path / "jobs.json"
    dump.write_bytes(dumps(JOB).decode().encode("utf-16"))
    found = profile(ProfileRequest(dumps=(str(dump),)))
    assert (1, None) == (found.documents, found.sizes)


# ---------------------------------------------------------------------------------------------------------- rendering

HOSTILE = "<img src=x onerror=alert(1)>[red]\x1b[31m\u202e"


def hostile() -> Profile:
    return profile_of(
        JOB | {"status": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}, "genre": HOSTILE},
        {"_id": HOSTILE, "genre": HOSTILE},
    )


def test_text_from_the_dump_steers_nothing_on_a_terminal() -> None:
    shown = profiling.text(hostile(), io.StringIO())
    assert "<img src=x" in shown
    assert "[red]" in shown
    assert "\\x1b" in shown
    assert not re.search("[\x1b\u202e]", shown)


def test_text_from_the_dump_is_escaped_in_the_page() -> None:
    page = profiling.html(hostile())
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img" not in page
    assert "<script" not in page
    assert not re.search("[\x1b\u202e]", page)
    assert ['href="data:,"'] == re.findall(r'(?:href|src)="[^"]*"', page)


def test_all_tables_are_shown_in_100_columns() -> None:
    shown = profiling.text(profile(ProfileRequest(dumps=(str(SMALL),))), io.StringIO())
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 100
    assert "14 documents" == lines[0]
    for title in ("sizes", "statuses by schema generation", "oddities", "paths"):
        assert title in lines
    assert ["completed", "1", "1", "2", "4"] in [line.split() for line in lines]
    (created,) = [line for line in lines if line.startswith("createdAt ")]
    assert ["createdAt", "92.9%", "92.9%", "date:", "2025-07-21", "to", "2025-10-22"] == created.split()
    (content,) = [line for line in lines if line.startswith("chapters[].content ")]
    assert "71.4%       100%  string 70.6%: 676 to 2,274" in content


def test_shares_are_never_rounded_to_all_or_none() -> None:
    shown = [percent(count, 100_000) for count in (0, 1, 50_000, 99_999, 100_000)]
    assert ["0%", "0.1%", "50.0%", "99.9%", "100%"] == shown


def test_the_page_is_written_for_its_owner_only_and_over_no_other_file(tmp_path: Path) -> None:
    page = tmp_path / "profile.html"
    request = ProfileRequest(dumps=(str(SMALL),), html=str(page))
    found = profile(request)
    assert profiling.html(found) == page.read_text("utf-8")
    assert 0o600 == stat.S_IMODE(page.stat().st_mode)
    before = page.read_bytes()
    with pytest.raises(OutputExists, match="already exists"):
        profile(request)
    assert before == page.read_bytes()


def test_a_page_that_can_not_be_written_is_known_before_reading(tmp_path: Path) -> None:
    request = ProfileRequest(dumps=(str(tmp_path / "there is none"),), html=str(tmp_path / "none" / "profile.html"))
    with pytest.raises(OutputError, match="there is no folder"):
        profile(request)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "profile.html"
    monkeypatch.setattr(os, "open", lambda path, flags, mode, real=os.open: real("/dev/full", os.O_WRONLY))
    with pytest.raises(OutputError, match="can't be written: No space left on device"):
        profile(ProfileRequest(dumps=(str(SMALL),), html=str(page)))


def test_a_narrow_terminal_shows_every_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", profiling.text(profile(ProfileRequest(dumps=(str(SMALL),))), terminal))
    assert max(map(len, shown.splitlines())) <= 60
    (head,) = [line for line in shown.splitlines() if line.startswith("path ")]
    assert ["path", "docs", "of", "parent", "values"] == head.split()  # and "types and" in the line above
