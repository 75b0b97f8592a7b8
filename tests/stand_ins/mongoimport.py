"""A stand-in for ``mongoimport`` 100.x: the flags and messages that ``import.sh`` uses, on a real server."""

import argparse
import itertools
from collections.abc import Iterator

from bson import json_util
from pymongo import DeleteOne, InsertOne, ReplaceOne
from pymongo.errors import BulkWriteError
from tool import RELAXED, Document, connect, fail, finish, log

BATCH = 1000


def main() -> None:
    parser = argparse.ArgumentParser(prog="mongoimport", allow_abbrev=False)
    parser.add_argument("--config", required=True)
    parser.add_argument("--db")
    parser.add_argument("--collection", required=True)
    parser.add_argument("--type", choices=["json"], default="json")
    parser.add_argument("--file", required=True)
    parser.add_argument("--mode", choices=["insert", "upsert", "merge", "delete"], default="insert")
    parser.add_argument("--stopOnError", action="store_true")
    parser.add_argument("--numInsertionWorkers", type=int, default=1)
    options = parser.parse_args()
    collection = connect(options.config, options.collection, options.db)

    verb, purpose = ("deleted", "delete") if options.mode == "delete" else ("imported", "import")
    processed = failed = 0
    for batch in _batches(options.file):
        requests = [_request(options.mode, document) for document in batch]
        try:
            # Unordered as in the real tool: what doesn't collide within a batch is inserted, also with --stopOnError.
            result = collection.bulk_write(requests, ordered=options.mode != "insert")
        except BulkWriteError as error:
            errors = [entry["errmsg"] for entry in error.details["writeErrors"]]
            processed += error.details["nInserted"]
            failed += len(errors)
            if options.stopOnError:
                log(f"{processed} document(s) {verb} successfully. {failed} document(s) failed to {purpose}.")
                fail(f"bulk write exception: write errors: [{', '.join(errors[:2])}]")
            for message in errors:
                log(f"continuing through error: {message}")
        else:
            processed += result.inserted_count + result.modified_count + result.upserted_count + result.deleted_count
    log(f"{processed} document(s) {verb} successfully. {failed} document(s) failed to {purpose}.")


def _batches(path: str) -> Iterator[list[Document]]:
    with open(path, encoding="utf-8") as file:
        documents = (json_util.loads(line, json_options=RELAXED) for line in file)
        while batch := list(itertools.islice(documents, BATCH)):
            yield batch


def _request(mode: str, document: Document) -> InsertOne[Document] | ReplaceOne[Document] | DeleteOne:
    if mode == "insert":
        return InsertOne(document)
    if mode == "upsert":
        return ReplaceOne({"_id": document["_id"]}, document, upsert=True)
    if mode == "delete":
        return DeleteOne({"_id": document["_id"]})
    raise NotImplementedError(mode)


main()
finish()
