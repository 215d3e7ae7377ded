"""``!remind 10m tea``: says it later, where it was asked for.

Rules:
- A time is a duration, a time of the day, or a date with a time: see
  `zxmpp_plugins.times`.
- Reminders are kept over a restart and a reload. One that was due meanwhile is told late, and says so.
- One timer waits for the next that is due. A stream that is offline is waited for.
- A reminder is its owner's: nobody else sees or takes it. In a room only that room's are shown.
- They are bounded, for each owner and in all.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import datetime
from typing import Any

from msgspec import Struct

from zxmpp import (
    Call,
    Lifecycle,
    LifecycleEvent,
    Plugin,
    Refused,
    StreamError,
    Table,
    UserError,
    command,
    on,
)
from zxmpp_plugins.places import Place, identity, place_of
from zxmpp_plugins.state import StateFile
from zxmpp_plugins.times import due_of, zone_of

__all__ = ["Remind", "RemindConfig", "Reminder"]

#: Seconds until the clock is looked at again: it may be set, and a computer may sleep.
LOOK_AGAIN = 600.0
#: After which of these a stream may be ready.
_ARRIVALS = (Lifecycle.ONLINE, Lifecycle.JOINED, Lifecycle.LEFT)
#: The last moment that can be shown in any zone: a day before the year 10000.
LAST = 253_402_214_400.0
#: Seconds after which a reminder is late.
LATE = 60.0


class RemindConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.remind]``"""

    #: Where reminders are kept: in ``$STATE_DIRECTORY``, or else in the working folder.
    file: str = "remind.json"
    #: The time zone of times and dates, as ``Europe/Berlin``.
    zone: str = "UTC"
    #: Reminders that one person may have.
    max_each: int = 20
    #: Reminders that all together may have.
    max_all: int = 1000
    #: Characters of a reminder's text.
    max_chars: int = 500
    #: How far ahead a reminder may be, in days.
    max_days: int = 366

    def __post_init__(self) -> None:
        for key in ("max_each", "max_all", "max_chars", "max_days"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be above 0")
        zone_of(self.zone)


class Reminder(Struct, frozen=True):
    """What is to be said, when, where, and whose it is."""

    due: float
    owner: str
    place: Place
    text: str

    def __post_init__(self) -> None:
        if not 0 <= self.due < LAST:
            raise ValueError(f"due is {self.due}, which is no time")


class Remind(Plugin):
    """Say something later."""

    Config = RemindConfig
    config: RemindConfig

    async def start(self) -> None:
        self._zone = zone_of(self.config.zone)
        self._file = StateFile(
            self.config.file, dict[int, Reminder], f"[plugins.{self.instance}] file"
        )
        self._book: dict[int, Reminder] = {}
        self._changed = asyncio.Event()
        if self.replaces is None:
            self._book = self._file.read() or {}
            await self._file.check(self._book)
        self._clock = self.spawn(self._wait(), name="clock")

    async def stop(self) -> None:
        self._clock.cancel()
        await self._file.write(self._book)

    def adopt(self, old: Any) -> None:
        """Go on with the book of the version before, which may still be adding to it. Nothing is
        told twice: whoever takes a reminder out of it tells it."""
        self._book = old._book
        # Two that write one file by turns would put an older book over a newer one.
        old._file = self._file
        self._changed.set()

    # -- commands --------------------------------------------------------------------------------

    @command
    async def remind(self, call: Call, when: str, *, text: str) -> str:
        """Say something to you later, here.

        when: Time (10m, 2h30m, 1d, 18:00 or 2026-12-01T09:00)
        text: What to say then
        """
        place, owner = place_of(call), self._owner_of(call)
        here = datetime.fromtimestamp(self._now(), self._zone)
        # As seconds: what the clock on the wall shows may go back.
        now = here.timestamp()
        try:
            due = due_of(when, here).timestamp()
        except ValueError as error:
            raise UserError(str(error)) from None
        if not now < due <= now + self.config.max_days * 86400:
            raise UserError(f"{when} is not within the next {self.config.max_days} days.")
        if len(text) > self.config.max_chars:
            raise UserError(f"A reminder has at most {self.config.max_chars} characters.")
        mine = sum(one.owner == owner for one in self._book.values())
        for number, most in ((mine, self.config.max_each), (len(self._book), self.config.max_all)):
            if number >= most:
                self.count("reminders-full")
                raise Refused(f"There are {most} reminders already; forget one.",
                              "resource-constraint", "wait")  # fmt: skip
        number = max(self._book, default=0) + 1
        self._book[number] = Reminder(due, owner, place, text)
        self._changed.set()
        try:
            await self._file.write(self._book)
        except OSError as error:
            self._book.pop(number, None)
            self.log.error("reminders can't be written to %s: %s", self._file.path, error)
            raise UserError("The reminder could not be written down, so it is not kept.") from error
        return f"Reminder {number}: {self._shown(due)}."

    @command
    def reminders(self, call: Call) -> Table | str:
        """Show the reminders that you have here."""
        rows = [
            (number, self._shown(one.due), one.text)
            for number, one in sorted(self._mine(call), key=lambda item: item[1].due)
        ]
        return Table(("number", "time", "text"), rows) if rows else "You have no reminders here."

    @command
    async def forget(self, call: Call, number: int) -> str:
        """Take a reminder back.

        number: Its number, as reminders shows it
        """
        if number not in dict(self._mine(call)):
            raise UserError(f"You have no reminder {number} here.")
        del self._book[number]
        await self._keep()
        return f"Reminder {number} is forgotten."

    def _mine(self, call: Call) -> list[tuple[int, Reminder]]:
        place, owner = place_of(call), self._owner_of(call)
        # What was asked for in private is not shown in a room.
        return [
            (number, one) for number, one in self._book.items()
            if one.owner == owner and (not place.nick or one.place.to == place.to)
        ]  # fmt: skip

    @staticmethod
    def _owner_of(call: Call) -> str:
        return identity(call.sender, call.who.room, call.who.occupant_id)

    def _now(self) -> float:
        return time.time()

    def _shown(self, due: float) -> str:
        return datetime.fromtimestamp(due, self._zone).strftime("%Y-%m-%d %H:%M %Z")

    # -- when the time has come ------------------------------------------------------------------

    @on.lifecycle(where=lambda event: event.what in _ARRIVALS)
    def there(self, event: LifecycleEvent) -> None:
        """What waited for a stream can perhaps be told."""
        self._changed.set()

    async def _wait(self) -> None:
        while True:
            self._changed.clear()
            now = self._now()
            due = [number for number, one in self._book.items() if one.due <= now]
            told = [self._tell(number) for number in due]
            if any(told):
                await self._keep()
            later = [one.due - now for one in self._book.values() if one.due > now]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min([LOOK_AGAIN, *later])):
                    await self._changed.wait()

    def _tell(self, number: int) -> bool:
        """Say one; False if it has to wait for its stream."""
        one = self._book[number]
        place = one.place
        try:
            stream = self.stream(place.stream)
            if not stream.ready.is_set():
                return False
            del self._book[number]
            if place.nick and not stream.source.nick_in(place.to):
                raise StreamError(f"the bot is not in {place.to} any more")
            text = f"{place.nick}: {one.text}" if place.nick else f"Reminder: {one.text}"
            if self._now() - one.due > LATE:
                text += f" (late; it was due {self._shown(one.due)})"
            stream.say(place.to, text)
        except StreamError as error:
            self._book.pop(number, None)
            self.count("not-told")
            self.log.warning("reminder %d of %s is not told: %s", number, one.owner, error)
        else:
            self.count("told")
        return True

    async def _keep(self) -> None:
        try:
            await self._file.write(self._book)
        except OSError as error:
            self.count("not-kept")
            self.log.error("reminders can't be written to %s: %s", self._file.path, error)
