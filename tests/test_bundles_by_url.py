"""A bundle in object storage is the one that a folder holds, and never half of one."""

import json
import platform
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from converter.cli import request_of
from converter.errors import UsageError
from converter.layout import MANIFEST, REPORTS
from tests.object_storage import Between, Storage, command, listening, told
from tests.small_dumps import contents, job, jobs, run, write_dump

pytest.importorskip("fsspec", reason="the extra cloud is not installed")
pytest_plugins = ("tests.object_storage_fixtures",)

SMALL_PARTS = "from converter import engines; engines.PART_BYTES = 6000"


def without_reports(files: dict[str, bytes]) -> dict[str, bytes]:
    """The reports tell of the clock and the machine."""
    return {name: b"present" if name in REPORTS else content for name, content in files.items()}


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """With rejects, in several parts."""
    return Path(write_dump(tmp_path / "jobs.json", jobs(14)))


@pytest.mark.parametrize("words", [[], ["--parts", "--workers=1"], ["--parts", "--workers=2"]])
def test_the_same_files(storage: Storage, dump: Path, words: list[str], tmp_path: Path) -> None:
    expected, name = tmp_path / "expected", f"same{len(words)}{words[-1:]}".translate({91: None, 93: None, 39: None})
    assert 3 == command("convert", dump, f"--out={expected}", *words, before=SMALL_PARTS).returncode
    finished = storage.command("convert", dump, f"--out={storage.url(name)}", *words, before=SMALL_PARTS, cwd=tmp_path)
    assert (3, "") == (finished.returncode, finished.stderr)
    assert without_reports(contents(expected)) == without_reports(storage.objects(name))
    assert [] == list((tmp_path / "dumps").iterdir())
    assert f"\nbundle: {storage.url(name)}\n" in finished.stdout
    assert f"with the reason: {storage.url(name)}/rejects.ndjson\n" in finished.stdout
    assert finished.stdout.endswith(f" --recursive {storage.url(name)} FOLDER\n      novel-backfill load FOLDER\n")

    proofs = [
        storage.command("verify", where, f"--dump={dump}", "--json") for where in (expected, storage.url(name) + "/")
    ]
    assert [(0, ""), (0, "")] == [(proof.returncode, proof.stderr) for proof in proofs]
    found, there = (json.loads(proof.stdout) for proof in proofs)
    assert found | {"bundle": storage.url(name) + "/"} == there


def test_a_dump_that_is_there_too(storage: Storage, dump: Path, tmp_path: Path) -> None:
    storage.put("jobs.json", dump.read_bytes())
    words = ["convert", storage.url("jobs.json"), f"--out={storage.url('both')}", "--workers=2"]
    assert 3 == storage.command(*words, cwd=tmp_path).returncode
    run(str(dump), tmp_path / "expected")
    assert without_reports(contents(tmp_path / "expected")) == without_reports(storage.objects("both"))
    assert 0 == storage.command("verify", storage.url("both"), f"--dump={storage.url('jobs.json')}").returncode


def test_damage_is_noticed(storage: Storage, dump: Path) -> None:
    url = storage.url("damaged")
    assert 3 == storage.command("convert", dump, f"--out={url}").returncode
    storage.put("damaged/novel_jobs.ndjson", storage.objects("damaged")["novel_jobs.ndjson"][:-2])
    storage.remove("damaged/indexes.js")
    finished = storage.command("verify", url, "--fast")
    assert (1, "") == (finished.returncode, finished.stderr)
    assert "indexes.js: the file is missing" in finished.stdout
    assert "novel_jobs.ndjson: the checksum is not the one in SHA256SUMS" in finished.stdout
    storage.remove("damaged/manifest.json")
    code, line = told(storage.command("verify", url))
    assert (1, f"novel-backfill: {url}/manifest.json is missing: this is no bundle") == (code, line)


def test_sending_is_shown(storage: Storage, dump: Path, tmp_path: Path) -> None:
    finished = storage.command("convert", dump, f"--out={storage.url('shown')}", "--progress=json", cwd=tmp_path)
    *_, last = map(json.loads, finished.stderr.splitlines())
    size = sum(map(len, storage.objects("shown").values()))
    assert ("sending", size, size) == (last["phase"], last["bytes"], last["total_bytes"])


def test_a_large_file_is_sent_in_pieces(storage: Storage, tmp_path: Path) -> None:
    """And the pieces are told of as they arrive."""
    path = tmp_path / "file"
    path.write_bytes(bytes(12 << 20))
    send = "from converter import storage; told = []; storage.put(*sys.argv[1:], told.append); print(told)"
    assert [5 << 20, 5 << 20, 2 << 20] == [
        count for count in json.loads(storage.script(send, str(path), storage.url("large"))) if count
    ]


@pytest.mark.parametrize("words", [[], ["--parts"]])
def test_killed_and_resumed(storage: Storage, dump: Path, words: list[str], tmp_path: Path) -> None:
    """Wherever that happens, nothing is called a bundle before all of it is there."""
    more = write_dump(tmp_path / "more", [job(number) for number in range(50)])
    name, whole = f"killed{len(words)}", tmp_path / "whole"
    url = storage.url(name)
    before = ["convert", more, f"--out={url}", "--parts"]
    assert 0 == storage.command(*before, before=SMALL_PARTS, cwd=tmp_path).returncode
    older = storage.objects(name)
    command("convert", dump, f"--out={whole}", *words, before=SMALL_PARTS)
    expected = without_reports(contents(whole))
    for point in ("started", "committed:1", "removed:1", "renamed:3", "published"):
        now = ["convert", dump, f"--out={url}", *words]
        killed = storage.command(*now, "--overwrite", before=SMALL_PARTS, cwd=tmp_path, BACKFILL_CRASH_AT=point)
        assert -signal.SIGKILL == killed.returncode, point
        left = storage.objects(name)
        if point in ("started", "committed:1"):
            assert older == {name: left[name] for name in older}
        assert (MANIFEST in left) == (point in ("started", "committed:1", "published"))
        resumed = storage.command(*now, "--resume", before=SMALL_PARTS, cwd=tmp_path)
        assert (3, "") == (resumed.returncode, resumed.stderr), point
        assert expected == without_reports(storage.objects(name)), point
        assert [] == list((tmp_path / "dumps").iterdir())
        older = storage.objects(name)


def test_nothing_is_overwritten(storage: Storage, dump: Path, tmp_path: Path) -> None:
    url, other = storage.url("mine"), write_dump(tmp_path / "other", [job(99)])
    assert 3 == storage.command("convert", dump, f"--out={url}", cwd=tmp_path).returncode
    before = storage.objects("mine")
    code, line = told(storage.command("convert", other, f"--out={url}", cwd=tmp_path))
    expected = f"novel-backfill: {url} holds a bundle (manifest.json): replace it with --overwrite, or choose another"
    assert (1, expected) == (code, line[: len(expected)])
    code, line = told(storage.command("convert", other, f"--out={url}", "--resume", cwd=tmp_path))
    assert (1, True) == (code, f"{url} holds the finished bundle of another run: " in line), line
    finished = storage.command("convert", dump, f"--out={url}", "--resume", cwd=tmp_path)
    assert (0, f"{url} is finished already, nothing was left to do.") == (
        finished.returncode,
        finished.stdout.splitlines()[0],
    )
    finished = storage.command("convert", other, f"--out={url}", "--dry-run", cwd=tmp_path)
    assert (0, "dry run: nothing was written") == (finished.returncode, finished.stdout.splitlines()[-1])
    assert before == storage.objects("mine")
    assert [] == list((tmp_path / "dumps").iterdir())


def test_one_run_at_a_time(storage: Storage, dump: Path, tmp_path: Path) -> None:
    """Nothing can be locked there. But each says where it is at work, and the others look."""
    url, here, there = storage.url("wanted"), tmp_path / "here", tmp_path / "there"
    words = ["convert", dump, f"--out={url}"]
    killed = storage.command(*words, f"--work={here}", BACKFILL_CRASH_AT="started")
    assert -signal.SIGKILL == killed.returncode
    belongs = f"novel-backfill: {url} belongs to a run in {platform.node()}:{here}, which is at work or was interrupted"
    for switch in ([], ["--resume"]):
        code, line = told(storage.command(*words, f"--work={there}", *switch))
        assert (1, belongs) == (code, line[: len(belongs)])
    killed = storage.command(*words, f"--work={there}", "--overwrite", BACKFILL_CRASH_AT="started")
    assert -signal.SIGKILL == killed.returncode
    code, line = told(storage.command(*words, f"--work={here}", "--resume"))
    assert (1, True) == (code, f"{url} belongs to a run in {platform.node()}:{there}" in line), line
    assert 3 == storage.command(*words, f"--work={there}", "--resume").returncode
    code, line = told(storage.command(*words, f"--work={here}", "--resume"))
    assert (1, True) == (code, f"{url} was used by another run meanwhile: start over with --overwrite" in line), line
    assert not there.exists()


def test_a_run_that_had_hardly_begun(storage: Storage, dump: Path, tmp_path: Path) -> None:
    """It had told that it is at work, and remembered nothing yet."""
    words = ["convert", dump, f"--out={storage.url('begun')}", f"--work={tmp_path / 'work'}"]
    before = "from converter.checkpoint import Checkpoint; Checkpoint.create = lambda *_: sys.exit(9); import sys"
    assert 9 == storage.command(*words, before=before).returncode
    code, line = told(storage.command(*words))
    assert (1, True) == (code, "what an interrupted run left" in line), line
    shutil.rmtree(tmp_path / "work")
    assert 3 == storage.command(*words, "--resume").returncode


def test_no_such_bucket(storage: Storage, dump: Path, tmp_path: Path) -> None:
    """That is told before anything is converted."""
    url = f"{storage.scheme}://nowhere/jobs.bundle"
    code, line = told(storage.command("convert", dump, f"--out={url}", cwd=tmp_path))
    expected = f"novel-backfill: {url}/at-work.partial can't be written: there is no such object, or no such bucket"
    assert (1, expected) == (code, line[: len(expected)])
    assert [] == list((tmp_path / "dumps").iterdir())


def test_a_dump_in_its_own_place(storage: Storage, dump: Path, tmp_path: Path) -> None:
    storage.put("own/novel_jobs.ndjson", dump.read_bytes())
    words = ["convert", storage.url("own/novel_jobs.ndjson"), f"--out={storage.url('own')}", "--overwrite"]
    code, line = told(storage.command(*words, cwd=tmp_path))
    assert (1, True) == (code, "/own/novel_jobs.ndjson would be lost, because the bundle in " in line), line


def test_a_connection_that_is_lost_on_the_way_there(server: str, between: Between, dump: Path, tmp_path: Path) -> None:
    url, whole = "s3://bucket/lost", tmp_path / "whole"
    words = ["convert", str(dump), f"--out={url}", f"--work={tmp_path / 'work'}"]
    between.at_sent, between.happens = 4, lambda: setattr(between, "gone", True)
    code, line = told(command(*words, endpoint=between.address))
    on = f"go on with: novel-backfill convert {dump} --out={url} --resume --work={tmp_path / 'work'} --progress=none"
    assert (1, True) == (code, line.endswith(on)), line
    run(str(dump), whole)
    assert 3 == command(*words, "--resume", endpoint=server).returncode
    s3 = Storage("s3", {"endpoint": server})
    assert without_reports(contents(whole)) == without_reports(s3.objects("lost"))


def test_parts_of_a_cluster(server: str, dump: Path, tmp_path: Path) -> None:
    """Its workers see no folder of this machine, and put the parts there themselves."""
    pytest.importorskip("distributed", reason="the extra cluster is not installed")
    whole, s3 = tmp_path / "whole", Storage("s3", {"endpoint": server})
    environment = {"AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "-"}
    with listening("cluster.py", tmp_path, **environment) as cluster:
        words = [f"--out={s3.url('cluster')}", f"--scheduler={cluster.split()[0]}", "--parts"]
        finished = s3.command("convert", dump, *words, before=SMALL_PARTS, cwd=tmp_path)
    assert (3, "") == (finished.returncode, finished.stderr)
    command("convert", dump, f"--out={whole}", "--parts", before=SMALL_PARTS)
    assert without_reports(contents(whole)) == without_reports(s3.objects("cluster"))


def test_it_is_loaded_from_a_folder() -> None:
    code, line = told(command("load", "s3://bucket/jobs.bundle", "--uri=mongodb://host/database"))
    how = "copy it to one first (aws s3 cp --recursive s3://bucket/jobs.bundle FOLDER)"
    assert (2, f"novel-backfill: s3://bucket/jobs.bundle: a bundle is loaded from a folder: {how}") == (code, line)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--out=az://bucket/a"], "--out: a bundle is made in a folder, or at s3://bucket/... or gs://bucket/..., not"),
        (["--out=file:///a"], "--out: a bundle is made in a folder, or at s3://bucket/... or gs://bucket/..., not"),
        (
            ["--out=s3://bucket/a*"],
            "--out: in a URL *, ?, #, [ and ] mean something else: give the bundle another name",
        ),
        (
            ["--out=s3://me:pw@bucket/a"],
            "--out: credentials belong into the environment, where the storage's own tools",
        ),
        (["--out=a", "--work=b"], "--work is where a bundle for a URL is made, and --out is a folder: give only --out"),
    ],
)
def test_what_makes_no_sense(words: list[str], expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        request_of("convert", ["jobs.json", *words])
    assert (2, expected) == (caught.value.exit_code, str(caught.value)[: len(expected)])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--out=s3://bucket/2026/jobs.bundle/"], "dumps/s3-bucket-2026-jobs.bundle.partial"),
        (["--out=s3://bucket"], "dumps/s3-bucket.partial"),
        (["--out=gs://bucket/jobs.bundle", "--work=/large/disk"], "/large/disk"),
        (["--out=folder"], "folder"),
        ([], "dumps/jobs.bundle"),
    ],
)
def test_where_it_is_made(words: list[str], expected: str) -> None:
    given: Any = request_of("convert", ["jobs.json", *words])
    assert Path(expected) == given.folder
