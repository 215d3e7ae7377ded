"""The publish plugin: stanzas on PUB and PUSH sockets, while the chat goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lxml import etree

from zxmpp import ConfigError, PluginError
from zxmpp.testing.bot import TestBot
from zxmpp_plugins import publish

from .conftest import COMPONENT, ROOM, Connect, Peer, counts, sent, until

SOCKET = '[sockets.events]\ntype = "{}"\nbind = "tcp://127.0.0.1:*"\nsend_buffer = 2\n'
ROUTE = '[plugins.echo]\n[[plugins.publish.routes]]\nsocket = "events"\n'


def config(route: str = "", kind: str = "PUSH") -> str:
    return COMPONENT + SOCKET.format(kind) + ROUTE + route


async def receive(peer: Peer) -> tuple[str, dict[str, Any]]:
    topic, payload = await peer.recv()
    return topic.decode(), json.loads(payload)


async def test_a_message_as_json(connect: Connect) -> None:
    async with TestBot(config()) as bot:
        peer = connect(bot, "events", "PULL")
        assert await bot.says("!echo h\u00e9", sender="alice@localhost/desk") == "h\u00e9"
        topic, stanza = await receive(peer)
        assert topic == f"{stanza['stream']}/message"
        assert stanza["from"] == "alice@localhost/desk"
        assert stanza["sender"] == "alice@localhost"
        assert (stanza["type"], stanza["body"], stanza["room"]) == ("chat", "!echo h\u00e9", "")
        assert set(stanza) == set(publish.schema()["$defs"]["Stanza"]["properties"])
        assert counts(bot, "publish") == {"published": 1}


async def test_a_sub_picks_by_topic(connect: Connect) -> None:
    async with TestBot(config('topic = "chat/$sender"', "PUB")) as bot:
        peer = connect(bot, "events", "SUB", SUBSCRIBE=b"chat/alice@")
        # What is published before the subscription is there is not seen.
        while not await peer.socket.poll(5):
            await bot.says("!echo a", sender="bob@localhost/x")
            await bot.says("!echo a", sender="alice@localhost/x")
        assert (await receive(peer))[0] == "chat/alice@localhost"


async def test_a_message_as_xml(connect: Connect) -> None:
    async with TestBot(config('format = "xml"')) as bot:
        peer = connect(bot, "events", "PULL")
        await bot.says("!echo <b/>&amp;")
        _, payload = await peer.recv()
        root = etree.fromstring(payload)
        name = etree.QName(root)
        assert name.localname == "message"
        assert root.findtext(f"{{{name.namespace}}}body") == "!echo <b/>&amp;"


async def test_only_some_rooms(connect: Connect) -> None:
    route = f'rooms = ["{ROOM.upper()}"]\ntopic = "chat/$room"'
    async with TestBot(config(route)) as bot:
        peer = connect(bot, "events", "PULL")
        await bot.says("!echo private")
        await bot.says("!echo public", room=ROOM)
        topic, stanza = await receive(peer)
        assert topic == f"chat/{ROOM}"
        assert (stanza["body"], stanza["room"]) == ("!echo public", ROOM)


async def test_a_presence(connect: Connect) -> None:
    async with TestBot(config('stanzas = ["presence"]\ntopic = "$stanza.$type"')) as bot:
        peer = connect(bot, "events", "PULL")
        await bot.hears('<presence from="a@localhost/x" to="bot@bot.localhost"/>')
        topic, stanza = await receive(peer)
        assert topic == "presence.available"
        assert (stanza["from"], stanza["body"]) == ("a@localhost/x", "")


async def test_an_iq_is_seen_and_not_answered(connect: Connect) -> None:
    async with TestBot(config('stanzas = ["iq"]')) as bot:
        peer = connect(bot, "events", "PULL")
        # What the room answered when the bot came in.
        assert (await receive(peer))[1]["from"] == ROOM
        for number in range(2):
            await bot.hears(
                f'<iq type="get" id="q{number}" from="a@localhost/x" '
                f'to="bot@bot.localhost"><query xmlns="jabber:iq:x"/></iq>'
            )
        topic, stanza = await receive(peer)
        assert topic.endswith("/iq")
        assert (stanza["type"], stanza["id"]) == ("get", "q0")
        assert stanza["payload"] == "{jabber:iq:x}query"
        assert [s.get("type") for s in await sent(bot)] == ["error", "error"]
        await bot.app.plugins.unload("publish")
        await bot.hears('<iq type="get" id="q9" from="a@localhost/x" to="bot@bot.localhost"/>')
        assert (await receive(peer))[1]["id"] == "q1"
        assert not await peer.socket.poll(20)


async def test_a_full_socket_does_not_stop_the_chat(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    async with TestBot(config()) as bot:
        for number in range(5):
            assert await bot.says(f"!echo {number}") == str(number)
        assert counts(bot, "publish") == {"published": 2, "not-published": 3}
        assert caplog.text.count("what can't be sent from now on is counted") == 1
        peer = connect(bot, "events", "PULL")
        assert (await receive(peer))[1]["body"] == "!echo 0"
        assert (await receive(peer))[1]["body"] == "!echo 1"
        await until(lambda: not bot.app.socket("events").statistics().buffered)
        await bot.says("!echo again")
        assert (await receive(peer))[1]["body"] == "!echo again"


@pytest.mark.parametrize(
    ("route", "says"),
    [
        ('topic = "chat/$nick"', r"routes\[0\]: topic: there is no \$nick; use any of \$stream"),
        ("stanzas = []", "stanzas: name at least one"),
        ('stanzas = ["msg"]', "Invalid enum value 'msg'"),
        ('stanzas = ["iq"]\nrooms = ["a@b"]', "rooms: an iq belongs to no room"),
        ('rooms = ["rooms.localhost"]', "is not a room such as"),
        ('rooms = ["a@b/nick"]', "is not a room such as"),
        ('accept = ["own_echo"]', "Invalid enum value 'own_echo'"),
    ],
)
async def test_a_wrong_config_says_where_and_what(route: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        async with TestBot(config(route)):
            pass


async def test_a_socket_that_can_not_publish() -> None:
    with pytest.raises(PluginError, match="'events' is a PULL; publish on a PUB or PUSH"):
        async with TestBot(config(kind="PULL")):
            pass
    with pytest.raises(PluginError, match=r"\[plugins.publish\] routes\[0\] socket: no socket"):
        async with TestBot(ROUTE):
            pass


@pytest.mark.usefixtures("reloads")
async def test_a_reload_publishes_nothing_twice(connect: Connect) -> None:
    settings = config('stanzas = ["iq", "message"]').replace("send_buffer = 2", "")
    async with TestBot(settings) as bot:
        peer = connect(bot, "events", "PULL")
        asked: list[str] = []
        for number in range(4):
            await bot.hears(
                f"<iq type='get' id='q{number}' from='a@localhost/x' to='bot@bot.localhost'/>"
            )
            await bot.says(f"!echo {number}")
            # What the bot itself asked rooms is answered in between.
            while (stanza := (await receive(peer))[1])["stanza"] != "message":
                asked += [stanza["id"]] * (stanza["type"] == "get")
            assert stanza["body"] == f"!echo {number}"
            await bot.app.plugins.reload("publish")
        assert asked == ["q0", "q1", "q2", "q3"]
