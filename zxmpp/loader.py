"""Find, order, load, reload and unload plugins.

Rules:
- A plugin is found by entry point (group ``zxmpp.plugins``) or as ``module:Class``.
- Dependencies start first. A cycle, or a name that nothing answers to, is an error with a remedy.
- A plugin that fails to start leaves nothing behind.
- A reload replaces a plugin and all that depends on it, and all of the same module, or nothing.
- Unloading is the reverse of loading, and refuses while a loaded plugin depends on it.
"""

from __future__ import annotations

import asyncio
import difflib
import importlib
import logging
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from zxmpp.config import PluginSettings, to_struct
from zxmpp.errors import PluginError, ZxmppError
from zxmpp.lifetime import begin, end
from zxmpp.modules import Fresh, Stamps, place_of, related, stamps
from zxmpp.plugin import Plugin
from zxmpp.swap import retire, swap

if TYPE_CHECKING:
    from zxmpp.app import App

__all__ = ["GROUP", "Loader", "find"]

log = logging.getLogger(__name__)

GROUP = "zxmpp.plugins"

#: Versions of plugins, replaced by newer ones, whose handlers may still run at a time.
MAX_LEAVING = 16


def _place_of(use: str) -> tuple[str, str]:
    """The module and the name in it that `use` stands for."""
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
    return module, name


def find(use: str) -> type[Plugin]:
    """The class that `use` names: an entry point or ``module:Class``."""
    module, name = _place_of(use)
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise PluginError(
            f"plugin {use!r}: module {module!r} can't be imported: {error}. It must be installed, "
            f"or stand beside the configuration file"
        ) from error
    except (Exception, SystemExit, asyncio.CancelledError) as error:
        raise PluginError(
            f"plugin {use!r}: its module can't be imported: {place_of(error)}"
            f"{type(error).__name__}: {error}"
        ) from error
    if found is None:
        raise PluginError(f"plugin {use!r}: module {module!r} has no {name!r}")
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        raise PluginError(f"plugin {use!r}: {module}.{name} is no subclass of zxmpp.Plugin")
    return found


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a loaded plugin came from."""

    settings: PluginSettings
    module: str
    files: Stamps


class Loader:
    """The loaded plugins of an app, in the order in which they started."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._loaded: dict[str, Plugin] = {}
        self._origins: dict[str, _Origin] = {}
        #: Held by whoever replaces plugins.
        self.replacing = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()
        self._hurry = asyncio.Event()

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

    # -- loading --------------------------------------------------------------------------------

    async def load_all(self, wanted: Mapping[str, PluginSettings]) -> None:
        """Load all of `wanted` and what they depend on, dependencies first."""
        classes = {name: find(settings.use) for name, settings in wanted.items()}
        settings = dict(wanted)
        graph: dict[str, list[str]] = {}
        queue = list(classes)
        while queue:
            name = queue.pop(0)
            graph[name] = _needs(classes[name])
            for dependency in graph[name]:
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
        for name in _ordered(graph):
            if name not in self._loaded:
                await self._load(name, classes[name], settings[name])

    async def load_classes(self, classes: Iterable[type[Plugin]]) -> None:
        """Load plugin classes under their own names, with their default config."""
        for cls in classes:
            missing = [name for name in _needs(cls) if name not in self._loaded]
            await self.load_all({name: PluginSettings(name) for name in missing})
            await self.load(cls.name, cls)

    async def load(self, name: str, cls: type[Plugin], table: Mapping[str, Any] = {}) -> Plugin:
        """Make, register and start one plugin whose dependencies are loaded."""
        use = f"{cls.__module__}:{cls.__qualname__}"
        return await self._load(name, cls, PluginSettings(use, dict(table)))

    async def _load(self, name: str, cls: type[Plugin], settings: PluginSettings) -> Plugin:
        if name in self._loaded:
            raise PluginError(f"plugin {name!r} is loaded already; unload it first")
        config = self._checked(name, cls, settings, self._loaded)
        try:
            owner = self._app.pipeline.owner(name)
        except ValueError as error:
            raise PluginError(f"plugin {name!r}: the name is taken; give it another") from error
        module = _place_of(settings.use)[0]
        plugin = self._loaded[name] = await begin(self._app, owner, cls, config)
        self._origins[name] = _Origin(settings, module, stamps(module))
        log.info("plugin %s is loaded", name)
        return plugin

    def _checked(
        self, name: str, cls: type[Plugin], settings: PluginSettings, there: Container[str]
    ) -> Any:
        """The config of a plugin that may start, as its dependencies are `there`."""
        for dependency in cls.dependencies:
            if dependency.startswith("xep_"):
                self._app.need_xep(dependency, name)
            elif dependency not in there:
                raise PluginError(
                    f"plugin {name!r} depends on {dependency!r}, which is not loaded; load it first"
                )
        if cls.needs_broker:
            self._app.services  # noqa: B018 (raises if there is none)
        return to_struct(cls.Config, dict(settings.table), f"[plugins.{name}]")

    # -- reloading ------------------------------------------------------------------------------

    async def reload(self, name: str) -> list[str]:
        """Import a plugin's module anew and let what is in it now take the plugin's place, and that
        of what depends on it. Returns when the new version serves, with the names of all that were
        replaced; the old one's handlers may still end. PluginError: nothing changed."""
        async with self.replacing:
            self.get(name)
            if not _can_be_anew(self._origins[name]):
                raise PluginError(
                    f"plugin {name!r} is a class that can't be imported anew "
                    f"({self._origins[name].settings.use}); put it into a module of its own"
                )
            names = self.with_users({name}, of_module=True)
            try:
                with Fresh(self.modules_of(names)) as fresh:
                    return await self.replace(names, {}, fresh)
            except ZxmppError as error:
                raise PluginError(
                    f"plugin {name!r} is not reloaded, the old version runs on: {error}"
                ) from error

    async def replace(
        self, names: Iterable[str], wanted: Mapping[str, PluginSettings], fresh: Fresh | None = None
    ) -> list[str]:
        """Let what `wanted` says, or else what they were, take the places of the loaded plugins
        `names` and of all that depends on them; all or none. For who holds `replacing`."""
        settings = {
            name: wanted.get(name, self._origins[name].settings) for name in self.with_users(names)
        }
        if not settings:
            return []
        classes = {name: self._class_of(name, one, fresh) for name, one in settings.items()}
        needs = {name: _needs(cls) for name, cls in classes.items()}
        order = [name for name in _ordered(needs) if name in settings]
        if (many := len(self._leaving)) >= MAX_LEAVING:
            raise PluginError(f"{many} versions that were replaced still end; wait for them")
        missing = {need for each in needs.values() for need in each} - {*self._loaded, *settings}
        await self.load_all({need: wanted.get(need, PluginSettings(need)) for need in missing})
        there = {*self._loaded, *settings}
        new = {
            name: (classes[name], self._checked(name, classes[name], settings[name], there))
            for name in order
        }
        old = {name: self._loaded[name] for name in order}
        staged = await swap(self._app, old, new)
        for name, plugin in staged.items():
            # What was replaced stands behind all that it depends on.
            del self._loaded[name]
            self._loaded[name] = plugin
            module = _place_of(settings[name].use)[0]
            files = fresh.stamps.get(module) if fresh is not None else None
            if files is None:
                same = module == self._origins[name].module
                files = self._origins[name].files if same else stamps(module)
            self._origins[name] = _Origin(settings[name], module, files)
        drain = self._app.settings.app.drain_seconds
        leaving = asyncio.ensure_future(retire(self._app, list(old.values()), drain, self._hurry))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._left)
        log.info("reloaded: %s", ", ".join(order))
        return order

    def _left(self, task: asyncio.Task[None]) -> None:
        self._leaving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("ending an old version failed: this is a bug", exc_info=error)

    def _class_of(self, name: str, settings: PluginSettings, fresh: Fresh | None) -> type[Plugin]:
        origin = self._origins[name]
        anew = fresh is not None and origin.module in fresh.stamps
        same = settings.use == origin.settings.use and not anew
        return type(self._loaded[name]) if same else find(settings.use)

    def with_users(self, names: Iterable[str], *, of_module: bool = False) -> list[str]:
        """Those of `names` that are loaded and all that depends on them, in order; and, with
        `of_module`, what is of the same modules."""
        found = {name for name in names if name in self._loaded}
        size = -1
        while size != len(found):
            size = len(found)
            modules = {self._origins[name].module for name in found} if of_module else set()
            found |= {
                name
                for name, other in self._loaded.items()
                if found.intersection(_needs(type(other)))
                or any(related(self._origins[name].module, module) for module in modules)
            }
        return [name for name in self._loaded if name in found]

    def modules_of(self, names: Iterable[str]) -> list[str]:
        """The modules to import anew for `names`."""
        origins = [self._origins[name] for name in names]
        return list(dict.fromkeys(one.module for one in origins if _can_be_anew(one)))

    def changed(self) -> dict[str, Stamps]:
        """The loaded plugins whose files are not those that they were imported from, with what the
        files are now."""
        found = {}
        for name, origin in self._origins.items():
            now = stamps(origin.module)
            if any(origin.files.get(path) != stamp for path, stamp in now.items()):
                found[name] = now
        return found

    async def retired(self) -> None:
        """Wait until all versions that were replaced have ended."""
        while self._leaving:
            await asyncio.wait(self._leaving)

    # -- unloading ------------------------------------------------------------------------------

    async def unload(self, name: str) -> None:
        """Stop one plugin and free all that it owns."""
        plugin = self.get(name)
        users = [
            other.instance for other in self if name in _needs(type(other)) and other is not plugin
        ]
        if users:
            raise PluginError(
                f"plugin {name!r} is needed by {', '.join(users)}; unload {users[-1]!r} first"
            )
        del self._loaded[name], self._origins[name]
        await end(self._app, plugin)
        log.info("plugin %s is unloaded", name)

    async def unload_all(self) -> None:
        """Unload all, in reverse order."""
        self._hurry.set()
        await self.retired()
        for name in reversed(list(self._loaded)):
            # Somebody else may have unloaded it while the others stopped.
            if name in self._loaded:
                await self.unload(name)
        self._hurry.clear()


def _can_be_anew(origin: _Origin) -> bool:
    """Whether its module can be imported beside the one that there is. Not zxmpp itself."""
    module = origin.module
    return not (
        "<locals>" in origin.settings.use
        or module in ("__main__", "zxmpp", "zxmpp_plugins")
        or module.startswith("zxmpp.")
    )


def _needs(cls: type[Plugin]) -> list[str]:
    """The zxmpp plugins that `cls` depends on."""
    return [name for name in cls.dependencies if not name.startswith("xep_")]


def _ordered(graph: Mapping[str, list[str]]) -> list[str]:
    """Names, each behind those that it needs. PluginError shows a circle."""
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise PluginError(
            f"plugins depend on each other in a circle: {circle}; take one out of the "
            f"other's dependencies and use self.plugin(...) where it is needed"
        ) from None
