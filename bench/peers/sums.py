"""What a peer's output comes to, to hold it against another's. Usage: python bench/peers/sums.py FILE"""

import sys

import orjson


def main(path: str) -> None:
    jobs = chapters = words = characters = 0
    cost = 0.0
    with open(path, "rb") as lines:
        for job in map(orjson.loads, lines):
            if job["chapterCount"] != len(job["chapters"]):
                raise SystemExit(f"{job['jobId']}: {job['chapterCount']} chapters said, {len(job['chapters'])} there")
            jobs += 1
            chapters += len(job["chapters"])
            words += job["wordCount"]
            cost += job["totalCost"]
            characters += sum(len(chapter["content"] or "") for chapter in job["chapters"])
    print(f"{jobs:,} jobs, {chapters:,} chapters, {words:,} words, cost {cost:,.4f}, {characters:,} characters")


if __name__ == "__main__":
    main(sys.argv[1])
