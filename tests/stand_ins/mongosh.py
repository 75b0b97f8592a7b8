"""A stand-in for ``mongosh --nodb --file indexes.js``: no JavaScript, it makes the indexes that the file names."""

import argparse
import json
import os
import re
from pathlib import Path

import pymongo
from tool import finish

CREATE_INDEX = re.compile(r'^target\.getCollection\("(\w+)"\)\.createIndex\((\{.*?\}), (\{.*\})\);$', re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(prog="mongosh", allow_abbrev=False)
    parser.add_argument("--nodb", action="store_true", required=True)
    parser.add_argument("--norc", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--file", type=Path, required=True)
    options = parser.parse_args()
    with pymongo.MongoClient[dict[str, object]](os.environ["TARGET_MONGODB_URI"]) as client:
        database = client.get_default_database(os.environ.get("TARGET_DB"))
        found = CREATE_INDEX.findall(options.file.read_text(encoding="utf-8"))
        for collection, key, index in found:
            database[collection].create_index(list(json.loads(key).items()), **json.loads(index))
        print(f"{len(found)} indexes are in place in database {database.name}")


main()
finish()
