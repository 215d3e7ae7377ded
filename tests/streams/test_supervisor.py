"""The life of a stream, against little servers on the loopback interface."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from zxmpp.streams import StreamSettings, supervisor
from zxmpp.streams.mixin import ComponentXMPP
from zxmpp.streams.supervisor import TRANSITIONS, State, Supervisor

LIMIT_S = 10
HEADER = (
    "<stream:stream xmlns='jabber:component:accept' id='1' from='bot.localhost' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)


class Server:
    """A server for one component. `script` plays each connection."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.pinged = asyncio.Event()
        self.script: Callable[[Any, Any], Awaitable[None]] = self.accept
        self.writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in self.writers:
                writer.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            await self.script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def handshake(self, reader: Any, writer: Any) -> bool:
        await reader.readuntil(b">")
        writer.write(HEADER.encode())
        sent = await reader.readuntil(b"</handshake>")
        return hashlib.sha1(b"1secret").hexdigest().encode() in sent

    async def accept(self, reader: Any, writer: Any) -> None:
        if await self.handshake(reader, writer):
            writer.write(b"<handshake/>")
        else:
            await self.error(writer, "not-authorized")
        while data := await reader.read(65536):
            for found in re.findall(rb"<iq [^>]*id=\"([^\"]+)\"", data):
                writer.write(b"<iq type='get' from='bot.localhost' id='%s'><a/></iq>" % found)
                self.pinged.set()
            if b"</stream:stream>" in data:
                writer.write(b"</stream:stream>")
                return

    async def error(self, writer: Any, condition: str) -> None:
        writer.write(
            f"<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
            "</stream:error></stream:stream>".encode()
        )
        await writer.drain()
        writer.close()


class Life:
    """A supervisor and what it told."""

    def __init__(self, port: int, secret: str = "secret", **settings: Any) -> None:
        settings = {"backoff_max": 0.05, "refused_retry": 1000.0, "login_timeout": 5.0} | settings
        self.settings = StreamSettings(
            kind="component", jid="bot.localhost", host="127.0.0.1", port=port, **settings
        )
        self.told: list[tuple[State, str]] = []
        self.changed = asyncio.Event()
        self.xmpp = ComponentXMPP("bot.localhost", secret, "127.0.0.1", port)
        self.supervisor = Supervisor(self.xmpp, "bot", self.settings, self.note)

    def note(self, state: State, detail: str) -> None:
        self.told.append((state, detail))
        self.changed.set()

    async def until(self, state: State, times: int = 1) -> str:
        """The detail of the `times`th time that `state` was told."""
        async with asyncio.timeout(LIMIT_S):
            while len(found := [d for s, d in self.told if s is state]) < times:
                self.changed.clear()
                await self.changed.wait()
        return found[times - 1]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def lives(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Life]]:
    made: list[Life] = []

    def make(*args: Any, **kwargs: Any) -> Life:
        made.append(Life(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(supervisor, "FIRST_DELAY", 0.01)
    before = asyncio.all_tasks()
    yield make
    for life in made:
        await life.supervisor.stop(1)
        assert life.told[-1][0] is State.STOPPED
        assert life.xmpp.transport is None
    left = {t for t in asyncio.all_tasks() - before if not t.done() and "Server." not in repr(t)}
    assert left <= {asyncio.current_task()}


async def test_online_lost_and_back(server: Server, lives: Callable[..., Life]) -> None:
    life = lives(server.port)
    life.supervisor.start()
    await life.until(State.ONLINE)
    await server.stop()
    assert "lost" in await life.until(State.WAITING)
    await life.until(State.WAITING, 3)
    await server.start()
    await life.until(State.ONLINE, 2)
    assert life.supervisor.counts["sessions"] == 2


async def test_a_server_that_is_absent_at_start_is_waited_for(lives: Callable[..., Life]) -> None:
    server = Server()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server.port = taken.getsockname()[1]
    life = lives(server.port)
    life.supervisor.start()
    assert "can't connect" in await life.until(State.WAITING, 3)
    await server.start()
    await life.until(State.ONLINE)
    await server.stop()


async def test_a_wrong_secret_is_not_hammered(server: Server, lives: Callable[..., Life]) -> None:
    life = lives(server.port, secret="wrong")
    life.supervisor.start()
    detail = await life.until(State.REFUSED)
    assert "not-authorized: the secret is wrong" in detail
    await asyncio.sleep(0.2)
    assert server.connections == 1


async def test_refused_ones_are_tried_again_later(
    server: Server, lives: Callable[..., Life]
) -> None:
    life = lives(server.port, secret="wrong", refused_retry=0.05)
    life.supervisor.start()
    await life.until(State.REFUSED, 2)
    life.xmpp.secret = "secret"
    await life.until(State.ONLINE)


@pytest.mark.parametrize("condition", ["host-unknown", "invalid-namespace", "conflict"])
async def test_other_refusals(server: Server, lives: Callable[..., Life], condition: str) -> None:
    async def refuse(reader: Any, writer: Any) -> None:
        await server.handshake(reader, writer)
        await server.error(writer, condition)

    server.script = refuse
    life = lives(server.port)
    life.supervisor.start()
    assert (await life.until(State.REFUSED)).startswith(condition)


async def test_a_server_that_hangs_up_wordlessly_is_a_refusal_after_some_times(
    server: Server, lives: Callable[..., Life]
) -> None:
    async def hang_up(reader: Any, writer: Any) -> None:
        await server.handshake(reader, writer)

    server.script = hang_up
    life = lives(server.port)
    life.supervisor.start()
    assert "hangs up after the handshake" in await life.until(State.REFUSED)
    assert server.connections == supervisor.SILENT_REFUSALS


async def test_a_server_in_trouble_is_no_refusal(
    server: Server, lives: Callable[..., Life]
) -> None:
    async def trouble(reader: Any, writer: Any) -> None:
        await server.handshake(reader, writer)
        await server.error(writer, "system-shutdown")

    server.script = trouble
    life = lives(server.port)
    life.supervisor.start()
    assert "system-shutdown" in await life.until(State.WAITING, 4)


async def test_a_log_in_that_hangs_is_cut_off(server: Server, lives: Callable[..., Life]) -> None:
    async def hang(reader: Any, writer: Any) -> None:
        await reader.read(-1)

    server.script = hang
    life = lives(server.port, login_timeout=0.1)
    life.supervisor.start()
    assert "no session within 0.1 s" in await life.until(State.WAITING, 2)
    server.script = server.accept
    await life.until(State.ONLINE)


async def test_silence_is_noticed(server: Server, lives: Callable[..., Life]) -> None:
    async def go_silent(reader: Any, writer: Any) -> None:
        await server.handshake(reader, writer)
        writer.write(b"<handshake/>")
        await reader.read(-1)

    server.script = go_silent
    life = lives(server.port, ping_interval=0.05, ping_timeout=0.05)
    life.supervisor.start()
    await life.until(State.ONLINE)
    assert "silent" in await life.until(State.WAITING)
    server.script = server.accept
    await life.until(State.ONLINE, 2)
    # Now pings are answered: it stays.
    async with asyncio.timeout(LIMIT_S):
        for _ in range(3):
            server.pinged.clear()
            await server.pinged.wait()
    assert life.supervisor.state is State.ONLINE


async def test_see_other_host_is_not_followed(server: Server, lives: Callable[..., Life]) -> None:
    async def elsewhere(reader: Any, writer: Any) -> None:
        await server.handshake(reader, writer)
        writer.write(
            b"<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>"
            b"evil.example:1</see-other-host></stream:error></stream:stream>"
        )

    server.script = elsewhere
    life = lives(server.port)
    life.supervisor.start()
    assert "not followed" in await life.until(State.REFUSED)
    assert life.xmpp.default_domain == "127.0.0.1"


async def test_stop_in_every_state(server: Server, lives: Callable[..., Life]) -> None:
    never = lives(server.port)
    await never.supervisor.stop(1)
    connecting = lives(server.port)
    connecting.supervisor.start()
    await connecting.until(State.CONNECTING)
    await connecting.supervisor.stop(1)
    online = lives(server.port)
    online.supervisor.start()
    await online.until(State.ONLINE)
    online.xmpp.send_message("alice@localhost", "last words")
    await online.supervisor.stop(1)
    await online.supervisor.stop(1)


async def test_a_server_that_does_not_close_does_not_hold_up_a_stop(
    server: Server, lives: Callable[..., Life]
) -> None:
    async def stubborn(reader: Any, writer: Any) -> None:
        await server.handshake(reader, writer)
        writer.write(b"<handshake/>")
        await asyncio.sleep(60)

    server.script = stubborn
    life = lives(server.port)
    life.supervisor.start()
    await life.until(State.ONLINE)
    async with asyncio.timeout(5):
        await life.supervisor.stop(0.05)
    assert life.supervisor.state is State.STOPPED
    for task in asyncio.all_tasks():
        if "Server._serve" in repr(task):
            task.cancel()


def test_each_state_has_its_transitions() -> None:
    assert set(TRANSITIONS) == set(State)
