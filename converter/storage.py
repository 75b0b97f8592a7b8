"""Where bytes are: in a file, or in an object with a URL (``s3://``, ``gs://``). The only user of fsspec.

What goes wrong is an ``OSError`` whose ``strerror`` is for the user. Nothing is kept between two calls, so any process
can ask for any range.
"""

import errno
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO, RawIOBase
from pathlib import PurePath
from typing import Any, Final, Protocol

from converter.errors import masked

_AHEAD: Final = 2 << 20
"""Bytes of an object that are asked for beyond those wanted, when it is read from its beginning: a request takes its
time, however few the bytes."""
_SENT: Final = 5 << 20
"""Bytes of a file that are sent in one request, or a multiple of them: the fewest that S3 takes, because what is under
way is in memory, and a multiple of 256 KiB, as Google wants it."""
_AT_ONCE: Final = 2
"""Requests under way, with s3fs. gcsfs has one."""
_MOST_SENT: Final = 10_000
"""Requests for one object, the most that S3 takes."""
_TALKATIVE: Final = ("asyncio", "fsspec", "gcsfs", "google", "s3fs")
_SILENT: Final = logging.NullHandler()
"""Libraries that print to standard error, with tracebacks, what they raise too; unless somebody wants their logs."""
_LONGEST: Final = 200


class Unavailable(OSError):
    """An object that can't be had, or not now."""


class File(Protocol):
    """What is read from its beginning on."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, offset: int, /) -> int: ...
    def close(self) -> None: ...


def is_url(path: str) -> bool:
    """Whether this is no path of a file, but ``scheme://...``."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path) is not None


def name(path: str) -> str:
    """What the file or object is called, without where it is; what follows the path in a URL may be a signature."""
    return PurePath(re.split(r"[?#]", path)[0] if is_url(path) else path).name


def copying(url: str) -> str:
    """The command line that copies all that lies behind a URL into a folder."""
    tool = {"s3": "aws s3 cp", "gs": "gcloud storage cp"}.get(url.partition(":")[0], "the storage's own tool:")
    return f"{tool} --recursive {url.rstrip('/')} FOLDER"


def opened(path: str) -> tuple[File, int | None]:
    """The bytes at ``path`` (``-`` is standard input), and how many they are; None where they can be read only once."""
    if is_url(path):
        there = Object(path)
        return there, there.size
    file = FileIO(0, closefd=False) if path == "-" else FileIO(path)
    status = os.fstat(file.fileno())
    return file, status.st_size if path != "-" and stat.S_ISREG(status.st_mode) else None


def size(path: str) -> int:
    """Bytes of a file or an object. Raises an ``OSError`` of number ``ENOENT`` where there is none."""
    return _size(path, _info(path)) if is_url(path) else os.stat(path).st_size


def read(path: str, offset: int, end: int) -> bytes:
    """The bytes from ``offset``, which is before the last one, to ``end``; fewer if there aren't so many."""
    if not is_url(path):
        with open(path, "rb", buffering=0) as file:
            return os.pread(file.fileno(), end - offset, offset)
    if end <= offset:
        return b""  # as a range of HTTP that would be the whole object
    with _asking(path):
        filesystem, place = _filesystem(path)
        data: bytes = filesystem.cat_file(place, start=offset, end=end)
    if len(data) > end - offset:
        raise _error(path, "the server hands out nothing but the whole: download it, and give the file")
    return data


def stamp(path: str) -> object:
    """Something that is another whenever the file or object was written to or replaced; None if the file is gone."""
    if is_url(path):
        return _info(path)
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


class Object(RawIOBase):
    """A ``File`` at a URL. Reading fails once the object was replaced, where the storage can tell."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.size = _size(url, _info(url))
        with _asking(url):
            filesystem, place = _filesystem(url)
            self._file = filesystem.open(place, "rb", block_size=_AHEAD, cache_type="readahead")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        with _asking(self._url):
            data: bytes = self._file.read(size)
        return data

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        with _asking(self._url):
            return int(self._file.seek(offset, whence))

    def close(self) -> None:
        self._file.close()
        super().close()


def names(url: str) -> set[str]:
    """What the objects are called that lie right behind ``url``/."""
    with _asking(url):
        filesystem, place = _filesystem(url)
        filesystem.invalidate_cache()
        try:
            found = filesystem.ls(place, detail=True)
        except FileNotFoundError:
            return set()
    return {PurePath(entry["name"]).name for entry in found if entry["type"] == "file" and entry["name"] != place}


def put(path: str, url: str, arrived: Callable[[int], object]) -> None:
    """Makes an object of a file, or replaces one. What is sent is only there when all of it is.

    ``arrived`` is told again and again, by another thread, how many more bytes of it have arrived.
    """
    from fsspec.callbacks import Callback

    before = 0

    def tell(size: int, value: int) -> None:
        nonlocal before
        arrived(value - before)
        before = value

    length = os.path.getsize(path)
    pieces = 1 + length // (_SENT * _MOST_SENT)
    with _asking(url):
        filesystem, place = _filesystem(url)
        callback = Callback(hooks={"arrived": tell})
        filesystem.put_file(path, place, chunksize=_SENT * pieces, max_concurrency=_AT_ONCE, callback=callback)
    if size(url) != length:
        raise _error(url, f"{length:,} bytes were sent, and {size(url):,} are there: try again")


def rename(url: str, names: Mapping[str, str]) -> None:
    """Gives the objects ``names`` right behind ``url``/ other names; the storage copies them, many at once."""
    if names:
        with _asking(url):
            filesystem, place = _filesystem(url)
            filesystem.copy([f"{place}/{name}" for name in names], [f"{place}/{final}" for final in names.values()])
            filesystem.rm([f"{place}/{name}" for name in names])


def remove(url: str) -> None:
    """Removes an object."""
    with _asking(url):
        filesystem, place = _filesystem(url)
        filesystem.rm_file(place)


def _filesystem(url: str) -> tuple[Any, str]:
    """What fsspec opens ``url`` with, and what it is called there. Connections are shared by all who ask."""
    from fsspec.core import url_to_fs

    for library in _TALKATIVE:
        logging.getLogger(library).addHandler(_SILENT)
    filesystem, place = url_to_fs(url)
    return filesystem, place


def _info(url: str) -> dict[str, Any]:
    with _asking(url):
        filesystem, place = _filesystem(url)
        filesystem.invalidate_cache()
        info: dict[str, Any] = filesystem.info(place)
    return info


def _size(url: str, info: dict[str, Any]) -> int:
    if info["type"] == "directory":
        raise _error(url, "this is a folder: give the objects in it")
    if info["size"] is None:
        raise _error(url, "the server doesn't tell its size: download it, and give the file")
    return int(info["size"])


@contextmanager
def _asking(url: str) -> Iterator[None]:
    """Whatever goes wrong there, as ``Unavailable``. Every storage has exceptions of its own, without a common base."""
    try:
        yield
    except FileNotFoundError as error:
        why = f" ({_line(url, error.__cause__)})" if error.__cause__ else ""
        raise _error(url, f"there is no such object, or no such bucket{why}", errno.ENOENT) from None
    except PermissionError as error:
        raise _error(
            url, f"access is denied ({_line(url, error)}): check the credentials, and what they allow"
        ) from None
    except ImportError as error:
        what = "pip install 'novel-backfill[cloud]' is enough for s3://, gs:// and https://"
        raise _error(url, f"{_line(url, error)}; {what}") from None
    except Exception as error:
        raise _error(url, f"{_line(url, error)}; check the URL, the credentials and the network") from None


def _error(url: str, problem: str, number: int = errno.EIO) -> Unavailable:
    return Unavailable(number, problem, masked(url))


def _line(url: str, error: BaseException) -> str:
    """What a library has to say, for a line of ours; a password in the URL may be part of it."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    user = re.match(r"[^/]*//([^/?#\s]+)@", url)
    if user:
        said = said.replace(user[1], "****")
    return masked(" ".join(said.split()))[:_LONGEST] or type(error).__name__
