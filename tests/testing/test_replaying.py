"""A replay: silent when a plugin does what it did, a diff when it does not, no server in any case."""

from __future__ import annotations

import asyncio
import random
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import zmq

from tests.commands.adhoc import Caller
from zxmpp import (
    Call,
    Failure,
    FramesEvent,
    Lifecycle,
    LifecycleEvent,
    Plugin,
    RequestEvent,
    StanzaEvent,
    UserError,
    command,
    every,
    on,
)
from zxmpp.config import PluginSettings, Settings, parse
from zxmpp.errors import ConfigError, PluginError
from zxmpp.mdp import Worker
from zxmpp.recording import Masker, Recorder, RecordFile, Recording, header_of
from zxmpp.testing import (
    Replay,
    StandsStill,
    TestBot,
    VirtualClock,
    replay,
    replaying,
    virtual_time,
)

ROOM = "ops@rooms.localhost"
HERE = f"{__name__}:"
CLIENT = f"""
[streams.bot]
jid = "bot@localhost/x"
rooms = ["{ROOM}"]
"""


async def version_of(plugin: Plugin, jid: str) -> str:
    iq = plugin.stream().xmpp.make_iq_get(ito=jid, queryxmlns="jabber:iq:version")
    answer = await iq.send(timeout=30)
    return str(answer.xml.findtext("{*}query/{*}name"))


class Talk(Plugin):
    """Talks in every way there is."""

    greeting = "hello"
    pause = 5.0
    beat = 60.0

    async def start(self) -> None:
        self.add_timer(self.beat, self.tick)

    def tick(self) -> None:
        self.say("carol@localhost", "tick")

    @command
    def hello(self, name: str = "you") -> str:
        """Greet."""
        return f"{self.greeting} {name}"

    @command
    async def later(self, text: str) -> str:
        """Say it later."""
        await asyncio.sleep(self.pause)
        return text

    @command
    def fails(self) -> None:
        """Fail, with a reference that is never the same."""
        raise KeyError

    @command
    async def asks(self, jid: str) -> str:
        """Ask for somebody's version by IQ."""
        await asyncio.sleep(random.random() / 100)
        return await version_of(self, jid)

    @on.lifecycle(Lifecycle.JOINED)
    def joined(self, event: LifecycleEvent) -> None:
        self.say(event.subject, "here I am")

    @on.message(where=lambda event: bool(event.room) and event.body == "who am I?")
    def who(self, event: StanzaEvent) -> str:
        return event.sender


class TalkB(Talk):
    """The next version."""

    name = "talk"
    greeting = "good day"


class TalkC(Talk):
    """Another one: late, and with another beat."""

    name = "talk"
    pause, beat = 6.0, 50.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bot.jsonl"


@asynccontextmanager
async def recording(
    path: Path, text: str, *plugins: str, masker: Masker | None = None
) -> AsyncIterator[TestBot]:
    """A bot that is recorded."""
    settings = parse(text)
    file = RecordFile(path, header_of(settings, masked=masker is not None))
    recorder = Recorder(file.write, masker)
    async with TestBot(settings, plugins, recorder=recorder) as bot:
        yield bot
    file.close("stopped", recorder.now())


@virtual_time
async def converse(path: Path) -> None:
    async with recording(path, CLIENT, "echo", HERE + "Talk") as bot:
        await bot.hears(
            f"<message from='{ROOM}/old' to='{bot.address()}' type='groupchat'><body>!hello me"
            "</body><delay xmlns='urn:xmpp:delay' stamp='2020-01-01T00:00:00Z'/></message>"
        )
        assert await bot.says("!hello world") == "hello world"
        await bot.says("!hello all", room=ROOM)
        assert await bot.says("who am I?", room=ROOM) == "alice@localhost"
        assert "/bob" in await bot.says(
            "who am I?", room=ROOM, sender="bob@localhost/x", hidden=True
        )
        assert await bot.says("!later soup") == "soup"
        await bot.says("!fails")
        await bot.says("!echo other", sender="dora@localhost/x")
        await asyncio.sleep(600)


@pytest.fixture
def recorded(path: Path) -> Path:
    converse(path)
    return path


def test_the_same_plugin_sends_the_same(recorded: Path) -> None:
    found = replay(recorded, HERE + "Talk")
    assert found.diff == []
    assert found.then == found.now == 17
    assert found.senders == {"talk": 17, "echo": 1}
    assert replay(recorded, "echo") == Replay("echo", [], 1, 1, found.senders)


def named(use: str) -> Settings:
    """A configuration in which the plugin of the recording is another class."""
    return Settings(plugins={"talk": PluginSettings(HERE + use)})


def test_another_text_is_a_diff(recorded: Path) -> None:
    found = replay(recorded, "talk", named("TalkB"))
    removed = [line for line in found.diff if line.startswith("-<")]
    added = [line for line in found.diff if line.startswith("+<")]
    assert found.diff[:2] == ["--- then: bot to alice@localhost", "+++ now: bot to alice@localhost"]
    assert [">hello world<" in removed[0], ">good day world<" in added[0]] == [True, True]
    assert [">hello all<" in removed[1], ">good day all<" in added[1]] == [True, True]
    assert len(removed) == len(added) == 2
    # Chance is no difference.
    assert 'id="*"' in removed[0]
    assert not any("The log has it" in line for line in (*removed, *added))


def test_timers_follow_the_virtual_clock(recorded: Path) -> None:
    found = replay(recorded, "talk", named("TalkC"))
    # A pause that is longer by a second changes nothing that is said.
    assert found.diff[0] == "--- then: bot to carol@localhost"
    assert [line[0] for line in found.diff if "<message" in line and line[0] in "+-"] == ["+", "+"]


def test_a_plugin_that_fails_to_start(recorded: Path) -> None:
    with pytest.raises(PluginError, match="has no 'Nothing'"):
        replay(recorded, HERE + "Nothing")


IQ = "<iq from='dora@localhost/x' to='{}' id='{}' type='{}'><query xmlns='jabber:iq:version'>{}"


class Nosy(Plugin):
    """Another plugin, which asks the same."""

    @on.message(where=lambda event: event.body == "both")
    async def both(self, event: StanzaEvent) -> str:
        return await version_of(self, "dora@localhost/x")


class TalkLate(Talk):
    """A version that asks when the answer of then is long there."""

    name = "talk"

    @command
    async def asks(self, jid: str) -> str:
        """Ask late."""
        await asyncio.sleep(20)
        return await super().asks(jid)


async def answer(bot: TestBot, number: int, name: str) -> None:
    """Answer the `number`-th question for a version."""
    asked: list[ET.Element] = []
    while len(asked) < number:
        await asyncio.sleep(0.01)
        asked = [s for s in bot.sent if s.find("{jabber:iq:version}query") is not None]
    id = asked[number - 1].get("id", "")
    text = IQ.format(bot.address(), id, "result", f"<name>{name}</name></query></iq>")
    bot.app.servers["bot"]._say(text)


@pytest.mark.parametrize("version", ["Talk", "TalkLate"])
def test_an_iq_gets_the_answer_of_then(path: Path, version: str) -> None:
    @virtual_time
    async def record() -> None:
        async with recording(path, CLIENT, HERE + "Nosy", HERE + "Talk") as bot:
            for number, (text, name) in enumerate(
                (("both", "Gajim"), ("!asks dora@localhost/x", "Psi")), 1
            ):
                asking = asyncio.ensure_future(bot.says(text))
                await answer(bot, number, name)
                assert await asking == name
            await asyncio.sleep(60)

    record()
    found = replay(path, HERE + version)
    assert found.diff == []
    assert found.now == found.then


class Desk(Plugin):
    """Answers a socket, and asks a service."""

    needs_broker = True
    mark = b"!"

    @on.frames("desk")
    async def upper(self, event: FramesEvent) -> list[bytes]:
        await asyncio.sleep(0.01)
        return [event.frames[0].upper() + self.mark, b"\xff"]

    @command
    async def ask(self, text: str) -> str:
        """Ask the service."""
        return await self.service("shout").request(text, result=str, timeout=5)


class DeskB(Desk):
    """The next version."""

    name = "desk"
    mark = b"?"


SOCKETS = """
[sockets.desk]
type = "ROUTER"
bind = "tcp://127.0.0.1:*"

[streams.bot]
jid = "bot@localhost"

[broker]
bind = ["tcp://127.0.0.1:*"]
"""


async def test_sockets_and_services_are_stood_in_for(path: Path) -> None:
    async with recording(path, SOCKETS, HERE + "Desk") as bot:
        with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.linger = 0
            dealer.connect(bot.app.socket("desk").bound[0])
            dealer.send(b"hi")
            async with asyncio.timeout(10):
                while not dealer.poll(0):
                    await asyncio.sleep(0.01)
        worker = Worker("shout", connect=bot.app.services.bound[0])

        @worker
        async def shout(text: str) -> str:
            if text == "fail":
                raise ValueError
            return text.upper()

        serving = asyncio.ensure_future(worker.serve())
        assert await bot.says("!ask hello") == "HELLO"
        assert "worker's log has it as" in await bot.says("!ask fail")
        worker.stop()
        async with asyncio.timeout(10):
            await serving

    same = await asyncio.to_thread(replay, path, HERE + "Desk")
    other = await asyncio.to_thread(replay, path, HERE + "DeskB")
    assert same.diff == []
    # A message, two requests, two answers to people.
    assert same.then == same.now == 5
    assert other.diff[-2:] == ['-"HI!" /w==', '+"HI?" /w==']


def test_who_sends_too_much_is_stopped_as_then(path: Path) -> None:
    @virtual_time
    async def record() -> None:
        async with recording(path, CLIENT + "[guards]\nburst = 100\n", "echo") as bot:
            for number in range(10):
                await bot.says(f"!echo {number}")
            await asyncio.sleep(60)
            await bot.says("!echo late")

    record()
    guarded = parse("[guards]\nrate = 0.1\nburst = 5\n")
    found = replay(path, "echo", guarded)
    # Five at once, and time for some more has passed with the last.
    assert (found.then, found.now) == (11, 6)


def test_a_recording_that_can_not_be_played(recorded: Path) -> None:
    text = recorded.read_text().replace('"what":"joined"', '"what":"jumped"')
    recorded.write_text(text)
    with pytest.raises(ConfigError, match=r"after 0\.0 s \(lifecycle of bot\) .*jumped"):
        replay(recorded, HERE + "Talk")


def test_masked_texts_are_not_compared(path: Path) -> None:
    @virtual_time
    async def record() -> None:
        masker = Masker("!", ("hello", "later").__contains__)
        async with recording(path, CLIENT, HERE + "Talk", masker=masker) as bot:
            await bot.says("!hello world")
            await bot.says("!later soup")

    record()
    assert "world" not in path.read_text()
    found = replay(path, HERE + "TalkB")
    assert found.diff == []
    assert found.now == 3


class Spins(Plugin):
    """Never gets on."""

    name = "talk"

    @every(1)
    async def spin(self) -> None:
        while True:
            await asyncio.sleep(0)


class Restless(Plugin):
    """Opens a socket of its own, which another bot has."""

    name = "talk"

    async def start(self) -> None:
        self.open_socket("own", type="PULL", bind="ipc:///no/such/folder/s")


def test_a_plugin_that_never_gets_on_is_stopped(
    recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "VirtualClock", partial(VirtualClock, patience=0.2))
    with pytest.raises(StandsStill, match="runs again at each turn"):
        replay(recorded, HERE + "Spins")


def test_a_socket_of_the_plugins_own_is_bound_to_nothing(recorded: Path) -> None:
    assert replay(recorded, HERE + "Restless").now == 0


class Order(Plugin):
    """Asks back."""

    @command
    async def order(self, call: Call, what: str) -> str:
        """Order something."""
        many = await call.ask("How many?", int)
        return f"{many} {what}"


@virtual_time
async def order(path: Path) -> None:
    async with recording(path, CLIENT, HERE + "Order") as bot:
        caller = Caller(bot)
        for what in ("tea", "cake"):
            form = await caller.calls("order")
            question = await caller.calls("order", form.id, values={"what": what})
            done = await caller.calls("order", question.id, values={"answer": "2"})
            assert done.notes == [("info", f"2 {what}")]


def test_an_ad_hoc_command_of_several_steps_goes_on_in_its_session(path: Path) -> None:
    order(path)
    found = replay(path, HERE + "Order")
    assert found.diff == []
    assert found.then == found.now > 0


class Hooked(Plugin):
    """Answers HTTP requests."""

    greeting = "built"

    @on.request("deploy")
    def deploy(self, event: RequestEvent) -> str:
        if not event.body:
            raise UserError("what?")
        self.say("alice@localhost", f"{self.greeting} {event.body.decode()} {event.query['by']}")
        return "noted"


class HookedB(Hooked):
    """Another version."""

    name = "hooked"
    greeting = "made"


class Door:
    """A source of requests."""

    name = "door"
    pausable = False
    owes_answer = True

    def __init__(self) -> None:
        self.told: list[object] = []

    def pause(self) -> None: ...
    def resume(self) -> None: ...

    def answer(self, event: RequestEvent, reply: object) -> None:
        self.told.append(reply)

    def fail(self, event: RequestEvent, failure: Failure) -> bool:
        self.told.append(failure.text)
        return True


def request(source: Door, body: bytes) -> RequestEvent:
    keys = ("request", ("request", "deploy"))
    return RequestEvent(source, keys, "deploy", "lane", "deploy", {"x-event": "push"}, body,
                        "192.0.2.1", {"by": "bob"})  # fmt: skip


@virtual_time
async def knock(path: Path) -> None:
    async with recording(path, CLIENT, HERE + "Hooked") as bot:
        door = Door()
        for body in (b"v1", b""):
            assert bot.app.plugins.get("hooked").feed(request(door, body))
            await bot.settle()
        assert door.told == ["noted", "what?"]


def test_http_requests_are_heard_again(path: Path) -> None:
    knock(path)
    entries = [entry for entry in Recording(path) if entry.kind == "http"]
    assert [(entry.way, entry.name, entry.frames, entry.by) for entry in entries] == [
        ("in", "deploy", ["v1"], ""),
        ("out", "deploy", ["noted"], "hooked"),
        ("in", "deploy", [""], ""),
        ("out", "deploy", ["bad-request: what?"], "hooked"),
    ]
    assert entries[0].headers == {"x-event": "push"}
    same = replay(path, HERE + "Hooked")
    assert (same.diff, same.then, same.now) == ([], 3, 3)
    other = replay(path, "hooked", Settings(plugins={"hooked": PluginSettings(HERE + "HookedB")}))
    assert any("made v1 bob" in line for line in other.diff)
