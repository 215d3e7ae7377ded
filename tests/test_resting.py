"""Handlers that wait for a person: the limit stands still, for all tasks that are part of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from zxmpp import Call, Plugin, StanzaEvent, command, on
from zxmpp.resting import RUN, off_the_clock
from zxmpp.testing.bot import TestBot, body_of


class Asks(Plugin):
    """Asks in every way."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.answers: list[str] = []
        self.limits: list[float | None] = []

    def limit(self) -> float | None:
        """When the time limit of the handler here is due."""
        run = RUN.get()
        assert run is not None
        return run._limit.when()

    @command(timeout=60)
    async def both(self, call: Call) -> str:
        """Ask twice at once."""
        await asyncio.sleep(0)
        tasks = [asyncio.ensure_future(call.ask(text)) for text in ("A?", "B?")]
        answers = []
        for task in tasks:
            answers.append(await task)
            self.limits.append(self.limit())
        return " ".join(answers)

    @command(timeout=60)
    async def later(self, call: Call) -> str:
        """Leave a question behind."""
        await asyncio.sleep(0)

        async def ask() -> None:
            self.answers.append(await call.ask("Later?"))

        self.spawn(ask())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "left"

    @command(timeout=0.05)
    async def stuck(self, call: Call) -> None:
        """Ask when the time is over."""
        try:
            await asyncio.Event().wait()
        finally:
            await call.ask("Really?", timeout=0.05)

    @command(timeout=60)
    async def outer(self, call: Call) -> str:
        """Something else arrives inside of this one."""
        await asyncio.sleep(0)
        inner = StanzaEvent(
            call.event.source, ("message",), "bob@localhost", ("bot", "bob@localhost"),
            call.event.stanza, "message", "chat", "bob@localhost/x", "bot@localhost/test", "?inner",
        )  # fmt: skip
        self.app.pipeline.receive([inner])
        async with asyncio.timeout(10):
            await self.begun.wait()
        self.limits.append(self.limit())
        return "outer"

    @on.message(where=lambda event: event.body == "?inner")
    async def inner(self, event: StanzaEvent) -> None:
        async with off_the_clock():
            self.begun.set()
            await self.gate.wait()


@pytest.fixture
async def bot() -> AsyncIterator[TestBot]:
    async with TestBot("[guards]\nrate = 0", plugins=[Asks]) as bot:
        yield bot


def asks(bot: TestBot) -> Asks:
    plugin = bot.app.plugins.get("asks")
    assert isinstance(plugin, Asks)
    return plugin


async def test_two_questions_at_once_and_the_limit_comes_back(bot: TestBot) -> None:
    assert await bot.hears_message("!both") == ["A?", "B?"]
    # Nobody waits for who waits for a person, however often.
    assert await bot.app.pipeline.settle(0)
    assert await bot.hears_message("a") == []
    assert await bot.says("b") == "a b"
    standing, running = asks(bot).limits
    assert standing is None
    assert running is not None


async def test_a_question_that_outlives_its_handler_holds_up_nobody(bot: TestBot) -> None:
    assert sorted(await bot.hears_message("!later")) == ["Later?", "left"]
    assert bot.app.pipeline.in_flight == 0
    assert await bot.app.pipeline.settle(0)
    await bot.says("here")
    assert asks(bot).answers == ["here"]
    assert bot.app.pipeline.statistics().owners["asks"].get("failed") is None


async def test_who_asks_when_the_time_is_over_gets_no_more_of_it(bot: TestBot) -> None:
    replies = await bot.hears_message("!stuck")
    assert replies == ["Really?", "No answer in 0.05 s: Really?"]
    assert bot.app.pipeline.in_flight == 0


async def test_what_arrives_inside_of_a_handler_is_no_part_of_it(bot: TestBot) -> None:
    assert await bot.says("!outer") == "outer"
    (limit,) = asks(bot).limits
    assert limit is not None
    asks(bot).gate.set()
    await bot.settle()
    assert bot.app.pipeline.in_flight == 0
    assert [body_of(each) for each in bot.sent if body_of(each)] == ["outer"]
