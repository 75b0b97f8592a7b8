"""Results of worker processes by way of memory that they share with the process they work for.

A pool's pipe hands over 64 KiB at a time, and the process at its end is the one that all the others work for. So the
bytes of a result, which are nearly all of it, are laid into a slot; only what says how they belong together goes by
the pipe.
"""

import mmap
import multiprocessing
import pickle
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

Result = TypeVar("Result")

SLOT_BYTES: Final = 4 << 20
"""Bytes of a result that a slot holds. A larger one goes by the pipe."""


@dataclass(frozen=True, slots=True)
class _Packed:
    """A result without its bytes, and how many bytes of the slot each of its buffers takes, in order."""

    frame: bytes
    lengths: tuple[int, ...]


class SharedMemoryPool(ProcessPoolExecutor):
    """Worker processes, forked from this one, that lay into shared memory what a result pickles out of band."""

    def __init__(self, count: int, initializer: Callable[[], None], *, slots: int) -> None:
        self._memory = mmap.mmap(-1, slots * SLOT_BYTES)
        self._free = deque(range(slots))
        super().__init__(
            count,
            mp_context=multiprocessing.get_context("fork"),
            initializer=_begin,
            initargs=(self._memory, initializer),
        )

    def submit(self, work: Callable[..., Result], /, *arguments: Any, **named: Any) -> "Future[Result]":
        """As ever. Where all slots are taken the result goes by the pipe."""
        slot = self._free.popleft() if self._free else None
        try:
            under_way = super().submit(_done, slot, work, arguments, named)
        except BaseException:
            self._give_back(slot)
            raise
        asked: Future[Result] = Future()
        under_way.add_done_callback(lambda done: self._arrived(slot, done, asked))
        return asked

    def _arrived(self, slot: int | None, done: "Future[_Packed | Result]", asked: "Future[Result]") -> None:
        try:
            result = self._taken_out(slot, done)
        except CancelledError:
            asked.cancel()
        except BaseException as error:
            if asked.set_running_or_notify_cancel():
                asked.set_exception(error)
        else:
            if asked.set_running_or_notify_cancel():
                asked.set_result(result)

    def _taken_out(self, slot: int | None, done: "Future[_Packed | Result]") -> Any:
        try:
            result = done.result()
            return self._unpack(slot, result) if slot is not None and isinstance(result, _Packed) else result
        finally:
            self._give_back(slot)

    def _give_back(self, slot: int | None) -> None:
        if slot is not None:
            self._free.append(slot)

    def _unpack(self, slot: int, packed: _Packed) -> Any:
        at = slot * SLOT_BYTES
        with memoryview(self._memory) as memory:
            views = []
            for length in packed.lengths:
                views.append(memory[at : at + length])
                at += length
            # Whatever it keeps of them it has to copy: the slot is given to another result.
            result = pickle.loads(packed.frame, buffers=views)
            for view in views:
                view.release()
        return result


# ---------------------------------------------------------------------------------------------------- in the workers

_shared: mmap.mmap


def _begin(memory: mmap.mmap, initializer: Callable[[], None]) -> None:
    global _shared
    _shared = memory
    initializer()


def _done(
    slot: int | None, work: Callable[..., Result], arguments: tuple[Any, ...], named: dict[str, Any]
) -> _Packed | Result:
    result = work(*arguments, **named)
    if slot is None:
        return result
    buffers: list[pickle.PickleBuffer] = []
    frame = pickle.dumps(result, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    if sum(map(len, views)) > SLOT_BYTES:
        return result
    at = slot * SLOT_BYTES
    for view in views:
        _shared[at : at + len(view)] = view
        at += len(view)
    return _Packed(frame, tuple(map(len, views)))
