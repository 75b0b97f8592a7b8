"""``export`` and ``load``: the official MongoDB tools, run so that a password is never an argument and never shown.

The tools read the URI from a file that only its owner can read (``--config``, see
https://www.mongodb.com/docs/database-tools/mongoexport/). What they print is passed on as it comes, masked: a
connection error repeats the whole URI.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, SecretStr

from converter import storage
from converter.disk import PRIVATE, sync_folder
from converter.errors import BackfillError, OutputError, OutputExists, UsageError, tell
from converter.handoff import TOOLS_URL
from converter.layout import CHECKSUMS, MANIFEST, partial

COLLECTION = "jobs"
"""The legacy collection that ``export`` reads."""


class LoadRequest(BaseModel):
    """Load a bundle with its own ``import.sh``, or take it out again (``delete``)."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    bundle: str
    uri: SecretStr | None = None
    mode: Literal["insert", "upsert", "delete"] = "insert"


class ExportRequest(BaseModel):
    """Export the legacy collection to a file that must not exist yet."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    out: str
    uri: SecretStr | None = None


def load(request: LoadRequest) -> int:
    """Run the bundle's ``import.sh``; return its exit code.

    Its output goes straight to this process's: it masks the password itself, as a DBA runs it without us.

    Raises:
        UsageError: there is no URI, or the bundle is at a URL.
        OutputError: not a finished bundle, or its ``import.sh`` isn't the one that ``SHA256SUMS`` knows.
        BackfillError: there is no POSIX shell that runs.
    """
    uri = _given(request.uri, "TARGET_MONGODB_URI")
    if storage.is_url(request.bundle):
        how = storage.copying(request.bundle)
        raise UsageError(f"{request.bundle}: a bundle is loaded from a folder: copy it to one first ({how})")
    script = Path(request.bundle, "import.sh").absolute()  # absolute: a bundle called "-x" is no option of sh
    _check_script(script)
    shell = shutil.which("sh")
    if shell is None:
        raise BackfillError(f"{script}: no sh on PATH to run it; load from Linux, macOS or WSL")
    environment = os.environ | {"TARGET_MONGODB_URI": uri, "IMPORT_MODE": request.mode}
    with _started([shell, str(script)], env=environment) as process, _signals_forwarded_to(process):
        return _exit_code(process.wait())


def export(request: ExportRequest) -> int:
    """Run ``mongoexport --jsonArray`` on the legacy collection; return its exit code.

    The file has its name only when it is complete; readable by its owner only.

    Raises:
        UsageError: there is no URI, or it names no database.
        OutputExists: the file, or what an interrupted export left of it, exists.
        OutputError: the file can't be written.
        BackfillError: there is no ``mongoexport`` that runs, or it wrote nothing.
    """
    uri = _given(request.uri, "LEGACY_MONGODB_URI")
    secrets = _Secrets.of(uri, "LEGACY_MONGODB_URI")
    tool = shutil.which("mongoexport")
    if tool is None:
        raise BackfillError(f"mongoexport is not on PATH; it is part of the MongoDB Database Tools: {TOOLS_URL}")
    out = Path(request.out).absolute()
    try:
        if out.exists():
            raise OutputExists(f"{out} exists; give another --out, or move it away")
        growing = out.with_name(partial(out.name))
        growing.touch(mode=PRIVATE, exist_ok=False)
    except FileExistsError:
        message = f"{growing} exists: another export is running, or one was killed; in the second case remove it"
        raise OutputExists(message) from None
    except OSError as error:
        raise OutputError(f"{out} can't be written: {error.strerror}; give another --out") from None
    try:
        with _config_file(uri) as config:
            arguments = [f"--config={config}", f"--collection={COLLECTION}", "--jsonArray", f"--out={growing}"]
            code = _run_masked([tool, *arguments], secrets)
        if code == 0:
            _publish(growing, out)
        else:
            tell(f"mongoexport failed with exit code {code}; {out} was not written\n")
        return code
    finally:
        growing.unlink(missing_ok=True)


def _given(uri: SecretStr | None, variable: str) -> str:
    if uri is None or not uri.get_secret_value():
        raise UsageError(
            f"no database given: set {variable} or give --uri: mongodb://host/database, with user:password@ before host"
        )
    return uri.get_secret_value()


def _check_script(script: Path) -> None:
    """The bundle is finished, and its ``import.sh`` is the one that was made with it: it is about to be run."""
    bundle = script.parent
    try:
        if not (bundle / MANIFEST).is_file():
            raise OutputError(f"{bundle} is not a finished bundle: it has no {MANIFEST}")
        digest = hashlib.sha256(script.read_bytes()).hexdigest()
        known = (bundle / CHECKSUMS).read_bytes().splitlines()
    except OSError as error:
        raise OutputError(f"{error.filename}: {error.strerror}; get the whole bundle again") from None
    if f"{digest}  import.sh".encode() not in known:
        raise OutputError(f"{script} is not the one in {CHECKSUMS}; nothing was run, get the bundle again")


@dataclass(frozen=True, slots=True)
class _Secrets:
    """The parts of a URI that must not be shown, longest reach first: options can hold tokens and key passwords."""

    texts: tuple[str, ...]

    @classmethod
    def of(cls, uri: str, variable: str) -> "_Secrets":
        """``variable`` is where ``uri`` came from, for the message: the URI itself can't be shown."""
        parts = re.fullmatch(
            r"mongodb(?:\+srv)?://(?:[^:@/?]*(?::(?P<password>[^/?]*))?@)?[^@/?]+(?:/(?P<database>[^@/?]*))?(?P<options>\?[^@]*)?",
            uri,
        )
        if parts is None or not uri.isprintable():
            raise UsageError(
                f"{variable} is not of the form mongodb://host/database, with user:password@ before host; "
                "in user, password and options, write / as %2F, ? as %3F, @ as %40 and % as %25"
            )
        if not parts["database"]:
            raise UsageError(f"{variable} names no database; add it behind the host: mongodb://host/database")
        password = parts["password"] or ""
        return cls(tuple(filter(None, (parts["options"], password, unquote(password)))))

    def masked(self, line: str) -> str:
        for text in self.texts:
            line = line.replace(text, "****")
        return line


@contextmanager
def _config_file(uri: str) -> Iterator[str]:
    """A YAML file with the URI, of mode 0600, that is gone afterwards."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.NamedTemporaryFile("wb", prefix="novel-export-", suffix=".yaml"))
            quoted = uri.replace("'", "''")  # the only escape that a single-quoted YAML string knows
            file.write(f"uri: '{quoted}'\n".encode())
            file.flush()
        except OSError as error:
            message = f"the temporary folder is of no use ({error.strerror}): set TMPDIR to one with room"
            raise BackfillError(message) from None
        yield file.name


def _started(command: list[str], **options: Any) -> subprocess.Popen[Any]:
    try:
        return subprocess.Popen(command, **options)
    except OSError as error:  # no program, or one for another machine, or a script without its interpreter
        raise BackfillError(f"{command[0]} can't be run: {error.strerror}") from None


def _run_masked(command: list[str], secrets: _Secrets) -> int:
    """Run ``command``, show on standard error what it prints there, line by line; return its exit code."""
    with (
        _started(command, stderr=subprocess.PIPE, encoding="utf-8", errors="replace") as process,
        _signals_forwarded_to(process),
    ):
        assert process.stderr is not None
        for line in process.stderr:
            tell(secrets.masked(line))
        return _exit_code(process.wait())


@contextmanager
def _signals_forwarded_to(process: subprocess.Popen[Any]) -> Iterator[None]:
    """While inside, a signal to this process stops the tool first, so that we clean up after it and not before.

    A signal that is ignored (SIGHUP under ``nohup``) stays ignored.
    """

    def forward(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    previous = {number: signal.getsignal(number) for number in numbers}
    heeded = [number for number in numbers if previous[number] != signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, forward)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, previous[number])


def _exit_code(returncode: int) -> int:
    """As a shell counts: 128 + n for a tool that signal n ended."""
    return returncode if returncode >= 0 else 128 - returncode


def _publish(growing: Path, out: Path) -> None:
    """Give the complete file its name, durably, and never in place of another."""
    try:
        if out.exists():
            raise OutputExists(f"{out} was made by someone else meanwhile; give another --out")
        if growing.stat().st_size == 0:  # an empty collection is `[]`
            raise BackfillError(f"mongoexport wrote nothing, and yet did not fail; {out} was not written")
        with growing.open("rb") as file:
            os.fsync(file.fileno())
        growing.rename(out)
    except OSError as error:
        raise OutputError(f"{growing} can't be kept: {error.strerror}; {out} was not written") from None
    sync_folder(out.parent)
