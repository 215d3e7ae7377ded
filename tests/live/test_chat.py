"""Modern chat on real servers, read by stock slixmpp: replies, reactions, corrections, receipts, files,
bookmarks, invitations, and what the bot says of itself."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from slixmpp import JID

from zxmpp import (
    App,
    Call,
    Image,
    Invitation,
    Plugin,
    Reaction,
    StanzaEvent,
    StreamError,
    command,
    on,
    own_words,
)
from zxmpp.config import parse
from zxmpp.testing.servers import Ejabberd, Prosody, Server

from .test_bot import address, role, secret, stream

__all__ = ["role", "secret"]  # fixtures

LIMIT = 30
XEPS = [
    "xep_0030", "xep_0045", "xep_0054", "xep_0066", "xep_0092", "xep_0115", "xep_0184", "xep_0249",
    "xep_0308", "xep_0444", "xep_0461",
]  # fmt: skip


def picture() -> bytes:
    """A PNG of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
            + chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00")) + chunk(b"IEND", b""))  # fmt: skip


class Talker(Plugin):
    """Does on command what a plugin can do in a chat."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.reactions: asyncio.Queue[Reaction] = asyncio.Queue()
        self.invitations: asyncio.Queue[Invitation] = asyncio.Queue()
        self.receipts: asyncio.Queue[StanzaEvent] = asyncio.Queue()

    @on.message(where=lambda event: own_words(event) == "reply, please")
    def reply(self, event: StanzaEvent) -> None:
        self.say(event.room or event.from_, "here it is", reply_to=event)

    @on.message(where=lambda event: event.body == "like this")
    def like(self, event: StanzaEvent) -> None:
        self.react(event, "👍", "🎉")

    @command
    def count(self, event: StanzaEvent) -> None:
        """Say something wrong, then right."""
        to = event.room or event.from_
        first = self.say(to, "one, two, four")
        self.say(to, "one, two, three", correct=first)

    @command
    async def file(self, event: StanzaEvent, size: int) -> str:
        """Send a file of that size."""
        try:
            return await self.send_file(event.from_, b"x" * size, "../../report.txt", body="Look:")
        except StreamError as error:
            return str(error)

    @command
    def plot(self, call: Call) -> Image:
        """A picture, as data."""
        call.react("🎨")
        return Image("plot.png", picture(), text="See:")

    @command
    def long(self, event: StanzaEvent, lines: int) -> str:
        """A text of many lines."""
        return "\n".join(f"line {n} of the <text>" for n in range(lines))

    @on.reaction
    def reacted(self, event: StanzaEvent) -> None:
        self.reactions.put_nowait(Reaction.of(event))

    @on.invitation
    def invited(self, event: StanzaEvent) -> None:
        self.invitations.put_nowait(Invitation.of(event))

    @on.receipt
    def received(self, event: StanzaEvent) -> None:
        self.receipts.put_nowait(event)


@pytest.fixture(scope="module", params=[Prosody, Ejabberd], ids=["prosody", "ejabberd"])
def filing(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with a service for files; this module's own."""
    with request.param(upload=True) as running:
        yield running


class Stage:
    """The bot, and alice who sees what it sends."""

    def __init__(self, server: Server, app: App, alice: Any, room: str) -> None:
        self.server, self.app, self.alice, self.room = server, app, alice, room
        self.got: asyncio.Queue[Any] = asyncio.Queue()
        self.talker: Talker = app.plugins.get("talker")
        alice.add_event_handler("message", self.got.put_nowait)
        alice.add_event_handler("reactions", self.got.put_nowait)
        alice.add_event_handler("receipt_received", self.got.put_nowait)
        alice.add_event_handler("groupchat_direct_invite", self.got.put_nowait)

    async def sees(self, where: Callable[[Any], bool]) -> Any:
        async with asyncio.timeout(LIMIT):
            while True:
                message = await self.got.get()
                if message["from"].resource != "alice" and where(message):
                    return message

    async def sees_text(self, text: str) -> Any:
        return await self.sees(lambda message: text in message["body"])


@asynccontextmanager
async def staged(
    server: Server, role: str, more: str = "", tables: str = ""
) -> AsyncIterator[Stage]:
    room = f"r{uuid4().hex[:8]}@{server.muc}"
    config = stream(server, role, rooms=[room]) + f"\n{more}\n{tables}"
    async with server.login("alice@localhost/desk", XEPS) as alice, App(parse(config)) as app:
        await app.plugins.load_classes([Talker])
        await app.online(LIMIT)
        await alice.plugin["xep_0045"].join_muc_wait(JID(room), "alice", maxstanzas=0)
        yield Stage(server, app, alice, room)


async def test_what_is_said(filing: Server, role: str, secret: Any) -> None:
    secret(filing, role)
    bot = JID(address(role))
    async with staged(filing, role) as stage:
        alice = stage.alice
        # A reply, 1:1 and in the room.
        question = alice.make_message(mto=bot, mbody="reply, please", mtype="chat")
        question.send()
        answer = await stage.sees_text("here it is")
        assert answer["reply"]["id"] == question["id"]
        assert answer["body"] == "> reply, please\nhere it is"
        assert answer["reply"].strip_fallback_content() == "here it is"
        assert answer["from"].bare == bot.bare

        alice.send_message(JID(stage.room), "reply, please", mtype="groupchat")
        answer = await stage.sees_text("here it is")
        assert answer["type"] == "groupchat"
        assert answer["reply"]["to"] == f"{stage.room}/alice"
        assert answer["reply"].get_fallback_body() == "> alice:\n> reply, please\n"

        # A correction.
        alice.send_message(bot, "!count", mtype="chat")
        wrong, right = await stage.sees_text("four"), await stage.sees_text("three")
        assert right["replace"]["id"] == wrong["id"]

        # Reactions, both ways.
        liked = alice.make_message(mto=bot, mbody="like this", mtype="chat")
        liked.send()
        reaction = await stage.sees(lambda message: bool(message["reactions"]["id"]))
        assert reaction["reactions"]["id"] == liked["id"]
        assert reaction["reactions"]["values"] == {"👍", "🎉"}
        alice.plugin["xep_0444"].send_reactions(bot, wrong["id"], ["🚀"])
        async with asyncio.timeout(LIMIT):
            assert await stage.talker.reactions.get() == Reaction(wrong["id"], ("🚀",))

        # Receipts, both ways.
        asks = alice.make_message(mto=bot, mbody="did you get this?", mtype="chat")
        asks["request_receipt"] = True
        asks.send()
        receipt = await stage.sees(lambda message: bool(message["receipt"]))
        assert receipt["receipt"] == asks["id"]
        sent = stage.talker.say("alice@localhost/desk", "and this?", receipt=True)
        async with asyncio.timeout(LIMIT):
            event = await stage.talker.receipts.get()
        assert event.stanza.xml[0].get("id") == sent

        # A long text, in parts, nothing lost.
        alice.send_message(bot, "!long 5000", mtype="chat")
        lines: list[str] = []
        while len(lines) < 5000:
            lines += (await stage.sees_text("of the <text>"))["body"].split("\n")
        assert lines == [f"line {n} of the <text>" for n in range(5000)]


async def fetched(server: Server, url: str, media_type: str = "text/plain") -> bytes:
    """What is at `url`; if it can't be had, the end of the server's log is shown."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert answer.content_type == media_type
            return await answer.read()
    except aiohttp.ClientError as error:
        pytest.fail(f"{url}: {error!r}\n{server.log_path.read_text()[-3000:]}")


async def test_files(filing: Server, role: str, secret: Any) -> None:
    secret(filing, role)
    bot = JID(address(role))
    async with staged(filing, role) as stage:
        stage.alice.send_message(bot, "!file 1000", mtype="chat")
        assert await stage.sees_text("Look:")
        link = await stage.sees(lambda message: bool(message["oob"]["url"]))
        assert link["body"] == link["oob"]["url"]
        assert link["body"].endswith("/report.txt")
        assert await fetched(filing, link["body"]) == b"x" * 1000

        # What a command returns is sent likewise, here into the room.
        stage.alice.send_message(JID(stage.room), "!plot", mtype="groupchat")
        painted = await stage.sees(lambda message: bool(message["reactions"]["id"]))
        assert painted["reactions"]["values"] == {"🎨"}
        assert (await stage.sees_text("See:"))["type"] == "groupchat"
        link = await stage.sees(lambda message: bool(message["oob"]["url"]))
        assert await fetched(filing, link["body"], "image/png") == picture()

        stage.alice.send_message(bot, "!file 100001", mtype="chat")
        error = (await stage.sees_text("report.txt"))["body"]
        assert "100001 bytes" in error
        assert "takes 100000 at most" in error


async def test_without_a_service_for_files(shared: Server, role: str, secret: Any) -> None:
    secret(shared, role)
    async with staged(shared, role) as stage:
        stage.alice.send_message(JID(address(role)), "!file 10", mtype="chat")
        assert await stage.sees_text("has no upload service")


async def test_what_the_bot_is(filing: Server, role: str, secret: Any, tmp_path: Path) -> None:
    secret(filing, role)
    avatar = tmp_path / "bot.png"
    avatar.write_bytes(picture())
    more = "contact = ['mailto:ops@example.org']" if role == "component" else ""
    vcard = (
        f"[streams.bot.vcard]\nname = 'The Bot'\nurl = 'https://example.org'\navatar = '{avatar}'"
    )
    async with staged(filing, role, more, vcard) as stage:
        alice, bot = stage.alice, address(role)
        disco = alice.plugin["xep_0030"]
        info = (await disco.get_info(JID(bot), timeout=LIMIT))["disco_info"]
        assert ("client", "bot") in {identity[:2] for identity in info["identities"]}
        assert {"urn:xmpp:reply:0", "urn:xmpp:reactions:0", "jabber:iq:version"} <= info["features"]
        version = await alice.plugin["xep_0092"].get_version(JID(bot), timeout=LIMIT)
        assert version["software_version"]["name"] == "zxmpp"
        assert not version["software_version"]["os"]

        # Who is in the room learns it by the hash, and slixmpp finds the hash right.
        async with asyncio.timeout(LIMIT):
            while (
                ver := await alice.plugin["xep_0115"].get_verstring(JID(f"{stage.room}/bot"))
            ) is None:
                await asyncio.sleep(0.01)
        caps = await alice.plugin["xep_0115"].get_caps(verstring=ver)
        assert "urn:xmpp:reply:0" in caps["features"]

        if role == "component":
            domain = (await disco.get_info(JID("echo.localhost"), timeout=LIMIT))["disco_info"]
            assert domain["form"].get_values()["admin-addresses"] == ["mailto:ops@example.org"]

        async def read() -> Any:
            answer = await alice.plugin["xep_0054"].get_vcard(JID(bot).bare, timeout=LIMIT)
            return answer["vcard_temp"]

        async with asyncio.timeout(LIMIT):
            while not (vcard := await read())["PHOTO"]["BINVAL"]:
                await asyncio.sleep(0.05)
        assert vcard["FN"] == "The Bot"
        assert vcard["PHOTO"]["BINVAL"] == picture()


async def test_bookmarks_bring_the_bot_back(filing: Server, secret: Any) -> None:
    secret(filing, "client")
    room = f"b{uuid4().hex[:8]}@{filing.muc}"
    async with staged(filing, "client", "bookmarks = true") as stage:
        joined = asyncio.Event()
        stage.alice.add_event_handler(f"muc::{room}::got_online", lambda _: joined.set())
        await stage.alice.plugin["xep_0045"].join_muc_wait(JID(room), "alice", maxstanzas=0)
        stage.app.stream().join(room, "herald", bookmark=True)
        await settled(stage.app, {})
        async with asyncio.timeout(LIMIT):
            while "changed bookmarks" in running(stage.app):
                await asyncio.sleep(0.01)
    async with staged(filing, "client", "bookmarks = true") as stage:
        await settled(stage.app, {room: "joined"})
        assert stage.app.stream().rooms.get(room).nick == "herald"  # type: ignore[attr-defined]
        stage.app.stream().leave(room)
        async with asyncio.timeout(LIMIT):
            while "changed bookmarks" in running(stage.app):
                await asyncio.sleep(0.01)
    async with staged(filing, "client", "bookmarks = true") as stage:
        async with asyncio.timeout(LIMIT):
            while "bookmarks" in running(stage.app):
                await asyncio.sleep(0.01)
        assert room not in stage.app.stream().statistics()["rooms"]
        assert stage.app.stream().statistics()["chores"] == {}


def running(app: App) -> set[str]:
    return set(app.stream()._chores.running)  # type: ignore[attr-defined]


async def settled(app: App, rooms: dict[str, str]) -> None:
    async with asyncio.timeout(LIMIT):
        while not rooms.items() <= app.stream().statistics()["rooms"].items():
            await asyncio.sleep(0.01)


async def test_invitations_by_role(filing: Server, role: str, secret: Any) -> None:
    secret(filing, role)
    tables = "[commands]\ninvitations = 'host'\n[roles]\nhost = ['alice@localhost']"
    room, other = (f"i{uuid4().hex[:8]}@{filing.muc}" for _ in range(2))
    bot = JID(address(role))
    async with (
        staged(filing, role, tables=tables) as stage,
        filing.login("bob@localhost/desk", XEPS) as bob,
    ):
        muc = stage.alice.plugin["xep_0045"]
        # Bob is nobody: the bot stays away. Alice is a host, directly and through the room.
        bob.plugin["xep_0249"].send_invitation(bot, JID(other))
        async with asyncio.timeout(LIMIT):
            refused = await stage.talker.invitations.get()
        assert refused == Invitation(other, "bob@localhost", True)
        stage.alice.plugin["xep_0249"].send_invitation(bot, JID(other))
        await settled(stage.app, {other: "joined"})
        await muc.join_muc_wait(JID(room), "alice", maxstanzas=0)
        muc.invite(JID(room), bot, "come in")
        async with asyncio.timeout(LIMIT):
            await stage.talker.invitations.get()
            through = await stage.talker.invitations.get()
        # Prosody says the inviter's nick, which is nobody; ejabberd the real JID.
        real = isinstance(filing, Ejabberd)
        inviter = "alice@localhost" if real else f"{room}/alice"
        assert through == Invitation(room, inviter, True, "come in")
        if not real:
            stage.app.stream().join(room)
        await settled(stage.app, {room: "joined"})

        # The bot invites bob.
        got: asyncio.Queue[Any] = asyncio.Queue()
        bob.add_event_handler("groupchat_invite", got.put_nowait)
        stage.app.stream().invite(stage.room, "bob@localhost/desk", "look here")
        async with asyncio.timeout(LIMIT):
            invited = await got.get()
        assert invited["from"].bare == stage.room
