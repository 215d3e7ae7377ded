"""Times as people write them: ``10m``, ``18:00``, ``2026-12-01T09:00``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

__all__ = ["due_of", "zone_of"]

_DURATION = re.compile(
    r"(?=\d)(?:(\d{1,4})d)?(?:(\d{1,4})h)?(?:(\d{1,4})m)?(?:(\d{1,4})s)?", re.ASCII
)
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)


def zone_of(name: str) -> tzinfo:
    """The time zone `name`. ValueError."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"zone: {name!r} is no time zone that is known here; write one such as Europe/Berlin"
        ) from error


def due_of(when: str, now: datetime) -> datetime:
    """The moment that `when` is, seen from `now`: ``10m``, ``2h30m``, ``1d``; ``18:00``, the next
    time that it is; ``2026-12-01T09:00``, with a zone or in that of `now`. ValueError."""
    if found := _DURATION.fullmatch(when):
        days, hours, minutes, seconds = (int(number or 0) for number in found.groups())
        # Of a duration the seconds count, not what the clock on the wall shows.
        length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        return (now.astimezone(UTC) + length).astimezone(now.tzinfo)
    if found := _CLOCK.fullmatch(when):
        due = now.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
        if due > now:
            return due
        # Where the clock is put back, a time comes twice.
        again = due.replace(fold=1)
        return again if again.timestamp() > now.timestamp() else due + timedelta(days=1)
    try:
        if "T" not in when:
            raise ValueError(when)
        due = datetime.fromisoformat(when)
        due = due if due.tzinfo else due.replace(tzinfo=now.tzinfo)
        due.timestamp()
    except (ValueError, OverflowError):
        raise ValueError(
            f"{when[:40]!r} is no time; write 10m, 2h30m, 1d, 18:00 or 2026-12-01T09:00"
        ) from None
    return due
