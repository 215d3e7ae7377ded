"""The workers plugin: commands that services answer, and what a person sees meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from xml.sax.saxutils import escape

import pytest

from zxmpp import ConfigError, PluginError
from zxmpp.mdp import Job, Progress, Worker
from zxmpp.streams import live
from zxmpp.testing.bot import TestBot, body_of
from zxmpp.testing.transport import feed

from .conftest import ROOM, Connect, Peer, counts, until

CONFIG = """
[broker]
bind = "tcp://127.0.0.1:*"
[guards]
rate = 0
[plugins.help]
[plugins.echo]
[plugins.workers]
{more}
[plugins.workers.commands.shout]
help = "Say it louder."
{command}
"""
ALICE = "alice@localhost/test"
CORRECTION = "urn:xmpp:message-correct:0"
CHAT_STATES = "http://jabber.org/protocol/chatstates"
DISCO = "http://jabber.org/protocol/disco#info"


def config(command: str = "timeout = 5", more: str = "") -> str:
    return CONFIG.format(command=command, more=more)


@asynccontextmanager
async def serving(
    bot: TestBot, function: Callable[..., Any], service: str = "shout", **options: Any
) -> AsyncIterator[Worker]:
    """A worker of zxmpp, registered for a while."""
    worker = Worker(service, function, connect=bot.app.services.bound[0], **options)
    before = bot.app.statistics()["services"]["workers"]
    task = asyncio.ensure_future(worker.serve())
    try:
        await until(lambda: bot.app.statistics()["services"]["workers"] > before)
        yield worker
        worker.stop()
        async with asyncio.timeout(10):
            await task
    finally:
        task.cancel()
        await asyncio.wait([task])


class Plain:
    """A worker that knows no more than RFC 18."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    async def ready(self, service: bytes = b"shout") -> None:
        await self._peer.send(b"MDPW02", b"\x01", service)

    async def request(self) -> tuple[bytes, list[bytes]]:
        """The address and the body of the next request."""
        while (frames := await self._peer.recv())[1] != b"\x02":
            pass
        return frames[2], frames[4:]

    async def part(self, address: bytes, *body: bytes) -> None:
        await self._peer.send(b"MDPW02", b"\x03", address, b"", *body)

    async def final(self, address: bytes, *body: bytes) -> None:
        await self._peer.send(b"MDPW02", b"\x04", address, b"", *body)

    def die(self) -> None:
        self._peer.socket.close(0)


@pytest.fixture
def plain(connect: Connect) -> Callable[[TestBot], Any]:
    async def make(bot: TestBot) -> Plain:
        worker = Plain(connect(bot, "broker", "DEALER"))
        await worker.ready()
        return worker

    return make


Make = Callable[[TestBot], Any]


def shout(text: str) -> str:
    return text.upper()


def tell(bot: TestBot, text: str, sender: str = ALICE, more: str = "", kind: str = "chat") -> None:
    """Say something and wait for nothing."""
    server = bot.app.servers["bot"]
    feed(
        server.xmpp,
        f"<message from='{sender}' to='{bot.address()}' type='{kind}'>"
        f"<body>{escape(text)}</body>{more}</message>",
    )


def leave(bot: TestBot, who: str, more: str = "") -> None:
    feed(
        bot.app.servers["bot"].xmpp,
        f"<presence from='{who}' to='{bot.address()}' type='unavailable'>{more}</presence>",
    )


def bodies(bot: TestBot) -> list[str]:
    return [body_of(stanza) for stanza in bot.sent if body_of(stanza)]


def has(stanza: Any, name: str, namespace: str) -> bool:
    return stanza.find(f"{{{namespace}}}{name}") is not None


async def able(bot: TestBot, *features: str, who: str = ALICE) -> None:
    """Wait until the bot asks what a client can do, and answer."""
    asked: list[Any] = []

    def seen() -> bool:
        asked[:] = [s for s in bot.sent if has(s, "query", DISCO) and s.get("to") == who]
        return bool(asked)

    await until(seen)
    found = "".join(f"<feature var='{feature}'/>" for feature in (DISCO, *features))
    feed(
        bot.app.servers["bot"].xmpp,
        f"<iq type='result' id='{asked[-1].get('id')}' from='{who}' to='{bot.address()}'>"
        f"<query xmlns='{DISCO}'>{found}</query></iq>",
    )


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause before the first sign, and none between corrections."""
    monkeypatch.setattr(live, "BEGIN_SECONDS", 0.0)
    monkeypatch.setattr(live, "EDIT_SECONDS", 0.0)


# -- asking and answering ------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.2-plain"])
async def test_a_worker_answers(version: str) -> None:
    async with TestBot(config()) as bot, serving(bot, shout, version=version):
        for text in ("hello", "  'it is'  fine", "grüß dich"):
            assert await bot.says(f"!shout {text}") == text.strip().upper()
        assert counts(bot, "workers") == {}
        assert bot.app.statistics()["services"]["open"] == 0


async def test_a_command_may_have_another_name_than_its_service() -> None:
    async with (
        TestBot(config('service = "loud.speaker"')) as bot,
        serving(bot, shout, "loud.speaker"),
    ):
        assert await bot.says("!shout hi") == "HI"


async def test_the_worker_knows_who_asks() -> None:
    async def who(body: str, job: Job) -> str:
        return job.sender

    async with TestBot(config()) as bot, serving(bot, who):
        assert await bot.says("!shout hi", sender="bob@localhost/x") == "bob@localhost"
        assert await bot.says("!shout hi", room=ROOM) == "alice@localhost"
        assert await bot.says("!shout hi", room=ROOM, hidden=True) == f"{ROOM}/alice"


async def test_several_frames_are_several_lines(plain: Make) -> None:
    async with TestBot(config('usage = ""')) as bot:
        worker = await plain(bot)
        said = asyncio.ensure_future(bot.says("!shout"))
        address, body = await worker.request()
        assert body == [b""]
        await worker.final(address, b"one", b"two")
        assert await said == "one\ntwo"


async def test_the_usage_is_checked_before_a_worker_is_asked() -> None:
    async with TestBot(config('usage = "<language> <text ...>"')) as bot, serving(bot, shout):
        assert (
            await bot.says("!help shout") == "Usage: !shout <language> <text ...>\nSay it louder."
        )
        assert await bot.says("!shout de") == (
            "text is missing. Usage: !shout <language> <text ...>"
        )
        assert await bot.says("!shout de good  day") == "DE GOOD  DAY"


async def test_typed_arguments_go_out_as_json() -> None:
    usage = 'body = "json"\nusage = "<count:int> <who:jid> [by:float] [note ...]"'
    seen: list[Any] = []

    def take(body: dict[str, Any]) -> str:
        seen.append(body)
        return "taken"

    async with TestBot(config(usage)) as bot, serving(bot, take):
        assert await bot.says("!shout 3 bob@localhost 0.5 two  words") == "taken"
        assert await bot.says("!shout 3 bob@localhost") == "taken"
        assert await bot.says("!shout many bob@localhost") == (
            "count: 'many' is not a whole number. Usage: !shout <count> <who> [by] [note ...]"
        )
    assert seen == [
        {"count": 3, "who": "bob@localhost", "by": 0.5, "note": "two  words"},
        {"count": 3, "who": "bob@localhost", "by": None, "note": ""},
    ]


@pytest.mark.parametrize("name", ["call_", "args", "rest", "self", "call__call_"])
async def test_an_argument_may_have_any_name(name: str) -> None:
    command = f'usage = "<{name}:int>"\nbody = "json"'
    async with TestBot(config(command)) as bot, serving(bot, lambda body: body):
        assert json.loads(await bot.says("!shout 5")) == {name: 5}


async def test_a_role_keeps_a_command_to_its_members() -> None:
    roles = '[roles]\nadmin = ["root@localhost"]\n'
    async with TestBot(roles + config('role = "admin"')) as bot, serving(bot, shout):
        assert "There is no command !shout." in await bot.says("!shout hi")
        assert await bot.says("!shout hi", sender="root@localhost/x") == "HI"
    with pytest.raises(PluginError, match="wants the role 'admin'"):
        async with TestBot(config('role = "admin"')):
            pass


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("timeout = 0", r"commands.*: timeout is a number of seconds above 0"),
        ('usage = "text"', "usage: 'text' is not like"),
        ('usage = "<n:number>"', "'number' is no type"),
        ('usage = "<n:int ...>"', "not like"),
        ('socket = "jobs"', "socket"),
        ('edits = "often"', "edits"),
        ('body = "xml"', "body"),
    ],
)
async def test_a_wrong_config_says_where_and_what(command: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        async with TestBot(config(command)):
            pass


async def test_without_a_broker_it_does_not_start() -> None:
    with pytest.raises(PluginError, match=r"no broker.*\[broker\] bind = "):
        async with TestBot("[plugins.workers.commands.shout]"):
            pass


# -- what goes wrong -----------------------------------------------------------------------------


async def test_without_a_worker_the_time_runs_out_and_nothing_is_done_later(plain: Make) -> None:
    async with TestBot(config("timeout = 0.05")) as bot:
        assert await bot.says("!shout early") == "shout: no answer within 0.05 s; try again later."
        assert bot.app.statistics()["services"]["open"] == 0
    async with TestBot(config("timeout = 0.2")) as bot:
        worker = await plain(bot)
        said = asyncio.ensure_future(bot.says("!shout slow"))
        address, _ = await worker.request()
        assert await said == "shout: no answer within 0.2 s; try again later."
        await worker.final(address, b"too late")
        said = asyncio.ensure_future(bot.says("!shout again"))
        address, body = await worker.request()
        assert body == [b"again"]
        await worker.final(address, b"in time")
        assert await said == "in time"
        assert "too late" not in bodies(bot)
        assert bot.app.statistics()["services"]["counts"]["late-answer"] == 1


@pytest.mark.parametrize(
    ("answer", "says", "counted"),
    [
        (b"\xff\xfe", "shout: the worker's answer is not UTF-8 text.", "bad-utf8"),
        ("half an ö".encode()[:-1], "shout: the worker's answer is not UTF-8 text.", "bad-utf8"),
        (b"x" * 101, "shout: the worker's answer is too big; at most 100 bytes are shown.",
         "answer-too-big"),
        (b"", "shout: the worker's answer is empty.", None),
    ],
)  # fmt: skip
async def test_an_answer_that_can_not_be_shown(
    answer: bytes, says: str, counted: str | None
) -> None:
    answers = [answer, b"good"]

    def give(body: bytes) -> bytes:
        return answers.pop(0)

    async with TestBot(config(more="max_answer_bytes = 100")) as bot, serving(bot, give):
        assert await bot.says("!shout hi") == says
        assert counts(bot, "workers") == ({counted: 1, "refused": 1} if counted else {})
        assert await bot.says("!shout again") == "good"


async def test_parts_that_are_too_big_together_end_the_request(plain: Make) -> None:
    async with TestBot(config(more="max_answer_bytes = 100")) as bot:
        worker = await plain(bot)
        said = asyncio.ensure_future(bot.says("!shout hi"))
        address, _ = await worker.request()
        for _ in range(2):
            await worker.part(address, b"x" * 60)
        assert await said == "shout: the worker's answer is too big; at most 100 bytes are shown."
        assert bot.app.statistics()["services"]["open"] == 0


async def test_what_waits_is_bounded_for_each_person_and_place(plain: Make) -> None:
    async with TestBot(config(more="max_pending = 1")) as bot:
        worker = await plain(bot)
        tell(bot, "!shout a")
        first, _ = await worker.request()
        tell(bot, "!shout b")
        full = "You wait for 1 answers already; !cancel ends them."
        await until(lambda: full in bodies(bot))
        assert counts(bot, "workers") == {"pending-full": 1, "refused": 1}
        await worker.final(first, b"A")
        await until(lambda: "A" in bodies(bot))
        tell(bot, "!shout c")
        third, body = await worker.request()
        assert body == [b"c"]
        tell(bot, "!shout d", sender="bob@localhost/x")
        await until(lambda: bot.app.statistics()["services"]["open"] == 2)
        await worker.final(third, b"C")
        fourth, body = await worker.request()
        assert body == [b"d"]
        await worker.final(fourth, b"D")
        await until(lambda: "D" in bodies(bot))


# -- while a worker works ------------------------------------------------------------------------


def live_messages(bot: TestBot) -> list[tuple[str, bool, bool]]:
    """Messages with a text: it, whether it corrects the first one, whether it ends a composing."""
    messages = [s for s in bot.sent if body_of(s)]
    found = []
    for message in messages:
        replace = message.find(f"{{{CORRECTION}}}replace")
        assert replace is None or replace.get("id") == messages[0].get("id")
        found.append((body_of(message), replace is not None, has(message, "active", CHAT_STATES)))
    return found


def states(bot: TestBot) -> list[str]:
    """Chat states that were sent without a text."""
    found = []
    for stanza in bot.sent:
        if not body_of(stanza):
            found += [
                c.tag.partition("}")[2] for c in stanza if c.tag.startswith(f"{{{CHAT_STATES}")
            ]
    return found


ACTIVE = f"<active xmlns='{CHAT_STATES}'/>"


@pytest.mark.usefixtures("at_once")
async def test_one_message_grows_for_a_client_that_can_take_corrections(plain: Make) -> None:
    async with TestBot(config()) as bot, asyncio.timeout(10):
        worker = await plain(bot)
        tell(bot, "!shout hi", more=ACTIVE)
        address, _ = await worker.request()
        await until(lambda: states(bot) == ["composing"])
        await able(bot, CORRECTION, CHAT_STATES)
        for part, so_far in ((b"one", "one"), (b" two", "one two")):
            await worker.part(address, part)
            await until(lambda so_far=so_far: so_far in bodies(bot))
        await worker.final(address, b" three")
        await until(lambda: "one two three" in bodies(bot))
        await bot.settle()
        assert live_messages(bot) == [
            ("one", False, True), ("one two", True, False), ("one two three", True, False),
        ]  # fmt: skip
        assert states(bot) == ["composing"]
        assert counts(bot, "workers") == {}


async def test_corrections_have_a_pause_and_lose_nothing(
    plain: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BEGIN_SECONDS", 0.0)
    monkeypatch.setattr(live, "EDIT_SECONDS", 3600.0)
    async with TestBot(config('edits = "always"')) as bot, asyncio.timeout(10):
        worker = await plain(bot)
        tell(bot, "!shout hi")
        address, _ = await worker.request()
        await worker.part(address, b"0")
        await until(lambda: bodies(bot) == ["0"])
        for number in range(1, 100):
            await worker.part(address, b" %d" % number)
        await worker.final(address, b"")
        await until(lambda: len(bodies(bot)) > 1)
        await bot.settle()
        assert bodies(bot) == ["0", " ".join(map(str, range(100)))]


@pytest.mark.usefixtures("at_once")
async def test_a_client_that_takes_no_corrections_gets_the_whole_at_the_end(plain: Make) -> None:
    async with TestBot(config()) as bot, asyncio.timeout(10):
        worker = await plain(bot)
        tell(bot, "!shout hi")
        address, _ = await worker.request()
        await able(bot, CHAT_STATES)
        await until(lambda: states(bot) == ["composing"])
        await worker.part(address, b"one")
        await worker.final(address, b" two")
        await until(lambda: bodies(bot))
        await bot.settle()
        assert live_messages(bot) == [("one two", False, True)]


@pytest.mark.usefixtures("at_once")
async def test_a_client_that_does_not_answer_delays_nothing(plain: Make) -> None:
    async with TestBot(config(), timeout=5) as bot:
        worker = await plain(bot)
        said = asyncio.ensure_future(bot.says("!shout hi"))
        address, _ = await worker.request()
        await until(lambda: any(has(s, "query", DISCO) for s in bot.sent))
        await worker.part(address, b"one")
        await worker.final(address, b" two")
        assert await said == "one two"
        assert await bot.says("!echo on we go") == "on we go"


@pytest.mark.usefixtures("at_once")
async def test_never_means_never(plain: Make) -> None:
    async with TestBot(config('edits = "never"')) as bot:
        worker = await plain(bot)
        said = asyncio.ensure_future(bot.hears_message("!shout hi"))
        address, _ = await worker.request()
        await able(bot, CORRECTION)
        await worker.part(address, b"one")
        await worker.final(address, b" two")
        assert await said == ["one two"]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("edits", ["auto", "always"])
async def test_a_room_gets_the_whole_at_the_end_unless_it_wants_it_all(
    plain: Make, edits: str
) -> None:
    async with TestBot(config(f'edits = "{edits}"')) as bot, asyncio.timeout(10):
        await bot.joins(ROOM)
        worker = await plain(bot)
        tell(bot, "!shout hi", sender=f"{ROOM}/alice", kind="groupchat", more=ACTIVE)
        address, _ = await worker.request()
        await worker.part(address, b"one")
        if edits == "always":
            await until(lambda: bodies(bot) == ["one"])
        await worker.final(address, b" two")
        await until(lambda: "one two" in bodies(bot))
        await bot.settle()
        first = [("one", False, False)] if edits == "always" else []
        assert live_messages(bot) == [*first, ("one two", bool(first), False)]
        assert states(bot) == []
        assert {s.get("to") for s in bot.sent if body_of(s)} == {ROOM}
        assert not any(has(s, "query", DISCO) for s in bot.sent)


@pytest.mark.usefixtures("at_once")
async def test_progress_is_a_bar_below_the_text() -> None:
    go = asyncio.Queue[None]()

    async def work(body: str) -> AsyncIterator[Any]:
        for step in (Progress(0), Progress(0.5, "half"), "way", Progress(1.0)):
            await go.get()
            yield step
        await go.get()

    async with TestBot(config('edits = "always"')) as bot, serving(bot, work), asyncio.timeout(10):
        tell(bot, "!shout hi")
        empty, half, full = "░" * 20 + " 0%", "▓" * 10 + "░" * 10 + " 50%", "▓" * 20 + " 100%"
        for wanted in (empty, f"half\n{half}", f"halfway\n{half}", f"halfway\n{full}", "halfway"):
            go.put_nowait(None)
            await until(lambda wanted=wanted: bodies(bot)[-1:] == [wanted])
        assert len(bodies(bot)) == 5


@pytest.mark.usefixtures("at_once")
async def test_a_part_may_end_in_the_middle_of_a_character(plain: Make) -> None:
    whole = "grüße, 世界".encode()
    async with TestBot(config('edits = "always"')) as bot, asyncio.timeout(10):
        worker = await plain(bot)
        tell(bot, "!shout hi")
        address, _ = await worker.request()
        for at in range(len(whole)):
            await worker.part(address, whole[at : at + 1])
        await worker.final(address, b"")
        await until(lambda: whole.decode() in bodies(bot))
        await bot.settle()
        assert all(whole.decode().startswith(text) for text in bodies(bot))
        assert counts(bot, "workers") == {}


@pytest.mark.usefixtures("at_once")
async def test_a_worker_that_dies_in_mid_answer_is_replaced(plain: Make) -> None:
    async with TestBot(config('edits = "always"')) as bot, asyncio.timeout(10):
        first = await plain(bot)
        tell(bot, "!shout hi")
        address, _ = await first.request()
        # Half a character is left over, too.
        await first.part(address, b"stale \xc3")
        await until(lambda: bodies(bot) == ["stale "])
        second = await plain(bot)
        first.die()
        address, body = await second.request()
        assert body == [b"hi"]
        await second.part(address, b"fresh")
        await second.final(address, b" start")
        await until(lambda: "fresh start" in bodies(bot))
        await bot.settle()
        assert bodies(bot)[0] == "stale "
        assert bodies(bot)[-1] == "fresh start"
        assert all("stale" not in text for text in bodies(bot)[1:])


# -- nobody waits any more -----------------------------------------------------------------------


class Patient:
    """A service's function that never ends by itself."""

    def __init__(self) -> None:
        self.begun = Counter[str]()
        self.ended = Counter[str]()

    async def __call__(self, body: str) -> str:
        self.begun[body] += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.ended[body] += 1
            raise
        return "never"


@asynccontextmanager
async def waiting(more: str = "") -> AsyncIterator[tuple[TestBot, Patient]]:
    """A bot, and a worker that takes its time."""
    patient = Patient()

    async def work(body: str) -> str:
        return await patient(body)

    async with (
        TestBot(config("timeout = 60" + more)) as bot,
        serving(bot, work, slots=5),
        asyncio.timeout(20),
    ):
        await bot.joins(ROOM)
        for nick in ("alice", "bob"):
            bot.app.servers["bot"].enter(f"{ROOM}/{nick}", f"{nick}@localhost/test")
        await bot.settle()
        yield bot, patient
        if "workers" in bot.app.plugins:
            await bot.app.plugins.unload("workers")


async def test_cancel_ends_what_the_same_person_asked_for_in_the_same_place() -> None:
    async with waiting() as (bot, patient):
        tell(bot, "!shout mine 1:1")
        tell(bot, "!shout mine in room", sender=f"{ROOM}/alice", kind="groupchat")
        tell(bot, "!shout another's 1:1", sender="bob@localhost/x")
        tell(bot, "!shout another's in room", sender=f"{ROOM}/bob", kind="groupchat")
        await until(lambda: patient.begun.total() == 4)
        tell(bot, "!cancel")
        await until(lambda: patient.ended == {"mine 1:1": 1})
        await until(lambda: {"Cancelled: 1.", "shout: cancelled."} <= set(bodies(bot)))
        tell(bot, "!cancel")
        await until(lambda: "There is nothing to cancel." in bodies(bot))
        tell(bot, "!cancel", sender=f"{ROOM}/alice", kind="groupchat")
        await until(lambda: patient.ended.total() == 2)
        assert patient.ended == {"mine 1:1": 1, "mine in room": 1}
        assert counts(bot, "workers")["cancelled"] == 2
        assert bot.app.statistics()["services"]["open"] == 2


async def test_who_leaves_does_not_wait_and_is_not_written_to() -> None:
    async with waiting() as (bot, patient):
        tell(bot, "!shout desk", sender="alice@localhost/desk")
        tell(bot, "!shout phone", sender="alice@localhost/phone")
        await until(lambda: patient.begun.total() == 2)
        leave(bot, "alice@localhost/desk")
        await until(lambda: patient.ended == {"desk": 1})
        await until(lambda: bot.app.statistics()["services"]["open"] == 1)
        assert bodies(bot) == []
        assert counts(bot, "workers") == {"cancelled": 1}


async def test_an_occupant_who_leaves_the_room_does_not_wait() -> None:
    occupant = (
        "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='member' {}/>{}</x>"
    )
    async with waiting() as (bot, patient):
        tell(bot, "!shout alice", sender=f"{ROOM}/alice", kind="groupchat")
        tell(bot, "!shout private", sender=f"{ROOM}/alice")
        tell(bot, "!shout bob", sender=f"{ROOM}/bob", kind="groupchat")
        await until(lambda: patient.begun.total() == 3)
        # Another nick is not another place.
        leave(bot, f"{ROOM}/bob", occupant.format("nick='robert'", "<status code='303'/>"))
        leave(bot, f"{ROOM}/alice", occupant.format("role='none'", ""))
        await until(lambda: patient.ended == {"alice": 1, "private": 1})
        await until(lambda: bot.app.statistics()["services"]["open"] == 1)
        assert bodies(bot) == []


async def test_what_is_cancelled_while_it_waits_never_starts(plain: Make) -> None:
    async with TestBot(config()) as bot, asyncio.timeout(10):
        tell(bot, "!shout forgotten")
        await until(lambda: bot.app.statistics()["services"]["open"] == 1)
        assert await bot.hears_message("!cancel") == ["Cancelled: 1.", "shout: cancelled."]
        worker = await plain(bot)
        tell(bot, "!shout next")
        address, body = await worker.request()
        assert body == [b"next"]
        await worker.final(address, b"done")
        await until(lambda: "done" in bodies(bot))


async def test_unloading_ends_what_is_under_way() -> None:
    async with waiting() as (bot, patient):
        tell(bot, "!shout hi")
        await until(lambda: patient.begun)
        await bot.app.plugins.unload("workers")
        await until(lambda: patient.ended == {"hi": 1})
        assert bodies(bot) == ["workers was stopped."]
        assert bot.app.statistics()["services"]["open"] == 0
        assert await bot.says("!echo on we go") == "on we go"
        assert "There is no command !shout." in await bot.says("!shout hi")


@pytest.mark.usefixtures("reloads")
async def test_a_reload_ends_no_request_and_what_is_under_way_can_be_cancelled(plain: Make) -> None:
    async with TestBot(config()) as bot:
        worker = await plain(bot)
        for text in ("!shout one", "!shout two"):
            tell(bot, text)
            address, _ = await worker.request()
            await bot.app.plugins.reload("workers")
            if text.endswith("one"):
                await worker.final(address, b"ONE")
                await until(lambda: "ONE" in bodies(bot))
        tell(bot, "!cancel")
        await until(lambda: {"Cancelled: 1.", "shout: cancelled."} <= set(bodies(bot)))
        await bot.app.plugins.retired()
