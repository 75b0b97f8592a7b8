"""The time by stage: where it is booked, and that no second is booked twice."""

import itertools
from collections.abc import Iterator

import pytest

from converter import stages
from converter.stages import add, lap, taken, timed


@pytest.fixture(autouse=True)
def nothing_booked() -> None:
    taken()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes between any two looks at it."""
    monkeypatch.setattr(stages, "perf_counter", itertools.count(100).__next__)


def booked() -> dict[str, float]:
    """What isn't 0."""
    return {stage: seconds for stage, seconds in taken().items() if seconds}


@pytest.mark.usefixtures("clock")
def test_laps() -> None:
    now = lap("map", 98.0)
    assert 100 == now
    lap("check", now)
    lap("map", 101.5)
    assert {"map": 2.5, "check": 1} == booked()
    assert {} == booked()


@pytest.mark.usefixtures("clock")
def test_only_the_way_to_an_item_is_timed() -> None:
    """What is done with the items is not: here it takes ten seconds each."""
    found = []
    for item in timed("read", "abc"):
        found.append(item)
        for _ in range(10):
            stages.perf_counter()
    assert ["a", "b", "c"] == found
    assert {"read": 4} == booked()  # the last second found that there are no more


def test_errors_pass() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    items = timed("read", failing())
    assert 1 == next(items)
    with pytest.raises(ValueError, match="broken"):
        next(items)


def test_time_of_other_processes_is_added() -> None:
    add({"read": 1.5, "map": 2.0})
    add({"read": 0.5})
    assert {"read": 2.0, "map": 2.0} == booked()
