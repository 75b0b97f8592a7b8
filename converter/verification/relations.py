"""What must hold between the documents of a bundle: unique ids, every part with its job, parts that agree."""

import sqlite3
from collections import Counter, deque

import orjson

from converter.layout import DATA_FILES
from converter.manifest import Manifest
from converter.verification import recount
from converter.verification.evidence import EVENTS, JOBS, METADATA, METRICS, PARTS, facts_of
from converter.verification.findings import Proof, shown


def check_identities(evidence: sqlite3.Connection, proof: Proof) -> None:
    """``_id`` is unique in each collection, jobId in all but the events."""
    for name in DATA_FILES.values():
        proof.checked["identities"] += proof.lines[name]
        for field, column in (("_id", "id"), ("jobId", "job")):
            if (name, field) == (EVENTS, "jobId"):
                continue
            repeated = evidence.execute(
                f"SELECT min(line), max(line), count(*) FROM document WHERE file = ? AND {column} IS NOT NULL "
                f"GROUP BY {column} HAVING count(*) > 1",
                (name,),
            )
            for first, last, times in repeated:
                again = "" if times == 2 else f", {times:,} times in all"
                proof.problem("identities", name, last, f"{field}: the same as on line {first:,}{again}")


def check_references(evidence: sqlite3.Connection, proof: Proof) -> None:
    """Every event, metrics and metadata document has its job, and every job has them."""
    without = (
        "SELECT line, job FROM document AS one WHERE file = ? AND job IS NOT NULL AND NOT EXISTS "
        "(SELECT 1 FROM document AS other WHERE other.file = ? AND other.job = one.job) ORDER BY line"
    )
    for name in PARTS:
        proof.checked["references"] += proof.lines[name] + proof.lines[JOBS]
        for line, job in evidence.execute(without, (name, JOBS)):
            proof.problem("references", name, line, f"jobId: no such job in {JOBS}: {shown(job)}")
        for line, job in evidence.execute(without, (JOBS, name)):
            proof.problem("references", JOBS, line, f"jobId: nothing in {name} for the job {shown(job)}")


def check_consistency(manifest: Manifest, evidence: sqlite3.Connection, proof: Proof) -> None:
    """A job agrees with its events, metrics and metadata. Only documents that kept their contracts are compared."""
    given_up: list[int] = []
    jobs = evidence.execute("SELECT line, job, facts FROM document WHERE file = ? ORDER BY line", (JOBS,))
    for line, name, facts in jobs:
        proof.checked["consistency"] += 1
        told = _told(evidence, name, proof)
        if facts is None:
            continue
        job = orjson.loads(facts)
        metrics = facts_of(evidence, METRICS, name)
        if metrics:
            for wrong in recount.cost_contradictions(job, metrics[1]):
                proof.problem("consistency", METRICS, metrics[0], wrong)
        if told is None:
            continue
        metadata = facts_of(evidence, METADATA, name)
        if metadata:
            _check_events(name, told, job["calledFor"] | metadata[1]["calledFor"], proof)
        spent = [recount.agree(recount.total(told.costs), job["eventCost"])]
        spent += [recount.agree(recount.total(told.tokens[name]), job["eventTokens"][name]) for name in recount.TOKENS]
        if not all(spent):
            detail = f"event: cost-tracking is not what the job {shown(name)} spent"
            proof.problem("consistency", EVENTS, told.place("generation cost-tracking"), detail)
        embedded = job["embedded"]
        different = [kind for kind, latest in told.latest.items() if list(latest) != embedded[kind]]
        if different and not any(embedded.values()):
            given_up.append(line)
            continue
        for kind in different:
            detail = f"{recount.EMBEDDED[kind]}: not the latest of kind {kind} in {EVENTS}"
            proof.problem("consistency", JOBS, line, detail)
    # Only a job that would have passed 16 MiB may come without its events, and each such job was counted.
    allowed = manifest.counts.repairs.get("embedded-events-dropped", 0)
    detail = f"events, domainEvents: empty in {len(given_up):,} jobs that have events, the manifest says {allowed:,}"
    proof.expect(len(given_up) <= allowed, "consistency", JOBS, given_up[0] if given_up else None, detail)


def _check_events(job: str, told: "_Told", called_for: dict[str, int], proof: Proof) -> None:
    for event in sorted({*called_for, *told.names}):
        wanted, found = called_for.get(event, 0), told.names[event]
        if wanted != found:
            detail = f"{shown(event)}: {found:,}, the job {shown(job)} calls for {wanted:,}"
            proof.problem("consistency", EVENTS, told.place(event), detail)


class _Told:
    """What the events of one job say."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()
        self.latest: dict[str, deque[str]] = {kind: deque(maxlen=recount.EMBEDDED_EVENTS) for kind in recount.EMBEDDED}
        self.costs: list[int | float] = []
        self.tokens: dict[str, list[int | float]] = {name: [] for name in recount.TOKENS}
        self.last_line: int | None = None
        self.lines: dict[str, int] = {}

    def place(self, name: str) -> int | None:
        """The line of the last event of that name, or of the last of all where there is none."""
        return self.lines.get(name, self.last_line)


def _told(evidence: sqlite3.Connection, job: str | None, proof: Proof) -> _Told | None:
    """The events of one job, None if one of them broke its contract. ``emittedAt`` increases from line to line."""
    told = _Told()
    before = ""
    whole = True
    query = "SELECT line, emitted, facts FROM document WHERE file = ? AND job = ? ORDER BY line"
    for line, emitted, facts in evidence.execute(query, (EVENTS, job)):
        told.last_line = line
        if facts is None:
            whole = False
            continue
        relation = "the same as of" if emitted == before else "earlier than of"
        proof.expect(emitted > before, "order", EVENTS, line, f"emittedAt: {relation} an event of the job above")
        before = max(before, emitted)
        event = orjson.loads(facts)
        told.names[event["name"]] += 1
        told.lines[event["name"]] = line
        if "cost" in event:
            told.costs.append(event["cost"])
            for name in recount.TOKENS:
                told.tokens[name].append(event["tokens"][name])
        if "kind" in event:
            told.latest[event["kind"]].append(event["payload"])
    return told if whole else None
