"""Commands for backends: the service ``command.NAME`` of the bot's own broker, and ``commands``.

Rules:
- The body is one frame, a JSON object of the arguments by name; empty is no arguments. A second frame,
  if there is one, is a JSON list of answers to what the command asks, in order.
- The answer is one JSON object per piece, each a line. What a function returns is one final answer; what one yields
  are parts, and an empty frame ends them.
- A failure is the protocol's own for a peer of zxmpp (condition and text). For any other it is the
  final answer, ``{"type": "error", "condition": ..., "text": ...}``: plain MDP has no word for it.
- Whoever reaches the broker's socket is ``@broker``; a sender that a request claims is not looked at.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from zxmpp.commands.data import (
    CallEvent,
    Conversation,
    DataCall,
    DataFace,
    as_json,
    describe,
    encoded,
    values_of,
)
from zxmpp.commands.roles import BROKER, Who
from zxmpp.errors import Refused, UsageError, UserError
from zxmpp.event import Failure
from zxmpp.failures import failure_of
from zxmpp.mdp.broker import Request
from zxmpp.mdp.driver import Driver
from zxmpp.mdp.messages import Problem

if TYPE_CHECKING:
    from zxmpp.commands.questions import Question
    from zxmpp.commands.registry import Command, Commands
    from zxmpp.commands.signature import Bound

__all__ = ["ServiceFace"]

#: What the services of commands begin with, and the one that lists them.
PREFIX, LIST = b"command.", b"commands"
#: Answers to questions that a request may bring.
MAX_ANSWERS = 100
#: Characters of a failure's text; it has to fit into a frame of meta data.
MAX_TEXT = 500


class _Asked(Conversation):
    """A request for a command."""

    def __init__(self, driver: Driver, request: Request, limit: int) -> None:
        super().__init__()
        self._driver = driver
        self._limit = limit
        self.request = request
        self.body = request.body

    def piece(self, piece: Any) -> None:
        self._driver.part(self.request, [encoded(piece, self._limit) + b"\n"])

    def progress(self, fraction: float | None, text: str) -> None:
        if fraction is not None:
            self._driver.part(self.request, [b""], fraction)

    def end(self, piece: Any = None) -> None:
        body = b"" if piece is None else encoded(piece, self._limit) + b"\n"
        self.over = True
        self._driver.answer(self.request, [body])

    def fail(self, failure: Failure) -> None:
        self.over = True
        text = failure.text[:MAX_TEXT].encode(errors="replace").decode()
        body = {"type": "error", "condition": failure.condition, "text": text}
        problem = Problem(failure.condition, text)
        self._driver.refuse(self.request, problem, [as_json(body)])


class ServiceCall(DataCall):
    """A request that called a command."""

    face = "service"

    def __init__(self, event: CallEvent, command: Command, who: Who, body: list[bytes]) -> None:
        super().__init__(event, command, who)
        self._body = body
        self._answers: deque[Any] = deque()

    def arguments(self) -> Bound:
        signature = self._command.signature
        if len(self._body) > 2:
            raise signature.wrong("the body has one frame, or two with answers")
        values = _read(self._body[0], dict[str, Any], "an object of the arguments by name")
        if len(self._body) == 2:
            answers = _read(self._body[1], list[Any], "a list of answers")
            if len(answers) > MAX_ANSWERS:
                raise UsageError(f"there are at most {MAX_ANSWERS} answers")
            self._answers += answers
        return signature.bind_data(values, self)

    async def _fill(self, question: Question) -> dict[str, Any]:
        about = question.text or question.title or self.command
        if not self._answers:
            raise Refused(
                f"{self.command} asks: {about!r}, and the request has no answer to that; put it "
                f"into the list that is its second frame", "not-acceptable", "modify",
            )  # fmt: skip
        try:
            return values_of(question, self._answers.popleft())
        except ValueError as error:
            raise UserError(f"The answer to {about!r} can't be used: {error}.") from None


class ServiceFace(DataFace):
    """Serves commands as services of `driver`. An object of an answer has at most `limit` bytes."""

    name = "service"
    sender = BROKER

    def __init__(self, commands: Commands, driver: Driver, limit: int) -> None:
        super().__init__(commands)
        self._driver = driver
        self._limit = limit
        self._asked: dict[Request, _Asked] = {}
        driver.serve(self)

    def call(self, event: CallEvent, command: Command) -> ServiceCall:
        asked: Any = event.conversation
        return ServiceCall(event, command, self.who, asked.body)

    # -- what the broker asks --------------------------------------------------------------------

    def owns(self, service: bytes) -> bool:
        return service.startswith(PREFIX) or service == LIST

    def has(self, service: bytes) -> bool:
        name = service.removeprefix(PREFIX).decode(errors="replace")
        return service == LIST or (service.startswith(PREFIX) and name in self._visible())

    def take(self, request: Request) -> None:
        asked = _Asked(self._driver, request, self._limit)
        if request.service.name == LIST:
            self._list(asked)
            return
        self._asked[request] = asked
        name = request.service.name.removeprefix(PREFIX).decode(errors="replace")
        self.begin(name, asked)

    def recall(self, request: Request) -> None:
        asked = self._asked.pop(request, None)
        if asked is not None:
            asked.cancel()

    def answer(self, event: CallEvent, reply: Any) -> None:
        super().answer(event, reply)
        self._forget(event)

    def fail(self, event: CallEvent, failure: Failure) -> bool:
        self._forget(event)
        return super().fail(event, failure)

    def _forget(self, event: CallEvent) -> None:
        asked: Any = event.conversation
        self._asked.pop(asked.request, None)

    # -- what there is ---------------------------------------------------------------------------

    def _visible(self) -> dict[str, Command]:
        return {
            command.name: command
            for command in self._commands.visible(self.who)
            if not command.signature.needs_stanza
        }

    def _list(self, asked: _Asked) -> None:
        """All commands, or with a name in the body that one's schema."""
        known, name = self._visible(), b"".join(asked.body).decode(errors="replace")
        if not name:
            answer: Any = [describe(command) for command in known.values()]
        elif name in known:
            answer = describe(known[name])["schema"]
        else:
            asked.fail(failure_of(self._commands.unknown(name, self.who)))
            return
        self._driver.answer(asked.request, [as_json(answer)])


def _read(frame: bytes, wanted: Any, what: str) -> Any:
    """The JSON in `frame`; nothing in an empty one."""
    if not frame:
        return wanted()
    try:
        return msgspec.json.decode(frame, type=wanted)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"this frame is JSON, {what}: {error}") from None
