"""The simplified mapping (bench/README.md) in nothing but Python. Usage: python bench/peers/json_load.py DUMP OUT"""

import json
import sys
from typing import Any


def mapped(job: dict[str, Any]) -> dict[str, Any]:
    identity = job["_id"]["$oid"] if isinstance(job["_id"], dict) else job["_id"]
    chapters = job.get("chapters") or []
    return {
        "_id": identity,
        "jobId": job.get("jobId") or identity,
        "status": job.get("status"),
        "title": job.get("title"),
        "chapterCount": len(chapters),
        "wordCount": sum(chapter.get("wordCount") or 0 for chapter in chapters),
        "totalCost": sum(chapter.get("cost") or 0 for chapter in chapters),
        "chapters": [{key: chapter.get(key) for key in ("chapterNumber", "title", "content")} for chapter in chapters],
    }


def main(dump: str, out: str) -> None:
    with open(dump, encoding="utf-8") as source:
        jobs = json.load(source)
    with open(out, "w", encoding="utf-8") as target:
        for job in jobs:
            target.write(json.dumps(mapped(job), ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
