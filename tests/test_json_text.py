"""JSON followed by its grammar alone, held against a parser: what is no JSON, from where on, and where a value ends."""

import random
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.json_text import NotJson, Syntax

VALUES = [
    b'{"a":[1,2.5e-3,{"b":null,"c":"x\\n\\u00e9 y"},true,false,-0,1E+5],"\xc3\xa9":{},"d":[]}',
    '{"title":"„Prosa“ — mit 😀","n":[[[]]] , "t":"a\\"b\\\\"}'.encode(),
    b"[ ]",
    b'"a text"',
]
BYTES = list(b'{}[]",:\\ 0123456789.eE+-truefalsn\x01\t\xe9\xff\xc3u/')


def followed(pieces: list[bytes]) -> tuple[str, int | None, int | None]:
    """What is said of a value that comes in pieces, at which byte, and the first byte that is no UTF-8."""
    syntax, before = Syntax(), 0
    for piece in pieces:
        try:
            end = syntax.end(piece)
        except NotJson as found:
            sound = syntax.not_utf8 is None or syntax.not_utf8 >= found.at
            return "no JSON", found.at, None if sound else syntax.not_utf8
        if end is not None:
            return "ends", before + end, syntax.not_utf8
        before += len(piece)
    return "goes on", None, syntax.not_utf8


def is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


def changed(chance: random.Random) -> bytes:
    """A value with some bytes others, gone or too many."""
    data = bytearray(chance.choice(VALUES))
    for _ in range(chance.randint(0, 3)):
        at = chance.randrange(1, len(data))
        data[at : at + chance.choice([0, 1, 1, 3])] = bytes(chance.choices(BYTES, k=chance.choice([0, 1, 1, 2])))
        data += b"" if len(data) > 1 else b"x"
    return bytes(data)


def cut(data: bytes, chance: random.Random) -> list[bytes]:
    """In pieces, none of which ends within an escape."""
    places = [at for at in range(1, len(data)) if b"\\" not in data[max(at - 6, 0) : at]]
    ends = sorted(chance.sample(places, min(len(places), chance.randint(0, 6))))
    return [data[start:end] for start, end in pairwise([0, *ends, len(data)])]


@given(st.randoms(use_true_random=False))
def test_a_value_ends_where_a_parser_says_so(chance: random.Random) -> None:
    data = changed(chance)
    said, at, not_utf8 = followed([data])
    if said == "ends":
        assert is_json(data[:at]) == (not_utf8 is None)
    else:
        assert not is_json(data)


@given(st.randoms(use_true_random=False))
def test_where_pieces_end_changes_nothing(chance: random.Random) -> None:
    data = changed(chance)
    assert followed([data]) == followed(cut(data, chance))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"a":1} {', ("ends", 7, None)),
        (b'{"a":1,}', ("no JSON", 6, None)),
        (b'{"a":}', ("no JSON", 5, None)),
        (b"[1,2", ("goes on", None, None)),
        (b'["a\\', ("goes on", None, None)),
        (b'["a\\u12', ("goes on", None, None)),
        (b"[01]", ("no JSON", 1, None)),
        (b'["a\nb"]', ("no JSON", 3, None)),
        (b'["\\x"]', ("no JSON", 2, None)),
        (b"[1}", ("no JSON", 2, None)),
        (b'["\xff"]', ("ends", 5, 2)),
        (b"[" + b"1" * 100_000 + b"]", ("ends", 100_002, None)),
        (b"[" + b"0" * 100_000 + b"]", ("no JSON", 1, None)),
    ],
)
def test_places(data: bytes, expected: tuple[str, int | None, int | None]) -> None:
    assert expected == followed([data])
    if b"\\" not in data:
        assert expected == followed([data[at : at + 999] for at in range(0, len(data), 999)])


@pytest.mark.parametrize(
    ("data", "levels"),
    [
        (b"[" * 100_000 + b"]" * 100_000, 100_000),
        (b'["{[",1,2]', 1),
        (b'[1,{"a":1},2]', 2),
        (b'{"a":{"b":1},"c":2}', 2),
        (b'{"a":{"b":1},"c":[1,{"d":2},[]]}', 3),
    ],
)
def test_levels(data: bytes, levels: int) -> None:
    syntax = Syntax()
    assert len(data) == syntax.end(data)
    assert levels == syntax.deepest
