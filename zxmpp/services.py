"""Services: the Majordomo broker inside a bot, and what plugins ask of it.

Rules:
- The broker serves at one ROUTER socket, ``[broker]``. Its messages come through the pipeline like
  all others, a batch at a time, and pass the lanes by: a handler may be waiting for them.
- A plugin's requests go to the broker directly. They carry the JID of whoever the handler answers,
  and a service is shared fairly between those.
- A request ends with the handler that awaits it: cancelled, unloaded or out of time, its worker is
  told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zxmpp.event import FramesEvent, Lifecycle, LifecycleEvent
from zxmpp.handlers import FREE, Owner, Route
from zxmpp.mdp.broker import BrokerOptions
from zxmpp.mdp.broker.memory import DeadLetters
from zxmpp.mdp.caller import Caller, Service
from zxmpp.mdp.driver import Driver
from zxmpp.mdp.pending import Pending
from zxmpp.pipeline import Pipeline
from zxmpp.resting import CURRENT
from zxmpp.sockets import SocketSource

__all__ = ["Services"]


class Services(Caller):
    """The broker of an app, behind the open socket `source`."""

    def __init__(self, options: BrokerOptions, source: SocketSource, pipeline: Pipeline) -> None:
        #: The broker on this loop; commands are served through it.
        self.driver = Driver(options, source.name, source.socket.send)
        self._pipeline = pipeline
        self.source = source
        self.broker = self.driver.broker
        self._owner: Owner = pipeline.owner("services")
        name = source.name
        gone = ("lifecycle", str(Lifecycle.DISCONNECTED))
        self._routes = [
            pipeline.add(
                Route(self._owner, self._receive, (("frames", name),), name="broker", lane=FREE,
                      batch=True)
            ),
            pipeline.add(
                Route(self._owner, self._broke, (gone,), name="broker lost a peer", lane=FREE,
                      test=lambda event: event.subject == name)
            ),
        ]  # fmt: skip

    @property
    def bound(self) -> tuple[str, ...]:
        """The addresses that workers and clients connect to, wildcards filled in."""
        return self.source.bound

    def _receive(self, events: Sequence[FramesEvent]) -> None:
        receive = self.driver.receive
        for event in events:
            envelope = event.envelope
            receive(envelope[0], event.frames, len(envelope) > 1)
        self.driver.flush()

    def _broke(self, event: LifecycleEvent) -> None:
        self.driver.connection_broke()

    def begin(
        self, service: str, body: list[bytes], timeout: float, trace: str, sender: str | None = None
    ) -> Pending:
        if sender is None:
            event = CURRENT.get()
            sender = "" if event is None else event.sender
        return self.driver.ask(service, body, timeout, sender=sender, trace=trace)

    def service(self, name: str, sender: str | None = None) -> Service:
        """One service, to be asked on behalf of `sender`: by default whoever the running handler
        answers."""
        return Service(
            name, lambda body, timeout, trace: self.begin(name, body, timeout, trace, sender)
        )

    def drain(self) -> None:
        """Take nothing new from clients."""
        self.broker.requests.draining = True

    async def close(self) -> None:
        """Workers are told to disconnect, requests end by name."""
        self.driver.close()
        for route in self._routes:
            route.close()
        await self._pipeline.release(self._owner)

    @property
    def dead_letters(self) -> DeadLetters:
        """The latest requests that no worker survived, oldest first."""
        return self.broker.requests.dead_letters

    def statistics(self) -> dict[str, Any]:
        """Counts since the start."""
        requests = self.broker.requests
        return {
            "open": requests.open,
            "workers": len(self.broker.workers),
            "dead_letters": len(requests.dead_letters),
            "counts": dict(self.broker.counts),
        }
