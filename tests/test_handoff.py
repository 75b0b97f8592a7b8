"""The DBA's side: a bundle's import.sh run as a DBA would, on a real server; and the wrappers `load` and `export`."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pymongo
import pytest
from bson import DatetimeMS, ObjectId, json_util
from pydantic import SecretStr
from pymongo.database import Database

from converter.errors import BackfillError, OutputError, OutputExists, UsageError
from converter.handoff import EXECUTABLE, bundle_files
from converter.layout import DATA_FILES, part_name
from converter.manifest import Counts, FileEntry, Input, Manifest, Options, Tool
from converter.models.target import INDEXES
from converter.mongo_tools import ExportRequest, LoadRequest, export, load
from tests.mongo import COLLECTIONS_CODEC, Document, contents, install_stand_in, needed

pytest_plugins = ("tests.mongo_fixtures",)

JOBS = 12
EVENTS = 1030  # more than the 1,000 documents that mongoimport sends at once
COUNTS = {"novel_jobs": JOBS, "novel_job_events": EVENTS, "novel_job_metrics": JOBS, "novel_job_metadata": JOBS}
PASSWORD = "p@ss:/?#%41'\"\\ $HOME`é*[a-z]"
ENCODED_PASSWORD = quote(PASSWORD, safe="'\"\\$`*")  # what a URI may hold as it is, and a careless script trips over


def bundle_documents() -> dict[str, list[Document]]:
    """Documents as the four collections hold them, as far as loading cares: ids, job ids, dates, sort keys."""
    born = DatetimeMS(1_752_894_245_420)

    def document(collection: int, number: int, **fields: object) -> Document:
        return {"_id": ObjectId(f"{collection:08x}{number:016x}"), **fields, "createdAt": born, "updatedAt": born}

    ids = [f"job-{number}" for number in range(JOBS)]
    return {
        "novel_jobs": [document(1, n, jobId=i, status="completed", title='"Ä" – 龍 🐉') for n, i in enumerate(ids)],
        "novel_job_events": [
            document(2, n, jobId=ids[n % JOBS], kind="domain", emittedAt=f"2025-07-19T03:04:05.{n:04}Z")
            for n in range(EVENTS)
        ],
        "novel_job_metrics": [document(3, n, jobId=i, cost={"totalUsd": 0.25 * n}) for n, i in enumerate(ids)],
        "novel_job_metadata": [document(4, n, jobId=i, continuityAlerts=[]) for n, i in enumerate(ids)],
    }


def manifest(
    documents: int | None = None,
    *,
    inputs: tuple[str, ...] = ("jobs.json",),
    queue: str = "novel-generation",
    repairs: dict[str, int] | None = None,
    rejects: dict[str, int] | None = None,
) -> Manifest:
    """The manifest of a bundle with so many documents in each file; without a number, with those of the test's own."""
    jobs = JOBS if documents is None else documents
    rejects = rejects or {}
    rejected = sum(rejects.values())
    return Manifest(
        tool=Tool(version="1.2.3", mapping=1),
        options=Options(queue=queue, in_flight="keep", json_format="canonical", limit=None),
        inputs=[
            Input(
                name=name,
                bytes=9,
                head_sha256="0",
                tail_sha256="0",
                dialect="json-array",
                compression=None,
                encoding="utf-8",
            )
            for name in inputs
        ],
        counts=Counts(
            read=jobs + rejected, accepted=jobs, rejected=rejected, repairs=repairs or {}, rejects_by_reason=rejects
        ),
        files={
            name: FileEntry(documents=COUNTS[collection] if documents is None else documents, bytes=9_876, sha256="0")
            for collection, name in DATA_FILES.items()
        },
    )


def write_bundle(folder: Path) -> None:
    """A finished bundle in ``folder``, as `convert` leaves it."""
    folder.mkdir(parents=True)
    for collection, documents in bundle_documents().items():
        lines = "".join(json_util.dumps(document, ensure_ascii=False) + "\n" for document in documents)
        (folder / DATA_FILES[collection]).write_text(lines, encoding="utf-8")
    for name, text in bundle_files(manifest()).items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o700 if name in EXECUTABLE else 0o600)
    (folder / "manifest.json").write_text(manifest().to_text(), encoding="utf-8")
    write_checksums(folder)


def in_parts(folder: Path) -> None:
    """The same bundle as ``convert --parts`` leaves it: three files for each collection."""
    plain = manifest()
    files = {}
    for collection, name in DATA_FILES.items():
        lines = (folder / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / name).unlink()
        third = len(lines) // 3 + 1
        for number in range(3):
            held = lines[number * third : (number + 1) * third]
            (folder / part_name(collection, number)).write_text("".join(held), encoding="utf-8")
            files[part_name(collection, number)] = FileEntry(documents=len(held), bytes=9, sha256="0")
    whole = plain.model_copy(update={"files": files, "options": plain.options.model_copy(update={"parts": True})})
    for name, text in bundle_files(whole).items():
        (folder / name).write_text(text, encoding="utf-8")
    write_checksums(folder)


def write_checksums(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir() if path.name != "SHA256SUMS")
    sums = (f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (folder / "SHA256SUMS").write_text("".join(sums))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle in a folder whose name a careless shell script breaks on."""
    folder = tmp_path / "the DBA's $HOME; folder" / "-n jobs.bundle"
    write_bundle(folder)
    return folder


@pytest.fixture
def uri(mongo_server: str, database: Database[Document]) -> Iterator[str]:
    """The URI of the empty database, with a user whose password has every awkward character."""
    admin = database.client.admin
    admin.command("createUser", database.name, pwd=PASSWORD, roles=["root"])
    yield f"mongodb://{database.name}:{ENCODED_PASSWORD}@{mongo_server}/{database.name}?authSource=admin"
    admin.command("dropUser", database.name)


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """The folder for temporary files, where nothing must stay."""
    folder = tmp_path / "temporary files"
    folder.mkdir()
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "stand-in.log"


@pytest.fixture
def environment(tools: str, private: Path, log: Path, uri: str) -> dict[str, str]:
    values = {"PATH": tools, "TMPDIR": str(private), "STAND_IN_LOG": str(log), "TARGET_MONGODB_URI": uri}
    return {name: value for name, value in os.environ.items() if not name.startswith("BACKFILL_")} | values


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(bundle: Path, environment: dict[str, str], private: Path, tmp_path: Path) -> Run:
    """Runs import.sh from another folder; whatever happens, no secret is shown and no temporary file stays."""

    def run(mode: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        given = environment | variables | ({"IMPORT_MODE": mode} if mode else {})
        result = subprocess.run(
            ["sh", str(bundle / "import.sh")], env=given, cwd=tmp_path, capture_output=True, encoding="utf-8"
        )
        assert_no_secret(result.stdout + result.stderr)
        assert [] == list(private.iterdir())
        return result

    return run


def assert_no_secret(text: str) -> None:
    assert PASSWORD not in text
    assert ENCODED_PASSWORD not in text


def cut(path: Path) -> None:
    """Take the last line away."""
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")


def loaded() -> dict[str, list[Document]]:
    return {name: bundle_documents()[name] for name in COUNTS}


def nothing() -> dict[str, list[Document]]:
    return {name: [] for name in COUNTS}


# ---- import.sh ------------------------------------------------------------------------------------------------


def test_insert_loads_everything_under_the_real_indexes(
    run: Run, tools: str, database: Database[Document], tmp_path: Path
) -> None:
    if shutil.which("mongosh") is None:
        install_stand_in(tmp_path / "bin", "mongosh")

    for _ in range(2):
        for collection in INDEXES:  # twice: indexes.js is safe to repeat
            database[collection].delete_many({})
        result = run()

        assert (0, "") == (result.returncode, result.stdout), result.stderr
        assert loaded() == contents(database)
        assert "8 indexes are in place" in result.stderr
        for collection, definitions in INDEXES.items():
            made = database[collection].index_information()
            assert {"_id_"} | {name for name, _, _ in definitions} == set(made)
            for name, key, unique in definitions:
                assert (list(key), unique) == (list(made[name]["key"]), made[name].get("unique", False))


def test_without_mongosh_it_says_what_to_run_later(run: Run) -> None:
    if shutil.which("mongosh"):
        return
    assert "run later: mongosh --nodb --file indexes.js" in run().stderr


def test_second_insert_fails_loudly_and_changes_nothing(run: Run, database: Database[Document]) -> None:
    run()
    database["novel_jobs"].update_one({"jobId": "job-3"}, {"$set": {"title": "changed by the application"}})
    before = contents(database)

    result = run("insert")

    assert 1 == result.returncode
    assert before == contents(database)
    assert "novel_jobs.ndjson: some of its documents exist in the target already" in result.stderr
    assert "IMPORT_MODE=upsert" in result.stderr
    assert "novel_job_metrics.ndjson: 12" not in result.stderr  # it stopped


def test_upsert_can_be_repeated_and_finishes_what_an_insert_began(run: Run, database: Database[Document]) -> None:
    database["novel_jobs"].insert_many(bundle_documents()["novel_jobs"][:5])
    changed = []
    for _ in range(2):
        result = run("upsert")
        assert 0 == result.returncode, result.stderr
        assert loaded() == contents(database)
        changed.append(dict(re.findall(r"^  (\w+): (\d+)$", result.stderr, re.MULTILINE)))
    assert [
        {name: str(count - 5 * (name == "novel_jobs")) for name, count in COUNTS.items()},
        dict.fromkeys(COUNTS, "0"),
    ] == changed


def test_delete_removes_this_bundle_only_and_can_be_repeated(run: Run, database: Database[Document]) -> None:
    run()
    other = {"_id": ObjectId(), "jobId": "another"}
    for collection in COUNTS:
        database[collection].insert_one(other)
    for _ in range(2):
        result = run("delete")
        assert 0 == result.returncode, result.stderr
        assert {name: [other] for name in COUNTS} == contents(database)


def test_order_and_arguments(run: Run, log: Path, private: Path) -> None:
    if shutil.which("mongoimport"):
        return  # the real one keeps no record
    for mode in ("insert", "upsert", "delete"):
        run(mode)
    runs = [json.loads(line) for line in log.read_text().splitlines()]

    order = ["novel_jobs", "novel_job_metrics", "novel_job_metadata", "novel_job_events"]
    for mode, collections, entries in (
        ("insert", order, runs[:4]),
        ("upsert", order, runs[4:8]),
        ("delete", order[::-1], runs[8:]),
    ):
        insert_only = ["--stopOnError", "--numInsertionWorkers=4"] if mode == "insert" else []
        expected = [
            [f"--collection={name}", "--type=json", f"--file={name}.ndjson", f"--mode={mode}", *insert_only]
            for name in collections
        ]
        assert expected == [entry["argv"][2:] for entry in entries]
    assert {str(private)} == {os.path.dirname(os.path.dirname(entry["config"])) for entry in runs}
    assert [[]] * 12 == [entry["showing"] for entry in runs]  # no process shows the password, as ps would see it


def test_database_from_its_own_variable(run: Run, uri: str, database: Database[Document]) -> None:
    unnamed = uri.replace(f"/{database.name}?", "/?")
    assert 2 == run(TARGET_MONGODB_URI=unnamed).returncode
    assert 2 == run(TARGET_DB="another").returncode
    assert 0 == run(TARGET_MONGODB_URI=unnamed, TARGET_DB=database.name).returncode
    assert loaded() == contents(database)


@pytest.mark.parametrize(
    "damage",
    [
        lambda bundle: cut(bundle / "novel_job_events.ndjson"),
        lambda bundle: (bundle / "indexes.js").write_text("db.dropDatabase()"),
        lambda bundle: (bundle / "README.md").unlink(),
        lambda bundle: (bundle / "SHA256SUMS").unlink(),
        lambda bundle: (bundle / "SHA256SUMS").write_text(""),
        lambda bundle: cut(bundle / "SHA256SUMS"),
    ],
    ids=["data", "indexes", "file missing", "sums missing", "sums empty", "sums cut"],
)
def test_a_damaged_bundle_is_refused_before_anything_runs(
    run: Run, bundle: Path, log: Path, database: Database[Document], damage: Callable[[Path], object]
) -> None:
    damage(bundle)
    result = run()
    assert 1 == result.returncode
    assert "get the " in result.stderr
    assert not log.exists()
    assert nothing() == contents(database)


def test_a_count_that_is_not_the_manifests_fails(run: Run, bundle: Path, database: Database[Document]) -> None:
    cut(bundle / "novel_job_metrics.ndjson")
    write_checksums(bundle)
    result = run()
    assert 1 == result.returncode
    assert "mongoimport says that it loaded 11 document(s), the manifest has 12" in result.stderr
    assert [] == contents(database)["novel_job_events"]


def test_an_empty_bundle_loads(run: Run, bundle: Path, database: Database[Document]) -> None:
    for name in COUNTS:
        (bundle / f"{name}.ndjson").write_text("")
    (bundle / "import.sh").write_text(bundle_files(manifest(0))["import.sh"])
    write_checksums(bundle)
    for mode in ("insert", "upsert", "delete"):
        assert 0 == run(mode).returncode
    assert nothing() == contents(database)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TARGET_MONGODB_URI": ""}, "TARGET_MONGODB_URI is not set"),
        ({"TARGET_MONGODB_URI": "localhost/novels"}, "must begin with mongodb://"),
        ({"TARGET_MONGODB_URI": "mongodb://localhost/novels\n"}, "control character"),
        ({"TARGET_MONGODB_URI": "mongodb://localhost"}, "names no database"),
        ({"TARGET_MONGODB_URI": "mongodb://user:se/cret@localhost/novels"}, "write / as %2F"),
        ({"TARGET_MONGODB_URI": "mongodb://user:se?cret@localhost/novels"}, "write / as %2F"),
        ({"TARGET_MONGODB_URI": "mongodb://user:secret%@localhost/novels"}, "must be written %25"),
        ({"TARGET_MONGODB_URI": "mongodb://user:secret%1x@localhost/novels"}, "must be written %25"),
        ({"IMPORT_MODE": "drop"}, "IMPORT_MODE must be insert, upsert or delete, not 'drop'"),
        ({"IMPORT_WORKERS": "many"}, "IMPORT_WORKERS must be a whole number"),
    ],
)
def test_wrong_use_is_one_line(run: Run, log: Path, variables: dict[str, str], message: str) -> None:
    result = run(**variables)
    assert 2 == result.returncode
    assert message in result.stderr
    assert 1 == len(result.stderr.splitlines())
    assert "cret" not in result.stderr
    assert not log.exists()


def test_without_mongoimport_it_says_where_to_get_it(run: Run, tmp_path: Path) -> None:
    result = run(PATH=path_with(tmp_path / "few", "sh", "dirname"))
    assert 1 == result.returncode
    assert "MongoDB Database Tools: https://www.mongodb.com/try/download/database-tools" in result.stderr


def test_shasum_where_there_is_no_sha256sum(run: Run, tmp_path: Path, database: Database[Document]) -> None:
    needed("shasum")
    folder = tmp_path / "mac"
    path = path_with(folder, "sh", "dirname", "grep", "shasum", "perl", "mktemp", "mkfifo", "rm")
    result = run(PATH=f"{path}:{tmp_path / 'bin'}")
    assert 0 == result.returncode, result.stderr
    assert loaded() == contents(database)


def path_with(folder: Path, *names: str) -> str:
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(needed(name))
    return str(folder)


def test_a_connection_error_is_shown_with_the_password_masked(run: Run, database: Database[Document]) -> None:
    """Also in the options: a token is a password. The exit code is mongoimport's."""
    uri = f"mongodb://user:{ENCODED_PASSWORD}@127.0.0.1:1/{database.name}?serverSelectionTimeoutMS=300&appName=tok3n"
    result = run("delete", TARGET_MONGODB_URI=uri, STAND_IN_TIMEOUT_MS="300")  # delete: without mongosh before it
    assert 1 == result.returncode
    assert "user:****@127.0.0.1:1" in result.stderr
    assert "tok3n" not in result.stderr
    assert "mongoimport failed with exit code 1" in result.stderr


@pytest.mark.parametrize("password", ["6", "*", "a%2Fb"])
def test_a_password_that_looks_like_output_hides_no_count(run: Run, mongo_server: str, password: str) -> None:
    """The counts are read before the line is masked, and masking ends."""
    database = "novel_masked"
    with pymongo.MongoClient[Document](f"mongodb://{mongo_server}/") as client:
        client.admin.command("createUser", "short", pwd=password.replace("%2F", "/"), roles=["root"])
        try:
            uri = f"mongodb://short:{password}@{mongo_server}/{database}?authSource=admin"
            assert 0 == run(TARGET_MONGODB_URI=uri).returncode
        finally:
            client.admin.command("dropUser", "short")
            client.drop_database(database)


@pytest.mark.parametrize("at_once", ["1", "2", "9"])
def test_parts(run: Run, bundle: Path, database: Database[Document], at_once: str) -> None:
    in_parts(bundle)
    for mode in ("insert", "upsert"):
        result = run(mode, IMPORT_PARTS=at_once)
        assert 0 == result.returncode, result.stderr
        assert loaded() == {name: sorted(held, key=lambda one: one["_id"]) for name, held in contents(database).items()}
        changed = dict(re.findall(r"^  (\w+): (\d+)$", result.stderr, re.MULTILINE))
        assert {name: str(count if mode == "insert" else 0) for name, count in COUNTS.items()} == changed
    assert 1 == run("insert", IMPORT_PARTS=at_once).returncode
    assert 0 == run("delete", IMPORT_PARTS=at_once).returncode
    assert nothing() == contents(database)


def test_a_part_that_fails_ends_the_load(run: Run, bundle: Path, database: Database[Document]) -> None:
    in_parts(bundle)
    database["novel_job_metrics"].insert_one(bundle_documents()["novel_job_metrics"][-1])
    result = run()
    assert 1 == result.returncode
    assert "novel_job_metrics.part-00002.ndjson: some of its documents exist in the target already" in result.stderr
    assert [] == contents(database)["novel_job_events"]
    assert 2 == run(IMPORT_PARTS="0").returncode


def test_a_part_with_another_count_ends_the_load(run: Run, bundle: Path, database: Database[Document]) -> None:
    in_parts(bundle)
    cut(bundle / part_name("novel_job_metadata", 0))
    write_checksums(bundle)
    result = run()
    assert 1 == result.returncode
    assert "novel_job_metadata.part-00000.ndjson: mongoimport says that it loaded 4 document(s)" in result.stderr


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_leaves_no_config_file_and_no_mongoimport(
    bundle: Path, environment: dict[str, str], private: Path, tmp_path: Path, number: int, code: int, parts: bool
) -> None:
    if parts:
        in_parts(bundle)
    (tmp_path / "bin" / "mongoimport").unlink(missing_ok=True)
    install_stand_in(tmp_path / "bin", "mongoimport")
    environment = environment | {"STAND_IN_HANGS": "1"}
    process = subprocess.Popen(["sh", str(bundle / "import.sh")], env=environment, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        shown = next(line for line in lines if "connected to" in line)
        (config,) = private.glob("*/config.yaml")
        assert 0o600 == config.stat().st_mode & 0o777
        process.send_signal(number)
        rest = process.stderr.read()  # ends when the last process that writes there has ended
    assert code == process.returncode
    assert [] == list(private.iterdir())
    assert "attempting to shut down" in rest
    assert "IMPORT_MODE=upsert goes on" in rest
    assert_no_secret(shown + rest)


@pytest.mark.parametrize("parts", [False, True])
def test_import_sh_is_clean_posix_shell(bundle: Path, parts: bool) -> None:
    if parts:
        in_parts(bundle)
    shellcheck = needed("shellcheck")
    command = [shellcheck, "--shell=sh", str(bundle / "import.sh")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (0, "") == (result.returncode, result.stdout)


# ---- the texts ------------------------------------------------------------------------------------------------


AWKWARD = manifest(
    1_234_567,
    inputs=("jobs.json", "old`` | <b>\n# jobs\u202e.json"),
    queue="`novel` $(rm -rf ~)",
    repairs={"token-split-unknown": 4_000, "status-inferred": 1},
    rejects={"no-identity": 2, "duplicate-job": 1},
)


def test_only_the_readme_holds_text_from_outside() -> None:
    plain = bundle_files(manifest(1_234_567, inputs=("a",), queue="q"))
    assert {"README.md"} == {name for name, text in bundle_files(AWKWARD).items() if text != plain[name]}


def test_the_readme_has_this_bundles_numbers_and_shows_names_as_they_are() -> None:
    readme = bundle_files(AWKWARD)["README.md"]
    for text in (
        "1,234,570 documents were read, 1,234,567 accepted, 3 rejected.",
        "- `jobs.json`\n- ```old`` | <b>\\n# jobs\\u202e.json```\n",
        "`` `novel` $(rm -rf ~) ``",
        "\nnovel_job_events 1234567\n",
        "| `no-identity` | 2 |",
        "| `token-split-unknown` | 4,000 |",
        "`rejects.ndjson`",
    ):
        assert text in readme
    assert "rejects.ndjson" not in bundle_files(manifest())["README.md"]


def test_the_readmes_shell_lines_parse() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", bundle_files(AWKWARD)["README.md"], re.MULTILINE | re.DOTALL)
    assert 8 == len(blocks)
    for block in blocks:
        result = subprocess.run(["sh", "-n"], input=block, capture_output=True, text=True)
        assert (0, "") == (result.returncode, result.stderr)


# ---- load and export ------------------------------------------------------------------------------------------


@pytest.fixture
def as_environment(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_load_runs_the_bundles_import(
    bundle: Path, uri: str, database: Database[Document], as_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TARGET_MONGODB_URI")
    monkeypatch.chdir(bundle.parent)
    insert = LoadRequest(bundle=bundle.name, uri=SecretStr(uri))  # a name that looks like an option
    assert 0 == load(insert)
    assert loaded() == contents(database)
    assert 1 == load(insert)
    assert 0 == load(insert.model_copy(update={"mode": "delete"}))
    assert nothing() == contents(database)


def test_load_refuses_a_script_that_is_not_the_bundles(bundle: Path, uri: str, tmp_path: Path) -> None:
    request = LoadRequest(bundle=str(bundle), uri=SecretStr(uri))
    (bundle / "import.sh").write_text(f"touch {tmp_path}/ran")
    with pytest.raises(OutputError, match="is not the one in SHA256SUMS"):
        load(request)
    (bundle / "SHA256SUMS").unlink()
    with pytest.raises(OutputError, match="SHA256SUMS: No such file"):
        load(request)
    (bundle / "manifest.json").unlink()
    with pytest.raises(OutputError, match="not a finished bundle"):
        load(request)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("uri", [None, SecretStr("")])
def test_without_a_uri_the_variable_is_named(uri: SecretStr | None, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="TARGET_MONGODB_URI"):
        load(LoadRequest(bundle=str(tmp_path), uri=uri))
    with pytest.raises(UsageError, match="LEGACY_MONGODB_URI"):
        export(ExportRequest(out=str(tmp_path / "jobs.json"), uri=uri))


def test_requests_do_not_show_the_uri() -> None:
    request = LoadRequest(bundle="b", uri=SecretStr("mongodb://user:secret@host/db"))
    assert "secret" not in f"{request!r} {request} {request.model_dump_json()}"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mongodb://user:secret@localhost", "names no database"),
        ("mongodb://user:se/cret@localhost/novels", "not of the form"),
        ("mongodb://user:secret@localhost/novels\n", "not of the form"),
        ("postgres://user:secret@localhost/novels", "not of the form"),
    ],
)
def test_export_refuses_a_uri_without_showing_it(uri: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        export(ExportRequest(out=str(tmp_path / "jobs.json"), uri=SecretStr(uri)))
    assert "cret" not in str(caught.value)


def test_export_writes_a_dump_for_its_owner_only(
    uri: str,
    database: Database[Document],
    as_environment: None,
    tmp_path: Path,
    private: Path,
    log: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    jobs = [{"_id": ObjectId(), "title": '"Ä" – 龍', "createdAt": DatetimeMS(1_752_894_245_420)} for _ in range(3)]
    database["jobs"].insert_many(jobs)
    out = tmp_path / "a b" / "jobs.json"
    out.parent.mkdir()

    assert 0 == export(ExportRequest(out=str(out), uri=SecretStr(uri)))

    options = json_util.JSONOptions(datetime_conversion=COLLECTIONS_CODEC.datetime_conversion)
    assert jobs == json_util.loads(out.read_text(encoding="utf-8"), json_options=options)
    assert 0o600 == out.stat().st_mode & 0o777
    assert [out] == list(out.parent.iterdir())
    assert [] == list(private.iterdir())
    printed = capfd.readouterr().err
    assert "exported 3 records" in printed
    assert_no_secret(printed)
    assert all([] == json.loads(line)["showing"] for line in log.read_text().splitlines()) if log.exists() else True

    before = out.read_bytes()
    with pytest.raises(OutputExists, match="give another --out"):
        export(ExportRequest(out=str(out), uri=SecretStr(uri)))
    assert before == out.read_bytes()


def test_a_failed_export_leaves_no_file_and_shows_no_password(
    as_environment: None,
    tmp_path: Path,
    private: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STAND_IN_TIMEOUT_MS", "300")
    folder = tmp_path / "exports"
    folder.mkdir()
    uri = f"mongodb://user:{ENCODED_PASSWORD}@127.0.0.1:1/novels?serverSelectionTimeoutMS=300"
    assert 1 == export(ExportRequest(out=str(folder / "jobs.json"), uri=SecretStr(uri)))
    assert [] == list(folder.iterdir())
    assert [] == list(private.iterdir())
    printed = capfd.readouterr().err
    assert "user:****@127.0.0.1:1" in printed
    assert "mongoexport failed with exit code 1" in printed
    assert_no_secret(printed)


def test_export_refuses_what_another_export_holds_or_cannot_be_written(as_environment: None, tmp_path: Path) -> None:
    (tmp_path / "jobs.json.partial").touch()
    uri = SecretStr("mongodb://localhost/novels")
    with pytest.raises(OutputExists, match="another export is running"):
        export(ExportRequest(out=str(tmp_path / "jobs.json"), uri=uri))
    with pytest.raises(OutputError, match="No such file or directory"):
        export(ExportRequest(out=str(tmp_path / "missing" / "jobs.json"), uri=uri))
    assert (tmp_path / "jobs.json.partial").exists()


def test_export_never_replaces_a_file_that_appeared_meanwhile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "mongoexport"
    tool.write_text(f"#!/bin/sh\necho theirs > '{tmp_path}/jobs.json'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(OutputExists, match="meanwhile"):
        export(ExportRequest(out=str(tmp_path / "jobs.json"), uri=SecretStr("mongodb://localhost/novels")))
    assert {"mongoexport": True, "jobs.json": True} == {path.name: path.is_file() for path in tmp_path.iterdir()}
    assert "theirs\n" == (tmp_path / "jobs.json").read_text()


def test_missing_tools_get_one_line(bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    uri = SecretStr("mongodb://localhost/novels")
    with pytest.raises(BackfillError, match="MongoDB Database Tools: https://"):
        export(ExportRequest(out=str(tmp_path / "jobs.json"), uri=uri))
    with pytest.raises(BackfillError, match="no sh on PATH"):
        load(LoadRequest(bundle=str(bundle), uri=uri))


@pytest.mark.parametrize("command", ["load", "export"])
def test_a_signal_to_a_wrapper_stops_its_tool(
    command: str, bundle: Path, environment: dict[str, str], private: Path, tmp_path: Path, uri: str
) -> None:
    for name in ("mongoimport", "mongoexport"):
        (tmp_path / "bin" / name).unlink(missing_ok=True)
        install_stand_in(tmp_path / "bin", name)
    program = (
        "import sys, os; from pydantic import SecretStr; from converter.mongo_tools import *;"
        "uri = SecretStr(os.environ['TARGET_MONGODB_URI']); path = sys.argv[1];"
        + (
            "code = load(LoadRequest(bundle=path, uri=uri))"
            if command == "load"
            else "code = export(ExportRequest(out=path, uri=uri))"
        )
        + "; sys.exit(code)"
    )
    path = bundle if command == "load" else tmp_path / "jobs.json"
    environment = environment | {"STAND_IN_HANGS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in iter(process.stderr.readline, "") if "connected to" in line)
        assert [] != list(private.iterdir())
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
    assert (143 if command == "load" else 1) == process.returncode, rest
    assert [] == list(private.iterdir())
    assert [] == list(tmp_path.glob("jobs.json*"))
