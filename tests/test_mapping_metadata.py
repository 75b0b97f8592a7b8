"""Mapping rules "novel_job_metadata"."""

from itertools import product
from typing import Any

import pytest
from bson import ObjectId

from converter.mapping.kept import safe_items, safe_key
from converter.mapping.metadata import title
from converter.repairs import Names, Repairs
from tests.jobs import CREATED_ISO, MINUTE, Document, alert, date, job, legacy, metadata, repairs

START = {"phaseStartTimes": {"premise_analysis": date(MINUTE)}}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("Mara", "Mara"),
        ("Dr. A. Okafor", "Dr． A． Okafor"),
        ("$cash", "＄cash"),
        ("$$", "＄$"),
        ("ca$h", "ca$h"),
        ("a\0b", "a\ufffdb"),
        ("a\ud800", "a\ufffd"),
        ("$.", "＄．"),
        ("Zoë 星", "Zoë 星"),
        ("", "unnamed"),
    ],
)
def test_a_key_that_MongoDB_can_query(key: str, expected: str) -> None:
    assert expected == safe_key(key)


@pytest.mark.parametrize(
    ("keys", "expected", "renamed"),
    [
        (["b", "a"], ["a", "b"], 0),
        (["a.b", "a．b"], ["a．b~2", "a．b"], 1),
        (["a\0", "a\ud800"], ["a\ufffd", "a\ufffd~2"], 2),
        (["a.b", "a．b", "a．b~2"], ["a．b~3", "a．b", "a．b~2"], 1),
        (["$a", "＄a", "a"], ["＄a~2", "a", "＄a"], 1),
        (["a\0", "a\ud800", "a\udc00", "a\ufffd"], ["a\ufffd~2", "a\ufffd~3", "a\ufffd~4", "a\ufffd"], 3),
        (["", "unnamed"], ["unnamed~2", "unnamed"], 1),
    ],
)
def test_keys_that_meet_get_a_number(keys: list[str], expected: list[str], renamed: int) -> None:
    counted = Repairs()
    items = safe_items({key: key for key in keys}, counted)

    assert expected == [safe for safe, _, _ in items]
    assert sorted(keys) == [true for _, true, _ in items] == [value for _, _, value in items]
    assert renamed == counted.counts.get("key-renamed", 0)


def test_many_keys_that_meet_all_get_a_name_of_their_own() -> None:
    names = Names(["a", "a~7"])
    found = [names.free("a") for _ in range(4000)]

    assert ["a~2", "a~6", "a~8", "a~4002"] == [found[0], found[4], found[5], found[-1]]
    keys = ["".join(key) for key in product(".．", repeat=12)]
    assert len(keys) == len({safe for safe, _, _ in safe_items(dict.fromkeys(keys), Repairs())})


def bible(**fields: Any) -> Document:
    return job(metadata={"storyBible": fields})


def test_characters() -> None:
    characters = {
        "Mara Voss": {
            "description": "A diver",
            "traits": ["brave"],
            "relationships": ["Sister of Ilya", ""],
            "lastSeen": 21,
            "firstAppearance": 1,
            "_id": ObjectId("a" * 24),
            "seen": {"in.the": date()},
        },
        "Ilya": {},
        "Dr. Okafor": {"description": None, "traits": None, "relationships": ["Treats Dr. Okafor himself"]},
    }
    document = bible(characters=characters)

    assert {
        "Mara Voss": {
            "name": "Mara Voss",
            "summary": "A diver",
            "traits": ["brave"],
            "relationships": [
                {"characterId": "Ilya", "description": "Sister of Ilya"},
                {"characterId": "unknown", "description": "(not described)"},
            ],
            "metadata": {"lastSeen": 21, "firstAppearance": 1, "seen": {"in．the": date()}},
        },
        "Ilya": {"name": "Ilya", "traits": [], "relationships": [], "metadata": {}},
        "Dr． Okafor": {
            "name": "Dr. Okafor",
            "traits": [],
            "relationships": [{"characterId": "Dr． Okafor", "description": "Treats Dr. Okafor himself"}],
            "metadata": {},
        },
    } == metadata(document)["storyBibleCharacters"]
    assert 1 == repairs(document, "relationship-fallback")
    assert 3 == repairs(document, "character-list-defaulted")
    assert 2 == repairs(document, "key-renamed")


def test_a_character_without_a_name() -> None:
    document = bible(characters={"": {"relationships": ["of no one"]}, "unnamed": {"description": "d"}})
    characters = metadata(document)["storyBibleCharacters"]

    assert {"unnamed": "unnamed", "unnamed~2": "Unnamed"} == {key: entry["name"] for key, entry in characters.items()}
    assert "unknown" == characters["unnamed~2"]["relationships"][0]["characterId"]
    assert 1 == repairs(document, "character-name-fallback")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sister of Mara", "Mara"),
        ("Sister of Mara Voss", "Mara Voss"),
        ("Mara and Mara Voss", "Mara Voss"),
        ("Ilya and Mara", "Ilya"),
        ("Anna met Ilya", "Anna"),
        ("sister of mara", "unknown"),
        ("no one", "unknown"),
    ],
)
@pytest.mark.parametrize("others", [0, 300])
def test_the_longest_name_in_a_relationship(text: str, expected: str, others: int) -> None:
    # Ilya, Mara and Anna are equally long: then the first by the alphabet.
    names: Document = {"Mara": {}, "Mara Voss": {}, "Ilya": {}, "Anna": {}, "X": {"relationships": [text]}}
    names |= {f"{number:03}": {} for number in range(others)}
    characters = metadata(bible(characters=names))["storyBibleCharacters"]

    assert [{"characterId": expected, "description": text}] == characters["X"]["relationships"]


def test_locations_are_kept_as_they_are() -> None:
    locations = {"St. Ives": {"description": "d", "firstMentioned": 1, "_id": 1, "seen.at": date()}, "Mill": {}}

    assert {
        "St． Ives": {"description": "d", "firstMentioned": 1, "seen．at": date()},
        "Mill": {},
    } == metadata(bible(locations=locations))["storyBibleLocations"]


@pytest.mark.parametrize(
    ("themes", "expected"),
    [
        (["Loss", "Duty", "Loss"], ["Loss", "Duty"]),
        (["Loss", "loss"], ["Loss", "loss"]),
        ([None, "", "Duty"], ["Duty"]),
        ([], []),
    ],
)
def test_themes_are_distinct_names_in_order(themes: list[str | None], expected: list[str]) -> None:
    entries = [{"name": name, "description": "d"} for name in themes]

    assert expected == metadata(bible(themes=entries))["storyBibleThemes"]


def test_story_bible_metadata() -> None:
    document = job(
        metadata={
            "storyBible": {
                "plotThreads": [{"title": "t", "status": "active", "introducedIn": 1, "_id": 1}],
                "timeline": [{"title": "t", "timestamp": date(), "chapter": 1}, {"title": "no time"}],
                "themes": [{"name": "Loss", "examples": ["e"], "_id": 1}],
            },
            "enhancedQualityMetrics": {"complexityScore": 0.5, "creativityScore": None, "other": 1},
            "currentStep": "drafting",
            "estimatedTimeRemaining": 0,
            "phaseStartTimes": {"v1.draft": date(1), "analysis": date(2)},
        }
    )

    assert {
        "plotThreads": [{"title": "t", "status": "active", "introducedIn": 1}],
        "timeline": [{"title": "t", "timestamp": CREATED_ISO, "chapter": 1}, {"title": "no time"}],
        "themes": [{"name": "Loss", "examples": ["e"]}],
        "enhancedQualityMetrics": {"complexityScore": 0.5, "other": 1},
        "currentStep": "drafting",
        "estimatedTimeRemaining": 0,
        "phaseStartTimes": {"v1．draft": "2025-07-19T03:04:05.421Z", "analysis": "2025-07-19T03:04:05.422Z"},
    } == metadata(document)["storyBibleMetadata"]


def test_a_job_without_metadata() -> None:
    target = metadata(job())

    assert {"plotThreads": [], "timeline": [], "themes": [], "phaseStartTimes": {}} == target["storyBibleMetadata"]
    assert ({}, {}, [], [], [], [], {}) == (
        target["storyBibleCharacters"],
        target["storyBibleLocations"],
        target["storyBibleThemes"],
        target["continuityAlerts"],
        target["aiDecisions"],
        target["enhancements"],
        target["performance"],
    )


@pytest.mark.parametrize(
    ("performance", "expected"),
    [
        (
            {"averageResponseTime": 1.5, "totalRequests": 80, "lastHealthCheck": date(), "region.name": "eu", "_id": 1},
            {"averageResponseTime": 1.5, "totalRequests": 80, "lastHealthCheck": CREATED_ISO, "region．name": "eu"},
        ),
        ({"averageResponseTime": float("nan"), "errorCount": 0}, {"errorCount": 0}),
        (None, {}),
    ],
)
def test_performance(performance: Document | None, expected: Document) -> None:
    assert expected == metadata(job(metadata={"performance": performance}))["performance"]


# --------------------------------------------------------------------------------------------------------- alerts


def alerts(*entries: object) -> list[Document]:
    target: list[Document] = metadata(job(metadata={"continuityAlerts": list(entries), **START}))["continuityAlerts"]
    return target


def test_an_alert_as_a_whole() -> None:
    entry = alert(
        details="d",
        suggestion="s",
        context={"chapter": 4, "character": "Mara", "plotThread": None},
        _id=ObjectId("a" * 24),
        seenBy={"a.b": 1},
    )

    assert [
        {
            "alertId": "alert-1",
            "title": "Mara is in two places.",
            "message": "Mara is in two places. It is noon in both.",
            "severity": "warning",
            "createdAt": "2025-07-19T03:05:05.420Z",
            "resolved": False,
            "context": {
                "chapter": 4,
                "character": "Mara",
                "plotThread": None,
                "details": "d",
                "suggestion": "s",
                "seenBy": {"a．b": 1},
                "occurrences": 1,
            },
        }
    ] == alerts(entry)


@pytest.mark.parametrize(
    ("fields", "expected", "counted"),
    [
        ({"severity": "info"}, {"severity": "info"}, None),
        ({"severity": "critical"}, {"severity": "critical"}, None),
        ({"severity": None}, {"severity": "info"}, "alert-severity-fallback"),
        ({"severity": "fatal"}, {"severity": "info"}, "alert-severity-fallback"),
        ({"severity": ""}, {"severity": "info"}, "alert-severity-fallback"),
        ({"message": None}, {"message": "(no message)", "title": "(no message)"}, "alert-message-fallback"),
        ({"message": ""}, {"message": "(no message)", "title": "(no message)"}, "alert-message-fallback"),
        ({"message": "", "details": "d. e"}, {"message": "d. e", "title": "d."}, "alert-message-fallback"),
        ({"message": " \n"}, {"message": " \n", "title": "(no message)"}, None),
        ({"resolved": True}, {"resolved": True}, None),
        ({"resolved": None}, {"resolved": False}, "alert-resolved-defaulted"),
        ({"resolved": "true"}, {"resolved": True}, "boolean-from-string"),
        ({"timestamp": None}, {"createdAt": "2025-07-19T03:05:05.420Z"}, "alert-time-inferred"),
        ({"id": None}, {}, "alert-id-made"),
        ({"id": ""}, {}, "alert-id-made"),
    ],
)
def test_what_an_alert_lacks(fields: Document, expected: Document, counted: str | None) -> None:
    target = alerts(alert(**fields))[0]
    document = job(metadata={"continuityAlerts": [alert(**fields)]})

    assert expected == {name: target[name] for name in expected}
    assert ("timestampInferred" in target["context"]) == (counted == "alert-time-inferred")
    assert counted is None or repairs(document, counted) == 1


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("One. Two.", "One."),
        ("One!? Two.", "One!?"),
        ("“One.” Two.", "“One.”"),
        ("One… Two.", "One…"),
        ("3.5 metres. Deep.", "3.5 metres."),
        ("no end", "no end"),
        ("  spaced \n out.  More", "spaced out."),
        ("一。 二。", "一。"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 79 + "…"),
        ("x" * 79 + ". Next", "x" * 79 + "."),
        ("x" * 80 + ". Next", "x" * 79 + "…"),
        ("x" * 79 + ".next", "x" * 79 + "…"),
        ("x" * 78 + " y and more", "x" * 78 + "…"),
        ("." * 100_000 + "x", "." * 79 + "…"),
        ("", "(no message)"),
        (" \n\t", "(no message)"),
    ],
)
def test_title(message: str, expected: str) -> None:
    assert expected == title(message)


def told(*entries: object) -> list[tuple[str, str, int]]:
    return [(entry["alertId"], entry["message"], entry["context"]["occurrences"]) for entry in alerts(*entries)]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([("a", 1), ("b", 2), ("c", 0)], [("b", "1", 1), ("a", "0", 1), ("c", "2", 1)]),
        ([("a", 1), ("a", 2)], [("a", "1", 2)]),
        ([("a", 2), ("a", 1)], [("a", "0", 2)]),
        ([("a", 1), ("a", 1)], [("a", "1", 2)]),
        ([("a", 1), ("a", 3), ("a", 2)], [("a", "1", 3)]),
        ([("a", 1), ("b", 1)], [("b", "1", 1), ("a", "0", 1)]),
        ([("a", 5), ("b", 3), ("a", 1), ("b", 4)], [("a", "0", 2), ("b", "3", 2)]),
    ],
)
def test_one_alert_for_each_id(entries: list[tuple[str, int]], expected: list[tuple[str, str, int]]) -> None:
    legacy_alerts = [
        alert(id=identity, timestamp=date(time), message=str(position))
        for position, (identity, time) in enumerate(entries)
    ]
    document = job(metadata={"continuityAlerts": legacy_alerts})

    assert expected == told(*legacy_alerts)
    assert len(entries) - len(expected) == repairs(document, "alert-duplicate")


def test_the_alerts_that_newer_ones_replaced_are_kept() -> None:
    entries = [alert(message=message, timestamp=date(time)) for message, time in [("a", 1), ("b", 3), ("c", 2)]]
    kept = legacy(job(metadata={"continuityAlerts": entries}))["metadata"]["supersededAlerts"]

    assert ["a", "c"] == [entry["message"] for entry in kept]
    assert [{}, {}] == [entry["context"] for entry in kept]


def test_a_made_alert_id_comes_from_the_content() -> None:
    first, second, again = (alert(id=None, message=message, _id=n) for n, message in enumerate("aba"))
    reordered = dict(reversed(first.items()))
    identities = [entry["alertId"] for entry in alerts(first, second)]

    assert 2 == len(set(identities))
    assert {True} == {identity.startswith("alert-") and len(identity) == 22 for identity in identities}
    assert [2, 1] == [entry["context"]["occurrences"] for entry in alerts(second, again, first)]
    assert alerts(first) == alerts(reordered)


@pytest.mark.parametrize(
    ("fields", "context", "misplaced"),
    [
        ({"context": {"occurrences": 7}}, {}, {"metadata．continuityAlerts．0．context．occurrences": 7}),
        (
            {"context": {"chapter": 4}, "chapter": 5},
            {"chapter": 4},
            {"metadata．continuityAlerts．0．chapter": 5},
        ),
        (
            {"context": {"a.b": 4}, "a．b": 5},
            {"a．b": 4},
            {"metadata．continuityAlerts．0．a．b": 5},
        ),
        (
            {"context": {"a.b": 4}, "a.b": 5},
            {"a．b": 4},
            {"metadata．continuityAlerts．0．a．b": 5},
        ),
        ({"timestampInferred": 1}, {}, {"metadata．continuityAlerts．0．timestampInferred": 1}),
        ({"severity": "fatal"}, {}, {"metadata．continuityAlerts．0．severity": "fatal"}),
        ({"context": "oops"}, {}, {"metadata．continuityAlerts．0．context": "oops"}),
    ],
)
def test_names_that_the_target_uses_itself(fields: Document, context: Document, misplaced: Document) -> None:
    assert {"occurrences": 1, **context} == alerts(alert(**fields))[0]["context"]
    assert misplaced == legacy(job(metadata={"continuityAlerts": [alert(**fields)]}))["misplaced"]


# ---------------------------------------------------------------------------------------- decisions, enhancements


def test_decisions() -> None:
    document = job(
        metadata={
            **START,
            "aiDecisions": [
                {
                    "id": "d1",
                    "type": "plot",
                    "summary": "s",
                    "reasoning": "r",
                    "confidence": 0.5,
                    "alternatives": [{"option": "o", "reason": "r", "_id": 1, "a.b": 2}],
                    "impact": "i",
                    "timestamp": date(),
                    "_id": 1,
                    "model": "m",
                },
                {"id": "d2", "type": ""},
            ],
        }
    )

    assert [
        {
            "decisionId": "d2",
            "type": "unknown",
            "decidedAt": "2025-07-19T03:05:05.420Z",
            "metadata": {"timestampInferred": True},
        },
        {
            "decisionId": "d1",
            "type": "plot",
            "decidedAt": CREATED_ISO,
            "summary": "s",
            "confidence": 0.5,
            "impact": "i",
            "metadata": {"reasoning": "r", "alternatives": [{"option": "o", "reason": "r", "a．b": 2}], "model": "m"},
        },
    ] == metadata(document)["aiDecisions"]
    assert [1, 1] == [repairs(document, f"decision-{name}") for name in ("type-fallback", "time-inferred")]


def test_enhancements() -> None:
    document = job(
        metadata={
            **START,
            "enhancementsApplied": [
                {
                    "id": "e1",
                    "type": "style",
                    "name": "n",
                    "description": "d",
                    "details": "more",
                    "timestamp": date(),
                    "_id": 1,
                    "by.whom": "m",
                },
                {"id": "e2"},
            ],
        }
    )

    assert [
        {"enhancementId": "e2", "createdAt": "2025-07-19T03:05:05.420Z", "data": {"timestampInferred": True}},
        {
            "enhancementId": "e1",
            "createdAt": CREATED_ISO,
            "data": {"type": "style", "name": "n", "description": "d", "details": "more", "by．whom": "m"},
        },
    ] == metadata(document)["enhancements"]
    assert 1 == repairs(document, "enhancement-time-inferred")


@pytest.mark.parametrize(
    ("field", "target", "identity", "noun"),
    [
        ("aiDecisions", "aiDecisions", "decisionId", "decision"),
        ("enhancementsApplied", "enhancements", "enhancementId", "enhancement"),
    ],
)
def test_newest_first_and_ids_made(field: str, target: str, identity: str, noun: str) -> None:
    entries = [
        {"id": "a", "timestamp": date(1)},
        {"id": "b", "timestamp": date(3)},
        {"id": "c", "timestamp": date(1)},
        {"type": "x", "timestamp": date(4)},
        {"type": "y", "timestamp": date(5), "_id": 7},
        {"type": "y", "timestamp": date(5), "_id": 8},
    ]
    document = job(metadata={field: entries})
    identities = [entry[identity] for entry in metadata(document)[target]]

    assert ["b", "c", "a"] == identities[3:]
    assert identities[0] == identities[1] != identities[2]
    assert [f"{noun}-"] * 3 == [made[: len(noun) + 1] for made in identities[:3]]
    assert 3 == repairs(document, f"{noun}-id-made")


def test_decisions_and_alerts_beyond_100_are_all_kept() -> None:
    entries = [{"id": str(number), "timestamp": date(number)} for number in range(150)]

    assert 150 == len(metadata(job(metadata={"aiDecisions": entries}))["aiDecisions"])
    assert 150 == len(alerts(*(alert(**entry) for entry in entries)))
