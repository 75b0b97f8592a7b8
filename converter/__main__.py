"""``python -m converter`` is the command ``novel-backfill``."""

import sys

from converter.cli import main

# Worker processes import this module under another name.
if __name__ == "__main__":
    sys.exit(main())
