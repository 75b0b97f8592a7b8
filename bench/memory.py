"""Peak memory of ``convert`` over dumps of growing size: it must not grow with them.

Usage: python bench/memory.py GIGABYTES... [--dump=FILE]; converts as many of the first jobs of a fixture as each size
has, with one process and with two, and prints a Markdown table and how far the peaks lie apart. FILE is what
``fixtures --size=large`` wrote, with as many jobs at least; without it one is made. Needs free disk space of a little
more than twice the largest size (TMPDIR says where), half of that with FILE.

What is on its way from the workers in a run's busiest moment differs from run to run, and a short run has few moments.
So each size but the largest is converted several times, and the highest peak counts.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

JOBS_PER_GIGABYTE = 2_800
WORKERS = (1, 2)
RUNS = 3
PROGRAM = [sys.executable, "-m", "converter"]


def main(sizes: list[float], dump: str | None = None) -> None:
    print(
        subprocess.run([sys.executable, Path(__file__).with_name("machine.py")], capture_output=True, text=True).stdout
    )
    print("| dump, GB | jobs | processes | runs | seconds, median | peak memory of a process, MB, highest | lowest |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    highest: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    with tempfile.TemporaryDirectory() as folder:
        if dump is None:
            dump = f"{folder}/jobs.json"
            quietly("fixtures", "--size=large", f"--jobs={jobs_of(max(sizes))}", f"--out={dump}")
        for size in sorted(sizes):
            for workers in WORKERS:
                runs = [converted(dump, size, workers, folder) for _ in range(1 if size == max(sizes) else RUNS)]
                peaks = sorted(run["peak_memory_bytes"] / 1e6 for run in runs)
                seconds = sorted(run["seconds"] for run in runs)[len(runs) // 2]
                highest[workers].append(peaks[-1])
                print(
                    f"| {runs[0]['dump_bytes'] / 1e9:.2f} | {runs[0]['documents']:,} | {workers} | {len(runs)} | "
                    f"{seconds:.1f} | {peaks[-1]:.1f} | {peaks[0]:.1f} |",
                    flush=True,
                )
    print()
    for workers, found in highest.items():
        spread = max(found) / min(found) - 1
        print(f"- processes: {workers}; the highest peak of all sizes is {spread:.1%} above the lowest")


def converted(dump: str, size: float, workers: int, folder: str) -> dict[str, float]:
    """What report.json says of the run."""
    bundle = Path(folder, "bundle")
    options = [f"--out={bundle}", f"--workers={workers}", f"--limit={jobs_of(size)}", "--progress=none"]
    quietly("convert", dump, *options)
    run: dict[str, float] = json.loads((bundle / "report.json").read_bytes())["run"]
    shutil.rmtree(bundle)
    return run


def jobs_of(gigabytes: float) -> int:
    return round(gigabytes * JOBS_PER_GIGABYTE)


def quietly(*words: str) -> None:
    subprocess.run([*PROGRAM, *words], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="+", type=float, metavar="GIGABYTES")
    parser.add_argument("--dump", metavar="FILE")
    given = parser.parse_args()
    main(given.sizes, given.dump)
