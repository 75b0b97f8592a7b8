"""Where the time of ``convert`` goes: the stages that a document passes, and their shares, which add up.

Usage: python bench/stages.py DUMP [OPTION...]; converts DUMP with these options of ``convert`` in one process into a
temporary folder, and prints a Markdown table. A timer interrupts the program every millisecond; the time since the last
interruption goes to the stage that the innermost known function or module of the stack belongs to. A long call of C
code delays the interruption, but then counts with its whole time. It is the clock's time: waiting for the disk counts.
Only the main thread is looked at: what the thread of ``outputs`` does beside it costs nothing here but waiting for it.
"""

import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType

INTERVAL = 0.001

STARTING = "starting: the interpreter, imports, words"
FINDING = "finding documents"
PARSING = "parsing"
TEXTS = "cutting texts out and checking them"
CHECKPOINTS = "checkpoints"
SEEN = "identities seen"
OUTPUT = "output and checksums"
WAITING = "waiting for the disk"
REPORTS = "reports and handoff"
OTHER = "other"

# Function or module -> stage, in the order of the printed rows. What isn't here belongs to whoever called it.
STAGES = {
    "converter.cli": STARTING,
    "converter.commands": STARTING,
    "converter.settings": STARTING,
    "converter.conversion._identity": STARTING,
    "converter.sources": "reading the file",
    "converter.dump": FINDING,
    "converter.documents": FINDING,
    "converter.json_documents": FINDING,
    "converter.bson_documents": FINDING,
    "converter.json_text": FINDING,
    "converter.fastlane.end_of_object": FINDING,
    "converter.fastlane._cut": TEXTS,
    "converter.fastlane.text_of": TEXTS,
    "converter.fastlane.read": PARSING,
    "converter.typedlane": PARSING,
    "converter.dump.read": PARSING,
    "converter.bson_documents.read": PARSING,
    "converter.bson_documents._deeper_than": PARSING,
    "converter.json_documents.JsonReader.read_object": "parsing by ijson",
    "converter.json_documents.JsonReader.read": "parsing by ijson",
    "converter.json_documents.JsonReader._parsed": "parsing by ijson",
    "converter.extjson.decode": "Extended JSON to values",
    "converter.models.checking": "check of the legacy job",
    "converter.mapping.lifecycle": "mapping: course and identities",
    "converter.mapping.identity": "mapping: course and identities",
    "converter.mapping.jobs": "mapping: jobs",
    "converter.mapping.chapters": "mapping: chapters",
    "converter.mapping.events": "mapping: events",
    "converter.mapping.metrics": "mapping: metrics",
    "converter.mapping.metadata": "mapping: metadata",
    "converter.mapping": "mapping: the rest",
    "converter.models.target": "contracts",
    "converter.contracts": "contracts",
    "converter.contracts._line": "writing lines",
    "converter.extjson.mapped_line": "writing lines",
    "converter.extjson.dumps": "writing lines",
    "converter.report.tally": "counting",
    "converter.report.parity": "counting",
    "converter.checkpoint.Checkpoint.first_seen": SEEN,
    "converter.checkpoint._key": SEEN,
    "converter.checkpoint._row_sum": SEEN,
    "converter.outputs": OUTPUT,
    "converter.bundle": OUTPUT,
    "converter.layout": OUTPUT,
    "converter.disk": OUTPUT,
    "converter.outputs.Output.sync": WAITING,
    "converter.outputs.Outputs._settle": WAITING,
    "converter.disk.sync_folder": WAITING,
    "converter.checkpoint": CHECKPOINTS,
    "converter.run.Run.save": CHECKPOINTS,
    "converter.report.tally.Tally.to_json": CHECKPOINTS,
    "converter.report": REPORTS,
    "converter.report.html": REPORTS,
    "converter.report.plots": REPORTS,
    "converter.report.prometheus": REPORTS,
    "converter.report.files": REPORTS,
    "converter.handoff": REPORTS,
    "converter.manifest": REPORTS,
    "converter.conversion": OTHER,
    "converter.run": OTHER,
    "converter.engines": OTHER,
    "converter.transformation": OTHER,
    "converter.progress": OTHER,
}
IMPORTING = "importlib._bootstrap"

spent: defaultdict[str, float] = defaultdict(float)
known: dict[CodeType, str | None] = {}
last = 0.0


def sample(number: int, frame: FrameType | None) -> None:
    global last
    now = time.perf_counter()
    spent[stage(frame)] += now - last
    last = now


def stage(frame: FrameType | None) -> str:
    found = None
    while frame is not None:
        code = frame.f_code
        if code not in known:
            known[code] = stage_of(frame.f_globals.get("__name__", ""), code.co_qualname)
        if known[code] == IMPORTING:
            return STARTING
        found = found or known[code]
        frame = frame.f_back
    return found or OTHER


def stage_of(module: str, function: str) -> str | None:
    if module == IMPORTING:
        return IMPORTING
    return STAGES.get(f"{module}.{function.partition('.<locals>')[0]}", STAGES.get(module))


def main(dump: str, *options: str) -> None:
    global last
    spent[STARTING] = time.process_time()  # nothing to wait for so far
    last = time.perf_counter()
    signal.signal(signal.SIGALRM, sample)
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)
    from converter.cli import main as program

    with TemporaryDirectory() as folder, Path(folder, "printed").open("w") as printed:
        words = ["convert", dump, f"--out={folder}/bundle", "--workers=1", "--progress=none", *options]
        with redirect_stdout(printed):
            exit_code = program(words)
        signal.setitimer(signal.ITIMER_REAL, 0)
        sample(0, sys._getframe())
    if exit_code not in (0, 3):
        raise SystemExit(exit_code)
    print(
        subprocess.run([sys.executable, Path(__file__).with_name("machine.py")], capture_output=True, text=True).stdout
    )
    print(*table(), sep="\n")


def table() -> list[str]:
    total = sum(spent.values())
    rows = [
        f"| {stage} | {spent[stage]:.2f} | {spent[stage] / total:.1%} |" for stage in dict.fromkeys(STAGES.values())
    ]
    return ["| stage | seconds | share |", "|---|---:|---:|", *rows, f"| all | {total:.2f} | {1:.1%} |"]


if __name__ == "__main__":
    main(*sys.argv[1:])
