"""``convert`` beside the null transform, the disk's limit and what one would take instead; or over all dialects.

Usage: python bench/compare.py DUMP [--runs=N] [--dialects]; prints Markdown. DUMP is compact and relaxed, as
``mongoexport --jsonArray`` writes it. The commands run in turn, so that a machine whose speed drifts treats all alike;
ratios are of wall-clock time, taken within a turn. What each row means: bench/README.md.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PYTHON = sys.executable

NULL = [PYTHON, f"{HERE}/null_transform.py", "{dump}", "{out}/null.ndjson"]
TWICE = ["sh", "-c", '"$0" "$1" "$2" "$3" & "$0" "$1" "$2" "$3.too"; wait', *NULL]
CONVERT = [PYTHON, "-m", "converter", "convert", "{dump}", "--out={out}/bundle", "--progress=none"]
OURS = {
    "null transform": NULL,
    "two null transforms at once": TWICE,
    "`convert --workers=1`": [*CONVERT, "--workers=1"],
    "`convert --workers=2`": [*CONVERT, "--workers=2"],
    "`convert --workers=2 --parts`": [*CONVERT, "--workers=2", "--parts"],
    # As durable as a bundle, and no sharing of blocks where the file system can do that.
    "`cp` and `sync`": ["sh", "-c", 'cp --reflink=never "$0" "$1" && sync "$1"', "{dump}", "{out}/copy"],
}

# What one would take instead: how its version is asked for, which fails where it isn't installed; and the command that
# writes the simplified mapping to {out}/jobs.ndjson.
PEERS = {
    "Python, `json.load`": (
        [PYTHON, "--version"],
        [PYTHON, f"{HERE}/peers/json_load.py", "{dump}", "{out}/jobs.ndjson"],
    ),
    "Node, stream-json": (
        ["node", f"{HERE}/peers/stream_json.mjs", "--version"],
        ["node", f"{HERE}/peers/stream_json.mjs", "{dump}", "{out}/jobs.ndjson"],
    ),
    "jq": (
        ["jq", "--version"],
        ["sh", "-c", 'jq -c -f "$0" "$1" >"$2"', f"{HERE}/peers/mapping.jq", "{dump}", "{out}/jobs.ndjson"],
    ),
    "DuckDB": (
        [PYTHON, f"{HERE}/peers/with_duckdb.py", "--version"],
        [PYTHON, f"{HERE}/peers/with_duckdb.py", "{dump}", "{out}/jobs.ndjson"],
    ),
}
TO_INSTALL = {"Node, stream-json": "npm install --prefix bench/peers", "DuckDB": "pip install duckdb"}

# Dialect: its file, made by dialects.py (None is the dump itself), and the dialect whose null transform it is held
# against: its own where ijson can read it, else that of the same documents in compact JSON.
DIALECTS = {
    "compact": (None, "compact"),
    "canonical": ("canonical.json", "canonical"),
    "pretty": ("pretty.json", "pretty"),
    "NDJSON": ("lines.ndjson", "NDJSON"),
    "BSON": ("dump.bson", "compact"),
    "compact, gzip": ("compact.json.gz", "compact"),
    "compact, ASCII": ("ascii.json", "compact, ASCII"),
}

HEADINGS = (
    "seconds, least",
    "median",
    "CPU seconds",
    "MB/s",
    "of the null transform, median",
    "least",
    "most",
    "peak memory of one process, MB",
)


@dataclass(frozen=True)
class Taken:
    """What a command took: seconds of the clock, CPU seconds of all its processes, and the memory that the largest of
    them held, None where it is too little to tell."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int | None


class Failed(Exception):
    """A command ended with an error."""


@dataclass(frozen=True)
class Row:
    """A command to be measured on ``dump``, whose JSON or BSON has ``size`` bytes; ``against`` names another row."""

    name: str
    command: list[str]
    dump: str
    size: int
    against: str


def compared(dump: str) -> tuple[list[Row], dict[str, str]]:
    """The rows of the main comparison, and of each peer that can't take part the reason. Prints versions."""
    commands, skipped = dict(OURS), {}
    for name, (version, command) in PEERS.items():
        try:
            answer = subprocess.run(version, check=True, capture_output=True, text=True)
        except (FileNotFoundError, subprocess.CalledProcessError):
            hint = f" ({TO_INSTALL[name]})" if name in TO_INSTALL else ""
            skipped[name] = f"skipped, not installed{hint}"
        else:
            print(f"- {answer.stdout.strip()}")
            commands[name] = command
    size = os.path.getsize(dump)
    return [Row(name, command, dump, size, "null transform") for name, command in commands.items()], skipped


def of_dialects(dump: str, folder: str) -> list[Row]:
    """The rows of the comparison of dialects, whose dumps are written to ``folder``."""
    subprocess.run([PYTHON, f"{HERE}/dialects.py", dump, folder], check=True)
    rows = []
    for dialect, (file, against) in DIALECTS.items():
        path = f"{folder}/{file}" if file else dump
        size = os.path.getsize(dump if path.endswith(".gz") else path)
        for name in ("null transform", "`convert --workers=1`", "`convert --workers=2`"):
            if name != "null transform" or against == dialect:
                rows.append(Row(f"{dialect}: {name}", OURS[name], path, size, f"{against}: null transform"))
    return rows


def take_turns(rows: list[Row], runs: int, folder: str) -> tuple[dict[str, list[Taken]], dict[str, str]]:
    """What each row took in each turn; and of a peer that failed, the reason. Ends the program when ours fail, or when
    peers come to different sums."""
    out = Path(folder, "out")
    taken: dict[str, list[Taken]] = {row.name: [] for row in rows}
    failed: dict[str, str] = {}
    sums: dict[str, str] = {}
    for row in rows:
        with open(row.dump, "rb") as dump:
            while dump.read(1 << 20):  # else the first to come would read it from the disk
                pass
    for _ in range(runs):
        for row in rows:
            if row.name in failed:
                continue
            out.mkdir()
            try:
                took = measure([word.format(dump=row.dump, out=out) for word in row.command])
            except Failed as error:
                if row.name not in PEERS:
                    raise SystemExit(f"{row.name} failed: {error}") from None
                failed[row.name] = f"failed: {error}"
            else:
                taken[row.name].append(took)
                if row.name in PEERS and row.name not in sums:
                    sums[row.name] = _sums(out / "jobs.ndjson")
            shutil.rmtree(out)
        if len(set(sums.values())) > 1:
            raise SystemExit("the peers disagree:\n" + "\n".join(f"{name}: {found}" for name, found in sums.items()))
    for found in set(sums.values()):
        print(f"- each of the peers: {found}")
    return {name: turns for name, turns in taken.items() if name not in failed}, failed


def measure(command: list[str]) -> Taken:
    """Runs it. Raises ``Failed``."""
    measured = subprocess.run([PYTHON, "-IS", f"{HERE}/measure.py", *command], capture_output=True, text=True)
    if measured.returncode:
        raise Failed((measured.stderr.strip().splitlines() or [f"exit code {measured.returncode}"])[-1])
    seconds, cpu_seconds, peak, least = map(float, measured.stdout.split())
    return Taken(seconds, cpu_seconds, int(peak) if peak > least else None)


def _sums(path: Path) -> str:
    found = subprocess.run([PYTHON, f"{HERE}/peers/sums.py", str(path)], capture_output=True, text=True)
    return (found.stdout or found.stderr).strip()


def table(rows: list[Row], taken: dict[str, list[Taken]], absent: dict[str, str]) -> Iterable[str]:
    """The lines of the Markdown table."""
    yield f"| | {' | '.join(HEADINGS)} |"
    yield "|---|" + "---:|" * len(HEADINGS)
    for row in rows:
        if row.name not in absent:
            yield f"| {row.name} | {' | '.join(_cells(row, taken[row.name], taken[row.against]))} |"
    for name, reason in absent.items():
        yield f"| {name} | {reason} |{' |' * (len(HEADINGS) - 1)}"


def _cells(row: Row, mine: list[Taken], null: list[Taken]) -> list[str]:
    seconds = [taken.seconds for taken in mine]
    ratios = [before.seconds / after.seconds for before, after in zip(null, mine, strict=True)]
    peak = max(taken.peak_bytes or 0 for taken in mine)
    return [
        f"{min(seconds):.2f}",
        f"{statistics.median(seconds):.2f}",
        f"{statistics.median(taken.cpu_seconds for taken in mine):.2f}",
        f"{row.size / statistics.median(seconds) / 1e6:.0f}",
        f"{statistics.median(ratios):.2f}",
        f"{min(ratios):.2f}",
        f"{max(ratios):.2f}",
        f"{peak / 1e6:.0f}" if peak else "-",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dump")
    parser.add_argument("--runs", type=int, default=5, help="of each command (default: 5)")
    parser.add_argument("--dialects", action="store_true", help="the null transform and convert over all dialects")
    request = parser.parse_args()
    print(subprocess.run([PYTHON, f"{HERE}/machine.py"], check=True, capture_output=True, text=True).stdout, end="")
    print(f"- {os.path.basename(request.dump)}: {os.path.getsize(request.dump) / 1e6:,.1f} MB; runs: {request.runs}")
    with tempfile.TemporaryDirectory() as folder:
        rows, absent = (of_dialects(request.dump, folder), {}) if request.dialects else compared(request.dump)
        taken, failed = take_turns(rows, request.runs, folder)
    print("", *table(rows, taken, absent | failed), sep="\n")


if __name__ == "__main__":
    main()
