"""Ways to damage a bundle, each with what ``verify`` must say of it.

An accident changes a file and nothing else. A forger changes a document, and then makes the manifest and
SHA256SUMS fit.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converter.report.files import report_files

Document = dict[str, Any]
Lines = list[bytes]
Where = Callable[[Document], bool]

JOBS = "novel_jobs.ndjson"
EVENTS = "novel_job_events.ndjson"
METRICS = "novel_job_metrics.ndjson"
METADATA = "novel_job_metadata.ndjson"
REJECTS = "rejects.ndjson"
MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Damage:
    """``apply`` changes the bundle in a folder, and gives the line that ``verify`` must name, if any."""

    name: str
    apply: Callable[[Path], int | None]
    check: str
    file: str
    reason: str
    """What the message must contain."""
    needs_dump: bool = False
    """The bundle is in harmony with itself: only the dump tells."""


# ------------------------------------------------------------------------------------------------------ how to damage


def read(bundle: Path, file: str) -> Lines:
    return (bundle / file).read_bytes().splitlines(keepends=True)


def compact(document: Document) -> bytes:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass") + b"\n"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def seal(bundle: Path) -> None:
    """Makes the manifest fit the files, the reports the manifest, and SHA256SUMS all of them."""
    manifest = json.loads((bundle / MANIFEST).read_bytes())
    for name, entry in manifest["files"].items():
        content = (bundle / name).read_bytes()
        entry |= {"bytes": len(content), "documents": len(content.splitlines()), "sha256": sha256(bundle / name)}
    (bundle / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    if (bundle / "report.json").exists():
        report = json.loads((bundle / "report.json").read_bytes())
        report["counts"] |= {name: manifest["counts"][name] for name in ("read", "accepted", "rejected")}
        for part, counts in (("rejects", "rejects_by_reason"), ("repairs", "repairs")):
            report[part] = {name: report[part][name] for name in manifest["counts"][counts]}
            for name, total in manifest["counts"][counts].items():
                report[part][name]["total"] = total
        for collection, sizes in report["collections"].items():
            entry = manifest["files"].get(f"{collection}.ndjson", {})
            sizes |= {name: entry[name] for name in ("documents", "bytes") if name in entry}
        for name, text in report_files(report).items():
            (bundle / name).write_text(text)
    listed = [line.split("  ")[1] for line in (bundle / CHECKSUMS).read_text().splitlines()]
    (bundle / CHECKSUMS).write_text("".join(f"{sha256(bundle / name)}  {name}\n" for name in listed))


def accident(file: str, change: Callable[[Lines], int | None]) -> Callable[[Path], int | None]:
    def apply(bundle: Path) -> int | None:
        lines = read(bundle, file)
        line = change(lines)
        (bundle / file).write_bytes(b"".join(lines))
        return line

    return apply


def forgery(file: str, change: Callable[[Lines], int | None]) -> Callable[[Path], int | None]:
    def apply(bundle: Path) -> int | None:
        line = accident(file, change)(bundle)
        seal(bundle)
        return line

    return apply


def any_document(document: Document) -> bool:
    return True


def find(lines: Lines, where: Where) -> int:
    """The index of the first line that holds such a document."""
    return next(index for index, line in enumerate(lines) if where(json.loads(line)))


def line_edited(change: Callable[[bytes], bytes], where: Where = any_document) -> Callable[[Lines], int]:
    def apply(lines: Lines) -> int:
        index = find(lines, where)
        lines[index] = change(lines[index])
        return index + 1

    return apply


def edited(change: Callable[[Document], object], where: Where = any_document) -> Callable[[Lines], int]:
    """Changes the first such document, and writes it as convert does."""

    def apply(line: bytes) -> bytes:
        document = json.loads(line)
        change(document)
        return compact(document)

    return line_edited(apply, where)


def elsewhere(change: Callable[[Lines], int]) -> Callable[[Lines], None]:
    """The damage is noticed in another file, or not on a line."""

    def apply(lines: Lines) -> None:
        change(lines)

    return apply


def put(path: str, value: Any) -> Callable[[Document], None]:
    """Sets the value at a dotted path."""

    def change(document: Any) -> None:
        *steps, last = (int(step) if step.isdecimal() else step for step in path.split("."))
        for step in steps:
            document = document[step]
        document[last] = value

    return change


def removed(where: Where = any_document) -> Callable[[Lines], None]:
    def apply(lines: Lines) -> None:
        del lines[find(lines, where)]

    return apply


def repeated(change: Callable[[Document], object] | None = None, where: Where = any_document) -> Callable[[Lines], int]:
    """A second document like the first such one, at the end, with another ``_id`` if it is changed at all."""

    def apply(lines: Lines) -> int:
        document = json.loads(lines[find(lines, where)])
        if change:
            document["_id"]["$oid"] = "f" * 24
            change(document)
        lines.append(compact(document))
        return len(lines)

    return apply


def in_manifest(change: Callable[[Document], object]) -> Callable[[Path], None]:
    """Changes the manifest, and its line in SHA256SUMS."""

    def apply(bundle: Path) -> None:
        before = sha256(bundle / MANIFEST)
        manifest = json.loads((bundle / MANIFEST).read_bytes())
        change(manifest)
        (bundle / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
        sums = (bundle / CHECKSUMS).read_text()
        (bundle / CHECKSUMS).write_text(sums.replace(before, sha256(bundle / MANIFEST)))

    return apply


def swapped(bundle: Path) -> None:
    (bundle / METRICS).rename(bundle / "swap")
    (bundle / METADATA).rename(bundle / METRICS)
    (bundle / "swap").rename(bundle / METADATA)


def swapped_and_sealed(bundle: Path) -> int:
    swapped(bundle)
    seal(bundle)
    return 1


def cut_in_half(bundle: Path) -> None:
    content = (bundle / JOBS).read_bytes()
    (bundle / JOBS).write_bytes(content[: len(content) // 2])


def flipped_byte(bundle: Path) -> None:
    content = bytearray((bundle / JOBS).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / JOBS).write_bytes(content)


def job_removed_everywhere(bundle: Path) -> None:
    """The perfect crime, but for the dump."""
    lines = read(bundle, JOBS)
    job = json.loads(lines[0])["jobId"]
    for file in (JOBS, EVENTS, METRICS, METADATA):
        kept = [line for line in read(bundle, file) if json.loads(line)["jobId"] != job]
        (bundle / file).write_bytes(b"".join(kept))
    in_manifest(
        lambda manifest: manifest["counts"].update(read=_less(manifest, "read"), accepted=_less(manifest, "accepted"))
    )(bundle)
    seal(bundle)


def _less(manifest: Document, count: str) -> int:
    number: int = manifest["counts"][count]
    return number - 1


def first_reject_removed(bundle: Path) -> None:
    reject_removed(bundle, 0)


def reject_removed(bundle: Path, index: int = -1) -> None:
    """A reject, with the manifest's counts made to fit."""
    lines = read(bundle, REJECTS)
    reason = json.loads(lines.pop(index))["reason"]
    (bundle / REJECTS).write_bytes(b"".join(lines))

    def change(manifest: Document) -> None:
        manifest["counts"] |= {"read": _less(manifest, "read"), "rejected": _less(manifest, "rejected")}
        manifest["counts"]["rejects_by_reason"][reason] -= 1

    in_manifest(change)(bundle)
    seal(bundle)


def moved_to_another_job(lines: Lines) -> int:
    """The first event about costs gets the jobId of the last job, which has one too many now."""
    edited(put("jobId", json.loads(lines[-1])["jobId"]), is_cost)(lines)
    return max(number for number, line in enumerate(lines, 1) if is_cost(json.loads(line)))


def tied(lines: Lines) -> int:
    """The second event of the first job gets the time of the first one."""
    first = json.loads(lines[0])

    def change(document: Document) -> None:
        document |= {field: first[field] for field in ("emittedAt", "createdAt", "updatedAt")}

    lines[1] = compact((document := json.loads(lines[1])) and (change(document) or document))
    return 2


def out_of_order(lines: Lines) -> int:
    lines[0], lines[1] = lines[1], lines[0]
    return 2


def event_removed(lines: Lines) -> int:
    """The first event of the first job; the job's last event is what the message points to."""
    job = json.loads(lines.pop(0))["jobId"]
    return max(number for number, line in enumerate(lines, 1) if json.loads(line)["jobId"] == job)


def deepened(document: Document) -> None:
    inner: Document = {}
    for _ in range(120):
        inner = {"a": inner}
    document["context"]["metadata"]["legacy"]["deep"] = inner


# --------------------------------------------------------------------------------------------------------- the places


def has_text(job: Document) -> bool:
    return any(chapter["content"] for chapter in job["chapters"][:1])


def has_outline(job: Document) -> bool:
    return bool(job["outline"])


def has_embedded_event(job: Document) -> bool:
    return bool(job["events"])


def has_ended(job: Document) -> bool:
    return "durationMs" in job


def has_alerts(metadata: Document) -> bool:
    return len({alert["createdAt"] for alert in metadata["continuityAlerts"]}) > 1


def reverse_alerts(metadata: Document) -> None:
    metadata["continuityAlerts"].reverse()


def resolve_first_alert(metadata: Document) -> None:
    alert = metadata["continuityAlerts"][0]
    alert["resolved"] = not alert["resolved"]


def has_usage(job: Document) -> bool:
    return "premiseAnalysis" in job.get("modelUsage", {})


def has_recorded_cost(metrics: Document) -> bool:
    return bool(metrics["cost"]["extra"]["recordedTotalUsd"] > 0)


def has_decision(metadata: Document) -> bool:
    return bool(metadata["aiDecisions"])


def has_story_bible(metadata: Document) -> bool:
    return bool(metadata["storyBibleCharacters"]) and bool(metadata["storyBibleMetadata"]["timeline"])


def is_narrated(event: Document) -> bool:
    return "event" in event


def is_cost(event: Document) -> bool:
    return is_narrated(event) and event["event"]["type"] == "cost-tracking"


def first_character(change: Callable[[Document], object]) -> Callable[[Document], None]:
    def apply(metadata: Document) -> None:
        change(metadata["storyBibleCharacters"][min(metadata["storyBibleCharacters"])])

    return apply


def drop_first(path: str) -> Callable[[Document], None]:
    """Removes the first element of the array, or entry of the object, at a dotted path."""

    def change(document: Any) -> None:
        for step in path.split("."):
            document = document[step]
        del document[0 if isinstance(document, list) else min(document)]

    return change


def repeat_first_alert(metadata: Document) -> None:
    metadata["continuityAlerts"].append(metadata["continuityAlerts"][0])


ACCIDENTS = (
    Damage("a byte flipped", flipped_byte, "checksums", JOBS, "checksum"),
    Damage("cut in half", cut_in_half, "checksums", JOBS, "bytes, the manifest says"),
    Damage(
        "cut within a line",
        accident(JOBS, lambda lines: lines.__setitem__(-1, lines[-1][:-5]) or len(lines)),
        "lines",
        JOBS,
        "was cut",
    ),
    Damage("last line lost", accident(JOBS, lambda lines: lines.pop() and None), "counts", JOBS, "documents"),
    Damage("a line twice", accident(EVENTS, repeated()), "identities", EVENTS, "_id: the same as on line 1"),
    Damage("all lines lost", accident(EVENTS, lambda lines: lines.clear()), "references", JOBS, "nothing in"),
    Damage("two files swapped", swapped, "checksums", METRICS, "checksum"),
    Damage("a file lost", lambda bundle: (bundle / METADATA).unlink(), "files", METADATA, "missing"),
    Damage(
        "a folder in a file's place",
        lambda bundle: (bundle / METRICS).unlink() or (bundle / METRICS).mkdir(),
        "files",
        METRICS,
        "no file",
    ),
    Damage("SHA256SUMS lost", lambda bundle: (bundle / CHECKSUMS).unlink(), "files", CHECKSUMS, "missing"),
    Damage(
        "a line of SHA256SUMS lost",
        accident(CHECKSUMS, lambda lines: lines.pop() and None),
        "checksums",
        CHECKSUMS,
        "is not in it",
    ),
    Damage(
        "garbage in SHA256SUMS",
        accident(CHECKSUMS, lambda lines: lines.append(b"oops\n") or len(lines)),
        "checksums",
        CHECKSUMS,
        "not a checksum",
    ),
    Damage(
        "a path in SHA256SUMS",
        accident(CHECKSUMS, lambda lines: lines.append(b"0" * 64 + b"  ../jobs.json\n") and None),
        "files",
        "../jobs.json",
        "outside",
    ),
    Damage(
        "a size in the manifest",
        in_manifest(lambda manifest: manifest["files"][JOBS].update(bytes=1)),
        "checksums",
        JOBS,
        "bytes, the manifest says 1",
    ),
    Damage(
        "a checksum in the manifest",
        in_manifest(lambda manifest: manifest["files"][JOBS].update(sha256="0" * 64)),
        "checksums",
        JOBS,
        "the one in the manifest",
    ),
    Damage(
        "a count in the manifest",
        in_manifest(lambda manifest: manifest["files"][EVENTS].update(documents=1)),
        "counts",
        EVENTS,
        "the manifest says 1",
    ),
    Damage(
        "more accepted in the manifest",
        in_manifest(lambda manifest: manifest["counts"].update(accepted=99)),
        "counts",
        JOBS,
        "the manifest says 99",
    ),
    Damage(
        "more read in the manifest",
        in_manifest(lambda manifest: manifest["counts"].update(read=99)),
        "counts",
        MANIFEST,
        "the manifest says 99",
    ),
    Damage(
        "no metrics in the manifest",
        in_manifest(lambda manifest: manifest["files"].pop(METRICS)),
        "files",
        MANIFEST,
        METRICS,
    ),
    Damage(
        "the manifest alone",
        lambda bundle: (bundle / MANIFEST).write_bytes((bundle / MANIFEST).read_bytes() + b"\n") and None,
        "checksums",
        MANIFEST,
        "the one in SHA256SUMS",
    ),
)
"""Nobody meant it: the checksums no longer fit."""

FORGED_LINES = (
    Damage("no JSON", forgery(JOBS, line_edited(lambda line: line[1:])), "lines", JOBS, "not JSON"),
    Damage(
        "another value than an object", forgery(JOBS, line_edited(lambda line: b"[]\n")), "lines", JOBS, "not an object"
    ),
    Damage(
        "an id alone",
        forgery(JOBS, line_edited(lambda line: b'{"$oid":"' + b"a" * 24 + b'"}\n')),
        "limits",
        JOBS,
        "not an object",
    ),
    Damage(
        "an empty line", forgery(METRICS, lambda lines: lines.insert(1, b"\n") or 2), "lines", METRICS, "empty line"
    ),
    Damage(
        "byte order mark",
        forgery(JOBS, line_edited(lambda line: b"\xef\xbb\xbf" + line)),
        "lines",
        JOBS,
        "byte order mark",
    ),
    Damage("CR LF", forgery(METADATA, line_edited(lambda line: line[:-1] + b"\r\n")), "lines", METADATA, "CR LF"),
    Damage(
        "invalid UTF-8",
        forgery(JOBS, line_edited(lambda line: line.replace(b'"queue":"', b'"queue":"\xff'))),
        "lines",
        JOBS,
        "UTF-8",
    ),
    Damage(
        "lone surrogate",
        forgery(JOBS, line_edited(lambda line: line.replace(b'"queue":"', b'"queue":"\\ud800'))),
        "lines",
        JOBS,
        "surrogate",
    ),
    Damage(
        "NaN",
        forgery(METRICS, line_edited(lambda line: line.replace(b'"totalUsd":', b'"totalUsd":NaN,"x":'))),
        "lines",
        METRICS,
        "not JSON",
    ),
    Damage(
        "a key twice",
        forgery(JOBS, line_edited(lambda line: line.replace(b'"queue":', b'"queue":"other","queue":'))),
        "lines",
        JOBS,
        "each once",
    ),
    Damage("white space", forgery(JOBS, line_edited(lambda line: b" " + line)), "lines", JOBS, "no white space"),
    Damage("too deep", forgery(JOBS, edited(deepened)), "limits", JOBS, "100 levels"),
    Damage(
        "far too deep",
        forgery(JOBS, line_edited(lambda line: b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}\n")),
        "limits",
        JOBS,
        "100 levels",
    ),
    Damage(
        "too large",
        forgery(JOBS, edited(put("context.metadata.legacy.large", "x" * (16 << 20)))),
        "limits",
        JOBS,
        "MongoDB holds",
    ),
    Damage(
        "a key with a dot", forgery(JOBS, edited(put("context.metadata.legacy", {"a.b": 1}))), "limits", JOBS, "a dot"
    ),
    Damage(
        "an operator for a key",
        forgery(JOBS, edited(put("context.metadata.legacy", {"$set": 1}))),
        "limits",
        JOBS,
        "dollar",
    ),
    Damage("two files swapped", swapped_and_sealed, "contract", METRICS, "cost: Field required"),
    Damage("string _id", forgery(JOBS, edited(put("_id", "0" * 24))), "contract", JOBS, "_id"),
    Damage(
        "string createdAt",
        forgery(JOBS, edited(put("createdAt", "2025-07-19T03:04:05.420Z"))),
        "contract",
        JOBS,
        "createdAt",
    ),
    Damage(
        "no updatedAt",
        forgery(METADATA, edited(lambda document: document.pop("updatedAt"))),
        "contract",
        METADATA,
        "updatedAt: Field required",
    ),
    Damage("unknown status", forgery(JOBS, edited(put("status", "outlining"))), "contract", JOBS, "status"),
    Damage(
        "null in a sum",
        forgery(JOBS, edited(put("summary.totalWordCount", None))),
        "contract",
        JOBS,
        "summary.totalWordCount",
    ),
    Damage(
        "keyEvents a string",
        forgery(JOBS, edited(put("outline.0.keyEvents", "fire"), has_outline)),
        "contract",
        JOBS,
        "outline.0.keyEvents",
    ),
    Damage(
        "attempts a number",
        forgery(JOBS, edited(put("chapters.0.attempts", 2), has_text)),
        "contract",
        JOBS,
        "chapters.0.attempts",
    ),
    Damage(
        "payload lost", forgery(JOBS, edited(lambda document: document.pop("payload"))), "contract", JOBS, "payload"
    ),
    Damage(
        "NaN as a wrapper",
        forgery(METRICS, edited(put("cost.totalUsd", {"$numberDouble": "NaN"}))),
        "contract",
        METRICS,
        "cost.totalUsd",
    ),
    Damage(
        "short time", forgery(EVENTS, edited(put("emittedAt", "2025-07-19T03:04:05Z"))), "contract", EVENTS, "emittedAt"
    ),
    Damage(
        "event without type",
        forgery(EVENTS, edited(put("event.type", ""), is_narrated)),
        "contract",
        EVENTS,
        "event.type",
    ),
    Damage(
        "empty alertId",
        forgery(METADATA, edited(put("continuityAlerts.0.alertId", ""), has_alerts)),
        "contract",
        METADATA,
        "continuityAlerts.0.alertId",
    ),
    Damage(
        "an alert twice",
        forgery(METADATA, edited(repeat_first_alert, has_alerts)),
        "contract",
        METADATA,
        "alertId should be unique",
    ),
    Damage(
        "themes as objects",
        forgery(METADATA, edited(put("storyBibleThemes", [{"name": "loss"}]))),
        "contract",
        METADATA,
        "storyBibleThemes.0",
    ),
    Damage(
        "character without name",
        forgery(METADATA, edited(first_character(lambda character: character.pop("name")), has_story_bible)),
        "contract",
        METADATA,
        "name: Field required",
    ),
    Damage(
        "NUL in a regular expression",
        forgery(
            JOBS,
            edited(put("context.metadata.legacy.r", {"$regularExpression": {"pattern": "a\0b", "options": ""}})),
        ),
        "limits",
        JOBS,
        "leading dollar sign",
    ),
    Damage("unknown field", forgery(METRICS, edited(put("isAdmin", True))), "contract", METRICS, "isAdmin"),
)
"""A single line is enough to tell."""

FORGED_RELATIONS = (
    Damage(
        "a job twice",
        forgery(JOBS, repeated(lambda document: None)),
        "identities",
        JOBS,
        "jobId: the same as on line 1",
    ),
    Damage(
        "an _id twice",
        forgery(METRICS, lambda lines: edited(put("_id", json.loads(lines[1])["_id"]))(lines) and 2),
        "identities",
        METRICS,
        "_id: the same as on line 1",
    ),
    Damage("a job lost", forgery(JOBS, removed()), "references", METRICS, "no such job"),
    Damage("metrics lost", forgery(METRICS, removed()), "references", JOBS, f"nothing in {METRICS}"),
    Damage(
        "metadata twice",
        forgery(METADATA, repeated(lambda document: None)),
        "identities",
        METADATA,
        "jobId: the same as on line 1",
    ),
    Damage(
        "metadata of no job", forgery(METADATA, edited(put("jobId", "nobody"))), "references", METADATA, "no such job"
    ),
    Damage("event of no job", forgery(EVENTS, edited(put("jobId", "nobody"))), "references", EVENTS, "no such job"),
    Damage(
        "event of another job", forgery(EVENTS, moved_to_another_job), "consistency", EVENTS, "generation cost-tracking"
    ),
    Damage("event lost", forgery(EVENTS, event_removed), "consistency", EVENTS, "job-status queued: 0"),
    Damage("events at one time", forgery(EVENTS, tied), "order", EVENTS, "the same as of an event"),
    Damage("events out of order", forgery(EVENTS, out_of_order), "order", EVENTS, "earlier than of an event"),
    Damage(
        "event's dates",
        forgery(EVENTS, edited(put("createdAt", {"$date": "2025-01-01T00:00:00.000Z"}))),
        "consistency",
        EVENTS,
        "not the time of emittedAt",
    ),
    Damage(
        "event of unknown type",
        forgery(EVENTS, edited(put("event.type", "invented"), is_cost)),
        "consistency",
        EVENTS,
        "invented",
    ),
    Damage(
        "cost of an event",
        forgery(EVENTS, elsewhere(edited(put("event.costInUsd", 99), is_cost))),
        "consistency",
        EVENTS,
        "cost-tracking",
    ),
    Damage(
        "prompt tokens of an event",
        forgery(EVENTS, elsewhere(edited(put("event.promptTokens", 99), is_cost))),
        "consistency",
        EVENTS,
        "cost-tracking",
    ),
    Damage(
        "embedded event changed",
        forgery(JOBS, edited(put("events.0.occurredAt", "2025-01-01T00:00:00.000Z"), has_embedded_event)),
        "consistency",
        JOBS,
        "events: not the latest",
    ),
    Damage(
        "embedded event lost",
        forgery(JOBS, edited(drop_first("events"), lambda job: len(job["events"]) > 1)),
        "consistency",
        JOBS,
        "events: not the latest",
    ),
    Damage(
        "embedded events lost",
        forgery(JOBS, edited(lambda job: job.update(events=[], domainEvents=[]), has_embedded_event)),
        "consistency",
        JOBS,
        "domainEvents: empty in 1",
    ),
    Damage(
        "cost of a chapter",
        forgery(JOBS, edited(put("chapters.0.costInUsd", 99), has_text)),
        "consistency",
        METRICS,
        "recomputedTotalUsd",
    ),
    Damage("total cost", forgery(METRICS, edited(put("cost.totalUsd", 99.5))), "consistency", METRICS, "cost.totalUsd"),
    Damage("duration", forgery(JOBS, edited(put("durationMs", 77), has_ended)), "consistency", JOBS, "durationMs"),
    Damage(
        "the oldest alert first",
        forgery(METADATA, edited(reverse_alerts, has_alerts)),
        "consistency",
        METADATA,
        "continuityAlerts: not the newest first",
    ),
    Damage(
        "words of the summary",
        forgery(JOBS, edited(put("summary.totalWordCount", 1), has_text)),
        "consistency",
        JOBS,
        "summary.totalWordCount",
    ),
    Damage(
        "chapters of the summary",
        forgery(JOBS, edited(put("summary.chaptersGenerated", 77))),
        "consistency",
        JOBS,
        "summary.chaptersGenerated",
    ),
    Damage(
        "plan of the summary",
        forgery(JOBS, edited(put("summary.totalChaptersPlanned", 77))),
        "consistency",
        JOBS,
        "summary.totalChaptersPlanned",
    ),
    Damage(
        "title of the payload",
        forgery(JOBS, edited(put("payload.title", "Another"))),
        "consistency",
        JOBS,
        "context.job",
    ),
    Damage(
        "completed without an end",
        forgery(JOBS, edited(lambda job: job.pop("completedAt"), lambda job: "completedAt" in job)),
        "consistency",
        JOBS,
        "completedAt",
    ),
    Damage(
        "running without a start",
        forgery(JOBS, edited(lambda job: job.pop("startedAt"), lambda job: "startedAt" in job)),
        "consistency",
        JOBS,
        "startedAt",
    ),
    Damage(
        "a decision lost",
        forgery(METADATA, elsewhere(edited(drop_first("aiDecisions"), has_decision))),
        "consistency",
        EVENTS,
        "domain ai-decision",
    ),
)
"""Every line is good, but they don't go together."""

FORGED_REJECTS = (
    Damage(
        "reject without reason",
        forgery(REJECTS, edited(lambda reject: reject.pop("reason"))),
        "rejects",
        REJECTS,
        "reason: Field required",
    ),
    Damage(
        "reject with an unknown field", forgery(REJECTS, edited(put("x", 1))), "rejects", REJECTS, "x: Extra inputs"
    ),
    Damage(
        "reject of another dump",
        forgery(REJECTS, edited(put("dump", "other.json"))),
        "rejects",
        REJECTS,
        "dump: not one of",
    ),
    Damage(
        "reject with another reason",
        forgery(REJECTS, elsewhere(edited(put("reason", "no-identity")))),
        "counts",
        REJECTS,
        "the reason no-identity",
    ),
    Damage(
        "no JSON among the rejects", forgery(REJECTS, line_edited(lambda line: b"{\n")), "lines", REJECTS, "not JSON"
    ),
    Damage("rejects lost", lambda bundle: (bundle / REJECTS).unlink(), "counts", REJECTS, "rejects: 0"),
    Damage(
        "rejects not in the manifest",
        in_manifest(lambda manifest: manifest["files"].pop(REJECTS)),
        "files",
        MANIFEST,
        REJECTS,
    ),
)

AGAINST_THE_DUMP = (
    Damage(
        "text of a chapter",
        forgery(JOBS, edited(put("chapters.0.content", "Another text."), has_text)),
        "source",
        JOBS,
        "chapters.0.content differs",
        True,
    ),
    Damage(
        "one letter of a chapter",
        forgery(JOBS, line_edited(lambda line: line.replace(b'"content":"', b'"content":"X', 1), has_text)),
        "source",
        JOBS,
        "chapters.0.content differs",
        True,
    ),
    Damage(
        "title everywhere",
        forgery(JOBS, edited(lambda job: (put("payload.title", "T")(job), put("context.job.title", "T")(job)))),
        "source",
        JOBS,
        "title, premise",
        True,
    ),
    Damage(
        "summary of the outline",
        forgery(JOBS, edited(put("outline.0.summary", "S"), has_outline)),
        "source",
        JOBS,
        "outline's summaries",
        True,
    ),
    Damage(
        "recorded cost",
        forgery(
            METRICS,
            edited(
                put("cost.extra.recordedTotalUsd", 0.001),
                lambda metrics: metrics["cost"]["extra"]["recordedTotalUsd"] == 0,
            ),
        ),
        "source",
        JOBS,
        "total cost as recorded",
        True,
    ),
    Damage(
        "tokens",
        forgery(METRICS, edited(put("tokens.total", 1), lambda metrics: metrics["tokens"]["total"] > 1)),
        "source",
        JOBS,
        "total tokens",
        True,
    ),
    Damage(
        "a character lost",
        forgery(METADATA, edited(drop_first("storyBibleCharacters"), has_story_bible)),
        "source",
        JOBS,
        "characters",
        True,
    ),
    Damage(
        "an entry of the timeline lost",
        forgery(METADATA, edited(drop_first("storyBibleMetadata.timeline"), has_story_bible)),
        "source",
        JOBS,
        "timeline",
        True,
    ),
    Damage(
        "an alert lost",
        forgery(METADATA, edited(drop_first("continuityAlerts"), has_alerts)),
        "source",
        JOBS,
        "alerts",
        True,
    ),
    Damage(
        "an alert renamed",
        forgery(METADATA, edited(put("continuityAlerts.0.alertId", "renamed"), has_alerts)),
        "source",
        JOBS,
        "ids of the alerts",
        True,
    ),
    *(
        Damage(f"{path} of {file}", forgery(file, edited(put(path, value), where)), "source", JOBS, reason, True)
        for file, path, value, where, reason in (
            (JOBS, "_id", {"$oid": "f" * 24}, any_document, "_id differs"),
            (JOBS, "createdAt", {"$date": "2025-01-01T00:00:00.000Z"}, any_document, "createdAt differs"),
            (METRICS, "createdAt", {"$date": "2025-01-01T00:00:00.000Z"}, any_document, "createdAt differs"),
            (JOBS, "receivedAt", "2025-01-01T00:00:00.000Z", any_document, "receivedAt differs"),
            (JOBS, "chapters.0.title", "Another", has_text, "chapters.0 differs"),
            (JOBS, "chapters.0.generatedAt", "2025-01-01T00:00:00.000Z", has_text, "chapters.0 differs"),
            (JOBS, "outline.0.keyEvents", ["another"], has_outline, "outline.0 differs"),
            (JOBS, "modelUsage.premiseAnalysis.tokensUsed", 7, has_usage, "modelUsage.premiseAnalysis.tokensUsed"),
            (METRICS, "cost.analysisUsd", 7.5, has_recorded_cost, "costs of the stage analysis differ"),
            (METRICS, "tokens.outline", 7, any_document, "tokens of the stage outline differ"),
            (METRICS, "latencyMs.chapters", 7, any_document, "latencyMs.chapters differs"),
            (METADATA, "continuityAlerts.0.message", "another", has_alerts, "continuityAlerts.0 differs"),
            (METADATA, "aiDecisions.0.summary", "another", has_decision, "aiDecisions."),
            (METADATA, "storyBibleMetadata.timeline.0.title", "another", has_story_bible, "timeline.0 differs"),
            (METADATA, "storyBibleMetadata.plotThreads.0.status", "another", has_story_bible, "plotThreads.0 differs"),
            (METADATA, "storyBibleThemes", ["another"], has_story_bible, "storyBibleThemes"),
            (METADATA, "performance.totalRequests", -7, has_story_bible, "performance.totalRequests differs"),
        )
    ),
    Damage(
        "an alert resolved",
        forgery(METADATA, edited(resolve_first_alert, has_alerts)),
        "source",
        JOBS,
        "continuityAlerts.0 differs",
        True,
    ),
    Damage(
        "a character renamed",
        forgery(METADATA, edited(first_character(put("name", "Another")), has_story_bible)),
        "source",
        JOBS,
        "storyBibleCharacters.",
        True,
    ),
    Damage("a job lost without a trace", job_removed_everywhere, "source", JOBS, "is missing, document 1", True),
    Damage(
        "a reject that is no job lost without a trace",
        first_reject_removed,
        "source",
        REJECTS,
        "document 0 of the dump jobs.json is no job, and is not here",
        True,
    ),
    Damage("a reject lost without a trace", reject_removed, "source", JOBS, "without a plain id are missing", True),
    Damage(
        "document of a reject",
        forgery(REJECTS, edited(put("document", "another"))),
        "source",
        REJECTS,
        "document: not what the dump has",
        True,
    ),
    Damage(
        "place of a reject", forgery(REJECTS, edited(put("index", 999))), "source", REJECTS, "no such document", True
    ),
)
"""The bundle is in harmony with itself, and still isn't what the dump holds."""

DAMAGES = (*ACCIDENTS, *FORGED_LINES, *FORGED_RELATIONS, *FORGED_REJECTS, *AGAINST_THE_DUMP)
