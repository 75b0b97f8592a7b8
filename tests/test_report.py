"""report.json and metrics.prom: what they say of a tally, and that the clock stays in its place."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from converter.report import Facts, report_json
from converter.report.prometheus import prometheus_text
from converter.report.tally import Tally
from tests.jobs import alert, chapter, job
from tests.test_tally import cost, tallied

FACTS = Facts(
    version="1.2.3",
    inputs=("jobs.json",),
    options={"queue": "novel-generation", "limit": None},
    seconds=2.0,
    documents=4,
    dump_bytes=3_000_000,
    peak_memory_bytes=50_000_000,
    workers=1,
    stages={"read": 0.75, "map": 0.5, "check": 0.25, "count": 0.125, "write": 0.25},
)


def some() -> Tally:
    return tallied(
        job(chapters=[chapter(cost=None)], **cost(1.0, 1.5)),
        job(jobId="b", chapters=[chapter(title="", cost=None)], **cost(2.0, 2.0)),
        job(jobId="c", **cost(0, 0.25)),
        7,
    )


def report(tally: Tally | None = None, facts: Facts = FACTS) -> dict[str, Any]:
    return report_json(some() if tally is None else tally, facts)


def test_counts() -> None:
    expected = {"read": 4, "accepted": 3, "rejected": 1, "error_rate": 0.25, "source_bytes": 300}
    assert expected == report()["counts"]
    assert {"not-an-object": {"total": 1, "jobs": 0, "examples": []}} == report()["rejects"]


def test_parity_says_in_which_jobs_something_is_amiss() -> None:
    tally = some()
    tally.parity["words"].add("b", 100, 40)

    expected = {
        "title": "Words in completed chapters",
        "legacy": 106,
        "written": 46,
        "difference": -60,
        "differing_jobs": 1,
        "examples": ["b"],
    }
    assert expected == report(tally)["parity"]["words"]
    assert 0 == report(tally)["parity"]["chapters"]["differing_jobs"]


def test_alerts_before_and_after_deduplication() -> None:
    tally = tallied(job(metadata={"continuityAlerts": [alert(), alert(), alert(id="b")]}))
    assert {"found": 3, "written": 2} == report(tally)["alerts"]


def test_repairs_are_explained() -> None:
    expected = {"meaning": "a chapter without title got one", "total": 1, "jobs": 1, "examples": ["b"]}
    assert expected == report()["repairs"]["chapter-title-fallback"]


def test_costs() -> None:
    costs = report()["cost"]
    assert (3.0, 3.75, 3.25) == (costs["recorded"], costs["recomputed"], costs["written"])
    assert {"jobs": 1, "recomputed": 0.25} == costs["untracked"]
    deltas = costs["deltas"]
    assert (2, 0.5) == (deltas["jobs"], deltas["sum"])
    assert [{"job_id": "687b0b250000000000000001", "delta": 0.5, "recorded": 1.0, "recomputed": 1.5}] == deltas[
        "largest"
    ]
    filled = [bucket for bucket in deltas["buckets"] if bucket["jobs"]]
    assert [{"above": -1e-9, "up_to": 1e-9, "jobs": 1}, {"above": 0.1, "up_to": 1.0, "jobs": 1}] == filled
    assert (None, None) == (deltas["buckets"][0]["above"], deltas["buckets"][-1]["up_to"])


def test_sizes_leave_room_below_the_limit() -> None:
    sizes = report()["collections"]["novel_job_metrics"]
    assert 3 == sizes["documents"]
    assert 16 * 1024 * 1024 == sizes["largest"]["bson_bytes"] + sizes["largest"]["bson_bytes_left"]
    assert sizes["p50"] <= sizes["p95"] <= sizes["largest"]["bytes"]


def test_run_figures() -> None:
    expected = {
        "seconds": 2.0,
        "documents": 4,
        "dump_bytes": 3_000_000,
        "documents_per_second": 2.0,
        "megabytes_per_second": 1.5,
        "seconds_per_1000_jobs": 500.0,
        "peak_memory_bytes": 50_000_000,
        "workers": 1,
        "stages": {
            "read": 0.75,
            "map": 0.5,
            "check": 0.25,
            "count": 0.125,
            "write": 0.25,
            "checkpoint": 0.0,
            "other": 0.125,
        },
        "readers": {},
    }
    assert expected == report()["run"]


@pytest.mark.parametrize(("workers", "seconds", "other"), [(1, 2.0, 0.125), (2, 2.0, 4.125), (1, 1.0, 0.0)])
def test_stages_and_the_rest_are_the_time_of_all_processes(workers: int, seconds: float, other: float) -> None:
    """Clocks are not exact: the rest is never less than nothing."""
    assert other == report(facts=replace(FACTS, workers=workers, seconds=seconds))["run"]["stages"]["other"]


def test_nothing_at_all() -> None:
    facts = replace(FACTS, seconds=0.0, documents=0, dump_bytes=0)
    empty = report(Tally(), facts)

    assert 0.0 == empty["counts"]["error_rate"]
    assert empty["collections"]["novel_jobs"]["largest"] is None
    assert {None} == {empty["run"][rate] for rate in ("documents_per_second", "seconds_per_1000_jobs")}
    assert "novel_backfill_documents" in samples(prometheus_text(empty))


def test_only_the_run_depends_on_the_clock() -> None:
    other = replace(FACTS, seconds=9.9, documents=1, dump_bytes=5, peak_memory_bytes=7, workers=3, stages={"map": 1.0})
    here, there = report(), report(facts=other)

    assert here.pop("run") != there.pop("run")
    assert json.dumps(here, sort_keys=True) == json.dumps(there, sort_keys=True)
    here_lines, there_lines = (prometheus_text(report(facts=facts)).splitlines() for facts in (FACTS, other))
    assert {True} == {
        line.startswith("novel_backfill_run_")
        for line, against in zip(here_lines, there_lines, strict=True)
        if line != against
    }


def test_the_order_of_the_jobs_changes_no_name() -> None:
    documents = [job(status=status, jobId=status) for status in ("writing", "failed", "planning")]
    forwards, backwards = (report(tallied(*order)) for order in (documents, documents[::-1]))

    assert json.dumps(forwards["statuses"]) == json.dumps(backwards["statuses"])
    assert json.dumps(forwards["events"]) == json.dumps(backwards["events"])


# -------------------------------------------------------------------------------------------------------- metrics.prom


def samples(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Sample name -> label values -> value, as Prometheus' own parser reads them."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("gauge", "histogram")
        for sample in family.samples:
            assert sample.timestamp is None
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_metrics_parse_and_say_what_the_report_says() -> None:
    found = samples(prometheus_text(report()))

    assert {True} == {name.startswith("novel_backfill_") for name in found}
    assert {("read",): 4, ("accepted",): 3, ("rejected",): 1} == found["novel_backfill_documents"]
    assert {("not-an-object",): 1} == found["novel_backfill_rejects"]
    assert 1 == found["novel_backfill_repairs"][("chapter-title-fallback",)]
    assert 6 == found["novel_backfill_parity"][("words", "written")]
    assert 3 == found["novel_backfill_jobs"][("completed", "completed")]
    assert {(): 2.0} == found["novel_backfill_run_seconds"]
    for rate in ("documents_per_second", "megabytes_per_second", "seconds_per_1000_jobs"):
        assert {(): report()["run"][rate]} == found[f"novel_backfill_run_{rate}"]
    assert 0.75 == found["novel_backfill_run_stage_seconds"][("read",)]
    assert {("1.2.3",): 1} == found["novel_backfill_info"]


@pytest.mark.parametrize(("name", "total"), [("cost_delta_usd", 0.5), ("tokens_delta", 0)])
def test_metrics_carry_the_histograms(name: str, total: float) -> None:
    found = samples(prometheus_text(report()))
    buckets = [(float(bound), count) for (bound,), count in found[f"novel_backfill_{name}_bucket"].items()]

    assert buckets == sorted(buckets)
    assert math.inf == buckets[-1][0]
    assert 15 == len(buckets)
    assert {(): buckets[-1][1]} == found[f"novel_backfill_{name}_count"]
    assert {(): total} == found[f"novel_backfill_{name}_sum"]


def test_cumulative_buckets() -> None:
    buckets = samples(prometheus_text(report()))["novel_backfill_cost_delta_usd_bucket"]
    assert (0, 1, 1, 2, 2) == tuple(buckets[(bound,)] for bound in ("-1e-09", "1e-09", "0.1", "1.0", "+Inf"))


def test_text_from_the_dump_is_escaped_in_labels() -> None:
    odd = 'v"1\\\n2'
    found = samples(prometheus_text(report(facts=replace(FACTS, version=odd))))
    assert {(odd,): 1} == found["novel_backfill_info"]
