"""What people hand over instead of a dump, and dumps made to hurt: one line, a way out, and no finished bundle."""

import io
import os
import random
import re
import zipfile
from pathlib import Path

import pytest

from tests.limited import command
from tests.small_dumps import lines

JOB = b'{"_id":{"$oid":"687b0a900000000000000001"}}'
DEEP = 100_000
MILLION = 1_000_000


def zipped() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("jobs.json", b"[" + JOB + b"]")
    return archive.getvalue()


# What it is -> its bytes, and what is said of it behind the name of the file.
REFUSED = {
    "HTML": (b"<!DOCTYPE html><html><body>Sign in", "byte 0: this is HTML"),
    "CSV": (b"_id,status\n1,completed\n", "byte 0: this looks like CSV|byte 0: this is text"),
    "binary": (random.Random(1).randbytes(4096), "byte 0: this is binary data"),
    "empty": (b"", "byte 0: the dump is empty"),
    "white space": (b" \r\n\t", "byte 4: the dump is empty"),
    "zip": (zipped(), "this is a zip archive: unpack it first"),
    "a lone object that is no job": (b'{"ok":0,"errmsg":"unauthorized"}\n', "byte 0, document 0: this is one object"),
    "documents in an object": (b'{"jobs":[' + JOB + b"]}", "byte 0, document 0: this is one object .*'jobs'"),
    "a scalar": (b"42\n", "byte 0: this is a single JSON value"),
    "NaN": (b"[" + JOB + b',{"n":NaN}]', "byte 50, document 1: this is not JSON"),
    "a trailing comma": (b"[" + JOB + b",]", "byte 45, document 1: a comma before the closing"),
    "a trailing comma in an object": (b'[{"a":1,}]', "byte 7, document 0: this is not JSON"),
    "no comma": (b"[" + JOB + JOB + b"]", "byte 44, document 1: .*where a comma"),
    "two arrays": (b"[" + JOB + b"]\n[" + JOB + b"]", "byte 46, document 1: the array is closed"),
    "garbage behind the array": (b"[" + JOB + b"] oops", "byte 46, document 1: 'oops'"),
    "garbage behind a line": (JOB + b"\noops\n", "byte 44, document 1: this is not JSON"),
    "single quotes": (b"[{'_id':1}]", "byte 2, document 0: this is not JSON"),
    "Latin-1": (b'[{"_id":"caf\xe9"}]', "byte 12, document 0: this is not UTF-8"),
    "UTF-16 without a mark": (JOB.decode().encode("utf-16-le"), "byte 0: this looks like UTF-16"),
    "corrupt gzip": (b"\x1f\x8b\x08" + b"garbage" * 9, "byte 0: the gzip data"),
    "corrupt BSON": (b"\x20\0\0\0\x02abc\0" + b"\xff" * 40, "byte 0, document 0: corrupt BSON"),
    "arrays that never close": (b"[" * DEEP, "byte 100,000, document 0: the dump ends"),
    "objects that never close": (b'{"a":' * DEEP, "byte 500,000, document 0: the dump ends"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    data, said = REFUSED[name]
    (tmp_path / "dump").write_bytes(data)
    done = command("convert", "dump", "--out=bundle", "--progress=none", cwd=tmp_path)

    assert (1, b"") == (done.returncode, done.stdout)
    assert 1 == done.stderr.count(b"\n")
    assert re.match(f"novel-backfill: dump(, |: )({said})", done.stderr.decode())
    assert not (tmp_path / "bundle" / "manifest.json").exists()


def odd_job(field: bytes, value: bytes) -> bytes:
    return b'{"_id":{"$oid":"687b0a900000000000000002"},"%s":%s}' % (field, value)


# What it is -> a document that a sound job follows, and the reason for its reject, if it has one.
HURTFUL = {
    "deep arrays": (b"[" * DEEP + b"]" * DEEP, "nested-too-deep"),
    "deep objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "nested-too-deep"),
    "deep arrays in a job": (odd_job(b"metadata", b"[" * DEEP + b"]" * DEEP), "nested-too-deep"),
    "deep objects in a job": (odd_job(b"analysis", b'{"a":' * DEEP + b"1" + b"}" * DEEP), "nested-too-deep"),
    "over 16 MiB": (odd_job(b"blob", b'"' + b"x" * (17 << 20) + b'"'), "document-too-large"),
    "over 64 MiB": (odd_job(b"blob", b'"' + b"x" * (65 << 20) + b'"'), "document-too-large"),
    "a million numbers": (odd_job(b"tags", b"[" + b",".join([b"7"] * MILLION) + b"]"), None),
    "twenty thousand misplaced": (odd_job(b"chapters", b"[" + b",".join([b"7"] * 20_000) + b"]"), None),
    "a hundred thousand keys": (
        odd_job(b"map", b"{" + b",".join(b'"$%d.":1' % n for n in range(MILLION // 10)) + b"}"),
        None,
    ),
    "an integer of a million digits": (odd_job(b"n", b"7" * MILLION), "number-too-long"),
}


@pytest.mark.parametrize("name", HURTFUL)
def test_survived(name: str, tmp_path: Path) -> None:
    document, reason = HURTFUL[name]
    (tmp_path / "dump").write_bytes(b"[" + document + b",\n" + JOB + b"]\n")
    done = command("convert", "dump", "--out=bundle", "--progress=none", cwd=tmp_path)
    out = tmp_path / "bundle"

    assert (0 if reason is None else 3, b"") == (done.returncode, done.stderr)
    accepted = [job["jobId"][-1] for job in lines(out, "novel_jobs.ndjson")]
    assert (["2", "1"] if reason is None else ["1"]) == accepted
    if reason is not None:
        assert [reason] == [reject["reason"] for reject in lines(out, "rejects.ndjson")]


def test_embedded_events_are_given_up_before_the_job(tmp_path: Path) -> None:
    decisions = b",".join(b'{"id":"%d","type":"t","summary":"%s"}' % (n, b"s" * 40_000) for n in range(60))
    job = odd_job(b"metadata", b'{"aiDecisions":[' + decisions + b"]}")
    content = b'"chapters":[{"content":"' + b"x" * (15 << 20) + b'"}]'
    (tmp_path / "dump").write_bytes(job[:-1] + b"," + content + b"}")
    done = command("convert", "dump", "--out=bundle", "--progress=none", cwd=tmp_path)

    assert (0, b"") == (done.returncode, done.stderr)
    assert b"embedded-events-dropped" in done.stdout
    (kept,) = lines(tmp_path / "bundle", "novel_jobs.ndjson")
    assert ([], []) == (kept["events"], kept["domainEvents"])
    assert 60 == [event["kind"] for event in lines(tmp_path / "bundle", "novel_job_events.ndjson")].count("domain")


# ---------------------------------------------------------------------------------------------------- names and paths


@pytest.mark.parametrize(
    "name", ["007", "-x.json", "--resume", "a b,c'd\".json", "1e5", "None", "jörg 日本.json", b"not \xff UTF-8.json"]
)
def test_any_name_of_a_file(name: str | bytes, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(name)).write_bytes(b"[" + JOB + b"]")
    done = command("convert", "--out=bundle", "--progress=none", "--", name, cwd=tmp_path)

    assert (0, b"") == (done.returncode, done.stderr)
    assert b"1 documents read: 1 accepted, 0 rejected" in done.stdout
    assert 1 == len(lines(tmp_path / "bundle", "novel_jobs.ndjson"))


@pytest.mark.parametrize("name", ["folder", "missing", "missing/jobs.json", "folder/../missing"])
def test_paths_that_are_no_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    done = command("convert", name, "--out=bundle", cwd=tmp_path)

    assert (1, b"", 1) == (done.returncode, done.stdout, done.stderr.count(b"\n"))
    said = "this is a folder" if name == "folder" else "there is no such file"
    assert done.stderr.decode().startswith(f"novel-backfill: {name}: {said}")
    assert not (tmp_path / "bundle").exists()
