"""Progress: the state's arithmetic by a clock of the test's own, and what each renderer shows."""

import ast
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from converter import progress as module
from converter.progress import Mode, Progress, displayed
from tests.small_dumps import jobs, write_dump


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def advance(state: Progress, clock: Clock, seconds: float, done_bytes: int, documents: int) -> None:
    clock.now += seconds
    state.advance(done_bytes=done_bytes, documents=documents, rejects=documents // 10, repairs=3 * documents)


def test_rates_count_only_new_work(clock: Clock) -> None:
    """A run that was resumed at 6 of 10 MB: only what this process does tells how fast it is."""
    state = Progress(clock=clock, total_bytes=10_000_000)
    assert (None, None, None) == (state.documents_per_second, state.bytes_per_second, state.seconds_left)
    advance(state, clock, 30, 6_000_000, 600)  # opening, skipping, the first document
    assert (None, None, None) == (state.documents_per_second, state.bytes_per_second, state.seconds_left)
    advance(state, clock, 0.5, 6_100_000, 610)  # too early to tell
    assert (None, None, None) == (state.documents_per_second, state.bytes_per_second, state.seconds_left)
    advance(state, clock, 1.5, 7_000_000, 700)
    assert (50, 500_000, 6) == (state.documents_per_second, state.bytes_per_second, state.seconds_left)
    assert 0.7 == state.fraction


@pytest.mark.parametrize(
    ("total", "done", "fraction"), [(None, 5, None), (10, 5, 0.5), (10, 11, 1.0), (0, 0, 1.0), (10, 0, 0.0)]
)
def test_fraction(clock: Clock, total: int | None, done: int, fraction: float | None) -> None:
    state = Progress(clock=clock, total_bytes=total)
    advance(state, clock, 0, done, 0)
    assert fraction == state.fraction


def test_no_eta_where_the_total_is_unknown_or_nothing_moves(clock: Clock) -> None:
    state = Progress(clock=clock)
    advance(state, clock, 0, 0, 0)
    advance(state, clock, 10, 5_000_000, 5)
    assert (500_000, None) == (state.bytes_per_second, state.seconds_left)
    state = Progress(clock=clock, total_bytes=10)
    advance(state, clock, 0, 5, 0)
    advance(state, clock, 10, 5, 0)
    assert (0, None) == (state.bytes_per_second, state.seconds_left)


def test_shown_when_the_time_has_come(clock: Clock) -> None:
    shown = []
    state = Progress(clock=clock, show=lambda state: shown.append(state.documents))
    for document in range(1, 101):
        advance(state, clock, 0.25, 0, document)
    assert [5, 25, 45, 65, 85] == shown  # after 1 second, then every 5
    state.finish()
    assert 100 == shown[-1]


def test_plain_lines(clock: Clock) -> None:
    stream = io.StringIO()
    with displayed("plain", stream) as state:
        state.clock = clock
        state.total_bytes = 10_000_000
        advance(state, clock, 0, 1_000_000, 1000)
        advance(state, clock, 2, 2_000_000, 2000)
        state.batch = 3
        state.total_bytes = None
        advance(state, clock, 5, 8_000_000, 9000)
    first, second, last = stream.getvalue().splitlines()
    assert "20.0 %  ETA 0:00:16  2,000 jobs  500.0 jobs/s  0.5 MB/s  batch 1  rejects 200  repairs 6,000" == first
    assert "8.0 MB  9,000 jobs  1,142.9 jobs/s  1.0 MB/s  batch 3  rejects 900  repairs 27,000" == second
    assert second == last


def test_a_bundle_that_is_sent(clock: Clock) -> None:
    """A rate of its own, and nothing about jobs: they are all done."""
    stream = io.StringIO()
    with displayed("plain", stream) as state:
        state.clock = clock
        advance(state, clock, 0, 1_000_000, 1000)
        state.begin_sending(40_000_000)
        clock.now += 4
        state.sent(8_000_000)
        clock.now += 1
        state.sent(8_000_000)  # too early for another line
        clock.now += 5
        state.sent(24_000_000)
    first, second, last = stream.getvalue().splitlines()
    assert "20.0 %  ETA 0:00:16  sending  2.0 MB/s" == first
    assert "100.0 %  ETA 0:00:00  sending  4.0 MB/s" == second == last


def test_json_lines(clock: Clock) -> None:
    stream = io.StringIO()
    with displayed("json", stream) as state:
        state.clock = clock
        state.total_bytes = 10_000_000
        advance(state, clock, 0, 1_000_000, 1000)
    assert {
        "phase": "converting",
        "bytes": 1_000_000,
        "total_bytes": 10_000_000,
        "documents": 1000,
        "batch": 1,
        "rejects": 100,
        "repairs": 3000,
        "documents_per_second": None,
        "bytes_per_second": None,
        "seconds_left": None,
    } == json.loads(stream.getvalue())


def test_none_shows_nothing(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with displayed("none") as state:
        advance(state, clock, 0, 1, 1)
    assert ("", "") == capsys.readouterr()


def test_auto_is_plain_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with displayed("auto") as state:
        advance(state, clock, 0, 1_000_000, 1)
    assert ("", "1.0 MB  1 jobs  batch 1  rejects 0  repairs 3\n") == capsys.readouterr()


def test_rich_is_not_waited_for_where_there_is_no_terminal(tmp_path: Path) -> None:
    script = "import sys; from converter.cli import main; main(sys.argv[1:]); print([*sys.modules], file=sys.stderr)"
    dump = write_dump(tmp_path / "jobs.json", jobs(3))
    command = [sys.executable, "-c", script, "convert", dump, f"--out={tmp_path / 'out'}"]
    *shown, modules = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    assert 1 == len(shown)
    assert [] == [
        name for name in ast.literal_eval(modules) if name.partition(".")[0] in ("rich", "dask", "distributed")
    ]


@pytest.mark.parametrize("mode", ["auto", "live"])
def test_a_stream_that_was_closed_before_is_no_terminal(mode: Mode, clock: Clock) -> None:
    stream = Terminal()
    stream.close()
    with displayed(mode, stream) as state:
        advance(state, clock, 0, 1, 1)
    assert 1 == state.documents


@pytest.mark.parametrize("mode", ["auto", "plain", "json", "live"])
def test_no_standard_error_at_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], clock: Clock, mode: Mode
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with displayed(mode) as state:
        advance(state, clock, 0, 1, 1)
    assert ("", "") == capsys.readouterr()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("term", "live"), [("xterm", True), ("dumb", False)])
def test_auto_is_live_on_a_terminal(monkeypatch: pytest.MonkeyPatch, clock: Clock, term: str, live: bool) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    with displayed("auto", stream) as state:
        state.clock = clock
        state.total_bytes = 10_000_000
        advance(state, clock, 0, 1_000_000, 1000)
        advance(state, clock, 2, 2_000_000, 12_345)
    shown = stream.getvalue()
    assert live == ("\x1b[?25l" in shown)  # hides the cursor
    assert live == ("━" in shown)
    assert "20.0 %" in shown
    assert "ETA 0:00:16" in shown
    assert "12,345 jobs  5,672.5 jobs/s  0.5 MB/s  batch 1  rejects 1,234  repairs 37,035" in shown


@pytest.mark.parametrize("no_color", [False, True])
def test_no_color(monkeypatch: pytest.MonkeyPatch, clock: Clock, no_color: bool) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    with displayed("live", stream) as state:
        state.clock = clock
        state.total_bytes = 10
        advance(state, clock, 0, 5, 1)
    assert no_color == ("\x1b[38" not in stream.getvalue() and "\x1b[9" not in stream.getvalue())


class Gone(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.attempts = 0

    def write(self, text: str) -> int:
        self.attempts += 1
        raise self.error


@pytest.mark.parametrize("mode", ["plain", "json", "live"])
@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(errno.ENOSPC, "full"), ValueError("closed")])
def test_a_stream_that_is_gone_stops_the_display_only(mode: Mode, error: Exception, clock: Clock) -> None:
    stream = Gone(error)
    with displayed(mode, stream) as state:
        state.clock = clock
        for number in range(1, 4):
            advance(state, clock, 10, number, number)
    assert (3, 1) == (state.documents, stream.attempts)


@pytest.mark.parametrize("mode", ["plain", "live"])
def test_a_run_is_finished_when_its_terminal_has_gone(mode: str, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    dump = write_dump(tmp_path / "jobs.json", jobs(3))
    command = [sys.executable, "-m", "converter", "convert", dump, f"--out={tmp_path / 'out'}", f"--progress={mode}"]
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=writer, text=True, check=True)
    finally:
        os.close(writer)
    assert f"next: novel-backfill load {tmp_path / 'out'}" == result.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (3661, "1:01:01"), (360_000, "100:00:00")]
)
def test_duration(seconds: float, text: str) -> None:
    assert text == module._duration(seconds)
