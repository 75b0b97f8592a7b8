"""What the mapping had to mend, by name.

Nothing is invented in silence: every default, coercion, repair and inference is counted under one of these names.
"""

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any, Final

NAMES: Final[dict[str, str]] = {
    # Reading the legacy document.
    "lone-surrogate": "a lone surrogate in a text became U+FFFD",
    "text-not-utf8": "bytes that are not UTF-8 became U+FFFD",
    "number-from-string": "a number had been written as text",
    "number-from-decimal": "a Decimal128 became a plain number",
    "number-rounded": "a number has more digits than a double holds, so misplaced has it as it was too",
    "date-from-string": "a date had been written as text",
    "date-from-number": "a date had been written as a bare number of milliseconds",
    "boolean-from-string": "true or false had been written as text",
    "misplaced": "a value of the wrong type was moved to context.metadata.legacy.misplaced",
    "key-renamed": "a key that was empty, or had a dot, a leading dollar sign, NUL or a lone surrogate, was respelt",
    "number-out-of-range": "an integer beyond a Long became a Decimal128, or text",
    # Identity and times of the job.
    "id-from-string": "a 24-hex string became the ObjectId that it spells",
    "id-made": "the legacy _id is no ObjectId, so one was made from the job's content",
    "job-id-trimmed": "white space round the legacy jobId was cut off",
    "created-at-from-object-id": "createdAt was missing: the time in the ObjectId stands for it",
    "updated-at-inferred": "updatedAt was missing: the latest time known in the job stands for it",
    "started-at-inferred": "no phase start is recorded: the job's creation stands for it",
    "completed-at-inferred": "the end of the job was not recorded: its last activity or update stands for it",
    "status-inferred": "the job's status was missing or unknown",
    "in-flight-failed": "a job that was still under way was turned into a failed one, as asked",
    # The payload and the job's parts.
    "payload-defaulted": "a field of the payload was missing",
    "outline-number-from-position": "an outline entry without chapterNumber got its position",
    "outline-title-fallback": "an outline entry without title got one",
    "outline-summary-fallback": "an outline entry without summary got one",
    "outline-key-events-defaulted": "an outline entry without keyEvents got an empty list",
    "chapter-number-from-position": "a chapter without chapterNumber got its position",
    "chapter-title-fallback": "a chapter without title got one",
    "chapter-status-inferred": "a chapter's status was missing or unknown",
    "chapter-model-unknown": "the model that wrote a chapter is not recorded",
    "chapter-cost-defaulted": "a chapter without cost got 0",
    "chapter-tokens-defaulted": "a chapter without tokensUsed got 0",
    "word-count-counted": "a completed chapter without wordCount had its words counted",
    "token-split-unknown": "prompt and completion tokens could not be solved from the cost",
    "progress-computed": "a missing total of the progress was computed from outline and chapters",
    "failure-reason-fallback": "a failure without a reason got one",
    "failure-time-inferred": "a failure without a time got one",
    "embedded-events-dropped": "the embedded events were left out, the document would have passed 16 MiB",
    # Events.
    "timestamp-inferred": "an event's time was missing, one was inferred",
    # Metrics.
    "stage-untracked": "no cost, tokens or duration is recorded for a stage: 0",
    "sum-overflow": "a sum of numbers passed the largest double: 0",
    # Metadata.
    "character-name-fallback": "a character's name was empty",
    "character-list-defaulted": "a character without traits or relationships got an empty list",
    "relationship-fallback": "a relationship's text was empty",
    "alert-id-made": "an alert without id got one made from its content",
    "alert-duplicate": "an alert with an id seen before was merged into the newest",
    "alert-message-fallback": "an alert without message got one",
    "alert-severity-fallback": "an alert's severity was missing or unknown: info",
    "alert-resolved-defaulted": "an alert without resolved got false",
    "alert-time-inferred": "an alert without a time got one",
    "decision-id-made": "a decision without id got one made from its content",
    "decision-type-fallback": "a decision without type got one",
    "decision-time-inferred": "a decision without a time got one",
    "enhancement-id-made": "an enhancement without id got one made from its content",
    "enhancement-time-inferred": "an enhancement without a time got one",
}


class Names:
    """The names in one object: those that meet get ``~2``, ``~3``."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._ordinals: dict[str, int] = {}
        """The last ordinal of each name: to look for it from the start would take ever longer."""

    def free(self, wanted: str) -> str:
        """The name that is wanted, or the next one that is free; it is taken from now on."""
        name = wanted
        if name in self._taken:
            ordinal = self._ordinals.get(wanted, 1)
            while name in self._taken:
                ordinal += 1
                name = f"{wanted}~{ordinal}"
            self._ordinals[wanted] = ordinal
        self._taken.add(name)
        return name


class Repairs:
    """The repairs of one job: how often each, and the values that were moved aside."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.misplaced: dict[str, Any] = {}
        """Dotted path in the legacy document -> the value as it was."""
        self.nesting = 0
        """Levels of the deepest value that is kept without being understood."""
        self._paths = Names(())  # a dot may be part of a key, so two places can have one path
        self._gaps: dict[str, set[int]] = {}

    def count(self, name: str) -> None:
        """Record a repair. ``KeyError`` for a name that isn't in ``NAMES``: that is a bug."""
        if name not in NAMES:
            raise KeyError(name)
        self.counts[name] = self.counts.get(name, 0) + 1

    def misplace(self, path: str, value: Any) -> None:
        """Move a value of the wrong shape aside, under its dotted path in the legacy document."""
        self._lay_aside(path, value)
        self.count("misplaced")

    def keep_original(self, path: str, value: Any) -> None:
        """Keep beside the misplaced ones the value from which a number was read, with a loss of digits."""
        self._lay_aside(path, value)
        self.count("number-rounded")

    def _lay_aside(self, path: str, value: Any) -> None:
        self.misplaced[self._paths.free(path)] = value

    def leave_gap(self, path: str, position: int) -> None:
        """Record that the element at ``position`` was taken out of the array at ``path``."""
        self._gaps.setdefault(path, set()).add(position)

    def positions(self, path: str) -> Iterator[int]:
        """0, 1, 2 ...: where the elements that the array at ``path`` still has are in the legacy document."""
        gaps = self._gaps.get(path, ())
        return (position for position in count() if position not in gaps)
