import gzip
import json
import pathlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter import contracts, extjson, fastlane
from converter.documents import RawDocument, Unreadable
from converter.dump import Dump
from converter.errors import DumpError
from converter.mapping import Rejected, map_job

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"
LONG = "No sea “answered” — 日本. " * 30
TEXT = '"' + LONG + '"'

# Documents the lane takes, and those it must leave to ijson: (document, is it for the lane).
DOCUMENTS: dict[str, tuple[str, bool]] = {
    "a chapter": ('{"_id":"1","chapters":[{"content":%s}]}', True),
    "chapters": ('{"chapters":[{"content":%s},{"content":"short"},{},{"content":%s,"cost":0.5}],"x":1}', True),
    "ASCII": ('{"chapters":[{"content":"' + "x y" * 300 + '"}]}', True),
    "no long text": ('{"chapters":[{"content":"short"}]}', True),
    "no chapters": ('{"a":[]}', True),
    "chapters that are none": ('{"chapters":{"content":1}}', True),
    "chapters that are no objects": ('{"chapters":[1,null,"x",[],{"content":%s}]}', True),
    "content that is no text": ('{"chapters":[{"content":1},{"content":[%s]},{"content":null}]}', True),
    "an escaped key": (r'{"chapters":[{"\u0063ontent":%s}]}', True),
    "white space": ('{ "chapters"\n:\t[\r\n{ "content" \n:\r\n\t %s \n, "a":1 } , { "content":%s } ] }', True),
    "escapes": ('{"chapters":[{"content":"\\n\\"\\\\\\b\\f\\r\\t' + LONG + '"}]}', True),
    "escapes that are written in another way": ('{"chapters":[{"content":"\\/\\u00e9\\u0000' + LONG + '"}]}', True),
    "an escaped pair": ('{"chapters":[{"content":"\\uD83D\\uDE00' + LONG + '"}]}', True),
    "backslashes at the end": ('{"chapters":[{"content":"' + LONG + "\\\\" * 7 + '"}]}', True),
    "a quote at the end": ('{"chapters":[{"content":"' + LONG + "\\\\" * 7 + '\\""}]}', True),
    "DEL in the text": ('{"chapters":[{"content":"\x7f' + LONG + '\x7f"}]}', True),
    "line separators": ('{"chapters":[{"content":"\u2028\u2029\ufeff\U0001f600' + LONG + '"}]}', True),
    "braces in the text": ('{"chapters":[{"content":"},{\\"_id\\":' + LONG + '}]}"}]}', True),
    "the key in the text": ('{"chapters":[{"content":"\\"content\\":\\"' + LONG + '\\"content\\":"}]}', True),
    "documents in a document": ('{"a":[{"_id":1,"chapters":[]},{"_id":2}],"chapters":[{"content":%s}]}', True),
    "numbers": (
        '{"a":[-0.0,-0,0.0,1e400,-1e400,1e-400,5e-324,1E5,12345678901234567890123,18446744073709551616]}',
        True,
    ),
    "long digits": ('{"a":' + "9" * 3000 + "}", True),
    "wrappers": (
        '{"_id":{"$oid":"6b048ef23a7f864639930729"},"a":{"$date":"2025-07-19T03:04:05.42Z"},"b":{"$numberLong":"5"},'
        '"c":{"$numberDouble":"NaN"},"chapters":[{"content":%s,"$x":{"$date":1}}]}',
        True,
    ),
    "a key said twice": ('{"a":1,"b":2,"a":{"$date":1},"chapters":[{"content":1,"content":%s}]}', True),
    "a text said twice": ('{"chapters":[{"content":%s,"content":"short"}]}', False),
    "two texts under one key": ('{"chapters":[{"content":%s,"content":"b' + LONG + '"}]}', False),
    "chapters said twice": ('{"chapters":[{"content":"a' + LONG + '"}],"chapters":[{"content":%s}]}', False),
    "content at the top": ('{"content":%s}', False),
    "content elsewhere": ('{"analysis":{"content":%s},"chapters":[{"content":"b' + LONG + '"}]}', False),
    "content too deep": ('{"chapters":[{"a":{"content":%s}},[{"content":"b' + LONG + '"}]]}', False),
    "content in a wrapper": ('{"chapters":[{"$code":"x","$scope":{"content":%s}}]}', False),
    "a key that ends like it": (r'{"chapters":[{"a\"content":%s}]}', False),
    "a key that ends like it, and it": (r'{"chapters":[{"content":"b","a\"content":%s}]}', False),
    "a DEL elsewhere": ('{"chapters":[{"title":"\x7f","content":%s},{"content":"\x7f\x7f"}]}', True),
    "a mark of its own": ('{"chapters":[{"content":"\x7f\x7f\x7f"},{"content":%s}]}', False),
    "a mark of its own, escaped": (r'{"chapters":[{"content":"\u007f\u007f\u007f"},{"content":%s}]}', False),
    "a mark of its own, in capitals": (r'{"chapters":[{"content":"\u007F\u007F\u007F"},{"content":%s}]}', False),
    "a mark of its own, half escaped": ('{"chapters":[{"content":"\\u007f\x7f\x7f"},{"content":%s}]}', False),
    "a mark in the place of a text, escaped": (r'{"chapters":[{"content":%s,"content":"\u007f\u007f\u007f"}]}', False),
    "a mark in the place of a text": ('{"chapters":[{"content":%s,"content":"\x7f\x7f\x7f"}]}', False),
    "a mark for a key": ('{"chapters":[{"\x7f\x7f\x7f":1,"content":%s}]}', False),
    "a mark in a wrapper": ('{"chapters":[{"content":{"$code":"\x7f\x7f\x7f"}},{"content":%s,"content":1}]}', False),
    "a lone surrogate": (r'{"chapters":[{"content":"\ud800' + LONG + '"}]}', False),
    "a lone surrogate at the end": ('{"chapters":[{"content":"' + LONG + r'\udc00"}]}', False),
    "a lone surrogate elsewhere": (r'{"a\ud83d":"\ud83d","chapters":[{"content":%s}]}', False),
    "a lone surrogate in a text said twice": (r'{"chapters":[{"content":"\ud800' + LONG + '","content":%s}]}', False),
    "a lone surrogate in a short text said twice": (r'{"chapters":[{"content":"\udc00","content":%s}]}', False),
    "a lone surrogate in chapters said twice": (
        r'{"chapters":[{"content":"\udc00"}],"chapters":[{"content":%s}]}',
        False,
    ),
    "a lone surrogate in a field said twice": (r'{"a":"\ud800","a":1,"chapters":[{"content":%s}]}', False),
    "deep": ('{"a":' * 251 + "1" + "}" * 251, False),
    "as deep as may be": ('{"a":' * 250 + "1" + "}" * 250, True),
    "a bomb": ('{"a":' * 5000 + "1" + "}" * 5000, False),
    "too many digits": ('{"a":' + "9" * 4301 + "}", False),
    "too many digits of a fraction": ('{"a":0.' + "1" * 4301 + "}", False),
    "too many digits for an exponent": ('{"a":1e99999999999999999999,"chapters":[{"content":%s}]}', False),
    "a wrapper at the top": ('{"$code":"x","$scope":{}}', False),
}
TEXTS = {name: text.replace("%s", TEXT).encode() for name, (text, _) in DOCUMENTS.items()}

BROKEN = {
    "a control character": TEXTS["a chapter"].replace(b"sea", b"s\x01a", 1),
    "a newline": TEXTS["a chapter"].replace(b"sea", b"s\na", 1),
    "an invalid escape": TEXTS["a chapter"].replace(b"sea", b"s\\xa", 1),
    "an unfinished escape": TEXTS["a chapter"].replace(b"sea", b"\\u12z4", 1),
    "no UTF-8": TEXTS["a chapter"].replace(b"sea", b"s\xffa", 1),
    "no UTF-8 at the end": TEXTS["ASCII"].replace(b'y"', b'y\xe2\x80"', 1),
    "an encoded surrogate": TEXTS["a chapter"].replace(b"sea", b"\xed\xa0\x80", 1),
    "an overlong form": TEXTS["a chapter"].replace(b"sea", b"\xc0\x80", 1),
    "no UTF-8 in a key": b'{"\xff":1,' + TEXTS["a chapter"][1:],
    "no UTF-8 in a text said twice": TEXTS["a text said twice"].replace(b"sea", b"s\xffa", 1),
    "no UTF-8 in a short text said twice": TEXTS["a text said twice"].replace(b"[{", b'[{"content":"\xff",'),
    "no UTF-8 in chapters said twice": TEXTS["chapters said twice"].replace(b"sea", b"\xe2\x80", 1),
    "no UTF-8 in a field said twice": TEXTS["a key said twice"].replace(b'"a":1', b'"a":["\xff"]'),
    "no colon": TEXTS["a chapter"].replace(b'"content":', b'"content"'),
    "the key for a value": TEXTS["a chapter"].replace(b'"_id":"1"', b'"_id":"content":' + TEXT.encode()),
    "the key without its first quote": TEXTS["a chapter"].replace(b'"content"', b'content":"content"'),
    "the key between strings": TEXTS["a chapter"].replace(b'"_id":"1"', b'"_id":""content":' + TEXT.encode()),
    "no end of the text": TEXTS["a chapter"].replace(b'"}]}', b"}]}"),
    "a comma too many": TEXTS["a chapter"].replace(b"}]}", b"},]}"),
    "a leading zero": TEXTS["a chapter"].replace(b'"1"', b"01"),
}


def plain(value: Any) -> Any:
    """The values with every text decoded. What is raw must be the bytes that would be written."""
    if isinstance(value, extjson.RawText):
        assert orjson.dumps(str(value)) == value.json
        return str(value)
    if isinstance(value, dict):
        return {key: plain(held) for key, held in value.items()}
    return [plain(held) for held in value] if isinstance(value, list) else value


Outcome = tuple[list[str], str | None]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """Reads bytes as a dump: all about each document, in words that tell 1 from 1.0; and the error at the end."""
    path = tmp_path_factory.mktemp("fastlane") / "a dump"

    def read_dump(data: bytes, reader: Any, size: int = 65536, after: int = 0) -> Outcome:
        path.write_bytes(data)
        documents = []
        try:
            with Dump.open(str(path), buffer_size=size, reader=reader) as dump:
                for document in dump.documents(after=after):
                    if isinstance(document, RawDocument):
                        places = document.index, document.offset, document.end, document.surrogates
                        documents.append(repr((*places, plain(document.value))))
                    else:
                        documents.append(repr(document))
        except DumpError as error:
            return documents, str(error)
        return documents, None

    return read_dump


def array(*documents: bytes) -> bytes:
    return b"[" + b",\n ".join(documents) + b"]\n"


# ------------------------------------------------------------------------------------------------------- the lane


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_both_readers_agree_and_the_lane_takes_what_is_its_own(
    name: str, compress: Callable[[bytes], bytes], read: Callable[..., Outcome], tmp_path: pathlib.Path
) -> None:
    data = compress(array(TEXTS["a chapter"], TEXTS[name], TEXTS["a chapter"], TEXTS[name]))
    expected = read(data, "ijson")
    assert (4, None) == (len(expected[0]), expected[1])
    for size in 7, 600, 65536:
        assert expected == read(data, "auto", size)
        for after in range(1, 5):
            assert (expected[0][after:], None) == read(data, "auto", size, after)
    path = tmp_path / "a dump"
    path.write_bytes(data)
    for reader, read_fast in ("auto", 2 + 2 * DOCUMENTS[name][1]), ("ijson", 0):
        with Dump.open(str(path), reader=reader) as dump:  # type: ignore[arg-type]
            readers = [document.reader for document in dump.documents()]
        assert (4, read_fast) == (len(readers), readers.count("fastlane"))


def test_the_size_of_the_buffer_changes_nothing(read: Callable[..., Outcome]) -> None:
    names = [
        name
        for name in DOCUMENTS
        if name not in ("a bomb", "too many digits", "too many digits of a fraction", "long digits")
    ]
    data = array(*(TEXTS[name] for name in names))
    expected = read(data, "ijson")
    assert (len(names), None) == (len(expected[0]), expected[1])
    for size in [*range(1, 65), 1000]:
        assert expected == read(data, "auto", size), size


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_ends_both_readers_at_the_same_place(name: str, read: Callable[..., Outcome]) -> None:
    for data in (
        array(TEXTS["a chapter"], BROKEN[name], TEXTS["a chapter"]),
        TEXTS["a chapter"] + b"\n" + BROKEN[name] + b"\n" + TEXTS["a chapter"],
        gzip.compress(array(TEXTS["a chapter"], BROKEN[name], TEXTS["a chapter"])),
        gzip.compress(array(TEXTS["a chapter"], BROKEN[name]))[:-9],
    ):
        for size in *range(1, 65, 9), 1000, 65536:
            for after in 0, 1, 2:
                expected = read(data, "ijson", size, after)
                assert expected == read(data, "auto", size, after)
                assert expected[1]


@pytest.mark.parametrize(("opening", "size"), [(b"[", 16), (b"", 1000)])
def test_a_dump_cut_off_at_every_byte(opening: bytes, size: int, read: Callable[..., Outcome]) -> None:
    text = b"x" * 600
    data = opening + b'{"a":[]},{"chapters":[{"content":"%s"}]},{"b":"}"}]' % text
    for end in range(1, len(data)):
        assert read(data[:end], "ijson", size) == read(data[:end], "auto", size)


def test_an_error_of_the_compression_comes_behind_the_documents_before_it(read: Callable[..., Outcome]) -> None:
    # The third document ends in what was read ahead for the second; the bytes behind it can't be read.
    data = gzip.compress(array(TEXTS["no chapters"], *[TEXTS["chapters"]] * 2, TEXTS["long digits"]), mtime=0)
    for cut in range(1, 60):
        for size in 5, 100, 65536:
            assert read(data[:-cut], "ijson", size) == read(data[:-cut], "auto", size)


def test_only_the_answer_of_an_api_is_refused_also_when_it_is_skipped(read: Callable[..., Outcome]) -> None:
    data = b'{"jobs":[{}],"chapters":[{"content":' + TEXT.encode() + b"}]}"
    for after in 0, 1:
        expected = read(data, "ijson", after=after)
        assert expected == read(data, "auto", after=after)
        assert "this is one object with an array" in str(expected[1])


# ------------------------------------------------------------------------------------------------- its two steps

ENDS = [
    (b"{}", 0, 2),
    (b"[{}]", 1, 3),
    (b"[{} \n\t]", 1, 3),
    (b'[{"a":"}"},{}]', 1, 10),
    (b'{"a":{"b":{}}}{', 0, 14),
    (b'{"a":1}x', 0, 7),
    (b'{"a":1}\0', 0, 7),
    (b'{"a":"\xff"},', 0, 9),
    (b'{"a":1', 0, fastlane.UNFINISHED),
    (b'{"a":"}', 0, fastlane.UNFINISHED),
    (b"{", 0, fastlane.UNFINISHED),
    (b'{"a":tru', 0, fastlane.UNFINISHED),
    (b"{a}", 0, None),
    (b'{"a":\x01}', 0, None),
    (b'{"a":"\x1f"}', 0, None),
    (b'{"a":' * 100_000, 0, None),
]


@pytest.mark.parametrize(("data", "start", "end"), ENDS)
def test_where_an_object_ends(data: bytes, start: int, end: int | None) -> None:
    assert end == fastlane.end_of_object(data, start)


@pytest.mark.parametrize("data", [b"", b"1", b"[]", b'"x"', b"{}{}", b'{"a":1},', b'{"a":', b"{}\0"])
def test_what_is_not_exactly_one_object(data: bytes) -> None:
    assert fastlane.read(data) is None


def test_a_long_text_stays_as_it_stands_unless_it_would_be_written_in_another_way() -> None:
    document = fastlane.read(TEXTS["chapters"])
    assert document is not None
    kinds = [type(chapter.get("content")) for chapter in document["chapters"]]
    assert [extjson.RawText, str, type(None), extjson.RawText] == kinds
    assert TEXT.encode() == document["chapters"][0]["content"].json
    document = fastlane.read(TEXTS["escapes that are written in another way"])
    assert {"chapters": [{"content": "/é\0" + LONG}]} == document


def test_a_large_document_is_not_followed_anew_for_every_piece(
    read: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = 0
    end_of_object = fastlane.end_of_object

    def counting(data: bytes, start: int) -> int | None:
        nonlocal followed
        followed += len(data) - start
        return end_of_object(data, start)

    monkeypatch.setattr(fastlane, "end_of_object", counting)
    large = b'{"chapters":[{"content":"' + b"x y" * 300_000 + b'"}]}'
    for last in large, large.replace(b"y", b"\xff", 1):
        followed = 0
        data = array(large, last)
        expected = read(data, "ijson")
        followed = 0
        assert expected == read(data, "auto", 4096)
        assert followed < 5 * len(data)


# ------------------------------------------------------------------------------------------------------ anything

PIECES = st.sampled_from(
    [
        *(LONG, "a", "é", "\U0001f600", "\u2028", "\x7f", "\x7f\x7f\x7f", "},{", "}]}", "[", "123"),
        *(r"\n", r"\"", r"\\", r"\/", r"\b", r"\u00e9", r"\u001f", r"\u007f", r"\ud83d\ude00", r"\\u0041"),
        *(r"\"content\":\"", r"\"chapters\":["),
    ]
)
SURROGATES = st.sampled_from([r"\ud800", r"\udc00", r"\ud83d"])
CHARACTERS = st.text(st.characters(exclude_categories=["Cs"])).map(
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1]
)
STRING = st.lists(PIECES | CHARACTERS, max_size=6) | st.lists(PIECES | SURROGATES, max_size=6)
WHITE = st.sampled_from(["", "", "", " ", "\n\t", "\r\n  "])
SCALAR = st.sampled_from(
    [
        *("0", "-0.0", "1.5", "1e400", "1e-400", "12345678901234567890123", "1" + "0" * 4300, "1e99999999999999999999"),
        *("null", "true", "[]", "{}", '"\x7f"', '"\x7f\x7f\x7f"', r'"\u007F\u007F\u007F"'),
        '{"$date":"2020-01-01T00:00:00Z"}',
        *('{"$numberLong":"5"}', '{"$code":"\x7f\x7f\x7f"}', '[[{"_id":1,"a":"},{"},{"_id":2}]]'),
        '{"a":' * 250 + "1" + "}" * 250,
    ]
)
CONTENT = STRING.map(lambda parts: '"' + "".join(parts) + '"')
KEY = st.sampled_from(["content"] * 6 + ["title", r"\u0063ontent", r"a\"content", "\x7f\x7f\x7f", "$x", "chapters"])


def json_object(entries: list[tuple[str, str]], white: str) -> str:
    return "{" + f"{white},".join(f'{white}"{key}"{white}:{white}{held}' for key, held in entries) + white + "}"


def objects(key: st.SearchStrategy[str], held: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(json_object, st.lists(st.tuples(key, held), max_size=3), WHITE)


def json_array(elements: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda held, white: "[" + f"{white},{white}".join(held) + "]", st.lists(elements, max_size=3), WHITE
    )


CHAPTER = objects(KEY, CONTENT | SCALAR)
DOCUMENT = objects(
    st.sampled_from(["chapters"] * 4 + ["_id", "analysis", "content"]), json_array(CHAPTER | SCALAR) | CHAPTER | CONTENT
)
DUMP = json_array(DOCUMENT | SCALAR) | st.lists(DOCUMENT, max_size=3).map("\n".join)
CHANGE = st.tuples(
    st.sampled_from(["replace", "insert", "delete", "end"]),
    st.integers(0, 2**30),
    st.sampled_from(b'"\\{}[],:\x7f\xff\xe2\x00\n 0ue') | st.integers(0, 255),
)
SIZES = st.integers(1, 64) | st.sampled_from([1000, 65536])


@settings(max_examples=600)
@given(dump=DUMP, changes=st.lists(CHANGE, max_size=2), size=SIZES, after=st.integers(0, 2), packed=st.booleans())
def test_both_readers_agree_on_anything(
    read: Callable[..., Outcome], dump: str, changes: list[tuple[str, int, int]], size: int, after: int, packed: bool
) -> None:
    data = bytearray(dump.encode())
    for change, place, byte in changes:
        at = place % (len(data) + 1)
        if change == "end":
            del data[at:]
        else:
            data[at : at + (change != "insert")] = b"" if change == "delete" else bytes([byte])
    written = gzip.compress(data) if packed else bytes(data)
    assert read(written, "ijson", size, after) == read(written, "auto", size, after)


@settings(max_examples=150)
@given(dump=DUMP)
def test_both_readers_agree_in_utf_16(read: Callable[..., Outcome], dump: str) -> None:
    data = b"\xff\xfe" + dump.encode("utf-16-le")
    assert read(data, "ijson", 100) == read(data, "auto", 100)


# ------------------------------------------------------------------------------------------- up to what is written


def written(path: pathlib.Path, reader: Any) -> list[object]:
    """What every document of a dump becomes: its lines, or why it was rejected."""
    outcomes: list[object] = []
    with Dump.open(str(path), reader=reader) as dump:
        for document in dump.documents():
            if isinstance(document, Unreadable):
                outcomes.append(document)
                continue
            converted = map_job(document.value)
            if not isinstance(converted, Rejected):
                outcomes += [contracts.check(converted, "relaxed"), contracts.check(converted, "canonical")]
                outcomes.append(converted.repairs)
            else:
                outcomes.append(converted)
    return outcomes


@pytest.mark.parametrize("name", ["small.json", "oddities.json"])
def test_the_lines_of_a_fixture_do_not_depend_on_the_reader(name: str) -> None:
    assert written(FIXTURES / name, "ijson") == written(FIXTURES / name, "auto")


@settings(max_examples=200)
@given(chapters=st.lists(CHAPTER | SCALAR, max_size=3), status=SCALAR | st.just('"completed"'))
def test_the_lines_do_not_depend_on_the_reader(
    tmp_path_factory: pytest.TempPathFactory, chapters: list[str], status: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "jobs.json"
    wanted = '"createdAt":{"$date":"2025-07-19T03:04:05.420Z"},"_id":{"$oid":"6b048ef23a7f864639930729"}'
    path.write_text(f'[{{{wanted},"status":{status},"chapters":[{",".join(chapters)}]}}]', "utf-8")
    assert written(path, "ijson") == written(path, "auto")
