"""What a plugin author writes: `Plugin`, `@command`, `@on...`, `@every`.

Rules:
- Decorators only mark functions; nothing happens until the plugin is loaded.
- What a plugin registers, it owns: each registration returns a `Handle`, and unloading closes all
  of them, newest first. A plugin has no other way to register anything.
- A plugin's config is a typed struct that knows all its keys.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, overload

from msgspec import Struct

from zxmpp.errors import PluginError
from zxmpp.event import FramesEvent, LifecycleEvent, StanzaEvent
from zxmpp.pipeline import Route

if TYPE_CHECKING:
    from zxmpp.app import App
    from zxmpp.pipeline import Owner
    from zxmpp.sockets import SocketSource
    from zxmpp.streams import BaseStream

__all__ = [
    "CommandMark",
    "Handle",
    "NoConfig",
    "Plugin",
    "Timer",
    "Wants",
    "command",
    "every",
    "on",
]

F = TypeVar("F", bound=Callable[..., Any])

#: Where the decorators leave what they were told.
MARKS = "__zxmpp_marks__"


class NoConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The config of a plugin that has nothing to set."""


class Handle(Protocol):
    """Something registered; `close` undoes it. Idempotent."""

    def close(self) -> Any: ...


def _mark(function: F, mark: object) -> F:
    function.__dict__.setdefault(MARKS, []).append(mark)
    return function


# -- what a handler wants -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wants:
    """What arrivals a handler wants, and how it runs. Made by `on`; decorates a method."""

    keys: tuple[Any, ...]
    test: Callable[[Any], bool] | None = None
    prefix: bytes = b""
    lane: str | None = None
    timeout: float | None = None
    accept: tuple[str, ...] = ()

    def __call__(self, function: F) -> F:
        return _mark(function, self)


def _all(*tests: Callable[[Any], bool] | None) -> Callable[[Any], bool] | None:
    wanted = [test for test in tests if test is not None]
    if len(wanted) < 2:
        return wanted[0] if wanted else None
    return lambda event: all(test(event) for test in wanted)


class on:  # noqa: N801  (reads as a decorator: @on.message)
    """What a handler wants. Common options of all:

    `where` is a predicate of the Event, asked after the index. `lane` is None for order within
    the conversation, ``"free"`` for none, or the name of a lane of the plugin's own. `timeout` is
    in seconds (default: the pipeline's). `accept` names marks that would stop the Event at a guard:
    ``own-echo``, ``carbon``, ``history``, ``delayed``, ``duplicate``.
    """

    @overload
    @staticmethod
    def message(function: F, /) -> F: ...
    @overload
    @staticmethod
    def message(
        *, where: Callable[[StanzaEvent], bool] | None = None, lane: str | None = None,
        timeout: float | None = None, accept: Iterable[str] = (),
    ) -> Wants: ...  # fmt: skip
    @staticmethod
    def message(function: Any = None, /, *, where: Any = None, lane: str | None = None,
                timeout: float | None = None, accept: Iterable[str] = ()) -> Any:  # fmt: skip
        """Messages with a body that are no errors (RFC 6121, 5.2.2), 1:1 and from rooms."""
        wants = Wants(("message",), where, b"", lane, timeout, tuple(accept))
        return wants if function is None else wants(function)

    @overload
    @staticmethod
    def presence(function: F, /) -> F: ...
    @overload
    @staticmethod
    def presence(
        *, type: str = "", where: Callable[[StanzaEvent], bool] | None = None,
        lane: str | None = None, timeout: float | None = None, accept: Iterable[str] = (),
    ) -> Wants: ...  # fmt: skip
    @staticmethod
    def presence(function: Any = None, /, *, type: str = "", where: Any = None,
                 lane: str | None = None, timeout: float | None = None,
                 accept: Iterable[str] = ()) -> Any:  # fmt: skip
        """Presence stanzas (RFC 6121, 4), with `type` only those: ``available``, ..."""
        key = ("presence", type) if type else "presence"
        wants = Wants((key,), where, b"", lane, timeout, tuple(accept))
        return wants if function is None else wants(function)

    @overload
    @staticmethod
    def iq(function: F, /) -> F: ...
    @overload
    @staticmethod
    def iq(
        *, type: str = "", payload: str = "",
        where: Callable[[StanzaEvent], bool] | None = None, lane: str | None = None,
        timeout: float | None = None,
    ) -> Wants: ...  # fmt: skip
    @staticmethod
    def iq(function: Any = None, /, *, type: str = "", payload: str = "", where: Any = None,
           lane: str | None = None, timeout: float | None = None) -> Any:  # fmt: skip
        """IQ requests (RFC 6120, 8.2.3): ``get`` and ``set``, or only `type`; with `payload`, an
        XML name like ``{urn:xmpp:ping}ping``, only those. What the handler returns is the
        payload of the result; None makes an empty one, `HANDLED` none."""
        types = frozenset((type,) if type else ("get", "set"))
        key = ("iq", payload) if payload else "iq"
        wants = Wants((key,), _all(lambda event: event.type in types, where), b"", lane, timeout)
        return wants if function is None else wants(function)

    @staticmethod
    def stanza(
        matcher: Any, *, where: Callable[[StanzaEvent], bool] | None = None,
        lane: str | None = None, timeout: float | None = None, accept: Iterable[str] = (),
    ) -> Wants:  # fmt: skip
        """Any stanza that a slixmpp matcher (StanzaPath, MatchXPath, ...) matches."""
        if not callable(getattr(matcher, "match", None)):
            raise TypeError(
                f"@on.stanza wants a slixmpp matcher such as StanzaPath('message/body'), "
                f"got {matcher!r}"
            )
        test = _all(lambda event: bool(matcher.match(event.stanza)), where)
        return Wants(("stanza",), test, b"", lane, timeout, tuple(accept))

    @staticmethod
    def frames(
        socket: str, *, topic: bytes = b"", where: Callable[[FramesEvent], bool] | None = None,
        lane: str | None = None, timeout: float | None = None,
    ) -> Wants:  # fmt: skip
        """Messages of the socket named `socket`; with `topic`, those whose first frame begins so."""
        if type(socket) is not str or not socket:
            raise TypeError(f"@on.frames wants the name of a socket, got {socket!r}")
        return Wants((("frames", socket),), where, topic, lane, timeout)

    @overload
    @staticmethod
    def lifecycle(function: F, /) -> F: ...
    @overload
    @staticmethod
    def lifecycle(
        what: str = "", /, *, where: Callable[[LifecycleEvent], bool] | None = None,
        lane: str | None = None, timeout: float | None = None,
    ) -> Wants: ...  # fmt: skip
    @staticmethod
    def lifecycle(what: Any = "", /, *, where: Any = None, lane: str | None = None,
                  timeout: float | None = None) -> Any:  # fmt: skip
        """Changes in the life of the app, a stream, a room or a socket: see `Lifecycle`."""
        if callable(what):
            return Wants(("lifecycle",))(what)
        key = ("lifecycle", str(what)) if what else "lifecycle"
        return Wants((key,), where, b"", lane, timeout)


@dataclass(frozen=True, slots=True)
class CommandMark:
    """What `@command` was told."""

    name: str
    role: str
    lane: str | None
    timeout: float | None


@overload
def command(function: F, /) -> F: ...
@overload
def command(
    name: str = "", /, *, role: str = "", lane: str | None = None, timeout: float | None = None
) -> Callable[[F], F]: ...
def command(
    name: Any = "", /, *, role: str = "", lane: str | None = None, timeout: float | None = None
) -> Any:
    """A command that people type: ``!name argument ...``.

    Its arguments come from the function's signature and annotations, its help from the docstring,
    its reply is what it returns, or what it yields, one after another. A parameter annotated
    `Call` or `StanzaEvent` is not typed by the user: it gets the call. With `role`, only members
    of that role in the configuration's ``[roles]`` can use (and see) it.
    """
    if callable(name):
        return _mark(name, CommandMark(name.__name__, "", None, None))
    return lambda function: _mark(
        function, CommandMark(name or function.__name__, role, lane, timeout)
    )


@dataclass(frozen=True, slots=True)
class Timer:
    """What `@every` was told."""

    seconds: float


def every(seconds: float) -> Callable[[F], F]:
    """Call the method every `seconds`, first after that time, never twice at once."""
    if not seconds > 0:
        raise ValueError(f"@every wants a number of seconds above 0, got {seconds!r}")
    return lambda function: _mark(function, Timer(seconds))


def marks_of(plugin: Plugin) -> list[tuple[Callable[..., Any], Any]]:
    """The marked methods of `plugin`, bound, with each of their marks, in order of definition."""
    found: dict[str, Callable[..., Any]] = {}
    for cls in reversed(type(plugin).__mro__):
        for name, member in vars(cls).items():
            found.pop(name, None)
            if getattr(member, MARKS, None):
                found[name] = getattr(plugin, name)
    return [(method, mark) for method in found.values() for mark in getattr(method, MARKS)]


# -- the plugin ---------------------------------------------------------------------------------


class Plugin:
    """Base of all plugins. See the module's rules; every registration is made through `self`.

    `dependencies` names other zxmpp plugins and slixmpp's ``xep_*``. `start` may register more and
    may await; `stop` runs before all that the plugin owns is closed.
    """

    #: The name in ``[plugins.NAME]``; the class name in lower case if empty.
    name: ClassVar[str] = ""
    description: ClassVar[str] = ""
    dependencies: ClassVar[tuple[str, ...]] = ()
    #: A frozen msgspec struct with ``forbid_unknown_fields=True``.
    Config: ClassVar[type[Struct]] = NoConfig

    config: Any

    def __init__(self, app: App, owner: Owner, config: Any) -> None:
        self.app = app
        self.config = config
        #: The name of this instance; `name` unless the configuration says otherwise.
        self.instance = owner.name
        self.log = logging.getLogger(f"zxmpp.plugin.{owner.name}")
        self._owner = owner
        self._handles: dict[int, Owned] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in vars(cls):
            cls.name = cls.__name__.lower()
        if "description" not in vars(cls) and cls.__doc__:
            cls.description = cls.__doc__.strip().splitlines()[0]

    async def start(self) -> None:
        """Called once, when all dependencies have started."""

    async def stop(self) -> None:
        """Called once, before what the plugin owns is closed."""

    # -- registrations --------------------------------------------------------------------------

    def own(self, handle: Handle) -> Owned:
        """Close `handle` when the plugin is unloaded, or when what comes back is closed."""
        if self._owner.lanes.closed:
            handle.close()
            raise PluginError(
                f"plugin {self.instance} was unloaded; it can't register anything more"
            )
        owned = Owned(handle, self._handles)
        self._handles[id(owned)] = owned
        return owned

    def add_handler(self, wants: Wants, handler: Callable[[Any], Any]) -> Handle:
        """Register `handler` for what `wants` says, as in ``on.frames("alerts", topic=b"x")``."""
        route = Route(
            self._owner, handler, wants.keys, test=wants.test, prefix=wants.prefix,
            lane=wants.lane, timeout=wants.timeout, accept=wants.accept,
        )  # fmt: skip
        return self.own(self.app.pipeline.add(route))

    def add_command(
        self, function: Callable[..., Any], name: str = "", *, role: str = "",
        lane: str | None = None, timeout: float | None = None,
    ) -> Handle:  # fmt: skip
        """Register `function` as the command `name`. PluginError if the name is taken."""
        name = name or function.__name__
        return self.own(self.app.commands.add(self._owner, function, name, role, lane, timeout))

    def add_timer(self, seconds: float, function: Callable[[], Any]) -> Handle:
        """Call `function` every `seconds`. What it raises is logged and counted, and it goes on."""
        name = getattr(function, "__name__", "timer")
        task = self.spawn(self._tick(seconds, function), name=f"every {seconds:g} s: {name}")
        return self.own(TaskHandle(task))

    async def _tick(self, seconds: float, function: Callable[[], Any]) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        while True:
            await asyncio.sleep(due - loop.time())
            try:
                result = function()
                if inspect.isawaitable(result):
                    await result
            except (Exception, SystemExit, asyncio.CancelledError) as error:
                task = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
                    raise
                self._owner.counts["timer-failed"] += 1
                self.log.exception("timer %r failed; it goes on", function)
            # A call that took longer than the period skips what it missed.
            due += seconds * max(1, -((due - loop.time()) // seconds))

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
        receives comes to ``on.frames(NAME)`` handlers."""
        source = self.app.open_socket(name, table)
        self.own(SocketHandle(self.app, name))
        return source

    def say(self, to: str, body: str, *, stream: str = "") -> None:
        """Send a message to a JID, or to a room that the stream is in."""
        self.app.stream(stream).say(to, body)

    def count(self, reason: str) -> None:
        """Count something by name, above all what is dropped: it shows in the statistics."""
        self._owner.counts[reason] += 1

    def plugin(self, name: str) -> Any:
        """Another loaded plugin. PluginError if it is not loaded: declare it in `dependencies`."""
        return self.app.plugins.get(name)

    async def run_blocking(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a blocking function in a thread, so that the loop goes on."""
        return await asyncio.to_thread(function, *args)

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


class Owned:
    """A handle that its plugin forgets once it is closed."""

    def __init__(self, handle: Handle, among: dict[int, Owned]) -> None:
        self.handle = handle
        self._among = among

    def close(self) -> Any:
        self._among.pop(id(self), None)
        return self.handle.close()


class SocketHandle:
    """A socket of the app as something to close."""

    def __init__(self, app: App, name: str) -> None:
        self._app = app
        self._name = name

    def close(self) -> None:
        self._app.close_socket(self._name)


class TaskHandle:
    """A task as something to close."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task

    def close(self) -> None:
        self._task.cancel()
