"""What a stop does to what is under way."""

from __future__ import annotations

import asyncio

import zmq
import zmq.asyncio

from zxmpp import Plugin, command
from zxmpp.testing import TestBot, body_of

JOBS = """
[sockets.jobs]
type = "DEALER"
bind = "tcp://127.0.0.1:*"
[sockets.intake]
type = "PULL"
bind = "tcp://127.0.0.1:*"
[plugins.workers.commands.slow]
socket = "jobs"
"""


class Endless(Plugin):
    """Never ends by itself."""

    @command
    async def endless(self) -> str:
        await asyncio.Event().wait()
        return "never"


async def begin(bot: TestBot, text: str) -> None:
    """Say something whose answer takes its time."""
    server = bot._server("")
    to = bot.address()
    server._say(
        f"<message from='alice@localhost/x' to='{to}' type='chat'><body>{text}</body></message>"
    )
    await asyncio.sleep(0)


async def test_what_runs_gets_its_answer_and_what_comes_is_refused() -> None:
    bot = TestBot(JOBS, ["echo"])
    with zmq.asyncio.Context() as context, context.socket(zmq.REP) as worker:
        async with bot, asyncio.timeout(10):
            worker.connect(bot.app.socket("jobs").bound[0])
            await begin(bot, "!slow question")
            assert await worker.recv() == b"question"
            stopping = asyncio.ensure_future(bot.app.stop(drain=5))
            while not bot.app.socket("intake").socket.paused:
                await asyncio.sleep(0)
            await begin(bot, "!echo too late")
            await worker.send(b"answer")
            await stopping
    texts = [body_of(stanza) for stanza in bot.sent]
    assert "answer" in texts
    assert "This bot is stopping; try again later." in texts
    assert bot.app.pipeline.counts["stopping"] == 1
    assert "cancelled" not in bot.app.pipeline.counts


async def test_what_does_not_end_is_told_and_ended() -> None:
    bot = TestBot("", [Endless])
    async with bot, asyncio.timeout(10):
        await begin(bot, "!endless")
        await bot.app.stop(drain=0.05)
    assert "endless was stopped." in [body_of(stanza) for stanza in bot.sent]
    assert bot.app.pipeline.counts["cancelled"] == 1
    assert bot.app.pipeline.in_flight == 0
