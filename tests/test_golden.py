"""What the shipped fixtures are converted to, byte for byte.

``golden/NAME.sha256`` has a line for each part of a bundle: all lines that one job has in one file, and the rejects.
So a change of the mapping shows which jobs it reaches. ``golden/job.json`` is one job of ``small.json`` for reading.

After a change that is meant, look at ``git diff`` of what this writes:  python -m tests.test_golden
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema
import orjson
import pytest

from converter.layout import DATA_FILES, REJECTS
from tests.small_dumps import run

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"
FIXTURES = ("small", "oddities")
READABLE = 10
"""The job with a story bible of odd names, doubled alerts, and costs that were not tracked."""


def checksums(bundle: Path) -> str:
    """``SHA-256  FILE JOB`` of every job's lines in every data file, in the bundle's order; and of the rejects."""
    parts: dict[tuple[str, str], bytes] = {}
    for name in DATA_FILES.values():
        for line in (bundle / name).read_bytes().splitlines(keepends=True):
            place = (name, orjson.loads(line)["jobId"])
            parts[place] = parts.get(place, b"") + line
    if (bundle / REJECTS).exists():
        parts[REJECTS, "all"] = (bundle / REJECTS).read_bytes()
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name} {job}\n" for (name, job), data in parts.items())


def job(bundle: Path) -> str:
    """All documents of one job, by file."""
    job_id = orjson.loads((bundle / "novel_jobs.ndjson").read_bytes().splitlines()[READABLE])["jobId"]
    documents = {
        name: [
            document
            for line in (bundle / name).read_bytes().splitlines()
            if (document := orjson.loads(line))["jobId"] == job_id
        ]
        for name in DATA_FILES.values()
    }
    return json.dumps(documents, indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("fixture", FIXTURES)
def test_bundle_of_a_fixture(fixture: str, tmp_path: Path) -> None:
    run(str(ROOT / "fixtures" / f"{fixture}.json"), tmp_path / "bundle", batch_size=1000)

    assert (GOLDEN / f"{fixture}.sha256").read_text().splitlines() == checksums(tmp_path / "bundle").splitlines()


def test_one_job_for_reading(tmp_path: Path) -> None:
    run(str(ROOT / "fixtures" / "small.json"), tmp_path / "bundle", batch_size=1000)

    assert (GOLDEN / "job.json").read_text("utf-8").splitlines() == job(tmp_path / "bundle").splitlines()


@pytest.mark.parametrize("fixture", FIXTURES)
def test_every_line_satisfies_the_printed_schema(fixture: str, tmp_path: Path) -> None:
    run(str(ROOT / "fixtures" / f"{fixture}.json"), tmp_path / "bundle", batch_size=1000)
    printed = subprocess.run([sys.executable, "-m", "converter", "schema"], capture_output=True, check=True)
    schemas = json.loads(printed.stdout)
    wrong = []
    for collection, name in DATA_FILES.items():
        jsonschema.Draft202012Validator.check_schema(schemas[collection])
        validator = jsonschema.Draft202012Validator(schemas[collection])
        for line in (tmp_path / "bundle" / name).read_bytes().splitlines():
            wrong += [(name, error.json_path, error.message) for error in validator.iter_errors(orjson.loads(line))]

    assert list(DATA_FILES) == list(schemas)
    assert [] == wrong


def write() -> None:
    GOLDEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for fixture in FIXTURES:
            bundle = Path(folder, fixture)
            run(str(ROOT / "fixtures" / f"{fixture}.json"), bundle)
            (GOLDEN / f"{fixture}.sha256").write_text(checksums(bundle))
        (GOLDEN / "job.json").write_text(job(Path(folder, "small")), "utf-8")


if __name__ == "__main__":
    write()
