"""Chat commands that services answer: worker processes behind the bot's broker.

Rules:
- A command is a table: its service, its usage, who may use it, how long it may take.
- While a worker works, the asker sees that it does, what there is so far, and how far it is; see
  `zxmpp.Call.live`.
- ``!cancel`` ends what the same person asked for in the same place, and so does leaving: a worker of
  zxmpp is told.
- What can't be shown is refused by name and counted: too big, no text. A text may be cut anywhere,
  in the middle of a character too.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from zxmpp import Call, NoAnswer, Plugin, Progress, Refused, StanzaEvent, command, on
from zxmpp_plugins import usage
from zxmpp_plugins.usage import parameters

if TYPE_CHECKING:
    from zxmpp.commands.call import Live
    from zxmpp.mdp.pending import Pending

__all__ = ["CommandSettings", "Workers"]

_STATUS = "{http://jabber.org/protocol/muc#user}status"


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

    #: The commands, one table each.
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
    needs_broker = True

    @classmethod
    def declared(cls, config: WorkersConfig) -> dict[str, str]:
        named = {name: settings.role for name, settings in config.commands.items()}
        return {**super().declared(config), **named}

    async def start(self) -> None:
        #: What is under way, by who asked and where, and by the full JID or occupant that asked.
        self._asked = _Groups()
        self._by_address = _Groups()
        for name, settings in self.config.commands.items():
            self.add_command(
                self._command(name, settings), name, role=settings.role, lane="free",
                timeout=settings.timeout + 5,
            )  # fmt: skip

    def adopt(self, old: Workers) -> None:
        # What the old version still waits for can be cancelled here.
        self._asked, self._by_address = old._asked, old._by_address

    def _command(self, name: str, settings: CommandSettings) -> Callable[..., Any]:
        service = settings.service or name

        async def run(call: Call, given: dict[str, Any]) -> None:
            if settings.body == "text":
                body: Any = call.text
            else:
                body = [msgspec.json.encode(given, enc_hook=str)]
            await self._ask(call, name, service, body, settings)

        return usage.command(run, parameters(settings.usage), settings.help)

    async def _ask(
        self, call: Call, name: str, service: str, body: Any, settings: CommandSettings
    ) -> None:
        place = (call.sender, call.room)
        if len(self._asked.of(place)) >= self.config.max_pending:
            self.count("pending-full")
            raise Refused(f"You wait for {self.config.max_pending} answers already; !cancel ends "
                          f"them.", "resource-constraint", "wait")  # fmt: skip
        pending = self.service(service, sender=call.sender).begin(body, timeout=settings.timeout)
        self._asked.add(place, pending)
        # Only who is on XMPP can leave.
        address = call.event.from_ if isinstance(call.event, StanzaEvent) else None
        self._by_address.add(address, pending)
        try:
            with call.live(settings.edits) as live:
                live.finish(await self._answer(name, pending, live))
        except NoAnswer as error:
            # Who has left is not written to.
            if error.reason != "asker-gone":
                raise
        finally:
            pending.close()
            self._asked.remove(place, pending)
            self._by_address.remove(address, pending)

    async def _answer(self, name: str, pending: Pending, live: Live) -> str:
        """The whole answer; what there is of it so far is shown meanwhile."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        text, size, progress = "", 0, None
        while True:
            part = await pending.next()
            if part.restart:
                decoder.reset()
                text, size, progress = "", 0, None
            # Frames are lines; parts of a stream go on where the last one ended.
            frames = b"\n".join(part.frames)
            size += len(frames)
            if size > self.config.max_answer_bytes:
                self.count("answer-too-big")
                raise Refused(f"{name}: the worker's answer is too big; at most "
                              f"{self.config.max_answer_bytes} bytes are shown.")  # fmt: skip
            try:
                text += decoder.decode(frames, final=part.last)
            except UnicodeDecodeError:
                self.count("bad-utf8")
                raise Refused(f"{name}: the worker's answer is not UTF-8 text.") from None
            if part.last:
                return text or f"{name}: the worker's answer is empty."
            if part.progress is not None:
                progress = part.progress
            bar = "" if progress is None else Progress(progress).bar
            live.show("\n".join(filter(None, (text, bar))))

    # -- nobody waits any more -------------------------------------------------------------------

    @command(lane="free")
    def cancel(self, call: Call) -> str:
        """End what you asked for here and have no answer to yet."""
        ended = self._end(self._asked.of((call.sender, call.room)), "cancelled")
        return f"Cancelled: {ended}." if ended else "There is nothing to cancel."

    @on.presence(type="unavailable", lane="free")
    def gone(self, event: StanzaEvent) -> None:
        """Who has left does not wait."""
        # 303: the occupant goes on under another nick (XEP-0045, 7.6).
        if not any(item.get("code") == "303" for item in event.stanza.xml.iter(_STATUS)):
            self._end(self._by_address.of(event.from_), "asker-gone")

    def _end(self, waiting: frozenset[Pending], reason: str) -> int:
        for pending in waiting:
            pending.cancel(reason)
            self.count("cancelled")
        return len(waiting)


class _Groups:
    """Requests under way, by a key that several may share."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, set[Pending]] = {}

    def of(self, key: Hashable) -> frozenset[Pending]:
        return frozenset(self._groups.get(key, ()))

    def add(self, key: Hashable, pending: Pending) -> None:
        self._groups.setdefault(key, set()).add(pending)

    def remove(self, key: Hashable, pending: Pending) -> None:
        group = self._groups[key]
        group.discard(pending)
        if not group:
            del self._groups[key]
