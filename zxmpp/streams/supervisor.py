"""Keeps one stream connected, for as long as it is wanted.

Rules:
- One task per stream; one back-off, exponential, with jitter, that starts anew after a session
  that lasted.
- A server that is absent is tried again for ever. Credentials that were refused are not: a clear
  error, and another try only after `refused_retry`.
- A connection on which nothing comes in is pinged (XEP-0199), and given up if nothing comes back.
- No timer runs but one per ping interval.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from zxmpp.streams.mixin import StreamMixin
from zxmpp.streams.settings import StreamSettings

__all__ = ["State", "Supervisor"]

log = logging.getLogger(__name__)

#: Seconds before the second attempt.
FIRST_DELAY = 0.25
#: Seconds that a session must last for the back-off to begin anew.
STABLE = 5.0


class State(StrEnum):
    """Where a stream is in its life."""

    NEW = "new"
    CONNECTING = "connecting"  #: TCP, TLS, authentication
    ONLINE = "online"  #: there is a session
    WAITING = "waiting"  #: for the next attempt
    REFUSED = "refused"  #: the server refused us; tried again, slowly
    STOPPED = "stopped"


#: state -> the states that may follow it
TRANSITIONS: dict[State, frozenset[State]] = {
    State.NEW: frozenset({State.CONNECTING, State.STOPPED}),
    State.CONNECTING: frozenset({State.ONLINE, State.WAITING, State.REFUSED, State.STOPPED}),
    State.ONLINE: frozenset({State.WAITING, State.REFUSED, State.STOPPED}),
    State.WAITING: frozenset({State.CONNECTING, State.STOPPED}),
    State.REFUSED: frozenset({State.CONNECTING, State.STOPPED}),
    State.STOPPED: frozenset(),
}

#: Stream errors (RFC 6120, 4.9.3) that another try in a moment will not mend.
_REFUSALS = {
    "not-authorized": "the secret is wrong; compare it with the server's",
    "host-unknown": "the server does not know this JID; add it to the server's configuration",
    "host-gone": "the server no longer serves this JID",
    "improper-addressing": "the server does not serve this JID",
    "invalid-namespace": "this port is not for this kind of stream; check kind and port",
}


class Supervisor:
    """The life of one stream. `on_state(state, detail)` is called at each change."""

    def __init__(
        self,
        xmpp: StreamMixin,
        name: str,
        settings: StreamSettings,
        on_state: Callable[[State, str], None],
    ) -> None:
        self.state = State.NEW
        self.counts: Counter[str] = Counter()
        self._xmpp: Any = xmpp
        self._name = name
        self._settings = settings
        self._on_state = on_state
        self._task: asyncio.Task[None] | None = None
        self._keepalive: asyncio.TimerHandle | None = None
        self._stopping = False
        self._refusal = ""
        self._last_failure = ""
        self._session = asyncio.Event()
        self._ended = asyncio.Event()
        self._attempts = 0
        for event, handler in self._handlers():
            self._xmpp.add_event_handler(event, handler)

    def _handlers(self) -> list[tuple[str, Callable[[Any], None]]]:
        return [
            ("session_start", self._on_session),
            ("session_resumed", self._on_session),
            ("disconnected", self._on_disconnected),
            ("connection_failed", self._on_failed),
            ("failed_all_auth", self._on_bad_auth),
            ("no_auth", self._on_no_auth),
            ("ssl_invalid_chain", self._on_bad_certificate),
            ("stream_error", self._on_stream_error),
        ]

    def start(self) -> None:
        """Begin. Must be called on the loop."""
        if self._task is None:
            self._task = self._xmpp.loop.create_task(self._run(), name=f"stream {self._name}")
            self._task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("stream %s: the supervisor failed: this is a bug", self._name, exc_info=error)

    async def stop(self, wait: float) -> None:
        """End the session in good order, in at most `wait` seconds, and try no more."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        xmpp = self._xmpp
        if xmpp.is_connected():
            self._ended.clear()
            xmpp.disconnect(wait=wait)
            try:
                async with asyncio.timeout(wait + 1):
                    await self._ended.wait()
            except TimeoutError:
                xmpp.abort()
        xmpp.cancel_connection_attempt()
        self._stop_keepalive()
        for event, handler in self._handlers():
            xmpp.del_event_handler(event, handler)
        pump = xmpp._run_out_filters
        if pump is not None:
            pump.cancel()
            await asyncio.wait([pump])
        for schedule in list(xmpp.scheduled_events):
            xmpp.cancel_schedule(schedule)
        self._go(State.STOPPED)

    def _go(self, state: State, detail: str = "") -> None:
        if state is self.state:
            return
        if state not in TRANSITIONS[self.state]:
            log.error("stream %s: %s -> %s is no transition: this is a bug", self._name, self.state,
                      state)  # fmt: skip
        self.state = state
        self._on_state(state, detail)

    # -- the life -------------------------------------------------------------------------------

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            self._go(State.CONNECTING)
            self._refusal = self._last_failure = ""
            self._session.clear()
            self._ended.clear()
            began = await self._connect()
            if began and loop.time() - began >= STABLE:
                self._attempts = 0
            reason = self._refusal or self._last_failure or "the connection was lost"
            if self._refusal:
                delay = self._settings.refused_retry
                self.counts["refused"] += 1
                log.error("stream %s: refused by the server: %s. The next try is in %g s",
                          self._name, reason, delay)  # fmt: skip
                self._go(State.REFUSED, reason)
            else:
                delay = min(self._settings.backoff_max, FIRST_DELAY * 2 ** min(self._attempts, 16))
                delay *= random.uniform(0.5, 1.0)
                self._attempts += 1
                log.warning("stream %s: %s; the next try is in %.1f s", self._name, reason, delay)
                self._go(State.WAITING, reason)
            await asyncio.sleep(delay)

    async def _connect(self) -> float | None:
        """One connection from start to end. The loop's time when its session began, if it did."""
        settings, xmpp = self._settings, self._xmpp
        self.counts["attempts"] += 1
        if settings.kind == "component":
            attempt = xmpp.connect(settings.host or "localhost", settings.port or 5347)
        elif settings.host:
            attempt = xmpp.connect(settings.host, settings.port or 5222)
        else:
            attempt = xmpp.connect()
        try:
            async with asyncio.timeout(settings.session_timeout):
                await asyncio.wait([attempt])
                if not xmpp.is_connected():
                    return None
                if not await self._either(self._session, self._ended):
                    return None
        except TimeoutError:
            self._last_failure = f"no session within {settings.session_timeout:g} s"
            xmpp.cancel_connection_attempt()
            xmpp.abort()
            return None
        began = float(xmpp.loop.time())
        self.counts["sessions"] += 1
        self._watch_silence()
        try:
            await self._ended.wait()
        finally:
            self._stop_keepalive()
        return began

    async def _either(self, wanted: asyncio.Event, other: asyncio.Event) -> bool:
        """Wait for one of two events; whether it was the first."""
        waits = [asyncio.ensure_future(event.wait()) for event in (wanted, other)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return wanted.is_set()
        finally:
            for wait in waits:
                wait.cancel()

    # -- silence --------------------------------------------------------------------------------

    def _watch_silence(self) -> None:
        loop = self._xmpp.loop
        silent = loop.time() - self._xmpp.last_received
        interval = self._settings.ping_interval
        if silent >= interval:
            self._xmpp.ping_stanza().send(timeout=self._settings.ping_timeout).add_done_callback(
                lambda future: future.cancelled() or future.exception()
            )
            self._keepalive = loop.call_later(
                self._settings.ping_timeout, self._check_silence, loop.time()
            )
        else:
            self._keepalive = loop.call_later(interval - silent, self._watch_silence)

    def _check_silence(self, asked: float) -> None:
        if self._xmpp.last_received >= asked:
            self._watch_silence()
            return
        self.counts["silent"] += 1
        self._last_failure = (
            f"the server was silent for {self._settings.ping_interval:g} s and did not answer a "
            f"ping in {self._settings.ping_timeout:g} s"
        )
        self._xmpp.abort()

    def _stop_keepalive(self) -> None:
        if self._keepalive is not None:
            self._keepalive.cancel()
            self._keepalive = None

    # -- what slixmpp reports -------------------------------------------------------------------

    def _on_session(self, _: Any) -> None:
        self._session.set()
        self._go(State.ONLINE)

    def _on_disconnected(self, reason: Any) -> None:
        if reason and not self._last_failure:
            self._last_failure = f"the connection was lost: {reason}"
        self._ended.set()

    def _on_failed(self, reason: Any) -> None:
        self._last_failure = f"can't connect: {reason}"

    def _on_bad_auth(self, _: Any) -> None:
        self._refusal = "the password is wrong, or the account does not exist"

    def _on_no_auth(self, _: Any) -> None:
        self._refusal = (
            "the server offers no way to authenticate that is safe here; check tls, or the "
            "server's SASL mechanisms"
        )

    def _on_bad_certificate(self, error: Any) -> None:
        self._refusal = f"the server's certificate is not trusted ({error}); name its CA in ca_file"
        self._xmpp.disconnect()

    def _on_stream_error(self, error: Any) -> None:
        condition = str(error["condition"])
        self._last_failure = f"the server closed the stream: {condition} {error['text']}".rstrip()
        if condition in _REFUSALS and not self._session.is_set():
            self._refusal = f"{condition}: {_REFUSALS[condition]}"
        elif condition == "conflict" and self._session.is_set():
            self._refusal = "conflict: somebody else uses this JID; give this bot its own resource"
