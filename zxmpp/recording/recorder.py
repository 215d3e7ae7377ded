"""Watches an app: each thing that comes in and each that is sent becomes an `Entry`.

Rules:
- An app without a recorder pays nothing: what is watched is wrapped when it is put into the app.
- In: stanzas as the stream received them, messages and life-cycle changes as the pipeline takes
  them. Out: what is handed to a stream or socket, at that moment; with a life-cycle change
  ``given-up`` the stream tells later what it could not send. Questions to services, and answers as they
  are taken. HTTP requests that a plugin lets in, and what is replied.
- The log-in is not recorded, nor what a stream sends for its own upkeep below `send`.
- What is sent is somebody's: of the plugin whose handler, timer, task, `start` or `stop` it came from.
- Recording never breaks what it watches.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import count
from typing import Any

import msgspec
from slixmpp.stanza.rootstanza import RootStanza
from slixmpp.xmlstream import StanzaBase

from zxmpp.config import BROKER, Settings
from zxmpp.event import Event, Failure, FramesEvent, LifecycleEvent, RequestEvent, Source
from zxmpp.handlers import OWNER, Job, Route
from zxmpp.mdp.errors import NoAnswer
from zxmpp.mdp.pending import Part, Pending
from zxmpp.recording.format import FORMAT, Entry, Header, StreamPart, frame_of
from zxmpp.recording.masking import Masker
from zxmpp.runner import Runner
from zxmpp.services import Services
from zxmpp.sockets import SocketSource
from zxmpp.streams import BaseStream
from zxmpp.streams.secret import mask
from zxmpp.streams.serialising import serialise

__all__ = ["OwnedRunner", "Recorder", "header_of"]

log = logging.getLogger(__name__)

Sink = Callable[[Sequence[Event]], None]


def header_of(settings: Settings, masked: bool = False) -> Header:
    """The first line of a recording of a bot with `settings`. No secret is in it."""
    streams = {
        name: StreamPart(
            stream.kind, stream.jid, stream.nick,
            {room.bare: room.nick for room in stream.room_settings},
        )
        for name, stream in settings.streams.items()
    }  # fmt: skip
    sockets = {name: socket.type for name, socket in settings.sockets.items()}
    if settings.broker is not None:
        sockets[BROKER] = settings.broker.socket.type
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return Header(FORMAT, version("zxmpp"), now, masked, settings.commands, streams, sockets)


class OwnedRunner(Runner):
    """A runner that knows, while something runs, whose it is: `OWNER`."""

    @contextmanager
    def _owned(self, route: Route) -> Iterator[None]:
        token = OWNER.set(route.owner.name)
        try:
            yield
        finally:
            OWNER.reset(token)

    def run(self, job: Job) -> Any:
        with self._owned(job[0]):
            return super().run(job)

    def run_batch(self, route: Route, events: Sequence[Event]) -> None:
        with self._owned(route):
            super().run_batch(route, events)

    def tell(self, route: Route | None, event: Event, failure: Any) -> None:
        if route is None:
            super().tell(route, event, failure)
            return
        with self._owned(route):
            super().tell(route, event, failure)

    async def _finish_later(self, route: Route, *args: Any, **options: Any) -> None:
        # In a worker's task, which takes one job after another.
        OWNER.set(route.owner.name)
        await super()._finish_later(route, *args, **options)


class Recorder:
    """Gives each entry to `write`; `masker` masks texts and frames."""

    def __init__(self, write: Callable[[Entry], None], masker: Masker | None = None) -> None:
        self._write = write
        self._masker = masker
        self._began: float | None = None
        self._numbers = count(1)

    def now(self) -> float:
        """Seconds since the first that was asked for."""
        now = asyncio.get_running_loop().time()
        if self._began is None:
            self._began = now
        return round(now - self._began, 6)

    def _record(self, make: Callable[..., Entry], *args: Any) -> None:
        try:
            self._write(make(*args))
        except Exception:
            log.exception("something could not be recorded: this is a bug; the bot goes on")

    # -- in -------------------------------------------------------------------------------------

    def sink(self, receive: Sink) -> Sink:
        """`receive`, with all that it takes recorded."""

        def record(events: Sequence[Event]) -> None:
            receive([self._came(event) for event in events])

        return record

    def _came(self, event: Event) -> Event:
        if isinstance(event, FramesEvent):
            self._record(self._frames_in, event)
        elif isinstance(event, LifecycleEvent):
            self._record(self._lifecycle, event)
        elif isinstance(event, RequestEvent):
            self._record(self._http_in, event)
            return msgspec.structs.replace(event, source=_WatchedSource(event.source, self))
        return event

    def _frames_in(self, event: FramesEvent) -> Entry:
        return Entry(
            self.now(), "in", "frames", event.source.name,
            envelope=[frame_of(frame) for frame in event.envelope],
            frames=self._frames(event.frames),
        )  # fmt: skip

    def _lifecycle(self, event: LifecycleEvent) -> Entry:
        return Entry(
            self.now(), "in", "lifecycle", event.source.name,
            what=str(event.what), subject=event.subject, detail=event.detail,
        )  # fmt: skip

    def _http_in(self, event: RequestEvent) -> Entry:
        masked = self._masker is not None
        return Entry(
            self.now(), "in", "http", event.hook, frames=self._frames([event.body]),
            detail=event.remote, headers={} if masked else event.headers,
            query={} if masked else event.query,
        )  # fmt: skip

    def replied(self, event: RequestEvent, reply: Any) -> None:
        """An HTTP request was replied to."""
        self._record(self._http_out, event, reply)

    def _http_out(self, event: RequestEvent, reply: Any) -> Entry:
        body = reply if isinstance(reply, bytes) else str(reply).encode()
        frames = self._frames([body])
        return Entry(self.now(), "out", "http", event.hook, OWNER.get(), frames=frames)

    # -- streams --------------------------------------------------------------------------------

    def watch_stream(self, stream: BaseStream) -> None:
        """Record what `stream` receives and is given to send."""
        name, xmpp = stream.name, stream.xmpp
        send = xmpp.send

        def recorded(data: Any, use_filters: bool = True) -> None:
            if isinstance(data, RootStanza | str):
                self._record(self._stanza, "out", name, xmpp, data)
            send(data, use_filters)

        def heard(stanza: Any) -> Any:
            # An attached bot of slixmpp's own has no probes.
            probe = getattr(xmpp, "probe_id", "")
            upkeep = probe and stanza.name == "iq" and stanza.xml.get("id") == probe
            # Before the session all else is log-in.
            other = type(stanza) is StanzaBase and xmpp._session_started
            if (isinstance(stanza, RootStanza) and not upkeep) or other:
                self._record(self._stanza, "in", name, xmpp, stanza)
            return stanza

        xmpp.send = recorded
        xmpp.add_filter("in", heard)

    def _stanza(self, way: Any, name: str, xmpp: Any, data: Any) -> Entry:
        if isinstance(data, str):
            xml = self._masker.text(data) if self._masker else data
        else:
            xml = serialise(self._masker.element(data.xml) if self._masker else data.xml, xmpp)
        by = OWNER.get() if way == "out" else ""
        return Entry(self.now(), way, "stanza", name, by, mask(xml))

    # -- sockets --------------------------------------------------------------------------------

    def watch_socket(self, source: SocketSource) -> None:
        """Record what `source` sends."""
        socket: Any = source.socket
        send, name = socket.send, source.name

        def recorded(frames: Any) -> None:
            send(frames)
            self._record(self._frames_out, name, frames)

        socket.send = recorded

    def _frames_out(self, name: str, frames: Any) -> Entry:
        single = isinstance(frames, bytes | bytearray | memoryview)
        message = self._frames([bytes(frame) for frame in ([frames] if single else frames)])
        # What a plugin asked, the broker sends when it has a worker.
        by = "services" if name == BROKER else OWNER.get()
        return Entry(self.now(), "out", "frames", name, by, frames=message)

    def _frames(self, frames: list[bytes]) -> list[Any]:
        if self._masker is not None:
            frames = [self._masker.frame(frame) for frame in frames]
        return [frame_of(frame) for frame in frames]

    # -- services -------------------------------------------------------------------------------

    def watch_services(self, services: Services) -> None:
        """Record what plugins ask of `services`, and what comes of it."""
        watched: Any = services
        begin = services.begin

        def recorded(
            service: str, body: list[bytes], timeout: float, trace: str, sender: str | None = None
        ) -> Pending:
            number = next(self._numbers)
            self._record(self._request, service, body, number)
            return _Watched(begin(service, body, timeout, trace, sender), self, number)

        watched.begin = recorded

    def _request(self, service: str, body: list[bytes], number: int) -> Entry:
        return Entry(
            self.now(), "out", "request", service, OWNER.get(), frames=self._frames(body),
            number=number,
        )  # fmt: skip

    def answered(self, service: str, number: int, part: Part | NoAnswer) -> None:
        """A part of an answer was taken, or there is none."""
        self._record(self._answer, service, number, part)

    def _answer(self, service: str, number: int, part: Part | NoAnswer) -> Entry:
        if isinstance(part, NoAnswer):
            return Entry(
                self.now(), "in", "answer", service, number=number, what=part.reason,
                detail=self._masker.text(str(part)) if self._masker else str(part), last=True,
            )  # fmt: skip
        return Entry(
            self.now(), "in", "answer", service, frames=self._frames(part.frames), number=number,
            progress=part.progress, restart=part.restart, last=part.last,
        )  # fmt: skip


class _WatchedSource:
    """The source of HTTP requests, with what is replied recorded; `inner` is where it comes from."""

    def __init__(self, inner: Source, recorder: Recorder) -> None:
        self.name = inner.name
        self.pausable = inner.pausable
        self.owes_answer = inner.owes_answer
        self.pause = inner.pause
        self.resume = inner.resume
        self._inner = inner
        self._recorder = recorder

    def answer(self, event: Any, reply: Any) -> None:
        self._inner.answer(event, reply)
        if reply is not None:
            self._recorder.replied(event, reply)

    def fail(self, event: Any, failure: Failure) -> bool:
        told = self._inner.fail(event, failure)
        if told:
            self._recorder.replied(event, f"{failure.condition}: {failure.text}")
        return told


class _Watched(Pending):
    """A pending answer that is recorded as it is taken; `inner` is where it comes from."""

    __slots__ = ("_inner", "_number", "_recorder")

    def __init__(self, inner: Pending, recorder: Recorder, number: int) -> None:
        super().__init__(inner.service, 0, lambda: None)
        self._inner = inner
        self._recorder = recorder
        self._number = number

    @property
    def ended(self) -> bool:
        return self._inner.ended

    async def next(self) -> Part:
        try:
            part = await self._inner.next()
        except NoAnswer as error:
            self._recorder.answered(self.service, self._number, error)
            raise
        self._recorder.answered(self.service, self._number, part)
        return part

    def cancel(self, reason: str) -> None:
        self._inner.cancel(reason)

    def close(self) -> None:
        self._inner.close()
