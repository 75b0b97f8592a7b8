"""From the words of a command line, and the environment, to one validated request.

fire guesses: ``--dry-run jobs.json`` makes the dump the flag's value, ``007`` becomes 7, ``-`` and ``--`` steer fire
itself, and an unknown flag is noticed after the command has run. So the words are checked here against the request's
own fields, and spelled out so that nothing is left to guess: fire is given plain arguments and ``--name=value``, all of
them text. What the text means is for pydantic to say.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError, ValidationInfo, create_model, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from converter.errors import UsageError, masked

ENVIRONMENT_PREFIX = "BACKFILL_"

LIST_SEPARATOR = "\0"
"""The one character that no argument of a process can hold."""

# What a user can get wrong in a value, by pydantic's type of error. The names in braces are pydantic's.
_EXPECTATIONS = {
    "bool_parsing": "expected true or false",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_parsing_size": "expected a smaller number",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "expected {expected}",
    "missing": "is required",
    "string_pattern_mismatch": "expected something like tcp://host:8786",
    "string_too_short": "must not be empty",
    "string_unicode": "expected text in UTF-8",
}


class _FromText(BaseSettings):
    # Not strict, unlike the request models: "false" and "12" become what they say. An empty variable counts as not set,
    # because that is how shells and compose files unset one.
    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_ignore_empty=True, enable_decoding=False, strict=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _listed(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        return tuple(value.split(LIST_SEPARATOR)) if is_list(field) and isinstance(value, str) else value


def model_of(request: type[BaseModel], fields: Mapping[str, tuple[Any, Any]]) -> type[BaseSettings]:
    """A subclass of ``request`` that is filled from text: flags, then the environment, then defaults.

    ``fields`` (name: type and ``Field``) are added to it or replace its own: a default that depends on other fields,
    an environment variable of another name, an option that isn't the request's business.
    """
    bases: Any = (request, _FromText)  # create_model is typed for bases of one type
    model: Any = create_model(request.__name__, __base__=bases, **dict[str, Any](fields))
    return cast(type[BaseSettings], model)


def flag(name: str) -> str:
    """A field's flag: ``dry_run`` has ``--dry-run``, ``json_`` has ``--json``."""
    return "--" + name.rstrip("_").replace("_", "-")


def variable(name: str, field: FieldInfo) -> str:
    """A field's environment variable: its alias, such as ``TARGET_MONGODB_URI``, else ``BACKFILL_<OPTION>``."""
    alias = field.validation_alias
    return alias if isinstance(alias, str) else f"{ENVIRONMENT_PREFIX}{name.upper()}"


def is_switch(field: FieldInfo) -> bool:
    """Whether a flag is on by being there; it never takes the next word as its value."""
    return field.annotation is bool


def is_list(field: FieldInfo) -> bool:
    """Whether a flag may be given more than once. Its values come joined by ``LIST_SEPARATOR``."""
    return get_origin(field.annotation) is tuple


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean --limit?`` where something known is near to what was typed, else nothing."""
    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else ""


def spell_out(words: Sequence[str], options: Mapping[str, FieldInfo]) -> tuple[list[str], dict[str, str]]:
    """Tell plain arguments from flags: ``["a.json", "--limit", "5"]`` gives ``["a.json"]`` and ``{"limit": "5"}``.

    ``options`` are the fields that have a flag. ``--name value`` and ``--name=value`` are the same, ``_`` and ``-``
    too, ``--no-name`` turns a switch off, ``--`` ends the flags, ``-`` alone is an argument. Raises UsageError for a
    flag that is unknown, given twice, or without a value.
    """
    arguments: list[str] = []
    values: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            arguments += rest
            rest = []
        elif word == "-" or not word.startswith("-"):
            arguments.append(word)
        else:
            name, value = _flag_and_value(word, rest, options)
            if name not in values:
                values[name] = value
            elif is_list(options[name]):
                values[name] += LIST_SEPARATOR + value
            else:
                raise UsageError(f"{flag(name)} is given twice")
    if "" in arguments:
        raise UsageError("an argument is empty; was a variable of the shell not set?")
    return arguments, values


def _flag_and_value(word: str, rest: list[str], options: Mapping[str, FieldInfo]) -> tuple[str, str]:
    """Read the flag in ``word``; take its value out of ``rest`` where it needs one and has none behind ``=``."""
    names = {flag(name): name for name in options}
    switched_off = {f"--no-{spelled[2:]}": name for spelled, name in names.items() if is_switch(options[name])}
    spelled, equals, value = word.partition("=")
    canonical = spelled.replace("_", "-")
    if canonical in switched_off:
        if equals:
            raise UsageError(f"{canonical} takes no value")
        return switched_off[canonical], "false"
    if canonical not in names:
        raise UsageError(f"unknown flag {spelled}{suggestion(canonical, [*names, '--help'])}")
    name = names[canonical]
    if is_switch(options[name]) and not equals:
        if rest and rest[0].lower() in ("true", "false"):
            raise UsageError(f"write {canonical}={rest[0].lower()}, or ./{rest[0]} if that is a file")
        return name, "true"
    if not equals and rest and (rest[0] == "-" or not rest[0].startswith("-") or re.match(r"-[\d.]", rest[0])):
        value = rest.pop(0)
    if not value:
        raise UsageError(f"{canonical} needs a value: {canonical}=...")
    return name, value


def read(model: type[BaseSettings], given: Mapping[str, Any], argument: str = "") -> BaseSettings:
    """Fill ``model`` from ``given`` (field name to text, or to a tuple of texts), then the environment, then defaults.

    Raises UsageError with a line for each wrong value, naming the flag or the variable it came from; the field
    ``argument`` has neither.
    """
    fields = model.model_fields
    aliases = {name: field.validation_alias for name, field in fields.items() if field.validation_alias}
    try:
        return model(**{str(aliases.get(name, name)): value for name, value in given.items()})
    except ValidationError as error:
        names = {str(alias): name for name, alias in aliases.items()}
        lines = []
        # Without pydantic's copy of the input: a value is shown where it is short and no secret.
        for problem in error.errors(include_input=False, include_url=False):
            what = problem["msg"].removeprefix("Value error, ")
            if problem["type"] in _EXPECTATIONS:
                what = _EXPECTATIONS[problem["type"]].format(**problem.get("ctx", {}))
            if not problem["loc"]:
                lines.append(what)
                continue
            name = names.get(str(problem["loc"][0]), str(problem["loc"][0]))
            place, value = flag(name), given.get(name)
            if name == argument:
                place = name.upper()
            elif name not in given and (value := os.environ.get(variable(name, fields[name]))):
                place = variable(name, fields[name])
            secret = SecretStr in (fields[name].annotation, *get_args(fields[name].annotation))
            shown = f", not {masked(value)[:60]!r}" if isinstance(value, str) and not secret else ""
            lines.append(f"{place}: {what}{shown}")
        raise UsageError("\n".join(lines)) from None
