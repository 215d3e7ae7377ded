"""The chat side: the plugin of zxmpp's bot, and as a script the plain bot: ``chat.py JID PORT``.

Both answer each message with its text; zxmpp's asks a worker for it.
"""

from __future__ import annotations

import asyncio
import os
import sys

from slixmpp import ClientXMPP

from zxmpp import Plugin, command


class Shout(Plugin):
    @command
    async def shout(self, *, text: str) -> str:
        """Have a worker say it."""
        return (await self.service("shout").request(text.encode(), timeout=5)).decode()


async def echo(jid: str, port: str) -> None:
    plain = {"unencrypted_plain": True, "unencrypted_scram": True}
    config = {"feature_mechanisms": plain}
    xmpp = ClientXMPP(jid, os.environ["ZXMPP_ECHO_SECRET"], plugin_config=config)
    xmpp.enable_direct_tls = xmpp.enable_starttls = False
    xmpp.enable_plaintext = True

    def online(_: object) -> None:
        xmpp.send_presence()
        print("ready", flush=True)

    xmpp.add_event_handler("session_start", online)
    xmpp.add_event_handler("message", lambda message: message.reply(message["body"]).send())
    xmpp.connect("127.0.0.1", int(port))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(echo(*sys.argv[1:]))
