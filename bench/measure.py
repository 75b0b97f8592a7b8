"""What one command takes, together with every process that it starts.

Usage: python -IS bench/measure.py COMMAND...; runs it without output and prints four figures: seconds of the clock
until it ended, CPU seconds of all its processes, the bytes of memory that the largest of them held, and those that even
an idle one seems to hold. A process begins as a copy of the one that starts it, so less than that can't be told: hence
a program of its own, with next to no imports. Ends with the command's exit code.
"""

import ctypes
import os
import resource
import sys
import time

_PR_SET_CHILD_SUBREAPER = 36


def main(command: list[str]) -> int:
    if sys.platform == "linux":
        # A worker's parent may end without having waited for it; then nobody is told what it used, unless it is
        # handed on to us: https://man7.org/linux/man-pages/man2/pr_set_child_subreaper.2const.html
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.sync()  # what an earlier command has left to be written is not this one's business
    _, (idle,) = run(["true"])
    began = time.monotonic()
    status, usages = run(command)
    seconds = time.monotonic() - began
    usages += orphans()
    unit = 1 if sys.platform == "darwin" else 1024
    peak = max(usage.ru_maxrss for usage in usages)
    print(seconds, sum(usage.ru_utime + usage.ru_stime for usage in usages), peak * unit, idle.ru_maxrss * unit)
    return os.waitstatus_to_exitcode(status)


def run(command: list[str]) -> "tuple[int, list[resource.struct_rusage]]":
    """The status with which it ends, and what it and those of its children used that it waited for."""
    nowhere = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    process = os.posix_spawnp(command[0], command, os.environ, file_actions=[nowhere])
    _, status, usage = os.wait4(process, 0)
    return status, [usage]


def orphans() -> "list[resource.struct_rusage]":
    """What those used whom the command left behind, when all of them have ended."""
    usages = []
    while True:
        try:
            usages.append(os.wait4(-1, 0)[2])
        except ChildProcessError:
            return usages


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
