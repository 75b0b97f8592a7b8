"""A bundle's lines, one by one: documents that keep their contract and MongoDB's limits, free of contradictions."""

import sqlite3
from collections.abc import Iterator
from itertools import count
from typing import Annotated, Any, Final

import bson
import orjson
from bson import ObjectId
from bson.errors import BSONError
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from converter import extjson
from converter.layout import DATA_FILES, MANIFEST, REJECTS, data_files
from converter.manifest import Manifest
from converter.models.target import COLLECTIONS, violations
from converter.place import Place
from converter.verification import recount, values
from converter.verification.evidence import EVENTS, JOBS, METADATA, METRICS, ONE_PER_JOB
from converter.verification.findings import Proof, shown

MAX_LINE: Final = 256 << 20
"""Bytes of a line. 16 MiB of BSON are less than this in any form of JSON, and so is what a dump's reader rejects."""
MAX_BSON: Final = 16 << 20
"""Bytes of a document: https://www.mongodb.com/docs/manual/reference/limits/"""
MAX_LEVELS: Final = 100
"""Levels of objects and arrays in a document, from the same page."""

_FACTS: Final = {
    JOBS: (recount.job_facts, values.job_values),
    EVENTS: (recount.event_facts,),
    METRICS: (recount.metrics_facts, values.metrics_values),
    METADATA: (recount.metadata_facts, values.metadata_values),
}
"""What is remembered of the documents of a file."""
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def check_lines(bundle: Place, manifest: Manifest, evidence: sqlite3.Connection, proof: Proof) -> None:
    """Check every line of the four files, and remember in ``evidence`` what is to be compared.

    Where a collection lies in parts, its lines are counted through all of them.
    """
    for collection in COLLECTIONS:
        name = DATA_FILES[collection]
        parts = data_files(manifest.files)[collection] or [name]
        for number, line in enumerate((line for part in parts for _, line in _lines(bundle, part)), 1):
            proof.lines[name] += 1
            document = _document(name, number, line, manifest.options.json_format, proof)
            if document is None:
                continue
            wrong = violations(collection, document)
            proof.expect(not wrong, "contract", name, number, "; ".join(wrong[:5]))
            facts = None
            if not wrong:
                contradictions = recount.contradictions(collection, document)
                proof.expect(not contradictions, "consistency", name, number, "; ".join(contradictions))
                found = {fact: held for facts_of in _FACTS[name] for fact, held in facts_of(document).items()}
                facts = orjson.dumps(found).decode()
            _remember(evidence, name, number, document, facts)


def _lines(bundle: Place, name: str) -> Iterator[tuple[int, bytes]]:
    """(number, line with its newline). Of a line beyond ``MAX_LINE`` only the beginning, which has none."""
    if bundle.size(name) is None:
        return
    with bundle.open(name) as file:
        for number in count(1):
            line = file.readline(MAX_LINE)
            if not line:
                return
            yield number, line
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE)


def _object(name: str, number: int, line: bytes, proof: Proof) -> dict[str, Any] | None:
    """The JSON object on a line; None, and a problem, where there is none."""
    proof.checked["lines"] += 1
    wrong = _wrong_with(line)
    if wrong is None:
        try:
            value: Any = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            wrong = f"not JSON in UTF-8: {error.msg.split(':')[0]}, character {error.pos:,}"
        else:
            if isinstance(value, dict):
                return value
            wrong = "not an object"
    proof.problem("lines", name, number, wrong)
    return None


def _wrong_with(line: bytes) -> str | None:
    """What is wrong with a line before it is read as JSON."""
    if len(line) >= MAX_LINE:
        return "too long for a document"
    if not line.endswith(b"\n"):
        return "the line has no end: the file was cut"
    if not line.strip():
        return "an empty line"
    if line.endswith(b"\r\n"):
        return "the line ends with CR LF instead of LF"
    if line.startswith(_BYTE_ORDER_MARK):
        return "a byte order mark in front of the document"
    return None


def _document(name: str, number: int, line: bytes, mode: extjson.Mode, proof: Proof) -> dict[str, Any] | None:
    """The document on a line as BSON values; None, and a problem, where MongoDB couldn't hold it."""
    parsed = _object(name, number, line, proof)
    if parsed is None:
        return None
    document: Any = None
    try:
        document = extjson.decode(parsed)
    except extjson.NestedTooDeep:
        wrong: str | None = f"more than {MAX_LEVELS} levels"
    else:
        wrong = _beyond_limits(document) if isinstance(document, dict) else "not an object"
    proof.expect(wrong is None, "limits", name, number, wrong or "")
    if wrong is not None or not isinstance(document, dict):
        return None
    if extjson.mapped_line(document, mode) != line:
        form = "keys sorted and each once, no white space"
        proof.problem("lines", name, number, f"not the {mode} Extended JSON that convert writes ({form})")
    return document


def _beyond_limits(document: dict[str, Any]) -> str | None:
    """What MongoDB couldn't hold of a document, or couldn't query."""
    # Level by level, because a recursion would not survive what this is looking for.
    level: list[Any] = [document]
    for _ in range(MAX_LEVELS):
        inner: list[Any] = []
        for outer in level:
            if isinstance(outer, dict):
                if any(key[:1] == "$" or "." in key or "\0" in key for key in outer):
                    return "a key with a dot, NUL or a leading dollar sign"
                inner += outer.values()
            else:
                inner += outer
        level = [value for value in inner if isinstance(value, dict | list)]
        if not level:
            break
    else:
        return f"more than {MAX_LEVELS} levels"
    try:
        size = len(bson.encode(document))
    except (BSONError, OverflowError) as error:
        return f"no BSON ({type(error).__name__})"
    return None if size <= MAX_BSON else f"{size:,} bytes of BSON, MongoDB holds {MAX_BSON:,}"


def _remember(
    evidence: sqlite3.Connection, name: str, number: int, document: dict[str, Any], facts: str | None
) -> None:
    identity = document.get("_id")
    key = identity.binary if isinstance(identity, ObjectId) else extjson.dumps(identity)
    job, emitted = document.get("jobId"), document.get("emittedAt")
    texts = (str(held) if isinstance(held, str) else None for held in (job, emitted))
    evidence.execute("INSERT INTO document VALUES (?, ?, ?, ?, ?, ?)", (name, number, key, *texts, facts))


# ----------------------------------------------------------------------------------------------- rejects and counts


class _Reject(BaseModel, frozen=True, strict=True, extra="forbid"):
    """A line of rejects.ndjson."""

    dump: str | None = None
    index: NonNegativeInt
    offset: NonNegativeInt | None = None
    jobId: str | None = None
    reason: Annotated[str, Field(min_length=1)]
    detail: Annotated[str, Field(min_length=1)]
    document: Any


def check_rejects(bundle: Place, manifest: Manifest, evidence: sqlite3.Connection, proof: Proof) -> None:
    """Check every line of the rejects, and remember which documents of which dump they are."""
    names = {given.name for given in manifest.inputs} if len(manifest.inputs) > 1 else {None}
    for number, line in _lines(bundle, REJECTS):
        proof.lines[REJECTS] += 1
        parsed = _object(REJECTS, number, line, proof)
        if parsed is None:
            continue
        proof.checked["rejects"] += 1
        try:
            reject = _Reject.model_validate(parsed)
        except ValidationError as error:
            wrong = error.errors(include_input=False, include_url=False, include_context=False)
            detail = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in wrong[:5])
            proof.problem("rejects", REJECTS, number, detail)
            continue
        if reject.dump not in names:
            proof.problem("rejects", REJECTS, number, "dump: not one of the manifest's inputs")
        proof.reject_reasons[reject.reason] += 1
        row = (number, reject.dump, reject.index, recount.digest_if_shallow(reject.document))
        evidence.execute("INSERT INTO reject (line, dump, position, document) VALUES (?, ?, ?, ?)", row)


def check_counts(manifest: Manifest, proof: Proof) -> None:
    """What was counted in the files is what the manifest says."""
    counts = manifest.counts

    def expect(said: int, found: int, file: str, what: str) -> None:
        proof.expect(said == found, "counts", file, None, f"{what}: {found:,}, the manifest says {said:,}")

    for collection, names in data_files(manifest.files).items():
        if names:
            said = sum(manifest.files[name].documents for name in names)
            expect(said, proof.lines[DATA_FILES[collection]], DATA_FILES[collection], "documents")
    if REJECTS in manifest.files:
        expect(manifest.files[REJECTS].documents, proof.lines[REJECTS], REJECTS, "documents")
    for name in (JOBS, *ONE_PER_JOB):
        expect(counts.accepted, proof.lines[name], name, "accepted jobs")
    expect(counts.rejected, proof.lines[REJECTS], REJECTS, "rejects")
    for reason in sorted({*counts.rejects_by_reason, *proof.reject_reasons}):
        said = counts.rejects_by_reason.get(reason, 0)
        expect(said, proof.reject_reasons[reason], REJECTS, f"rejects for the reason {shown(reason)}")
    expect(counts.read, counts.accepted + counts.rejected, MANIFEST, "accepted and rejected documents")
    limit = manifest.options.limit
    within = limit is None or counts.read <= limit
    proof.expect(within, "counts", MANIFEST, None, "more documents were read than the option limit allows")
