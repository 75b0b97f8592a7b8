"""Mapping rules "outline" and "Chapter"."""

from typing import Any

import pytest
from bson import Int64

from converter.mapping.chapters import heading, split_tokens
from tests.jobs import Document, chapter, converted, date, job, novel_job, repairs, without

MODEL = {"chapterGeneration": {"model": "gpt-4o"}}


def target(legacy: Document, **fields: Any) -> Document:
    chapters: list[Document] = novel_job(job(chapters=[legacy], **fields))["chapters"]
    return chapters[0]


@pytest.mark.parametrize(
    ("status", "content", "expected", "inferred", "kept"),
    [
        ("pending", "text", "pending", False, None),
        ("generating", "text", "in-progress", False, "generating"),
        ("completed", None, "completed", False, None),
        ("failed", None, "failed", False, None),
        (None, "text", "completed", True, None),
        (None, None, "pending", True, None),
        (None, "", "pending", True, None),
        ("", "text", "completed", True, None),
        ("weird", "text", "completed", True, "weird"),
        ("weird", None, "pending", True, "weird"),
        ("in-progress", None, "pending", True, "in-progress"),
        (7, "text", "completed", True, None),
    ],
)
def test_chapter_status(status: object, content: str | None, expected: str, inferred: bool, kept: str | None) -> None:
    legacy = chapter(status=status, content=content)

    assert expected == target(legacy)["status"]
    assert kept == target(legacy).get("legacyStatus")
    assert int(inferred) == repairs(job(chapters=[legacy]), "chapter-status-inferred")


@pytest.mark.parametrize(
    ("fields", "expected", "counted"),
    [
        ({"wordCount": 5}, 5, False),
        ({"wordCount": 0}, 0, False),
        ({"wordCount": None, "content": " one  two\n\nthree—four "}, 3, True),
        ({"wordCount": None, "content": "星 を"}, 2, True),
        ({"wordCount": None, "content": ""}, 0, True),
        ({"wordCount": None, "content": None}, 0, True),
        ({"wordCount": None, "status": "failed"}, None, False),
        ({"wordCount": "1200"}, 1200, False),
        ({"wordCount": "many", "content": "one"}, 1, True),
    ],
)
def test_word_count(fields: Document, expected: int | None, counted: bool) -> None:
    legacy = chapter(**fields)

    assert expected == target(legacy)["wordCount"]
    assert int(counted) == repairs(job(chapters=[legacy]), "word-count-counted")


def test_a_whole_chapter() -> None:
    legacy = chapter(
        status="failed",
        attempts=3,
        lastAttemptAt=date(1),
        failureReason="The model was gone",
        qualityScore=0.5,
        mood={"a.b": date(2)},
        _id="dropped",
    )

    assert {
        "chapterNumber": 1,
        "title": "Low tide",
        "status": "failed",
        "wordCount": 3,
        "content": "one two three",
        "model": "gpt-4o",
        "costInUsd": 0.0125,
        "tokens": {"promptTokens": 1000, "completionTokens": 500, "totalTokens": 1500},
        "attempts": [],
        "attemptCount": 3,
        "lastAttemptAt": "2025-07-19T03:04:05.421Z",
        "generatedAt": "2025-07-19T03:09:05.420Z",
        "failureReason": "The model was gone",
        "qualityScore": 0.5,
        "mood": {"a．b": date(2)},
    } == target(legacy, modelUsage=MODEL)


def test_an_empty_chapter() -> None:
    result = converted(job(chapters=[{}, {}]))

    assert {
        "chapterNumber": 2,
        "title": "Chapter 2",
        "status": "pending",
        "wordCount": None,
        "content": None,
        "model": "unknown",
        "costInUsd": 0,
        "tokens": {"promptTokens": 0, "completionTokens": 0, "totalTokens": 0},
        "attempts": [],
    } == result.documents["novel_jobs"][0]["chapters"][1]
    counted = {
        "chapter-number-from-position",
        "chapter-title-fallback",
        "chapter-status-inferred",
        "chapter-model-unknown",
        "chapter-cost-defaulted",
        "chapter-tokens-defaulted",
    }
    assert dict.fromkeys(counted, 2) == {name: result.repairs.get(name) for name in counted}


@pytest.mark.parametrize(
    ("chapters", "expected"),
    [
        ([{}, {"chapterNumber": 7}, {}], [1, 7, 3]),
        (["oops", {}], [2]),
        ([{"chapterNumber": "4"}, {"chapterNumber": "four"}], [4, 2]),
        ([{"chapterNumber": Int64(4)}], [4]),
    ],
)
def test_a_chapter_without_a_number_gets_its_position_in_the_dump(chapters: list[Any], expected: list[int]) -> None:
    assert expected == [entry["chapterNumber"] for entry in novel_job(job(chapters=chapters))["chapters"]]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(3, "Chapter 3"), (Int64(3), "Chapter 3"), (3.0, "Chapter 3"), (3.5, "Chapter 3.5"), (-1, "Chapter -1")],
)
def test_the_title_that_stands_for_a_missing_one(number: float, expected: str) -> None:
    assert expected == heading(number)
    assert expected == target(chapter(title="", chapterNumber=number))["title"]


# gpt-4o: $0.005 and $0.015 per 1000 tokens; gpt-4o-mini: $0.00015 and $0.0006.
@pytest.mark.parametrize(
    ("total", "cost", "model", "expected"),
    [
        (1500, 0.0125, "gpt-4o", (1000, 500)),
        (1500, 0.0075, "gpt-4o", (1500, 0)),
        (1500, 0.0225, "gpt-4o", (0, 1500)),
        (1500, 0.00045, "gpt-4o-mini", (1000, 500)),
        (0, 0, "gpt-4o", (0, 0)),
        (123_457, (100_000 * 5 + 23_457 * 15) / 1e6, "gpt-4o", (100_000, 23_457)),
        (1500, 0.0074, "gpt-4o", None),  # 10 completion tokens below none
        (1500, 0.0226, "gpt-4o", None),  # 10 more than all
        (1500, 0.012505, "gpt-4o", None),  # half a token
        (1500, 0.0125 + 5e-12, "gpt-4o", (1000, 500)),  # 5e-7 of a token
        (1500, 0.0125 + 2e-11, "gpt-4o", None),  # 2e-6 of a token
        (1500.5, 0.0125, "gpt-4o", None),
        (1500.5, 0.0125075, "gpt-4o", None),  # 1000 and half a token more than 500
        (1500, 0, "gpt-4o", None),
        (0, 0.0125, "gpt-4o", None),
        (-1500, -0.0125, "gpt-4o", None),
        (1e308, 1e308, "gpt-4o", None),
        (1500, 1e308, "gpt-4o", None),
        (1500, 0.0125, "o1", None),
        (1500, 0.0125, None, None),
    ],
)
def test_the_split_of_tokens(total: float, cost: float, model: str | None, expected: tuple[int, int] | None) -> None:
    assert expected == split_tokens(total, cost, model)


@pytest.mark.parametrize("prompt", [0, 1, 7, 999, 12_345])
@pytest.mark.parametrize("completion", [0, 1, 13, 4096])
@pytest.mark.parametrize(("model", "rates"), [("gpt-4o", (0.005, 0.015)), ("gpt-4o-mini", (0.00015, 0.0006))])
def test_the_split_is_found_from_what_the_application_stored(
    prompt: int, completion: int, model: str, rates: tuple[float, float]
) -> None:
    cost = prompt / 1000 * rates[0] + completion / 1000 * rates[1]

    assert (prompt, completion) == split_tokens(prompt + completion, cost, model)


@pytest.mark.parametrize(
    ("fields", "expected", "unknown"),
    [
        ({}, (1000, 500, 1500), 0),
        ({"cost": None}, (0, 0, 1500), 1),
        ({"tokensUsed": None}, (0, 0, 0), 1),
        ({"tokensUsed": None, "cost": None}, (0, 0, 0), 0),
        ({"tokensUsed": 0, "cost": 0}, (0, 0, 0), 0),
        ({"cost": "0.0125", "tokensUsed": "1500"}, (1000, 500, 1500), 0),
    ],
)
def test_tokens_of_a_chapter(fields: Document, expected: tuple[int, int, int], unknown: int) -> None:
    document = job(chapters=[chapter(**fields)], modelUsage=MODEL)
    tokens = novel_job(document)["chapters"][0]["tokens"]

    assert expected == (tokens["promptTokens"], tokens["completionTokens"], tokens["totalTokens"])
    assert unknown == repairs(document, "token-split-unknown")


ENTRY = {
    "chapterNumber": 1,
    "title": "Low tide",
    "summary": "Mara comes home",
    "keyEvents": ["The letter"],
}


@pytest.mark.parametrize(
    ("entry", "expected", "counted"),
    [
        (ENTRY, ENTRY, set()),
        (
            ENTRY
            | {
                "_id": 1,
                "characterFocus": ["Mara"],
                "plotAdvancement": "p",
                "wordTarget": 2000,
                "genreElements": ["storm"],
                "humanLikeElements": {"structureType": "s", "a.b": 1},
                "mood": "grey",
            },
            ENTRY
            | {
                "characterFocus": ["Mara"],
                "plotAdvancement": "p",
                "wordTarget": 2000,
                "genreElements": ["storm"],
                "humanLikeElements": {"structureType": "s", "a．b": 1},
                "mood": "grey",
            },
            set(),
        ),
        (without(ENTRY, "chapterNumber"), ENTRY, {"outline-number-from-position"}),
        (without(ENTRY, "title"), ENTRY | {"title": "Chapter 1"}, {"outline-title-fallback"}),
        (ENTRY | {"title": ""}, ENTRY | {"title": "Chapter 1"}, {"outline-title-fallback"}),
        (ENTRY | {"summary": None}, ENTRY | {"summary": "(no summary)"}, {"outline-summary-fallback"}),
        (ENTRY | {"keyEvents": None}, ENTRY | {"keyEvents": []}, {"outline-key-events-defaulted"}),
        (ENTRY | {"keyEvents": "all"}, ENTRY | {"keyEvents": []}, {"outline-key-events-defaulted", "misplaced"}),
        (ENTRY | {"keyEvents": ["a", 1]}, ENTRY | {"keyEvents": ["a"]}, {"misplaced"}),
        (ENTRY | {"wordTarget": "2000"}, ENTRY | {"wordTarget": 2000}, {"number-from-string"}),
        (ENTRY | {"wordTarget": None}, ENTRY, set()),
    ],
)
def test_outline(entry: Document, expected: Document, counted: set[str]) -> None:
    document = job(outline=[entry])
    of_the_outline = {name for name in converted(document).repairs if name.startswith("outline")}

    assert [expected] == novel_job(document)["outline"]
    assert {name for name in counted if name.startswith("outline")} == of_the_outline
    assert counted - of_the_outline <= converted(document).repairs.keys()


def test_an_outline_entry_without_a_number_gets_its_position_in_the_dump() -> None:
    assert [2] == [entry["chapterNumber"] for entry in novel_job(job(outline=["oops", {}]))["outline"]]
