"""The command line: what words mean, what the environment adds, what is refused, what is printed where."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.cli import Backfill, request_of
from converter.commands import COMMANDS, bundle_for
from converter.errors import UsageError
from converter.models.target import COLLECTIONS

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("BACKFILL_", "COLUMNS"))}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - ENVIRONMENT.keys():
        monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty working directory."""
    return tmp_path


@pytest.fixture
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump of two good jobs and a document that can't be kept."""
    path = tmp_path_factory.mktemp("dump") / "jobs.json"
    jobs = [
        {"_id": {"$oid": f"65a0c7f2e1b2c3d4e5f6071{n}"}, "status": "planning", "title": f"Novel {n}"} for n in (1, 2)
    ]
    path.write_text(json.dumps([*jobs, "no job"]))
    return path


def command(
    *words: str | os.PathLike[str], cwd: Path, env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | options
    return subprocess.run(
        [sys.executable, "-m", "converter", *words], cwd=cwd, env=ENVIRONMENT | dict(env or {}), text=True, **streams
    )


# What words mean


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        # Names that fire would take for numbers, tuples, lists, None, booleans, or its separator
        ("007", {"dumps": ("007",), "out": "dumps/007.bundle"}),
        ("1e5 5e1234 0x10", {"dumps": ("1e5", "5e1234", "0x10")}),
        ("a,b [x] {a:1} (1,2) 'q'", {"dumps": ("a,b", "[x]", "{a:1}", "(1,2)", "'q'")}),
        ("None true copy json", {"dumps": ("None", "true", "copy", "json")}),
        ("a=b convert", {"dumps": ("a=b", "convert")}),
        ("-", {"dumps": ("-",), "out": "dumps/stdin.bundle"}),
        ("x - y", {"dumps": ("x", "-", "y")}),
        # Behind "--" everything is a name, also what fire would take for its own flags
        ("-- -x --limit=3 -", {"dumps": ("./-x", "./--limit=3", "-"), "limit": None}),
        ("x -- --help", {"dumps": ("x", "./--help")}),
        ("x -- --separator=q", {"dumps": ("x", "./--separator=q")}),
        ("x --", {"dumps": ("x",)}),
        # Switches never take the next word
        ("--dry-run x", {"dumps": ("x",), "dry_run": True}),
        ("--dry_run x", {"dumps": ("x",), "dry_run": True}),
        ("x --dry-run=false", {"dry_run": False}),
        ("x --dry-run=TRUE", {"dry_run": True}),
        ("x --no-dry-run", {"dry_run": False}),
        ("x --json", {"json_": True}),
        # Values
        ("x --limit 5", {"dumps": ("x",), "limit": 5}),
        ("x --limit=0", {"limit": 0}),
        ("--out d x y", {"dumps": ("x", "y"), "out": "d"}),
        ("x --out=-5", {"out": "-5"}),
        ("x --out -5", {"out": "-5"}),
        ("x --queue=007", {"queue": "007"}),
        ("x --queue None", {"queue": "None"}),
        ("x --queue=a=b", {"queue": "a=b"}),
        ("x --in_flight=fail", {"in_flight": "fail"}),
        ("x --max-rejects=1.5%", {"max_rejects": "1.5%"}),
    ],
)
def test_words_keep_their_meaning(words: str, expected: dict[str, object]) -> None:
    request = request_of("convert", words.split())
    assert expected == {name: getattr(request, name) for name in expected}


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=[]), min_size=1), min_size=1))
def test_any_name_behind_dashes_arrives_as_it_is(names: list[str]) -> None:
    request: Any = request_of("convert", ["--out=d", "--", *names])
    assert tuple(f"./{name}" if name.startswith("-") and name != "-" else name for name in names) == request.dumps


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_text_arrives_as_a_flags_value(value: str) -> None:
    request: Any = request_of("convert", ["x", f"--queue={value}"])
    assert value == request.queue


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("x --limt=3", "unknown flag --limt; did you mean --limit?"),
        ("x --Limit=3", "unknown flag --Limit; did you mean --limit?"),
        ("x --nodry-run", "unknown flag --nodry-run; did you mean --dry-run?"),
        ("x ---limit=3", "unknown flag ---limit; did you mean --limit?"),
        ("x --colour", "unknown flag --colour"),
        ("x --trace", "unknown flag --trace"),
        ("x -l 5", "unknown flag -l"),
        ("-5", "unknown flag -5"),
        ("x --dumps=1", "unknown flag --dumps"),
        ("x --json_dumps", "unknown flag --json_dumps"),
        ("x --limit=1 --limit=1", "--limit is given twice"),
        ("x --dry-run --no-dry-run", "--dry-run is given twice"),
        ("x --no-dry-run=true", "--no-dry-run takes no value"),
        ("--overwrite false x", "write --overwrite=false, or ./false if that is a file"),
        ("x --out=", "--out needs a value: --out=..."),
        ("x --out", "--out needs a value: --out=..."),
        ("x --out --json", "--out needs a value: --out=..."),
        ("x --dry-run=maybe", "--dry-run: expected true or false, not 'maybe'"),
        ("x --dry-run=", "--dry-run needs a value: --dry-run=..."),
        ("x --limit=abc", "--limit: expected a whole number, not 'abc'"),
        ("x --limit=1e5", "--limit: expected a whole number, not '1e5'"),
        ("x --limit=1.5", "--limit: expected a whole number, not '1.5'"),
        ("x --limit -5", "--limit: must be at least 0, not '-5'"),
        ("x --batch-size=0", "--batch-size: must be at least 1, not '0'"),
        ("x --in-flight=fial", "--in-flight: expected 'keep' or 'fail', not 'fial'"),
        ("x --resume --overwrite", "--resume goes on, --overwrite starts over: give only one of them"),
        ("", "DUMP... is missing"),
        ("--dry-run", "DUMP... is missing"),
    ],
)
def test_wrong_words_are_refused(words: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        request_of("convert", words.split())
    assert f"{message} (novel-backfill convert --help)" == str(caught.value)


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("convert", [""], "an argument is empty; was a variable of the shell not set?"),
        ("convert", ["x", "--queue=\udcff"], "--queue: expected text in UTF-8, not '\\udcff'"),
        ("fixtures", ["--size=big"], "--size: expected 'small', 'medium' or 'large', not 'big'\n--out: is required"),
        ("fixtures", ["a", "--out=b"], "takes no arguments, 1 given"),
        ("schema", ["novel_jobs", "x"], "takes [COLLECTION], 2 given"),
    ],
)
def test_other_commands_refuse_too(name: str, words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        request_of(name, words)
    assert f"{message} (novel-backfill {name} --help)" == str(caught.value)


@pytest.mark.parametrize(
    ("dump", "folder"),
    [
        ("jobs.json", "dumps/jobs.bundle"),
        ("/a/b/jobs.json.gz", "dumps/jobs.bundle"),
        ("jobs.JSON.ZST", "dumps/jobs.bundle"),
        ("jobs.ndjson", "dumps/jobs.bundle"),
        ("jobs.jsonl.xz", "dumps/jobs.bundle"),
        ("jobs.bson.bz2", "dumps/jobs.bundle"),
        ("jobs.2025.json", "dumps/jobs.2025.bundle"),
        ("jobs", "dumps/jobs.bundle"),
        (".json", "dumps/.json.bundle"),
        ("-", "dumps/stdin.bundle"),
    ],
)
def test_bundle_is_named_after_the_first_dump(dump: str, folder: str) -> None:
    assert folder == bundle_for({"dumps": (dump, "other.json")})


# The environment


@pytest.mark.parametrize(
    ("environment", "words", "expected"),
    [
        ({"BACKFILL_LIMIT": "7"}, "x", {"limit": 7}),
        ({"BACKFILL_LIMIT": "7"}, "x --limit=3", {"limit": 3}),
        ({"BACKFILL_LIMIT": "junk"}, "x --limit=3", {"limit": 3}),
        ({"BACKFILL_LIMIT": ""}, "x", {"limit": None}),
        ({"BACKFILL_DRY_RUN": "true"}, "x", {"dry_run": True}),
        ({"BACKFILL_DRY_RUN": "false"}, "x", {"dry_run": False}),
        ({"BACKFILL_DRY_RUN": "1"}, "x --no-dry-run", {"dry_run": False}),
        ({"BACKFILL_QUEUE": "007", "BACKFILL_OUT": "1e5"}, "x", {"queue": "007", "out": "1e5"}),
        ({"BACKFILL_JSON": "true"}, "x", {"json_": True}),
        ({"BACKFILL_DUMPS": "y", "JSON": "true", "LIMIT": "3"}, "x", {"dumps": ("x",), "json_": False, "limit": None}),
    ],
)
def test_flags_beat_environment_beats_defaults(
    environment: dict[str, str], words: str, expected: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    request = request_of("convert", words.split())
    assert expected == {name: getattr(request, name) for name in expected}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("BACKFILL_LIMIT", "abc", "BACKFILL_LIMIT: expected a whole number, not 'abc'"),
        ("BACKFILL_DRY_RUN", "junk", "BACKFILL_DRY_RUN: expected true or false, not 'junk'"),
        ("BACKFILL_JSON", "junk", "BACKFILL_JSON: expected true or false, not 'junk'"),
        ("BACKFILL_IN_FLIGHT", "fial", "BACKFILL_IN_FLIGHT: expected 'keep' or 'fail', not 'fial'"),
    ],
)
def test_wrong_variable_is_named(name: str, value: str, message: str, folder: Path) -> None:
    result = command("convert", "x", cwd=folder, env={name: value})
    assert (2, "", f"novel-backfill: {message} (novel-backfill convert --help)\n") == (
        result.returncode,
        result.stdout,
        result.stderr,
    )
    assert [] == list(folder.iterdir())


def test_databases_have_variables_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEGACY_MONGODB_URI", "mongodb://legacy/db")
    monkeypatch.setenv("TARGET_MONGODB_URI", "mongodb://target/db")
    monkeypatch.setenv("URI", "mongodb://wrong/db")
    export: Any = request_of("export", ["--out=x"])
    load: Any = request_of("load", ["bundle"])
    given: Any = request_of("load", ["bundle", "--uri=mongodb://flag/db"])
    assert ["mongodb://legacy/db", "mongodb://target/db", "mongodb://flag/db"] == [
        request.uri.get_secret_value() for request in (export, load, given)
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["export", "--uri=mongodb://me:secret@host/db"],
        ["export", "--url=mongodb://me:secret@host/db", "--out=x"],
        ["export", "mongodb://me:secret@host/db", "--out=x"],
        ["load", "bundle", "--uri=mongodb://me:secret@host/db", "--mode=no"],
        ["load", "bundle", "--mode=mongodb://me:secret@host/db"],
        ["--uri=mongodb://me:secret@host/db", "export"],
        ["mongodb://me:secret@host/db"],
    ],
)
def test_wrong_usage_shows_no_password(words: list[str], folder: Path) -> None:
    result = command(*words, cwd=folder)
    assert 2 == result.returncode
    assert "secret" not in result.stdout + result.stderr


# The real command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("convert x --limt=3", "unknown flag --limt; did you mean --limit?"),
        ("convert x --limit=abc", "--limit: expected a whole number, not 'abc'"),
        ("convert", "DUMP... is missing"),
        ("convret x", "there is no command 'convret'; did you mean convert?"),
        ("help convret", "there is no command 'convret'; did you mean convert?"),
        ("schema novel_jobz", "COLLECTION: expected 'novel_jobs', "),
        ("--dry-run convert x", "the command comes first, then its flags: novel-backfill convert DUMP... --dry-run"),
        (
            "--verison",
            "the command comes first, then its flags: novel-backfill convert DUMP... --verison; did you mean ",
        ),
        (".", "'.' is not a command; did you mean novel-backfill convert .?"),
        ("__class__", "there is no command '__class__'"),
    ],
)
def test_wrong_usage_is_one_line_and_leaves_nothing(words: str, message: str, folder: Path) -> None:
    result = command(*words.split(), cwd=folder)
    assert (2, "", 1) == (result.returncode, result.stdout, result.stderr.count("\n"))
    assert result.stderr.startswith(f"novel-backfill: {message}")
    assert [] == list(folder.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--help",
        "-h",
        "help",
        "convert --help",
        "convert x -h",
        "convert x --help --limit=abc",
        "help convert",
        "convret --help",
    ],
)
def test_help_runs_nothing_and_goes_to_stdout(words: str, dump: Path, folder: Path) -> None:
    result = command(*(dump if word == "x" else word for word in words.split()), cwd=folder, env={"PAGER": "false"})
    assert (0, "") == (result.returncode, result.stderr)
    usage = "convert DUMP... [options]" if "convert" in words.split() else "COMMAND [arguments] [options]"
    assert f"usage: novel-backfill {usage}" == result.stdout.splitlines()[0]
    assert [] == list(folder.iterdir())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_complete(name: str, folder: Path) -> None:
    listed = COMMANDS[name]
    text = command(name, "--help", cwd=folder).stdout
    assert set(listed.flags) == set(listed.options)
    for field in listed.flags:
        assert f"\n  --{field.rstrip('_').replace('_', '-')}" in text
        assert (
            ("[TARGET_MONGODB_URI]" if name == "load" else "[LEGACY_MONGODB_URI]") in text
            if field == "uri"
            else (f"[BACKFILL_{field.rstrip('_').upper()}]" in text)
        )
    # A default is shown as it would be typed, and only where there is one.
    assert not re.search(r"default: *[\[({\"']|default: *(None|True|False|PydanticUndefined|\))", text)
    for example in listed.examples:
        assert f"\n  novel-backfill {example}" in text
    assert f"\n  {name}" in command(cwd=folder).stdout
    assert callable(getattr(Backfill, name))


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_understood(name: str) -> None:
    for example in COMMANDS[name].examples:
        words = example.partition(" <")[0].split()
        assert name == words[0]
        request_of(name, words[1:])


def test_version_names_the_libraries(folder: Path) -> None:
    result = command("--version", cwd=folder)
    lines = dict(line.rsplit(" ", 1) for line in result.stdout.splitlines())
    assert 0 == result.returncode
    assert "yajl2_c" == lines["backend of ijson:"]
    assert {"novel-backfill", "Python", "ijson", "orjson", "pydantic", "pymongo"} <= lines.keys()
    assert result.stdout == command("version", cwd=folder).stdout


def test_schema(folder: Path) -> None:
    schemas = json.loads(command("schema", cwd=folder).stdout)
    assert list(COLLECTIONS) == list(schemas)
    assert schemas["novel_jobs"] == json.loads(command("schema", "novel_jobs", cwd=folder).stdout)


def test_convert_prints_a_summary(dump: Path, folder: Path) -> None:
    result = command("convert", dump, "--progress=none", cwd=folder)
    assert (3, "") == (result.returncode, result.stderr)
    assert "3 documents read: 2 accepted, 1 rejected" == result.stdout.splitlines()[0]
    assert "bundle: dumps/jobs.bundle" in result.stdout.splitlines()
    again = command("convert", dump, "--resume", "--progress=none", cwd=folder)
    assert (0, "") == (again.returncode, again.stderr)
    assert "dumps/jobs.bundle is finished already, nothing was left to do." == again.stdout.splitlines()[0]


@pytest.mark.parametrize("content", ["[]", "[ \n]\n"])
def test_an_empty_dump_is_called_so(content: str, folder: Path) -> None:
    (folder / "empty.json").write_text(content)
    result = command("convert", "empty.json", "--progress=none", cwd=folder)
    assert (0, "") == (result.returncode, result.stderr)
    expected = ["0 documents read: 0 accepted, 0 rejected", "there were no documents in the dump", "", "files"]
    assert expected == result.stdout.splitlines()[:4]


def test_a_limit_of_nothing_says_nothing_of_the_dump(dump: Path, folder: Path) -> None:
    result = command("convert", dump, "--limit=0", "--progress=none", cwd=folder)
    assert ["0 documents read: 0 accepted, 0 rejected", "", "files"] == result.stdout.splitlines()[:3]


def test_convert_prints_one_json_object(dump: Path, folder: Path) -> None:
    result = command("convert", dump, "--json", "--out=b", "--progress=none", cwd=folder)
    summary = json.loads(result.stdout)
    assert (3, "", 1) == (result.returncode, result.stderr, result.stdout.count("\n"))
    assert ("b", 3, 2, 1, {"not-an-object": 1}) == tuple(
        summary[key] for key in ("out", "read", "accepted", "rejected", "rejects_by_reason")
    )


def test_dry_run_writes_nothing(dump: Path, folder: Path) -> None:
    result = command("convert", "--dry-run", dump, "--progress=none", cwd=folder)
    assert (3, "") == (result.returncode, result.stderr)
    assert "dry run: nothing was written" == result.stdout.splitlines()[-1]
    assert [] == list(folder.iterdir())


def test_standard_input(dump: Path, folder: Path) -> None:
    with dump.open() as stdin:
        result = command("convert", "-", "--limit=2", "--progress=none", cwd=folder, stdin=stdin)
    assert (0, "") == (result.returncode, result.stderr)
    assert ["stdin.bundle"] == [path.name for path in (folder / "dumps").iterdir()]


def test_fixtures_says_what_it_wrote(folder: Path) -> None:
    result = command("fixtures", "--jobs=3", "--out=a.json", cwd=folder)
    size = (folder / "a.json").stat().st_size
    assert (0, f"a.json: 3 jobs, {size:,} bytes\n", "") == (result.returncode, result.stdout, result.stderr)
    assert (folder / "a.json").read_text() == command("fixtures", "--jobs=3", "--out=-", cwd=folder).stdout


@pytest.mark.parametrize(
    ("words", "message"), [("export --out=x", "mongoexport is not on PATH"), ("load missing", "missing")]
)
def test_databases_tools_have_their_say(words: str, message: str, folder: Path) -> None:
    environment = {"PATH": "", "LEGACY_MONGODB_URI": "mongodb://me:secret@h/db", "TARGET_MONGODB_URI": "mongodb://h/db"}
    result = command(*words.split(), cwd=folder, env=environment)
    assert (1, "", 1) == (result.returncode, result.stdout, result.stderr.count("\n"))
    assert message in result.stderr
    assert [] == list(folder.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="elsewhere no process can be sent a Ctrl-C")
def test_interrupted_command_is_one_line(folder: Path) -> None:
    line = [sys.executable, "-m", "converter", "fixtures", "--size=large", "--out=-"]
    with subprocess.Popen(line, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"[" == process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (130, b"novel-backfill: interrupted\n") == (process.returncode, errors)


def test_missing_dump_is_one_line(folder: Path) -> None:
    result = command("convert", "jobs.json", "--progress=none", cwd=folder)
    assert (1, "", 1) == (result.returncode, result.stdout, result.stderr.count("\n"))
    assert result.stderr.startswith("novel-backfill: jobs.json")
    assert [] == list(folder.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are text")
def test_name_that_is_no_utf_8(dump: Path, folder: Path) -> None:
    name = os.fsdecode(b"jobs-\xff.json")
    (folder / name).write_bytes(dump.read_bytes())
    result = command("convert", name, "--progress=none", cwd=folder)
    assert (3, "") == (result.returncode, result.stderr)
    bundle = folder / "dumps" / os.fsdecode(b"jobs-\xff.bundle")
    assert (bundle / "manifest.json").exists()
    for words in (["verify", str(bundle)], ["verify", str(bundle), "--json"]):
        verified = command(*words, cwd=folder)
        assert (0, "") == (verified.returncode, verified.stderr)


@pytest.mark.parametrize(
    "words", [["schema"], ["convert", "--help"], ["--version"], ["fixtures", "--jobs=50", "--out=-"]]
)
def test_closed_pipe_is_no_traceback(words: list[str], folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = command(*words, cwd=folder, stdout=writer)
    finally:
        os.close(writer)
    assert (1, "") == (result.returncode, result.stderr)


@pytest.mark.parametrize("words", [["convert", "--out"], ["schema"]])
def test_closed_standard_error_is_no_traceback(words: list[str], folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = command(*words, cwd=folder, stderr=writer)
    finally:
        os.close(writer)
    assert (2 if words[0] == "convert" else 0) == result.returncode


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("words", [["schema"], ["profile", "DUMP"]])
def test_full_disk_under_standard_output_is_one_line(words: list[str], dump: Path, folder: Path) -> None:
    with open("/dev/full", "w") as full:
        result = command(*(word.replace("DUMP", str(dump)) for word in words), cwd=folder, stdout=full)
    assert (1, "novel-backfill: standard output: No space left on device\n") == (result.returncode, result.stderr)


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that can close a stream")
def test_standard_output_that_was_never_open(folder: Path) -> None:
    line = ["sh", "-c", '"$0" -m converter --version >&-', sys.executable]
    result = subprocess.run(line, cwd=folder, env=ENVIRONMENT, text=True, capture_output=True)
    assert (0, "") == (result.returncode, result.stderr)


LONG = "n" * 300
"""More than a name may have: looking whether it exists is an error already."""


@pytest.mark.parametrize(
    "words",
    [
        ("convert", LONG),
        ("convert", "jobs.json", f"--out={LONG}"),
        ("convert", "jobs.json", f"--out={LONG}", "--dry-run", "--resume"),
        ("verify", LONG),
        ("verify", "bundle", f"--dump={LONG}"),
        ("profile", LONG),
        ("profile", "jobs.json", f"--html={LONG}"),
        ("fixtures", f"--out={LONG}"),
        ("export", f"--out={LONG}"),
        ("load", LONG),
    ],
    ids=lambda words: " ".join(words).replace(LONG, "LONG"),
)
def test_a_path_that_cannot_be_looked_at_gets_one_line(words: tuple[str, ...], dump: Path, folder: Path) -> None:
    (folder / "jobs.json").write_bytes(dump.read_bytes())
    if words[1] == "bundle":
        assert 3 == command("convert", "jobs.json", "--out=bundle", cwd=folder).returncode
    tool = folder / "mongoexport"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    uri = "mongodb://u:p@db.example.net/novel"
    environment = {
        "BACKFILL_PROGRESS": "none",
        "LEGACY_MONGODB_URI": uri,
        "TARGET_MONGODB_URI": uri,
        "PATH": f"{folder}:{os.environ['PATH']}",
    }
    result = command(*words, cwd=folder, env=environment)

    assert 1 == result.returncode
    assert 1 == len(result.stderr.splitlines()), result.stderr
    assert "File name too long" in result.stderr
