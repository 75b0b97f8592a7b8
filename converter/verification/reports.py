"""The reports, which tell of the run and so have no checksum: held against the manifest and against each other."""

import json
from importlib import metadata
from typing import Any, Final

from jinja2 import TemplateError

from converter.layout import REPORTS, data_files
from converter.manifest import Manifest
from converter.place import Place
from converter.report.files import report_files
from converter.verification.findings import Proof

_OF_ANOTHER_SHAPE: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TemplateError,
    TypeError,
    ValueError,
)
"""What reading and wording a file raises that is JSON at best, but no report."""


def check_reports(bundle: Place, manifest: Manifest, proof: Proof) -> None:
    """``report.json`` says what the manifest says, and the others show what it says."""
    texts = {}
    for name in REPORTS:
        there = bundle.size(name) is not None
        proof.expect(there, "files", name, None, "the file is missing")
        if there:
            with bundle.open(name) as file:
                texts[name] = file.read()
    if "report.json" not in texts:
        return
    try:
        # Not orjson, which reads integers from 2**64 as doubles: a sum may be any integer.
        report = json.loads(texts["report.json"])
        figures = _figures(report)
        # Another version may word a report in another way.
        same_version = manifest.tool.version == metadata.version("novel-backfill")
        worded = report_files(report) if same_version else {}
    except _OF_ANOTHER_SHAPE:
        proof.problem("reports", "report.json", None, "this is no report of novel-backfill")
        return
    for what, expected in _expected(manifest).items():
        proof.expect(figures[what] == expected, "reports", "report.json", None, f"{what} are not the manifest's")
    for name, text in worded.items():
        same = texts.get(name) in (None, text.encode("utf-8", "replace"))
        proof.expect(same, "reports", name, None, "this isn't what convert writes for the figures in report.json")


def _figures(report: dict[str, Any]) -> dict[str, Any]:
    return {
        "counts": {name: report["counts"][name] for name in ("read", "accepted", "rejected")},
        "repairs": {name: cases["total"] for name, cases in report["repairs"].items()},
        "rejects": {reason: cases["total"] for reason, cases in report["rejects"].items()},
        "documents": {name: sizes["documents"] for name, sizes in report["collections"].items()},
        "bytes": {name: sizes["bytes"] for name, sizes in report["collections"].items()},
    }


def _expected(manifest: Manifest) -> dict[str, Any]:
    counts = manifest.counts
    files = {
        collection: [manifest.files[name] for name in names]
        for collection, names in data_files(manifest.files).items()
        if names
    }
    return {
        "counts": {"read": counts.read, "accepted": counts.accepted, "rejected": counts.rejected},
        "repairs": counts.repairs,
        "rejects": counts.rejects_by_reason,
        "documents": {collection: sum(entry.documents for entry in entries) for collection, entries in files.items()},
        "bytes": {collection: sum(entry.bytes for entry in entries) for collection, entries in files.items()},
    }
