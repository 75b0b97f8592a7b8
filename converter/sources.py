"""The bytes of a dump: from a file, an object or a pipe, decompressed, as UTF-8.

Everything is told by content. Files are told apart by their first bytes, so names mean nothing and standard input
works like a file.
"""

import bz2
import codecs
import errno
import itertools
import lzma
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from isal import igzip_lib

from converter import storage
from converter.errors import DumpError, excerpt

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["EXPORT_AGAIN", "LONGEST_HEAD", "Origin", "Source", "zstd"]

EXPORT_AGAIN = "copy or export it again"

LONGEST_HEAD = 64 * 1024
"""Bytes of white space that are looked through for the beginning of a dump."""


class _Decompressor(Protocol):
    """What bz2, lzma, isal and zstd have in common: it never hands out more than ``max_length`` bytes at once."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


# Compression -> its first bytes, an example of them, and what makes a decompressor for one member (gzip), frame (zstd)
# or stream.
_COMPRESSIONS: dict[str, tuple[re.Pattern[bytes], bytes, Callable[[], _Decompressor]]] = {
    "gzip": (
        re.compile(rb"\x1f\x8b\x08"),
        b"\x1f\x8b\x08",
        lambda: igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP),
    ),
    # The second form is a skippable frame, which pzstd writes first.
    "zstd": (
        re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", re.DOTALL),
        b"\x28\xb5\x2f\xfd",
        zstd.ZstdDecompressor,
    ),
    "xz": (re.compile(rb"\xfd7zXZ\x00"), b"\xfd7zXZ\x00", lzma.LZMADecompressor),
    "bzip2": (re.compile(rb"BZh[1-9]"), b"BZh9", bz2.BZ2Decompressor),
}
# isal's stub calls its exception class an instance; bz2 raises OSError.
_CORRUPT: tuple[type[Exception], ...] = (igzip_lib.error, lzma.LZMAError, zstd.ZstdError, OSError)  # type: ignore[assignment]

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-bom",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}

# Files that people hand over instead of a dump, by their first bytes.
_FOREIGN = {
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive: unpack it first",
    b"\x6d\xe2\x99\x81": "a mongodump --archive file: run mongodump without --archive and give the .bson file",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where bytes come from, for those who have something to say about them."""

    path: str
    has_offsets: bool
    """Whether a byte handed out is the same byte of the decompressed dump. Not so in UTF-16."""

    def error(self, message: str, *, offset: int | None, index: int | None = None) -> DumpError:
        return DumpError(message, path=self.path, offset=offset if self.has_offsets else None, index=index)

    def size(self) -> int:
        """Bytes of a plain file. Raises DumpError."""
        try:
            return storage.size(self.path)
        except OSError as error:
            raise self.error(f"{error.strerror}", offset=None) from None

    def read(self, offset: int, end: int) -> bytes:
        """The bytes from ``offset`` to ``end`` of a plain file. Raises DumpError; fewer bytes if it has shrunk."""
        try:
            return storage.read(self.path, offset, end)
        except OSError as error:
            raise self.error(f"reading failed: {error.strerror}", offset=offset) from None


class Source:
    """One dump's bytes in pieces, decompressed and transcoded to UTF-8."""

    path: str
    compression: str | None
    encoding: str
    size: int | None
    rewindable: bool
    seekable: bool

    def __init__(self, path: str, *, buffer_size: int) -> None:
        """Open ``path`` (``-`` is standard input) and look at its first bytes. Raises DumpError."""
        self.path = path
        self._buffer_size = buffer_size
        self._file, self.size = _open(path)
        try:
            self.rewindable = self.size is not None
            self._consumed = 0
            self._position = 0
            self.encoding = "utf-8"
            self._opened: tuple[bytes, Iterator[bytes]] | None = self._from_start()
        except BaseException:
            self._file.close()
            raise
        self.seekable = self.rewindable and self.compression is None and self.has_offsets

    @property
    def has_offsets(self) -> bool:
        """Whether a byte handed out is the same byte of the decompressed dump. Not so in UTF-16."""
        return not self.encoding.startswith("utf-16")

    @property
    def origin(self) -> Origin:
        return Origin(self.path, self.has_offsets)

    @property
    def start(self) -> int:
        """Where the text begins: behind the byte order mark."""
        return len(codecs.BOM_UTF8) if self.encoding == "utf-8-bom" else 0

    def bytes_read(self) -> int:
        """Bytes taken from the disk or the pipe so far: compressed ones where the dump is compressed."""
        return self._consumed

    def close(self) -> None:
        self._file.close()

    def head(self) -> bytes:
        """How the bytes begin. To be asked once, before any others.

        Many dumps may be open at once, so what can be read again isn't kept until it is wanted.
        """
        assert self._opened is not None
        head, _ = self._opened
        if self.rewindable:
            self._opened = None
        return head

    def chunks(self, offset: int | None = None) -> Iterator[bytes]:
        """The dump from its start, or from byte ``offset`` of a seekable one; never an empty piece.

        Raises DumpError when the bytes can't be read on; everything before was handed out.
        """
        if offset is not None:
            self._seek(offset)
            return self._counted(self._from_disk())
        opened, self._opened = self._opened, None
        if opened is None:
            if not self.rewindable:
                raise DumpError("it can be read only once: save it to a file first", path=self.path)
            self._seek(0)
            opened = self._from_start()
        return opened[1]

    def error(self, message: str, *, offset: int | None = None, index: int | None = None) -> DumpError:
        """A DumpError at ``offset``, else at the byte behind the last one that was handed out."""
        return self.origin.error(message, offset=self._position if offset is None else offset, index=index)

    def _seek(self, offset: int) -> None:
        try:
            self._file.seek(offset)
        except OSError as error:
            raise self.error(f"reading failed: {error.strerror}") from None
        self._consumed = self._position = offset

    def _from_start(self) -> tuple[bytes, Iterator[bytes]]:
        head, chunks = self._peek(self._from_disk())
        for magic, name in _FOREIGN.items():
            if head.startswith(magic):
                raise DumpError(f"this is {name}", path=self.path)
        self.compression = next((name for name, (magic, *_) in _COMPRESSIONS.items() if magic.match(head)), None)
        if self.compression is not None:
            head, chunks = self._peek(self._decompressed(chunks, self.compression))
        mark = next((mark for mark in _BYTE_ORDER_MARKS if head.startswith(mark)), b"")
        if mark:
            self.encoding = _BYTE_ORDER_MARKS[mark]
            self._position = len(mark)
            chunks = _without(mark, chunks)
            if not self.has_offsets:
                chunks = self._transcoded(chunks)
        head, chunks = self._peek(chunks)
        return head, self._counted(chunks)

    def _peek(self, chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
        """The first bytes, at least 16 behind the white space if there are so many; and the same stream, whole."""
        head = b""
        try:
            for chunk in chunks:
                head += chunk
                if len(head.lstrip()) >= 16 or len(head) >= LONGEST_HEAD:
                    break
        except DumpError as error:
            if not head:
                raise
            return head, itertools.chain([head], self._raising(error.message))
        return head, itertools.chain([head] if head else [], chunks)

    def _raising(self, message: str) -> Iterator[bytes]:
        yield from ()
        raise self.error(message)

    def _from_disk(self) -> Iterator[bytes]:
        while True:
            try:
                chunk = self._file.read(self._buffer_size)
            except OSError as error:
                raise self.error(f"reading failed: {error.strerror}") from None
            if not chunk:
                return
            self._consumed += len(chunk)
            yield chunk

    def _decompressed(self, chunks: Iterator[bytes], compression: str) -> Iterator[bytes]:
        magic, example, new = _COMPRESSIONS[compression]
        decompressor = new()
        while True:
            chunk = b""
            if decompressor.eof:
                # Another member may follow; zeros are the padding that tape and block devices leave.
                chunk = decompressor.unused_data.lstrip(b"\0")
                while not chunk:
                    following = next(chunks, None)
                    if following is None:
                        return
                    chunk = following.lstrip(b"\0")
                if not magic.match(
                    chunk + example[len(chunk) :]
                ):  # the file may end, or a piece, within the first bytes
                    raise self.error(
                        f"{excerpt(chunk)} behind the end of the {compression} data: remove it, or {EXPORT_AGAIN}"
                    )
                decompressor = new()
            elif decompressor.needs_input:
                chunk = next(chunks, b"")
                if not chunk:
                    raise self.error(f"the {compression} data ends too early: the file is truncated, {EXPORT_AGAIN}")
            try:
                data = decompressor.decompress(chunk, self._buffer_size)
            except _CORRUPT as error:
                raise self.error(f"the {compression} data is corrupt ({error}): {EXPORT_AGAIN}") from None
            if data:
                yield data

    def _transcoded(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(self.encoding)("surrogatepass")
        for chunk in itertools.chain(chunks, [b""]):
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError:
                raise self.error(
                    f"the {self.encoding} text ends in the middle of a character: {EXPORT_AGAIN}"
                ) from None
            if text:
                # A lone surrogate becomes its JSON escape, so that the reader of JSON treats and counts all alike.
                yield text.encode("utf-8", errors="backslashreplace")

    def _counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._position += len(chunk)
            yield chunk


def _open(path: str) -> tuple[storage.File, int | None]:
    try:
        return storage.opened(path)
    except storage.Unavailable as error:
        raise DumpError(f"{error.strerror}", path=path) from None
    except FileNotFoundError:
        raise DumpError("there is no such file", path=path) from None
    except IsADirectoryError:
        raise DumpError("this is a folder: give the dump files in it", path=path) from None
    except PermissionError:
        raise DumpError("no permission to read it", path=path) from None
    except (OSError, ValueError) as error:
        way_out = ""
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            way_out = ": all dumps of a run are open at once, so allow more (ulimit -n), or give fewer"
        raise DumpError(f"it can't be opened: {error}{way_out}", path=path) from None


def _without(mark: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    first = next(chunks)[len(mark) :]
    return itertools.chain([first] if first else [], chunks)
