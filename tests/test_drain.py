"""What a stop does to what is under way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import zmq
import zmq.asyncio

from zxmpp import App, Plugin, command
from zxmpp.testing import TestBot, body_of
from zxmpp.testing.servers.ports import free_port

JOBS = """
[broker]
bind = "tcp://127.0.0.1:*"
[sockets.intake]
type = "PULL"
bind = "tcp://127.0.0.1:*"
[plugins.workers.commands.slow]
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
    with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as worker:
        worker.linger = 0
        async with bot, asyncio.timeout(10):
            worker.connect(bot.app.services.bound[0])
            await worker.send_multipart([b"", b"MDPW01", b"\x01", b"slow"])
            await begin(bot, "!slow question")
            while (request := await worker.recv_multipart())[2] != b"\x02":
                pass
            assert request[-1] == b"question"
            stopping = asyncio.ensure_future(bot.app.stop(drain=5))
            while not bot.app.socket("intake").socket.paused:
                await asyncio.sleep(0)
            await begin(bot, "!echo too late")
            await worker.send_multipart([b"", b"MDPW01", b"\x03", *request[3:5], b"answer"])
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


async def test_what_a_socket_still_has_to_send_goes_out() -> None:
    """A peer that comes while the bot stops gets what waited for it."""
    address = f"tcp://127.0.0.1:{free_port()}"
    bot = TestBot(f'[sockets.out]\ntype = "PUSH"\nconnect = "{address}"\nreconnect_ivl = 10')
    with zmq.asyncio.Context() as context, context.socket(zmq.PULL) as peer:
        async with bot, asyncio.timeout(10):
            out = bot.app.socket("out")
            out.send(b"last words")
            assert out.statistics().buffered == 1
            stopping = asyncio.ensure_future(bot.app.stop(drain=5))
            await asyncio.sleep(0)
            peer.bind(address)
            assert await peer.recv() == b"last words"
            await stopping


async def test_a_stop_ends_a_reload_that_hangs(tmp_path: Path) -> None:
    path = tmp_path / "bot.toml"
    path.write_text("")
    app = App(path)
    await app.start()
    path.write_text(f'[plugins.hangs]\nuse = "{__name__}:Hangs"')
    app.on_hangup()
    async with asyncio.timeout(10):
        await Hangs.begun.wait()
        await app.stop(drain=0.05)
    assert app._reloading is not None
    assert app._reloading.done()
    assert list(app.plugins) == []


class Hangs(Plugin):
    """Never comes up."""

    begun = asyncio.Event()

    async def start(self) -> None:
        self.begun.set()
        await asyncio.Event().wait()
