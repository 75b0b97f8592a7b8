"""The command ``novel-backfill``, which is ``python -m converter`` too."""

import sys

from converter.errors import tell
from converter.interruption import INTERRUPTED, heeded, ignored


def run() -> int:
    """The process's own command line; returns its exit code."""
    heeded()
    try:
        from converter.cli import main  # a quarter of a second, in which somebody may think better of it

        return main()
    except KeyboardInterrupt:
        tell("novel-backfill: interrupted\n")
        return INTERRUPTED
    finally:
        ignored()


# Worker processes import this module under another name.
if __name__ == "__main__":
    sys.exit(run())
