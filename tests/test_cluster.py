"""A Dask cluster must make the same bundle as one process, and fail as well as one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from converter import engines, mapping
from converter.cluster import connected
from converter.conversion import ConvertRequest, convert
from converter.errors import ClusterError, WorkerDied
from converter.fixtures import FixtureRequest, write_fixture
from converter.manifest import Tool
from converter.progress import Progress
from tests.small_dumps import DIALECTS, bundle, failure, job, jobs, write_dump

distributed = pytest.importorskip("distributed", reason="the extra cluster is not installed")

SCRIPT = Path(__file__).parent / "stand_ins" / "cluster.py"


@dataclass
class Running:
    """A cluster of two processes, and the process that started them."""

    scheduler: str
    workers: list[int]
    process: "subprocess.Popen[str]"


@contextmanager
def running_cluster(folder: Path) -> Iterator[Running]:
    process = subprocess.Popen(
        [sys.executable, SCRIPT],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    scheduler, *workers = process.stdout.readline().split()
    yield Running(scheduler, [int(worker) for worker in workers], process)
    process.stdin.close()
    process.wait()
    process.stdout.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Running]:
    with running_cluster(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def lasting_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """For tests to which no process of it falls victim."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Large enough for several ranges."""
    path = tmp_path_factory.mktemp("dump") / "jobs.json"
    write_fixture(FixtureRequest(size="large", out=str(path), jobs=150))
    assert path.stat().st_size > 3 * engines.CLUSTER_RANGE_BYTES
    return str(path)


@pytest.fixture(scope="module")
def expected(dump: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return converted((dump,), tmp_path_factory.mktemp("whole") / "out", workers=1)


def converted(dumps: tuple[str, ...], out: Path, **options: Any) -> dict[str, Any]:
    convert(ConvertRequest(dumps=dumps, out=str(out), **options), Progress())
    return bundle(out)


def start(dump: str, out: Path, scheduler: str, *more: str) -> "subprocess.Popen[str]":
    words = ["convert", dump, f"--out={out}", f"--scheduler={scheduler}", "--batch-size=5", "--progress=none", *more]
    return subprocess.Popen([sys.executable, "-m", "converter", *words], stderr=subprocess.PIPE, text=True)


def wait_for_first_documents(running: "subprocess.Popen[str]", out: Path) -> None:
    jobs = out / "novel_jobs.ndjson.partial"
    while running.poll() is None and not (jobs.exists() and jobs.stat().st_size > 2_000_000):
        time.sleep(0.01)


def finished(running: "subprocess.Popen[str]") -> str:
    """What it wrote to standard error."""
    _, errors = running.communicate()
    return errors


def test_the_same_bundle(lasting_cluster: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From dumps of every kind, in one run, with a relative path."""
    monkeypatch.setattr(engines, "CLUSTER_RANGE_BYTES", 5000)
    monkeypatch.chdir(tmp_path)
    dumps = tuple(write_dump(Path(f"{dialect}.dump"), jobs(40), dialect) for dialect in DIALECTS)
    more = Path("more.json")
    write_dump(more, [job(number) for number in range(100, 140)])
    dumps = (*dumps, str(more))
    for limit in (None, 50):
        one = converted(dumps, tmp_path / f"one {limit}", workers=1, limit=limit)
        assert one == converted(dumps, tmp_path / f"two {limit}", scheduler=lasting_cluster.scheduler, limit=limit)


def test_a_result_whose_worker_is_lost_as_it_arrives(
    lasting_cluster: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is here, so it counts. Dask's own executor takes it for an exception."""
    gather = distributed.Client._gather

    async def losing(self: Any, tasks: list[Any], **options: Any) -> Any:
        found = await gather(self, tasks, **options)
        for task in tasks:
            task._state.lose()
        return found

    dump = write_dump(tmp_path / "dump", jobs(3))
    one = converted((dump,), tmp_path / "one", workers=1)
    monkeypatch.setattr(distributed.Client, "_gather", losing)
    assert one == converted((dump,), tmp_path / "two", scheduler=lasting_cluster.scheduler)


def test_a_result_that_is_lost_on_its_way_and_cannot_be_made_anew(
    lasting_cluster: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask's own executor never says so."""
    gather = distributed.Client._gather

    async def losing(self: Any, tasks: list[Any], **options: Any) -> Any:
        for task in tasks:
            task._state.set_error(distributed.KilledWorker(task.key, None, 3), None)
        return await gather(self, tasks, **options)

    dump = write_dump(tmp_path / "dump", jobs(3))
    monkeypatch.setattr(distributed.Client, "_gather", losing)
    error = failure(lambda: converted((dump,), tmp_path / "out", scheduler=lasting_cluster.scheduler))
    assert isinstance(error, WorkerDied)
    assert "the cluster's workers were killed" in str(error)


def test_a_bug_in_a_worker_keeps_its_traceback(lasting_cluster: Running) -> None:
    with connected(lasting_cluster.scheduler, engines.this_tool) as found:
        future = found.executor.submit(engines._converted, 0, [None], None)
        with pytest.raises(AttributeError) as raised:
            future.result()
    assert "_converted" in [entry.name for entry in raised.traceback]


def test_a_worker_without_the_program_that_joins_later(
    cluster: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "CLUSTER_RANGE_BYTES", 5000)
    dump = write_dump(tmp_path / "dump", jobs(200))
    one = converted((dump,), tmp_path / "one", workers=1)

    class Joining(Progress):
        worker: "subprocess.Popen[bytes] | None" = None

        def advance(self, **totals: int) -> None:
            super().advance(**totals)
            if self.worker is None:
                self.worker = start_worker_without_the_program(cluster.scheduler, tmp_path)

    progress = Joining()
    request = ConvertRequest(dumps=(dump,), out=str(tmp_path / "out"), scheduler=cluster.scheduler)
    try:
        error = failure(lambda: convert(request, progress))
    finally:
        assert progress.worker is not None
        progress.worker.kill()
        progress.worker.wait()
    assert isinstance(error, ClusterError)
    assert "has no such novel-backfill" in str(error)
    assert f"install {engines.this_tool()} on all workers; go on with: novel-backfill convert" in str(error)
    assert "\n" not in str(error)
    assert one == converted((dump,), tmp_path / "out", workers=1, resume=True)


def start_worker_without_the_program(scheduler: str, folder: Path) -> "subprocess.Popen[bytes]":
    """Returns when the cluster has it."""
    script = "import sys; sys.modules['converter'] = None; from distributed.cli.dask_worker import main; main()"
    options = ["--no-nanny", "--nthreads=1", "--no-dashboard", "--host=127.0.0.1"]
    worker = subprocess.Popen(
        [sys.executable, "-c", script, *options, scheduler], cwd=folder, stderr=subprocess.DEVNULL
    )
    with distributed.Client(scheduler, set_as_default=False) as client:
        client.wait_for_workers(3)
    return worker


def test_a_worker_that_is_killed(cluster: Running, dump: str, expected: dict[str, Any], tmp_path: Path) -> None:
    """Dask gives its range to another."""
    out = tmp_path / "out"
    running = start(dump, out, cluster.scheduler)
    wait_for_first_documents(running, out)
    os.kill(cluster.workers[0], signal.SIGKILL)
    assert "" == finished(running)
    assert expected == bundle(out)


def test_parts_and_a_worker_that_is_killed(
    cluster: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dump: str
) -> None:
    """The other worker makes the part under another name. What the first one left is removed."""
    monkeypatch.setattr(engines, "PART_BYTES", 10_000_000)
    one = converted((dump,), tmp_path / "one", workers=1, parts=True)

    class Killing(Progress):
        killed = False

        def advance(self, **totals: int) -> None:
            super().advance(**totals)
            if not self.killed:
                os.kill(cluster.workers[0], signal.SIGKILL)
            self.killed = True

    progress = Killing()
    request = ConvertRequest(dumps=(dump,), out=str(tmp_path / "out"), scheduler=cluster.scheduler, parts=True)
    convert(request, progress)
    assert progress.killed
    assert one == bundle(tmp_path / "out")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted(
    number: signal.Signals, cluster: Running, dump: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    running = start(dump, out, cluster.scheduler)
    wait_for_first_documents(running, out)
    running.send_signal(number)
    errors = finished(running)
    if number == signal.SIGINT:
        assert 130 == running.returncode
        assert 1 == errors.count("\n"), errors
        assert f"--resume --batch-size=5 --scheduler={cluster.scheduler}" in errors
    assert not (out / "manifest.json").exists()
    assert "" == finished(start(dump, out, cluster.scheduler, "--resume"))
    assert expected == bundle(out)


def test_a_scheduler_that_dies(cluster: Running, dump: str, expected: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    running = start(dump, out, cluster.scheduler)
    wait_for_first_documents(running, out)
    cluster.process.kill()
    errors = finished(running)
    assert 1 == running.returncode
    assert 1 == errors.count("\n"), errors
    assert "its scheduler is gone, while bytes" in errors
    assert expected == converted((dump,), out, resume=True, workers=1)


@pytest.mark.parametrize("protocol", ["tls", "wss"])
def test_encryption_that_is_not_configured(tmp_path: Path, protocol: str) -> None:
    running = start(write_dump(tmp_path / "dump", jobs(3)), tmp_path / "out", f"{protocol}://127.0.0.1:9")
    assert (
        f"novel-backfill: {protocol}://127.0.0.1:9 needs Dask's TLS configuration: "
        "distributed.comm.tls.ca-file and client\n"
    ) == finished(running)
    assert 1 == running.returncode


@pytest.mark.parametrize("protocol", ["tcp", "ws"])
def test_nobody_answers(tmp_path: Path, protocol: str) -> None:
    out = tmp_path / "out"
    running = start(write_dump(tmp_path / "dump", jobs(3)), out, f"{protocol}://127.0.0.1:9")
    errors = finished(running)
    assert 1 == running.returncode
    assert 1 == errors.count("\n"), errors
    assert errors.startswith(f"novel-backfill: no Dask scheduler answers at {protocol}://127.0.0.1:9: ")
    assert not out.exists()


def test_no_password_is_shown(tmp_path: Path) -> None:
    running = start(write_dump(tmp_path / "dump", jobs(3)), tmp_path / "out", "tcp://me:secret@127.0.0.1:9")
    errors = finished(running)
    assert 2 == running.returncode
    assert "--scheduler: expected something like tcp://host:8786" in errors
    assert "secret" not in errors


def test_without_dask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    dump = write_dump(tmp_path / "dump", jobs(3))
    error = failure(lambda: converted((dump,), tmp_path / "out", scheduler="tcp://127.0.0.1:9"))
    assert "--scheduler needs Dask: pip install 'novel-backfill[cluster]'" == str(error)


def test_workers_of_another_version(lasting_cluster: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dump = write_dump(tmp_path / "dump", jobs(3))
    theirs = engines.this_tool()
    monkeypatch.setattr(mapping, "VERSION", 99)
    error = failure(lambda: converted((dump,), tmp_path / "out", scheduler=lasting_cluster.scheduler))
    assert isinstance(error, ClusterError)
    assert f" has {theirs}: install novel-backfill {theirs.version} with mapping 99 on all workers" in str(error)


def test_a_worker_of_another_version_that_joins_later() -> None:
    with pytest.raises(ClusterError, match=r"has novel-backfill .* install novel-backfill 0 with mapping 0 on all"):
        engines._measured(Tool(version="0", mapping=0), int)
