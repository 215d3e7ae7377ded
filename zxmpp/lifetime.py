"""The life of one plugin: made, registered, started; stopped, closed, forgotten.

Rules:
- A plugin that fails to start leaves nothing behind.
- `start` and `stop` have a time limit. One that hangs, or ignores its cancellation, holds up nobody.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from zxmpp.declare import CommandMark, Timer, Wants, marks_of
from zxmpp.errors import PluginError, ZxmppError
from zxmpp.handlers import OWNER, Owner, Phase
from zxmpp.modules import place_of
from zxmpp.plugin import Plugin

if TYPE_CHECKING:
    from zxmpp.app import App

__all__ = ["begin", "end", "take_away"]

log = logging.getLogger(__name__)

#: Seconds that a plugin may take for its `start`, and for its `stop`.
START_SECONDS = 60.0
STOP_SECONDS = 10.0
#: Seconds that one which is late may take to be cancelled.
CANCEL_SECONDS = 2.0


async def begin(
    app: App,
    owner: Owner,
    cls: type[Plugin],
    config: Any,
    replaces: Plugin | None = None,
    peers: Mapping[str, Plugin] = {},
) -> Plugin:
    """Make, register and start a plugin. PluginError, or another ZxmppError that it raised."""
    plugin: Plugin | None = None
    try:
        plugin = cls(app, owner, config)
        plugin.replaces, plugin._peers = replaces, peers
        _register(plugin)
        await _bounded(plugin, plugin.start(), START_SECONDS)
    except BaseException as error:
        if plugin is not None:
            await take_away(app, plugin)
        else:
            await app.pipeline.release(owner)
        if isinstance(error, ZxmppError) or not isinstance(error, Exception | SystemExit):
            raise
        place = place_of(error, getattr(sys.modules.get(cls.__module__), "__file__", None))
        raise PluginError(f"plugin {owner.name!r} failed to start: {place}{error!r}") from error
    return plugin


def _register(plugin: Plugin) -> None:
    for method, mark in marks_of(plugin):
        if isinstance(mark, CommandMark):
            plugin.add_command(
                method, mark.name, role=mark.role, lane=mark.lane, timeout=mark.timeout
            )
        elif isinstance(mark, Wants):
            plugin.add_handler(mark, method)
        elif isinstance(mark, Timer):
            plugin.add_timer(mark.seconds, method)


async def end(app: App, plugin: Plugin) -> None:
    """Stop a plugin and free all that it owns."""
    plugin._owner.phase = Phase.LEAVING
    try:
        await _bounded(plugin, plugin.stop(), STOP_SECONDS)
    except Exception:
        log.exception("plugin %s failed to stop; all that it owns is closed all the same",
                      plugin.instance)  # fmt: skip
    finally:
        await take_away(app, plugin)


async def take_away(app: App, plugin: Plugin) -> None:
    """Free all that a plugin owns, without its `stop`."""
    plugin._owner.phase = Phase.LEAVING
    await plugin._close()
    await app.pipeline.release(plugin._owner)


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
