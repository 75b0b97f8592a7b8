"""The geometry of the report's bar charts, in percent of the drawing, so that they fit a phone and a page alike.

The template draws them as inline SVG. pygal isn't used: each of its charts holds a script element, today's date and
fixed colours, whereas the report has no script, is the same tomorrow, and follows the reader's light or dark theme.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LEAST: Final = 1.5
"""Percent of the scale below which no bar for a count above 0 falls, so that it can be seen."""

_WIDTH: Final = 0.8  # of a column's slot; the rest is the gap


@dataclass(frozen=True, slots=True)
class Column:
    """A bar of a column chart: its left edge, its width and its top, in percent from the upper left corner."""

    x: float
    width: float
    y: float
    height: float

    @property
    def middle(self) -> float:
        """Where the bar's label stands."""
        return round(self.x + self.width / 2, 2)


def columns(values: Sequence[float]) -> list[Column]:
    """One bar for each value, the largest one over the whole height."""
    slot = 100 / max(len(values), 1)
    gap = slot * (1 - _WIDTH) / 2
    heights = lengths(values)
    return [
        Column(round(position * slot + gap, 2), round(slot * _WIDTH, 2), round(100 - height, 2), height)
        for position, height in enumerate(heights)
    ]


def lengths(values: Sequence[float]) -> list[float]:
    """The length of each value's bar in percent of the longest one; values aren't below 0."""
    largest = max(values, default=0)
    return [0.0 if value <= 0 else round(max(LEAST, 100 * value / largest), 2) for value in values]
