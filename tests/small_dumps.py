"""Small dumps in every dialect, and bundles as plain values: for the tests of converting, interrupting and resuming."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson
import orjson
from bson import DatetimeMS, ObjectId

from converter import extjson
from converter.conversion import ConvertRequest, Summary, convert
from converter.errors import BackfillError
from converter.progress import Progress

Document = dict[str, Any]
DIALECTS = ("array", "lines", "bson", "gzip")


def job(number: int, *, words: int = 40) -> Document:
    """A job with enough text for its lines to differ in length."""
    created = DatetimeMS(1_752_880_000_000 + 1000 * number)
    content = "“Yes,” — naïve " * (words + 7 * (number % 5))
    return {
        "_id": ObjectId(f"6b048ef23a7f8646{number:08x}"),
        "status": "completed",
        "title": f"The Harbor {number}",
        "genre": "mystery",
        "chapters": [{"chapterNumber": 1, "title": "One", "content": content, "wordCount": 3, "cost": 0.01}],
        "createdAt": created,
        "updatedAt": created,
    }


def jobs(count: int) -> list[Document]:
    """``count`` documents, of which the 6th is a job seen before and the 9th no job at all, if there are so many."""
    documents = [job(number) for number in range(count)]
    if count > 5:
        documents[5] = documents[1]
    if count > 8:
        documents[8] = {"title": "nobody's"}
    return documents


def write_dump(path: Path, documents: list[Any], dialect: str = "array") -> str:
    """Writes the documents as a dump of one of ``DIALECTS``, and returns its path."""
    lines = [extjson.dumps(document) for document in documents]
    data = {
        "array": lambda: b"[" + b",".join(lines) + b"]\n",
        "lines": lambda: b"".join(line + b"\n" for line in lines),
        "bson": lambda: b"".join(map(bson.encode, documents)),
        "gzip": lambda: gzip.compress(b"[" + b",".join(lines) + b"]\n", mtime=0),
    }[dialect]()
    path.write_bytes(data)
    return str(path)


def run(dump: str | tuple[str, ...], out: Path, **options: Any) -> Summary:
    """Converts in this process, a checkpoint every three documents."""
    dumps = (dump,) if isinstance(dump, str) else dump
    return convert(ConvertRequest(dumps=dumps, out=str(out), **{"batch_size": 3} | options), Progress())


def failure(work: Callable[[], object]) -> BackfillError | None:
    """The error that ``work`` ends with, if any."""
    try:
        work()
    except BackfillError as error:
        return error
    return None


def contents(folder: Path) -> dict[str, bytes]:
    """File name -> bytes, of everything in a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def bundle(folder: Path) -> dict[str, Any]:
    """What a folder holds, but for what the clock and the machine put into the reports."""
    files: dict[str, Any] = contents(folder)
    if "report.json" in files:
        files["report.json"] = json.loads(files["report.json"])
        del files["report.json"]["run"]
    return files | {name: "present" for name in ("report.html", "metrics.prom") if name in files}


def lines(folder: Path, name: str) -> list[Any]:
    """The documents of an NDJSON file, as plain JSON."""
    return [orjson.loads(line) for line in (folder / name).read_bytes().splitlines()]


def manifest(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_bytes())
