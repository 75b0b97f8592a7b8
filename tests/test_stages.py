"""The time by stage: where it is booked, and that no second is booked twice."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from converter import stages
from converter.stages import STAGES, add, lap, taken, timed
from tests.small_dumps import jobs, run, write_dump


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


def run_figures(out: Path) -> Any:
    return json.loads((out / "report.json").read_bytes())["run"]


@pytest.mark.parametrize(("workers", "processes"), [(1, 1), (2, 3)])
def test_a_run_books_every_stage_and_no_second_twice(workers: int, processes: int, tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", jobs(30))
    run(dump, tmp_path / "out", workers=workers)
    found = run_figures(tmp_path / "out")
    assert workers == found["workers"]
    assert [*STAGES, "other"] == list(found["stages"])
    assert all(seconds > 0 for seconds in found["stages"].values())
    assert processes * found["seconds"] == pytest.approx(sum(found["stages"].values()))


def test_what_was_booked_before_is_not_this_run_s(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", jobs(3))
    add(dict.fromkeys(STAGES, 10_000.0))
    run(dump, tmp_path / "out")
    assert 10_000 > sum(run_figures(tmp_path / "out")["stages"].values())
