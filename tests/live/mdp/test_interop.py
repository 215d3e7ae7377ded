"""MDP/0.1 with an implementation written elsewhere: pyzmq-mdp, in both directions.

The workers in C and Node, written from RFC 7 alone, are examples: test_examples.py plays them.
"""

from __future__ import annotations

import ast
import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import zmq

from tests.live.mdp.processes import LIMIT, child
from zxmpp.mdp import Client, NoAnswer, Worker
from zxmpp.testing.bot import TestBot
from zxmpp.testing.servers.ports import free_port

ROOT = Path(__file__).parents[3]
PEER = Path(__file__).with_name("pyzmq_mdp.py")
CONFIG = '[broker]\nbind = "tcp://127.0.0.1:*"\nheartbeat = 1\nlease = 20\n'


@pytest.fixture(scope="module")
def python() -> str:
    """The Python that has pyzmq-mdp."""
    done = subprocess.run([ROOT / ".ci/install-mdp"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f".ci/install-mdp failed; it needs PyPI:\n{done.stderr}", pytrace=False)
    return os.fspath(ROOT / ".venv-mdp/bin/python")


@asynccontextmanager
async def serving(worker: Worker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.serve())
    try:
        yield
    finally:
        worker.stop()
        async with asyncio.timeout(LIMIT):
            await task


async def test_their_worker_and_their_client_on_our_broker(python: str) -> None:
    async with TestBot(CONFIG) as bot:
        address = bot.app.services.bound[0]
        async with (
            child(python, "-Wignore", os.fspath(PEER), "worker", address) as worker,
            child(python, "-Wignore", os.fspath(PEER), "client", address) as client,
        ):
            await worker.shows("ready")
            await client.says("from their client")
            # It shows the service's name, too.
            wanted = [b"echo", b"FROM THEIR CLIENT", b"", b"\0END"]
            assert await client.line() == repr(wanted)
            # The bot itself, and a client of ours, at the same worker.
            assert await bot.app.services.request("echo", b"the bot", timeout=LIMIT) == b"THE BOT"
            async with Client(address) as ours:
                frames = await ours.request("echo", [b"a", b"", b"b"], result=list[bytes])
                assert frames == [b"A", b"", b"B"]


async def test_their_client_calls_a_command(python: str) -> None:
    async with TestBot(CONFIG, plugins=["echo"]) as bot:
        address = bot.app.services.bound[0]
        async with child(python, "-Wignore", os.fspath(PEER), "client", address) as client:
            for body, answer in (
                ('{"text": "hi"}', {"type": "text", "text": "hi"}),
                ("{}", {"type": "error", "condition": "bad-request",
                        "text": "text is missing. Usage: !echo <text ...>"}),
            ):  # fmt: skip
                await client.says(f"command.echo {body}")
                service, frame = ast.literal_eval(await client.line())
                assert service == b"command.echo"
                assert json.loads(frame) == answer


async def test_their_worker_dies_and_another_one_of_theirs_answers(python: str) -> None:
    async with TestBot(CONFIG) as bot:
        address = bot.app.services.bound[0]
        async with child(python, "-Wignore", os.fspath(PEER), "worker", address) as first:
            await first.shows("ready")
            assert await bot.app.services.request("echo", b"x", timeout=LIMIT) == b"X"
            await first.end()
            asked = asyncio.ensure_future(bot.app.services.request("echo", b"again", timeout=LIMIT))
            async with child(python, "-Wignore", os.fspath(PEER), "worker", address):
                assert await asked == b"AGAIN"


async def test_our_worker_and_our_client_on_their_broker(python: str) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    worker = Worker("echo", connect=address, version="0.1", heartbeat=1)

    @worker
    def echo(frames: list[bytes]) -> list[bytes]:
        return [frame.upper() for frame in frames]

    async with child(python, "-Wignore", os.fspath(PEER), "broker", address) as broker:
        await broker.shows("ready")
        async with serving(worker), Client(address, version="0.1") as client:
            # Their broker drops what is asked for before its worker is there.
            async with asyncio.timeout(LIMIT):
                while await client.request("mmi.service", b"echo") != b"200":
                    await asyncio.sleep(0.05)
            answers = await asyncio.gather(
                *(
                    client.request("echo", [b"n%d" % n, b"", b"x"], result=list[bytes])
                    for n in range(20)
                )
            )
            assert answers == [[b"N%d" % n, b"", b"X"] for n in range(20)]
            async with child(python, "-Wignore", os.fspath(PEER), "client", address) as theirs:
                await theirs.says("hello")
                assert await theirs.line() == repr([b"echo", b"HELLO", b"", b"\0END"])


async def test_our_worker_comes_back_to_their_broker(python: str) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    worker = Worker("echo", connect=address, version="0.1", heartbeat=1)

    @worker
    async def echo(text: bytes) -> bytes:
        return text

    async with serving(worker), Client(address, version="0.1") as client:
        for _ in range(2):
            async with child(python, "-Wignore", os.fspath(PEER), "broker", address) as broker:
                await broker.shows("ready")
                async with asyncio.timeout(LIMIT):
                    while True:
                        with suppress(NoAnswer):
                            if await client.request("echo", b"hi", timeout=0.5) == b"hi":
                                break


@pytest.mark.parametrize("frames", [[b"x"], [b"", b"MDPC01"]], ids=["x", "header-only"])
async def test_what_ends_the_brokers_of_the_guide_does_not_end_ours(frames: list[bytes]) -> None:
    async with TestBot(CONFIG) as bot:
        address = bot.app.services.bound[0]
        with zmq.Context() as context, context.socket(zmq.DEALER) as raw:
            raw.linger = 0
            raw.connect(address)
            raw.send_multipart(frames)
            counts = bot.app.services.broker.counts
            async with asyncio.timeout(LIMIT):
                while not counts:
                    await asyncio.sleep(0.01)
        assert sum(counts.values()) == 1
        assert await bot.app.services.request("mmi.service", b"echo") == b"404"
