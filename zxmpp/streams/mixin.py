"""Drop-in streams: slixmpp's `ClientXMPP` and `ComponentXMPP` with the same arguments.

Rules:
- Without an `outbox` and with default limits they behave as slixmpp's classes do, but for what
  the parser refuses and for secrets, which never reach the log.
- With an `outbox`, no stanza is lost without a name: see `zxmpp.streams.outbox`.
- slixmpp's own reconnecting is off: one supervisor, one back-off.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from typing import Any

import slixmpp
from slixmpp.stanza import Iq, Message, Presence
from slixmpp.stanza.rootstanza import RootStanza
from slixmpp.xmlstream import StanzaBase
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatcherId
from slixmpp.xmlstream.xmlstream import NotConnectedError

from zxmpp.streams.outbox import Outbox, Reason
from zxmpp.streams.parser import HardenedParser

__all__ = ["ClientXMPP", "ComponentXMPP", "StreamMixin", "describe"]

#: slixmpp's own logger: whoever turns its stanza log on finds it where it was.
_stanza_log = logging.getLogger("slixmpp.xmlstream.xmlstream")
log = logging.getLogger(__name__)

#: What carries a secret, or a proof of one, on its way out (RFC 6120, 6.4; XEP-0114; XEP-0077).
_SECRET = re.compile(r"(<(auth|response|handshake|password)\b[^>]*>).+?(</\2>|$)", re.DOTALL)
#: Seconds until what was sent is asked to be confirmed; sooner when the window fills.
CONFIRM_AFTER = 0.5


def describe(stanza: Any) -> tuple[str, str, str]:
    """A stanza's name, id and recipient: never its content."""
    if isinstance(stanza, StanzaBase):
        return str(stanza.name), stanza.xml.get("id", ""), stanza.xml.get("to", "")
    return "text", "", ""


class StreamMixin(HardenedParser):
    """What both drop-in classes have in common."""

    #: Where stanzas wait; None for slixmpp's own behaviour.
    outbox: Outbox | None = None
    #: Seconds that the answer to a barrier may take before the connection counts as lost.
    barrier_timeout: float = 20.0
    #: While true, messages wait though there is a session: the rooms are not joined yet.
    holding: bool = False

    _barrier_timer: asyncio.TimerHandle | None = None
    _barrier_pending: str = ""
    _expiry: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.refusals = Counter()
        super().__init__(*args, **kwargs)

    # -- one back-off, not two ------------------------------------------------------------------

    def reschedule_connection_attempt(self) -> None:
        """A failed attempt is over: the supervisor decides about the next one."""
        self._current_connection_attempt = None

    # -- secrets --------------------------------------------------------------------------------

    def send_raw(self, data: str | bytes) -> None:
        """Write `data` to the connection. NotConnectedError if there is none."""
        if _stanza_log.isEnabledFor(logging.DEBUG):
            text = data if isinstance(data, str) else data.decode(errors="replace")
            _stanza_log.debug("SEND: %s", _SECRET.sub(r"\1***\3", text))
        if self.transport is None:
            raise NotConnectedError
        self.transport.write(data.encode() if isinstance(data, str) else data)

    # -- the outbox -----------------------------------------------------------------------------

    def send(self, data: StanzaBase | str, use_filters: bool = True) -> None:
        """Send a stanza now, or let it wait in the outbox."""
        box = self.outbox
        if box is None or not isinstance(data, (RootStanza, str)) or _passes(data):
            super().send(data, use_filters)
        elif not self._session_started:
            if isinstance(data, Presence):
                # What was announced is announced again when the session is back.
                box.give_up(data, Reason.PRESENCE)
            else:
                self._hold(box, data, use_filters)
        elif (self.holding and isinstance(data, Message)) or len(box) or not box.open:
            if isinstance(data, Message | str):
                self._hold(box, data, use_filters)
                self._ask_for_confirmation(box)
            else:
                # A request or its answer is in no order with messages; rooms need presence.
                self._send_counted(box, data, use_filters)
        else:
            self._send_counted(box, data, use_filters)

    def _hold(self, box: Outbox, data: StanzaBase | str, use_filters: bool) -> None:
        box.hold(data, use_filters)
        if self._expiry is None and len(box):
            self._expire()

    def _expire(self) -> None:
        self._expiry = None
        if self.outbox is not None and (wait := self.outbox.expire()) is not None:
            self._expiry = self.loop.call_later(max(wait, 0.01), self._expire)

    def _send_counted(self, box: Outbox, data: StanzaBase | str, use_filters: bool) -> None:
        box.sent(data)
        super().send(data, use_filters)
        self._ask_for_confirmation(box)

    def flush_outbox(self) -> None:
        """Send what waits, as far as the window allows."""
        self.holding = False
        box = self.outbox
        while box is not None and self._session_started and (item := box.take()) is not None:
            self._send_counted(box, item.stanza, item.filters)

    def _ask_for_confirmation(self, box: Outbox) -> None:
        if self._barrier_pending or not box.unconfirmed:
            return
        soon = box.unconfirmed * 4 >= box.window
        if self._barrier_timer is None:
            delay = 0.0 if soon else CONFIRM_AFTER
            self._barrier_timer = self.loop.call_later(delay, self._send_barrier)
        elif soon and self._barrier_timer.when() > self.loop.time():
            self._barrier_timer.cancel()
            self._barrier_timer = self.loop.call_soon(self._send_barrier)  # type: ignore[assignment]

    def _send_barrier(self) -> None:
        """Ask for an answer behind all that was sent (XEP-0199)."""
        self._barrier_timer = None
        box = self.outbox
        if box is None or not self._session_started or not box.unconfirmed:
            return
        number = box.barrier()
        ping = self.ping_stanza()
        self._barrier_pending = ident = ping["id"]
        deadline = self.loop.call_later(self.barrier_timeout, self._barrier_lost, ident)

        def answered(_: StanzaBase) -> None:
            deadline.cancel()
            if self._barrier_pending == ident:
                self._barrier_pending = ""
                box.confirm(number)
                if len(box) and not self.holding:
                    self.flush_outbox()
                self._ask_for_confirmation(box)

        # Any answer will do, an error too. A component's ping comes back to itself.
        self.register_handler(Callback(f"barrier {ident}", MatcherId(ident), answered, once=True))
        super().send(ping)

    def _barrier_lost(self, ident: str) -> None:
        self.remove_handler(f"barrier {ident}")
        if self._barrier_pending == ident:
            self._barrier_pending = ""
            log.warning("%s: no answer from the server for %g s; the connection counts as lost",
                        self.boundjid, self.barrier_timeout)  # fmt: skip
            self.disconnect_reason = "no answer from the server"
            self.abort()

    def ping_stanza(self) -> Iq:
        """A ping that the own server answers: a client asks its server, a component itself."""
        iq: Iq = self.Iq()  # type: ignore[attr-defined]
        iq["id"] = self.new_id()
        iq["type"] = "get"
        if self.is_component:  # type: ignore[attr-defined]
            iq["from"] = iq["to"] = self.boundjid.bare  # type: ignore[attr-defined]
        else:
            iq["to"] = self.boundjid.domain  # type: ignore[attr-defined]
        iq.append(_PING.copy())
        return iq

    def _set_session_start(self, event: Any) -> None:
        super()._set_session_start(event)
        if self.outbox is not None and not self.holding:
            self.flush_outbox()

    def _reset_sendq(self) -> None:
        """The connection is lost: what was not written goes back to the outbox."""
        box = self.outbox
        unwritten = []
        while not self.waiting_queue.empty():
            unwritten.append(self.waiting_queue.get_nowait())
            # slixmpp forgets this, and then waits for ever for the queue to be done.
            self.waiting_queue.task_done()
        super()._reset_sendq()
        for timer in (self._barrier_timer, self._expiry):
            if timer is not None:
                timer.cancel()
        self._barrier_timer = self._expiry = None
        self._barrier_pending = ""
        if box is None:
            return
        kept = [
            (stanza, filters)
            for stanza, filters in unwritten
            if isinstance(stanza, (Message, Iq, str)) and not _passes(stanza)
        ]
        box.broken(kept)
        self._expire()


_PING = slixmpp.xmlstream.ET.Element("{urn:xmpp:ping}ping")


def _passes(data: StanzaBase | str) -> bool:
    """Whether `data` is part of making a session, and so never waits (RFC 6120, 7)."""
    return isinstance(data, Iq) and any(
        data.get_plugin(name, check=True) for name in ("bind", "session", "register")
    )


class ClientXMPP(StreamMixin, slixmpp.ClientXMPP):
    """slixmpp's `ClientXMPP`, hardened."""


class ComponentXMPP(StreamMixin, slixmpp.ComponentXMPP):
    """slixmpp's `ComponentXMPP`, hardened."""
