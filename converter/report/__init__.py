"""The report of a run: what its tally and the facts about it come to, as the one structure that all forms show.

``report.json`` is it, ``html.report_html`` and ``prometheus.prometheus_text`` are made of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from converter.contracts import MAX_BYTES
from converter.extjson import INT64_MAX
from converter.models.target import COLLECTIONS
from converter.repairs import NAMES
from converter.report.figures import (
    COST_BOUNDS,
    TOKEN_BOUNDS,
    UNIT,
    Cases,
    Deltas,
    Sizes,
    bucket_bounds,
    rounded,
)
from converter.report.parity import QUANTITIES
from converter.report.tally import LONG_LIST, Tally
from converter.stages import STAGES, Stage


@dataclass(frozen=True, slots=True)
class Facts:
    """What a tally doesn't know. The first three are the same whenever the same dump is converted in the same way.

    The others are of this machine and this process. After a resume they are about the work done since then.
    """

    version: str
    """The tool's."""
    inputs: tuple[str, ...]
    """The dumps' file names, without folders."""
    options: Mapping[str, Any]
    """The options that change the bundle's bytes."""
    seconds: float
    """Wall-clock time."""
    documents: int
    """Documents read in that time, rejected ones too."""
    dump_bytes: int
    """Bytes of the dumps on disk, compressed if they are, read in that time."""
    peak_memory_bytes: int
    workers: int
    """Processes that converted: 1 for one that did everything, else that many beside the one that wrote."""
    stages: Mapping[Stage, float]
    """Seconds of work by stage, of all these processes together."""
    readers: Mapping[str, int] = field(default_factory=dict)
    """Documents that each reader read in that time: ``fastlane``, ``ijson``, ``bson``."""


def report_json(tally: Tally, facts: Facts) -> dict[str, Any]:
    """The report, as JSON values. The same dump gives the same one but for its part ``run``, the clock's figures."""
    return {
        "tool": {"name": "novel-backfill", "version": facts.version},
        "inputs": list(facts.inputs),
        "options": dict(facts.options),
        "counts": {
            "read": tally.read,
            "accepted": tally.accepted,
            "rejected": tally.rejected,
            "error_rate": tally.rejected / tally.read if tally.read else 0.0,
            "source_bytes": tally.source_bytes,
        },
        "parity": {quantity: _parity(tally, quantity) for quantity in QUANTITIES},
        "alerts": {"found": _plain(tally.parity["alerts"].legacy), "written": tally.alerts_written},
        "cost": _deltas(tally.cost, COST_BOUNDS),
        "tokens": _deltas(tally.tokens, TOKEN_BOUNDS),
        "collections": {collection: _sizes(tally.sizes[collection]) for collection in COLLECTIONS},
        "repairs": {name: {"meaning": NAMES[name]} | _cases(cases) for name, cases in sorted(tally.repairs.items())},
        "rejects": {reason: _cases(cases) for reason, cases in sorted(tally.rejects.items())},
        "statuses": {legacy: dict(sorted(targets.items())) for legacy, targets in sorted(tally.statuses.items())},
        "other_statuses": _cases(tally.other_statuses),
        "generations": dict(sorted(tally.generations.items())),
        "events": {kind: dict(sorted(types.items())) for kind, types in sorted(tally.events.items())},
        "long_lists": {
            "limit": LONG_LIST,
            "alerts": _cases(tally.long_alerts),
            "decisions": _cases(tally.long_decisions),
        },
        "run": _run(facts),
    }


def _plain(amount: int) -> int | float:
    exact = amount * UNIT
    return exact.numerator if exact.denominator == 1 and abs(exact) <= INT64_MAX else rounded(amount)


def _cases(cases: Cases) -> dict[str, Any]:
    return {"total": cases.total, "jobs": cases.jobs, "examples": cases.examples}


def _parity(tally: Tally, quantity: str) -> dict[str, Any]:
    parity = tally.parity[quantity]
    return {
        "title": QUANTITIES[quantity],
        "legacy": _plain(parity.legacy),
        "written": _plain(parity.written),
        "difference": _plain(parity.written - parity.legacy),
        "differing_jobs": parity.differing.jobs,
        "examples": parity.differing.examples,
    }


def _deltas(deltas: Deltas, bounds: tuple[float, ...]) -> dict[str, Any]:
    edges = (None, *bucket_bounds(bounds), None)
    return {
        "recorded": rounded(deltas.recorded),
        "recomputed": rounded(deltas.recomputed),
        "written": rounded(deltas.written),
        "untracked": {"jobs": deltas.untracked_jobs, "recomputed": rounded(deltas.untracked_recomputed)},
        "deltas": {
            "jobs": sum(deltas.buckets.values()),
            "sum": rounded(deltas.sum),
            "buckets": [
                {"above": edges[index], "up_to": edges[index + 1], "jobs": deltas.buckets.get(index, 0)}
                for index in range(len(edges) - 1)
            ],
            "largest": [
                {"job_id": held.job_id, "delta": held.delta, "recorded": held.recorded, "recomputed": held.recomputed}
                for held in deltas.largest
            ],
        },
    }


def _sizes(sizes: Sizes) -> dict[str, Any]:
    largest = sizes.largest
    return {
        "documents": sizes.documents,
        "bytes": sizes.total,
        "p50": sizes.percentile(50),
        "p95": sizes.percentile(95),
        "largest": None
        if largest is None
        else {
            "bytes": largest.size,
            "bson_bytes": largest.measure(),
            "bson_bytes_left": MAX_BYTES - largest.measure(),
            "job_id": largest.job_id,
        },
    }


def _run(facts: Facts) -> dict[str, Any]:
    def per_second(amount: float) -> float | None:
        return amount / facts.seconds if facts.seconds > 0 else None

    # What is left of the processes' time is no stage: starting, showing progress, waiting for one another.
    processes = 1 if facts.workers == 1 else facts.workers + 1
    other = max(processes * facts.seconds - sum(facts.stages.values()), 0.0)
    return {
        "seconds": facts.seconds,
        "documents": facts.documents,
        "dump_bytes": facts.dump_bytes,
        "documents_per_second": per_second(facts.documents),
        "megabytes_per_second": per_second(facts.dump_bytes / 1e6),
        "seconds_per_1000_jobs": 1000 * facts.seconds / facts.documents if facts.documents else None,
        "peak_memory_bytes": facts.peak_memory_bytes,
        "workers": facts.workers,
        "stages": {stage: facts.stages.get(stage, 0.0) for stage in STAGES} | {"other": other},
        "readers": dict(sorted(facts.readers.items())),
    }
