"""One pass over the dumps."""

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from pydantic import BaseModel, Field

from converter import storage
from converter.disk import PRIVATE, disk_failed
from converter.dump import Dump
from converter.errors import DumpError, OutputError, OutputExists
from converter.extjson import without_surrogates
from converter.profiling.aggregate import Aggregate
from converter.profiling.rendering import html
from converter.profiling.result import DumpRead, Profile


class ProfileRequest(BaseModel, frozen=True, strict=True, extra="forbid"):
    """Which dumps to read, in this order (``-`` is standard input); ``html``: a file to write the profile to."""

    dumps: tuple[str, ...] = Field(min_length=1)
    html: str | None = Field(default=None, min_length=1)


def profile(request: ProfileRequest) -> Profile:
    """Read all documents and return what they are like, in memory that doesn't grow with the dumps.

    A dump that can't be read to its end stops the reading, and ``Profile.broken`` says why. Raises ``DumpError`` when
    there was nothing to read before that; ``OutputExists`` or ``OutputError``, if possible before reading, when the
    page can't be written.
    """
    page = None if request.html is None else Path(request.html)
    if page is not None:
        _refuse(page)
    try:
        with closing(Aggregate()) as aggregate:
            broken = _read(request.dumps, aggregate)
            profile = aggregate.result(broken)
    except sqlite3.Error as error:
        if not disk_failed(error):
            raise
        raise OutputError(f"temporary files can't be written ({error}): set TMPDIR to a folder with room") from error
    if page is not None:
        _write(page, html(profile))
    return profile


def _read(paths: Iterable[str], aggregate: Aggregate) -> str | None:
    """Read all documents; what stopped it, if anything."""
    try:
        for path in paths:
            with Dump.open(path) as dump:
                aggregate.begin(
                    DumpRead(
                        name=path if path == "-" else without_surrogates(storage.name(path)),
                        dialect=dump.dialect,
                        compression=dump.compression,
                        encoding=dump.encoding,
                        bytes=dump.size,
                    )
                )
                for raw in dump.documents():
                    aggregate.add(raw)
    except DumpError as error:
        if aggregate.documents == 0:
            raise
        return without_surrogates(str(error))
    return None


def _refuse(page: Path) -> None:
    """Find out before hours of reading, and not behind them, that the page can't be written."""
    if os.path.lexists(page):
        raise OutputExists(f"{page} already exists: remove it, or choose another --html")
    if not page.parent.is_dir():
        raise OutputError(f"{page} can't be written: there is no folder {page.parent}")


def _write(page: Path, text: str) -> None:
    """Readable by its owner only: the novels' names and texts are nobody else's business."""
    try:
        # "x": never over a file that has appeared meanwhile.
        with open(page, "x", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, PRIVATE)) as file:
            try:
                file.write(text)
                file.flush()
            except OSError:
                page.unlink(missing_ok=True)
                raise
    except FileExistsError:
        raise OutputExists(f"{page} already exists: remove it, or choose another --html") from None
    except OSError as error:
        raise OutputError(f"{page} can't be written: {error.strerror or error}") from error
