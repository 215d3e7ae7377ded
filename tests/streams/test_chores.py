"""Chores with the server: what fails is told once and harms nothing."""

from __future__ import annotations

import asyncio
import logging

import pytest
from slixmpp.exceptions import IqTimeout
from slixmpp.stanza import Iq

from zxmpp.streams.chores import Chores


async def done(chores: Chores) -> None:
    async with asyncio.timeout(5):
        while chores.running:
            await asyncio.sleep(0)


async def test_what_the_server_does_not_do_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    chores = Chores("main")

    async def ask() -> None:
        raise IqTimeout(Iq())

    for _ in range(3):
        chores.start("vCard", ask())
        await done(chores)
    assert chores.counts == {"chore-refused": 3}
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert "stream main: vCard: " in caplog.text


async def test_a_fault_has_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    chores = Chores("main")

    async def fail() -> None:
        raise LookupError("oops")

    chores.start("vCard", fail())
    await done(chores)
    assert chores.counts == {"chore-failed": 1}
    assert "oops" in caplog.text


async def test_one_at_a_time_and_none_after_the_session() -> None:
    chores = Chores("main")
    begun: list[int] = []
    ended: list[int] = []

    async def wait(number: int) -> None:
        begun.append(number)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(number)

    chores.start("bookmarks", wait(1))
    await asyncio.sleep(0)
    chores.start("bookmarks", wait(2))
    await asyncio.sleep(0)
    assert (begun, ended) == ([1, 2], [1])
    chores.start("bookmarks", wait(3))
    chores.stop()
    await asyncio.sleep(0)
    assert ended == [1, 2]
    assert chores.running == []
