import bz2
import codecs
import gc
import gzip
import json
import lzma
import os
import pathlib
import re
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import bson
import pytest
from bson import Code, DatetimeMS, DBRef, Decimal128, Int64, ObjectId, Regex
from hypothesis import given
from hypothesis import strategies as st

from converter import dump as dump_module
from converter import extjson, json_documents
from converter.documents import RawDocument, Unreadable
from converter.dump import Dump, Reader
from converter.errors import DumpError, excerpt
from converter.extjson import MAX_LEVELS
from converter.json_text import MAX_DIGITS
from converter.sources import zstd

# The same three documents, as mongoexport and mongodump write them and as people's scripts change them.
DOCUMENTS: list[dict[str, Any]] = [
    {
        "_id": ObjectId("6b048ef23a7f864639930729"),
        "status": "completed",
        "title": 'Für "Élise" {[\\}], Teil 2: {"a":1},{"b":2}]',
        "chapters": [
            {"chapterNumber": 1, "content": "Eins.\n}\t{", "wordCount": 1},
            {"chapterNumber": 2, "content": None},
        ],
        "qualityScore": 0.5,
        "createdAt": DatetimeMS(1752894245420),
    },
    {"_id": ObjectId("6b048ef23a7f864639930730"), "outline": [], "metadata": {}, "tokens": Int64(2**40)},
    {
        "_id": ObjectId("6b048ef23a7f864639930731"),
        "title": "日本語 \U0001f600",
        "humanLikeWriting": True,
        "x": [[], [[{}]]],
    },
]
TEXTS: list[str] = [
    r'{"_id":{"$oid":"6b048ef23a7f864639930729"},"status":"completed",'
    r'"title":"Für \"Élise\" {[\\}], Teil 2: {\"a\":1},{\"b\":2}]",'
    r'"chapters":[{"chapterNumber":1,"content":"Eins.\n}\t{","wordCount":1},{"chapterNumber":2,"content":null}],'
    r'"qualityScore":0.5,"createdAt":{"$date":"2025-07-19T03:04:05.42Z"}}',
    r'{"_id":{"$oid":"6b048ef23a7f864639930730"},"outline":[],"metadata":{},"tokens":{"$numberLong":"1099511627776"}}',
    '{"_id":{"$oid":"6b048ef23a7f864639930731"},"title":"日本語 \U0001f600","humanLikeWriting":true,"x":[[],[[{}]]]}',
]
CANONICAL = ["{" + text[1:].replace("0.5", '{"$numberDouble":"0.5"}') for text in TEXTS]
PRETTY = [json.dumps(json.loads(text), indent="\t", ensure_ascii=False) for text in TEXTS]
ESCAPED = [json.dumps(json.loads(text)) for text in TEXTS]

ARRAY = ("[" + ",".join(TEXTS) + "]\n").encode()
LINES = "".join(text + "\n" for text in TEXTS).encode()
BSON = b"".join(bson.encode(document) for document in DOCUMENTS)

DUMPS: dict[str, tuple[str, bytes]] = {
    "array": ("json-array", ARRAY),
    "array, canonical": ("json-array", ("[" + ",".join(CANONICAL) + "]\n").encode()),
    "array, pretty": ("json-array", ("[" + ",\n".join(PRETTY) + "]\n").encode()),
    "array, indented anew": ("json-array", json.dumps([json.loads(text) for text in TEXTS], indent=2).encode()),
    "array, white space all over": ("json-array", (" \r\n\t[ " + " \n,\r\n\t".join(PRETTY) + "\n\n]  ").encode()),
    "array, escapes": ("json-array", ("[" + ", ".join(ESCAPED) + "]").encode()),
    "lines": ("json-lines", LINES),
    "lines, CRLF, blank ones, no last newline": ("json-lines", ("\n" + "\r\n\r\n".join(TEXTS)).encode()),
    "lines, nothing between": ("json-lines", "".join(TEXTS).encode()),
    "lines, pretty": ("json-lines", "\n".join(PRETTY).encode()),
    "bson": ("bson", BSON),
}
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}

Place = tuple[int | None, int | None]


@pytest.fixture
def write(tmp_path: pathlib.Path) -> Callable[[bytes], str]:
    def write_dump(data: bytes) -> str:
        path = tmp_path / "a dump"
        path.write_bytes(data)
        return str(path)

    return write_dump


def read(
    path: str, buffer_size: int = 65536, reader: Reader = "auto"
) -> tuple[list[RawDocument | Unreadable], DumpError | None]:
    """What comes out, and the error that ended it."""
    documents: list[RawDocument | Unreadable] = []
    try:
        with Dump.open(path, buffer_size=buffer_size, reader=reader) as dump:
            for document in dump.documents():
                documents.append(document)
    except DumpError as error:
        return documents, error
    return documents, None


def values(documents: list[RawDocument | Unreadable]) -> list[object]:
    return [document.value if isinstance(document, RawDocument) else document.reason for document in documents]


# -------------------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("name", DUMPS)
def test_every_dialect_gives_the_same_documents(name: str, write: Callable[[bytes], str]) -> None:
    dialect, data = DUMPS[name]
    path = write(data)
    with Dump.open(path) as dump:
        documents = list(dump.documents())
        assert DOCUMENTS == values(documents)
        assert [0, 1, 2] == [document.index for document in documents]
        assert (dialect, None, "utf-8", True) == (dump.dialect, dump.compression, dump.encoding, dump.seekable)
        assert (path, len(data), len(data)) == (dump.path, dump.size, dump.bytes_read())
        assert documents == list(dump.documents())
    for document in documents:
        assert document.offset is not None
        text = data[document.offset : document.end]
        parsed = bson.decode(text) if dialect == "bson" else json.loads(text)
        assert str(parsed["_id"]).count(str(DOCUMENTS[document.index]["_id"]))


@pytest.mark.parametrize("name", DUMPS)
def test_the_size_of_the_buffer_changes_nothing(name: str, write: Callable[[bytes], str]) -> None:
    path = write(DUMPS[name][1])
    expected = read(path)
    for size in range(1, 65):
        assert expected == read(path, size), size


@pytest.mark.parametrize("name", DUMPS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_compressed(name: str, compression: str, write: Callable[[bytes], str]) -> None:
    dialect, data = DUMPS[name]
    plain, _ = read(write(data))
    compress = COMPRESSIONS[compression]
    middle = len(data) // 2
    for packed in compress(data), compress(data[:middle]) + compress(data[middle:]) + compress(b""):
        for size in 1, 7, 65536:
            with Dump.open(write(packed), buffer_size=size) as dump:
                assert plain == list(dump.documents())
                assert plain[2:] == list(dump.documents(after=2, offset=plain[1].end))
                assert (dialect, compression, False) == (dump.dialect, dump.compression, dump.seekable)
                assert (len(packed), len(packed)) == (dump.size, dump.bytes_read())


def test_zeros_behind_compressed_data_are_padding(write: Callable[[bytes], str]) -> None:
    for compress in COMPRESSIONS.values():
        assert ([*DOCUMENTS], None) == (values(read(write(compress(ARRAY) + bytes(512)))[0]), None)


@pytest.mark.parametrize("name", [name for name in DUMPS if name != "bson"])
def test_a_byte_order_mark_counts_in_the_offsets(name: str, write: Callable[[bytes], str]) -> None:
    data = codecs.BOM_UTF8 + DUMPS[name][1]
    for size in *range(1, 10), 65536:
        with Dump.open(write(data), buffer_size=size) as dump:
            documents = list(dump.documents())
            assert ("utf-8-bom", True) == (dump.encoding, dump.seekable)
            assert documents[2:] == list(dump.documents(after=2, offset=documents[1].end))
        assert DOCUMENTS == values(documents)
        assert [ord("{")] * 3 == [data[document.offset or 0] for document in documents]


@pytest.mark.parametrize("name", [name for name in DUMPS if name != "bson"])
@pytest.mark.parametrize(("encoding", "mark"), [("utf-16-le", codecs.BOM_UTF16_LE), ("utf-16-be", codecs.BOM_UTF16_BE)])
def test_utf_16(name: str, encoding: str, mark: bytes, write: Callable[[bytes], str]) -> None:
    data = mark + DUMPS[name][1].decode().encode(encoding)
    for size in *range(1, 10), 65536:
        with Dump.open(write(data), buffer_size=size) as dump:
            documents = list(dump.documents())
            assert (encoding, False) == (dump.encoding, dump.seekable)
            assert documents[1:] == list(dump.documents(after=1))
        assert DOCUMENTS == values(documents)
        assert {(None, None)} == {(document.offset, document.end) for document in documents}


def test_a_lone_surrogate_in_utf_16_is_replaced_and_counted(write: Callable[[bytes], str]) -> None:
    text = '[{"a":"x\ud83dy\udc00"},{"a":"\U0001f600"}]'
    for size in *range(1, 10), 65536:
        path = write(codecs.BOM_UTF16_LE + text.encode("utf-16-le", "surrogatepass"))
        expected = [
            RawDocument(0, None, None, {"a": "x\ufffdy\ufffd"}, 2),
            RawDocument(1, None, None, {"a": "\U0001f600"}, 0),
        ]
        assert (expected, None) == read(path, size)


@pytest.mark.parametrize("name", DUMPS)
def test_resuming_by_seek_equals_skipping(name: str, write: Callable[[bytes], str]) -> None:
    with Dump.open(write(DUMPS[name][1])) as dump:
        documents = list(dump.documents())
        for done in range(len(documents) + 1):
            end = documents[done - 1].end if done else None
            assert documents[done:] == list(dump.documents(after=done, offset=end))
            assert documents[done:] == list(dump.documents(after=done))


@pytest.mark.parametrize("compress", [lambda data: data, gzip.compress])
@pytest.mark.parametrize("name", ["array", "lines", "bson"])
def test_standard_input(name: str, compress: Callable[[bytes], bytes]) -> None:
    program = (
        "from converter.dump import Dump\n"
        "with Dump.open('-') as dump:\n"
        "    print(dump.dialect, dump.size, dump.seekable, [document.index for document in dump.documents(after=1)])\n"
        "    try: dump.documents()\n"
        "    except Exception as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=compress(DUMPS[name][1]), capture_output=True, check=True
    )
    expected = (
        f"{DUMPS[name][0]} None False [1, 2]\nstandard input: it can be read only once: save it to a file first\n"
    )
    assert expected == done.stdout.decode()


@pytest.mark.parametrize(
    ("text", "expected", "places"),
    [
        ("[]", [], []),
        ("[ \n ]\n", [], []),
        ("{}{}", [{}, {}], [(0, 2), (2, 4)]),
        ("[{}]", [{}], [(1, 3)]),
        ("[{},{}]", [{}, {}], [(1, 3), (4, 6)]),
        ('[1,"}",{"a":2}]', [1, "}", {"a": 2}], [(1, 2), (3, 6), (7, 14)]),
        ('[{"a":1},"x}","\\"",{"b":[]}]', [{"a": 1}, "x}", '"', {"b": []}], [(1, 8), (9, 13), (14, 18), (19, 27)]),
        (
            '[{"a":1} , "k" ,null , true,-2.5e1, [{"c":"]"}, []],{}]',
            [{"a": 1}, "k", None, True, -25.0, [{"c": "]"}, []], {}],
            [(1, 8), (11, 14), (16, 20), (23, 27), (28, 34), (36, 51), (52, 54)],
        ),
        ("{} 1 null\n[2]", [{}, 1, None, [2]], [(0, 2), (3, 4), (5, 9), (10, 13)]),
        ('{"_id":{"b":{}}}', [{"_id": {"b": {}}}], [(0, 16)]),
        ('{"_id":18446744073709551616}', [{"_id": Decimal128("18446744073709551616")}], [(0, 28)]),
        ('[{"a":"' + "}" * 999 + '"}]', [{"a": "}" * 999}], [(1, 1008)]),
    ],
)
def test_anything_an_array_can_hold(
    text: str, expected: list[object], places: list[Place], write: Callable[[bytes], str]
) -> None:
    path = write(text.encode())
    for size in *range(1, 65), 65536:
        documents, error = read(path, size)
        assert (expected, None) == (values(documents), error)
        assert places == [(document.offset, document.end) for document in documents]


def test_bson_dates_of_any_year_and_text_that_is_not_utf_8(write: Callable[[bytes], str]) -> None:
    def with_text(text: bytes) -> bytes:
        body = b"\x09t\0" + struct.pack("<q", -(2**62)) + b"\x02a\0" + struct.pack("<i", len(text) + 1) + text + b"\0"
        return struct.pack("<i", len(body) + 5) + body + b"\0"

    texts = {b"\xed\xa0\x80": ("\ud800", 0), "\ufffd".encode() + b"\xff\xfe": ("\ufffd" * 3, 2), b"ok": ("ok", 0)}
    documents, error = read(write(b"".join(map(with_text, texts))))
    assert [({"t": DatetimeMS(-(2**62)), "a": text}, count) for text, count in texts.values()] == [
        (document.value, document.not_utf8) for document in documents if isinstance(document, RawDocument)
    ]
    assert error is None


def test_names_that_differ_only_in_what_is_not_utf_8_stay_apart(write: Callable[[bytes], str]) -> None:
    texts = {"text": "xA", "regex": Regex("A", 2), "code": Code("A"), "list": ["A", 1, None]}
    references = {"own": DBRef("A", {"A": 1, "B": 2}, "A"), "bare": DBRef("B", 1)}
    document = {"kA": 1, "kB": 2, "k\ufffd~2": 3, "scope": Code("f", {"A": 1, "B": {"yA": "B"}})}
    expected = {
        "k\ufffd": 2,
        "k\ufffd~2": 3,
        "k\ufffd~3": 1,
        "scope": Code("f", {"\ufffd~2": 1, "\ufffd": {"y\ufffd": "\ufffd"}}),
        "text": "x\ufffd",
        "regex": Regex("\ufffd", 2),
        "code": Code("\ufffd"),
        "list": ["\ufffd", 1, None],
        "own": DBRef("\ufffd", {"\ufffd~2": 1, "\ufffd": 2}, "\ufffd"),
        "bare": DBRef("\ufffd", 1),
    }
    data = bson.encode(document | texts | references).replace(b"A", b"\xff").replace(b"B", b"\xfe")
    documents, error = read(write(data))
    assert ([expected], None) == (values(documents), error)
    (only,) = documents
    assert isinstance(only, RawDocument)
    assert 15 == only.not_utf8


def test_a_reference_with_other_fields_is_an_object_in_every_dialect(write: Callable[[bytes], str]) -> None:
    """pymongo makes a DBRef of it, but Extended JSON knows none with other fields."""
    reference = {"$ref": "c", "$id": {"a": [{"$ref": "c", "$id": 1, "other.field": 2}]}, "$db": "d"}
    document = {"plain": {"$ref": "c", "$id": 1}, "nested": [reference], "other": {**reference, "collection": 3}}
    inner = {"a": [{"$ref": "c", "$id": 1, "other.field": 2}]}
    expected = {
        "plain": DBRef("c", 1),
        "nested": [DBRef("c", inner, "d")],
        "other": {"$ref": "c", "$id": inner, "$db": "d", "collection": 3},
    }
    for dump in (bson.encode(document), json.dumps([document]).encode()):
        documents, error = read(write(dump))
        assert ([expected], None) == (values(documents), error)


# ---------------------------------------------------------------------------------------------------- surrogates

SURROGATES = [
    (r"\ud800", "\ufffd", 1),
    (r"\udfff.", "\ufffd.", 1),
    (r"\uD83D\uDE00", "\U0001f600", 0),
    (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600", 1),
    (r"\ude00\ud83d", "\ufffd\ufffd", 2),
    (r"\ud83dx\ude00", "\ufffdx\ufffd", 2),
    (r"\ud83d\u0041", "\ufffdA", 1),
    (r"\ud83d\n", "\ufffd\n", 1),
    (r"\\ud800", r"\ud800", 0),
    (r"\\\ud800", "\\\ufffd", 1),
    (r"\\\\ud83d\ude00", "\\\\ud83d\ufffd", 1),
    (r"\ud83d\\ude00", "\ufffd\\ude00", 1),
    (r"\ud83d}\ude00{", "\ufffd}\ufffd{", 2),
    (r"\ud7ff\ue000", "\ud7ff\ue000", 0),
    ("\\\\" * 40 + r"\ud83d" + "\\\\" * 40 + r"\ud83d\ude00", "\\" * 40 + "\ufffd" + "\\" * 40 + "\U0001f600", 1),
]


@pytest.mark.parametrize(("escaped", "text", "count"), SURROGATES)
def test_escapes_of_lone_surrogates(escaped: str, text: str, count: int, write: Callable[[bytes], str]) -> None:
    data = f'[{{"a":"{escaped}"}},"{escaped}",{{"{escaped}":[]}}]'.encode()
    path = write(data)
    for size in *range(1, 33), 65536:
        documents, error = read(path, size)
        assert ([{"a": text}, text, {text: []}], None) == (values(documents), error)
        assert [count] * 3 == [document.surrogates for document in documents if isinstance(document, RawDocument)]


def test_names_that_differ_only_in_lone_surrogates_stay_apart(write: Callable[[bytes], str]) -> None:
    apart = (
        r'{"k\ud800":1,"k\udc00":2.5,"k\ufffd~2":[{"\ud800\ud83d\ude00":{"$numberLong":"3"}}],"n":12345678901234567890}'
    )
    expected = {
        "k\ufffd": 1,
        "k\ufffd~3": 2.5,
        "k\ufffd~2": [{"\ufffd\U0001f600": 3}],
        "n": Decimal128("12345678901234567890"),
    }
    path = write(f'[{apart},[{apart}],{{"k\\ud800":1,"k\ufffd":2}}]'.encode())
    for size in 1, 7, 65536:
        documents, error = read(path, size)
        assert ([expected, [expected], {"k\ufffd~2": 1, "k\ufffd": 2}], None) == (values(documents), error)
        assert [3, 3, 1] == [document.surrogates for document in documents if isinstance(document, RawDocument)]


def test_what_ijson_takes_for_white_space_round_lone_surrogates(write: Callable[[bytes], str]) -> None:
    documents, error = read(write(b'[{\v"a\\ud800"\f:\v1},{"b":2}]'))
    assert ([{"a\ufffd": 1}, {"b": 2}], None) == (values(documents), error)


def replaced(value: Any) -> Any:
    if isinstance(value, str):
        whole = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return re.sub("[\ud800-\udfff]", "\ufffd", whole)
    return [replaced(element) for element in value]


PARTS = st.sampled_from(
    [
        r"\ud83d",
        r"\uDE00",
        r"\ud800",
        r"\udfff",
        r"\u0041",
        r"\\",
        r"\"",
        r"\n",
        "u",
        "d83d",
        "\\\\u",
        "}",
        "{",
        "é",
        '","',
    ]
)


@given(parts=st.lists(PARTS, max_size=12), size=st.integers(1, 40))
def test_lone_surrogates_are_what_json_loads_sees(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], size: int
) -> None:
    text = '["' + "".join(parts) + '"]'
    path = tmp_path_factory.getbasetemp() / "surrogates.json"
    path.write_bytes(b'[{"a":' + text.encode() + b"}]")
    documents, error = read(str(path), size)
    expected = replaced(json.loads(text))
    assert ([{"a": expected}], None) == (values(documents), error)
    assert isinstance(documents[0], RawDocument)
    assert "".join(expected).count("\ufffd") == documents[0].surrogates


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='{}[]",:\\ ab\n\u00e9'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='{}",a:'), inner, max_size=4),
    max_leaves=12,
)


@given(
    elements=st.lists(JSON, max_size=6),
    indent=st.sampled_from([None, 0, 1]),
    comma=st.sampled_from([",", " ,", "\n, "]),
    size=st.integers(1, 50),
)
def test_any_array(
    tmp_path_factory: pytest.TempPathFactory, elements: list[Any], indent: int | None, comma: str, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    data = json.dumps(elements, indent=indent, separators=(comma, ":")).encode()
    path.write_bytes(data)
    documents, error = read(str(path), size)
    expected = [extjson.decode(element) for element in json.loads(data)]
    assert (expected, None) == (values(documents), error)
    assert json.loads(data) == [json.loads(data[document.offset : document.end]) for document in documents]


# ------------------------------------------------------------------------------------- deep, large and long ones

DEEP = 100_000
BOMBS = {
    "arrays": "[" * DEEP + "]" * DEEP,
    "an object of arrays": '{"a":' + "[" * DEEP + "]" * DEEP + "}",
    "objects": '{"a":' * DEEP + "1" + "}" * DEEP,
    "braces in strings": '{"}":["}]",' * DEEP + '"]"' + "]}" * DEEP,
    "just too deep": '{"}":' * (MAX_LEVELS + 1) + '"}"' + "}" * (MAX_LEVELS + 1),
}


@pytest.mark.parametrize("size", [1021, 65536])
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_passed_over(name: str, size: int, write: Callable[[bytes], str]) -> None:
    bomb = BOMBS[name].encode()
    start = len(b'[{"a":1}, ')
    for data in b'[{"a":1}, ' + bomb + b' ,{"b":"}"},[3]]', b'{"a":1}  \n' + bomb + b'\n{"b":"}"} [3]':
        documents, error = read(write(data), size)
        assert ([{"a": 1}, "nested-too-deep", {"b": "}"}, [3]], None) == (values(documents), error)
        assert isinstance(documents[1], Unreadable)
        assert (start, start + len(bomb), bomb) == (documents[1].offset, documents[1].end, documents[1].raw)


def test_the_deepest_document_that_is_read(write: Callable[[bytes], str]) -> None:
    deepest = '{"}":' * MAX_LEVELS + '"}"' + "}" * MAX_LEVELS
    assert ([json.loads(deepest), {}], None) == (values(read(write(deepest.encode() + b"{}"))[0]), None)


def test_many_brackets_are_not_deep(write: Callable[[bytes], str]) -> None:
    elements = [{"a": [{}] * 5000, "b": "{" * 5000}] * 3
    assert (elements, None) == (values(read(write(json.dumps(elements).encode()))[0]), None)


def test_a_truncated_bomb(write: Callable[[bytes], str]) -> None:
    documents, error = read(write(b'[{"a":1},' + b"[" * DEEP))
    assert [{"a": 1}] == values(documents)
    assert error is not None
    assert (9 + DEEP, 1) == (error.offset, error.index)
    assert "ends in the middle of a document that starts at byte 9" in str(error)


def test_a_long_string_full_of_braces(write: Callable[[bytes], str]) -> None:
    elements = [{"a": "}x" * 400_000}, {"b": 1}]
    assert (elements, None) == (values(read(write(json.dumps(elements).encode()))[0]), None)


@pytest.mark.parametrize("depth", [MAX_LEVELS, MAX_LEVELS + 1, 100_000])
def test_deep_bson(depth: int, write: Callable[[bytes], str]) -> None:
    sizes = range(5 + 8 * (depth - 1), 5, -8)
    deep = b"".join(struct.pack("<i", size) + b"\x03a\0" for size in sizes) + b"\x05\0\0\0\0" + bytes(depth - 1)
    documents, error = read(write(deep + bson.encode({"a": 1})))
    assert ({"a": 1}, None) == (values(documents)[1], error)
    assert (depth > MAX_LEVELS) == isinstance(documents[0], Unreadable)
    assert (0, len(deep)) == (documents[0].offset, documents[0].end)


@pytest.mark.parametrize("size", [10, 65536])
def test_a_document_that_is_too_large(
    size: int, write: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_documents, "MAX_DOCUMENT_BYTES", 1000)
    monkeypatch.setattr(json_documents, "_KEPT_OF_TOO_LARGE", 20)
    large = b'{"a":"' + b"}{" * 2000 + b'"}'
    fits = b'{"a":"' + b"x" * 992 + b'"}'
    documents, error = read(write(b"[" + fits + b"," + large + b',{"b":2}]'), size)
    assert ([json.loads(fits), "document-too-large", {"b": 2}], None) == (values(documents), error)
    assert isinstance(documents[1], Unreadable)
    assert (1002, 1002 + len(large), large[:20]) == (documents[1].offset, documents[1].end, documents[1].raw)
    assert "4,008 bytes" in documents[1].detail


@pytest.mark.parametrize("size", [10, 999, 65536])
def test_what_is_rejected_is_json(size: int, write: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a lost quote all brackets count double: the end that comes of it may be that of any document."""
    monkeypatch.setattr(json_documents, "MAX_DOCUMENT_BYTES", 30_000)
    monkeypatch.setattr(json_documents, "_KEPT_OF_TOO_LARGE", 20)
    broken = b'{"many":[' + b",".join([b"[1]"] * 4000) + b'],"title":"abc,"z":1}'
    others = [b'{"title":"%s"}' % (b"x" * 200)] * 200 + [b'{"title":"he said \\"hi"}', b'{"a":1}']
    for reader in ("auto", "ijson"):
        documents, error = read(write(b"[" + b",".join([b'{"a":1}', broken, *others]) + b"]"), size, reader)
        assert [{"a": 1}] == values(documents)
        assert error is not None
        assert (9 + broken.index(b'z":1'), 1) == (error.offset, error.index)
        assert "this is not JSON, 'z\":1},{" in str(error).replace(" (unexpected character, expected ',' or '}')", "")


@pytest.mark.parametrize("broken", [b'"\x01"', b'"\xff"', b"tru", b'"\\x"'])
@pytest.mark.parametrize("doubtful", [b"[" * 4000 + b"]" * 4000, b"1" * (MAX_DIGITS + 1), b'"%s"' % (b"x" * 5000)])
def test_a_broken_document_is_broken_wherever_pieces_end(
    broken: bytes, doubtful: bytes, write: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whatever else it would be rejected for."""
    monkeypatch.setattr(json_documents, "MAX_DOCUMENT_BYTES", 4500)
    for first, second in ((broken, doubtful), (doubtful, broken)):
        path = write(b'[{"a":1},{"b":' + first + b',"c":' + second + b"}]")
        errors = {str(read(path, size, reader)[1]) for size in (7, 600, 4001, 65536) for reader in ("auto", "ijson")}
        assert 1 == len(errors), errors
        assert "None" not in errors


def test_the_largest_document_is_not_measured_with_what_follows(
    write: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_documents, "MAX_DOCUMENT_BYTES", 1000)
    monkeypatch.setattr(json_documents, "_KEPT_OF_TOO_LARGE", 20)
    element = [["x" * 400, "y" * 400]]
    data = json.dumps([element, {"a": "z" * 900}]).encode()
    for size in 10, 65536:
        assert ([element, {"a": "z" * 900}], None) == (values(read(write(data), size)[0]), None)


def test_a_bare_number_that_is_too_long(write: Callable[[bytes], str]) -> None:
    data = b'{"a":1}\n' + b"1" * 6000 + b'\n{"b":2}\n'
    for size in 7, 4000, 5000, 65536:
        documents, error = read(write(data), size)
        assert ([{"a": 1}, "number-too-long", {"b": 2}], None) == (values(documents), error)


@pytest.mark.parametrize("number", ["1" * (MAX_DIGITS + 1), "-" + "9" * 200_000, "1e9999999999999999999"])
def test_a_number_that_is_too_long(number: str, write: Callable[[bytes], str]) -> None:
    data = f'[{{"a":1}},{{"a":[{number}]}},{{"b":"{number}"}}]'.encode()
    for size in 1, 1000, 65536:
        documents, error = read(write(data), size)
        assert ([{"a": 1}, "number-too-long", {"b": number}], None) == (values(documents), error)


def test_the_longest_number(write: Callable[[bytes], str]) -> None:
    number = "1" * MAX_DIGITS
    documents, error = read(write(f'{{"_id":{number}}}'.encode()))
    assert ([{"_id": extjson.decode(int(number))}], None) == (values(documents), error)


# -------------------------------------------------------------------------------------------------- broken dumps


@pytest.mark.parametrize("name", DUMPS)
def test_a_cut_at_any_byte_gives_the_complete_documents_and_an_error(name: str, write: Callable[[bytes], str]) -> None:
    dialect, data = DUMPS[name]
    data = data.rstrip() if dialect == "json-array" else data
    whole, _ = read(write(data))
    ends = [document.end or 0 for document in whole]
    for cut in range(len(data)):
        complete = [end for end in ends if end <= cut]
        legal = dialect != "json-array" and bool(complete) and not data[complete[-1] : cut].strip()
        for size in 10, 65536:
            documents, error = read(write(data[:cut]), size)
            assert whole[: len(complete)] == documents, cut
            assert legal == (error is None), cut
            if error is not None and cut > 5:
                assert (cut, len(complete)) == (error.offset, error.index)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_compressed_data_cut_at_any_byte(compression: str, write: Callable[[bytes], str]) -> None:
    whole, _ = read(write(LINES))
    middle = (whole[1].end or 0) + 10
    first = COMPRESSIONS[compression](LINES[:middle])
    packed = first + COMPRESSIONS[compression](LINES[middle:])
    for cut in range(len(packed)):
        documents, error = read(write(packed[:cut]))
        assert whole[: len(documents)] == documents
        assert error is not None
        if cut >= len(first):
            assert whole[:2] == documents[:2]
        if cut > 6 and cut != len(first):
            assert f"the {compression} data ends too early" in str(error)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_compressed_data_with_a_flipped_byte_ends_in_an_error_or_in_the_same_documents(
    compression: str, write: Callable[[bytes], str]
) -> None:
    packed = COMPRESSIONS[compression](LINES)
    for place in range(len(packed)):
        damaged = packed[:place] + bytes([packed[place] ^ 0x55]) + packed[place + 1 :]
        documents, error = read(write(damaged))
        assert error is not None or DOCUMENTS == values(documents)


@pytest.mark.parametrize(
    "last",
    [b'{"_id"!"c"}', b'{"_id":"c\\x"}', b'{"_id":"\xff"}', b'{"_id","c"}', b'{"_id":[]"a":"b"}]}', b'{"_id":nul}'],
)
def test_both_readers_say_the_same_of_a_broken_document(last: bytes, write: Callable[[bytes], str]) -> None:
    """They see the whole of it, and nothing behind it."""
    path = write(b'[{"_id":"a"},' + last + b"]")
    readers: list[Reader] = ["auto", "ijson"]
    errors = [read(path, reader=reader)[1] for reader in readers]
    assert str(errors[0]) == str(errors[1])
    assert "document 1: this is not" in str(errors[0])


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("garbage", [b"garbage, and more of it", b"\n", b"\0\0\0\r\n", b"\x1f\x8b!", b"BZh0"])
def test_garbage_behind_compressed_data(compression: str, garbage: bytes, write: Callable[[bytes], str]) -> None:
    documents, error = read(write(COMPRESSIONS[compression](LINES) + garbage))
    assert DOCUMENTS == values(documents)
    assert (
        f"byte {len(LINES):,}: {excerpt(garbage.lstrip(bytes(1)))} behind the end of the {compression} data: "
        in str(error)
    )


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_second_member_that_was_cut(compression: str, write: Callable[[bytes], str]) -> None:
    """However little of it is there."""
    packed = COMPRESSIONS[compression](LINES)
    for length in range(1, 8):
        documents, error = read(write(packed + packed[:length]))
        assert DOCUMENTS == values(documents)
        assert f"byte {len(LINES):,}: the {compression} data ends too early: the file is truncated" in str(error)


ERRORS: list[tuple[str, bytes, int | None, list[object], str]] = [
    ("empty", b"", 0, [], "the dump is empty"),
    ("white space only", b" \n\n", 3, [], "the dump is empty"),
    ("much white space", b" " * 300_000, 0, [], "nothing but white space at its beginning"),
    ("compressed nothing", gzip.compress(b""), 0, [], "the dump is empty"),
    ("a mark only", codecs.BOM_UTF8, 3, [], "the dump is empty"),
    ("HTML", b"\n<!DOCTYPE html><html>", 1, [], "this is HTML or XML; wanted: a dump by mongoexport"),
    ("CSV", b"_id,status,title\n1,done,x\n", 0, [], "this looks like CSV"),
    ("text", b"hello world", 0, [], "this is text that begins with 'hello world', not JSON"),
    ("binary", bytes(range(200, 256)) + bytes(200), 0, [], "this is binary data"),
    ("zip", b"PK\x03\x04" + bytes(30), None, [], "this is a zip archive: unpack it first"),
    ("archive", b"\x6d\xe2\x99\x81" + bytes(30), None, [], "run mongodump without --archive"),
    ("no mark", "[{}]".encode("utf-16-le"), 0, [], "UTF-16 without a byte order mark"),
    ("null", b"null\n", 0, [], "this is a single JSON value, 'null"),
    ("a string", b'"abc"', 0, [], "this is a single JSON value"),
    ("a wrapper", b'{"n":1,"jobs":[{"_id":1}]}\n', 0, [], "this is one object with an array in 'jobs', not a coll"),
    ("a lone object", b'{"ok":0,"errmsg":"unauthorized"}', 0, [], "this is one object without _id and jobId, not a c"),
    ("an empty object", b"{}\n", 0, [], "this is one object without _id and jobId"),
    ("garbage behind", b'[{"a":1}] x', 10, [{"a": 1}], "'x' behind the closing `]`"),
    ("two arrays", b'[{"a":1}]\n[{"b":1}]', 10, [{"a": 1}], "the array is closed, but more JSON follows"),
    ("no comma", b'[{"a":1} {"b":1}]', 9, [{"a": 1}], "'{\"b\":1}]' where a comma or `]` belongs"),
    ("one brace more", b'[{"a":1}},{"b":1}]', 8, [{"a": 1}], "'},{\"b\":1}]' where a comma"),
    ("a last comma", b'[{"a":1},\n]', 10, [{"a": 1}], "a comma before the closing `]`"),
    ("a key behind", b'[{"a":1},"b":1]', 12, [{"a": 1}, "b"], "':1]' where a comma"),
    ("a comma first", b'[,{"a":1}]', 1, [], "this is not JSON"),
    ("two commas", b'[{"a":1},,{"b":1}]', 9, [{"a": 1}], "this is not JSON"),
    ("commas between lines", b'{"a":1},\n{"b":1}', 7, [{"a": 1}], "this is not JSON"),
    ("a bare word", b'[{"a":1},{"b":NaN}]', 14, [{"a": 1}], "'NaN}]'"),
    ("two values in one", b'[{"a":1},1-2]', 10, [{"a": 1}], "'-2'"),
    ("a bare element", b'[{"a":1},NaN]', 9, [{"a": 1}], "'NaN'"),
    ("a last comma inside", b'[{"a":1},{"b":1,}]', 15, [{"a": 1}], "this is not JSON (trailing comma"),
    ("single quotes", b"[{'a':1}]", 2, [], "this is not JSON"),
    ("a raw newline", b'[{"a":"x\ny"}]', 8, [], "this is not JSON (unexpected control character"),
    ("not UTF-8", b'[{"a":1},{"b":"xy\xe9z"}]', 17, [{"a": 1}], "this is not UTF-8"),
    ("CESU", b'[{"a":1},{"b":"\xed\xa0\x80"}]', 15, [{"a": 1}], "this is not UTF-8"),
    (
        "half a UTF-16 unit",
        codecs.BOM_UTF16_LE + "[{}]".encode("utf-16-le")[:-1],
        None,
        [{}],
        "ends in the middle of a character",
    ),
    (
        "BSON length",
        bson.encode({"a": 1}) + b"\xff\xff\xff\x7f....",
        12,
        [{"a": 1}],
        "corrupt BSON, a document of 2,147,",
    ),
    ("BSON content", bson.encode({"a": 1}) + b"\x0c\0\0\0\x55a\0\1\0\0\0\0", 12, [{"a": 1}], "corrupt BSON ("),
]


@pytest.mark.parametrize(
    ("data", "offset", "complete", "message"), [row[1:] for row in ERRORS], ids=[r[0] for r in ERRORS]
)
def test_what_is_wrong_is_said_with_its_place(
    data: bytes, offset: int | None, complete: list[object], message: str, write: Callable[[bytes], str]
) -> None:
    path = write(data)
    for size in *range(1, 20), 65536:
        documents, error = read(path, size)
        assert complete == values(documents)
        assert error is not None
        assert offset == error.offset
        if size == 65536:
            assert message in str(error)
        assert str(error).startswith(path)
        assert "\n" not in str(error)


def test_a_lone_document_is_a_dump(write: Callable[[bytes], str]) -> None:
    for text in '{"_id":1,"chapters":[{"a":1}]}', '{"jobId":"x","chapters":[{"a":1}]}':
        assert ([json.loads(text)], None) == (values(read(write(text.encode()))[0]), None)
    two = b'{"a":[{"b":1}]}\n{"a":[{"b":2}]}'
    assert ([{"a": [{"b": 1}]}, {"a": [{"b": 2}]}], None) == (values(read(write(two))[0]), None)


def test_a_path_that_is_no_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(DumpError, match="missing: there is no such file"):
        Dump.open(str(tmp_path / "missing"))
    with pytest.raises(DumpError, match="this is a folder"):
        Dump.open(str(tmp_path))


def test_no_permission(write: Callable[[bytes], str]) -> None:
    path = write(ARRAY)
    os.chmod(path, 0)
    mighty = os.geteuid() == 0  # root may read everything, so for a moment somebody else tries
    if mighty:
        os.seteuid(65534)
    try:
        with pytest.raises(DumpError, match="no permission"):
            Dump.open(path)
    finally:
        if mighty:
            os.seteuid(0)


def test_a_read_error_in_the_middle(write: Callable[[bytes], str]) -> None:
    class Failing:
        def __init__(self, file: Any) -> None:
            self.file = file

        def read(self, size: int) -> bytes:
            if self.file.tell() >= 400:
                raise OSError(5, "Input/output error")
            return bytes(self.file.read(size))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    with Dump.open(write(ARRAY), buffer_size=100) as dump:
        dump._source._file = Failing(dump._source._file)  # type: ignore[assignment]
        documents = dump.documents()
        assert DOCUMENTS[0] == getattr(next(documents), "value", None)
        with pytest.raises(DumpError, match=r"byte 400: reading failed: Input/output error"):
            list(documents)


def test_the_slow_backend_is_refused(write: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_module, "BACKEND", "python")
    with pytest.raises(DumpError, match=r"ijson's C backend \(yajl2_c\) is missing"):
        Dump.open(write(ARRAY))


def test_documents_that_only_ijson_reads_are_let_go(write: Callable[[bytes], str]) -> None:
    """ijson and its reader hold each other; a document kept by each such pair would make memory grow with the dump."""
    odd = [{"_id": number, "chapters": [], "text": "\x7f" + "x" * 100_000} for number in range(60)]
    path = write(json.dumps(odd, ensure_ascii=False).encode())
    with Dump.open(path) as dump:
        frames = dump.frames()
        tracemalloc.start()
        try:
            assert 60 == sum(1 for frame in frames if isinstance(dump_module.read(frame), RawDocument))
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] < 3_000_000
        finally:
            tracemalloc.stop()
