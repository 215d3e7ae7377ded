"""``!poll "Lunch?" pizza soup``: a vote in a room, by reactions or ``!vote 2``.

Rules:
- One vote at a time in one place. Whoever the room knows by an occupant id, or else by an address,
  has one voice, whatever the nick; the last word counts. (The id first: a room may begin or cease to
  show addresses while a vote is open.)
- Reactions (XEP-0444) count on the bot's own message, by the id that the room gave it.
- Whoever opened a vote closes it, or a role does, or the clock. The result is a table, and a chart
  where the library for it is installed.
- Options, voices and open votes are bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from msgspec import Struct

from zxmpp import (
    Call,
    Image,
    Plugin,
    PluginError,
    Reaction,
    Refused,
    StanzaEvent,
    StreamError,
    Table,
    UserError,
    block,
    command,
    every,
    on,
)
from zxmpp_plugins import chart
from zxmpp_plugins.places import place_of
from zxmpp_plugins.polls import KEYS, Poll

__all__ = ["Vote", "VoteConfig"]


class VoteConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.vote]``"""

    #: Who may close votes of others: a role of [roles]; empty for nobody.
    role: str = ""
    #: Hours until a vote closes by itself.
    hours: float = 24.0
    #: Options of one vote; at most 10.
    max_options: int = 10
    #: Characters of a question, and of an option.
    max_chars: int = 200
    #: People that one vote counts.
    max_voters: int = 1000
    #: Votes that are open at the same time, in all places.
    max_open: int = 50
    #: A font file (TTF) for the chart, where the built-in one lacks your letters.
    font: str = ""

    def __post_init__(self) -> None:
        for key in ("hours", "max_chars", "max_voters", "max_open"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} must be above 0")
        if not 2 <= self.max_options <= len(KEYS):
            raise ValueError(f"max_options is a number from 2 to {len(KEYS)}")


class Vote(Plugin):
    """Let a room vote."""

    Config = VoteConfig
    config: VoteConfig

    async def start(self) -> None:
        #: By stream and address.
        self._polls: dict[tuple[str, str], Poll] = {}
        role = self.config.role
        if role and role not in self.app.commands.roles:
            raise PluginError(f"[plugins.{self.instance}] role: the configuration has no role "
                              f"{role!r}; add it under [roles]")  # fmt: skip

    def adopt(self, old: Any) -> None:
        """Go on with the votes that are open."""
        self._polls = old._polls

    # -- commands --------------------------------------------------------------------------------

    @command
    def poll(self, call: Call, question: str, options: list[str]) -> str:
        """Open a vote here.

        question: Question
        options: Options
        """
        place = place_of(call)
        key = (place.stream, place.to)
        texts = [" ".join(text.split()) for text in (question, *options)]
        if not 2 <= len(options) <= self.config.max_options:
            raise UserError(f"A vote has 2 to {self.config.max_options} options; put quotes around "
                            f"a question and an option of several words.")  # fmt: skip
        if not all(0 < len(text) <= self.config.max_chars for text in texts):
            raise UserError(f"Questions and options have 1 to {self.config.max_chars} characters.")
        if len(set(texts[1:])) < len(options):
            raise UserError("Two options are the same.")
        if key in self._polls:
            raise UserError(f"There is a vote here already: {self._polls[key].question}")
        if len(self._polls) >= self.config.max_open:
            self.count("votes-full")
            raise Refused(f"{len(self._polls)} votes are open already; try again later.",
                          "resource-constraint", "wait")  # fmt: skip
        ends = asyncio.get_running_loop().time() + self.config.hours * 3600
        poll = Poll(place, self._voter(call), texts[0], texts[1:], ends)
        self._polls[key] = poll
        return self._asked(poll)

    def _asked(self, poll: Poll) -> str:
        how = "React, or answer" if poll.place.nick else "Answer"
        return "\n".join([*poll.lines(), f"{how} {self.app.commands.prefix}vote NUMBER"])

    @command
    async def vote(self, call: Call, number: int | None = None) -> str:
        """Vote here. The last word counts.

        number: Number of the option
        """
        poll = self._here(call)
        if number is None:
            named = {str(at): option for at, option in enumerate(poll.options, 1)}
            number = int(await call.choose(poll.question, named))
        if not 1 <= number <= len(poll.options):
            raise UserError(f"There is no option {number}; they are 1 to {len(poll.options)}.")
        if self._here(call) is not poll:
            raise UserError("That vote is closed.")
        if not self._count(poll, self._voter(call), number - 1):
            raise Refused(f"{len(poll.votes)} people have voted; no more are counted.")
        return f"Counted: {poll.options[number - 1]}"

    @command
    def votes(self, call: Call) -> Table:
        """Show how the vote here stands."""
        return self._here(call).table()

    @command
    async def close(self, call: Call) -> AsyncIterator[Any]:
        """Close the vote here, and show the result."""
        poll = self._here(call)
        role = self.config.role
        chair = bool(role) and self.app.commands.roles.holds(call.who, role)
        if self._voter(call) != poll.opener and not chair:
            raise UserError("Whoever opened the vote closes it.")
        del self._polls[poll.place.stream, poll.place.to]
        yield poll.table()
        if (png := await self._chart(poll)) is not None:
            yield Image("vote.png", png, "image/png", f"The result of: {poll.question}")

    async def _chart(self, poll: Poll) -> bytes | None:
        rows = poll.table().rows
        names, numbers = zip(*((option, votes) for _, option, votes in rows), strict=True)
        try:
            png: bytes = await self.run_blocking(
                chart.bars, poll.question, names, numbers, self.config.font
            )
        except (ImportError, OSError, RuntimeError) as error:
            self.count("no-chart")
            self.log.warning("votes are shown without a chart: %s; pip install zxmpp[plot], and see "
                             "[plugins.%s] font", error, self.instance)  # fmt: skip
            return None
        return png

    def _here(self, call: Call) -> Poll:
        place = place_of(call)
        poll = self._polls.get((place.stream, place.to))
        if poll is None:
            raise UserError(f"There is no vote here; {self.app.commands.prefix}poll opens one.")
        return poll

    @staticmethod
    def _voter(call: Call) -> str:
        return _voice(call.sender, call.who.room, call.who.occupant_id)

    def _count(self, poll: Poll, voter: str, option: int) -> bool:
        if voter not in poll.votes and len(poll.votes) >= self.config.max_voters:
            self.count("voters-full")
            return False
        poll.votes[voter] = option
        return True

    @every(60)
    async def expire(self) -> None:
        """Close what has been open for long enough."""
        now = asyncio.get_running_loop().time()
        for (stream, to), poll in list(self._polls.items()):
            # One may have been closed, and another opened, while a chart was sent.
            if poll.ends > now or self._polls.get((stream, to)) is not poll:
                continue
            del self._polls[stream, to]
            self.count("expired")
            result = "\n".join([poll.question, *poll.table().lines()])
            try:
                self.say(to, f"The vote is over.\n{block(result)}", stream=stream)
                if (png := await self._chart(poll)) is not None:
                    await self.send_file(to, png, "vote.png", "image/png", stream=stream)
            except StreamError as error:
                self.log.warning("the result of a vote is not sent, or not all of it: %s", error)

    # -- reactions -------------------------------------------------------------------------------

    @on.message(accept=("own-echo",), where=lambda event: "own-echo" in event.marks)
    def echoed(self, event: StanzaEvent) -> None:
        """Learn by which id the room knows the bot's message."""
        poll = self._polls.get((event.source.name, event.room))
        if poll is not None and not poll.reference and event.body.endswith(self._asked(poll)):
            poll.reference = event.stanza_id or str(event.stanza.xml.get("id", ""))

    @on.reaction
    def reacted(self, event: StanzaEvent) -> None:
        """Count a reaction; who takes it back has not voted."""
        poll = self._polls.get((event.source.name, event.room))
        reaction = Reaction.of(event)
        if poll is None or not poll.reference or reaction.id != poll.reference:
            return
        voter = _voice(event.sender, event.room, event.occupant_id)
        option = poll.option_of(reaction.emojis)
        if option is None:
            poll.votes.pop(voter, None)
        else:
            self._count(poll, voter, option)


def _voice(sender: str, room: str, occupant_id: str) -> str:
    """One key for one person in `room`."""
    return f"{room} {occupant_id}" if occupant_id else sender
