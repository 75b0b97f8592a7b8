"""The null transform beside ``convert``, in turn, so that a machine whose speed drifts treats all alike.

Usage: python bench/compare.py DUMP [RUNS]; prints a Markdown table. Ratios are of wall-clock time, taken within a turn.
"""

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
COMMANDS = {
    "null transform": [sys.executable, str(HERE / "null_transform.py"), "{dump}", "{out}/null.ndjson"],
    "`convert --workers=1`": [sys.executable, "-m", "converter", "convert", "{dump}", "--workers=1"],
    "`convert --workers=2`": [sys.executable, "-m", "converter", "convert", "{dump}", "--workers=2"],
}


def run(command: list[str], out: Path) -> tuple[float, float, float]:
    """Wall-clock seconds, CPU seconds (its workers' not included), and the peak memory of one process in MB."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    if "convert" in command:
        command = [*command, f"--out={out}", "--progress=none"]
    began = time.monotonic()
    process = os.posix_spawn(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    )
    _, status, usage = os.wait4(process, 0)
    seconds = time.monotonic() - began
    if status:
        raise SystemExit(f"{command} failed")
    peak = usage.ru_maxrss * 1024
    report = out / "report.json"
    if report.exists():
        peak = max(peak, json.loads(report.read_bytes())["run"]["peak_memory_bytes"])
    return seconds, usage.ru_utime + usage.ru_stime, peak / 1e6


def main(dump: str, runs: int = 5) -> None:
    size = os.path.getsize(dump)
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(runs):
            for name, command in COMMANDS.items():
                out = Path(folder, "out")
                taken[name].append(run([word.format(dump=dump, out=out) for word in command], out))
    print(f"{size / 1e6:,.0f} MB, {runs} runs of each in turn, {os.cpu_count()} processors\n")
    print(
        "| | seconds, median | least | MB/s | of the null transform, median | least | most | peak memory of one, MB |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    nulls = [seconds for seconds, _, _ in taken["null transform"]]
    for name, figures in taken.items():
        seconds = [figure[0] for figure in figures]
        ratios = [null / mine for null, mine in zip(nulls, seconds, strict=True)]
        peak = max(figure[2] for figure in figures)
        print(
            f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} | "
            f"{size / statistics.median(seconds) / 1e6:.0f} | {statistics.median(ratios):.2f} | {min(ratios):.2f} | "
            f"{max(ratios):.2f} | {peak:.0f} |"
        )


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
