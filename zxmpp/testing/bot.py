"""A whole bot without a server: what it hears is fed in, what it says is seen.

Rules:
- Everything but the connection is real: app, pipeline, plugins, rooms, outbox, ZeroMQ sockets.
- The server at the other end lives in memory. It answers pings, lets the bot into every room, and
  says who is there; all else that the bot sends is in `sent`.
- Each wait has a bound.
"""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Self
from xml.sax.saxutils import escape, quoteattr

import msgspec
from slixmpp import JID

from zxmpp.app import App
from zxmpp.config import PluginSettings, Settings, load, parse
from zxmpp.plugin import Plugin
from zxmpp.recording import Recorder
from zxmpp.streams import Stream, StreamSettings
from zxmpp.testing.transport import MemoryTransport, feed, start_session

__all__ = ["TestBot", "body_of"]

_MUC = "{http://jabber.org/protocol/muc}x"
_DISCO_INFO = "{http://jabber.org/protocol/disco#info}query"


def body_of(stanza: ET.Element) -> str:
    """The text of a message's body; empty if it has none."""
    namespace = stanza.tag.partition("}")[0] + "}"
    return stanza.findtext(f"{namespace}body", "")


class _MemoryServer:
    """The other end of one stream."""

    def __init__(self, stream: Stream) -> None:
        self.xmpp: Any = stream.xmpp
        self.sent: list[ET.Element] = []
        self.arrived = asyncio.Event()
        self.transport: MemoryTransport | None = None
        #: The full JID that a client is bound to; empty for its own.
        self.jid = ""
        self._parser: Any = None
        self._root: Any = None
        self._depth = 0
        #: What the rooms announce (XEP-0030): that they give occupant ids (XEP-0421).
        self.room_features = {"http://jabber.org/protocol/muc", "urn:xmpp:occupant-id:0"}
        #: Who is in a room, and what the room tells of them.
        self._present: dict[str, tuple[str, str, str]] = {}
        self.xmpp.connect = self.connect

    def connect(self, host: str | None = None, port: int | None = None) -> asyncio.Future[None]:
        """Stands in for `XMLStream.connect`."""
        self._parser = ET.XMLPullParser(("start", "end"))
        self._depth = 0
        self._present.clear()
        self.transport = start_session(self.xmpp, self.jid)
        self.transport.on_write = self._written
        self._written("")
        done: asyncio.Future[None] = self.xmpp.loop.create_future()
        done.set_result(None)
        return done

    def _written(self, text: str) -> None:
        assert self.transport is not None
        self._parser.feed(self.transport.take())
        for event, element in self._parser.read_events():
            if event == "start":
                if self._depth == 0:
                    self._root = element
                self._depth += 1
                continue
            self._depth -= 1
            if self._depth == 1:
                # The parser would keep every stanza as a child of the stream.
                self._root.clear()
                self._take(element)
            elif self._depth == 0:
                # The bot ends its stream: so does the server.
                self.xmpp.loop.call_soon(self._say, "</stream:stream>")

    def _take(self, stanza: ET.Element) -> None:
        name = stanza.tag.rpartition("}")[2]
        to, ident = stanza.get("to", ""), stanza.get("id", "")
        own = str(self.xmpp.boundjid.full)
        if name == "iq" and stanza.get("type") == "get" and JID(to).domain == to:
            if to == own:  # a component asks itself, through the server
                self._say_soon(ET.tostring(stanza, encoding="unicode"))
            else:
                self._say_soon(f"<iq type='result' id={quoteattr(ident)} from={quoteattr(to)} "
                               f"to={quoteattr(stanza.get('from', own))}/>")  # fmt: skip
            return
        if name == "iq" and stanza.find(_DISCO_INFO) is not None and self._is_room(to):
            features = "".join(f"<feature var={quoteattr(var)}/>" for var in self.room_features)
            self._say_soon(f"<iq type='result' id={quoteattr(ident)} from={quoteattr(to)} "
                           f"to={quoteattr(stanza.get('from', own))}><query xmlns="
                           f"'http://jabber.org/protocol/disco#info'>{features}</query></iq>")  # fmt: skip
            return
        if name == "presence" and stanza.find(_MUC) is not None:
            self.enter(to, stanza.get("from", own), own=True)
            return
        self.sent.append(stanza)
        self.arrived.set()

    def _is_room(self, jid: str) -> bool:
        return any(occupant.partition("/")[0] == jid for occupant in self._present)

    def enter(
        self, occupant: str, real: str, own: bool = False, to: str = "",
        affiliation: str = "member", occupant_id: str = "",
    ) -> None:  # fmt: skip
        """Somebody comes into a room, or the room tells something new of them."""
        told = (real, affiliation, occupant_id)
        if self._present.get(occupant) == told and not own:
            return
        self._present[occupant] = told
        to = real if own else to or str(self.xmpp.boundjid.full)
        status = "<status code='110'/>" if own else ""
        jid = f" jid={quoteattr(real)}" if real else ""
        ident = f"<occupant-id xmlns='urn:xmpp:occupant-id:0' id={quoteattr(occupant_id)}/>"
        self._say_soon(
            f"<presence from={quoteattr(occupant)} to={quoteattr(to)}>"
            f"<x xmlns='http://jabber.org/protocol/muc#user'>"
            f"<item affiliation={quoteattr(affiliation)} role='participant'{jid}/>{status}</x>"
            f"{ident if occupant_id else ''}</presence>"
        )

    def _say_soon(self, text: str) -> None:
        # As from a network: never in the middle of what the bot does.
        self.xmpp.loop.call_soon(self._say, text)

    def _say(self, text: str) -> None:
        if self.xmpp.transport is not None:
            feed(self.xmpp, text)

    async def settle(self) -> None:
        """Wait until what the server says has come in and what the bot sent has gone out."""
        await asyncio.sleep(0)
        await self.xmpp.waiting_queue.join()
        await asyncio.sleep(0)


class _MemoryApp(App):
    """An App whose streams lead to servers in memory."""

    def __init__(self, settings: Settings, recorder: Recorder | None = None) -> None:
        super().__init__(settings, recorder)
        self.servers: dict[str, _MemoryServer] = {}

    def make_stream(self, name: str, settings: StreamSettings) -> Stream:
        stream = Stream(name, settings, "no secret", self.sink, self.pipeline.wants)
        self.servers[name] = _MemoryServer(stream)
        return stream


class TestBot:
    """A bot to talk to: ``async with TestBot(plugins=["echo"]) as bot: await bot.says("!echo hi")``.

    `settings` is TOML text, a path or `Settings`; its streams lead into memory and need no secret.
    Without any there is one client, ``bot@localhost``. `plugins` are added to it: names as in
    ``use``, or plugin classes. `timeout` (seconds) bounds each wait. A
    `recorder` sees all that comes in and is sent.
    """

    __test__ = False

    def __init__(
        self,
        settings: str | Path | Settings = "",
        plugins: Sequence[str | type[Plugin]] | Mapping[str, dict[str, Any]] = (),
        *,
        timeout: float = 10.0,
        recorder: Recorder | None = None,
    ) -> None:
        if isinstance(settings, Path):
            settings = load(settings)
        elif isinstance(settings, str):
            settings = parse(settings)
        if not settings.streams:
            client = StreamSettings(kind="client", jid="bot@localhost/test", nick="bot")
            settings = msgspec.structs.replace(settings, streams={"bot": client})
        self._classes: list[type[Plugin]] = []
        tables: dict[str, dict[str, Any]] = {}
        for plugin in plugins:
            if isinstance(plugin, str):
                table = plugins[plugin] if isinstance(plugins, Mapping) else {}
                tables[plugin] = dict(table)
            else:
                self._classes.append(plugin)
        named = {
            use.rpartition(":")[2].lower(): PluginSettings(use, table)
            for use, table in tables.items()
        }
        settings = msgspec.structs.replace(settings, plugins={**settings.plugins, **named})
        self._timeout = timeout
        self._ids = count(1)
        self.app = _MemoryApp(settings, recorder)

    async def __aenter__(self) -> Self:
        try:
            await self.app.start()
            await self.app.online(self._timeout)
            await self.app.plugins.load_classes(self._classes)
        except BaseException:
            await self.app.stop(drain=0)
            raise
        await self.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.app.stop(drain=1)

    # -- talking to it --------------------------------------------------------------------------

    async def says(
        self,
        text: str,
        *,
        sender: str = "alice@localhost/test",
        room: str = "",
        stream: str = "",
        hidden: bool = False,
        affiliation: str = "member",
        occupant_id: str = "",
    ) -> str:
        """Say something to the bot, 1:1 or in a `room`, and return the text of its first reply;
        empty if there is none.

        In a room the nick is the sender's local part, and the room tells the bot the sender's JID,
        unless `hidden`, the `affiliation` (XEP-0045) and the `occupant_id` (XEP-0421), if any. A
        room that the bot is not in yet is joined.
        """
        replies = await self.hears_message(
            text, sender=sender, room=room, stream=stream, hidden=hidden,
            affiliation=affiliation, occupant_id=occupant_id,
        )  # fmt: skip
        return replies[0] if replies else ""

    async def hears_message(
        self,
        text: str,
        *,
        sender: str = "alice@localhost/test",
        room: str = "",
        stream: str = "",
        hidden: bool = False,
        affiliation: str = "member",
        occupant_id: str = "",
    ) -> list[str]:
        """Like `says`, with the texts of all replies."""
        from_, kind = sender, "chat"
        if room:
            await self.joins(room, stream)
            from_, kind = f"{room}/{JID(sender).user}", "groupchat"
            self._server(stream).enter(
                from_, "" if hidden else sender, affiliation=affiliation, occupant_id=occupant_id
            )
            await self.settle()
        sent = await self.hears(
            f"<message from={quoteattr(from_)} to={quoteattr(self.address(stream))} type='{kind}' "
            f"id='test-{next(self._ids)}'><body>{escape(text)}</body></message>",
            stream=stream,
        )
        return [body_of(stanza) for stanza in sent if body_of(stanza)]

    async def hears(self, text: str, *, stream: str = "") -> list[ET.Element]:
        """Let the bot receive a stanza as it stands; what it sent because of it."""
        server = self._server(stream)
        before = len(server.sent)
        feed(server.xmpp, text)
        await self.settle()
        return server.sent[before:]

    async def joins(self, room: str, stream: str = "") -> None:
        """See that the bot is in `room`."""
        self.app.stream(stream).join(room)
        await self.settle()

    async def next_message(self, *, stream: str = "", after: int | None = None) -> ET.Element:
        """The next message that the bot sends by itself. TimeoutError if there is none in time.

        `after` counts stanzas of `sent` to skip; without it, what comes from now on counts.
        """
        server = self._server(stream)
        seen = len(server.sent) if after is None else after
        async with asyncio.timeout(self._timeout):
            while True:
                for stanza in server.sent[seen:]:
                    seen += 1
                    if stanza.tag.endswith("}message"):
                        return stanza
                server.arrived.clear()
                await server.arrived.wait()

    # -- looking at it --------------------------------------------------------------------------

    def address(self, stream: str = "") -> str:
        """The full JID of the bot on a stream."""
        return str(self._server(stream).xmpp.boundjid.full)

    @property
    def sent(self) -> list[ET.Element]:
        """The stanzas that the bot sent, all streams, without pings and joins."""
        return [stanza for server in self.app.servers.values() for stanza in server.sent]

    def _server(self, stream: str) -> _MemoryServer:
        return self.app.servers[self.app.stream(stream).name]

    async def settle(self) -> None:
        """Wait until the bot has done all that was asked of it so far."""
        async with asyncio.timeout(self._timeout):
            for _ in range(2):
                for server in self.app.servers.values():
                    await server.settle()
                await self.app.pipeline.settle(self._timeout)
                for server in self.app.servers.values():
                    await server.settle()
