"""report.html: the report to look at, as one page that needs nothing else: no script, no request."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import jinja2

from converter.contracts import MAX_BYTES
from converter.report.plots import columns, lengths


def report_html(report: Mapping[str, Any]) -> str:
    """The page. All text is escaped, so what a dump holds shows as what it is and does nothing."""
    template = _templates.get_template("report.html.j2")
    counts = report["counts"]
    differing = [row for row in report["parity"].values() if row["differing_jobs"]]
    page = template.render(report=report, counts=counts, differing=differing, limit=MAX_BYTES, stages=STAGE_WORDS)
    return page + "\n"


# ------------------------------------------------------------------------------------------------ numbers for people


def number(value: float | None) -> str:
    """With commas; a fraction with as many digits as it takes to see something, at least two."""
    if value is None:
        return "–"
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{value:,.0f}".replace("-", _MINUS)
    if 1e-6 <= abs(value) < 1e15:
        digits = 2 if abs(value) >= 1000 else 4 if abs(value) >= 1 else 6
        whole, _, fraction = f"{value:,.{digits}f}".partition(".")
        return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}".replace("-", _MINUS)
    return f"{value:.3g}".replace("-", _MINUS)


def dollars(value: float) -> str:
    """At least two digits behind the point, and as many as it takes to see something."""
    whole, _, fraction = number(float(value)).lstrip(_MINUS).partition(".")
    sign = _MINUS if value < 0 else ""
    return f"{sign}${whole}" if "e" in fraction + whole else f"{sign}${whole}.{fraction.ljust(2, '0')}"


def signed(text: str) -> str:
    return text if text.startswith(_MINUS) or not text.strip("$0.") else f"+{text}"


def size(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 1024:
        return f"{value:,.0f} bytes"
    units = ("KiB", "MiB", "GiB", "TiB")
    power = min((int(value).bit_length() - 1) // 10, len(units))
    return f"{value / 1024**power:,.1f} {units[power - 1]}"


def percent(share: float) -> str:
    """Never rounded to 0 % or 100 % when it is neither."""
    text = f"{100 * share:.1f}"
    if text == "0.0" and share > 0:
        return "< 0.1 %"
    if text == "100.0" and share < 1:
        return "> 99.9 %"
    return f"{text.removesuffix('.0')} %"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {seconds} s"


STAGE_WORDS: Final = {
    "read": "finding the documents in the dump, and parsing them",
    "map": "making the new documents of the old ones",
    "check": "holding the new documents against their contracts, and writing them as Extended JSON",
    "count": "counting, for this report",
    "write": "appending to the files, with checksums, as far as that isn't done beside the rest",
    "checkpoint": "syncing the files, and remembering what is done",
    "other": "everything else: starting, showing progress, waiting for one another",
}
_ONE_PROCESS: Final = ("write", "checkpoint")  # never shared among workers


def bound(run: Mapping[str, Any]) -> str:
    """What bounds a run, in words; ``run`` is that part of the report."""
    stages, workers, seconds = run["stages"], run["workers"], run["seconds"]
    if seconds <= 0:
        return "It was over at once."
    if workers == 1:
        longest = max(stages, key=lambda stage: stages[stage])
        return (
            "One process did everything, one thing after the other; only the files were written beside. "
            f"What took longest, {percent(stages[longest] / seconds)} of the time: {STAGE_WORDS[longest]}."
        )
    writing = sum(stages[stage] for stage in _ONE_PROCESS) / seconds
    shared = sum(stages[stage] for stage in stages if stage not in (*_ONE_PROCESS, "other")) / (workers * seconds)
    verdict = (
        "So converting bounds this run: more workers make it faster, where there are processors for them."
        if shared >= writing
        else "So writing bounds this run: a faster disk would make it faster, more workers would not."
    )
    return (
        f"{workers} processes converted, and were at it {percent(min(shared, 1.0))} of the time. "
        f"Beside them one process wrote, and was at it {percent(min(writing, 1.0))} of the time. {verdict}"
    )


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


_MINUS: Final = "−"


# --------------------------------------------------------------------------------------------------------- histogram


def bucket_name(bucket: Mapping[str, float | None], unit: str) -> str:
    """A bucket in words: ``no difference``, ``up to $0.0001 more``, ``$0.01 to $0.10 less``, ``over $10.00 more``."""
    above, up_to = bucket["above"], bucket["up_to"]
    if above is None:
        return f"over {_bound(up_to, unit)} less"
    if up_to is None:
        return f"over {_bound(above, unit)} more"
    if above < 0 < up_to:
        return "no difference"
    low, high = sorted((abs(above), abs(up_to)))
    direction = "more" if up_to > 0 else "less"
    if low < _AS_GOOD_AS_NOTHING:
        return f"up to {_bound(high, unit)} {direction}"
    return f"{_bound(low, unit)} to {_bound(high, unit)} {direction}"


_AS_GOOD_AS_NOTHING: Final = 1e-6


def _bound(value: float | None, unit: str) -> str:
    whole, _, fraction = f"{abs(value or 0):,.15g}".partition(".")
    return f"{unit}{whole}.{fraction.ljust(2, '0')}" if unit == "$" else whole


def tick(bucket: Mapping[str, float | None]) -> str:
    """A bucket under its column: the bound that is farther from 0."""
    above, up_to = bucket["above"], bucket["up_to"]
    if above is None:
        return f"≤ {_MINUS}{_short(up_to)}"
    if up_to is None:
        return f"> {_short(above)}"
    if above < 0 < up_to:
        return "0"
    return _short(up_to) if up_to > 0 else f"{_MINUS}{_short(above)}"


def _short(value: float | None) -> str:
    number = abs(value or 0)
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{suffix}"
    return f"{number:.15g}"


def _jobs(buckets: Sequence[Mapping[str, Any]]) -> list[int]:
    return [bucket["jobs"] for bucket in buckets]


_templates: Final = jinja2.Environment(
    loader=jinja2.PackageLoader("converter", "report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    optimized=False,  # it looks for constants to reckon before, takes a sixth of the time, and finds none
)
_templates.filters |= {
    "number": number,
    "dollars": dollars,
    "signed": signed,
    "size": size,
    "percent": percent,
    "duration": duration,
    "plural": plural,
    "bucket_name": bucket_name,
    "tick": tick,
    "jobs": _jobs,
    "bound": bound,
    "columns": columns,
    "lengths": lengths,
}
