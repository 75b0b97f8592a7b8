"""What is counted over the documents of a run, of which each job brings a little: figures that add up exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from pydantic import TypeAdapter

from converter.mapping import Converted
from converter.mapping.lifecycle import STATUS
from converter.models.target import COLLECTIONS, Collection
from converter.report.figures import COST_BOUNDS, TOKEN_BOUNDS, Cases, Deltas, Parity, Sizes, add_counts
from converter.report.parity import QUANTITIES, Quantities, legacy_quantities, rounded_sum, written_quantities

LONG_LIST: Final = 100
"""Alerts or decisions of one job that the application keeps; its next push cuts what is beyond."""

OTHER: Final = "(other)"
"""All legacy statuses that the mapping doesn't know: a broken dump may hold any number of them."""

_STATUSES: Final = frozenset(STATUS) | {"planning", ""}


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
        add_counts(self.generations, later.generations)
        for mine, others in ((self.statuses, later.statuses), (self.events, later.events)):
            for outer, counts in others.items():
                add_counts(mine.setdefault(outer, {}), counts)
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
