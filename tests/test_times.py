"""Times between milliseconds since 1970 and texts."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter import times

STAMP = 1_704_164_645_678


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-07-19T03:04:05.42Z", 1_752_894_245_420),
        ("2025-07-19T03:04:05.4Z", 1_752_894_245_400),
        ("2025-07-19T03:04:05Z", 1_752_894_245_000),
        ("2024-01-02T03:04:05.678+0000", STAMP),
        ("2024-01-02T05:04:05.678+02:00", STAMP),
        ("2024-01-02T03:04:05.678", STAMP),
        ("2024-01-02T03:04:05.678999Z", STAMP),
        ("2024-01-02", 1_704_153_600_000),
        ("1969-12-31T23:59:59.999Z", -1),
        ("1969-12-31T23:59:59.9995Z", -1),
        ("0001-01-01T00:00:00Z", times.FIRST_MILLISECOND),
        ("9999-12-31T23:59:59.999Z", times.LAST_MILLISECOND),
        ("0001-01-01T00:00:00+05:00", None),
        ("10000-01-01T00:00:00Z", None),
        ("2025-02-30T00:00:00Z", None),
        ("2025-02-30T00:00:00.000Z", None),
        ("2025-07-19T24:00:00.001Z", None),
        ("2025-07-19T03:04:60.000Z", None),
        ("2025-07-19 03:04:05.420Z", 1_752_894_245_420),
        ("yesterday", None),
        ("", None),
    ],
)
def test_an_ISO_date_in_milliseconds(text: str, expected: int | None) -> None:
    assert expected == times.milliseconds(text)


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        (1_752_894_245_420, "2025-07-19T03:04:05.420Z"),
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (times.FIRST_MILLISECOND, "0001-01-01T00:00:00.000Z"),
        (times.LAST_MILLISECOND, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_as_JavaScript_writes_it(milliseconds: int, expected: str) -> None:
    assert expected == times.iso(milliseconds)


@given(st.integers(times.FIRST_MILLISECOND, times.LAST_MILLISECOND))
def test_a_time_as_datetime_writes_it(milliseconds: int) -> None:
    moment = datetime(1970, 1, 1) + timedelta(milliseconds=milliseconds)
    expected = f"{moment.isoformat(timespec='milliseconds')}Z"

    assert (expected, milliseconds) == (times.iso(milliseconds), times.milliseconds(expected))


@given(st.text("0123456789-:.TZ+ ", max_size=2), st.integers(0, 24), st.integers(0, 2))
def test_a_text_with_any_character_wrong_is_read_as_any_other(other: str, place: int, replaced: int) -> None:
    text = "2025-07-19T03:04:05.420Z"
    text = text[:place] + other + text[place + replaced :]

    assert times._milliseconds(text) == times.milliseconds(text)


def test_only_so_many_times_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "_ISO_KEPT", 3)
    monkeypatch.setattr(times, "_ISO", {})
    assert [f"1970-01-01T00:00:00.00{number}Z" for number in range(8)] == [times.iso(number) for number in range(8)]
    assert 2 == len(times._ISO)


@pytest.mark.parametrize("milliseconds", [times.FIRST_MILLISECOND - 1, times.LAST_MILLISECOND + 1])
def test_a_time_without_four_digits_of_year_has_no_such_form(milliseconds: int) -> None:
    with pytest.raises(OverflowError):
        times.iso(milliseconds)
