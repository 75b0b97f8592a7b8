"""A dump in object storage makes the bundle that the same file makes, and what goes wrong there is one line."""

import shutil
import signal
import threading
import urllib.request
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from converter import storage
from converter.checkpoint import WINDOW, Checkpoint
from converter.cli import request_of
from converter.errors import masked
from converter.fixtures import FixtureRequest, write_fixture
from converter.layout import CHECKPOINT
from tests.object_storage import NOBODY, SECRET, Between, command, listening, put, told
from tests.small_dumps import DIALECTS, bundle, jobs, run, write_dump

pytest_plugins = ("tests.object_storage_fixtures",)

pytest.importorskip("s3fs", reason="the extra cloud is not installed")


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By dialect, each of several ranges."""
    folder = tmp_path_factory.mktemp("dumps")
    dialects: dict[str, dict[str, Any]] = {"array": {}, "lines": {"lines": True}, "bson": {"bson": True}}
    for dialect, options in dialects.items():
        write_fixture(FixtureRequest(size="large", out=str(folder / dialect), jobs=20, **options))
    made = {dialect: folder / dialect for dialect in DIALECTS}
    write_dump(made["gzip"], jobs(300), "gzip")
    return made


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_same_bundle(server: str, dumps: dict[str, Path], dialect: str, tmp_path: Path) -> None:
    """By one process and by several, and in parts."""
    name = f"{dialect}.dump"
    local = tmp_path / name
    shutil.copy(dumps[dialect], local)
    put(server, f"bucket/{name}", local.read_bytes())
    rejects = 3 if dialect == "gzip" else 0
    for parts in (False, True) if dialect == "array" else (False,):
        expected = tmp_path / f"expected {parts}"
        run(str(local), expected, workers=1, parts=parts)
        for workers in (1, 2):
            found = tmp_path / f"found {parts} {workers}"
            words = [f"s3://bucket/{name}", f"--out={found}", f"--workers={workers}", f"--parts={str(parts).lower()}"]
            finished = command("convert", *words, endpoint=server)
            assert (rejects, "") == (finished.returncode, finished.stderr)
            assert bundle(expected) == bundle(found)


def test_on_a_cluster(server: str, dumps: dict[str, Path], tmp_path: Path) -> None:
    """Its workers read the object themselves."""
    pytest.importorskip("distributed", reason="the extra cluster is not installed")
    put(server, "bucket/array", dumps["array"].read_bytes())
    expected, found = tmp_path / "expected", tmp_path / "found"
    run(str(dumps["array"]), expected, workers=1)
    environment = {"AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": SECRET}
    with listening("cluster.py", tmp_path, **environment) as cluster:
        words = ["s3://bucket/array", f"--out={found}", f"--scheduler={cluster.split()[0]}"]
        finished = command("convert", *words, endpoint=server)
    assert (0, "") == (finished.returncode, finished.stderr)
    assert bundle(expected) == bundle(found)


def test_profile_and_verify(server: str, dumps: dict[str, Path], tmp_path: Path) -> None:
    local = tmp_path / "jobs.bson"
    shutil.copy(dumps["bson"], local)
    put(server, "bucket/jobs.bson", local.read_bytes())
    url = "s3://bucket/jobs.bson"
    assert command("profile", local).stdout == command("profile", url, endpoint=server).stdout
    out = tmp_path / "out"
    assert 0 == command("convert", url, f"--out={out}", endpoint=server).returncode
    finished = command("verify", out, f"--dump={url}", endpoint=server)
    assert (0, "") == (finished.returncode, finished.stderr)
    assert finished.stdout == command("verify", out, f"--dump={local}").stdout
    write_dump(local, jobs(9), "bson")
    put(server, "bucket/jobs.bson", local.read_bytes())
    assert "is it the right dump?" in command("verify", out, f"--dump={url}", endpoint=server).stdout


def test_nothing_is_read_twice(server: str, between: Between, dumps: dict[str, Path], tmp_path: Path) -> None:
    """But for what tells the dump from another, and makes the run one that can be gone on with."""
    data = dumps["array"].read_bytes()
    put(server, "bucket/jobs.json", data)
    finished = command("convert", "s3://bucket/jobs.json", f"--out={tmp_path / 'out'}", endpoint=between.address)
    assert (0, "") == (finished.returncode, finished.stderr)
    read = sum(last + 1 - first for first, last in between.ranges)
    assert len(data) <= read <= len(data) + 5 * 65_536
    assert len(data) // 2_000_000 + 5 >= len(between.ranges)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_resume(server: str, between: Between, dumps: dict[str, Path], dialect: str, tmp_path: Path) -> None:
    """A plain dump goes on where it stopped, a compressed one is read again."""
    local, out, whole = dumps[dialect], tmp_path / "out", tmp_path / "whole"
    put(server, f"bucket/{dialect}", local.read_bytes())
    words = ["convert", f"s3://bucket/{dialect}", f"--out={out}", "--batch-size=5"]
    killed = command(*words, endpoint=server, BACKFILL_CRASH_AT="committed:3")
    assert -signal.SIGKILL == killed.returncode
    with Checkpoint(out / CHECKPOINT) as checkpoint:
        saved = checkpoint.load()
    assert saved is not None
    finished = command(*words, "--resume", endpoint=between.address)
    run(str(local), whole, workers=1)
    assert bundle(whole) == bundle(out), finished.stderr
    if dialect != "gzip":
        # What it begins with is looked at in any case, to tell what it is.
        assert saved[1].positions[0].bytes - WINDOW == min(first for first, _ in between.ranges if first > 0)


def test_another_dump_is_not_resumed(server: str, dumps: dict[str, Path], tmp_path: Path) -> None:
    """Nor one of the same size, with the same beginning and end."""
    data = bytearray(dumps["array"].read_bytes())
    put(server, "bucket/jobs.json", data)
    words = ["convert", "s3://bucket/jobs.json", f"--out={tmp_path / 'out'}", "--batch-size=5"]
    assert -signal.SIGKILL == command(*words, endpoint=server, BACKFILL_CRASH_AT="committed:3").returncode
    put(server, "bucket/jobs.json", data + b"\n")
    code, line = told(command(*words, "--resume", endpoint=server))
    assert (1, True) == (code, "the dump jobs.json: its size in bytes was" in line), line
    put(server, "bucket/jobs.json", data[:100_000].ljust(len(data) - 100_000) + data[-100_000:])
    code, line = told(command(*words, "--resume", endpoint=server))
    assert (1, True) == (code, "the dump jobs.json: what was read of it last differs" in line), line


@pytest.mark.parametrize("workers", [1, 2])
def test_replaced_while_being_read(
    server: str, between: Between, dumps: dict[str, Path], workers: int, tmp_path: Path
) -> None:
    data = dumps["array"].read_bytes()
    put(server, "bucket/jobs.json", data)
    between.at, between.happens = 4, lambda: put(server, "bucket/jobs.json", data + b"\n")
    out = tmp_path / "out"
    words = ["convert", "s3://bucket/jobs.json", f"--out={out}", f"--workers={workers}"]
    code, line = told(command(*words, endpoint=between.address))
    expected = "novel-backfill: s3://bucket/jobs.json: it changed while it was being read, so what was converted"
    assert (1, expected) == (code, line[: len(expected)])
    assert not (out / "checkpoint.partial").exists()


@pytest.mark.parametrize(("workers", "at"), [(1, 4), (2, 10)])
def test_a_connection_that_is_lost(
    server: str, between: Between, dumps: dict[str, Path], workers: int, at: int, tmp_path: Path
) -> None:
    """What was converted is kept, and the line says how to go on."""
    put(server, "bucket/jobs.json", dumps["array"].read_bytes())
    between.at, between.happens = at, lambda: setattr(between, "gone", True)
    out, whole = tmp_path / "out", tmp_path / "whole"
    words = ["convert", "s3://bucket/jobs.json", f"--out={out}", f"--workers={workers}"]
    code, line = told(command(*words, endpoint=between.address))
    resume = f"go on with: novel-backfill convert s3://bucket/jobs.json --out={out} --resume"
    assert (1, True) == (code, resume in line), line
    assert line.startswith("novel-backfill: s3://bucket/jobs.json"), line
    finished = command(*words, "--resume", endpoint=server)
    assert (0, "") == (finished.returncode, finished.stderr)
    run(str(shutil.copy(dumps["array"], tmp_path / "jobs.json")), whole, workers=1)
    assert bundle(whole) == bundle(out)


MISSING = "import sys; sys.modules[{!r}] = None"
NO_OBJECT = "there is no such object, or no such bucket"


@pytest.mark.parametrize(
    ("dump", "environment", "expected"),
    [
        ("s3://bucket/none.json", {}, f"s3://bucket/none.json: {NO_OBJECT}"),
        ("s3://nowhere/jobs.json", {}, f"s3://nowhere/jobs.json: {NO_OBJECT}"),
        ("s3://bucket", {}, "s3://bucket: this is a folder: give the objects in it"),
        ("s3://bucket/empty", {}, "s3://bucket/empty, byte 0: the dump is empty"),
        (
            "s3://bucket/empty",
            {"endpoint": NOBODY},
            "s3://bucket/empty: Could not connect to the endpoint URL: "
            f'"{NOBODY}/bucket/empty"; check the URL, the credentials and the network',
        ),
        (
            "s3://bucket/empty",
            {"AWS_ACCESS_KEY_ID": ""},
            "s3://bucket/empty: Unable to locate credentials; check the URL, the credentials and the network",
        ),
        (
            "s3://bucket/empty",
            {"before": MISSING.format("s3fs")},
            "s3://bucket/empty: Install s3fs to access S3; pip install 'novel-backfill[cloud]' is enough for",
        ),
        (
            "s3://bucket/empty",
            {"before": MISSING.format("fsspec")},
            "s3://bucket/empty: No module named 'fsspec",
        ),
        (f"s3://me:{SECRET}@bucket/empty", {}, "s3://****@bucket/empty: Parameter validation failed: Invalid bucket"),
        (
            f"http://me:{SECRET}@127.0.0.1:9/x.json?X-Amz-Signature={SECRET}",
            {},
            f"http://****@127.0.0.1:9/x.json?****: {NO_OBJECT}",
        ),
        ("nowhere://bucket/jobs.json", {}, "nowhere://bucket/jobs.json: Protocol not known: nowhere; check the URL"),
    ],
)
def test_what_goes_wrong(server: str, dump: str, environment: dict[str, str], expected: str, tmp_path: Path) -> None:
    put(server, "bucket/empty")
    given = {"endpoint": server} | environment
    code, line = told(command("convert", dump, f"--out={tmp_path / 'out'}", **given))
    assert (1, f"novel-backfill: {expected}") == (code, line[: len(expected) + len("novel-backfill: ")])
    assert not (tmp_path / "out").exists()


def test_no_access(server: str, dumps: dict[str, Path], tmp_path: Path) -> None:
    put(server, "bucket/jobs.json", dumps["array"].read_bytes())

    def check_access(behind: str) -> None:
        headers = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{server}/moto-api/reset-auth", behind.encode(), headers, method="POST")
        urllib.request.urlopen(request).close()

    check_access("0")
    try:
        words = ["convert", "s3://bucket/jobs.json", f"--out={tmp_path / 'out'}"]
        code, line = told(command(*words, endpoint=server))
    finally:
        check_access("inf")
    expected = "access is denied (Forbidden): check the credentials, and what they allow"
    assert (1, f"novel-backfill: s3://bucket/jobs.json: {expected}") == (code, line)


def test_a_server_without_ranges(dumps: dict[str, Path], tmp_path: Path) -> None:
    """It would hand out the whole dump for every piece of it."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(dumps["array"].parent))

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever).start()
        url = f"http://127.0.0.1:{listening.server_port}/array"
        code, line = told(command("convert", url, f"--out={tmp_path / 'out'}"))
        listening.shutdown()
    assert (1, True) == (code, "the server hands out nothing but the whole: download it, and give the file" in line)


def test_a_file_by_its_url(tmp_path: Path) -> None:
    """What no storage has a part in works for all of them."""
    local, expected, found = tmp_path / "jobs.json", tmp_path / "expected", tmp_path / "found"
    write_dump(local, jobs(20))
    run(str(local), expected, workers=1)
    assert 3 == command("convert", f"file://{local}", f"--out={found}", "--workers=2").returncode
    assert bundle(expected) == bundle(found)


def test_the_bundle_of_a_url_is_called_like_the_object() -> None:
    given: Any = request_of("convert", ["s3://bucket/2026/jobs.json.gz"])
    assert "dumps/jobs.bundle" == given.out


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://bucket/2026/jobs.json", (True, "jobs.json")),
        ("https://host/jobs.json?X-Amz-Signature=abc#d", (True, "jobs.json")),
        ("s3://bucket", (True, "bucket")),
        ("folder/jobs.json", (False, "jobs.json")),
        ("odd?name#of a file.json", (False, "odd?name#of a file.json")),
        ("./s3://jobs.json", (False, "jobs.json")),
        ("-", (False, "-")),
    ],
)
def test_names(path: str, expected: tuple[bool, str]) -> None:
    assert expected == (storage.is_url(path), storage.name(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("go on with: convert 'https://me:pw@host/a?sig=x&y=1' --out=b", "convert 'https://****@host/a?****' --out=b"),
        ("no https://host/a?sig=x, but mongodb://host/db?replicaSet=a", "no https://host/a?**** but mongodb://"),
        ("is s3://bucket/a?b a name?", "is s3://bucket/a?b a name?"),
        ("mongodb://me:pw@host/db is no folder", "mongodb://****@host/db is no folder"),
        (
            "mongodb:/me:pw@host/db: no folder mongodb:/me:pw@host",
            "mongodb:/****@host/db: no folder mongodb:/****@host",
        ),
        ("no mongodb+srv://me:p/w o@rd@host/db", "no mongodb+srv://****@host/db"),
        (
            "say mongodb://host/db, with user:password@ before host",
            "say mongodb://host/db, with user:password@ before host",
        ),
        ("s3:/me:pw@bucket/key is no folder", "s3:/****@bucket/key is no folder"),
    ],
)
def test_what_is_masked(text: str, expected: str) -> None:
    assert expected in masked(text)
    assert masked(text) == masked(masked(text))


def test_files_need_none_of_it(tmp_path: Path) -> None:
    """Nor do they wait for it."""
    write_dump(tmp_path / "jobs.json", jobs(5))
    before = "import atexit, sys; atexit.register(lambda: print('fsspec' in sys.modules, file=sys.stderr))"
    finished = command("convert", tmp_path / "jobs.json", f"--out={tmp_path / 'out'}", before=before)
    assert (0, "False\n") == (finished.returncode, finished.stderr)
