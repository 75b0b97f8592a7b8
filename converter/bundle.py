"""A bundle's folder: what may be in it, and its files' way to their final names.

As long as a run is at work, or after it was interrupted, everything is called ``<final name>.partial``. A bundle is
finished exactly when ``manifest.json`` exists, which is therefore the last name to appear. An older bundle that is to
be overwritten stays whole until the new one is complete.

A bundle that is to lie in object storage is made in a folder too, and goes there when it is complete; but for its
parts, which the workers put there.
"""

import fcntl
import hashlib
import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from converter import storage
from converter.disk import PRIVATE, crash_point, sync_folder, writing
from converter.errors import CheckpointMismatch, OutputError, OutputExists
from converter.layout import (
    AT_WORK,
    BUNDLE_FILES,
    CHECKSUMS,
    LOCK,
    MANIFEST,
    is_of_bundle,
    partial,
    unfinished_files,
)
from converter.place import Place, place
from converter.progress import Progress


class Bundle:
    """The folder in which one bundle is made, held by this process alone; and where it will be. A context manager."""

    def __init__(self, folder: Path, out: str) -> None:
        """Makes the folder if need be, and locks it. ``out`` is the same, or a URL.

        Raises ``OutputError`` where that can't be done, ``OutputExists`` when another process holds it.
        """
        self.folder = folder
        self.out = out
        self.place: Place = place(out)
        self._here: Place = place(str(folder))
        with writing(folder):
            if not folder.is_dir():
                nearest = next(path for path in (folder, *folder.parents) if path.exists())
                if not nearest.is_dir():
                    raise OutputError(f"{nearest} is a file: choose another folder with --out")
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.mkdir(mode=0o700, exist_ok=True)
                sync_folder(folder.parent)
        self._lock = _lock(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):
            (self.folder / LOCK).unlink()
        os.close(self._lock)
        if self._is_elsewhere:
            with suppress(OSError):
                self.folder.rmdir()  # where nothing was left in it

    @property
    def _is_elsewhere(self) -> bool:
        return storage.is_url(self.out)

    def refuse_existing(self, *, resume: bool) -> None:
        """Raises ``OutputExists`` rather than that anything is overwritten.

        With ``resume`` there was no checkpoint to go on from, so unfinished files are worth nothing.
        """
        with writing(self.folder):
            unfinished = unfinished_files(self._here.names())
        if unfinished and not resume:
            raise OutputExists(
                f"{self.folder} holds what an interrupted run left ({unfinished[0]}): "
                "go on with --resume, or start over with --overwrite"
            )
        with writing(self.out):
            present = self.place.names()
        if self._is_elsewhere and AT_WORK in present and not (resume and self._found_owner() == self._owner):
            raise self._in_use()
        existing = [
            name for name in (MANIFEST, *BUNDLE_FILES, *sorted(filter(is_of_bundle, present))) if name in present
        ]
        if existing:
            what = "a bundle" if existing[0] == MANIFEST else "a file that is called like one of a bundle's"
            raise OutputExists(
                f"{self.out} holds {what} ({existing[0]}): replace it with --overwrite, or choose another --out"
            )

    def claim(self) -> None:
        """Says in object storage, where nothing can be locked, that the bundle is being made here."""
        if self._is_elsewhere:
            self._write(AT_WORK, f"{self._owner}\n".encode("utf-8", "replace"))
            try:
                self.place.take(self.folder / AT_WORK, AT_WORK)
            finally:
                (self.folder / AT_WORK).unlink(missing_ok=True)

    def refuse_another_owner(self, *, publishing: bool) -> None:
        """Raises ``OutputExists`` where another run has begun in the same place since this one was interrupted."""
        if self._is_elsewhere and self._found_owner() not in ((self._owner, None) if publishing else (self._owner,)):
            raise self._in_use()

    @property
    def _owner(self) -> str:
        return f"{platform.node()}:{self.folder.absolute()}"

    def _found_owner(self) -> str | None:
        with writing(self.out):
            if self.place.size(AT_WORK) is None:
                return None
            with self.place.open(AT_WORK) as file:
                return file.read().decode("utf-8", "replace").strip()

    def _in_use(self) -> OutputExists:
        owner = self._found_owner()
        if owner is None:
            return OutputExists(f"{self.out} was used by another run meanwhile: start over with --overwrite")
        return OutputExists(
            f"{self.out} belongs to a run in {owner}, which is at work or was interrupted: "
            "go on there with --resume, or start over with --overwrite"
        )

    def refuse_dumps(self, dumps: Iterable[str]) -> None:
        """Raises ``OutputExists`` when the bundle would replace or remove the very dump that it is made from."""
        for dump in dumps:
            path = dump if storage.is_url(dump) else str(Path(dump).resolve())
            folder, _, name = path.rpartition("/")
            taken = is_of_bundle(name) or name in (AT_WORK, *unfinished_files({name}))
            if dump != "-" and taken and folder in (self.out.rstrip("/"), str(self.folder.resolve())):
                raise OutputExists(
                    f"{dump} would be lost, because the bundle in {self.out} needs its name: choose another --out"
                )

    def clear(self) -> None:
        """Removes what an earlier run left unfinished. A finished bundle stays until the new one is complete."""
        if self._is_elsewhere:
            with writing(self.out):
                present = self.place.names()
            self._remove(self.place, [*unfinished_files(present), *present & {AT_WORK}])
        with writing(self.folder):
            present = self._here.names()
        self._remove(self._here, unfinished_files(present))

    def add(self, name: str, content: bytes, *, executable: bool = False) -> str:
        """Writes one of the files that don't grow, synced, under its partial name. Returns its SHA-256."""
        self._write(partial(name), content, executable=executable)
        return hashlib.sha256(content).hexdigest()

    def _write(self, name: str, content: bytes, *, executable: bool = False) -> None:
        path = self.folder / name
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with writing(path), os.fdopen(os.open(path, flags, 0o700 if executable else PRIVATE), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def verify(self, checksums: Mapping[str, str], parts: Mapping[str, str]) -> None:
        """Raises ``CheckpointMismatch`` unless each file, published or not, has the SHA-256 that it should have.

        Of an object it is enough that it is there: it is whole, and no cable can cut it any more.
        """
        for name, expected in checksums.items():
            unfinished = parts.get(name, partial(name))
            places = ((self._here, unfinished), (self.place, unfinished), (self.place, name))
            with writing(self.out):
                found = next(((where, called) for where, called in places if where.size(called) is not None), None)
            if found is None:
                raise CheckpointMismatch(f"{self.place.path(name)} is missing: start over with --overwrite")
            where, called = found
            if where is self.place and self._is_elsewhere:
                continue
            with writing(where.path(called)), where.open(called) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != expected:
                raise CheckpointMismatch(
                    f"{where.path(called)} isn't what the last checkpoint left: start over with --overwrite"
                )

    def publish(self, names: Iterable[str], parts: Mapping[str, str], progress: Progress) -> None:
        """Gives the files in ``names`` their final names, the manifest last, and removes what is left of the run.

        ``parts`` are what the files of the parts will be called, and what they are called as the workers wrote them.
        What a crash left half done is finished by calling it again. ``progress`` is kept up to date where files have to
        be sent.
        """
        final = set(names)
        with writing(self.out):
            present = self.place.names()
            here = self._here.names()
        written = {name: called for name, called in parts.items() if called in present}
        pending = [name for name in BUNDLE_FILES if name in final and partial(name) in here]
        # An older bundle stops being called finished before the first of its files is replaced.
        self._remove(self.place, [name for name in (MANIFEST, CHECKSUMS) if name in pending and name in present])
        self._remove(self.place, sorted(name for name in present if is_of_bundle(name) and name not in final))
        if written:
            self.place.rename({called: name for name, called in written.items()})
            crash_point("renamed")
        if self._is_elsewhere:
            progress.begin_sending(sum(self._here.size(partial(name)) or 0 for name in pending))
        for name in pending:
            if name == MANIFEST:
                self.place.settle()
            self.place.take(self.folder / partial(name), name, progress.sent)
            crash_point("renamed")
        self.place.settle()
        crash_point("published")
        self.clear()

    def _remove(self, place: Place, names: Iterable[str]) -> None:
        removed = False
        for name in names:
            if place.remove(name):
                removed = True
                crash_point("removed")
        if removed:
            place.settle()


def _lock(folder: Path) -> int:
    """The descriptor that holds the lock. The kernel ends it with its owner, however that one dies."""
    path = folder / LOCK
    with writing(path):
        while True:
            with ExitStack() as stack:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
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
