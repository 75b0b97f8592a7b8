"""The last look at a converted job: contract, levels, size; and what becomes of the embedded events."""

from functools import reduce
from itertools import chain
from operator import getitem
from typing import Any

import bson
import orjson
import pytest

from converter import contracts, extjson
from converter.mapping import Rejected
from tests.jobs import Document, alert, chapter, converted, date, job

MEBIBYTE = 1024 * 1024


def checked(document: Document, mode: extjson.Mode = "relaxed") -> contracts.Lines:
    lines = contracts.check(converted(document), mode)
    assert isinstance(lines, dict), lines
    return lines


def test_lines_in_the_order_of_writing() -> None:
    lines = checked(job(chapters=[chapter()]))

    assert [("novel_jobs", 1), ("novel_job_events", 5), ("novel_job_metrics", 1), ("novel_job_metadata", 1)] == [
        (collection, len(of_collection)) for collection, of_collection in lines.items()
    ]
    assert {1} == {line.count(b"\n") for line in chain(*lines.values())}
    assert {b"\n"} == {line[-1:] for line in chain(*lines.values())}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("relaxed", b'"createdAt":{"$date":"2025-07-19T03:04:05.420Z"}'),
        ("canonical", b'"createdAt":{"$date":{"$numberLong":"1752894245420"}}'),
    ],
)
def test_lines_in_the_form_that_was_asked_for(mode: extjson.Mode, expected: bytes) -> None:
    lines = checked(job(status="planning"), mode)

    assert [True] * 4 == [expected in line for line in chain(*lines.values())]


def test_a_document_that_breaks_its_contract() -> None:
    result = converted(job(jobId="job-1"))
    target = result.documents["novel_jobs"][0]
    target["outline"] = [{}] * 9
    target["status"] = "a secret"

    rejected = contracts.check(result, "relaxed")

    assert isinstance(rejected, Rejected)
    assert ("contract", "job-1") == (rejected.reason, rejected.job_id)
    assert "novel_jobs: status: " == rejected.detail[:20]
    assert "secret" not in rejected.detail
    # The first five problems are enough: the status, and the four fields of one entry of the outline.
    assert (4, 0) == (rejected.detail.count("outline.0."), rejected.detail.count("outline.1."))


@pytest.mark.parametrize("mode", ["relaxed", "canonical"])
@pytest.mark.parametrize("way", [("analysis",), ("chapters", 0)])
def test_a_key_that_is_no_text_is_never_written(way: tuple[Any, ...], mode: extjson.Mode) -> None:
    result = converted(job(analysis={"a": 1}, chapters=[chapter()]))
    reduce(getitem, way, result.documents["novel_jobs"][0])[7] = "seven"

    with pytest.raises((TypeError, AttributeError)):
        contracts.check(result, mode)


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def nested_in(key: str, levels: int) -> Any:
    value: Any = {}
    for _ in range(levels - 1):
        value = {key: value}
    return value


# Around the value: the document, context, metadata, legacy; or the document and analysis.
@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (job(other=nested(96)), 100),
        (job(other=nested(97)), None),
        (job(title=nested(95)), 100),
        (job(title=nested(96)), None),
        (job(analysis={"a": nested(97)}), 100),
        (job(analysis={"a": nested(98)}), None),
        (job(metadata={"continuityAlerts": [alert(other=nested(96))]}), 100),
        (job(metadata={"continuityAlerts": [alert(other=nested(97))]}), None),
        (job(other=nested(50)), 54),
        (job(other=nested_in("a.b", 96)), 100),
        (job(other=nested_in("a.b", 97)), None),
    ],
)
def test_levels(document: Document, expected: int | None) -> None:
    result = converted(document)
    rejected = contracts.check(result, "relaxed")
    deepest = max(contracts.levels(entry) for entries in result.documents.values() for entry in entries)

    if expected is None:
        assert 101 == deepest
        assert isinstance(rejected, Rejected)
        assert "nested-too-deep" == rejected.reason
        assert "the document would have more than 100 levels" == rejected.detail.partition(": ")[2]
    else:
        assert expected == deepest
        assert isinstance(rejected, dict)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(7, 0), ([], 1), ({}, 1), ([[], [[]]], 3), ({"a": [{"b": 1}], "c": 1}, 3)],
)
def test_how_deep_a_value_is_nested(value: object, expected: int) -> None:
    assert expected == contracts.levels(value)


def test_a_large_job_that_fits_keeps_its_events() -> None:
    result = converted(job(chapters=[chapter(content="x" * 3 * MEBIBYTE)]))
    lines = contracts.check(result, "relaxed")

    assert isinstance(lines, dict)
    assert 2 == len(orjson.loads(lines["novel_jobs"][0])["events"])
    assert "embedded-events-dropped" not in result.repairs


def room(document: Document) -> int:
    """The bytes that the novel job of a document has left to MongoDB's limit."""
    return contracts.MAX_BYTES - contracts.bson_bytes(checked(document)["novel_jobs"][0])


def test_the_embedded_events_go_first() -> None:
    def with_content(length: int) -> Document:
        decisions = [{"id": "d", "type": "t", "timestamp": date(), "summary": "s"}]
        return job(chapters=[chapter(content="x" * length)], metadata={"aiDecisions": decisions})

    length = room(with_content(0))
    fits = converted(with_content(length))
    lines = contracts.check(fits, "relaxed")
    assert isinstance(lines, dict)
    assert contracts.MAX_BYTES == contracts.bson_bytes(lines["novel_jobs"][0])
    assert "embedded-events-dropped" not in fits.repairs

    one_more = converted(with_content(length + 1))
    lines = contracts.check(one_more, "relaxed")
    assert isinstance(lines, dict)
    target = orjson.loads(lines["novel_jobs"][0])
    assert ([], []) == (target["events"], target["domainEvents"])
    assert 1 == one_more.repairs["embedded-events-dropped"]
    assert 4 + 2 == len(lines["novel_job_events"])


@pytest.mark.parametrize(
    ("document", "collection"),
    [
        (job(jobId="job-1", chapters=[chapter(content="x" * 17 * MEBIBYTE)]), "novel_jobs"),
        (
            job(jobId="job-1", metadata={"storyBible": {"locations": {"a": {"description": "x" * 17 * MEBIBYTE}}}}),
            "novel_job_metadata",
        ),
    ],
    ids=["novel_jobs", "novel_job_metadata"],
)
def test_a_document_beyond_16_MiB(document: Document, collection: str) -> None:
    rejected = contracts.check(converted(document), "relaxed")

    assert isinstance(rejected, Rejected)
    assert ("document-too-large", "job-1") == (rejected.reason, rejected.job_id)
    assert f"{collection}: 17,8" == rejected.detail[: len(collection) + 6]
    assert "bytes of BSON are more than MongoDB's limit of 16,777,216" in rejected.detail


def test_the_size_is_that_of_BSON_and_not_of_the_line() -> None:
    # A number of 2 bytes of JSON is up to 17 bytes of BSON.
    line = extjson.dumps({"a": list(range(10)) * 1000})

    assert len(bson.encode({"a": list(range(10)) * 1000})) == contracts.bson_bytes(line)


@pytest.mark.parametrize("element", [0, [], {}, "", True, None, 0.5, bson.Int64(2**40)], ids=str)
def test_a_short_line_is_never_a_large_document(element: object) -> None:
    document = {"a": [element] * 100_000}
    line = extjson.dumps(document)

    assert len(bson.encode(document)) < 8 * len(line)
