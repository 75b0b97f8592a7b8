"""Parts: a worker writes the lines of its range itself, as files in the bundle's folder, or as objects by its URL.

It writes under a name that nobody else has, syncs, and reports; the main process remembers which of these names are
parts of the bundle. So what a worker left that died, or guessed wrong, or that only seemed dead, never is.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from converter.errors import DumpError, OutputError
from converter.layout import DATA_FILES, REJECTS, attempt_name
from converter.manifest import FileEntry
from converter.mapping import Rejected
from converter.outputs import Outputs
from converter.place import place
from converter.ranges import Outcome, Range, begun
from converter.report.tally import Tally
from converter.transformation import Accepted, Task

FILES: Final = (*DATA_FILES, REJECTS)
"""What a part consists of: a file for each collection, and one for its rejects."""


@dataclass(frozen=True, slots=True)
class Part:
    """What became of a range, and what was written of it."""

    token: str = ""
    """Its files are called by it."""
    began: int | None = None
    """None: no beginning was found."""
    ended: int = 0
    identities: tuple[tuple[bytes, bytes] | None, ...] = ()
    """Of each document; None for a rejected one. Indexes in rejects are counted from the range's ``first_index``."""
    complete: bool = False
    """Nothing follows but the end of the dump."""
    error: DumpError | None = None
    """Then nothing was written."""
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    readers: Counter[str] = field(default_factory=Counter)


def written(number: int, piece: Range, task: Task, out: str, refusals: Mapping[int, Rejected]) -> Part:
    """Converts a range of the dump ``number`` into files of the bundle ``out``, and rejects those in ``refusals``.

    Raises ``DumpError`` where this isn't the dump that was meant, ``OutputError`` where nothing can be written.
    """
    token = uuid.uuid4().hex

    def attempt(began: int, outcomes: Iterator[Outcome]) -> tuple[Part, DumpError | None]:
        try:
            with place(out).receiving() as folder:
                return _written(piece, folder, token, began, outcomes), None
        except DumpError as found:
            error = found.moved(0)  # without the frames that it went through, which would keep the dump's bytes
        return Part(began=began, error=error), error

    part = None
    try:
        part = begun(number, piece, task, attempt, refusals)
    finally:
        if part is None or part.error is not None:
            discard(out, Part(token))
    return part or Part()


def _written(piece: Range, folder: Path, token: str, began: int, outcomes: Iterator[Outcome]) -> Part:
    tally, readers, ended = Tally(), Counter[str](), began
    identities: list[tuple[bytes, bytes] | None] = []
    with Outputs.attempt(folder, token) as outputs:
        for _, end, result in outcomes:
            ended = end
            readers[result.reader] += 1
            if isinstance(result, Accepted):
                for collection, block, documents in result.blocks:
                    outputs.append(collection, block, documents)
                tally.add(result.counted)
                identities.append(result.identities)
            else:
                outputs.reject(result.line)
                tally.reject(result.rejected.reason, result.rejected.job_id)
                identities.append(None)
        outputs.sync()
        entries = outputs.entries()
    complete = not identities or piece.end is None or ended < piece.end
    return Part(token, began, ended, tuple(identities), complete, None, entries, tally, readers)


def rejects(out: str, part: Part) -> Iterator[bytes]:
    """The lines of its rejects."""
    path = place(out).path(attempt_name(REJECTS, part.token))
    try:
        with place(out).open(attempt_name(REJECTS, part.token)) as file:
            yield from file
    except OSError as error:
        raise OutputError(f"{path} can't be read: {error.strerror or error}") from error


def discard(out: str, part: Part, names: Iterable[str] = FILES) -> None:
    """Removes what a worker wrote for it."""
    for name in names if part.token else ():
        place(out).remove(attempt_name(name, part.token))
