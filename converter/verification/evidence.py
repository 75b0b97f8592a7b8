"""What is remembered of the lines of a bundle and the documents of a dump, to ask what must hold between them.

A temporary database: memory grows with neither.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import orjson

from converter.disk import disk_failed
from converter.errors import BackfillError
from converter.layout import DATA_FILES

JOBS, EVENTS, METRICS, METADATA = DATA_FILES.values()
PARTS: Final = (EVENTS, METRICS, METADATA)
"""The files whose documents belong to a job."""
ONE_PER_JOB: Final = (METRICS, METADATA)

# ``facts`` is the JSON of what recount found in a document, NULL where the document broke its contract.
_TABLES = (
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "CREATE TABLE document (file TEXT, line INTEGER, id BLOB, job TEXT, emitted TEXT, facts TEXT)",
    "CREATE TABLE reject (line INTEGER PRIMARY KEY, dump TEXT, position INTEGER, document TEXT, met INTEGER DEFAULT 0)",
    "CREATE TABLE source (job TEXT, dump TEXT, position INTEGER, facts TEXT)",
    "BEGIN",
)
_INDEXES = (
    "CREATE INDEX document_job ON document (file, job, line)",
    "CREATE INDEX document_id ON document (file, id, line)",
    "CREATE INDEX reject_position ON reject (dump, position)",
)


@contextmanager
def evidence() -> Iterator[sqlite3.Connection]:
    """The database, in a temporary file. Raises ``BackfillError`` when that has no room left."""
    try:
        with closing(sqlite3.connect("", isolation_level=None)) as database:
            for statement in _TABLES:
                database.execute(statement)
            yield database
    except sqlite3.Error as error:
        if not disk_failed(error):
            raise
        raise BackfillError(f"the temporary folder is of no use ({error}): set TMPDIR to one with more room") from error


def complete(database: sqlite3.Connection) -> None:
    """All lines are remembered: make it quick to look them up."""
    for statement in _INDEXES:
        database.execute(statement)


def facts_of(database: sqlite3.Connection, file: str, job: str | None) -> tuple[int, dict[str, Any]] | None:
    """(line, facts) of a job's document in ``file``, None where it has none that kept its contract."""
    row = database.execute("SELECT line, facts FROM document WHERE file = ? AND job = ?", (file, job)).fetchone()
    return (row[0], orjson.loads(row[1])) if row and row[1] else None
