"""The bundle as a folder: its files, who may read them, what is the same in every run, what they give away."""

import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.mongo import needed

ROOT = Path(__file__).parent.parent
SMALL = ROOT / "fixtures" / "small.json"

ALWAYS = {
    "novel_jobs.ndjson",
    "novel_job_events.ndjson",
    "novel_job_metrics.ndjson",
    "novel_job_metadata.ndjson",
    "manifest.json",
    "SHA256SUMS",
    "report.json",
    "report.html",
    "metrics.prom",
    "import.sh",
    "indexes.js",
    "README.md",
}
REPORTS = {"report.json", "report.html", "metrics.prom"}
"""They show the time that a run took, so no checksum is kept of them."""

ATTACK = "<img src=x onerror=\"document.title='Changed'\">"
SECRET = "hunter2-of-the-environment"


def command(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BACKFILL_")}
    return subprocess.run(
        [sys.executable, "-m", "converter", *map(str, words)],
        env=inherited | environment,
        capture_output=True,
        text=True,
    )


def converted(dumps: tuple[Path, ...], out: Path, *options: str, **environment: str) -> Path:
    result = command("convert", *dumps, f"--out={out}", *options, **environment)
    assert result.returncode in (0, 3), result.stderr
    return out


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """All that the disk knows of a folder and what is in it, but for when it was last read."""
    held: dict[str, tuple[object, ...]] = {}
    for path in (folder, *folder.rglob("*")):
        known = path.stat()
        content = path.read_bytes() if path.is_file() else None
        held[str(path)] = (known.st_ino, known.st_mode, known.st_size, known.st_mtime_ns, known.st_ctime_ns, content)
    return held


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, ...]]:
    """The shipped fixture; the same with what can't be kept; in two files, of which the second repeats a job."""
    folder = tmp_path_factory.mktemp("dumps")
    jobs = json.loads(SMALL.read_text(encoding="utf-8"))
    hostile = {**jobs[0], "_id": {"$oid": "65a0c7f2e1b2c3d4e5f60711"}, "jobId": f"a {ATTACK}", "status": ATTACK}
    rejected, first, second = folder / "rejected.json", folder / "first.json", folder / "second.json"
    rejected.write_text(json.dumps([hostile, *jobs, {"title": ATTACK}, "no job"]), encoding="utf-8")
    first.write_text(json.dumps(jobs[:6]), encoding="utf-8")
    second.write_text("".join(json.dumps(job) + "\n" for job in jobs[5:]), encoding="utf-8")
    return {"small": (SMALL,), "rejects": (rejected,), "several": (first, second)}


@pytest.fixture(scope="module", params=["small", "rejects", "several"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def bundle(name: str, dumps: Mapping[str, tuple[Path, ...]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    uri = f"mongodb://novelist:{SECRET}@db.example/novels"
    out = tmp_path_factory.mktemp("bundles") / f"{name}.bundle"
    return converted(dumps[name], out, TARGET_MONGODB_URI=uri, LEGACY_MONGODB_URI=uri)


# What is there


def test_it_holds_its_files_and_no_other(bundle: Path, name: str) -> None:
    expected = ALWAYS if name == "small" else ALWAYS | {"rejects.ndjson"}
    assert expected == {path.name for path in bundle.iterdir()}


def test_only_its_owner_can_read_it(bundle: Path) -> None:
    assert 0o700 == stat.S_IMODE(bundle.stat().st_mode)
    for path in bundle.iterdir():
        assert (0o700 if path.name == "import.sh" else 0o600) == stat.S_IMODE(path.stat().st_mode), path.name


def test_only_its_owner_can_read_it_also_under_a_lax_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        bundle = converted((SMALL,), tmp_path / "lax")
    finally:
        os.umask(before)
    test_only_its_owner_can_read_it(bundle)


def test_checksums_are_of_every_file_that_has_no_clock(bundle: Path) -> None:
    result = subprocess.run([needed("sha256sum"), "-c", "SHA256SUMS"], cwd=bundle, capture_output=True, text=True)
    assert 0 == result.returncode, result.stdout + result.stderr
    files = {path.name for path in bundle.iterdir()} - REPORTS - {"SHA256SUMS"}
    assert sorted(f"{name}: OK" for name in files) == sorted(result.stdout.splitlines())


def test_the_manifest_lists_the_data_and_only_the_data(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    expected = {}
    for path in bundle.glob("*.ndjson"):
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        expected[path.name] = {"documents": data.count(b"\n"), "bytes": len(data), "sha256": digest}
    assert expected == manifest["files"]


def test_counts_are_the_same_wherever_they_stand(bundle: Path, name: str) -> None:
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    report = json.loads((bundle / "report.json").read_bytes())
    counts = manifest["counts"]
    expected = {
        "small": (0, {}),
        "rejects": (2, {"no-identity": 1, "not-an-object": 1}),
        "several": (1, {"duplicate-job": 1}),
    }
    assert expected[name] == (counts["rejected"], counts["rejects_by_reason"])
    assert counts["read"] == counts["accepted"] + counts["rejected"]
    for count in ("read", "accepted", "rejected"):
        assert counts[count] == report["counts"][count]
    assert counts["repairs"] == {repair: cases["total"] for repair, cases in report["repairs"].items()}
    assert counts["rejects_by_reason"] == {reason: cases["total"] for reason, cases in report["rejects"].items()}
    for collection, sizes in report["collections"].items():
        entry = manifest["files"][f"{collection}.ndjson"]
        assert (entry["documents"], entry["bytes"]) == (sizes["documents"], sizes["bytes"])
    runbook = (bundle / "README.md").read_text(encoding="utf-8")
    for file, entry in manifest["files"].items():
        assert re.search(rf"^\| `{file}` \|.*\| {entry['documents']:,} \|", runbook, re.MULTILINE), file


def test_the_runbook_names_files_that_exist(bundle: Path, name: str) -> None:
    runbook = (bundle / "README.md").read_text(encoding="utf-8").partition("| file | what it is |")[2]
    named = set(re.findall(r"`([\w.]+\.(?:ndjson|json|html|prom|sh|js)|SHA256SUMS)`", runbook))
    assert {path.name for path in bundle.iterdir()} - {"README.md"} == named


def test_metrics_are_read_by_prometheus(bundle: Path) -> None:
    text = (bundle / "metrics.prom").read_text(encoding="utf-8")
    report = json.loads((bundle / "report.json").read_bytes())
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name, amounts in (("cost_delta_usd", "cost"), ("tokens_delta", "tokens")):
        family = families[f"novel_backfill_{name}"]
        assert "histogram" == family.type
        samples = {(sample.name.rpartition("_")[2], sample.labels.get("le")): sample.value for sample in family.samples}
        deltas = report[amounts]["deltas"]
        assert deltas["jobs"] == samples["bucket", "+Inf"] == samples["count", None]
        assert deltas["sum"] == samples["sum", None]


# What is the same in every run


def unclocked(bundle: Path) -> dict[str, Any]:
    """What a bundle holds, without what tells the time that a run took."""
    held: dict[str, Any] = contents(bundle)
    held["report.json"] = json.loads(held["report.json"])
    del held["report.json"]["run"]
    metrics = held["metrics.prom"].decode().splitlines()
    held["metrics.prom"] = [line for line in metrics if not re.match(r"(# \w+ )?novel_backfill_run_", line)]
    clock = r'<section id="run".*?</section>|<div><dt>Seconds per 1,000 jobs.*?</div>'
    held["report.html"] = re.sub(clock, "", held["report.html"].decode(), flags=re.DOTALL)
    return held


def test_another_run_makes_the_same_bundle(
    bundle: Path, name: str, dumps: Mapping[str, tuple[Path, ...]], tmp_path: Path
) -> None:
    assert unclocked(bundle) == unclocked(converted(dumps[name], tmp_path / "again"))


def test_an_interrupted_and_resumed_run_makes_the_same_bundle(
    bundle: Path, name: str, dumps: Mapping[str, tuple[Path, ...]], tmp_path: Path
) -> None:
    out = tmp_path / "resumed"
    killed = command("convert", *dumps[name], f"--out={out}", "--batch-size=3", BACKFILL_CRASH_AT="committed:2")
    assert -signal.SIGKILL == killed.returncode, killed.stderr
    assert not {"manifest.json", "SHA256SUMS"} & {path.name for path in out.iterdir()}
    assert unclocked(bundle) == unclocked(converted(dumps[name], out, "--batch-size=3", "--resume"))


def test_where_and_when_the_dump_was_written_does_not_matter(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / SMALL.name
    copy.parent.mkdir()
    shutil.copyfile(SMALL, copy)
    os.utime(copy, (0, 0))
    assert unclocked(converted((SMALL,), tmp_path / "one")) == unclocked(converted((copy,), tmp_path / "two"))


# What it gives away


def test_no_file_tells_of_this_machine_or_its_secrets(bundle: Path) -> None:
    for name, data in contents(bundle).items():
        for text in (SECRET, "db.example", str(ROOT), str(bundle.parent), str(Path(sys.executable).parent)):
            assert text.encode() not in data, f"{text} in {name}"


class Page(HTMLParser):
    """What a browser makes of a page: its elements' names, and all its text."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_text_of_the_dump_is_nowhere_markup(dumps: Mapping[str, tuple[Path, ...]], tmp_path: Path) -> None:
    bundle = converted(dumps["rejects"], tmp_path / "hostile")
    page = Page()
    page.feed((bundle / "report.html").read_text(encoding="utf-8"))
    assert not {"img", "script", "iframe"} & page.elements
    assert ATTACK in page.text  # so it was there to be escaped
    for name in ("README.md", "import.sh", "indexes.js", "manifest.json", "SHA256SUMS"):
        assert ATTACK not in (bundle / name).read_text(encoding="utf-8"), name


# What is on the disk already


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a finished bundle, an interrupted one, and an empty folder for temporary files."""
    place = tmp_path / "place"
    place.mkdir()
    shutil.copyfile(SMALL, place / "jobs.json")
    (place / "temporary").mkdir()
    converted((place / "jobs.json",), place / "finished")
    words = ("convert", place / "jobs.json", f"--out={place / 'begun'}", "--batch-size=3")
    assert -signal.SIGKILL == command(*words, BACKFILL_CRASH_AT="committed:2").returncode
    return place


@pytest.mark.parametrize(
    ("out", "option"),
    [("new", ""), ("new/deep", ""), ("finished", "--overwrite"), ("finished", "--resume"), ("begun", "--resume")],
)
def test_a_dry_run_leaves_the_disk_as_it_was(place: Path, out: str, option: str) -> None:
    before = snapshot(place)
    options = [option] if option else []
    result = command(
        "convert", place / "jobs.json", f"--out={place / out}", "--dry-run", *options, TMPDIR=str(place / "temporary")
    )
    assert 0 == result.returncode, result.stderr
    assert before == snapshot(place)


def test_overwrite_replaces_all_of_it_and_nothing_else(
    dumps: Mapping[str, tuple[Path, ...]], bundle: Path, name: str, tmp_path: Path
) -> None:
    out = converted(dumps["rejects"], tmp_path / "out")
    (out / "notes.txt").write_text("the DBA's")
    (out / "older").mkdir()
    (out / "older" / "manifest.json").write_text("{}")
    for path in out.glob("*.ndjson"):
        path.chmod(0o644)

    converted(dumps[name], out, "--overwrite")

    assert ("the DBA's", "{}") == ((out / "notes.txt").read_text(), (out / "older" / "manifest.json").read_text())
    (out / "notes.txt").unlink()
    shutil.rmtree(out / "older")
    assert unclocked(bundle) == unclocked(out)
    test_only_its_owner_can_read_it(out)
    test_checksums_are_of_every_file_that_has_no_clock(out)


# What a user can mistake


@pytest.mark.parametrize(
    ("words", "variable"),
    [(("load", "jobs.bundle"), "TARGET_MONGODB_URI"), (("export", "--out=x"), "LEGACY_MONGODB_URI")],
)
def test_a_uri_that_is_missing_is_asked_for_legibly(words: tuple[str, ...], variable: str) -> None:
    result = command(*words, **{variable: ""})
    assert (2, "") == (result.returncode, result.stdout)
    assert result.stderr.startswith(f"novel-backfill: no database given: set {variable} or give --uri")
    assert "***" not in result.stderr  # the masking of passwords spares the hint


def test_verify_calls_another_dump_by_its_own_name(tmp_path: Path) -> None:
    bundle = converted((SMALL,), tmp_path / "jobs.bundle")
    other = tmp_path / "other.json"
    other.write_text(json.dumps(json.loads(SMALL.read_text(encoding="utf-8"))[:3]), encoding="utf-8")
    result = command("verify", bundle, f"--dump={other}")
    assert 1 == result.returncode
    assert "novel_jobs.ndjson, line 4: jobId: no such job in the dump" in result.stdout
    hint = f"warning: other.json: has {other.stat().st_size:,} bytes, the bundle was made from small.json of"
    assert hint in result.stdout
