"""The command ``novel-backfill``, which is ``python -m converter`` too."""

import sys

from converter.errors import tell
from converter.interruption import INTERRUPTED, handled, heeded, ignored


def run() -> int:
    """The process's own command line; returns its exit code."""
    heeded()
    early: list[int] = []
    # A quarter of a second, in which somebody may think better of it. Python prints what is raised amid an import.
    with handled(lambda number, frame: early.append(number)):
        from converter.cli import main
    try:
        if not early:
            return main()
    except KeyboardInterrupt:  # just when main began to say why it ends
        pass
    finally:
        ignored()
    tell("novel-backfill: interrupted\n")
    return INTERRUPTED


# Worker processes import this module under another name.
if __name__ == "__main__":
    sys.exit(run())
