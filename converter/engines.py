"""Where documents are transformed: in this process, or in several others beside it.

Whatever the engine, outcomes come in the order of the documents, so the bundle's bytes are the same.
"""

import platform
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from time import perf_counter
from typing import Any, TypeVar

from converter import mapping, parts, ranges, stages
from converter.cluster import connected
from converter.documents import Document, Framed
from converter.dump import Dump, Plain
from converter.errors import BackfillError, ClusterError, DumpError, WorkerDied
from converter.manifest import Tool
from converter.mapping import Rejected
from converter.parts import Part
from converter.processes import local_workers, peak_memory
from converter.ranges import Chain, ConvertedRange, Range, Separator
from converter.stages import Stage
from converter.transformation import Accepted, Refused, Task, moved, outcome

Result = TypeVar("Result")
Measured = tuple[Result, int, dict[Stage, float]]
"""With the most bytes of memory that the worker held, and the seconds that it worked, by stage."""
Outcomes = tuple[list[Accepted | Refused], DumpError | None]
Done = tuple[int, Document | None, Accepted | Refused | None]
"""A document of the dump with that number, and its outcome; None and None behind the last one of a dump."""

RANGE_BYTES = 2 << 20
"""Bytes of a plain dump that a worker reads and converts at once: enough that what it has to read in vain to find the
first document's beginning hardly counts, few enough that the outcomes of several fit into memory."""
CLUSTER_RANGE_BYTES = 16 << 20
"""The same for workers on other machines, where every task has a longer way to go."""
MOST_WRONG = 4
"""Ranges in a row whose beginning a worker guessed wrong, after which no more guessing is asked for."""
BATCH_BYTES = 2 << 20
"""Bytes of documents that travel to a worker at once: enough that the way costs little, few enough to be held twice."""
BATCH_DOCUMENTS = 64
DOCUMENT_BYTES = 8 << 10
"""Bytes of a range for each document that may come back at once: what comes of a tiny job is larger than the job."""
LEAST_DOCUMENTS = 64
AHEAD = 2
"""Ranges or batches that wait for a worker, so that none waits for one."""
PART_BYTES = 256 << 20
"""Bytes of a dump from which the files of one part are made."""
PARTS = 16
"""Parts of a smaller dump: enough for some workers to have much the same to do."""
LEAST_PART_BYTES = 16 << 20
MOST_PARTS = 4096
"""Parts of a dump: a checkpoint remembers all that there are, so with many of them each would take longer."""
MOST_CLUSTER_RANGES = 64
"""Ranges whose outcomes may be in this process' memory at once, however many workers a cluster has."""


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left of the dump ``number``: all behind the first ``after`` documents, the last of which ended there.

    Nothing is left of a ``complete`` one.
    """

    number: int
    dump: Dump
    after: int = 0
    offset: int | None = None
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """The next part of the dump ``number``, in front of which are ``index`` documents; None behind its last one."""

    number: int
    index: int = 0
    shift: int = 0
    """What is to be added to the indexes of the part's rejects."""
    part: Part | None = None
    again: Callable[[Mapping[int, Rejected]], Part] = field(default=lambda refusals: Part())
    """Makes it once more, and rejects those of its documents, counted from 0."""


@dataclass(slots=True)
class Engine:
    """Runs ``outcome`` over documents. ``peak_memory`` is the most bytes that one process held."""

    run: Callable[[Iterable[Rest], Task], Generator[Done, None, None]]
    parts: Callable[[Iterable[Rest], Task, str], Generator[Written, None, None]]
    """The same, but the workers write the lines to files of the bundle by that name. For plain dumps only."""
    peak_memory: Callable[[], int]


@contextmanager
def engine(workers: int, scheduler: str | None = None) -> Iterator[Engine]:
    """One process, or ``workers`` of them beside this one, which end with the block; or the Dask cluster ``scheduler``.

    To be entered before anything is opened or locked that a worker had better not share. Raises ``ClusterError``.
    """
    if scheduler is not None:
        with connected(scheduler, this_tool) as cluster:
            most = min(cluster.threads + AHEAD, MOST_CLUSTER_RANGES)
            pool = _Workers(
                cluster.executor, cluster.lost, most, CLUSTER_RANGE_BYTES, alive=cluster.connected, elsewhere=True
            )
            yield Engine(pool.run, pool.parts, lambda: max(pool.peak_memory, peak_memory()))
    elif workers == 1:
        yield Engine(_in_this_process, _Workers(_Here(), (), 1, RANGE_BYTES).parts, peak_memory)
    else:
        with local_workers(workers, __name__) as (executor, alive):
            pool = _Workers(executor, (BrokenExecutor,), workers + AHEAD, RANGE_BYTES, alive=alive)
            yield Engine(pool.run, pool.parts, lambda: max(pool.peak_memory, peak_memory()))


def part_bytes(size: int) -> int:
    """Bytes of a dump of that size from which one part is made: whoever makes them, the parts are the same."""
    return max(min(PART_BYTES, max(size // PARTS, LEAST_PART_BYTES)), -(-size // MOST_PARTS))


def this_tool() -> Tool:
    """Which program this process runs."""
    return Tool(version=_version(), mapping=mapping.VERSION)


@cache
def _version() -> str:
    return metadata.version("novel-backfill")


def _in_this_process(rests: Iterable[Rest], task: Task) -> Generator[Done, None, None]:
    for rest in rests:
        for document in () if rest.complete else rest.dump.frames(after=rest.after, offset=rest.offset):
            yield rest.number, document, outcome(rest.number, document, task)
        yield rest.number, None, None


def _chain(rest: Rest, plain: Plain) -> Chain:
    at = rest.offset if rest.after and rest.offset is not None else plain.start
    return Chain(rest.number, rest.after, at)


class _Workers:
    """What is on its way to and from a pool of processes.

    A plain dump goes to them in byte ranges, which they read themselves. Any other is framed in this process, and
    travels in batches of documents.
    """

    def __init__(
        self,
        executor: Executor,
        lost: tuple[type[Exception], ...],
        most: int,
        range_bytes: int,
        *,
        alive: Callable[[], bool] = lambda: True,
        elsewhere: bool = False,
    ) -> None:
        """``most`` ranges or batches may be under way; ``lost`` are the exceptions that say that one won't come back.

        When nothing is said, because nobody is left to say it, the processes aren't ``alive``. To those ``elsewhere`` a
        path may mean another file.
        """
        self._executor = executor
        self._lost = lost
        self._most = most
        self._range_bytes = range_bytes
        self._alive = alive
        self._elsewhere = elsewhere
        self.peak_memory = 0

    def run(self, rests: Iterable[Rest], task: Task) -> Generator[Done, None, None]:
        """Raises ``DumpError`` behind the outcomes of all documents before it, and ``WorkerDied``."""
        return self._in_order(self._deliveries(rests, task))

    def parts(self, rests: Iterable[Rest], task: Task, out: str) -> Generator[Written, None, None]:
        """Raises ``DumpError`` behind all parts before it, ``WorkerDied``, and ``OutputError``."""
        return self._in_order(self._part_deliveries(rests, task, out))

    def _in_order(self, deliveries: Iterator[Iterator[Result]]) -> Generator[Result, None, None]:
        """What comes of each, while those behind it are worked on."""
        under_way: deque[Iterator[Result]] = deque()
        for delivery in deliveries:
            under_way.append(delivery)
            while len(under_way) >= self._most:
                yield from under_way.popleft()
        while under_way:
            yield from under_way.popleft()

    def _deliveries(self, rests: Iterable[Rest], task: Task) -> Iterator[Iterator[Done]]:
        """Whatever is yielded is being worked on; what came of it is to be taken in the same order."""
        for rest in rests:
            if rest.complete:
                yield iter([(rest.number, None, None)])
                continue
            separator = ranges.separator(rest.dump)
            if rest.dump.plain is None or separator is None:
                yield from self._in_batches(rest, task)
            else:
                yield from self._in_ranges(rest, rest.dump.plain, separator, task)
            yield iter([(rest.number, None, None)])

    # ------------------------------------------------------------------------------------------------------- ranges

    def _in_ranges(self, rest: Rest, plain: Plain, separator: Separator, task: Task) -> Iterator[Iterator[Done]]:
        chain = _chain(rest, plain)
        most = max(self._range_bytes // DOCUMENT_BYTES, LEAST_DOCUMENTS)
        for piece in chain.ranges(plain, separator, ranges.fitting(rest.dump, self._range_bytes, most)):
            if chain.wrong >= MOST_WRONG:
                # This dump's documents aren't divided as its first ones are.
                chain.given_up = True
                yield from self._in_batches(Rest(rest.number, rest.dump, chain.index, chain.at), task)
                return
            future = self._submit(ranges.converted, rest.number, piece, task, most)
            yield self._of_range(chain, piece, task, most, future)

    def _of_range(
        self, chain: Chain, piece: Range, task: Task, most: int, future: "Future[Measured[ConvertedRange]]"
    ) -> Iterator[Done]:
        if chain.given_up or chain.is_behind(piece):
            future.cancel()
            return
        plain = piece.plain
        found = self._result(future, piece.words())
        chain.wrong = 0 if found.began == chain.at else chain.wrong + 1
        while True:
            if found.began != chain.at:
                proven = chain.proven(piece)
                work = self._submit(ranges.converted, chain.number, proven, task, most)
                found = self._result(work, proven.words())
            shift = chain.shift
            for start, end, result in found.documents:
                document = Framed(chain.index, start, end, None, plain.dialect == "bson", plain.origin)
                if isinstance(result, Refused):
                    result = replace(result, line=moved(result.line, shift))
                yield chain.number, document, result
                chain.index += 1
                chain.at = end
            if found.error is not None:
                raise found.error.moved(shift)
            chain.complete = found.complete
            if not found.cut or chain.is_behind(piece):
                return

    # -------------------------------------------------------------------------------------------------------- parts

    def _part_deliveries(self, rests: Iterable[Rest], task: Task, out: str) -> Iterator[Iterator[Written]]:
        for rest in rests:
            plain = rest.dump.plain
            assert plain is not None
            if not rest.complete:
                separator, chain = ranges.separator(rest.dump), _chain(rest, plain)
                for piece in chain.ranges(plain, separator, part_bytes(plain.size) if separator else plain.size):
                    if self._most > 1:
                        future = self._submit(parts.written, rest.number, piece, task, out, {})
                        yield self._of_part(chain, piece, task, out, future)
                    elif not chain.is_behind(piece):
                        # Nothing is under way, so its beginning is known.
                        future = self._submit(parts.written, rest.number, chain.proven(piece), task, out, {})
                        yield self._of_part(chain, piece, task, out, future)
            yield iter([Written(rest.number)])

    def _of_part(
        self, chain: Chain, piece: Range, task: Task, out: str, future: "Future[Measured[Part]]"
    ) -> Iterator[Written]:
        if chain.is_behind(piece):
            future.add_done_callback(lambda done: _discarded(out, done))
            future.cancel()
            return
        proven = chain.proven(piece)

        def again(refusals: Mapping[int, Rejected]) -> Part:
            parts.discard(out, part)
            work = self._submit(parts.written, chain.number, proven, task, out, refusals)
            return self._result(work, proven.words())

        part = self._result(future, piece.words())
        if part.began != chain.at:
            part = again({})
        if part.error is not None:
            raise part.error.moved(chain.shift)
        yield Written(chain.number, chain.index, chain.shift, part, again)
        chain.index += len(part.identities)
        chain.at = part.ended
        chain.complete = part.complete

    # ------------------------------------------------------------------------------------------------------ batches

    def _in_batches(self, rest: Rest, task: Task) -> Iterator[Iterator[Done]]:
        try:
            for batch in _batches(rest.dump.frames(after=rest.after, offset=rest.offset, by_place=not self._elsewhere)):
                future = self._submit(_converted, rest.number, batch, task)
                yield self._of_batch(rest.number, batch, future)
        except DumpError as error:
            yield _raising(error)

    def _of_batch(self, number: int, batch: list[Document], future: "Future[Measured[Outcomes]]") -> Iterator[Done]:
        outcomes, error = self._result(future, f"documents {batch[0].index:,} to {batch[-1].index:,}")
        for document, result in zip(batch, outcomes, strict=False):
            yield number, document, result
        if error is not None:
            raise error

    # ------------------------------------------------------------------------------------------------------- workers

    def _submit(self, work: Callable[..., Result], *arguments: object) -> "Future[Measured[Result]]":
        try:
            if not self._alive():
                raise self._lost[0]
            future: Future[Measured[Result]] = self._executor.submit(_measured, this_tool(), work, *arguments)
        except self._lost as error:
            # Whoever asks for the result is told, behind what was done before.
            future = Future()
            future.set_exception(error)
        return future

    def _result(self, future: "Future[Measured[Result]]", what: str) -> Result:
        how = "a worker process was killed, perhaps for want of memory,"
        if self._elsewhere:
            how = "the cluster's workers were killed, or its scheduler is gone,"
        died = WorkerDied(f"{how} while {what} were converted")
        while not wait([future], timeout=1).done:
            if not self._alive():
                raise died
        try:
            result, memory, seconds = future.result()
        except self._lost:
            raise died from None
        self.peak_memory = max(self.peak_memory, memory)
        stages.add(seconds)
        return result


class _Here(Executor):
    """Does at once, in this process, what it is given."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments, **options))
        except BackfillError as error:
            future.set_exception(error)
        return future


def _discarded(out: str, future: "Future[Measured[Part]]") -> None:
    """What nobody wants of a part that was begun at a wrong place."""
    if not future.cancelled() and future.exception() is None:
        parts.discard(out, future.result()[0])


def _raising(error: DumpError) -> Iterator[Done]:
    yield from ()
    raise error


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents in handy portions. Raises ``DumpError`` behind all that were before it."""
    batch: list[Document] = []
    size = 0
    try:
        for document in documents:
            batch.append(document)
            if document.offset is not None and document.end is not None:
                size += document.end - document.offset
            if size >= BATCH_BYTES or len(batch) >= BATCH_DOCUMENTS:
                yield batch
                batch, size = [], 0
    except DumpError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


# ---------------------------------------------------------------------------------------------------- in the workers


def _measured(tool: Tool, work: Callable[..., Result], *arguments: object) -> Measured[Result]:
    """Raises ``ClusterError`` in another program than ``tool``: a worker may join a cluster at any time."""
    if tool != this_tool():
        raise ClusterError(f"the worker {platform.node()} has {this_tool()}: install {tool} on all workers")
    stages.taken()  # what was booked before is not this work's
    begun = perf_counter()
    result = work(*arguments)
    seconds = stages.taken()
    # What isn't another stage's is reading: the bytes of a range, and where its documents begin and end.
    seconds["read"] += perf_counter() - begun - sum(seconds.values())
    return result, peak_memory(), seconds


def _converted(number: int, batch: list[Document], task: Task) -> Outcomes:
    """The outcomes of a batch, up to the first document that can't be read."""
    outcomes: list[Accepted | Refused] = []
    try:
        for document in batch:
            outcomes.append(outcome(number, document, task))
    except DumpError as error:
        return outcomes, error
    return outcomes, None
