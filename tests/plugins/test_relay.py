"""The relay plugin: from sockets into chats and rooms, and nothing that should not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from zxmpp import ConfigError, PluginError, StreamError
from zxmpp.testing.bot import TestBot

from .conftest import COMPONENT, ROOM, Connect, counts, gone, said, until

SOCKET = '[sockets.alerts]\ntype = "{}"\nbind = "tcp://127.0.0.1:*"\nmax_frames = 20000\n'
ROUTE = '[[plugins.relay.routes]]\nsocket = "alerts"\n'


def config(kind: str, *routes: str) -> str:
    return COMPONENT + SOCKET.format(kind) + "".join(ROUTE + route + "\n" for route in routes)


def js(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


TEMPLATED = f'to = ["{ROOM}"]\ntemplate = "$host: $text"'
NAMED = 'to_field = "to"\nallow_to = ["alice@localhost", "@team.localhost"]'


@pytest.mark.parametrize(("kind", "peer"), [("PULL", "PUSH"), ("SUB", "PUB"), ("PAIR", "PAIR")])
async def test_messages_of_sockets_without_an_answer(
    connect: Connect, kind: str, peer: str
) -> None:
    async with TestBot(config(kind, TEMPLATED)) as bot:
        script = connect(bot, "alerts", peer)
        # A subscription takes its time to arrive at the PUB: what was before it is not seen.
        while not await said(bot):
            await script.send(js(host="db1", text="disk is 91 % full"))
            await script.socket.poll(5)
        assert (await said(bot))[0] == (ROOM, "db1: disk is 91 % full")


@pytest.mark.parametrize("peer", ["REQ", "DEALER"])
async def test_who_waits_is_told(connect: Connect, peer: str) -> None:
    async with TestBot(config("ROUTER", TEMPLATED)) as bot:
        script = connect(bot, "alerts", peer)
        assert await script.ask(js(host="db1", text="full")) == {"ok": True}
        assert await said(bot) == [(ROOM, "db1: full")]
        assert counts(bot, "relay") == {"relayed": 1}


async def test_a_rep_answers_each_request_once(connect: Connect) -> None:
    async with TestBot(config("REP", TEMPLATED)) as bot:
        script = connect(bot, "alerts", "REQ")
        for number in range(3):
            assert await script.ask(js(host="db", text=number)) == {"ok": True}
            assert (await script.ask(b"{"))["error"]["condition"] == "bad-request"
        assert [text for _, text in await said(bot)] == ["db: 0", "db: 1", "db: 2"]


@pytest.mark.parametrize(
    ("route", "frames", "text"),
    [
        ("", [js(body="b", text="t")], "b"),
        ("", [js(text="t")], "t"),
        ("", [b"topic", js(text="t")], "t"),
        ("", [js(text={"a": [1, None, True]})], '{"a":[1,null,true]}'),
        ('template = "$0/$n/$$"', [b"disk", js(n=1.5)], "disk/1.5/$"),
        ('format = "text"', [b"topic", "h\u00e9 $x {y}".encode()], "h\u00e9 $x {y}"),
        ('format = "text"\ntemplate = "$1 of $0"', [b"disk", b"91 %"], "91 % of disk"),
        ('template = "$text"', [js(text="$host {0.__class__} %s <b/>")],
         "$host {0.__class__} %s <b/>"),
        ("", [b'{"text": "a\\u0000b\\u001b[31mc\\u000bd\\uffffe\\n\\t"}'], "ab[31mcde\n\t"),
    ],
)  # fmt: skip
async def test_what_is_said(connect: Connect, route: str, frames: list[bytes], text: str) -> None:
    async with TestBot(config("ROUTER", f'to = ["{ROOM}"]\n{route}')) as bot:
        assert await connect(bot, "alerts", "REQ").ask(*frames) == {"ok": True}
        assert await said(bot) == [(ROOM, text)]


async def test_a_topic_picks_its_route(connect: Connect) -> None:
    routes = [f'to = ["{ROOM}"]\ntopic = "disk"', 'to = ["alice@localhost"]\ntopic = "net"']
    async with TestBot(config("ROUTER", *routes)) as bot:
        script = connect(bot, "alerts", "REQ")
        await script.ask(b"disk/db1", js(text="full"))
        await script.ask(b"net", js(text="down"))
        assert await said(bot) == [(ROOM, "full"), ("alice@localhost", "down")]


BAD_JSON = [
    b"", b"{", b"full", b"[]", b'"text"', b"null", b"{}x", b'{"text": NaN}', b"[" * 9000,
    b'{"text": "' + b"\\ud800" + b'"}', b'{"text":' * 2000, b'{"text": 1e999}',
    b'{"text": ' + b"9" * 9000 + b"}",
]  # fmt: skip


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        *[([text], "bad-json") for text in BAD_JSON],
        ([b'\xff{"text": "x"}'], "bad-utf8"),
        ([b"\xfe\xff", js(text="x")], "bad-utf8"),
        ([js(host="db1")], "missing-field"),
        ([js(host="db1", Text="x")], "missing-field"),
        ([js(host="db1", text="x" * 20_000)], "too-big"),
        ([b"x"] * 10_000 + [b"y" * 7_000], "too-big"),
        ([b"x"] * 10_000, "bad-json"),
        ([b"", b"", b""], "bad-json"),
    ],
)
async def test_a_bad_message_gets_an_error_and_a_count(
    connect: Connect, frames: list[bytes], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with TestBot(config("ROUTER", TEMPLATED)) as bot:
        script = connect(bot, "alerts", "REQ")
        for _ in range(2):
            error = (await script.ask(*frames))["error"]
            assert error["condition"] == "bad-request"
            assert error["text"]
            assert not error["reference"]
        assert await said(bot) == []
        assert counts(bot, "relay") == {reason: 2, "refused": 2}
        assert caplog.text.count(f"is dropped as {reason}") == 1
        assert await script.ask(js(host="db1", text="full")) == {"ok": True}
        assert await said(bot) == [(ROOM, "db1: full")]


async def test_a_drop_without_a_way_back_is_counted_by_name(connect: Connect) -> None:
    async with TestBot(config("PULL", TEMPLATED)) as bot:
        script = connect(bot, "alerts", "PUSH")
        for bad in (b"\xff", b"{", js(host="db1"), b"x" * 20_000, js(host="", text="")):
            await script.send(bad)
        await script.send(js(host="db1", text="full"))
        await until(lambda: gone(bot)[1:])
        assert await said(bot) == [(ROOM, ": "), (ROOM, "db1: full")]
        assert counts(bot, "relay") == {
            "bad-utf8": 1, "bad-json": 1, "missing-field": 1, "too-big": 1, "relayed": 2,
        }  # fmt: skip
        assert "failed" not in bot.app.pipeline.counts


@pytest.mark.parametrize("text", ["", "  \n", "\x00\x01\x02"])
async def test_an_empty_text_is_not_sent(connect: Connect, text: str) -> None:
    async with TestBot(config("ROUTER", f'to = ["{ROOM}"]')) as bot:
        script = connect(bot, "alerts", "REQ")
        assert "no text" in (await script.ask(js(text=text)))["error"]["text"]
        assert counts(bot, "relay") == {"empty": 1, "refused": 1}
        assert await said(bot) == []


async def test_10000_frames_over_the_sockets_bound(connect: Connect) -> None:
    bounded = config("ROUTER", TEMPLATED).replace("max_frames = 20000\n", "")
    async with TestBot(bounded) as bot:
        script = connect(bot, "alerts", "DEALER")
        await script.send(*[b"x"] * 10_000)
        assert await script.ask(js(host="db1", text="full")) == {"ok": True}
        assert sum(bot.app.socket("alerts").statistics().dropped.values()) == 1


@pytest.mark.parametrize(
    "to", ["alice@localhost", "ALICE@LocalHost/desk", "zoe@team.localhost", "alice@localhost/a@b"]
)
async def test_a_message_may_name_who_is_allowed(connect: Connect, to: str) -> None:
    async with TestBot(config("ROUTER", NAMED)) as bot:
        assert await connect(bot, "alerts", "REQ").ask(js(to=to, text="hi")) == {"ok": True}
        assert [jid.lower() for jid, _ in await said(bot)] == [to.lower()]


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("alice@localhost.evil.net", "recipient-not-allowed"),
        ("alice@sub.localhost", "recipient-not-allowed"),
        ("zoe@x.team.localhost", "recipient-not-allowed"),
        ("zoe@xteam.localhost", "recipient-not-allowed"),
        ("zoe@team.localhost.evil.net", "recipient-not-allowed"),
        ("team.localhost", "recipient-not-allowed"),
        ("localhost/alice@localhost", "recipient-not-allowed"),
        ("\u0430lice@localhost", "recipient-not-allowed"),
        (ROOM, "recipient-not-allowed"),
        ("", "bad-recipient"),
        ("alice@localhost\x00.evil.net", "bad-recipient"),
        ("alice@@localhost", "bad-recipient"),
        (["alice@localhost"], "bad-recipient"),
        (None, "bad-recipient"),
    ],
)
async def test_nobody_else(connect: Connect, to: Any, reason: str) -> None:
    async with TestBot(config("ROUTER", NAMED)) as bot:
        script = connect(bot, "alerts", "REQ")
        condition = "forbidden" if reason == "recipient-not-allowed" else "jid-malformed"
        assert (await script.ask(js(to=to, text="hi")))["error"]["condition"] == condition
        assert await said(bot) == []
        assert counts(bot, "relay") == {reason: 1, "refused": 1}
        assert await script.ask(js(to="alice@localhost", text="hi")) == {"ok": True}


async def test_without_the_field_it_goes_where_the_route_says(connect: Connect) -> None:
    async with TestBot(
        config(
            "ROUTER",
            f'to = ["{ROOM}"]\n{NAMED}',
        )
    ) as bot:
        script = connect(bot, "alerts", "REQ")
        await script.ask(js(text="a"))
        await script.ask(js(text="b", to="alice@localhost"))
        assert await said(bot) == [(ROOM, "a"), ("alice@localhost", "b")]


async def test_several_recipients(connect: Connect) -> None:
    async with TestBot(config("ROUTER", f'to = ["{ROOM}", "alice@localhost"]')) as bot:
        await connect(bot, "alerts", "REQ").ask(js(text="a"))
        assert await said(bot) == [(ROOM, "a"), ("alice@localhost", "a")]


async def test_who_can_not_be_reached_is_named_and_the_others_are_told(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TestBot(config("ROUTER", f'to = ["{ROOM}", "alice@localhost"]')) as bot:
        stream, say = bot.app.stream(), bot.app.stream().say

        def fail_for_rooms(to: str, body: str) -> None:
            if to == ROOM:
                raise StreamError("out of order")
            say(to, body)

        monkeypatch.setattr(stream, "say", fail_for_rooms)
        error = (await connect(bot, "alerts", "REQ").ask(js(text="a")))["error"]
        assert error["text"] == f"{ROOM}: out of order"
        assert error["condition"] == "recipient-unavailable"
        assert await said(bot) == [("alice@localhost", "a")]
        assert counts(bot, "relay") == {"not-sent": 1, "refused": 1}


@pytest.mark.parametrize(
    ("route", "says"),
    [
        ("", r"\[plugins.relay\] routes\[0\]: to is missing"),
        ('to = ["a b@c"]', "to: 'a b@c' is not a JID"),
        ('to = ["a@b"]\ntemplate = "$"', "template: .* no name follows"),
        ('to_field = "to"', "to_field needs allow_to"),
        ('to_field = "to"\nallow_to = ["*"]', "allow_to: .* neither a bare JID"),
        ('to_field = "to"\nallow_to = ["a@b"]\nformat = "text"', "to_field is for JSON"),
        ('to = ["a@b"]\nformat = "yaml"', "Invalid enum value 'yaml'"),
        ('to = ["a@b"]\nmax_bytes = 0', "max_bytes is a number of bytes above 0"),
        ('to = ["a@b"]\ntemplate_text = "x"', "template_text"),
    ],
)
async def test_a_wrong_config_says_where_and_what(route: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        async with TestBot(config("PULL", route)):
            pass


async def test_a_socket_that_is_not_there_or_can_not_receive() -> None:
    route = config("PULL", 'to = ["a@b"]').replace('socket = "alerts"', 'socket = "alert"')
    with pytest.raises(PluginError, match=r"routes\[0\] socket: no socket 'alert' .there is: al"):
        async with TestBot(route):
            pass
    with pytest.raises(PluginError, match="'alerts' is a PUSH; receive with one of ROUTER, REP"):
        async with TestBot(config("PUSH", 'to = ["a@b"]')):
            pass
