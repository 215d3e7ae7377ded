"""The private servers themselves: up, down, up again; seen through stock slixmpp only."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from slixmpp import ClientXMPP, ComponentXMPP

from zxmpp.testing.servers import Ejabberd, Prosody, Server, ServerError

LIMIT_S = 20


def next_event(xmpp: Any, name: str) -> asyncio.Future[Any]:
    """The next event `name` of a slixmpp stream."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    xmpp.add_event_handler(
        name, lambda data: None if future.done() else future.set_result(data), disposable=True
    )
    return future


async def say(sender: ClientXMPP, receiver: Any, body: str, **kind: Any) -> str:
    arrival = next_event(receiver, "message")
    sender.send_message(receiver.boundjid.full, body, mtype="chat")
    async with asyncio.timeout(LIMIT_S):
        message = await arrival
    assert message["from"] == sender.boundjid
    return str(message["body"])


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


async def test_clients_talk(shared: Server) -> None:
    async with shared.login("alice@localhost") as alice, shared.login("bob@localhost/x") as bob:
        assert await say(alice, bob, "hello") == "hello"
        assert await say(bob, alice, "und zurück") == "und zurück"


@pytest.mark.parametrize("direct", [False, True], ids=["starttls", "direct"])
async def test_clients_talk_over_tls(kind: type[Server], direct: bool) -> None:
    async with kind(tls=True) as server:
        client = server.slixmpp_client("alice@localhost")
        if direct:
            client.enable_direct_tls, client.enable_starttls = True, False
        online = next_event(client, "session_start")
        client.connect(server.address, server.tls_port if direct else server.c2s_port)
        async with asyncio.timeout(LIMIT_S):
            await online
        assert client.socket.version().startswith("TLS")
        await client.disconnect(wait=1)


async def test_wrong_password_is_refused(shared: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shared.accounts, "bob@localhost", "something else")
    with pytest.raises(ServerError, match=r"bob@localhost can't log in.*refused the password"):
        async with shared.login("bob@localhost"):
            pass


async def test_component_talks_to_client(shared: Server) -> None:
    ((jid, secret),) = shared.components.items()
    component = ComponentXMPP(jid, secret, shared.address, shared.component_port)
    online = next_event(component, "session_start")
    component.connect()
    async with asyncio.timeout(LIMIT_S):
        await online
    async with shared.login("alice@localhost") as alice:
        arrival = next_event(component, "message")
        alice.send_message("anyone@" + jid, "hello", mtype="chat")
        async with asyncio.timeout(LIMIT_S):
            message = await arrival
            arrival = next_event(alice, "message")
            message.reply("hello yourself").send()
            assert (await arrival)["body"] == "hello yourself"
    await component.disconnect(wait=1)


async def test_room(shared: Server) -> None:
    room = f"kitchen@{shared.muc}"
    async with AsyncExitStack() as stack:
        alice, bob = [
            await stack.enter_async_context(shared.login(f"{who}@localhost", ["xep_0045"]))
            for who in ("alice", "bob")
        ]
        async with asyncio.timeout(LIMIT_S):
            await alice.plugin["xep_0045"].join_muc_wait(room, "Alice", maxstanzas=0)
            await bob.plugin["xep_0045"].join_muc_wait(room, "Bob", maxstanzas=0)
            arrival = next_event(bob, "groupchat_message")
            alice.send_message(room, "tea?", mtype="groupchat")
            message = await arrival
        assert (message["from"], message["body"]) == (f"{room}/Alice", "tea?")


async def test_rooms_stamp_ids_where_there_is_an_archive(kind: type[Server]) -> None:
    async with kind(archive=True) as server:
        room = f"kitchen@{server.muc}"
        async with server.login("alice@localhost", ["xep_0045", "xep_0359"]) as alice:
            async with asyncio.timeout(LIMIT_S):
                await alice.plugin["xep_0045"].join_muc_wait(room, "Alice", maxstanzas=0)
                arrival = next_event(alice, "groupchat_message")
                alice.send_message(room, "tea?", mtype="groupchat")
                message = await arrival
            assert message["stanza_id"]["by"] == room
            assert message["stanza_id"]["id"]


async def test_killed_and_started_again(server: Server) -> None:
    ports = server.c2s_port, server.component_port
    late = "dave@localhost"
    server.add_account(late, "pass'\"&<>\\ wörd")
    async with server.login("alice@localhost") as alice:
        pid = server.pid
        assert pid is not None
        lost = next_event(alice, "disconnected")
        await server.kill()
        assert not server.running
        assert server.pid is None
        assert not is_alive(pid)
        assert refuses(server.c2s_port)
        assert refuses(server.component_port)
        async with asyncio.timeout(LIMIT_S):
            await lost
    await server.start()
    assert (server.c2s_port, server.component_port) == ports
    assert server.pid != pid
    async with server.login("alice@localhost") as alice, server.login(late) as dave:
        assert await say(alice, dave, "still here") == "still here"


async def test_stopped_in_good_order(server: Server) -> None:
    async with server.login("alice@localhost") as alice:
        errors: list[str] = []
        alice.add_event_handler("stream_error", lambda error: errors.append(error["condition"]))
        lost = next_event(alice, "disconnected")
        # Nothing is on its way any more: a server that closes with unread data resets (RFC 1122,
        # 4.2.2.13), and what it said before that is lost.
        assert await say(alice, alice, "settled") == "settled"
        await server.stop()
        async with asyncio.timeout(LIMIT_S):
            await lost
        # Neither server always comes to say it: Prosody's own log then has "connection closed" where
        # it otherwise has the reason.
        assert errors in ([], ["system-shutdown"])
        assert refuses(server.c2s_port)
    await server.stop()
    await server.start()
    async with server.login("alice@localhost"):
        pass


async def test_two_at_a_time_do_not_meet() -> None:
    async with AsyncExitStack() as stack:
        servers: list[Server] = [Prosody(), Prosody(), Ejabberd(), Ejabberd()]
        await asyncio.gather(*(stack.enter_async_context(each) for each in servers))
        assert len({port for s in servers for port in (s.c2s_port, s.component_port)}) == 8
        online = [
            await stack.enter_async_context(each.login("alice@localhost")) for each in servers
        ]
        # The same JID is somebody else on every server: what one is told, the others don't hear.
        for number, alice in enumerate(online):
            assert await say(alice, alice, f"note {number}") == f"note {number}"
        await servers[0].kill()
        await servers[2].kill()
        for alice in (online[1], online[3]):
            assert await say(alice, alice, "still up") == "still up"


def test_listens_on_loopback_only(shared: Server) -> None:
    ours = {f"{port:04X}" for port in (shared.c2s_port, shared.component_port)}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, _, port = line.split()[1].partition(":")
            if port in ours and line.split()[3] == "0A":
                found.add(address)
    assert found == {"0100007F"}


async def test_login_answers_at_once_what_is_wrong(shared: Server) -> None:
    with pytest.raises(ServerError, match=r"No account nobody@localhost here.*add_account"):
        shared.slixmpp_client("nobody@localhost")
    with pytest.raises(ServerError, match="running already"):
        await shared.start()
    with pytest.raises(ServerError, match="already"):
        shared.add_account("alice@localhost")
    with pytest.raises(ServerError, match="user@localhost"):
        shared.add_account("alice@example.org")


async def test_a_server_that_ends_by_itself_shows_its_log() -> None:
    server = Prosody(extra_config="this is no Lua")
    with pytest.raises(ServerError, match=r"(?s)Prosody ended by itself.*prosody\.cfg\.lua"):
        await server.start()
    assert not server.running
    server.close()


async def test_a_start_that_takes_too_long_leaves_nothing(kind: type[Server]) -> None:
    server = kind()
    with pytest.raises(ServerError, match=r"did not answer in time\. The end of its log"):
        await server.start(timeout=0)
    assert not server.running
    folder = server.folder
    server.close()
    assert not folder.exists()


async def test_a_port_that_somebody_else_took_is_replaced(
    kind: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    from zxmpp.testing.servers import base

    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = iter([other.getsockname()[1]])
        real = base.free_port
        monkeypatch.setattr(base, "free_port", lambda: next(ports, None) or real())
        async with kind() as server:
            assert server.c2s_port != other.getsockname()[1]
            async with server.login("alice@localhost"):
                pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_the_process_that_started_it(
    kind: type[Server], number: signal.Signals
) -> None:
    script = (
        f"import time; from zxmpp.testing.servers import {kind.__name__} as Kind\n"
        "server = Kind(); server.start_blocking(); print(server.pid, server.folder, flush=True)\n"
        # Python sees a signal that comes just before a system call only after it.
        "while True: time.sleep(0.05)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        assert child.stdout is not None
        pid, _, folder = child.stdout.readline().strip().partition(" ")
        server = os.pidfd_open(int(pid))
        child.send_signal(number)
        child.wait(LIMIT_S)
    # The kernel tells the server at once, but it may take a moment to be gone.
    assert select.select([server], [], [], LIMIT_S)[0], "the server outlived its parent"
    os.close(server)
    if number is signal.SIGINT:
        assert not Path(folder).exists()
    shutil.rmtree(folder, ignore_errors=True)
