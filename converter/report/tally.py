"""What is counted over the documents of a run: in bounded memory, and so that the tallies of ranges add up exactly.

Exactly means: the tallies of any ranges, merged in their order, are the tally of the whole, to the last digit. So a
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

from pydantic import BeforeValidator, Field, PlainSerializer, TypeAdapter

from converter.contracts import bson_bytes
from converter.extjson import without_surrogates
from converter.mapping import Converted
from converter.mapping.lifecycle import STATUS
from converter.models.target import COLLECTIONS, Collection
from converter.report.parity import QUANTITIES, Quantities, legacy_quantities, rounded_sum, written_quantities

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

LONG_LIST: Final = 100
"""Alerts or decisions of one job that the application keeps; its next push cuts what is beyond."""

TOLERANCE: Final = 1e-9
"""Two amounts that are no further apart are equal: sums of the same doubles in another order."""

COST_BOUNDS: Final = (TOLERANCE, 0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
TOKEN_BOUNDS: Final = (TOLERANCE, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0)
"""Upper bounds of the histograms' buckets above 0; below 0 they are mirrored."""

OTHER: Final = "(other)"
"""All legacy statuses that the mapping doesn't know: a broken dump may hold any number of them."""

_STATUSES: Final = frozenset(STATUS) | {"planning", ""}
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
            self.examples.append(_shown(job_id))

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
        return cls(len(sizes), sum(sizes), buckets, Largest(largest, _shown(job_id), line))

    def merge(self, later: Self) -> None:
        self.documents += later.documents
        self.total += later.total
        _add_counts(self.buckets, later.buckets)
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
            self._keep([Delta(float(delta), _shown(job_id), float(recorded), float(recomputed))])

    def merge(self, later: Self) -> None:
        for amount in ("recorded", "recomputed", "written", "sum", "untracked_jobs", "untracked_recomputed"):
            setattr(self, amount, getattr(self, amount) + getattr(later, amount))
        _add_counts(self.buckets, later.buckets)
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


@dataclass(slots=True)
class Tally:
    """The counters of a run, or of a range of its documents."""

    accepted: int = 0
    source_bytes: int = 0
    """Bytes of the accepted documents in the decompressed dump, where the reader knows them."""
    rejects: dict[str, Cases] = field(default_factory=dict)
    """By reason. Examples are job ids, where a reject had one."""
    repairs: dict[str, Cases] = field(default_factory=dict)
    statuses: dict[str, dict[str, int]] = field(default_factory=dict)
    """Legacy status -> target status -> jobs."""
    other_statuses: Cases = field(default_factory=Cases)
    """Examples are the statuses themselves."""
    generations: dict[str, int] = field(default_factory=dict)
    events: dict[str, dict[str, int]] = field(default_factory=dict)
    """Kind -> type -> documents. A job-status event's type is its status."""
    sizes: dict[str, Sizes] = field(default_factory=lambda: {collection: Sizes() for collection in COLLECTIONS})
    parity: dict[str, Parity] = field(default_factory=lambda: {quantity: Parity() for quantity in QUANTITIES})
    cost: Deltas = field(default_factory=Deltas)
    tokens: Deltas = field(default_factory=Deltas)
    alerts_written: int = 0
    """After the repetitions of one alert became one."""
    long_alerts: Cases = field(default_factory=Cases)
    long_decisions: Cases = field(default_factory=Cases)

    @property
    def rejected(self) -> int:
        return sum(cases.total for cases in self.rejects.values())

    @property
    def read(self) -> int:
        return self.accepted + self.rejected

    def repairs_by_name(self) -> dict[str, int]:
        """Repair name -> how often, sorted by name."""
        return {name: cases.total for name, cases in sorted(self.repairs.items())}

    def rejects_by_reason(self) -> dict[str, int]:
        """Reason -> rejected documents, sorted by reason."""
        return {reason: cases.total for reason, cases in sorted(self.rejects.items())}

    def add(self, job: "Counted") -> None:
        """Count an accepted job."""
        job_id = job.job_id
        self.accepted += 1
        self.source_bytes += job.source_bytes
        for name, times in job.repairs.items():
            self._repair(name, job_id, times)
        self._status(job.legacy_status, job.status)
        self.generations[job.generation] = self.generations.get(job.generation, 0) + 1
        for (kind, event_type), times in job.events.items():
            types = self.events.setdefault(kind, {})
            types[event_type] = types.get(event_type, 0) + times
        for collection, sizes in job.sizes.items():
            self.sizes[collection].merge(sizes)
        for quantity, held in job.legacy.items():
            written = job.written[quantity]
            if held or written:
                self.parity[quantity].add(job_id, held, written)
        self.cost.add(job_id, *job.costs, COST_BOUNDS)
        self.tokens.add(job_id, *job.tokens, TOKEN_BOUNDS)
        self.alerts_written += job.alerts
        if job.alerts > LONG_LIST:
            self.long_alerts.add(job_id, job.alerts)
        if job.decisions > LONG_LIST:
            self.long_decisions.add(job_id, job.decisions)

    def reject(self, reason: str, job_id: str | None) -> None:
        """Count a rejected document."""
        cases = self.rejects.setdefault(reason, Cases())
        if job_id is None:
            cases.total += 1
        else:
            cases.add(job_id)

    def merge(self, later: Self) -> None:
        """Add the tally of the documents that follow this one's."""
        self.accepted += later.accepted
        self.source_bytes += later.source_bytes
        self.alerts_written += later.alerts_written
        _add_counts(self.generations, later.generations)
        for mine, others in ((self.statuses, later.statuses), (self.events, later.events)):
            for outer, counts in others.items():
                _add_counts(mine.setdefault(outer, {}), counts)
        for cases, more in ((self.rejects, later.rejects), (self.repairs, later.repairs)):
            for name in more:
                cases.setdefault(name, Cases()).merge(more[name])
        for collection in COLLECTIONS:
            self.sizes[collection].merge(later.sizes[collection])
        for quantity in QUANTITIES:
            self.parity[quantity].merge(later.parity[quantity])
        self.cost.merge(later.cost)
        self.tokens.merge(later.tokens)
        self.other_statuses.merge(later.other_statuses)
        self.long_alerts.merge(later.long_alerts)
        self.long_decisions.merge(later.long_decisions)

    def to_json(self) -> dict[str, Any]:
        """JSON values that ``from_json`` makes the same tally of; fractions are texts such as ``3/8``."""
        for sizes in self.sizes.values():
            if sizes.largest is not None:
                sizes.largest.measure()
        return _SCHEMA.dump_python(self, mode="json")  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The tally that ``to_json`` described. Raises pydantic's ``ValidationError``, a ``ValueError``."""
        return _SCHEMA.validate_python(value)  # type: ignore[return-value]

    def _repair(self, name: str, job_id: str, times: int) -> None:
        cases = self.repairs.get(name)
        if cases is None:
            cases = self.repairs[name] = Cases()
        cases.add(job_id, times)

    def _status(self, legacy: str, target: str) -> None:
        known = legacy if legacy in _STATUSES else OTHER
        if known == OTHER:
            self.other_statuses.add(legacy)
        targets = self.statuses.setdefault(known, {})
        targets[target] = targets.get(target, 0) + 1


@dataclass(frozen=True, slots=True)
class Counted:
    """What a tally takes of one accepted job: small, so that it travels cheaply between processes."""

    job_id: str
    source_bytes: int
    repairs: dict[str, int]
    legacy_status: str
    status: str
    generation: str
    events: dict[tuple[str, str], int]
    """Kind and type -> documents. A job-status event's type is its status."""
    sizes: dict[str, Sizes]
    legacy: Quantities
    written: Quantities
    costs: tuple[int | float, int | float, int | float]
    """Recorded, recomputed, written."""
    tokens: tuple[int | float, int | float, int | float]
    alerts: int
    decisions: int


def counted(
    converted: Converted,
    lines: Mapping[Collection, Sequence[bytes]],
    *,
    source: Mapping[str, Any],
    source_bytes: int | None = None,
    surrogates: int = 0,
    not_utf8: int = 0,
) -> Counted:
    """Count what is in an accepted job.

    ``lines`` are those of each collection, with their newlines; ``source`` is the dump's document, ``source_bytes``
    its size there; ``surrogates`` and ``not_utf8`` count what the reader replaced.
    """
    job_id, documents = converted.job_id, converted.documents
    (job,), (metrics,), (metadata,) = (
        documents[collection] for collection in ("novel_jobs", "novel_job_metrics", "novel_job_metadata")
    )
    repairs = dict(converted.repairs)
    for name, times in (("lone-surrogate", surrogates), ("text-not-utf8", not_utf8)):
        if times:
            repairs[name] = repairs.get(name, 0) + times
    events: dict[tuple[str, str], int] = {}
    for event in documents["novel_job_events"]:
        told = (event["kind"], event["event"]["type"] if "event" in event else event["status"])
        events[told] = events.get(told, 0) + 1
    cost, tokens, written = metrics["cost"], metrics["tokens"], written_quantities(documents)
    stages = rounded_sum([tokens["analysis"], tokens["outline"], tokens["chapters"]])
    return Counted(
        job_id=job_id,
        source_bytes=source_bytes or 0,
        repairs=repairs,
        legacy_status=converted.legacy_status,
        status=job["status"],
        generation=converted.generation,
        events=events,
        sizes={collection: Sizes.of(job_id, of_collection) for collection, of_collection in lines.items()},
        legacy=legacy_quantities(source),
        written=written,
        costs=(cost["extra"]["recordedTotalUsd"], cost["extra"]["recomputedTotalUsd"], cost["totalUsd"]),
        tokens=(written["recorded_tokens"], stages, tokens["total"]),
        alerts=len(metadata["continuityAlerts"]),
        decisions=len(metadata["aiDecisions"]),
    )


_SCHEMA: Final = TypeAdapter(Tally)


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


def _add_counts(counts: dict[Any, int], more: Mapping[Any, int]) -> None:
    for key, count in more.items():
        counts[key] = counts.get(key, 0) + count


def _shown(text: str) -> str:
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
