"""The bridge and the log on a real server: two rooms, two streams."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from slixmpp import JID

from zxmpp import App
from zxmpp.config import parse
from zxmpp.testing.servers import Server

LIMIT = 30


async def heard(queue: asyncio.Queue[Any], nick: str) -> tuple[str, str, str]:
    """The next message of `nick`: its text, its id, the id that it corrects."""
    async with asyncio.timeout(LIMIT):
        while True:
            message = await queue.get()
            if message["type"] == "groupchat" and message["from"].resource == nick:
                replace = message.xml.find("{urn:xmpp:message-correct:0}replace")
                first = "" if replace is None else replace.get("id", "")
                return str(message["body"]), str(message["id"]), first


async def test_two_rooms_over_two_streams(
    prosody_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = prosody_server
    monkeypatch.setenv("ZXMPP_CLIENT_SECRET", server.accounts["bot@localhost"])
    monkeypatch.setenv("ZXMPP_COMPONENT_SECRET", server.components["echo.localhost"])
    one, two = f"bridge-one@{server.muc}", f"bridge-two@{server.muc}"
    settings = parse(f"""
        [streams.client]
        kind = "client"
        jid = "bot@localhost/zxmpp"
        host = "{server.address}"
        port = {server.c2s_port}
        tls = "none"
        nick = "bot"
        [streams.component]
        kind = "component"
        jid = "echo.localhost"
        host = "{server.address}"
        port = {server.component_port}
        nick = "echo"
        [plugins.bridge.bridges.both]
        rooms = [{{room = "{one}", stream = "client"}}, {{room = "{two}", stream = "component"}}]
        [plugins.log]
        folder = "{tmp_path}/log"
    """)
    async with (
        server.login("alice@localhost/desk", ["xep_0045", "xep_0308"]) as alice,
        server.login("bob@localhost/desk", ["xep_0045"]) as bob,
    ):
        by_alice: asyncio.Queue[Any] = asyncio.Queue()
        by_bob: asyncio.Queue[Any] = asyncio.Queue()
        alice.add_event_handler("message", by_alice.put_nowait)
        bob.add_event_handler("message", by_bob.put_nowait)
        await alice.plugin["xep_0045"].join_muc_wait(JID(one), "alice", maxstanzas=0)
        await bob.plugin["xep_0045"].join_muc_wait(JID(two), "bob", maxstanzas=0)
        async with App(settings) as app:
            await app.online(LIMIT)
            said = alice.make_message(JID(one), "helo", mtype="groupchat")
            said.send()
            text, ident, _ = await heard(by_bob, "echo")
            assert text == "<alice> helo"
            alice.plugin["xep_0308"].build_correction(
                said["id"], JID(one), mbody="hello", mtype="groupchat"
            ).send()
            text, _, first = await heard(by_bob, "echo")
            assert (text, first) == ("<alice> hello", ident)
            bob.send_message(JID(two), "/me waves", mtype="groupchat")
            assert (await heard(by_alice, "bot"))[0] == "* bob waves"
            # All of it came back to the bot, too, and went nowhere: else this would not be next.
            bob.send_message(JID(two), "bye", mtype="groupchat")
            assert (await heard(by_alice, "bot"))[0] == "<bob> bye"
            alice.send_message(JID(one), "bye", mtype="groupchat")
            assert (await heard(by_bob, "echo"))[0] == "<alice> bye"
            assert app.pipeline.statistics().owners["bridge"] == {"passed-on": 5}
            async with asyncio.timeout(LIMIT):
                while app.pipeline.statistics().owners["log"].get("written", 0) < 10:
                    await asyncio.sleep(0.01)
    written = {
        file.parent.name: [json.loads(line) for line in file.read_text().splitlines()]
        for file in (tmp_path / "log").rglob("*.jsonl")
    }
    lines = {
        room: [(line["nick"], line.get("body")) for line in written[room]] for room in (one, two)
    }
    for room, nick, other in ((one, "alice", "bot"), (two, "bob", "echo")):
        assert {who for who, _ in lines[room]} == {nick, other}
        assert len(lines[room]) == len(set(lines[room])) == 5
    assert ("echo", "<alice> helo") in lines[two]
