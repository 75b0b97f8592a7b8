"""The real command, with little memory and processor time to go wild with."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

MEMORY = 1 << 30
SECONDS = 60


def command(
    *words: str | bytes | os.PathLike[str], cwd: Path, memory: int = MEMORY, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run in ``cwd`` with so many bytes of address space; both output streams are caught."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))

    return subprocess.run(
        [sys.executable, "-m", "converter", *words],
        cwd=cwd,
        capture_output=True,
        preexec_fn=limited,
        **{"stdin": subprocess.DEVNULL} | options,
    )
