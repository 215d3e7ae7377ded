"""`attach`: an app on a slixmpp bot that somebody else made and runs.

Rules:
- The bot keeps its class, its handlers and its own connection; zxmpp adds one handler to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from zxmpp.app import App
from zxmpp.config import PluginSettings, Settings
from zxmpp.errors import ConfigError
from zxmpp.streams import AttachedStream

__all__ = ["attach"]

log = logging.getLogger(__name__)


def attach(
    xmpp: Any,
    settings: Settings | str | Path | None = None,
    *,
    plugins: Sequence[str] | Mapping[str, dict[str, Any]] = (),
    name: str = "xmpp",
) -> App:
    """Put a pipeline, sockets and plugins on an existing slixmpp ClientXMPP or ComponentXMPP.

    `settings` may have everything but streams; `plugins` are named as in ``use``. The app starts as
    soon as the loop of `xmpp` runs; await `app.start()` to wait for that and to see its errors.
    """
    app = App(settings)
    if app.settings.streams:
        raise ConfigError(
            "attach: the settings have [streams]; here the stream is the one that is attached to. "
            "Take them out, or use App"
        )
    tables = plugins if isinstance(plugins, Mapping) else {use: {} for use in plugins}
    if tables:
        more = {
            use.partition(":")[2].lower() or use: PluginSettings(use, dict(table))
            for use, table in tables.items()
        }
        app.settings = msgspec.structs.replace(
            app.settings, plugins={**app.settings.plugins, **more}
        )
    app.add_stream(AttachedStream(name, xmpp, app.sink, app.pipeline.wants))

    def started(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("attach: the app on %s could not start: %s", xmpp.boundjid.bare, error,
                      exc_info=error)  # fmt: skip

    app._starter = xmpp.loop.create_task(app.start())
    app._starter.add_done_callback(started)
    return app
