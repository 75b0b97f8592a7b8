"""A bundle's files as a whole: its manifest, which are there, their sizes and checksums."""

import hashlib
import re
from io import TextIOWrapper
from pathlib import PurePath
from typing import Final

from pydantic import ValidationError

from converter.errors import BackfillError
from converter.layout import (
    CHECKSUMS,
    DATA_FILES,
    MANIFEST,
    REJECTS,
    REPORTS,
    data_files,
    is_of_bundle,
    part_name,
)
from converter.manifest import Manifest
from converter.place import Place
from converter.verification.findings import Proof, shown

_ALWAYS: Final = (MANIFEST, "import.sh", "indexes.js", "README.md")
"""What SHA256SUMS lists of every bundle, besides the files of the manifest."""
_CHECKSUM_LINE: Final = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def read_manifest(bundle: Place) -> Manifest:
    """What the bundle says of itself. Raises ``BackfillError`` when ``bundle`` is none."""
    path = bundle.path(MANIFEST)
    try:
        if MANIFEST not in (present := bundle.names()):
            unfinished = any(name.endswith(".partial") for name in present)
            way_out = (
                "its conversion was interrupted, go on with convert --resume" if unfinished else "this is no bundle"
            )
            raise BackfillError(f"{path} is missing: {way_out}")
        with bundle.open(MANIFEST) as file:
            return Manifest.model_validate_json(file.read())
    except (FileNotFoundError, NotADirectoryError):
        raise BackfillError(f"{bundle.path('')} is no folder: give the folder that convert made") from None
    except OSError as error:
        raise BackfillError(f"{path} can't be read: {error.strerror or error}") from error
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
        what = shown(": ".join([".".join(map(str, problem["loc"])), problem["msg"]]).removeprefix(": "))
        raise BackfillError(f"{path} is no manifest of novel-backfill ({what}): get the bundle again") from None


def check_files(bundle: Place, manifest: Manifest, proof: Proof) -> None:
    """Every file that the manifest or SHA256SUMS name is there, and is what they say."""
    listed = _checksums(bundle, proof)
    for name in (*_data_files(manifest), *([REJECTS] if manifest.counts.rejected else [])):
        proof.expect(name in manifest.files, "files", MANIFEST, None, f"{name} is not in it")
    for name in sorted({*manifest.files, *_ALWAYS} - listed.keys()):
        proof.problem("checksums", CHECKSUMS, None, f"{shown(name)} is not in it")
    for name in sorted({*manifest.files, *listed}):
        _check_file(bundle, name, manifest, listed.get(name), proof)
    for name in sorted(bundle.names()):
        if name.endswith(".partial"):
            proof.warn(name, "left by a conversion that was interrupted, or is at work")
        elif not is_of_bundle(name):
            proof.warn(name, "not a file of the bundle")
        elif name not in {*manifest.files, *_ALWAYS, *REPORTS, CHECKSUMS}:
            proof.problem("files", name, None, "this bundle should have no such file")


def _data_files(manifest: Manifest) -> list[str]:
    """The files that must be there: one for each collection, or as many parts of each, with none missing between."""
    if not manifest.options.parts:
        return list(DATA_FILES.values())
    most = max(1, *map(len, data_files(manifest.files).values()))
    return [part_name(collection, number) for collection in DATA_FILES for number in range(most)]


def _check_file(bundle: Place, name: str, manifest: Manifest, checksum: str | None, proof: Proof) -> None:
    if PurePath(name).name != name:
        proof.problem("files", name, None, "outside the bundle")
        return
    size = bundle.size(name)
    missing = "this is no file" if size is None and name in bundle.names() else "the file is missing"
    proof.expect(size is not None, "files", name, None, missing)
    if size is None:
        return
    entry = manifest.files.get(name)
    with bundle.open(name) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if checksum is not None:
        proof.expect(found == checksum, "checksums", name, None, f"the checksum is not the one in {CHECKSUMS}")
    if entry is not None:
        proof.expect(size == entry.bytes, "checksums", name, None, f"{size:,} bytes, the manifest says {entry.bytes:,}")
        proof.expect(found == entry.sha256, "checksums", name, None, "the checksum is not the one in the manifest")


def _checksums(bundle: Place, proof: Proof) -> dict[str, str]:
    """File name -> checksum, as SHA256SUMS has them."""
    there = bundle.size(CHECKSUMS) is not None
    proof.expect(there, "files", CHECKSUMS, None, "the file is missing")
    listed = {}
    if there:
        with TextIOWrapper(bundle.open(CHECKSUMS), encoding="utf-8", errors="replace", newline="\n") as file:
            for number, line in enumerate(file, 1):
                match = _CHECKSUM_LINE.fullmatch(line.rstrip("\n"))
                if match:
                    listed[match[2]] = match[1]
                else:
                    proof.problem("checksums", CHECKSUMS, number, "not a checksum, two spaces and a file's name")
    return listed
