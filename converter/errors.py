"""The exceptions that end a run.

``str(error)`` is the one line that a user sees: what happened, where, and the way out. Anything that is not a
``BackfillError`` is a bug of ours and keeps its traceback.
"""

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, Self

EXCERPT: Final = 24
"""Bytes of a dump that a message shows."""


def masked(text: str) -> str:
    """The text without what may be secret in any URL in it: user and password, and the signature of a web address.

    A path has made one slash of two; and a password that isn't encoded as it should be may hold anything.
    """
    text = re.sub(r"(\bmongodb(?:\+srv)?:/{1,2})[^\s/?#@:]*:(?:(?!mongodb)[^\n])*@", r"\1****@", text)
    text = re.sub(r"(?<=:/)(/?)[^/?#\s]*@", r"\1****@", text)
    return re.sub(r"""(\bhttps?://[^\s?'"]*)\?(?!\*{4})[^\s'"]*""", r"\1?****", text)


def excerpt(data: bytes) -> str:
    """How a dump's bytes are shown in a message: the first of them, whatever they are."""
    return ascii(data[:EXCERPT].decode("utf-8", errors="replace"))


def visible(text: str) -> str:
    """The text with escapes for what can't be seen, or would steer a terminal."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def tell(text: str) -> None:
    """Shows lines, with their ends, on standard error; nobody may be there to read them."""
    if sys.stderr is not None:  # closed by the caller, as in `2>&-`; print would take standard output for it
        with suppress(OSError, ValueError):
            print(text, end="", file=sys.stderr, flush=True)


class BackfillError(Exception):
    """A run that can't go on, for a reason outside the program."""

    exit_code = 1


class UsageError(BackfillError):
    """The command line, or the environment, asks for something that makes no sense."""

    exit_code = 2


class DumpError(BackfillError):
    """A dump that can't be read on: missing, truncated, garbage, or not a dump at all."""

    def __init__(self, message: str, *, path: str, offset: int | None = None, index: int | None = None) -> None:
        """``offset`` is the byte in the decompressed dump, ``index`` the 0-based document at which reading stopped."""
        place = "standard input" if path == "-" else masked(path)
        if offset is not None:
            place += f", byte {offset:,}"
        if index is not None:
            place += f", document {index:,}"
        super().__init__(f"{place}: {message}")
        self.message = message
        self.path = path
        self.offset = offset
        self.index = index

    def moved(self, by: int) -> Self:
        """The same, so many documents further on."""
        index = None if self.index is None else self.index + by
        return type(self)(self.message, path=self.path, offset=self.offset, index=index)

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[str]]:
        """An error may have to travel between processes, and pickle knows nothing of keywords."""
        return partial(type(self), path=self.path, offset=self.offset, index=self.index), (self.message,)


class DumpChanged(BackfillError):
    """A dump was written to, or replaced, while it was being read."""


class OutputExists(BackfillError):
    """The output folder already holds a bundle, or what an interrupted run left."""


class OutputError(BackfillError):
    """The output can't be written: disk full, no permission, not a folder."""


class CheckpointMismatch(BackfillError):
    """``--resume`` was given another dump, other options, or a checkpoint that can't be trusted."""


class WorkerDied(BackfillError):
    """A worker process ended before its work did."""


class ClusterError(BackfillError):
    """The Dask cluster can't be used: nobody answers, or a worker isn't fit for the work."""


class TooManyRejects(BackfillError):
    """More documents were rejected than ``--max-rejects`` allows."""


class Interrupted(BackfillError):
    """Ctrl-C or SIGTERM: the run stopped at a checkpoint."""

    exit_code = 130
