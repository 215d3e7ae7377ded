"""Every folder of examples/ does what its README shows: its commands are run as they stand there,
its conversations are played, on a private Prosody and with real processes."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from slixmpp import JID

from tests.live.walkthrough import EXAMPLES, LIMIT, Person, Walkthrough
from zxmpp.testing.servers import Prosody
from zxmpp.testing.servers.ports import free_port

#: The secrets that the READMEs show.
COMPONENT = {"bot.localhost": "a-long-secret"}
ACCOUNTS = {"alice@localhost": "alice's own", "bot@localhost": "a-password"}
BOT = "bot@bot.localhost"
ROOM = "ops@rooms.localhost"

#: Each folder of examples/ and the test that plays it; `zxmpp demo` and test_bot.py play hello.
PLAYED = {
    "hello", "echo-component", "alerts", "worker", "worker-c", "worker-node", "worker-shell",
    "slixmpp-bot", "attach",
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Prosody]:
    # With TLS, because a plain slixmpp client refuses to log in without.
    with Prosody(ACCOUNTS, COMPONENT, tls=True) as running:
        yield running


@pytest.fixture
async def alice(server: Prosody) -> AsyncIterator[Person]:
    async with server.login("alice@localhost/desk", ["xep_0045"]) as client:
        yield Person(client)


@pytest.fixture
def ports(server: Prosody) -> dict[int, int]:
    return {
        5222: server.c2s_port, 5347: server.component_port, 5555: free_port(), 5556: free_port(),
    }  # fmt: skip


def test_every_example_is_played() -> None:
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == PLAYED


def needs(packages: str, *programs: str) -> None:
    """Fail, with the remedy, where an example can't be played."""
    if missing := [program for program in programs if shutil.which(program) is None]:
        pytest.fail(f"{' and '.join(missing)} is not installed, and an example needs it. Remedy: "
                    f"apt-get install {packages}", pytrace=False)  # fmt: skip


async def test_echo_component(alice: Person, tmp_path: Path, ports: dict[int, int]) -> None:
    example = Walkthrough("echo-component", tmp_path, ports)
    [run], [conversation] = example.shells, example.texts
    async with example.terminal(run) as bot:
        await bot.shows("online as bot.localhost")
        await alice.talks(BOT, conversation)
        await alice.talks("anybody@bot.localhost", conversation[:2])
    example.finished()


async def test_alerts(alice: Person, tmp_path: Path, ports: dict[int, int]) -> None:
    needs("nodejs npm", "node", "npm")
    example = Walkthrough("alerts", tmp_path, ports)
    [run, install, push], [conversation] = example.shells, example.texts
    assert "added" in await example.runs(install)

    lines = push.splitlines()
    complaints = await asyncio.gather(*(example.runs(line, status=1) for line in lines))
    address = f"tcp://127.0.0.1:{ports[5556]}"
    assert "Resource temporarily unavailable" in complaints[0]
    assert complaints[1:] == [
        f"push.py: nobody takes alerts at {address}", f"push.mjs: nobody takes alerts at {address}",
    ]  # fmt: skip

    await alice.client.plugin["xep_0045"].join_muc_wait(JID(ROOM), "alice", maxstanzas=0)
    async with example.terminal(run) as bot:
        await bot.shows(f"in room {ROOM} as bot")
        assert await example.runs(push) == ""
        assert len(conversation) == len(lines)
        # Each script has a connection of its own: between them there is no order to rely on.
        heard = [("bot", await alice.hears()) for _ in lines]
        assert sorted(heard) == sorted(conversation)
    example.finished()


async def test_worker(alice: Person, tmp_path: Path, ports: dict[int, int]) -> None:
    example = Walkthrough("worker", tmp_path, ports)
    [run, work], [without, with_worker] = example.shells, example.texts
    async with example.terminal(run) as bot:
        await bot.shows("online as bot.localhost")
        await alice.talks(BOT, without)
        async with example.terminal(work) as first:
            await alice.talks(BOT, with_worker)
            await first.shows("4 words: that is the question")
            assert not any("to be or not to be" in line for line in first.lines), "it was too late"
            async with example.terminal(work) as second:
                # The second worker takes its turn once it is connected.
                async with asyncio.timeout(LIMIT):
                    while not second.lines:
                        await alice.talks(
                            BOT, [("alice", "!wordcount one two"), ("bot", "2 words")]
                        )
                        await asyncio.sleep(0.25)  # the bot answers 5 a second
                counted = len(first.lines)
                for _ in range(4):
                    await alice.talks(BOT, [("alice", "!wordcount three four"), ("bot", "2 words")])
                for worker in (first, second):
                    await worker.shows("2 words: three four")
                assert len(first.lines) > counted
    example.finished()


@pytest.mark.parametrize("name", ["worker-c", "worker-node"])
async def test_worker_in_another_language(
    name: str, alice: Person, tmp_path: Path, ports: dict[int, int]
) -> None:
    if name == "worker-c":
        needs("gcc libc6-dev libzmq3-dev", "gcc")
    else:
        needs("nodejs npm", "node", "npm")
    example = Walkthrough(name, tmp_path, ports)
    [run, build, work], [conversation] = example.shells, example.texts
    # Without zmq.h this fails with the compiler's words: apt-get install libzmq3-dev.
    await example.runs(build)
    async with example.terminal(work) as worker:
        await worker.shows("ready")
        async with example.terminal(run) as bot:
            await bot.shows("online as bot.localhost")
            await alice.talks(BOT, conversation)
        # Another bot comes up in its place; nobody touches the worker.
        async with example.terminal(run) as bot:
            await bot.shows("online as bot.localhost")
            await alice.talks(BOT, conversation)
    example.finished()


async def test_worker_shell(alice: Person, tmp_path: Path, ports: dict[int, int]) -> None:
    needs("coreutils", "factor")
    example = Walkthrough("worker-shell", tmp_path, ports)
    [run, work], [conversation, too_long] = example.shells, example.texts
    async with example.terminal(run) as bot, example.terminal(work) as worker:
        await bot.shows("online as bot.localhost")
        await alice.talks(BOT, conversation)
        await worker.shows("factor: status 1")
        await alice.talks(BOT, too_long)
        await worker.shows("factor: killed")
        await alice.talks(BOT, conversation)
    example.finished()


@pytest.mark.parametrize("name", ["slixmpp-bot", "attach"])
async def test_slixmpp_bot(
    name: str, server: Prosody, alice: Person, tmp_path: Path, ports: dict[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # The bot checks the server's certificate; here it trusts the private server's (openssl(1)).
    monkeypatch.setenv("SSL_CERT_FILE", os.fspath(server.ca_file or ""))
    example = Walkthrough(name, tmp_path, ports)
    [run, push], [conversation] = example.shells, example.texts
    async with example.terminal(run) as bot:
        await bot.shows("online as bot@localhost/")
        assert await example.runs(push) == ""
        await alice.talks("bot@localhost", conversation)
    example.finished()
