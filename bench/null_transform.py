"""The yardstick: read every document of a JSON dump with ijson and write it with orjson, no mapping at all.

The most that a plain streaming program in Python reaches. Usage: python bench/null_transform.py DUMP OUT, where DUMP is
an array or holds one document per line.
"""

import sys
from decimal import Decimal

import ijson
import orjson


def plain(value: object) -> float:
    """ijson reads fractions as Decimal, which orjson leaves to its caller."""
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(type(value))


def main(dump: str, out: str) -> None:
    with open(dump, "rb") as source, open(out, "wb") as target:
        in_array = source.peek(1).startswith(b"[")
        documents = ijson.get_backend("yajl2_c").items(source, "item" if in_array else "", multiple_values=not in_array)
        for document in documents:
            target.write(orjson.dumps(document, default=plain, option=orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main(*sys.argv[1:])
