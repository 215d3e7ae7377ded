"""Commands called by programs: what the faces share whose results are objects of JSON.

Rules:
- A call has a `Conversation`, the way back to whoever called. It ends once: with the last piece of the
  result, or with a failure. When nobody waits any more, the handler is cancelled where it waits.
- A conversation is a lane of its own: calls of one program run at the same time, save where a
  command has a lane of its own.
- A command that wants the stanza can't be called here.
"""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from asyncio import Timeout, get_running_loop, sleep, timeout
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec

from zxmpp.commands.call import Call
from zxmpp.commands.face import Face
from zxmpp.commands.results import Progress, as_data
from zxmpp.commands.roles import Who
from zxmpp.commands.signature import read_data
from zxmpp.errors import Cancelled, Refused
from zxmpp.event import Event, Failure
from zxmpp.handlers import Route

if TYPE_CHECKING:
    from zxmpp.commands.call import Live
    from zxmpp.commands.questions import Question
    from zxmpp.commands.registry import Command, Commands
    from zxmpp.streams.live import Edits

__all__ = [
    "CallEvent", "Conversation", "DataCall", "DataFace", "as_json", "describe", "encoded", "values_of",
]  # fmt: skip


class Conversation(ABC):
    """One call of a program, from its arrival to its end."""

    def __init__(self) -> None:
        #: It has ended, or nobody waits for its end.
        self.over = False
        self._scope: Timeout | None = None

    @abstractmethod
    def piece(self, piece: Any) -> None:
        """Send a piece of the result; more follow."""

    @abstractmethod
    def progress(self, fraction: float | None, text: str) -> None:
        """Say how far the work is, where there is a way to."""

    @abstractmethod
    def end(self, piece: Any = None) -> None:
        """Send the last piece; None is none."""

    @abstractmethod
    def fail(self, failure: Failure) -> None:
        """Say that there is no result."""

    def cancel(self) -> None:
        """Nobody waits any more: what runs for this is cancelled."""
        self.over = True
        if self._scope is not None:
            self._scope.reschedule(get_running_loop().time())

    @asynccontextmanager
    async def awaited(self) -> AsyncGenerator[None, None]:
        """What runs inside is cancelled by `cancel`. Raises Cancelled then."""
        try:
            async with timeout(None) as self._scope:
                if self.over:
                    raise Cancelled("Nobody waits for this any more.")
                yield
        except TimeoutError:
            if self._scope is not None and self._scope.expired():
                raise Cancelled("Nobody waits for this any more.") from None
            raise
        finally:
            self._scope = None


class CallEvent(Event, frozen=True, eq=False):
    """A program calls the command `name`."""

    name: str
    conversation: Conversation


class DataCall(Call):
    """A call of a program."""

    @property
    def _conversation(self) -> Conversation:
        conversation: Conversation = self.event.conversation
        return conversation

    def present(self, result: Any) -> Any:
        return self._present(result)

    async def _present(self, result: Any) -> Any:
        """Send all pieces but the last one of a function that does not yield: that comes back."""
        conversation, last = self._conversation, None
        streams = isinstance(result, AsyncIterator | Iterator)
        try:
            await sleep(0)  # from its second step on a handler is in a task, which can be cancelled
            async with conversation.awaited(), aclosing(self.pieces(result)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Progress):
                        conversation.progress(piece.fraction, piece.text)
                    elif streams:
                        conversation.piece(piece)
                    else:
                        if last is not None:
                            conversation.piece(last)
                        last = piece
        finally:
            if inspect.iscoroutine(result):
                result.close()
        return last

    def reply(self, piece: Any) -> None:
        if isinstance(piece, Progress):
            self._conversation.progress(piece.fraction, piece.text)
        elif piece is not None:
            self._conversation.piece(piece)

    def live(self, edits: Edits = "auto") -> Live:
        return _Live(self._conversation)


class _Live:
    """What there is so far is progress, the whole is a piece."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, text: str) -> None:
        self._conversation.progress(None, text)

    def finish(self, text: str) -> None:
        self._conversation.piece(text)


class DataFace(Face):
    """A face for programs, and the source of their calls: `sender` is who they all are."""

    sender: ClassVar[str]
    pausable = False
    owes_answer = True

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self.who = Who(self.sender)
        self._keys = (("command", self.name),)
        self._unknown = Route(
            commands.owner, self._answer_unknown, (), name="unknown command", report=self.report
        )
        self._route = commands.pipeline.add(
            Route(commands.owner, self._answer_unknown, self._keys, name=f"{self.name} commands",
                  select=self._select)
        )  # fmt: skip

    def begin(self, name: str, conversation: Conversation) -> None:
        """Let the pipeline take a call of the command `name`."""
        event = CallEvent(self, self._keys, self.sender, conversation, name, conversation)
        self._commands.pipeline.receive([event])

    def report(self, event: CallEvent, failure: Failure) -> Failure:
        return failure

    def _select(self, event: CallEvent) -> Route | None:
        command = self._commands.find(event.name, self.who)
        if command is None or command.signature.needs_stanza:
            return self._unknown
        return command.route(self)

    def _answer_unknown(self, event: CallEvent) -> None:
        if self._commands.find(event.name, self.who) is not None:
            raise Refused(
                f"{event.name} works in a chat only: it needs the message that calls it.",
                "feature-not-implemented",
            )
        raise self._commands.unknown(event.name, self.who)

    # -- as a source -----------------------------------------------------------------------------

    def pause(self) -> None: ...
    def resume(self) -> None: ...

    def answer(self, event: CallEvent, reply: Any) -> None:
        if isinstance(reply, Failure):
            self.fail(event, reply)
        elif not event.conversation.over:
            event.conversation.end(reply)

    def fail(self, event: CallEvent, failure: Failure) -> bool:
        if event.conversation.over:
            return False
        event.conversation.fail(failure)
        return True


def as_json(value: Any) -> bytes:
    """`value` as JSON. Half a character, as in the name of a file, is a question mark."""
    try:
        return msgspec.json.encode(value, enc_hook=str)
    except UnicodeEncodeError:
        plain = msgspec.to_builtins(value, enc_hook=str)
        return json.dumps(plain, ensure_ascii=False).encode(errors="replace")


def encoded(piece: Any, limit: int) -> bytes:
    """A piece as JSON. Refused if it has more than `limit` bytes."""
    frame = as_json(as_data(piece))
    if len(frame) > limit:
        raise Refused(
            f"the answer is too big: {len(frame)} bytes; at most {limit} are sent.",
            "resource-constraint",
        )
    return frame


def values_of(question: Question, answer: Any) -> dict[str, Any]:
    """The values of the fields of `question` in `answer`: an object of JSON; of one field its value
    alone will do. ValueError says what is wrong."""
    fields = question.fields
    if not isinstance(answer, dict):
        if len(fields) == 1:
            return {fields[0].name: fields[0].convert_data(answer)}
        names = ", ".join(field.name for field in fields)
        raise ValueError(f"it is an object of {names}")
    found = read_data(fields, answer, ValueError)
    for field in fields:
        if field.name not in found:
            if field.required:
                raise ValueError(f"{field.name} is missing")
            found[field.name] = field.fallback
    return found


def describe(command: Command) -> dict[str, Any]:
    """A command for programs: its name, what it does, and the JSON Schema of its arguments."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": command.name, "description": command.help, **command.signature.schema(),
    }  # fmt: skip
    return {"name": command.name, "summary": command.summary, "schema": schema}
