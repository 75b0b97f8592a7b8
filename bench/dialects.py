"""One dump in other dialects. Usage: python bench/dialects.py DUMP FOLDER

DUMP is compact and relaxed, as ``mongoexport --jsonArray`` writes it. Every other dialect has the same documents,
in the form in which mongoexport or mongodump write it. Only ``ascii.json`` has other texts: each byte that isn't ASCII
became a hyphen, so that the dump is as long as before.
"""

import gzip
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import bson
from bson import Binary

from converter.documents import RawDocument
from converter.dump import Dump
from converter.fixtures.mongoexport import encode

PIECE = 1 << 20
ASCII_ONLY = bytes(byte if byte < 0x80 else ord("-") for byte in range(0x100))

# File: how one document is written, and what stands before the first, between two, and behind the last.
WRITERS = {
    "canonical.json": (lambda document: encode(document, "canonical"), b"[", b",", b"]\n"),
    "pretty.json": (lambda document: encode(document, pretty=True), b"[", b",\n", b"]\n\n"),
    "lines.ndjson": (encode, b"", b"\n", b"\n"),
    "dump.bson": (bson.encode, b"", b"", b""),
}


def with_binaries(value: Any) -> Any:
    """The value with plain bytes, which is how binary data of the usual subtype is read, as ``encode`` wants them."""
    if isinstance(value, dict):
        return {key: with_binaries(held) for key, held in value.items()}
    if isinstance(value, list):
        return [with_binaries(held) for held in value]
    return Binary(value) if type(value) is bytes else value


def main(dump: str, folder: str) -> None:
    with ExitStack() as stack:
        # Not the fast lane: the texts are needed.
        source = stack.enter_context(Dump.open(dump, reader="ijson"))
        files = {name: stack.enter_context(Path(folder, name).open("wb")) for name in WRITERS}
        before = {name: begin for name, (_, begin, _, _) in WRITERS.items()}
        for document in source.documents():
            if not isinstance(document, RawDocument):
                raise SystemExit(f"document {document.index} can't be written in other dialects: {document.detail}")
            value = with_binaries(document.value)
            for name, (write, _, between, _) in WRITERS.items():
                files[name].write(before[name] + write(value))
                before[name] = between
        for name, (_, _, _, end) in WRITERS.items():
            files[name].write(end)
    with open(dump, "rb") as compact, gzip.open(Path(folder, "compact.json.gz"), "wb", compresslevel=6) as packed:
        shutil.copyfileobj(compact, packed, PIECE)
    with open(dump, "rb") as compact, Path(folder, "ascii.json").open("wb") as ascii_only:
        while piece := compact.read(PIECE):
            ascii_only.write(piece.translate(ASCII_ONLY))


if __name__ == "__main__":
    main(*sys.argv[1:])
