"""The life of a whole app: a start that fails half-way, a stop in the middle of work, signals."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

import pytest
import zmq
import zmq.asyncio

from zxmpp import App, ClosedError, ConfigError, FramesEvent, Plugin, PluginError, command, on
from zxmpp.config import parse
from zxmpp.testing.bot import TestBot, body_of
from zxmpp.testing.transport import feed

LIMIT = 20


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(LIMIT):
        while not true():
            await asyncio.sleep(0.001)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


# -- a start that fails -----------------------------------------------------------------------------


class Fails(Plugin):
    @on.frames("first")
    def take(self, event: FramesEvent) -> None: ...

    async def start(self) -> None:
        self.spawn(asyncio.Event().wait())
        self.open_socket("mine", type="PULL", bind=["tcp://127.0.0.1:*"])
        raise ZeroDivisionError("no luck")


class Leaves(Plugin):
    async def start(self) -> None:
        sys.exit(3)


FIRST = '[sockets.first]\ntype = "PULL"\nbind = "tcp://127.0.0.1:{first}"\n'
SECOND = '[sockets.second]\ntype = "PULL"\nbind = "tcp://127.0.0.1:{taken}"\n'
STREAM = '[streams.bot]\nkind = "component"\njid = "bot.localhost"\nport = {taken}\n'
USE = '[plugins.bad]\nuse = "tests.test_app:{}"\n'


@pytest.mark.parametrize(
    ("config", "error", "says"),
    [
        (FIRST + SECOND, Exception, "second"),
        (FIRST + STREAM + "[plugins.echo]\n", ConfigError, "ZXMPP_BOT_SECRET"),
        (FIRST + "[plugins.echo]\n" + USE.format("Fails"), PluginError, "no luck"),
        (FIRST + "[plugins.echo]\n" + USE.format("Leaves"), PluginError, "sys.exit"),
        (FIRST + USE.format("Absent"), PluginError, "Absent"),
    ],
    ids=["port", "secret", "plugin", "exit", "absent"],
)
async def test_a_start_that_fails_leaves_nothing_open(
    config: str, error: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZXMPP_BOT_SECRET", raising=False)
    async with TestBot('[sockets.x]\ntype = "PULL"\nbind = "tcp://127.0.0.1:*"\n'):
        pass
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        first, taken = free_port(), holder.getsockname()[1]
        gc.collect()
        await asyncio.sleep(0)
        open_before = len(os.listdir("/proc/self/fd"))
        tasks_before = asyncio.all_tasks()
        readers_before = len(asyncio.get_running_loop()._selector.get_map())  # type: ignore[attr-defined]
        app = App(parse(config.format(first=first, taken=taken)))
        with pytest.raises(error, match=says):
            await app.start()
        assert not app.sockets
        assert not list(app.plugins)
        assert asyncio.all_tasks() == tasks_before
        assert (
            len(asyncio.get_running_loop()._selector.get_map()) == readers_before  # type: ignore[attr-defined]
        )
        await until(lambda: len(os.listdir("/proc/self/fd")) <= open_before)
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", first))
        with pytest.raises(ClosedError, match="make a new one"):
            await app.start()


# -- a stop in the middle ---------------------------------------------------------------------------


class Works(Plugin):
    """Two handlers that wait for the test."""

    async def start(self) -> None:
        self.gate = asyncio.Event()
        self.frames: list[bytes] = []

    @command
    async def slow(self) -> str:
        await self.gate.wait()
        return "finished"

    @command
    async def stubborn(self) -> str:
        while not self.gate.is_set():
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.count("ignored")
        return "never"

    @command
    async def quit(self) -> str:
        await self.app.stop(drain=0.05)
        return "gone"

    @on.frames("in")
    async def take(self, event: FramesEvent) -> None:
        await asyncio.sleep(0)
        self.frames.append(event.frames[0])


PULL = '[sockets.in]\ntype = "PULL"\nbind = "tcp://127.0.0.1:*"\n'


def tell(bot: TestBot, body: str, sender: str = "alice@localhost/x") -> None:
    feed(
        bot.app.servers["bot"].xmpp,
        f"<message from='{sender}' to='bot@localhost/test' type='chat' id='1'>"
        f"<body>{body}</body></message>",
    )


def bodies(bot: TestBot) -> list[str]:
    return [body_of(stanza) for stanza in bot.sent if body_of(stanza)]


def begun(bot: TestBot) -> bool:
    figures = bot.app.pipeline.statistics()
    return bool(figures.in_flight) and not figures.waiting


async def test_a_stop_lets_what_runs_end() -> None:
    async with TestBot(plugins=[Works]) as bot:
        works: Any = bot.app.plugins.get("works")
        tell(bot, "!slow")
        await until(lambda: begun(bot))
        stop = asyncio.ensure_future(bot.app.stop(drain=LIMIT))
        await asyncio.sleep(0)
        works.gate.set()
        await stop
        assert bodies(bot) == ["finished"]


async def test_a_stop_tells_who_waits_in_vain() -> None:
    async with TestBot(plugins=[Works]) as bot:
        tell(bot, "!slow")
        tell(bot, "!slow")
        await until(lambda: bot.app.pipeline.in_flight == 2)
        await bot.app.stop(drain=0.01)
        assert len(bodies(bot)) == 2
        assert "finished" not in bodies(bot)
        assert not bot.app.pipeline.in_flight


async def test_a_handler_that_ignores_its_cancellation_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with TestBot(PULL, plugins=[Works]) as bot:
        works: Any = bot.app.plugins.get("works")
        release = bot.app.pipeline.release
        monkeypatch.setattr(
            bot.app.pipeline, "release", lambda owner, grace=0: release(owner, 0.01)
        )
        tell(bot, "!stubborn")
        await until(lambda: begun(bot))
        async with asyncio.timeout(LIMIT):
            await bot.app.stop(drain=0.01)
        assert "of works ignore their cancellation" in caplog.text
        assert not bot.app.sockets
        assert not list(bot.app.plugins)
        works.gate.set()
        for _ in range(10):
            await asyncio.sleep(0)


async def test_a_command_may_stop_the_app() -> None:
    async with TestBot(PULL, plugins=[Works]) as bot:
        tell(bot, "!quit")
        await until(lambda: bot.app._stopping is not None)
        async with asyncio.timeout(LIMIT):
            await bot.app.stop()
        assert not list(bot.app.plugins)
        assert not bot.app.sockets


async def test_a_stop_under_traffic_ends_and_what_was_read_is_handled() -> None:
    context = zmq.asyncio.Context()
    push = context.socket(zmq.PUSH)
    push.linger = 0
    try:
        async with TestBot(PULL, plugins=[Works]) as bot:
            works: Any = bot.app.plugins.get("works")
            push.connect(bot.app.socket("in").bound[0])

            async def pour() -> None:
                number = 0
                while True:
                    await push.send(b"%d" % number)
                    number += 1

            source = asyncio.ensure_future(pour())
            await until(lambda: len(works.frames) > 500)
            async with asyncio.timeout(LIMIT):
                await bot.app.stop(drain=LIMIT)
            source.cancel()
            await asyncio.wait([source])
            figures = bot.app.pipeline.statistics()
            assert figures.started == figures.finished
            assert figures.counts.get("unloaded", 0) == 0
            assert works.frames == [b"%d" % number for number in range(len(works.frames))]
    finally:
        push.close()
        context.destroy(linger=0)


async def test_two_apps_in_one_process_know_nothing_of_each_other() -> None:
    async with (
        TestBot(PULL, plugins=[Works, "echo"]) as one,
        TestBot(PULL, plugins=["echo"]) as two,
    ):
        assert await one.says("!echo 1") == "1"
        assert await two.says("!echo 2") == "2"
        await one.app.stop(drain=0)
        assert await two.says("!echo 3") == "3"
        assert "slow" not in [known.name for known in two.app.commands]
        assert not two.app.socket("in").socket.closed


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_whole_bot_on_each_loop(loop: str) -> None:
    make = (
        asyncio.new_event_loop
        if loop == "asyncio"
        else pytest.importorskip("uvloop").new_event_loop
    )

    async def main() -> None:
        context = zmq.asyncio.Context()
        push = context.socket(zmq.PUSH)
        try:
            async with TestBot(PULL, plugins=[Works, "echo"]) as bot:
                assert await bot.says("!echo hi") == "hi"
                push.connect(bot.app.socket("in").bound[0])
                for number in range(100):
                    await push.send(b"%d" % number)
                works: Any = bot.app.plugins.get("works")
                await until(lambda: len(works.frames) == 100)
        finally:
            push.close(linger=0)
            context.destroy(linger=0)

    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(main())


# -- signals ----------------------------------------------------------------------------------------

PROGRAM = '''
import asyncio, sys
from zxmpp import App, FramesEvent, Plugin, on
from zxmpp.config import parse

class Slow(Plugin):
    async def start(self):
        self.gate = asyncio.Event()
        if sys.argv[1] == "start":
            print("starting", flush=True)
            await asyncio.Event().wait()

    @on.frames("door")
    async def take(self, event: FramesEvent):
        print("begun", flush=True)
        if sys.argv[1] == "hang":
            await asyncio.Event().wait()
        await asyncio.sleep(0.1)
        return b"finished"

config = """
[app]
drain_seconds = 0.5
[sockets.door]
type = "ROUTER"
bind = "tcp://127.0.0.1:*"
[plugins.slow]
use = "__main__:Slow"
"""

async def main():
    app = App(parse(config))
    async def show():
        while not app.sockets:
            await asyncio.sleep(0)
        print(app.socket("door").bound[0], flush=True)
    shown = asyncio.ensure_future(show())
    await app.run()

asyncio.run(main())
print("end", flush=True)
'''


def _start(how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip


@pytest.mark.parametrize("how", ["finish", "hang"])
def test_sigterm_with_a_command_in_flight(how: str) -> None:
    process = _start(how)
    context = zmq.Context()
    try:
        assert process.stdout is not None
        peer = context.socket(zmq.DEALER)
        peer.linger = 0
        peer.rcvtimeo = LIMIT * 1000
        peer.connect(process.stdout.readline().strip())
        peer.send(b"do")
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        (answer,) = peer.recv_multipart()
        if how == "finish":
            assert answer == b"finished"
        else:
            assert b"service-unavailable" in answer, "told that it was stopped"
        out, _ = process.communicate(timeout=LIMIT)
        assert out == "end\n"
        assert process.returncode == 0
        peer.close()
    finally:
        process.kill()
        process.communicate()
        context.destroy(linger=0)


def test_sigterm_ends_a_start_that_hangs() -> None:
    process = _start("start")
    try:
        assert process.stdout is not None
        while process.stdout.readline() != "starting\n":
            pass
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=LIMIT)
        assert out.endswith("end\n")
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


# -- a server that attacks --------------------------------------------------------------------------


class Server:
    """Enough of XEP-0114 to let a component in, over real TCP."""

    def __init__(self) -> None:
        self.sessions = 0
        self.got = ""
        self.writer: asyncio.StreamWriter | None = None
        self.arrived = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            await reader.readuntil(b">")
            writer.write(
                b"<stream:stream xmlns='jabber:component:accept' id='1' from='bot.localhost' "
                b"xmlns:stream='http://etherx.jabber.org/streams'>"
            )
            sent = await reader.readuntil(b"</handshake>")
            assert hashlib.sha1(b"1secret").hexdigest().encode() in sent
            writer.write(b"<handshake/>")
            self.sessions += 1
            self.writer = writer
            while data := await reader.read(65536):
                self.got += data.decode()
                for found in re.findall(r'<iq [^>]*id="([^"]+)"', data.decode()):
                    writer.write(
                        f"<iq type='get' from='bot.localhost' to='bot.localhost' id='{found}'>"
                        "<probe xmlns='urn:zxmpp:probe'/></iq>".encode()
                    )
                self.arrived.set()
                if b"</stream:stream>" in data:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def say(self, text: bytes) -> None:
        assert self.writer is not None
        self.writer.write(text)


ATTACKS = {
    "oversized": (
        b"<message from='a@b' to='bot.localhost'><body>" + b"x" * 200_000,
        "stanza-too-big",
    ),
    "deep": (b"<message from='a@b' to='bot.localhost'>" + b"<a>" * 500, "stanza-too-deep"),
    "entity": (b"<message from='a@b' to='bot.localhost'><body>&lol;</body></message>", ""),
    "doctype": (b"<!DOCTYPE x [<!ENTITY lol 'lol'>]>", ""),
    "comment": (b"<!-- x -->", ""),
    "instruction": (b"<?php x?>", ""),
    "not-xml": (b"<message><</message>", ""),
    "bad-utf8": (b"<message><body>\xff\xfe</body></message>", ""),
    "nul": (b"<message><body>\x00</body></message>", ""),
    "mismatch": (b"<message></iq>", ""),
    "eof-inside": (b"<message><body>half", "eof"),
    "reset": (b"", "reset"),
    "many-attributes": (
        b"<message " + b" ".join(b"a%d='x'" % n for n in range(30_000)) + b"/>",
        "stanza-too-big",
    ),
}


@pytest.fixture
async def component(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[App, Server, Any]]:
    monkeypatch.setenv("ZXMPP_BOT_SECRET", "secret")
    monkeypatch.setattr("zxmpp.streams.supervisor.FIRST_DELAY", 0.01)
    context = zmq.asyncio.Context()
    peer = context.socket(zmq.DEALER)
    peer.linger = 0
    async with Server() as server:
        config = f"""
[streams.bot]
kind = "component"
jid = "bot.localhost"
port = {server.port}
max_stanza_bytes = 100000
[sockets.door]
type = "ROUTER"
bind = "tcp://127.0.0.1:*"
[plugins.echo]
[plugins.answers]
use = "tests.test_app:Answers"
"""
        app = App(parse(config))
        await app.start()
        try:
            await app.online(LIMIT)
            peer.connect(app.socket("door").bound[0])
            yield app, server, peer
        finally:
            await app.stop(drain=0)
            peer.close()
            context.destroy(linger=0)


class Answers(Plugin):
    @on.frames("door")
    def take(self, event: FramesEvent) -> bytes:
        return event.frames[0]


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_server_that_attacks_is_left_and_met_again(
    component: tuple[App, Server, Any], attack: str
) -> None:
    app, server, peer = component
    text, reason = ATTACKS[attack]
    async with asyncio.timeout(LIMIT):
        server.say(text)
        assert server.writer is not None
        if reason == "eof":
            server.writer.write_eof()
        elif reason == "reset":
            server.writer.transport.abort()
        while server.sessions < 2:
            # The other side is served all the while.
            await peer.send(b"ping")
            assert await peer.recv() == b"ping"
        await app.online(LIMIT)
        figures = app.statistics()["streams"]["bot"]
        refused = figures["refused"]
        if reason in ("eof", "reset"):
            assert not refused
        else:
            assert sum(refused.values()) == 1, refused
            assert "<stream:error" in server.got
        assert figures["connection"]["sessions"] == 2
        assert figures["connection"].get("refused", 0) == 0
        server.got = ""
        server.say(
            b"<message from='alice@localhost/x' to='bot.localhost' type='chat'>"
            b"<body>!echo again</body></message>"
        )
        while "again" not in server.got:
            server.arrived.clear()
            await server.arrived.wait()
