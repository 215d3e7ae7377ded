"""Notices a connection that is dead without saying so.

Rules:
- When nothing came in for `interval` seconds the own server is asked for a sign of life (XEP-0199).
  If still nothing comes in for `timeout` seconds, `dead` is called, once.
- One timer, about once an interval. What comes in does not touch it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

__all__ = ["Liveness"]


class Liveness:
    """Watches one of `zxmpp.streams.mixin`'s streams while it has a session. Times in seconds."""

    def __init__(
        self, xmpp: Any, interval: float, timeout: float, dead: Callable[[], None]
    ) -> None:
        self._xmpp = xmpp
        self._interval = interval
        self._timeout = timeout
        self._dead = dead
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watch from now on."""
        self.stop()
        self._look_in(self._interval)

    def stop(self) -> None:
        """Watch no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_in(self, delay: float) -> None:
        self._timer = self._xmpp.loop.call_later(max(delay, 0.0), self._look)

    def _look(self) -> None:
        self._timer = None
        xmpp = self._xmpp
        now = xmpp.loop.time()
        if xmpp.probe_id:
            # Asked already, here or to confirm what was sent. A slow answer is no death as long as
            # anything comes in.
            silent = now - max(xmpp.probe_since, xmpp.last_received)
            if silent >= self._timeout:
                self._dead()
            else:
                self._look_in(self._timeout - silent)
            return
        silent = now - xmpp.last_received
        if silent >= self._interval:
            xmpp.probe()
            self._look_in(self._timeout)
        else:
            self._look_in(self._interval - silent)
