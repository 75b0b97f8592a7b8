"""What all tests share: a missing tool skips a test on a laptop and fails it in CI, no test depends on the clock."""

import os
from collections.abc import Generator
from typing import TypeVar

import hypothesis
import pytest

# A loaded machine is no bug: hypothesis would fail an example that took longer than 200 ms.
hypothesis.settings.register_profile("no-clock", deadline=None)
hypothesis.settings.load_profile("no-clock")

REQUIRE_ALL = os.environ.get("NOVEL_BACKFILL_REQUIRE_ALL") == "1"


Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _failed_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _failed_if_skipped((yield))


def _failed_if_skipped(report: Report) -> Report:
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped although NOVEL_BACKFILL_REQUIRE_ALL=1: {reason}"
    return report
