"""A dump in byte ranges gives what one process gives, however its documents look and wherever ranges are cut."""

import gc
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bson
import pytest
from bson import ObjectId
from hypothesis import example, given, settings
from hypothesis import strategies as st

from converter import engines, ranges
from converter.dump import Dump
from converter.engines import Rest, engine
from converter.errors import DumpError
from converter.json_documents import JsonReader
from converter.json_text import Text
from converter.mapping import Options
from converter.ranges import Range, separator
from converter.transformation import Task
from tests.small_dumps import DIALECTS, job, jobs, write_dump

TASK = Task(Options(), "relaxed", ('a "dump"', '"index":7'))
SIZES = (1, 2, 3, 10, 64, 333, 2000)


class Inline(Executor):
    """Works at once and in this process, and counts the ranges that it is given, proven ones apart."""

    def __init__(self) -> None:
        self.guessed = self.proven = 0

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> "Future[Any]":
        piece = arguments[3]
        if isinstance(piece, Range):
            self.proven += piece.index is not None
            self.guessed += piece.index is None
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments))
        except DumpError as error:
            future.set_exception(error)
        return future


def workers(executor: Executor, range_bytes: int) -> engines._Workers:
    return engines._Workers(executor, (), 4, range_bytes)


def results(run: Callable[..., Any], rests: list[Rest]) -> tuple[list[Any], str | None]:
    """Places and outcomes, and the error that came behind them."""
    found: list[Any] = []
    try:
        for number, document, result in run(rests, TASK):
            place = document and (document.index, document.offset, document.end)
            found.append((number, place, result))
    except DumpError as error:
        return found, f"{error.index} {error.offset} {error}"
    return found, None


def in_ranges(data: bytes, size: int, resumed: Callable[[list[Any]], int] = lambda found: 0) -> tuple[Any, Any]:
    """What one process makes of the dump, and what several do, beginning behind so many documents."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched, engine(1) as one:
        patched.setattr(engines, "BATCH_DOCUMENTS", 2)
        patched.setattr(engines, "LEAST_DOCUMENTS", 3)
        path = Path(folder, "dump")
        path.write_bytes(data)
        with Dump.open(str(path)) as dump:
            expected, error = results(one.run, [Rest(1, dump)])
            done = resumed([place for _, place, _ in expected if place is not None])
            at = expected[done - 1][1][2] if done else None
            found = results(workers(Inline(), size).run, [Rest(1, dump, done, at)])
        return (expected[done:], error), found


# -------------------------------------------------------------------------------------------------------------- laws

TEXTS = st.sampled_from(
    ['},{"_id":', "},{", "}\n{", '"}', "[{", "]", "\\", "\\\\", '\\"},{\\"_id\\"', "“Yes,” — naïve", "\udcff", "x" * 90]
)
KEYS = st.sampled_from(["_id", "a", ",", "},{", "", "jobId", "chapters", 'q"'])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), TEXTS, st.just(ObjectId(b"x" * 12)))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3),
        # What looks most like the documents of an array.
        st.lists(st.fixed_dictionaries({"_id": SCALARS, "a": inner}), min_size=1, max_size=4),
    ),
    max_leaves=8,
)
ODD = st.dictionaries(KEYS, VALUES, max_size=4)
JOBS = st.builds(
    lambda number, words, more: job(number, words=words) | {"x": more}, st.integers(0, 5), st.integers(0, 9), VALUES
)
DOCUMENTS = st.lists(st.one_of(JOBS, JOBS, ODD), min_size=1, max_size=9)


def sound(value: Any) -> Any:
    """Without what BSON can't hold."""
    if isinstance(value, dict):
        return {key: sound(held) for key, held in value.items()}
    if isinstance(value, list):
        return [sound(held) for held in value]
    return value.encode("utf-8", "replace").decode() if type(value) is str else value


def as_json(document: Any, indent: int | None) -> str:
    plain = {"$oid": "6b048ef23a7f864600000001"}
    return json.dumps(
        document, ensure_ascii=False, indent=indent, default=lambda value: plain if isinstance(value, ObjectId) else 7
    )


def write(documents: Sequence[Any], dialect: str, indent: int | None, separators: Sequence[str]) -> bytes:
    if dialect == "bson":
        return b"".join(bson.encode(sound(document)) for document in [job(9), *documents])
    texts = [as_json(document, indent) for document in documents]
    between = [separators[index % len(separators)] for index in range(len(texts) - 1)]
    if dialect == "lines":
        text = "".join(text + white for text, white in zip(texts, [*between, "\n"], strict=True)) + "\n"
    else:
        text = "[" + "".join(text + "," + white for text, white in zip(texts, [*between, ""], strict=True))[:-1] + "]\n"
    return text.encode("utf-8", "surrogatepass")


DUMPS = st.builds(
    write,
    DOCUMENTS,
    st.sampled_from(["array", "lines", "bson"]),
    st.sampled_from([None, None, 1]),
    st.lists(st.sampled_from(["", "\n", " ", "\r\n\t"]), min_size=1, max_size=2),
)


@settings(max_examples=200)
@given(DUMPS, st.sampled_from(SIZES), st.randoms())
@example(b'[{"_id":1},{"_id":2}', 20, None)  # all documents are there, the array's end is not
@example(b'[{"_id":1,"a":[{"_id":1},{"_id":2},{"_id":3},{"_id":4}]},{"_id":2},5]', 10, None)
@example(b'[{",":"},{"},{",":"},{"},{",":"},{"},{",":"},{"}]', 5, None)
def test_any_dump(data: bytes, size: int, random: Any) -> None:
    """From its beginning, and resumed anywhere."""
    expected, found = in_ranges(data, size, lambda places: random.randint(0, len(places)) if random else 0)
    assert expected == found


@settings(max_examples=200)
@given(DUMPS, st.sampled_from(SIZES), st.floats(0, 1), st.sampled_from([None, b"", b'"', b"}", b"]", b"\xff", b"0 {"]))
def test_any_broken_dump(data: bytes, size: int, where: float, put: bytes | None) -> None:
    """Cut off, or with something else in the place of a byte: the same documents, and the same error behind them."""
    at = round(where * (len(data) - 1))
    broken = data[:at] if put is None else data[:at] + put + data[at + 1 :]
    try:
        expected, found = in_ranges(broken, size)
    except DumpError:
        return  # no dump at all
    assert expected == found


# ------------------------------------------------------------------------------------------- that it is worth its while


def counted(data: bytes, size: int, tmp_path: Path) -> tuple[int, int, int]:
    """How many ranges were given out with a beginning to be found, and with a proven one; and in batches."""
    (tmp_path / "dump").write_bytes(data)
    executor = Inline()
    with pytest.MonkeyPatch.context() as patched, Dump.open(str(tmp_path / "dump")) as dump:
        batches: list[Any] = []
        converted = engines._converted
        patched.setattr(engines, "_converted", lambda *given: batches.append(given) or converted(*given))
        for _ in workers(executor, size).run([Rest(0, dump)], TASK):
            pass
    return executor.guessed, executor.proven, len(batches)


@pytest.mark.parametrize("dialect", [name for name in DIALECTS if name != "gzip"])
def test_a_plain_dump_needs_no_second_try(dialect: str, tmp_path: Path) -> None:
    data = Path(write_dump(tmp_path / "source", [job(number) for number in range(200)], dialect)).read_bytes()
    assert (len(data) // 20_000, 1, 0) == counted(data, 20_000, tmp_path)


def test_documents_of_many_ranges_are_found(tmp_path: Path) -> None:
    """A range within a document finds nothing. That is no wrong guess, and the next document is found again."""
    large = [job(number, words=3000 if number % 4 == 0 else 1) for number in range(16)]
    data = Path(write_dump(tmp_path / "source", large)).read_bytes()
    guessed, proven, batches = counted(data, 5000, tmp_path)
    assert (len(data) // 5000, 0) == (guessed, batches)
    assert proven < 8


def test_arrays_that_look_like_the_dump(tmp_path: Path) -> None:
    """Wherever a range begins, an array of documents with ``_id`` first is nearer than the next document."""
    held = [{"_id": number, "text": "x" * 50} for number in range(20)]
    data = Path(write_dump(tmp_path / "source", [job(number) | {"held": held} for number in range(50)])).read_bytes()
    assert (len(data) // 10_000, 1, 0) == counted(data, 10_000, tmp_path)


def test_nothing_is_kept_of_a_range(tmp_path: Path) -> None:
    """No garbage collector runs in a worker, so no cycle may hold the dump's bytes, wrong beginnings included."""
    held = [{"_id": number, "text": "x" * 50} for number in range(20)]
    path = write_dump(tmp_path / "dump", [job(number) | {"held": held} for number in range(50)])
    with Dump.open(path) as dump:
        plain, divided = dump.plain, separator(dump)
    assert plain is not None
    gc.collect()
    gc.disable()
    try:
        before = sum(type(one) in (JsonReader, Text) for one in gc.get_objects())
        for start in range(1000, 50_000, 1000):
            ranges.converted(0, Range(plain, divided, start, start + 1000), TASK, 100)
        assert before == sum(type(one) in (JsonReader, Text) for one in gc.get_objects())
    finally:
        gc.enable()


def test_where_guesses_are_always_wrong_they_end(tmp_path: Path) -> None:
    """The documents are divided in another way than the first two, so the rest is framed by the main process."""
    lines = [json.dumps({f"key {number}": "x" * 200}) for number in range(500)]
    guessed, proven, batches = counted("\n".join(lines).encode(), 5000, tmp_path)
    assert guessed < 20
    assert proven <= engines.MOST_WRONG + 1
    assert batches > 1


def test_a_range_of_another_file(tmp_path: Path) -> None:
    """A worker on another machine may see another file under the same name."""
    path = tmp_path / "dump"
    write_dump(path, jobs(20))
    with Dump.open(str(path)) as dump:
        assert dump.plain is not None
        divided = separator(dump)
        assert divided is not None
        piece = Range(dump.plain, divided, 1000, 2000)
    assert 0 < len(ranges.converted(0, piece, TASK, 100).documents)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DumpError, match=r"the worker .* finds a file of .* bytes, not"):
        ranges.converted(0, piece, TASK, 100)
    path.unlink()
    with pytest.raises(DumpError, match="finds No such file"):
        ranges.converted(0, piece, TASK, 100)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'[{"_id":1},{"_id":2}]', (b'},{"_id"', 1)),
        (b'\xef\xbb\xbf[ {"_id":1} ,\r\n{ "a b":2}]', (b'} ,\r\n{ "a b"', 1)),
        (b'{"_id":1}\n{"_id":2}', (b'}\n{"_id"', 1)),
        (b'[1,{"a":2},[{}],{},{"b":3},{"c":3}]', (b'},{"b"', 1)),
        (b'[{"_id":1},{"_\\u0069d":2}]', None),
        (b'[{"_id":1}]', None),
        (b'[{"_id":1},{"_id', None),
        (bson.encode({"_id": 1}), (b"\x10_id\0", -4)),
        (bson.encode({}) * 2, None),
    ],
)
def test_separators(data: bytes, expected: tuple[bytes, int] | None, tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(data)
    with Dump.open(str(tmp_path / "dump")) as dump:
        found = separator(dump)
    assert expected == (found and (found.text, found.end))


def test_what_cannot_be_divided(tmp_path: Path) -> None:
    for name, data in {"gzip": None, "utf-16": '[{"_id":1},{"_id":2}]'.encode("utf-16")}.items():
        path = tmp_path / name
        if data is None:
            write_dump(path, jobs(3), "gzip")
        else:
            path.write_bytes(data)
        with Dump.open(str(path)) as dump:
            assert separator(dump) is None


@pytest.mark.parametrize("broken", ["x", '"a" ', "1 2", "tru", "}"])
def test_an_error_is_told_alike_wherever_a_piece_ends(broken: str) -> None:
    data = f'[{{"_id":1}},{{"_id":2}},{{"_id":3,"a":{broken}"“——“——“——“——“——“——"}},{{"_id":4}}]'.encode()
    for size in range(1, 60):
        expected, found = in_ranges(data, size)
        assert expected == found, size
