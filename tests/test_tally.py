"""The counters of a run: what they count, that ranges add up exactly, and that their size is bounded."""

import itertools
import json
import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from bson import Code, Decimal128, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from converter import contracts
from converter.extjson import RawText
from converter.mapping import Rejected, map_job
from converter.report.figures import COST_BOUNDS, EXAMPLES, LARGEST, UNIT, Deltas, Sizes, bucket_bounds, rounded
from converter.report.parity import QUANTITIES, legacy_quantities, written_quantities
from converter.report.tally import Tally, counted
from tests import jobs
from tests.jobs import Document, alert, chapter, job


def tallied(*documents: object, surrogates: int = 0) -> Tally:
    tally = Tally()
    for document in documents:
        count(tally, document, surrogates)
    return tally


def count(tally: Tally, document: object, surrogates: int = 0) -> None:
    """Count one document as a conversion does."""
    converted = map_job(document)
    if isinstance(converted, Rejected):
        tally.reject(converted.reason, converted.job_id)
        return
    lines = contracts.check(converted, "relaxed")
    if isinstance(lines, Rejected):
        tally.reject(lines.reason, lines.job_id)
        return
    assert isinstance(document, dict)
    tally.add(counted(converted, lines, source=document, source_bytes=100, surrogates=surrogates))


def merged(*tallies: Tally) -> Tally:
    whole = Tally()
    for tally in tallies:
        whole.merge(tally)
    return whole


def stored(tally: Tally) -> Tally:
    """The tally after its way through a checkpoint."""
    return Tally.from_json(json.loads(json.dumps(tally.to_json())))


# ------------------------------------------------------------------------------------------------------------ counts


def test_counts_documents_and_rejects() -> None:
    tally = tallied(job(), 7, {"_id": "no time"}, job(jobId="b"))

    assert (4, 2, 2) == (tally.read, tally.accepted, tally.rejected)
    assert {"no-creation-time": 1, "not-an-object": 1} == tally.rejects_by_reason()
    assert [] == tally.rejects["not-an-object"].examples
    assert ["no time"] == tally.rejects["no-creation-time"].examples
    assert 200 == tally.source_bytes


def test_counts_repairs_with_the_first_jobs() -> None:
    documents = [job(jobId=f"job-{number}", chapters=[chapter(title="")] * 2) for number in range(7)]
    tally = tallied(job(chapters=[chapter()]), *documents)

    repair = tally.repairs["chapter-title-fallback"]
    assert (14, 7) == (repair.total, repair.jobs)
    assert [f"job-{number}" for number in range(EXAMPLES)] == repair.examples
    assert 14 == tally.repairs_by_name()["chapter-title-fallback"]


def test_surrogates_of_the_reader_are_repairs_too() -> None:
    tally = tallied(job(title="\ud800"), surrogates=2)

    assert (3, 1) == (tally.repairs["lone-surrogate"].total, tally.repairs["lone-surrogate"].jobs)


def test_counts_statuses_generations_and_events() -> None:
    tally = tallied(
        job(chapters=[chapter()]),
        job(jobId="b", status="archived", humanLikeWriting=True),
        job(jobId="c", status="planning"),
    )

    assert {"completed": {"completed": 1}, "(other)": {"completed": 1}, "planning": {"queued": 1}} == tally.statuses
    assert ["archived"] == tally.other_statuses.examples
    assert {"3": 1, "5": 1, "1-2": 1} == tally.generations
    assert {"generation-progress": 1, "cost-tracking": 1} == tally.events["generation"]
    assert {"queued": 3, "running": 2, "completed": 2} == tally.events["job-status"]


def test_measures_documents() -> None:
    document = job(chapters=[chapter()])
    converted = jobs.converted(document)
    lines = contracts.check(converted, "relaxed")
    assert isinstance(lines, dict)
    sizes = tallied(document).sizes

    for collection, of_collection in lines.items():
        expected = list(map(len, of_collection))
        assert (len(expected), sum(expected)) == (sizes[collection].documents, sizes[collection].total)
        largest = sizes[collection].largest
        assert largest is not None
        assert max(expected) == largest.size
    (line,) = lines["novel_jobs"]
    assert (contracts.bson_bytes(line), converted.job_id) == (
        sizes["novel_jobs"].largest.measure(),  # type: ignore[union-attr]
        sizes["novel_jobs"].largest.job_id,  # type: ignore[union-attr]
    )


@pytest.mark.parametrize(("entries", "expected"), [(100, 0), (101, 1)])
def test_finds_lists_that_the_application_would_cut(entries: int, expected: int) -> None:
    metadata = {
        "continuityAlerts": [alert(id=f"alert-{number}") for number in range(entries)],
        "aiDecisions": [{"id": f"decision-{number}"} for number in range(entries)],
    }
    tally = tallied(job(jobId="long", metadata=metadata))

    assert ["long"] * expected == tally.long_alerts.examples
    assert ["long"] * expected == tally.long_decisions.examples


def cost(recorded: float, recomputed: float) -> Document:
    return {
        "modelUsage": {"chapterGeneration": {"cost": recomputed}},
        "metadata": {"costTracking": {"totalCost": recorded}},
    }


@pytest.mark.parametrize(
    ("recorded", "recomputed", "above", "up_to"),
    [
        (1.0, 1.0, -1e-9, 1e-9),
        (0.3, 0.1 + 0.2, -1e-9, 1e-9),
        (1.0, 1.00005, 1e-9, 0.0001),
        (0.25, 0.35, 0.01, 0.1),
        (0.5, 1.5, 0.1, 1.0),
        (1.5, 0.5, -10.0, -1.0),
        (1.0, 0.75, -1.0, -0.1),
        (1.0, 12.0, 10.0, math.inf),
        (100.0, 0.0, -math.inf, -10.0),
    ],
)
def test_cost_deltas_fall_into_buckets(recorded: float, recomputed: float, above: float, up_to: float) -> None:
    deltas = tallied(job(**cost(recorded, recomputed))).cost

    ((bucket, jobs_in_it),) = deltas.buckets.items()
    edges = (-math.inf, *bucket_bounds(COST_BOUNDS), math.inf)
    assert (above, up_to, 1) == (edges[bucket], edges[bucket + 1], jobs_in_it)
    assert (recorded, recomputed) == (rounded(deltas.recorded), rounded(deltas.recomputed))


def test_untracked_jobs_stay_out_of_the_histogram() -> None:
    deltas = tallied(job(**cost(0, 2.5)), job(jobId="b"), job(jobId="c", **cost(2.0, 2.5))).cost

    assert (2, 2.5) == (deltas.untracked_jobs, rounded(deltas.untracked_recomputed))
    assert 1 == sum(deltas.buckets.values())
    assert 0.5 == rounded(deltas.sum)


def test_tokens_are_compared_like_costs() -> None:
    document = job(
        modelUsage={"outlineGeneration": {"tokensUsed": 300}, "chapterGeneration": {"tokensUsed": 1200}},
        metadata={"costTracking": {"tokensUsed": 2000}},
    )
    deltas = tallied(document).tokens

    assert (2000, 1500, 2000) == tuple(rounded(held) for held in (deltas.recorded, deltas.recomputed, deltas.written))
    assert [-500.0] == [held.delta for held in deltas.largest]


def test_the_largest_deltas_are_kept_ties_by_job_id() -> None:
    deltas = Deltas()
    for number in range(30):
        deltas.add(f"job-{number % 15:02}", 1.0, 1.0 + number % 15 // 2, 1.0, COST_BOUNDS)

    expected = [("job-14", 7.0)] * 2 + [(f"job-{number}", 6.0) for number in (12, 12, 13, 13)]
    assert expected == [(held.job_id, held.delta) for held in deltas.largest][:6]
    assert LARGEST == len(deltas.largest)


def test_huge_amounts_stay_finite() -> None:
    largest = 1.7976931348623157e308
    document = job(
        modelUsage={
            "premiseAnalysis": {"cost": -largest, "tokensUsed": largest},
            "chapterGeneration": {"tokensUsed": largest},
        },
        metadata={"costTracking": {"totalCost": largest, "tokensUsed": largest}},
    )
    tally = tallied(document, document | {"jobId": "b"})

    assert largest == rounded(tally.cost.recorded)
    assert -largest == rounded(tally.cost.sum)
    assert tally == stored(tally)


# ------------------------------------------------------------------------------------------------------------ parity

FULL: Document = {
    "outline": [{"chapterNumber": 1}, {"chapterNumber": 2}, "oops"],
    "chapters": [
        chapter(),
        chapter(wordCount="40", cost="0.5", tokensUsed=Decimal128("10")),
        chapter(wordCount=None, status=None, content=RawText(b'"four words of text"')),
        chapter(status="pending", content=None, wordCount=None, cost=None, tokensUsed=None),
        7,
    ],
    "metadata": {
        "storyBible": {
            "characters": {"Mara": {}, "Tom": {}, "nobody": 7},
            "locations": {"Pier": {}},
            "themes": [{"name": "loss"}, {"name": "loss"}, {"name": "tide"}, {}],
            "plotThreads": [{"title": "a"}],
            "timeline": [{"title": "a"}, {"title": "b"}],
        },
        "continuityAlerts": [alert(), alert(), alert(id="other")],
        "aiDecisions": [{"id": "a"}],
        "enhancementsApplied": [{"id": "a"}, {"id": "b"}],
        "costTracking": {"totalCost": "1.25", "tokensUsed": 99},
    },
}
EXPECTED = {
    "outline_entries": 2,
    "chapters": 4,
    "completed_chapters": 3,
    "words": 47,
    "chapter_tokens": 3010,
    "chapter_cost_usd": 0.525,
    "recorded_tokens": 99,
    "recorded_cost_usd": 1.25,
    "characters": 2,
    "locations": 1,
    "themes": 2,
    "plot_threads": 1,
    "timeline_entries": 2,
    "alerts": 3,
    "decisions": 1,
    "enhancements": 2,
}


def test_parity_counts_both_sides() -> None:
    document = job(**FULL)
    tally = tallied(document)

    assert EXPECTED == legacy_quantities(document)
    assert EXPECTED == written_quantities(jobs.converted(document).documents)
    assert list(QUANTITIES) == list(EXPECTED)
    assert EXPECTED == {name: rounded(parity.legacy) for name, parity in tally.parity.items()}
    assert EXPECTED == {name: rounded(parity.written) for name, parity in tally.parity.items()}
    assert 2 == tally.alerts_written


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_parity_finds_what_was_lost(quantity: str) -> None:
    losses: dict[str, Any] = {
        "outline_entries": lambda documents: documents["novel_jobs"][0]["outline"].pop(),
        "chapters": lambda documents: documents["novel_jobs"][0]["chapters"].pop(),
        "completed_chapters": lambda documents: documents["novel_jobs"][0]["chapters"][0].update(status="pending"),
        "words": lambda documents: documents["novel_jobs"][0]["chapters"][0].update(wordCount=2),
        "chapter_tokens": lambda documents: documents["novel_jobs"][0]["chapters"][0]["tokens"].update(totalTokens=1),
        "chapter_cost_usd": lambda documents: documents["novel_jobs"][0]["chapters"][0].update(costInUsd=0.01),
        "recorded_tokens": lambda documents: documents["novel_jobs"][0]["context"]["metadata"]["legacy"].clear(),
        "recorded_cost_usd": lambda documents: documents["novel_job_metrics"][0]["cost"]["extra"].update(
            recordedTotalUsd=1.2
        ),
        "characters": lambda documents: documents["novel_job_metadata"][0]["storyBibleCharacters"].popitem(),
        "locations": lambda documents: documents["novel_job_metadata"][0]["storyBibleLocations"].popitem(),
        "themes": lambda documents: documents["novel_job_metadata"][0]["storyBibleThemes"].pop(),
        "plot_threads": lambda documents: documents["novel_job_metadata"][0]["storyBibleMetadata"]["plotThreads"].pop(),
        "timeline_entries": lambda documents: documents["novel_job_metadata"][0]["storyBibleMetadata"][
            "timeline"
        ].pop(),
        "alerts": lambda documents: documents["novel_job_metadata"][0]["continuityAlerts"].pop(),
        "decisions": lambda documents: documents["novel_job_metadata"][0]["aiDecisions"].pop(),
        "enhancements": lambda documents: documents["novel_job_metadata"][0]["enhancements"].pop(),
    }
    document = job(jobId="lossy", **FULL)
    converted = jobs.converted(document)
    losses[quantity](converted.documents)
    tally = Tally()
    tally.add(counted(converted, {}, source=document))

    assert ["lossy"] == tally.parity[quantity].differing.examples


@given(jobs.JOB)
def test_parity_holds_for_any_job(document: Document) -> None:
    converted = map_job(document)
    if not isinstance(converted, Rejected):
        assert legacy_quantities(document) == written_quantities(converted.documents)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (" 1.5e1 ", 15.0),
        ("many", 0),
        ("1e999", 0),
        (" 9007199254740993 ", 9007199254740993),
        ("36893488147419103233", 3.6893488147419103e19),
        (Decimal128("9007199254740993"), 9007199254740993),
        (True, 0),
        (2**63, 0),
        (-(2**63), -(2**63)),
        (Code("5"), 0),
        (math.nan, 0),
        (Decimal128("NaN"), 0),
        (Decimal128("sNaN"), 0),
        (Decimal128("-Infinity"), 0),
        (Decimal128("1E+6000"), 0),
        (Decimal128("2.5"), 2.5),
        ([1], 0),
    ],
)
def test_parity_reads_odd_numbers(value: object, expected: float) -> None:
    assert expected == legacy_quantities({"chapters": [{"cost": value}]})["chapter_cost_usd"]


@pytest.mark.parametrize(
    "document",
    [
        {"chapters": "oops", "outline": {"a": 1}, "metadata": [1]},
        {"metadata": {"storyBible": 7, "costTracking": "none", "continuityAlerts": {"a": 1}}},
        {"metadata": {"storyBible": {"characters": [{}], "locations": "here", "themes": [{"name": 7}, {"name": ""}]}}},
        {"chapters": [{"status": ["completed"]}, {"content": ""}, {"content": 7}, {"status": "completed"}]},
        {"chapters": [{"content": Code("two words")}], "metadata": {"storyBible": {"themes": [{"name": Code("x")}]}}},
    ],
)
def test_parity_counts_nothing_in_a_wrong_shape(document: Document) -> None:
    quantities = legacy_quantities(document)
    assert {0} <= set(quantities.values()) <= {0, 1, 4}
    assert 0 == quantities["words"]


def test_sums_beyond_a_double_count_as_nothing_on_both_sides() -> None:
    document = job(chapters=[chapter(tokensUsed=1.7e308), chapter(tokensUsed=1.7e308)])
    assert 0 == legacy_quantities(document)["chapter_tokens"]
    assert 0 == tallied(document).parity["chapter_tokens"].differing.jobs


# -------------------------------------------------------------------------------------------------------------- laws


@dataclass(frozen=True)
class Made:
    """A document, and the reader's surrogates."""

    document: object
    surrogates: int


MADE = st.builds(
    Made,
    st.one_of(
        jobs.JOB,
        st.builds(lambda recorded, recomputed: job(**cost(recorded, recomputed)), jobs.DOUBLE, jobs.DOUBLE),
        st.builds(lambda status: job(status=status), jobs.TEXT),
        st.sampled_from([7, {"_id": "no time"}, {}]),
    ),
    st.sampled_from([0, 0, 2]),
)


def tallied_from(made: list[Made]) -> Tally:
    tally = Tally()
    for one in made:
        count(tally, one.document, one.surrogates)
    return tally


@given(st.lists(MADE, max_size=12), st.lists(st.integers(0, 12), max_size=3))
def test_ranges_add_up_to_the_whole(made: list[Made], cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(made)) for cut in cuts), len(made)]
    ranges = [made[start:end] for start, end in itertools.pairwise(edges)]

    assert tallied_from(made).to_json() == merged(*map(tallied_from, ranges)).to_json()


@given(st.lists(MADE, max_size=4), st.lists(MADE, max_size=4), st.lists(MADE, max_size=4))
def test_merging_is_associative(first: list[Made], second: list[Made], third: list[Made]) -> None:
    left = merged(merged(tallied_from(first), tallied_from(second)), tallied_from(third))
    right = merged(tallied_from(first), merged(tallied_from(second), tallied_from(third)))

    assert left.to_json() == right.to_json()


@given(st.lists(MADE, max_size=6), st.lists(MADE, max_size=6))
def test_a_checkpoint_changes_nothing(before: list[Made], after: list[Made]) -> None:
    resumed = stored(tallied_from(before))
    assert tallied_from(before) == resumed
    for one in after:
        count(resumed, one.document, one.surrogates)

    assert json.dumps(tallied_from(before + after).to_json(), sort_keys=True) == json.dumps(
        resumed.to_json(), sort_keys=True
    )


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20), st.randoms(use_true_random=False))
def test_amounts_are_exact_in_any_order(amounts: list[float], random: Any) -> None:
    deltas, shuffled = Deltas(), Deltas()
    for amount in amounts:
        deltas.add("a", amount, 0.0, 0.0, COST_BOUNDS)
    for amount in random.sample(amounts, len(amounts)):
        shuffled.add("a", amount, 0.0, 0.0, COST_BOUNDS)

    assert sum(map(Fraction, amounts)) == deltas.recorded * UNIT
    assert deltas == shuffled


@given(st.lists(st.integers(2, 5000), min_size=1), st.integers(0, 100))
def test_percentiles_are_a_sixteenth_too_high_at_most(lengths: list[int], percent: int) -> None:
    sizes = Sizes.of("a", [b"{}".ljust(length) for length in lengths])
    exact = sorted(lengths)[max(math.ceil(Fraction(percent, 100) * len(lengths)) - 1, 0)]

    found = sizes.percentile(percent)
    assert found is not None
    assert exact <= found <= exact * 17 / 16
    assert Counter(lengths).total() == sum(sizes.buckets.values())


def test_percentiles_of_nothing() -> None:
    assert Sizes().percentile(50) is None


def test_the_size_is_bounded() -> None:
    tally = Tally()
    text = "x" * 10_000
    for number in range(300):
        document = job(
            _id=ObjectId(f"{number:024x}"),
            jobId=f"{number}{text}",
            status=f"{number}{text}",
            currentPhase=f"{number}{text}",
            chapters=[chapter(title="", status=f"{number}{text}")],
            **cost(1.0, 3.0 * number),
        )
        count(tally, document)
        tally.reject("contract", f"{number}{text}")

    assert 300 == tally.accepted
    assert len(json.dumps(tally.to_json())) < 50_000
