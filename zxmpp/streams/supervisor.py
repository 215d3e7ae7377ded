"""Keeps one stream connected, for as long as it is wanted.

Rules:
- One task per stream; one back-off, exponential, with jitter, that starts anew after a session
  that lasted.
- A server that is absent is tried again for ever. One that refuses us is not hammered: a clear
  error, and another try only after `refused_retry`.
- Nothing waits without a bound: not for a session, not for the end of a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from zxmpp.streams.liveness import Liveness
from zxmpp.streams.reasons import CONFLICT, REFUSALS, WRONG_PASSWORD, unreachable
from zxmpp.streams.settings import StreamSettings

__all__ = ["TRANSITIONS", "State", "Supervisor"]

log = logging.getLogger(__name__)

#: Seconds before the second attempt.
FIRST_DELAY = 0.5
#: Seconds that a session must last for the back-off to begin anew.
STABLE = 5.0
#: Seconds that the end of an aborted connection may take.
CLOSE_TIMEOUT = 2.0
#: A server that hangs up on a component's handshake so often in a row refuses it, wordlessly.
SILENT_REFUSALS = 3


class State(StrEnum):
    """Where a stream is in its life."""

    NEW = "new"  #: not started
    CONNECTING = "connecting"  #: TCP, TLS, authentication
    ONLINE = "online"  #: there is a session
    WAITING = "waiting"  #: for the next attempt
    REFUSED = "refused"  #: the server refused us; tried again, slowly
    STOPPED = "stopped"  #: for good


#: state -> the states that may follow it
TRANSITIONS: dict[State, frozenset[State]] = {
    State.NEW: frozenset({State.CONNECTING, State.STOPPED}),
    State.CONNECTING: frozenset({State.ONLINE, State.WAITING, State.REFUSED, State.STOPPED}),
    State.ONLINE: frozenset({State.WAITING, State.REFUSED, State.STOPPED}),
    State.WAITING: frozenset({State.CONNECTING, State.STOPPED}),
    State.REFUSED: frozenset({State.CONNECTING, State.STOPPED}),
    State.STOPPED: frozenset(),
}


class Supervisor:
    """The life of one stream. `on_state(state, detail)` is called at each change.

    `xmpp` is one of `zxmpp.streams.mixin`'s classes; `settings` say where and how patiently.
    """

    def __init__(
        self,
        xmpp: Any,
        name: str,
        settings: StreamSettings,
        on_state: Callable[[State, str], None],
    ) -> None:
        self.state = State.NEW
        self.counts: Counter[str] = Counter()
        self._xmpp = xmpp
        self._name = name
        self._settings = settings
        self._on_state = on_state
        self._task: asyncio.Task[None] | None = None
        self._liveness = Liveness(
            xmpp, settings.ping_interval, settings.ping_timeout, self._on_silence
        )
        self._refusal = ""
        self._failure = ""
        self._in_conflict = self._told_why = False
        self._wordless = 0
        self._session = asyncio.Event()
        self._ended = asyncio.Event()
        self._changed = asyncio.Event()
        self._attempts = 0
        xmpp.supervised = True
        self._handlers: list[tuple[str, Callable[[Any], None]]] = [
            ("session_start", self._on_session),
            ("session_resumed", self._on_session),
            ("disconnected", self._on_disconnected),
            ("connection_failed", self._on_failed),
            ("failed_auth", self._on_failed_auth),
            ("failed_all_auth", self._on_bad_auth),
            ("no_auth", self._on_no_auth),
            ("ssl_invalid_chain", self._on_bad_certificate),
            ("stream_error", self._on_stream_error),
        ]
        for event, handler in self._handlers:
            xmpp.add_event_handler(event, handler)

    def start(self) -> None:
        """Begin. Must be called on the loop. Idempotent."""
        if self._task is None and self.state is State.NEW:
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name=f"stream {self._name}"
            )
            self._task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("stream %s: the supervisor failed: this is a bug", self._name, exc_info=error)

    async def stop(self, wait: float) -> None:
        """End the session in good order, in about `wait` seconds, and try no more. Idempotent."""
        if self.state is State.STOPPED:
            return
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._liveness.stop()
        xmpp = self._xmpp
        if xmpp.is_connected() and self._session.is_set() and wait > 0:
            # slixmpp sends what is queued, closes the stream, and waits for the server's answer.
            closing = xmpp.disconnect(wait=wait)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * wait + 1):
                    await closing
        await self._close()
        for event, handler in self._handlers:
            xmpp.del_event_handler(event, handler)
        pump, xmpp._run_out_filters = xmpp._run_out_filters, None
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
            log.error(
                "stream %s: %s -> %s is no transition: this is a bug", self._name, self.state, state
            )
        self.state = state
        self._on_state(state, detail)

    # -- the life -------------------------------------------------------------------------------

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        if self._settings.security != "none":
            await self._load_certificates()
        while True:
            self._refusal = self._failure = ""
            self._in_conflict = self._told_why = False
            self._xmpp.stream_id = ""
            self._session.clear()
            self._ended.clear()
            self._changed.clear()
            self._go(State.CONNECTING)
            began = await self._connect()
            await self._close()
            if began is not None:
                self._wordless = 0
                if loop.time() - began >= STABLE:
                    self._attempts = 0
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        """Seconds until the next attempt; tells why there must be one."""
        settings = self._settings
        reason = self._refusal or self._failure or "the connection was lost"
        if self._refusal:
            self.counts["refused"] += 1
            delay = settings.refused_retry
            if self._in_conflict:
                # Our own last connection may be the other one, until the server notices.
                delay = min(delay, settings.backoff_max)
            log.error(
                "stream %s (%s): refused: %s. The next try is in %g s",
                self._name, settings.jid, reason, delay,
            )  # fmt: skip
            self._go(State.REFUSED, reason)
            return delay
        delay = min(settings.backoff_max, FIRST_DELAY * 2.0 ** min(self._attempts, 16))
        delay *= random.uniform(0.5, 1.0)
        self._attempts += 1
        log.warning("stream %s: %s; the next try is in %.1f s", self._name, reason, delay)
        self._go(State.WAITING, reason)
        return delay

    async def _connect(self) -> float | None:
        """One connection from start to end. The loop's time when its session began, if it did."""
        xmpp, settings = self._xmpp, self._settings
        self.counts["attempts"] += 1
        attempt = xmpp.connect(*(settings.address or ()))
        try:
            async with asyncio.timeout(settings.login_timeout):
                await asyncio.wait([attempt])
                if not xmpp.is_connected() and not self._ended.is_set():
                    self._failure = self._failure or "can't connect"
                    return None
                await self._changed.wait()
        except TimeoutError:
            self._failure = f"no session within {settings.login_timeout:g} s"
            return None
        if not self._session.is_set():
            self._judge_wordless()
            return None
        began: float = xmpp.loop.time()
        self.counts["sessions"] += 1
        self._liveness.start()
        try:
            await self._ended.wait()
        finally:
            self._liveness.stop()
        return began

    def _judge_wordless(self) -> None:
        shaken = self._settings.kind == "component" and bool(self._xmpp.stream_id)
        if self._refusal or self._told_why or not shaken:
            return
        self._wordless += 1
        if self._wordless >= SILENT_REFUSALS:
            self._refusal = (
                "the server hangs up after the handshake, without a word: usually the secret is "
                "wrong, or the server does not know this JID"
            )

    async def _close(self) -> None:
        """See that there is no connection: a late end of the last one would end the next."""
        xmpp = self._xmpp
        attempt = xmpp._current_connection_attempt
        xmpp.cancel_connection_attempt()
        if attempt is not None:
            await asyncio.wait([attempt], timeout=CLOSE_TIMEOUT)
        if xmpp.is_connected():
            self._ended.clear()
            xmpp.abort()
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._ended.wait()
            except TimeoutError:
                # asyncio does not report the end of a connection whose TLS handshake failed.
                xmpp.connection_lost(None)

    async def _load_certificates(self) -> None:
        """Read the trusted certificates; off the loop, it takes some 10 ms."""
        ca_file = self._settings.ca_file or None

        def load() -> ssl.SSLContext:
            context = ssl.create_default_context()
            if ca_file:
                context.load_verify_locations(ca_file)
            return context

        while True:
            try:
                self._xmpp.ssl_context = await asyncio.to_thread(load)
                return
            except OSError as error:
                self._go(State.CONNECTING)
                self._refusal = f"ca_file {ca_file} can't be used ({error}): name a file in PEM"
                await asyncio.sleep(self._pause())

    # -- what slixmpp reports -------------------------------------------------------------------

    def _on_silence(self) -> None:
        self.counts["silent"] += 1
        self._failure = (
            f"the server was silent and did not answer a ping in {self._settings.ping_timeout:g} s"
        )
        self._xmpp.abort()

    def _on_session(self, _: Any) -> None:
        self._session.set()
        self._changed.set()
        self._go(State.ONLINE)

    def _on_disconnected(self, reason: Any) -> None:
        if reason and not self._failure:
            self._failure = f"the connection was lost: {reason}"
        self._ended.set()
        self._changed.set()

    def _on_failed(self, reason: Any) -> None:
        self._failure = f"can't connect: {unreachable(reason, self._settings)}"
        if isinstance(reason, ssl.SSLCertVerificationError):
            self._on_bad_certificate(reason)

    def _on_failed_auth(self, failure: Any) -> None:
        self._failure = f"authentication failed: {failure['condition']}"

    def _on_bad_auth(self, _: Any) -> None:
        if "temporary-auth-failure" not in self._failure:
            self._refusal = WRONG_PASSWORD

    def _on_no_auth(self, _: Any) -> None:
        self._refusal = (
            "the server offers no way to log in that is safe here: check tls, or the mechanisms "
            "that the server allows"
        )

    def _on_bad_certificate(self, error: Any) -> None:
        self._refusal = (
            f"the server's certificate is not trusted ({error}): name its authority in ca_file, "
            f"and see that it is for the domain of jid"
        )
        # slixmpp leaves the connection to whoever handles this.
        self._ended.set()
        self._changed.set()

    def _on_stream_error(self, error: Any) -> None:
        condition = str(error["condition"])
        text = str(error["text"] or "")
        self._told_why = True
        self._failure = f"the server ended the stream: {condition} {text}".rstrip()
        if condition == "conflict":
            self._in_conflict = True
            self._refusal = f"conflict: {CONFLICT}"
        elif condition in REFUSALS and not self._session.is_set():
            self._refusal = f"{condition}: {REFUSALS[condition]}"
