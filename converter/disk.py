"""How a bundle gets onto the disk: private, durable, and with an error that names the file."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from converter.errors import OutputError

PRIVATE: Final = 0o600  # the novels in the dump are nobody else's business

_REFUSED: Final = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY_DBMOVED,  # the file is gone. Without a reason, READONLY is a damaged head
)

_passed: dict[str, int] = {}


def crash_point(name: str) -> None:
    """For tests of interruption only: dies here by SIGKILL if ``BACKFILL_CRASH_AT`` is ``name`` or ``name:nth``.

    Without a number the first passing is the fatal one. The points: ``started`` (the first checkpoint is made),
    ``written`` (handed to the system), ``synced`` (each file), ``committed`` (each checkpoint), ``removed`` (each
    file), ``renamed`` (each file), ``published`` (all but the clearing up).
    """
    point, _, nth = os.environ.get("BACKFILL_CRASH_AT", "").partition(":")
    if point == name:
        _passed[name] = _passed.get(name, 0) + 1
        if _passed[name] == int(nth or 1):
            os.kill(os.getpid(), signal.SIGKILL)


def sync_folder(folder: Path) -> None:
    """Makes names durable: a new one, a rename or a removal is on the disk only when the folder is."""
    with writing(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """What the system refuses within is raised as an ``OutputError`` that names ``path``."""
    try:
        yield
    except OSError as error:
        raise output_error(path, error) from error


def disk_failed(error: sqlite3.Error) -> bool:
    """Whether it is the system that refuses to read or write a database: https://www.sqlite.org/rescode.html

    Else the database is damaged, or the statement is wrong.
    """
    code = getattr(error, "sqlite_errorcode", 0)
    return code in _REFUSED or code & 0xFF in _REFUSED


def output_error(path: Path | str, error: OSError) -> OutputError:
    return OutputError(f"{path} can't be written: {error.strerror or error}")
