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

from zxmpp import App, Call, FramesEvent, Lifecycle, LifecycleEvent, Plugin, command, on
from zxmpp.config import parse
from zxmpp.testing.servers import Prosody, Server

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
        [sockets.jobs]
        type = "DEALER"
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
            jobs, alerts = app.socket("jobs").bound[0], app.socket("alerts").bound[0]
            worker = await asyncio.create_subprocess_exec(
                sys.executable, str(HELLO / "worker.py"), jobs, stdout=asyncio.subprocess.DEVNULL
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
    """Writes down all that goes through the bot."""

    numbers: list[int]
    given_up: list[str]
    joined: int
    room: str

    async def start(self) -> None:
        self.numbers, self.given_up, self.joined = [], [], 0
        self.online = asyncio.Event()

    @on.frames("numbers")
    def number(self, event: FramesEvent) -> None:
        number = int(event.frames[0])
        self.numbers.append(number)
        self.stream().xmpp.make_message(
            mto=JID("sink@sink.localhost"), mfrom=self.own(), mbody=f"n{number}", mtype="chat"
        ).send()

    def own(self) -> Any:
        return self.stream().source.own_jid

    @on.lifecycle(Lifecycle.GIVEN_UP)
    def gave_up(self, event: LifecycleEvent) -> None:
        self.given_up.append(event.detail)

    @on.lifecycle(Lifecycle.JOINED)
    def came_in(self, event: LifecycleEvent) -> None:
        self.joined += 1
        self.online.set()

    @command
    def ping(self, call: Call) -> str:
        return "pong"
