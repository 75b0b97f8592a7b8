"""The files that show a report. All are made of ``report.json``'s structure alone, so each can be held against it."""

import json
from typing import Any

from converter.report.html import report_html
from converter.report.prometheus import prometheus_text


def report_files(report: dict[str, Any]) -> dict[str, str]:
    """File name -> text, for what ``report_json`` gives."""
    return {
        "report.json": json.dumps(report, indent=2, ensure_ascii=False) + "\n",
        "report.html": report_html(report),
        "metrics.prom": prometheus_text(report),
    }
