"""A stand-in for ``mongoexport`` 100.x: the flags and messages that ``export`` uses, on a real server."""

import argparse

from bson import json_util
from tool import RELAXED, connect, finish, log


def main() -> None:
    parser = argparse.ArgumentParser(prog="mongoexport", allow_abbrev=False)
    parser.add_argument("--config", required=True)
    parser.add_argument("--collection", required=True)
    parser.add_argument("--jsonArray", action="store_true", required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    collection = connect(options.config, options.collection, None)

    count = 0
    with open(options.out, "w", encoding="utf-8") as file:
        file.write("[")
        for document in collection.find().sort("_id"):
            line = json_util.dumps(document, json_options=RELAXED, ensure_ascii=False, separators=(",", ":"))
            file.write(("," if count else "") + line)
            count += 1
        file.write("]\n")
    log(f"exported {count} record" + ("" if count == 1 else "s"))


main()
finish()
