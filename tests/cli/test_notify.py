"""What the service manager is told: a real datagram socket, real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.broker import LIMIT
from tests.cli.conftest import command, environment
from zxmpp.cli.notify import ServiceManager

#: Nobody listens there: the bot goes on trying.
BOT = """\
[streams.bot]
kind = "component"
jid = "bot.localhost"
port = 1

[plugins.echo]
"""


class Manager:
    """The end that systemd has."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    async def hears(self) -> dict[str, str]:
        """The next message, as keys and values."""
        async with asyncio.timeout(LIMIT):
            data = await asyncio.get_running_loop().sock_recv(self._socket, 65536)
        return dict(line.split("=", 1) for line in data.decode().split("\n"))

    async def hears_of(self, key: str) -> dict[str, str]:
        """The next message that has `key` in it."""
        while key not in (message := await self.hears()):
            pass
        return message

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = str(tmp_path / "notify")
    manager = Manager(path if request.param == "path" else f"@zxmpp-{uuid4().hex}")
    yield manager
    manager.close()


@asynccontextmanager
async def running(folder: Path, *args: str, **more: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *command(*args), cwd=folder, env={**environment(), **more}, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ended(process: Process) -> str:
    process.terminate()
    async with asyncio.timeout(LIMIT):
        _, err = await process.communicate()
    assert process.returncode == 0, err
    return err.decode()


async def test_a_bot_is_ready_without_its_server_reloads_and_stops(
    manager: Manager, tmp_path: Path
) -> None:
    config = tmp_path / "bot.toml"
    config.write_text(BOT)
    async with running(tmp_path, "run", NOTIFY_SOCKET=manager.address) as process:
        assert await manager.hears() == {"READY": "1", "STATUS": "bot: connecting"}
        for text in (BOT + "[plugins.help]\n", "wrong"):
            config.write_text(text)
            before = time.monotonic_ns() // 1000
            process.send_signal(signal.SIGHUP)
            reloading = await manager.hears()
            assert reloading.keys() == {"RELOADING", "MONOTONIC_USEC"}
            assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
            assert await manager.hears() == {"READY": "1", "STATUS": "bot: connecting"}
        log = await ended(process)
        assert (await manager.hears())["STOPPING"] == "1"
    assert "the configuration was read again: plugin help added" in log
    assert "the configuration is not applied" in log


async def test_its_status_is_that_of_its_streams(manager: Manager, tmp_path: Path) -> None:
    refuse = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"<stream:stream xmlns='jabber:component:accept' id='1' from='bot.localhost' "
            b"xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        heard = b""
        while b"</handshake>" not in heard and (data := await reader.read(4096)):
            heard += data
        if refuse.is_set():
            writer.write(b"<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
                         b"</stream:error></stream:stream>")  # fmt: skip
        else:
            writer.write(b"<handshake/>")
            await refuse.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        (tmp_path / "bot.toml").write_text(BOT.replace("port = 1", f"port = {port}"))
        async with running(tmp_path, "run", NOTIFY_SOCKET=manager.address) as process:
            assert (await manager.hears())["READY"] == "1"
            assert await manager.hears() == {"STATUS": "bot: online"}
            refuse.set()
            assert await manager.hears() == {"STATUS": "bot: connecting"}
            assert await manager.hears() == {"STATUS": "bot: refused"}
            await ended(process)


async def test_signs_of_life_come_while_the_loop_turns(manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "bot.toml").write_text(BOT)
    more = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"}
    async with running(tmp_path, "run", **more) as process:
        for _ in range(5):
            assert await manager.hears_of("WATCHDOG") == {"WATCHDOG": "1"}
        await ended(process)


async def test_a_worker_is_ready_and_stops(manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text("def shout(text: str) -> str:\n    return text.upper()\n")
    args = ["worker", "jobs:shout", "--connect", "tcp://127.0.0.1:1"]
    more = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"}
    async with running(tmp_path, *args, **more) as process:
        assert await manager.hears_of("READY") == {"READY": "1", "STATUS": "serving shout"}
        await manager.hears_of("WATCHDOG")
        await ended(process)
        assert (await manager.hears_of("STOPPING"))["STOPPING"] == "1"


async def test_a_start_that_fails_is_never_ready(manager: Manager, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        (tmp_path / "bot.toml").write_text(f'[sockets.a]\ntype = "PULL"\nbind = "{bind}"\n')
        async with running(tmp_path, "run", NOTIFY_SOCKET=manager.address) as process:
            async with asyncio.timeout(LIMIT):
                await process.communicate()
            assert process.returncode == 1
    assert (await manager.hears()).keys() == {"STOPPING", "STATUS"}


async def test_a_manager_that_is_gone_is_named_once_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "bot.toml").write_text(BOT)
    gone = str(tmp_path / "gone")
    more = {"NOTIFY_SOCKET": gone, "WATCHDOG_USEC": "2000"}
    async with running(tmp_path, "run", **more) as process:
        assert process.stderr is not None
        seen = b""
        async with asyncio.timeout(LIMIT):
            while b"the next try is in" not in seen:
                seen += await process.stderr.readline()
        log = seen.decode() + await ended(process)
    assert log.count("the service manager can't be told anything") == 1
    assert f"NOTIFY_SOCKET={gone}: No such file or directory" in log.replace("[Errno 2] ", "")


@pytest.mark.parametrize(
    ("environ", "period"),
    [
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000"}, 15.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "soon"}, 0.0),
        ({"NOTIFY_SOCKET": "@x"}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 0.0),
    ],
)  # fmt: skip
def test_when_signs_of_life_are_wanted(environ: dict[str, str], period: float) -> None:
    assert ServiceManager(environ).period == period
