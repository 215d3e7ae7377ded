"""Sessions of ad-hoc commands: whose they are, how many there are, and how each of them ends."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from zxmpp import Call, Plugin, command
from zxmpp.commands import questions, sessions
from zxmpp.commands.adhoc import AdhocFace
from zxmpp.commands.sessions import Session
from zxmpp.config import parse
from zxmpp.testing.bot import TestBot
from zxmpp.testing.transport import feed

from .adhoc import LIMIT, Answer, Caller

ROOM = "ops@rooms.localhost"


class Bank(Plugin):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.paid: list[str] = []
        self.ended: list[str] = []
        self.go = asyncio.Event()

    @command
    def pay(self, amount: int, call: Call) -> str:
        """Pay."""
        self.paid.append(f"{call.sender}: {amount}")
        return "paid"

    @command
    async def ask(self, call: Call) -> str:
        """Ask."""
        try:
            answer = await call.ask("Well?", timeout=1000)
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        self.paid.append(f"{call.sender}: {answer}")
        return answer

    @command
    async def work(self) -> str:
        """Work."""
        await self.go.wait()
        self.ended.append("worked")
        return "worked"

    @command(role="boss")
    def fire(self, whom: str) -> str:
        """Fire somebody."""
        return f"{whom} is fired"


CONFIG = '[roles]\nboss = ["alice@localhost"]\n[guards]\nrate = 0\n'


@pytest.fixture
async def bot() -> Any:
    async with TestBot(CONFIG, [Bank]) as running:
        yield running


@pytest.fixture
def alice(bot: TestBot) -> Caller:
    return Caller(bot)


def bank(bot: TestBot) -> Bank:
    found: Bank = bot.app.plugins.get("bank")
    return found


def face(bot: TestBot) -> AdhocFace:
    found = bot.app._adhoc
    assert found is not None
    return found


def counts(bot: TestBot, owner: str = "commands") -> dict[str, int]:
    return bot.app.pipeline.statistics().owners[owner]


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(LIMIT):
        while not true():
            await asyncio.sleep(0)


def condition(told: Answer) -> tuple[str, list[str], str]:
    return told.type, told.conditions, told.text


# -- whose it is ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pay", "ask"])
@pytest.mark.parametrize("action", ["", "next", "complete", "cancel", "prev"])
@pytest.mark.parametrize(
    "thief", ["mallory@localhost/x", "alice@localhost/other", "alice@localhost", "alice@evil.net/x"]
)
async def test_a_session_id_is_worth_nothing_to_others(
    bot: TestBot, alice: Caller, name: str, action: str, thief: str
) -> None:
    id = (await alice.calls(name)).id
    told = await Caller(bot, thief).calls(name, id, action, {"amount": "1000", "answer": "x"})
    unknown = await Caller(bot, thief).calls(name, "no-such-id", action, {"amount": "1000"})
    assert condition(told) == condition(unknown)
    assert told.conditions[-1] == "bad-sessionid"
    assert bank(bot).paid == []
    told = await alice.calls(name, id, values={"amount": "1", "answer": "1"})
    assert told.status == "completed"
    assert bank(bot).paid == ["alice@localhost: 1"]


async def test_a_session_is_of_one_stream() -> None:
    config = CONFIG + "".join(
        f"[streams.{name}]\nkind = 'component'\njid = '{name}.localhost'\n" for name in ("a", "b")
    )
    async with TestBot(config, [Bank]) as bot:
        id = (await Caller(bot, stream="a").calls("pay")).id
        told = await Caller(bot, stream="b").calls("pay", id, values={"amount": "1"})
        assert told.conditions[-1] == "bad-sessionid"


async def test_who_takes_over_a_nick_does_not_get_its_sessions(bot: TestBot) -> None:
    await bot.says("hi", sender="alice@localhost/x", room=ROOM)
    first = Caller(bot, f"{ROOM}/alice")
    id = (await first.calls("fire")).id
    # Another one comes in under that nick: the room says so before their IQ.
    await bot.hears(
        f"<presence from='{ROOM}/alice' to='bot@localhost/test'>"
        "<x xmlns='http://jabber.org/protocol/muc#user'>"
        "<item affiliation='none' role='participant' jid='mallory@localhost/x'/></x></presence>"
    )
    told = await first.calls("fire", id, values={"whom": "alice"})
    assert told.conditions[-1] == "bad-sessionid"


async def test_a_role_that_is_taken_away_holds_for_the_next_step(
    bot: TestBot, alice: Caller
) -> None:
    id = (await alice.calls("fire")).id
    bot.app.commands.roles.set({"boss": []})
    told = await alice.calls("fire", id, values={"whom": "bob"})
    assert told.conditions[0] == "item-not-found"
    assert len(face(bot).sessions) == 0


async def test_ids_are_not_guessed(bot: TestBot, alice: Caller) -> None:
    ids = {(await alice.calls("pay")).id for _ in range(3)}
    assert len(ids) == 3
    assert all(len(id) >= 24 for id in ids)


async def test_two_answers_to_one_form_call_once(bot: TestBot, alice: Caller) -> None:
    id = (await alice.calls("pay")).id
    both = [alice.send("pay", id, values={"amount": "5"}) for _ in range(2)]
    told = [await alice.answer(number) for number in both]
    assert sorted(answer.type for answer in told) == ["error", "result"]
    assert bank(bot).paid == ["alice@localhost: 5"]
    id = (await alice.calls("ask")).id
    both = [alice.send("ask", id, values={"answer": "6"}) for _ in range(2)]
    told = [await alice.answer(number) for number in both]
    assert sorted(answer.type for answer in told) == ["error", "result"]
    assert bank(bot).paid[1:] == ["alice@localhost: 6"]


# -- how many ---------------------------------------------------------------------------------------


async def test_5000_sessions_are_bounded_and_freed(bot: TestBot) -> None:
    opened = refused = 0
    for number in range(5000):
        told = await Caller(bot, f"m{number}@evil.net/x").calls("pay")
        opened += told.status == "executing"
        refused += told.conditions[:1] == ["resource-constraint"]
    assert (opened, refused) == (sessions.IN_ALL, 5000 - sessions.IN_ALL)
    assert counts(bot)["sessions-full"] == refused
    assert (await bot.says("!pay 1")) == "paid"
    # Some are kept for those who hold a role.
    alice = Caller(bot, "alice@localhost/phone")
    id = (await alice.calls("fire")).id
    assert (await alice.calls("fire", id, "cancel")).status == "canceled"
    kept = face(bot).sessions
    living = weakref.WeakSet(o for o in gc.get_objects() if isinstance(o, Session))
    assert len(living) == sessions.IN_ALL
    xmpp = bot.app.stream().xmpp
    for number in range(5000):
        feed(xmpp, f"<presence type='unavailable' from='m{number}@evil.net/x'/>")
    assert len(kept) == 0
    gc.collect()
    assert len(living) == 0
    assert not kept._of_jid
    assert not kept._of_person


async def test_one_caller_has_few_sessions(bot: TestBot, alice: Caller) -> None:
    ids = [(await alice.calls("pay")).id for _ in range(sessions.PER_JID)]
    told = await alice.calls("pay")
    assert (told.kind, told.conditions[0]) == ("wait", "resource-constraint")
    for resource in "abc":
        told = await Caller(bot, f"alice@localhost/{resource}").calls("pay")
    ids.append(told.id)
    for number in range(sessions.PER_PERSON):
        told = await Caller(bot, f"alice@localhost/n{number}").calls("pay")
    assert told.conditions[0] == "resource-constraint"
    assert (await Caller(bot, "bob@localhost/x").calls("pay")).status == "executing"
    await alice.calls("pay", ids[0], "cancel")
    assert (await alice.calls("pay")).status == "executing"


async def test_questions_in_sessions_leave_a_plugin_room(
    bot: TestBot, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "MAX_OPEN", 2)
    for name in "ab":
        assert (await Caller(bot, f"{name}@localhost/x").calls("ask")).status == "executing"
    told = await alice.calls("ask")
    assert told.status == "completed"
    ((kind, text),) = told.notes
    assert (kind, text) == ("error", "bank waits for 2 answers already; try again later.")
    assert counts(bot, "bank")["questions-full"] == 1
    assert bank(bot).ended == ["Refused"]


# -- how it ends ------------------------------------------------------------------------------------


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the loop's clock jump."""
    loop = asyncio.get_running_loop()
    time = loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + seconds)


async def test_a_session_expires(
    bot: TestBot, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = (await alice.calls("pay")).id
    asked = (await alice.calls("ask")).id
    later(monkeypatch, sessions.EXPIRY + 1)
    told = await alice.calls("pay", id, values={"amount": "1"})
    assert told.conditions[-1] == "bad-sessionid"
    await until(lambda: len(face(bot).sessions) == 1)
    assert counts(bot)["session-expired"] == 1
    # A question has a time of its own.
    assert (await alice.calls("ask", asked, values={"answer": "2"})).status == "completed"
    assert bank(bot).paid == ["alice@localhost: 2"]
    assert face(bot).sessions._timer is None


async def test_a_step_keeps_a_session(
    bot: TestBot, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = (await alice.calls("pay")).id
    for _ in range(3):
        later(monkeypatch, sessions.EXPIRY * 0.9)
        assert (await alice.calls("pay", id, values={"amount": "x"})).status == "executing"
    assert (await alice.calls("pay", id, values={"amount": "1"})).status == "completed"


async def test_whoever_goes_offline_takes_their_sessions_along(bot: TestBot, alice: Caller) -> None:
    await alice.calls("pay")
    await alice.calls("ask")
    number = alice.send("work")
    other = Caller(bot, "alice@localhost/other")
    await other.calls("pay")
    await until(lambda: len(face(bot).sessions) == 4)
    feed(alice._server.xmpp, "<presence type='unavailable' from='alice@localhost/x'/>")
    told = await alice.answer(number)
    assert (told.status, told.notes) == ("completed", [("error", "You have left.")])
    await until(lambda: bank(bot).ended == ["Cancelled"])
    assert len(face(bot).sessions) == 1
    bank(bot).go.set()
    await bot.settle()
    assert bank(bot).ended == ["Cancelled", "worked"]
    assert bot.app.pipeline.in_flight == 0


async def test_unloading_a_plugin_ends_its_sessions(bot: TestBot, alice: Caller) -> None:
    asked, form = (await alice.calls("ask")).id, (await alice.calls("pay")).id
    number = alice.send("work")
    await until(lambda: len(face(bot).sessions) == 3)
    await bot.app.plugins.unload("bank")
    told = await alice.answer(number)
    assert (told.status, told.notes) == ("completed", [("error", "bank was stopped.")])
    told = await alice.calls("ask", asked, values={"answer": "x"})
    assert (told.status, told.notes) == ("completed", [("error", "bank was stopped.")])
    told = await alice.calls("pay", form, values={"amount": "1"})
    assert told.conditions[0] == "item-not-found"
    assert len(face(bot).sessions) == 0
    assert not face(bot)._running
    assert not bot.app.commands.questions._of["bank"]


async def test_a_form_outlives_a_reload_of_its_plugin(bot: TestBot, alice: Caller) -> None:
    id = (await alice.calls("pay")).id
    await bot.app.plugins.unload("bank")
    await bot.app.plugins.load_classes([Bank])
    assert (await alice.calls("pay", id, values={"amount": "1"})).status == "completed"
    assert bank(bot).paid == ["alice@localhost: 1"]


async def test_a_lost_connection_ends_all_sessions(bot: TestBot, alice: Caller) -> None:
    asked = (await alice.calls("ask")).id
    alice.send("work")
    await until(lambda: len(face(bot).sessions) == 2)
    alice._server.transport.lose(ConnectionResetError())
    await until(lambda: len(face(bot).sessions) == 0)
    await until(lambda: bank(bot).ended == ["Cancelled"])
    await bot.app.online(LIMIT)
    told = await alice.calls("ask", asked, values={"answer": "x"})
    assert told.conditions[-1] == "bad-sessionid"
    bank(bot).go.set()
    told = await alice.calls("work")
    assert told.notes == [("info", "worked")]


async def test_nothing_new_begins_while_the_bot_stops() -> None:
    async with TestBot(CONFIG, [Bank]) as bot:
        alice = Caller(bot)
        working = alice.send("work")
        await until(lambda: len(face(bot).sessions) == 1)
        stopping = asyncio.ensure_future(bot.app.stop(drain=LIMIT))
        await until(lambda: bot.app.pipeline.draining)
        for name in ("pay", "work"):
            told = await alice.calls(name)
            assert told.conditions[0] == "service-unavailable"
        bank(bot).go.set()
        assert (await alice.answer(working)).notes == [("info", "worked")]
        await stopping


def test_the_setting_is_on_by_default() -> None:
    assert parse("").commands.adhoc
