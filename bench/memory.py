"""Peak memory of ``convert`` over dumps of growing size: it must not grow with them.

Usage: python bench/memory.py GIGABYTES...; makes each fixture in a temporary folder, converts it with one process and
with two, and prints a Markdown table. Needs free disk space of three times the largest.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

JOBS_PER_GIGABYTE = 2_800


def main(sizes: list[float]) -> None:
    print("| dump, GB | jobs | processes | seconds | peak memory of a process, MB |\n|---:|---:|---:|---:|---:|")
    for gigabytes in sizes:
        with tempfile.TemporaryDirectory() as folder:
            dump, jobs = Path(folder, "jobs.json"), round(gigabytes * JOBS_PER_GIGABYTE)
            program = [sys.executable, "-m", "converter"]
            subprocess.run(
                [*program, "fixtures", "--size=large", f"--jobs={jobs}", f"--out={dump}"],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            for workers in (1, 2):
                out = Path(folder, "bundle")
                command = [*program, "convert", str(dump), f"--out={out}", f"--workers={workers}", "--overwrite"]
                subprocess.run([*command, "--progress=none"], check=True, stdout=subprocess.DEVNULL)
                run = json.loads((out / "report.json").read_bytes())["run"]
                size, peak = dump.stat().st_size / 1e9, run["peak_memory_bytes"] / 1e6
                print(f"| {size:.2f} | {jobs:,} | {workers} | {run['seconds']:.0f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main([float(size) for size in sys.argv[1:]])
