"""One whole migration, with the commands that its users type: export, profile, convert, verify, load, roll back."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bson import json_util
from bson.codec_options import DatetimeConversion
from pymongo.database import Database

from converter.models.target import INDEXES
from tests.mongo import Document, install_stand_in
from tests.mongo import contents as documents

pytest_plugins = ("tests.mongo_fixtures",)

MEDIUM = Path(__file__).parent.parent / "fixtures" / "medium.json"
RELAXED = json_util.RELAXED_JSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS)
CANONICAL = json_util.CANONICAL_JSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS)

Command = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the user works: an empty folder."""
    folder = tmp_path / "migration"
    folder.mkdir()
    return folder


@pytest.fixture
def novel_backfill(
    folder: Path, tmp_path: Path, tools: str, mongo_server: str, database: Database[Document]
) -> Command:
    """Runs ``novel-backfill``, which must succeed, and returns what it prints; ``database`` is in the environment."""
    if shutil.which("mongosh") is None:
        install_stand_in(tmp_path / "bin", "mongosh")
    uri = f"mongodb://{mongo_server}/{database.name}"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BACKFILL_")}
    environment = inherited | {"PATH": tools, "LEGACY_MONGODB_URI": uri, "TARGET_MONGODB_URI": uri}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "converter", *words]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert 0 == done.returncode, done.stderr
        return done.stdout

    return run


def counts(database: Database[Document]) -> dict[str, int]:
    return {collection: database[collection].count_documents({}) for collection in INDEXES}


def contents(database: Database[Document]) -> str:
    """All documents in a form that compares: NaN equals NaN, and every BSON type only itself."""
    return json_util.dumps(documents(database), json_options=CANONICAL)


def test_from_export_to_rollback(novel_backfill: Command, database: Database[Document], folder: Path) -> None:
    legacy = json_util.loads(MEDIUM.read_text(encoding="utf-8"), json_options=RELAXED)
    database["jobs"].insert_many(legacy)

    novel_backfill("export", "--out=jobs.json")
    profile = json.loads(novel_backfill("profile", "jobs.json", "--json"))
    assert len(legacy) == profile["documents"]

    summary = json.loads(novel_backfill("convert", "jobs.json", "--out=jobs.bundle", "--json"))
    assert (len(legacy), 0) == (summary["accepted"], summary["rejected"])
    manifest = json.loads((folder / "jobs.bundle" / "manifest.json").read_text(encoding="utf-8"))
    expected = {collection: manifest["files"][f"{collection}.ndjson"]["documents"] for collection in INDEXES}
    assert len(legacy) == expected["novel_jobs"] == expected["novel_job_metrics"] == expected["novel_job_metadata"]
    findings = json.loads(novel_backfill("verify", "jobs.bundle", "--dump=jobs.json", "--json"))
    assert findings["ok"]

    novel_backfill("load", "jobs.bundle")
    assert expected == counts(database)
    for collection, definitions in INDEXES.items():
        assert {"_id_", *(name for name, _, _ in definitions)} == set(database[collection].index_information())
    loaded = contents(database)

    novel_backfill("load", "jobs.bundle", "--mode=upsert")
    assert loaded == contents(database)

    novel_backfill("load", "jobs.bundle", "--mode=delete")
    assert dict.fromkeys(INDEXES, 0) == counts(database)
    assert len(legacy) == database["jobs"].count_documents({})  # nobody touched the old collection
