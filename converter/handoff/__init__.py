"""What a bundle tells the person who loads it: ``import.sh``, ``indexes.js``, ``README.md``. Pure: facts in, texts out.

Same facts, same bytes: no clock, no path of this machine, no secret.
"""

import json
import re
from typing import Final

import jinja2

from converter.errors import visible
from converter.layout import data_files
from converter.manifest import Manifest
from converter.models.target import INDEXES

TOOLS_URL: Final = "https://www.mongodb.com/try/download/database-tools"
EXECUTABLE: Final = frozenset({"import.sh"})
"""The files that a caller writes with mode 0700; the others get 0600."""

_TEXTS: Final = ("import.sh", "indexes.js", "README.md")
# Jobs first, what grows fastest last: a load that stops early leaves no event without its job.
_IMPORT_ORDER: Final = ("novel_jobs", "novel_job_metrics", "novel_job_metadata", "novel_job_events")


def bundle_files(manifest: Manifest) -> dict[str, str]:
    """The text of ``import.sh``, ``indexes.js`` and ``README.md``, by file name. `EXECUTABLE`: those to be run."""
    names = data_files(manifest.files)
    loaded = [
        {
            "collection": collection,
            "files": [{"name": name, "documents": manifest.files[name].documents} for name in names[collection]],
            "documents": sum(manifest.files[name].documents for name in names[collection]),
            "bytes": sum(manifest.files[name].bytes for name in names[collection]),
        }
        for collection in _IMPORT_ORDER
    ]
    indexes = [
        {"collection": collection, "key": dict(keys), "options": {"name": name} | ({"unique": True} if unique else {})}
        for collection, definitions in INDEXES.items()
        for name, keys, unique in definitions
    ]
    values = {
        "manifest": manifest,
        "counts": manifest.counts,
        "loaded": loaded,
        "collections": _IMPORT_ORDER,
        "indexes": indexes,
        "tools_url": TOOLS_URL,
    }
    return {name: _templates.get_template(f"{name}.j2").render(values) for name in _TEXTS}


def _javascript(value: object) -> str:
    """JSON in ASCII is JavaScript too; spaced as people write it."""
    return re.sub(r"^\{(.+)\}$", r"{ \1 }", json.dumps(value))


def _code(text: str) -> str:
    """``text`` as Markdown code: whatever it holds, it stays one line and shows nothing but itself.

    The fence is longer than any run of backticks inside (CommonMark 0.31, Code spans).
    """
    shown = visible(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    padding = " " if not shown.strip(" ") or shown[0] in " `" or shown[-1] in " `" else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


# Autoescaping is for HTML. Into shell and JavaScript go only our own names and whole numbers; what comes from a dump
# or an option goes into the README alone, through `code`.
_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("converter", "handoff"),
    undefined=jinja2.StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_templates.filters |= {"code": _code, "js": _javascript, "thousands": "{:,}".format}
