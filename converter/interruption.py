"""Ctrl-C and SIGTERM: the first asks a run to stop at the next good place, the second stops it at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass(slots=True)
class Interruption:
    """Whether a run was asked to stop."""

    requested: bool = False


@contextmanager
def noticed() -> Iterator[Interruption]:
    """While the block runs, the first signal is only noted; the second raises ``KeyboardInterrupt``.

    Afterwards the handlers are what they were. Nothing changes outside the main thread: Python wouldn't allow it.
    """
    interruption = Interruption()

    def note(signal_number: int, frame: FrameType | None) -> None:
        if interruption.requested:
            raise KeyboardInterrupt
        interruption.requested = True

    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
