"""Stand-ins for the world in a replay: an app that hears only what it is told.

Rules:
- A stream is online when it is told to; what is handed to it to send goes no further, nor does what
  is sent by a socket, which is plugged to nothing. Services answer what they answered.
- An answer goes to the same question as then: the n-th of its kind (`Pairs`).
- The rate limit goes by the loop's clock.
"""

from __future__ import annotations

import asyncio
import re
import xml.etree.ElementTree as ET
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import msgspec
from slixmpp.stanza import Iq

from zxmpp.config import Settings
from zxmpp.event import Event, Failure, LifecycleEvent, StanzaEvent
from zxmpp.guards import RateLimit
from zxmpp.mdp.caller import Caller, Service
from zxmpp.mdp.errors import no_answer
from zxmpp.mdp.messages import Problem
from zxmpp.mdp.pending import Part, Pending
from zxmpp.recording import Entry, Recorder, frame_bytes
from zxmpp.sockets import SocketSettings, SocketSource
from zxmpp.streams import Stream, StreamSettings
from zxmpp.testing.bot import _MemoryApp, _MemoryServer
from zxmpp.testing.transport import feed

__all__ = ["Asker", "Pairs", "ReplayApp", "iq_kind"]

#: The id in the start tag of a stanza.
_ID = re.compile(r' id="[^"]*"')
#: What a stream asks its server to know that it is there.
_SIGNS_OF_LIFE = ("{urn:xmpp:ping}ping", "{urn:zxmpp:probe}probe")

Deliver = Callable[[Entry], None]


def iq_kind(stream: str, xml: ET.Element) -> Hashable:
    """What makes an IQ the same question as another."""
    payload = xml[0].tag if len(xml) else ""
    return "iq", stream, xml.get("to", ""), xml.get("type", ""), payload


class Pairs:
    """Questions of then and of now, paired in their order by kind."""

    def __init__(self) -> None:
        self._then: defaultdict[Hashable, deque[Hashable]] = defaultdict(deque)
        self._now: defaultdict[Hashable, deque[Deliver]] = defaultdict(deque)
        self._deliver: dict[Hashable, Deliver] = {}
        #: Answers whose question was not asked again yet; a key for each question of then.
        self._answers: dict[Hashable, list[Entry]] = {}

    def asked_then(self, kind: Hashable, key: Hashable) -> None:
        """The recording has a question; `answer` knows it by its `key`."""
        self._answers[key] = []
        self._then[kind].append(key)
        self._pair(kind)

    def asked_now(self, kind: Hashable, deliver: Deliver) -> None:
        """A question is asked that `deliver` takes the answers to."""
        self._now[kind].append(deliver)
        self._pair(kind)

    def _pair(self, kind: Hashable) -> None:
        then, now = self._then[kind], self._now[kind]
        if then and now:
            key, deliver = then.popleft(), now.popleft()
            self._deliver[key] = deliver
            for answer in self._answers[key]:
                deliver(answer)
            self._answers[key].clear()

    def answer(self, key: Hashable, answer: Entry) -> bool:
        """The recording has an answer. False if it has no such question."""
        if key not in self._answers:
            return False
        if (deliver := self._deliver.get(key)) is not None:
            deliver(answer)
        else:
            self._answers[key].append(answer)
        return True


class _Server(_MemoryServer):
    """Gives signs of life and no more: the recording has all other answers."""

    def _take(self, stanza: ET.Element) -> None:
        if len(stanza) and stanza[0].tag in _SIGNS_OF_LIFE:
            super()._take(stanza)


class _Pending(Pending):
    """A pending answer that can be told which exception it ends with."""

    __slots__ = ()

    def refuse(self, reason: str, text: str) -> None:
        if not self._ended:
            self._ended = True
            self._error = no_answer(self.service, Problem(reason))
            self._error.args = (text,)
            self._wake()


class _Services(Caller):
    """In place of the broker."""

    def __init__(self, questions: Pairs) -> None:
        self._questions = questions

    def begin(
        self, service: str, body: list[bytes], timeout: float, trace: str, sender: str | None = None
    ) -> Pending:
        late: asyncio.TimerHandle
        pending = _Pending(service, timeout, lambda: late.cancel())
        late = asyncio.get_running_loop().call_later(timeout, pending.fail, Problem("timeout"))
        self._questions.asked_now(("service", service), partial(self._answer, pending))
        return pending

    @staticmethod
    def _answer(pending: _Pending, entry: Entry) -> None:
        if entry.what:
            pending.refuse(entry.what, entry.detail)
        else:
            frames = [frame_bytes(frame) for frame in entry.frames]
            pending.part(Part(frames, entry.progress, entry.restart, entry.last))

    def service(self, name: str, sender: str | None = None) -> Service:
        return Service(
            name, lambda body, timeout, trace: self.begin(name, body, timeout, trace, sender)
        )

    def drain(self) -> None: ...

    async def close(self) -> None: ...

    def statistics(self) -> dict[str, Any]:
        return {}


class Asker:
    """Where an HTTP request of a recording comes from: nobody waits for the reply."""

    name = "http"
    pausable = False
    owes_answer = True

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def answer(self, event: Any, reply: Any) -> None: ...

    def fail(self, event: Any, failure: Failure) -> bool:
        return True


class ReplayApp(_MemoryApp):
    """An app of `settings` in which `sent` takes what it sends."""

    def __init__(self, settings: Settings, sent: Callable[[Entry], None]) -> None:
        guards, broker = settings.guards, settings.broker
        recorder = Recorder(lambda entry: sent(entry) if entry.way == "out" else None)
        super().__init__(
            msgspec.structs.replace(
                settings, guards=msgspec.structs.replace(guards, rate=0.0), broker=None
            ),
            recorder,
        )
        self._loop = asyncio.get_running_loop()
        if guards.rate:
            wants, clock = self.pipeline.wants, self._loop.time
            self.pipeline.guard(
                StanzaEvent, RateLimit(guards.rate, guards.burst, wants, clock=clock)
            )
        self.questions = Pairs()
        if broker is not None:
            services: Any = _Services(self.questions)
            recorder.watch_services(services)
            self._services = services

    def make_stream(self, name: str, settings: StreamSettings) -> Stream:
        def sink(events: Sequence[Event]) -> None:
            # Of lives the recording tells.
            self.sink([event for event in events if type(event) is not LifecycleEvent])

        stream = Stream(name, settings, "no secret", sink, self.pipeline.wants)
        self.servers[name] = _Server(stream)
        parts: Any = stream

        def send(data: Any, use_filters: bool = True) -> None:
            if isinstance(data, Iq) and data.xml.get("type") in ("get", "set"):
                deliver = partial(self._answer_iq, name, data.xml.get("id", ""))
                self.questions.asked_now(iq_kind(name, data.xml), deliver)

        parts.xmpp.send = send
        parts.start = lambda: None
        return stream

    async def go_online(self, name: str, jid: str, limit: float) -> None:
        """Let the stream `name` have its session, as `jid`, if it has none."""
        stream = self.streams[name]
        if not stream.online.is_set():
            self.servers[name].jid = "" if stream.xmpp.is_component else jid
            Stream.start(stream)  # type: ignore[arg-type]
            async with asyncio.timeout(limit):
                await stream.online.wait()

    def feed(self, name: str, text: str) -> None:
        """Let the stream `name` receive a stanza, if it is online."""
        xmpp = self.servers[name].xmpp
        if xmpp.transport is not None:
            feed(xmpp, text)

    def _answer_iq(self, name: str, id: str, entry: Entry) -> None:
        # As from a network: never in the middle of what the bot does.
        self._loop.call_soon(self.feed, name, _ID.sub(f' id="{id}"', entry.xml, count=1))

    def make_socket(self, name: str, settings: SocketSettings) -> SocketSource:
        alone = SocketSettings(type=settings.type, reply_timeout=settings.reply_timeout)
        source = super().make_socket(name, alone)
        socket: Any = source.socket
        socket.send = lambda frames: None
        return source
