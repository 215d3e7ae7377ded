"""The way out: slixmpp's `send`, with nothing lost unnamed.

Rules:
- slixmpp's queue of stanzas and its pump stay; what stands before them is an `Outbox` instead of an
  endless list, and what the pump had not written when the connection broke goes back to it.
- The barrier is an IQ to the own server, `confirm_delay` after the first stanza that it is to
  confirm, or at once when half the window is used; only one is under way. Nothing is sent when
  nothing is unconfirmed.
- Presence that says who is available is not kept: a session begins with a fresh one.
- Where XEP-0198 resumes the stream, it sends again what was not acknowledged; the outbox then keeps
  quiet, and speaks up when the resumption fails.
"""

from __future__ import annotations

import logging
import re
import uuid
import xml.etree.ElementTree as ET
from asyncio import TimerHandle
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct
from slixmpp.basexmpp import BaseXMPP
from slixmpp.stanza import Iq, Message, Presence
from slixmpp.stanza.rootstanza import RootStanza

from zxmpp.streams.matching import QuietHandler
from zxmpp.streams.outbox import Outbox

__all__ = ["GivenUp", "ProbeHandler", "SendingMixin", "clean_text"]

log = logging.getLogger(__name__)

#: What the pump takes: a stanza or text, and whether the outgoing filters see it.
Item: TypeAlias = "tuple[Any, bool]"

#: What XML 1.0 can't hold (2.2). A server ends the stream of whoever sends it.
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

#: Presence of these types tells a state; the others are requests about subscriptions.
_STATES = frozenset({None, "unavailable", "probe", "error"})

_PING = "{urn:xmpp:ping}ping"
#: A component asks itself, through the server: this must look like no request of anybody else.
_ECHO = "{urn:zxmpp:probe}probe"


def clean_text(text: str) -> str:
    """`text` without the characters that XML can't hold."""
    return _ILLEGAL.sub("", text)


class GivenUp(Struct, frozen=True):
    """A stanza that will not be sent (or, if `in-doubt`, perhaps was not). Never its content."""

    id: str
    to: str
    #: ``message``, ``presence``, ``iq``, or ``text`` for what was sent as a string.
    name: str
    type: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} id={self.id or '-'} to={self.to or '-'} type={self.type or '-'}"


if TYPE_CHECKING:
    _Base = BaseXMPP
else:
    _Base = object


class ProbeHandler(QuietHandler):
    """Takes the answer to a barrier (or, for a component, the barrier that came back)."""

    def __init__(self, xmpp: SendingMixin) -> None:
        super().__init__("zxmpp probe", None)  # type: ignore[arg-type]
        self._xmpp = xmpp

    def match(self, xml: Any) -> bool:
        probe = self._xmpp.probe_id
        return bool(probe) and xml.xml.get("id") == probe and xml.name == "iq"

    def run(self, payload: Any) -> None:
        sender = payload.xml.get("from", "")
        own = self._xmpp.boundjid
        if sender in ("", own.domain, own.bare, own.full):
            self._xmpp.probe_answered()


class SendingMixin(_Base):
    """Overrides what slixmpp does with stanzas that can't be sent right now. The limits count from
    the first use of `outbox` on; change them there later."""

    #: See `StreamSettings`.
    outbox_limit: int = 1000
    outbox_age: float = 300.0
    send_window: int = 1000
    #: True under a supervisor: no reconnecting and no keep-alive of slixmpp's own.
    supervised: bool = False
    #: Seconds in which stanzas gather before a barrier confirms them all.
    confirm_delay: float = 0.25

    #: The id of the barrier under way; empty if there is none.
    probe_id: str = ""
    #: When it was sent, by the loop's clock.
    probe_since: float = 0.0
    _probe_covers: int = 0
    _confirm_timer: TimerHandle | None = None
    _expiry_timer: TimerHandle | None = None
    _token: str = ""

    @cached_property
    def outbox(self) -> Outbox[Item]:
        """What waits to be sent and what was sent lately."""
        return Outbox(self.outbox_limit, self.outbox_age, self.send_window, self._give_up)

    @cached_property
    def not_sent(self) -> Counter[str]:
        """What was left out on the way out, besides what the outbox gave up; by reason."""
        return Counter()

    def _start_sending(self) -> None:
        """Register what this needs. Once, after slixmpp's constructor."""
        self._token = uuid.uuid4().hex[:12]
        self._numbers = count(1)
        self.add_filter("out_sync", self._watch_order)
        self.add_event_handler("session_end", self._session_over)
        self.register_handler(ProbeHandler(self))

    # -- slixmpp's own methods ------------------------------------------------------------------

    def send(self, data: Any, use_filters: bool = True) -> None:
        item = (data, use_filters)
        if self._always_send_everything or not isinstance(data, RootStanza | str):
            self.waiting_queue.put_nowait(item)
            return
        online = self._session_started
        if not online and isinstance(data, Iq) and _negotiates(data):
            self.waiting_queue.put_nowait(item)
            return
        destination = ""
        if isinstance(data, Presence) and data.xml.get("type") in _STATES:
            if online:
                self.waiting_queue.put_nowait(item)
            else:
                self.not_sent["presence-offline"] += 1
                self.event("stanza_not_sent", data)
            return
        if isinstance(data, Message):
            destination = data.xml.get("to", "").partition("/")[0]
        if self.outbox.put(item, self.loop.time(), destination):
            self.waiting_queue.put_nowait(item)
            if not self.probe_id:
                self._plan_barrier()
        else:
            self._plan_expiry()
            if not online:
                self.event("stanza_not_sent", data)

    def send_raw(self, data: str | bytes) -> None:
        if self.transport is None and self.supervised and data != self.stream_footer:
            # The connection went while the log-in was still talking; the supervisor knows.
            self.not_sent["not-connected"] += 1
            return
        if isinstance(data, str) and _ILLEGAL.search(data):
            self.not_sent["illegal-characters"] += 1
            data = clean_text(data)
        super().send_raw(data)

    def _set_session_start(self, event: Any) -> None:
        super()._set_session_start(event)
        outbox = self.outbox
        # Only after a resumption (XEP-0198) is there anything left here; it was sent again.
        outbox.confirm(outbox.sent)
        outbox.open = True
        self.flush()

    def _reset_sendq(self) -> None:
        queue = self.waiting_queue
        unwritten: list[Item] = []
        while not queue.empty():
            unwritten.append(queue.get_nowait())
            # slixmpp leaves this out, so that queue.join() would hang for ever.
            queue.task_done()
        super()._reset_sendq()
        for data, _ in unwritten:
            if isinstance(data, Presence) and data.xml.get("type") in _STATES:
                self.not_sent["presence-offline"] += 1
        self.outbox.lost(unwritten)
        self._plan_expiry()

    def connection_lost(self, exception: BaseException | None) -> None:
        # slixmpp notes this only after it told its handlers, who may send.
        self._session_started = False
        self.outbox.open = False
        self._forget_barrier()
        super().connection_lost(exception)

    def _session_over(self, event: Any) -> None:
        self.outbox.lost()
        self.outbox.open = self._session_started

    # -- the outbox -----------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what waited and may go now."""
        for item in self.outbox.take(self.loop.time()):
            self.waiting_queue.put_nowait(item)
        self._plan_barrier()
        self._plan_expiry()

    def give_up_all(self, reason: str) -> None:
        """Give up all that waits or is not confirmed, and stop the timers."""
        self._forget_barrier()
        self.outbox.drop(reason)
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
            self._expiry_timer = None

    def _give_up(self, item: Item, reason: str) -> None:
        data = item[0]
        if isinstance(data, str):
            given_up = GivenUp("", "", "text", "", reason)
        else:
            get = data.xml.get
            given_up = GivenUp(get("id", ""), get("to", ""), data.name, get("type", ""), reason)
        log.warning("%s: given up (%s): %s", self.boundjid, reason, given_up)
        self.event("stanza_given_up", given_up)

    def _plan_expiry(self) -> None:
        oldest = self.outbox.oldest if self._expiry_timer is None else None
        if oldest is not None:
            due = oldest + self.outbox.age - self.loop.time()
            self._expiry_timer = self.loop.call_later(max(0.0, due) + 0.01, self._expire)

    def _expire(self) -> None:
        self._expiry_timer = None
        self.outbox.expire(self.loop.time())
        self._plan_expiry()

    # -- the barrier ----------------------------------------------------------------------------

    def probe(self) -> None:
        """Ask the own server for a sign of life, which confirms all that was sent before.

        Nothing happens if that is under way already, or there is no session.
        """
        self._cancel_confirm_timer()
        if self.probe_id or not self._session_started:
            return
        self.probe_id = f"{self._token}-{next(self._numbers)}"
        self.probe_since = self.loop.time()
        self._probe_covers = self.outbox.sent
        iq: Any = self.Iq(stype="get", sid=self.probe_id, sto=self.boundjid.domain)
        if self.is_component:
            # A component knows no other name of its server (XEP-0114) than its own.
            iq.xml.set("from", self.boundjid.domain)
        iq.xml.append(ET.Element(_ECHO if self.is_component else _PING))
        self.waiting_queue.put_nowait((iq, True))

    def probe_answered(self) -> None:
        """The answer is there."""
        self.probe_id = ""
        self.outbox.confirm(self._probe_covers)
        self.flush()
        self.event("stanzas_confirmed")

    def _watch_order(self, stanza: Any) -> Any:
        # The last of the filters that each stanza passes before it is written. A stanza that a
        # slow filter holds up is overtaken, also by the barrier: which then proves nothing.
        if self.probe_id and stanza.xml.get("id") == self.probe_id and self._has_slow_filters():
            self._probe_covers = 0
        return stanza

    def _has_slow_filters(self) -> bool:
        return bool(self._XMLStream__slow_tasks)  # type: ignore[attr-defined]

    def _plan_barrier(self) -> None:
        unconfirmed = self.outbox.unconfirmed
        if not unconfirmed or self.probe_id or not self._session_started:
            return
        if unconfirmed * 2 >= self.outbox.window:
            self.probe()
        elif self._confirm_timer is None:
            self._confirm_timer = self.loop.call_later(self.confirm_delay, self.probe)

    def _forget_barrier(self) -> None:
        self.probe_id = ""
        self._cancel_confirm_timer()

    def _cancel_confirm_timer(self) -> None:
        if self._confirm_timer is not None:
            self._confirm_timer.cancel()
            self._confirm_timer = None


def _negotiates(iq: Iq) -> bool:
    """Whether `iq` belongs to the log-in: slixmpp's own list."""
    check: Callable[..., Any] = iq.get_plugin
    return any(
        name in iq.plugin_attrib_map and check(name, check=True) is not None
        for name in ("bind", "session", "register")
    )
