"""What the documentation says of the program, held against the program."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from converter import settings
from converter.cli import command_help, program_help, request_of
from converter.commands import COMMANDS
from converter.documents import RawDocument
from converter.dump import Dump
from converter.layout import BUNDLE_FILES
from converter.mapping import Converted, map_job
from converter.models import target
from converter.repairs import NAMES

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "fixtures/*.md", "bench/*.md", "dumps/README.md")
    for path in ROOT.glob(pattern)
)
README = (ROOT / "README.md").read_text("utf-8")
MAPPING = (ROOT / "docs" / "mapping.md").read_text("utf-8")

# Flags of mongoexport, which the README shows too.
OTHER_FLAGS = {"--jsonArray", "--collection"}

# What every event has, so that the table does not repeat it.
OF_EVERY_EVENT = {"type", "occurredAt", "source", "timestampInferred"}


def section(text: str, heading: str) -> str:
    """What is below the one heading that begins like this, up to the next of any level."""
    parts = re.split(r"^#{1,6} ", text, flags=re.MULTILINE)
    (found,) = [part for part in parts if part.startswith(heading)]
    return found


def rows(text: str) -> list[list[str]]:
    """The cells of every table row in ``text``, headings and rulers left out."""
    cells = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [row for row, below in zip(cells, [*cells[1:], [""]], strict=True) if not (is_ruler(row) or is_ruler(below))]


def is_ruler(row: list[str]) -> bool:
    return all(re.fullmatch(r":?-+:?", cell) for cell in row)


def names(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", text)


def blocks(text: str) -> list[str]:
    """The fenced blocks of a page."""
    return re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


# ------------------------------------------------------------------------------------------------------- the README


def option_rows(name: str) -> list[list[str]]:
    """(option, environment variable) of a command, as its help has them."""
    command = COMMANDS[name]
    table = []
    for field, option in command.flags.items():
        spelled = help_line(name, field).split()[0].replace("|", "\\|")
        table.append([f"`{spelled}`", f"`{settings.variable(field, option)}`"])
    return table


def help_line(name: str, field: str) -> str:
    """The line of ``novel-backfill NAME --help`` on which an option begins."""
    flag = settings.flag(field)
    (line,) = [line for line in command_help(name, COMMANDS[name]).splitlines() if re.match(rf"  {flag}\b[= ]", line)]
    return line


def test_readme_shows_the_commands() -> None:
    headings = re.findall(r"^### `([^`]+)`$", README, flags=re.MULTILINE)

    assert [f"{name} {command.arguments}".strip() for name, command in COMMANDS.items()] == headings


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.flags])
def test_readme_shows_the_options(name: str) -> None:
    table = [[row[0], row[-1]] for row in rows(section(README, f"`{name}"))]

    assert option_rows(name) == table


def test_readme_names_no_flag_that_is_not_there() -> None:
    known = OTHER_FLAGS | {"--help", "--version", "--no-"}
    for command in COMMANDS.values():
        known |= {settings.flag(field) for field in command.flags}
        known |= {
            f"--no-{settings.flag(field)[2:]}" for field, option in command.flags.items() if settings.is_switch(option)
        }

    assert set() == set(re.findall(r"(?<![\w-])--[A-Za-z][\w-]*", README)) - known


def test_readme_shows_the_exit_codes() -> None:
    printed = re.search(r"^Exit codes: (.*)\.$", program_help(), flags=re.MULTILINE)
    assert printed is not None
    codes = [meaning.split()[0] for meaning in printed[1].split(", ")]

    assert codes == [names(row[0])[0] for row in rows(section(README, "Exit codes"))]


def test_readme_begins_with_the_commands_of_ci() -> None:
    passed = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()

    assert [block.strip() for block in blocks(README)[:2]] == [
        line for line in passed if line.startswith("python3 -m venv .venv")
    ]


def test_readme_lists_the_files_of_a_bundle() -> None:
    listed = [name for row in rows(section(README, "The bundle")) for name in names(row[0])]

    assert sorted(BUNDLE_FILES) == sorted(listed)


def sessions() -> Iterator[tuple[str, str, str]]:
    """(page, the words behind ``novel-backfill``, what it shows of standard output) of conversions of a fixture."""
    for page in ("README.md", "docs/runbook.md"):
        for block in blocks((ROOT / page).read_text("utf-8")):
            for session in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                line, shown = session.split("\n", 1)
                if re.fullmatch(r"novel-backfill convert (fixtures/\S+|dumps/jobs.json)( --dry-run)?", line):
                    lines = [said for said in shown.splitlines() if not said.startswith("100.0 % ")]
                    if " ━" not in shown:  # else it was interrupted
                        yield page, line.partition(" ")[2], "\n".join(lines)


@pytest.mark.parametrize(("page", "words", "shown"), list(sessions()))
def test_what_a_page_shows_of_a_run(page: str, words: str, shown: str, tmp_path: Path) -> None:
    """A line of dots stands for any lines."""
    (tmp_path / "dumps").mkdir()
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    (tmp_path / "dumps" / "jobs.json").symlink_to(ROOT / "fixtures" / "medium.json")
    command = [sys.executable, "-m", "converter", *shlex.split(words)]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    wanted = r"\n(?:.*\n)*".join(map(re.escape, re.split(r"\n  \.\.\.\n", shown.strip())))
    assert re.fullmatch(wanted, said.strip()), said


def test_pages_show_runs() -> None:
    assert ["README.md", "README.md", "docs/runbook.md", "docs/runbook.md"] == [page for page, _, _ in sessions()]


# --------------------------------------------------------------------------------------------------------- every page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        there = page.parent / path if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            dead.append(link)

    assert [] == dead


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_path_of_somebodys_machine(page: Path) -> None:
    assert [] == re.findall(r"(?<![\w.:/~])/(?:home|root|tmp|work|Users)/\S*", page.read_text("utf-8"))


def command_lines() -> Iterator[tuple[str, str]]:
    """(page, what follows ``novel-backfill``) of every line in a fenced block that runs the program."""
    for page in PAGES:
        text = "\n".join(blocks(page.read_text("utf-8"))).replace("\\\n", " ")
        for line in re.findall(r"^(?:\$ )?(?:\S*/)?novel-backfill (?!--version|--help)(.*)$", text, re.MULTILINE):
            yield str(page.relative_to(ROOT)), line


@pytest.mark.parametrize(("page", "line"), sorted(set(command_lines())))
def test_command_lines_are_understood(page: str, line: str) -> None:
    name, *words = shlex.split(re.split(r" [|<>&;]", line)[0], comments=True)

    request_of(name, words)  # raises UsageError


# ---------------------------------------------------------------------------------------------------- the mapping


def test_repairs() -> None:
    assert NAMES == {names(row[0])[0]: row[1] for row in rows(section(MAPPING, "Repairs"))}


@pytest.mark.parametrize(
    ("heading", "contract"), [("`novel_jobs`", target.NovelJob), ("`novel_job_metadata`", target.NovelJobMetadata)]
)
def test_fields_in_a_table(heading: str, contract: Any) -> None:
    assert list(contract.__annotations__) == [names(row[0])[0] for row in rows(section(MAPPING, heading))]


@pytest.mark.parametrize(
    ("heading", "contracts"),
    [
        ("`novel_job_events`", [target.NarratedEvent, target.StatusEvent]),
        ("`novel_job_metrics`", [target.NovelJobMetrics]),
    ],
)
def test_fields_in_a_sentence(heading: str, contracts: list[Any]) -> None:
    sentence = re.search(r"^Fields: [^.]*\.", section(MAPPING, heading), flags=re.MULTILINE)
    assert sentence is not None

    assert {field for contract in contracts for field in contract.__annotations__} == set(names(sentence[0]))


def test_fields_of_a_chapter() -> None:
    listed = {names(row[0])[0] for row in rows(section(MAPPING, "Chapters")) if names(row[0])}

    assert set(target.Chapter.__required_keys__) == listed - {"attemptCount"}


def events() -> Iterator[dict[str, Any]]:
    """All events of the shipped fixtures."""
    for fixture in ("small.json", "oddities.json"):
        with Dump.open(str(ROOT / "fixtures" / fixture)) as dump:
            for raw in dump.documents():
                converted = map_job(raw.value) if isinstance(raw, RawDocument) else None
                if isinstance(converted, Converted):
                    yield from converted.documents["novel_job_events"]


def test_events() -> None:
    listed: dict[tuple[str, str], set[str]] = {}
    for kind, name, _, carries in rows(section(MAPPING, "`novel_job_events`")):
        fields = set(names(re.sub(r"\([^)]*\)", "", carries)))
        listed.setdefault((kind.strip("`"), name.strip("`")), set()).update(fields)

    emitted: dict[tuple[str, str], set[str]] = {}
    for event in events():
        content = event["snapshot"] if event["kind"] == "job-status" else event["event"]
        name = event["status"] if event["kind"] == "job-status" else content["type"]
        emitted.setdefault((event["kind"], name), set()).update(content.keys() - OF_EVERY_EVENT)

    assert emitted == listed
