"""Where the time of this process goes: seconds of work by stage.

They are booked where the work is done, and belong to the process and not to a run: so what other processes did is
added to what was done here, and no document carries a clock.
"""

from collections.abc import Iterable, Iterator, Mapping
from time import perf_counter
from typing import Final, Literal, TypeVar, get_args

Stage = Literal["read", "map", "check", "count", "write", "checkpoint"]
Item = TypeVar("Item")

STAGES: Final[tuple[Stage, ...]] = get_args(Stage)

_booked: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)


def lap(stage: Stage, since: float) -> float:
    """Books the time since ``since``, a reading of ``perf_counter``; returns the new reading."""
    now = perf_counter()
    _booked[stage] += now - since
    return now


def timed(stage: Stage, items: Iterable[Item]) -> Iterator[Item]:
    """The items; the time that it takes to come to each is booked."""
    since = perf_counter()
    for item in items:
        lap(stage, since)
        yield item
        since = perf_counter()
    lap(stage, since)


def taken() -> dict[Stage, float]:
    """Seconds booked since this was last asked."""
    booked = dict(_booked)
    _booked.update(dict.fromkeys(STAGES, 0.0))
    return booked


def add(seconds: Mapping[Stage, float]) -> None:
    """Books what was ``taken`` in another process."""
    for stage, amount in seconds.items():
        _booked[stage] += amount
