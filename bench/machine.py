"""The machine, in a few lines of Markdown, so that figures can be compared later. Usage: python bench/machine.py"""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("ijson", "orjson", "msgspec", "pydantic", "pymongo", "isal")


def main() -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    kernel = platform.release().partition("-")[0]
    print(f"- {_processor()}, {cores} processors, {memory:.0f} GiB, {platform.system()} {kernel}")
    print(f"- load when begun: {os.getloadavg()[0]:.1f}")
    print(f"- Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in LIBRARIES)}")
    print(f"- novel-backfill {version('novel-backfill')}{_commit()}, {datetime.now(UTC):%Y-%m-%d}")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """Which one it is, where this is a clone."""
    try:
        describe = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
        return f" at {subprocess.run(describe, check=True, capture_output=True, text=True).stdout.strip()}"
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""


if __name__ == "__main__":
    main()
