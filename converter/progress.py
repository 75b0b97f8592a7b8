"""How far a run has come, and how that is shown.

``Progress`` is the state: the loop tells it what has been done and it knows nothing of screens. The renderers below
only read it. ``displayed`` ties one to the other for the length of a run.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

# rich is imported where a live bar is drawn: elsewhere, as in a batch job, a run need not wait for it.
if TYPE_CHECKING:
    from rich.console import Group

Mode = Literal["auto", "live", "plain", "json", "none"]

LIVE_INTERVAL = 0.5
"""Seconds between two drawings of the live bar: each costs some milliseconds."""
LINE_INTERVAL = 5.0
"""Seconds between two lines, plain or JSON."""
SETTLING = 1.0
"""Seconds of new work before a rate, and with it an ETA, is believed."""


@dataclass(slots=True)
class Progress:
    """What a run has done so far, over all its dumps and, after ``--resume``, over all its attempts.

    ``total_bytes`` is what the dumps take on disk, compressed if they are; None when unknown (standard input).
    Rates count only the work of this process, from its first finished document on.

    A bundle for object storage is sent when it is complete: then the bytes are those of the files that are sent.
    """

    clock: Callable[[], float] = time.monotonic
    phase: Literal["converting", "sending"] = "converting"
    done_bytes: int = 0
    total_bytes: int | None = None
    documents: int = 0
    batch: int = 1
    rejects: int = 0
    repairs: int = 0
    show: Callable[["Progress"], None] | None = None
    interval: float = LINE_INTERVAL
    _first: tuple[float, int, int] | None = field(default=None, init=False)
    _due: float = field(default=0.0, init=False)

    def advance(self, *, done_bytes: int, documents: int, rejects: int, repairs: int) -> None:
        """Takes over the run's totals, and shows them when the time has come. Cheap enough for every document."""
        self.done_bytes = done_bytes
        self.documents = documents
        self.rejects = rejects
        self.repairs = repairs
        if self._first is None:
            self._begin()
        self._show_when_due()

    def begin_sending(self, total_bytes: int) -> None:
        """From now on so many bytes are sent."""
        self.phase = "sending"
        self.done_bytes, self.total_bytes = 0, total_bytes
        self._begin()

    def sent(self, count: int) -> None:
        """So many more of them have arrived."""
        self.done_bytes += count
        self._show_when_due()

    def _begin(self) -> None:
        now = self.clock()
        self._first = (now, self.done_bytes, self.documents)
        self._due = now + min(self.interval, SETTLING)

    def _show_when_due(self) -> None:
        now = self.clock()
        if now >= self._due:
            self._due = now + self.interval
            if self.show is not None:
                self.show(self)

    def finish(self) -> None:
        """Shows the state once more: a run's last line is its true one."""
        if self.show is not None and self._first is not None:
            self.show(self)

    def _rate(self, before: int, now: int) -> float | None:
        elapsed = self.elapsed
        return (now - before) / elapsed if elapsed >= SETTLING else None

    @property
    def elapsed(self) -> float:
        """Seconds since this process finished its first document."""
        return self.clock() - self._first[0] if self._first else 0.0

    @property
    def documents_per_second(self) -> float | None:
        """None until it can be told."""
        return self._rate(self._first[2], self.documents) if self._first else None

    @property
    def bytes_per_second(self) -> float | None:
        """None until it can be told."""
        return self._rate(self._first[1], self.done_bytes) if self._first else None

    @property
    def fraction(self) -> float | None:
        """How much of the dumps has been read, 0 to 1; None when their size is unknown."""
        if self.total_bytes is None:
            return None
        return min(self.done_bytes / self.total_bytes, 1.0) if self.total_bytes else 1.0

    @property
    def seconds_left(self) -> float | None:
        """The time the rest will take at this process' rate; None until it can be told."""
        rate = self.bytes_per_second
        if self.total_bytes is None or not rate:
            return None
        return max(self.total_bytes - self.done_bytes, 0) / rate


@contextmanager
def displayed(mode: Mode, stream: TextIO | None = None) -> Iterator[Progress]:
    """A ``Progress`` that is shown on ``stream`` (standard error) while the block runs.

    ``auto`` is the live bar on a terminal and plain lines elsewhere. A stream that can't be written to any more
    stops the display, never the run.
    """
    stream = sys.stderr if stream is None else stream
    if stream is None:  # closed by the caller, as in `2>&-`; print would take standard output for it
        mode = "none"
    if mode == "auto":
        mode = "live" if _is_terminal(stream) else "plain"
    progress = Progress()
    if mode == "live":
        from rich.console import Console
        from rich.live import Live

        # Drawn only when told to, in this thread: beside one of rich's, workers couldn't be forked.
        # rich ends the program when its reader has gone, and it writes at the bar's beginning and end too.
        console = Console(file=cast(TextIO, _UntilClosed(stream)))
        live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        progress.interval = LIVE_INTERVAL
        progress.show = lambda state: live.update(_picture(state), refresh=True)
        with live:
            try:
                yield progress
            finally:
                progress.finish()
        return
    if mode != "none":
        line = _plain_line if mode == "plain" else _json_line
        lines = cast(TextIO, _UntilClosed(stream))
        progress.show = lambda state: print(line(state), file=lines, flush=True)
    try:
        yield progress
    finally:
        progress.finish()


def _is_terminal(stream: TextIO) -> bool:
    """Whether it can show a bar."""
    if stream.closed or not stream.isatty():
        return False
    from rich.console import Console

    console = Console(file=stream)
    return console.is_terminal and not console.is_dumb_terminal


class _UntilClosed:
    """A stream that takes no more when its reader has gone, or when it was closed, and says nothing of it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        self._try(self._stream.write, text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, work: Callable[..., object], *arguments: str) -> None:
        if self._closed:
            return
        try:
            work(*arguments)
        except (OSError, ValueError):
            self._closed = True


def _picture(state: Progress) -> "Group":
    """Two lines, so that everything fits on a narrow terminal."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Column, Table
    from rich.text import Text

    far, *details = _words(state)
    left = state.seconds_left
    bar = Table.grid(Column(no_wrap=True), Column(ratio=1), Column(no_wrap=True), padding=(0, 1), expand=True)
    bar.add_row(far, ProgressBar(state.total_bytes, state.done_bytes), "" if left is None else f"ETA {_duration(left)}")
    return Group(bar, Text("  ".join(details), no_wrap=True, overflow="ellipsis"))


def _plain_line(state: Progress) -> str:
    far, *details = _words(state)
    left = state.seconds_left
    return "  ".join([far, *([] if left is None else [f"ETA {_duration(left)}"]), *details])


def _words(state: Progress) -> list[str]:
    """What both the bar and the plain line say: first how far, then the details."""
    fraction, rate, speed = state.fraction, state.documents_per_second, state.bytes_per_second
    words = [f"{state.done_bytes / 1e6:,.1f} MB" if fraction is None else f"{100 * fraction:.1f} %"]
    if state.phase == "sending":
        return [*words, "sending", *([] if speed is None else [f"{speed / 1e6:,.1f} MB/s"])]
    words.append(f"{state.documents:,} jobs")
    if rate is not None and speed is not None:
        words.append(f"{rate:,.1f} jobs/s  {speed / 1e6:,.1f} MB/s")
    words.append(f"batch {state.batch:,}")
    words.append(f"rejects {state.rejects:,}")
    words.append(f"repairs {state.repairs:,}")
    return words


def _json_line(state: Progress) -> str:
    return json.dumps(
        {
            "phase": state.phase,
            "bytes": state.done_bytes,
            "total_bytes": state.total_bytes,
            "documents": state.documents,
            "batch": state.batch,
            "rejects": state.rejects,
            "repairs": state.repairs,
            "documents_per_second": state.documents_per_second,
            "bytes_per_second": state.bytes_per_second,
            "seconds_left": state.seconds_left,
        }
    )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
