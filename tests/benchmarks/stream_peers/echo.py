"""An echo component over a real server: ``echo.py stock|ours PLUGINS JID PORT``."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from candidates import make_component


async def echo(kind: str, plugins: str, jid: str, port: str) -> None:
    xmpp = make_component(kind, int(plugins), jid, os.environ["ZXMPP_ECHO_SECRET"], int(port))

    def answer(message: Any) -> None:
        if message["type"] == "chat":
            message.reply(message["body"]).send()

    xmpp.add_event_handler("session_start", lambda _: print("ready", flush=True))
    xmpp.add_event_handler("message", answer)
    xmpp.connect()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(echo(*sys.argv[1:]))
