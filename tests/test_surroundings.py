"""What a command finds round it: closed streams, a folder that was removed, tools that are none. One line for each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_dumps import bundle, jobs, run, write_dump
from tests.test_cli import ENVIRONMENT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")

URI = "mongodb://user:secret@db.example.net/novels"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_dump(tmp_path / "jobs.json", jobs(3))
    (tmp_path / "bin").mkdir()
    return tmp_path


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a line in which ``BACKFILL`` is the command."""
    environment = ENVIRONMENT | {
        "BACKFILL_PROGRESS": "none",
        "LEGACY_MONGODB_URI": URI,
        "TARGET_MONGODB_URI": URI,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
    }
    line = line.replace("BACKFILL", f"{sys.executable} -m converter")
    return subprocess.run(["sh", "-c", line], cwd=folder, env=environment, text=True, capture_output=True)


def install_mongoexport(folder: Path, content: bytes) -> None:
    tool = folder / "bin" / "mongoexport"
    tool.write_bytes(content)
    tool.chmod(0o755)


def assert_one_line(result: subprocess.CompletedProcess[str], message: str, code: int = 1) -> None:
    assert (code, "", 1) == (result.returncode, result.stdout, len(result.stderr.splitlines())), result.stderr
    assert message in result.stderr
    assert "secret" not in result.stderr


@pytest.mark.parametrize(("line", "code"), [("convert missing.json", 1), ("convert --wrong", 2), ("export --out=x", 7)])
def test_an_error_is_never_a_result(line: str, code: int, folder: Path) -> None:
    """Standard output is for results, also where standard error was closed."""
    install_mongoexport(folder, b"#!/bin/sh\necho told >&2\nexit 7\n")
    result = shell(f"BACKFILL {line} 2>&-", folder)
    assert (code, "", "") == (result.returncode, result.stdout, result.stderr)


def test_a_dump_for_nobody_is_refused(folder: Path) -> None:
    assert_one_line(shell("BACKFILL fixtures --out=- >&-", folder), "standard output: it is closed")


def test_a_bundle_is_made_whoever_listens(folder: Path) -> None:
    run(str(folder / "jobs.json"), folder / "whole")
    result = shell("BACKFILL convert jobs.json --out=out >&-", folder)
    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)
    assert bundle(folder / "whole") == bundle(folder / "out")


@pytest.mark.parametrize(
    "words",
    [
        "load bundle",
        "export --out=jobs.json",
        "convert jobs.json",
        "convert FOLDER/jobs.json",
        "convert FOLDER/jobs.json --parts",
        "convert jobs.json --scheduler=tcp://127.0.0.1:1",
        "convert FOLDER/jobs.json --out=s3://bucket/bundle",
        "verify bundle",
        "verify FOLDER/bundle --dump=jobs.json",
        "profile jobs.json",
        "fixtures --out=jobs.json",
    ],
)
def test_a_current_folder_that_was_removed(words: str, folder: Path) -> None:
    run(str(folder / "jobs.json"), folder / "bundle")
    words = words.replace("FOLDER", str(folder))
    result = shell(f'mkdir gone && cd gone && rmdir "$PWD" && BACKFILL {words}', folder)
    assert (1, "", 1) == (result.returncode, result.stdout, len(result.stderr.splitlines())), result.stderr


def test_absolute_paths_need_no_current_folder(folder: Path) -> None:
    result = shell(
        f'mkdir gone && cd gone && rmdir "$PWD" && BACKFILL convert {folder}/jobs.json --out={folder}/out', folder
    )
    assert (0, "") == (result.returncode, result.stderr)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no program", "mongoexport can't be run: Exec format error"),
        (b"#!/nonexist\n", "mongoexport can't be run: No such file or directory"),
        (b"#!/bin/sh\n", "mongoexport wrote nothing, and yet did not fail"),
        (b"#!/bin/sh\nrm jobs.json.partial\n", "can't be kept: No such file or directory"),
    ],
)
def test_a_mongoexport_that_is_none(content: bytes, message: str, folder: Path) -> None:
    install_mongoexport(folder, content)
    (folder / "jobs.json").unlink()
    assert_one_line(shell("BACKFILL export --out=jobs.json", folder), message)
    assert ["bin"] == os.listdir(folder)


def test_an_export_that_would_replace_the_root(folder: Path) -> None:
    install_mongoexport(folder, b"#!/bin/sh\n")
    assert_one_line(shell("BACKFILL export --out=/", folder), "/ exists; give another --out")


def test_workers_that_cannot_be_started(folder: Path) -> None:
    unmeasured = "unset COVERAGE_PROCESS_CONFIG COVERAGE_PROCESS_START"
    result = shell(f"{unmeasured}; ulimit -n 40; BACKFILL convert jobs.json --workers=50", folder)
    assert_one_line(result, "50 workers can't be started: Too many open files; give fewer with --workers")


def test_more_dumps_than_files_may_be_open(folder: Path) -> None:
    unmeasured = "unset COVERAGE_PROCESS_CONFIG COVERAGE_PROCESS_START"
    limited = shell(f"{unmeasured}; ulimit -n 40; BACKFILL convert {'jobs.json ' * 50}", folder)
    assert_one_line(limited, "jobs.json: it can't be opened: [Errno 24] Too many open files")
    assert "allow more (ulimit -n), or give fewer" in limited.stderr


def test_an_export_needs_a_temporary_folder(folder: Path) -> None:
    install_mongoexport(folder, b"#!/bin/sh\necho [] > x.json.partial\n")
    assert 0 == shell("BACKFILL export --out=x.json", folder).returncode
    # What measures coverage could write nothing either, and would say so.
    unmeasured = "unset COVERAGE_PROCESS_CONFIG COVERAGE_PROCESS_START"
    limited = shell(f"{unmeasured}; ulimit -f 0; trap '' XFSZ; BACKFILL export --out=y.json", folder)
    assert_one_line(limited, "set TMPDIR to one with room")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_an_export_goes_on_when_nobody_can_be_told(folder: Path) -> None:
    install_mongoexport(folder, b"#!/bin/sh\necho told >&2\necho [] > x.json.partial\n")
    assert 0 == shell("BACKFILL export --out=x.json 2>/dev/full", folder).returncode
    assert "[]\n" == (folder / "x.json").read_text()


def test_checksums_that_are_no_text_are_not_the_bundles(folder: Path) -> None:
    run(str(folder / "jobs.json"), folder / "bundle")
    (folder / "bundle" / "SHA256SUMS").write_bytes(b"\xff\xfe")
    assert_one_line(shell("BACKFILL load bundle", folder), "is not the one in SHA256SUMS")
