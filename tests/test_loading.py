"""The shipped fixture, converted and loaded into a real server under the real indexes: by pymongo, and by import.sh."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bson import json_util
from bson.codec_options import DatetimeConversion
from bson.json_util import CANONICAL_JSON_OPTIONS, RELAXED_JSON_OPTIONS
from pymongo import InsertOne, ReplaceOne
from pymongo.database import Database

from converter.models.target import INDEXES
from tests.mongo import Document, contents

pytest_plugins = ("tests.mongo_fixtures",)

ROOT = Path(__file__).parent.parent
OPTIONS = {
    "relaxed": RELAXED_JSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS),
    "canonical": CANONICAL_JSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS),
}


@pytest.fixture(scope="module", params=OPTIONS)
def json_format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def bundle(json_format: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fixtures/small.json, converted by the command."""
    out = tmp_path_factory.mktemp("loading") / "small.bundle"
    arguments = ["convert", str(ROOT / "fixtures" / "small.json"), f"--out={out}", f"--json-format={json_format}"]
    result = subprocess.run([sys.executable, "-m", "converter", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert 0 == result.returncode, result.stderr
    return out


@pytest.fixture
def documents(bundle: Path, json_format: str) -> dict[str, list[Document]]:
    """What the four files say, in the order of ``_id``, as the server gives it back."""
    options = OPTIONS[json_format]
    found: dict[str, list[Document]] = {}
    for collection in INDEXES:
        with open(bundle / f"{collection}.ndjson", encoding="utf-8", newline="\n") as file:
            found[collection] = [json_util.loads(line, json_options=options) for line in file]
        assert found[collection], f"no document for {collection}"
        found[collection].sort(key=lambda document: document["_id"])
    return found


def lines(documents: dict[str, list[Document]]) -> dict[str, list[str]]:
    """Documents in a form that compares: NaN equals NaN, and every BSON type only itself."""
    options = OPTIONS["canonical"]
    return {name: [json_util.dumps(one, json_options=options) for one in ones] for name, ones in documents.items()}


def make_indexes(database: Database[Document]) -> None:
    for collection, definitions in INDEXES.items():
        for name, key, unique in definitions:
            database[collection].create_index(key, name=name, unique=unique)


def test_inserted_and_then_upserted_nothing_changes(
    documents: dict[str, list[Document]], database: Database[Document]
) -> None:
    make_indexes(database)
    for collection, ones in documents.items():
        inserted = database[collection].bulk_write([InsertOne(one) for one in ones])
        assert len(ones) == inserted.inserted_count
    assert lines(documents) == lines(contents(database))

    for collection, ones in documents.items():
        again = database[collection].bulk_write([ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in ones])
        assert (len(ones), 0, 0) == (again.matched_count, again.modified_count, again.upserted_count)
    assert lines(documents) == lines(contents(database))


def test_readers_find_every_job_by_its_job_id(
    documents: dict[str, list[Document]], database: Database[Document]
) -> None:
    make_indexes(database)
    for collection, ones in documents.items():
        database[collection].insert_many(ones)
    job_ids = {job["jobId"] for job in documents["novel_jobs"]}
    for collection in documents:
        assert job_ids == set(database[collection].distinct("jobId"))


def test_import_sh_loads_it_and_takes_it_out_again(
    bundle: Path, documents: dict[str, list[Document]], database: Database[Document], mongo_server: str, tools: str
) -> None:
    make_indexes(database)
    variables = {"PATH": tools, "TARGET_MONGODB_URI": f"mongodb://{mongo_server}/{database.name}"}
    nothing: dict[str, list[Document]] = {collection: [] for collection in INDEXES}
    for mode, code, expected in (
        ("insert", 0, documents),
        ("insert", 1, documents),
        ("upsert", 0, documents),
        ("delete", 0, nothing),
        ("delete", 0, nothing),
    ):
        environment = os.environ | variables | {"IMPORT_MODE": mode}
        result = subprocess.run([bundle / "import.sh"], env=environment, capture_output=True, text=True)
        assert code == result.returncode, result.stderr
        assert lines(expected) == lines(contents(database))
