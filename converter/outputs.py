"""The bundle's folder: files that grow, and their way to their final names.

As long as a run is at work, or after it was interrupted, everything is called ``<final name>.partial``. A bundle is
finished exactly when ``manifest.json`` exists, which is therefore the last name to appear. An older bundle that is to
be overwritten stays whole until the new one is complete.
"""

import fcntl
import hashlib
import os
import re
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from converter.errors import CheckpointMismatch, OutputError, OutputExists
from converter.manifest import FileEntry

DATA_FILES: Final = {
    "novel_jobs": "novel_jobs.ndjson",
    "novel_job_events": "novel_job_events.ndjson",
    "novel_job_metrics": "novel_job_metrics.ndjson",
    "novel_job_metadata": "novel_job_metadata.ndjson",
}
"""Collection -> its file in the bundle."""
REJECTS: Final = "rejects.ndjson"
CHECKSUMS: Final = "SHA256SUMS"
MANIFEST: Final = "manifest.json"
REPORTS: Final = ("report.json", "report.html", "metrics.prom")
"""They tell of the run too, its time and memory. So they stay out of SHA256SUMS, which then is the same for the same
input; ``verify`` holds them against the manifest and each other instead."""
BUNDLE_FILES: Final = (
    *DATA_FILES.values(),
    REJECTS,
    *REPORTS,
    "import.sh",
    "indexes.js",
    "README.md",
    CHECKSUMS,
    MANIFEST,
)
"""Every name that a bundle may hold, in the order of publishing. Nothing else in the folder is ever touched."""
CHECKPOINT: Final = "checkpoint.partial"
LOCK: Final = "lock.partial"

_PART: Final = re.compile(r"(novel_[a-z_]+)\.part-([0-9]{5,})\.ndjson")
_UNFINISHED_PART: Final = re.compile(rf"{_PART.pattern}\.partial|[a-z_.]+\.attempt-[0-9a-f]+\.partial")
_GROWING: Final = (*DATA_FILES.values(), REJECTS)
_BUFFER: Final = 1 << 18
_AHEAD: Final = 8 << 20  # bytes after which the disk is set to work, without waiting for a checkpoint
_CHUNK: Final = 1 << 20  # bytes of a file that go to the thread at once: each time it may wait 5 ms for the GIL
_MOST_UNDER_WAY: Final = 4 << 20  # bytes that may be on their way to the files
_PRIVATE: Final = 0o600  # the novels in the dump are nobody else's business


def part_name(collection: str, number: int) -> str:
    """The file that holds so much of a collection, where it lies in parts. Their order is that of their numbers."""
    return f"{collection}.part-{number:05}.ndjson"


def attempt_name(name: str, token: str) -> str:
    """What a worker writes of a collection's part, or of its rejects, as long as nobody has accepted it."""
    return f"{name}.attempt-{token}.partial"


def data_files(names: Iterable[str]) -> dict[str, list[str]]:
    """Collection -> its files among ``names``, in order: one, or its parts."""
    found: dict[str, list[tuple[int, str]]] = {collection: [] for collection in DATA_FILES}
    for name in names:
        part = _PART.fullmatch(name)
        if part and part[1] in found:
            found[part[1]].append((int(part[2]), name))
        elif name in DATA_FILES.values():
            found[name.removesuffix(".ndjson")].append((-1, name))
    return {collection: [name for _, name in sorted(files)] for collection, files in found.items()}


def is_of_bundle(name: str) -> bool:
    """Whether a finished bundle may hold a file of that name."""
    return name in BUNDLE_FILES or bool(_PART.fullmatch(name))


def partial(name: str) -> str:
    """The name of a bundle's file as long as the bundle isn't complete."""
    return f"{name}.partial"


_UNFINISHED: Final = (f"{CHECKPOINT}-journal", CHECKPOINT, *map(partial, BUNDLE_FILES))
"""What an interrupted run leaves. SQLite's journal comes first: it must never outlive its database and meet another."""

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
        with _writing(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
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
            raise _output_error(self.path, error) from error
        self._sha256.update(block)
        self.documents += documents
        self.bytes += len(block)

    def begin_writing(self) -> None:
        """Now and then sets the disk to work, so that a sync finds less left to wait for.

        Linux answers this hint by starting to write and returning.
        """
        if self.bytes - self._begun >= _AHEAD:
            self.flush()
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._file.fileno(), self._begun, self.bytes - self._begun, os.POSIX_FADV_DONTNEED)
            self._begun = self.bytes

    def sync_ahead(self) -> None:
        """The same for a thread that may wait: what the hint leaves in the disk's own cache takes longest to sync."""
        if self.bytes - self._begun >= _AHEAD:
            self.flush()
            self.sync()
            self._begun = self.bytes

    def flush(self) -> None:
        """Hands what is buffered to the operating system."""
        with _writing(self.path):
            self._file.flush()

    def sync(self) -> None:
        """Returns when what was flushed is on the disk. What is thrown away is on none."""
        if self.path != os.devnull:
            with _writing(self.path):
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
    meanwhile. It is given chunks; what is left of them ``sync`` writes itself, so a short run needs no thread. What
    fails there is raised by the next call, and by each after it.
    """

    def __init__(self, files: dict[str, Output], parts: Mapping[str, FileEntry] | None = None) -> None:
        self._files = files
        self._parts = dict(parts or {})
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
    def reopen(cls, folder: Path, entries: Mapping[str, FileEntry]) -> Self:
        """The files as a checkpoint left them. Raises ``CheckpointMismatch`` where they aren't so any more.

        Of parts only the sizes are looked at: reading them all would take as long as making them.
        """
        parts = {name: entry for name, entry in entries.items() if _PART.fullmatch(name)}
        for name, entry in parts.items():
            path = folder / partial(name)
            with _writing(path):
                if not path.exists() or path.stat().st_size != entry.bytes:
                    raise CheckpointMismatch(f"{path} isn't what the last checkpoint left: start over with --overwrite")
        growing = [name for name in entries if name not in parts]
        return cls(_open_all(lambda name: Output(str(folder / partial(name)), keep=entries[name]), growing), parts)

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
        if len(block) >= _CHUNK:
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

    def adopt(self, folder: Path, token: str, written: Mapping[str, FileEntry]) -> None:
        """Takes what a worker wrote into the bundle, as its next part."""
        number = len(self._parts) // len(DATA_FILES)
        for collection in DATA_FILES:
            name, path = part_name(collection, number), folder / attempt_name(collection, token)
            with _writing(path):
                try:
                    os.replace(path, folder / partial(name))
                except FileNotFoundError:
                    raise OutputError(
                        f"{path} was written by a worker, and isn't here: all must see the same folder {folder}"
                    ) from None
            self._parts[name] = written[collection]
        _sync(folder)

    @property
    def parts(self) -> int:
        """How many there are."""
        return len(self._parts) // len(DATA_FILES)

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


class Bundle:
    """The folder of one bundle, held by this process alone. A context manager."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder if need be, and locks it.

        Raises ``OutputError`` where that can't be done, ``OutputExists`` when another process holds it.
        """
        self.folder = folder
        with _writing(folder):
            if not folder.is_dir():
                nearest = next(path for path in (folder, *folder.parents) if path.exists())
                if not nearest.is_dir():
                    raise OutputError(f"{nearest} is a file: choose another folder with --out")
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.mkdir(mode=0o700, exist_ok=True)
                _sync(folder.parent)
        self._lock = _lock(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):
            (self.folder / LOCK).unlink()
        os.close(self._lock)

    def refuse_existing(self, *, resume: bool) -> None:
        """Raises ``OutputExists`` rather than that anything is overwritten.

        With ``resume`` there was no checkpoint to go on from, so unfinished files are worth nothing.
        """
        with _writing(self.folder):
            present = set(os.listdir(self.folder))
        unfinished = _unfinished(present)
        if unfinished and not resume:
            raise OutputExists(
                f"{self.folder} holds what an interrupted run left ({unfinished[0]}): "
                "go on with --resume, or start over with --overwrite"
            )
        existing = [
            name for name in (MANIFEST, *BUNDLE_FILES, *sorted(filter(is_of_bundle, present))) if name in present
        ]
        if existing:
            what = "a bundle" if existing[0] == MANIFEST else "a file that is called like one of a bundle's"
            raise OutputExists(
                f"{self.folder} holds {what} ({existing[0]}): replace it with --overwrite, or choose another --out"
            )

    def refuse_dumps(self, dumps: Iterable[str]) -> None:
        """Raises ``OutputExists`` when the bundle would replace or remove the very dump that it is made from."""
        for dump in dumps:
            place = Path(dump).resolve()
            taken = is_of_bundle(place.name) or _unfinished({place.name})
            if dump != "-" and taken and place.parent == self.folder.resolve():
                raise OutputExists(
                    f"{dump} would be lost, because the bundle in {self.folder} needs its name: choose another --out"
                )

    def clear(self) -> None:
        """Removes what an earlier run left unfinished. A finished bundle stays until the new one is complete."""
        with _writing(self.folder):
            present = set(os.listdir(self.folder))
        self._remove(_unfinished(present))

    def add(self, name: str, content: bytes, *, executable: bool = False) -> str:
        """Writes one of the files that don't grow, synced, under its partial name. Returns its SHA-256."""
        path = self.folder / partial(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with _writing(path), os.fdopen(os.open(path, flags, 0o700 if executable else _PRIVATE), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return hashlib.sha256(content).hexdigest()

    def verify(self, checksums: Mapping[str, str]) -> None:
        """Raises ``CheckpointMismatch`` unless each file, published or not, has the SHA-256 that it should have."""
        for name, expected in checksums.items():
            path = self.folder / partial(name)
            if not path.exists():
                path = self.folder / name
            with _writing(path):
                if not path.exists():
                    raise CheckpointMismatch(f"{path} is missing: start over with --overwrite")
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != expected:
                raise CheckpointMismatch(f"{path} isn't what the last checkpoint left: start over with --overwrite")

    def publish(self, names: Mapping[str, str]) -> None:
        """Gives the files in ``names`` their final names, the manifest last, and removes what is left of the run.

        What a crash left half done is finished by calling it again.
        """
        with _writing(self.folder):
            present = set(os.listdir(self.folder))
        parts = sorted(name for name in {*names, *present} if _PART.fullmatch(name))
        possible = (*parts, *BUNDLE_FILES)
        pending = [name for name in possible if name in names and partial(name) in present]
        # An older bundle stops being called finished before the first of its files is replaced.
        self._remove([name for name in (MANIFEST, CHECKSUMS) if name in pending])
        self._remove([name for stale in possible if stale not in names for name in (stale, partial(stale))])
        for name in pending:
            if name == MANIFEST:
                _sync(self.folder)
            with _writing(self.folder / name):
                os.replace(self.folder / partial(name), self.folder / name)
            crash_point("renamed")
        _sync(self.folder)
        crash_point("published")
        self.clear()

    def _remove(self, names: Iterable[str]) -> None:
        removed = False
        for name in names:
            with _writing(self.folder / name), suppress(FileNotFoundError):
                (self.folder / name).unlink()
                removed = True
                crash_point("removed")
        if removed:
            _sync(self.folder)


def _unfinished(present: set[str]) -> list[str]:
    """Those of the files in a folder that an interrupted run left."""
    return [name for name in (*_UNFINISHED, *sorted(filter(_UNFINISHED_PART.fullmatch, present))) if name in present]


def _sync(folder: Path) -> None:
    """Makes names durable: a new one, a rename or a removal is on the disk only when the folder is."""
    with _writing(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _lock(folder: Path) -> int:
    """The descriptor that holds the lock. The kernel ends it with its owner, however that one dies."""
    path = folder / LOCK
    with _writing(path):
        while True:
            with ExitStack() as stack:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
                stack.callback(os.close, descriptor)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    owner = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
                    raise OutputExists(
                        f"{folder} is in use by another process, {owner}: wait for it, or choose another --out"
                    ) from None
                if _is_still(path, descriptor):  # else its owner finished between our two calls, and removed it
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"{os.getpid()}\n".encode())
                    stack.pop_all()
                    return descriptor


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def _writing(path: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _output_error(path, error) from error


def _output_error(path: Path | str, error: OSError) -> OutputError:
    return OutputError(f"{path} can't be written: {error.strerror or error}")
