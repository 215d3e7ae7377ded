"""A new configuration for an app that runs.

Rules:
- All of it is checked before anything is touched: a wrong file changes nothing.
- Only what changed is touched: plugins (their tables, and their own files), sockets, streams, roles.
  What depends on a plugin that changed is started anew with it.
- A plugin that changed is swapped: the old one serves until the new one has started, and runs on if
  that fails. Only if the old one holds a socket or port that the new one wants, it is stopped first.
- A socket that can't be opened gets its old one back. Each error is logged.
- Bounds of the pipeline, guards, the prefix, the broker and the log level hold for the life of a process: a
  change there is named and needs a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from errno import EADDRINUSE
from typing import TYPE_CHECKING

import msgspec

from zxmpp.config import PluginSettings, Settings, to_struct
from zxmpp.errors import SocketError, ZxmppError
from zxmpp.loader import find
from zxmpp.modules import Fresh

if TYPE_CHECKING:
    from zxmpp.app import App
    from zxmpp.streams import BaseStream

__all__ = ["apply"]

log = logging.getLogger(__name__)

#: Tables that are read at the start only.
FIXED = ("app", "pipeline", "guards", "commands", "broker")


def _changed(old: Mapping[str, object], new: Mapping[str, object]) -> set[str]:
    """The names of what is gone, new or different."""
    return {name for name in {*old, *new} if old.get(name) != new.get(name)}


async def apply(app: App, new: Settings) -> list[str]:
    """Make `app` what `new` says; what was done, a line each. ZxmppError: nothing was done."""
    async with app.plugins.replacing:
        written = set(app.plugins.changed())
        group = app.plugins.with_users(written, of_module=True)
        with Fresh(app.plugins.modules_of(group)) as fresh:
            for name, plugin in new.plugins.items():
                to_struct(find(plugin.use).Config, plugin.table, f"[plugins.{name}]")
            streams = {
                name: app.make_stream(name, new.streams[name])
                for name in _changed(app.settings.streams, new.streams)
                if name in new.streams
            }
            return await _apply(app, new, streams, written, fresh)


async def _apply(
    app: App, new: Settings, made: Mapping[str, BaseStream], written: set[str], fresh: Fresh
) -> list[str]:
    old = app.settings
    done = [
        f"[{table}] changed: restart to apply it"
        for table in FIXED
        if getattr(old, table) != getattr(new, table)
    ]
    kept = {table: getattr(old, table) for table in FIXED}
    app.settings = msgspec.structs.replace(new, **kept)
    if old.roles != new.roles:
        app.commands.roles.set(new.roles)
        done.append("roles changed")
    stopped = await _unload(app, old.plugins.keys() - new.plugins.keys())
    for name in sorted(_changed(old.sockets, new.sockets)):
        app.close_socket(name)
        try:
            if name in new.sockets:
                app.open_socket(name, new.sockets[name])
        except SocketError as error:
            log.error("%s; what it was before is put back", error)
            if name in old.sockets:
                app.open_socket(name, old.sockets[name])
            done.append(f"socket {name}: the new configuration failed, see the log")
        else:
            done.append(f"socket {name} {_what(name, old.sockets, new.sockets)}")
    for name in sorted(_changed(old.streams, new.streams)):
        if name in app.streams:
            await app.streams.pop(name).stop(2.0)
        if name in made:
            app.add_stream(made[name]).start()
        done.append(f"stream {name} {_what(name, old.streams, new.streams)}")
    try:
        done += await _plugins(app, old.plugins, new.plugins, written, stopped, fresh)
    except ZxmppError:
        log.exception("a plugin does not start with the new configuration; the old one is put back")
        fresh.undo()
        app.settings = msgspec.structs.replace(app.settings, plugins=old.plugins)
        await _unload(app, new.plugins.keys() - old.plugins.keys())
        await app.plugins.load_all(old.plugins)
        done.append("plugins: the new configuration failed, see the log; the old one is back")
    return done


async def _plugins(
    app: App,
    old: Mapping[str, PluginSettings],
    new: Mapping[str, PluginSettings],
    written: set[str],
    stopped: set[str],
    fresh: Fresh,
) -> list[str]:
    changed = _changed(old, new)
    group = app.plugins.with_users(written, of_module=True)
    names = {*group, *(name for name in changed if name in app.plugins)}
    try:
        stopped |= set(await app.plugins.replace(names, new, fresh))
    except ZxmppError as error:
        if not _in_the_way(app, names, error):
            raise
        log.warning("%s: the old version is stopped first", error)
        stopped |= await _unload(app, names)
    await app.plugins.load_all(new)
    done = [f"plugin {name} {_what(name, old, new)}" for name in sorted(changed)]
    done += [f"plugin {name} reloaded: its file changed" for name in sorted(written - changed)]
    again = sorted(stopped - changed - written)
    return done + [f"plugin {name} started anew: it depends on one that changed" for name in again]


def _in_the_way(app: App, names: Iterable[str], error: ZxmppError) -> bool:
    """Whether `error` may be for a socket or port that the old versions still have."""
    if isinstance(error, SocketError):
        return any(app.plugins.get(name)._sockets() for name in names)
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == EADDRINUSE


def _what(name: str, old: Mapping[str, object], new: Mapping[str, object]) -> str:
    return "removed" if name not in new else "added" if name not in old else "changed"


async def _unload(app: App, names: AbstractSet[str]) -> set[str]:
    """Unload the plugins `names` and what depends on them, dependents first."""
    doomed = {name for name in names if name in app.plugins}
    order = [plugin.instance for plugin in app.plugins]
    for plugin in app.plugins:
        if doomed.intersection(type(plugin).dependencies):
            doomed.add(plugin.instance)
    for name in reversed(order):
        if name in doomed:
            await app.plugins.unload(name)
    return doomed
