"""Virtual time: jumps to what is next, in order, and never past what is at work."""

from __future__ import annotations

import asyncio
import threading

import pytest

from zxmpp import Plugin, command, every
from zxmpp.testing import StandsStill, TestBot, VirtualClock, virtual_time


@virtual_time
async def test_hours_pass_in_their_order() -> None:
    loop = asyncio.get_running_loop()
    seen: list[tuple[str, float]] = []

    async def wait(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, loop.time()))

    loop.call_later(7200, lambda: seen.append(("two", loop.time())))
    await asyncio.gather(wait("three", 10800), wait("one", 3600))
    assert seen == [("one", 3600), ("two", 7200), ("three", 10800)]


@virtual_time
async def test_time_limits_follow() -> None:
    async with asyncio.timeout(86400):
        await asyncio.sleep(86399)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await asyncio.Event().wait()
    assert asyncio.get_running_loop().time() == 86399 + 60


@virtual_time
async def test_time_stands_still_while_a_thread_works() -> None:
    go = threading.Event()
    ended: list[str] = []

    def work() -> str:
        go.wait(30)
        return "done"

    async with asyncio.timeout(1):
        thread = asyncio.ensure_future(asyncio.to_thread(work))
        thread.add_done_callback(lambda _: ended.append("thread"))
        asyncio.get_running_loop().call_later(0.5, ended.append, "timer")
        await asyncio.sleep(0)
        threading.Timer(0.05, go.set).start()
        assert await thread == "done"
        await asyncio.sleep(0.6)
    assert ended == ["thread", "timer"]


def test_what_never_happens_is_an_error() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    runner = asyncio.Runner(loop_factory=lambda: VirtualClock(patience=0.05))
    with runner, pytest.raises(StandsStill, match="no timer is set"):
        runner.run(wait())


def test_what_runs_at_each_turn_is_an_error() -> None:
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    runner = asyncio.Runner(loop_factory=lambda: VirtualClock(patience=0.05))
    with runner, pytest.raises(StandsStill, match="runs again at each turn"):
        runner.run(spin())


class Reminder(Plugin):
    """Remind people."""

    ticks = 0

    @command
    async def remind(self, minutes: float, text: str) -> str:
        """Say it again later."""
        self.spawn(self._later(minutes, text))
        return "I will."

    async def _later(self, minutes: float, text: str) -> None:
        await asyncio.sleep(minutes * 60)
        self.say("alice@localhost", text)

    @every(3600)
    def tick(self) -> None:
        type(self).ticks += 1


@virtual_time
async def test_a_bot_lives_through_a_day() -> None:
    async with TestBot(plugins=[Reminder]) as bot:
        assert await bot.says("!remind 600 tea") == "I will."
        await asyncio.sleep(86400)
        assert [stanza.findtext("{*}body") for stanza in bot.sent][-1] == "tea"
        assert Reminder.ticks == 24


def test_fixtures_still_come(tmp_path: object) -> None:
    @virtual_time
    async def test(path: object, *, more: int) -> tuple[object, int]:
        await asyncio.sleep(1000)
        return path, more

    assert test(tmp_path, more=2) == (tmp_path, 2)
