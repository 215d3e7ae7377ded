"""Commands as ad-hoc commands (XEP-0050): called by IQs, shown as forms (XEP-0004).

Rules:
- A command without parameters runs at once. One with parameters first answers with a form of them;
  a form that comes with the first IQ saves that step. What is wrong in a form is asked again.
- What a command asks is the next step of the same session; ``prev`` is never offered.
- Who may not use a command is told the same as if it did not exist.
- What a session is, and its bounds, is in `zxmpp.commands.sessions`. Calls run in the lane
  ``free``: a session that waits holds up no conversation, and a plugin's handlers that wait for
  answers are bounded, in chats and sessions together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self

from slixmpp.xmlstream import StanzaBase

from zxmpp.commands.call import Call
from zxmpp.commands.discovery import Discovery
from zxmpp.commands.face import Face
from zxmpp.commands.forms import COMMANDS, Request
from zxmpp.commands.questions import Question
from zxmpp.commands.registry import Command, Commands
from zxmpp.commands.results import File, Progress, Table, as_text
from zxmpp.commands.roles import who_of
from zxmpp.commands.sessions import Session, Sessions, State
from zxmpp.commands.signature import read_form
from zxmpp.errors import Cancelled, Refused, StreamError, Unanswered, UsageError
from zxmpp.event import HANDLED, Event, Failure, Handled, Lifecycle, LifecycleEvent, StanzaEvent
from zxmpp.handlers import FREE, Route
from zxmpp.resting import off_the_clock

if TYPE_CHECKING:
    from zxmpp.commands.signature import Bound
    from zxmpp.streams import BaseStream

__all__ = ["AdhocFace"]


def _wrong(condition: str, text: str) -> Failure:
    """One of the errors of XEP-0050, 4.3."""
    return Failure("bad-request", "modify", text, application=f"{{{COMMANDS}}}{condition}")


_NO_SESSION = _wrong("bad-sessionid", "There is no such session, or it is over; begin again.")
_NO_WAY_BACK = _wrong("bad-action", "There is no way back; cancel, and begin again.")
_NO_ACTION = _wrong("malformed-action", "The actions are execute, next, complete and cancel.")
_BUSY = Failure("unexpected-request", "wait", "The last step of this session is not answered yet.")


class AdhocCall(Call):
    """An IQ that called a command, and those that follow it."""

    face = "ad-hoc"

    def __init__(
        self, face: AdhocFace, event: StanzaEvent, command: Command, session: Session
    ) -> None:
        super().__init__(event, command, who_of(event))
        self._face = face
        self._session = session

    def arguments(self) -> Bound:
        session, signature = self._session, self._command.signature
        values = Request(self.event).values()
        try:
            # First without the usage, which is for those who type.
            read_form(signature.parameters, values, UsageError)
        except UsageError as error:
            session.ask_parameters(self._command, values, f"{error}.")
            raise
        bound = signature.bind_form(values, self)
        session.state = State.RUNNING
        return bound

    # -- showing ---------------------------------------------------------------------------------

    async def present(self, result: Any) -> None:
        session = self._session
        try:
            async with session.limit(), aclosing(self.pieces(result)) as pieces:
                async for piece in pieces:
                    await self._show(piece)
        except TimeoutError:
            if not session.stopped:
                raise
            raise Cancelled("Cancelled.") from None
        if session.results.cut:
            self._command.owner.counts["result-cut"] += 1
        session.finish()
        self._face.forget(self.event)

    async def _show(self, piece: Any) -> None:
        if isinstance(piece, File):
            try:
                url = await self._face.upload(self.event, piece)
            except StreamError as error:
                self._session.results.text(f"{piece.name} is not here: {error}.", "warn")
            else:
                self._session.results.file(piece, url)
        else:
            self.reply(piece)

    def reply(self, piece: Any) -> None:
        session = self._session
        if isinstance(piece, File):
            raise TypeError("a file takes its time: yield it, or return it")
        if isinstance(piece, Progress):
            session.progress = as_text(piece)
        elif isinstance(piece, Table):
            session.results.table(piece)
        elif isinstance(piece, StanzaBase):
            self.event.source.xmpp.send(piece)
        elif not isinstance(piece, Handled):
            session.results.text(as_text(piece))

    def live(self, edits: Any = "auto") -> Any:
        return _Live(self._session)

    # -- asking ----------------------------------------------------------------------------------

    async def _fill(self, question: Question) -> dict[str, Any]:
        given: Mapping[str, Sequence[str]] | None = None
        wrong = ""
        with self._command.commands.questions.waits(self._command.owner):
            try:
                async with off_the_clock(), asyncio.timeout(question.timeout):
                    while True:
                        given = await self._session.ask(question, given, wrong)
                        try:
                            return read_form(question.fields, given, UsageError)
                        except UsageError as error:
                            wrong = f"{error}."
            except TimeoutError:
                about = question.title or question.text
                raise Unanswered(f"No answer in {question.timeout:g} s: {about}") from None


class _Live:
    """An answer that grows: in a session, what a look at the work shows."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, text: str) -> None:
        self._session.progress = text

    def finish(self, text: str) -> None:
        self._session.results.text(text)


class AdhocFace(Face):
    """Answers ad-hoc commands on all streams that it is told of."""

    name = "ad-hoc"
    lane = FREE

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        pipeline, owner = commands.pipeline, commands.owner
        self.sessions = Sessions(owner.counts)
        #: The sessions of calls that run, by what began them.
        self._running: dict[Event, Session] = {}
        self._streams: dict[str, Discovery] = {}
        self._own = Route(owner, self._answer, (), name="ad-hoc sessions", lane=FREE)
        pipeline.guard(StanzaEvent, self._watch)
        key = ("iq", f"{{{COMMANDS}}}command")
        pipeline.add(Route(owner, self._answer, (key,), name="ad-hoc", select=self._select))
        pipeline.add(Route(owner, self._follow, ("lifecycle",), name="ad-hoc streams", lane=FREE))

    def add_stream(self, stream: BaseStream) -> None:
        """Let `stream` say what commands there are (XEP-0030)."""
        self._streams[stream.name] = Discovery(self._commands, stream)
        stream.source.closers.append(lambda: self._forget_stream(stream.name))

    def _forget_stream(self, name: str) -> None:
        self._streams.pop(name, None)
        self.sessions.drop(name, "The bot is leaving.")

    def _follow(self, event: LifecycleEvent) -> None:
        """A stream comes and goes."""
        known = self._streams.get(event.source.name)
        if known is None:
            return
        if event.what is Lifecycle.ONLINE:
            known.adopt()
        elif event.what is Lifecycle.OFFLINE:
            self.sessions.drop(event.source.name, "The connection was lost.")

    def _watch(self, event: Event) -> None:
        """A guard: who goes offline, or leaves a room, takes the sessions along."""
        if (
            self.sessions
            and isinstance(event, StanzaEvent)
            and event.name == "presence"
            and event.type == "unavailable"
        ):
            self.sessions.drop(event.source.name, "You have left.", event.from_)

    # -- requests --------------------------------------------------------------------------------

    def _select(self, event: StanzaEvent) -> Route | None:
        known = self._streams.get(event.source.name)
        if event.type != "set" or (known is not None and known.leaves(event.stanza.xml[0])):
            return None
        request = Request(event)
        if not request.goes_on:
            return self._own
        if request.id:
            session = self.sessions.find(request.id, event)
            if session is None or session.state is not State.FORM:
                return self._own
            command = self._commands.find(session.name, who_of(event))
            return self._own if command is None else command.route(self)
        command = self._commands.find(request.name, who_of(event))
        if command is None or (command.signature.parameters and not request.submits):
            return self._own
        return command.route(self)

    def call(self, event: StanzaEvent, command: Command) -> AdhocCall:
        request = Request(event)
        if not request.id:
            session = self._open(event, command)
        else:
            # It was there when this was routed; meanwhile another step may have come first.
            found = self.sessions.find(request.id, event)
            if found is None or found.busy or found.state is not State.FORM:
                raise Refused(_BUSY.text, _BUSY.condition, _BUSY.kind)
            session = found
        session.take(event)
        self._running[event] = session
        return AdhocCall(self, event, command, session)

    def _open(self, event: StanzaEvent, command: Command) -> Session:
        if self._commands.pipeline.draining:
            text = "This bot is stopping; try again later."
            raise Refused(text, "service-unavailable", "wait")
        trusted = self._commands.roles.holds_any(who_of(event))
        return self.sessions.open(event, command.name, trusted)

    def forget(self, event: StanzaEvent) -> Session | None:
        """What `event` began has ended; the session that it is in."""
        return self._running.pop(event, None)

    def report(self, event: StanzaEvent, failure: Failure) -> None:
        session = self.forget(event)
        if session is None:
            event.source.fail(event, failure)
        elif session.busy or session.state is not State.FORM:
            session.fail(failure.text)

    def _answer(self, event: StanzaEvent) -> Any:
        """All that is no call of a command's function."""
        request = Request(event)
        if not request.id:
            return self._begin(event, request)
        session = self.sessions.find(request.id, event)
        if session is None:
            return self._fail(event, _NO_SESSION)
        if request.action == "cancel":
            session.cancel(event)
        elif not request.goes_on:
            return self._fail(event, _NO_WAY_BACK if request.action == "prev" else _NO_ACTION)
        elif session.busy:
            return self._fail(event, _BUSY)
        elif session.state is State.FORM:
            # The command is gone, or not for them any more.
            session.drop("")
            raise self._commands.unknown(session.name, who_of(event))
        else:
            session.go_on(event, request.values())
        return HANDLED

    def _begin(self, event: StanzaEvent, request: Request) -> Any:
        who = who_of(event)
        command = self._commands.find(request.name, who)
        if command is None:
            raise self._commands.unknown(request.name, who)
        if not request.goes_on:
            known = request.action in ("prev", "cancel")
            return self._fail(event, _NO_SESSION if known else _NO_ACTION)
        session = self._open(event, command)
        session.take(event)
        session.ask_parameters(command)
        return HANDLED

    @staticmethod
    def _fail(event: Any, failure: Failure) -> None:
        event.source.fail(event, failure)

    async def upload(self, event: StanzaEvent, file: File) -> str:
        """Put `file` where people can get it; its URL. StreamError if that can't be."""
        known = self._streams.get(event.source.name)
        if known is None:
            raise StreamError(f"there is no stream {event.source.name!r} any more")
        return await known.stream.upload(file.data, file.name, file.type)
