"""What people type becomes a function's arguments, or an error that says what to type."""

from __future__ import annotations

from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta
from slixmpp import JID

from zxmpp.commands import Call, Commands, Parameter, Signature
from zxmpp.commands.chat import ChatCall
from zxmpp.commands.words import Line
from zxmpp.errors import PluginError, UsageError
from zxmpp.event import StanzaEvent
from zxmpp.pipeline import Pipeline

from ..conftest import FakeSource


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


def call(text: str = "") -> Call:
    event = StanzaEvent(
        FakeSource(), ("message",), "alice@localhost", "lane", None, "message", "chat", "", ""
    )
    commands = Commands(Pipeline(), "!", {})
    command = commands.add(commands.owner, lambda: None, "cmd")
    return ChatCall(event, command, text)


def bind(function: Any, text: str) -> Any:
    args, named = Signature(function, "!cmd").bind(Line(text), call(text))
    return function(*args, **named)


def numbers(a: int, b: float = 1.5, *, text: str = "none") -> Any:
    return a, b, text


def words(first: str, *others: int) -> Any:
    return first, others


def typed(day: date, colour: Colour, mode: Literal["on", "off"], who: JID | None = None) -> Any:
    return day, colour, mode, who


class Mixed(Enum):
    A = "a"
    B = 2


def flag(on: bool) -> Any:
    return on


def bounded(n: Annotated[int, Meta(ge=1, le=5)], *more: Annotated[str, Meta(max_length=3)]) -> Any:
    return n, more


def spread(*words: str) -> Any:
    return words


def levels(level: Literal[1, 2], *flags: bool) -> Any:
    return level, flags


def given_call(first: str, call: Call, second: str = "x") -> Any:
    return first, call.sender, second


def given_and_many(call: Call, first: str, *others: int) -> Any:
    return call.sender, first, others


def given_event(event: StanzaEvent, *, text: str) -> Any:
    return event.sender, text


@pytest.mark.parametrize(
    ("function", "text", "result"),
    [
        (numbers, "3", (3, 1.5, "none")),
        (numbers, "-3 0.5", (-3, 0.5, "none")),
        (numbers, '3 2  the "rest  of" it', (3, 2.0, 'the "rest  of" it')),
        (words, "one", ("one", ())),
        (words, '"one word" 2 3', ("one word", (2, 3))),
        (words, r"one\ word 2", ("one word", (2,))),
        (words, "it's 2'", ("its 2", ())),
        (words, "''", ("", ())),
        (typed, "2026-01-31 red off", (date(2026, 1, 31), Colour.RED, "off", None)),
        (
            typed,
            "2026-01-31 blue on a@b/c",
            (date(2026, 1, 31), Colour.BLUE, "on", JID("a@b/c")),
        ),
        (flag, "true", True),
        (flag, "0", False),
        (flag, "Yes", True),
        (flag, "off", False),
        (bounded, "5 abc", (5, ("abc",))),
        (levels, "2 yes no true 0", (2, (True, False, True, False))),
        (given_call, "a", ("a", "alice@localhost", "x")),
        (given_call, "a b", ("a", "alice@localhost", "b")),
        (given_and_many, "a 1 2", ("alice@localhost", "a", (1, 2))),
        (given_event, " spaced  out ", ("alice@localhost", "spaced  out")),
    ],
)
def test_arguments(function: Any, text: str, result: Any) -> None:
    assert bind(function, text) == result


@pytest.mark.parametrize(
    ("function", "text", "says"),
    [
        (numbers, "", "a is missing. Usage: !cmd <a> [b] [text ...]"),
        (numbers, "three", "a: 'three' is not a whole number"),
        (numbers, "1 two", "b: 'two' is not a number"),
        (words, "one two", "others: 'two' is not a whole number. Usage: !cmd <first> [others ...]"),
        (words, '"one', "a quote or a backslash is not closed"),
        (words, "one\\", "a quote or a backslash is not closed"),
        (typed, "tomorrow red on", "day: 'tomorrow' is not a date"),
        (typed, "2026-01-31 green on", "colour: 'green' is not one of red, blue"),
        (typed, "2026-01-31 red maybe", "mode: 'maybe' is not one of on, off"),
        (typed, "2026-01-31 red on @@", "who: '@@' is not a JID"),
        (typed, "2026-01-31 red on ''", "who: '' is not a JID"),
        (typed, "2026-01-31 red on a\x00@b", "is not a JID"),
        (numbers, "1 nan", "b: 'nan' is not a number"),
        (numbers, "1 -inf", "b: '-inf' is not a number"),
        (numbers, "1 " + "9" * 400, "is not a number"),
        (bounded, "6", "n: '6' is not a whole number (Expected `int` <= 5)"),
        (bounded, "1 abcd", "more: 'abcd' is not a str (Expected `str` of length <= 3)"),
        (spread, "a" * 5000, "the words have more than 4096 characters"),
        (spread, "a " * 3000, "the words have more than 4096 characters"),
        (levels, "3", "level: '3' is not one of 1, 2"),
        (flag, "perhaps", "on: 'perhaps' is not yes or no"),
        (flag, "true true", "'true' is one word too many"),
        (given_event, " ", "text is missing"),
    ],
)
def test_usage_errors(function: Any, text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        bind(function, text)
    assert says in str(caught.value)
    assert "Usage: !cmd" in str(caught.value)


def test_usage_names_choices() -> None:
    assert Signature(typed, "!cmd").usage == "!cmd <day> <red|blue> <on|off> [who]"


def test_functions_that_nobody_could_call_are_refused() -> None:
    def named(**options: str) -> None: ...

    def two_rests(*, one: str, two: str) -> None: ...

    def rest_after_words(*words: str, text: str) -> None: ...

    def wrong_rest(*, number: int) -> None: ...

    for function in (named, two_rests, rest_after_words, wrong_rest):
        with pytest.raises(PluginError):
            Signature(function, "!cmd")


def test_types_that_nobody_could_give_are_refused() -> None:
    def mixed(colour: Mixed) -> None: ...

    def number(z: complex) -> None: ...

    def either(who: int | JID) -> None: ...

    def spread(*many: complex) -> None: ...

    for function in (mixed, number, either, spread):
        with pytest.raises(PluginError, match="nobody can give"):
            Signature(function, "!cmd")


@pytest.mark.parametrize(
    ("annotation", "field"),
    [(bool, "boolean"), (list[bool], "text-multi"), (list[JID], "jid-multi"), (Colour, "list-single"),
     (list[Colour], "list-multi"), (int | None, "text-single"), (list[int] | None, "text-multi"),
     (Annotated[int, Meta(ge=1)], "text-single"), (Annotated[bool, Meta()] | None, "boolean")],
)  # fmt: skip
def test_fields_of_forms(annotation: Any, field: str) -> None:
    assert Parameter.of("x", annotation).field_type == field


@pytest.mark.parametrize("value", [5, None, [], {}, True, "", "a\ud800@b"])
def test_json_that_is_no_jid(value: Any) -> None:
    with pytest.raises(ValueError, match="is not a JID"):
        Parameter("who", JID).convert_data(value)


@given(st.text(max_size=60))
def test_any_text_is_bound_or_refused_clearly(text: str) -> None:
    for function in (numbers, words, typed, flag, given_call, given_event):
        try:
            bind(function, text)
        except UsageError as error:
            assert "Usage: !cmd" in str(error)


@given(st.lists(st.text(max_size=8), min_size=1, max_size=5))
def test_quoted_words_come_back(parts: list[str]) -> None:
    import shlex

    def function(*words: str) -> Any:
        return words

    assert bind(function, shlex.join(parts)) == tuple(parts)
