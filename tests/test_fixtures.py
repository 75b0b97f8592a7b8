"""Synthetic dumps: the shipped ones are what the generator makes, in every form in which mongoexport writes them."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import bson
import orjson
import pytest
from bson import json_util
from bson.codec_options import DatetimeConversion
from bson.json_util import RELAXED_JSON_OPTIONS
from pydantic import ValidationError

from converter.errors import OutputError, OutputExists
from converter.fixtures import FixtureRequest, FixtureSummary, write_fixture
from converter.fixtures.mongoexport import encode
from converter.fixtures.scenarios import SCENARIOS
from converter.models.legacy import Job, generation

SHIPPED = Path(__file__).parent.parent / "fixtures"
OPTIONS = RELAXED_JSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS, tz_aware=False)


def fixture(folder: Path, **options: Any) -> bytes:
    """The bytes of a small dump, or another if the options say so."""
    out = folder / "dump"
    write_fixture(FixtureRequest(out=str(out), overwrite=True, **options))
    return out.read_bytes()


def shipped_jobs(size: str) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = json_util.loads((SHIPPED / f"{size}.json").read_text(), json_options=OPTIONS)
    return jobs


@pytest.fixture(scope="module")
def small_jobs() -> list[dict[str, Any]]:
    return shipped_jobs("small")


@pytest.fixture(scope="module")
def medium_jobs() -> list[dict[str, Any]]:
    return shipped_jobs("medium")


@pytest.mark.parametrize("size", ["small", "medium"])
def test_the_shipped_files_are_what_the_generator_makes_now(tmp_path: Path, size: str) -> None:
    shipped = (SHIPPED / f"{size}.json").read_bytes()
    assert shipped == fixture(tmp_path, size=size), f"fixtures/README.md says how to make {size}.json anew"


@pytest.mark.parametrize(
    ("size", "documents", "most_bytes"), [("small", range(10, 15), 400_000), ("medium", range(90, 111), 4_000_000)]
)
def test_sizes_of_the_shipped_files(size: str, documents: range, most_bytes: int) -> None:
    shipped = (SHIPPED / f"{size}.json").read_bytes()
    assert len(orjson.loads(shipped)) in documents
    assert len(shipped) <= most_bytes


def test_large_jobs_have_real_sizes(tmp_path: Path) -> None:
    jobs = fixture(tmp_path, size="large", jobs=60, lines=True).splitlines()
    finished = [len(job) for job in jobs if b'"status":"completed","currentPhase"' in job]
    assert min(finished) >= 150_000
    assert max(map(len, jobs)) <= 1_000_000
    assert 250_000 <= sum(map(len, jobs)) / len(jobs) <= 450_000


def test_another_seed_is_another_dump(tmp_path: Path) -> None:
    assert fixture(tmp_path, seed=1) == fixture(tmp_path, seed=1)
    assert fixture(tmp_path, seed=1) != fixture(tmp_path, seed=2)


@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_a_job_does_not_depend_on_how_many_are_asked_for(tmp_path: Path, size: str) -> None:
    few = fixture(tmp_path, size=size, jobs=7, lines=True)
    more = fixture(tmp_path, size=size, jobs=20, lines=True)
    assert few == more[: len(few)]
    assert 20 == more.count(b"\n")


def test_ids_are_unique_and_carry_the_creation_time(medium_jobs: list[dict[str, Any]]) -> None:
    assert len(medium_jobs) == len({job["_id"] for job in medium_jobs})
    dated = [job for job in medium_jobs if "createdAt" in job]
    assert [int(job["createdAt"]) // 1000 for job in dated] == [int(str(job["_id"])[:8], 16) for job in dated]


def test_times_are_in_order(medium_jobs: list[dict[str, Any]]) -> None:
    for job in medium_jobs:
        last = job["progress"]["lastActivity"]
        created = job.get("createdAt", last)
        phases = list(job.get("metadata", {}).get("phaseStartTimes", {}).values())
        written = [chapter["generatedAt"] for chapter in job["chapters"] if chapter["content"] is not None]
        assert sorted(phases) == phases
        assert sorted(written) == written
        assert created <= min(phases, default=created)
        assert max(phases + written, default=last) <= last <= job.get("completedAt", last)


def test_every_status_is_there(small_jobs: list[dict[str, Any]]) -> None:
    expected = {
        "planning", "outlining", "writing", "completed", "failed", "recovering", "analyzing", "cancelled", "archived",
    }  # fmt: skip
    assert expected == {job["status"] for job in small_jobs}
    assert {str, dict} == {type(job["error"]) for job in small_jobs if "error" in job}
    [queued, started] = [job for job in small_jobs if job["status"] == "planning"]
    assert "modelUsage" not in queued
    assert [] == queued["outline"] + queued["chapters"]
    assert ["premise_analysis"] == list(started["metadata"]["phaseStartTimes"])


def test_every_generation_is_told_by_its_fields(small_jobs: list[dict[str, Any]]) -> None:
    names = {1: "1-2", 2: "1-2", 3: "3", 4: "4", 5: "5", 6: "6"}
    assert set(names) == {scenario.generation for scenario in SCENARIOS}
    assert [names[scenario.generation] for scenario in SCENARIOS] == [
        generation(cast("Job", job)) for job in small_jobs
    ]


def test_chapters_cost_what_their_tokens_cost(small_jobs: list[dict[str, Any]]) -> None:
    """Legacy jobs paid gpt-4o $0.005 and $0.015 per 1,000 tokens; two chapters are there because they don't fit."""
    splits = []
    for job in small_jobs:
        for chapter in job["chapters"]:
            if chapter["content"] is not None:
                completion = (chapter["cost"] * 1000 - chapter["tokensUsed"] * 0.005) / 0.01
                splits.append(abs(completion - round(completion)) < 1e-6 and 0 <= completion <= chapter["tokensUsed"])
    assert 2 == splits.count(False)
    assert splits.count(True) > 20


def test_words_are_counted_as_in_the_text(small_jobs: list[dict[str, Any]]) -> None:
    finished = [chapter for job in small_jobs for chapter in job["chapters"] if chapter["content"] is not None]
    counted = [chapter for chapter in finished if "wordCount" in chapter]
    assert 1 == len(finished) - len(counted)
    assert [len(chapter["content"].split()) for chapter in counted] == [chapter["wordCount"] for chapter in counted]


def test_small_covers_the_irregularities(small_jobs: list[dict[str, Any]]) -> None:
    """One entry for each branch of the mapping that a regular job never takes."""
    text = (SHIPPED / "small.json").read_text()
    metadata = [job["metadata"] for job in small_jobs if "metadata" in job]
    characters = {name for part in metadata for name in part["storyBible"]["characters"]}
    alerts = [[alert.get("id") for alert in part["continuityAlerts"] if alert != 42] for part in metadata]
    chapters = [chapter for job in small_jobs for chapter in job["chapters"]]
    completed = [job for job in small_jobs if job["status"] == "completed"]
    covered = {
        "no createdAt": any("createdAt" not in job for job in small_jobs),
        "no completedAt": {True, False} == {"completedAt" in job for job in completed},
        "costs tracked and not": {True, False} == {part["costTracking"]["totalCost"] > 0 for part in metadata},
        "premise analysis": {True, False} == {"premiseAnalysis" in job.get("modelUsage", {}) for job in completed},
        "chapter states": {"pending", "generating", "failed", "completed", None} == {c.get("status") for c in chapters},
        "no chapter number": any("chapterNumber" not in chapter for chapter in chapters),
        "recovery": any("recoveryAttempts" in job["progress"] for job in small_jobs),
        "failed at": any("failedAt" in job["progress"] for job in small_jobs),
        "drift": any(
            job["progress"]["chaptersCompleted"] != sum(chapter["content"] is not None for chapter in job["chapters"])
            for job in small_jobs
        ),
        "quality metrics": any("targetAccuracy" in job.get("qualityMetrics", {}) for job in small_jobs),
        "repeated alert": any(len(ids) > len(set(ids)) for ids in alerts),
        "alert without id": any(None in ids for ids in alerts),
        "names": {"Dr. Ada Quill", "$ilver", "J.R.", "J．R．", "綾"} <= characters,
        "unknown field": any("legacyFlags" in job for job in small_jobs),
        "own identity": any("jobId" in job for job in small_jobs),
        "types": all(f'"${name}"' in text for name in ("numberDecimal", "binary", "numberDouble", "timestamp")),
        "misplaced": any(42 in part["continuityAlerts"] for part in metadata),
        "empty title": any(job["title"] == "" for job in small_jobs),
        "key events": any(isinstance(entry.get("keyEvents"), str) for job in small_jobs for entry in job["outline"]),
        "scripts": all(sign in text for sign in "星Тθب🕯“—")
        and all(escape in text for escape in ("\\t", '\\"', "\\\\")),
    }
    assert [] == [name for name, there in covered.items() if not there]


def documents(text: str) -> list[dict[str, Any]]:
    """The documents of a text, in an array or one behind the other, as bson's own reader of Extended JSON sees them."""
    decoder = json.JSONDecoder()
    if text.startswith("["):
        found = decoder.decode(text)
    else:
        found, position = [], 0
        while position < len(text.rstrip()):
            document, end = decoder.raw_decode(text, position)
            found.append(document)
            position = end + 1
    decoded: list[dict[str, Any]] = json_util.loads(json.dumps(found), json_options=OPTIONS)
    return decoded


@pytest.mark.parametrize("pretty", [False, True], ids=["compact", "pretty"])
@pytest.mark.parametrize("lines", [False, True], ids=["array", "lines"])
@pytest.mark.parametrize("json_format", ["relaxed", "canonical"])
def test_every_dialect_holds_the_same_documents(tmp_path: Path, json_format: str, lines: bool, pretty: bool) -> None:
    mongodump = fixture(tmp_path, bson=True)
    found = documents(fixture(tmp_path, json_format=json_format, lines=lines, pretty=pretty).decode())
    if json_format == "canonical":
        assert mongodump == b"".join(map(bson.encode, found))
    else:  # relaxed doesn't tell a Long from an int
        expected = bson.decode_all(mongodump, OPTIONS)
        assert json_util.dumps(expected, json_options=OPTIONS) == json_util.dumps(found, json_options=OPTIONS)


@pytest.mark.parametrize(
    ("options", "jobs", "expected"),
    [
        ({}, 0, b"[]\n"),
        ({"lines": True}, 0, b""),
        ({}, 2, b"[{},{}]\n"),
        ({"lines": True}, 2, b"{}\n{}\n"),
        ({"pretty": True}, 2, b"[{},\n{}]\n\n"),
        ({"pretty": True, "lines": True}, 2, b"{}\n{}\n"),
    ],
)
def test_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], jobs: int, expected: bytes
) -> None:
    monkeypatch.setattr("converter.fixtures.jobs.Jobs.job", lambda self, index: {})
    assert expected == fixture(tmp_path, jobs=jobs, **options)


@pytest.mark.parametrize(
    ("value", "relaxed", "canonical"),
    [
        ('é—\u2028\u2029\x01\x7f\t"\\</', r'"é—\u2028\u2029\u0001\t\"\\</"', None),
        (True, "true", None),
        (None, "null", None),
        ([], "[]", None),
        ({}, "{}", None),
        (3, "3", '{"$numberInt":"3"}'),
        (2**31, "2147483648", '{"$numberLong":"2147483648"}'),
        (bson.Int64(3), "3", '{"$numberLong":"3"}'),
        (1.0, "1.0", '{"$numberDouble":"1.0"}'),
        (-0.0, "-0.0", '{"$numberDouble":"-0.0"}'),
        (0.0001, "0.0001", '{"$numberDouble":"0.0001"}'),
        (1.5e-5, "1.5E-05", '{"$numberDouble":"1.5E-05"}'),
        (999999.5, "999999.5", '{"$numberDouble":"999999.5"}'),
        (1234567.0, "1.234567E+06", '{"$numberDouble":"1.234567E+06"}'),
        (-1e300, "-1E+300", '{"$numberDouble":"-1E+300"}'),
        (float("nan"), '{"$numberDouble":"NaN"}', None),
        (float("-inf"), '{"$numberDouble":"-Infinity"}', None),
        (bson.DatetimeMS(0), '{"$date":"1970-01-01T00:00:00Z"}', '{"$date":{"$numberLong":"0"}}'),
        (bson.DatetimeMS(120), '{"$date":"1970-01-01T00:00:00.12Z"}', '{"$date":{"$numberLong":"120"}}'),
        (bson.DatetimeMS(7), '{"$date":"1970-01-01T00:00:00.007Z"}', '{"$date":{"$numberLong":"7"}}'),
        (bson.DatetimeMS(-1), '{"$date":{"$numberLong":"-1"}}', None),
        (bson.DatetimeMS(253402300800000), '{"$date":{"$numberLong":"253402300800000"}}', None),
        (bson.Decimal128("1.50"), '{"$numberDecimal":"1.50"}', None),
        (bson.Binary(b"a", 4), '{"$binary":{"base64":"YQ==","subType":"04"}}', None),
        (bson.Regex("a/b", "mi"), '{"$regularExpression":{"pattern":"a/b","options":"im"}}', None),
        (bson.Timestamp(1, 2), '{"$timestamp":{"t":1,"i":2}}', None),
    ],
)
def test_values_are_written_as_mongoexport_writes_them(value: object, relaxed: str, canonical: str | None) -> None:
    """The strings are Go's: its JSON escapes, and ``strconv.FormatFloat(value, 'G', -1, 64)`` for doubles."""
    assert f'{{"key":{relaxed}}}' == encode({"key": value}).decode()
    assert f'{{"key":{canonical or relaxed}}}' == encode({"key": value}, "canonical").decode()


def test_pretty_indents_with_tabs_and_leaves_texts_alone() -> None:
    job = {"a": [{"b": "  two\n  spaces"}], "c": [], "d": {}}
    expected = '{\n\t"a": [\n\t\t{\n\t\t\t"b": "  two\\n  spaces"\n\t\t}\n\t],\n\t"c": [],\n\t"d": {}\n}'
    assert expected == encode(job, pretty=True).decode()


def test_a_type_without_a_form_is_a_bug() -> None:
    with pytest.raises(TypeError, match="complex"):
        encode({"key": 1j})


@pytest.mark.parametrize(("size", "jobs"), [("small", None), ("medium", 30), ("large", 16)])
def test_ascii_is_ascii_throughout(tmp_path: Path, size: str, jobs: int | None) -> None:
    assert not fixture(tmp_path, size=size, jobs=jobs).isascii()
    assert fixture(tmp_path, size=size, jobs=jobs, ascii=True).isascii()


def test_summary_and_permissions(tmp_path: Path) -> None:
    out = tmp_path / "jobs.json"
    summary = write_fixture(FixtureRequest(out=str(out), jobs=3))
    assert FixtureSummary(out=str(out), documents=3, bytes=out.stat().st_size) == summary
    assert 0o600 == stat.S_IMODE(out.stat().st_mode)
    assert [out] == list(tmp_path.iterdir())


def test_an_existing_file_is_not_overwritten_unasked(tmp_path: Path) -> None:
    out = tmp_path / "jobs.json"
    out.write_text("precious")
    with pytest.raises(OutputExists, match="already exists"):
        write_fixture(FixtureRequest(out=str(out)))
    assert "precious" == out.read_text()
    write_fixture(FixtureRequest(out=str(out), jobs=0, overwrite=True))
    assert "[]\n" == out.read_text()


@pytest.mark.parametrize(("place", "message"), [(".", "not a regular file"), ("missing/jobs.json", "No such file")])
def test_an_output_that_cannot_be_is_one_line(tmp_path: Path, place: str, message: str) -> None:
    with pytest.raises(OutputError, match=message) as caught:
        write_fixture(FixtureRequest(out=str(tmp_path / place), overwrite=True))
    assert "\n" not in str(caught.value)


def test_what_fails_halfway_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, index: int) -> dict[str, Any]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("converter.fixtures.jobs.Jobs.job", fail)
    with pytest.raises(OutputError, match="No space left"):
        write_fixture(FixtureRequest(out=str(tmp_path / "jobs.json")))
    assert [] == list(tmp_path.iterdir())


STANDARD_OUTPUT = """
import sys
from converter.errors import OutputError
from converter.fixtures import FixtureRequest, write_fixture
try:
    print(write_fixture(FixtureRequest(size="medium", out="-")).documents, file=sys.stderr)
except OutputError as error:
    sys.exit(str(error))
"""


def test_standard_output(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", STANDARD_OUTPUT], capture_output=True, check=True)
    assert fixture(tmp_path, size="medium") == run.stdout
    assert b"100\n" == run.stderr


def test_a_reader_that_goes_away_is_one_line() -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", STANDARD_OUTPUT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    assert run.stdout is not None
    run.stdout.read(1)
    run.stdout.close()
    _, message = run.communicate()
    assert b"standard output: Broken pipe\n" == message


@pytest.mark.parametrize(
    "options",
    [
        {"size": "huge"},
        {"jobs": -1},
        {"jobs": "3"},
        {"seed": 1.5},
        {"out": ""},
        {"json_format": "v1"},
        {"chapters": 3},
        {"bson": True, "lines": True},
        {"bson": True, "pretty": True},
        {"bson": True, "json_format": "canonical"},
    ],
    ids=str,
)
def test_requests_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FixtureRequest(**{"out": "jobs.json", **options})
