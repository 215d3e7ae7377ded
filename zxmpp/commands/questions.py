"""Questions to people in chats: asked by a command, answered by their next message.

Rules:
- A question is bound to who was asked and where: the same stream, the same room or none, the same
  verified identity. Nobody else's message answers it.
- The answer is taken by a guard: it goes past routes and lanes, to the handler that waits for it.
  Whoever has several questions answers them in the order in which they were asked.
- ``cancel`` (with or without the prefix) ends a question. So do its time-out, the unload of the
  plugin that asked, and, where a room hides who is there, that occupant's leaving.
- Open questions are bounded, for each plugin: each keeps one of its handlers waiting.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from zxmpp.commands.parameters import Parameter
from zxmpp.commands.roles import who_of
from zxmpp.errors import Cancelled, Refused, Unanswered
from zxmpp.event import Event, StanzaEvent
from zxmpp.guards import Verdict
from zxmpp.handlers import Owner, off_the_clock
from zxmpp.streams.reading import own_words

__all__ = ["MAX_OPEN", "MAX_TIMEOUT", "Question", "Questions"]

#: Questions of one plugin that wait for an answer; half of the handlers that it may have by default.
MAX_OPEN = 100
#: The longest that a question waits, in seconds.
MAX_TIMEOUT = 86400.0

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

    __slots__ = ("answer", "from_")

    def __init__(self, from_: str) -> None:
        self.from_ = from_
        self.answer: asyncio.Future[StanzaEvent] = asyncio.get_running_loop().create_future()


def _key(event: StanzaEvent) -> Hashable:
    who = who_of(event)
    # What comes privately through a room is a conversation of its own.
    place = event.from_.partition("/")[0]
    return event.source.name, place, event.room, who.sender, who.occupant_id


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
        if event.name != "message" or not event.body or event.type == "error":
            return None
        waiting = self._open.get(_key(event))
        text = own_words(event).strip()
        if not waiting or (text.startswith(self._prefix) and not self.cancels(text)):
            return None
        for question in waiting:
            if not question.answer.done():
                question.answer.set_result(event)
                return _ANSWER
        return None

    def cancels(self, text: str) -> bool:
        """Whether `text` ends a question."""
        return text.strip().removeprefix(self._prefix).lower() == "cancel"

    def _gone(self, event: StanzaEvent) -> None:
        if "/" not in event.sender:
            return
        for waiting in self._open.values():
            for question in waiting:
                if question.from_ == event.from_ and not question.answer.done():
                    question.answer.set_exception(Cancelled("Whoever was asked has left."))

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
        key, question = _key(event), _Open(event.from_)
        waiting = self._open.setdefault(key, deque())
        waiting.append(question)
        try:
            async with off_the_clock(), asyncio.timeout(timeout):
                return own_words(await question.answer)
        except TimeoutError:
            raise Unanswered(f"No answer in {timeout:g} s: {about}") from None
        finally:
            waiting.remove(question)
            if not waiting:
                self._open.pop(key, None)
