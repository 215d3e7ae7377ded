"""zxmpp as a guest on somebody's slixmpp bot: what was there stays as it was."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import slixmpp
import zmq
import zmq.asyncio

from zxmpp import ConfigError, FramesEvent, Plugin, PluginError, attach, command, on
from zxmpp.config import parse
from zxmpp.testing.transport import MemoryTransport, feed, start_session

LIMIT = 10
CONFIG = '[sockets.in]\ntype = "ROUTER"\nbind = "tcp://127.0.0.1:*"\n[roles]\nadmin = ["alice@localhost"]\n'


class Guest(Plugin):
    order: list[str]

    @command
    def hello(self) -> str:
        return "from the guest"

    @command(role="admin")
    def wipe(self) -> str:
        return "wiped"

    @on.frames("in")
    def take(self, event: FramesEvent) -> bytes:
        return b"back " + event.frames[0]

    @on.iq(payload="{urn:guest}q")
    def ask(self) -> None: ...


class Faulty(Plugin):
    async def start(self) -> None:
        raise ZeroDivisionError("no luck")


class Host:
    """A stock bot with handlers of its own."""

    def __init__(self, kind: str) -> None:
        self.heard: list[str] = []
        if kind == "client":
            self.xmpp: Any = slixmpp.ClientXMPP("bot@localhost/test", "x")
        else:
            component: Any = slixmpp.ComponentXMPP
            self.xmpp = component("bot.localhost", "x", "127.0.0.1", 5347)
        self.xmpp.loop = asyncio.get_running_loop()
        self.xmpp.register_plugin("xep_0030")
        self.xmpp.register_plugin("xep_0045")
        self.xmpp.add_event_handler("message", lambda m: self.heard.append(f"first {m['body']}"))
        self.xmpp.add_event_handler("message", lambda m: self.heard.append(f"second {m['body']}"))
        self.transport: MemoryTransport = start_session(self.xmpp)

    def registered(self) -> Any:
        handlers = {event: list(known) for event, known in
                    self.xmpp._XMLStream__event_handlers.items() if known}  # fmt: skip
        return [handler.name for handler in self.xmpp._XMLStream__handlers], handlers

    async def tell(self, text: str) -> str:
        """What the bot writes because of `text`."""
        await self.settle()
        self.transport.take()
        feed(self.xmpp, text)
        await self.settle()
        return self.transport.take()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
            await self.xmpp.waiting_queue.join()

    def close(self) -> None:
        self.xmpp._run_out_filters.cancel()
        self.xmpp.abort()


def message(body: str, sender: str = "alice@localhost/x", type: str = "chat") -> str:
    return (f"<message from='{sender}' to='bot@localhost/test' type='{type}' id='1'>"
            f"<body>{body}</body></message>")  # fmt: skip


@pytest.fixture(params=["client", "component"])
async def host(request: pytest.FixtureRequest) -> AsyncIterator[Host]:
    host = Host(request.param)
    yield host
    host.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_commands_sockets_and_the_hosts_own_handlers(host: Host) -> None:
    app = attach(host.xmpp, parse(CONFIG), plugins=["tests.test_attach:Guest"])
    await app.start()
    assert "from the guest" in await host.tell(message("!hello"))
    assert host.heard == ["first !hello", "second !hello"]
    assert await host.tell(message("plain")) == ""
    assert host.heard[2:] == ["first plain", "second plain"]
    context = zmq.asyncio.Context()
    peer = context.socket(zmq.DEALER)
    try:
        peer.connect(app.socket("in").bound[0])
        await peer.send(b"x")
        async with asyncio.timeout(LIMIT):
            assert await peer.recv() == b"back x"
    finally:
        peer.close(linger=0)
        context.destroy(linger=0)
        await app.stop()


async def test_an_iq_of_nobody_is_refused_as_before(host: Host) -> None:
    iq = "<iq type='get' from='alice@localhost/x' to='bot@localhost/test' id='{}'><q xmlns='{}'/></iq>"
    before = await host.tell(iq.format("n", "urn:nobody"))
    assert "feature-not-implemented" in before
    app = attach(host.xmpp, parse(CONFIG), plugins=["tests.test_attach:Guest"])
    await app.start()
    assert await host.tell(iq.format("n", "urn:nobody")) == before
    taken = await host.tell(iq.format("g", "urn:guest"))
    assert re.search(r"type=.result", taken) or "error" in taken
    assert taken.count("<iq") == 1
    await app.stop()
    assert await host.tell(iq.format("g", "urn:guest")) == before.replace(
        'id="n"', 'id="g"'
    ).replace("urn:nobody", "urn:guest")


async def test_stop_takes_everything_back(host: Host) -> None:
    before, tasks = host.registered(), asyncio.all_tasks()
    app = attach(host.xmpp, parse(CONFIG), plugins=["tests.test_attach:Guest"])
    await app.start()
    assert host.registered() != before
    async with asyncio.timeout(LIMIT):
        await app.stop()
    assert host.registered() == before
    assert not app.sockets
    assert await host.tell(message("!hello")) == ""
    assert host.heard == ["first !hello", "second !hello"]
    assert {task for task in asyncio.all_tasks() if not task.done()} == tasks
    assert host.xmpp.is_connected(), "the connection is the host's"


async def test_a_start_that_fails_leaves_the_host_alone(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    before = host.registered()
    app = attach(host.xmpp, parse(CONFIG), plugins=["tests.test_attach:Faulty"])
    with pytest.raises(PluginError, match="no luck"):
        await app.start()
    assert host.registered() == before
    assert not app.sockets
    assert "could not start" in caplog.text
    await host.tell(message("x"))
    assert host.heard == ["first x", "second x"]


async def test_streams_in_the_settings_are_an_error(host: Host) -> None:
    before = host.registered()
    with pytest.raises(ConfigError, match=r"the settings have \[streams\].*or use App"):
        attach(host.xmpp, parse('[streams.a]\njid = "a@localhost"\n'))
    assert host.registered() == before


ROOM = "ops@rooms.localhost"


def presence(nick: str, real: str, own: str = "", room: str = ROOM) -> str:
    return (
        f"<presence from='{room}/{nick}' to='bot@localhost/test'>"
        f"<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='member' "
        f"role='participant'{real and f' jid={real!r}'}/>{own}</x></presence>"
    )


SELF = "<status code='110'/>"


async def test_rooms_of_the_host_and_rooms_of_nobody() -> None:
    host = Host("client")
    app = attach(host.xmpp, parse(CONFIG), plugins=["tests.test_attach:Guest"])
    await app.start()
    say: Callable[..., Any] = lambda nick, room=ROOM, kind="groupchat": host.tell(
        message("!wipe", f"{room}/{nick}", kind)
    )
    try:
        fake = "den@rooms.evil.net"
        await host.tell(presence("x", "alice@localhost/y", SELF, fake))
        for kind in ("groupchat", "chat"):
            assert "wiped" not in await say("x", fake, kind)
        host.xmpp.plugin["xep_0045"].join_muc(ROOM, "robot")
        await host.tell(presence("boss", "alice@localhost/y"))
        await host.tell(presence("alice@localhost", ""))
        assert "wiped" not in await say("boss"), "we are not in yet: history"
        await host.tell(presence("robot", "bot@localhost/test", SELF))
        await host.tell(message("hello", f"{ROOM}/boss", "groupchat"))
        assert "wiped" in await say("boss")
        for kind in ("groupchat", "chat"):
            assert "wiped" not in await say("alice@localhost", kind=kind)
        assert "wiped" not in await say("robot"), "an own echo"
        host.xmpp.plugin["xep_0045"].leave_muc(ROOM, "robot")
        await host.settle()
        for kind in ("groupchat", "chat"):
            assert "wiped" not in await say("boss", kind=kind)
    finally:
        await app.stop()
        host.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_roles_by_what_the_room_says(host: Host) -> None:
    settings = parse(f"""
        [roles]
        admin = [{{room = "{ROOM}", affiliation = "owner"}}, {{room = "{ROOM}", occupant_id = "x"}}]
    """)
    app = attach(host.xmpp, settings, plugins=["tests.test_attach:Guest"])
    await app.start()

    async def tries(nick: str) -> bool:
        sent = await host.tell(message("!wipe", f"{ROOM}/{nick}", "groupchat"))
        return "wiped" in sent

    own = "bot@localhost/test"
    if host.xmpp.is_component:
        own = "bot@bot.localhost/x"
        host.xmpp.plugin["xep_0045"].join_muc(ROOM, "robot", pfrom=own)
    else:
        host.xmpp.plugin["xep_0045"].join_muc(ROOM, "robot")
    ident = "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='x'/></presence>"
    owner = presence("owner", "").replace("'member'", "'owner'")
    await host.tell(owner)
    await host.tell(presence("known", "").replace("</presence>", ident))
    asked = await host.tell(presence("robot", own, SELF))
    await host.tell(message("hello", f"{ROOM}/known", "groupchat"))
    assert await tries("owner")
    assert not await tries("known"), "the room has not said that it gives ids"
    (question,) = re.findall(r'<iq [^>]*id="([^"]+)"[^>]*><query [^>]*disco#info"', asked)
    await host.tell(
        f"<iq type='result' id='{question}' from='{ROOM}' to='{own}'>"
        "<query xmlns='http://jabber.org/protocol/disco#info'>"
        "<feature var='urn:xmpp:occupant-id:0'/></query></iq>"
    )
    assert await tries("known")
    await host.tell(owner.replace("'owner'", "'none'"))
    assert not await tries("owner")
    await app.stop()


async def test_two_apps_on_one_host_answer_each_their_own() -> None:
    host = Host("client")
    one = attach(host.xmpp, plugins=["echo"], name="one")
    two = attach(host.xmpp, parse('[commands]\nprefix = "?"\n'), plugins=["echo"], name="two")
    try:
        await one.start()
        await two.start()
        assert (await host.tell(message("!echo a"))).count("<body>") == 1
        assert (await host.tell(message("?echo a"))).count("<body>") == 1
        await one.stop()
        assert await host.tell(message("!echo a")) == ""
        assert (await host.tell(message("?echo a"))).count("<body>") == 1
    finally:
        await two.stop()
        host.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
