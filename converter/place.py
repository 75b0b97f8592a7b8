"""Where a bundle's files get their final names: a folder, or what a URL leads to in object storage.

What is refused there is an ``OutputError`` while a bundle is made, and an ``OSError`` while one is only read.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from converter import storage
from converter.disk import crash_point, sync_folder, writing

_BUFFER = 1 << 18


def _unheard(count: int) -> None:
    """Where nobody wants to be told."""


class Place(Protocol):
    """What a folder and object storage have in common."""

    def path(self, name: str) -> str:
        """What a file there is called in a message."""
        ...

    def names(self) -> set[str]:
        """What is there; nothing where nothing is yet."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if there is no such file."""
        ...

    def open(self, name: str) -> BufferedReader:
        """A file, to be read from its beginning on."""
        ...

    @contextmanager
    def receiving(self) -> Iterator[Path]:
        """A folder for files that are in this place when the block has ended, and had raised nothing."""
        ...

    def take(self, path: Path, name: str, arrived: Callable[[int], object] = _unheard) -> None:
        """Moves the complete file at ``path`` here, in place of any other: at every moment one of both is there.

        Where that takes its time, ``arrived`` is told again and again how many more bytes are here.
        """
        ...

    def rename(self, names: Mapping[str, str]) -> None:
        """The keys are what the files are called, the values what they will be."""
        ...

    def remove(self, name: str) -> bool:
        """False if it wasn't there."""
        ...

    def settle(self) -> None:
        """Returns when what was taken, renamed and removed is so for good."""
        ...


def place(out: str) -> Place:
    """``out`` is a folder's path, or a URL."""
    return _Objects(out.rstrip("/")) if storage.is_url(out) else _Folder(Path(out))


@dataclass(frozen=True, slots=True)
class _Folder:
    folder: Path

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def names(self) -> set[str]:
        return set(os.listdir(self.folder))

    def size(self, name: str) -> int | None:
        with suppress(FileNotFoundError):
            status = os.stat(self.folder / name)
            return status.st_size if stat.S_ISREG(status.st_mode) else None
        return None

    def open(self, name: str) -> BufferedReader:
        return open(self.folder / name, "rb")

    @contextmanager
    def receiving(self) -> Iterator[Path]:
        yield self.folder

    def take(self, path: Path, name: str, arrived: Callable[[int], object] = _unheard) -> None:
        with writing(self.folder / name):
            os.replace(path, self.folder / name)

    def rename(self, names: Mapping[str, str]) -> None:
        for name, final in names.items():
            self.take(self.folder / name, final)
            crash_point("renamed")

    def remove(self, name: str) -> bool:
        with writing(self.folder / name), suppress(FileNotFoundError):
            (self.folder / name).unlink()
            return True
        return False

    def settle(self) -> None:
        sync_folder(self.folder)


@dataclass(frozen=True, slots=True)
class _Objects:
    """An object appears whole or not at all, and for good."""

    url: str

    def path(self, name: str) -> str:
        return f"{self.url}/{name}"

    def names(self) -> set[str]:
        return storage.names(self.url)

    def size(self, name: str) -> int | None:
        try:
            return storage.size(self.path(name))
        except storage.Unavailable as error:
            if error.errno == errno.ENOENT:
                return None
            raise

    def open(self, name: str) -> BufferedReader:
        return BufferedReader(storage.Object(self.path(name)), _BUFFER)

    @contextmanager
    def receiving(self) -> Iterator[Path]:
        with TemporaryDirectory(prefix="novel-backfill-") as temporary:
            yield Path(temporary)
            for path in sorted(Path(temporary).iterdir()):
                self.take(path, path.name)

    def take(self, path: Path, name: str, arrived: Callable[[int], object] = _unheard) -> None:
        with writing(self.path(name)):
            storage.put(str(path), self.path(name), arrived)
        with writing(path):
            path.unlink()

    def rename(self, names: Mapping[str, str]) -> None:
        with writing(self.url):
            storage.rename(self.url, names)

    def remove(self, name: str) -> bool:
        with writing(self.path(name)):
            there = self.size(name) is not None
            if there:
                storage.remove(self.path(name))
        return there

    def settle(self) -> None:
        pass
