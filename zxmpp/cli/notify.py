"""What the service manager is told: sd_notify(3), a datagram to $NOTIFY_SOCKET.

Rules:
- Without $NOTIFY_SOCKET nothing is sent, and nothing else is different.
- READY when all has started, not when the streams are online: a server that is down must not fail
  the unit. STATUS says how the streams are.
- WATCHDOG comes from the loop itself: a loop that hangs is silent.
- Nothing here waits or raises: what can't be sent is logged, once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from zxmpp.app import App
from zxmpp.event import Lifecycle
from zxmpp.handlers import Route
from zxmpp.mdp import Worker
from zxmpp.recording import Recorder

__all__ = ["NotifyingApp", "NotifyingWorker", "ServiceManager"]

log = logging.getLogger(__name__)

#: What makes STATUS another one.
_CHANGES = (Lifecycle.ONLINE, Lifecycle.OFFLINE, Lifecycle.REFUSED, Lifecycle.JOINED,
            Lifecycle.LEFT)  # fmt: skip


class ServiceManager:
    """Who started the process and wants to know how it is: systemd, or nobody."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        #: Seconds between two signs of life; 0: none are wanted.
        self.period = 0.0
        usec = environ.get("WATCHDOG_USEC", "")
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if self._address and ours and usec.isdecimal():
            self.period = int(usec) / 2e6
        self._failed = False

    def tell(self, *lines: str) -> None:
        """Send ``KEY=VALUE`` lines, in one message."""
        if not self._address:
            return
        # A name in the abstract namespace is written with an @.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(lines).encode(), address)
        except (OSError, ValueError) as error:
            if not self._failed:
                self._failed = True
                log.warning(
                    "the service manager can't be told anything at NOTIFY_SOCKET=%s: %s; with "
                    "Type=notify it will end this process: take Type=exec, or mend the socket",
                    self._address, error,
                )  # fmt: skip

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Give signs of life while the block runs, at half of the time that is allowed."""
        if not self.period:
            yield
            return
        beating = asyncio.ensure_future(self._beat())
        try:
            yield
        finally:
            beating.cancel()

    async def _beat(self) -> None:
        while True:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self.period)


class NotifyingApp(App):
    """An `App` that keeps the service manager informed while it runs."""

    def __init__(self, settings: Any, recorder: Recorder | None = None) -> None:
        super().__init__(settings, recorder)
        self._manager = ServiceManager()

    async def run(self, *, watch: bool = False) -> None:
        with self._manager.watched():
            await super().run(watch=watch)

    async def start(self) -> None:
        owner = self.pipeline.owner("service manager")
        keys = [("lifecycle", str(what)) for what in _CHANGES]
        self.pipeline.add(Route(owner, lambda _: self._manager.tell(self._status()), keys))
        await super().start()
        self._manager.tell("READY=1", self._status())

    async def reload(self) -> list[str]:
        self._manager.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            return await super().reload()
        finally:
            if self._stopping is None:
                self._manager.tell("READY=1", self._status())

    async def stop(self, drain: float | None = None) -> None:
        self._manager.tell("STOPPING=1", "STATUS=stopping")
        await super().stop(drain)

    def _status(self) -> str:
        states = [f"{name}: {_shown(stream.state)}" for name, stream in self.streams.items()]
        return f"STATUS={'; '.join(states) or 'running; no streams'}"


def _shown(state: str) -> str:
    """The state of a stream; between two attempts to connect it changes without a word."""
    return "connecting" if state in ("new", "waiting") else state


class NotifyingWorker(Worker):
    """A `Worker` that keeps the service manager informed while it runs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._manager = ServiceManager()
        super().__init__(*args, **kwargs)

    async def serve(self) -> None:
        with self._manager.watched():
            self._manager.tell("READY=1", f"STATUS=serving {self.service}")
            await super().serve()

    def stop(self) -> None:
        self._manager.tell("STOPPING=1", "STATUS=stopping")
        super().stop()
