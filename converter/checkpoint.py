"""What ``--resume`` needs: how far each dump and each output had come, and the identities of all jobs seen.

One SQLite file. Durable first, then remembered: the outputs are synced before ``commit`` is called, so that what it
remembers is certainly there. Between two commits everything belongs to one transaction, which a crash undoes.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pydantic import BaseModel, NonNegativeInt, ValidationError

from converter import storage
from converter.disk import PRIVATE, disk_failed
from converter.errors import CheckpointMismatch, DumpError, OutputError
from converter.manifest import FileEntry, Identity

WINDOW: Final = 64 * 1024
"""Bytes of a dump's beginning, of its end and of what was read last, that tell it from another."""

_TABLES: Final = (
    "CREATE TABLE saved (name TEXT PRIMARY KEY, json TEXT, sha256 TEXT) WITHOUT ROWID",
    "CREATE TABLE identities (key BLOB PRIMARY KEY, dump INTEGER, document INTEGER) WITHOUT ROWID",
)
_IDENTITIES: Final = "SELECT CAST(key AS BLOB), CAST(dump AS INTEGER), CAST(document AS INTEGER) FROM identities"
# EXTRA syncs the folder too, so that no commit is undone by a journal that comes back, and no output loses its name.
_DURABLE: Final = "PRAGMA synchronous = EXTRA"
# KiB of pages in memory. Identities come in no order, so a larger cache is hit no more often: it would only fill up.
_SMALL: Final = "PRAGMA cache_size = -256"


class Position(BaseModel, frozen=True, strict=True, extra="forbid"):
    """How far one dump has been read.

    ``offset`` is the byte behind the last document done, in the decompressed dump; None where the reader knows none.
    ``bytes`` is how much of the file on disk that took, and ``window`` the SHA-256 of the last of them.
    """

    documents: NonNegativeInt = 0
    offset: NonNegativeInt | None = None
    bytes: NonNegativeInt = 0
    window: str | None = None
    complete: bool = False


class State(BaseModel, frozen=True, strict=True, extra="forbid"):
    """Everything that changes from checkpoint to checkpoint, but for the identities.

    ``attempts`` are the tokens of the parts, in their order: by these the workers called their files.
    ``batches`` are the checkpoints made so far, the first one not counted.
    ``publishing`` is None as long as documents are converted; then file name -> SHA-256 of what gets its final name.
    """

    positions: list[Position]
    files: dict[str, FileEntry]
    tally: dict[str, Any]
    attempts: list[str] = []
    batches: NonNegativeInt = 0
    publishing: dict[str, str] | None = None


class Checkpoint:
    """Where a run's state is kept, and the identities of the jobs seen so far. A context manager."""

    def __init__(self, path: Path | None) -> None:
        """Opens the file, or makes it. With None there is none: ``--dry-run`` forgets everything at its end."""
        self._path = path
        self._sum = 0  # of all rows of identities, whatever their order
        self._committed = 0  # the same, of those that are committed
        with self._guarded():
            if path is not None:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE))
            self._database = sqlite3.connect(path or "", isolation_level=None)  # "" is an anonymous temporary file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Undoes what was not committed."""
        self._database.close()

    def discard(self) -> None:
        """Forgets the run: there is nothing to go on from any more."""
        self.close()
        if self._path is not None:
            with self._guarded():
                os.unlink(self._path)

    def create(self, identity: Identity, state: State) -> None:
        """Begins anew. The first checkpoint is on the disk when this returns."""
        with self._guarded():
            self._database.execute(_DURABLE)
            self._database.execute(_SMALL)
            self._database.execute("BEGIN")
            for table in _TABLES:
                self._database.execute(table)
            self._save("identity", identity.model_dump_json())
        self.commit(state)

    def load(self) -> tuple[Identity, State] | None:
        """The run that was interrupted; None when it didn't come as far as its first checkpoint.

        Raises ``CheckpointMismatch`` for a file that is damaged, however little: it would make a wrong bundle.
        """
        try:
            saved = _read(self._database)
            if saved is not None:
                (damage,) = self._database.execute("PRAGMA integrity_check(1)").fetchone()
                for row in self._database.execute(_IDENTITIES):
                    self._sum ^= _row_sum(*row)
                if damage != "ok" or saved["identities"] != self._sum:
                    raise ValueError("identities")
                self._committed = self._sum
                self._database.execute(_DURABLE)
                self._database.execute(_SMALL)
                self._database.execute("BEGIN")
                # Changes nothing, but fails now if nothing can be written.
                self._save("identities", json.dumps(self._sum))
        except (sqlite3.Error, ValueError, KeyError, OverflowError) as error:
            if isinstance(error, sqlite3.Error) and disk_failed(error):
                raise self._cannot_be_written(error) from error
            raise _damaged(self._path) from error
        return None if saved is None else _parsed(self._path, saved)

    def commit(self, state: State) -> None:
        """Remembers ``state`` and all identities since the last commit, at once and durably."""
        with self._guarded():
            self._save("state", state.model_dump_json())
            self._save("identities", json.dumps(self._sum))
            self._database.execute("COMMIT")
            self._database.execute("BEGIN")
        self._committed = self._sum

    def undo(self) -> None:
        """Forgets all identities since the last commit."""
        with self._guarded():
            self._database.execute("ROLLBACK")
            self._database.execute("BEGIN")
        self._sum = self._committed

    def first_seen(self, identities: tuple[bytes, bytes], dump: int, document: int) -> tuple[int, int] | None:
        """Where a job with either identity was before, as (dump, document); None for a new one, now remembered.

        They are kept on the disk: a billion jobs take no more memory than one.
        """
        one, other = map(_key, identities)
        with self._guarded():
            try:
                self._database.execute(
                    "INSERT INTO identities VALUES (?, ?, ?), (?, ?, ?)", (one, dump, document, other, dump, document)
                )
            except sqlite3.IntegrityError:  # then neither was inserted
                before: tuple[int, int] = self._database.execute(
                    "SELECT dump, document FROM identities WHERE key IN (?, ?) ORDER BY dump, document", (one, other)
                ).fetchone()
                return before
        self._sum ^= _row_sum(one, dump, document) ^ _row_sum(other, dump, document)
        return None

    def _save(self, name: str, text: str) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO saved VALUES (?, ?, ?)", (name, text, hashlib.sha256(text.encode()).hexdigest())
        )

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, sqlite3.Error) and not disk_failed(error):
                raise
            raise self._cannot_be_written(error) from error

    def _cannot_be_written(self, error: Exception) -> OutputError:
        return OutputError(f"{self._path or 'the temporary folder'} can't be written: {error}")


def peek(path: Path) -> tuple[Identity, State] | None:
    """As ``Checkpoint.load``, but without a trace on the disk, and so without undoing what a crash left half written.

    Where that stands in the way, the answer is None too.
    """
    try:
        if not path.exists() or Path(f"{path}-journal").exists():
            return None
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            saved = _read(database)
    except OSError as error:
        raise OutputError(f"{path} can't be read: {error.strerror}") from error
    except (sqlite3.Error, ValueError) as error:
        raise _damaged(path) from error
    return None if saved is None else _parsed(path, saved)


def _read(database: sqlite3.Connection) -> dict[str, Any] | None:
    if database.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
        return None
    saved = {}
    for name, text, digest in database.execute("SELECT name, json, sha256 FROM saved"):
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            raise ValueError(name)
        saved[name] = json.loads(text)
    return saved


def _parsed(path: Path | None, saved: dict[str, Any]) -> tuple[Identity, State]:
    try:
        return Identity.model_validate(saved["identity"]), State.model_validate(saved["state"])
    except (ValidationError, KeyError) as error:
        raise CheckpointMismatch(
            f"{path} was made by another version of novel-backfill: go on with that one, or start over with --overwrite"
        ) from error


def _damaged(path: Path | None) -> CheckpointMismatch:
    return CheckpointMismatch(f"{path} is damaged: start over with --overwrite")


def _key(identity: bytes) -> bytes:
    """Short ones as they are: ObjectIds grow with time, so neighbours meet on one page, and few pages are written."""
    return identity if len(identity) <= 32 else b"#" + hashlib.blake2b(identity, digest_size=16).digest()


def _row_sum(key: bytes, dump: int, document: int) -> int:
    row = key + dump.to_bytes(8) + document.to_bytes(8)
    return int.from_bytes(hashlib.blake2b(row, digest_size=8).digest())


def ends(path: str) -> tuple[str, str]:
    """SHA-256 of the first and of the last 64 KiB of a dump. Raises ``DumpError``."""
    with _reading(path):
        size = storage.size(path)
        return _window(path, min(WINDOW, size)), _window(path, size)


def window(path: str, end: int) -> str:
    """SHA-256 of the 64 KiB before byte ``end`` of a dump. Raises ``DumpError``."""
    with _reading(path):
        return _window(path, end)


def _window(path: str, end: int) -> str:
    return hashlib.sha256(storage.read(path, max(end - WINDOW, 0), end)).hexdigest()


@contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DumpError(f"can't be read: {error.strerror or error}", path=path) from error
