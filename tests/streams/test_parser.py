"""What comes in is parsed as slixmpp does it, or refused with the right stream error."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from zxmpp.streams.parser import MAX_PROLOG, SLICE

from .conftest import Line

HEADER = (
    "<stream:stream xmlns='jabber:client' id='1' version='1.0' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)


def begin(line: Line) -> list[Any]:
    """Online, with a list that takes the messages."""
    line.online()
    heard: list[Any] = []
    line.xmpp.add_event_handler("message", heard.append)
    return heard


def message(body: str) -> str:
    return f"<message from='alice@localhost/a'><body>{body}</body></message>"


async def refused(line: Line, condition: str, reason: str) -> None:
    """The connection ended with `condition`, which was counted and is on the wire, well-formed."""
    import xml.etree.ElementTree as ET

    assert line.transport is not None
    written = line.transport.take()
    assert written.endswith("</stream:stream>")
    error = ET.fromstring(HEADER + written[written.index("<stream:error>") :])[0]
    assert error[0].tag == f"{{urn:ietf:params:xml:ns:xmpp-streams}}{condition}"
    assert line.xmpp.refused[reason] == 1
    assert line.transport.is_closing()
    line.feed(message("after"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert line.xmpp.transport is None


@pytest.mark.parametrize(
    ("text", "condition", "reason"),
    [
        ("<message><!-- hi --></message>", "restricted-xml", "comment"),
        ("<!-- hi -->", "restricted-xml", "comment"),
        ("<?php evil ?>", "restricted-xml", "processing-instruction"),
        ("<message><body><?pi?></body></message>", "restricted-xml", "processing-instruction"),
        ("<!DOCTYPE a><message/>", "not-well-formed", "not-well-formed"),
        ("<message><body>&lol;</body></message>", "not-well-formed", "not-well-formed"),
        ("<message></presence>", "not-well-formed", "not-well-formed"),
        ("<message>" + "<a>" * 200_000, "policy-violation", "stanza-too-deep"),
    ],
)
async def test_refused_in_a_session(line: Line, text: str, condition: str, reason: str) -> None:
    heard = begin(line)
    line.feed(message("before") + text)
    assert [str(m["body"]) for m in heard] == ["before"]
    await refused(line, condition, reason)
    # Work goes on with the next connection.
    line.online()
    line.feed(message("again"))
    assert [str(m["body"]) for m in heard] == ["before", "again"]


BOMB = "<!DOCTYPE bomb [<!ENTITY a 'lol'>" + "".join(
    f"<!ENTITY {b} '{('&' + a + ';') * 10}'>" for a, b in zip("abcdef", "bcdefg", strict=True)
) + "]>"  # fmt: skip


@pytest.mark.parametrize("chunk", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("prolog", "condition", "reason"),
    [
        (BOMB, "restricted-xml", "dtd"),
        ("<?xml version='1.0'?>\n" + BOMB, "restricted-xml", "dtd"),
        ("\n <!DOCTYPE a SYSTEM 'http://localhost/a.dtd'>", "restricted-xml", "dtd"),
        ("<!-- a -->", "restricted-xml", "comment"),
        ("<?xml version='1.0'?><?evil?>", "restricted-xml", "processing-instruction"),
        ("HTTP/1.1 400 Bad Request\r\n", "not-well-formed", "not-well-formed"),
        ("</stream:stream>", "not-well-formed", "not-well-formed"),
        ("<stream:stream a='" + "x" * MAX_PROLOG, "policy-violation", "stanza-too-big"),
        ("<a\0", "unsupported-encoding", "encoding"),
    ],
)
async def test_refused_before_the_root(
    client: Line, prolog: str, condition: str, reason: str, chunk: int
) -> None:
    client.online()
    client.xmpp.init_parser()
    data = (prolog + HEADER + message("&g;")).encode()
    for start in range(0, len(data), chunk):
        client.xmpp.data_received(data[start : start + chunk])
    await refused(client, condition, reason)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
async def test_other_encodings_are_refused(client: Line, encoding: str) -> None:
    client.online()
    client.xmpp.init_parser()
    client.xmpp.data_received(
        f"<?xml version='1.0' encoding='{encoding}'?>{HEADER}".encode(encoding)
    )
    await refused(client, "unsupported-encoding", "encoding")


async def test_a_declared_encoding_is_not_believed(client: Line) -> None:
    heard = begin(client)
    client.xmpp.init_parser()
    client.feed(f"<?xml version='1.0' encoding='ISO-8859-1'?>{HEADER}" + message("grün"))
    assert str(heard[0]["body"]) == "grün"


@pytest.mark.parametrize(
    "start", ["", "<?xml version='1.0'?>", "\ufeff<?xml version='1.0' ?>\r\n", "\n"]
)
async def test_any_chunking_gives_the_same(line: Line, start: str) -> None:
    heard = begin(line)
    line.xmpp.init_parser()
    bodies = [
        "one",
        "zwei &amp; drei",
        "<![CDATA[<!DOCTYPE a><!-- no comment --><?no pi?>]]>",
        "ü€😀",
    ]
    header = HEADER.replace("jabber:client", line.xmpp.default_ns).replace("'1'", '"a>b\'"')
    data = (start + header + " \n".join(map(message, bodies))).encode()
    shuffled = random.Random(1)
    for size in (1, 0):
        heard.clear()
        line.xmpp.init_parser()
        position = 0
        while position < len(data):
            step = size or shuffled.randint(1, 40)
            line.xmpp.data_received(data[position : position + step])
            position += step
        assert [str(m["body"]) for m in heard] == [
            "one", "zwei & drei", "<!DOCTYPE a><!-- no comment --><?no pi?>", "ü€😀",
        ]  # fmt: skip
    assert not line.xmpp.refused


async def test_a_stanza_of_the_limit_passes_and_one_of_more_does_not(client: Line) -> None:
    limit = client.xmpp.max_stanza_bytes = 196_000
    heard = begin(client)
    whole = message("x" * (limit - len(message(""))))
    assert len(whole) == limit
    for chunk in (limit, SLICE, 999):
        # What came before in the same chunk must not count.
        data = (message("y" * 10_000) * 3 + whole + message("small")).encode()
        for start in range(0, len(data), chunk):
            client.xmpp.data_received(data[start : start + chunk])
    assert [len(str(m["body"])) > 10_000 for m in heard] == [False, False, False, True, False] * 3
    client.feed("<message><body>")
    for _ in range(2):
        client.feed("x" * SLICE)
    assert client.transport is not None
    assert not client.transport.is_closing()
    client.feed("x" * SLICE)
    await refused(client, "policy-violation", "stanza-too-big")


async def test_64_mib_are_not_buffered(client: Line) -> None:
    import tracemalloc

    client.online()
    chunk = "x" * (1024 * 1024)
    tracemalloc.start()
    try:
        client.feed("<message><body>")
        for _ in range(64):
            client.feed(chunk)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()
    await refused(client, "policy-violation", "stanza-too-big")


async def test_an_endless_start_tag_is_not_buffered(client: Line) -> None:
    client.online()
    client.feed("<message a='")
    for _ in range(17):
        client.feed(">" * SLICE)
    await refused(client, "policy-violation", "stanza-too-big")


async def test_depth_of_the_limit_passes(client: Line) -> None:
    heard = begin(client)
    deep = client.xmpp.max_stanza_depth - 1
    client.feed(
        "<message from='a@b'><body>deep</body>" + "<a>" * deep + "</a>" * deep + "</message>"
    )
    assert len(heard) == 1
    client.feed("<message>" + "<a>" * (deep + 1))
    await refused(client, "policy-violation", "stanza-too-deep")


async def test_a_peer_that_does_not_read_the_error_is_cut_off(client: Line) -> None:
    client.online()
    transport = client.transport
    assert transport is not None
    client.xmpp.refusal_linger = 0.01
    cut = asyncio.Event()
    transport.close = lambda: None  # type: ignore[method-assign]
    transport.abort = cut.set  # type: ignore[method-assign]
    client.feed("<!-- -->")
    async with asyncio.timeout(5):
        await cut.wait()


@pytest.mark.parametrize("what", ["message", "presence", "iq type='set'"])
async def test_nothing_is_heard_before_the_session(line: Line, what: str) -> None:
    heard: list[Any] = []
    for event in ("message", "presence", "roster_update"):
        line.xmpp.add_event_handler(event, heard.append)
    line.online()
    line.lose()
    # A new connection, not logged in yet: whoever sits on the line speaks.
    from zxmpp.testing.transport import MemoryTransport

    line.transport = MemoryTransport(line.xmpp)
    line.xmpp.connection_made(line.transport)
    line.feed(HEADER.replace("jabber:client", line.xmpp.default_ns))
    name = what.partition(" ")[0]
    line.feed(f"<{what} from='admin@localhost' id='1'><body>!evil</body>"
              f"<query xmlns='jabber:iq:roster'><item jid='evil@x'/></query></{name}>")  # fmt: skip
    assert heard == []
    assert line.xmpp.refused["before-session"] == 1
    assert "not-implemented" not in await line.sent()


async def test_what_stands_behind_a_restart_is_not_heard(client: Line) -> None:
    heard = begin(client)

    def restart(_: Any) -> None:
        client.xmpp.init_parser()

    client.xmpp.add_event_handler("message", restart, disposable=True)
    client.feed(message("the last of the old") + message("slipped in"))
    client.feed(HEADER + message("the new"))
    assert [str(m["body"]) for m in heard] == ["the last of the old", "the new"]


async def test_a_handler_that_chokes_costs_one_stanza(client: Line) -> None:
    from slixmpp.xmlstream.handler import Callback
    from slixmpp.xmlstream.matcher.base import MatcherBase

    class Choking(MatcherBase):
        def match(self, xml: Any) -> bool:
            if xml["body"] == "bad":
                raise RuntimeError("choked")
            return False

    heard = begin(client)
    client.xmpp.register_handler(Callback("choking", Choking(None), print))
    client.feed(message("good") + message("bad") + message("good too"))
    assert [str(m["body"]) for m in heard] == ["good", "good too"]
    assert client.xmpp.refused["dispatch-failed"] == 1
    assert client.xmpp.transport is not None


async def test_the_end_of_the_stream_ends_the_connection(client: Line) -> None:
    client.online()
    client.feed("</stream:stream>")
    assert client.transport is not None
    assert client.transport.is_closing()
