"""report.html: a sound and accessible page that does nothing but show, also when the dump is hostile."""

import itertools
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from converter.report import report_json
from converter.report.figures import COST_BOUNDS, TOKEN_BOUNDS
from converter.report.html import (
    STAGE_WORDS,
    bound,
    bucket_name,
    dollars,
    duration,
    number,
    percent,
    plural,
    report_html,
    signed,
    size,
    tick,
)
from converter.report.plots import columns, lengths
from converter.report.tally import Tally
from tests.jobs import alert, chapter, job
from tests.test_report import FACTS, some
from tests.test_tally import tallied

ATTACK = "<img src=x onerror=alert(1)>"
HOSTILE = [
    '"><script>alert(1)</script>',
    "</title></style></svg><svg onload=alert(1)>",
    "{{ 7 * 7 }}&#x3c;",
    "javascript:alert(1)",
]


def hostile() -> dict[str, Any]:
    """A report whose every text that a dump or a user can choose is an attack."""
    alerts = [alert(id=str(number)) for number in range(101)]
    tally = tallied(
        job(
            jobId=ATTACK,
            title=ATTACK,
            chapters=[chapter(title="", status=ATTACK)],
            metadata={"continuityAlerts": alerts},
        ),
        job(jobId="b", status=ATTACK, currentPhase=ATTACK),
        *(job(jobId=text, status=text) for text in HOSTILE),
        {"_id": ATTACK},
    )
    tally.parity["words"].add(ATTACK, 3, 2)
    tally.cost.add(ATTACK, 1.0, 2.0, 1.0, COST_BOUNDS)
    tally.tokens.add(ATTACK, 1, 2, 1, TOKEN_BOUNDS)
    facts = replace(FACTS, version=ATTACK, inputs=(ATTACK, *HOSTILE), options={"queue": HOSTILE[0], ATTACK: ATTACK})
    return report_json(tally, facts)


class Page(HTMLParser):
    """The elements of a page; fails on tags that don't match."""

    VOID = frozenset({"meta", "link"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert [] == self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def pages() -> dict[str, str]:
    reports = {
        "some": report_json(some(), FACTS),
        "empty": report_json(Tally(), replace(FACTS, seconds=0.0, documents=0)),
        "hostile": hostile(),
    }
    return {name: report_html(report) for name, report in reports.items()}


PAGES = pages()


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> Page:
    return Page(PAGES[request.param])


def test_the_page_is_self_contained_and_still(page: Page) -> None:
    tags = {tag for tag, _ in page.elements}
    assert set() == tags & {
        "script",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "use",
        "image",
        "foreignObject",
    }
    attributes = [(name, value) for _, held in page.elements for name, value in held.items()]
    assert [] == [name for name, _ in attributes if name.startswith("on") or name in ("src", "srcset", "xlink:href")]
    targets = {value for name, value in attributes if name == "href"}
    assert {"data:,"} == {target for target in targets if not str(target).startswith("#")}
    assert targets - {"data:,"} <= {f"#{held['id']}" for _, held in page.elements if "id" in held}


@pytest.mark.parametrize("name", PAGES)
def test_styles_request_nothing(name: str) -> None:
    (style,) = re.findall(r"<style>(.*?)</style>", PAGES[name], re.DOTALL)
    assert [] == re.findall(r"url\(|@import|@font-face|expression", style)


def test_the_page_is_accessible(page: Page) -> None:
    assert [{"lang": "en"}] == page.all("html")
    assert [1, 1, 1, 1, 1] == [len(page.all(tag)) for tag in ("title", "header", "nav", "main", "footer")]
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert [1] == [level for level in levels if level == 1]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert len(page.all("table")) == len(page.all("caption")) == len(page.all("thead"))
    assert {"row", "col"} == {held.get("scope") for held in page.all("th")}
    identities = Counter(held["id"] for _, held in page.elements if "id" in held)
    assert {1} == set(identities.values())
    for _, held in page.elements:
        assert held.get("aria-labelledby") in {None, *identities}
    for svg in page.all("svg"):
        assert svg.get("aria-hidden") == "true" or (svg.get("role") == "img" and svg.get("aria-label"))


def test_hostile_text_is_shown_as_text() -> None:
    text = "".join(Page(PAGES["hostile"]).texts)
    for attack in (ATTACK, *HOSTILE):
        assert attack in text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("some", "1 document of 4 was rejected; all others are complete."),
        ("empty", "The dump holds no document."),
        ("hostile", "Not everything arrived: see the parity table."),
    ],
)
def test_the_headline_says_how_it_went(name: str, expected: str) -> None:
    assert expected in Page(PAGES[name]).texts


def test_the_headline_of_a_sound_conversion() -> None:
    assert "All 1 job converted, nothing lost." in report_html(report_json(tallied(job()), FACTS))


@pytest.mark.parametrize(
    "expected",
    [
        "$0.10 to $1.00 more",
        "no difference",
        "+$0.50",
        "33.3 %",
        "a chapter without title got one",
        "2.0 s",
        "1.5 MB/s",
    ],
)
def test_numbers_are_made_for_people(expected: str) -> None:
    tally = some()
    tally.accepted -= 1
    assert expected in "".join(Page(report_html(report_json(tally, FACTS))).texts)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (number(None), "–"),
        (number(1234567), "1,234,567"),
        (number(-2.0), "−2"),
        (number(1234.5678), "1,234.57"),
        (number(0.000123), "0.000123"),
        (number(0.5), "0.50"),
        (number(1e300), "1e+300"),
        (number(-1.5e-7), "−1.5e−07"),
        (dollars(0), "$0.00"),
        (dollars(12), "$12.00"),
        (dollars(-0.0375), "−$0.0375"),
        (dollars(1e300), "$1e+300"),
        (signed("$0.00"), "$0.00"),
        (signed("−3"), "−3"),
        (signed("3"), "+3"),
        (size(None), "–"),
        (size(1023), "1,023 bytes"),
        (size(1536), "1.5 KiB"),
        (size(16 * 1024**2), "16.0 MiB"),
        (size(5000 * 1024**4), "5,000.0 TiB"),
        (percent(0.00001), "< 0.1 %"),
        (percent(0.99999), "> 99.9 %"),
        (percent(0), "0 %"),
        (percent(1), "100 %"),
        (duration(59.94), "59.9 s"),
        (duration(90), "1 min 30 s"),
        (duration(7260), "2 h 1 min"),
        (plural(1, "job"), "1 job"),
        (plural(2000, "job"), "2,000 jobs"),
        (bucket_name({"above": None, "up_to": -10.0}, "$"), "over $10.00 less"),
        (bucket_name({"above": -0.0001, "up_to": -1e-9}, "$"), "up to $0.0001 less"),
        (bucket_name({"above": -1.0, "up_to": -0.1}, "$"), "$0.10 to $1.00 less"),
        (bucket_name({"above": 1e-9, "up_to": 10.0}, ""), "up to 10 more"),
        (bucket_name({"above": 1e6, "up_to": None}, ""), "over 1,000,000 more"),
        (tick({"above": None, "up_to": -1e6}), "≤ −1M"),
        (tick({"above": -1e4, "up_to": -1e3}), "−10k"),
        (tick({"above": -1e-9, "up_to": 1e-9}), "0"),
        (tick({"above": 0.001, "up_to": 0.01}), "0.01"),
        (tick({"above": 10.0, "up_to": None}), "> 10"),
    ],
)
def test_formats(shown: str, expected: str) -> None:
    assert expected == shown


def test_same_report_same_page() -> None:
    report = report_json(some(), FACTS)
    assert report_html(report) == report_html(json.loads(json.dumps(report)))


def test_bars_fill_their_space() -> None:
    assert [0.0, 50.0, 100.0, 1.5] == lengths([0, 50, 100, 0.001])
    assert [] == lengths([])
    first, second = columns([1, 4])
    assert (5.0, 40.0, 75.0, 25.0, 25.0) == (first.x, first.width, first.y, first.height, first.middle)
    assert (55.0, 0.0, 100.0) == (second.x, second.y, second.height)


# ------------------------------------------------------------------------------------------------------------ browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on PATH")

CONTROL = """<!doctype html><title>Control</title>
<img src="http://127.0.0.1:9/x" onerror="console.log('it ran'); document.title = 'Changed'">"""


class Visit:
    """What Chromium made of a page: its final DOM, what its console said, and what the page asked for."""

    def __init__(self, html: str, folder: Path) -> None:
        path, log = folder / "report.html", folder / "net.json"
        path.write_text(html, encoding="utf-8")
        command = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # Chromium's own requests stay on this machine
            f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--enable-logging=stderr", "--v=0",
            "--virtual-time-budget=2000", "--dump-dom", path.as_uri(),
        ]  # fmt: skip
        environment = {**os.environ, "HOME": str(folder)}
        done = subprocess.run(command, capture_output=True, timeout=120, check=True, env=environment)
        self.dom = done.stdout.decode()
        self.console = re.findall(r"CONSOLE.*", done.stderr.decode(errors="replace"))
        # A request of the page has its origin, "null" for a file; those of the browser itself have none.
        parameters = [event.get("params", {}) for event in json.loads(log.read_bytes())["events"]]
        self.requests = [
            held["url"]
            for held in parameters
            if "url" in held and held.get("initiator", "not an origin") != "not an origin"
        ]


@needs_chromium
def test_the_browser_notices_a_page_that_acts(tmp_path: Path) -> None:
    """Without this, the next test might pass because nothing is noticed at all."""
    visit = Visit(CONTROL, tmp_path)

    assert ["http://127.0.0.1:9/x"] == visit.requests
    assert 1 == len(visit.console)
    assert "<title>Changed</title>" in visit.dom


@needs_chromium
@pytest.mark.parametrize("name", PAGES)
def test_the_browser_shows_the_page_and_nothing_happens(name: str, tmp_path: Path) -> None:
    visit = Visit(PAGES[name], tmp_path)

    assert [] == visit.console
    assert [] == visit.requests
    # The browser read the page as it was written: no text became an element.
    assert Counter(tag for tag, _ in Page(PAGES[name]).elements) == Counter(tag for tag, _ in Page(visit.dom).elements)


# --------------------------------------------------------------------------------------------------- what bounds a run


def test_every_stage_has_words() -> None:
    assert list(report_json(some(), FACTS)["run"]["stages"]) == list(STAGE_WORDS)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "What took longest, 37.5 % of the time: finding the documents in the dump, and parsing them."),
        (
            {"workers": 2},
            "2 processes converted, and were at it 40.6 % of the time. Beside them one process wrote, and was at it "
            "12.5 % of the time. So converting bounds this run: ",
        ),
        ({"workers": 2, "stages": {"map": 0.5, "write": 1.0, "checkpoint": 0.5}}, "So writing bounds this run: "),
        ({"seconds": 0.0, "stages": {}}, "It was over at once."),
    ],
)
def test_what_bounds_a_run(changes: dict[str, Any], expected: str) -> None:
    facts = replace(FACTS, **changes)
    found = report_json(some(), facts)
    assert expected in bound(found["run"])
    assert expected in report_html(found)
