"""The same call gives the same result through each face: one table for all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from msgspec import Struct
from slixmpp import JID

from tests.commands.faces import FACES, ON_XMPP, Case, said, shown, the_bot
from zxmpp import Call, Confirm, Form, Plugin, Refused, StanzaEvent, Table, UserError, command
from zxmpp.testing import TestBot


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Order(Struct):
    """An order.

    dish: Which dish?
    """

    dish: Literal["soup", "fish"]
    count: int = 1


class Sample(Plugin):
    """A command of each kind."""

    @command
    def text(self, a: str, b: str = "none") -> str:
        """Two words."""
        return f"{a}|{b}"

    @command
    def sum(self, a: int, b: float = 0.5) -> str:
        """Add."""
        return str(a + b)

    @command
    def flag(self, on: bool, mode: Literal["fast", "slow"] = "fast") -> str:
        """A switch."""
        return f"{on} {mode}"

    @command
    def paint(self, colour: Colour, who: JID | None = None) -> str:
        """Paint."""
        return f"{colour.name} {who}"

    @command
    def join(self, first: str, others: list[int]) -> str:
        """Join."""
        return f"{first} {others}"

    @command
    def note(self, *, text: str = "empty") -> str:
        """Keep a text."""
        return f"[{text}]"

    @command
    def table(self) -> Table:
        """Rows."""
        return Table(["name", "n"], [["a", 1], ["b", None]], "All")

    @command
    async def pieces(self, count: int) -> AsyncIterator[str]:
        """Several."""
        for number in range(count):
            yield f"piece {number}"

    @command
    def nothing(self) -> None:
        """Nothing."""

    @command
    def refuse(self) -> str:
        """No."""
        raise Refused("not today")

    @command
    async def break_(self) -> str:
        """A bug."""
        raise UserError("it is \x07broken")

    @command(role="admin")
    def wipe(self) -> str:
        """Only for admins."""
        return "wiped"

    @command
    async def book(self, call: Call) -> str:
        """Ask for everything."""
        name = await call.ask("Your name?")
        seats = await call.ask("How many?", int)
        where = await call.choose("Where?", {"w": "Window", "d": "Door"})
        sure = await call.confirm("Sure?")
        return f"{name} {seats} {where} {sure}"

    @command
    def order(self) -> Form:
        """A form."""
        return Form(Order, lambda order: Confirm("Really?", lambda: f"{order.count} {order.dish}"))

    @command
    def who(self, call: Call) -> str:
        """By which face."""
        return call.face

    @command
    def stanza(self, event: StanzaEvent) -> str:
        """Needs a message."""
        return event.name


CASES = {
    "text": Case(name="text", line="hi", words=["hi"], data={"a": "hi"}, pieces=["hi|none"]),
    "text, quoted": Case(
        name="text", line="'a b' \"c'd\"", words=["a b", "c'd"], data={"a": "a b", "b": "c'd"},
        pieces=["a b|c'd"],
    ),
    "int": Case(name="sum", line="3", words=["3"], data={"a": 3}, pieces=["3.5"]),
    "int and float": Case(
        name="sum", line="3 0.25", words=["3", "0.25"], data={"a": 3, "b": 0.25}, pieces=["3.25"]
    ),
    "int, wrong": Case(
        name="sum", line="x", words=["x"], data={"a": "x"},
        error="a: 'x' is not a whole number. Usage: !sum <a> [b]",
    ),
    "float, wrong": Case(
        name="sum", line="3 y", words=["3", "y"], data={"a": 3, "b": "y"},
        error="b: 'y' is not a number. Usage: !sum <a> [b]",
    ),
    "missing": Case(
        name="sum", error="a is missing. Usage: !sum <a> [b]", form_error="a: it is missing.",
    ),
    "bool and literal": Case(
        name="flag", line="true slow", words=["true", "slow"], data={"on": True, "mode": "slow"},
        pieces=["True slow"],
    ),
    "literal, wrong": Case(
        name="flag", line="false quick", words=["false", "quick"],
        data={"on": False, "mode": "quick"},
        error="mode: 'quick' is not one of fast, slow. Usage: !flag <on> [fast|slow]",
    ),
    "enum and JID": Case(
        name="paint", line="red Bob@localhost", words=["red", "Bob@localhost"],
        data={"colour": "red", "who": "Bob@localhost"}, pieces=["RED bob@localhost"],
    ),
    "no JID": Case(
        name="paint", line="blue", words=["blue"], data={"colour": "blue"}, pieces=["BLUE None"]
    ),
    "list": Case(
        name="join", line="a 1 2", words=["a", "1", "2"], data={"first": "a", "others": [1, 2]},
        pieces=["a [1, 2]"],
    ),
    "empty list": Case(
        name="join", line="a", words=["a"], data={"first": "a"}, pieces=["a []"]
    ),
    "lines": Case(
        name="note", line="one\ntwo  'three", words=["one\ntwo  'three"],
        data={"text": "one\ntwo  'three"}, pieces=["[one\ntwo  'three]"],
    ),
    "default": Case(name="note", pieces=["[empty]"]),
    "table": Case(
        name="table", pieces=[Table(["name", "n"], [["a", 1], ["b", None]], "All")]
    ),
    "pieces": Case(
        name="pieces", line="3", words=["3"], data={"count": 3},
        pieces=["piece 0", "piece 1", "piece 2"],
    ),
    "no piece": Case(name="pieces", line="0", words=["0"], data={"count": 0}),
    "nothing": Case(name="nothing"),
    "refused": Case(name="refuse", error="not today"),
    "failed": Case(name="break_", error="it is \x07broken", xmpp_error="it is broken"),
    "questions": Case(
        name="book", answers=["Ann B", 2, "d", True], typed=["Ann B", "2", "Door", "yes"],
        pieces=["Ann B 2 d True"],
    ),
    "form and confirm": Case(
        name="order", answers=[{"dish": "fish", "count": 3}, True], typed=["2", "3", "y"],
        pieces=["3 fish"],
    ),
    "form and no": Case(name="order", answers=[{"dish": "soup"}, False], typed=["1", "-", "no"]),
}  # fmt: skip


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[TestBot]:
    async with the_bot(tmp_path, Sample) as bot:
        yield bot


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_the_same_call_gives_the_same_result(bot: TestBot, face: str, case: Case) -> None:
    came = await FACES[face](bot, case)
    if case.error:
        assert came == [said(face, case)]
    else:
        assert came == shown(face, case)


@pytest.mark.parametrize("face", [face for face in FACES if face != "shell"])
async def test_what_is_unknown_and_what_is_forbidden_read_the_same(bot: TestBot, face: str) -> None:
    bot.app.commands.roles.set({"admin": ["somebody@else"]})
    for name in ("wipe", "wyxq"):
        came = await FACES[face](bot, Case(name=name))
        assert [text.replace("!", "") for text in came] == [f"There is no command {name}."]


async def test_the_shell_holds_every_role(bot: TestBot) -> None:
    bot.app.commands.roles.set({"admin": ["somebody@else"]})
    assert await FACES["shell"](bot, Case(name="wipe")) == [{"type": "text", "text": "wiped"}]


@pytest.mark.parametrize("face", FACES)
async def test_a_near_name_is_told(bot: TestBot, face: str) -> None:
    came: list[Any] = await FACES[face](bot, Case(name="tabel"))
    assert [text.replace("!", "") for text in came] == [
        "There is no command tabel. Did you mean table?"
    ]


@pytest.mark.parametrize("face", [face for face in FACES if face not in ON_XMPP])
async def test_what_wants_a_stanza_says_so(bot: TestBot, face: str) -> None:
    came = await FACES[face](bot, Case(name="stanza"))
    assert came == ["stanza works in a chat only: it needs the message that calls it."]


@pytest.mark.parametrize("face", FACES)
async def test_a_command_knows_its_face(bot: TestBot, face: str) -> None:
    (came,) = await FACES[face](bot, Case(name="who"))
    assert face in (came, came["text"] if isinstance(came, dict) else "")
