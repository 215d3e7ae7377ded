"""Ad-hoc commands: forms made of types, steps of a session, results, errors, discovery."""

from __future__ import annotations

import asyncio
import base64
import xml.etree.ElementTree as ET
from datetime import date
from enum import Enum
from typing import Any, Literal

import msgspec
import pytest
from slixmpp import JID, ClientXMPP

from zxmpp import (
    Call,
    Cancelled,
    Confirm,
    File,
    Form,
    Image,
    Plugin,
    Progress,
    StreamError,
    Table,
    UserError,
    attach,
    command,
)
from zxmpp.commands import forms, sessions
from zxmpp.config import parse
from zxmpp.testing.bot import TestBot
from zxmpp.testing.transport import feed, start_session

from .adhoc import COMMANDS, DATA, LIMIT, Answer, Caller

VALIDATE = "{http://jabber.org/protocol/xdata-validate}validate"
MEDIA = "{urn:xmpp:media-element}uri"
PNG = base64.b64decode("iVBORw0KGgo=")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Order(msgspec.Struct):
    """An order.

    dish: What to eat
    """

    dish: str
    spicy: bool = False


class Kitchen(Plugin):
    """Commands of every sort."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.ran: list[Any] = []
        self.go = asyncio.Event()
        self.ended: list[str] = []

    @command
    def hello(self) -> str:
        """Say hello."""
        return "hello"

    @command(role="cook")
    def secret(self) -> str:
        """For cooks."""
        return "42"

    @command
    def typed(
        self, name: str, size: int, weight: float, hot: bool, mode: Literal["on", "off"],
        colour: Colour, who: JID, day: date, note: str = "none",
        tip: int | None = None, *, text: str = "",
    ) -> str:  # fmt: skip
        """Take everything.

        Each field has its own type.

        name: Your name
        :param size: How large
        """
        self.ran.append((name, size, weight, hot, mode, colour, who, day, note, tip, text))
        return "taken"

    @command
    def many(self, *, text: str = "a\nb") -> str:
        return text

    @command
    def tags(self, tags: list[Literal["a", "b", "c"]]) -> str:
        return " ".join(tags)

    @command
    def guests(self, *who: JID) -> str:
        return " ".join(map(str, who))

    @command
    async def order(self, call: Call) -> Any:
        """Order something."""
        call.reply("Welcome.")
        place = await call.choose("Where?", {"in": "Inside", "out": "Outside"})
        people = await call.ask("How many?", int)
        if not await call.confirm("Sure?"):
            return "Then not."
        filled = await call.form(Order, title="The order")
        return f"{people} x {filled.dish} {place}, spicy: {filled.spicy}"

    @command
    def forms(self) -> Form:
        return Form(Order, lambda order: Confirm(f"{order.dish}?", lambda: "done"), "T", "Do it")

    @command
    def menu(self) -> Table:
        """Show the menu."""
        return Table(("dish", "price"), [("soup", 3), ("<tea> & \x00more", None)], "Menu")

    @command
    async def mixed(self):
        yield "first"
        yield Table(("a",), [(1,)])
        yield Table(("b",), [(2,)], "Second")
        yield "two\nlines"
        yield File("list.txt", b"x", text="The list")
        yield Image("plot.png", PNG)

    @command
    async def slow(self):
        yield Progress(0.4, "chopping")
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ended.append("slow")
            raise
        yield "served"

    @command
    async def grows(self, call: Call) -> None:
        with call.live() as live:
            live.show("so far")
            await self.go.wait()
            live.finish("the end")

    @command
    async def patient(self, call: Call) -> str:
        try:
            return await call.ask("Well?", timeout=1000)
        except Cancelled as error:
            self.ended.append(str(error))
            raise

    @command
    async def hasty(self, call: Call) -> str:
        return await call.ask("Quick?", timeout=0.01)

    @command
    def sorry(self) -> str:
        raise UserError("No.")

    @command
    async def broken(self) -> str:
        await asyncio.sleep(0)
        raise ZeroDivisionError("secret detail")

    @command
    def long(self, size: int) -> str:
        return "ä&\n" * size


ROLES = '[roles]\ncook = ["chef@localhost"]\n'
NO_RATE = "[guards]\nrate = 0\n"


@pytest.fixture
async def bot() -> Any:
    async with TestBot(ROLES + NO_RATE, [Kitchen]) as running:
        yield running


@pytest.fixture
def alice(bot: TestBot) -> Caller:
    return Caller(bot)


def kitchen(bot: TestBot) -> Kitchen:
    found: Kitchen = bot.app.plugins.get("kitchen")
    return found


def open_sessions(bot: TestBot) -> int:
    assert bot.app._adhoc is not None
    return len(bot.app._adhoc.sessions)


async def ended(bot: TestBot) -> None:
    """Wait until no handler runs, nor waits for an answer."""
    async with asyncio.timeout(LIMIT):
        while bot.app.pipeline.in_flight:
            await asyncio.sleep(0)


def counts(bot: TestBot, owner: str = "commands") -> dict[str, int]:
    return bot.app.pipeline.statistics().owners[owner]


# -- one step ---------------------------------------------------------------------------------------


async def test_a_command_without_parameters_runs_at_once(bot: TestBot, alice: Caller) -> None:
    told = await alice.calls("hello")
    assert (told.type, told.status, told.notes) == ("result", "completed", [("info", "hello")])
    assert told.command.get("node") == "hello"
    assert told.iq.get("to") == alice.jid
    assert open_sessions(bot) == 0
    assert (await alice.calls("hello", id=told.id)).conditions[-1] == "bad-sessionid"


async def test_what_is_not_there_and_what_is_not_for_you_are_told_alike(
    bot: TestBot, alice: Caller
) -> None:
    refused, unknown = await alice.calls("secret"), await alice.calls("sacred")
    assert refused.conditions == unknown.conditions == ["item-not-found", "text"]
    assert refused.text.replace("secret", "sacred") == unknown.text
    assert (await Caller(bot, "chef@localhost/x").calls("secret")).notes == [("info", "42")]


async def test_an_iq_result_or_get_is_no_call(bot: TestBot, alice: Caller) -> None:
    for kind in ("get", "result", "error"):
        sent = await bot.hears(
            f"<iq type='{kind}' id='g' from='alice@localhost/x' to='bot@localhost/test'>"
            "<command xmlns='http://jabber.org/protocol/commands' node='hello'/></iq>"
        )
        assert [s.get("type") for s in sent] == (["error"] if kind == "get" else [])


async def test_a_name_of_any_length_is_answered(alice: Caller) -> None:
    told = await alice.calls("x" * 500_000)
    assert told.conditions[0] == "item-not-found"
    assert len(told.text) < 200


# -- forms ------------------------------------------------------------------------------------------

GIVEN = {
    "name": "Al", "size": "3", "weight": "1.5", "hot": "1", "mode": "on", "colour": "red",
    "who": "bob@localhost", "day": "2024-02-29", "note": "",
    "tip": "", "text": ["one", "two"],
}  # fmt: skip


async def test_each_type_has_its_field(alice: Caller) -> None:
    told = await alice.calls("typed")
    assert (told.status, told.actions) == ("executing", ["complete"])
    assert told.form is not None
    assert told.form.findtext(f"{DATA}title") == "Take everything."
    shown = [line.text for line in told.form.iterfind(f"{DATA}instructions")]
    assert shown == ["Each field has its own type."]
    assert {name: field.get("type") for name, field in told.fields.items()} == {
        "name": "text-single", "size": "text-single", "weight": "text-single", "hot": "boolean",
        "mode": "list-single", "colour": "list-single", "who": "jid-single", "day": "text-single",
        "note": "text-single", "tip": "text-single", "text": "text-multi",
    }  # fmt: skip
    assert told.fields["name"].get("label") == "Your name"
    assert told.fields["size"].get("label") == "How large"
    needed = [name for name, f in told.fields.items() if f.find(f"{DATA}required") is not None]
    assert needed == ["name", "size", "weight", "hot", "mode", "colour", "who", "day"]
    datatypes = {name: f.find(VALIDATE) for name, f in told.fields.items()}
    assert {n: v.get("datatype") for n, v in datatypes.items() if v is not None} == {
        "size": "xs:integer", "weight": "xs:decimal", "tip": "xs:integer",
    }  # fmt: skip
    options = [e.findtext(f"{DATA}value") for e in told.fields["colour"].iter(f"{DATA}option")]
    assert options == ["red", "blue"]
    assert told.values("note") == ["none"]
    assert (await alice.calls("many")).values("text") == ["a", "b"]


async def test_a_form_that_is_filled_in_calls_the_command(bot: TestBot, alice: Caller) -> None:
    first = await alice.calls("typed")
    told = await alice.calls("typed", first.id, "complete", GIVEN)
    assert (told.status, told.notes) == ("completed", [("info", "taken")])
    assert kitchen(bot).ran == [(
        "Al", 3, 1.5, True, "on", Colour.RED, JID("bob@localhost"), date(2024, 2, 29),
        "none", None, "one\ntwo",
    )]  # fmt: skip
    first = await alice.calls("tags")
    told = await alice.calls("tags", first.id, values={"tags": ["a", "c"]})
    assert told.notes == [("info", "a c")]
    first = await alice.calls("guests")
    assert first.fields["who"].get("type") == "jid-multi"
    told = await alice.calls("guests", first.id, values={"who": ["a@b", "c@"]})
    assert told.notes == [("error", "who: 'c@' is not a JID.")]
    told = await alice.calls("guests", first.id, values={"who": ["a@b", "c@d"]})
    assert told.notes == [("info", "a@b c@d")]
    assert open_sessions(bot) == 0


async def test_a_form_with_the_first_request_saves_a_step(bot: TestBot, alice: Caller) -> None:
    told = await alice.calls("typed", values=GIVEN)
    assert (told.status, told.notes) == ("completed", [("info", "taken")])
    told = await alice.calls("typed", values={**GIVEN, "size": "x"})
    assert told.status == "executing"
    assert (await alice.calls("typed", told.id, values=GIVEN)).status == "completed"


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("name", [], "it is missing"),
        ("size", "three", "'three' is not a whole number"),
        ("weight", "x", "'x' is not a number"),
        ("hot", "maybe", "'maybe' is not yes or no"),
        ("mode", "dim", "'dim' is not one of on, off"),
        ("colour", "green", "'green' is not one of red, blue"),
        ("who", "a@@b", "'a@@b' is not a JID"),
        ("day", "never", "'never' is not a date"),
        ("tip", "x", "'x' is not a int"),
    ],
)
async def test_a_wrong_value_is_asked_again(
    bot: TestBot, alice: Caller, name: str, value: Any, why: str
) -> None:
    id = (await alice.calls("typed")).id
    told = await alice.calls("typed", id, values={**GIVEN, name: value})
    assert (told.status, told.id, told.actions) == ("executing", id, ["complete"])
    ((kind, note),) = told.notes
    assert kind == "error"
    assert note.startswith(f"{name}: {why}") or (name, why) == ("tip", "'x' is not a int")
    assert "Usage" not in note
    # What was given is there, right or wrong.
    assert told.values("text") == ["one", "two"]
    if value:
        assert told.values(name) == ([value] if isinstance(value, str) else value)
    assert kitchen(bot).ran == []
    assert (await alice.calls("typed", id, values=GIVEN)).status == "completed"


async def test_a_huge_value_is_not_sent_back(alice: Caller) -> None:
    id = (await alice.calls("typed")).id
    told = await alice.calls("typed", id, values={**GIVEN, "size": "9" * 900_000})
    assert told.status == "executing"
    assert len(ET.tostring(told.iq)) < 10_000


async def test_quotes_and_markup_arrive_as_they_were_given(bot: TestBot, alice: Caller) -> None:
    nasty = """ <x/> "a' \\ & !hello ]]> """
    await alice.calls("typed", values={**GIVEN, "name": nasty})
    assert kitchen(bot).ran[0][0] == nasty


# -- several steps ----------------------------------------------------------------------------------


async def test_questions_are_further_steps(bot: TestBot, alice: Caller) -> None:
    told = await alice.calls("order")
    id = told.id
    assert (told.status, told.actions, told.notes) == (
        "executing", ["next"], [("info", "Welcome.")]
    )  # fmt: skip
    field = told.fields["answer"]
    assert (field.get("type"), field.get("label")) == ("list-single", "Where?")
    labels = {e.findtext(f"{DATA}value"): e.get("label") for e in field.iter(f"{DATA}option")}
    assert labels == {"in": "Inside", "out": "Outside"}
    told = await alice.calls("order", id, "next", {"answer": "roof"})
    assert told.notes == [("error", "answer: 'roof' is not one of in, out.")]
    assert told.values("answer") == ["roof"]
    told = await alice.calls("order", id, "next", {"answer": "out"})
    assert told.fields["answer"].find(VALIDATE) is not None
    told = await alice.calls("order", id, "", {"answer": "4"})
    assert told.fields["answer"].get("type") == "boolean"
    told = await alice.calls("order", id, "complete", {"answer": "true"})
    assert told.form is not None
    assert told.form.findtext(f"{DATA}title") == "The order"
    assert told.fields["dish"].get("label") == "What to eat"
    assert told.values("spicy") == ["false"]
    told = await alice.calls("order", id, "complete", {"dish": "soup", "spicy": "1"})
    assert (told.status, told.notes) == ("completed", [("info", "4 x soup out, spicy: True")])
    assert told.id == id
    assert open_sessions(bot) == 0


async def test_forms_and_confirmations_that_are_returned(alice: Caller) -> None:
    told = await alice.calls("forms")
    assert told.form is not None
    assert told.form.findtext(f"{DATA}instructions") == "Do it"
    told = await alice.calls("forms", told.id, values={"dish": "pie"})
    assert told.fields["answer"].get("label") == "pie?"
    assert (await alice.calls("forms", told.id, values={"answer": "0"})).notes == []
    told = await alice.calls("forms")
    await alice.calls("forms", told.id, values={"dish": "pie"})
    told = await alice.calls("forms", told.id, values={"answer": "1"})
    assert told.notes == [("info", "done")]


@pytest.mark.parametrize("how", ["action", "form"])
@pytest.mark.parametrize("name", ["typed", "patient"])
async def test_cancel(bot: TestBot, alice: Caller, name: str, how: str) -> None:
    id = (await alice.calls(name)).id
    told = await (
        alice.calls(name, id, "cancel") if how == "action" else alice.calls(name, id, "", {}, "cancel")
    )  # fmt: skip
    assert (told.type, told.status, told.id) == ("result", "canceled", id)
    await ended(bot)
    assert open_sessions(bot) == 0
    assert kitchen(bot).ended == (["Cancelled."] if name == "patient" else [])
    assert (await alice.calls(name, id, "next", {})).conditions[-1] == "bad-sessionid"


async def test_cancel_ends_work(bot: TestBot, alice: Caller) -> None:
    number, waits = alice.send("slow"), ""
    async with asyncio.timeout(5):
        while not open_sessions(bot):
            await asyncio.sleep(0)
    (waits,) = bot.app._adhoc.sessions._by_id  # type: ignore[union-attr]
    assert (await alice.calls("slow", waits, "next")).conditions[0] == "unexpected-request"
    assert (await alice.calls("slow", waits, "cancel")).status == "canceled"
    assert (await alice.answer(number)).status == "canceled"
    await ended(bot)
    assert kitchen(bot).ended == ["slow"]
    assert bot.app.pipeline.in_flight == 0


@pytest.mark.parametrize(
    ("action", "condition"), [("prev", "bad-action"), ("jump", "malformed-action")]
)
async def test_actions_that_are_not_offered(
    bot: TestBot, alice: Caller, action: str, condition: str
) -> None:
    id = (await alice.calls("typed")).id
    told = await alice.calls("typed", id, action, GIVEN)
    assert told.conditions[0] == "bad-request"
    assert told.conditions[-1] == condition
    assert (await alice.calls("typed", id, values=GIVEN)).status == "completed"
    assert (await alice.calls("typed", "", action)).type == "error"


# -- results ----------------------------------------------------------------------------------------


async def test_a_table_is_a_table(alice: Caller) -> None:
    told = await alice.calls("menu")
    assert told.form is not None
    assert (told.form.get("type"), told.form.findtext(f"{DATA}title")) == ("result", "Menu")
    columns = [e.get("label") for e in told.form.iterfind(f"{DATA}reported/{DATA}field")]
    assert columns == ["dish", "price"]
    assert told.table == [["soup", "3"], ["<tea> & more", ""]]


async def test_several_pieces_are_one_result(
    bot: TestBot, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def upload(data: bytes, name: str, media_type: str) -> str:
        return f"https://files.localhost/{name}"

    monkeypatch.setattr(bot.app.stream(), "upload", upload, raising=False)
    told = await alice.calls("mixed")
    assert told.table == [["1"]]
    assert (told.fields["table"].get("label"), told.values("table")) == ("Second", ["b", "2"])
    assert told.values("text") == ["two", "lines"]
    assert told.values("file") == ["https://files.localhost/list.txt"]
    assert told.values("image") == ["https://files.localhost/plot.png"]
    assert [e.get("type") for e in told.command.iter(MEDIA)] == ["text/plain", "image/png"]
    assert [text for _, text in told.notes] == [
        "first", "two\nlines", "The list\nhttps://files.localhost/list.txt",
        "https://files.localhost/plot.png",
    ]  # fmt: skip


async def test_a_file_that_can_not_be_uploaded_is_named(
    bot: TestBot, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def upload(data: bytes, name: str, media_type: str) -> str:
        raise StreamError("there is no upload service")

    monkeypatch.setattr(bot.app.stream(), "upload", upload, raising=False)
    told = await alice.calls("mixed")
    assert told.status == "completed"
    assert ("warn", "plot.png is not here: there is no upload service.") in told.notes
    assert told.table == [["1"]]


async def test_a_result_fits_into_a_stanza(bot: TestBot, alice: Caller) -> None:
    told = await alice.calls("long", values={"size": "1000"})
    assert len(told.values("text")) == 1000
    assert [kind for kind, _ in told.notes] == ["info"]
    told = await alice.calls("long", values={"size": "1000000"})
    assert told.notes[-1] == ("warn", "It was too long: the rest is left out.")
    assert len(ET.tostring(told.iq)) < 150_000
    assert counts(bot, "kitchen")["result-cut"] == 1


async def test_failures_end_the_session_with_a_note(bot: TestBot, alice: Caller) -> None:
    told = await alice.calls("sorry")
    assert (told.type, told.status, told.notes) == ("result", "completed", [("error", "No.")])
    told = await alice.calls("broken")
    ((kind, text),) = told.notes
    assert kind == "error"
    assert text.startswith("Something went wrong here.")
    assert "secret" not in text
    assert open_sessions(bot) == 0


# -- work that takes long ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "so_far", "end"), [("slow", "chopping", "served"), ("grows", "so far", "the end")]
)
async def test_long_work_says_how_far_it_is(
    bot: TestBot, alice: Caller, monkeypatch: pytest.MonkeyPatch, name: str, so_far: str, end: str
) -> None:
    monkeypatch.setattr(sessions, "PATIENCE", 0.01)
    told = await alice.calls(name)
    assert (told.status, told.actions) == ("executing", ["next"])
    ((kind, text),) = told.notes
    assert kind == "info"
    assert text.startswith("Still at work.")
    assert so_far in text
    assert (await alice.calls(name, told.id, "next")).status == "executing"
    kitchen(bot).go.set()
    await bot.settle()
    assert open_sessions(bot) == 1  # what was found waits for whoever comes back
    told = await alice.calls(name, told.id)
    assert (told.status, told.notes) == ("completed", [("info", end)])
    assert open_sessions(bot) == 0


async def test_an_unanswered_question_ends_the_command(bot: TestBot, alice: Caller) -> None:
    told = await alice.calls("hasty")
    assert told.status == "executing"
    await ended(bot)
    told = await alice.calls("hasty", told.id, "next", {"answer": "late"})
    assert (told.status, told.notes) == ("completed", [("error", "No answer in 0.01 s: Quick?")])
    assert bot.app.pipeline.in_flight == 0


# -- discovery --------------------------------------------------------------------------------------


async def disco(
    bot: TestBot, what: str, node: str = "", from_: str = "alice@localhost/x", to: str = ""
) -> ET.Element:
    to = to or bot.address()
    (told,) = await bot.hears(
        f"<iq type='get' id='d' from='{from_}' to='{to}'>"
        f"<query xmlns='http://jabber.org/protocol/disco#{what}'"
        + (f" node='{node}'" if node else "")
        + "/></iq>"
    )
    return told


def named(told: ET.Element, what: str, attribute: str) -> list[str]:
    return [e.get(attribute, "") for e in told.iter() if e.tag.endswith("}" + what)]


NODE = COMMANDS[1:-1]


async def test_discovery_shows_what_the_asker_may_use(bot: TestBot) -> None:
    told = await disco(bot, "items", NODE)
    names = named(told, "item", "node")
    assert "secret" not in names
    assert {"hello", "menu", "typed"} <= set(names)
    assert set(named(told, "item", "jid")) == {"bot@localhost/test"}
    assert "Say hello." in named(told, "item", "name")
    chef = await disco(bot, "items", NODE, "chef@localhost/x")
    assert "secret" in named(chef, "item", "node")
    assert NODE in named(await disco(bot, "info"), "feature", "var")
    told = await disco(bot, "info", "menu")
    assert named(told, "identity", "type") == ["command-node"]
    assert set(named(told, "feature", "var")) == {NODE, "jabber:x:data"}
    assert named(await disco(bot, "info", NODE), "identity", "type") == ["command-list"]
    for node in ("secret", "sacred"):
        for what in ("info", "items"):
            told = await disco(bot, what, node)
            assert [e.tag.rpartition("}")[2] for e in told.iter()][-1] == "item-not-found"


async def test_a_component_answers_for_each_of_its_addresses() -> None:
    config = '[streams.c]\nkind = "component"\njid = "c.localhost"\n'
    async with TestBot(ROLES + config, [Kitchen]) as bot:
        for to in ("c.localhost", "bot@c.localhost", "any@c.localhost/x"):
            assert NODE in named(await disco(bot, "info", to=to), "feature", "var")
            told = await disco(bot, "items", NODE, to=to)
            assert set(named(told, "item", "jid")) == {to}
            (told,) = await bot.hears(
                f"<iq type='set' id='x' from='a@b/c' to='{to}'>"
                f"<command xmlns='{NODE}' node='hello'/></iq>"
            )
            assert told.get("from") == to
            assert Answer(told).notes == [("info", "hello")]


async def test_an_occupant_of_a_room_calls_by_the_bots_occupant_jid(bot: TestBot) -> None:
    room = "ops@rooms.localhost"
    await bot.says("hi", sender="chef@localhost/x", room=room)
    told = await disco(bot, "items", NODE, f"{room}/chef")
    assert "secret" in named(told, "item", "node")
    assert set(named(told, "item", "jid")) == {f"{room}/bot"}
    assert (await Caller(bot, f"{room}/chef").calls("secret")).notes == [("info", "42")]
    # Here the room hides who has that nick.
    masks = "masks@rooms.localhost"
    await bot.says("hi", sender="chef@localhost/x", room=masks, hidden=True)
    assert "secret" not in named(await disco(bot, "items", NODE, f"{masks}/chef"), "item", "node")
    assert (await Caller(bot, f"{masks}/chef").calls("secret")).conditions[0] == "item-not-found"


async def test_it_can_be_switched_off() -> None:
    async with TestBot(ROLES + "[commands]\nadhoc = false\n", [Kitchen]) as bot:
        assert (await Caller(bot).calls("hello")).conditions[0] == "feature-not-implemented"
        assert NODE not in named(await disco(bot, "info"), "feature", "var")


async def test_a_flood_of_calls_is_slowed_down_and_each_is_answered() -> None:
    async with TestBot(ROLES + "[guards]\nrate = 0.001\nburst = 3\n", [Kitchen]) as bot:
        alice = Caller(bot)
        told = [await alice.calls("hello") for _ in range(6)]
        assert [answer.type for answer in told] == ["result"] * 3 + ["error"] * 3
        assert told[-1].conditions[0] == "policy-violation"


# -- on somebody's bot ------------------------------------------------------------------------------


async def asked(xmpp: Any, node: str, id: str = "", action: str = "execute") -> list[Answer]:
    transport = xmpp.transport
    transport.take()
    session = f" sessionid='{id}'" if id else ""
    feed(
        xmpp,
        f"<iq type='set' id='i' from='alice@localhost/x' to='{xmpp.boundjid.full}'>"
        f"<command xmlns='{NODE}' node='{node}' action='{action}'{session}/></iq>",
    )
    async with asyncio.timeout(5):
        while not transport.written:
            transport.wrote.clear()
            await transport.wrote.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    wrapped = f"<s xmlns='jabber:client'>{transport.take()}</s>"
    return [Answer(iq) for iq in ET.fromstring(wrapped) if iq.get("id") == "i"]


@pytest.mark.parametrize("late", [False, True])
async def test_slixmpps_own_commands_stay_on_an_attached_bot(late: bool) -> None:
    xmpp = ClientXMPP("bot@localhost/test", "")
    settings = parse(ROLES)
    if not late:
        xmpp.register_plugin("xep_0050")
    app = attach(xmpp, settings, plugins=["tests.commands.test_adhoc:Kitchen"])
    await app.start()
    if late:
        xmpp.register_plugin("xep_0050")
    start_session(xmpp)

    def step(iq: Any, session: Any) -> Any:
        session["notes"] = [("info", "theirs")]
        session["next"] = None
        session["payload"] = None
        return session

    xmpp.plugin["xep_0050"].add_command(node="old", name="Old", handler=step)
    async with asyncio.timeout(5):
        while not xmpp.plugin["xep_0050"].commands:
            await asyncio.sleep(0)
    (told,) = await asked(xmpp, "old")
    assert told.notes == [("info", "theirs")]
    (told,) = await asked(xmpp, "hello")
    assert told.notes == [("info", "hello")]
    (told,) = await asked(xmpp, "neither")
    assert told.conditions[0] == "item-not-found"
    await app.stop(drain=0)
    (told,) = await asked(xmpp, "hello")
    assert told.conditions[0] == "item-not-found"
    (told,) = await asked(xmpp, "old")
    assert told.notes == [("info", "theirs")]
    xmpp.abort()
    await asyncio.sleep(0)


def test_the_texts_of_a_form_are_clean() -> None:
    shown = forms.Results()
    shown.text("a\x00b\x1b")
    shown.table(Table(("x\x01",), [("\x02y",)]))
    assert not set("\x00\x01\x02\x1b") & set("".join(
        ET.tostring(each, encoding="unicode") for each in shown.xml()
    ))  # fmt: skip
