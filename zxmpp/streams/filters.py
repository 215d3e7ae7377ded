"""The pump: takes stanzas from slixmpp's queue, through the outgoing filters, to the transport.

Rules:
- The filters of the modes out, out_sync and out_sce run in this order, on slixmpp's live lists, with
  slixmpp's results. Text, and what is sent with ``use_filters=False``, passes them.
- No task per stanza or filter. A coroutine filter's first step is taken in place, in a context of
  its own. If it suspends, the pump's task waits for it, for `filter_patience` seconds, as slixmpp
  does. Then that task keeps the stanza, and another one takes over the pump.
- Meanwhile the order per recipient (bare JID; what has no ``to`` counts as one more recipient) is
  kept: what follows to the same one waits, the rest passes. What a filter may wait for passes also:
  all that is sent from within it, and each IQ of type ``get``, whose place can't matter to the
  recipient since it changes nothing there. An IQ request from within a filter ends the patience at
  once. With ``keep_order = False`` everything passes, as in slixmpp.
- A filter may take `filter_timeout` seconds, then it is cancelled, and what waited goes on. At most
  `filter_backlog` stanzas are with slow filters or wait behind them. Each that this costs is told to
  the stream, with a name for the reason.
- What the pump writes in one go is one write, in one order with `send_raw`. A transport
  that says that it is full stops the pump until it has room.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from inspect import iscoroutinefunction
from types import CoroutineType
from typing import Any

from slixmpp.stanza import Iq
from slixmpp.xmlstream import StanzaBase
from slixmpp.xmlstream.xmlstream import NotConnectedError

from zxmpp.streams.backlog import Backlog
from zxmpp.streams.serialising import serialise
from zxmpp.streams.turns import TURN, Host, Item, Lane, Passing, Turn, steps

__all__ = ["Pump"]

log = logging.getLogger(__name__)

#: The most that is written before the loop has a turn: stanzas, and about so many bytes.
MAX_BATCH = 100
MAX_BATCH_BYTES = 65536

_MODES = ("out", "out_sync", "out_sce")


class Pump:
    """The pump of `stream`. `filters` gives slixmpp's lists of filters, by mode."""

    def __init__(self, stream: Host, filters: dict[str, list[Callable[[Any], Any]]]) -> None:
        self._stream = stream
        self._filters = filters
        #: Whether each filter, by its id, is a coroutine function: slow to find out.
        self._kinds: dict[int, tuple[Any, bool]] = {}
        self._turn: Turn | None = None
        #: The task that has the pump now, and what wakes `run` to start another.
        self._task: asyncio.Task[None] | None = None
        #: The task of `run`.
        self._runner: asyncio.Task[Any] | None = None
        self._relief: asyncio.Future[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._writer = stream.writer
        #: What slow filters hold up.
        self.backlog = Backlog()
        self._marked: Item | None = None
        #: What the backlog held when the marked item was written.
        self.held_at_mark: frozenset[int] = frozenset()

    # -- what others ask and tell ---------------------------------------------------------------

    @property
    def stalled(self) -> bool:
        """Whether the queue may get longer without anybody's fault here."""
        return self._writer.paused or bool(self.backlog.suspended)

    def mark(self, item: Item) -> None:
        """Note in `held_at_mark`, when `item` is written, what is overtaken by it."""
        self._marked = item
        self.held_at_mark = frozenset()

    def item(self, data: Any, use_filters: bool) -> Item:
        """What to put in the queue for what is sent right here and now."""
        turn = TURN.get()
        if turn is None or not turn.running or turn.pump is not self:
            return data, use_filters
        if isinstance(data, Iq) and data.xml.get("type") in ("get", "set"):
            turn.asked = True
            if turn in self.backlog.suspended:
                self._relieve(turn)
        return Passing((data, use_filters))

    def reset(self) -> tuple[list[Item], list[Item]]:
        """The connection is gone. What waited behind slow filters, and what these had in hand."""
        parked = self.backlog.clear()
        stopped: list[Item] = []
        for turn in list(self.backlog.suspended):
            if turn.item is not None:
                stopped.append(turn.item)
            self._abandon(turn, "connection-lost")
        return parked, stopped

    # -- tasks ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Pump until cancelled. A second call waits for the first to end."""
        async with self._one_at_a_time:
            loop = self._stream.loop
            self._runner = asyncio.current_task()
            while True:
                relief = self._relief = loop.create_future()
                task = self._task = loop.create_task(self._work())
                task.add_done_callback(self._ended)
                try:
                    await relief
                except asyncio.CancelledError:
                    if self._turn in self.backlog.suspended:
                        self._abandon(self._turn, "stopped")
                    else:
                        task.cancel()
                    await asyncio.wait([task], timeout=1)
                    raise

    @property
    def _stopping(self) -> bool:
        """Whether `run` has ended or is about to, as when all tasks are cancelled."""
        runner = self._runner
        return runner is None or runner.done() or runner.cancelling() > 0

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.backlog.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("the pump failed and is started again", exc_info=task.exception())
        if task is self._task:
            self._let_take_over()

    def _let_take_over(self) -> None:
        if self._relief is not None and not self._relief.done():
            self._relief.set_result(None)

    async def _work(self) -> None:
        queue = self._stream.waiting_queue
        writer = self._writer
        lanes = self.backlog.lanes
        turn = self._next_turn()
        while True:
            if writer.paused:
                await writer.room()
            item = await queue.get()
            left = MAX_BATCH
            writer.gather(self._stream.transport)
            try:
                while True:
                    try:
                        if not lanes or not self._park(item):
                            await self._take(turn, item)
                    finally:
                        if not turn.relieved:
                            queue.task_done()
                    left -= 1
                    if (
                        queue.empty()
                        or not left
                        or turn.item is not None
                        or writer.gathered_bytes > MAX_BATCH_BYTES
                        or writer.paused
                    ):
                        break
                    item = queue.get_nowait()
            finally:
                writer.flush()
            if turn.relieved:
                if turn.lane is not None:
                    await self._send_lane(turn.lane)
                self.backlog.note_settled()
                return
            if turn.item is not None:
                turn = self._next_turn()
            elif not queue.empty():
                await asyncio.sleep(0)

    def _next_turn(self) -> Turn:
        turn = self._turn = Turn(self)
        TURN.set(turn)
        self.backlog.note_settled()
        return turn

    async def _send_lane(self, lane: Lane) -> None:
        """Send what waited behind a slow filter."""
        number = 0
        while lane.items:
            if self._writer.paused:
                await self._writer.room()
                continue
            item = self.backlog.next(lane)
            turn = Turn(self, lane)
            TURN.set(turn)
            await self._take(turn, item)
            if turn.reason:
                # Another task has the rest.
                return
            number += 1
            if not number % MAX_BATCH:
                await asyncio.sleep(0)
        self.backlog.close(lane)
        self.backlog.note_settled()

    # -- a stanza -------------------------------------------------------------------------------

    async def _take(self, turn: Turn, item: Item) -> None:
        """Run the filters on one item and write it. Raises only if the task is to end."""
        try:
            data, use_filters = item
            if use_filters and isinstance(data, StanzaBase):
                for mode in _MODES:
                    may_wait = mode != "out_sync"
                    for filter_ in self._filters[mode]:
                        if not isinstance(data, StanzaBase) and not (
                            may_wait and self._is_async(filter_)
                        ):
                            continue
                        data = filter_(data)
                        if type(data) is CoroutineType and may_wait and self._is_async(filter_):
                            data = await self._drive(turn, item, data)
                        if data is None:
                            self._stream.not_written(item, "filtered-out")
                            return
            if isinstance(data, StanzaBase):
                data = serialise(data.xml, self._stream)
            elif not isinstance(data, str | bytes):
                log.error("an outgoing filter made a %s of a stanza: return the stanza, text or "
                          "None (and make it an `async def` if it awaits)", type(data).__name__)  # fmt: skip
                self._stream.not_written(item, "filter-failed")
                return
            if item is self._marked:
                self.held_at_mark = self.backlog.ids()
                self._marked = None
            if self._stream.transport is None:
                raise NotConnectedError
            self._stream.send_raw(data)
        except NotConnectedError:
            self._stream.not_written(item, "not-connected")
        except (Exception, asyncio.CancelledError) as error:
            if turn.reason:
                return  # It is accounted for.
            if turn.task.cancelling() and self._stopping:
                turn.item = item
                self._abandon(turn, "stopped")
                return
            log.error("an outgoing filter, or what it made of a stanza, failed", exc_info=error)
            if turn.task.cancelling():
                # By the filter: this task is to end.
                turn.item = item
                self._abandon(turn, "filter-failed")
            else:
                self._stream.not_written(item, "filter-failed")

    async def _drive(self, turn: Turn, item: Item, work: Coroutine[Any, Any, Any]) -> Any:
        """Take a coroutine filter's first step in place; wait only if it suspends."""
        context = copy_context()
        turn.running, turn.asked = True, False
        try:
            try:
                waits_for = context.run(work.send, None)
            except StopIteration as stop:
                return stop.value
            return await self._wait(turn, item, steps(context, work, waits_for))
        finally:
            turn.running = False

    async def _wait(self, turn: Turn, item: Item, rest: Any) -> Any:
        self._writer.flush()
        turn.item = item
        self.backlog.suspended[turn] = None
        if turn.relieved:
            self._limit(turn)
        elif turn.asked:
            self._relieve(turn)
        else:
            patience = self._stream.filter_patience
            turn.timer = self._stream.loop.call_later(patience, self._relieve, turn)
        try:
            value = await rest
        finally:
            if turn.timer is not None:
                turn.timer.cancel()
            self.backlog.suspended.pop(turn, None)
        if turn.reason:
            # The filter did not mind being cancelled.
            raise asyncio.CancelledError
        return value

    def _is_async(self, filter_: Callable[[Any], Any]) -> bool:
        known = self._kinds.get(id(filter_))
        if known is None:
            if len(self._kinds) >= 1000:
                self._kinds.clear()
            known = self._kinds[id(filter_)] = (filter_, iscoroutinefunction(filter_))
        return known[1]

    # -- slow filters ---------------------------------------------------------------------------

    def _relieve(self, turn: Turn) -> None:
        """Let another task take over the pump from one whose filter is slow."""
        if turn.relieved or turn.item is None:
            return
        self._hand_over(turn)
        if self.backlog.size > self._stream.filter_backlog:
            self._abandon(turn, "filter-backlog")
            return
        self._limit(turn)
        if self._stream.keep_order:
            turn.lane = self.backlog.open(turn.item)

    def _hand_over(self, turn: Turn) -> None:
        turn.relieved = True
        self.backlog.tasks.add(turn.task)
        self._task = None
        self._stream.waiting_queue.task_done()
        self._let_take_over()

    def _limit(self, turn: Turn) -> None:
        if turn.timer is not None:
            turn.timer.cancel()
        limit = self._stream.filter_timeout
        turn.timer = self._stream.loop.call_later(limit, self._abandon, turn, "filter-timeout")

    def _abandon(self, turn: Turn, reason: str) -> None:
        """Give up a stanza that a filter has in hand. What waits for anything does not wait for
        the filter to notice: it may ignore that it is cancelled."""
        turn.reason = reason
        self.backlog.suspended.pop(turn, None)
        if not turn.relieved:
            self._hand_over(turn)
        lane, turn.lane = turn.lane, None
        if lane is not None and self._stopping:
            # A task that begins while all are cancelled would be destroyed with its loop.
            self.backlog.close(lane)
            while lane.items:
                self._stream.not_written(self.backlog.next(lane), "stopped")
        elif lane is not None:
            task = self._stream.loop.create_task(self._send_lane(lane))
            self.backlog.tasks.add(task)
            task.add_done_callback(self._ended)
        if turn.item is not None and reason != "connection-lost":
            self._stream.not_written(turn.item, reason)
        turn.task.cancel()
        self.backlog.note_settled()

    def _park(self, item: Item) -> bool:
        """Whether `item` waits behind a slow filter (or can't even do that)."""
        lane = self.backlog.lane_for(item)
        if lane is None:
            return False
        if self.backlog.size >= self._stream.filter_backlog:
            self._stream.not_written(item, "filter-backlog")
        else:
            self.backlog.park(item, lane)
        return True
