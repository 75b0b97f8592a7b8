"""The bundle's folder: what may be in it, and its files' way to their final names.

As long as a run is at work, or after it was interrupted, everything is called ``<final name>.partial``. A bundle is
finished exactly when ``manifest.json`` exists, which is therefore the last name to appear. An older bundle that is to
be overwritten stays whole until the new one is complete.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from converter.disk import PRIVATE, crash_point, sync_folder, writing
from converter.errors import CheckpointMismatch, OutputError, OutputExists
from converter.layout import BUNDLE_FILES, CHECKSUMS, LOCK, MANIFEST, PART, is_of_bundle, partial, unfinished_files


class Bundle:
    """The folder of one bundle, held by this process alone. A context manager."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder if need be, and locks it.

        Raises ``OutputError`` where that can't be done, ``OutputExists`` when another process holds it.
        """
        self.folder = folder
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

    def refuse_existing(self, *, resume: bool) -> None:
        """Raises ``OutputExists`` rather than that anything is overwritten.

        With ``resume`` there was no checkpoint to go on from, so unfinished files are worth nothing.
        """
        with writing(self.folder):
            present = set(os.listdir(self.folder))
        unfinished = unfinished_files(present)
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
            taken = is_of_bundle(place.name) or unfinished_files({place.name})
            if dump != "-" and taken and place.parent == self.folder.resolve():
                raise OutputExists(
                    f"{dump} would be lost, because the bundle in {self.folder} needs its name: choose another --out"
                )

    def clear(self) -> None:
        """Removes what an earlier run left unfinished. A finished bundle stays until the new one is complete."""
        with writing(self.folder):
            present = set(os.listdir(self.folder))
        self._remove(unfinished_files(present))

    def add(self, name: str, content: bytes, *, executable: bool = False) -> str:
        """Writes one of the files that don't grow, synced, under its partial name. Returns its SHA-256."""
        path = self.folder / partial(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with writing(path), os.fdopen(os.open(path, flags, 0o700 if executable else PRIVATE), "wb") as file:
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
            with writing(path):
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
        with writing(self.folder):
            present = set(os.listdir(self.folder))
        parts = sorted(name for name in {*names, *present} if PART.fullmatch(name))
        possible = (*parts, *BUNDLE_FILES)
        pending = [name for name in possible if name in names and partial(name) in present]
        # An older bundle stops being called finished before the first of its files is replaced.
        self._remove([name for name in (MANIFEST, CHECKSUMS) if name in pending])
        self._remove([name for stale in possible if stale not in names for name in (stale, partial(stale))])
        for name in pending:
            if name == MANIFEST:
                sync_folder(self.folder)
            with writing(self.folder / name):
                os.replace(self.folder / partial(name), self.folder / name)
            crash_point("renamed")
        sync_folder(self.folder)
        crash_point("published")
        self.clear()

    def _remove(self, names: Iterable[str]) -> None:
        removed = False
        for name in names:
            with writing(self.folder / name), suppress(FileNotFoundError):
                (self.folder / name).unlink()
                removed = True
                crash_point("removed")
        if removed:
            sync_folder(self.folder)


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
