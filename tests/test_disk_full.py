"""A disk that really fills up: a small tmpfs, the real command, and what it says of the way on."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from converter.layout import BUNDLE_FILES, DATA_FILES
from tests.small_dumps import bundle, jobs, run, write_dump

PAGE = 4096  # what a tmpfs hands out at a time
JOBS = 60
BATCH = 20
# The system's; SQLite's; SQLite's when it can't make its journal.
REASONS = ("No space left on device", "database or disk is full", "unable to open database file")
ROOMY = "size=64m,nr_inodes=0"
NO_ROOT = os.geteuid() != 0

# Mounts on its first argument whatever options it is told, one line after the other.
MOUNT = """
how=rw
while read -r options; do
    mount -t tmpfs -o "$how,$options" tmpfs "$0" && echo mounted
    how=remount
done
"""


class Disk:
    """A tmpfs in a mount namespace of its own. It ends with that, whatever becomes of the tests: nobody unmounts it."""

    def __init__(self, holder: subprocess.Popen[str], folder: Path) -> None:
        self.holder = holder
        self.folder = folder

    def mount(self, options: str) -> None:
        """Makes the disk, or makes it larger."""
        assert self.holder.stdin is not None
        assert self.holder.stdout is not None
        try:
            print(options, file=self.holder.stdin, flush=True)
            answer = self.holder.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer != "mounted\n":
            pytest.skip("no tmpfs can be mounted here")

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The real command, where the disk can be seen."""
        users = ["--user", "--preserve-credentials"] if NO_ROOT else []
        enter = ["nsenter", f"--target={self.holder.pid}", "--mount", *users]
        command = [*enter, sys.executable, "-m", "converter", *words]
        return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)

    def seen(self, path: Path) -> Path:
        """A path on the disk, for this process. (SQLite can't make anything of such a path.)"""
        return Path(f"/proc/{self.holder.pid}/root{path}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    own_users = ["--user", "--map-root-user"] if NO_ROOT else []
    command = ["unshare", "--mount", *own_users, "sh", "-c", MOUNT, str(tmp_path)]
    try:
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    with holder:
        yield Disk(holder, tmp_path)
        holder.kill()


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dump(tmp_path_factory.mktemp("dump") / "jobs.json", jobs(JOBS))


@pytest.fixture(scope="module")
def undisturbed(dump: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run(dump, out := tmp_path_factory.mktemp("undisturbed") / "bundle")
    return out


def pages(folder: Path, *names: str) -> int:
    """How many pages those files take."""
    return sum(-(-(folder / name).stat().st_size // PAGE) for name in names)


def fails_and_goes_on(disk: Disk, dump: str, options: str, *words: str) -> tuple[str, dict[str, Any]]:
    """The name of the file that didn't fit, and the bundle that came of it once there was room."""
    disk.mount(options)
    out = disk.folder / "bundle"
    stopped = disk.run("convert", dump, f"--out={out}", f"--batch-size={BATCH}", "--progress=none", *words)
    assert (1, "") == (stopped.returncode, stopped.stdout), stopped.stderr
    (line,) = stopped.stderr.splitlines()
    assert any(reason in line for reason in REASONS)
    assert set() == set(BUNDLE_FILES) & set(os.listdir(disk.seen(out)))

    disk.mount(ROOMY)
    program, *resume = shlex.split(line.partition(" with: ")[2])
    assert "novel-backfill" == program
    resumed = disk.run(*resume)
    assert 3 == resumed.returncode, resumed.stderr  # finished with rejects
    return Path(line.split(" can't be written")[0].split()[-1]).name, bundle(disk.seen(out))


@pytest.mark.parametrize(("share", "workers"), [(0.02, 1), (0.3, 1), (0.6, 2), (0.9, 1)])
def test_while_converting(disk: Disk, dump: str, undisturbed: Path, share: float, workers: int) -> None:
    size = round(share * pages(undisturbed, *DATA_FILES.values())) * PAGE
    file, made = fails_and_goes_on(disk, dump, f"size={size}", f"--workers={workers}")
    assert file in {f"{name}.partial" for name in DATA_FILES.values()} | {"checkpoint.partial"}
    assert bundle(undisturbed) == made


def test_while_the_rest_is_written(disk: Disk, dump: str, undisturbed: Path, tmp_path: Path) -> None:
    """Every document is converted and remembered by then. The reports are the largest of what is to come."""
    # A run that is killed at its last checkpoint but one leaves what lies on the disk then.
    killed = {**os.environ, "BACKFILL_CRASH_AT": f"committed:{JOBS // BATCH + 1}"}
    command = [sys.executable, "-m", "converter", "convert", dump, f"--out={tmp_path}/killed", f"--batch-size={BATCH}"]
    subprocess.run(command, env=killed, capture_output=True, check=False)
    left = pages(tmp_path / "killed", *os.listdir(tmp_path / "killed"))
    size = (left + pages(undisturbed, "report.html")) * PAGE

    file, made = fails_and_goes_on(disk, dump, f"size={size}")
    assert file in {f"{name}.partial" for name in set(BUNDLE_FILES) - set(DATA_FILES.values())}
    assert bundle(undisturbed) == made


@pytest.mark.parametrize("point", ["written:2", "committed:2"])
def test_while_going_on(disk: Disk, dump: str, undisturbed: Path, point: str) -> None:
    """What a crash left is sound, and not called damaged because the disk is full."""
    disk.mount(ROOMY)
    words = ("convert", dump, f"--out={disk.folder / 'bundle'}", f"--batch-size={BATCH}", "--progress=none")
    disk.run(*words, BACKFILL_CRASH_AT=point)
    left = disk.seen(disk.folder / "bundle")
    for room in range(4):
        disk.mount(f"size={(pages(left, *os.listdir(left)) + room) * PAGE}")
        stopped = disk.run(*words, "--resume")
        assert (1, "") == (stopped.returncode, stopped.stdout)
        assert any(reason in stopped.stderr for reason in REASONS), stopped.stderr
        assert "--resume" in stopped.stderr
    disk.mount(ROOMY)
    assert 3 == disk.run(*words, "--resume").returncode
    assert bundle(undisturbed) == bundle(left)


@pytest.mark.parametrize("names", [9, 13])
def test_no_more_files(disk: Disk, dump: str, undisturbed: Path, names: int) -> None:
    """There is room, but not for another name: SQLite's journal at the start, or a report at the end."""
    _, made = fails_and_goes_on(disk, dump, f"size=64m,nr_inodes={names}")
    assert bundle(undisturbed) == made
