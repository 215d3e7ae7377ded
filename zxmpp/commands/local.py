"""Commands for the shell: ``zxmpp call --bot`` talks to a running bot over its control socket.

Rules:
- Whoever can use the socket is the user that runs the bot: ``@local``, who holds every role.
- A peer has one call at a time. It sends an object of JSON: ``{"command": NAME, "words": [...]}``,
  ``{"text": "NAME rest of the line"}``, or ``{"list": true}``. It gets one object for each piece of the
  result, and ``{"type": "end"}`` last, also behind an error.
- A question is an object, too; ``{"answer": ...}`` from the peer that was asked answers it, past all
  lanes. ``{"cancel": true}`` ends a call; so does the end of the peer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zxmpp.commands import control
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
from zxmpp.commands.questions import MAX_OPEN, TRIES
from zxmpp.commands.roles import LOCAL, Who
from zxmpp.commands.words import Line, WordList
from zxmpp.errors import Cancelled, SocketError, Unanswered, UsageError
from zxmpp.event import Failure, FramesEvent, Lifecycle, LifecycleEvent
from zxmpp.failures import failure_of
from zxmpp.handlers import FREE, Route
from zxmpp.resting import off_the_clock
from zxmpp.sockets import SocketSettings, SocketSource

if TYPE_CHECKING:
    from zxmpp.commands.questions import Question
    from zxmpp.commands.registry import Command, Commands
    from zxmpp.commands.signature import Bound

__all__ = ["LocalFace"]

log = logging.getLogger(__name__)

#: Seconds after a connection broke, when its peer is looked for once more; doubled up to the longest,
#: with which all peers are looked for while calls run. Not every broken connection is told of.
PROBE_FIRST, PROBE_LONGEST = 0.1, 5.0


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a peer sends: one of these."""

    command: str = ""
    words: list[str] = []
    text: str = ""
    listing: bool = msgspec.field(default=False, name="list")
    answer: Any = msgspec.UNSET
    cancel: bool = False


class _Talk(Conversation):
    """What one peer has asked for; `forget` is called at its end."""

    def __init__(
        self, event: FramesEvent, said: _Said, limit: int, forget: Callable[[], None]
    ) -> None:
        super().__init__()
        self._event = event
        self._limit = limit
        self._forget = forget
        self.said = said
        self.answer: asyncio.Future[Any] | None = None

    def tell(self, frame: Any) -> None:
        """Send a frame, or what is made one. The call is over if it can't be sent."""
        source: Any = self._event.source
        data = frame if isinstance(frame, bytes) else as_json(frame)
        try:
            source.socket.send([*self._event.envelope, data])
        except SocketError as error:
            log.info("the shell's call ends: %s", error)
            self.cancel()

    def piece(self, piece: Any) -> None:
        if not self.over:
            self.tell(encoded(piece, self._limit))

    def progress(self, fraction: float | None, text: str) -> None:
        if not self.over:
            self.tell({"type": "progress", "fraction": fraction, "text": text})

    def end(self, piece: Any = None) -> None:
        if piece is not None:
            self.piece(piece)
        self._finish()

    def fail(self, failure: Failure) -> None:
        self.tell({"type": "error", "condition": failure.condition, "text": failure.text})
        self._finish()

    def _finish(self) -> None:
        if not self.over:
            self.over = True
            self.tell({"type": "end"})
        self._forget()

    def cancel(self) -> None:
        self._forget()
        super().cancel()


class LocalCall(DataCall):
    """A call from the shell."""

    face = "shell"

    def __init__(self, event: CallEvent, command: Command, who: Who, talk: _Talk) -> None:
        super().__init__(event, command, who, _split(talk.said)[1])
        self._talk = talk

    def arguments(self) -> Bound:
        said = self._talk.said
        words = WordList(said.words) if said.command else Line(self.text)
        return self._command.signature.bind(words, self)

    async def _fill(self, question: Question) -> dict[str, Any]:
        asked = {
            "type": "question", "title": question.title, "text": question.text,
            "fields": [_field(each) for each in question.fields],
        }  # fmt: skip
        error = ""
        for _ in range(TRIES):
            self._talk.tell({**asked, "error": error} if error else asked)
            try:
                return values_of(question, await self._answer(question))
            except ValueError as wrong:
                error = str(wrong)
        raise Cancelled(f"That was no answer {TRIES} times; cancelled. {error}")

    async def _answer(self, question: Question) -> Any:
        talk = self._talk
        answer = talk.answer = asyncio.get_running_loop().create_future()
        try:
            async with off_the_clock(), asyncio.timeout(question.timeout):
                return await answer
        except TimeoutError:
            about = question.text or question.title
            raise Unanswered(f"No answer in {question.timeout:g} s: {about}") from None
        finally:
            talk.answer = None


def _field(field: Any) -> dict[str, Any]:
    """A field of a question, for whoever asks a person."""
    return {
        "name": field.name, "title": field.title, "type": field.field_type, "options": field.named,
        "required": field.required, "default": field.words_of(field.fallback),
    }  # fmt: skip


class LocalFace(DataFace):
    """Commands over the control socket at `path`, opened by `open_socket`."""

    name = "shell"
    sender = LOCAL

    def __init__(
        self, commands: Commands, path: Path,
        open_socket: Callable[[str, SocketSettings], SocketSource],
    ) -> None:  # fmt: skip
        settings = SocketSettings.from_table(LOCAL, {"type": "ROUTER", "bind": f"ipc://{path}"})
        with control.unmasked():
            self._source = open_socket(LOCAL, settings)
        super().__init__(commands)
        self.path = path
        self._limit = settings.max_message_bytes
        self._talks: dict[bytes, _Talk] = {}
        self._probe: asyncio.TimerHandle | None = None
        pipeline, owner = commands.pipeline, commands.owner
        gone = ("lifecycle", str(Lifecycle.DISCONNECTED))
        pipeline.add(
            Route(owner, self._receive, (("frames", LOCAL),), name="shell", lane=FREE, batch=True)
        )
        pipeline.add(
            Route(owner, self._broke, (gone,), name="shell lost a peer", lane=FREE,
                  test=lambda event: event.subject == LOCAL)
        )  # fmt: skip

    @classmethod
    def open(
        cls, commands: Commands, setting: str, config: Path | None,
        open_socket: Callable[[str, SocketSettings], SocketSource],
    ) -> LocalFace | None:  # fmt: skip
        """The face of the bot of `config`, if it has one. SocketError if its place is taken, or is
        none, where the configuration names one; a bot that was not told runs without."""
        error: control.ControlError | None = None
        places = control.paths(setting, config)
        control.refuse_second(places)
        for path in places:
            try:
                control.claim(path, private=setting == "auto")
                face = cls(commands, path, open_socket)
                log.info("zxmpp call --bot finds this bot at %s", path)
                return face
            except control.ControlError as refused:
                error = error or refused
        if error is not None and setting != "auto":
            raise error
        if error is not None:
            log.warning("zxmpp call --bot can't reach this bot: %s", error)
        return None

    def call(self, event: CallEvent, command: Command) -> LocalCall:
        talk: Any = event.conversation
        return LocalCall(event, command, self.who, talk)

    # -- what peers say --------------------------------------------------------------------------

    def _receive(self, events: Sequence[FramesEvent]) -> None:
        for event in events:
            peer = event.envelope[0]
            talk = self._talks.get(peer)
            try:
                said = _read(event)
                if said.cancel or said.answer is not msgspec.UNSET:
                    self._go_on(talk, said)
                elif talk is not None:
                    raise UsageError("a call runs already; wait for its end, or cancel it")
                else:
                    self._begin(event, peer, said)
            except UsageError as error:
                alone = _Talk(event, _Said(), self._limit, lambda: None)
                # Of the call that runs this is not the end.
                alone.over = peer in self._talks
                alone.fail(failure_of(error))

    def _begin(self, event: FramesEvent, peer: bytes, said: _Said) -> None:
        if len(self._talks) >= MAX_OPEN:
            self._commands.owner.counts["calls-full"] += 1
            raise UsageError(f"{MAX_OPEN} calls run already; try again later")
        talk = _Talk(event, said, self._limit, lambda: self._forget(peer, talk))
        if said.listing:
            for command in self._commands.visible(self.who):
                if not command.signature.needs_stanza:
                    usage = command.signature.usage.removeprefix(self._commands.prefix)
                    talk.tell({"type": "command", **describe(command), "usage": usage})
            talk.end()
            return
        self._talks[peer] = talk
        if self._probe is None:
            self._look_later(PROBE_LONGEST)
        self.begin(_split(said)[0], talk)

    def _go_on(self, talk: _Talk | None, said: _Said) -> None:
        if talk is None or (not said.cancel and talk.answer is None):
            raise UsageError("nothing was asked, and nothing runs")
        if not said.cancel and talk.answer is not None and not talk.answer.done():
            talk.answer.set_result(said.answer)
        elif said.cancel:
            talk.fail(failure_of(Cancelled("Cancelled.")))
            talk.cancel()

    def _forget(self, peer: bytes, talk: _Talk) -> None:
        if self._talks.get(peer) is talk:
            del self._talks[peer]

    # -- peers that are gone ---------------------------------------------------------------------

    def _broke(self, event: LifecycleEvent) -> None:
        self._look(PROBE_FIRST)

    def _look(self, again: float) -> None:
        """Whoever can't be told that this bot lives has gone. ZeroMQ takes a moment to know."""
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None
        if self._source.socket.closed:
            return
        for talk in list(self._talks.values()):
            talk.tell({"type": "alive"})
        if self._talks:
            self._look_later(again)

    def _look_later(self, seconds: float) -> None:
        again = min(seconds * 2, PROBE_LONGEST)
        self._probe = asyncio.get_running_loop().call_later(seconds, self._look, again)

    def close(self) -> None:
        """The file of the socket, which is closed, goes."""
        if self._probe is not None:
            self._probe.cancel()
        self.path.unlink(missing_ok=True)


def _split(said: _Said) -> tuple[str, str]:
    """The name of the command, and the text behind it."""
    if said.command:
        return said.command, " ".join(said.words)
    name, *rest = said.text.split(None, 1)
    return name, rest[0].strip() if rest else ""


def _read(event: FramesEvent) -> _Said:
    try:
        said = msgspec.json.decode(event.frames[0] if len(event.frames) == 1 else b"", type=_Said)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"a call is one frame, an object of JSON: {error}") from None
    if not (said.command or said.text.strip() or said.listing or said.cancel
            or said.answer is not msgspec.UNSET):  # fmt: skip
        raise UsageError("a call names a command, or has a text")
    return said
