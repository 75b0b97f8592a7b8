"""Servers that speak as object storage does, and the program run against them."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STAND_INS = Path(__file__).parent / "stand_ins"
SECRET = "do-not-tell-anybody"
NOBODY = "http://127.0.0.1:9"  # the port for what is to be discarded; nothing listens there

Finished = subprocess.CompletedProcess[str]


def put(server: str, name: str, data: bytes = b"") -> None:
    """Makes a bucket, or an object, in what speaks S3."""
    # Without a type it is taken for a form, and without a signature nothing is replaced. Which one doesn't matter.
    signature = "AWS4-HMAC-SHA256 Credential=somebody/20260101/us-east-1/s3/aws4_request, SignedHeaders=, Signature="
    headers = {"Content-Type": "application/octet-stream", "Authorization": signature}
    with urllib.request.urlopen(urllib.request.Request(f"{server}/{name}", data, headers, method="PUT")) as answer:
        assert 200 == answer.status


@contextmanager
def listening(stand_in: str, cwd: Path | None = None, **environment: str) -> Iterator[str]:
    """The address of a server that runs meanwhile, and what else it prints there."""
    process = subprocess.Popen(
        [sys.executable, STAND_INS / stand_in],
        cwd=cwd,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.stdin.close()
    process.wait()
    process.stdout.close()


@dataclass(frozen=True)
class Storage:
    """Object storage with an empty ``bucket``."""

    scheme: str
    environment: dict[str, str]

    def url(self, name: str) -> str:
        return f"{self.scheme}://bucket/{name}"

    def command(self, *words: str | Path, **environment: str) -> Finished:
        return command(*words, **self.environment | environment)

    def script(self, script: str, *words: str, given: str = "") -> str:
        filesystem = f"import sys, json, fsspec; filesystem = fsspec.filesystem({self.scheme!r})\n"
        finished = subprocess.run(
            [sys.executable, "-c", filesystem + script, *words],
            env=_environment(self.environment),
            input=given,
            capture_output=True,
            text=True,
        )
        assert 0 == finished.returncode, finished.stderr
        return finished.stdout

    def objects(self, folder: str) -> dict[str, bytes]:
        """What lies in the bucket's ``folder``."""
        script = "found = filesystem.find(sys.argv[1]) if filesystem.exists(sys.argv[1]) else []\n"
        script += "print(json.dumps({name: filesystem.cat_file(name).decode('latin-1') for name in found}))"
        found = json.loads(self.script(script, f"bucket/{folder}"))
        return {name.removeprefix(f"bucket/{folder}/"): text.encode("latin-1") for name, text in sorted(found.items())}

    def put(self, name: str, data: bytes) -> None:
        script = "filesystem.pipe_file(sys.argv[1], sys.stdin.read().encode('latin-1'))"
        self.script(script, f"bucket/{name}", given=data.decode("latin-1"))

    def remove(self, name: str) -> None:
        self.script("filesystem.rm_file(sys.argv[1])", f"bucket/{name}")


@dataclass
class Between:
    """What stands between the program and the server: it sees every request, and may do something about it."""

    address: str = ""
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """First and last byte of every range that was asked for."""
    sent: int = 0
    """Objects, and pieces of them, that were sent."""
    at: int | None = None
    """With which of the ranges something happens before it is answered."""
    at_sent: int | None = None
    """With which of the objects."""
    happens: Callable[[], object] = lambda: None
    gone: bool = False
    """Then nobody answers any more."""

    def asked(self, wanted: str) -> None:
        first, last = wanted.removeprefix("bytes=").split("-")
        self.ranges.append((int(first), int(last)))
        if len(self.ranges) == self.at:
            self.happens()

    def receiving(self) -> None:
        self.sent += 1
        if self.sent == self.at_sent:
            self.happens()


def _environment(given: dict[str, str]) -> dict[str, str]:
    """Without any configuration of this machine's user; ``endpoint`` is where S3 is."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BACKFILL_"))}
    given = dict(given)
    return known | {
        "AWS_ENDPOINT_URL": given.pop("endpoint", NOBODY),
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_MAX_ATTEMPTS": "1",
        "BACKFILL_PROGRESS": "none",
        **given,
    }


def command(*words: str | Path, before: str = "", cwd: Path | None = None, **environment: Any) -> Finished:
    """The program in a process of its own. Python runs ``before`` first."""
    script = f"{before}\nimport sys; from converter.cli import main; sys.exit(main())"
    words = (sys.executable, "-c", script, *words)
    return subprocess.run(words, env=_environment(environment), capture_output=True, text=True, cwd=cwd)


def told(finished: Finished) -> tuple[int, str]:
    """Exit code, and the one line on standard error."""
    assert 1 == finished.stderr.count("\n"), finished.stderr
    assert SECRET not in finished.stderr
    return finished.returncode, finished.stderr.strip()
