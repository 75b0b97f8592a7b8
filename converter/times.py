"""Times as milliseconds since 1970, and as the texts that dumps hold and the target's readers compare."""

import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1)
FIRST_MILLISECOND: Final = -62_135_596_800_000
"""The start of year 1: the first time that has four digits of year in every language that reads it."""
LAST_MILLISECOND: Final = 253_402_300_799_999
"""The end of year 9999."""

# Times and their texts, of this document and the last ones: a job has each of its times in several places.
_ISO: Final[dict[int, str]] = {}
_ISO_KEPT: Final = 1024
_LONGEST_REMEMBERED: Final = 64
_ISO_LENGTH: Final = len("2025-07-19T03:04:05.420Z")

# A text is put together from these and its hour, and read by them: several times faster than by way of a datetime.
# mongoexport cuts the trailing zeros of a fraction.
_MINUTES: Final = {f"{minute:02}:": minute * 60_000 for minute in range(60)}
_SECONDS: Final = {f"{second:02}": second * 1000 for second in range(60)}
_MILLISECONDS: Final = {f".{millisecond:03}Z": millisecond for millisecond in range(1000)}
_MINUTE_TEXTS, _SECOND_TEXTS, _MILLISECOND_TEXTS = map(tuple, (_MINUTES, _SECONDS, _MILLISECONDS))
_FRACTIONS: Final = {
    **_MILLISECONDS,
    **{f".{hundredth:02}Z": hundredth * 10 for hundredth in range(100)},
    **{f".{tenth}Z": tenth * 100 for tenth in range(10)},
    "Z": 0,
}
_HOUR_FORM: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):")


def iso(milliseconds: int) -> str:
    """Milliseconds since 1970 in the form of JavaScript's ``Date.prototype.toISOString``: ``2025-07-19T03:04:05.420Z``.

    Raises ``OverflowError`` outside the years 1 to 9999 (``FIRST_MILLISECOND`` to ``LAST_MILLISECOND``).
    """
    text = _ISO.get(milliseconds)
    if text is None:
        seconds, millisecond = divmod(milliseconds, 1000)
        minutes, second = divmod(seconds, 60)
        hours, minute = divmod(minutes, 60)
        text = f"{_hour_text(hours)}{_MINUTE_TEXTS[minute]}{_SECOND_TEXTS[second]}{_MILLISECOND_TEXTS[millisecond]}"
        _remember(milliseconds, text)
    return text


def _remember(milliseconds: int, text: str) -> None:
    if len(_ISO) >= _ISO_KEPT:
        _ISO.clear()
    _ISO[milliseconds] = text


@lru_cache(maxsize=1024)
def _hour_text(hours: int) -> str:
    """Hours since 1970 as ``2025-07-19T03:``."""
    return (_EPOCH + timedelta(hours=hours)).isoformat()[:14]


@lru_cache(maxsize=1024)
def _hour(text: str) -> int:
    """What ``_hour_text`` makes of an hour, in milliseconds since 1970. Raises ``ValueError`` if it is nothing such."""
    if not _HOUR_FORM.fullmatch(text):
        raise ValueError
    return _since_epoch(datetime.fromisoformat(text[:-1]))


def _since_epoch(moment: datetime) -> int:
    since = moment - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def milliseconds(text: str) -> int | None:
    """An ISO 8601 date in milliseconds since 1970, ``None`` if it isn't one. Without a time zone it is UTC.

    What is finer than a millisecond is cut off, as JavaScript and MongoDB do.
    """
    try:
        stamp = _hour(text[:14]) + _MINUTES[text[14:17]] + _SECONDS[text[17:19]] + _FRACTIONS[text[19:]]
    except (ValueError, KeyError):
        # What is remembered must be short: a text may be of any length.
        return _milliseconds(text) if len(text) <= _LONGEST_REMEMBERED else _milliseconds.__wrapped__(text)
    if len(text) == _ISO_LENGTH:
        _remember(stamp, text)
    return stamp


@lru_cache(maxsize=4096)
def _milliseconds(text: str) -> int | None:
    """The same for any text."""
    try:
        # What MongoDB writes ends in Z: without it the moment needs no moving to UTC.
        moment = datetime.fromisoformat(text[:-1] if text[-1:] == "Z" else text)
        if moment.tzinfo is not None:
            moment = moment.replace(tzinfo=None) - (moment.utcoffset() or timedelta())
    except (ValueError, OverflowError):
        return None
    return _since_epoch(moment)
