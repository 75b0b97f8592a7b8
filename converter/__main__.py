"""``python -m converter`` is the command ``novel-backfill``."""

import sys

from converter.cli import main

sys.exit(main())
