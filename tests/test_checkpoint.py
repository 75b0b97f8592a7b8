"""The checkpoint: what it remembers, what it refuses, and that damage never makes a wrong bundle."""

import os
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from converter import checkpoint as checkpoints
from converter import conversion, mapping
from converter.checkpoint import Checkpoint, Position, State, peek
from converter.errors import CheckpointMismatch, DumpError, Interrupted, OutputError, UsageError
from converter.manifest import Identity, Options, Tool
from converter.progress import Progress
from tests.small_dumps import DIALECTS, bundle, contents, failure, job, jobs, lines, run, write_dump

IDENTITY = Identity(
    tool=Tool(version="1", mapping=1),
    options=Options(queue="q", in_flight="keep", json_format="relaxed", limit=None),
    inputs=[],
)


def state(documents: int) -> State:
    return State(positions=[Position(documents=documents)], files={}, tally={"read": documents})


class Stopping(Progress):
    """Asks the run to stop after a number of documents, as Ctrl-C would."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def advance(self, **totals: int) -> None:
        super().advance(**totals)
        if self.documents == self.after:
            os.kill(os.getpid(), 2)


def stopped(dump: str | tuple[str, ...], out: Path, after: int, **options: Any) -> Path:
    """The folder of a run that was interrupted after so many documents."""
    dumps = (dump,) if isinstance(dump, str) else dump
    request = conversion.ConvertRequest(dumps=dumps, out=str(out), **{"batch_size": 3} | options)
    with pytest.raises(Interrupted):
        conversion.convert(request, Stopping(after))
    return out


def test_remembers_what_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    with Checkpoint(path) as checkpoint:
        assert checkpoint.load() is None
        checkpoint.create(IDENTITY, state(0))
        assert checkpoint.first_seen((b"a", b"b"), 0, 1) is None
        checkpoint.commit(state(2))
        assert checkpoint.first_seen((b"c", b"d"), 0, 2) is None  # never committed
    with Checkpoint(path) as checkpoint:
        assert (IDENTITY, state(2)) == checkpoint.load()
        assert (0, 1) == checkpoint.first_seen((b"a", b"x"), 0, 2)
        assert (0, 1) == checkpoint.first_seen((b"x", b"b"), 0, 3)
        assert checkpoint.first_seen((b"c", b"x"), 1, 4) is None
        assert (1, 4) == checkpoint.first_seen((b"c", b"d"), 1, 5)
        checkpoint.commit(state(5))
    assert (IDENTITY, state(5)) == peek(path)
    with Checkpoint(path) as checkpoint:
        assert (IDENTITY, state(5)) == checkpoint.load()
        checkpoint.discard()
    assert [] == list(tmp_path.iterdir())


def test_peeking_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "check?point#1"
    assert peek(path) is None
    with Checkpoint(path) as checkpoint:
        assert peek(path) is None
        checkpoint.create(IDENTITY, state(1))
        before = path.stat().st_mtime_ns, path.read_bytes()
        assert (IDENTITY, state(1)) == peek(path)
    assert before == (path.stat().st_mtime_ns, path.read_bytes())
    assert [path] == list(tmp_path.iterdir())
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(CheckpointMismatch, match="is damaged: start over with --overwrite"):
        peek(path)
    Path(f"{path}-journal").touch()  # what it belongs to may be half written
    assert peek(path) is None


def test_write_errors(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="can't be written"):
        Checkpoint(tmp_path / "no" / "folder")
    with Checkpoint(tmp_path / "checkpoint") as checkpoint:
        checkpoint.create(IDENTITY, state(0))
        (tmp_path / "checkpoint").unlink()
        with pytest.raises(OutputError, match="checkpoint can't be written: attempt to write a readonly database"):
            checkpoint.first_seen((b"a", b"b"), 0, 0)
        checkpoint.close()
        with pytest.raises(sqlite3.ProgrammingError):  # a bug, and not the disk's fault
            checkpoint.commit(state(1))


def test_fingerprints(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    dump.write_bytes(bytes(200_000))
    same = checkpoints.ends(str(dump))
    assert same[0] == same[1] == checkpoints.window(str(dump), 100_000)
    for at, changed in ((0, [True, False, False]), (199_999, [False, True, False]), (99_999, [False, False, True])):
        data = bytearray(200_000)
        data[at] = 1
        dump.write_bytes(data)
        head, tail = checkpoints.ends(str(dump))
        assert changed == [head != same[0], tail != same[0], checkpoints.window(str(dump), 100_000) != same[0]]
    dump.unlink()
    with pytest.raises(DumpError, match="can't be read: No such file or directory"):
        checkpoints.window(str(dump), 10)


def test_every_corruption(tmp_path: Path) -> None:
    """A flipped bit, a truncation: either it is found, or it made no difference."""
    dump = write_dump(tmp_path / "jobs.json", jobs(14))
    run(dump, tmp_path / "undisturbed")
    expected = bundle(tmp_path / "undisturbed")
    interrupted = stopped(dump, tmp_path / "interrupted", 7)
    checkpoint = (interrupted / "checkpoint.partial").read_bytes()
    out = tmp_path / "out"
    refused = 0

    def resumes(damaged: bytes) -> bool:
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(interrupted, out)
        (out / "checkpoint.partial").write_bytes(damaged)
        error = failure(lambda: run(dump, out, resume=True))
        if error is None:
            assert expected == bundle(out)
            return True
        assert isinstance(error, CheckpointMismatch)
        assert "checkpoint.partial" in str(error)
        assert "--overwrite" in str(error)
        assert not (out / "manifest.json").exists()
        return False

    used = [at for at, byte in enumerate(checkpoint) if byte]
    for at in used[:60] + used[60 :: len(used) // 60]:
        damaged = bytearray(checkpoint)
        damaged[at] ^= 1 << (at % 8)
        refused += not resumes(bytes(damaged))
    assert refused > 60
    cuts = range(1024, len(checkpoint), 1024)
    assert sum(not resumes(checkpoint[:length]) for length in cuts) > len(cuts) // 2
    assert resumes(b"")  # as if there had never been one
    assert not resumes(b"not a database" * 1000)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM identities WHERE document = 1",
        "UPDATE identities SET document = document + 1",
        "UPDATE identities SET dump = -1",
        "INSERT INTO identities VALUES ('text', 'x', 'y')",
        "DROP TABLE identities",
        "UPDATE saved SET json = replace(json, '3', '4')",
        "DELETE FROM saved WHERE name = 'state'",
        "DELETE FROM saved WHERE name = 'identities'",
        "DELETE FROM saved",
    ],
)
def test_every_tampering(tmp_path: Path, statement: str) -> None:
    dump = write_dump(tmp_path / "jobs.json", jobs(14))
    out = stopped(dump, tmp_path / "out", 7)
    database = sqlite3.connect(out / "checkpoint.partial")
    with database:
        database.execute(statement)
    database.close()
    with pytest.raises(CheckpointMismatch, match="start over with --overwrite"):
        run(dump, out, resume=True)


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"queue": "other"}, "--queue was 'novel-generation' and is now 'other'"),
        ({"in_flight": "fail"}, "--in-flight was 'keep' and is now 'fail'"),
        ({"json_format": "canonical"}, "--json-format was 'relaxed' and is now 'canonical'"),
        ({"limit": 10_000}, "--limit was not given and is now 10,000"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("finished", [False, True])
def test_other_options(tmp_path: Path, options: dict[str, Any], difference: str, dry_run: bool, finished: bool) -> None:
    dump = write_dump(tmp_path / "jobs.json", jobs(14))
    out = tmp_path / "out"
    if finished:
        run(dump, out)
    else:
        stopped(dump, out, 7)
    before = contents(out)
    with pytest.raises(CheckpointMismatch) as caught:
        run(dump, out, resume=True, dry_run=dry_run, **options)
    assert difference in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert before == contents(out)


def test_options_that_may_change(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "jobs.json", jobs(14))
    out = stopped(dump, tmp_path / "out", 7)
    run(dump, out, resume=True, batch_size=1, max_rejects="50%", progress="json")
    run(dump, tmp_path / "undisturbed")
    assert bundle(tmp_path / "undisturbed") == bundle(out)


def test_other_version_of_the_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dump = write_dump(tmp_path / "jobs.json", jobs(14))
    out = stopped(dump, tmp_path / "out", 7)
    monkeypatch.setattr(mapping, "VERSION", mapping.VERSION + 1)
    with pytest.raises(CheckpointMismatch, match=rf"the version of the mapping was .* and is now {mapping.VERSION}"):
        run(dump, out, resume=True)


def test_checkpoint_of_a_version_to_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dump = write_dump(tmp_path / "jobs.json", jobs(14))
    with monkeypatch.context() as patch:
        patch.setattr(State, "model_dump_json", lambda self: '{"other": 1}')
        out = stopped(dump, tmp_path / "out", 7)
    for dry_run in (False, True):
        with pytest.raises(CheckpointMismatch, match="made by another version of novel-backfill"):
            run(dump, out, resume=True, dry_run=dry_run)


# Damaged gzip data can't even be opened.
@pytest.mark.parametrize("dialect", ["array", "lines", "bson"])
@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("longer", r"its size in bytes was [0-9,]+ and is now [0-9,]+"),
        ("renamed", r"its name was 'dump' and is now 'other'"),
        ("other head", r"its first 64 KiB differs"),
        ("other tail", r"its last 64 KiB differs"),
        ("other middle", r"what was read of it last differs"),
        ("two", r"the number of dumps was 1 and is now 2"),
    ],
)
def test_other_dump(tmp_path: Path, dialect: str, change: str, difference: str) -> None:
    chance = random.Random(1)
    documents = [job(number, words=0) | {"subgenre": chance.randbytes(4000).hex()} for number in range(50)]
    dump = Path(write_dump(tmp_path / "dump", documents, dialect))
    out = stopped(str(dump), tmp_path / "out", 26)
    data = bytearray(dump.read_bytes())
    dumps: tuple[str, ...] = (str(dump),)
    if change == "longer":
        dump.write_bytes(bytes(data) + b"\n")
    elif change == "renamed":
        dumps = (str(dump.rename(tmp_path / "other")),)
    elif change == "two":
        dumps = (str(dump), str(dump))
    else:
        at = {"other head": 10_000, "other tail": len(data) - 10_000, "other middle": len(data) * 25 // 50}[change]
        data[at : at + 40] = data[at : at + 40].swapcase()
        dump.write_bytes(data)
    with pytest.raises(CheckpointMismatch, match=difference):
        run(dumps, out, resume=True)
    assert not (out / "manifest.json").exists()


def test_resuming_seeks(tmp_path: Path) -> None:
    """Nothing of what was done is read again: here it is no JSON any more, but for the ends that tell the dump."""
    documents = [job(number, words=0) | {"subgenre": "x" * 8000} for number in range(50)]
    dump = Path(write_dump(tmp_path / "dump", documents))
    run(str(dump), tmp_path / "undisturbed")
    out = stopped(str(dump), tmp_path / "out", 26)
    data = bytearray(dump.read_bytes())
    data[70_000:80_000] = b"?" * 10_000
    dump.write_bytes(data)
    run(str(dump), out, resume=True)
    assert bundle(tmp_path / "undisturbed") == bundle(out)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("after", [1, 5, 6, 7, 13])
def test_several_dumps(tmp_path: Path, dialect: str, after: int) -> None:
    """They overlap; the run stops in either, at their ends, and finds duplicates of before the interruption."""
    one = write_dump(tmp_path / "one", [job(number) for number in range(6)], dialect)
    two = write_dump(tmp_path / "two", [job(number) for number in (8, 2, 9, 5)], "lines")
    three = write_dump(tmp_path / "three", [job(number) for number in (9, 10, 11, 10)], dialect)
    dumps = (one, two, three)
    run(dumps, tmp_path / "undisturbed")
    out = stopped(dumps, tmp_path / "out", after)
    summary = run(dumps, out, resume=True)
    assert (14, 10, 4) == (summary.read, summary.accepted, summary.rejected)
    assert bundle(tmp_path / "undisturbed") == bundle(out)
    found = [(reject["dump"], reject["index"], reject["detail"]) for reject in lines(out, "rejects.ndjson")]
    assert [
        ("two", 1, "a job with the same jobId or _id is at index 2 of one"),
        ("two", 3, "a job with the same jobId or _id is at index 5 of one"),
        ("three", 0, "a job with the same jobId or _id is at index 2 of two"),
        ("three", 3, "a job with the same jobId or _id is at index 1 of three"),
    ] == found


def test_nothing_to_resume(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "jobs.json", jobs(14))
    summary = run(dump, tmp_path / "out", resume=True)
    assert (True, False, 14) == (summary.finished, summary.already_finished, summary.read)


def test_resuming_a_finished_bundle(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "jobs.json", jobs(14))
    summary = run(dump, tmp_path / "out")
    before = contents(tmp_path / "out")
    for dry_run in (False, True):
        again = run(dump, tmp_path / "out", resume=True, dry_run=dry_run)
        assert again.already_finished
        assert summary == again.model_copy(update={"already_finished": False, "dry_run": False, "finished": True})
    assert before == contents(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_bytes(b"{}")
    with pytest.raises(CheckpointMismatch, match=r"manifest\.json can't be read: start over with --overwrite$"):
        run(dump, tmp_path / "out", resume=True)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dry_run_with_resume(tmp_path: Path, dialect: str) -> None:
    """The same summary as the real one's, and not a trace: no byte, name or time changes, anywhere."""
    dump = write_dump(tmp_path / "jobs.json", jobs(14), dialect)
    out = stopped(dump, tmp_path / "out", 7)

    def snapshot() -> list[tuple[str, Any, bytes]]:
        return [
            (str(path), (path.stat().st_mtime_ns, path.stat().st_ino), path.read_bytes() if path.is_file() else b"")
            for path in sorted(tmp_path.rglob("*"))
        ]

    before = snapshot()
    rehearsed = run(dump, out, resume=True, dry_run=True)
    assert before == snapshot()
    resumed = run(dump, out, resume=True)
    assert resumed == rehearsed.model_copy(update={"dry_run": False, "finished": True})


def test_dry_run_with_nothing_to_resume(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "jobs.json", jobs(14))
    assert 14 == run(dump, tmp_path / "out", resume=True, dry_run=True).read
    assert not (tmp_path / "out").exists()


def test_streams_can_not_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--resume can't go on: standard input can't be read again: save it to a file"):
        run("-", tmp_path / "out", resume=True)
    assert [] == list(tmp_path.iterdir())
