"""What `relay` and `inject` share: messages of strangers that make the bot write to somebody.

Rules:
- Addresses are parsed, normalised (RFC 7622) and compared whole. There are no patterns: a
  look-alike such as ``m@example.org.evil.net`` equals nothing.
- What is wrong has a name. It is counted under that name, and logged the first time. A socket with
  a way back (ROUTER, REP, DEALER, PAIR) gets an error frame, too.
- What went well is confirmed to who waits for it (ROUTER, REP) with ``{"ok": true}``; another result
  goes to whom it can, else it is counted as `result-dropped`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from slixmpp.jid import JID, InvalidJID

from zxmpp import FramesEvent, Plugin, PluginError, Refused, SocketError, on

__all__ = ["OK", "AllowList", "Bad", "Inbound", "jid_of"]

#: What a sender that waits is told when all went well.
OK = {"ok": True}

_CONFIRMED = ("ROUTER", "REP")
_TOLD = (*_CONFIRMED, "DEALER", "PAIR")
_RECEIVING = (*_TOLD, "PULL", "SUB", "XSUB")


class Bad(Refused):
    """A message that can't be used; it is counted as `reason`."""

    def __init__(
        self, reason: str, text: str, condition: str = "bad-request", kind: str = "modify"
    ) -> None:
        super().__init__(text, condition, kind)
        self.reason = reason


def jid_of(text: str) -> JID | None:
    """`text` as a JID; None if it is none."""
    try:
        jid = JID(text)
    except InvalidJID:
        return None
    return jid if jid.domain else None


class AllowList:
    """Bare JIDs (``ops@example.org``, ``example.org``), and every user of a whole domain
    (``@example.org``, and not its subdomains). Empty: nobody. ValueError for anything else."""

    def __init__(self, key: str, entries: Iterable[str]) -> None:
        self._bare: set[str] = set()
        self._domains: set[str] = set()
        for entry in entries:
            jid = jid_of(entry.removeprefix("@"))
            if jid is None or jid.resource or "*" in entry or (entry[0] == "@" and jid.user):
                raise ValueError(
                    f"{key}: {entry!r} is neither a bare JID (ops@example.org) nor a whole domain "
                    f"(@example.org); write one of them"
                )
            (self._domains if entry[0] == "@" else self._bare).add(jid.bare)

    def __contains__(self, jid: JID) -> bool:
        return jid.bare in self._bare or (bool(jid.user) and jid.domain in self._domains)


class Inbound(Plugin):
    """Base of plugins that turn messages of sockets into stanzas."""

    def listen(
        self, where: str, socket: str, topic: str, work: Callable[[FramesEvent], Any]
    ) -> None:
        """Call `work` for each message of `socket` that begins with `topic`. It returns the answer
        (or an awaitable of it) or raises `Bad`. `where` is for messages."""
        try:
            kind = self.socket(socket).socket.settings.type
        except SocketError as error:
            raise PluginError(f"{where} socket: {error}") from error
        if kind not in _RECEIVING:
            raise PluginError(
                f"{where} socket: {socket!r} is a {kind}; receive with one of "
                f"{', '.join(_RECEIVING)}"
            )
        known: set[str] = set()

        def wrong(event: FramesEvent, error: Bad) -> None:
            self.count(error.reason)
            log = self.log.debug if error.reason in known else self.log.warning
            known.add(error.reason)
            log("%s: a message from %s is dropped as %s: %s (the next of this kind are counted)",
                where, event.sender, error.reason, error)  # fmt: skip
            if kind in _TOLD:
                raise error

        def handle(event: FramesEvent) -> Any:
            try:
                answer = work(event)
            except Bad as error:
                return wrong(event, error)
            return later(event, answer) if inspect.isawaitable(answer) else told(answer)

        async def later(event: FramesEvent, answer: Awaitable[Any]) -> Any:
            try:
                result = await answer
            except Bad as error:
                return wrong(event, error)
            return told(result)

        def told(answer: Any) -> Any:
            if kind in (_CONFIRMED if answer is OK else _TOLD):
                return answer
            if answer is not OK:
                self.count("result-dropped")
            return None

        self.add_handler(on.frames(socket, topic=topic.encode()), handle)
