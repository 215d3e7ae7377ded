"""What a recorder sees of a bot: all of it, whose it is, and no secret."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from typing import Any

import pytest
import zmq

from zxmpp import FramesEvent, Plugin, StanzaEvent, UserError, command, every, on
from zxmpp.config import parse
from zxmpp.mdp import Worker
from zxmpp.recording import Base64, Entry, Masker, Recorder
from zxmpp.testing import TestBot, virtual_time


class Talker(Plugin):
    """Sends in every way there is."""

    async def start(self) -> None:
        self.say("alice@localhost", "start")

    async def stop(self) -> None:
        self.say("alice@localhost", "stop")

    @command
    def plain(self) -> str:
        """Answer at once."""
        return "plain"

    @command
    async def waits(self) -> str:
        """Answer later."""
        await asyncio.sleep(1)
        return "waits"

    @command
    async def parts(self) -> Any:
        """Answer in parts."""
        for part in ("one", "two"):
            yield part
            await asyncio.sleep(1)

    @command
    def spawns(self) -> None:
        """Answer by a task."""
        self.spawn(self._later())

    async def _later(self) -> None:
        await asyncio.sleep(1)
        self.say("alice@localhost", "task")

    @command
    def fails(self) -> None:
        """Fail."""
        raise KeyError

    @every(100)
    def tick(self) -> None:
        self.say("alice@localhost", "tick")

    @on.message(where=lambda event: event.body == "raw")
    def raw(self, event: StanzaEvent) -> None:
        self.stream().xmpp.send_message("carol@localhost", "raw")


def sent(entries: list[Entry]) -> list[tuple[str, str]]:
    """Who sent what, for messages."""
    return [
        (entry.by, entry.xml.partition("<body>")[2].partition("</body>")[0])
        for entry in entries
        if entry.way == "out" and "<body>" in entry.xml
    ]


@virtual_time
async def test_what_is_sent_is_of_the_plugin_that_sent_it() -> None:
    entries: list[Entry] = []
    async with TestBot(plugins=["echo", Talker], recorder=Recorder(entries.append)) as bot:
        for text in ("!plain", "!waits", "!parts", "!spawns", "!echo hi", "raw", "!fails", "!nope"):
            await bot.says(text)
        await asyncio.sleep(100)
    texts = sent(entries)
    mine = [text for by, text in texts if by == "talker"]
    assert mine[:5] == ["start", "plain", "waits", "one", "two"]
    assert {"task", "raw", "tick", "stop"} <= set(mine)
    assert any("Something went wrong" in text for text in mine)
    assert [text for by, text in texts if by == "echo"] == ["hi"]
    assert {by for by, text in texts if "There is no command" in text} == {"commands"}
    presences = [entry for entry in entries if entry.xml.startswith("<presence")]
    assert {entry.by for entry in presences if entry.way == "out"} == {""}


WAYS = ("in", "out")


def id_of(entry: Entry) -> str:
    return str(ET.fromstring(entry.xml).get("id"))


@virtual_time
async def test_what_comes_in_is_there_before_what_it_causes() -> None:
    entries: list[Entry] = []
    async with TestBot(plugins=["echo"], recorder=Recorder(entries.append)) as bot:
        await asyncio.sleep(7.5)
        await bot.says("!echo <hi> & more", room="ops@rooms.localhost")
        await asyncio.sleep(10)
    kinds = [(e.way, e.kind, e.name, e.what) for e in entries if e.kind == "lifecycle"]
    assert kinds[0] == ("in", "lifecycle", "app", "started")
    assert ("in", "lifecycle", "bot", "online") in kinds
    assert ("in", "lifecycle", "bot", "joined") in kinds
    (asked,) = [e for e in entries if e.way == "in" and "!echo" in e.xml]
    (answer,) = [e for e in entries if e.by == "echo"]
    assert entries.index(asked) < entries.index(answer)
    assert asked.t == answer.t == 7.5
    assert "&lt;hi&gt; &amp; more" in asked.xml
    # The stream's own signs of life are not there.
    ids = {way: {id_of(e) for e in entries if e.way == way and "<iq" in e.xml} for way in WAYS}
    assert ids["in"] <= ids["out"]


SOCKETS = """
[sockets.desk]
type = "ROUTER"
bind = "tcp://127.0.0.1:*"

[broker]
bind = ["tcp://127.0.0.1:*"]
"""


class Desk(Plugin):
    """Answers a socket, and asks a service."""

    needs_broker = True

    @on.frames("desk")
    def upper(self, event: FramesEvent) -> list[bytes]:
        return [event.frames[0].upper(), b"\xff"]

    @command
    async def ask(self, text: str) -> str:
        """Ask the service."""
        return await self.service("shout").request(text, result=str, timeout=5)


async def shout(text: str) -> str:
    if text == "again":
        raise UserError("Once is enough.")
    return text.upper()


async def exchange(bot: TestBot) -> None:
    """A message and its answer, and two requests to a service."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.routing_id = b"me"
        dealer.connect(bot.app.socket("desk").bound[0])
        dealer.send_multipart([b"hi", b"\xfe"])
        async with asyncio.timeout(10):
            while not dealer.poll(0):
                await asyncio.sleep(0.01)
        assert dealer.recv_multipart() == [b"HI", b"\xff"]
    worker = Worker("shout", shout, connect=bot.app.services.bound[0])
    serving = asyncio.ensure_future(worker.serve())
    assert await bot.says("!ask hello") == "HELLO"
    assert await bot.says("!ask again") == "Once is enough."
    worker.stop()
    async with asyncio.timeout(10):
        await serving


async def test_frames_and_what_services_answer() -> None:
    entries: list[Entry] = []
    async with TestBot(SOCKETS, [Desk], recorder=Recorder(entries.append)) as bot:
        await exchange(bot)
    heard, said = (
        next(e for e in entries if e.kind == "frames" and e.name == "desk" and e.way == way)
        for way in ("in", "out")
    )
    assert (heard.envelope, heard.frames) == (["me"], ["hi", Base64("/g==")])
    assert (said.by, said.frames) == ("desk", ["me", "HI", Base64("/w==")])
    asked = [e for e in entries if e.kind == "request"]
    assert [(e.way, e.name, e.by, e.frames) for e in asked] == [
        ("out", "shout", "desk", ["hello"]),
        ("out", "shout", "desk", ["again"]),
    ]
    answers = {e.number: e for e in entries if e.kind == "answer"}
    assert answers[asked[0].number].frames == ["HELLO"]
    assert answers[asked[0].number].last
    assert answers[asked[1].number].what == "refused"


@virtual_time
async def test_no_password_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOM", "the-room's-secret")
    settings = parse(
        '[streams.bot]\njid = "bot@localhost"\n'
        'rooms = [{ jid = "ops@rooms.localhost", password_env = "ROOM" }]'
    )
    entries: list[Entry] = []
    async with TestBot(settings, recorder=Recorder(entries.append)) as bot:
        await bot.hears(
            "<message from='a@localhost/x' to='bot@localhost'><x xmlns='jabber:x:conference' "
            "jid='r@rooms.localhost' password='an-invitation&apos;s'/></message>"
        )
    assert [e for e in entries if "http://jabber.org/protocol/muc" in e.xml and e.way == "out"]
    assert [e for e in entries if "jabber:x:conference" in e.xml]
    assert "secret" not in str(entries)
    assert "an-invitation" not in str(entries)


@virtual_time
async def test_masked_texts_are_nowhere() -> None:
    entries: list[Entry] = []
    masker = Masker("!", lambda name: bot.app.commands.get(name) is not None)
    bot = TestBot(plugins=["echo"], recorder=Recorder(entries.append, masker))
    async with bot:
        assert await bot.says("!echo the plan") == "the plan"
        await bot.says("just a plan")
    assert "plan" not in str(entries)
    assert [e for e in entries if e.way == "in" and "<body>!echo masked-" in e.xml]


async def test_masked_frames_are_nowhere() -> None:
    entries: list[Entry] = []
    masker = Masker("!", lambda name: name == "ask")
    async with TestBot(SOCKETS, [Desk], recorder=Recorder(entries.append, masker)) as bot:
        await exchange(bot)
    by_socket = [e for e in entries if e.name == "desk" and e.kind == "frames"]
    asked = [e for e in entries if e.kind in ("request", "answer")]
    assert [e.way for e in by_socket] == ["in", "out"]
    assert len(asked) >= 4
    frames = [frame for entry in (*by_socket, *asked) for frame in entry.frames]
    assert frames
    assert all(str(frame).startswith("masked-") for frame in frames if frame), frames
    assert not any("Once" in entry.detail for entry in asked)


@virtual_time
async def test_a_recorder_that_fails_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(entry: Entry) -> None:
        raise ValueError("broken")

    async with TestBot(plugins=["echo"], recorder=Recorder(fail)) as bot:
        assert await bot.says("!echo hi") == "hi"
    assert "could not be recorded" in caplog.text
