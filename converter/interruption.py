"""Ctrl-C and SIGTERM: the first asks a run to stop at the next good place, the second stops it at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130
"""The exit code."""
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass(slots=True)
class Interruption:
    """Whether a run was asked to stop."""

    requested: bool = False


def in_main_thread() -> bool:
    """Python heeds signals, and lets them be set, nowhere else."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def noticed() -> Iterator[Interruption]:
    """While the block runs, the first signal is only noted; the second raises ``KeyboardInterrupt``.

    Afterwards the handlers are what they were. Nothing changes outside the main thread.
    """
    interruption = Interruption()

    def note(signal_number: int, frame: FrameType | None) -> None:
        if interruption.requested:
            raise KeyboardInterrupt
        interruption.requested = True

    if not in_main_thread():
        yield interruption
        return
    with handled(note):
        yield interruption


@contextmanager
def handled(note: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """While the block runs, ``note`` is what both signals do, in the main thread."""
    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def heeded() -> None:
    """From now on SIGTERM raises ``KeyboardInterrupt`` as Ctrl-C does, so that nothing is left behind."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def ignored() -> None:
    """The process is ending: from now on there is nothing to interrupt but its last words."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
