"""``zxmpp top``: what a broker does, on a terminal and in a pipe."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from rich.console import Console

from tests.cli.broker import LIMIT, OpenBroker, broker, cli, on_terminal, until
from zxmpp.cli.top import BrokerRow, Look, ServiceRow, WorkerRow, render
from zxmpp.mdp import Client, Worker
from zxmpp.mdp.broker import mmi
from zxmpp.sockets import Socket


async def shout(text: str) -> str:
    return text.upper()


@asynccontextmanager
async def working(opened: OpenBroker, name: str) -> AsyncIterator[None]:
    worker = Worker("shout", shout, connect=opened.address, heartbeat=1.0, name=name)
    task = asyncio.create_task(worker.serve())
    try:
        await until(lambda: worker.registered and opened.workers())
        yield
    finally:
        worker.stop()
        async with asyncio.timeout(LIMIT):
            await task


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


def shown(*looks: Look) -> str:
    console = Console(width=160, color_system=None)
    with console.capture() as capture:
        console.print(render(*looks))
    return capture.get()


def look(time: float, *, answered: int = 0, requests: int = 0, counts: int = 1) -> Look:
    return Look(
        time,
        [ServiceRow("shout", 2, 1, 3, 4, requests, answered, 5)],
        [WorkerRow("00ff", "first", "shout", "0.2+", 1, 2, 33, answered)],
        BrokerRow(7, 99, 2, 1, {"registered": counts, "malformed": 0}),
    )


async def test_in_a_pipe_it_is_one_look(tmp_path: Path) -> None:
    async with broker() as opened, working(opened, "first"), Client(opened.address) as client:
        await client.request("shout", "x", timeout=LIMIT)
        for options in ([], ["--once"]):
            ended = await cli(tmp_path, "top", "--connect", opened.address, *options)
            assert (ended.status, ended.err) == (0, "")
            lines = rows(ended.out.decode())
            assert ["shout", "1", "1", "0", "0", "-", "-", "0"] in lines
            assert ["first", "shout", "0.2+", "0", "1", "33", "-"] in lines
            assert ended.out.startswith(b"1 workers, ")


async def test_on_a_terminal_it_goes_on_until_a_signal(tmp_path: Path) -> None:
    async with broker() as opened, working(opened, "first"), Client(opened.address) as client:
        command = ["top", "--connect", opened.address, "--interval", "0.1"]
        async with on_terminal(tmp_path, *command) as terminal:
            await terminal.shows("first")
            for number in range(5):
                await client.request("shout", str(number), timeout=LIMIT)
            # A rate above nothing, of a look that came after that.
            await until(
                lambda: re.search(rb"shout +\d+ +\d+ +\d+ +\d+ +\d*[1-9]\d*\.\d", terminal.shown),
                "a rate",
            )
            assert await terminal.ends(signal.SIGINT) == 0
            # The screen and the cursor are given back.
            await terminal.shows("\x1b[?1049l")
            await terminal.shows("\x1b[?25h")


async def test_a_broker_that_is_away_is_asked_again(tmp_path: Path) -> None:
    async with broker() as opened:
        address = opened.address
        command = ["top", "--connect", address, "--interval", "0.1"]
        async with on_terminal(tmp_path, *command) as terminal:
            await terminal.shows("0 open requests")
            opened.close()
            await terminal.shows("no broker of zxmpp answers")
            async with broker(address) as second, working(second, "newcomer"):
                await terminal.shows("newcomer")
                assert await terminal.ends(signal.SIGTERM) == 0


async def test_names_can_not_drive_the_terminal(tmp_path: Path) -> None:
    name = "[red]x[/red]\x1b[2J\n\x9b"
    async with broker() as opened, working(opened, name):
        ended = await cli(tmp_path, "top", "--connect", opened.address)
        assert "[red]x[/red]\ufffd[2J\ufffd\ufffd" in ended.out.decode()
        assert b"\x1b" not in ended.out


async def test_a_broker_that_does_not_tell_ends_it_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mmi, "_REPORTS", {})
    async with broker() as opened:
        ended = await cli(tmp_path, "top", "--connect", opened.address)
        assert (ended.status, ended.out) == (1, b"")
        assert "mmi.services: the broker says 501, it is none of zxmpp's" in ended.err
        async with on_terminal(tmp_path, "top", "--connect", opened.address) as terminal:
            assert await terminal.ends() == 1
            await terminal.shows("the broker says 501")


async def test_without_a_broker_it_ends_with_1(tmp_path: Path) -> None:
    with closing(Socket("ROUTER", name="silent", bind="tcp://127.0.0.1:*")) as socket:
        ended = await cli(tmp_path, "top", "--once", "--connect", socket.bound[0])
    assert (ended.status, ended.out) == (1, b"")
    assert "no broker of zxmpp answers" in ended.err


async def test_a_wrong_argument_ends_it_with_2(tmp_path: Path) -> None:
    for wrong in (["--connect", "nowhere"], ["--connect", "tcp://127.0.0.1:1", "--interval", "0"]):
        ended = await cli(tmp_path, "top", *wrong)
        assert ended.status == 2
        assert "Traceback" not in ended.err


def test_rates_are_differences_by_the_time_between() -> None:
    text = shown(look(12.0, requests=110, answered=105), look(10.0, requests=10, answered=5))
    assert ["shout", "2", "1", "3", "4", "50.0", "50.0", "5"] in rows(text)
    assert ["first", "shout", "0.2+", "1", "2", "33", "50.0"] in rows(text)
    assert "2 workers, 7 open requests (99 bytes), 1 dead letters" in text
    assert "registered 1" in text
    assert "malformed" not in text  # zero


@pytest.mark.parametrize("earlier", [None, look(10.0, requests=500, answered=500, counts=9)])
def test_there_is_no_rate_without_an_earlier_look_at_the_same_broker(earlier: Look | None) -> None:
    text = shown(look(12.0, requests=600, answered=600), *([earlier] if earlier else []))
    assert ["shout", "2", "1", "3", "4", "-", "-", "5"] in rows(text)
