"""Commands in chats: how they are found, how what they return is shown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import pytest
from msgspec import Struct
from slixmpp import JID

from zxmpp import (
    Call,
    Cancelled,
    Confirm,
    File,
    Form,
    Plugin,
    Progress,
    StanzaEvent,
    Table,
    Unanswered,
    command,
    on,
)
from zxmpp.commands import questions
from zxmpp.testing import TestBot
from zxmpp.testing.bot import body_of
from zxmpp.testing.transport import feed

ROOM = "room@rooms.localhost"
QUICK = "{urn:xmpp:tmp:quick-response}response"


class Say(Plugin):
    """Commands of every kind."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.gate = asyncio.Event()

    @command
    async def hold(self) -> str:
        await self.gate.wait()
        return "held"

    @command
    def echo(self, *, text: str) -> str:
        """Say it back."""
        return text

    @command
    def add(self, a: int, b: int = 1) -> str:
        return str(a + b)

    @command
    def total(self, numbers: list[int]) -> str:
        return str(sum(numbers))

    @command
    def people(self) -> Table:
        return Table(["name", "age"], [["Alice", 30], ["小明", None]], "People")

    @command
    def several(self) -> Iterator[Any]:
        yield "one"
        yield Table(["n"], [[2]])

    @command
    async def later(self) -> AsyncIterator[str]:
        for word in ("one", "two"):
            await asyncio.sleep(0)
            yield word

    @command
    def count(self, number: int) -> Iterator[Any]:
        for done in range(number):
            yield Progress(done / number)
        yield "done"

    @command(timeout=0.05)
    def nothing(self) -> Iterator[None]:
        while True:
            yield None

    @command(timeout=0.05)
    async def anothing(self) -> AsyncIterator[None]:
        while True:
            yield None

    @command
    def flood(self) -> Iterator[str]:
        while True:
            yield "more"

    @command
    async def work(self) -> AsyncIterator[Any]:
        yield Progress(0.5, "half")
        yield "done"


@pytest.fixture
async def bot() -> AsyncIterator[TestBot]:
    async with TestBot(plugins=[Say]) as bot:
        yield bot


class TestFinding:
    @pytest.mark.parametrize("text", ["!echo hi  there", "! echo hi  there", "echo hi  there"])
    async def test_in_a_chat_the_prefix_is_optional(self, bot: TestBot, text: str) -> None:
        assert await bot.says(text) == "hi  there"

    async def test_talk_that_is_no_command_is_left_alone(self, bot: TestBot) -> None:
        assert await bot.hears_message("hello there") == []

    async def test_with_bare_off_the_prefix_is_needed(self) -> None:
        async with TestBot("[commands]\nbare = false", plugins=[Say]) as bot:
            assert await bot.hears_message("echo hi") == []
            assert await bot.says("!echo hi") == "hi"

    @pytest.mark.parametrize(
        "text", ["!echo hi", "bot: echo hi", "bot, echo hi", "bot echo hi", "@bot: !echo hi"]
    )
    async def test_in_a_room_a_prefix_or_the_bots_nick(self, bot: TestBot, text: str) -> None:
        assert await bot.says(text, room=ROOM) == "hi"

    @pytest.mark.parametrize("text", ["echo hi", "botanist: echo hi", "ask bot: echo hi", "bot:"])
    async def test_other_talk_in_a_room_is_left_alone(self, bot: TestBot, text: str) -> None:
        assert await bot.hears_message(text, room=ROOM) == []

    async def test_an_unknown_name_is_told_to_whoever_spoke_to_the_bot(self, bot: TestBot) -> None:
        unknown = "There is no command !ecko. Did you mean !echo?"
        assert await bot.says("!ecko") == unknown
        assert await bot.says("bot: ecko", room=ROOM) == unknown
        # It may be for another bot.
        assert await bot.hears_message("!ecko", room=ROOM) == []

    async def test_the_nick_that_the_room_gave_counts(self, bot: TestBot) -> None:
        await bot.joins(ROOM)
        room = bot.app.stream().rooms.get(ROOM)  # type: ignore[attr-defined]
        room.nick = "bot_"
        assert await bot.hears_message("bot: echo hi", room=ROOM) == []
        assert await bot.says("bot_: echo hi", room=ROOM) == "hi"

    async def test_a_call_that_waited_while_the_nick_changed_is_not_guessed(
        self, bot: TestBot
    ) -> None:
        await bot.joins(ROOM)
        say: Any = bot.app.plugins.get("say")
        server = bot.app.servers["bot"]
        server.enter(f"{ROOM}/alice", "alice@localhost/test")
        await bot.settle()
        for text in ("!hold", "bot: echo all of it"):
            feed(server.xmpp, f"<message from='{ROOM}/alice' to='bot@localhost/test' "
                 f"type='groupchat'><body>{text}</body></message>")  # fmt: skip
        bot.app.stream().rooms.get(ROOM).nick = "bot_"  # type: ignore[attr-defined]
        say.gate.set()
        await bot.settle()
        assert [body_of(each) for each in bot.sent if body_of(each)] == [
            "held",
            "echo was not called in time; say it again.",
        ]


class TestShowing:
    async def test_a_list_takes_all_words(self, bot: TestBot) -> None:
        assert await bot.says("!total 1 2 39") == "42"
        assert await bot.says("!total") == "0"
        assert "'x' is not a whole number" in await bot.says("!total 1 x")

    async def test_a_wrong_argument_is_named(self, bot: TestBot) -> None:
        assert await bot.says("!add one") == ("a: 'one' is not a whole number. Usage: !add <a> [b]")
        assert await bot.says("!add") == "a is missing. Usage: !add <a> [b]"

    async def test_a_table_is_aligned_in_a_block(self, bot: TestBot) -> None:
        assert await bot.says("!people") == ("```\nPeople\nname   age\nAlice  30\n小明\n```")

    async def test_pieces_come_in_order(self, bot: TestBot) -> None:
        assert await bot.hears_message("!several") == ["one", "```\nn\n2\n```"]
        assert await bot.hears_message("!later") == ["one", "two"]

    async def test_progress_is_no_piece(self, bot: TestBot) -> None:
        assert await bot.hears_message("!count 3000") == ["done"]

    @pytest.mark.parametrize("name", ["nothing", "anothing"])
    async def test_one_that_yields_nothing_for_ever_leaves_the_loop_to_others(
        self, bot: TestBot, name: str
    ) -> None:
        (told,) = await bot.hears_message(f"!{name}")
        assert told == "say took more than 0.05 s and was stopped."

    async def test_a_reply_without_end_is_stopped(self, bot: TestBot) -> None:
        *replies, told = await bot.hears_message("!flood")
        assert len(replies) == 1000
        assert told == "say had more than 1000 replies; the rest is left out."

    async def test_progress_ends_in_the_result(self, bot: TestBot) -> None:
        assert await bot.hears_message("!work") == ["done"]


class Answers(Struct):
    """What is asked.

    room: Which room?
    often: How often?
    """

    room: JID
    often: int = 1


class Sign(Struct):
    """One with a choice that is a dash."""

    mark: Literal["-", "+"] = "+"


class Ask(Plugin):
    """Asks back."""

    choices: Any = ()

    @command
    async def order(self, call: Call) -> str:
        size = await call.choose("Which size?", {"s": "small", "l": "large"})
        count = await call.ask("How many?", int)
        if not await call.confirm(f"{count} of {size}?"):
            return "Then not."
        return f"{count}{size}"

    @command
    async def first(self, call: Call) -> str:
        return await call.ask("A?")

    @command
    def settings(self) -> Form:
        return Form(Answers, lambda given: f"{given.room} {given.often}", title="Settings")

    @command
    def sign(self) -> Form:
        return Form(Sign, lambda given: given.mark)

    @command
    def wipe(self) -> Confirm:
        return Confirm("All of it?", lambda: "wiped")

    @command
    async def pick(self, call: Call) -> str:
        return await call.ask("Which?", Literal["red", "blue"])

    @command
    async def chosen(self, call: Call) -> str:
        return await call.choose("Which?", self.choices)

    @command
    async def many(self, call: Call) -> str:
        return str(await call.ask("Which?", list[str]))

    @command
    async def flags(self, call: Call) -> str:
        return str(await call.ask("Which?", list[bool]))

    @command
    async def patient(self, call: Call) -> str:
        try:
            return await call.ask("Well?", timeout=0.01)
        except Unanswered as error:
            return f"caught: {error}"

    @command
    async def soon(self, call: Call) -> str:
        return await call.ask("Well?", timeout=0.05)

    @command
    async def stubborn(self, call: Call) -> str:
        try:
            return await call.ask("Well?")
        except Cancelled:
            return "as you like"

    @command(timeout=0.2)
    async def slow(self, call: Call) -> str:
        first = await call.ask("Take your time", timeout=30)
        await asyncio.sleep(0)
        return first

    @on.message
    def overhear(self, event: StanzaEvent) -> None:
        self.count(f"overheard {event.body}")


def keep_the_loop(seconds: float) -> None:
    time.sleep(seconds)


@pytest.fixture
async def asking() -> AsyncIterator[TestBot]:
    async with TestBot(plugins=[Ask, Say]) as bot:
        yield bot


class TestAsking:
    async def test_a_conversation(self, asking: TestBot) -> None:
        assert await asking.says("!order") == "Which size?\n1. small\n2. large"
        assert await asking.says("2") == "How many?"
        assert (
            await asking.says("some") == "'some' is not a whole number. Try again, or say cancel."
        )
        assert await asking.says("3") == "3 of l?\n(yes or no)"
        assert await asking.says("Yes") == "3l"
        # The answers went to whoever asked, and to nobody else.
        counts = asking.app.pipeline.statistics().owners["ask"]
        assert not [name for name in counts if name.startswith("overheard") and "!" not in name]
        assert len(asking.app.commands.questions) == 0

    @pytest.mark.parametrize("answer", ["1", "s", "SMALL", " small "])
    async def test_a_choice_by_number_by_key_or_as_shown(
        self, asking: TestBot, answer: str
    ) -> None:
        await asking.says("!order")
        assert await asking.says(answer) == "How many?"

    async def test_quick_responses_in_a_chat_only(self, asking: TestBot) -> None:
        await asking.says("!order")
        buttons = {each.get("value"): each.get("label") for each in asking.sent[-1].iter(QUICK)}
        assert buttons == {"s": "small", "l": "large"}
        await asking.says("!order", room=ROOM)
        assert not list(asking.sent[-1].iter(QUICK))

    async def test_a_form_is_asked_field_by_field(self, asking: TestBot) -> None:
        assert await asking.hears_message("!settings") == ["Settings", "Which room?"]
        assert "is not a JID" in await asking.says("@")
        assert await asking.says("a@b") == "How often?\n(- for '1')"
        assert await asking.says("-") == "a@b 1"

    async def test_a_confirmation(self, asking: TestBot) -> None:
        assert await asking.says("!wipe") == "All of it?\n(yes or no)"
        assert await asking.says("yes") == "wiped"
        await asking.says("!wipe")
        assert await asking.hears_message("no") == []

    async def test_only_the_asked_person_answers_and_only_there(self, asking: TestBot) -> None:
        await asking.says("!first", room=ROOM)
        for elsewhere in (
            asking.hears_message("x", sender="bob@localhost/test", room=ROOM),
            asking.hears_message("x"),
            asking.hears_message("x", room="other@rooms.localhost"),
        ):
            assert await elsewhere == []
        assert await asking.says("mine", room=ROOM) == "mine"

    async def test_private_through_a_room_is_a_place_of_its_own(self, asking: TestBot) -> None:
        def privately(text: str) -> str:
            return (f"<message from='{ROOM}/alice' to='bot@localhost/test' type='chat'>"
                    f"<body>{text}</body></message>")  # fmt: skip

        await asking.says("hello", room=ROOM)
        await asking.hears(privately("!first"))
        assert await asking.hears_message("in public", room=ROOM) == []
        (answered,) = await asking.hears(privately("in private"))
        assert answered.findtext("{jabber:client}body") == "in private"
        await asking.hears(privately("!order"))
        assert list(asking.sent[-1].iter(QUICK))

    async def test_commands_go_on_meanwhile(self, asking: TestBot) -> None:
        await asking.says("!first")
        assert await asking.says("!echo hi") == "hi"
        assert await asking.says("mine") == "mine"

    @pytest.mark.parametrize("word", ["cancel", "!cancel", "Cancel"])
    async def test_the_user_cancels(self, asking: TestBot, word: str) -> None:
        await asking.says("!first")
        assert await asking.says(word) == "Cancelled."
        await asking.says("!stubborn")
        assert await asking.says(word) == "as you like"

    @pytest.mark.parametrize(
        ("choices", "shown", "answers"),
        [
            (["x", "y"], "1. x\n2. y", {"1": "x", "y": "y"}),
            (["2", "1"], "- 2\n- 1", {"1": "1", "2": "2"}),
            ({"a": "2", "b": "two"}, "- 2\n- two", {"2": "a", "b": "b"}),
            (["1", "2"], "1. 1\n2. 2", {"1": "1", "2": "2"}),
            (["20", "10"], "1. 20\n2. 10", {"1": "20", "10": "10"}),
            (["-", "x"], "1. -\n2. x", {"-": "-"}),
        ],
    )
    async def test_a_number_means_what_is_shown(
        self, asking: TestBot, choices: Any, shown: str, answers: dict[str, str]
    ) -> None:
        plugin: Any = asking.app.plugins.get("ask")
        plugin.choices = choices
        for answer, chosen in answers.items():
            assert await asking.says("!chosen") == f"Which?\n{shown}"
            assert await asking.says(answer) == chosen

    async def test_a_dash_that_is_a_choice_is_no_default(self, asking: TestBot) -> None:
        assert await asking.says("!sign") == "Mark\n1. -\n2. +\n(- for '+')"
        assert await asking.says("-") == "-"

    async def test_a_number_that_is_huge_is_no_choice(self, asking: TestBot) -> None:
        await asking.says("!order")
        assert "is not one of s, l" in await asking.says("9" * 5000)

    async def test_a_list_is_one_answer(self, asking: TestBot) -> None:
        await asking.says("!many")
        assert await asking.says("1 'b c' yes") == "['1', 'b c', 'yes']"
        await asking.says("!flags")
        assert await asking.says("yes off 1") == "[True, False, True]"

    @pytest.mark.parametrize("answer", ["bot: mine", "bot, mine", "@bot mine"])
    async def test_in_a_room_the_bots_nick_may_stand_in_front(
        self, asking: TestBot, answer: str
    ) -> None:
        await asking.says("!first", room=ROOM)
        assert await asking.says(answer, room=ROOM) == "mine"
        await asking.says("!first", room=ROOM)
        assert await asking.says("bot: cancel", room=ROOM) == "Cancelled."

    async def test_wrong_answers_end_it(self, asking: TestBot) -> None:
        await asking.says("!pick")
        for _ in range(2):
            assert "is not one of red, blue" in await asking.says("green")
        assert await asking.hears_message("green") == ["That was no answer 3 times; cancelled."]
        assert len(asking.app.commands.questions) == 0

    async def test_no_answer_in_time(self, asking: TestBot) -> None:
        before = len(asking.sent)
        await asking.says("!patient")
        await asking.next_message(after=before + 1)
        assert asking.sent[-1].findtext("{jabber:client}body") == (
            "caught: No answer in 0.01 s: Well?"
        )

    async def test_an_answer_in_the_turn_of_the_time_out_counts(self, asking: TestBot) -> None:
        say = (
            "<message from='alice@localhost/test' to='bot@localhost/test' type='chat'>"
            "<body>{}</body></message>"
        )
        xmpp = asking.app.servers["bot"].xmpp
        feed(xmpp, say.format("!soon"))
        assert await asking.app.pipeline.settle(10)
        # Both are due when the loop looks again; the answer comes first.
        asyncio.get_running_loop().call_at(0, feed, xmpp, say.format("here"))
        keep_the_loop(0.06)
        await asking.settle()
        assert [body_of(each) for each in asking.sent if body_of(each)] == ["Well?", "here"]

    async def test_waiting_for_a_person_takes_none_of_the_handlers_time(
        self, asking: TestBot
    ) -> None:
        await asking.says("!slow")
        loop = asyncio.get_running_loop()
        passed = loop.create_future()
        loop.call_later(0.25, passed.set_result, None)
        await passed
        assert await asking.says("here") == "here"

    async def test_an_unload_frees_it(self, asking: TestBot) -> None:
        await asking.says("!first")
        await asking.app.plugins.unload("ask")
        assert len(asking.app.commands.questions) == 0
        assert await asking.hears_message("too late") == []

    async def test_a_stop_does_not_wait_for_people(self) -> None:
        async with TestBot(plugins=[Ask]) as bot:
            await bot.says("!first")
            assert await bot.app.pipeline.settle(5)

    async def test_a_hidden_occupant_that_leaves_takes_the_question_along(
        self, asking: TestBot
    ) -> None:
        await asking.says("!first", room=ROOM, hidden=True)
        await asking.hears(
            f"<presence from='{ROOM}/alice' to='bot@localhost/test' type='unavailable'>"
            "<x xmlns='http://jabber.org/protocol/muc#user'>"
            "<item affiliation='none' role='none'/></x></presence>"
        )
        # Somebody else under the same nick.
        assert await asking.hears_message("mine", room=ROOM, hidden=True) == []

    async def test_open_questions_are_bounded(
        self, asking: TestBot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(questions, "MAX_OPEN", 2)
        for name in ("a", "b"):
            assert await asking.says("!first", sender=f"{name}@localhost/x") == "A?"
        answers = await asking.hears_message("!first", sender="c@localhost/x")
        assert answers == ["ask waits for 2 answers already; try again later."]
        counts = asking.app.pipeline.statistics().owners["ask"]
        assert counts["questions-full"] == 1
        # Who has answered makes room, and nothing is kept of them.
        for name in ("a", "b", "c", "d"):
            sender = f"{name}@localhost/x"
            if name not in "ab":
                assert await asking.says("!first", sender=sender) == "A?"
            assert await asking.says("mine", sender=sender) == "mine"
        assert not asking.app.commands.questions._open


REPLY = (
    "<message from='alice@localhost/test' to='bot@localhost/test' type='chat' id='r'>"
    "<body>&gt; what was said\n{text}</body>"
    "<reply xmlns='urn:xmpp:reply:0' to='bot@localhost/test' id='x'/>"
    "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='16'/></fallback>"
    "</message>"
)


class TestReplies:
    async def test_what_a_reply_quotes_is_not_what_was_said(self, asking: TestBot) -> None:
        sent = await asking.hears(REPLY.format(text="!echo hi"))
        assert [body_of(stanza) for stanza in sent] == ["hi"]
        await asking.says("!first")
        sent = await asking.hears(REPLY.format(text="mine"))
        assert [body_of(stanza) for stanza in sent] == ["mine"]

    async def test_a_quotation_that_is_none_is_no_command(self, bot: TestBot) -> None:
        assert await bot.hears_message("> what was said\n!echo hi") == []


class Files(Plugin):
    """Sends a file."""

    @command
    def file(self) -> File:
        return File("a.txt", b"hello", text="Here")


async def test_a_file_that_cannot_be_sent_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with TestBot(plugins=[Files]) as bot:
        assert await bot.says("!file") == (
            "Here\na.txt (text/plain, 5 bytes): it can't be sent here."
        )
        assert bot.app.pipeline.statistics().owners["files"]["file-not-sent"] == 1
    assert "command file: " in caplog.text
