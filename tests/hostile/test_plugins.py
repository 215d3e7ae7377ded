"""A plugin that raises, hangs, floods, exits or blocks does not stop the others."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from zxmpp import Plugin, PluginError, StanzaEvent, command, every, on
from zxmpp.runner import MAX_REPLIES
from zxmpp.testing.bot import TestBot

from .helpers import (
    LIMIT,
    NO_RATE,
    Good,
    bodies,
    counts,
    tell,
    until,
)


class Villain(Plugin):
    """Does all that a plugin should not."""

    @command
    def leave(self) -> str:
        sys.exit(3)

    @command
    async def leave_later(self) -> str:
        await asyncio.sleep(0)
        sys.exit(3)

    @command
    def leave_midway(self) -> Iterator[str]:
        yield "one"
        sys.exit(3)

    @command
    async def leave_streaming(self) -> AsyncIterator[str]:
        yield "one"
        sys.exit(3)

    @command
    def crash(self) -> str:
        raise ZeroDivisionError("hush")

    @command
    def endless(self) -> Iterator[str]:
        while True:
            yield "flood"

    @command
    async def endless_async(self) -> AsyncIterator[str]:
        while True:
            yield "flood"

    @command(timeout=0.05)
    async def quiet_endless(self) -> AsyncIterator[str]:
        for _ in range(MAX_REPLIES - 1):
            yield "flood"
        await asyncio.Event().wait()

    @command
    def block(self) -> str:
        time.sleep(0.03)
        return "done"

    @command
    async def hang(self) -> None:
        await asyncio.Event().wait()

    @command
    def nonsense(self) -> Any:
        return object()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("!leave", "failed"),
        ("!leave_later", "failed"),
        ("!leave_midway", "failed"),
        ("!leave_streaming", "failed"),
        ("!crash", "failed"),
        ("!nonsense", "failed"),
    ],
)
async def test_a_fault_is_counted_logged_by_name_and_told_as_a_reference(
    text: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with TestBot(plugins=[Villain, Good]) as bot:
        replies = await bot.hears_message(text)
        assert "hush" not in " ".join(replies)
        reference = replies[-1].split()[-1].rstrip(".")
        assert reference in caplog.text
        assert f"command {text[1:]} of villain" in caplog.text
        assert counts(bot, "villain") == {reason: 1}
        assert await bot.says("!good") == "still here"


@pytest.mark.parametrize("text", ["!endless", "!endless_async"])
async def test_replies_without_end_are_ended(text: str, caplog: pytest.LogCaptureFixture) -> None:
    async with TestBot(plugins=[Villain, Good]) as bot:
        tell(bot, text)
        tell(bot, "!good", "carol@localhost/x")
        await until(lambda: counts(bot, "villain").get("too-many-replies"))
        await bot.settle()
        assert f"command {text[1:]} of villain yielded more than" in caplog.text
        assert bodies(bot).count("flood") <= MAX_REPLIES
        assert await bot.says("!good") in ("still here", "")
        # More than the window is sent when the server has confirmed what came before.
        bot.app.stream().xmpp.probe()
        await until(lambda: bodies(bot).count("still here") == 2)


async def test_an_async_flood_lets_others_through_meanwhile() -> None:
    async with TestBot(plugins=[Villain, Good]) as bot:
        tell(bot, "!endless_async")
        tell(bot, "!turn", "carol@localhost/x")
        await until(lambda: "my turn" in bodies(bot))
        assert bodies(bot).index("my turn") < MAX_REPLIES - 1
        await bot.settle()


async def test_a_handler_that_blocks_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async with TestBot("[pipeline]\nslow_step = 0.02\n", plugins=[Villain, Good]) as bot:
        assert await bot.says("!block") == "done"
        assert counts(bot, "villain") == {"blocked-loop": 1}
        assert "command block of villain kept the loop" in caplog.text
        assert await bot.says("!good") == "still here"


async def test_a_full_lane_says_wait_and_no_other_lane_does() -> None:
    async with TestBot("[pipeline]\nlane_limit = 3\n" + NO_RATE, plugins=[Villain, Good]) as bot:
        tell(bot, "!hang", ident="first")
        await until(lambda: not bot.app.pipeline.statistics().waiting)
        for number in range(5):
            tell(bot, "!hang", ident=f"h{number}")
        await until(lambda: counts(bot, "villain").get("lane-full") == 2)
        await until(lambda: len(bodies(bot)) == 2)
        assert all("villain is busy" in text for text in bodies(bot)), bodies(bot)
        tell(bot, "!good")
        tell(bot, "!good", "carol@localhost/x")
        await until(lambda: bodies(bot).count("still here") == 2)
        await bot.app.plugins.unload("villain")
        assert not bot.app.pipeline.in_flight


class Waits(Plugin):
    @on.message
    async def take(self, event: StanzaEvent) -> None:
        await asyncio.Event().wait()


async def test_a_full_lane_of_plain_messages_is_a_stanza_error() -> None:
    async with TestBot("[pipeline]\nlane_limit = 1\n" + NO_RATE, plugins=[Waits]) as bot:
        tell(bot, "x", ident="m0")
        await until(lambda: not bot.app.pipeline.statistics().waiting)
        tell(bot, "x", ident="m1")
        tell(bot, "x", ident="m2")
        await until(lambda: [s for s in bot.sent if s.get("type") == "error"])
        (error,) = [stanza for stanza in bot.sent if stanza.get("type") == "error"]
        assert (error.get("to"), error.get("id")) == ("alice@localhost/test", "m2")
        detail = next(child for child in error if child.tag.endswith("}error"))
        assert detail.get("type") == "wait"
        assert detail[0].tag == "{urn:ietf:params:xml:ns:xmpp-stanzas}resource-constraint"
        await bot.app.plugins.unload("waits")


class Timers(Plugin):
    @every(0.001)
    def leave(self) -> None:
        sys.exit(4)

    async def start(self) -> None:
        async def work() -> None:
            await asyncio.sleep(0)
            sys.exit(5)

        self.spawn(work())


async def test_sys_exit_in_a_timer_and_a_task(caplog: pytest.LogCaptureFixture) -> None:
    async with TestBot(plugins=[Timers, Good]) as bot:
        await until(lambda: counts(bot, "timers").get("timer-failed", 0) >= 2)
        assert counts(bot, "timers")["task-failed"] == 1
        assert "plugin timers called sys.exit in a task" in caplog.text
        assert await bot.says("!good") == "still here"


class Lives(Plugin):
    """`start` and `stop` as the test says."""

    at_start = at_stop = ""

    async def _do(self, what: str) -> None:
        match what:
            case "raise":
                raise ZeroDivisionError
            case "exit":
                sys.exit(6)
            case "hang":
                await asyncio.Event().wait()
            case "ignore":
                while True:
                    try:
                        await release.wait()
                        return
                    except asyncio.CancelledError:
                        pass
            case "cancelled":
                task = asyncio.ensure_future(asyncio.Event().wait())
                task.cancel()
                await task

    @command
    def lives(self) -> str:
        return "lives"

    async def start(self) -> None:
        self.spawn(asyncio.Event().wait())
        await self._do(self.at_start)

    async def stop(self) -> None:
        await self._do(self.at_stop)


release = asyncio.Event()
WAYS = ["raise", "exit", "hang", "ignore", "cancelled"]


@pytest.fixture
async def impatient(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    global release
    release = asyncio.Event()
    for name in ("START_SECONDS", "STOP_SECONDS", "CANCEL_SECONDS"):
        monkeypatch.setattr(f"zxmpp.lifetime.{name}", 0.02)
    yield
    release.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@pytest.mark.parametrize("way", WAYS)
async def test_a_start_that_does_not_end_well(way: str, impatient: None) -> None:
    bad = type("Bad", (Lives,), {"at_start": way})
    async with TestBot(plugins=[Good]) as bot:
        before = len(bot.app.commands)
        async with asyncio.timeout(LIMIT):
            with pytest.raises(PluginError, match="bad"):
                await bot.app.plugins.load_classes([bad])
        assert "bad" not in bot.app.plugins
        assert len(bot.app.commands) == before
        assert await bot.says("!good") == "still here"
        bad.at_start = ""  # type: ignore[attr-defined]
        await bot.app.plugins.load_classes([bad])
        assert await bot.says("!lives") == "lives"


@pytest.mark.parametrize("way", WAYS)
async def test_a_stop_that_does_not_end_well(
    way: str, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    bad = type("Bad", (Lives,), {"at_stop": way})
    async with TestBot('[sockets.x]\ntype = "PULL"\nbind = "tcp://127.0.0.1:*"\n',
                       plugins=[Good, bad]) as bot:  # fmt: skip
        async with asyncio.timeout(LIMIT):
            await bot.app.stop()
    assert "plugin bad failed to stop" in caplog.text
    assert not list(bot.app.plugins)
    assert not bot.app.sockets
    assert not bot.app.pipeline.in_flight
