"""Chat commands that a worker process answers, behind a DEALER socket of the bot.

The wire: the bot sends ``[request id, empty frame, body ...]`` and awaits ``[request id, empty
frame, answer ...]``. A REP socket takes the two frames off and puts them back by itself, so the
simplest worker is ``recv``, ``send`` on a REP; ROUTER and DEALER workers keep the two frames.

Rules:
- Each request ends once: with its answer, at its time limit, or when the plugin is unloaded. What
  comes later is dropped and counted (`late-answer`), as is what nobody asked (`unknown-request`).
- The number of pending requests is bounded.
- Answers pass by the lanes, so the command that awaits one can't stand in its way.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import secrets
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from zxmpp import Call, FramesEvent, Plugin, PluginError, Refused, SocketError, on
from zxmpp_plugins.usage import parameters

__all__ = ["CommandSettings", "NoAnswer", "Workers"]


class NoAnswer(Refused, TimeoutError):
    """No worker answered in time."""


class CommandSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.workers.commands.NAME]``"""

    #: The name of a DEALER socket.
    socket: str
    #: What !help says.
    help: str = ""
    #: The arguments: ``<word>``, optional ``[word]``, last ``<rest ...>`` or ``[rest ...]``.
    usage: str = "<text ...>"
    #: Seconds that a worker has.
    timeout: float = 10.0
    #: Who may use it: a role of [roles]; empty for everybody.
    role: str = ""

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise ValueError("timeout is a number of seconds above 0")
        parameters(self.usage)


class WorkersConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.workers]``"""

    commands: dict[str, CommandSettings] = {}
    #: Requests that may await their answers at the same time.
    max_pending: int = 1000
    #: The largest answer to a command, in bytes.
    max_answer_bytes: int = 65_536

    def __post_init__(self) -> None:
        for key in ("max_pending", "max_answer_bytes"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be above 0")


class Workers(Plugin):
    """Let worker processes answer."""

    Config = WorkersConfig
    config: WorkersConfig

    async def start(self) -> None:
        #: Socket and request id -> where the answer is awaited.
        self._pending: dict[tuple[str, bytes], asyncio.Future[list[bytes]]] = {}
        self._sockets: set[str] = set()
        self._numbers = itertools.count()
        # An answer to a request of an earlier life is not taken for one of ours.
        self._life = secrets.token_bytes(8)
        self._stopped = False
        for name, settings in self.config.commands.items():
            self._listen(settings.socket, f"[plugins.{self.instance}.commands.{name}] ")
            self.add_command(
                self._command(name, settings), name, role=settings.role,
                timeout=settings.timeout + 5,
            )  # fmt: skip

    async def stop(self) -> None:
        self._stopped = True
        for future in self._pending.values():
            if not future.done():
                future.set_exception(self._unloaded())
        await asyncio.sleep(0)  # who awaits an answer says so before the plugin is gone

    def _unloaded(self) -> Refused:
        return Refused("The workers plugin was unloaded; try again later.",
                       "service-unavailable", "wait")  # fmt: skip

    # -- for other plugins ----------------------------------------------------------------------

    async def request(self, socket: str, *body: bytes, timeout: float = 10.0) -> list[bytes]:
        """Send `body` to a worker behind the DEALER `socket`; the frames of its answer.

        Raises NoAnswer (a TimeoutError) after `timeout` seconds, Refused if the request can't be
        sent now. Both tell a person what is wrong, so a command may let them pass.
        """
        if self._stopped:
            raise self._unloaded()
        self._listen(socket, "")
        if len(self._pending) >= self.config.max_pending:
            self.count("pending-full")
            raise Refused(f"{len(self._pending)} requests await their answers already; try again "
                          f"in a moment.", "resource-constraint", "wait")  # fmt: skip
        ident = self._life + next(self._numbers).to_bytes(8)
        future: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        self._pending[socket, ident] = future
        try:
            self._send(socket, [ident, b"", *(body or (b"",))])
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError as error:
            self.count("timeout")
            raise NoAnswer(f"No worker behind {socket!r} answered within {timeout:g} s.",
                           "remote-server-timeout", "wait") from error  # fmt: skip
        finally:
            del self._pending[socket, ident]

    def _send(self, socket: str, frames: list[bytes]) -> None:
        try:
            self.socket(socket).send(frames)
        except SocketError as error:
            self.count("not-sent")
            self.log.warning("a request can't be sent: %s", error)
            raise Refused(f"The workers behind {socket!r} take no more; try again in a moment.",
                          "resource-constraint", "wait") from error  # fmt: skip

    # -- answers --------------------------------------------------------------------------------

    def _listen(self, socket: str, where: str) -> None:
        if socket in self._sockets:
            return
        try:
            kind = self.socket(socket).socket.settings.type
        except SocketError as error:
            raise PluginError(f"{where}socket: {error}") from error
        if kind != "DEALER":
            raise PluginError(f"{where}socket {socket!r} is a {kind}; workers need a DEALER")
        self._sockets.add(socket)
        self.add_handler(on.frames(socket, lane="free"), self._answered)

    def _answered(self, event: FramesEvent) -> None:
        frames = event.frames
        if len(frames) < 3 or frames[1]:
            self.count("malformed-answer")
            self.log.debug("socket %s: an answer is not [id, empty, answer ...]", event.source.name)
            return
        future = self._pending.get((event.source.name, frames[0]))
        if future is not None and not future.done():
            future.set_result(frames[2:])
        elif frames[0].startswith(self._life) and len(frames[0]) == 16:
            self.count("late-answer")
        else:
            self.count("unknown-request")

    # -- commands -------------------------------------------------------------------------------

    def _command(self, name: str, settings: CommandSettings) -> Callable[..., Any]:
        async def run(call_: Call, *_: str, **__: str) -> str:
            try:
                answer = await self.request(
                    settings.socket, call_.text.encode(), timeout=settings.timeout
                )
            except NoAnswer as error:
                text = f"{name}: no worker answered within {settings.timeout:g} s; try again later."
                raise NoAnswer(text, error.condition, error.kind) from error
            return self._text(name, b"\n".join(answer))

        run.__doc__ = settings.help
        call = inspect.Parameter("call_", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Call)
        # The usage in the configuration is the signature that commands are made from.
        run.__signature__ = inspect.Signature([call, *parameters(settings.usage)])  # type: ignore[attr-defined]
        return run

    def _text(self, name: str, answer: bytes) -> str:
        if len(answer) > self.config.max_answer_bytes:
            self.count("answer-too-big")
            raise Refused(f"{name}: the worker's answer has {len(answer)} bytes; at most "
                          f"{self.config.max_answer_bytes} are shown.")  # fmt: skip
        try:
            return answer.decode() or f"{name}: the worker's answer is empty."
        except UnicodeDecodeError:
            self.count("bad-utf8")
            raise Refused(f"{name}: the worker's answer is not UTF-8 text.") from None
