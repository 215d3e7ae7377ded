"""What a plugin owns, as things to close.

Rules:
- `close` is idempotent, and a handle that is closed is forgotten.
- A way in (`Inlet`) opens when its plugin goes live: at once, unless the plugin is staged to take the
  place of a version that runs.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from zxmpp.resting import CURRENT

if TYPE_CHECKING:
    from zxmpp.app import App
    from zxmpp.plugin import Plugin
    from zxmpp.sockets import SocketSource

__all__ = ["Handle", "Inlet", "Owned", "Resumed", "SocketHandle", "Ticker"]


class Handle(Protocol):
    """Something registered; `close` undoes it. Idempotent."""

    def close(self) -> Any: ...


class Owned:
    """A handle that its plugin forgets once it is closed."""

    def __init__(self, handle: Handle, among: dict[int, Owned]) -> None:
        self.handle = handle
        self._among = among
        among[id(self)] = self

    @property
    def closed(self) -> bool:
        return id(self) not in self._among

    def close(self) -> Any:
        self._among.pop(id(self), None)
        return self.handle.close()

    def give(self, to: Plugin) -> Owned:
        """Let another plugin own the handle, as in `Plugin.adopt`."""
        self._among.pop(id(self), None)
        return to.own(self.handle)


class Inlet:
    """A way in: `open` makes what closes it again."""

    def __init__(self, open: Callable[[], Handle]) -> None:
        self._open = open
        self._handle: Handle | None = None

    def open(self) -> None:
        self._handle = self._open()

    def close(self) -> Any:
        handle, self._handle = self._handle, None
        return None if handle is None else handle.close()


class Ticker:
    """Calls a function of a plugin every so many seconds. One that is closed in the middle of a call
    lets it end."""

    def __init__(self, plugin: Plugin, seconds: float, function: Callable[[], Any]) -> None:
        self._plugin = plugin
        self._closed = False
        name = getattr(function, "__name__", "timer")
        self._task = plugin.spawn(self._run(seconds, function), name=f"every {seconds:g} s: {name}")

    async def _run(self, seconds: float, function: Callable[[], Any]) -> None:
        CURRENT.set(None)  # a timer answers nobody, wherever it was made
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        while not self._closed:
            await asyncio.sleep(due - loop.time())
            self._plugin._ticks.add(self._task)
            try:
                result = function()
                if inspect.isawaitable(result):
                    await result
            except (Exception, SystemExit, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and self._task.cancelling():
                    raise
                self._plugin.count("timer-failed")
                self._plugin.log.exception("timer %r failed; it goes on", function)
            finally:
                self._plugin._ticks.discard(self._task)
            # A call that took longer than the period skips what it missed.
            due += seconds * max(1, -((due - loop.time()) // seconds))

    def close(self) -> None:
        self._closed = True
        if self._task not in self._plugin._ticks:
            self._task.cancel()


class SocketHandle:
    """A socket of the app as something to close."""

    def __init__(self, app: App, name: str) -> None:
        self.name = name
        self._app = app

    def close(self) -> None:
        self._app.close_socket(self.name)


class Resumed:
    """A socket that was paused until its plugin went live."""

    def __init__(self, source: SocketSource) -> None:
        source.resume()

    def close(self) -> None: ...
