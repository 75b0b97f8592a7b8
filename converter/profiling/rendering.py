"""A profile for people: as tables for a terminal or a file, and as a page."""

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from typing import Final, TextIO

import jinja2
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from converter.errors import visible
from converter.profiling.paths import MAX_PATHS, MAX_STEPS
from converter.profiling.result import ODDITIES, Oddity, PathUse, Profile, Sizes, TypeUse

PLAIN_WIDTH: Final = 100
"""Columns where standard output is no terminal."""
_VALUES_IN_TEXT: Final = 4
_BAR: Final = 30
_LONGEST_NAME: Final = 50

_LEGEND: Final = (
    "docs: documents that have the path. Of parent: how many of the objects that could have it do; for elements [] and "
    f"entries *, how many there are in each. Paths end after {MAX_STEPS} steps and are at most {MAX_PATHS:,}."
)


def text(profile: Profile, stream: TextIO | None = None) -> str:
    """The profile as tables, to be printed on ``stream`` (standard output): in colour and full width on a terminal."""
    shown = Console(file=sys.stdout if stream is None else stream)
    # Not written by rich, but by whoever prints the text and knows what to say when that fails.
    drawn = StringIO()
    width = shown.width if shown.is_terminal else PLAIN_WIDTH
    _print(Console(file=drawn, width=width, force_terminal=shown.is_terminal, highlight=False), profile)
    return "\n".join(line.rstrip() for line in drawn.getvalue().splitlines())


def html(profile: Profile) -> str:
    """The profile as one page that needs nothing else: no script, no request, all text from the dump escaped."""
    return _templates.get_template("profile.html.j2").render(
        profile=profile,
        dumps=_dump_rows(profile),
        sizes=_size_rows(profile.sizes),
        statuses=_status_rows(profile),
        oddities=[_oddity_row(oddity, profile) for oddity in profile.oddities],
        paths=[_path_row(path, profile.documents, values=None) for path in profile.paths],
        legend=_legend(profile),
    )


# ------------------------------------------------------------------------------------------------------------ tables


def _print(console: Console, profile: Profile) -> None:
    if profile.broken:
        console.print(Text(f"broken dump, this is what could be read: {visible(profile.broken)}", style="bold red"))
        console.print()
    columns = ["dump", "dialect", "compression", "encoding", ">on disk"]
    _table(console, f"{profile.documents:,} documents", columns, _dump_rows(profile))
    if profile.sizes:
        _table(console, "sizes", ["", ">", ">documents", ""], _size_rows(profile.sizes))
    head, *statuses = _status_rows(profile)
    _table(console, "statuses by schema generation", [head[0], *(f">{name}" for name in head[1:])], statuses)
    if profile.oddities:
        _table(console, "oddities", [">count", "oddity", "first"], _oddities_in_groups(profile))
    else:
        console.print("no oddities\n")
    rows = [_path_row(path, profile.documents, values=_VALUES_IN_TEXT) for path in profile.paths]
    _table(console, "paths", ["path", ">docs", ">of parent", "types and values"], rows)
    console.print(Text(_legend(profile)))


def _table(console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A column whose name begins with ``>`` holds numbers, which are never broken into lines."""
    cells = list(rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for index, name in enumerate(columns):
        number = name.startswith(">")
        longest = max(cell_len(row[index]) for row in [columns, *cells])
        table.add_column(
            name.lstrip(">"),
            justify="right" if number else "left",
            no_wrap=number,
            overflow="fold",
            # What stands on the left is a name, and is broken last.
            width=min(longest, _LONGEST_NAME, console.width // 2) if index == 0 else None,
        )
    for row in cells:
        # Text and not str: what comes from a dump is no markup.
        table.add_row(*map(Text, row))
    console.print(Text(title, style="bold"))
    console.print(table)
    console.print()


def _dump_rows(profile: Profile) -> list[tuple[str, str, str, str, str]]:
    return [
        (visible(dump.name), dump.dialect, dump.compression or "", dump.encoding, _bytes(dump.bytes))
        for dump in profile.dumps
    ]


def _size_rows(sizes: Sizes | None) -> list[tuple[str, str, str, str]]:
    """What, bytes, documents, and a bar as long as their share."""
    if sizes is None:
        return []
    about = f"at most {100 * sizes.resolution:.1f}% too large"
    rows = [
        ("least", _bytes(sizes.min), "", ""),
        ("mean", _bytes(round(sizes.mean)), "", ""),
        ("p50", _bytes(sizes.p50), "", about),
        ("p95", _bytes(sizes.p95), "", about),
        ("largest", _bytes(sizes.max), "", ""),
    ]
    most = max(size.documents for size in sizes.classes)
    return rows + [
        ("up to", _bytes(size.up_to), f"{size.documents:,}", "#" * -(-_BAR * size.documents // most))
        for size in sizes.classes
    ]


def _status_rows(profile: Profile) -> list[list[str]]:
    """A head and a row for each status, with a column for each generation."""
    generations = list(profile.generations)
    rows = [["status", *generations, "all"]]
    for use in profile.statuses:
        counts = [use.generations.get(generation, 0) for generation in generations]
        rows.append([visible(use.status), *(f"{count:,}" if count else "" for count in counts), f"{sum(counts):,}"])
    rows.append(["all", *(f"{count:,}" for count in profile.generations.values()), f"{profile.documents:,}"])
    return rows


def _oddities_in_groups(profile: Profile) -> Iterator[tuple[str, str, str]]:
    """A row for each kind of oddity, and below it, indented, the paths at which it was found."""
    for kind, group in itertools.groupby(profile.oddities, key=lambda oddity: oddity.kind):
        found = list(group)
        if found[0].path is not None:
            yield f"{sum(oddity.count for oddity in found):,}", ODDITIES[kind], ""
        for oddity in found:
            count, what, path, detail, first = _oddity_row(oddity, profile)
            yield count, f"  {path}{detail and f': {detail}'}" if path else what + (detail and f": {detail}"), first


def _oddity_row(oddity: Oddity, profile: Profile) -> tuple[str, str, str, str, str]:
    first = oddity.first
    place = [f"document {first.index:,}" + (f" of {first.dump}" if len(profile.dumps) > 1 else "")]
    place += [] if first.offset is None else [f"byte {first.offset:,}"]
    place += [] if first.id is None else [first.id]
    texts = (ODDITIES[oddity.kind], oddity.path or "", oddity.detail, ", ".join(place))
    what, path, detail, where = map(visible, texts)
    return f"{oddity.count:,}", what, path, detail, where


def _path_row(path: PathUse, documents: int, *, values: int | None) -> tuple[str, str, str, str]:
    """``values``: how many of an enumeration to show; None for all."""
    return (
        visible(path.path),
        "?" if path.documents is None else percent(path.documents, documents),
        _of_parent(path),
        "; ".join(_type(use, path.count, values) for use in path.types),
    )


def _of_parent(path: PathUse) -> str:
    if path.path.endswith(("[]", "*")):
        return f"×{path.count / path.parents:,.1f}"
    return percent(path.count, path.parents)


def _type(use: TypeUse, count: int, values: int | None) -> str:
    name = use.type if use.count == count else f"{use.type} {percent(use.count, count)}"
    details = _values(use, values)
    return f"{name}: {details}" if details else name


def _values(use: TypeUse, limit: int | None) -> str:
    # Where every value is another one it is no enumeration.
    if use.values and (len(use.values) < use.count or len(use.values) == 1):
        shown = list(use.values.items())[:limit]
        parts = [f"{visible(value) or '(empty)'} {count:,}" for value, count in shown]
        more = len(use.values) - len(shown)
        return ", ".join([*parts, *([f"{more} more"] if more else [])])
    if use.least is None or use.most is None or use.type == "object":
        return ""
    least, most = _bound(use.least), _bound(use.most)
    unit = {"string": " characters", "array": " elements"}.get(use.type, "")
    return (least if least == most else f"{least} to {most}") + (unit[:-1] if most == "1" else unit)


def _bound(bound: int | float | str) -> str:
    if isinstance(bound, str):
        return bound[:10]  # the day
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:,.6g}"


def _legend(profile: Profile) -> str:
    return f"{_LEGEND} More than {profile.names} names that the legacy schema doesn't have, in one object, count as *."


def percent(count: int, total: int) -> str:
    """Never 100% unless it is all, never 0% unless it is none."""
    if count == total or not count:
        return "100%" if count else "0%"
    thousandths = min(max(round(1000 * count / total), 1), 999)
    return f"{thousandths / 10}%"


def _bytes(size: int | None) -> str:
    if size is None:
        return ""
    for unit, bytes_ in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= bytes_:
            return f"{size / bytes_:,.1f} {unit}"
    return f"{size:,} bytes"


_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("converter", "profiling"),
    undefined=jinja2.StrictUndefined,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {"visible": visible}
