"""Files that grow: the lines of a run, and the thread that hashes and writes them."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from converter.disk import PRIVATE, crash_point, output_error, writing
from converter.errors import CheckpointMismatch, OutputError
from converter.layout import DATA_FILES, REJECTS, attempt_name, part_name, partial, parts_of
from converter.manifest import FileEntry
from converter.place import Place

_GROWING: Final = (*DATA_FILES.values(), REJECTS)
_BUFFER: Final = 1 << 18
_AHEAD: Final = 8 << 20  # bytes after which the disk is set to work, without waiting for a checkpoint
_CHUNK: Final = 1 << 20  # bytes of a file that go to the thread at once: each time it may wait 5 ms for the GIL
_MOST_UNDER_WAY: Final = 4 << 20  # bytes that may be on their way to the files


class Output:
    """One growing NDJSON file: appended to, synced, and cut back to what a checkpoint remembers.

    Its SHA-256 is kept running while it grows, so that it costs no second reading.
    """

    def __init__(self, path: str, *, keep: FileEntry | None = None) -> None:
        """Opens the file at ``path``, empty or cut back to ``keep``.

        Raises ``CheckpointMismatch`` when what is to be kept isn't what it was.
        """
        self.path = path
        self.documents = 0
        self.bytes = 0
        self._sha256 = hashlib.sha256()
        with writing(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
            try:
                if keep is not None:
                    self._verify(descriptor, keep)
                if path != os.devnull:
                    os.ftruncate(descriptor, self.bytes)
                os.lseek(descriptor, self.bytes, os.SEEK_SET)
                self._begun = self.bytes
            except BaseException:
                os.close(descriptor)
                raise
            self._file = os.fdopen(descriptor, "wb", _BUFFER)

    def _verify(self, descriptor: int, keep: FileEntry) -> None:
        """hashlib can't save its state, so what is kept is read once. That also proves it undamaged."""
        while self.bytes < keep.bytes and (piece := os.read(descriptor, min(_BUFFER, keep.bytes - self.bytes))):
            self._sha256.update(piece)
            self.bytes += len(piece)
        if (self.bytes, self._sha256.hexdigest()) != (keep.bytes, keep.sha256):
            raise CheckpointMismatch(f"{self.path} isn't what the last checkpoint left: start over with --overwrite")
        self.documents = keep.documents

    def append(self, block: bytes, documents: int = 1) -> None:
        """Adds so many documents, each with its newline."""
        try:
            self._file.write(block)
        except OSError as error:
            raise output_error(self.path, error) from error
        self._sha256.update(block)
        self.documents += documents
        self.bytes += len(block)

    def sync_ahead(self) -> None:
        """Now and then brings to the disk what came, so that a sync finds less left to wait for."""
        if self.bytes - self._begun >= _AHEAD:
            self.flush()
            self.sync()
            self._begun = self.bytes

    def flush(self) -> None:
        """Hands what is buffered to the operating system."""
        with writing(self.path):
            self._file.flush()

    def sync(self) -> None:
        """Returns when what was flushed is on the disk. What is thrown away is on none."""
        if self.path != os.devnull:
            with writing(self.path):
                os.fsync(self._file.fileno())

    def entry(self) -> FileEntry:
        """What the file holds now."""
        return FileEntry(documents=self.documents, bytes=self.bytes, sha256=self._sha256.hexdigest())

    def close(self) -> None:
        """Says nothing about what can no longer be written: only what was synced counts."""
        with suppress(OSError):
            self._file.close()


@dataclass(slots=True)
class _Gathered:
    """What was appended to a file, and isn't on its way there yet."""

    blocks: list[bytes] = field(default_factory=list)
    documents: int = 0
    bytes: int = 0


class Outputs:
    """The NDJSON files of one run: the four collections' and the rejects. A context manager.

    Where the collections lie in parts, only the rejects grow here; each part was written by a worker.

    A thread hashes, writes and waits for the disk while the next documents are converted: Python lets others run
    meanwhile. It is given chunks; what is left of them ``sync`` and ``entries`` write themselves, so a short run needs
    no thread. What fails there is raised by the next call, and by each after it.
    """

    def __init__(
        self, files: dict[str, Output], parts: Mapping[str, FileEntry] | None = None, attempts: Iterable[str] = ()
    ) -> None:
        self._files = files
        self._parts = dict(parts or {})
        self._attempts = list(attempts)
        self._bytes = sum(file.bytes for file in files.values())
        self._gathered = {name: _Gathered() for name in files}
        self._thread = ThreadPoolExecutor(1)
        self._under_way: deque[tuple[Future[None], int]] = deque()  # in order, each with its bytes
        self._bytes_under_way = 0

    @classmethod
    def start(cls, folder: Path, *, parts: bool = False) -> Self:
        """New, empty files; with ``parts`` none yet but that of the rejects."""
        return cls(_open_all(lambda name: Output(str(folder / partial(name))), [REJECTS] if parts else _GROWING))

    @classmethod
    def attempt(cls, folder: Path, token: str) -> Self:
        """New, empty files as a worker writes them, for one part."""
        called = {DATA_FILES[collection]: attempt_name(collection, token) for collection in DATA_FILES}
        called[REJECTS] = attempt_name(REJECTS, token)
        return cls(_open_all(lambda name: Output(str(folder / called[name])), called))

    @classmethod
    def reopen(cls, folder: Path, entries: Mapping[str, FileEntry], place: Place, attempts: Iterable[str]) -> Self:
        """The files as a checkpoint left them. Raises ``CheckpointMismatch`` where they aren't so any more.

        Of parts, which are in ``place``, only the sizes are looked at: reading them all would take as long as making
        them.
        """
        attempts = list(attempts)
        parts = parts_of(attempts)
        for name, written in parts.items():
            with writing(place.path(written)):
                if place.size(written) != entries[name].bytes:
                    raise CheckpointMismatch(
                        f"{place.path(written)} isn't what the last checkpoint left: start over with --overwrite"
                    )
        growing = [name for name in entries if name not in parts]
        files = _open_all(lambda name: Output(str(folder / partial(name)), keep=entries[name]), growing)
        return cls(files, {name: entries[name] for name in parts}, attempts)

    @classmethod
    def discarded(cls) -> Self:
        """Files that are counted and thrown away, for ``--dry-run``."""
        return cls(_open_all(lambda name: Output(os.devnull), _GROWING))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)
        for file in self._files.values():
            file.close()

    def append(self, collection: str, block: bytes, documents: int = 1) -> None:
        """Adds so many documents of a collection, each with its newline."""
        self._append(DATA_FILES[collection], block, documents)

    def reject(self, line: bytes) -> None:
        """Adds one reject, its newline included."""
        self._append(REJECTS, line, 1)

    def _append(self, name: str, block: bytes, documents: int) -> None:
        if len(block) >= _CHUNK and self._gathered[name].blocks:
            self._send(name)  # joined to what was before it, it would be copied
        gathered = self._gathered[name]
        gathered.blocks.append(block)
        gathered.documents += documents
        gathered.bytes += len(block)
        self._bytes += len(block)
        if gathered.bytes >= _CHUNK:
            self._send(name)
        self._settle(_MOST_UNDER_WAY)

    def _send(self, name: str) -> None:
        gathered, self._gathered[name] = self._gathered[name], _Gathered()
        written = self._thread.submit(_write, self._files[name], b"".join(gathered.blocks), gathered.documents)
        self._under_way.append((written, gathered.bytes))
        self._bytes_under_way += gathered.bytes

    def _settle(self, most: int) -> None:
        """Returns when at most so many bytes are on their way to the files. Raises what the thread raised."""
        while self._under_way and (self._bytes_under_way > most or self._under_way[0][0].done()):
            written, size = self._under_way[0]
            written.result()  # where this raises, it stays the first, and raises again
            self._under_way.popleft()
            self._bytes_under_way -= size

    def _hand_over(self) -> None:
        """Returns when everything appended so far was handed to the files."""
        self._settle(0)
        for name, gathered in self._gathered.items():
            if gathered.blocks:
                self._files[name].append(b"".join(gathered.blocks), gathered.documents)
                self._gathered[name] = _Gathered()

    def adopt(self, place: Place, token: str, written: Mapping[str, FileEntry]) -> None:
        """Makes what a worker wrote the bundle's next part."""
        for collection in DATA_FILES:
            path = place.path(attempt_name(collection, token))
            with writing(path):
                if place.size(attempt_name(collection, token)) != written[DATA_FILES[collection]].bytes:
                    raise OutputError(
                        f"{path} was written by a worker, and isn't here: all must see the same {place.path('')}"
                    )
            self._parts[part_name(collection, len(self._attempts))] = written[DATA_FILES[collection]]
        self._attempts.append(token)
        place.settle()

    @property
    def attempts(self) -> list[str]:
        """The tokens of the parts, in their order."""
        return list(self._attempts)

    @property
    def bytes(self) -> int:
        """The length of all files together."""
        return self._bytes + sum(part.bytes for part in self._parts.values())

    def sync(self) -> None:
        """Returns when everything appended so far is on the disk."""
        self._hand_over()
        for file in self._files.values():
            file.flush()
        crash_point("written")
        for file in self._files.values():
            file.sync()
            crash_point("synced")

    def entries(self) -> dict[str, FileEntry]:
        """File name -> what it holds now."""
        self._hand_over()
        return {**self._parts, **{name: file.entry() for name, file in self._files.items()}}


def _write(file: Output, chunk: bytes, documents: int) -> None:
    """What the thread does."""
    file.append(chunk, documents)
    file.sync_ahead()


def _open_all(open_one: Callable[[str], Output], names: Iterable[str]) -> dict[str, Output]:
    """All the files, or none: what was opened is closed again when one can't be."""
    with ExitStack() as stack:
        files = {name: stack.enter_context(closing(open_one(name))) for name in names}
        stack.pop_all()
    return files
