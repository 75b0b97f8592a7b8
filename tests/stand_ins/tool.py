"""What the stand-ins for ``mongoimport`` and ``mongoexport`` share: their log lines, their config file, their failures.

They speak the real tools' flags and messages and work on a real server. The environment steers them:

STAND_IN_LOG         a file that gets one JSON line per run: the arguments, and every process that shows the password
STAND_IN_HANGS       connect, say so, then do nothing until a signal comes
STAND_IN_TIMEOUT_MS  how long to look for the server (the real tools: 30 s)
"""

import json
import os
import signal
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import unquote

import pymongo
from bson import CodecOptions
from bson.codec_options import DatetimeConversion
from bson.json_util import JSONMode, JSONOptions
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

Document = dict[str, Any]
RELAXED = JSONOptions(
    json_mode=JSONMode.RELAXED, tz_aware=False, tzinfo=None, datetime_conversion=DatetimeConversion.DATETIME_MS
)


def log(message: str) -> None:
    """One line on standard error behind a time stamp and a tab, as the Database Tools write it."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    print(f"{stamp}+0000\t{message}", file=sys.stderr, flush=True)


def fail(message: str) -> NoReturn:
    log(f"Failed: {message}")
    raise SystemExit(1)


def finish() -> NoReturn:
    """End well, and at once: pymongo's threads would take half a second to end, and tests run many tools."""
    sys.stdout.flush()
    os._exit(0)


def connect(config: str, collection: str, database: str | None) -> Collection[Document]:
    """The collection that the config file's URI leads to; also keeps the record of this run."""
    uri = _uri(config)
    _record(config, uri)
    timeout = int(os.environ.get("STAND_IN_TIMEOUT_MS", "20000"))
    client: pymongo.MongoClient[Document] = pymongo.MongoClient(uri, serverSelectionTimeoutMS=timeout)
    try:
        client.admin.command("ping")
    except PyMongoError as error:
        # The real tools print the URI as it is, password included.
        fail(f"error connecting to host: failed to connect to {uri}: connection() error occurred: {error}")
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGINT, _interrupted)
    log("connected to: mongodb://[**REDACTED**]@" + uri.partition("://")[2].rpartition("@")[2])
    if "STAND_IN_HANGS" in os.environ:
        signal.pause()
    codec: CodecOptions[Document] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
    name = database or client.get_default_database("test").name
    return client.get_database(name, codec_options=codec).get_collection(collection)


def _interrupted(number: int, _frame: FrameType | None) -> NoReturn:
    log(f"signal '{signal.strsignal(number)}' received; attempting to shut down")
    raise SystemExit(1)


def _uri(config: str) -> str:
    """The value of ``uri`` in a YAML file that holds nothing else, as a single-quoted string."""
    if stat.S_IMODE(os.stat(config).st_mode) != 0o600:
        fail(f"{config} can be read by others")
    key, _, value = Path(config).read_text(encoding="utf-8").rstrip("\n").partition(": ")
    if key != "uri" or len(value) < 2 or value[0] != "'" or value[-1] != "'" or "'" in value[1:-1].replace("''", ""):
        fail("error parsing config file: yaml: line 1: found character that cannot start any token")
    return value[1:-1].replace("''", "'")


def _record(config: str, uri: str) -> None:
    if "STAND_IN_LOG" not in os.environ:
        return
    password = uri.partition("://")[2].rpartition("@")[0].partition(":")[2]
    showing = [line for line in _command_lines() if password and (password in line or unquote(password) in line)]
    entry = {"argv": sys.argv, "config": config, "showing": showing}
    with open(os.environ["STAND_IN_LOG"], "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def _command_lines() -> list[str]:
    """What ``ps`` would show of every process of this machine; nothing where there is no /proc."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().decode(errors="replace"))
        except OSError:  # the process has ended
            continue
    return lines
