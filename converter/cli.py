"""The command ``novel-backfill``: fire turns the words of a command line into one request; then the request is run.

fire calls a method before it has understood the rest of the line, so the methods of ``Backfill`` do no work.
"""

import os
import platform
import sys
import textwrap
from collections.abc import Sequence
from importlib import metadata
from typing import Literal, get_args, get_origin

import fire
from fire.decorators import SetParseFn
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from converter import settings
from converter.commands import COMMANDS, Command
from converter.errors import BackfillError, OutputError, UsageError, masked, tell
from converter.interruption import INTERRUPTED, ignored

PROGRAM = "novel-backfill"
LIBRARIES = ("ijson", "msgspec", "orjson", "pydantic", "pymongo", "isal", "fire", "pydantic-settings", "rich")


class Backfill:
    """What fire sees. A method returns its command's request; it is given text and nothing but text."""

    @SetParseFn(str)  # type: ignore[untyped-decorator]
    def convert(self, *dumps: str, **options: str) -> BaseSettings:
        return settings.read(COMMANDS["convert"].model, {"dumps": dumps, **options}, argument="dumps")

    @SetParseFn(str)  # type: ignore[untyped-decorator]
    def verify(self, bundle: str, **options: str) -> BaseSettings:
        return settings.read(COMMANDS["verify"].model, {"bundle": bundle, **options}, argument="bundle")

    @SetParseFn(str)  # type: ignore[untyped-decorator]
    def profile(self, *dumps: str, **options: str) -> BaseSettings:
        return settings.read(COMMANDS["profile"].model, {"dumps": dumps, **options}, argument="dumps")

    @SetParseFn(str)  # type: ignore[untyped-decorator]
    def fixtures(self, **options: str) -> BaseSettings:
        return settings.read(COMMANDS["fixtures"].model, options)

    @SetParseFn(str)  # type: ignore[untyped-decorator]
    def export(self, **options: str) -> BaseSettings:
        return settings.read(COMMANDS["export"].model, options)

    @SetParseFn(str)  # type: ignore[untyped-decorator]
    def load(self, bundle: str, **options: str) -> BaseSettings:
        return settings.read(COMMANDS["load"].model, {"bundle": bundle, **options}, argument="bundle")

    @SetParseFn(str)  # type: ignore[untyped-decorator]
    def schema(self, collection: str | None = None) -> BaseSettings:
        return settings.read(COMMANDS["schema"].model, {"collection": collection}, argument="collection")


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line (by default the process's own) and return its exit code.

    0 done; 1 failed, also when the reader of standard output went away; 2 wrong usage; 3 finished with rejects;
    130 interrupted. What isn't a BackfillError is a bug, and is raised.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed by the caller, as in `>&-`
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names of files need not be UTF-8
    own = words is None
    try:
        return _run(list(sys.argv[1:] if words is None else words))
    except BackfillError as error:
        if own:
            ignored()
        if not isinstance(error.__cause__, BrokenPipeError):  # whoever read our output has read enough
            _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        if own:
            ignored()
        _complain("interrupted")
        return INTERRUPTED
    except FileNotFoundError:
        if not _here_is_gone():
            raise
        _complain("the current folder was removed: change to one that is there, or give absolute paths")
        return 1


def _run(words: list[str]) -> int:
    options = words[: words.index("--")] if "--" in words else words
    if not words or words[0] == "help" or not {"-h", "--help"}.isdisjoint(options):
        topic = next((word for word in options if word != "help" and not word.startswith("-")), "")
        if words and words[0] == "help" and topic and topic not in COMMANDS:
            raise UsageError(_no_such_command(topic))
        _say(command_help(topic, COMMANDS[topic]) if topic in COMMANDS else program_help())
        return 0
    if words[0] in ("version", "--version"):
        _say(versions())
        return 0
    name, *rest = words
    if name not in COMMANDS:
        raise UsageError(_no_such_command(name))
    text, exit_code = COMMANDS[name].run(request_of(name, rest))
    if text:
        _say(text)
    return exit_code


def request_of(name: str, words: list[str]) -> BaseSettings:
    """The request that the words behind the command ``name`` make. Raises UsageError."""
    try:
        spelled = _for_fire(COMMANDS[name], words)
        # fire prints what a method returns; a request is not for printing.
        request: BaseSettings = fire.Fire(Backfill(), [name, *spelled], PROGRAM, serialize=lambda request: None)
    except UsageError as error:
        raise UsageError(f"{error} ({PROGRAM} {name} --help)") from None
    return request


def _for_fire(command: Command, words: list[str]) -> list[str]:
    """The words behind the command's name, in the one spelling that fire takes as it is meant."""
    arguments, values = settings.spell_out(words, command.flags)
    if not command.takes(len(arguments)):
        taken = command.arguments or "no arguments"
        raise UsageError(f"takes {taken}, {len(arguments)} given" if arguments else f"{taken} is missing")
    # Only behind "--" can an argument look like a flag, and then it is the name of a file.
    files = [f"./{word}" if word.startswith("-") and word != "-" else word for word in arguments]
    flags = [f"--{field}={value}" for field, value in values.items()]
    # fire's separator is "-" unless told otherwise, and no word can be a NUL. Its own flags stand behind the last "--",
    # so with this one a user's never do.
    return [*files, *flags, "--", "--separator=\0"]


def _no_such_command(word: str) -> str:
    if word.startswith("-"):
        near = settings.suggestion(word, ["--help", "--version"])
        return f"the command comes first, then its flags: {PROGRAM} convert DUMP... {word.partition('=')[0]}{near}"
    if os.path.exists(word):
        return f"{word!r} is not a command; did you mean {PROGRAM} convert {word}?"
    known = [*COMMANDS, "help", "version"]
    return f"there is no command {word!r}{settings.suggestion(word, known)} (there are: {', '.join(known)})"


def program_help() -> str:
    """What `novel-backfill --help` prints."""
    width = max(len(f"{name} {command.arguments}") for name, command in COMMANDS.items())
    lines = [
        f"usage: {PROGRAM} COMMAND [arguments] [options]",
        "",
        *_wrapped("Converts dumps of the legacy jobs collection into four NDJSON files that mongoimport loads."),
        "",
        "commands:",
    ]
    for name, command in COMMANDS.items():
        lines += _wrapped(command.summary, f"  {f'{name} {command.arguments}':{width}}  ")
    lines += [
        "",
        f"{PROGRAM} COMMAND --help shows a command's options, {PROGRAM} --version all versions.",
        "",
        "Options are taken from flags, then from the environment (BACKFILL_<OPTION>), then from defaults.",
        "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished with rejects, 130 interrupted.",
    ]
    return "\n".join(lines)


def command_help(name: str, command: Command) -> str:
    """What `novel-backfill NAME --help` prints."""
    options = command.flags
    usage = ["usage:", PROGRAM, name, command.arguments, "[options]" if options else ""]
    lines = [" ".join(filter(None, usage)), "", *_wrapped(command.summary)]
    if command.details:
        lines += ["", *_wrapped(command.details)]
    if options:
        lines += ["", "options:"]
        spelled = {field: _spelled(command, field) for field in options}
        width = max(map(len, spelled.values()))
        for field, option in options.items():
            text = command.options[field][1]
            if option.is_required():
                text += " (required)"
            elif option.default not in (None, False, "", (), PydanticUndefined):
                text += f" (default: {option.default})"
            lines += _wrapped(f"{text} [{settings.variable(field, option)}]", f"  {spelled[field]:{width}}  ")
        lines += ["", *_wrapped("In brackets: the environment variable that is read where the flag is not given.")]
        if any(settings.is_switch(option) for option in options.values()):
            lines += _wrapped("A switch is turned off by =false, or by --no- in front of its name.")
    lines += ["", "examples:", *(f"  {PROGRAM} {example}" for example in command.examples)]
    return "\n".join(lines)


def _spelled(command: Command, field: str) -> str:
    """The flag as help shows it: --limit=N, --in-flight=keep|fail, --resume."""
    annotation = command.flags[field].annotation
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    value = "|".join(choices) or command.options[field][0]
    return settings.flag(field) + (f"={value}" if value else "")


def _wrapped(text: str, first: str = "") -> list[str]:
    return textwrap.wrap(text, 100, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)


def versions() -> str:
    """The versions that decide what a run does: the program's, Python's, and the libraries' that it needs."""
    from converter.json_documents import BACKEND

    lines = [f"{PROGRAM} {metadata.version(PROGRAM)}", f"Python {platform.python_version()}"]
    lines += [f"{library} {metadata.version(library)}" for library in LIBRARIES]
    lines.append(f"backend of ijson: {BACKEND}")
    return "\n".join(lines)


def _here_is_gone() -> bool:
    """Whether the current folder was removed: whoever makes a path absolute, ours or a library, stumbles over it."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _say(text: str) -> None:
    """Print a result, at once: an error in printing it must be met here and not when the interpreter ends."""
    try:
        print(text, flush=True)
    except OSError as error:
        # The interpreter flushes once more: https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"standard output: {error.strerror}") from error


def _complain(text: str) -> None:
    for line in masked(text).splitlines():  # a URI may have been given where none belongs
        tell(f"{PROGRAM}: {line}\n")
