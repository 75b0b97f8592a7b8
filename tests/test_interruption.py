"""Killed at any instant, resumed, and byte-identical to a run that nobody disturbed."""

import errno
import hashlib
import itertools
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from converter import disk, engines, outputs, storage
from converter.bundle import Bundle
from converter.conversion import ConvertRequest, convert
from converter.errors import (
    BackfillError,
    CheckpointMismatch,
    DumpChanged,
    DumpError,
    Interrupted,
    OutputError,
    OutputExists,
    TooManyRejects,
)
from converter.progress import Progress
from tests.small_dumps import DIALECTS, bundle, contents, failure, job, jobs, run, write_dump

JOBS = 14
POINTS = ("started", "written", "synced", "committed", "removed", "renamed", "published")

# From Python 3.12 on, forking beside other threads (those of pytest-xdist) gives a warning.
# Measuring coverage takes as long as the tests themselves, and others come to the same places.
pytestmark = [pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"), pytest.mark.no_cover]


@pytest.fixture(autouse=True)
def chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small enough that the thread that writes has something to do. The real command is left as it is."""
    monkeypatch.setattr(outputs, "_CHUNK", 1000)
    monkeypatch.setattr(outputs, "_MOST_UNDER_WAY", 3000)
    monkeypatch.setattr(outputs, "_AHEAD", 5000)


@pytest.fixture(params=DIALECTS)
def dump(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return write_dump(tmp_path / "dump", jobs(JOBS), request.param)


@pytest.fixture
def array(tmp_path: Path) -> str:
    return write_dump(tmp_path / "dump", jobs(JOBS))


def undisturbed(dump: str, tmp_path: Path) -> dict[str, Any]:
    run(dump, tmp_path / "undisturbed")
    return bundle(tmp_path / "undisturbed")


def in_child(work: Callable[[], object]) -> tuple[int, str]:
    """Does ``work`` in a forked process: its status as ``waitpid`` gives it, and the error it ended with, if any."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            disk._passed.clear()
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            work()
            os._exit(0)
        except BackfillError as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
            os._exit(1)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(2)
    os.close(writer)
    with open(reader, "rb") as pipe:
        message = pipe.read().decode()
    return os.waitpid(child, 0)[1], message


def killed(dump: str, out: Path, at: str, **options: Any) -> bool:
    """Converts in a process that dies at a crash point, unless it never comes there."""

    def work() -> None:
        os.environ["BACKFILL_CRASH_AT"] = at
        run(dump, out, **options)

    status, message = in_child(work)
    assert status in (0, signal.SIGKILL), (at, status, message)
    return status == signal.SIGKILL


def assert_finished_means_whole(out: Path) -> None:
    """A bundle that says that it is finished has every file that it lists, as it lists it."""
    if (out / "manifest.json").exists():
        for line in (out / "SHA256SUMS").read_text().splitlines():
            expected, name = line.split("  ")
            assert expected == hashlib.sha256((out / name).read_bytes()).hexdigest(), name


def every_passing(dump: str, out: Path, prepare: Callable[[], object], **options: Any) -> Iterator[str]:
    """Kills at each passing of each point, always from what ``prepare`` leaves, and yields behind each kill."""
    for point in POINTS:
        for passing in itertools.count(1):
            prepare()
            if not killed(dump, out, f"{point}:{passing}", **options):
                break
            yield f"{point}:{passing}"


def test_killed_once_at_every_point(array: str, tmp_path: Path) -> None:
    expected = undisturbed(array, tmp_path)
    out = tmp_path / "out"
    points = []
    for point in every_passing(array, out, lambda: shutil.rmtree(out, ignore_errors=True), batch_size=7):
        points.append(point)
        assert_finished_means_whole(out)
        run(array, out, resume=True)
        assert expected == bundle(out), point
    assert set(POINTS) == {point.partition(":")[0] for point in points}
    assert len(points) > 40


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_every_point_while_parts_are_made(
    array: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(engines, "PART_BYTES", 6000)
    run(array, tmp_path / "undisturbed", parts=True)
    expected = bundle(tmp_path / "undisturbed")
    out = tmp_path / "out"
    points = 0
    for point in every_passing(array, out, lambda: shutil.rmtree(out, ignore_errors=True), parts=True, workers=workers):
        points += 1
        assert_finished_means_whole(out)
        run(array, out, resume=True, parts=True, workers=1)
        assert expected == bundle(out), point
    assert points > 40


def test_killed_while_overwriting_at_every_point(array: str, tmp_path: Path) -> None:
    """The old bundle stays whole until the new one is complete."""
    expected = undisturbed(array, tmp_path)
    out = tmp_path / "out"
    other = write_dump(tmp_path / "other", [job(99), {"no": "job"}])
    (out / "of mine").parent.mkdir()
    (out / "of mine").write_text("unrelated")
    expected["of mine"] = b"unrelated"

    old: dict[str, bytes] = {}

    def old_bundle() -> None:
        for name in (path.name for path in out.iterdir() if path.name != "of mine"):
            (out / name).unlink()
        run(other, out)
        old.clear()
        old.update(contents(out))

    old_bundle()
    for point in every_passing(array, out, old_bundle, overwrite=True, batch_size=7):
        assert_finished_means_whole(out)
        if point.startswith(("started", "written", "synced", "committed")):
            assert old == {name: content for name, content in contents(out).items() if name in old}, point
        run(array, out, resume=True)
        assert expected == bundle(out), point


# One passing of each point: what the main process does is the same whoever converts. The others read a part of a plain
# dump each, and are handed the documents of a compressed one.
@pytest.mark.parametrize(
    ("dialect", "points"),
    [
        ("array", ("started:1", "written:3", "synced:8", "committed:4", "removed:1", "renamed:5", "published:1")),
        ("gzip", ("written:4", "committed:3")),
    ],
)
def test_killed_with_workers(dialect: str, points: tuple[str, ...], tmp_path: Path) -> None:
    """Documents large enough that each worker has several turns."""
    documents = [document | {"premise": "“Yes,” — naïve " * 20_000} for document in jobs(JOBS)]
    dump = write_dump(tmp_path / "dump", documents, dialect)
    expected = undisturbed(dump, tmp_path)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "converter", "convert", dump, f"--out={out}", "--batch-size=3", "--workers=2"]
    for number, at in enumerate(points):
        environment = os.environ | {"BACKFILL_CRASH_AT": at}
        # It waits for the workers too: they hold the other end of its pipes.
        result = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert -signal.SIGKILL == result.returncode, (at, result.stderr)
        assert_finished_means_whole(out)
        assert run(dump, out, resume=True, workers=1 + number % 2).finished
        assert expected == bundle(out), at
        shutil.rmtree(out)


@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again(dump: str, tmp_path: Path, seed: int) -> None:
    expected = undisturbed(dump, tmp_path)
    out = tmp_path / "out"
    chance = random.Random(seed)
    kills = 0
    while kills < 10:
        at = f"{chance.choice(POINTS)}:{chance.randint(1, 8)}"
        if killed(dump, out, at, resume=True, batch_size=chance.randint(1, 4)):
            kills += 1
            assert_finished_means_whole(out)
        else:
            assert expected == bundle(out), at
            shutil.rmtree(out)
    run(dump, out, resume=True)
    assert expected == bundle(out)


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_instants(dump: str, tmp_path: Path, seed: int) -> None:
    expected = undisturbed(dump, tmp_path)
    out = tmp_path / "out"
    chance = random.Random(seed)
    kills = 0
    while kills < 8:
        delay = chance.uniform(0.0005, 0.05)

        def work(delay: float = delay) -> None:
            signal.setitimer(signal.ITIMER_REAL, delay)  # SIGALRM is caught by nobody, so as deadly as SIGKILL
            run(dump, out, resume=True, batch_size=1)

        status, message = in_child(work)
        assert status in (0, signal.SIGALRM), (status, message)
        if status:
            kills += 1
            assert_finished_means_whole(out)
        else:
            assert expected == bundle(out)
            shutil.rmtree(out)
    run(dump, out, resume=True)
    assert expected == bundle(out)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_real_command_is_killed(dialect: str, tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", jobs(JOBS), dialect)
    expected = undisturbed(dump, tmp_path)
    command = [sys.executable, "-m", "converter", "convert", dump, f"--out={tmp_path / 'out'}", "--batch-size=3"]
    for at in ("synced:7", "committed:2", "renamed:3"):
        environment = os.environ | {"BACKFILL_CRASH_AT": at}
        result = subprocess.run([*command, "--resume"], env=environment, capture_output=True, check=False)
        assert -signal.SIGKILL == result.returncode, result.stderr
    result = subprocess.run([*command, "--resume"], capture_output=True, check=False)
    assert 3 == result.returncode, result.stderr  # finished with rejects
    assert expected == bundle(tmp_path / "out")


class Signalling(Progress):
    """Sends signals to its own process when a number of documents is done."""

    def __init__(self, after: int, *signals: signal.Signals) -> None:
        super().__init__()
        self.after = after
        self.signals = signals

    def advance(self, **totals: int) -> None:
        super().advance(**totals)
        if self.documents == self.after:
            for number in self.signals:
                os.kill(os.getpid(), number)


def request(dump: str, out: Path, **options: Any) -> ConvertRequest:
    return ConvertRequest(dumps=(dump,), out=str(out), **{"batch_size": 3} | options)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_ends_at_a_checkpoint(array: str, tmp_path: Path, number: signal.Signals) -> None:
    expected = undisturbed(array, tmp_path)
    out = tmp_path / "out"
    handlers = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    with pytest.raises(Interrupted) as caught:
        convert(request(array, out, batch_size=1000), Signalling(7, number))
    assert 130 == caught.value.exit_code
    command = f"novel-backfill convert {array} --out={out} --resume --batch-size=1000"
    assert f"interrupted after 7 documents; go on with: {command}" == str(caught.value)
    assert handlers == [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    resumed = Signalling(8)  # no signal: only to see where it begins
    convert(request(array, out, resume=True), resumed)
    assert expected == bundle(out)


def test_second_signal_ends_at_once(array: str, tmp_path: Path) -> None:
    expected = undisturbed(array, tmp_path)
    out = tmp_path / "out"
    with pytest.raises(Interrupted, match=r"^stopped at once; go on with: novel-backfill convert "):
        convert(request(array, out), Signalling(7, signal.SIGTERM, signal.SIGINT))
    run(array, out, resume=True)
    assert expected == bundle(out)


def test_interrupted_dry_run_leaves_nothing(array: str, tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match=r"^interrupted after 7 documents; nothing was written$"):
        convert(request(array, tmp_path / "out", dry_run=True), Signalling(7, signal.SIGINT))
    assert not (tmp_path / "out").exists()


def test_the_printed_command_resumes(tmp_path: Path) -> None:
    """Ctrl-C in a real run whose arguments need quoting; then exactly what it printed."""
    dump = write_dump(tmp_path / "my jobs.json", jobs(120))
    out = tmp_path / "it's out"
    backfill = [sys.executable, "-m", "converter"]
    run(dump, tmp_path / "undisturbed", queue="a b")
    process = subprocess.Popen(
        [*backfill, "convert", dump, f"--out={out}", "--batch-size=1", "--queue=a b"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    first = out / "novel_jobs.ndjson.partial"
    while not (first.exists() and first.stat().st_size):  # some 100 checkpoints are to come
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (130, "") == (process.returncode, stdout)
    *_, message = stderr.splitlines()
    program, *words = shlex.split(message.partition("go on with: ")[2])
    assert "novel-backfill" == program
    result = subprocess.run([*backfill, *words], capture_output=True, check=False)
    assert 3 == result.returncode, result.stderr
    assert bundle(tmp_path / "undisturbed") == bundle(out)


@pytest.mark.parametrize("limit", [0, 100, 3000, 5000, 9000, 12_000, 16_000, 20_000, 24_000])
def test_no_file_can_grow_beyond_a_limit(tmp_path: Path, limit: int) -> None:
    """What a full disk or quota does, wherever it happens: to an output, to the checkpoint or to the manifest."""
    dump = write_dump(tmp_path / "dump", jobs(JOBS))
    expected = undisturbed(dump, tmp_path)
    out = tmp_path / "out"

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        run(dump, out)

    status, message = in_child(work)
    assert 1 == os.waitstatus_to_exitcode(status)
    assert message.startswith("OutputError: ")
    assert 1 == len(message.splitlines())
    assert str(out) in message
    if limit:  # else not even the lock could be written
        advice = "nothing was converted; start over with: " if limit < 20_000 else "go on with: "  # a checkpoint fits
        assert f"; {advice}novel-backfill convert " in message
    run(dump, out, resume=True)
    assert expected == bundle(out)


@pytest.mark.parametrize("name", ["fsync", "replace", "ftruncate", "unlink", "open"])
def test_failing_calls(monkeypatch: pytest.MonkeyPatch, array: str, tmp_path: Path, name: str) -> None:
    """The call fails at its first use, at its second, and so on until a run needs no more of them."""
    expected = undisturbed(array, tmp_path)
    out = tmp_path / "out"
    real = getattr(os, name)
    for fatal in itertools.count(1):
        shutil.rmtree(out, ignore_errors=True)
        calls = itertools.count(1)

        def failing(
            path: Any, *arguments: Any, calls: Iterator[int] = calls, fatal: int = fatal, **options: Any
        ) -> Any:
            if (isinstance(path, int) or str(path).startswith(str(out))) and next(calls) == fatal:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            return real(path, *arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, name, failing)
            error = failure(lambda: run(array, out, batch_size=7))
        if error is None:
            break
        assert isinstance(error, OutputError)
        assert "No space left on device" in str(error)
        assert_finished_means_whole(out)
        run(array, out, resume=True)
        assert expected == bundle(out), fatal
    assert fatal > (1 if name == "unlink" else 3)  # all that there is to remove is the checkpoint


class FailingFile(FileIO):
    """A disk that can't be read any more behind some byte."""

    readable_bytes = 9000

    def readinto(self, buffer: Any) -> int:
        if self.tell() + len(buffer) > self.readable_bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().readinto(buffer)

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= self.readable_bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(min(size or -1, self.readable_bytes - self.tell()))


def test_dump_that_can_not_be_read_on(monkeypatch: pytest.MonkeyPatch, dump: str, tmp_path: Path) -> None:
    expected = undisturbed(dump, tmp_path)
    out = tmp_path / "out"
    monkeypatch.setattr(FailingFile, "readable_bytes", os.path.getsize(dump) * 2 // 3)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "FileIO", FailingFile)
        with pytest.raises(DumpError, match="documents before it are converted") as caught:
            run(dump, out, batch_size=1000)
    assert "Input/output error" in str(caught.value)
    assert str(caught.value).endswith(
        f"go on with: novel-backfill convert {dump} --out={out} --resume --batch-size=1000"
    )
    assert not (out / "manifest.json").exists()
    run(dump, out, resume=True)
    assert expected == bundle(out)


def test_truncated_dump(array: str, tmp_path: Path) -> None:
    whole = Path(array).read_bytes()
    Path(array).write_bytes(whole[: len(whole) * 2 // 3])
    out = tmp_path / "out"
    with pytest.raises(DumpError, match=r"byte [0-9,]+, document 9: .*; the 9 documents before it are converted; "):
        run(array, out)
    assert not (out / "manifest.json").exists()
    Path(array).write_bytes(whole)
    with pytest.raises(CheckpointMismatch, match="its size in bytes was "):
        run(array, out, resume=True)
    run(array, out, overwrite=True)
    assert undisturbed(array, tmp_path) == bundle(out)


def test_one_document_is_no_documents(array: str, tmp_path: Path) -> None:
    Path(array).write_bytes(b'[{"_id":"a"},{"_id":')
    with pytest.raises(DumpError, match="; the 1 document before it is converted; with another dump"):
        run(array, tmp_path / "out")


def test_dump_that_is_broken_from_the_start(tmp_path: Path) -> None:
    """There is nothing to go on from, so nobody is told to."""
    path = tmp_path / "my dump"
    path.write_text('[{"_id":')
    out = tmp_path / "out"
    with pytest.raises(DumpError) as caught:
        run(str(path), out)
    *_, advice = str(caught.value).split("; ")
    assert f"start over with: novel-backfill convert '{path}' --out={out} --overwrite --batch-size=3" == advice
    assert "; nothing was converted; " in str(caught.value)
    write_dump(path, jobs(JOBS))
    run(str(path), out, overwrite=True)
    assert undisturbed(str(path), tmp_path) == bundle(out)


def test_broken_dump_that_is_rehearsed(array: str, tmp_path: Path) -> None:
    with open(array, "r+b") as file:
        file.truncate(9000)
    with pytest.raises(DumpError, match=r"; nothing was written$"):
        run(array, tmp_path / "out", dry_run=True)
    assert not (tmp_path / "out").exists()


class Changing(Progress):
    """Changes the dump in the middle of the run."""

    def __init__(self, change: Callable[[], object]) -> None:
        super().__init__()
        self.change = change

    def advance(self, **totals: int) -> None:
        super().advance(**totals)
        if self.documents == 7:
            self.change()


def test_batches_are_counted_on(array: str, tmp_path: Path) -> None:
    """One ended with the 3rd document, one with the 5th, where the run was interrupted: the 7th is in the third."""
    out = tmp_path / "out"
    with pytest.raises(Interrupted):
        convert(request(array, out), Signalling(5, signal.SIGINT))
    seen: list[int] = []
    progress = Changing(lambda: seen.append(progress.batch))
    convert(request(array, out, resume=True), progress)
    assert [3] == seen


@pytest.mark.parametrize("change", ["grows", "shrinks", "is replaced", "is touched", "vanishes"])
def test_dump_that_changes_while_it_is_read(array: str, tmp_path: Path, change: str) -> None:
    path = Path(array)
    other = tmp_path / "other"
    other.write_bytes(path.read_bytes())
    changes: dict[str, Callable[[], object]] = {
        "grows": lambda: path.write_bytes(path.read_bytes() + b"\n"),
        "shrinks": lambda: os.truncate(path, 9000),
        "is replaced": lambda: other.rename(path),
        "is touched": lambda: os.utime(path, (1, 1)),
        "vanishes": path.unlink,
    }
    out = tmp_path / "out"
    with pytest.raises(DumpChanged, match="it changed while it was being read"):
        convert(request(array, out), Changing(changes[change]))
    assert not (out / "manifest.json").exists()
    write_dump(path, jobs(JOBS))
    run(array, out, resume=True)  # begins again: what was made of the old dump isn't trusted
    assert undisturbed(array, tmp_path) == bundle(out)


def test_dump_that_changes_while_it_is_rehearsed(array: str, tmp_path: Path) -> None:
    with pytest.raises(DumpChanged, match="it changed while it was being read"):
        convert(request(array, tmp_path / "out", dry_run=True), Changing(lambda: os.utime(array, (1, 1))))


def test_two_processes(array: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with Bundle(out, str(out)):
            os.write(writer, b"locked")
            signal.pause()
    assert b"locked" == os.read(reader, 6)
    os.close(reader)
    os.close(writer)
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(OutputExists, match=f"in use by another process, {child}: "):
            run(array, out, **options)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert (out / "lock.partial").exists()
    assert run(array, out).finished
    assert undisturbed(array, tmp_path) == bundle(out)


@pytest.mark.parametrize(("allowed", "converted"), [("0", 6), ("1", 9)])
def test_too_many_rejects_and_then_more_allowed(array: str, tmp_path: Path, allowed: str, converted: int) -> None:
    out = tmp_path / "out"
    progress = Progress()
    with pytest.raises(TooManyRejects) as caught:
        convert(request(array, out, max_rejects=allowed), progress)
    assert converted == progress.documents
    assert str(caught.value).endswith(f"go on with: novel-backfill convert {array} --out={out} --resume --batch-size=3")
    with pytest.raises(TooManyRejects):
        convert(request(array, out, max_rejects=allowed, resume=True), progress)
    assert converted == progress.documents
    run(array, out, max_rejects="2", resume=True)
    assert undisturbed(array, tmp_path) == bundle(out)
