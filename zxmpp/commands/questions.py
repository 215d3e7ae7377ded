"""Questions to people in chats: asked by a command, answered by their next message.

Rules:
- A question is bound to who was asked and where: the same stream and address of ours, the same room
  or none, the same verified identity. Nobody else's message answers it.
- An answer is a new message: no headline, no correction of an earlier one, not what it quotes. In a
  room it may begin with the bot's nick.
- The answer is taken by a guard: it goes past routes and lanes, to the handler that waits for it.
  Whoever has several questions answers them in the order in which they were asked.
- ``cancel`` (with or without the prefix) ends a question. So do its time-out, the unload of the
  plugin that asked, and, where a room hides who is there, that occupant's leaving, or ours.
- Open questions are bounded, for each plugin: each keeps one of its handlers waiting.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from string import whitespace
from typing import Any

from msgspec import Struct

from zxmpp.commands.parameters import Parameter
from zxmpp.commands.roles import who_of
from zxmpp.errors import Cancelled, Refused, Unanswered
from zxmpp.event import Event, LifecycleEvent, StanzaEvent
from zxmpp.guards import Verdict
from zxmpp.handlers import Owner
from zxmpp.resting import off_the_clock
from zxmpp.streams.names import CORRECTION
from zxmpp.streams.reading import own_words

__all__ = [
    "MAX_OPEN",
    "MAX_TIMEOUT",
    "TRIES",
    "Question",
    "Questions",
    "after_nick",
    "is_correction",
    "said_in",
]

#: Questions of one plugin that wait for an answer; half of the handlers that it may have by default.
MAX_OPEN = 100
#: The longest that a question waits, in seconds.
MAX_TIMEOUT = 86400.0
#: How often a question is put to a person whose answers are wrong.
TRIES = 3
#: What may stand behind the bot's nick.
_AFTER_NICK = ":,"
#: XEP-0308
_REPLACE = f"{{{CORRECTION}}}replace"

_ANSWER = Verdict("answer")


class Question(Struct, frozen=True):
    """What is asked: `fields` to be given within `timeout` seconds."""

    text: str
    fields: tuple[Parameter, ...]
    timeout: float
    title: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.timeout <= MAX_TIMEOUT:
            raise ValueError(f"a question's timeout is above 0 and at most {MAX_TIMEOUT:g} seconds")


class _Open:
    """One question that waits."""

    __slots__ = ("answer", "event")

    def __init__(self, event: StanzaEvent) -> None:
        self.event = event
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()


def _key(event: StanzaEvent) -> Hashable:
    who = who_of(event)
    # What comes privately through a room is a conversation of its own.
    place, address = (jid.partition("/")[0] for jid in (event.from_, event.to))
    return event.source.name, place, address, event.room, who.sender, who.occupant_id


def is_correction(event: StanzaEvent) -> bool:
    """Whether `event` is a message that takes the place of an earlier one (XEP-0308)."""
    return event.stanza.xml.find(_REPLACE) is not None


def said_in(event: StanzaEvent) -> str:
    """What the message in `event` says itself, without what it quotes (XEP-0461)."""
    return (own_words(event) if event.body.startswith(">") else event.body).strip()


def after_nick(event: StanzaEvent, text: str) -> str:
    """`text`, which was said in a room, without the bot's nick in front; the same if it is not
    there."""
    source: Any = event.source
    nick: str = source.nick_in(event.room)
    rest = text.removeprefix("@")
    if not nick or not rest.startswith(nick):
        return text
    rest = rest[len(nick) :]
    if rest and rest[0] not in _AFTER_NICK and not rest[0].isspace():
        return text
    return rest.lstrip(_AFTER_NICK + whitespace)


class Questions:
    """The open questions of an app; as a guard it takes their answers. `prefix` begins a command."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._open: dict[Hashable, deque[_Open]] = {}
        self._of: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def __call__(self, event: Event) -> Verdict | None:
        """Take a message that answers."""
        if not self._open or not isinstance(event, StanzaEvent):
            return None
        if event.name == "presence":
            if event.type == "unavailable":
                self._gone(event)
            return None
        if event.name != "message" or not event.body or event.type in ("error", "headline"):
            return None
        waiting = self._open.get(_key(event))
        if not waiting or is_correction(event):
            return None
        text = self._said(event)
        if text.startswith(self._prefix) and not self.cancels(text):
            return None
        for question in waiting:
            if not question.answer.done():
                question.answer.set_result(text)
                return _ANSWER
        return None

    @staticmethod
    def _said(event: StanzaEvent) -> str:
        text = said_in(event)
        return after_nick(event, text) if event.room else text

    def cancels(self, text: str) -> bool:
        """Whether `text` ends a question."""
        return text.strip().removeprefix(self._prefix).lower() == "cancel"

    def _gone(self, event: StanzaEvent) -> None:
        if "/" in event.sender:
            self._drop("Whoever was asked has left.", lambda asked: asked.from_ == event.from_)

    def left(self, event: LifecycleEvent) -> None:
        """We are out of a room: whoever has a nick there when we come back may be another one."""
        if self._open:
            self._drop(
                "The bot has left the room.",
                lambda asked: (
                    asked.source.name == event.source.name
                    and "/" in asked.sender
                    and asked.from_.partition("/")[0] == event.subject
                ),
            )

    def _drop(self, why: str, concerns: Callable[[StanzaEvent], bool]) -> None:
        for waiting in self._open.values():
            for question in waiting:
                if not question.answer.done() and concerns(question.event):
                    question.answer.set_exception(Cancelled(why))

    @contextmanager
    def waits(self, owner: Owner) -> Iterator[None]:
        """One more handler of `owner` waits for an answer inside. Refused if too many do."""
        if self._of[owner.name] >= MAX_OPEN:
            owner.counts["questions-full"] += 1
            raise Refused(
                f"{owner.name} waits for {MAX_OPEN} answers already; try again later.",
                "resource-constraint", "wait",
            )  # fmt: skip
        self._of[owner.name] += 1
        try:
            yield
        finally:
            self._of[owner.name] -= 1

    async def answer(self, event: StanzaEvent, timeout: float, about: str) -> str:
        """Wait for the next message of whoever sent `event`, there: inside `waits`. Unanswered,
        Cancelled."""
        text = await self._answer(event, timeout, about)
        if self.cancels(text):
            raise Cancelled("Cancelled.")
        return text

    async def _answer(self, event: StanzaEvent, timeout: float, about: str) -> str:
        key, question = _key(event), _Open(event)
        waiting = self._open.setdefault(key, deque())
        waiting.append(question)
        try:
            async with off_the_clock(), asyncio.timeout(timeout):
                return await question.answer
        except TimeoutError:
            if question.answer.done() and not question.answer.cancelled():
                return question.answer.result()  # it came in the same turn of the loop
            raise Unanswered(f"No answer in {timeout:g} s: {about}") from None
        finally:
            waiting.remove(question)
            if not waiting:
                self._open.pop(key, None)
