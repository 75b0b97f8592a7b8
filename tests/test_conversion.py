"""The conversion as a whole: what is read is accepted or rejected, and the folder tells the truth about it."""

import gzip
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import orjson
import pytest
from bson import DatetimeMS, ObjectId
from pydantic import ValidationError

from converter import conversion, extjson
from converter import run as run_module
from converter.conversion import ConvertRequest, Summary, convert
from converter.documents import RawDocument, Unreadable
from converter.errors import DumpError, TooManyRejects, UsageError
from converter.layout import BUNDLE_FILES, DATA_FILES
from converter.manifest import Manifest
from converter.mapping import Options, Rejected
from converter.progress import Progress
from converter.transformation import Task, refused, transform
from tests.small_dumps import DIALECTS, bundle, contents, job, jobs, lines, manifest, run, write_dump


@pytest.fixture
def dump(tmp_path: Path) -> str:
    return write_dump(tmp_path / "jobs.json", jobs(14))


def test_summary_and_manifest(dump: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = run(dump, out)
    assert (14, 12, 2) == (summary.read, summary.accepted, summary.rejected)
    assert {"duplicate-job": 1, "no-identity": 1} == summary.rejects_by_reason
    assert (True, False, False) == (summary.finished, summary.already_finished, summary.dry_run)
    for name, file in summary.files.items():
        assert (len(lines(out, name)), (out / name).stat().st_size) == (file.documents, file.bytes)
    assert {*DATA_FILES.values(), "rejects.ndjson"} == set(summary.files)
    told = manifest(out)
    text = (out / "manifest.json").read_text()
    assert text == Manifest.model_validate_json(text).to_text()
    assert {"tool", "options", "inputs", "counts", "files"} == set(told)
    expected = {
        "queue": "novel-generation",
        "in_flight": "keep",
        "json_format": "relaxed",
        "limit": None,
        "parts": False,
    }
    assert expected == told["options"]
    assert ["jobs.json"] == [given["name"] for given in told["inputs"]]
    assert os.path.getsize(dump) == told["inputs"][0]["bytes"]
    assert {name: (entry["documents"], entry["bytes"]) for name, entry in told["files"].items()} == {
        name: (file.documents, file.bytes) for name, file in summary.files.items()
    }
    assert str(tmp_path) not in (out / "manifest.json").read_text()


def test_every_dialect_gives_the_same_files(tmp_path: Path) -> None:
    bundles = []
    for dialect in DIALECTS:
        run(write_dump(tmp_path / dialect, jobs(14), dialect), tmp_path / f"{dialect} out")
        files = contents(tmp_path / f"{dialect} out")
        bundles.append({name: files[name] for name in DATA_FILES.values()})
    assert [bundles[0]] * len(DIALECTS) == bundles


def test_same_input_same_bytes(dump: str, tmp_path: Path) -> None:
    run(dump, tmp_path / "one")
    run(dump, tmp_path / "two", batch_size=1000, progress="none")
    assert bundle(tmp_path / "one") == bundle(tmp_path / "two")


def test_rejects_are_whole(tmp_path: Path) -> None:
    documents: list[Any] = [
        {"title": "nobody's", "when": DatetimeMS(0), "id": ObjectId("6b048ef23a7f864639930729")},
        job(1),
        "text",
        job(2),
        job(1),
        {"jobId": "no time"},
        None,
    ]
    dump = write_dump(tmp_path / "jobs.json", documents)
    summary = run(dump, tmp_path / "out")
    assert (7, 2, 5) == (summary.read, summary.accepted, summary.rejected)
    rejects = lines(tmp_path / "out", "rejects.ndjson")
    text = Path(dump).read_bytes()
    for reject in rejects:
        document = orjson.dumps(reject["document"], option=orjson.OPT_SORT_KEYS)
        assert reject["offset"] == text.index(document) or reject["reason"] == "duplicate-job"
    assert [
        (0, "no-identity", None),
        (2, "not-an-object", None),
        (4, "duplicate-job", "6b048ef23a7f864600000001"),
        (5, "no-creation-time", "no time"),
        (6, "not-an-object", None),
    ] == [(reject["index"], reject["reason"], reject.get("jobId")) for reject in rejects]
    assert "a job with the same jobId or _id is at index 1 of jobs.json" == rejects[2]["detail"]
    assert ["index", "offset", "jobId", "reason", "detail", "document"] == list(rejects[2])
    assert documents[0] == extjson.decode(rejects[0]["document"])


def test_no_rejects_no_file(tmp_path: Path) -> None:
    run(write_dump(tmp_path / "jobs.json", jobs(3)), tmp_path / "out")
    assert set(BUNDLE_FILES) - {"rejects.ndjson"} == set(contents(tmp_path / "out"))


def test_duplicates_by_either_identity(tmp_path: Path) -> None:
    """The one who shares nothing with an accepted job is accepted, even if a rejected one was like it."""
    first, by_id, by_name, like_rejected = job(1), job(1), job(2), job(3)
    by_id["jobId"] = "b"
    first["jobId"] = "a"
    by_name["jobId"] = "a"
    like_rejected["jobId"] = "b"
    summary = run(write_dump(tmp_path / "dump", [first, by_id, by_name, like_rejected]), tmp_path / "out")
    assert ["a", "b"] == [document["jobId"] for document in lines(tmp_path / "out", "novel_jobs.ndjson")]
    assert {"duplicate-job": 2} == summary.rejects_by_reason
    assert [1, 2] == [reject["index"] for reject in lines(tmp_path / "out", "rejects.ndjson")]


def test_unreadable_documents(tmp_path: Path) -> None:
    deep = b'{"a":' * 300 + b'"\xe2\x80\x9c"' + b"}" * 300
    (tmp_path / "dump").write_bytes(b"[" + deep + b"]")
    run(str(tmp_path / "dump"), tmp_path / "out")
    (reject,) = lines(tmp_path / "out", "rejects.ndjson")
    assert (0, 1, "nested-too-deep", deep.decode()) == tuple(
        reject[name] for name in ("index", "offset", "reason", "document")
    )
    raw = b"\x05\0\0\0\0"
    unreadable = Unreadable(3, None, None, "document-too-large", "large", raw, in_bson=True)
    rejected = transform(unreadable, Options(), "relaxed")
    assert Rejected("document-too-large", "large") == rejected
    assert {"$binary": {"base64": "BQAAAAA=", "subType": "00"}} == json.loads(
        refused(0, unreadable, rejected, Task(Options(), "relaxed", ("a.bson",))).line
    )["document"]


def test_rejects_too_deep_for_json() -> None:
    value: Any = ObjectId()
    for _ in range(260):
        value = {"a": value}
    line = refused(0, RawDocument(0, None, None, value), Rejected("no", "no"), Task(Options(), "relaxed")).line
    assert value == bson.json_util.loads(json.loads(line)["document"])


def test_documents_that_break_a_contract(dump: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Rejected("contract", "novel_jobs: payload: is missing", "some job")
    monkeypatch.setattr("converter.contracts.check", lambda converted, mode: broken)
    summary = run(dump, tmp_path / "out")
    assert {"contract": 13, "no-identity": 1} == summary.rejects_by_reason
    assert {0} == {summary.files[name].documents for name in DATA_FILES.values()}
    first = lines(tmp_path / "out", "rejects.ndjson")[0]
    assert ("contract", "novel_jobs: payload: is missing", "some job") == (
        first["reason"],
        first["detail"],
        first["jobId"],
    )


def test_lone_surrogates_are_counted(tmp_path: Path) -> None:
    text = orjson.dumps([bson.json_util._json_convert(job(1))]).replace(b"Harbor", rb"\ud800Harbor")
    (tmp_path / "dump").write_bytes(text)
    summary = run(str(tmp_path / "dump"), tmp_path / "out")
    assert 1 == summary.repairs["lone-surrogate"]


def test_repairs_add_up(dump: str, tmp_path: Path) -> None:
    repairs: dict[str, int] = {}
    for number in range(14):
        if number not in (5, 8):
            one = run(write_dump(tmp_path / "one", [job(number)]), tmp_path / f"out {number}")
            for name, count in one.repairs.items():
                repairs[name] = repairs.get(name, 0) + count
    assert repairs == run(dump, tmp_path / "out").repairs


@pytest.mark.parametrize("limit", [0, 1, 4, 9, 14, 20])
def test_limit(dump: str, tmp_path: Path, limit: int) -> None:
    summary = run(dump, tmp_path / "out", limit=limit)
    assert min(limit, 14) == summary.read == summary.accepted + summary.rejected
    first = write_dump(tmp_path / "first", jobs(14)[:limit])
    run(first, tmp_path / "first out")
    name = "novel_jobs.ndjson"
    assert (tmp_path / "first out" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_limit_over_several_dumps(tmp_path: Path) -> None:
    dumps = tuple(write_dump(tmp_path / name, [job(n)], "lines") for n, name in enumerate("abc"))
    assert 2 == run(dumps, tmp_path / "out", limit=2).read


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dry_run(tmp_path: Path, dialect: str) -> None:
    dump = write_dump(tmp_path / "dump", jobs(14), dialect)
    rehearsed = run(dump, tmp_path / "deep" / "out", dry_run=True)
    assert ["dump"] == [path.name for path in tmp_path.iterdir()]
    done = run(dump, tmp_path / "deep" / "out")
    assert done == rehearsed.model_copy(update={"dry_run": False, "finished": True})
    before = contents(tmp_path / "deep" / "out")
    assert rehearsed == run(dump, tmp_path / "deep" / "out", dry_run=True)
    assert before == contents(tmp_path / "deep" / "out")


def test_dry_run_needs_no_folder_that_can_be_written(dump: str) -> None:
    assert 14 == run(dump, Path("/proc/bundle"), dry_run=True).read


def many(good: int, bad: int) -> Iterator[Any]:
    """The bad ones at the end."""
    yield from (job(number, words=0) for number in range(good))
    yield from [0] * bad


@pytest.mark.parametrize(
    ("good", "bad", "allowed", "read"),
    [
        (5, 0, "0", None),
        (5, 1, "0", 6),
        (5, 3, "1", 7),
        (5, 3, "3", None),
        (5, 5, "49.9%", 10),  # a share of few documents is judged at the end
        (5, 5, "50%", None),
        (0, 0, "0%", None),
        (98, 30, "1.5%", 100),
        (120, 30, "1.5%", 122),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_max_rejects(tmp_path: Path, good: int, bad: int, allowed: str, read: int | None, dry_run: bool) -> None:
    dump = write_dump(tmp_path / "dump", list(many(good, bad)))
    out, progress = tmp_path / "out", Progress()
    request = ConvertRequest(dumps=(dump,), out=str(out), max_rejects=allowed, dry_run=dry_run)
    if read is None:
        assert good + bad == convert(request, progress).read
    else:
        with pytest.raises(TooManyRejects, match=rf"of {read} documents were rejected \([0-9]+ not-an-object\)"):
            convert(request, progress)
        assert not (out / "manifest.json").exists()
    assert dry_run == (not out.exists())


def test_standard_input(dump: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(dump, "rb") as file:
        before = os.dup(0)
        os.dup2(file.fileno(), 0)
        try:
            summary = run("-", tmp_path / "out")
        finally:
            os.dup2(before, 0)
            os.close(before)
    assert 14 == summary.read
    given = manifest(tmp_path / "out")["inputs"][0]
    assert ("-", None, None) == (given["name"], given["bytes"], given["head_sha256"])


def test_pipes_have_names_too(dump: str, tmp_path: Path) -> None:
    """``novel-backfill convert <(zcat jobs.json.gz)``: it can be read once, so it isn't fingerprinted, nor resumed."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def feed() -> None:
        pipe.write_bytes(Path(dump).read_bytes())

    writer = threading.Thread(target=feed)
    writer.start()
    assert 14 == run(str(pipe), tmp_path / "out").read
    writer.join()
    with pytest.raises(UsageError, match=rf"{pipe} can't be read again: save it to a file"):
        run(str(pipe), tmp_path / "out", resume=True)


def test_truncated_standard_input_can_not_be_resumed(dump: str, tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(Path(dump).read_bytes()[:5000])
    with open(tmp_path / "dump", "rb") as file:
        before = os.dup(0)
        os.dup2(file.fileno(), 0)
        try:
            with pytest.raises(
                DumpError, match="standard input can't be read again: save it to a file, and start over"
            ):
                run("-", tmp_path / "out")
        finally:
            os.dup2(before, 0)
            os.close(before)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_truncated_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(Path(write_dump(tmp_path / "whole", jobs(14))).read_bytes())
    for length in (len(whole) // 2, len(whole) - 1, len(whole) - 8):
        (tmp_path / "dump").write_bytes(whole[:length])
        with pytest.raises(DumpError):
            run(str(tmp_path / "dump"), tmp_path / "out", overwrite=True)
        assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_broken_second_dump_is_found_before_anything_is_converted(dump: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>")
    with pytest.raises(DumpError, match="HTML"):
        run((dump, str(tmp_path / "page.html")), tmp_path / "out")
    with pytest.raises(DumpError, match="there is no such file"):
        run((dump, str(tmp_path / "nothing.json")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_in_another_thread(dump: str, tmp_path: Path) -> None:
    """Where no signal handler can be set."""
    summaries: list[Summary] = []
    thread = threading.Thread(target=lambda: summaries.append(run(dump, tmp_path / "out")))
    thread.start()
    thread.join()
    assert [14] == [summary.read for summary in summaries]


def test_checkpoints_by_bytes(dump: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large documents make checkpoints due long before the batch is full."""
    monkeypatch.setattr(run_module, "CHECKPOINT_BYTES", 10_000)
    progress = Progress()
    summary = convert(ConvertRequest(dumps=(dump,), out=str(tmp_path / "out"), batch_size=1000), progress)
    written = sum(file.bytes for file in summary.files.values())
    assert written // 14_000 < progress.batch <= written // 10_000 + 2


def test_progress_after_resume_starts_at_the_checkpoint(dump: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None, int]] = []

    class Watching(Progress):
        def advance(self, **totals: int) -> None:
            super().advance(**totals)
            seen.append((self.done_bytes, self.total_bytes, self.documents))
            if len(seen) == 7:
                raise KeyboardInterrupt

    request = ConvertRequest(dumps=(dump, dump), out=str(tmp_path / "out"), batch_size=7)
    with pytest.raises(conversion.Interrupted):
        convert(request, Watching())
    progress = Watching()
    convert(request.model_copy(update={"resume": True}), progress)
    size = os.path.getsize(dump)
    assert [*range(1, 8), *range(1, 29)] == [documents for _, _, documents in seen]
    assert {2 * size} == {total for _, total, _ in seen}
    assert 2 * size == progress.done_bytes


@pytest.mark.parametrize(
    "options",
    [
        {"dumps": ()},
        {"out": ""},
        {"queue": ""},
        {"limit": -1},
        {"batch_size": 0},
        {"in_flight": "drop"},
        {"json_format": "v1"},
        {"max_rejects": "-1"},
        {"max_rejects": "1.5"},
        {"max_rejects": "%"},
        {"max_rejects": "٣"},
        {"progress": "loud"},
        {"resume": True, "overwrite": True},
        {"dumps": ("-", "-")},
        {"limit": "3"},
        {"unknown": 1},
    ],
)
def test_requests_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ConvertRequest(**{"dumps": ("a",), "out": "b"} | options)


def test_command_to_resume() -> None:
    plain = ConvertRequest(dumps=("a", "b c"), out="it's", overwrite=True)
    assert """novel-backfill convert a 'b c' '--out=it'"'"'s' --resume""" == plain.command("--resume")
    all_options = ConvertRequest(
        dumps=("a",),
        out="b",
        limit=0,
        batch_size=7,
        queue="a b",
        in_flight="fail",
        json_format="canonical",
        max_rejects="1.5%",
        progress="none",
    )
    assert (
        "novel-backfill convert a --out=b --resume --limit=0 --batch-size=7 '--queue=a b' --in-flight=fail "
        "--json-format=canonical --max-rejects=1.5% --progress=none" == all_options.command("--resume")
    )


def test_option_changes_reach_the_documents(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", [job(1) | {"status": "writing"}])
    run(dump, tmp_path / "out", queue="other", in_flight="fail", json_format="canonical")
    (document,) = lines(tmp_path / "out", "novel_jobs.ndjson")
    assert ("other", "failed") == (document["queue"], document["status"])
    assert re.search(r'"createdAt":\{"\$date":\{"\$numberLong":', (tmp_path / "out" / "novel_jobs.ndjson").read_text())


def test_bytes_that_are_no_text_are_counted(tmp_path: Path) -> None:
    document = bson.encode({"_id": ObjectId("6b048ef23a7f864639930729"), "title": "caf?"})
    (tmp_path / "jobs.bson").write_bytes(document.replace(b"caf?", b"caf\xe9"))
    summary = run(str(tmp_path / "jobs.bson"), tmp_path / "out")
    assert 1 == summary.repairs["text-not-utf8"]
    assert "caf\ufffd" == lines(tmp_path / "out", "novel_jobs.ndjson")[0]["payload"]["title"]
