"""Several processes must make the same bundle as one, and fail as well as one."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from converter import engines, processes
from converter.bundle import Bundle
from converter.conversion import ConvertRequest, convert
from converter.documents import Document
from converter.dump import Dump
from converter.engines import Rest, engine
from converter.errors import TooManyRejects, WorkerDied
from converter.fixtures import FixtureRequest, write_fixture
from converter.mapping import Options
from converter.progress import Progress
from converter.transformation import Accepted, Refused, Task
from tests.small_dumps import bundle, failure

TASK = Task(Options(), "relaxed")


def fixture(path: Path, **options: Any) -> str:
    write_fixture(FixtureRequest(size="small", out=str(path), jobs=60, **options))
    return str(path)


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> str:
    return fixture(tmp_path_factory.mktemp("dump") / "jobs.json")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small dump makes many of them, and many ranges."""
    monkeypatch.setattr(engines, "BATCH_DOCUMENTS", 4)
    monkeypatch.setattr(engines, "RANGE_BYTES", 100_000)


def converted(dumps: tuple[str, ...], out: Path, **options: Any) -> dict[str, Any]:
    convert(ConvertRequest(dumps=dumps, out=str(out), **{"batch_size": 7} | options), Progress())
    return bundle(out)


@pytest.mark.parametrize(
    "options", [{}, {"lines": True}, {"pretty": True}, {"bson": True}, {"json_format": "canonical"}]
)
def test_the_same_bundle(options: dict[str, Any], tmp_path: Path) -> None:
    path = fixture(tmp_path / "jobs", **options)
    one = converted((path,), tmp_path / "one", workers=1)
    assert one == converted((path,), tmp_path / "three", workers=3)


def test_several_dumps_with_rejects(dump: str, tmp_path: Path) -> None:
    """The second dump repeats the first: every job in it is a duplicate, and the limit falls into it."""
    (tmp_path / "odd.json").write_bytes(b'[1,{"a":2},"x",' + b"[" * 300 + b"]" * 300 + b"]")
    (tmp_path / "again.json.gz").write_bytes(gzip.compress(Path(dump).read_bytes()))
    dumps = (dump, str(tmp_path / "odd.json"), str(tmp_path / "again.json.gz"))
    for limit in (None, 0, 60, 62, 100):
        one = converted(dumps, tmp_path / f"one {limit}", workers=1, limit=limit)
        assert one == converted(dumps, tmp_path / f"two {limit}", workers=2, limit=limit)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("name", "reader", "expected"),
    [
        ("relaxed", "auto", {"fastlane": 60}),
        ("relaxed", "ijson", {"ijson": 60}),
        ("odd", "auto", {"fastlane": 61, "ijson": 2}),
        ("odd", "ijson", {"ijson": 63}),
        ("bson", "auto", {"bson": 60}),
        ("gzip", "auto", {"fastlane": 60}),
        ("gzip", "ijson", {"ijson": 60}),
    ],
)
def test_which_reader_read_what(
    name: str, reader: str, expected: dict[str, int], workers: int, dump: str, tmp_path: Path
) -> None:
    path, data = tmp_path / "jobs", Path(dump).read_bytes()
    if name == "bson":
        fixture(path, bson=True)
    else:
        odd = b',{"no": "job"},[],1' if name == "odd" else b""
        data = data.rstrip()[:-1] + odd + b"]"
        path.write_bytes(gzip.compress(data) if name == "gzip" else data)
    out = tmp_path / "out"
    convert(ConvertRequest(dumps=(str(path),), out=str(out), workers=workers, reader=reader), Progress())
    assert expected == json.loads((out / "report.json").read_bytes())["run"]["readers"]
    if reader == "ijson":
        assert converted((str(path),), tmp_path / "auto", workers=1) == bundle(out)


def test_a_dry_run(dump: str, tmp_path: Path) -> None:
    request = ConvertRequest(dumps=(dump,), out=str(tmp_path / "out"), dry_run=True)
    one = convert(request.model_copy(update={"workers": 1}), Progress())
    assert one == convert(request.model_copy(update={"workers": 2}), Progress())
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_dump_is_resumed_by_any_number(workers: int, tmp_path: Path) -> None:
    """A text that is no UTF-8 is noticed by the worker, behind everything that comes before it."""
    path = tmp_path / "jobs.json"
    fixture(path)
    whole = converted((str(path),), tmp_path / "whole", workers=1)
    content = path.read_bytes()
    at = content.index(b'"premise"', 3 * len(content) // 4) + 20
    path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])

    def broken(count: int) -> str:
        out = tmp_path / f"broken by {count}"
        return str(failure(lambda: converted((str(path),), out, workers=count))).replace(str(out), "OUT")

    errors = [broken(1), broken(2)]
    assert errors[0].replace(" --workers=1", "") == errors[1].replace(" --workers=2", "")
    assert "not UTF-8" in errors[0]
    assert f"byte {at:,}" in errors[0]
    # Interrupted by another error than the dump's own, the run would go on: here the dump is mended in its old size.
    path.write_bytes(content)
    os.utime(path)
    out = tmp_path / f"broken by {workers}"
    assert whole == converted((str(path),), out, workers=3 - workers, resume=True)


def outcomes(dump: str, workers: int) -> list[tuple[int, Document | None, Accepted | Refused | None]]:
    with Dump.open(dump) as opened, engine(workers) as work:
        return list(work.run([Rest(0, opened)], TASK))


def test_order(dump: str) -> None:
    found = outcomes(dump, 2)
    assert [*range(60), None] == [None if document is None else document.index for _, document, _ in found]
    assert found[-1] == (0, None, None)
    assert [result.counted.job_id for _, _, result in outcomes(dump, 1) if isinstance(result, Accepted)] == [
        result.counted.job_id for _, _, result in found if isinstance(result, Accepted)
    ]


def test_memory_of_the_workers_counts(dump: str) -> None:
    with Dump.open(dump) as opened, engine(2) as work:
        list(work.run([Rest(0, opened)], TASK))
    assert work.peak_memory() >= processes.peak_memory() > 0


def test_an_error_of_the_dump_comes_last(dump: str, tmp_path: Path) -> None:
    cut = tmp_path / "cut.json"
    cut.write_bytes(Path(dump).read_bytes()[:-500])
    indexes: list[int | None] = []

    def take_all() -> None:
        with Dump.open(str(cut)) as opened, engine(2) as work:
            for _, document, _ in work.run([Rest(0, opened)], TASK):
                indexes.append(document and document.index)

    assert "truncated" in str(failure(take_all))
    assert list(range(59)) == indexes


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed(dump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_measured", die)
    with Dump.open(dump) as opened, engine(2) as work, pytest.raises(WorkerDied, match=r"while bytes 0 to 100,000 of"):
        list(work.run([Rest(0, opened)], TASK))


def test_when_a_worker_was_killed_the_others_end() -> None:
    """Whatever they are at: they leave other signals to the process that they work for."""
    with processes.local_workers(2, engines.__name__) as (executor, alive):
        busy = executor.submit(time.sleep, 3600)
        executor.submit(die)
        with pytest.raises(BrokenExecutor):
            busy.result()
        assert not alive()


def die_while_telling(*_: object) -> bytes:
    """When a part of the result is on its way: so large that it goes in several pieces."""

    def send(self: Connection, data: bytes, write: object = None) -> None:
        os.write(self.fileno(), data[:1])
        die()

    Connection._send = send  # type: ignore[attr-defined]
    return bytes(1_000_000)


measured = engines._measured


def die_at_the_fifth_range(*arguments: Any) -> Any:
    """It is given away when the first one's documents have been taken."""
    piece = arguments[3]
    return die() if piece.start >= 4 * 100_000 else measured(*arguments)


@pytest.mark.parametrize(
    ("dying", "advice"),
    [
        (die, "nothing was converted; start over with: novel-backfill convert {dump} --out={out} --overwrite"),
        (die_while_telling, "nothing was converted; start over with: "),
        (die_at_the_fifth_range, "go on with: novel-backfill convert {dump} --out={out} --resume"),
    ],
)
def test_after_a_worker_was_killed_the_run_is_resumed(
    dying: Callable[..., Any], advice: str, dump: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = converted((dump,), tmp_path / "whole", workers=1), tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(engines, "_measured", dying)
        error = failure(lambda: converted((dump,), out, workers=2))
    assert isinstance(error, WorkerDied)
    assert f"were converted; {advice.format(dump=dump, out=out)}" in str(error)
    assert whole == converted((dump,), tmp_path / "out", workers=2, resume=True)


def test_workers_are_forked_where_that_is_safe() -> None:
    """By a process without other threads; those of this one keep it from being forked, if there are any."""
    script = "from converter import processes; print(processes._is_alone())"
    found = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert f"{sys.platform == 'linux'}\n" == found.stdout
    with_thread = f"import threading; threading.Thread(target=input, daemon=True).start(); {script}"
    reader, writer = os.pipe()
    found = subprocess.run([sys.executable, "-c", with_thread], stdin=reader, stdout=subprocess.PIPE, text=True)
    os.close(reader)
    os.close(writer)
    assert "False\n" == found.stdout


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the children of a process")
def test_the_lock_ends_with_its_owner(tmp_path: Path) -> None:
    """Though workers may need a moment longer; here they are kept from ending."""
    path = tmp_path / "jobs.json"
    write_fixture(FixtureRequest(size="large", out=str(path), jobs=150))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "converter", "convert", str(path), f"--out={out}", "--workers=2"]
    running = subprocess.Popen([*command, "--progress=none"])
    while running.poll() is None and not (out / "novel_jobs.ndjson.partial").exists():
        time.sleep(0.01)
    workers = children(running.pid)
    assert 2 == len(workers)
    try:
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        running.kill()
        running.wait()
        with Bundle(out, str(out)):
            pass
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGKILL)


def ends(session: int) -> bool:
    """Whether all processes of a session end: those of a run with it, a killed one's workers a little later."""
    for _ in range(1000):
        try:
            os.killpg(session, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C goes to all processes of a terminal, the others to one. No worker outlives its run."""
    path = tmp_path / "jobs.json"
    write_fixture(FixtureRequest(size="large", out=str(path), jobs=150))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "converter", "convert", str(path), f"--out={out}", "--workers=2", "--batch-size=5"]
    running = subprocess.Popen([*command, "--progress=none"], stderr=subprocess.PIPE, text=True, start_new_session=True)
    checkpoint = out / "novel_jobs.ndjson.partial"
    while running.poll() is None and not (checkpoint.exists() and checkpoint.stat().st_size > 2_000_000):
        time.sleep(0.01)
    (os.killpg if number == signal.SIGINT else os.kill)(running.pid, number)
    _, errors = running.communicate()
    expected = -number if number == signal.SIGKILL else 130
    assert expected == running.returncode, errors
    assert "Traceback" not in errors
    assert ends(running.pid)
    subprocess.run([*command, "--resume", "--progress=none"], check=True, capture_output=True)
    assert converted((str(path),), tmp_path / "whole", workers=1) == bundle(out)


def test_small_dumps_need_no_other_process(dump: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(engines, "local_workers", refuse)
    converted((dump,), tmp_path / "out")


@pytest.mark.parametrize("seed", range(3))
def test_any_number_after_any_interruption(
    seed: int, dump: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped by a limit on rejects at random places, resumed each time by another number of workers."""
    chance = random.Random(seed)
    odd = tmp_path / "odd.json"
    jobs = Path(dump).read_bytes().strip()[1:-1]
    odd.write_bytes(b"[" + b",".join([b"1", jobs, b"2,3", b'{"x":4}']) + b"]")
    whole = converted((str(odd),), tmp_path / "whole", workers=1)

    def stopped(allowed: int) -> bool:
        options = {"workers": chance.randint(1, 3), "resume": allowed > 0, "max_rejects": str(allowed)}
        return isinstance(failure(lambda: converted((str(odd),), tmp_path / "out", **options)), TooManyRejects)

    assert all(stopped(allowed) for allowed in range(4))
    assert whole == converted((str(odd),), tmp_path / "out", workers=2, resume=True)
