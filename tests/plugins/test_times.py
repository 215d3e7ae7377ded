"""Times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from zxmpp_plugins.times import due_of, zone_of

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 25, 17, 30, 15, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("when", "due"),
    [
        ("45s", "2026-11-25T17:31:00+01:00"),
        ("10m", "2026-11-25T17:40:15+01:00"),
        ("2h30m", "2026-11-25T20:00:15+01:00"),
        ("1d", "2026-11-26T17:30:15+01:00"),
        ("18:00", "2026-11-25T18:00:00+01:00"),
        ("17:30", "2026-11-26T17:30:00+01:00"),
        ("9:05", "2026-11-26T09:05:00+01:00"),
        ("2026-12-01T09:00", "2026-12-01T09:00:00+01:00"),
        ("2026-12-01T09:00Z", "2026-12-01T10:00:00+01:00"),
        ("2026-12-01T09:00:30-05:00", "2026-12-01T15:00:30+01:00"),
        ("2027-07-01T09:00", "2027-07-01T09:00:00+02:00"),
    ],
)
def test_what_a_time_is(when: str, due: str) -> None:
    assert due_of(when, NOW) == datetime.fromisoformat(due)


def test_a_duration_counts_seconds_where_the_clock_is_put_back() -> None:
    before = datetime(2026, 10, 25, 1, 30, tzinfo=BERLIN)
    assert due_of("2h", before).isoformat() == "2026-10-25T02:30:00+01:00"
    assert due_of("18:00", before).isoformat() == "2026-10-25T18:00:00+01:00"


def test_a_time_that_comes_twice_is_the_next_of_both() -> None:
    first = datetime(2026, 10, 25, 2, 50, tzinfo=BERLIN)
    assert due_of("02:40", first).isoformat() == "2026-10-25T02:40:00+01:00"
    assert due_of("02:55", first).isoformat() == "2026-10-25T02:55:00+02:00"
    second = first.replace(fold=1)
    assert due_of("02:40", second).isoformat() == "2026-10-26T02:40:00+01:00"
    assert due_of("02:55", second).isoformat() == "2026-10-25T02:55:00+01:00"


def test_a_time_that_is_left_out_has_passed() -> None:
    after = datetime(2026, 3, 29, 3, 10, tzinfo=BERLIN)
    assert due_of("02:30", after).isoformat() == "2026-03-30T02:30:00+02:00"


@pytest.mark.parametrize(
    "when",
    ["", "soon", "10", "m", "10x", "30m2h", "-10m", "1.5h", "99999d", "24:00", "18:60", "18:00:00:00",
     "2026-12-01", "2026-13-01T09:00", "0000-01-01T00:00", "x" * 9999,
     "\u0661\u0660m", "T", "10m\n"],
)  # fmt: skip
def test_what_is_none(when: str) -> None:
    with pytest.raises(ValueError, match="is no time; write 10m, 2h30m") as error:
        due_of(when, NOW)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    "name", ["", "Berlin", "../../etc/passwd", "/etc/localtime", "a\0b", "x" * 999]
)
def test_an_unknown_zone(name: str) -> None:
    with pytest.raises(ValueError, match="is no time zone that is known here"):
        zone_of(name)


def test_utc_is_always_there() -> None:
    assert zone_of("UTC") is UTC
