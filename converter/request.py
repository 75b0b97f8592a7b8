"""What ``convert`` is asked for, and what it answers."""

import re
import shlex
from pathlib import Path, PurePath
from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from converter.errors import masked
from converter.progress import Mode
from converter.storage import is_url

_STORAGES = ("s3://", "gs://")


class ConvertRequest(BaseModel, frozen=True, strict=True, extra="forbid"):
    """One conversion. ``dumps`` are paths or URLs, ``-`` is standard input; ``out`` is the bundle's folder, or its URL.

    ``work`` is the folder in which a bundle for a URL is made.
    ``max_rejects`` is a count (``10``) or a share of the documents read (``1.5%``). A count ends the run with the first
    reject above it. A share does so once 100 documents have been read, and at the end.
    """

    dumps: tuple[str, ...] = Field(min_length=1)
    out: str = Field(min_length=1)
    work: str | None = Field(default=None, min_length=1)
    dry_run: bool = False
    resume: bool = False
    overwrite: bool = False
    limit: int | None = Field(default=None, ge=0)
    batch_size: int = Field(default=5000, ge=1)
    workers: int | None = Field(default=None, ge=1, le=256)
    scheduler: str | None = Field(default=None, pattern=r"^(tcp|tls|wss?)://[^@/?#\s]+:[0-9]+$")
    reader: Literal["auto", "ijson"] = "auto"
    queue: str = Field(default="novel-generation", min_length=1)
    in_flight: Literal["keep", "fail"] = "keep"
    json_format: Literal["relaxed", "canonical"] = "relaxed"
    parts: bool = False
    max_rejects: str | None = None
    progress: Mode = "auto"

    @field_validator("out")
    @classmethod
    def _place(cls, value: str) -> str:
        if is_url(value) and not value.startswith(_STORAGES):
            raise ValueError("a bundle is made in a folder, or at s3://bucket/... or gs://bucket/...")
        if is_url(value) and "@" in value.split("/")[2]:
            raise ValueError("credentials belong into the environment, where the storage's own tools look for them")
        if is_url(value) and re.search(r"[*?#\[\]]", value):
            raise ValueError("in a URL *, ?, #, [ and ] mean something else: give the bundle another name")
        return value

    @field_validator("max_rejects")
    @classmethod
    def _count_or_share(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[0-9]+(\.[0-9]+)?%|[0-9]+", value):
            raise ValueError("expected a count such as 10, or a share such as 1.5%")
        return value

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.resume and self.overwrite:
            raise ValueError("--resume goes on, --overwrite starts over: give only one of them")
        if self.parts and self.limit is not None:
            raise ValueError("--parts are made of whole ranges of a dump, --limit ends anywhere: give only one of them")
        if self.workers is not None and self.scheduler is not None:
            raise ValueError("--workers are of this machine, --scheduler has others: give only one of them")
        if self.work is not None and not is_url(self.out):
            raise ValueError("--work is where a bundle for a URL is made, and --out is a folder: give only --out")
        if self.dumps.count("-") > 1:
            raise ValueError("standard input can be read only once")
        return self

    @property
    def folder(self) -> Path:
        """Where the bundle is made, and what ``resume`` needs is kept."""
        if not is_url(self.out):
            return Path(self.out)
        return Path(self.work or PurePath("dumps", re.sub("[:/]+", "-", self.out.rstrip("/")) + ".partial"))

    def streams(self) -> list[str]:
        """The dumps that can be read only once."""
        return [path for path in self.dumps if path == "-" or Path(path).is_fifo()]

    def way_on(self, documents: int | None = None) -> str:
        """What to do after an interruption, for the end of an error's line.

        ``documents`` were converted by then; None where that isn't known.
        """
        if self.dry_run:
            return "nothing was written"
        for path in self.streams():
            what = "standard input" if path == "-" else path
            return f"{what} can't be read again: save it to a file, and start over with --overwrite"
        if documents == 0:
            return f"nothing was converted; start over with: {self.command('--overwrite')}"
        return f"go on with: {self.command('--resume')}"

    def command(self, switch: Literal["--resume", "--overwrite"]) -> str:
        """The command line that goes on with this run, or does it from the beginning; ready for a shell."""
        words = ["novel-backfill", "convert", *self.dumps, f"--out={self.out}", switch]
        for name, option in ConvertRequest.model_fields.items():
            value = getattr(self, name)
            if name not in ("dumps", "out", "dry_run", "resume", "overwrite") and value != option.default:
                words.append(f"--{name.replace('_', '-')}={value}")
        return masked(shlex.join(words))


class FileSummary(BaseModel, frozen=True):
    """Documents and bytes of one file of the bundle."""

    documents: int
    bytes: int


class Summary(BaseModel, frozen=True):
    """What a conversion came to. After ``--resume`` the figures are those of the whole bundle.

    ``files`` is by file name, with ``rejects.ndjson`` only when there are any. ``already_finished`` says that
    ``resume`` found nothing left to do.
    """

    out: str
    dry_run: bool
    finished: bool
    already_finished: bool
    read: int
    accepted: int
    rejected: int
    files: dict[str, FileSummary]
    repairs: dict[str, int]
    rejects_by_reason: dict[str, int]
