"""Peak memory of ``convert`` over dumps of growing size: it must not grow with them.

Usage: python bench/memory.py GIGABYTES...; makes one fixture of the largest size in a temporary folder, converts as
many of its first jobs as each size has, with one process and with two, and prints a Markdown table and how far the
peaks lie apart. Needs free disk space of a little more than twice the largest (TMPDIR says where).
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

JOBS_PER_GIGABYTE = 2_800
WORKERS = (1, 2)
PROGRAM = [sys.executable, "-m", "converter"]


def main(sizes: list[float]) -> None:
    print(
        subprocess.run([sys.executable, Path(__file__).with_name("machine.py")], capture_output=True, text=True).stdout
    )
    print("| dump, GB | jobs | processes | seconds | MB/s | peak memory of a process, MB |")
    print("|---:|---:|---:|---:|---:|---:|")
    peaks: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    with tempfile.TemporaryDirectory() as folder:
        dump = f"{folder}/jobs.json"
        quietly("fixtures", "--size=large", f"--jobs={jobs_of(max(sizes))}", f"--out={dump}")
        for size in sorted(sizes):
            for workers in WORKERS:
                bundle = Path(folder, "bundle")
                options = [f"--out={bundle}", f"--workers={workers}", f"--limit={jobs_of(size)}", "--progress=none"]
                quietly("convert", dump, *options)
                run = json.loads((bundle / "report.json").read_bytes())["run"]
                shutil.rmtree(bundle)
                peaks[workers].append(run["peak_memory_bytes"] / 1e6)
                print(
                    f"| {run['dump_bytes'] / 1e9:.2f} | {run['documents']:,} | {workers} | {run['seconds']:.1f} | "
                    f"{run['megabytes_per_second']:.0f} | {peaks[workers][-1]:.0f} |",
                    flush=True,
                )
    print()
    for workers, found in peaks.items():
        spread = max(found) / min(found) - 1
        print(f"- processes: {workers}; the highest peak is {spread:.1%} above the lowest")


def jobs_of(gigabytes: float) -> int:
    return round(gigabytes * JOBS_PER_GIGABYTE)


def quietly(*words: str) -> None:
    subprocess.run([*PROGRAM, *words], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main([float(size) for size in sys.argv[1:]])
