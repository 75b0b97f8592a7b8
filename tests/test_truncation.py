"""A dump that ends too early never becomes a finished bundle, wherever it ends; what was whole before is kept."""

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import bson
import pytest
from bson import ObjectId

from converter import checkpoint
from converter.errors import CheckpointMismatch, DumpError
from tests.small_dumps import contents, failure, lines, run

# Measuring coverage takes as long as the tests themselves, and others come to the same places.
pytestmark = pytest.mark.no_cover

# As small as a job can be, because there is a run for every byte of them.
JOBS = [{"_id": ObjectId(f"687b0a90000000000000000{number}")} for number in range(3)]
TEXTS = [b'{"_id":{"$oid":"%s"}}' % str(job["_id"]).encode() for job in JOBS]
ARRAY = b"[" + b",".join(TEXTS) + b"]\n"
DUMPS = {
    "array": ARRAY,
    "lines": b"".join(text + b"\n" for text in TEXTS),
    "bson": b"".join(map(bson.encode, JOBS)),
    "gzip": gzip.compress(ARRAY, mtime=0),
}
# Where else than at its very end a dump may end, and how many documents it has then: nobody could tell that there
# were more.
LEGAL_ENDS = {
    "array": {len(ARRAY) - 1: 3},  # only the newline is missing
    "lines": {len(b"\n".join(TEXTS[:count])) + newline: count for count in (1, 2, 3) for newline in (0, 1)},
    "bson": {22 * count: count for count in (1, 2)},
    "gzip": {},
}


@pytest.fixture(autouse=True)
def _not_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the disk has it is not the question here, and takes nearly all of the time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(checkpoint, "_DURABLE", "PRAGMA synchronous = OFF")


def cut(data: bytes, at: int, tmp_path: Path) -> str:
    dump = tmp_path / "dump"
    dump.write_bytes(data[:at])
    return str(dump)


def kept(out: Path) -> int:
    """How many jobs an unfinished bundle holds."""
    partial = out / "novel_jobs.ndjson.partial"
    return len(lines(out, partial.name)) if partial.exists() else 0


def whole_documents(dialect: str, at: int) -> int | None:
    """How many documents end before this byte; None where compression hides it."""
    if dialect == "gzip":
        return None
    start = 1 if dialect == "array" else 0
    size = 22 if dialect == "bson" else len(TEXTS[0]) + 1
    gap = 0 if dialect == "bson" else 1
    return sum(start + size * count - gap <= at for count in (1, 2, 3))


@pytest.mark.parametrize("dialect", DUMPS)
def test_cut_at_every_byte(dialect: str, tmp_path: Path) -> None:
    data = DUMPS[dialect]
    for at in range(len(data)):
        out = tmp_path / str(at)
        error = failure(lambda at=at, out=out: run(cut(data, at, tmp_path), out))
        if at in LEGAL_ENDS[dialect]:
            assert (at, None, LEGAL_ENDS[dialect][at]) == (at, error, len(lines(out, "novel_jobs.ndjson")))
            continue
        assert isinstance(error, DumpError), at
        assert "\n" not in str(error)
        assert not (out / "manifest.json").exists()
        expected = whole_documents(dialect, at)
        assert (at, kept(out)) == (at, kept(out) if expected is None else expected)


@pytest.mark.parametrize("dialect", DUMPS)
def test_resuming_a_cut_dump(dialect: str, tmp_path: Path) -> None:
    # The same dump ends in the same error. The whole dump is another one: its first part may have changed too.
    data = DUMPS[dialect]
    at = len(data) - 3
    out = tmp_path / "bundle"
    errors = [
        failure(lambda resume=resume: run(cut(data, at, tmp_path), out, resume=resume)) for resume in (False, True)
    ]
    left = contents(out)

    assert str(errors[0]) == str(errors[1])
    refusal = failure(lambda: run(cut(data, len(data), tmp_path), out, resume=True))
    assert isinstance(refusal, CheckpointMismatch)
    assert re.search(r"bytes.*start over with --overwrite", str(refusal))
    assert left == contents(out)

    run(cut(data, len(data), tmp_path), out, overwrite=True)
    assert len(JOBS) == len(lines(out, "novel_jobs.ndjson"))


@pytest.mark.parametrize("dialect", DUMPS)
def test_what_the_command_says(dialect: str, tmp_path: Path) -> None:
    data = DUMPS[dialect]
    cut(data, len(data) - 3, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "converter", "convert", "dump", "--out=bundle", "--progress=none"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert (1, "") == (done.returncode, done.stdout)
    assert 1 == done.stderr.count("\n")
    # The file, the place (but for the compressed), the cause, what was done, and the way out.
    place = "dump" if dialect == "gzip" else r"dump, byte \d+"
    pattern = rf"novel-backfill: {place}.*(truncated|ends).*; the \d documents before it are converted; .*--resume"
    assert re.match(pattern, done.stderr)
    assert not (tmp_path / "bundle" / "manifest.json").exists()


def test_several_dumps_of_which_the_last_is_cut(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.write_bytes(DUMPS["bson"])
    other = tmp_path / "other"
    other.write_bytes(b'{"_id":{"$oid":"687b0a9000000000000000aa"}}\n{"_id"')
    out = tmp_path / "bundle"
    errors = [
        failure(lambda resume=resume: run((str(whole), str(other)), out, resume=resume)) for resume in (False, True)
    ]

    assert [str(errors[0])] * 2 == [str(error) for error in errors]
    assert 4 == kept(out)
    assert not (out / "manifest.json").exists()
