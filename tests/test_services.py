"""Services inside a bot: on whose behalf a plugin asks, who comes first, and how a bot stops."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio

from zxmpp import (
    App,
    ConfigError,
    FramesEvent,
    Plugin,
    PluginError,
    SocketError,
    command,
    every,
    on,
)
from zxmpp.config import parse
from zxmpp.mdp import Client, Job, NoAnswer, Worker
from zxmpp.testing import TestBot, body_of
from zxmpp.testing.servers.ports import free_port
from zxmpp.testing.transport import feed

LIMIT = 10
CONFIG = """
[broker]
bind = "tcp://127.0.0.1:*"
[guards]
rate = 0
"""
ALICE, BOB = "alice@localhost/x", "bob@localhost/y"


class Asker(Plugin):
    """Asks the service ``who`` in every way that there is."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.gate = asyncio.Event()
        self.at_gate = 0
        self.by_timer: asyncio.Queue[str] = asyncio.Queue()
        self.by_late_timer: asyncio.Queue[str] = asyncio.Queue()
        self.by_frames: asyncio.Queue[str] = asyncio.Queue()

    async def who(self, text: str = "", **more: Any) -> str:
        return await self.service("who", **more).request(text, result=str, timeout=LIMIT)

    @command
    async def ask(self, *, text: str = "") -> str:
        """Ask in the first step."""
        return await self.who(text)

    @command(lane="free")
    async def later(self) -> str:
        """Ask when the gate opens."""
        self.at_gate += 1
        await self.gate.wait()
        self.at_gate -= 1
        return await self.who()

    @command(lane="free")
    async def flood(self, *, text: str) -> str:
        return await self.who(text)

    @command
    async def spawned(self) -> str:
        """Ask in a task."""
        answer: str = await self.spawn(self.who())
        return answer

    @command
    async def nobody(self) -> str:
        return await self.who(sender="")

    @command
    async def instead(self) -> str:
        return await self.who(sender="carol@localhost")

    @command
    async def begin(self) -> str:
        """What is begun here outlives the command and answers nobody."""
        self.add_timer(0.01, self.tick_of_command)
        own = self.open_socket("own", type="PULL", bind="tcp://127.0.0.1:*")
        self.add_handler(on.frames("own"), self.by_socket)
        return own.bound[0]

    async def tick_of_command(self) -> None:
        if self.by_late_timer.empty():
            self.by_late_timer.put_nowait(await self.who())

    def by_socket(self, event: FramesEvent) -> None:
        async def ask() -> None:
            self.by_frames.put_nowait(await self.who())

        self.spawn(ask())

    @every(0.01)
    async def tick(self) -> None:
        if self.by_timer.empty():
            self.by_timer.put_nowait(await self.who())


async def until(true: Any) -> None:
    async with asyncio.timeout(LIMIT):
        while not true():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def answering(bot: TestBot) -> AsyncIterator[None]:
    """A worker that says on whose behalf it was asked."""
    worker = Worker("who", connect=bot.app.services.bound[0])

    @worker
    async def who(body: str, job: Job) -> str:
        return job.sender or "nobody"

    task = asyncio.ensure_future(worker.serve())
    try:
        yield
    finally:
        worker.stop()
        async with asyncio.timeout(LIMIT):
            await task


def tell(bot: TestBot, text: str, sender: str = ALICE) -> None:
    """Say something and wait for nothing."""
    feed(
        bot.app.servers["bot"].xmpp,
        f"<message from='{sender}' to='{bot.address()}' type='chat'><body>{text}</body></message>",
    )


def heard(bot: TestBot, who: str) -> list[str]:
    return [body_of(s) for s in bot.sent if s.get("to") == who and body_of(s)]


# -- on whose behalf -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("say", "says"),
    [
        ("!ask", "alice@localhost"),
        ("!spawned", "alice@localhost"),
        ("!nobody", "nobody"),
        ("!instead", "carol@localhost"),
    ],
)
async def test_a_worker_is_told_on_whose_behalf_it_is_asked(say: str, says: str) -> None:
    async with TestBot(CONFIG, plugins=[Asker]) as bot, answering(bot):
        assert await bot.says(say, sender=ALICE) == says


async def test_handlers_that_wait_at_the_same_time_keep_their_senders() -> None:
    async with TestBot(CONFIG, plugins=[Asker]) as bot, answering(bot):
        asker: Any = bot.app.plugins.get("asker")
        # The second time, tasks that served one sender serve the other.
        for first, second in ((ALICE, BOB), (BOB, ALICE)):
            asker.gate.clear()
            for sender in (first, second) * 3:
                tell(bot, "!later", sender)
            await until(lambda: asker.at_gate == 6)
            asker.gate.set()
            await bot.settle()
        assert heard(bot, ALICE) == ["alice@localhost"] * 6
        assert heard(bot, BOB) == ["bob@localhost"] * 6


async def test_a_timer_asks_for_nobody() -> None:
    async with TestBot(CONFIG, plugins=[Asker]) as bot, answering(bot):
        asker: Any = bot.app.plugins.get("asker")
        async with asyncio.timeout(LIMIT):
            await asker.by_timer.get()
            assert await bot.says("!ask") == "alice@localhost"
            assert await asker.by_timer.get() == "nobody"


async def test_what_a_command_begins_does_not_ask_for_its_sender() -> None:
    async with TestBot(CONFIG, plugins=[Asker]) as bot, answering(bot):
        asker: Any = bot.app.plugins.get("asker")
        address = await bot.says("!begin", sender=ALICE)
        with zmq.asyncio.Context() as context, context.socket(zmq.PUSH) as push:
            push.connect(address)
            await push.send(b"")
            async with asyncio.timeout(LIMIT):
                assert await asker.by_late_timer.get() == "nobody"
                assert await asker.by_frames.get() == "nobody"


async def test_a_crowd_of_one_does_not_shut_others_out() -> None:
    with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as worker:
        worker.linger = 0
        async with TestBot(CONFIG, plugins=[Asker]) as bot, asyncio.timeout(LIMIT):
            for number in range(20):
                tell(bot, f"!flood alice {number}", ALICE)
            tell(bot, "!flood bob", BOB)
            await until(lambda: bot.app.statistics()["services"]["open"] >= 21)
            # A plain worker takes one at a time.
            worker.connect(bot.app.services.bound[0])
            await worker.send_multipart([b"", b"MDPW01", b"\x01", b"who"])
            order = []
            while len(order) < 21:
                frames = await worker.recv_multipart()
                if frames[2] == b"\x02":
                    await worker.send_multipart([b"", b"MDPW01", b"\x03", *frames[3:]])
                    if frames[-1]:
                        order.append(frames[-1].decode())
            await bot.settle()
    assert order.index("bob") <= 2
    assert [text for text in order if text != "bob"] == [f"alice {n}" for n in range(20)]


# -- the life of a bot ---------------------------------------------------------------------------


class Quiet(Plugin):
    @command
    async def ask(self, *, text: str) -> str:
        return await self.service("who").request(text, result=str, timeout=LIMIT)


async def test_a_stop_lets_answers_in_takes_no_more_and_sends_workers_away() -> None:
    with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as worker:
        worker.linger = 0
        async with TestBot(CONFIG, plugins=[Quiet]) as bot, asyncio.timeout(LIMIT):
            address = bot.app.services.bound[0]
            worker.connect(address)
            await worker.send_multipart([b"", b"MDPW01", b"\x01", b"who"])
            tell(bot, "!ask question")
            while (frames := await worker.recv_multipart())[2] != b"\x02":
                pass
            async with Client(address) as client:
                # What a client asked for before the stop is refused in the end, too.
                before = asyncio.ensure_future(client.request("nothing", timeout=LIMIT))
                await until(lambda: bot.app.statistics()["services"]["open"] == 2)
                stopping = asyncio.ensure_future(bot.app.stop(drain=5))
                await until(lambda: bot.app.pipeline.draining)
                with pytest.raises(NoAnswer, match="who: ") as refused:
                    await client.request("who", b"late", timeout=LIMIT)
                assert refused.value.reason == "stopping"
                assert not stopping.done(), "a command still awaits its answer"
                await worker.send_multipart([b"", b"MDPW01", b"\x03", *frames[3:5], b"answer"])
                with pytest.raises(NoAnswer) as ended:
                    await before
                assert ended.value.reason == "stopping"
                while (frames := await worker.recv_multipart())[2] == b"\x04":
                    pass
                assert frames == [b"", b"MDPW01", b"\x05"]
                await stopping
    assert heard(bot, ALICE) == ["answer"]
    assert "cancelled" not in bot.app.pipeline.counts


async def test_what_is_not_answered_while_the_bot_stops_ends_by_name() -> None:
    async with TestBot(CONFIG, plugins=[Quiet]) as bot, asyncio.timeout(LIMIT):
        tell(bot, "!ask question")
        await until(lambda: bot.app.statistics()["services"]["open"] == 1)
        services = bot.app.services
        await bot.app.stop(drain=0.05)
    assert heard(bot, ALICE) == ["quiet was stopped."]
    assert services.statistics()["open"] == 0


async def test_a_worker_comes_back_to_a_bot_that_was_started_anew() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    worker = Worker("who", lambda body: body, connect=address)
    serving = asyncio.ensure_future(worker.serve())
    for _ in range(2):
        async with anew(CONFIG.replace("tcp://127.0.0.1:*", address)) as bot:
            assert await bot.says("!ask hello") == "hello"
    worker.stop()
    async with asyncio.timeout(LIMIT):
        await serving
    assert worker.counts["reconnected"] >= 1


@asynccontextmanager
async def anew(config: str) -> AsyncIterator[TestBot]:
    """A bot at an address that may just have been given up: tried until it is free."""
    async with asyncio.timeout(LIMIT):
        while True:
            bot = TestBot(config, plugins=[Quiet])
            try:
                await bot.__aenter__()
                break
            except SocketError:
                await asyncio.sleep(0.01)
    try:
        yield bot
    finally:
        await bot.__aexit__()


async def test_a_change_of_the_broker_needs_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path = tmp_path / "bot.toml"
    path.write_text(CONFIG)
    async with App(path) as app:
        path.write_text(CONFIG.replace("[guards]", "lease = 5\n[guards]"))
        app.on_hangup()
        assert app._reloading is not None
        async with asyncio.timeout(LIMIT):
            await app._reloading
        assert "[broker] changed: restart to apply it" in caplog.text
        assert app.services.broker.options.lease == 120
        assert app.socket("broker").bound == app.services.bound


def test_the_name_of_the_brokers_socket_is_taken() -> None:
    both = CONFIG + '[sockets.broker]\ntype = "PULL"\nbind = "tcp://127.0.0.1:*"\n'
    with pytest.raises(ConfigError, match=r"the name of the socket that \[broker\] opens"):
        parse(both)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ('type = "DEALER"', r"\[broker\] type: its socket is a ROUTER"),
        ("heartbeat = 0", "heartbeat must be above 0"),
        ("liveness = 1", "liveness"),
        ("hearbeat = 1", "did you mean heartbeat"),
    ],
)
def test_a_wrong_broker_says_where_and_what(keys: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.compile(says)):
        parse(f'[broker]\nbind = "tcp://127.0.0.1:*"\n{keys}\n')


async def test_without_a_broker_a_plugin_is_told_what_to_add() -> None:
    async with TestBot(plugins=[Quiet]) as bot:
        with pytest.raises(PluginError, match=r"no broker.*\[broker\] bind = "):
            bot.app.plugins.get("quiet").service("who")
        assert "The log has it as" in await bot.says("!ask hi")
