"""Results come back from the workers as they were made, whichever way they took."""

import os
import pickle
import signal
from concurrent.futures import CancelledError, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import Event
from pathlib import Path
from typing import Any

import pytest

from converter.dump import Dump
from converter.mapping import Options
from converter.shared_memory import SLOT_BYTES, SharedMemoryPool
from converter.transformation import Accepted, Task, outcome

# From Python 3.12 on, forking beside other threads (those of pytest-xdist) gives a warning.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

HELD = Event()


class Lines:
    """Bytes that travel out of band where they can, as those of an accepted document do."""

    def __init__(self, *texts: Any) -> None:
        self.texts = tuple(map(bytes, texts))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return Lines, tuple(pickle.PickleBuffer(text) if protocol >= 5 else text for text in self.texts)


def lines(number: int, size: int) -> tuple[int, Lines, Lines]:
    return number, Lines(b"%d" % number * size, b""), Lines(b"\n%d" % number)


def fail(message: str) -> None:
    raise ValueError(message)


def hold() -> None:
    HELD.wait(60)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def pool(slots: int) -> SharedMemoryPool:
    return SharedMemoryPool(2, ignore_interrupts, slots=slots)


@pytest.mark.parametrize("slots", [1, 3, 50])
@pytest.mark.parametrize("size", [0, 1, 100_000, SLOT_BYTES - 2, SLOT_BYTES - 1, SLOT_BYTES])
def test_results_are_what_they_were(slots: int, size: int) -> None:
    with pool(slots) as executor:
        results = [future.result() for future in [executor.submit(lines, number, size) for number in range(9)]]
    expected = [(n, (b"%d" % n * size, b""), (b"\n%d" % n,)) for n in range(9)]
    assert expected == [(number, first.texts, second.texts) for number, first, second in results]


def test_a_slot_is_used_again_and_again() -> None:
    with pool(2) as executor:
        for number in range(20):
            assert (b"%d" % number * 1000, b"") == executor.submit(lines, number, 1000).result()[1].texts
        assert 2 == len(executor._free)


def test_an_error_is_raised_where_the_result_is_asked_for_and_gives_the_slot_back() -> None:
    with pool(1) as executor:
        with pytest.raises(ValueError, match=r"^wrong$"):
            executor.submit(fail, "wrong").result()
        assert 1 == len(executor._free)


def test_a_dead_worker_breaks_the_pool() -> None:
    with pool(2) as executor:
        with pytest.raises(BrokenProcessPool):
            executor.submit(die).result()
        with pytest.raises(BrokenProcessPool):
            executor.submit(lines, 1, 1)
        assert 2 == len(executor._free)


def test_what_is_cancelled_has_no_result_and_disturbs_nothing() -> None:
    HELD.clear()
    with pool(9) as executor:
        held = [executor.submit(hold) for _ in range(2)]
        futures = [executor.submit(lines, number, 10) for number in range(5)]
        assert futures[2].cancel()
        HELD.set()
        wait([*held, *futures])
        assert [0, 1, 3, 4] == [future.result()[0] for future in futures if not future.cancelled()]
        with pytest.raises(CancelledError):
            futures[2].result()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_accepted_document_survives_every_way_of_pickling(protocol: int) -> None:
    with Dump.open(str(Path(__file__).parent.parent / "fixtures" / "small.json")) as dump:
        for document in dump.frames():
            expected = outcome(0, document, Task(Options(), "relaxed"))
            assert expected == pickle.loads(pickle.dumps(expected, protocol))
            buffers: list[pickle.PickleBuffer] = []
            apart = pickle.dumps(expected, 5, buffer_callback=buffers.append)
            assert isinstance(expected, Accepted)
            assert len(expected.blocks) == len(buffers)
            assert expected == pickle.loads(apart, buffers=buffers)
