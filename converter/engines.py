"""Where documents are transformed: in this process, or in several others beside it.

Whatever the engine, outcomes come in the order of the documents, so the bundle's bytes are the same.
"""

import gc
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass

from converter.dump import Framed, RawDocument, Unreadable
from converter.errors import DumpError, WorkerDied
from converter.transformation import Accepted, Refused, Task, outcome

Document = Framed | RawDocument | Unreadable
Step = tuple[int, Document | None]
"""A document of the dump with that number; None behind the last one of a dump."""
Done = tuple[int, Document | None, Accepted | Refused | None]

BATCH_BYTES = 2 << 20
"""Bytes of documents that travel to a worker at once: enough that the way costs little, few enough to be held twice."""
BATCH_DOCUMENTS = 64
AHEAD = 2
"""Batches that wait for a worker, so that none waits for a batch."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(slots=True)
class Engine:
    """Runs ``outcome`` over documents. ``peak_memory`` is the most bytes that one process held."""

    elsewhere: bool
    """Other processes do it, who had better read the documents themselves."""
    run: Callable[[Iterable[Step], Task], Generator[Done, None, None]]
    peak_memory: Callable[[], int]


@contextmanager
def engine(workers: int) -> Iterator[Engine]:
    """One process, or ``workers`` of them beside this one, which end with the block.

    To be entered before anything is opened or locked that a worker had better not share.
    """
    if workers == 1:
        yield Engine(False, _in_this_process, peak_memory)
        return
    with _local_workers(workers) as executor:
        pool = _Workers(executor, workers)
        yield Engine(True, pool.run, lambda: max(pool.peak_memory, peak_memory()))


@contextmanager
def _local_workers(count: int) -> Iterator[ProcessPoolExecutor]:
    # A fork is there at once and has everything imported, but shares whatever locks the other threads of this process
    # hold, and nobody would open them. So it needs a process without threads: the command line's. Where there are
    # some, or on another system than Linux, workers come from a server that was started without any.
    fork = _is_alone()
    context = multiprocessing.get_context("fork" if fork else "forkserver")
    if not fork:
        context.set_forkserver_preload([__name__])
    # They inherit the mask: no signal reaches a worker before it says what it does with one.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        executor = ProcessPoolExecutor(count, mp_context=context, initializer=_begin_worker)
        executor.submit(os.getpid)  # forks all of them now, and only then the pool starts its own thread
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _is_alone() -> bool:
    """Whether this is Linux, and the process has no thread but this one, be it Python's or a library's."""
    try:
        return os.listdir("/proc/self/task") == [str(os.getpid())]
    except OSError:
        return False


def processors() -> int:
    """Those that this process may use; where the system doesn't tell (macOS), all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int:
    """Bytes of memory that this process held at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _in_this_process(steps: Iterable[Step], task: Task) -> Generator[Done, None, None]:
    for number, document in steps:
        yield number, document, None if document is None else outcome(number, document, task)


class _Workers:
    """What is on its way to and from a pool of processes."""

    def __init__(self, executor: ProcessPoolExecutor, count: int) -> None:
        self._executor = executor
        self._most = count + AHEAD
        self.peak_memory = 0

    def run(self, steps: Iterable[Step], task: Task) -> Generator[Done, None, None]:
        """Raises ``DumpError`` behind the outcomes of all documents before it, and ``WorkerDied``."""
        under_way: deque[tuple[list[Step], Future[_Batch]]] = deque()
        for batch in _batches(steps):
            if isinstance(batch, DumpError):
                while under_way:
                    yield from self._oldest(under_way)
                raise batch
            under_way.append((batch, self._submit(batch, task)))
            while len(under_way) >= self._most:
                yield from self._oldest(under_way)
        while under_way:
            yield from self._oldest(under_way)

    def _submit(self, batch: list[Step], task: Task) -> "Future[_Batch]":
        try:
            return self._executor.submit(_work, batch, task)
        except BrokenProcessPool as error:
            # Whoever asks for the result is told, behind what was done before.
            broken: Future[_Batch] = Future()
            broken.set_exception(error)
            return broken

    def _oldest(self, under_way: "deque[tuple[list[Step], Future[_Batch]]]") -> Iterator[Done]:
        batch, future = under_way.popleft()
        for (number, document), result in zip(batch, self._result(batch, future), strict=False):
            yield number, document, result

    def _result(self, batch: list[Step], future: "Future[_Batch]") -> Iterator[Accepted | Refused | None]:
        try:
            found = future.result()
        except BrokenProcessPool:
            indexes = [document.index for _, document in batch if document is not None]
            raise WorkerDied(
                f"a worker process was killed, perhaps for want of memory, while documents {indexes[0]:,} to "
                f"{indexes[-1]:,} were converted"
            ) from None
        self.peak_memory = max(self.peak_memory, found.peak_memory)
        yield from found.outcomes
        if found.error is not None:
            raise found.error


def _batches(steps: Iterable[Step]) -> Iterator[list[Step] | DumpError]:
    """Documents in handy portions; in the end, perhaps, the error at which the dump can't be read on."""
    batch: list[Step] = []
    size = 0
    broken = None
    try:
        for step in steps:
            batch.append(step)
            document = step[1]
            if document is not None and document.offset is not None and document.end is not None:
                size += document.end - document.offset
            if size >= BATCH_BYTES or len(batch) >= BATCH_DOCUMENTS:
                yield batch
                batch, size = [], 0
    except DumpError as error:
        broken = error
    if batch:
        yield batch
    if broken is not None:
        yield broken


@dataclass(frozen=True, slots=True)
class _Batch:
    outcomes: list[Accepted | Refused | None]
    error: DumpError | None
    peak_memory: int


def _work(batch: list[Step], task: Task) -> _Batch:
    """In a worker: the outcomes of a batch, up to the first document that can't be read."""
    outcomes: list[Accepted | Refused | None] = []
    error = None
    try:
        for number, document in batch:
            outcomes.append(None if document is None else outcome(number, document, task))
    except DumpError as found:
        error = found
    return _Batch(outcomes, error, peak_memory())


def _begin_worker() -> None:
    """A worker leaves signals to the process that it works for, and ends with it, however that one ends."""
    # A document's values hold no cycles, and there are thousands: looking for some takes a twentieth of the time.
    gc.disable()
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
