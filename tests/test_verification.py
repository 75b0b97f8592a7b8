"""``verify``: finds nothing in what convert made of any dump, and everything in ``damage.py``."""

import errno
import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any, Literal

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter import extjson
from converter.conversion import ConvertRequest, convert
from converter.errors import BackfillError, DumpError, UsageError
from converter.progress import Progress
from converter.verification import Findings, VerifyRequest, findings, lines, recount, render, verify
from tests import jobs
from tests.damage import ACCIDENTS, CHECKSUMS, DAMAGES, EVENTS, JOBS, MANIFEST, METADATA, METRICS, Damage, read, seal

SMALL = Path(__file__).parents[1] / "fixtures" / "small.json"
SECRET = "SECRETTEXTOFTHENOVEL"


def dumped(path: Path, documents: list[Any]) -> Path:
    path.write_bytes(b"[" + b",".join(map(extjson.dumps, documents)) + b"]\n")
    return path


def bundled(folder: Path, *dumps: Path, **options: Any) -> Path:
    bundle = folder / "bundle"
    convert(ConvertRequest(dumps=tuple(map(str, dumps)), out=str(bundle), overwrite=True, **options), Progress())
    return bundle


def proved(bundle: Path, *dumps: Path, fast: bool = False) -> Findings:
    return verify(VerifyRequest(bundle=str(bundle), dump=tuple(map(str, dumps)), fast=fast))


def checked(found: Findings) -> dict[str, int]:
    return {check.name: check.checked for check in found.checks}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(bundle, dump) of the small fixture, and of three documents that are rejected."""
    folder = tmp_path_factory.mktemp("sound")
    small = json.loads(SMALL.read_bytes())
    for job in small:
        job["premise"] = SECRET
        for chapter in job["chapters"] if isinstance(job["chapters"], list) else []:
            if isinstance(chapter, dict) and chapter.get("content"):
                chapter["content"] = SECRET + chapter["content"]
    dump = dumped(folder / "jobs.json", ["no job", *small, small[0], {"title": "Nobody's"}])
    return bundled(folder, dump), dump


@pytest.fixture
def bundle(sound: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound[0], tmp_path / "bundle"))


# ------------------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_damage_is_found_and_named(damage: Damage, bundle: Path, sound: tuple[Path, Path]) -> None:
    line = damage.apply(bundle)
    found = proved(bundle, sound[1]) if damage.needs_dump else proved(bundle)
    assert not found.ok
    named = [
        problem.line
        for problem in found.problems
        if (problem.check, problem.file) == (damage.check, damage.file) and damage.reason in problem.detail
    ]
    assert named, render(found)
    assert line is None or line in named, render(found)
    assert SECRET not in render(found) + found.model_dump_json()


@pytest.mark.parametrize("damage", [damage for damage in DAMAGES if damage.needs_dump], ids=lambda damage: damage.name)
def test_a_perfect_forgery_needs_the_dump_to_be_found(damage: Damage, bundle: Path) -> None:
    if damage.name != "recorded cost":  # it contradicts the total, too
        damage.apply(bundle)
        assert [] == proved(bundle).problems


@pytest.mark.parametrize(
    "damage", [damage for damage in ACCIDENTS if damage.check in ("files", "checksums")], ids=lambda damage: damage.name
)
def test_a_fast_proof_finds_what_checksums_tell(damage: Damage, bundle: Path) -> None:
    damage.apply(bundle)
    found = proved(bundle, fast=True)
    assert damage.file in {problem.file for problem in found.problems}


def test_a_fast_proof_reads_no_line(bundle: Path) -> None:
    assert {"files", "checksums", "reports"} == checked(proved(bundle, fast=True)).keys()


def test_files_that_do_not_belong_are_warned_of(bundle: Path) -> None:
    for name in ("notes.txt", "novel_jobs.ndjson.partial"):
        (bundle / name).write_bytes(b"")
    found = proved(bundle)
    assert found.ok
    assert [
        ("notes.txt", "not a file of the bundle"),
        ("novel_jobs.ndjson.partial", "left by a conversion that was interrupted, or is at work"),
    ] == [(warning.file, warning.detail) for warning in found.warnings]
    assert "warning: notes.txt: not a file of the bundle" in render(found)


def test_a_file_that_the_bundle_should_not_have(bundle: Path) -> None:
    """Rejects that nobody made, parts beside a joined file: somebody would take them for the bundle's."""
    part = "novel_jobs.part-00000.ndjson"
    (bundle / part).write_bytes(b"")
    found = proved(bundle)
    assert [(part, "this bundle should have no such file")] == [(told.file, told.detail) for told in found.problems]


@pytest.mark.parametrize("name", ["import.sh", "indexes.js", "README.md"])
def test_a_file_without_a_checksum(bundle: Path, name: str) -> None:
    checksums = [line for line in (bundle / CHECKSUMS).read_text().splitlines() if not line.endswith(f"  {name}")]
    (bundle / CHECKSUMS).write_text("\n".join(checksums) + "\n")
    (bundle / name).write_bytes(b"changed")
    found = proved(bundle)
    assert [(CHECKSUMS, f"{name} is not in it")] == [(told.file, told.detail) for told in found.problems]


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("run", None),
        ("run", {}),
        ("cost", {}),
        ("parity", {"chapters": 5}),
        ("tokens", {"deltas": "x"}),
        ("long_lists", 1),
    ],
)
def test_a_report_of_another_shape(bundle: Path, part: str, content: object) -> None:
    report = json.loads((bundle / "report.json").read_bytes())
    (bundle / "report.json").write_text(json.dumps(report | {part: content}))
    assert [("report.json", "this is no report of novel-backfill")] == [
        (told.file, told.detail) for told in proved(bundle).problems
    ]


def test_a_hundred_problems_are_told_and_all_are_counted(bundle: Path) -> None:
    (bundle / EVENTS).write_bytes(b"{\n" * 100_000)
    found = proved(bundle)
    assert findings.MAX_PROBLEMS == len(found.problems)
    assert found.problem_count > 100_000
    assert f"and {found.problem_count - 100:,} more" in render(found)


def test_text_in_a_message_is_bounded_and_printable(bundle: Path) -> None:
    content = [json.loads(line) for line in read(bundle, METRICS)]
    content[0]["jobId"] = "\x1b[31m" + "x" * 10_000
    (bundle / METRICS).write_bytes(b"".join(extjson.dumps(document) + b"\n" for document in content))
    details = [problem.detail for problem in proved(bundle).problems]
    assert max(map(len, details)) <= 300
    assert not any("\x1b" in detail for detail in details)


def test_a_line_longer_than_any_document_is_not_read_whole(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 20_000)
    (bundle / METADATA).write_bytes(b" " * 70_000 + (bundle / METADATA).read_bytes())
    problems = [(problem.line, problem.detail) for problem in proved(bundle).problems if problem.check == "lines"]
    assert [(1, "too long for a document")] == problems


# ------------------------------------------------------------------------------------------------------ sound bundles


def test_a_sound_bundle(sound: tuple[Path, Path]) -> None:
    found = proved(*sound)
    assert [] == found.problems
    assert [] == found.warnings
    assert findings.CHECKS.keys() == checked(found).keys()
    assert all(row.difference == 0 for row in found.parity)
    assert {"documents read": 17, "jobs": 14, "chapters": 34} == {row.quantity: row.bundle for row in found.parity[:3]}
    assert render(found).endswith("bundle: sound")


def test_findings_are_json(sound: tuple[Path, Path]) -> None:
    found = json.loads(proved(*sound).model_dump_json())
    assert found["ok"]
    assert {"quantity": "jobs", "dump": 14, "bundle": 14, "difference": 0} in found["parity"]


@settings(max_examples=100)
@given(
    st.lists(st.one_of(jobs.JOB, jobs.VALUE), max_size=5),
    st.sampled_from(["relaxed", "canonical"]),
    st.sampled_from(["keep", "fail"]),
    st.one_of(st.none(), st.integers(0, 5)),
)
def test_nothing_is_found_in_what_convert_made_of_any_dump(
    documents: list[Any], json_format: Literal["relaxed", "canonical"], in_flight: str, limit: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dump = dumped(Path(folder, "jobs.json"), documents)
        bundle = bundled(Path(folder), dump, json_format=json_format, in_flight=in_flight, limit=limit)
        found = proved(bundle, dump)
        assert found.ok, render(found)


@settings(max_examples=30)
@given(st.lists(jobs.JOB, max_size=4))
def test_nothing_is_found_when_the_dump_is_bson(documents: list[Any]) -> None:
    content = b""
    for document in documents:
        try:
            content += bson.encode(document)
        except (bson.errors.BSONError, UnicodeError, OverflowError):  # NUL in a key, a lone surrogate
            continue
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder, "jobs.bson")
        dump.write_bytes(content or bson.encode({}))
        found = proved(bundled(Path(folder), dump), dump)
        assert found.ok, render(found)


def test_the_dump_may_come_in_another_dialect(sound: tuple[Path, Path], tmp_path: Path) -> None:
    documents = extjson.decode(json.loads(sound[1].read_bytes()))
    pretty = json.dumps(json.loads(extjson.dumps(documents, "canonical")), indent=2)
    (tmp_path / "other.json.gz").write_bytes(gzip.compress(pretty.encode()))
    assert [] == proved(sound[0], tmp_path / "other.json.gz").problems


def test_several_dumps(tmp_path: Path) -> None:
    small = json.loads(SMALL.read_bytes())
    first = dumped(tmp_path / "first.json", [*small[:5], "no job"])
    second = dumped(tmp_path / "second.json", [small[0], None, *small[5:]])
    bundle = bundled(tmp_path, first, second)
    assert [] == proved(bundle, first, second).problems
    with pytest.raises(UsageError, match=r"was made from first.json, second.json: give --dump for each"):
        proved(bundle, first)
    assert not proved(bundle, second, first).ok


def test_a_dump_whose_name_is_not_utf8(sound: tuple[Path, Path], tmp_path: Path) -> None:
    dump = tmp_path / os.fsdecode(b"jobs\xff.json")
    shutil.copy(sound[1], dump)
    assert [] == proved(sound[0], dump).problems


def test_dumps_of_one_name(tmp_path: Path) -> None:
    small = json.loads(SMALL.read_bytes())
    dumps = []
    for day, documents in (("monday", small[:3]), ("tuesday", ["no job", small[3], small[1]])):
        (tmp_path / day).mkdir()
        dumps.append(dumped(tmp_path / day / "jobs.json", documents))
    found = proved(bundled(tmp_path, *dumps), *dumps)
    assert found.ok, render(found)


def test_another_dump(sound: tuple[Path, Path], tmp_path: Path) -> None:
    found = proved(sound[0], dumped(tmp_path / "jobs.json", ["no job", jobs.job(jobId="job-1")]))
    details = [(problem.file, problem.line, problem.detail) for problem in found.problems]
    assert (JOBS, None, "the job job-1 is missing, document 1 of the dump jobs.json") in details
    assert (JOBS, 1, "jobId: no such job in the dump: 686621ece6c3a9438441dc9f") in details


def test_a_job_without_a_plain_id_counts_in_the_totals(tmp_path: Path) -> None:
    dump = dumped(tmp_path / "jobs.json", [jobs.job(_id=jobs.date(), chapters=[jobs.chapter()])])
    bundle = bundled(tmp_path, dump)
    assert [] == proved(bundle, dump).problems
    (bundle / JOBS).write_bytes((bundle / JOBS).read_bytes().replace(b"one two three", b"one two three four"))
    seal(bundle)
    problems = [(problem.file, problem.detail) for problem in proved(bundle, dump).problems]
    assert [(MANIFEST, "characters of chapter text: 13 in the dump, 18 in the bundle")] == problems


def test_a_job_too_large_for_its_events(tmp_path: Path) -> None:
    """Events are given up for the sake of the text, so their absence is no damage."""
    chapters = [jobs.chapter(chapterNumber=number, title="t" * 3000, content="x" * 250_000) for number in range(1, 67)]
    dump = dumped(tmp_path / "jobs.json", [jobs.job(chapters=chapters)])
    bundle = bundled(tmp_path, dump)
    manifest = json.loads((bundle / MANIFEST).read_bytes())
    assert 1 == manifest["counts"]["repairs"]["embedded-events-dropped"]
    assert [] == proved(bundle, dump).problems


def test_sums_and_digests_of_the_extreme() -> None:
    assert 0 == recount.total([1e308, 1e308])  # as the conversion has it, repair "sum-overflow"
    assert 3 == recount.total([1, 2.0])
    assert recount.agree(float("nan"), float("nan"))
    assert not recount.agree(1.0, 1.0 + 1e-8)
    nested: Any = 1
    for _ in range(300):
        nested = [nested]
    assert recount.digest_if_shallow(nested) is None


# --------------------------------------------------------------------------------------------------------- no bundles


def test_what_is_no_bundle(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BackfillError, match="is no folder: give the folder that convert made"):
        proved(bundle / MANIFEST)
    with pytest.raises(BackfillError, match=r"manifest.json is missing: this is no bundle"):
        proved(tmp_path)
    (bundle / MANIFEST).rename(bundle / "manifest.json.partial")
    with pytest.raises(BackfillError, match=r"manifest.json is missing: .* convert --resume"):
        proved(bundle)
    (bundle / MANIFEST).write_text("{}")
    with pytest.raises(BackfillError, match=r"manifest.json is no manifest of novel-backfill \(tool: Field required\)"):
        proved(bundle)
    (bundle / MANIFEST).unlink()
    (bundle / MANIFEST).mkdir()
    with pytest.raises(BackfillError, match=r"manifest.json can't be read: Is a directory"):
        proved(bundle)


def test_a_dump_that_cannot_be_read(sound: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_bytes(sound[1].read_bytes()[:-100])
    with pytest.raises(DumpError, match="truncated"):
        proved(sound[0], tmp_path / "cut.json")


def test_a_folder_of_no_use_for_temporary_files(sound: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> sqlite3.Connection:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(BackfillError, match=r"database or disk is full.*set TMPDIR"):
        proved(sound[0])


def test_a_disk_that_fails(sound: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(hashlib, "file_digest", broken)
    with pytest.raises(BackfillError, match=r"bundle can't be read: Input/output error"):
        proved(sound[0])


def test_a_fast_proof_takes_no_dump() -> None:
    with pytest.raises(ValueError, match="--fast reads no line"):
        VerifyRequest(bundle="bundle", dump=("jobs.json",), fast=True)


def test_sealing_changes_nothing_in_a_sound_bundle(bundle: Path) -> None:
    """Else the tests of forgeries would prove nothing."""
    before = (bundle / CHECKSUMS).read_bytes()
    seal(bundle)
    assert before == (bundle / CHECKSUMS).read_bytes()


def test_sums_beyond_64_bits_are_read_back_from_the_reports(tmp_path: Path) -> None:
    chapter = {"chapterNumber": 1, "status": "completed", "cost": 1e300, "tokensUsed": 2**62, "wordCount": 2**62}
    document = jobs.job(chapters=[chapter] * 5)
    assert [] == proved(bundled(tmp_path, dumped(tmp_path / "jobs.json", [document]))).problems


def test_sums_beyond_the_largest_double(tmp_path: Path) -> None:
    documents = [jobs.job(jobId=name, chapters=[{"cost": 1.7e308, "tokensUsed": 1.7e308}]) for name in "abc"]
    for number, document in enumerate(documents):
        document["_id"] = bson.ObjectId(f"{number:024}")
    dump = dumped(tmp_path / "jobs.json", documents)
    assert [] == proved(bundled(tmp_path, dump), dump).problems


@pytest.mark.parametrize("number", ["NaN", "sNaN", "-Infinity", "1E+6000"])
def test_a_decimal_that_is_no_finite_number_is_not_counted(number: str, tmp_path: Path) -> None:
    decimal = bson.Decimal128(number)
    document = jobs.job(targetChapters=decimal, chapters=[{"cost": decimal, "tokensUsed": decimal}])
    dump = dumped(tmp_path / "jobs.json", [document])
    assert [] == proved(bundled(tmp_path, dump), dump).problems


def test_reports_must_say_what_the_manifest_says(bundle: Path) -> None:
    """They have no checksum, because they tell of the run's time; so they are held against what has one."""
    report = json.loads((bundle / "report.json").read_bytes())
    report["counts"]["accepted"] += 1
    report["run"]["seconds"] += 1
    (bundle / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    page = "this isn't what convert writes for the figures in report.json"
    assert [
        ("report.json", "counts are not the manifest's"),
        ("report.html", page),
        ("metrics.prom", page),
    ] == [(problem.file, problem.detail) for problem in proved(bundle).problems]
    (bundle / "report.json").write_text("[]")
    (bundle / "metrics.prom").unlink()
    assert [
        ("metrics.prom", "the file is missing"),
        ("report.json", "this is no report of novel-backfill"),
    ] == [(problem.file, problem.detail) for problem in proved(bundle).problems]
