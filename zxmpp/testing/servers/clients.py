"""Stock slixmpp clients for a private server: the other people in a test.

Rules:
- They are slixmpp's own `ClientXMPP`, nothing of zxmpp: what a test sees through them is what
  any client would see.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from slixmpp import JID, ClientXMPP

from zxmpp.testing.servers.base import ServerError

if TYPE_CHECKING:
    from zxmpp.testing.servers.base import Server

__all__ = ["login", "slixmpp_client"]


def slixmpp_client(server: Server, jid: str, plugins: Sequence[str] = ()) -> ClientXMPP:
    """A slixmpp client for `jid`, bare or full, that may log in to `server` with or without TLS."""
    bare = JID(jid).bare
    password = server.accounts.get(bare)
    if password is None:
        known = ", ".join(server.accounts) or "none"
        raise ServerError(f"No account {bare} here. There are: {known}. Remedy: add_account()")
    # Without TLS slixmpp refuses to send a password, or a proof of it, unless it is told to.
    insecure = {"unencrypted_plain": True, "unencrypted_scram": True}
    client = ClientXMPP(jid, password, plugin_config={"feature_mechanisms": insecure})
    client.enable_direct_tls = False
    client.enable_starttls = server.tls
    client.enable_plaintext = not server.tls
    if server.ca_file is not None:
        client.ca_certs = server.ca_file
    for plugin in plugins:
        client.register_plugin(plugin)
    return client


@asynccontextmanager
async def login(
    server: Server, jid: str, plugins: Sequence[str] = (), timeout: float = 10
) -> AsyncIterator[ClientXMPP]:
    """A client with a session and initial presence; disconnected at the end of the block."""
    client = slixmpp_client(server, jid, plugins)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def settle(problem: str) -> None:
        if not ready.done():
            ready.set_result(problem)

    client.add_event_handler("session_start", lambda _: settle(""))
    client.add_event_handler("failed_all_auth", lambda _: settle("the server refused the password"))
    client.connect(server.address, server.c2s_port)
    try:
        try:
            async with asyncio.timeout(timeout):
                problem = await ready
        except TimeoutError:
            problem = f"no session within {timeout} s"
        if problem:
            raise ServerError(f"{jid} can't log in to the private {server.title}: {problem}")
        client.send_presence()
        yield client
    finally:
        client.cancel_connection_attempt()
        await client.disconnect(wait=1.0)
        # slixmpp leaves its task for outgoing stanzas behind, once the connection is lost.
        pump = client._run_out_filters
        if pump is not None:
            pump.cancel()
            await asyncio.wait([pump])
