"""Reload plugins when their files change: ``zxmpp run --watch``.

Rules:
- A look costs a stat of each plugin's own files, once a second; it needs no other library.
- A file that is wrong is named in the log once; what ran runs on, and the next change is tried again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from zxmpp.errors import ZxmppError

if TYPE_CHECKING:
    from zxmpp.app import App
    from zxmpp.modules import Stamps

__all__ = ["watch"]

log = logging.getLogger(__name__)

#: Seconds from one look to the next.
INTERVAL = 1.0


async def watch(app: App) -> None:
    """Reload what changes, for as long as this is not cancelled."""
    plugins = app.plugins
    failed: dict[str, Stamps] = {}
    while True:
        await asyncio.sleep(INTERVAL)
        changed = plugins.changed()
        if changed == failed:
            continue
        for name in changed:
            if name not in plugins.changed():
                continue  # it was reloaded along
            try:
                await plugins.reload(name)
            except ZxmppError as error:
                log.error("%s", error)
            except Exception:
                log.exception("reloading plugin %s failed: this is a bug", name)
        # What was written meanwhile is tried in the next round, and what failed with it.
        failed = {n: files for n, files in plugins.changed().items() if changed.get(n) == files}
