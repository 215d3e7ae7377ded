"""One call of a command: who called, from where, by which face; how to answer, and to ask back.

Rules:
- What a command returns is shown piece by piece, by the face that it was called through. At most
  `MAX_REPLIES` pieces come of one call, not counting `Progress`.
- A question is put to the caller alone and waits past the command's lane and time limit, for its own
  `timeout`. No answer, or a cancel, ends the command with a word to the caller.
- Each face has a subclass in its own module; a command knows only `Call`.
"""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar, overload

from msgspec import Struct

from zxmpp.commands.parameters import Parameter, fields_of
from zxmpp.commands.questions import Question
from zxmpp.commands.results import Confirm, Form, Progress
from zxmpp.commands.roles import Who
from zxmpp.event import StanzaEvent
from zxmpp.runner import MAX_REPLIES, TURN_EVERY, TooManyReplies

if TYPE_CHECKING:
    from zxmpp.commands.registry import Command
    from zxmpp.commands.signature import Bound
    from zxmpp.streams.live import Edits

__all__ = ["Call", "Live"]

T = TypeVar("T")
S = TypeVar("S", bound=Struct)


class Live(Protocol):
    """An answer that grows; see `Call.live`."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def show(self, text: str) -> None:
        """What there is so far; takes the place of what was shown before."""

    def finish(self, text: str) -> None:
        """The whole answer."""


class Call(ABC):
    """What a command gets when one of its parameters is annotated `Call`."""

    #: ``chat``, ``ad-hoc``, ``service`` or ``shell``.
    face: ClassVar[str]

    def __init__(self, event: Any, command: Command, who: Who, text: str = "") -> None:
        #: What called: a `StanzaEvent` in a chat and of an ad-hoc command.
        self.event: Any = event
        self.who = who
        #: What followed the command's name, as it was typed; empty where nothing is typed.
        self.text = text
        self._command = command

    @property
    def command(self) -> str:
        """The name by which the command was called."""
        return self._command.name

    @property
    def sender(self) -> str:
        """The verified bare JID of the caller; the occupant JID where the room hides it;
        ``@local`` and ``@broker`` for callers that are not on XMPP."""
        return self.who.sender

    @property
    def room(self) -> str:
        """The bare JID of the room; empty in a 1:1 chat and where there are no rooms."""
        # Not of `who`: in private through a room it is that room's word of the caller that counts.
        return self.event.room if isinstance(self.event, StanzaEvent) else ""

    # -- answering -------------------------------------------------------------------------------

    @abstractmethod
    def reply(self, piece: Any) -> None:
        """Show one piece of the result now, before the command returns. It is sent when the loop
        comes to it; a file may take a moment."""

    @abstractmethod
    def live(self, edits: Edits = "auto") -> Live:
        """An answer that grows while the command works: ``with call.live() as live:``, then
        ``live.show(text)`` for what there is so far, ``live.finish(text)`` for the whole. In a chat
        it is one message that is corrected (XEP-0308), for those who can take that."""

    def react(self, *emojis: str) -> None:
        """Put emojis to the message that called (XEP-0444); none takes them back. Nothing happens
        where there is no message."""
        self._command.owner.counts["reaction-not-shown"] += 1

    # -- asking ----------------------------------------------------------------------------------

    @overload
    async def ask(self, text: str, *, timeout: float = 60.0) -> str: ...
    @overload
    async def ask(self, text: str, type: type[T], *, timeout: float = 60.0) -> T: ...
    async def ask(self, text: str, type: Any = str, *, timeout: float = 60.0) -> Any:
        """Ask the caller for one value of `type`, as a parameter of a command could have. What is
        no such value is asked again. Unanswered after `timeout` seconds; Cancelled by the caller."""
        field = Parameter.of("answer", type, label=text)
        return (await self._fill(Question(text, (field,), timeout)))["answer"]

    async def confirm(self, text: str, *, timeout: float = 60.0) -> bool:
        """Ask yes or no."""
        return await self.ask(text, bool, timeout=timeout)

    async def choose(
        self, text: str, choices: Sequence[str] | Mapping[str, str], *, timeout: float = 60.0
    ) -> str:
        """Ask for one of `choices`; of a mapping, values are shown and the key is returned."""
        named = dict(choices) if isinstance(choices, Mapping) else {each: each for each in choices}
        if not named:
            raise ValueError(f"choose({text!r}) has nothing to choose from")
        parameter = Parameter("answer", str, label=text, options=named)
        return str((await self._fill(Question(text, (parameter,), timeout)))["answer"])

    async def form(
        self, fields: type[S], *, title: str = "", text: str = "", timeout: float = 300.0
    ) -> S:
        """Ask for the fields of a msgspec struct: see `zxmpp.Form`."""
        question = Question(text, tuple(fields_of(fields)), timeout, title)
        return fields(**await self._fill(question))

    @abstractmethod
    async def _fill(self, question: Question) -> dict[str, Any]:
        """Put `question`; the typed value of each of its fields, by name."""

    # -- what faces use --------------------------------------------------------------------------

    @abstractmethod
    def arguments(self) -> Bound:
        """What the caller gave, for the command's function. UsageError."""

    @abstractmethod
    def present(self, result: Any) -> Any:
        """Show what the command's function returned; what comes back is for the runner of handlers,
        as if a handler had returned it."""

    async def pieces(self, result: Any) -> AsyncGenerator[Any, None]:
        """What is to be shown of `result`, piece by piece: awaited, iterated, questions put."""
        shown = seen = 0
        async with aclosing(self._flat(result)) as flat:
            async for piece in flat:
                seen += 1
                if not seen % TURN_EVERY:
                    # One that never waits would keep the loop, and no time limit could end it.
                    await asyncio.sleep(0)
                if piece is None:
                    continue
                if not isinstance(piece, Progress):
                    if shown >= MAX_REPLIES:
                        raise TooManyReplies(self._command.owner.name)
                    shown += 1
                yield piece

    async def _flat(self, result: Any) -> AsyncGenerator[Any, None]:
        while True:
            if inspect.isawaitable(result):
                result = await result
            if isinstance(result, Form):
                filled = await self.form(result.fields, title=result.title, text=result.text)
                result = result.then(filled)
            elif isinstance(result, Confirm):
                if not await self.confirm(result.text):
                    return
                result = result.then()
            else:
                break
        if isinstance(result, AsyncIterator):
            try:
                async for each in result:
                    async with aclosing(self._flat(each)) as flat:
                        async for piece in flat:
                            yield piece
            finally:
                if inspect.isasyncgen(result):
                    await result.aclose()
        elif isinstance(result, Iterator):
            for each in result:
                async with aclosing(self._flat(each)) as flat:
                    async for piece in flat:
                        yield piece
        else:
            yield result
