"""The chat side: the plugin of zxmpp's bot, and as a script the plain bot: ``chat.py JID PORT [HOP]``.

Both answer each message with its text; zxmpp's asks a worker for it. With HOP, an address, the plain
bot sends it to a process there and waits, blocking, until it comes back.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import zmq
from slixmpp import ClientXMPP

from zxmpp import Plugin, command


class Shout(Plugin):
    @command
    async def shout(self, *, text: str) -> str:
        """Have a worker say it."""
        return (await self.service("shout").request(text.encode(), timeout=5)).decode()


async def echo(jid: str, port: str, hop: str = "") -> None:
    socket = zmq.Context.instance().socket(zmq.DEALER)
    if hop:
        socket.bind(hop)
        print("ready", flush=True)
        socket.recv_multipart()  # its worker says that it is there

    def answer(message: Any) -> None:
        body = message["body"].encode()
        if hop:
            socket.send_multipart([b"", body])
            *_, body = socket.recv_multipart()
        message.reply(body.decode()).send()

    plain = {"unencrypted_plain": True, "unencrypted_scram": True}
    config = {"feature_mechanisms": plain}
    xmpp = ClientXMPP(jid, os.environ["ZXMPP_ECHO_SECRET"], plugin_config=config)
    xmpp.enable_direct_tls = xmpp.enable_starttls = False
    xmpp.enable_plaintext = True

    def online(_: object) -> None:
        xmpp.send_presence()
        if not hop:
            print("ready", flush=True)

    xmpp.add_event_handler("session_start", online)
    xmpp.add_event_handler("message", answer)
    xmpp.connect("127.0.0.1", int(port))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(echo(*sys.argv[1:]))
