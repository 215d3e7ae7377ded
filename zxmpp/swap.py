"""Put new versions of plugins into the place of those that run.

Rules:
- The new ones start while the old ones serve; then one turn of the loop swaps all of them, or none.
- What fails before that leaves the old ones as they are, and takes the new ones away.
- What comes from then on is the new ones'. In each conversation it waits for what the old one still
  has there, so the order stays.
- The old ones' handlers may end within the drain time; what still runs then is cancelled and named.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zxmpp.errors import PluginError
from zxmpp.handlers import Phase
from zxmpp.lifetime import begin, end, take_away
from zxmpp.modules import place_of
from zxmpp.plugin import Plugin

if TYPE_CHECKING:
    from zxmpp.app import App

__all__ = ["retire", "swap"]

log = logging.getLogger(__name__)


async def swap(
    app: App, old: Mapping[str, Plugin], new: Mapping[str, tuple[type[Plugin], Any]]
) -> dict[str, Plugin]:
    """Start a plugin for each class and config of `new`, dependencies first, and let them take the
    places of `old`. They must be retired then."""
    staged: dict[str, Plugin] = {}
    try:
        for name, (cls, config) in new.items():
            owner = app.pipeline.successor(old[name]._owner)
            staged[name] = await begin(app, owner, cls, config, old[name], staged)
        _turn(app, [(old[name], plugin) for name, plugin in staged.items()])
    except BaseException:
        for plugin in staged.values():
            # In this turn, too: nothing may come in to them any more.
            plugin._owner.phase = Phase.LEAVING
            plugin._leave()
        for plugin in reversed(staged.values()):
            await take_away(app, plugin)
        raise
    return staged


def _turn(app: App, pairs: Sequence[tuple[Plugin, Plugin]]) -> None:
    """What must not be seen half done: no await in here."""
    for old, new in pairs:
        _may_swap(app, old, new)
    for old, new in pairs:
        _adopt(old, new)
    for _, new in pairs:
        try:
            new._enter()
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"plugin {new.instance!r} failed to open a way in: {error!r}"
            ) from error
    commands = [command for _, new in pairs for command in new._commands()]
    app.commands.swap([old._owner for old, _ in pairs], commands)
    # Nothing can fail from here on.
    for old, new in pairs:
        app.pipeline.succeed(old._owner, new._owner)
        for held in new._taken:
            held.give(new)
        new._taken.clear()
        new.replaces, new._peers = None, {}
        old._leave()


def _may_swap(app: App, old: Plugin, new: Plugin) -> None:
    name = new.instance
    if app.pipeline.draining:
        raise PluginError(f"plugin {name!r} can't be replaced: the bot is stopping")
    if old._owner.phase is not Phase.LIVE:
        raise PluginError(f"plugin {name!r} was unloaded or reloaded by somebody else meanwhile")
    if any(held.closed for held in new._taken):
        raise PluginError(
            f"plugin {name!r} closed a socket of its own that the new version was to take over; "
            f"try again"
        )


def _adopt(old: Plugin, new: Plugin) -> None:
    name = new.instance
    try:
        result: Any = new.adopt(old)  # type: ignore[func-returns-value]
    except (Exception, SystemExit, asyncio.CancelledError) as error:
        place = place_of(error, getattr(sys.modules.get(type(new).__module__), "__file__", None))
        raise PluginError(f"plugin {name!r}: its adopt failed: {place}{error!r}") from error
    if inspect.iscoroutine(result):
        result.close()
        raise PluginError(f"plugin {name!r}: adopt must be a plain function; take the async away")


async def retire(app: App, old: Sequence[Plugin], seconds: float, hurry: asyncio.Event) -> None:
    """Let what `old` run end within `seconds`, or until `hurry` is set; then stop and close them."""
    drained = asyncio.ensure_future(_drained(old))
    hurried = asyncio.ensure_future(hurry.wait())
    await asyncio.wait({drained, hurried}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    if not drained.done():
        ticks = [task.get_name() for plugin in old for task in plugin._ticks]
        log.warning(
            "the old version of %s is not done in time (drain_seconds = %g); cancelled now: handlers "
            "of %d conversations%s", ", ".join(plugin.instance for plugin in old), seconds,
            sum(len(plugin._owner.lanes) for plugin in old), "".join(f", {tick}" for tick in ticks),
        )  # fmt: skip
    drained.cancel()
    hurried.cancel()
    for plugin in reversed(old):
        await app.pipeline.release(plugin._owner)
        await end(app, plugin)


async def _drained(old: Sequence[Plugin]) -> None:
    for plugin in old:
        await plugin._owner.lanes.drain()
    for plugin in old:
        while plugin._ticks:
            await asyncio.wait(plugin._ticks)
