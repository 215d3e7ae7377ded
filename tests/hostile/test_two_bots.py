"""Two bots that talk to each other: they come to an end, whatever is said first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from xml.sax.saxutils import escape, quoteattr

import pytest

from zxmpp import Call, Plugin, command
from zxmpp.testing.bot import TestBot, body_of

from .helpers import ROOM

NAMES = ("alpha", "beta")
#: The burst that the guards of each let through. Nothing comes back while a test runs.
BURST = 20
#: Until they fall silent, at most.
MOST = 1000


class Chatter(Plugin):
    """Answers with what may be a command to the other."""

    @command
    def ping(self) -> str:
        """The other one has this too."""
        return "ping"

    @command
    def marked(self) -> str:
        """With the prefix."""
        return "!marked"

    @command
    async def ask(self, call: Call) -> str:
        """Ask whoever answers with a question."""
        return await call.ask("ask", int)


class Bots:
    """Two bots, and the server between them."""

    def __init__(self, bots: dict[str, TestBot]) -> None:
        self.bots = bots
        self.said: list[str] = []

    async def begin(self, text: str, room: bool) -> list[str]:
        """Let alpha say `text` to beta; all that was said until both were silent."""
        seen = {name: len(bot.sent) for name, bot in self.bots.items()}
        alpha = self.bots["alpha"].app.stream()
        alpha.say(ROOM if room else "beta@localhost/test", text)  # type: ignore[attr-defined]
        while len(self.said) < MOST:
            for bot in self.bots.values():
                await bot.settle()
            fresh = [
                (name, stanza)
                for name, bot in self.bots.items()
                for stanza in bot.sent[seen[name] :]
                if stanza.tag.endswith("}message")
            ]
            seen = {name: len(bot.sent) for name, bot in self.bots.items()}
            if not fresh:
                break
            for name, stanza in fresh:
                kind, text = stanza.get("type", "normal"), body_of(stanza)
                self.said.append(text or kind)
                await self._pass_on(name, kind, text, room)
        return self.said

    async def _pass_on(self, name: str, kind: str, text: str, room: bool) -> None:
        body = f"<body>{escape(text)}</body>" if text else ""
        for other, bot in self.bots.items():
            if room:
                from_ = f"{ROOM}/{name}"
            elif other != name:
                from_ = f"{name}@localhost/test"
            else:
                continue
            await bot.hears(
                f"<message from={quoteattr(from_)} to={quoteattr(bot.address())} "
                f"type={quoteattr(kind)}>{body}</message>"
            )


@pytest.fixture
async def bots() -> AsyncIterator[Bots]:
    async with AsyncExitStack() as stack:
        made = {}
        for name in NAMES:
            settings = (
                f"[streams.bot]\nkind = 'client'\njid = '{name}@localhost/test'\nnick = '{name}'\n"
                f"[guards]\nrate = 0.001\nburst = {BURST}\n"
            )
            bot = made[name] = TestBot(settings, ["echo", "help", Chatter])
            await stack.enter_async_context(bot)
            await bot.joins(ROOM)
        yield Bots(made)


#: What alpha begins with.
HARMLESS = [
    "hi", "!help", "help", "!help echo", "help help", "!echo hi", "echo echo echo hi",
    "!echo !echo !echo hi", "!echo !help", "echo help", "!nothing", "nothing", "!echo !nothing",
    "alpha: help", "beta: help", "beta: echo alpha: echo beta: help", "beta: nothing",
    "There is no command", "!echo There is no command", "!", "! ", "!!", "cancel", "!cancel",
    "Usage: !help", "!help too many words", "!echo !help too many words", "!echo",
]  # fmt: skip


@pytest.mark.parametrize("room", [False, True], ids=["chat", "room"])
@pytest.mark.parametrize("text", HARMLESS)
async def test_what_bots_say_leads_to_little(bots: Bots, text: str, room: bool) -> None:
    said = await bots.begin(text, room)
    # What was said first is answered, and so is what it has the other one repeat; no help is.
    assert len(said) <= 2 + text.count("echo"), said


@pytest.mark.parametrize("room", [False, True], ids=["chat", "room"])
@pytest.mark.parametrize("text", ["ping", "!ping", "!marked", "ask", "!ask"])
async def test_those_who_could_go_on_for_ever_are_stopped(
    bots: Bots, text: str, room: bool
) -> None:
    said = await bots.begin(text, room)
    assert len(said) <= 2 * BURST + 2, said
