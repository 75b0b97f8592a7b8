"""Figures over the jobs of a run: in bounded memory, and so that those of ranges add up exactly.

Exactly means: the figures of any ranges, merged in their order, are those of the whole, to the last digit. So a
resumed or a parallel run reports what an uninterrupted one does. Floating-point sums depend on their order, hence
amounts are summed as whole numbers of `UNIT`, which hold every double exactly. What is kept of single jobs is either
the first few in the dump's order or the few largest of a total order; both survive merging. Percentiles come from a
histogram with fixed bounds.
"""

import sys
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, PlainSerializer

from converter.contracts import bson_bytes
from converter.extjson import without_surrogates

UNIT: Final = Fraction(1, 2**1074)
"""The smallest double above 0: every other one is a multiple of it."""

Amount = Annotated[
    int,
    PlainSerializer(lambda units: str(units * UNIT)),
    BeforeValidator(lambda value: int(Fraction(value) / UNIT) if isinstance(value, str) else value),
]
"""An exact sum in `UNIT`; in JSON a fraction such as ``3/8``."""

EXAMPLES: Final = 5
"""How many jobs are named as examples: the first ones of the dump."""

LARGEST: Final = 10
"""How many of the largest differences are kept."""

TOLERANCE: Final = 1e-9
"""Two amounts that are no further apart are equal: sums of the same doubles in another order."""

COST_BOUNDS: Final = (TOLERANCE, 0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
TOKEN_BOUNDS: Final = (TOLERANCE, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0)
"""Upper bounds of the histograms' buckets above 0; below 0 they are mirrored."""

_SHOWN: Final = 120  # characters of a text from the dump: it may be of any length


@dataclass(slots=True)
class Cases:
    """How often something was found, in how many jobs, and the first of them."""

    total: int = 0
    jobs: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, job_id: str, times: int = 1) -> None:
        self.total += times
        self.jobs += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(shown(job_id))

    def merge(self, later: Self) -> None:
        self.total += later.total
        self.jobs += later.jobs
        self.examples = (self.examples + later.examples)[:EXAMPLES]


@dataclass(slots=True)
class Largest:
    """The largest document of a collection."""

    size: int
    """Bytes of Extended JSON with the newline."""
    job_id: str
    line: Annotated[bytes, Field(exclude=True)] = field(default=b"", compare=False)
    """The document itself until it is measured: of those that are largest for a while, few have to be."""
    bson_size: int = field(default=0, compare=False)

    def measure(self) -> int:
        """Bytes of BSON, which MongoDB's limit is about."""
        if self.line:
            self.bson_size = bson_bytes(self.line)
            self.line = b""
        return self.bson_size


@dataclass(slots=True)
class Sizes:
    """Sizes of a collection's documents, in bytes of Extended JSON with the newline."""

    documents: int = 0
    total: int = 0
    buckets: dict[int, int] = field(default_factory=dict)
    """`_size_bucket` -> documents in it."""
    largest: Largest | None = None

    @classmethod
    def of(cls, job_id: str, lines: Sequence[bytes]) -> Self:
        """Of the documents of one job, of which there is at least one."""
        sizes = list(map(len, lines))
        largest = max(sizes)
        buckets: dict[int, int] = {}
        for bucket in map(_size_bucket, sizes):
            buckets[bucket] = buckets.get(bucket, 0) + 1
        line = lines[sizes.index(largest)]  # the first of equals
        return cls(len(sizes), sum(sizes), buckets, Largest(largest, shown(job_id), line))

    def merge(self, later: Self) -> None:
        self.documents += later.documents
        self.total += later.total
        add_counts(self.buckets, later.buckets)
        if self.largest is None or (later.largest is not None and later.largest.size > self.largest.size):
            self.largest = later.largest

    def percentile(self, percent: int) -> int | None:
        """The size that ``percent`` of 100 documents don't pass, at most one sixteenth too high; None without any."""
        below = 0
        for bucket, count in sorted(self.buckets.items()):
            below += count
            if self.largest is not None and 100 * below >= percent * self.documents:
                return min(_size_bound(bucket), self.largest.size)
        return None


@dataclass(slots=True)
class Delta:
    """One job whose recorded and recomputed amounts are apart."""

    delta: float
    job_id: str
    recorded: float
    recomputed: float


@dataclass(slots=True)
class Deltas:
    """An amount as the legacy document recorded it against the sum of its parts.

    Jobs that recorded nothing above 0 weren't tracked. They say nothing about how far a record is off, so they stay
    out of the histogram.
    """

    recorded: Amount = 0
    recomputed: Amount = 0
    written: Amount = 0
    sum: Amount = 0
    untracked_jobs: int = 0
    untracked_recomputed: Amount = 0
    buckets: dict[int, int] = field(default_factory=dict)
    """Index in `bucket_bounds` of the first bound that isn't below the delta -> jobs."""
    largest: list[Delta] = field(default_factory=list)

    def add(
        self,
        job_id: str,
        recorded: int | float,
        recomputed: int | float,
        written: int | float,
        bounds: tuple[float, ...],
    ) -> None:
        self.recorded += _exact(recorded)
        self.recomputed += _exact(recomputed)
        self.written += _exact(written)
        if recorded <= 0:
            self.untracked_jobs += 1
            self.untracked_recomputed += _exact(recomputed)
            return
        delta = min(max(recomputed - recorded, -sys.float_info.max), sys.float_info.max)
        self.sum += _exact(delta)
        bucket = bisect_left(bucket_bounds(bounds), delta)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        if abs(delta) > TOLERANCE:
            self._keep([Delta(float(delta), shown(job_id), float(recorded), float(recomputed))])

    def merge(self, later: Self) -> None:
        for amount in ("recorded", "recomputed", "written", "sum", "untracked_jobs", "untracked_recomputed"):
            setattr(self, amount, getattr(self, amount) + getattr(later, amount))
        add_counts(self.buckets, later.buckets)
        self._keep(later.largest)

    def _keep(self, candidates: list[Delta]) -> None:
        ranked = sorted(
            self.largest + candidates, key=lambda held: (-abs(held.delta), held.job_id, held.delta, held.recorded)
        )
        self.largest = ranked[:LARGEST]


@dataclass(slots=True)
class Parity:
    """A quantity in the dump and in what was written; the jobs in which the two differ."""

    legacy: Amount = 0
    written: Amount = 0
    differing: Cases = field(default_factory=Cases)

    def add(self, job_id: str, legacy: int | float, written: int | float) -> None:
        exact = _exact(legacy)
        self.legacy += exact
        if legacy == written:
            self.written += exact
            return
        self.written += _exact(written)
        if abs(legacy - written) > TOLERANCE:
            self.differing.add(job_id)

    def merge(self, later: Self) -> None:
        self.legacy += later.legacy
        self.written += later.written
        self.differing.merge(later.differing)


@cache
def bucket_bounds(bounds: tuple[float, ...]) -> tuple[float, ...]:
    """The bounds mirrored at 0: a bucket is above the bound before it, up to and with its own; the last has none."""
    return (*(-bound for bound in reversed(bounds)), *bounds)


def _size_bucket(size: int) -> int:
    # As HdrHistogram does it: sixteen buckets for each doubling, from the bits of the number alone.
    exponent = size.bit_length() - 5
    if exponent < 0:
        return size
    return 16 * exponent + (size >> exponent)


def _size_bound(bucket: int) -> int:
    """The largest size in the bucket."""
    exponent = max(bucket // 16 - 1, 0)
    return ((bucket - 16 * exponent + 1) << exponent) - 1


def add_counts(counts: dict[Any, int], more: Mapping[Any, int]) -> None:
    for key, count in more.items():
        counts[key] = counts.get(key, 0) + count


def shown(text: str) -> str:
    return without_surrogates(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


def _exact(number: int | float) -> int:
    """The number in `UNIT`."""
    if isinstance(number, int):
        return number << 1074
    numerator, denominator = number.as_integer_ratio()
    return numerator << (1075 - denominator.bit_length())  # a double's denominator is a power of 2


def rounded(amount: int) -> float:
    """An exact sum as the nearest double; beyond them the largest one."""
    try:
        return float(amount * UNIT)
    except OverflowError:
        return sys.float_info.max if amount > 0 else -sys.float_info.max
