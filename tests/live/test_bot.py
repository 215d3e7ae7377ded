"""The whole bot on real servers: a message to a worker process and back, an alert into a room,
and a server that is killed again and again under traffic."""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import zmq
from slixmpp import JID
from slixmpp.xmlstream.matcher import StanzaPath

from zxmpp import (
    App,
    FramesEvent,
    Lifecycle,
    LifecycleEvent,
    Plugin,
    StanzaEvent,
    command,
    on,
)
from zxmpp.config import parse
from zxmpp.testing.servers import Ejabberd, Prosody, Server

LIMIT = 30
HELLO = Path(__file__).parents[2] / "examples" / "hello"


def stream(server: Server, kind: str, **more: Any) -> str:
    """``[streams.bot]`` for a private server, as a component or as a client."""
    if kind == "component":
        port, jid = server.component_port, "echo.localhost"
    else:
        port, jid = server.c2s_port, "bot@localhost/zxmpp"
    lines = {"kind": kind, "jid": jid, "host": server.address, "port": port, "nick": "bot",
             "tls": "none", "rooms": [f"ops@{server.muc}"], "backoff_max": 0.5, **more}  # fmt: skip
    return "[streams.bot]\n" + "\n".join(f"{key} = {value!r}" for key, value in lines.items())


@pytest.fixture(params=["component", "client"])
def role(request: pytest.FixtureRequest) -> str:
    return request.param


def address(role: str) -> str:
    return "bot@echo.localhost" if role == "component" else "bot@localhost/zxmpp"


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_secret(server: Server, role: str) -> None:
        known = server.components if role == "component" else server.accounts
        jid = "echo.localhost" if role == "component" else "bot@localhost"
        monkeypatch.setenv("ZXMPP_BOT_SECRET", known[jid])

    return set_secret


async def heard(alice: Any, queue: asyncio.Queue[Any], kind: str) -> str:
    async with asyncio.timeout(LIMIT):
        while True:
            message = await queue.get()
            if message["type"] == kind and message["from"].resource != "alice":
                return str(message["body"])


async def test_chat_to_a_worker_and_an_alert_into_a_room(
    shared: Server, role: str, secret: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret(shared, role)
    monkeypatch.syspath_prepend(str(HELLO))
    room = f"ops-{role}@{shared.muc}"
    settings = parse(
        stream(shared, role, rooms=[room])
        + f"""
        [broker]
        bind = "tcp://127.0.0.1:*"
        [sockets.alerts]
        type = "PULL"
        bind = "tcp://127.0.0.1:*"
        [plugins.shout]
        use = "shout:Shout"
        [[plugins.relay.routes]]
        socket = "alerts"
        to = ["{room}"]
        template = "$host: $text"
        """
    )
    async with shared.login("alice@localhost/desk", ["xep_0045"]) as alice:
        got: asyncio.Queue[Any] = asyncio.Queue()
        alice.add_event_handler("message", got.put_nowait)
        await alice.plugin["xep_0045"].join_muc_wait(JID(room), "alice", maxstanzas=0)
        async with App(settings) as app:
            await app.online(LIMIT)
            broker, alerts = app.services.bound[0], app.socket("alerts").bound[0]
            worker = await asyncio.create_subprocess_exec(
                sys.executable, str(HELLO / "worker.py"), broker, stdout=asyncio.subprocess.DEVNULL
            )
            try:
                alice.send_message(JID(address(role)), "!shout hello", mtype="chat")
                assert await heard(alice, got, "chat") == "HELLO!"
                script = await asyncio.create_subprocess_exec(
                    sys.executable, str(HELLO / "alert.py"), alerts
                )
                assert await script.wait() == 0
                assert await heard(alice, got, "groupchat") == "db1: disk is 91 % full"
                alice.send_message(JID(room), "!shout from the room", mtype="groupchat")
                assert await heard(alice, got, "groupchat") == "FROM THE ROOM!"
            finally:
                worker.kill()
                await worker.wait()


class Ledger(Plugin):
    """Writes down all that goes through the bot: what came from the socket, what was sent to the
    stream ``sink`` and arrived there, bounced, or was given up."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.numbers: list[int] = []
        self.arrived: Counter[int] = Counter()
        self.named: Counter[int] = Counter()
        self.back = asyncio.Event()
        self.left = asyncio.Event()

    @on.frames("numbers")
    def number(self, event: FramesEvent) -> None:
        number = int(event.frames[0])
        self.numbers.append(number)
        xmpp = self.stream("bot").xmpp
        message = xmpp.make_message(mto=SINK, mbody=str(number), mtype="chat")
        message["from"] = JID("bot@echo.localhost/x") if xmpp.is_component else xmpp.boundjid
        message["id"] = f"n{number}"
        message.send()

    @on.message(where=lambda event: event.source.name == "sink")
    def arrive(self, event: StanzaEvent) -> None:
        self.arrived[int(event.body)] += 1

    @on.stanza(StanzaPath("message@type=error"))
    def bounce(self, event: StanzaEvent) -> None:
        self.named[int(event.stanza["id"].removeprefix("n"))] += 1

    @on.lifecycle(Lifecycle.GIVEN_UP)
    def give_up(self, event: LifecycleEvent) -> None:
        if match := re.search(r"id=n(\d+)\b", event.detail):
            self.named[int(match[1])] += 1

    @on.lifecycle(Lifecycle.JOINED)
    def joined(self, event: LifecycleEvent) -> None:
        self.back.set()

    @on.lifecycle(Lifecycle.LEFT)
    def lost(self, event: LifecycleEvent) -> None:
        self.left.set()

    @command
    def ping(self) -> str:
        return "pong"


SINK = JID("sink@sink.localhost")


async def push_numbers(address: str, stop: asyncio.Event) -> int:
    """Push 0, 1, 2 ... until told to stop; how many."""
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.connect(address)
    number = 0
    while not stop.is_set():
        while not socket.poll(0, zmq.POLLOUT):
            await asyncio.sleep(0.001)
        socket.send(b"%d" % number)
        number += 1
        await asyncio.sleep(0.002)
    socket.close(5000)
    context.term()
    return number


async def survive(server: Server, role: str, kills: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill the server under traffic from both sides; see that the ledger adds up."""
    secrets = server.accounts if role == "client" else server.components
    monkeypatch.setenv("ZXMPP_BOT_SECRET", secrets["bot@localhost" if role == "client" else ECHO])
    monkeypatch.setenv("ZXMPP_SINK_SECRET", server.components["sink.localhost"])
    sink = stream(server, "component", rooms=[]).replace("streams.bot", "streams.sink")
    app = App(
        parse(
            stream(server, role)
            + "\n"
            + sink.replace("echo.localhost", "sink.localhost")
            + """
            [sockets.numbers]
            type = "PULL"
            bind = "tcp://127.0.0.1:*"
            [guards]
            rate = 0
            """
        )
    )
    async with app:
        plugin = await app.plugins.load("ledger", Ledger)
        assert isinstance(plugin, Ledger)
        await app.online(LIMIT)
        stop = asyncio.Event()
        pusher = asyncio.create_task(push_numbers(app.socket("numbers").bound[0], stop))
        for round in range(kills):
            at_least = len(plugin.numbers) + 30
            async with asyncio.timeout(LIMIT):
                while len(plugin.numbers) < at_least:
                    await asyncio.sleep(0.005)
            plugin.back.clear()
            plugin.left.clear()
            await server.kill()
            async with asyncio.timeout(LIMIT):
                await plugin.left.wait()
            down = len(plugin.numbers)
            await server.start()
            async with asyncio.timeout(LIMIT):
                await plugin.back.wait()
            await app.online(LIMIT)
            async with server.login("alice@localhost/desk") as alice:
                got: asyncio.Queue[Any] = asyncio.Queue()
                alice.add_event_handler("message", got.put_nowait)
                alice.send_message(JID(address(role)), "!ping", mtype="chat")
                assert await heard(alice, got, "chat") == "pong", f"round {round}"
            assert len(plugin.numbers) > down, "the ZeroMQ side stood still"
        stop.set()
        pushed = await pusher
        async with asyncio.timeout(LIMIT):
            while len(plugin.numbers) < pushed:
                await asyncio.sleep(0.01)
            while missing := set(range(pushed)) - set(plugin.arrived) - set(plugin.named):
                await asyncio.sleep(0.05)
        assert plugin.numbers == list(range(pushed)), "the ZeroMQ side lost or reordered some"
        assert not missing
        twice = {number for number, times in plugin.arrived.items() if times > 1}
        assert not twice, f"arrived twice: {sorted(twice)}"
        print(f"{type(server).__name__} {role}: {kills} kills, {pushed} stanzas, "
              f"{len(plugin.arrived)} arrived, {len(plugin.named)} named as given up or bounced, "
              f"{len(set(plugin.named) & set(plugin.arrived))} of them arrived all the same")  # fmt: skip


ECHO = "echo.localhost"
COMPONENTS = {ECHO: "one secret", "sink.localhost": "another secret"}


async def test_prosody_killed_twenty_times(monkeypatch: pytest.MonkeyPatch) -> None:
    with Prosody(components=COMPONENTS) as server:
        await survive(server, "component", 20, monkeypatch)


@pytest.mark.parametrize("role", ["component", "client"])
async def test_ejabberd_killed_once(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ejabberd(components=COMPONENTS) as server:
        await survive(server, role, 1, monkeypatch)


async def test_prosody_killed_under_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    with Prosody(components=COMPONENTS) as server:
        await survive(server, "client", 3, monkeypatch)
