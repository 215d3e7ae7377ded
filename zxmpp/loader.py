"""Find, order, load and unload plugins.

Rules:
- A plugin is found by entry point (group ``zxmpp.plugins``) or as ``module:Class``.
- Dependencies start first. A cycle, or a name that nothing answers to, is an error with a remedy.
- A plugin that fails to start leaves nothing behind.
- Unloading is the reverse of loading, and refuses while a loaded plugin depends on it.
"""

from __future__ import annotations

import asyncio
import difflib
import importlib
import logging
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from zxmpp.config import PluginSettings, to_struct
from zxmpp.declare import CommandMark, Timer, Wants, marks_of
from zxmpp.errors import PluginError, ZxmppError
from zxmpp.handlers import OWNER
from zxmpp.plugin import Plugin

if TYPE_CHECKING:
    from zxmpp.app import App

__all__ = ["GROUP", "Loader", "find"]

log = logging.getLogger(__name__)

GROUP = "zxmpp.plugins"

#: Seconds that a plugin may take for its `start`, and for its `stop`.
START_SECONDS = 60.0
STOP_SECONDS = 10.0
#: Seconds that one which is late may take to be cancelled.
CANCEL_SECONDS = 2.0


def find(use: str) -> type[Plugin]:
    """The class that `use` names: an entry point or ``module:Class``."""
    module, _, name = use.partition(":")
    if not name:
        known = {entry.name: entry for entry in entry_points(group=GROUP)}
        if use not in known:
            near = difflib.get_close_matches(use, known, n=1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}."
            )
            raise PluginError(
                f"no plugin {use!r} is installed; {hint} A plugin of your own is named as "
                f'use = "module:Class"'
            )
        module, _, name = known[use].value.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise PluginError(
            f"plugin {use!r}: module {module!r} can't be imported: {error}. It must be installed, "
            f"or stand beside the configuration file"
        ) from error
    except AttributeError as error:
        raise PluginError(f"plugin {use!r}: module {module!r} has no {name!r}") from error
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        raise PluginError(f"plugin {use!r}: {module}.{name} is no subclass of zxmpp.Plugin")
    return found


async def _bounded(plugin: Plugin, work: Coroutine[Any, Any, None], seconds: float) -> None:
    """Await a plugin's `start` or `stop`. It runs in a task of its own, so that neither one that
    hangs, nor one that ignores its cancellation, nor one that was cancelled (as what awaits a task
    it has cancelled) takes whoever waits along. TimeoutError, PluginError, or what it raised."""
    name = getattr(work, "__name__", "start or stop")

    async def run() -> None:
        OWNER.set(plugin.instance)
        try:
            await work
        except SystemExit as error:
            # It would end the loop.
            raise PluginError(f"plugin {plugin.instance} called sys.exit in {name}") from error

    task = asyncio.ensure_future(run())
    late = False
    try:
        await asyncio.wait([task], timeout=seconds)
    finally:
        if not task.done():
            late = True
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_SECONDS)
            if not task.done():
                log.error("%s of plugin %s ignores its cancellation; it is left alone",
                          name, plugin.instance)  # fmt: skip
    if late:
        if task.done() and not task.cancelled():
            task.exception()
        raise TimeoutError(f"{name} took more than {seconds:g} s")
    if task.cancelled():
        raise PluginError(
            f"plugin {plugin.instance}: {name} was cancelled from within: it awaited a task that "
            f"was cancelled; use asyncio.wait([task]) for that"
        )
    task.result()


class Loader:
    """The loaded plugins of an app, in the order in which they started."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._loaded: dict[str, Plugin] = {}

    def __iter__(self) -> Iterator[Plugin]:
        return iter(self._loaded.values())

    def __contains__(self, name: str) -> bool:
        return name in self._loaded

    def get(self, name: str) -> Plugin:
        """A loaded plugin by the name of its instance."""
        try:
            return self._loaded[name]
        except KeyError:
            loaded = ", ".join(self._loaded) or "none"
            raise PluginError(
                f"plugin {name!r} is not loaded (loaded: {loaded}); add [plugins.{name}] to the "
                f"configuration, or {name!r} to the dependencies of the plugin that needs it"
            ) from None

    async def load_all(self, wanted: Mapping[str, PluginSettings]) -> None:
        """Load all of `wanted` and what they depend on, dependencies first."""
        classes = {name: find(settings.use) for name, settings in wanted.items()}
        settings = dict(wanted)
        graph: dict[str, set[str]] = {}
        queue = list(classes)
        while queue:
            name = queue.pop(0)
            graph[name] = set()
            for dependency in classes[name].dependencies:
                if dependency.startswith("xep_"):
                    continue
                graph[name].add(dependency)
                if dependency in classes or dependency in self._loaded:
                    continue
                try:
                    classes[dependency] = find(dependency)
                except PluginError as error:
                    raise PluginError(
                        f"plugin {name!r} depends on {dependency!r}: {error}"
                    ) from error
                settings[dependency] = PluginSettings(dependency)
                queue.append(dependency)
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            circle = " -> ".join(reversed(error.args[1]))
            raise PluginError(
                f"plugins depend on each other in a circle: {circle}; take one out of the "
                f"other's dependencies and use self.plugin(...) where it is needed"
            ) from None
        for name in order:
            if name not in self._loaded:
                await self.load(name, classes[name], settings[name].table)

    async def load_classes(self, classes: Iterable[type[Plugin]]) -> None:
        """Load plugin classes under their own names, with their default config."""
        for cls in classes:
            missing = [
                name
                for name in cls.dependencies
                if not name.startswith("xep_") and name not in self._loaded
            ]
            await self.load_all({name: PluginSettings(name) for name in missing})
            await self.load(cls.name, cls)

    async def load(self, name: str, cls: type[Plugin], table: Mapping[str, Any] = {}) -> Plugin:
        """Make, register and start one plugin whose dependencies are loaded."""
        if name in self._loaded:
            raise PluginError(f"plugin {name!r} is loaded already; unload it first")
        for dependency in cls.dependencies:
            if dependency.startswith("xep_"):
                self._app.need_xep(dependency, name)
            elif dependency not in self._loaded:
                raise PluginError(
                    f"plugin {name!r} depends on {dependency!r}, which is not loaded; load it first"
                )
        if cls.needs_broker:
            self._app.services  # noqa: B018 (raises if there is none)
        config = to_struct(cls.Config, dict(table), f"[plugins.{name}]")
        try:
            owner = self._app.pipeline.owner(name)
        except ValueError as error:
            raise PluginError(f"plugin {name!r}: the name is taken; give it another") from error
        plugin: Plugin | None = None
        try:
            plugin = cls(self._app, owner, config)
            self._register(plugin)
            await _bounded(plugin, plugin.start(), START_SECONDS)
        except BaseException as error:
            if plugin is not None:
                await plugin._close()
            await self._app.pipeline.release(owner)
            if isinstance(error, ZxmppError) or not isinstance(error, Exception | SystemExit):
                raise
            raise PluginError(f"plugin {name!r} failed to start: {error!r}") from error
        self._loaded[name] = plugin
        log.info("plugin %s is loaded", name)
        return plugin

    def _register(self, plugin: Plugin) -> None:
        for method, mark in marks_of(plugin):
            if isinstance(mark, CommandMark):
                plugin.add_command(
                    method, mark.name, role=mark.role, lane=mark.lane, timeout=mark.timeout
                )
            elif isinstance(mark, Wants):
                plugin.add_handler(mark, method)
            elif isinstance(mark, Timer):
                plugin.add_timer(mark.seconds, method)

    async def unload(self, name: str) -> None:
        """Stop one plugin and free all that it owns."""
        plugin = self.get(name)
        users = [
            other.instance
            for other in self
            if name in type(other).dependencies and other is not plugin
        ]
        if users:
            raise PluginError(
                f"plugin {name!r} is needed by {', '.join(users)}; unload {users[-1]!r} first"
            )
        del self._loaded[name]
        try:
            await _bounded(plugin, plugin.stop(), STOP_SECONDS)
        except Exception:
            log.exception("plugin %s failed to stop; all that it owns is closed all the same", name)
        finally:
            await plugin._close()
            await self._app.pipeline.release(plugin._owner)
        log.info("plugin %s is unloaded", name)

    async def unload_all(self) -> None:
        """Unload all, in reverse order."""
        for name in reversed(list(self._loaded)):
            # Somebody else may have unloaded it while the others stopped.
            if name in self._loaded:
                await self.unload(name)
