"""metrics.prom: the report for the textfile collector of Prometheus' node exporter."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

_PREFIX = "novel_backfill_"

Samples = Iterable[tuple[tuple[str, ...], float | None]]


def prometheus_text(report: Mapping[str, Any]) -> str:
    """The report in Prometheus' text format, without time stamps. All but ``novel_backfill_run_*`` is reproducible."""
    registry = CollectorRegistry()
    registry.register(_Report(report))
    return generate_latest(registry).decode()


class _Report:
    def __init__(self, report: Mapping[str, Any]) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        return _metrics(self._report)


def _metrics(report: Mapping[str, Any]) -> Iterator[Metric]:
    counts, collections, run = report["counts"], report["collections"], report["run"]
    parity, repairs, long_lists = report["parity"], report["repairs"], report["long_lists"]

    yield _gauges("info", "The tool that wrote the report.", ["version"], [((report["tool"]["version"],), 1)])
    outcomes = ("read", "accepted", "rejected")
    yield _gauges(
        "documents", "Documents of the dumps.", ["outcome"], [((outcome,), counts[outcome]) for outcome in outcomes]
    )
    yield _gauge("error_ratio", "Rejected documents among those read, 0 to 1.", counts["error_rate"])
    yield _gauges("rejects", "Rejected documents.", ["reason"], _by_name(report["rejects"], "total"))
    yield _gauges("written_documents", "Documents written.", ["collection"], _by_name(collections, "documents"))
    yield _gauges("written_bytes", "Bytes of Extended JSON written.", ["collection"], _by_name(collections, "bytes"))
    yield _gauges(
        "document_size_bytes",
        "Sizes of the documents as Extended JSON; percentiles are at most a sixteenth too high.",
        ["collection", "statistic"],
        [((name, statistic), sizes[statistic]) for name, sizes in collections.items() for statistic in ("p50", "p95")]
        + [((name, "largest"), (sizes["largest"] or {}).get("bytes")) for name, sizes in collections.items()],
    )
    yield _gauges(
        "largest_document_bson_bytes",
        "The largest document as BSON; MongoDB's limit is 16777216.",
        ["collection"],
        [((name,), (sizes["largest"] or {}).get("bson_bytes")) for name, sizes in collections.items()],
    )
    yield _gauges(
        "parity",
        "What the accepted documents hold (legacy) and what was written of it.",
        ["quantity", "side"],
        [((name, side), row[side]) for name, row in parity.items() for side in ("legacy", "written")],
    )
    yield _gauges(
        "parity_differing_jobs", "Jobs whose two sides differ.", ["quantity"], _by_name(parity, "differing_jobs")
    )
    yield _gauge("alerts_written", "Continuity alerts after deduplication.", report["alerts"]["written"])
    yield _gauges("repairs", "Repairs made.", ["repair"], _by_name(repairs, "total"))
    yield _gauges("repaired_jobs", "Jobs with the repair.", ["repair"], _by_name(repairs, "jobs"))
    yield _gauges(
        "jobs", "Jobs by status before and after.", ["legacy_status", "status"], _by_names(report["statuses"])
    )
    yield _gauges(
        "generation_jobs",
        "Jobs by schema generation.",
        ["generation"],
        [((generation,), jobs) for generation, jobs in report["generations"].items()],
    )
    yield _gauges("events", "Documents of novel_job_events.", ["kind", "type"], _by_names(report["events"]))
    yield _gauges(
        "long_list_jobs",
        f"Jobs with more than {long_lists['limit']} entries, of which the application keeps no more.",
        ["list"],
        [((name,), long_lists[name]["jobs"]) for name in ("alerts", "decisions")],
    )
    for name, unit, words in (("cost", "_usd", "Cost in US dollars"), ("tokens", "", "Tokens")):
        amounts = report[name]
        yield _gauges(
            f"{name}{unit}",
            f"{words}: as the legacy documents recorded it, as the sum of its parts, as written.",
            ["source"],
            [((source,), amounts[source]) for source in ("recorded", "recomputed", "written")],
        )
        yield _gauge(f"{name}_untracked_jobs", "Jobs that recorded none.", amounts["untracked"]["jobs"])
        yield _gauge(
            f"{name}_untracked{unit}", f"{words}: sum of the parts in those jobs.", amounts["untracked"]["recomputed"]
        )
        yield _histogram(
            f"{name}_delta{unit}", f"{words}: recomputed minus recorded, of jobs that recorded any.", amounts["deltas"]
        )
    yield _gauge("run_seconds", "Time that this process took.", run["seconds"])
    yield _gauge("run_documents", "Documents read in that time.", run["documents"])
    yield _gauge("run_dump_bytes", "Bytes of the dumps on disk read in that time.", run["dump_bytes"])
    for name, documentation in (
        ("documents_per_second", "Documents read in a second."),
        ("megabytes_per_second", "Megabytes (10^6 bytes) of the dumps on disk read in a second."),
        ("seconds_per_1000_jobs", "Time that a thousand documents took."),
    ):
        yield _gauges(f"run_{name}", documentation, [], [((), run[name])])
    yield _gauges(
        "run_stage_seconds",
        "Time that all processes together took for each stage.",
        ["stage"],
        [((stage,), seconds) for stage, seconds in run["stages"].items()],
    )
    yield _gauge("run_peak_memory_bytes", "The most memory that the process held.", run["peak_memory_bytes"])


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, documentation, value=value)


def _gauges(name: str, documentation: str, labels: list[str], samples: Samples) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, documentation, labels=labels)
    for values, value in samples:
        if value is not None:
            family.add_metric(values, value)
    return family


def _by_name(rows: Mapping[str, Mapping[str, Any]], field: str) -> Samples:
    return [((name,), row[field]) for name, row in rows.items()]


def _by_names(rows: Mapping[str, Mapping[str, int]]) -> Samples:
    return [((outer, inner), count) for outer, counts in rows.items() for inner, count in counts.items()]


def _histogram(name: str, documentation: str, deltas: Mapping[str, Any]) -> Metric:
    # Not HistogramMetricFamily: it leaves out _sum and _count where there are buckets below 0, as OpenMetrics asks.
    # The text format has no such rule.
    metric = Metric(_PREFIX + name, documentation, "histogram")
    below = 0
    for bucket in deltas["buckets"]:
        below += bucket["jobs"]
        bound = "+Inf" if bucket["up_to"] is None else str(bucket["up_to"])
        metric.add_sample(f"{_PREFIX}{name}_bucket", {"le": bound}, below)
    metric.add_sample(f"{_PREFIX}{name}_count", {}, below)
    metric.add_sample(f"{_PREFIX}{name}_sum", {}, deltas["sum"])
    return metric
