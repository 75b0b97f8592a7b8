"""The bundle's folder: what may be in it, what is touched in it, and the truncation of what no checkpoint knows."""

import errno
import hashlib
import io
import os
import random
import shutil
import signal
import stat
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from converter import bundle as bundle_module
from converter import disk, outputs
from converter.bundle import Bundle
from converter.disk import crash_point
from converter.errors import CheckpointMismatch, OutputError, OutputExists
from converter.layout import BUNDLE_FILES, DATA_FILES, partial
from converter.outputs import Output, Outputs
from converter.progress import Progress
from tests.small_dumps import bundle, contents, failure, jobs, run, write_dump


@pytest.fixture
def dump(tmp_path: Path) -> str:
    return write_dump(tmp_path / "jobs.json", jobs(14))


@pytest.fixture
def interrupted(dump: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that died with more in its outputs than its last checkpoint knows."""
    out = tmp_path / "out"
    passings = 0

    def die(name: str) -> None:
        nonlocal passings
        passings += name == "written"
        if passings == 3:
            raise RuntimeError("dead")

    with monkeypatch.context() as patch:
        patch.setattr(outputs, "crash_point", die)
        with pytest.raises(RuntimeError, match="dead"):
            run(dump, out)
    return out


GROWING = [*map(partial, DATA_FILES.values()), "rejects.ndjson.partial"]


@pytest.mark.parametrize("name", GROWING)
def test_every_length_beyond_the_checkpoint(dump: str, interrupted: Path, tmp_path: Path, name: str) -> None:
    """Whatever a crash leaves behind the checkpointed length, less or more or garbage, is cut off."""
    run(dump, tmp_path / "undisturbed")
    expected = bundle(tmp_path / "undisturbed")
    written = (interrupted / name).read_bytes()
    out = tmp_path / "copy"
    shorter, lengths = 0, range(0, len(written) + 1, max(len(written) // 40, 1))
    for length in (*lengths, len(written)):
        shutil.copytree(interrupted, out)
        (out / name).write_bytes(written[:length])
        error = failure(lambda: run(dump, out, resume=True))
        if error is None:
            assert expected == bundle(out), length
        else:
            shorter += 1
            assert isinstance(error, CheckpointMismatch)
            assert f"{out / name} isn't what the last checkpoint left: start over with --overwrite" == str(error)
            assert not (out / "manifest.json").exists()
        shutil.rmtree(out)
    with open(interrupted / name, "ab") as file:
        file.write(b"\0" * 100_000)
    run(dump, interrupted, resume=True)
    assert expected == bundle(interrupted)
    if name != "rejects.ndjson.partial":  # whose checkpointed length may be all there is
        assert 0 < shorter < len(lengths)


@pytest.mark.parametrize("name", GROWING)
def test_damage_before_the_checkpoint(dump: str, interrupted: Path, name: str) -> None:
    content = bytearray((interrupted / name).read_bytes())
    content[10] ^= 1
    (interrupted / name).write_bytes(content)
    with pytest.raises(CheckpointMismatch, match=f"{name} isn't what the last checkpoint left"):
        run(dump, interrupted, resume=True)
    (interrupted / name).unlink()
    with pytest.raises(CheckpointMismatch, match=f"{name} isn't what the last checkpoint left"):
        run(dump, interrupted, resume=True)
    assert run(dump, interrupted, overwrite=True).finished


@pytest.mark.parametrize("damaged", ["novel_jobs.ndjson", "manifest.json"])
@pytest.mark.parametrize("missing", [False, True])
def test_damage_while_publishing(
    dump: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str, missing: bool
) -> None:
    """One file already has its final name, one has not; both are looked at before publishing goes on."""
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(bundle_module, "crash_point", lambda name: 1 / 0 if name == "renamed" else None)
        with pytest.raises(ZeroDivisionError):
            run(dump, out)
    path = out / damaged if (out / damaged).exists() else out / partial(damaged)
    path.unlink() if missing else path.write_bytes(b"{}")
    with pytest.raises(
        CheckpointMismatch, match="is missing: " if missing else "isn't what the last checkpoint left: "
    ):
        run(dump, out, resume=True)
    assert not (out / "manifest.json").exists()


def test_checksums_and_modes(dump: str, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    run(dump, out)
    listed = dict(reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text().splitlines())
    files = contents(out)
    assert {*BUNDLE_FILES} == set(files)
    for name in ("SHA256SUMS", "report.json", "report.html", "metrics.prom"):  # itself, and what tells of the clock
        del files[name]
    assert {name: hashlib.sha256(content).hexdigest() for name, content in files.items()} == listed
    assert 0o700 == stat.S_IMODE(out.stat().st_mode)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()}
    assert {name: 0o700 if name == "import.sh" else 0o600 for name in BUNDLE_FILES} == modes


def test_unfinished_files_are_private(interrupted: Path) -> None:
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in interrupted.iterdir()}


def test_unrelated_files_are_never_touched(dump: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "folder").mkdir(parents=True)
    unrelated = {"notes.txt": b"mine", "novel_jobs.ndjson.bak": b"too", "jobs.partial": b"and this"}
    for name, content in unrelated.items():
        (out / name).write_bytes(content)
    run(dump, out)
    run(dump, out, overwrite=True)
    assert (out / "folder").is_dir()
    assert unrelated == {name: (out / name).read_bytes() for name in unrelated}


@pytest.mark.parametrize("name", BUNDLE_FILES)
def test_existing_files_of_a_bundle_are_never_replaced(dump: str, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_bytes(b"mine")
    with pytest.raises(OutputExists, match=rf"\({name}\): replace it with --overwrite, or choose another --out$"):
        run(dump, out)
    assert {name: b"mine"} == contents(out)
    if name != "manifest.json":
        with pytest.raises(OutputExists, match=rf"\({name}\): replace it with --overwrite, or choose another --out$"):
            run(dump, out, resume=True)
    run(dump, out, overwrite=True)
    assert b"mine" not in contents(out).values()


@pytest.mark.parametrize("name", ["report.json", "novel_jobs.ndjson.partial", "novel_jobs.part-00000.ndjson"])
@pytest.mark.parametrize("option", ["overwrite", "resume"])
def test_a_dump_is_never_replaced_by_its_own_bundle(dump: str, tmp_path: Path, name: str, option: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(dump, out / name)
    before = contents(out)
    link = tmp_path / "link"
    link.symlink_to(out / name)
    for path in (out / name, link):
        with pytest.raises(OutputExists, match=rf"{path} would be lost, because the bundle in .* needs its name"):
            run(str(path), out, **{option: True})
    assert before == contents(out)


def test_leftovers_are_never_replaced(dump: str, interrupted: Path) -> None:
    before = contents(interrupted)
    with pytest.raises(OutputExists) as caught:
        run(dump, interrupted)
    assert (
        f"{interrupted} holds what an interrupted run left (checkpoint.partial): "
        "go on with --resume, or start over with --overwrite" == str(caught.value)
    )
    assert before == contents(interrupted)


def test_overwriting_removes_stale_files(dump: str, tmp_path: Path) -> None:
    """The new run has no rejects: those of the old one would tell a lie."""
    out = tmp_path / "out"
    run(dump, out)
    assert (out / "rejects.ndjson").exists()
    good = write_dump(tmp_path / "good.json", jobs(3))
    run(good, out, overwrite=True)
    run(good, tmp_path / "undisturbed")
    assert bundle(tmp_path / "undisturbed") == bundle(out)
    assert not (out / "rejects.ndjson").exists()


def test_out_is_a_file(dump: str, tmp_path: Path) -> None:
    for out in (Path(dump), Path(dump) / "out", Path(dump) / "deep" / "out"):
        with pytest.raises(OutputError, match=r"jobs\.json is a file: choose another folder with --out$"):
            run(dump, out)


def test_folder_that_can_not_be_written(dump: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"can't be written: "):
        run(dump, Path("/proc/bundle"))
    with pytest.raises(OutputError, match=r"can't be written: File name too long$"):
        run(dump, tmp_path / ("x" * 300))


def test_lock_of_an_owner_that_has_just_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening the lock's file and locking it, its owner removed it: the lock would be on no file at all."""
    real = bundle_module.fcntl.flock
    calls = 0

    def late(descriptor: int, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            (tmp_path / "lock.partial").unlink()
        real(descriptor, operation)

    monkeypatch.setattr(bundle_module.fcntl, "flock", late)
    with Bundle(tmp_path, str(tmp_path)):
        assert str(os.getpid()) == (tmp_path / "lock.partial").read_text().strip()
    assert 2 == calls
    assert [] == list(tmp_path.iterdir())


def test_other_files_join_the_bundle(tmp_path: Path) -> None:
    with Bundle(tmp_path, str(tmp_path)) as bundle:
        checksums = {
            name: bundle.add(name, name.encode(), executable=name == "import.sh")
            for name in ("import.sh", "report.html", "manifest.json")
        }
        assert {"lock.partial", "import.sh.partial", "report.html.partial", "manifest.json.partial"} == set(
            contents(tmp_path)
        )
        bundle.verify(checksums, {})
        bundle.publish(checksums, {}, Progress())
    assert {name: name.encode() for name in checksums} == contents(tmp_path)
    assert {name: hashlib.sha256(name.encode()).hexdigest() for name in checksums} == checksums
    assert 0o700 == stat.S_IMODE((tmp_path / "import.sh").stat().st_mode)


def test_output_that_is_never_closed_loses_nothing_that_was_synced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    output = Output(str(path))
    output.append(b'{"a":1}\n')
    output.flush()
    output.sync()
    entry = output.entry()
    output.append(b'{"b":2}\n')
    assert b'{"a":1}\n' == path.read_bytes()
    output.close()
    again = Output(str(path), keep=entry)
    again.append(b'{"c":3}\n')
    again.close()
    assert b'{"a":1}\n{"c":3}\n' == path.read_bytes()
    assert (2, 16, hashlib.sha256(path.read_bytes()).hexdigest()) == tuple(dict(again.entry()).values())


class Full(io.RawIOBase):
    """A file on a full disk."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full(path: Path) -> Output:
    output = Output(str(path))
    output.close()
    output._file = io.BufferedWriter(Full(), 10)
    return output


def test_output_that_can_not_be_written(tmp_path: Path) -> None:
    """A line longer than the buffer is written at once, so it fails at once."""
    output = full(tmp_path / "file")
    with pytest.raises(OutputError, match=r"file can't be written: No space left on device$"):
        output.append(b"x" * 100)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread has something to do even for few documents."""
    monkeypatch.setattr(outputs, "_CHUNK", 1000)
    monkeypatch.setattr(outputs, "_MOST_UNDER_WAY", 3000)
    monkeypatch.setattr(outputs, "_AHEAD", 5000)


@pytest.mark.parametrize("parts", [False, True])
def test_writing_ahead_changes_nothing(dump: str, tmp_path: Path, request: pytest.FixtureRequest, parts: bool) -> None:
    run(dump, tmp_path / "undisturbed", parts=parts)
    request.getfixturevalue("small_chunks")
    run(dump, tmp_path / "out", parts=parts)
    assert bundle(tmp_path / "undisturbed") == bundle(tmp_path / "out")


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_between_the_threads(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    expected = dict.fromkeys((*DATA_FILES.values(), "rejects.ndjson"), b"")
    documents: Counter[str] = Counter()
    with Outputs.start(tmp_path) as files:
        for number in range(300):
            block = chance.randbytes(chance.choice([0, 1, 20, 300, 999, 1000, 1001, 20_000]))
            collection = chance.choice([*DATA_FILES, None])
            if collection is None:
                files.reject(block)
            else:
                files.append(collection, block, 3)
            name = DATA_FILES.get(collection or "", "rejects.ndjson")
            expected[name] += block
            documents[name] += 1 if collection is None else 3
            assert sum(map(len, expected.values())) == files.bytes
            if number % 50 == 40:
                files.sync()
                assert expected == {name: (tmp_path / partial(name)).read_bytes() for name in expected}
        assert {
            name: (documents[name], len(content), hashlib.sha256(content).hexdigest())
            for name, content in expected.items()
        } == {name: tuple(dict(entry).values()) for name, entry in files.entries().items()}


class Postponed(Executor):
    """Works only when a result is waited for."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> "Future[Any]":
        future: Future[Any] = Future()

        def result(timeout: float | None = None) -> None:
            future.set_result(work(*arguments, **options))

        future.result = result  # type: ignore[method-assign]
        return future


@pytest.mark.usefixtures("small_chunks")
def test_few_bytes_are_under_way(tmp_path: Path) -> None:
    """A slow disk holds up the conversion, rather than that memory grows."""
    waiting = []
    with Outputs.start(tmp_path) as files:
        files._thread = Postponed()  # type: ignore[assignment]
        for length in [400] * 20 + [50_000] * 2:
            files.append("novel_jobs", b"x" * length)
            waiting.append(files.bytes - files._files["novel_jobs.ndjson"].bytes)
    assert [400, 800, 1200, 1600, 2000, 2400, 2800, 3200, 2400, 2800, 3200, 2400] == waiting[:12]
    assert 3200 == max(waiting)
    assert [0, 0] == waiting[-2:]


@pytest.mark.usefixtures("small_chunks")
def test_what_fails_in_the_thread_is_raised_by_every_call(tmp_path: Path) -> None:
    before = threading.enumerate()
    with Outputs({"novel_jobs.ndjson": full(tmp_path / "file")}) as files:
        with suppress(OutputError):  # it may fail before append looks
            files.append("novel_jobs", b"x" * 1000)
        files._under_way[0][0].exception()  # waits
        for call in (lambda: files.append("novel_jobs", b"x"), files.sync, files.entries, files.sync):
            with pytest.raises(OutputError, match=r"file can't be written: No space left on device$"):
                call()
    assert before == threading.enumerate()


@pytest.mark.usefixtures("small_chunks")
def test_a_full_disk_stops_whoever_only_appends(tmp_path: Path) -> None:
    with Outputs({"novel_jobs.ndjson": full(tmp_path / "file")}) as files:

        def append_all() -> None:
            for _ in range(100):
                files.append("novel_jobs", b"x" * 1000)

        with pytest.raises(OutputError, match=r"file can't be written: No space left on device$"):
            append_all()
        assert 4000 >= files.bytes


@pytest.mark.usefixtures("small_chunks")
def test_a_sync_that_failed_ahead_is_never_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux tells of a lost page once: the next fsync would succeed."""
    real, calls = os.fsync, 0

    def fails_once(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fails_once)
    with Outputs.start(tmp_path) as files:
        for call in (lambda: files.append("novel_jobs", b"x" * 5000), files.sync, files.sync):
            with pytest.raises(OutputError, match=r"novel_jobs.ndjson.partial can't be written: Input/output error$"):
                call()


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_the_thread_ends_with_the_outputs(tmp_path: Path, error: type[BaseException]) -> None:
    before = threading.enumerate()
    with suppress(error), Outputs.start(tmp_path) as files:
        for _ in range(20):
            files.append("novel_jobs", b"x" * 700)
        assert len(before) + 1 == threading.active_count()
        raise error
    assert before == threading.enumerate()


def test_few_lines_need_no_thread(tmp_path: Path) -> None:
    before = threading.enumerate()
    with Outputs.start(tmp_path) as files:
        files.append("novel_jobs", b"x" * 700)
        files.sync()
        assert before == threading.enumerate()


@pytest.mark.usefixtures("small_chunks")
def test_discarded_outputs_only_count() -> None:
    with Outputs.discarded() as files:
        files.append("novel_jobs", b"x" * 6000)  # enough for a sync, if there were a disk
        files.reject(b"{}\n")
        entries = files.entries()
        assert 6003 == files.bytes
    counted = {name: (entry.documents, entry.bytes) for name, entry in entries.items() if entry.documents}
    assert {"novel_jobs.ndjson": (1, 6000), "rejects.ndjson": (1, 3)} == counted


@pytest.mark.parametrize(("fatal", "deaths"), [("here", [1]), ("here:2", [2]), ("there", []), ("", [])])
def test_crash_point(monkeypatch: pytest.MonkeyPatch, fatal: str, deaths: list[int]) -> None:
    monkeypatch.setenv("BACKFILL_CRASH_AT", fatal)
    monkeypatch.setattr(disk, "_passed", {})
    kills: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: kills.append((pid, number)))
    died = []
    for passing in (1, 2, 3):
        crash_point("here")
        if kills:
            assert (os.getpid(), signal.SIGKILL) == kills.pop()
            died.append(passing)
    assert deaths == died
