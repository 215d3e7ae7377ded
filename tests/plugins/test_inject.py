"""The inject plugin: stanzas from sockets, and everything that must not get through."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from lxml import etree
from slixmpp.jid import JID

from zxmpp import ConfigError, PluginError
from zxmpp.testing.bot import TestBot, body_of
from zxmpp_plugins.inbound import AllowList, Bad
from zxmpp_plugins.inject import Route, address, parse_stanza

from .conftest import COMPONENT, Connect, Peer, counts, gone, said, sent, until

SOCKET = '[sockets.in]\ntype = "{}"\nbind = "tcp://127.0.0.1:*"\nmax_frames = 20000\n'
ROUTE = '[[plugins.inject.routes]]\nsocket = "in"\n'
ALLOW = 'allow_to = ["alice@localhost", "@team.localhost"]\n'
OK = {"ok": True}


def config(route: str = ALLOW, kind: str = "ROUTER") -> str:
    return COMPONENT + SOCKET.format(kind) + ROUTE + route


def message(inside: str = "<body>hi</body>", to: str = "alice@localhost", more: str = "") -> bytes:
    return f'<message xmlns="jabber:client" to="{to}"{more}>{inside}</message>'.encode()


async def error_of(peer: Peer, *frames: bytes) -> dict[str, Any]:
    answer: dict[str, dict[str, Any]] = await peer.ask(*frames)
    return answer["error"]


async def refused(bot: Any, peer: Peer, reason: str, *frames: bytes) -> dict[str, Any]:
    """`frames` get an error, are counted as `reason`, and the next good message works."""
    error = await error_of(peer, *frames)
    assert await sent(bot) == []
    assert counts(bot, "inject") == {reason: 1, "refused": 1}
    assert await peer.ask(message("<body>good</body>")) == OK
    assert await said(bot) == [("alice@localhost", "good")]
    return error


# -- what gets through ----------------------------------------------------------------------------


@pytest.mark.parametrize("namespace", ["jabber:client", "jabber:component:accept"])
@pytest.mark.parametrize("declaration", ["", "<?xml version='1.0'?>\n", "\ufeff", " \n"])
async def test_a_message_is_sent(connect: Connect, namespace: str, declaration: str) -> None:
    async with TestBot(config()) as bot:
        xml = declaration + (
            f'<message xmlns="{namespace}" to="ALICE@localhost/desk" type="chat" id="m1">'
            f'<body>h\u00e9 &amp; &#x263A; <![CDATA[<!DOCTYPE x>]]></body><x xmlns="urn:y" a="&lt;"/>'
            f"</message>"
        )
        assert await connect(bot, "in", "REQ").ask(xml.encode()) == OK
        (stanza,) = await sent(bot)
        # The server would refuse a stanza of another namespace than the stream's (RFC 6120, 4.8.3).
        assert stanza.tag == "{jabber:component:accept}message"
        assert body_of(stanza) == "h\u00e9 & \u263a <!DOCTYPE x>"
        assert (stanza.get("to"), stanza.get("id"), stanza.get("type")) == (
            "alice@localhost/desk", "m1", "chat",
        )  # fmt: skip
        assert stanza.find("{urn:y}x").get("a") == "<"
        assert stanza.get("from") == "robot@bot.localhost/zxmpp"
        assert counts(bot, "inject") == {"injected": 1}


async def test_a_presence_is_sent(connect: Connect) -> None:
    async with TestBot(config()) as bot:
        xml = b'<presence xmlns="jabber:client" to="x@team.localhost"><show>away</show></presence>'
        assert await connect(bot, "in", "REQ").ask(xml) == OK
        assert [s[0].text for s in await sent(bot)] == ["away"]


async def test_a_client_writes_as_itself(connect: Connect) -> None:
    async with TestBot(SOCKET.format("ROUTER") + ROUTE + ALLOW) as bot:
        peer = connect(bot, "in", "REQ")
        assert await peer.ask(message(more=' from="bot@localhost"')) == OK
        assert (await error_of(peer, message(more=' from="eve@localhost"')))["condition"] == (
            "forbidden"
        )
        (stanza,) = await sent(bot)
        assert (stanza.get("from"), body_of(stanza)) == (None, "hi")


async def test_a_topic_comes_first(connect: Connect) -> None:
    async with TestBot(config(ALLOW + 'topic = "xml"', "PULL")) as bot:
        peer = connect(bot, "in", "PUSH")
        await peer.send(b"xml/1", message())
        await until(lambda: gone(bot))
        assert await said(bot) == [("alice@localhost", "hi")]


async def test_drops_without_a_way_back_are_counted(connect: Connect) -> None:
    async with TestBot(config(kind="PULL")) as bot:
        peer = connect(bot, "in", "PUSH")
        for bad in (b"", b"\xff", b"<message", message(to="eve@evil.net")):
            await peer.send(bad)
        await peer.send(message())
        await until(lambda: gone(bot))
        assert await said(bot) == [("alice@localhost", "hi")]
        assert counts(bot, "inject") == {
            "restricted-xml": 1, "bad-utf8": 1, "bad-xml": 1, "recipient-not-allowed": 1,
            "injected": 1,
        }  # fmt: skip


# -- what does not --------------------------------------------------------------------------------

BOMB = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;">]>""" + message("<body>&c;</body>")
FILE = b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>' + message("<body>&f;</body>")
REMOTE = b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">' + message()


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (b"", "restricted-xml"),
        (b"hello", "restricted-xml"),
        (BOMB, "restricted-xml"),
        (FILE, "restricted-xml"),
        (REMOTE, "restricted-xml"),
        (b"  <!DOCTYPE x>" + message(), "restricted-xml"),
        (b"<!-- x -->" + message(), "restricted-xml"),
        (message() + b"<!-- x -->", "restricted-xml"),
        (message("<body><!-- x -->hi</body>"), "restricted-xml"),
        (b"<?pi x?>" + message(), "restricted-xml"),
        (b"<?xml version='1.0'?><?pi x?>" + message(), "restricted-xml"),
        (message() + b"<?pi x?>", "restricted-xml"),
        (message("<?pi x?>"), "restricted-xml"),
        (message("<!DOCTYPE x>"), "bad-xml"),
        (message("<body>&nothing;</body>"), "bad-xml"),
        (message("<body>&#0;</body>"), "bad-xml"),
        (message("<body>\x00</body>"), "bad-xml"),
        (message("<body>"), "bad-xml"),
        (message() + message(), "bad-xml"),
        (message() + b"</stream:stream>", "bad-xml"),
        (message("<a:b/>"), "bad-xml"),
        (message().decode().encode("utf-16"), "bad-utf8"),
        (b'<?xml version="1.0" encoding="latin1"?>' + message("<body>\u00e9</body>")
         .decode().encode("latin1"), "bad-utf8"),
        (b"\xff\x00" * 100, "bad-utf8"),
        (message("<body>" + "x" * 70_000 + "</body>"), "too-big"),
        (message("<a>" * 40 + "</a>" * 40), "too-deep"),
        (message("<a>" * 9000 + "</a>" * 9000).replace(b"</a>", b"</a>"), "bad-xml"),
        (b'<message to="alice@localhost"/>', "bad-namespace"),
        (b'<message xmlns="urn:x" to="alice@localhost"/>', "bad-namespace"),
        (b'<stream:stream xmlns:stream="http://etherx.jabber.org/streams"/>', "bad-namespace"),
        (b'<iq xmlns="jabber:client" to="alice@localhost" type="get"/>', "stanza-not-allowed"),
        (b'<handshake xmlns="jabber:component:accept"/>', "stanza-not-allowed"),
    ],
)  # fmt: skip
async def test_bad_xml(connect: Connect, xml: bytes, reason: str) -> None:
    async with TestBot(config()) as bot:
        error = await refused(bot, connect(bot, "in", "REQ"), reason, xml)
        assert error["condition"] in ("bad-request", "not-allowed")
        assert "passwd" not in json.dumps(error)
        assert not error["reference"]


@pytest.mark.parametrize("frames", [2, 3, 10_000])
async def test_one_frame_and_no_more(connect: Connect, frames: int) -> None:
    async with TestBot(config()) as bot:
        await refused(bot, connect(bot, "in", "REQ"), "bad-frames", *[message()] * frames)


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("alice@localhost.evil.net", "recipient-not-allowed"),
        ("alice@sub.localhost", "recipient-not-allowed"),
        ("bob@localhost", "recipient-not-allowed"),
        ("localhost", "recipient-not-allowed"),
        ("localhost/alice@localhost", "recipient-not-allowed"),
        ("x@team.localhost.evil.net", "recipient-not-allowed"),
        ("x@y.team.localhost", "recipient-not-allowed"),
        ("team.localhost", "recipient-not-allowed"),
        ("\u0430lice@localhost", "recipient-not-allowed"),
        ("", "bad-recipient"),
        ("@localhost", "bad-recipient"),
        ("alice@localhost@evil.net", "bad-recipient"),
        ("alice@localhost&#10;", "bad-recipient"),
    ],
)
async def test_a_recipient_that_is_not_allowed(connect: Connect, to: str, reason: str) -> None:
    async with TestBot(config()) as bot:
        error = await refused(bot, connect(bot, "in", "REQ"), reason, message(to=to))
        assert error["condition"] == (
            "forbidden" if reason == "recipient-not-allowed" else "jid-malformed"
        )


async def test_a_missing_recipient(connect: Connect) -> None:
    async with TestBot(config()) as bot:
        xml = b'<presence xmlns="jabber:client"/>'
        await refused(bot, connect(bot, "in", "REQ"), "bad-recipient", xml)


@pytest.mark.parametrize("more", ["", 'stanzas = ["message"]'])
async def test_nobody_is_allowed_at_first(connect: Connect, more: str) -> None:
    async with TestBot(config(more)) as bot:
        assert (await error_of(connect(bot, "in", "REQ"), message()))["condition"] == "forbidden"
        assert await sent(bot) == []
        assert counts(bot, "inject") == {"recipient-not-allowed": 1, "refused": 1}


# -- who sends ------------------------------------------------------------------------------------

OWN, CLIENT = JID("bot.example.org"), JID("bot@example.org/zxmpp")
FROM = AllowList(
    "allow_from",
    ["shop@bot.example.org", "@bot.example.org.evil.net", "evil.net", "pal@example.org"],
)
ANYBODY = AllowList("allow_to", ["@localhost"])


def addressed(own: JID, from_: str | None) -> str | None:
    more = "" if from_ is None else f' from="{from_}"'
    root = parse_stanza(message(more=more), Route("in"))
    address(root, own, not own.user, ANYBODY, FROM)
    return root.get("from")  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("own", "from_", "sent"),
    [
        (OWN, None, "bot.example.org"),
        (OWN, "BOT.example.org", "bot.example.org"),
        (OWN, "Shop@bot.example.org/till", "shop@bot.example.org/till"),
        (CLIENT, None, None),
        (CLIENT, "bot@example.org", None),
        (CLIENT, "bot@example.org/other", None),
    ],
)
def test_senders(own: JID, from_: str | None, sent: str | None) -> None:
    assert addressed(own, from_) == sent


@pytest.mark.parametrize(
    ("own", "from_", "reason"),
    [
        (OWN, "", "bad-sender"),
        (OWN, "a@b@c", "bad-sender"),
        (OWN, "boss@bot.example.org", "sender-not-allowed"),
        (OWN, "x@bot.example.org.evil.net", "sender-not-allowed"),
        (OWN, "evil.net", "sender-not-allowed"),
        (OWN, "shop@sub.bot.example.org", "sender-not-allowed"),
        (CLIENT, "alice@example.org", "sender-not-allowed"),
        (CLIENT, "bot@example.org.evil.net", "sender-not-allowed"),
        (CLIENT, "shop@bot.example.org", "sender-not-allowed"),
        (CLIENT, "example.org", "sender-not-allowed"),
        (CLIENT, "pal@example.org", "sender-not-allowed"),
    ],
)
def test_senders_that_are_not_allowed(own: JID, from_: str, reason: str) -> None:
    with pytest.raises(Bad) as caught:
        addressed(own, from_)
    assert caught.value.reason == reason


async def test_a_sender_that_is_not_allowed(connect: Connect) -> None:
    async with TestBot(config()) as bot:
        xml = message(more=' from="admin@localhost"')
        await refused(bot, connect(bot, "in", "REQ"), "sender-not-allowed", xml)


# -- iq -------------------------------------------------------------------------------------------

STANZA_ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
IQ = 'stanzas = ["iq", "message"]\n' + ALLOW
ASKED = (
    b'<iq xmlns="jabber:client" to="alice@localhost/x" type="get" id="mine">'
    b'<query xmlns="jabber:iq:version"/></iq>'
)


async def answer(bot: Any, asked: Any, kind: str, inside: str) -> None:
    await bot.hears(
        f'<iq from="{asked.get("to")}" to="{asked.get("from")}" id="{asked.get("id")}" '
        f'type="{kind}">{inside}</iq>'
    )


@pytest.mark.parametrize(
    ("kind", "inside"),
    [
        ("result", '<query xmlns="jabber:iq:version"><name>x</name></query>'),
        ("error", f'<error type="cancel"><item-not-found xmlns="{STANZA_ERRORS}"/></error>'),
    ],
)
async def test_the_result_of_an_iq_comes_back(connect: Connect, kind: str, inside: str) -> None:
    async with TestBot(config(IQ)) as bot:
        peer = connect(bot, "in", "REQ")
        await peer.send(ASKED)
        await until(lambda: gone(bot))
        (asked,) = gone(bot)
        assert asked.get("id") != "mine"
        await answer(bot, asked, kind, inside)
        root = etree.fromstring((await peer.recv())[-1])
        assert (root.get("id"), root.get("type")) == ("mine", kind)
        assert counts(bot, "inject") == {"injected": 1}


async def test_an_iq_without_a_result_ends(connect: Connect) -> None:
    async with TestBot(config(IQ + "timeout = 0.05")) as bot:
        peer = connect(bot, "in", "REQ")
        error = await error_of(peer, ASKED)
        assert error["condition"] == "remote-server-timeout"
        assert counts(bot, "inject") == {"injected": 1, "iq-timeout": 1, "refused": 1}
        assert await peer.ask(message()) == OK


async def test_a_result_that_nobody_takes_is_counted(connect: Connect) -> None:
    async with TestBot(config(IQ, "PULL")) as bot:
        await connect(bot, "in", "PUSH").send(ASKED)
        await until(lambda: gone(bot))
        await answer(bot, gone(bot)[0], "result", "")
        await until(lambda: counts(bot, "inject").get("result-dropped"))


@pytest.mark.parametrize("kind", ["result", "error", "", "gte"])
async def test_an_iq_asks_and_does_not_answer(connect: Connect, kind: str) -> None:
    async with TestBot(config(IQ)) as bot:
        peer = connect(bot, "in", "REQ")
        xml = ASKED.replace(b'"get"', f'"{kind}"'.encode())
        await refused(bot, peer, "stanza-not-allowed", xml)


async def test_unloading_ends_what_waits(connect: Connect) -> None:
    async with TestBot(config(IQ)) as bot:
        peer = connect(bot, "in", "REQ")
        waiting = asyncio.ensure_future(error_of(peer, ASKED))
        await until(lambda: gone(bot))
        await bot.app.plugins.unload("inject")
        assert (await waiting)["condition"] == "service-unavailable"


# -- configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "says"),
    [
        ('allow_to = ["*"]', r"\[plugins.inject\] routes\[0\]: allow_to: .* neither a bare JID"),
        ('allow_from = ["a@b/c"]', "allow_from: 'a@b/c' is neither"),
        ("max_depth = 0", "max_depth is a number from 1 to 200"),
        ("max_bytes = 0", "max_bytes must be above 0"),
        ("timeout = 0", "timeout must be above 0"),
        ('stanzas = ["stream"]', "Invalid enum value 'stream'"),
        ("alow_to = []", "alow_to"),
    ],
)
async def test_a_wrong_config_says_where_and_what(route: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        async with TestBot(config(route)):
            pass


async def test_a_socket_that_can_not_receive() -> None:
    with pytest.raises(PluginError, match="'in' is a PUB; receive with one of"):
        async with TestBot(config(kind="PUB")):
            pass
