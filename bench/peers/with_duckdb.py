"""The simplified mapping (bench/README.md) in DuckDB. Usage: python bench/peers/with_duckdb.py DUMP OUT, or --version

Told the columns: it would find them out itself, but then reads twice, and stumbles where a later job has another type.
"""

import sys

import duckdb

LARGEST_DOCUMENT = 64 << 20
"""Bytes, as `converter.json_documents` allows. DuckDB holds several buffers of that size."""

MAPPING = """
COPY (
    SELECT
        coalesce(_id->>'$."$oid"', _id->>'$') AS _id,
        coalesce(jobId, _id->>'$."$oid"', _id->>'$') AS jobId,
        status,
        title,
        coalesce(len(chapters), 0) AS chapterCount,
        coalesce(list_sum(list_transform(chapters, lambda chapter: chapter.wordCount)), 0) AS wordCount,
        coalesce(list_sum(list_transform(chapters, lambda chapter: chapter.cost)), 0) AS totalCost,
        list_transform(coalesce(chapters, []), lambda chapter: {
            chapterNumber: chapter.chapterNumber, title: chapter.title, content: chapter.content
        }) AS chapters
    FROM read_json($dump, format = 'array', maximum_object_size = $largest, columns = {
        _id: 'JSON',
        jobId: 'VARCHAR',
        status: 'VARCHAR',
        title: 'VARCHAR',
        chapters: 'STRUCT(
            chapterNumber BIGINT, title VARCHAR, content VARCHAR, wordCount BIGINT, cost DOUBLE
        )[]'
    })
) TO $out (FORMAT json)
"""


def main(dump: str, out: str) -> None:
    duckdb.execute(MAPPING, {"dump": dump, "out": out, "largest": LARGEST_DOCUMENT})


if __name__ == "__main__":
    if sys.argv[1:] == ["--version"]:
        print(f"DuckDB {duckdb.__version__}")
    else:
        main(*sys.argv[1:])
