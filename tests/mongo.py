"""A MongoDB-compatible server, and tools to load it with, for the tests that write to a database.

The fixtures over it are in ``mongo_fixtures.py``.
"""

import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymongo
import pytest
from bson import CodecOptions
from bson.codec_options import DatetimeConversion
from pymongo.database import Database

Document = dict[str, Any]
STAND_INS = Path(__file__).parent / "stand_ins"
COLLECTIONS_CODEC: CodecOptions[Document] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)


def needed(name: str) -> str:
    """The path of the command ``name``, from beside this Python or from PATH; skips the test where there is none."""
    path = shutil.which(name, path=os.fspath(Path(sys.executable).parent)) or shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@contextmanager
def server(storage: Path) -> Iterator[str]:
    """host:port of a SecantusDB server on loopback, its data in the folder ``storage``; stopped afterwards."""
    pytest.importorskip("secantus", reason="SecantusDB is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Without --standalone it presents itself as a replica set, and clients can wait for a member for ever.
    options = ["--standalone", "--host", "127.0.0.1", "--port", str(port), "--cache-size", "128M"]
    with open(storage / "server.log", "wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                str(STAND_INS / "secantusd.py"),
                *options,
                "--storage-path",
                str(storage / "data"),
                "--log-level",
                "WARNING",
            ],
            cwd=storage,  # it looks for a configuration file in the current folder
            stdout=log,
            stderr=log,
        )
        try:
            with pymongo.MongoClient[Document]("127.0.0.1", port, serverSelectionTimeoutMS=30_000) as client:
                client.admin.command("ping")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def install_stand_in(folder: Path, name: str) -> None:
    """Put the stand-in for the tool ``name`` into ``folder``, as an executable of that name."""
    command = shlex.join([sys.executable, str(STAND_INS / f"{name}.py")])
    (folder / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (folder / name).chmod(0o755)


def contents(database: Database[Document]) -> dict[str, list[Document]]:
    """Every document of the four collections, in the order of ``_id``."""
    names = ("novel_jobs", "novel_job_events", "novel_job_metrics", "novel_job_metadata")
    return {name: list(database[name].find().sort("_id")) for name in names}
