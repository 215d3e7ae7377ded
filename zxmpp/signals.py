"""An app as a process: it serves until a signal ends it (signal(7)).

Rules:
- SIGTERM and SIGINT stop it, a second one at once. SIGHUP reads the configuration again.
- A signal that comes before all has started ends the start.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from typing import TYPE_CHECKING

from zxmpp.watch import watch as watch_files

if TYPE_CHECKING:
    from zxmpp.app import App

__all__ = ["run"]

log = logging.getLogger(__name__)


async def run(app: App, watch: bool) -> None:
    """Start `app`, serve, stop; with `watch`, a plugin is reloaded when its file changes."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    signals = 0

    def on_signal() -> None:
        nonlocal signals
        signals += 1
        ended.set()
        if signals == 1:
            log.info("stopping; a second signal stops at once")
        else:
            forced.set()

    forced = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(signal.SIGHUP, app.on_hangup)
    try:
        start = asyncio.ensure_future(app.start())
        end = asyncio.ensure_future(ended.wait())
        await asyncio.wait({start, end}, return_when=asyncio.FIRST_COMPLETED)
        end.cancel()
        if not start.done():
            # A plugin takes its time to start: the signal ends that, too.
            start.cancel()
            force = asyncio.ensure_future(forced.wait())
            await asyncio.wait({start, force}, return_when=asyncio.FIRST_COMPLETED)
            force.cancel()
            log.warning("stopped before all had started")
            return
        start.result()
        # What lives as long as the process is not looked at again: the collector's longest
        # pauses go.
        gc.collect()
        gc.freeze()
        watcher = asyncio.ensure_future(watch_files(app)) if watch else None
        await ended.wait()
        if watcher is not None:
            watcher.cancel()
            await asyncio.wait([watcher])
        stop = asyncio.ensure_future(app.stop())
        force = asyncio.ensure_future(forced.wait())
        await asyncio.wait({stop, force}, return_when=asyncio.FIRST_COMPLETED)
        force.cancel()
        if stop.done():
            stop.result()
        else:
            log.warning("stopped at once: %d handlers were cut off", app.pipeline.in_flight)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
