"""App: puts streams, sockets and plugins on one loop. The one composition root.

Rules:
- Start: sockets bind, then plugins, then streams connect. What fails undoes what was started.
- Stop: sockets stop reading, new requests are told to come back later, what runs may end within
  the drain time, plugins are unloaded, streams and sockets send what they have and close. Each step has a bound. A second signal skips the waiting.
- An XMPP server that is down does not stop the start, nor the ZeroMQ side.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from zxmpp.commands import AdhocFace, ChatFace, Commands, LocalFace, ServiceFace
from zxmpp.config import BROKER, Settings, load
from zxmpp.errors import ClosedError, ConfigError, PluginError, SocketError, StreamError, ZxmppError
from zxmpp.event import Event, Lifecycle, LifecycleEvent, StanzaEvent
from zxmpp.guards import Dedupe, RateLimit, judge_marks
from zxmpp.invitations import Invitations
from zxmpp.loader import Loader
from zxmpp.pipeline import Pipeline
from zxmpp.recording import OwnedRunner, Recorder
from zxmpp.reload import apply
from zxmpp.runner import Runner
from zxmpp.services import Services
from zxmpp.signals import run
from zxmpp.sockets import SocketSettings, SocketSource
from zxmpp.streams import BaseStream, Stream, StreamSettings, read_secret

__all__ = ["App"]

log = logging.getLogger(__name__)

#: Seconds that a stop waits for peers to take what sockets still have to send.
FLUSH = 1.0


class _AppSource:
    """The source of the app's own life-cycle events; nothing can be answered to it."""

    name = "app"
    pausable = False
    owes_answer = False

    def pause(self) -> None: ...
    def resume(self) -> None: ...

    def answer(self, event: Event, reply: Any) -> None:
        raise ValueError("a life-cycle event of the app has no sender to answer")

    def fail(self, event: Event, failure: Any) -> bool:
        return False


class App:
    """One bot: its streams, sockets, plugins and pipeline.

    `settings` is a `Settings` or the path of a TOML file. A `recorder` sees all that comes in and is
    sent. Use it as ``async with App(...)``, or
    call `run` to serve until SIGTERM or SIGINT.
    """

    def __init__(
        self, settings: Settings | str | Path | None = None, recorder: Recorder | None = None
    ) -> None:
        #: The configuration file, where `reload` reads it again.
        self.path = Path(settings) if isinstance(settings, str | Path) else None
        if isinstance(settings, str | Path):
            settings = load(settings)
        self.settings = settings or Settings()
        bounds = self.settings.pipeline
        self.pipeline = Pipeline(
            lane_limit=bounds.lane_limit,
            total_limit=bounds.total_limit,
            credit=bounds.credit,
            workers=bounds.workers,
            timeout=bounds.timeout,
            slow_step=bounds.slow_step,
            runner=Runner if recorder is None else OwnedRunner,
        )
        receive = self.pipeline.receive
        #: What all sources of this app give their Events to.
        self.sink = receive if recorder is None else recorder.sink(receive)
        self._recorder = recorder
        self.pipeline.guard(StanzaEvent, judge_marks)
        self.pipeline.guard(StanzaEvent, Dedupe())
        if self.settings.guards.rate:
            guards = self.settings.guards
            limit = RateLimit(guards.rate, guards.burst, self.pipeline.wants)
            self.pipeline.guard(StanzaEvent, limit)
        self.commands = Commands(self.pipeline, self.settings.commands.prefix, self.settings.roles)
        ChatFace(self.commands, self.settings.commands.bare)
        self._adhoc = AdhocFace(self.commands) if self.settings.commands.adhoc else None
        if role := self.settings.commands.invitations:
            if role not in self.commands.roles:
                raise ConfigError(
                    f"[commands] invitations: there is no role {role!r}; add it under [roles]"
                )
            Invitations(self.pipeline, self.commands.roles, role, self.stream)
        self.plugins = Loader(self)
        self.streams: dict[str, BaseStream] = {}
        self.sockets: dict[str, SocketSource] = {}
        self._services: Services | None = None
        self._local: LocalFace | None = None
        self._source = _AppSource()
        self._started = False
        self._stopping: asyncio.Task[None] | None = None
        self._reloading: asyncio.Task[None] | None = None
        #: What starts an app that was attached.
        self._starter: asyncio.Task[None] | None = None

    # -- parts ----------------------------------------------------------------------------------

    def make_stream(self, name: str, settings: StreamSettings) -> BaseStream:
        """The stream for ``[streams.NAME]``. ConfigError if its secret is missing."""
        secret = read_secret(name, settings)
        return Stream(name, settings, secret, self.sink, self.pipeline.wants)

    def add_stream(self, stream: BaseStream) -> BaseStream:
        """Make `stream` (whose sink is this app's) part of the app."""
        if stream.name in self.streams:
            raise StreamError(f"there is a stream {stream.name!r} already; give it another name")
        self.streams[stream.name] = stream
        if self._recorder is not None:
            self._recorder.watch_stream(stream)
        if self._adhoc is not None:
            self._adhoc.add_stream(stream)
        return stream

    def make_socket(self, name: str, settings: SocketSettings) -> SocketSource:
        """The open socket for ``[sockets.NAME]``. SocketError if it can't be opened."""
        return SocketSource(settings, name, self.sink)

    def open_socket(self, name: str, settings: SocketSettings | Mapping[str, Any]) -> SocketSource:
        """Open a socket and let what it receives flow through the pipeline. `settings` may be a
        table with the keys of ``[sockets.NAME]``."""
        if name in self.sockets:
            raise SocketError(f"there is a socket {name!r} already; give it another name")
        if not isinstance(settings, SocketSettings):
            settings = SocketSettings.from_table(name, dict(settings))
        source = self.sockets[name] = self.make_socket(name, settings)
        if self._recorder is not None:
            self._recorder.watch_socket(source)
        return source

    def close_socket(self, name: str) -> None:
        """Close a socket that `open_socket` opened."""
        source = self.sockets.pop(name, None)
        if source is not None:
            source.close()

    def stream(self, name: str = "") -> BaseStream:
        """The stream `name`; without a name, the only one. StreamError if there is none such."""
        if not name and len(self.streams) == 1:
            return next(iter(self.streams.values()))
        if name in self.streams:
            return self.streams[name]
        known = ", ".join(self.streams) or "none"
        what = f"no stream {name!r}" if name else "no name given"
        raise StreamError(f"{what}, and there is not just one stream (there is: {known}); name one")

    def socket(self, name: str) -> SocketSource:
        """The socket `name`. SocketError if there is none such."""
        if name in self.sockets:
            return self.sockets[name]
        known = ", ".join(self.sockets) or "none"
        raise SocketError(f"no socket {name!r} (there is: {known}); add [sockets.{name}]")

    @property
    def services(self) -> Services:
        """The broker, and the services behind it. PluginError if there is none."""
        if self._services is None:
            raise PluginError(
                "this bot has no broker, so no services (or it is not running); add a table "
                'to the configuration: [broker] bind = ["tcp://127.0.0.1:5555"]'
            )
        return self._services

    def need_xep(self, xep: str, plugin: str) -> None:
        """See that slixmpp's plugin `xep` is registered on every stream."""
        for stream in self.streams.values():
            try:
                stream.need_xep(xep)
            except StreamError as error:
                raise PluginError(f"plugin {plugin!r} depends on {xep!r}: {error}") from error

    # -- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring everything up. Returns when streams are connecting, not when they are online."""
        starter = self._starter
        if starter is not None and starter is not asyncio.current_task():
            # An attached app starts by itself: this is to wait for it, and to see its errors.
            await asyncio.shield(starter)
            return
        if self._started:
            raise ClosedError("this app was started already; make a new one")
        self._started = True
        try:
            # First: it finds out whether this bot runs already.
            control = self.settings.app.control
            self._local = LocalFace.open(self.commands, control, self.path, self.open_socket)
            for name, socket_settings in self.settings.sockets.items():
                self.open_socket(name, socket_settings)
            if (broker := self.settings.broker) is not None:
                source = self.open_socket(BROKER, broker.socket)
                self._services = Services(broker.options, source, self.pipeline)
                if self.settings.commands.services:
                    limit = broker.socket.max_message_bytes
                    ServiceFace(self.commands, self._services.driver, limit)
                if self._recorder is not None:
                    self._recorder.watch_services(self._services)
            for name, stream_settings in self.settings.streams.items():
                self.add_stream(self.make_stream(name, stream_settings))
            await self.plugins.load_all(self.settings.plugins)
            for stream in self.streams.values():
                stream.start()
        except BaseException:
            await self.stop(drain=0)
            raise
        self._tell(Lifecycle.STARTED)

    def _tell(self, what: Lifecycle) -> None:
        keys = ("lifecycle", ("lifecycle", str(what)))
        self.sink([LifecycleEvent(self._source, keys, "app", "app", what, "app")])

    async def online(self, timeout: float = 30.0) -> None:
        """Wait until every stream is online and its rooms are joined. TimeoutError says which is
        not, and in which state it is."""
        waits = [asyncio.ensure_future(stream.ready.wait()) for stream in self.streams.values()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=timeout)
            for wait in late:
                wait.cancel()
            if late:
                states = ", ".join(f"{s.name}: {s.state}" for s in self.streams.values())
                raise TimeoutError(f"not online after {timeout:g} s ({states}); see the log")

    async def stop(self, drain: float | None = None) -> None:
        """Take everything down: see the module's rules. `drain` is in seconds."""
        if self._stopping is None:
            limit = self.settings.app.drain_seconds if drain is None else drain
            self._stopping = asyncio.ensure_future(self._stop(limit))
        await asyncio.shield(self._stopping)

    async def _stop(self, drain: float) -> None:
        if self._reloading is not None and not self._reloading.done():
            self._reloading.cancel()
            await asyncio.wait([self._reloading])
        self._tell(Lifecycle.STOPPING)
        self.pipeline.draining = True
        if self._services is not None:
            self._services.drain()
        for name, source in self.sockets.items():
            # What brings answers that handlers await goes on.
            if not self.pipeline.passes_lanes(("frames", name)):
                source.pause()
        if not await self.pipeline.settle(drain) and drain:
            log.warning(
                "%d handlers still ran after the drain time of %g s; they are cancelled",
                self.pipeline.in_flight, drain,
            )  # fmt: skip
        await self.plugins.unload_all()
        if self._services is not None:
            await self._services.close()
        for stream in self.streams.values():
            try:
                await stream.stop(min(drain, 5.0))
            except Exception:
                log.exception("stream %s failed to stop", stream.name)
        if drain and self.sockets:
            sockets = [source.socket for source in self.sockets.values()]
            flushed = (socket.flush(min(drain, FLUSH)) for socket in sockets)
            await asyncio.gather(*flushed, return_exceptions=True)
        for name in list(self.sockets):
            self.close_socket(name)
        if self._local is not None:
            self._local.close()
        await self.pipeline.close()
        log.info("stopped")

    async def reload(self) -> list[str]:
        """Read the configuration file again and apply what changed, plugins' own files too; see
        `zxmpp.reload`. Says what was done. ZxmppError if it is wrong, and then nothing changed."""
        if self.path is None:
            raise ConfigError(
                "this app was made without a configuration file; there is none to read"
            )
        return await apply(self, load(self.path))

    def on_hangup(self) -> None:
        """Read the configuration again, and tell the log what came of it."""

        async def reload() -> None:
            try:
                done = await self.reload()
            except ZxmppError as error:
                log.error("the configuration is not applied: %s", error)
            except Exception:
                log.exception("reading the configuration again failed: this is a bug")
            else:
                log.info("the configuration was read again: %s", "; ".join(done) or "no change")

        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.ensure_future(reload())

    async def run(self, *, watch: bool = False) -> None:
        """Start, serve until SIGTERM or SIGINT, stop. A second signal stops at once. SIGHUP reads
        the configuration again; with `watch`, a plugin is reloaded when its file changes."""
        await run(self, watch)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def statistics(self) -> dict[str, Any]:
        """Counts of every part, by name: ``pipeline``, ``streams``, ``sockets``, ``services``."""
        return {
            "services": {} if self._services is None else self._services.statistics(),
            "pipeline": self.pipeline.statistics(),
            "streams": {name: stream.statistics() for name, stream in self.streams.items()},
            "sockets": {name: source.statistics() for name, source in self.sockets.items()},
        }
