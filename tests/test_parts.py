"""Parts written by workers hold, one behind the other, what one process writes to one file."""

import gzip
import os
import signal
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter import engines
from converter.conversion import ConvertRequest, convert
from converter.errors import CheckpointMismatch, DumpError, OutputExists, TooManyRejects, UsageError, WorkerDied
from converter.layout import DATA_FILES, data_files, part_name
from converter.progress import Progress
from converter.verification import VerifyRequest, verify
from tests.small_dumps import bundle, contents, failure, job, jobs, manifest, run, write_dump
from tests.test_ranges import DUMPS, as_json

PLAIN = ("array", "lines", "bson")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "PART_BYTES", 6000)


def joined(files: dict[str, Any]) -> dict[str, Any]:
    """A bundle's data, the parts one behind the other."""
    found = {
        DATA_FILES[collection]: b"".join(files[name] for name in names)
        for collection, names in data_files(files).items()
    }
    return found | {"rejects.ndjson": files.get("rejects.ndjson")}


def sound(out: Path, *dumps: str) -> bool:
    findings = verify(VerifyRequest(bundle=str(out), dump=dumps))
    assert [] == findings.problems
    return findings.ok


@pytest.mark.parametrize("dialect", PLAIN)
def test_any_number_of_workers_makes_the_same_parts(dialect: str, tmp_path: Path) -> None:
    """With rejects, and with jobs that the part or another one holds already."""
    dumps = (
        write_dump(tmp_path / "one", jobs(14), dialect),
        write_dump(tmp_path / "two", [job(number) for number in range(10, 30)], dialect),
        write_dump(tmp_path / "none", [], dialect)
        if dialect == "array"
        else write_dump(tmp_path / "3", [job(99)], dialect),
    )
    run(dumps, tmp_path / "joined", workers=1)
    for workers in (1, 3):
        run(dumps, tmp_path / f"by {workers}", workers=workers, parts=True)
    found = bundle(tmp_path / "by 1")
    assert found == bundle(tmp_path / "by 3")
    assert joined(bundle(tmp_path / "joined")) == joined(found)
    assert 6 < sum(name.startswith("novel_jobs.part-") for name in found)
    assert sound(tmp_path / "by 1", *dumps)


@settings(max_examples=60)
@given(DUMPS, st.sampled_from([1, 40, 700, 100_000]))
def test_parts_of_any_dump(data: bytes, size: int) -> None:
    with TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patched:
        patched.setattr(engines, "PART_BYTES", size)
        folder = Path(temporary)
        (folder / "dump").write_bytes(data)
        dump, made = str(folder / "dump"), {}
        made["joined"] = failure(lambda: run(dump, folder / "joined", workers=1))
        made["parts"] = failure(lambda: run(dump, folder / "parts", workers=1, parts=True))
        errors = {name: error and str(error).split(";")[0] for name, error in made.items()}
        assert errors["joined"] == errors["parts"]
        if errors["joined"] is None:
            assert joined(bundle(folder / "joined")) == joined(bundle(folder / "parts"))


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, 16 << 20), (300 << 20, 300 << 16), (4 << 30, 256 << 20), (1 << 40, 256 << 20), (10 << 40, 10 << 28)],
)
def test_the_size_of_parts(size: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert expected == engines.part_bytes(size)


def test_no_documents_are_a_bundle_too(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", [])
    run(dump, tmp_path / "out", parts=True)
    assert {part_name(collection, 0) for collection in DATA_FILES} == set(manifest(tmp_path / "out")["files"])
    assert sound(tmp_path / "out", dump)


def test_nothing_else_stays(tmp_path: Path) -> None:
    """Neither what a worker wrote in vain, nor what an older bundle had more."""
    dump = write_dump(tmp_path / "dump", jobs(14))
    out = tmp_path / "out"
    run(dump, tmp_path / "whole", parts=True)
    run(write_dump(tmp_path / "more", [job(number) for number in range(50)]), out, parts=True, workers=2)
    (out / "novel_jobs.attempt-0a1b.partial").write_bytes(b"left by a worker that was killed")
    (out / "of mine").write_bytes(b"")
    with pytest.raises(OutputExists, match=r"attempt-0a1b\.partial"):
        run(dump, out, parts=True)
    run(dump, out, parts=True, overwrite=True)
    assert bundle(tmp_path / "whole") | {"of mine": b""} == bundle(out)
    run(dump, out, overwrite=True)
    run(dump, tmp_path / "joined")
    assert bundle(tmp_path / "joined") | {"of mine": b""} == bundle(out)


def test_parts_that_have_no_manifest_are_not_overwritten(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", jobs(3))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / part_name("novel_jobs", 7)).write_bytes(b"")
    with pytest.raises(OutputExists, match=r"a file that is called like one of a bundle's \(novel_jobs\.part-00007"):
        run(dump, tmp_path / "out", parts=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_stopped_by_rejects_and_resumed(workers: int, tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", [*jobs(14), {"no": "job"}, *(job(number) for number in range(20, 40))])
    run(dump, tmp_path / "whole", parts=True)
    for allowed in ("0", "1"):
        with pytest.raises(TooManyRejects):
            run(dump, tmp_path / "out", parts=True, workers=workers, max_rejects=allowed, resume=allowed != "0")
    run(dump, tmp_path / "out", parts=True, workers=3 - workers, resume=True)
    assert bundle(tmp_path / "whole") == bundle(tmp_path / "out")


def test_a_broken_dump_keeps_the_parts_before(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    content = Path(write_dump(path, [job(number, words=1000) for number in range(14)])).read_bytes()
    run(str(path), tmp_path / "whole", parts=True)
    status = path.stat()
    at = content.index(b'"title"', len(content) // 2)
    path.write_bytes(content[:at] + b"!" + content[at + 1 :])
    with pytest.raises(DumpError, match=f"byte {at:,}, document .*: this is not JSON"):
        run(str(path), tmp_path / "out", parts=True, workers=2)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert list((tmp_path / "out").glob("novel_jobs.attempt-*.partial"))
    run(str(path), tmp_path / "out", parts=True, resume=True)
    assert bundle(tmp_path / "whole") == bundle(tmp_path / "out")


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        (
            6000,
            r"; with --parts nothing is kept of the part in which a dump breaks, the parts before it hold \d ",
        ),
        (
            10**6,
            "; with --parts nothing is kept of the part in which a dump breaks; nothing was converted; start over ",
        ),
    ],
)
def test_a_truncated_dump_says_that_its_last_part_is_not_kept(
    size: int, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "PART_BYTES", size)
    path = tmp_path / "dump"
    content = Path(write_dump(path, jobs(14))).read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DumpError, match=kept):
        run(str(path), tmp_path / "out", parts=True)
    assert not (tmp_path / "out" / "manifest.json").exists()


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_while_a_part_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was seen in a part that was never accepted isn't seen before when the run is resumed."""
    dump = write_dump(tmp_path / "dump", jobs(14))
    run(dump, tmp_path / "whole", parts=True)
    written = engines.parts.written

    def submit(self: Any, work: Any, *arguments: Any) -> Any:
        return submitted(self, die if work is written and arguments[-1] else work, *arguments)

    submitted = engines._Workers._submit
    with monkeypatch.context() as patched:
        patched.setattr(engines._Workers, "_submit", submit)
        with pytest.raises(WorkerDied):
            run(dump, tmp_path / "out", parts=True, workers=2)
    run(dump, tmp_path / "out", parts=True, workers=2, resume=True)
    assert bundle(tmp_path / "whole") == bundle(tmp_path / "out")


def test_a_part_that_was_cut_is_not_resumed(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", jobs(14))
    with pytest.raises(TooManyRejects):
        run(dump, tmp_path / "out", parts=True, max_rejects="0")
    part = next((tmp_path / "out").glob("novel_jobs.attempt-*.partial"))
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(CheckpointMismatch, match=rf"{part.name} isn't what the last checkpoint left"):
        run(dump, tmp_path / "out", parts=True, resume=True)


@pytest.mark.parametrize(
    "damage",
    [
        lambda out: (out / "novel_jobs.part-00001.ndjson").unlink(),
        lambda out: (out / "novel_jobs.part-00001.ndjson").write_bytes(b""),
        lambda out: (out / "novel_jobs.part-00001.ndjson").rename(out / "novel_jobs.part-00009.ndjson"),
    ],
)
def test_damage_is_noticed(damage: Callable[[Path], object], tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", jobs(14))
    run(dump, tmp_path / "out", parts=True)
    damage(tmp_path / "out")
    assert not verify(VerifyRequest(bundle=str(tmp_path / "out"))).ok


def test_a_part_that_is_missing_everywhere_is_noticed(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", jobs(14))
    run(dump, tmp_path / "out", parts=True)
    (tmp_path / "out" / "novel_jobs.part-00001.ndjson").unlink()
    for name in ("manifest.json", "SHA256SUMS"):
        text = (tmp_path / "out" / name).read_text()
        (tmp_path / "out" / name).write_text(text.replace("novel_jobs.part-00001", "novel_jobs.part-00077"))
    found = {problem.detail for problem in verify(VerifyRequest(bundle=str(tmp_path / "out"))).problems}
    assert "novel_jobs.part-00001.ndjson is not in it" in found


def test_what_makes_no_parts(tmp_path: Path) -> None:
    plain = write_dump(tmp_path / "dump", jobs(3))
    with pytest.raises(ValueError, match="--parts are made of whole ranges of a dump, --limit ends anywhere"):
        ConvertRequest(dumps=(plain,), out="out", parts=True, limit=3)
    packed = tmp_path / "dump.gz"
    packed.write_bytes(gzip.compress(Path(plain).read_bytes()))
    with pytest.raises(DumpError, match="--parts needs a plain file"):
        run(str(packed), tmp_path / "out", parts=True)
    with pytest.raises(UsageError, match="standard input can't be read again"):
        run("-", tmp_path / "out", parts=True, resume=True)
    assert not (tmp_path / "out").exists()


def test_another_run_without_parts_is_not_gone_on_with(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", jobs(14))
    with pytest.raises(TooManyRejects):
        run(dump, tmp_path / "out", max_rejects="0")
    with pytest.raises(CheckpointMismatch, match="--parts was not given and is now given"):
        run(dump, tmp_path / "out", parts=True, resume=True)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", jobs(14))
    request = ConvertRequest(dumps=(dump,), out=str(tmp_path / "out"), dry_run=True)
    whole = convert(request, Progress())
    parts = convert(request.model_copy(update={"parts": True}), Progress())
    assert {name.replace(".part-*", ""): file for name, file in parts.files.items()} == whole.files
    assert {"novel_jobs.part-*.ndjson", "novel_job_events.part-*.ndjson", "rejects.ndjson"} < parts.files.keys()
    assert whole.model_copy(update={"files": parts.files}) == parts
    assert ["dump"] == list(contents(tmp_path))


def test_documents_that_are_no_documents(tmp_path: Path) -> None:
    (tmp_path / "dump").write_text("[1," + ",".join(as_json(job(number), None) for number in range(5)) + ",[{}]]")
    run(str(tmp_path / "dump"), tmp_path / "joined")
    run(str(tmp_path / "dump"), tmp_path / "out", parts=True, workers=2)
    assert joined(bundle(tmp_path / "joined")) == joined(bundle(tmp_path / "out"))
