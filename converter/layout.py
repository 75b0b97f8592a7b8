"""What the files in a bundle's folder are called: the finished bundle's, and those of a run at work."""

import re
from collections.abc import Iterable
from typing import Final

DATA_FILES: Final = {
    "novel_jobs": "novel_jobs.ndjson",
    "novel_job_events": "novel_job_events.ndjson",
    "novel_job_metrics": "novel_job_metrics.ndjson",
    "novel_job_metadata": "novel_job_metadata.ndjson",
}
"""Collection -> its file in the bundle."""
REJECTS: Final = "rejects.ndjson"
CHECKSUMS: Final = "SHA256SUMS"
MANIFEST: Final = "manifest.json"
REPORTS: Final = ("report.json", "report.html", "metrics.prom")
"""They tell of the run too, its time and memory. So they stay out of SHA256SUMS, which then is the same for the same
input; ``verify`` holds them against the manifest and each other instead."""
BUNDLE_FILES: Final = (
    *DATA_FILES.values(),
    REJECTS,
    *REPORTS,
    "import.sh",
    "indexes.js",
    "README.md",
    CHECKSUMS,
    MANIFEST,
)
"""Every name that a bundle may hold, in the order of publishing. Nothing else in the folder is ever touched."""
CHECKPOINT: Final = "checkpoint.partial"
LOCK: Final = "lock.partial"
AT_WORK: Final = "at-work.partial"
"""In object storage, where nothing can be locked: which folder a bundle is being made in, and on which machine."""

PART: Final = re.compile(r"(novel_[a-z_]+)\.part-([0-9]{5,})\.ndjson")
"""Collection and number, in the name of a part."""
_ATTEMPT: Final = re.compile(r"[a-z_.]+\.attempt-[0-9a-f]+\.partial")


def part_name(collection: str, number: int) -> str:
    """The file that holds so much of a collection, where it lies in parts. Their order is that of their numbers."""
    return f"{collection}.part-{number:05}.ndjson"


def any_part(collection: str) -> str:
    """All the files that hold a collection, however many parts there will be."""
    return f"{collection}.part-*.ndjson"


def attempt_name(name: str, token: str) -> str:
    """What a worker writes of a collection's part, or of its rejects: a part has no number yet, and may be refused."""
    return f"{name}.attempt-{token}.partial"


def parts_of(attempts: Iterable[str]) -> dict[str, str]:
    """What each file of the parts will be called -> what it is called as a worker wrote it.

    ``attempts`` are the tokens of the parts, in their order.
    """
    return {
        part_name(collection, number): attempt_name(collection, token)
        for number, token in enumerate(attempts)
        for collection in DATA_FILES
    }


def data_files(names: Iterable[str]) -> dict[str, list[str]]:
    """Collection -> its files among ``names``, in order: one, or its parts."""
    found: dict[str, list[tuple[int, str]]] = {collection: [] for collection in DATA_FILES}
    for name in names:
        part = PART.fullmatch(name)
        if part and part[1] in found:
            found[part[1]].append((int(part[2]), name))
        elif name in DATA_FILES.values():
            found[name.removesuffix(".ndjson")].append((-1, name))
    return {collection: [name for _, name in sorted(files)] for collection, files in found.items()}


def is_of_bundle(name: str) -> bool:
    """Whether a finished bundle may hold a file of that name."""
    return name in BUNDLE_FILES or bool(PART.fullmatch(name))


def partial(name: str) -> str:
    """The name of a bundle's file as long as the bundle isn't complete."""
    return f"{name}.partial"


_UNFINISHED: Final = (f"{CHECKPOINT}-journal", CHECKPOINT, *map(partial, BUNDLE_FILES))
"""What an interrupted run leaves. SQLite's journal comes first: it must never outlive its database and meet another."""


def unfinished_files(present: set[str]) -> list[str]:
    """Those of the files in a folder that an interrupted run left."""
    return [name for name in (*_UNFINISHED, *sorted(filter(_ATTEMPT.fullmatch, present))) if name in present]
