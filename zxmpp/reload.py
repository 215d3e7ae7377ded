"""A new configuration for an app that runs.

Rules:
- All of it is checked before anything is touched: a wrong file changes nothing.
- Only what changed is stopped and started: plugins, sockets, streams, roles. What depends on a
  plugin that changed is started anew with it.
- A plugin that fails to start with its new table, or a socket that can't be opened, gets its old one
  back, and the error is logged.
- Bounds of the pipeline, guards, the prefix, the broker and the log level hold for the life of a process: a
  change there is named and needs a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from zxmpp.config import Settings, to_struct
from zxmpp.errors import SocketError, ZxmppError
from zxmpp.loader import find

if TYPE_CHECKING:
    from zxmpp.app import App

__all__ = ["apply"]

log = logging.getLogger(__name__)

#: Tables that are read at the start only.
FIXED = ("app", "pipeline", "guards", "commands", "broker")


def _changed(old: Mapping[str, object], new: Mapping[str, object]) -> set[str]:
    """The names of what is gone, new or different."""
    return {name for name in {*old, *new} if old.get(name) != new.get(name)}


async def apply(app: App, new: Settings) -> list[str]:
    """Make `app` what `new` says; what was done, a line each. ZxmppError: nothing was done."""
    old = app.settings
    for name, plugin in new.plugins.items():
        to_struct(find(plugin.use).Config, plugin.table, f"[plugins.{name}]")
    streams = _changed(old.streams, new.streams)
    made = {
        name: app.make_stream(name, new.streams[name]) for name in streams if name in new.streams
    }
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

    plugins = _changed(old.plugins, new.plugins)
    stopped = await _unload(app, plugins)
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
    for name in sorted(streams):
        if name in app.streams:
            await app.streams.pop(name).stop(2.0)
        if name in made:
            app.add_stream(made[name]).start()
        done.append(f"stream {name} {_what(name, old.streams, new.streams)}")
    try:
        await app.plugins.load_all(new.plugins)
    except ZxmppError:
        log.exception("a plugin does not start with the new configuration; the old one is put back")
        app.settings = msgspec.structs.replace(app.settings, plugins=old.plugins)
        await _unload(app, plugins)
        await app.plugins.load_all(old.plugins)
        done.append("plugins: the new configuration failed, see the log; the old one is back")
    else:
        done += [
            f"plugin {name} {_what(name, old.plugins, new.plugins)}" for name in sorted(plugins)
        ]
        again = sorted(stopped - plugins)
        done += [f"plugin {name} started anew: it depends on one that changed" for name in again]
    return done


def _what(name: str, old: Mapping[str, object], new: Mapping[str, object]) -> str:
    return "removed" if name not in new else "added" if name not in old else "changed"


async def _unload(app: App, names: set[str]) -> set[str]:
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
