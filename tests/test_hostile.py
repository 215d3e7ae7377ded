"""A whole bot under attack: by its own plugins, by who writes to it, by what sockets bring."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest
import zmq
import zmq.asyncio

from zxmpp import Plugin, PluginError, StanzaEvent, command, every, on
from zxmpp.handlers import MAX_REPLIES
from zxmpp.testing.bot import TestBot, body_of
from zxmpp.testing.transport import feed

ROOM = "ops@rooms.localhost"
LIMIT = 10
NO_RATE = "[guards]\nrate = 0\n"


class Good(Plugin):
    """What must go on whatever the others do."""

    @command
    def good(self) -> str:
        """Answer."""
        return "still here"

    @command
    async def turn(self) -> str:
        """Answer when the loop gets to it."""
        return "my turn"


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(LIMIT):
        while not true():
            await asyncio.sleep(0.001)


def tell(bot: TestBot, body: str, sender: str = "alice@localhost/test", ident: str = "1") -> None:
    """Say something and wait for nothing."""
    feed(
        bot.app.servers["bot"].xmpp,
        f"<message from={quoteattr(sender)} to='bot@localhost/test' type='chat' id='{ident}'>"
        f"<body>{body}</body></message>",
    )


def bodies(bot: TestBot) -> list[str]:
    return [body_of(stanza) for stanza in bot.sent if body_of(stanza)]


def counts(bot: TestBot, owner: str) -> dict[str, int]:
    return bot.app.pipeline.statistics().owners[owner]


def dropped(bot: TestBot) -> dict[str, int]:
    return bot.app.pipeline.statistics().counts


# -- plugins ----------------------------------------------------------------------------------------


class Villain(Plugin):
    """Does all that a plugin should not."""

    @command
    def leave(self) -> str:
        sys.exit(3)

    @command
    async def leave_later(self) -> str:
        await asyncio.sleep(0)
        sys.exit(3)

    @command
    def leave_midway(self) -> Iterator[str]:
        yield "one"
        sys.exit(3)

    @command
    async def leave_streaming(self) -> AsyncIterator[str]:
        yield "one"
        sys.exit(3)

    @command
    def crash(self) -> str:
        raise ZeroDivisionError("hush")

    @command
    def endless(self) -> Iterator[str]:
        while True:
            yield "flood"

    @command
    async def endless_async(self) -> AsyncIterator[str]:
        while True:
            yield "flood"

    @command(timeout=0.05)
    async def quiet_endless(self) -> AsyncIterator[str]:
        for _ in range(MAX_REPLIES - 1):
            yield "flood"
        await asyncio.Event().wait()

    @command
    def block(self) -> str:
        time.sleep(0.03)
        return "done"

    @command
    async def hang(self) -> None:
        await asyncio.Event().wait()

    @command
    def nonsense(self) -> Any:
        return object()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("!leave", "failed"),
        ("!leave_later", "failed"),
        ("!leave_midway", "failed"),
        ("!leave_streaming", "failed"),
        ("!crash", "failed"),
        ("!nonsense", "failed"),
    ],
)
async def test_a_fault_is_counted_logged_by_name_and_told_as_a_reference(
    text: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with TestBot(plugins=[Villain, Good]) as bot:
        replies = await bot.hears_message(text)
        assert "hush" not in " ".join(replies)
        reference = replies[-1].split()[-1].rstrip(".")
        assert reference in caplog.text
        assert f"command {text[1:]} of villain" in caplog.text
        assert counts(bot, "villain") == {reason: 1}
        assert await bot.says("!good") == "still here"


@pytest.mark.parametrize("text", ["!endless", "!endless_async"])
async def test_replies_without_end_are_ended(text: str, caplog: pytest.LogCaptureFixture) -> None:
    async with TestBot(plugins=[Villain, Good]) as bot:
        tell(bot, text)
        tell(bot, "!good", "carol@localhost/x")
        await until(lambda: counts(bot, "villain").get("too-many-replies"))
        await bot.settle()
        assert f"command {text[1:]} of villain yielded more than" in caplog.text
        assert bodies(bot).count("flood") <= MAX_REPLIES
        assert await bot.says("!good") in ("still here", "")
        # More than the window is sent when the server has confirmed what came before.
        bot.app.stream().xmpp.probe()
        await until(lambda: bodies(bot).count("still here") == 2)


async def test_an_async_flood_lets_others_through_meanwhile() -> None:
    async with TestBot(plugins=[Villain, Good]) as bot:
        tell(bot, "!endless_async")
        tell(bot, "!turn", "carol@localhost/x")
        await until(lambda: "my turn" in bodies(bot))
        assert bodies(bot).index("my turn") < MAX_REPLIES - 1
        await bot.settle()


async def test_a_handler_that_blocks_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async with TestBot("[pipeline]\nslow_step = 0.02\n", plugins=[Villain, Good]) as bot:
        assert await bot.says("!block") == "done"
        assert counts(bot, "villain") == {"blocked-loop": 1}
        assert "command block of villain kept the loop" in caplog.text
        assert await bot.says("!good") == "still here"


async def test_a_full_lane_says_wait_and_no_other_lane_does() -> None:
    async with TestBot("[pipeline]\nlane_limit = 3\n" + NO_RATE, plugins=[Villain, Good]) as bot:
        tell(bot, "!hang", ident="first")
        await until(lambda: not bot.app.pipeline.statistics().waiting)
        for number in range(5):
            tell(bot, "!hang", ident=f"h{number}")
        await until(lambda: counts(bot, "villain").get("lane-full") == 2)
        await until(lambda: len(bodies(bot)) == 2)
        assert all("villain is busy" in text for text in bodies(bot)), bodies(bot)
        tell(bot, "!good")
        tell(bot, "!good", "carol@localhost/x")
        await until(lambda: bodies(bot).count("still here") == 2)
        await bot.app.plugins.unload("villain")
        assert not bot.app.pipeline.in_flight


class Waits(Plugin):
    @on.message
    async def take(self, event: StanzaEvent) -> None:
        await asyncio.Event().wait()


async def test_a_full_lane_of_plain_messages_is_a_stanza_error() -> None:
    async with TestBot("[pipeline]\nlane_limit = 1\n" + NO_RATE, plugins=[Waits]) as bot:
        tell(bot, "x", ident="m0")
        await until(lambda: not bot.app.pipeline.statistics().waiting)
        tell(bot, "x", ident="m1")
        tell(bot, "x", ident="m2")
        await until(lambda: [s for s in bot.sent if s.get("type") == "error"])
        (error,) = [stanza for stanza in bot.sent if stanza.get("type") == "error"]
        assert (error.get("to"), error.get("id")) == ("alice@localhost/test", "m2")
        detail = next(child for child in error if child.tag.endswith("}error"))
        assert detail.get("type") == "wait"
        assert detail[0].tag == "{urn:ietf:params:xml:ns:xmpp-stanzas}resource-constraint"
        await bot.app.plugins.unload("waits")


class Timers(Plugin):
    @every(0.001)
    def leave(self) -> None:
        sys.exit(4)

    async def start(self) -> None:
        async def work() -> None:
            await asyncio.sleep(0)
            sys.exit(5)

        self.spawn(work())


async def test_sys_exit_in_a_timer_and_a_task(caplog: pytest.LogCaptureFixture) -> None:
    async with TestBot(plugins=[Timers, Good]) as bot:
        await until(lambda: counts(bot, "timers").get("timer-failed", 0) >= 2)
        assert counts(bot, "timers")["task-failed"] == 1
        assert "plugin timers called sys.exit in a task" in caplog.text
        assert await bot.says("!good") == "still here"


class Lives(Plugin):
    """`start` and `stop` as the test says."""

    at_start = at_stop = ""

    async def _do(self, what: str) -> None:
        match what:
            case "raise":
                raise ZeroDivisionError
            case "exit":
                sys.exit(6)
            case "hang":
                await asyncio.Event().wait()
            case "ignore":
                while True:
                    try:
                        await release.wait()
                        return
                    except asyncio.CancelledError:
                        pass
            case "cancelled":
                task = asyncio.ensure_future(asyncio.Event().wait())
                task.cancel()
                await task

    @command
    def lives(self) -> str:
        return "lives"

    async def start(self) -> None:
        self.spawn(asyncio.Event().wait())
        await self._do(self.at_start)

    async def stop(self) -> None:
        await self._do(self.at_stop)


release = asyncio.Event()
WAYS = ["raise", "exit", "hang", "ignore", "cancelled"]


@pytest.fixture
async def impatient(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    global release
    release = asyncio.Event()
    for name in ("START_SECONDS", "STOP_SECONDS", "CANCEL_SECONDS"):
        monkeypatch.setattr(f"zxmpp.loader.{name}", 0.02)
    yield
    release.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@pytest.mark.parametrize("way", WAYS)
async def test_a_start_that_does_not_end_well(way: str, impatient: None) -> None:
    bad = type("Bad", (Lives,), {"at_start": way})
    async with TestBot(plugins=[Good]) as bot:
        before = len(bot.app.commands)
        async with asyncio.timeout(LIMIT):
            with pytest.raises(PluginError, match="bad"):
                await bot.app.plugins.load_classes([bad])
        assert "bad" not in bot.app.plugins
        assert len(bot.app.commands) == before
        assert await bot.says("!good") == "still here"
        bad.at_start = ""  # type: ignore[attr-defined]
        await bot.app.plugins.load_classes([bad])
        assert await bot.says("!lives") == "lives"


@pytest.mark.parametrize("way", WAYS)
async def test_a_stop_that_does_not_end_well(
    way: str, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    bad = type("Bad", (Lives,), {"at_stop": way})
    async with TestBot('[sockets.x]\ntype = "PULL"\nbind = "tcp://127.0.0.1:*"\n',
                       plugins=[Good, bad]) as bot:  # fmt: skip
        async with asyncio.timeout(LIMIT):
            await bot.app.stop()
    assert "plugin bad failed to stop" in caplog.text
    assert not list(bot.app.plugins)
    assert not bot.app.sockets
    assert not bot.app.pipeline.in_flight


# -- who is who -------------------------------------------------------------------------------------

ROLES = '[roles]\nadmin = ["alice@localhost"]\n' + NO_RATE


class Secrets(Plugin):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls: list[str] = []
        self.requests = 0

    @command(role="admin")
    def wipe(self, event: StanzaEvent) -> str:
        """Only for admins."""
        self.calls.append(event.from_)
        return "wiped"

    @on.iq(payload="{urn:x}admin", where=lambda event: event.sender == "alice@localhost")
    def ask(self, event: StanzaEvent) -> None:
        self.requests += 1


@pytest.fixture
async def guarded() -> AsyncIterator[TestBot]:
    async with TestBot(ROLES, plugins=[Secrets, "help"]) as bot:
        yield bot


def calls(bot: TestBot) -> list[str]:
    found: list[str] = bot.app.plugins.get("secrets").calls  # type: ignore[attr-defined]
    return found


async def test_the_admin_may(guarded: TestBot) -> None:
    assert await guarded.says("!wipe") == "wiped"
    assert await guarded.says("!wipe", room=ROOM) == "wiped"


FAKES = [
    "alice@localhost.evil.net/test",
    "alice@evil.net/alice@localhost",
    "localhost/alice@localhost",
    "alice@sub.localhost/test",
    "Alice@localhost.",
    "\u0430lice@localhost/test",
    "alice@l\u043ecalhost/test",
    "al\u0131ce@localhost/test",
    "\uff41lice@localhost/test",
    "alice\u200b@localhost/test",
    "alice@localhost\u3002/test",
    "xalice@localhost/test",
    "alice@localhos",
    "alice/@localhost",
    f"{ROOM}/alice@localhost",
    f"{ROOM}/alice",
    "ALICE@EVIL.net/x",
    "alice@",
    "@localhost",
    "/alice@localhost",
    "alice@localhost@evil.net",
]


@pytest.mark.parametrize("sender", FAKES)
@pytest.mark.parametrize("joined", [False, True])
async def test_look_alikes_are_nobody(guarded: TestBot, sender: str, joined: bool) -> None:
    if joined:
        await guarded.joins(ROOM)
    for kind in ("chat", "normal", "groupchat", "headline", "error", "made-up"):
        await guarded.hears(
            f"<message from={quoteattr(sender)} to='bot@localhost/test' type='{kind}'>"
            "<body>!wipe</body></message>"
        )
    await guarded.hears(
        f"<iq from={quoteattr(sender)} to='bot@localhost/test' type='set' id='1'>"
        "<admin xmlns='urn:x'/></iq>"
    )
    assert calls(guarded) == []
    assert guarded.app.plugins.get("secrets").requests == 0  # type: ignore[attr-defined]
    assert "wipe" not in " ".join(
        text for text in bodies(guarded) if not text.startswith("There is no command !wipe.")
    )


@pytest.mark.parametrize("nick", ["alice@localhost", "alice", "Alice", "admin"])
@pytest.mark.parametrize("real", ["", "mallory@localhost/x", "alice@localhost.evil.net/x"])
async def test_a_nick_is_not_an_admin(guarded: TestBot, nick: str, real: str) -> None:
    await guarded.joins(ROOM)
    who = f"{ROOM}/{nick}"
    guarded.app.servers["bot"].enter(who, real)
    await guarded.settle()
    for kind in ("groupchat", "chat"):
        await guarded.hears(
            f"<message from={quoteattr(who)} to='bot@localhost/test' type='{kind}'>"
            "<nick xmlns='http://jabber.org/protocol/nick'>alice@localhost</nick>"
            "<x xmlns='http://jabber.org/protocol/muc#user'>"
            "<item affiliation='owner' role='moderator' jid='alice@localhost/x'/></x>"
            "<addresses xmlns='http://jabber.org/protocol/address'>"
            "<address type='ofrom' jid='alice@localhost/x'/></addresses>"
            "<body>!wipe</body></message>"
        )
    assert calls(guarded) == []


async def test_a_nick_that_changes_hands_takes_no_role_along(guarded: TestBot) -> None:
    assert await guarded.says("!wipe", room=ROOM) == "wiped"
    await guarded.hears(
        f"<presence type='unavailable' from='{ROOM}/alice' to='bot@localhost/test'>"
        "<x xmlns='http://jabber.org/protocol/muc#user'><item role='none'/></x></presence>"
    )
    await guarded.hears(
        f"<presence from='{ROOM}/alice' to='bot@localhost/test'>"
        "<x xmlns='http://jabber.org/protocol/muc#user'><item role='participant'/></x></presence>"
    )
    for kind in ("groupchat", "chat"):
        await guarded.hears(
            f"<message from='{ROOM}/alice' to='bot@localhost/test' type='{kind}'>"
            "<body>!wipe</body></message>"
        )
    assert calls(guarded) == [f"{ROOM}/alice"]


async def test_a_room_that_nobody_joined_vouches_for_nobody(guarded: TestBot) -> None:
    fake = "den@rooms.evil.net"
    await guarded.hears(
        f"<presence from='{fake}/x' to='bot@localhost/test'>"
        "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' "
        "role='moderator' jid='alice@localhost/test'/><status code='110'/></x></presence>"
    )
    for kind in ("groupchat", "chat"):
        await guarded.hears(
            f"<message from='{fake}/x' to='bot@localhost/test' type='{kind}'>"
            "<body>!wipe</body></message>"
        )
    assert calls(guarded) == []


async def test_the_real_jid_is_forgotten_with_the_room(guarded: TestBot) -> None:
    assert await guarded.says("!wipe", room=ROOM) == "wiped"
    guarded.app.stream().leave(ROOM)
    await guarded.settle()
    for kind in ("groupchat", "chat"):
        await guarded.hears(
            f"<message from='{ROOM}/alice' to='bot@localhost/test' type='{kind}'>"
            "<body>!wipe</body></message>"
        )
    assert calls(guarded) == [f"{ROOM}/alice"]


async def test_who_may_not_use_a_command_can_not_see_it(guarded: TestBot) -> None:
    assert "wipe" in await guarded.says("!help")
    assert "wipe" not in await guarded.says("!help", sender="mallory@localhost/x")
    unknown = await guarded.says("!wipe", sender="mallory@localhost/x")
    assert unknown == (await guarded.says("!wope", sender="mallory@localhost/x")).replace(
        "wope", "wipe"
    )


# -- stanzas that are no fresh words ----------------------------------------------------------------

DELAY = "<delay xmlns='urn:xmpp:delay' from='{}' stamp='2020-01-01T00:00:00Z'/>"
INNER = ("<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' "
         "from='alice@localhost/x' to='bot@localhost/test' type='chat'><body>!wipe</body>"
         "</message></forwarded>")  # fmt: skip


@pytest.mark.parametrize(
    ("sender", "inside", "reason"),
    [
        ("alice@localhost/x", "<body>!wipe</body>" + DELAY.format("localhost"), "delayed"),
        ("alice@localhost/x", DELAY.format("evil.net") + "<body>!wipe</body>", "delayed"),
        ("alice@localhost/x", "<body>!wipe</body><x xmlns='jabber:x:delay' stamp='x'/>", "delayed"),
        ("bot@localhost/test", "<body>!wipe</body>", "own-echo"),
        ("bot@localhost", (f"<received xmlns='urn:xmpp:carbons:2'>{INNER}</received>"
         "<body>!wipe</body>"), "carbon"),
        ("mallory@evil.net/x", (f"<sent xmlns='urn:xmpp:carbons:2'>{INNER}</sent>"
         "<body>!wipe</body>"), "carbon"),
        ("alice@localhost/x", (f"<received xmlns='urn:xmpp:carbons:2'>{INNER}</received>"
         "<body>!wipe</body>"), "carbon"),
    ],
)  # fmt: skip
async def test_what_is_no_fresh_word_is_counted(
    guarded: TestBot, sender: str, inside: str, reason: str
) -> None:
    sent = await guarded.hears(
        f"<message from='{sender}' to='bot@localhost/test' type='chat'>{inside}</message>"
    )
    assert sent == []
    assert calls(guarded) == []
    assert dropped(guarded)[f"guard:{reason}"] == 1


@pytest.mark.parametrize("sender", ["bot@localhost", "mallory@evil.net/x", "alice@localhost/x"])
@pytest.mark.parametrize("xep", ["", "xep_0280"])
async def test_what_a_carbon_holds_is_no_command(sender: str, xep: str) -> None:
    config = ROLES + (
        f'[streams.bot]\nkind = "client"\njid = "bot@localhost/test"\nplugins = ["{xep}"]\n'
        if xep
        else ""
    )
    async with TestBot(config, plugins=[Secrets]) as bot:
        for kind in ("received", "sent"):
            await bot.hears(
                f"<message from='{sender}' to='bot@localhost/test' type='chat'>"
                f"<{kind} xmlns='urn:xmpp:carbons:2'>{INNER}</{kind}></message>"
            )
        assert calls(bot) == []
        assert bot.sent == [] or all(stanza.get("type") != "chat" for stanza in bot.sent)


@pytest.mark.parametrize(
    ("nick", "inside", "reason"),
    [
        ("alice", DELAY.format(ROOM), "delayed"),
        ("bot", "", "own-echo"),
    ],
)
async def test_what_a_room_says_again(
    guarded: TestBot, nick: str, inside: str, reason: str
) -> None:
    assert await guarded.says("!wipe", room=ROOM) == "wiped"
    calls(guarded).clear()
    before = dropped(guarded).get(f"guard:{reason}", 0)
    sent = await guarded.hears(
        f"<message from='{ROOM}/{nick}' to='bot@localhost/test' type='groupchat'>"
        f"<body>!wipe</body>{inside}</message>"
    )
    assert (sent, calls(guarded)) == ([], [])
    assert dropped(guarded)[f"guard:{reason}"] == before + 1


async def test_history_without_a_delay_is_history(guarded: TestBot) -> None:
    server = guarded.app.servers["bot"]
    entered: list[Any] = []
    server.enter = lambda *args, **named: entered.append((args, named))  # type: ignore[method-assign]
    await guarded.joins(ROOM)
    await guarded.hears(
        f"<presence from='{ROOM}/alice' to='bot@localhost/test'>"
        "<x xmlns='http://jabber.org/protocol/muc#user'>"
        "<item role='participant' jid='alice@localhost/x'/></x></presence>"
    )
    old = (f"<message from='{ROOM}/alice' to='bot@localhost/test' type='groupchat'>"
           "<body>!wipe</body></message>")  # fmt: skip
    await guarded.hears(old)
    assert calls(guarded) == []
    assert dropped(guarded)["guard:history"] == 1


async def test_the_same_message_twice_runs_once(guarded: TestBot) -> None:
    one = ("<message from='alice@localhost/x' to='bot@localhost/test' type='chat'>"
           "<body>!wipe</body><stanza-id xmlns='urn:xmpp:sid:0' by='{}' id='i1'/></message>")  # fmt: skip
    await guarded.hears(one.format("bot@localhost"))
    await guarded.hears(one.format("bot@localhost"))
    assert len(calls(guarded)) == 1
    assert dropped(guarded)["guard:duplicate"] == 1


async def test_a_strangers_stanza_id_silences_nobody(guarded: TestBot) -> None:
    await guarded.hears(
        "<message from='mallory@evil.net/x' to='bot@localhost/test' type='chat'><body>hi</body>"
        "<stanza-id xmlns='urn:xmpp:sid:0' by='evil.net' id='i1'/></message>"
    )
    await guarded.hears(
        "<message from='alice@localhost/x' to='bot@localhost/test' type='chat'><body>!wipe</body>"
        "<stanza-id xmlns='urn:xmpp:sid:0' by='bot@localhost' id='i1'/></message>"
    )
    assert len(calls(guarded)) == 1


async def test_roster_pushes_of_strangers_change_nothing(guarded: TestBot) -> None:
    xmpp = guarded.app.stream().xmpp
    for sender in ("mallory@evil.net/x", "alice@localhost/x", "evil.net", "bot@localhost.evil.net"):
        await guarded.hears(
            f"<iq type='set' id='r' from='{sender}' to='bot@localhost/test'>"
            "<query xmlns='jabber:iq:roster'><item jid='mallory@evil.net' subscription='both'/>"
            "</query></iq>"
        )
    assert "mallory@evil.net" not in xmpp.client_roster or (
        xmpp.client_roster["mallory@evil.net"]["subscription"] == "none"
    )


async def test_a_result_of_the_wrong_jid_settles_nothing(guarded: TestBot) -> None:
    xmpp = guarded.app.stream().xmpp
    asked = xmpp.make_iq_get(queryxmlns="urn:q", ito="service@localhost/a")
    waiting = asyncio.ensure_future(asked.send(timeout=LIMIT))
    await asyncio.sleep(0)
    for sender in (
        "mallory@evil.net/x",
        "service@localhost/b",
        "evil.net",
        "service@localhost.x/a",
    ):
        await guarded.hears(
            f"<iq type='result' id='{asked['id']}' from='{sender}' to='bot@localhost/test'>"
            "<query xmlns='urn:q'>forged</query></iq>"
        )
    assert not waiting.done()
    await guarded.hears(
        f"<iq type='result' id='{asked['id']}' from='service@localhost/a' to='bot@localhost/test'/>"
    )
    await waiting
    assert calls(guarded) == []


class Talks(Plugin):
    """Answers everything, errors too."""

    @on.message
    def message(self, event: StanzaEvent) -> str:
        self.count("heard")
        return "and you?"

    @on.stanza(type("All", (), {"match": lambda self, stanza: stanza.name == "message"})())
    async def all(self, event: StanzaEvent) -> str | None:
        return "pardon?" if event.type == "error" else None


async def test_errors_are_never_answered() -> None:
    async with TestBot(NO_RATE, plugins=[Talks, "help"]) as bot:
        for sender in ("alice@localhost/x", "localhost", f"{ROOM}/x"):
            for body in ("<body>!help</body>", "<body>x</body>", ""):
                await bot.hears(
                    f"<message from='{sender}' to='bot@localhost/test' type='error'>{body}"
                    "<error type='cancel'><item-not-found "
                    "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
                )
        assert bodies(bot) == []
        assert "heard" not in counts(bot, "talks")
        assert not [stanza for stanza in bot.sent if stanza.tag.endswith("}message")]


async def test_two_bots_do_not_talk_for_ever() -> None:
    config = ("[guards]\nrate = 0.001\nburst = 10\n[streams.bot]\nkind = 'client'\n"
              "jid = '{}@localhost/x'\n")  # fmt: skip
    async with (
        TestBot(config.format("one"), plugins=[Talks]) as one,
        TestBot(config.format("two"), plugins=[Talks]) as two,
    ):
        taken = {id(one): 0, id(two): 0}
        tell(one, "hello", "two@localhost/x")
        async with asyncio.timeout(LIMIT):
            turns = 0
            while True:
                await one.settle()
                await two.settle()
                moved = 0
                for here, there, name in ((one, two, "one"), (two, one, "two")):
                    for stanza in here.sent[taken[id(here)] :]:
                        taken[id(here)] += 1
                        moved += 1
                        kind = stanza.get("type", "normal")
                        tell_as = f"{name}@localhost/x"
                        feed(
                            there.app.servers["bot"].xmpp,
                            f"<message from='{tell_as}' to='x' type='{kind}'>"
                            f"<body>{body_of(stanza)}</body></message>",
                        )
                if not moved:
                    break
                turns += 1
                assert turns < 100
        assert sum(taken.values()) <= 25
        assert dropped(one).get("guard:rate", 0) + dropped(two).get("guard:rate", 0) >= 1


# -- what is typed ----------------------------------------------------------------------------------


class Sums(Plugin):
    @command
    def add(self, a: int, b: int = 1) -> str:
        return str(a + b)

    @command
    def spread(self, *words: str) -> str:
        return str(len(words))

    @command
    def note(self, title: str, *, text: str) -> str:
        return f"{title} {len(text)}"


@pytest.mark.parametrize(
    "text",
    ["!" + "x" * 200_000, "!add " + "1" * 200_000, "!add '" + "1 " * 100_000,
     "!spread " + "a " * 100_000, "!add " + "\\" * 200_000, "!add " + "9" * 4000 + " 1"],
    ids=["name", "word", "quoted", "words", "backslashes", "digits"],
)  # fmt: skip
async def test_a_huge_line_is_refused_shortly(text: str) -> None:
    async with TestBot(NO_RATE, plugins=[Sums]) as bot:
        reply = await bot.says(text)
        assert len(reply) < 9000
        assert counts(bot, "sums").get("failed", 0) == 0
        assert await bot.says("!add 1 2") == "3"


async def test_the_rest_of_a_line_may_be_long() -> None:
    async with TestBot(NO_RATE, plugins=[Sums]) as bot:
        assert await bot.says("!note t " + "x" * 200_000) == "t 200000"


# -- frames -----------------------------------------------------------------------------------------

SOCKETS = (
    NO_RATE
    + """
[streams.bot]
kind = "component"
jid = "bot.localhost"
[sockets.alerts]
type = "PULL"
bind = "tcp://127.0.0.1:*"
max_frames = 20000
[sockets.door]
type = "ROUTER"
bind = "tcp://127.0.0.1:*"
max_frames = 20000
[sockets.out]
type = "PUB"
bind = "tcp://127.0.0.1:*"
[sockets.jobs]
type = "DEALER"
bind = "tcp://127.0.0.1:*"
max_frames = 20000
[plugins.echo]
[[plugins.relay.routes]]
socket = "alerts"
to = ["alice@localhost"]
[[plugins.inject.routes]]
socket = "door"
allow_to = ["alice@localhost"]
[[plugins.publish.routes]]
socket = "out"
[plugins.workers.commands.shout]
socket = "jobs"
timeout = 5
"""
)

BAD: list[list[bytes]] = [
    [b""],
    [b"", b""],
    [b"\xff\xfe\x00"],
    [b"{"],
    [b"[]"],
    [b"null"],
    [b'{"body": "\\ud800"}'],
    [b'{"body": "\\u0000\\u0008"}'],
    [b"[" * 50_000],
    [b'{"body":' * 20_000],
    [b"x" * 900_000],
    [b"f"] * 10_000,
    [b""] * 10_000,
    [b"<!DOCTYPE m [<!ENTITY a 'a'>]><message xmlns='jabber:client'>&a;</message>"],
    [b"<message xmlns='jabber:client' to='alice@localhost'>" + b"<a>" * 5000],
    [b"</stream:stream>"],
    [b"<message xmlns='jabber:client' to='mallory@evil.net'/>"],
    [b"<message xmlns='jabber:client' to='alice@localhost' from='alice@localhost'/>"],
]


@pytest.fixture
async def peers() -> AsyncIterator[Callable[[TestBot, str, int], zmq.asyncio.Socket]]:
    context = zmq.asyncio.Context()
    sockets: list[zmq.asyncio.Socket] = []

    def connect(bot: TestBot, name: str, kind: int) -> zmq.asyncio.Socket:
        socket = context.socket(kind)
        sockets.append(socket)
        socket.linger = 0
        socket.connect(bot.app.socket(name).bound[0])
        return socket

    yield connect
    for socket in sockets:
        socket.close()
    context.destroy(linger=0)


async def test_bad_frames_everywhere_at_once(
    peers: Callable[[TestBot, str, int], zmq.asyncio.Socket], caplog: pytest.LogCaptureFixture
) -> None:
    async with TestBot(SOCKETS) as bot, asyncio.timeout(60):
        push, door = peers(bot, "alerts", zmq.PUSH), peers(bot, "door", zmq.DEALER)
        worker = peers(bot, "jobs", zmq.ROUTER)
        for frames in BAD:
            await push.send_multipart(frames)
            await door.send_multipart(frames)
        await push.send(b'{"body": "good"}')
        answers = [json.loads((await door.recv_multipart())[-1]) for _ in BAD]
        assert all("error" in answer for answer in answers), answers
        await until(lambda: "good" in bodies(bot))
        assert bodies(bot) == ["good"], "nothing else got out"
        assert sum(n for key, n in counts(bot, "relay").items() if key != "relayed") == len(BAD)
        assert counts(bot, "relay")["relayed"] == 1

        # A worker that answers nonsense, and then the right thing.
        tell(bot, "!shout hi")
        peer, *request = await worker.recv_multipart()
        for frames in [*BAD, [b"0" * 16, b"", b"stolen"], request[:2], [request[0], b"x", b"y"]]:
            await worker.send_multipart([peer, *frames])
        await worker.send_multipart([peer, *request[:2], b"HI"])
        await worker.send_multipart([peer, *request[:2], b"HI again"])
        await until(lambda: "HI" in bodies(bot))
        await until(lambda: counts(bot, "workers").get("late-answer") == 1)
        assert "HI again" not in bodies(bot)
        assert counts(bot, "workers")["unknown-request"] >= 1
        assert counts(bot, "workers")["malformed-answer"] >= len(BAD) - 1
        assert await bot.says("!echo fine") == "fine"
        assert "failed on" not in caplog.text


@pytest.mark.parametrize(
    "answer", [b"\xff\xfe", b"", b"x" * 100_000, b"a\x00\x08]]>\x1b<stanza/>", b"\xef\xbf\xbe"]
)
async def test_what_a_worker_says_is_only_text(
    peers: Callable[[TestBot, str, int], zmq.asyncio.Socket], answer: bytes
) -> None:
    async with TestBot(SOCKETS) as bot, asyncio.timeout(LIMIT):
        worker = peers(bot, "jobs", zmq.ROUTER)
        tell(bot, "!shout hi")
        peer, *request = await worker.recv_multipart()
        await worker.send_multipart([peer, *request[:2], answer])
        message = await bot.next_message(after=0)
        text = body_of(message)
        assert len(message) == 1, "the body and nothing else"
        assert not set(text) & {"\x00", "\x08", "\x1b", "\ufffe"}
        assert await bot.says("!echo fine") == "fine"
