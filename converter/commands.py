"""The commands: how help shows each, what it takes, how it is run, what it prints.

Modules are imported where a command runs, so that the other commands, and help, start quickly.
"""

import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from converter import settings, storage

if TYPE_CHECKING:
    from converter.fixtures import FixtureRequest
    from converter.mongo_tools import ExportRequest, LoadRequest
    from converter.request import Summary

FINISHED_WITH_REJECTS = 3


class SchemaRequest(BaseModel, frozen=True, strict=True, extra="forbid"):
    """Whose JSON Schema to print; None for all four."""

    collection: Literal["novel_jobs", "novel_job_events", "novel_job_metrics", "novel_job_metadata"] | None = None


@dataclass(frozen=True)
class Command:
    """One command of the program."""

    summary: str
    request: str  # module:class, imported when the command is used
    run: Callable[[Any], tuple[str, int]]  # takes the request, returns what to print and the exit code
    details: str = ""
    arguments: str = ""  # as in the usage line: "DUMP...", "BUNDLE", "[COLLECTION]" or nothing
    argument: str = ""  # the field of the request that takes them
    options: Mapping[str, tuple[str, str]] = field(
        default_factory=dict
    )  # field: (what its value is called, what it does)
    fields: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)  # see settings.model_of
    examples: tuple[str, ...] = ()

    @cached_property
    def model(self) -> type[BaseSettings]:
        """The request, to be filled from text."""
        module, _, request = self.request.partition(":")
        return settings.model_of(getattr(import_module(module), request), self.fields)

    @property
    def flags(self) -> dict[str, FieldInfo]:
        """The fields of the request that have a flag: all but its arguments."""
        return {name: info for name, info in self.model.model_fields.items() if name != self.argument}

    def takes(self, count: int) -> bool:
        """Whether that many arguments are right."""
        least = 1 if self.arguments and not self.arguments.startswith("[") else 0
        most = count if self.arguments.endswith("...") else len(self.arguments.split())
        return least <= count <= most


def bundle_for(given: Mapping[str, Any]) -> str:
    """Where the bundle of ``given["dumps"]`` goes by default: ``dumps/jobs.bundle`` for ``~/jobs.json.gz``."""
    first = given["dumps"][0]
    name = "stdin" if first == "-" else storage.name(first)
    for endings in ((".gz", ".zst", ".xz", ".bz2"), (".json", ".ndjson", ".jsonl", ".bson")):
        for ending in endings:
            if name.lower().endswith(ending) and len(name) > len(ending):
                name = name[: -len(ending)]
                break
    return str(PurePath("dumps", f"{name}.bundle"))


def run_convert(request: Any) -> tuple[str, int]:
    from converter.processes import few_searches_for_cycles

    with few_searches_for_cycles():
        from converter.conversion import convert
        from converter.progress import displayed

        with displayed(request.progress) as progress:
            summary = convert(request, progress)
    # Not pydantic's JSON, which knows only UTF-8: a folder may be called otherwise.
    text = json.dumps(summary.model_dump(), ensure_ascii=False) if request.json_ else describe(summary, request.limit)
    return text, FINISHED_WITH_REJECTS if summary.rejected and not summary.already_finished else 0


def describe(summary: "Summary", limit: int | None) -> str:
    """The summary for people: what was read and became of it, where it is, what to do next."""
    from converter.place import place

    head = f"{summary.read:,} documents read: {summary.accepted:,} accepted, {summary.rejected:,} rejected"
    if summary.already_finished:
        head = f"{summary.out} is finished already, nothing was left to do.\n{head}"
    if not summary.read and limit != 0:
        head += "\nthere were no documents in the dump"
    lines = [head, *_table(summary.rejects_by_reason.items())]
    lines += ["", "files that would be written" if summary.dry_run else "files"]
    lines += _table((name, file.documents, f"{file.bytes:,} bytes") for name, file in summary.files.items())
    if summary.repairs:
        lines += ["", "repairs", *_table(sorted(summary.repairs.items()))]
    if summary.dry_run:
        return "\n".join([*lines, "", "dry run: nothing was written"])
    lines += ["", f"bundle: {summary.out}"]
    if summary.rejected:
        lines.append(f"rejected documents, with the reason: {place(summary.out).path('rejects.ndjson')}")
    if storage.is_url(summary.out):
        return "\n".join([*lines, f"next: {storage.copying(summary.out)}", "      novel-backfill load FOLDER"])
    return "\n".join([*lines, f"next: {shlex.join(['novel-backfill', 'load', summary.out])}"])


def _table(rows: Iterable[tuple[str, int] | tuple[str, int, str]]) -> list[str]:
    """Names on the left, counts and what follows them on the right."""
    cells = [(name, f"{count:,}", *rest) for name, count, *rest in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            ["", f"{name:{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True))]
        )
        for name, *rest in cells
    ]


def run_verify(request: Any) -> tuple[str, int]:
    from converter.verification import render, verify

    findings = verify(request)
    # The bundle may lie in a folder whose name is no text, which pydantic doesn't write.
    text = json.dumps(findings.model_dump(), ensure_ascii=False, indent=2) if request.json_ else render(findings)
    return text, 0 if findings.ok else 1


def run_profile(request: Any) -> tuple[str, int]:
    from converter.profiling import profile, text

    found = profile(request)
    return found.model_dump_json(indent=2) if request.json_ else text(found), 1 if found.broken else 0


def run_fixtures(request: "FixtureRequest") -> tuple[str, int]:
    from converter.fixtures import write_fixture

    summary = write_fixture(request)
    return "" if request.out == "-" else f"{summary.out}: {summary.documents:,} jobs, {summary.bytes:,} bytes", 0


def run_export(request: "ExportRequest") -> tuple[str, int]:
    from converter.mongo_tools import export

    return "", export(request)


def run_load(request: "LoadRequest") -> tuple[str, int]:
    from converter.mongo_tools import load

    return "", load(request)


def run_schema(request: SchemaRequest) -> tuple[str, int]:
    from converter.models.target import COLLECTIONS, json_schema

    if request.collection:
        schemas = json_schema(request.collection)
    else:
        schemas = {collection: json_schema(collection) for collection in COLLECTIONS}
    return json.dumps(schemas, indent=2, ensure_ascii=False), 0


COMMANDS = {
    "convert": Command(
        summary="Convert one or several dumps, in the given order, into a bundle that mongoimport loads.",
        details="A dump is what mongoexport or mongodump wrote: a JSON array, one document per line, or .bson; plain "
        "or in gzip, zstd, xz or bzip2. Its content tells, not its name. - is standard input. "
        "With the extra cloud it may be a URL, such as s3://bucket/jobs.json.",
        request="converter.request:ConvertRequest",
        run=run_convert,
        arguments="DUMP...",
        argument="dumps",
        options={
            "out": ("DIR", "folder of the bundle, or its URL (default: dumps/<dump's name>.bundle)"),
            "work": ("DIR", "folder in which a bundle for a URL is made (default: dumps/<its URL>.partial)"),
            "dry_run": ("", "read, map and check everything, write nothing"),
            "resume": ("", "go on where an interrupted run stopped"),
            "overwrite": ("", "replace a bundle, or what an interrupted run left"),
            "limit": ("N", "stop after N documents"),
            "batch_size": ("N", "documents between two checkpoints"),
            "workers": ("N", "processes that convert (default: the processors there are, 1 for a small dump)"),
            "scheduler": ("URL", "a Dask cluster that converts instead, tcp://host:8786; needs the extra cluster"),
            "reader": (
                "",
                "what reads JSON: the fast lane where it can, or ijson alone; the bytes are the same",
            ),
            "queue": ("NAME", "the field queue of every job"),
            "in_flight": ("", "jobs that had not ended: keep them, or fail them with a record that says why"),
            "json_format": ("", "Extended JSON of the four files"),
            "parts": ("", "the workers write the files, in parts: where one process can't write fast enough"),
            "max_rejects": ("N", "end the run at more rejects than this: a number, or a share such as 1.5%"),
            "progress": ("", "how progress is shown on standard error"),
            "json_": ("", "print the summary as one JSON object"),
        },
        fields={
            "out": (str, Field(default_factory=bundle_for)),
            "json_": (bool, Field(default=False, validation_alias="BACKFILL_JSON")),
        },
        examples=(
            "convert dumps/jobs.json",
            "convert dumps/jobs-1.json.gz dumps/jobs-2.bson --out=bundle",
            "convert dumps/jobs.json --dry-run --limit=100",
            "convert dumps/jobs.json --resume",
            "convert - --out=bundle --json < jobs.json",
        ),
    ),
    "verify": Command(
        summary="Prove a bundle: checksums, counts, every line against its contract, ids and references.",
        details="With the dump that it was made from, the dump is recounted too, and what both hold is compared.",
        request="converter.verification:VerifyRequest",
        run=run_verify,
        arguments="BUNDLE",
        argument="bundle",
        options={
            "dump": ("DUMP", "the dump that the bundle was made from; given once for each, in their order"),
            "fast": ("", "sizes and checksums only"),
            "json_": ("", "print the findings as one JSON object"),
        },
        fields={"json_": (bool, Field(default=False, validation_alias="BACKFILL_JSON"))},
        examples=("verify dumps/jobs.bundle", "verify dumps/jobs.bundle --dump=dumps/jobs.json"),
    ),
    "profile": Command(
        summary="Show what a dump holds: sizes, fields and their types, statuses, generations, oddities.",
        request="converter.profiling:ProfileRequest",
        run=run_profile,
        arguments="DUMP...",
        argument="dumps",
        options={
            "html": ("FILE", "also write it as one self-contained page"),
            "json_": ("", "print the profile as one JSON object"),
        },
        fields={"json_": (bool, Field(default=False, validation_alias="BACKFILL_JSON"))},
        examples=("profile dumps/jobs.json", "profile dumps/jobs.json.gz --html=profile.html"),
    ),
    "fixtures": Command(
        summary="Write a synthetic dump of believable jobs, the same bytes for the same seed.",
        request="converter.fixtures:FixtureRequest",
        run=run_fixtures,
        options={
            "out": ("FILE", "the dump to write; - is standard output"),
            "size": ("", "some 10 jobs, some 100, or 2 GB and more"),
            "jobs": ("N", "that many jobs, whatever the size"),
            "seed": ("N", "another seed makes other jobs"),
            "json_format": ("", "dialect of Extended JSON"),
            "lines": ("", "one document per line instead of an array"),
            "pretty": ("", "indented, as mongoexport --pretty writes it"),
            "bson": ("", "as mongodump writes it"),
            "ascii": ("", "no text outside ASCII"),
            "overwrite": ("", "replace a file that is there"),
        },
        examples=(
            "fixtures --size=small --out=dumps/small.json",
            "fixtures --jobs=5000 --seed=7 --lines --out=jobs.ndjson",
        ),
    ),
    "export": Command(
        summary="Export the legacy collection with mongoexport --jsonArray, the password kept out of sight.",
        request="converter.mongo_tools:ExportRequest",
        run=run_export,
        options={
            "out": ("FILE", "the dump to write; it must not exist yet"),
            "uri": (
                "URI",
                "mongodb://user:password@host/database; safer in the environment, where no process list shows it",
            ),
        },
        fields={"uri": (SecretStr | None, Field(default=None, validation_alias="LEGACY_MONGODB_URI"))},
        examples=("export --out=dumps/jobs.json",),
    ),
    "load": Command(
        summary="Load a bundle with its own import.sh, or take it out again.",
        request="converter.mongo_tools:LoadRequest",
        run=run_load,
        arguments="BUNDLE",
        argument="bundle",
        options={
            "uri": (
                "URI",
                "mongodb://user:password@host/database; safer in the environment, where no process list shows it",
            ),
            "mode": ("", "insert refuses what is there, upsert replaces it, delete is the rollback"),
        },
        fields={"uri": (SecretStr | None, Field(default=None, validation_alias="TARGET_MONGODB_URI"))},
        examples=("load dumps/jobs.bundle", "load dumps/jobs.bundle --mode=delete"),
    ),
    "schema": Command(
        summary="Print the JSON Schema of one line of a collection's file, or of all four.",
        request="converter.commands:SchemaRequest",
        run=run_schema,
        arguments="[COLLECTION]",
        argument="collection",
        examples=("schema", "schema novel_job_events"),
    ),
}
