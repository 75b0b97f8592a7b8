"""The fast lane: a document whose chapters' texts stay as they stand in the dump.

Nine bytes out of ten are the novels' text, which the mapping passes on without looking at it. So the texts are cut
out, only checked to be what they should be, and the little that is left is parsed. Whatever isn't plain is refused,
and the document is read by ijson instead; both ways give the same values.
"""

import codecs
import re
from typing import Any, Final

import msgspec

from converter import extjson

_KEY: Final = b'"content"'
_COLON: Final = re.compile(rb'[ \t\r\n]*+:[ \t\r\n]*+(?=")')
_BACKSLASH: Final = ord("\\")
_WORTHWHILE: Final = 512
"""Bytes of a text below which cutting it out costs more than reading it."""

# Stands for a text that was cut out: three DELs, which JSON may hold as they are. A document that has such a text of
# its own in what is left, or any DEL as an escape, is refused: so every mark is ours, whatever the dump holds.
_MARK: Final = "\x7f\x7f\x7f"
_MARK_JSON: Final = f'"{_MARK}"'.encode()
_MARK_ESCAPED: Final = b"\\u007"

# Escapes that orjson doesn't write: a text with one of them is decoded and written anew, so that the output doesn't
# depend on how the dump was escaped.
_OTHER_ESCAPE: Final = re.compile(rb'\\[^nrtbf"\\]')
_UTF8_PIECE: Final = 32 * 1024
"""Larger pieces take twice as long for each byte, because their decoded text no longer fits the processor's cache."""

_TRUNCATED: Final = "Input data was truncated"
_PLACE: Final = re.compile(r"trailing characters \(byte (\d+)\)")
REFUSED: Final = (msgspec.MsgspecError, UnicodeDecodeError, ArithmeticError, RecursionError, extjson.NestedTooDeep)
"""What reading raises for a document that isn't plain."""


def fraction(text: str) -> object:
    """As ijson and ``extjson.decode`` read it; the rare numbers that overflow or vanish in a double stay exact."""
    double = float(text)
    return double if double and abs(double) != float("inf") else extjson.exact_fraction(text)


_DOCUMENT: Final = msgspec.json.Decoder(float_hook=fraction)
_SYNTAX: Final = msgspec.json.Decoder(msgspec.Raw)


def read(data: bytes) -> dict[str, Any] | None:
    """The BSON values of the JSON object that ``data`` is; long texts of its chapters as ``extjson.RawText``.

    ``data`` is what ``end_of_object`` found, so it is valid JSON. ``None`` when the fast lane can't vouch for it.
    """
    try:
        check_utf8(data)
        texts, rest = _cut(data)
        if rest.count(_MARK_JSON) != len(texts) or _MARK_ESCAPED in rest:
            return None
        document = extjson.decode(_DOCUMENT.decode(rest))
    except REFUSED:
        return None
    return document if isinstance(document, dict) and _put_back(texts, document) else None


UNFINISHED: Final = -1


def end_of_object(data: bytes, start: int) -> int | None:
    """Where the JSON object at ``start`` ends: ``UNFINISHED`` if not within ``data``, None if it is no JSON."""
    try:
        return _end_of_value(data, memoryview(data), start, b"}")
    except msgspec.DecodeError as error:
        return UNFINISHED if str(error) == _TRUNCATED else None
    except RecursionError:
        return None


def is_utf8(data: bytes) -> bool:
    try:
        check_utf8(data)
    except UnicodeDecodeError:
        return False
    return True


def _cut(data: bytes) -> tuple[list[extjson.RawText | str], bytes]:
    """The long texts behind a ``content`` key, in order; and the document with a mark in the place of each.

    The quote behind the word is not escaped, so it ends a key, and the next one begins a text. Or it begins a string,
    with the bare word before it: that word stays in what is left, which then is no JSON and is refused.
    """
    texts: list[extjson.RawText | str] = []
    parts = []
    done = 0
    at = data.find(_KEY)
    view = memoryview(data)
    while at >= 0:
        at += len(_KEY)
        colon = _COLON.match(data, at)
        if colon:
            start = colon.end()
            # It is JSON, so the first quote ends the text, or is escaped.
            end = data.index(b'"', start + 1) + 1
            if data[end - 2] == _BACKSLASH:
                end = _end_of_value(data, view, start, b'"')
            at = end
            if end - start > _WORTHWHILE:
                texts.append(text_of(data[start:end]))
                parts += [data[done:start], _MARK_JSON]
                done = end
        at = data.find(_KEY, at)
    return texts, b"".join([*parts, data[done:]])


def _end_of_value(data: bytes, view: memoryview, start: int, last: bytes) -> int:
    """Where the JSON value that begins at ``start`` and has ``last`` for its last byte ends.

    The decoder knows: it complains about what follows. Raises ``msgspec.DecodeError`` if there is no such value.
    """
    try:
        _SYNTAX.decode(view[start:])
    except msgspec.DecodeError as error:
        place = _PLACE.search(str(error))
        if not place:
            raise
        # The place is that of the next byte which isn't white space.
        return data.rindex(last, start, start + int(place[1]) - 1) + 1
    return data.rindex(last, start) + 1


def text_of(raw: bytes) -> extjson.RawText | str:
    """A text from its JSON, which is valid UTF-8; undecoded if it is long."""
    if len(raw) <= _WORTHWHILE or _OTHER_ESCAPE.search(raw):
        text: str = msgspec.json.decode(raw, type=str)
        return text
    return extjson.RawText(raw)


def check_utf8(data: bytes) -> None:
    """Raises ``UnicodeDecodeError``.

    It is for a whole document: where a name stands twice in an object, no decoder looks into the text that it drops.
    """
    view = memoryview(data)
    at = len(data) if data.isascii() else 0
    while at < len(data):
        end = at + _UTF8_PIECE
        at += codecs.utf_8_decode(view[at:end], "strict", end >= len(data))[1]


def _put_back(texts: list[extjson.RawText | str], document: dict[str, Any]) -> bool:
    """Whether every text has found its chapter."""
    chapters = document.get("chapters")
    marked = [
        chapter
        for chapter in (chapters if isinstance(chapters, list) else ())
        if isinstance(chapter, dict) and chapter.get("content") == _MARK
    ]
    if len(marked) != len(texts):
        return False
    for chapter, text in zip(marked, texts, strict=True):
        chapter["content"] = text
    return True


def works() -> bool:
    """Whether this version of the decoder still tells where a value ends, which the fast lane lives by."""
    return (
        end_of_object(b' {"a":{}} \n, {', 1) == 9
        and end_of_object(b'{"a":{}}{', 0) == 8
        and end_of_object(b'{"a":{}}', 0) == 8
        and end_of_object(b'{"a":{}', 0) == UNFINISHED
        and end_of_object(b'{"a":\x01}', 0) is None
    )
