"""Two bots that talk to each other through a real server, each with commands that the other has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.hostile.helpers import until
from zxmpp import App, Plugin, command
from zxmpp.config import parse
from zxmpp.testing.servers import Server

LIMIT = 30
#: Messages of one sender that each bot takes. None come back while a test runs.
BURST = 20
ACCOUNTS = ("alice", "bob")


class Chatter(Plugin):
    """Answers with what is a command to the other."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.called = 0
        self.heard: asyncio.Queue[str] = asyncio.Queue()

    @command
    def ping(self) -> str:
        self.called += 1
        return "!ping"

    @command
    def last(self, word: str) -> None:
        """What ends a test: all that was said before it has arrived."""
        self.heard.put_nowait(word)


@asynccontextmanager
async def bots(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[list[App], list[Chatter], str]]:
    """Both, and the room that they are in."""
    room = f"bots@{server.muc}"
    apps, plugins = [], []
    try:
        for name in ACCOUNTS:
            monkeypatch.setenv("ZXMPP_BOT_SECRET", server.accounts[f"{name}@localhost"])
            app = App(parse(f"""
                [app]
                control = "off"
                [streams.bot]
                kind = "client"
                jid = "{name}@localhost/zxmpp"
                host = "{server.address}"
                port = {server.c2s_port}
                tls = "none"
                nick = "{name}"
                rooms = ["{room}"]
                [guards]
                rate = 0.001
                burst = {BURST}
                [plugins.echo]
                [plugins.help]
            """))  # fmt: skip
            apps.append(app)
            await app.start()
            await app.plugins.load("chatter", Chatter)
            await app.online(LIMIT)
            plugin = app.plugins.get("chatter")
            assert isinstance(plugin, Chatter)
            plugins.append(plugin)
        for app in apps:
            stream: Any = app.stream()
            await until(lambda stream=stream: stream.rooms.get(room).live)
        yield apps, plugins, room
    finally:
        for app in apps:
            await app.stop(drain=1)


def stopped(app: App) -> int:
    return app.pipeline.statistics().counts.get("guard:rate", 0)


@pytest.mark.parametrize("place", ["chat", "room"])
async def test_a_loop_ends(shared: Server, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    async with bots(shared, monkeypatch) as ((alice, bob), plugins, room):
        first: Any = alice.stream()
        first.say(room if place == "room" else "bob@localhost/zxmpp", "!ping")
        await until(lambda: stopped(alice) or stopped(bob))
        assert stopped(alice) + stopped(bob) == 1
        assert sum(plugin.called for plugin in plugins) <= 2 * BURST


@pytest.mark.parametrize("place", ["chat", "room"])
@pytest.mark.parametrize("text", ["!help", "!echo !help", "!help echo", "!nothing", "!echo"])
async def test_what_is_no_loop_ends_at_once(
    shared: Server, monkeypatch: pytest.MonkeyPatch, place: str, text: str
) -> None:
    async with bots(shared, monkeypatch) as (apps, plugins, room):
        first: Any = apps[0].stream()
        to = room if place == "room" else "bob@localhost/zxmpp"
        before = sum(app.pipeline.statistics().received for app in apps)
        # There and back, three times: answers of answers have come by then.
        for turn in range(3):
            first.say(to, text if not turn else f"!last {turn}")
            if turn:
                async with asyncio.timeout(LIMIT):
                    assert await plugins[1].heard.get() == str(turn)
        assert [stopped(app) for app in apps] == [0, 0]
        assert sum(plugin.called for plugin in plugins) == 0
        said = sum(app.pipeline.statistics().received for app in apps) - before
        assert said <= 16
