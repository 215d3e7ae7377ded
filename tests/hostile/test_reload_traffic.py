"""10,000 commands while their plugin is reloaded 100 times, some with faults on purpose."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zxmpp import PluginError
from zxmpp.testing.bot import TestBot, body_of

from .helpers import NO_RATE, tell, until

COMMANDS = 10_000
RELOADS = 100
SENDERS = [f"user{number}@localhost" for number in range(40)]

HANGS = "await asyncio.Event().wait()"
GOOD = """\
import asyncio
from msgspec import Struct
from zxmpp import Call, NoConfig, Plugin, command, on

VERSION = {version}
HANDLED = []


class Needs(Struct, forbid_unknown_fields=True):
    cups: int


class Busy(Plugin):
    Config = NoConfig

    async def start(self):
        self.handled = HANDLED
        self.heard = []
        await asyncio.sleep(0)

    def adopt(self, old):
        self.handled = old.handled
        self.heard = old.heard

    @on.message
    def hear(self, event):
        self.heard.append((event.sender, int(event.body.split()[1])))

    @command
    def quick(self, call: Call, number: int) -> str:
        self.handled.append((call.sender, number))
        return f"{{number}} by {{VERSION}}"

    @command
    async def slow(self, call: Call, number: int) -> str:
        for _ in range(number % 23):
            await asyncio.sleep(0)
        self.handled.append((call.sender, number))
        for _ in range(number % 17):
            await asyncio.sleep(0)
        return f"{{number}} by {{VERSION}}"
"""

#: A fault: what is put into the place of what, and what is said of it.
FAULTS = [
    ("HANDLED = []", "HANDLED = [", r"busy_traffic\.py:\d+: SyntaxError"),
    ("HANDLED = []", "import no_such_thing", r"busy_traffic\.py:\d+: ModuleNotFoundError"),
    ("self.handled = HANDLED", "raise OSError('no database')", "failed to start: .*no database"),
    ("self.handled = HANDLED", HANGS, "start took more than 0.02 s"),
    ("self.handled = HANDLED", "raise SystemExit(1)", "called sys.exit in start"),
    ("Config = NoConfig", "Config = Needs", "cups is missing"),
    ("= old.handled", "= old.gone", "adopt failed: .*gone"),
    ("@command\n", "@command('echo')\n", "'echo' belongs to plugin echo already"),
]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], object]]:
    """Write the plugin's module."""
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "busy_traffic.py"
    path.write_text(GOOD.format(version=0))
    yield path.write_text
    sys.modules.pop("busy_traffic", None)


async def test_each_command_is_answered_once_and_in_order(
    write: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TestBot(NO_RATE, ["busy_traffic:Busy", "echo"]) as bot:
        plugins = bot.app.plugins
        stream = bot.app.stream().xmpp
        asked: Counter[str] = Counter()
        reloading = asyncio.ensure_future(reload(bot, write, monkeypatch))

        def ask() -> None:
            number = asked.total()
            sender = SENDERS[number * 7 % len(SENDERS)]
            command = "quick" if number % 3 else "slow"
            tell(bot, f"!{command} {asked[sender]}", f"{sender}/x", str(number))
            asked[sender] += 1

        # Traffic for as long as there are reloads, and at least so many commands.
        while asked.total() < COMMANDS or not reloading.done():
            for _ in range(4):
                ask()
            if bot.app.pipeline.in_flight > len(SENDERS) * 10:
                await bot.app.pipeline.settle(10)
            if asked.total() % 400 == 0:
                stream.probe()
            await asyncio.sleep(0)
        versions = await reloading
        await plugins.retired()
        await bot.settle()

        def answers() -> dict[str, list[str]]:
            found = defaultdict(list)
            for stanza in filter(body_of, bot.sent):
                found[stanza.get("to", "").partition("/")[0]].append(body_of(stanza))
            return found

        stream.probe()
        await until(lambda: sum(map(len, answers().values())) >= asked.total())
        await bot.settle()
        for sender, texts in answers().items():
            numbers = [int(text.partition(" by ")[0]) for text in texts]
            assert numbers == list(range(asked[sender])), sender
            by = [int(text.partition(" by ")[2]) for text in texts]
            assert by == sorted(by), "no older version answers after a newer one"
        last = plugins.get("busy")
        once = Counter((sender, number) for sender in asked for number in range(asked[sender]))
        assert Counter(last.handled) == once  # type: ignore[attr-defined]
        assert Counter(last.heard) == once, "a handler beside the commands"  # type: ignore[attr-defined]
        used = {text.partition(" by ")[2] for texts in answers().values() for text in texts}
        assert used >= {str(version) for version in versions[:-1]}, "each version had its share"
        assert bot.app.pipeline.statistics().owners["busy"] == {}
        assert asked.total() >= COMMANDS


async def reload(
    bot: TestBot, write: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> list[int]:
    """Reload again and again; the versions that were good."""
    good = [0]
    for number in range(1, RELOADS + 1):
        text = GOOD.format(version=number)
        before = bot.app.plugins.get("busy")
        if number % 3:
            write(text)
            await bot.app.plugins.reload("busy")
            good.append(number)
        else:
            sound, fault, says = FAULTS[number // 3 % len(FAULTS)]
            assert sound in text
            write(text.replace(sound, fault, 1))
            monkeypatch.setattr("zxmpp.lifetime.START_SECONDS", 0.02 if fault is HANGS else 60)
            with pytest.raises(PluginError, match=f"the old version runs on: .*{says}"):
                await bot.app.plugins.reload("busy")
            assert bot.app.plugins.get("busy") is before, fault
            monkeypatch.setattr("zxmpp.lifetime.START_SECONDS", 60)
        # Until it had something to do.
        seen = bot.app.pipeline.statistics().started
        while bot.app.pipeline.statistics().started < seen + 60:
            await asyncio.sleep(0)
    return good
