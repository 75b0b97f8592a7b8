"""manifest.json: what a bundle is made of.

Its first part, the identity, is what makes two runs the same run: tool, options and inputs. ``--resume`` compares it.
There is no clock, no path and no name of a machine in it, so the same input gives the same bytes.
"""

import json
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, NonNegativeInt


class Tool(BaseModel, frozen=True, strict=True, extra="forbid"):
    """Which program made the bundle; ``mapping`` is the version of the mapping's rules."""

    name: str = "novel-backfill"
    version: str
    mapping: int

    def __str__(self) -> str:
        return f"{self.name} {self.version} with mapping {self.mapping}"


class Options(BaseModel, frozen=True, strict=True, extra="forbid"):
    """The options that change the bundle's bytes."""

    queue: str
    in_flight: Literal["keep", "fail"]
    json_format: Literal["relaxed", "canonical"]
    limit: NonNegativeInt | None
    parts: bool = False


class Input(BaseModel, frozen=True, strict=True, extra="forbid"):
    """A dump. Its bytes are those on disk, compressed if they are; None where there is no file (standard input).

    ``head_sha256`` and ``tail_sha256`` are of the first and last 64 KiB: a fingerprint that costs no second reading.
    """

    name: str
    bytes: NonNegativeInt | None
    head_sha256: str | None
    tail_sha256: str | None
    dialect: str
    compression: str | None
    encoding: str


class Identity(BaseModel, frozen=True, strict=True, extra="forbid"):
    """What makes two runs the same run."""

    tool: Tool
    options: Options
    inputs: list[Input]


class FileEntry(BaseModel, frozen=True, strict=True, extra="forbid"):
    """What one NDJSON file holds, or held when a checkpoint was made."""

    documents: NonNegativeInt
    bytes: NonNegativeInt
    sha256: str


class Counts(BaseModel, frozen=True, strict=True, extra="forbid"):
    """Documents of the dumps, repairs by name, rejects by reason."""

    read: NonNegativeInt
    accepted: NonNegativeInt
    rejected: NonNegativeInt
    repairs: dict[str, int]
    rejects_by_reason: dict[str, int]


class Manifest(Identity):
    """The whole of manifest.json."""

    counts: Counts
    files: dict[str, FileEntry]

    def to_text(self) -> str:
        """The file's content: sorted keys, two spaces of indent, a newline at the end."""
        return json.dumps(self.model_dump(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


_WORDS = {
    "name": "the program",
    "version": "the version of novel-backfill",
    "mapping": "the version of the mapping",
    "queue": "--queue",
    "in_flight": "--in-flight",
    "json_format": "--json-format",
    "limit": "--limit",
    "parts": "--parts",
}
_INPUT_WORDS = {"bytes": "its size in bytes", "head_sha256": "its first 64 KiB", "tail_sha256": "its last 64 KiB"}


def differences(before: Identity, now: Identity) -> list[str]:
    """What sets two runs apart, in words for the user; empty when they are the same run."""
    found: list[str] = []
    for part in ("tool", "options"):
        found += _changes(getattr(before, part), getattr(now, part), _WORDS)
    if len(before.inputs) != len(now.inputs):
        return [*found, f"the number of dumps was {len(before.inputs)} and is now {len(now.inputs)}"]
    for old, new in zip(before.inputs, now.inputs, strict=True):
        found += [f"the dump {new.name}: {change}" for change in _changes(old, new, _INPUT_WORDS)]
    return found


def _changes(before: BaseModel, now: BaseModel, words: dict[str, str]) -> Iterator[str]:
    for field in type(now).model_fields:
        old, new = getattr(before, field), getattr(now, field)
        if old != new:
            # A checksum would tell the reader nothing.
            how = "differs" if field.endswith("sha256") else f"was {_value(old)} and is now {_value(new)}"
            yield f"{words.get(field, f'its {field}')} {how}"


def _value(value: object) -> str:
    if value is None or value is False:
        return "not given"
    if value is True:
        return "given"
    return f"{value:,}" if isinstance(value, int) else repr(value)
