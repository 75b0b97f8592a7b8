"""The bundle against the dumps that it was made from: every document is in it, and holds what the dump holds."""

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import orjson

from converter import storage
from converter.documents import RawDocument, Unreadable
from converter.dump import Dump
from converter.layout import MANIFEST, REJECTS
from converter.manifest import Manifest
from converter.verification import recount
from converter.verification.evidence import JOBS, ONE_PER_JOB, facts_of
from converter.verification.findings import Parity, Proof, shown
from converter.verification.source_values import source_values
from converter.verification.values import differences


def compare_with_dumps(paths: tuple[str, ...], manifest: Manifest, evidence: sqlite3.Connection, proof: Proof) -> None:
    """Recount the dumps, and compare job by job and in total. Raises ``DumpError``."""
    dump = _recount(paths, manifest, evidence, proof)
    evidence.execute("CREATE INDEX source_job ON source (job)")
    for (line,) in evidence.execute("SELECT line FROM reject WHERE NOT met ORDER BY line"):
        proof.problem("source", REJECTS, line, "index: the dump has no such document")
    bundle = _compare_jobs(evidence, proof)
    proof.parity = [
        Parity(quantity="documents read", dump=dump["documents"], bundle=manifest.counts.read),
        Parity(quantity="jobs", dump=dump["jobs"], bundle=proof.lines[JOBS]),
        *(Parity(quantity=label, dump=dump[name], bundle=bundle[name]) for name, label in recount.QUANTITIES.items()),
    ]
    explained = bool(proof.failed["source"])
    for row in proof.parity:
        proof.checked["source"] += 1
        if explained or not row.difference:
            continue
        detail = f"{row.quantity}: {row.dump:,} in the dump, {row.bundle:,} in the bundle"
        proof.problem("source", MANIFEST, None, detail)
    if proof.failed["source"]:
        _warn_of_other_dumps(paths, manifest, proof)


def _warn_of_other_dumps(paths: tuple[str, ...], manifest: Manifest, proof: Proof) -> None:
    """The same documents may come in another file; where they differ, it is worth a hint that the file does too."""
    for path, made_from in zip(paths, manifest.inputs, strict=True):
        size = storage.size(path) if storage.is_url(path) or Path(path).is_file() else None
        if None not in (size, made_from.bytes) and size != made_from.bytes:
            was = f"{shown(made_from.name)} of {made_from.bytes:,} bytes"
            proof.warn(storage.name(path), f"has {size:,} bytes, the bundle was made from {was}: is it the right dump?")


def _recount(paths: tuple[str, ...], manifest: Manifest, evidence: sqlite3.Connection, proof: Proof) -> Counter[str]:
    """Remember the facts of each job of the dumps that was not rejected. Gives the totals."""
    totals: Counter[str] = Counter()
    names = Counter(given.name for given in manifest.inputs)
    for number, raw in islice(_documents(paths), manifest.options.limit):
        totals["documents"] += 1
        name = manifest.inputs[number].name  # as in the rejects; the file may be called otherwise by now
        dump = os.fsencode(storage.name(paths[number])).decode("utf-8", "replace")
        if _is_rejected(raw, name if len(paths) > 1 else None, names[name] > 1, evidence, proof):
            continue
        totals["jobs"] += 1
        if isinstance(raw, Unreadable) or not isinstance(raw.value, dict):
            detail = f"document {raw.index:,} of the dump {shown(dump)} is no job, and is not here"
            proof.problem("source", REJECTS, None, detail)
            continue
        facts = recount.source_facts(raw.value) | source_values(raw.value)
        for quantity in recount.QUANTITIES:
            totals[quantity] += facts[quantity]
        row = (recount.source_job_id(raw.value), dump, raw.index, orjson.dumps(facts).decode())
        evidence.execute("INSERT INTO source VALUES (?, ?, ?, ?)", row)
    return totals


def _documents(paths: tuple[str, ...]) -> Iterator[tuple[int, RawDocument | Unreadable]]:
    """The documents of all dumps, each with the number of its dump."""
    for number, path in enumerate(paths):
        with Dump.open(path, reader="ijson") as dump:  # the fast lane may have written the bundle
            for raw in dump.documents():
                yield number, raw


def _is_rejected(
    raw: RawDocument | Unreadable, dump: str | None, several: bool, evidence: sqlite3.Connection, proof: Proof
) -> bool:
    """Whether the document is among the rejects, and that it is there as it is. ``several`` dumps may have one name."""
    query = "SELECT line, document FROM reject WHERE dump IS ? AND position = ? AND NOT met ORDER BY line"
    row = evidence.execute(query, (dump, raw.index)).fetchone()
    if row is None:
        return False
    line, kept = row
    true = recount.digest_if_shallow(raw.value) if isinstance(raw, RawDocument) else None
    same = None in (true, kept) or true == kept
    if several and not same:
        return False
    evidence.execute("UPDATE reject SET met = 1 WHERE line = ?", (line,))
    proof.expect(same, "source", REJECTS, line, "document: not what the dump has at this index")
    return True


def _compare_jobs(evidence: sqlite3.Connection, proof: Proof) -> Counter[str]:
    """Compare each job with the document of the dump that it came from. Gives the totals of the bundle."""
    totals: Counter[str] = Counter()
    (unnamed,) = evidence.execute("SELECT count(*) FROM source WHERE job IS NULL").fetchone()
    for line, job, facts in evidence.execute(
        "SELECT line, job, facts FROM document WHERE file = ? ORDER BY line", (JOBS,)
    ):
        parts = [facts_of(evidence, file, job) for file in ONE_PER_JOB]
        bundle = orjson.loads(facts or "{}")
        for part in parts:
            bundle |= part[1] if part else {}
        for quantity in recount.QUANTITIES:
            totals[quantity] += bundle.get(quantity, 0)
        source = evidence.execute("SELECT facts FROM source WHERE job = ?", (job,)).fetchone()
        if source is None:
            # How an _id is spelt that is neither text, number nor ObjectId is for the conversion to say.
            unnamed -= 1
            detail = f"jobId: no such job in the dump: {shown(job or '')}"
            proof.expect(unnamed >= 0, "source", JOBS, line, detail)
        elif facts and all(parts):
            dump = orjson.loads(source[0])
            different = recount.differences(dump, bundle) + differences(dump, bundle)
            proof.expect(not different, "source", JOBS, line, f"job {shown(job)}: {'; '.join(different[:5])}")
    missing = evidence.execute(
        "SELECT job, dump, position FROM source WHERE job IS NOT NULL AND NOT EXISTS "
        "(SELECT 1 FROM document WHERE document.file = ? AND document.job = source.job)",
        (JOBS,),
    )
    for job, dump, position in missing:
        detail = f"the job {shown(job)} is missing, document {position:,} of the dump {shown(dump)}"
        proof.problem("source", JOBS, None, detail)
    if unnamed > 0:
        proof.problem("source", JOBS, None, f"{unnamed:,} jobs without a plain id are missing")
    return totals
