"""Chat commands that services answer: worker processes behind the bot's broker.

Rules:
- A command is a table: its service, its usage, who may use it, how long it may take.
- While a worker works, the asker sees that it does, what there is so far, and how far it is; see
  `zxmpp.Call.live`.
- ``!cancel`` ends what the same person asked for in the same place, and so does leaving: a worker of
  zxmpp is told.
- What can't be shown is refused by name and counted: too big, no text.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec import Struct

from zxmpp import Call, Plugin, Refused, StanzaEvent, command, on
from zxmpp_plugins.usage import parameters

__all__ = ["CommandSettings", "Workers", "bar"]

#: Characters of a bar of progress.
BAR = 20


class CommandSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.workers.commands.NAME]``"""

    #: The service that answers; the command's own name if not given.
    service: str = ""
    #: What !help says.
    help: str = ""
    #: The arguments: ``<word>``, optional ``[word]``, last ``<rest ...>`` or ``[rest ...]``; with a
    #: type ``<count:int>``.
    usage: str = "<text ...>"
    #: What the worker gets: ``text``, the line as it was typed, or ``json``, an object of the
    #: arguments by name.
    body: Literal["text", "json"] = "text"
    #: Seconds that the answer may take.
    timeout: float = 10.0
    #: Who may use it: a role of [roles]; empty for everybody.
    role: str = ""
    #: Whether one message is corrected while the worker works: ``auto``, if the asker's client can
    #: (never in rooms); ``always``; ``never``.
    edits: Literal["auto", "always", "never"] = "auto"

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise ValueError("timeout is a number of seconds above 0")
        parameters(self.usage)


class WorkersConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.workers]``"""

    commands: dict[str, CommandSettings] = {}
    #: The largest answer to a command, in bytes.
    max_answer_bytes: int = 65_536
    #: Answers that one person may wait for at the same time, in one place.
    max_pending: int = 10

    def __post_init__(self) -> None:
        for key in ("max_answer_bytes", "max_pending"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be above 0")


class Workers(Plugin):
    """Let worker processes answer."""

    Config = WorkersConfig
    config: WorkersConfig

    async def start(self) -> None:
        #: What is under way, by who asked and where; the full JID or occupant behind it.
        self._asked: dict[tuple[str, str], dict[Any, str]] = {}
        for name, settings in self.config.commands.items():
            self.service(settings.service or name)  # no broker is an error now
            self.add_command(
                self._command(name, settings), name, role=settings.role, lane="free",
                timeout=settings.timeout + 5,
            )  # fmt: skip

    def _command(self, name: str, settings: CommandSettings) -> Callable[..., Any]:
        service = settings.service or name
        named = parameters(settings.usage)

        async def run(call_: Call, *args: Any, **rest: Any) -> None:
            if settings.body == "text":
                body: Any = call_.text
            else:
                given = dict(zip((each.name for each in named), args, strict=False)) | rest
                body = [msgspec.json.encode(given, enc_hook=str)]
            await self._ask(call_, name, service, body, settings)

        run.__doc__ = settings.help
        call = inspect.Parameter("call_", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Call)
        # The usage in the configuration is the signature that commands are made from.
        run.__signature__ = inspect.Signature([call, *named])  # type: ignore[attr-defined]
        return run

    async def _ask(
        self, call: Call, name: str, service: str, body: Any, settings: CommandSettings
    ) -> None:
        place = (call.sender, call.room)
        if len(self._asked.get(place, ())) >= self.config.max_pending:
            self.count("pending-full")
            raise Refused(f"You wait for {self.config.max_pending} answers already; !cancel ends "
                          f"them.", "resource-constraint", "wait")  # fmt: skip
        pending = self.service(service, sender=call.sender).begin(body, timeout=settings.timeout)
        self._asked.setdefault(place, {})[pending] = call.event.from_
        try:
            with call.live(settings.edits) as live:
                answer, progress = b"", None
                while True:
                    part = await pending.next()
                    if part.restart:
                        answer, progress = b"", None
                    # Frames are lines; parts of a stream go on where the last one ended.
                    answer += b"\n".join(part.frames)
                    progress = part.progress or progress
                    if len(answer) > self.config.max_answer_bytes:
                        self._too_big(name)
                    if part.last:
                        break
                    live.show("\n".join(filter(None, (self._text(name, answer), bar(progress)))))
                live.finish(self._text(name, answer) or f"{name}: the worker's answer is empty.")
        finally:
            pending.close()
            del self._asked[place][pending]
            if not self._asked[place]:
                del self._asked[place]

    def _too_big(self, name: str) -> None:
        self.count("answer-too-big")
        raise Refused(f"{name}: the worker's answer is too big; at most "
                      f"{self.config.max_answer_bytes} bytes are shown.")  # fmt: skip

    def _text(self, name: str, answer: bytes) -> str:
        try:
            return answer.decode()
        except UnicodeDecodeError:
            self.count("bad-utf8")
            raise Refused(f"{name}: the worker's answer is not UTF-8 text.") from None

    # -- nobody waits any more -------------------------------------------------------------------

    @command(lane="free")
    def cancel(self, call: Call) -> str:
        """End what you asked for here and have no answer to yet."""
        waiting = list(self._asked.get((call.sender, call.room), ()))
        for pending in waiting:
            pending.cancel("cancelled")
        self._count_cancelled(len(waiting))
        if not waiting:
            return "There is nothing to cancel."
        return f"Cancelled: {len(waiting)}."

    @on.presence(type="unavailable", lane="free")
    def gone(self, event: StanzaEvent) -> None:
        """Who has left does not wait."""
        waiting = self._asked.get((event.sender, event.room), {})
        left = [pending for pending, full in waiting.items() if full == event.from_]
        for pending in left:
            pending.cancel("asker-gone")
        self._count_cancelled(len(left))

    def _count_cancelled(self, number: int) -> None:
        for _ in range(number):
            self.count("cancelled")


def bar(fraction: float | None) -> str:
    """Progress as a line of text; empty if there is none."""
    if fraction is None:
        return ""
    full = round(fraction * BAR)
    return f"{'▓' * full}{'░' * (BAR - full)} {fraction:.0%}"
