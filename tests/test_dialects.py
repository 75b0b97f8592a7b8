"""The same documents give the same four files, however the dump was written, cut into pieces or ordered."""

import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from bson import DatetimeMS, Int64, ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from converter import extjson, mapping
from converter.dump import Dump, Reader
from converter.layout import CHECKSUMS, DATA_FILES
from converter.transformation import Transformed, transform
from tests.dialects import (
    COMPRESSIONS,
    DIALECTS,
    ENCODINGS,
    TEXTS,
    Document,
    documents_of,
    shuffled,
    storable,
    write_bson,
)
from tests.jobs import JOB
from tests.small_dumps import run

# Measuring coverage takes as long as the tests themselves, and others come to the same places.
pytestmark = pytest.mark.no_cover

SMALL = Path(__file__).parent.parent / "fixtures" / "small.json"
FORMATS: tuple[extjson.Mode, ...] = ("relaxed", "canonical")
READERS: tuple[Reader, ...] = ("auto", "ijson")

Files = dict[str, bytes]


def data_files(folder: Path) -> Files:
    return {name: (folder / name).read_bytes() for name in DATA_FILES.values()}


def bundle(dump: Path | tuple[Path, ...], out: Path, **options: Any) -> Files:
    """The four data files that the dump is converted to."""
    dumps = dump if isinstance(dump, tuple) else (dump,)
    run(tuple(map(str, dumps)), out, batch_size=1000, **options)
    return data_files(out)


def converted(
    dump: Path, *, json_format: extjson.Mode = "relaxed", reader: Reader = "auto", buffer_size: int = 65536
) -> list[object]:
    """What becomes of each document: its lines, or the reason why there are none."""
    results: list[object] = []
    with Dump.open(str(dump), buffer_size=buffer_size, reader=reader) as opened:
        for raw in opened.documents():
            result = transform(raw, mapping.Options(), json_format)
            results.append(result.lines if isinstance(result, Transformed) else result)
    return results


@pytest.fixture(scope="module")
def small() -> list[Document]:
    return documents_of(SMALL.read_text("utf-8"))


@pytest.fixture(scope="module", params=FORMATS)
def expected(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[extjson.Mode, Files]:
    """The format, and the four files that the fixture itself gives."""
    return request.param, bundle(SMALL, tmp_path_factory.mktemp("expected"), json_format=request.param)


# ------------------------------------------------------------------------------------------- the fixture, whole runs


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialect(dialect: str, small: list[Document], expected: tuple[extjson.Mode, Files], tmp_path: Path) -> None:
    json_format, files = expected
    dump = tmp_path / "dump"
    dump.write_bytes(DIALECTS[dialect](small))

    assert files == bundle(dump, tmp_path / "bundle", json_format=json_format)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("dialect", ["array, pretty", "lines", "bson"])
def test_compression(
    dialect: str, compression: str, small: list[Document], expected: tuple[extjson.Mode, Files], tmp_path: Path
) -> None:
    json_format, files = expected
    dump = tmp_path / "dump"
    dump.write_bytes(COMPRESSIONS[compression](DIALECTS[dialect](small)))

    assert files == bundle(dump, tmp_path / "bundle", json_format=json_format)


@pytest.mark.parametrize("reader", ["auto", "ijson"])
def test_of_a_name_that_stands_twice_the_last_counts(reader: Reader, tmp_path: Path) -> None:
    """Nobody notices (docs/limits.md), but whoever reads it must come to the same."""
    twice = (
        '{"_id":{"$oid":"687b0a9000000000000000aa"},"status":"completed","title":"a","title":"b",'
        '"chapters":[{"chapterNumber":1,"content":"c","content":"d"}],"metadata":{"e":1,"e":2}}\n'
    )
    dump = tmp_path / "dump"
    dump.write_text(twice.replace('"title":"a",', "").replace('"content":"c",', "").replace('"e":1,', ""))
    expected = converted(dump)
    dump.write_text(twice)

    assert expected == converted(dump, reader=reader)


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("dialect", ["array, indented anew", "lines"])
def test_encoding(
    dialect: str,
    encoding: str,
    compression: str | None,
    small: list[Document],
    expected: tuple[extjson.Mode, Files],
    tmp_path: Path,
) -> None:
    json_format, files = expected
    data = ENCODINGS[encoding](TEXTS[dialect](small))
    dump = tmp_path / "dump"
    dump.write_bytes(COMPRESSIONS[compression](data) if compression else data)

    assert files == bundle(dump, tmp_path / "bundle", json_format=json_format)


def test_several_files_of_several_dialects(
    small: list[Document], expected: tuple[extjson.Mode, Files], tmp_path: Path
) -> None:
    json_format, files = expected
    parts = {
        "1.json": DIALECTS["array"](small[:4]),
        "2.json.gz": COMPRESSIONS["gzip"](DIALECTS["array, v1"](small[4:5])),
        "3.json": DIALECTS["array"]([]),
        "4.bson": DIALECTS["bson"](small[5:9]),
        "5.txt": ENCODINGS["utf-16-le"](TEXTS["lines"](small[9:])),
    }
    for name, data in parts.items():
        (tmp_path / name).write_bytes(data)
    dumps = tuple(tmp_path / name for name in parts)

    assert files == bundle(dumps, tmp_path / "bundle", json_format=json_format)


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_standard_input(
    compression: str | None, small: list[Document], expected: tuple[extjson.Mode, Files], tmp_path: Path
) -> None:
    json_format, files = expected
    data = DIALECTS["lines"](small)
    command = [sys.executable, "-m", "converter", "convert", "-", "--out=bundle", f"--json-format={json_format}"]
    subprocess.run(
        command,
        input=COMPRESSIONS[compression](data) if compression else data,
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )

    assert files == data_files(tmp_path / "bundle")


@pytest.mark.parametrize("dialect", ["array", "bson"])
@pytest.mark.parametrize("seed", range(3))
def test_order_of_keys(
    dialect: str, seed: int, small: list[Document], expected: tuple[extjson.Mode, Files], tmp_path: Path
) -> None:
    json_format, files = expected
    dump = tmp_path / "dump"
    dump.write_bytes(DIALECTS[dialect](shuffled(small, Random(seed))))

    assert files == bundle(dump, tmp_path / "bundle", json_format=json_format)


def test_size_of_the_batches_changes_nothing_but_the_reports(tmp_path: Path) -> None:
    bundles = []
    for batch_size in (1, 2, 5, 14, 2000):
        out = tmp_path / str(batch_size)
        run(str(SMALL), out, batch_size=batch_size)
        bundles.append((out / CHECKSUMS).read_text())

    assert [bundles[0]] * 5 == bundles


# ----------------------------------------------------------------------------------------------- any document at all


@settings(max_examples=40)
@given(st.lists(JOB.map(storable), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_any_documents_in_any_dialect(
    tmp_path_factory: pytest.TempPathFactory, documents: list[Document], random: Random
) -> None:
    dump = tmp_path_factory.getbasetemp() / "any dump"
    dump.write_bytes(write_bson(documents))
    expected = converted(dump)

    for dialect, write in DIALECTS.items():
        dump.write_bytes(write(shuffled(documents, random)))
        for reader in READERS:
            assert expected == converted(dump, reader=reader), (dialect, reader)


@settings(max_examples=20)
@given(st.lists(JOB.map(storable), min_size=1, max_size=3))
def test_any_documents_as_canonical_output(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> None:
    # Relaxed and v1 dumps don't tell a small Long from an int, so a canonical bundle can only keep what they tell.
    documents = without_longs(documents)
    dump = tmp_path_factory.getbasetemp() / "any dump"
    dump.write_bytes(write_bson(documents))
    expected = converted(dump, json_format="canonical")

    for dialect, write in DIALECTS.items():
        dump.write_bytes(write(documents))
        assert expected == converted(dump, json_format="canonical"), dialect


def without_longs(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_longs(held) for key, held in value.items()}
    if isinstance(value, list):
        return [without_longs(held) for held in value]
    return int(value) if isinstance(value, Int64) else value


# --------------------------------------------------------------------------------------------------- pieces of any size

# Long enough for the fast lane to cut out a text; with escapes, pairs of surrogates, and characters of 1 to 4 bytes.
TINY: list[Document] = [
    {
        "_id": ObjectId("687b00000000000000000001"),
        "status": "completed",
        "title": 'A "tiny" \\ dump}, {"a": 1}',
        "createdAt": DatetimeMS(1_752_894_245_420),
        "chapters": [
            {"content": "“Naïve,” 日本 \U0001f600 \U0001f3f4 \ud7ff \x7f \u2028 a/b \t}\n" * 12, "wordCount": 7},
            {"content": None},
        ],
        "completedAt": DatetimeMS(-1),
        "score": 1.0,
    },
    {"_id": ObjectId("687b00000000000000000002"), "n": Int64(2**40), "x": float("nan")},
]
PIECES = {
    "array": DIALECTS["array, mixed"](TINY),
    "lines": DIALECTS["lines, pretty"](TINY),
    "escaped": DIALECTS["array, escaped"](TINY),
    "bson": DIALECTS["bson"](TINY),
    "gzip": COMPRESSIONS["gzip"](DIALECTS["array"](TINY)),
    "utf-16": ENCODINGS["utf-16-be"](TEXTS["array, indented anew"](TINY)),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", PIECES)
def test_pieces_of_any_size(name: str, reader: Reader, tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    dump.write_bytes(DIALECTS["bson"](TINY))
    expected = converted(dump)
    dump.write_bytes(PIECES[name])

    assert dict.fromkeys(range(1, 65), expected) == {
        size: converted(dump, reader=reader, buffer_size=size) for size in range(1, 65)
    }
