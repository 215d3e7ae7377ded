"""`Plugin`: what a plugin author writes, and all that it registers.

Rules:
- What a plugin registers, it owns: each registration returns a `Handle`, and unloading closes all
  of them, newest first. A plugin has no other way to register anything.
- A version that is to take the place of one that runs is staged: it starts, and its ways in
  (handlers, commands, timers) open when those of the old one close, in one turn of the loop.
- A plugin's config is a typed struct that knows all its keys.
- The decorators for its methods are in `zxmpp.declare`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from msgspec import Struct

from zxmpp.commands import Command
from zxmpp.declare import Wants, commands_of
from zxmpp.errors import PluginError, SocketError
from zxmpp.event import StanzaEvent
from zxmpp.handlers import OWNER, Phase, Route
from zxmpp.handles import Handle, Inlet, Owned, Resumed, SocketHandle, Ticker
from zxmpp.sockets import SocketSettings

if TYPE_CHECKING:
    from zxmpp.app import App
    from zxmpp.event import Event
    from zxmpp.handlers import Owner
    from zxmpp.mdp.caller import Service
    from zxmpp.sockets import SocketSource
    from zxmpp.streams import BaseStream

__all__ = ["Handle", "NoConfig", "Plugin"]


class NoConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The config of a plugin that has nothing to set."""


class Plugin:
    """Base of all plugins. See the module's rules; every registration is made through `self`.

    `dependencies` names other zxmpp plugins and slixmpp's ``xep_*``. `start` may register more and
    may await; `stop` runs before all that the plugin owns is closed.
    """

    #: The name in ``[plugins.NAME]``; the class name in lower case if empty.
    name: ClassVar[str] = ""
    description: ClassVar[str] = ""
    dependencies: ClassVar[tuple[str, ...]] = ()
    #: Whether it asks services: it is not loaded into a bot without a ``[broker]``.
    needs_broker: ClassVar[bool] = False
    #: A frozen msgspec struct with ``forbid_unknown_fields=True``.
    Config: ClassVar[type[Struct]] = NoConfig

    config: Any

    def __init__(self, app: App, owner: Owner, config: Any) -> None:
        self.app = app
        self.config = config
        #: The name of this instance; `name` unless the configuration says otherwise.
        self.instance = owner.name
        self.log = logging.getLogger(f"zxmpp.plugin.{owner.name}")
        #: The running version that this one is to take the place of, until it has; else None.
        self.replaces: Plugin | None = None
        self._owner = owner
        self._handles: dict[int, Owned] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        #: Those that are in the middle of a timer's call.
        self._ticks: set[asyncio.Task[Any]] = set()
        #: While it is staged: others that are, by name; sockets that it takes over.
        self._peers: Mapping[str, Plugin] = {}
        self._taken: list[Owned] = []

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in vars(cls):
            cls.name = cls.__name__.lower()
        if "description" not in vars(cls) and cls.__doc__:
            cls.description = cls.__doc__.strip().splitlines()[0]

    @classmethod
    def declared(cls, config: Any) -> Mapping[str, str]:
        """The commands that the plugin has with `config`, by name, with their roles: for checks
        before it is started. Override it if `start` adds some that the configuration names."""
        return commands_of(cls)

    async def start(self) -> None:
        """Called once, when all dependencies have started."""

    async def stop(self) -> None:
        """Called once, before what the plugin owns is closed."""

    def adopt(self, old: Any) -> None:
        """Take over the state of `old`, the version that runs and whose place this one takes now, at
        a reload. A plain function: nothing arrives meanwhile. If it raises, `old` runs on, so leave
        that as it is."""

    # -- registrations --------------------------------------------------------------------------

    def own(self, handle: Handle) -> Owned:
        """Close `handle` when the plugin is unloaded, or when what comes back is closed."""
        if self._owner.lanes.closed:
            handle.close()
            raise PluginError(
                f"plugin {self.instance} was unloaded; it can't register anything more"
            )
        return Owned(handle, self._handles)

    def add_handler(self, wants: Wants, handler: Callable[[Any], Any]) -> Handle:
        """Register `handler` for what `wants` says, as in ``on.frames("alerts", topic=b"x")``."""
        route = Route(
            self._owner, handler, wants.keys, test=wants.test, prefix=wants.prefix,
            lane=wants.lane, timeout=wants.timeout, accept=wants.accept,
        )  # fmt: skip
        return self.add_inlet(lambda: self.app.pipeline.add(route))

    def add_command(
        self, function: Callable[..., Any], name: str = "", *, role: str = "",
        lane: str | None = None, timeout: float | None = None,
    ) -> Handle:  # fmt: skip
        """Register `function` as the command `name`. PluginError if the name is taken."""
        self._may_open()
        commands = self.app.commands
        made = commands.make(self._owner, function, name or function.__name__, role, lane, timeout)
        if self._owner.phase is Phase.LIVE:
            commands.swap((), [made])
        return self.own(made)

    def add_timer(self, seconds: float, function: Callable[[], Any]) -> Handle:
        """Call `function` every `seconds`. What it raises is logged and counted, and it goes on."""
        return self.add_inlet(lambda: Ticker(self, seconds, function))

    def add_inlet(self, open: Callable[[], Handle]) -> Handle:
        """A way in of the plugin's own making, such as a callback at another library: `open` makes
        it and returns a handle that closes it. At a reload the new version's are opened and the old
        one's closed in the same turn of the loop, so that nothing is lost or seen by both."""
        self._may_open()
        owned = self.own(inlet := Inlet(open))
        if self._owner.phase is Phase.LIVE:
            try:
                inlet.open()
            except BaseException:
                owned.close()
                raise
        return owned

    def _may_open(self) -> None:
        if self._owner.phase is Phase.LEAVING:
            raise PluginError(
                f"plugin {self.instance} was unloaded or reloaded; it can't register anything more"
            )

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str = "") -> asyncio.Task[Any]:
        """Run `work` as a task of this plugin: kept, cancelled at unload, its exception logged."""
        task = asyncio.get_running_loop().create_task(
            self._shielded(work), name=f"{self.instance}: {name or work!r}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        # A task that is cancelled before its first step never comes to await it.
        task.add_done_callback(lambda _: work.close())
        return task

    async def _shielded(self, work: Coroutine[Any, Any, Any]) -> Any:
        OWNER.set(self.instance)
        try:
            return await work
        except SystemExit as error:
            raise PluginError(f"plugin {self.instance} called sys.exit in a task") from error

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._owner.counts["task-failed"] += 1
            self.log.error("task %r failed", task.get_name(), exc_info=error)

    # -- what a plugin uses ---------------------------------------------------------------------

    def stream(self, name: str = "") -> BaseStream:
        """The stream `name`; without a name, the only one. StreamError if there is none such."""
        return self.app.stream(name)

    def socket(self, name: str) -> SocketSource:
        """The socket ``[sockets.NAME]``. SocketError if there is none such."""
        return self.app.socket(name)

    def open_socket(self, name: str, **table: Any) -> SocketSource:
        """Open a socket of this plugin's own: the keys are those of ``[sockets.NAME]``. What it
        receives comes to ``on.frames(NAME)`` handlers. At a reload the socket of the same name and
        keys goes from the old version to the new one as it is."""
        held = {} if self.replaces is None else self.replaces._sockets()
        if name in held:
            source = self.app.socket(name)
            if SocketSettings.from_table(name, table) != source.socket.settings:
                raise SocketError(
                    f"the version of plugin {self.instance} that runs has the socket {name!r} with "
                    f"other keys; unload the plugin and load it, or give the socket another name"
                )
            self._taken.append(held[name])
            return source
        source = self.app.open_socket(name, table)
        self.own(SocketHandle(self.app, name))
        if self._owner.phase is Phase.STAGED:
            # What comes in waits for the handlers.
            source.pause()
            self.add_inlet(lambda: Resumed(source))
        return source

    def service(self, name: str, *, sender: str | None = None) -> Service:
        """A service behind the bot's broker, as in ``await self.service("shout").request(b"hi")``.
        `sender` is on whose behalf; by default whoever the running handler answers. PluginError if
        the configuration has no ``[broker]``."""
        return self.app.services.service(name, sender)

    def say(self, to: str, body: str, *, stream: str = "", **more: Any) -> str:
        """Send a message to a JID, or to a room that the stream is in; returns its id. `more` are
        the keywords of `BaseStream.say`: ``reply_to``, ``correct``, ``receipt``, ..."""
        if not stream and isinstance(question := more.get("reply_to"), StanzaEvent):
            stream = question.source.name
        return self.app.stream(stream).say(to, body, **more)

    def react(self, event: StanzaEvent, *emojis: str) -> str:
        """React to a message with `emojis`, instead of earlier ones; see `BaseStream.react`."""
        return self.app.stream(event.source.name).react(event, *emojis)

    async def send_file(
        self, to: str, data: bytes | Path, name: str, media_type: str = "", body: str = "", *,
        stream: str = "",
    ) -> str:  # fmt: skip
        """Upload a file and send its URL; see `BaseStream.send_file`. StreamError says why not."""
        return await self.app.stream(stream).send_file(to, data, name, media_type, body)

    def feed(self, event: Event) -> bool:
        """Let `event`, of a source of the plugin's own (see `zxmpp.Source`), flow through the
        pipeline. False, and nothing is done, if no handler wants it."""
        if not self.app.pipeline.wants(event):
            return False
        self.app.sink([event])
        return True

    def count(self, reason: str) -> None:
        """Count something by name, above all what is dropped: it shows in the statistics."""
        self._owner.counts[reason] += 1

    def plugin(self, name: str) -> Any:
        """Another loaded plugin. PluginError if it is not loaded: declare it in `dependencies`.
        Ask anew for each use: after a reload it is another."""
        return self._peers.get(name) or self.app.plugins.get(name)

    async def run_blocking(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a blocking function in a thread, so that the loop goes on."""
        return await asyncio.to_thread(function, *args)

    # -- its life, for the loader ---------------------------------------------------------------

    def _inlets(self) -> list[Owned]:
        return [owned for owned in self._handles.values() if isinstance(owned.handle, Inlet)]

    def _sockets(self) -> dict[str, Owned]:
        """Those of its own, by name."""
        return {
            owned.handle.name: owned
            for owned in self._handles.values()
            if isinstance(owned.handle, SocketHandle)
        }

    def _commands(self) -> list[Command]:
        handles = (owned.handle for owned in self._handles.values())
        return [handle for handle in handles if isinstance(handle, Command)]

    def _enter(self) -> None:
        """Open the ways in, commands apart. What one raises comes out of here."""
        for owned in self._inlets():
            cast("Inlet", owned.handle).open()

    def _leave(self) -> None:
        """Close the ways in; what runs may end."""
        for owned in reversed(self._inlets()):
            try:
                result = owned.close()
                if isinstance(result, Awaitable):
                    self.spawn(_awaited(result))
            except (Exception, SystemExit):
                self.log.exception("closing %r failed", owned.handle)

    async def _close(self) -> None:
        """Close all that the plugin owns, newest first. Nothing stops it half way."""
        while self._handles:
            owned = self._handles.popitem()[1]
            try:
                result = owned.close()
                if isinstance(result, Awaitable):
                    await result
            except Exception:
                self.log.exception("closing %r failed", owned.handle)
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=5)
            for task in stuck:
                self.log.error("task %r ignores its cancellation", task.get_name())


async def _awaited(result: Awaitable[Any]) -> None:
    await result
