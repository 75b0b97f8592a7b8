"""What a proof comes to: the problems found, how much was looked at, the parity with the dump; and its display."""

import re
from collections import Counter
from typing import Final

from pydantic import BaseModel, computed_field

from converter.verification.recount import agree

MAX_PROBLEMS: Final = 100
"""Problems that are told one by one; the others are counted."""

CHECKS: Final = {
    "files": "every file is there",
    "checksums": "files are what SHA256SUMS and the manifest say",
    "reports": "reports say what the manifest says",
    "counts": "documents are as many as the manifest says",
    "lines": "lines are Extended JSON, one document each",
    "contract": "documents are what the target's readers need",
    "limits": "documents keep MongoDB's limits",
    "consistency": "documents agree with themselves and with each other",
    "identities": "ids are unique",
    "references": "every job has its parts, every part its job",
    "order": "events of a job are in order, no two at one time",
    "rejects": "rejects are well-formed",
    "source": "jobs are those of the dump, and hold what it holds",
}
"""Check -> what it proves."""

_UNPRINTABLE: Final = re.compile(r"[^ -~\u00a0-\u1fff\u2030-\u205f\u2070-\ud7ff\ue000-\ufffd]")


class Problem(BaseModel, frozen=True):
    """What is wrong, and where. ``detail`` has ids and paths of a document, never its text."""

    check: str
    file: str
    line: int | None
    detail: str


class Check(BaseModel, frozen=True):
    """How often something was looked at, and how often it was wrong."""

    name: str
    checked: int
    failed: int


class Parity(BaseModel, frozen=True):
    """A quantity on both sides of the conversion."""

    quantity: str
    dump: int | float
    bundle: int | float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def difference(self) -> int | float:
        """What the bundle has more; 0 when the two agree within 1e-9."""
        return 0 if agree(self.dump, self.bundle) else self.bundle - self.dump


class Findings(BaseModel, frozen=True):
    """What a proof came to. ``problems`` are the first hundred of ``problem_count``; warnings don't spoil a bundle."""

    bundle: str
    ok: bool
    problem_count: int
    problems: list[Problem]
    warnings: list[Problem]
    checks: list[Check]
    parity: list[Parity]


class Proof:
    """A proof under way: what was looked at so far, and what was found."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.parity: list[Parity] = []
        self.checked: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()
        """File -> its lines."""
        self.reject_reasons: Counter[str] = Counter()
        """Reason -> rejects."""

    def problem(self, check: str, file: str, line: int | None, detail: str) -> None:
        """Record what is wrong."""
        self.failed[check] += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(check=check, file=shown(file), line=line, detail=shown(detail, 300)))

    def expect(self, holds: bool, check: str, file: str, line: int | None, detail: str) -> None:
        """Record that something was looked at, and ``detail`` if it doesn't hold."""
        self.checked[check] += 1
        if not holds:
            self.problem(check, file, line, detail)

    def warn(self, file: str, detail: str) -> None:
        """Record what is odd, and no reason not to load the bundle."""
        if len(self.warnings) < MAX_PROBLEMS:
            self.warnings.append(Problem(check="files", file=shown(file), line=None, detail=detail))

    def findings(self, bundle: str) -> Findings:
        """What the proof came to."""
        problem_count = self.failed.total()
        return Findings(
            bundle=bundle,
            ok=not problem_count,
            problem_count=problem_count,
            problems=self.problems,
            warnings=self.warnings,
            checks=[
                Check(name=name, checked=self.checked[name], failed=self.failed[name])
                for name in CHECKS
                if self.checked[name] or self.failed[name]
            ],
            parity=self.parity,
        )


def shown(text: str, length: int = 80) -> str:
    """Text from a file, such as an id, fit for a terminal: of bounded length, without control characters."""
    printable = _UNPRINTABLE.sub("\ufffd", text[:length])
    return printable if len(text) <= length else f"{printable[: length - 1]}…"


def render(findings: Findings) -> str:
    """The findings for people, as lines of text."""
    lines = [f"{_place(problem)}: {problem.detail}" for problem in findings.problems]
    if findings.problem_count > len(findings.problems):
        lines.append(f"and {findings.problem_count - len(findings.problems):,} more")
    lines += [f"warning: {_place(warning)}: {warning.detail}" for warning in findings.warnings]
    if lines:
        lines.append("")
    for check in findings.checks:
        failed = f", {check.failed:,} wrong" if check.failed else ""
        verdict = "FAILED" if check.failed else "ok"
        lines.append(f"{verdict:6}  {CHECKS[check.name]:52}{check.checked:>12,} checked{failed}")
    if findings.parity:
        lines += ["", f"{'':34}{'dump':>20}{'bundle':>20}{'difference':>16}"]
        lines += [
            f"{row.quantity:34}{_figure(row.dump):>20}{_figure(row.bundle):>20}{_figure(row.difference):>16}"
            for row in findings.parity
        ]
    count = findings.problem_count
    problems = "1 problem" if count == 1 else f"{count:,} problems"
    lines += ["", f"{findings.bundle}: " + ("sound" if findings.ok else f"{problems}, don't load it")]
    return "\n".join(lines)


def _place(problem: Problem) -> str:
    return problem.file if problem.line is None else f"{problem.file}, line {problem.line:,}"


def _figure(value: int | float) -> str:
    return f"{value:,.6f}" if isinstance(value, float) and not value.is_integer() else f"{value:,.0f}"
