"""Mapping rules "novel_job_metrics"."""

from typing import Any

import pytest
from bson import Decimal128

from converter.extjson import Double
from converter.mapping.metrics import total
from converter.repairs import Repairs
from tests.jobs import MINUTE, Document, chapter, date, job, metrics, repairs

STAGES = ["analysis", "outline", "chapters"]


def usage(field: str, analysis: Any = None, outline: Any = None, chapters: Any = None) -> Document:
    return {
        "premiseAnalysis": {field: analysis},
        "outlineGeneration": {field: outline},
        "chapterGeneration": {field: chapters},
    }


def tracking(**fields: Any) -> Document:
    return {"costTracking": fields}


@pytest.mark.parametrize(
    ("fields", "expected", "untracked"),
    [
        (
            {"metadata": tracking(breakdown={"analysis": 1, "outline": 2.5, "chapters": 4})},
            {"analysisUsd": 1.0, "outlineUsd": 2.5, "chaptersUsd": 4.0, "totalUsd": 7.5},
            0,
        ),
        (
            {
                "metadata": tracking(breakdown={"analysis": 0, "outline": 2, "chapters": 0}),
                "modelUsage": usage("cost", 8, 9, 10),
                "chapters": [chapter(cost=99)],
            },
            {"analysisUsd": 8.0, "outlineUsd": 2.0, "chaptersUsd": 10.0, "totalUsd": 20.0},
            0,
        ),
        (
            {"modelUsage": usage("cost", 0, None, 0), "chapters": [chapter(cost=0.1)] * 10},
            {"analysisUsd": 0.0, "outlineUsd": 0.0, "chaptersUsd": 1.0, "totalUsd": 1.0},
            1,
        ),
        (
            {"chapters": [chapter(cost=0.25), chapter(cost=None), chapter(cost="0.5"), chapter(cost="much")]},
            {"analysisUsd": 0.0, "outlineUsd": 0.0, "chaptersUsd": 0.75, "totalUsd": 0.75},
            2,
        ),
        (
            {"metadata": tracking(totalCost=5, breakdown={"analysis": 1})},
            {"analysisUsd": 1.0, "outlineUsd": 0.0, "chaptersUsd": 0.0, "totalUsd": 5.0},
            2,
        ),
        (
            {"metadata": tracking(totalCost=0), "modelUsage": usage("cost", 1, 1, 1)},
            {"analysisUsd": 1.0, "outlineUsd": 1.0, "chaptersUsd": 1.0, "totalUsd": 3.0},
            0,
        ),
        (
            {"metadata": tracking(totalCost=Double("nan")), "modelUsage": usage("cost", Double("inf"), "1.5", -2)},
            {"analysisUsd": 0.0, "outlineUsd": 1.5, "chaptersUsd": 0.0, "totalUsd": 1.5},
            2,
        ),
        ({}, {"analysisUsd": 0.0, "outlineUsd": 0.0, "chaptersUsd": 0.0, "totalUsd": 0.0}, 3),
    ],
)
def test_cost(fields: Document, expected: Document, untracked: int) -> None:
    document = job(**fields)
    cost = metrics(document)["cost"]

    assert expected == {name: cost[name] for name in expected}
    # Of tokens and durations these jobs record those of their chapters at most.
    others = 5 if fields.get("chapters") else 6
    assert untracked + others == repairs(document, "stage-untracked")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (0.0, 0.0, 0.0)),
        ({"metadata": tracking(totalCost=5, estimatedRemaining=2)}, (2.0, 5.0, 0.0)),
        ({"modelUsage": usage("cost", 1, 2, 4)}, (0.0, 0.0, 7.0)),
        ({"modelUsage": usage("cost", 1, 2, 4), "chapters": [chapter(cost=0.5), chapter(cost=0.25)]}, (0.0, 0.0, 3.75)),
        ({"modelUsage": usage("cost", 1, 2, 4), "chapters": [chapter(cost=None)]}, (0.0, 0.0, 7.0)),
        ({"modelUsage": usage("cost", 1, 2, 4), "chapters": [chapter(cost=0)]}, (0.0, 0.0, 3.0)),
        ({"metadata": tracking(totalCost=-1, estimatedRemaining=Decimal128("0.5"))}, (0.5, -1.0, 0.0)),
        # Rounded once: the chapters' sum, rounded, would make it 0.30000000000000004.
        ({"modelUsage": usage("cost", 0.09, 0, 0), "chapters": [chapter(cost=0.1), chapter(cost=0.11)]}, (0, 0, 0.3)),
    ],
)
def test_what_was_claimed_and_what_the_parts_say(fields: Document, expected: tuple[float, float, float]) -> None:
    extra = metrics(job(**fields))["cost"]["extra"]

    assert expected == (extra["estimatedRemainingUsd"], extra["recordedTotalUsd"], extra["recomputedTotalUsd"])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (0, 0, 0, 0)),
        ({"modelUsage": usage("tokensUsed", 10, 20, 40)}, (70, 10, 20, 40)),
        ({"modelUsage": usage("tokensUsed", 10, 0, 0), "chapters": [chapter(), chapter()]}, (3010, 10, 0, 3000)),
        ({"chapters": [chapter(tokensUsed=None), chapter(tokensUsed=5)]}, (5, 0, 0, 5)),
        ({"metadata": tracking(tokensUsed=99), "modelUsage": usage("tokensUsed", 1, 1, 1)}, (99, 1, 1, 1)),
        ({"metadata": tracking(tokensUsed=0), "modelUsage": usage("tokensUsed", 1, 1, 1)}, (3, 1, 1, 1)),
        ({"modelUsage": usage("tokensUsed", -10, "20", Double("nan"))}, (20, 0, 20, 0)),
    ],
)
def test_tokens(fields: Document, expected: tuple[int, int, int, int]) -> None:
    tokens = metrics(job(**fields))["tokens"]

    assert expected == tuple(tokens[name] for name in ["total", *STAGES])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"modelUsage": usage("duration", 100, 200, 400)}, (700, 100, 200, 400)),
        ({"modelUsage": usage("duration", None, 200, 0)}, (200, 0, 200, 0)),
        ({}, (9 * MINUTE, 0, 0, 0)),
        ({"modelUsage": usage("duration", 0, 0, 0)}, (9 * MINUTE, 0, 0, 0)),
        ({"status": "writing"}, (0, 0, 0, 0)),
        ({"status": "planning"}, (0, 0, 0, 0)),
    ],
)
def test_latency(fields: Document, expected: tuple[int, int, int, int]) -> None:
    latency = metrics(job(**fields))["latencyMs"]

    assert expected == tuple(latency[name] for name in ["total", *STAGES])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 9),
        ({"modelUsage": usage("duration", 0, 0, 0)}, 6),
        ({"modelUsage": usage("tokensUsed", 0, 0, 0)}, 6),
        ({"modelUsage": usage("tokensUsed", -1, 0, 1)}, 7),
        ({"modelUsage": usage("cost", 0, 0, 0)}, 6),
    ],
)
def test_what_no_one_recorded_is_counted(fields: Document, expected: int) -> None:
    assert expected == repairs(job(**fields), "stage-untracked")


@pytest.mark.parametrize(
    ("numbers", "expected", "overflows"),
    [
        ([], 0, 0),
        ([1, 2], 3, 0),
        ([2**62, 2**62], 2.0**63, 0),
        ([0.1] * 10, 1.0, 0),
        ([1e16, 1.0, -1e16], 1.0, 0),
        ([1, 0.5], 1.5, 0),
        ([1e308, 1e308], 0.0, 1),
    ],
)
def test_sums_are_exactly_rounded(numbers: list[float], expected: float, overflows: int) -> None:
    counted = Repairs()
    actual = total(numbers, counted)

    assert (type(expected), expected) == (type(actual), actual)
    assert overflows == counted.counts.get("sum-overflow", 0)


def test_what_identifies_the_metrics() -> None:
    target = metrics(job(jobId="job-1"))

    assert ("job-1", date(), date(10 * MINUTE)) == (target["jobId"], target["createdAt"], target["updatedAt"])
