"""Processes on this machine: workers beside this one, how many make sense, and what memory one took."""

import ctypes
import fcntl
import gc
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing.context import BaseContext
from typing import Final

from converter.errors import BackfillError
from converter.interruption import SIGNALS, handled, in_main_thread

# What mallopt can be told: https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

_KEPT: Final = 16 << 20
"""Bytes that a worker keeps when it has freed them, for the next documents: a new page has to be cleared first."""
_PIPE_BYTES: Final = 1 << 20
"""As much as Linux gives a user's pipe. Its own 64 KiB make a worker wait some forty times for each result."""
_MADE_BETWEEN_SEARCHES: Final = 50_000
"""Lists, dictionaries and their like, those dropped again not counted. Python's own 700 are made of every document."""


@contextmanager
def local_workers(count: int, module: str) -> Iterator[tuple[ProcessPoolExecutor, Callable[[], bool]]]:
    """A pool of ``count`` processes, which end with the block, and whether none of them was killed.

    ``module`` is imported once for all of them.
    """
    # A fork is there at once and has everything imported, but shares whatever locks the other threads of this process
    # hold, and nobody would open them. So it needs a process without threads: the command line's. Where there are
    # some, or on another system than Linux, workers come from a server that was started without any.
    context = multiprocessing.get_context("fork" if _is_alone() else "forkserver")
    context.set_forkserver_preload([module])
    # glibc gives each thread an arena of its own. The thread that receives results from the pool frees little of what
    # it takes, so the arena would creep up with the number of results.
    _tell_malloc(_M_ARENA_MAX, 1)
    # They inherit the mask: no signal reaches a worker before it says what it does with one.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        executor = _started(count, context)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def alive() -> bool:
        # The pool says it is broken before it takes what a sentinel has to tell; it doesn't while it waits for the rest
        # of a result. So the sentinels are looked at first.
        sentinels = [worker.sentinel for worker in executor._processes.values()]
        return not (multiprocessing.connection.wait(sentinels, 0) or executor._broken)

    try:
        yield executor, alive
    finally:
        # Who interrupts this too wants it at once. An exception in the midst of it could leave the process waiting.
        with handled(lambda *_: _end_all(executor)) if in_main_thread() else nullcontext():
            if not alive():
                _end_all(executor)
            executor.shutdown(wait=True, cancel_futures=True)


def _started(count: int, context: BaseContext) -> ProcessPoolExecutor:
    try:
        executor = ProcessPoolExecutor(count, mp_context=context, initializer=_begin_worker)
        try:
            _widen(executor)
            executor.submit(os.getpid)  # forks all of them now, and only then the pool starts its own thread
        except OSError:
            _end_all(executor)
            raise
    except OSError as error:
        way_out = "give fewer with --workers, or allow more files and processes (ulimit -n, ulimit -u)"
        raise BackfillError(f"{count} workers can't be started: {error.strerror}; {way_out}") from error
    return executor


def _widen(executor: ProcessPoolExecutor) -> None:
    """The pipe by which all results come."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        with suppress(OSError):  # its administrator may allow less
            fcntl.fcntl(executor._result_queue._writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # type: ignore[attr-defined]


def _end_all(executor: ProcessPoolExecutor) -> None:
    """When a worker was killed, the pool waits for two things that may never come: for the others to end, by a SIGTERM
    that they ignore; and for the rest of what that one was handing over, as long as anybody could write it.
    """
    for worker in list((executor._processes or {}).values()):
        worker.kill()
    if executor._result_queue is not None:  # else it has shut down
        executor._result_queue._writer.close()  # type: ignore[attr-defined]


@contextmanager
def few_searches_for_cycles() -> Iterator[None]:
    """Python looks for reference cycles less often within the block.

    A document's values hold none, and there are thousands: to look for some takes a twentieth of the time. What
    importing makes holds none either.
    """
    before = gc.get_threshold()
    gc.set_threshold(_MADE_BETWEEN_SEARCHES)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _tell_malloc(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):  # another library than glibc has no such call
        ctypes.CDLL(None).mallopt(option, value)


def _is_alone() -> bool:
    """Whether this is Linux, and the process has no thread but this one, be it Python's or a library's."""
    try:
        return os.listdir("/proc/self/task") == [str(os.getpid())]
    except OSError:
        return False


def _begin_worker() -> None:
    """A worker leaves signals to the process that it works for, and ends with it, however that one ends."""
    os.environ.pop("BACKFILL_CRASH_AT", None)  # a crash that a test asks for is that process' too
    gc.set_threshold(_MADE_BETWEEN_SEARCHES)
    _tell_malloc(_M_TRIM_THRESHOLD, _KEPT)
    _tell_malloc(_M_MMAP_THRESHOLD, _KEPT)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def processors() -> int:
    """Those that this process may use; where the system doesn't tell (macOS), all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int:
    """Bytes of memory that this process held at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
