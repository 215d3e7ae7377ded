"""The way out: slixmpp's `send`, with nothing lost unnamed.

Rules:
- slixmpp's queue of stanzas stays, and a pump behind it (see `filters`); what stands before it is an
  `Outbox` instead of an endless list, and what the pump had not written when the connection broke
  goes back to it.
- What the outbox does not keep (presence, the log-in) waits in the queue, and while the server takes
  nothing only `queue_limit` of it.
- The barrier is an IQ to the own server, `confirm_delay` after the first stanza that it is to
  confirm, or at once when half the window is used; only one is under way. Nothing is sent when
  nothing is unconfirmed.
- Presence that says who is available is not kept: a new session begins with a fresh one.
- Where XEP-0198 may resume the session, what was not written yet waits, presence too, and what was
  written is left to XEP-0198, which sends it again, before anything else. The outbox speaks up when
  the resumption fails.
"""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
import xml.etree.ElementTree as ET
from asyncio import TimerHandle
from collections.abc import Collection
from functools import cached_property
from itertools import count
from typing import Any

from slixmpp.stanza import Iq, Message
from slixmpp.stanza.rootstanza import RootStanza

from zxmpp.streams.filters import Pump
from zxmpp.streams.kinds import is_state, name_given_up, negotiates
from zxmpp.streams.matching import QuietHandler
from zxmpp.streams.outbox import Outbox
from zxmpp.streams.turns import Item, Passing
from zxmpp.streams.writing import WritingMixin

__all__ = ["ProbeHandler", "SendingMixin"]

log = logging.getLogger(__name__)

_PING = "{urn:xmpp:ping}ping"
#: A component asks itself, through the server: this must look like no request of anybody else.
_ECHO = "{urn:zxmpp:probe}probe"


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


class SendingMixin(WritingMixin):
    """Overrides what slixmpp does with stanzas that can't be sent right now. The limits count from
    the first use of `outbox` on; change them there later."""

    #: See `StreamSettings`.
    outbox_limit: int = 1000
    outbox_age: float = 300.0
    send_window: int = 1000
    #: Whether stanzas to one recipient stay in order where an outgoing filter is slow. False is
    #: slixmpp's way: after `filter_patience` all that follows overtakes.
    keep_order: bool = True
    #: Seconds that everything waits for an outgoing filter.
    filter_patience: float = 1.0
    #: Seconds after which a filter is cancelled and its stanza given up.
    filter_timeout: float = 60.0
    #: The most stanzas that slow filters have in hand, or that wait behind them. More than
    #: `send_window`, or what one burst sends would find no room.
    filter_backlog: int = 2000
    #: The most that waits for a slow server during a session: in the outbox, and besides it.
    queue_limit: int = 10_000
    #: Seconds in which stanzas gather before a barrier confirms them all.
    confirm_delay: float = 0.25

    #: The id of the barrier under way; empty if there is none.
    probe_id: str = ""
    #: When it was sent, by the loop's clock.
    probe_since: float = 0.0
    _probe_covers: int = 0
    #: Whether we have ended the stream on this connection.
    _ending: bool = False
    _confirm_timer: TimerHandle | None = None
    _expiry_timer: TimerHandle | None = None
    _token: str = ""

    @cached_property
    def outbox(self) -> Outbox[Item]:
        """What waits to be sent and what was sent lately."""
        return Outbox(
            self.outbox_limit, self.outbox_age, self.send_window, self._give_up, self.queue_limit
        )

    @cached_property
    def pump(self) -> Pump:
        return Pump(self, self._XMLStream__filters)  # type: ignore[attr-defined]

    def _start_sending(self) -> None:
        """Register what this needs. Once, after slixmpp's constructor."""
        self._token = uuid.uuid4().hex[:12]
        self._numbers = count(1)
        self.add_event_handler("session_end", self._session_over)
        self.register_handler(ProbeHandler(self))

    # -- slixmpp's own methods ------------------------------------------------------------------

    def send(self, data: Any, use_filters: bool = True) -> None:
        item = self.pump.item(data, use_filters)
        if self._always_send_everything or not isinstance(data, RootStanza | str):
            self._enqueue(item)
            return
        online = self._session_started
        if not online and isinstance(data, Iq) and negotiates(data):
            self._enqueue(Passing(item))
            return
        if not online and not use_filters and self._resends():
            self.waiting_queue.put_nowait(item)
            return
        destination = ""
        if is_state(item):
            if online:
                self._enqueue(item)
                return
            if self.end_session_on_disconnect:
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

    def new_id(self) -> str:
        # As long and as random as slixmpp's, which makes a UUID of it first.
        return os.urandom(16).hex()

    def _resends(self) -> bool:
        """Whether XEP-0198 has resumed the session, and sends again what was not acknowledged."""
        plugin: Any = self.plugin.get("xep_0198", None)
        return plugin is not None and bool(plugin.enabled_in)

    def _enqueue(self, item: Item) -> None:
        """Queue what the outbox does not keep."""
        if self.waiting_queue.qsize() >= self.queue_limit and self.pump.stalled:
            self.not_written(item, "queue-full")
            return
        self.waiting_queue.put_nowait(item)

    async def run_filters(self) -> None:
        await self.pump.run()

    def disconnect(
        self, wait: float = 2.0, reason: str | None = None, ignore_send_queue: bool = False
    ) -> asyncio.Future[Any]:
        if self.transport is not None and self.pump.backlog.busy and not ignore_send_queue:
            # slixmpp knows of its queue only.
            ending = self._disconnect_settled(float(wait), reason)
            return asyncio.ensure_future(ending, loop=self.loop)
        return super().disconnect(wait, reason, ignore_send_queue)

    async def _disconnect_settled(self, wait: float, reason: str | None) -> None:
        began = self.loop.time()
        try:
            async with asyncio.timeout(wait):
                await self.pump.backlog.settled()
        except TimeoutError:
            log.warning("%s: disconnects although outgoing filters have stanzas in hand",
                        self.boundjid)  # fmt: skip
        if self.transport is not None:
            left = max(0.0, wait - (self.loop.time() - began))
            await super().disconnect(left, reason)

    async def _end_stream_wait(self, wait: float = 2, reason: str | None = None) -> None:
        self._ending = True
        await super()._end_stream_wait(wait, reason)

    def connection_made(self, transport: Any, send_event: bool = True) -> None:
        self._ending = False
        super().connection_made(transport, send_event)

    def _set_session_start(self, event: Any) -> None:
        super()._set_session_start(event)
        outbox = self.outbox
        # Only after a resumption (XEP-0198) is there anything left here; it was sent again, unless
        # a filter still has it.
        outbox.confirm(outbox.sent, self.pump.backlog.ids())
        outbox.open = True
        self.flush()

    def _reset_sendq(self) -> None:
        unwritten = self._take_back_queue()
        super()._reset_sendq()
        parked, stopped = self.pump.reset()
        unwritten += parked
        self._count_states(sum(map(is_state, [*unwritten, *stopped])))
        self._confirm_at_end({id(item) for item in [*unwritten, *stopped]})
        self.outbox.lost(unwritten)
        self.outbox.discard(is_state)
        self._plan_expiry()

    def _confirm_at_end(self, held: Collection[int]) -> None:
        if self._ending and self.disconnect_reason == "End of stream":
            # It was after all the rest that the server read our end, and answered it with its own.
            self.outbox.confirm(self.outbox.sent, held)

    def _count_states(self, number: int) -> None:
        if number:
            self.not_sent["presence-offline"] += number

    def _take_back_queue(self) -> list[Item]:
        queue = self.waiting_queue
        unwritten: list[Item] = []
        while not queue.empty():
            unwritten.append(queue.get_nowait())
            # slixmpp leaves this out, so that queue.join() would hang for ever.
            queue.task_done()
        return unwritten

    def _await_resumption(self) -> None:
        """The connection is gone, not yet the session: what is not written waits."""
        # What waits behind a slow filter came before what is queued for the same recipient.
        unwritten = [*self.pump.backlog.empty(), *self._take_back_queue()]
        self.outbox.take_back(unwritten, is_state, self.loop.time())
        self._confirm_at_end(self.pump.backlog.ids())
        self._plan_expiry()

    def connection_lost(self, exception: BaseException | None) -> None:
        # slixmpp notes this only after it told its handlers, who may send.
        self._session_started = False
        self.outbox.open = False
        self._forget_barrier()
        if not self.end_session_on_disconnect:
            self._await_resumption()
        super().connection_lost(exception)

    def _session_over(self, event: Any) -> None:
        # There is something left to do if XEP-0198 could have resumed the session, and did not.
        parked, _ = self.pump.reset()
        self.outbox.lost(parked)
        self._count_states(self.outbox.discard(is_state))
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

    def not_written(self, item: Item, reason: str) -> None:
        """The pump will not write `item`."""
        if reason == "filtered-out":
            self.not_sent[reason] += 1
            self.outbox.withdraw(item)
        elif not self.outbox.withdraw(item, reason):
            self.not_sent[reason] += 1
            if reason != "not-connected" or isinstance(item[0], RootStanza):
                self._give_up(item, reason)

    def _give_up(self, item: Item, reason: str) -> None:
        given_up = name_given_up(item, reason)
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
        # A stanza that a slow filter holds up is overtaken, also by this: which does not confirm it.
        item: Item = (iq, True)
        self.pump.mark(item)
        self.waiting_queue.put_nowait(item)

    def probe_answered(self) -> None:
        """The answer is there."""
        self.probe_id = ""
        self.outbox.confirm(self._probe_covers, self.pump.held_at_mark)
        self.flush()
        self.event("stanzas_confirmed")

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
