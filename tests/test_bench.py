"""The benches run, and what they print means what they say. What they measure is nobody's test."""

import importlib.util
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from converter import extjson
from converter.conversion import ConvertRequest, convert
from converter.documents import RawDocument
from converter.dump import Dump
from converter.fixtures import FixtureRequest, write_fixture
from converter.progress import Progress
from tests.test_docs import rows

BENCH = Path(__file__).parent.parent / "bench"
SMALL = BENCH.parent / "fixtures" / "small.json"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def printed(*words: str) -> str:
    return subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True, cwd=BENCH.parent).stdout


COMPARE = script("compare")
STAGES = script("stages")
DIALECTS = script("dialects")


@pytest.fixture(scope="module")
def dialects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dialects")
    DIALECTS.main(str(SMALL), str(folder))
    return folder


def documents(path: Path) -> list[bytes]:
    with Dump.open(str(path), reader="ijson") as dump:
        return [extjson.dumps(document.value) for document in dump.documents() if isinstance(document, RawDocument)]


# ------------------------------------------------------------------------------------------------------- comparison


def test_everything_that_is_compared_has_its_row_and_the_installed_peers_agree() -> None:
    text = printed("bench/compare.py", str(SMALL), "--runs=1")

    found = {name: cells for name, *cells in rows(text)}
    assert {*COMPARE.OURS, *COMPARE.PEERS} == set(found)
    for name, cells in found.items():
        if not (name in COMPARE.PEERS and cells[0].startswith("skipped")):
            assert len(COMPARE.HEADINGS) == len(cells), name
            assert all(float(cell) >= 0 for cell in cells if cell != "-"), name
    jobs = json.loads(SMALL.read_bytes())
    chapters = [chapter for job in jobs for chapter in job["chapters"]]
    (sums,) = [line for line in text.splitlines() if line.startswith("- each of the peers")]
    assert f"- each of the peers: {len(jobs)} jobs, {len(chapters)} chapters" == ",".join(sums.split(",")[:2])


def row(name: str, command: list[str]) -> object:
    return COMPARE.Row(name, command, str(SMALL), 1, name)


def test_peers_that_disagree_end_the_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"jobId": "1", "chapterCount": 1, "wordCount": 1, "totalCost": 0.5, "chapters": [{"content": "word"}]}
    Path(tmp_path, "one.ndjson").write_text(json.dumps(job))
    Path(tmp_path, "other.ndjson").write_text(json.dumps(job | {"wordCount": 2}))
    monkeypatch.setattr(COMPARE, "PEERS", {"one": None, "other": None})
    peers = [row(name, ["cp", f"{tmp_path}/{name}.ndjson", "{out}/jobs.ndjson"]) for name in COMPARE.PEERS]
    Path(tmp_path, "folder").mkdir()

    with pytest.raises(SystemExit, match=r"the peers disagree:\none: .* 1 words.*\nother: .* 2 words"):
        COMPARE.take_turns(peers, 1, f"{tmp_path}/folder")


def test_a_peer_that_fails_or_is_missing_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["sh", "-c", "echo out of memory >&2; exit 1"]
    monkeypatch.setattr(COMPARE, "PEERS", {"weak": (["true"], command), "missing": (["no-such-program"], [])})
    monkeypatch.setattr(COMPARE, "OURS", {"null transform": ["true"]})

    compared, skipped = COMPARE.compared(str(SMALL))
    taken, failed = COMPARE.take_turns(compared, 2, str(tmp_path))

    lines = "\n".join(COMPARE.table(compared, taken, skipped | failed))
    assert {"null transform", "weak", "missing"} == {name for name, *_ in rows(lines)}
    assert {"weak": "failed: out of memory", "missing": "skipped, not installed"} == skipped | failed


def test_our_own_failure_ends_the_comparison(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="`convert` failed: exit code 1"):
        COMPARE.take_turns([row("`convert`", ["false"])], 1, str(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody is told of orphans")
def test_what_a_command_leaves_behind_is_measured_too() -> None:
    orphan = ["sh", "-c", '"$0" -c "bytearray(100 << 20)" & exit 0', sys.executable]

    _, cpu_seconds, peak, least = printed("-IS", "bench/measure.py", *orphan).split()

    assert 100 << 20 < int(peak) < 200 << 20
    assert int(least) < 50 << 20
    assert float(cpu_seconds) > 0


# --------------------------------------------------------------------------------------------------------- dialects


def test_every_dialect_has_its_dump_and_a_null_transform_to_be_held_against(tmp_path: Path) -> None:
    compared = COMPARE.of_dialects(str(SMALL), str(tmp_path))

    assert {row.dump for row in compared} == {str(SMALL), *map(str, tmp_path.iterdir())}
    names = {row.name for row in compared}
    assert len(names) == len(compared)
    assert {row.against for row in compared} == {name for name in names if name.endswith("null transform")}
    assert all(
        f"{dialect}: `convert --workers={workers}`" in names for dialect in COMPARE.DIALECTS for workers in (1, 2)
    )


@pytest.mark.parametrize("file", [*DIALECTS.WRITERS, "compact.json.gz"])
def test_every_dialect_holds_the_same_documents(file: str, dialects: Path) -> None:
    assert documents(SMALL) == documents(dialects / file)


@pytest.mark.parametrize(("file", "layout"), [("pretty.json", {"pretty": True}), ("lines.ndjson", {"lines": True})])
def test_a_dialect_is_what_mongoexport_would_have_written(
    file: str, layout: dict[str, bool], dialects: Path, tmp_path: Path
) -> None:
    write_fixture(FixtureRequest(size="small", out=f"{tmp_path}/{file}", **layout))

    assert (tmp_path / file).read_bytes() == (dialects / file).read_bytes()


def test_the_ascii_dump_is_as_long_as_the_other_and_all_of_it_is_converted(dialects: Path, tmp_path: Path) -> None:
    text = (dialects / "ascii.json").read_bytes()

    assert text.isascii()
    assert SMALL.stat().st_size == len(text)
    summary = convert(ConvertRequest(dumps=(f"{dialects}/ascii.json",), out=f"{tmp_path}/bundle"), Progress())
    assert (len(documents(SMALL)), 0) == (summary.accepted, summary.rejected)


def test_the_null_transform_reads_arrays_and_lines(dialects: Path, tmp_path: Path) -> None:
    null_transform = script("null_transform")
    for dump in (SMALL, dialects / "lines.ndjson"):
        null_transform.main(str(dump), str(tmp_path / dump.name))

    assert len(documents(SMALL)) == (tmp_path / "small.json").read_bytes().count(b"\n")
    assert (tmp_path / "small.json").read_bytes() == (tmp_path / "lines.ndjson").read_bytes()


# ------------------------------------------------------------------------------------------------ stages and memory


@pytest.mark.parametrize("name", STAGES.STAGES)
def test_every_stage_names_what_there_is(name: str) -> None:
    """Otherwise its time would go to another stage in silence."""
    assert pkgutil.resolve_name(name)


@pytest.mark.parametrize(
    ("module", "function", "stage"),
    [
        ("converter.json_documents", "JsonReader._at_end", STAGES.FINDING),
        ("converter.json_documents", "JsonReader._parsed", "parsing by ijson"),
        ("converter.bson_documents", "_deeper_than.<locals>.<listcomp>", STAGES.PARSING),
        ("converter.extjson", "iso", None),
        ("importlib._bootstrap", "_load", STAGES.IMPORTING),
    ],
)
def test_a_function_belongs_to_its_stage_or_its_modules_or_its_callers(
    module: str, function: str, stage: str | None
) -> None:
    assert stage == STAGES.stage_of(module, function)


def test_the_shares_of_the_stages_add_up() -> None:
    *stages, (_, total, share) = rows(printed("bench/stages.py", str(SMALL)))

    assert list(dict.fromkeys(STAGES.STAGES.values())) == [stage for stage, _, _ in stages]
    assert "100.0%" == share
    rounding = 0.005 * (len(stages) + 1)
    assert float(total) == pytest.approx(sum(float(seconds) for _, seconds, _ in stages), abs=rounding)


def test_memory_is_told_for_every_size_and_its_spread(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = script("memory")
    monkeypatch.setattr(memory, "WORKERS", (1,))

    memory.main([0.001, 0.0004])

    text = capsys.readouterr().out
    assert [["1", "1"], ["3", "1"]] == [[jobs, workers] for _, jobs, workers, *_ in rows(text)]
    assert 1 == text.count("above the lowest")
