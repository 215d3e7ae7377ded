"""A plugin is reloaded: the new version takes over in one turn, or the old one runs on."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest
import zmq
import zmq.asyncio

from tests.hostile.helpers import NO_RATE, bodies, tell, until
from zxmpp import Plugin, PluginError, command
from zxmpp.testing import TestBot
from zxmpp.watch import watch

HEAD = """\
import asyncio
from typing import ClassVar
from msgspec import Struct
from zxmpp import FramesEvent, Plugin, command, every, on
"""

TEA = """
class Tea(Plugin):
    @command
    def tea(self) -> str:
        return "green"
"""

#: Its handler waits until it is let go.
SLOW = """
class Tea(Plugin):
    gate: ClassVar[asyncio.Event]

    async def start(self) -> None:
        self.gate = asyncio.Event()

    @command
    async def tea(self, cup: str) -> str:
        if cup == "slow":
            await self.gate.wait()
        return f"old {cup}"
"""

NEW = """
class Tea(Plugin):
    @command
    async def tea(self, cup: str) -> str:
        return f"new {cup}"
"""


class Write(Protocol):
    def __call__(self, text: str, module: str = ..., head: str = ...) -> None: ...


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module, where plugins are found."""
    before, clock = set(sys.modules), count(10**18)
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str, module: str = "tea", head: str = HEAD) -> None:
        path = tmp_path / f"{module.replace('.', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(head + textwrap.dedent(text))
        # All of one second, as far as bytecode that is cached can tell.
        os.utime(path, ns=(next(clock), next(clock)))

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
async def bot(write: Write) -> AsyncIterator[Callable[..., Any]]:
    """Make a bot with the plugin that was written."""
    bots: list[TestBot] = []

    async def make(text: str, *, settings: str = NO_RATE, **tables: dict[str, Any]) -> TestBot:
        write(text)
        bot = TestBot(settings, tables or {"tea:Tea": {}})
        bots.append(bot)
        return await bot.__aenter__()

    yield make
    for each in bots:
        await each.__aexit__()


async def test_what_the_file_says_now_is_what_answers(
    bot: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    b = await bot(TEA)
    old = b.app.plugins.get("tea")
    assert await b.says("!tea") == "green"
    # The same size, in the same second: bytecode that is cached would not know.
    write(TEA.replace("green", "black"))
    assert await b.app.plugins.reload("tea") == ["tea"]
    assert await b.says("!tea") == "black"
    assert b.app.plugins.get("tea") is not old
    write(TEA.replace("def tea", "def coffee"))
    await b.app.plugins.reload("tea")
    assert await b.says("!coffee") == "green"
    assert "no command" in await b.says("!tea")


#: What is to be gone again.
OWNS = """
    async def start(self):
        self.open_socket("mine", type="PULL", bind="inproc://mine")
        self.spawn(asyncio.Event().wait())
"""

WRONG = {
    "syntax": ("class Tea(Plugin:\n", r"tea\.py:\d+: SyntaxError"),
    "raises": ("1 / 0\n", r"tea\.py:5: ZeroDivisionError"),
    "import": ("import no_such_thing\n", r"tea\.py:5: ModuleNotFoundError: .*no_such_thing"),
    "exits": ("raise SystemExit(1)\n", r"tea\.py:5: SystemExit"),
    "cancels": ("raise asyncio.CancelledError\n", r"tea\.py:5: CancelledError"),
    "no class": ("Coffee = 1\n", "has no 'Tea'"),
    "no plugin": ("class Tea: ...\n", "no subclass of zxmpp.Plugin"),
    "start": (
        TEA + "    async def start(self) -> None:\n        raise OSError('no stove')\n",
        r"failed to start: .*tea\.py:\d+: OSError.*no stove",
    ),
    "hangs": (
        TEA + "    async def start(self) -> None:\n        await asyncio.Event().wait()\n",
        "start took more than 0.05 s",
    ),
    "config": (
        "class C(Struct, frozen=True, forbid_unknown_fields=True):\n    cups: int\n"
        + TEA
        + "    Config = C\n",
        r"\[plugins.tea\].*cups is missing",
    ),
    "role": (TEA.replace("@command", "@command(role='brewer')"), "role 'brewer'"),
    "taken": (TEA.replace("def tea", "def echo") + OWNS, "'echo' belongs to plugin echo"),
    "twice": (
        TEA + "    @command('tea')\n    def again(self) -> str:\n        return 'again'\n",
        "'tea' belongs to plugin tea already",
    ),
    "needs": (TEA + "    dependencies = ('coffee',)\n", "no plugin 'coffee' is installed"),
    "circle": (TEA + "    dependencies = ('tea',)\n", "circle: tea -> tea"),
    "xep": (TEA + "    dependencies = ('xep_9999',)\n", "xep_9999"),
    "broker": (TEA + "    needs_broker = True\n", r"no broker"),
    "adopt": (TEA + OWNS + "    def adopt(self, old):\n        raise KeyError('leaf')\n", "adopt.*leaf"),
    "async adopt": (TEA + "    async def adopt(self, old): ...\n", "adopt must be a plain function"),
    "inlet": (
        TEA + "    async def start(self):\n        self.add_inlet(lambda: 1 / 0)\n",
        "failed to open a way in: ZeroDivisionError",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
async def test_what_fails_leaves_the_old_version_running(
    bot: Any, write: Write, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zxmpp.lifetime.START_SECONDS", 0.05)
    text, says = WRONG[fault]
    b = await bot(TEA, **{"tea:Tea": {}, "echo": {}})
    old, module = b.app.plugins.get("tea"), sys.modules["tea"]
    before = counts(b)
    write(text)
    with pytest.raises(PluginError, match="'tea' is not reloaded, the old version runs on: ") as e:
        await b.app.plugins.reload("tea")
    assert e.match(says)
    assert b.app.plugins.get("tea") is old
    assert sys.modules["tea"] is module
    assert await b.says("!tea") == "green"
    assert await b.says("!echo hi") == "hi"
    assert counts(b) == before
    # And the next version is taken as if nothing had been.
    write(TEA.replace("green", "black"))
    await b.app.plugins.reload("tea")
    assert await b.says("!tea") == "black"


def counts(bot: TestBot) -> dict[str, int]:
    gc.collect()
    return {
        "routes": len(bot.app.pipeline._index),
        "owners": len(bot.app.pipeline._owners) + len(bot.app.pipeline._leaving),
        "commands": len(bot.app.commands),
        "sockets": len(bot.app.sockets),
        "tasks": len([t for t in asyncio.all_tasks() if not t.get_name().startswith("lanes")]),
    }


async def test_a_hundred_reloads_leave_nothing(bot: Any) -> None:
    b = await bot(
        """
        class Tea(Plugin):
            async def start(self) -> None:
                self.open_socket("cups", type="PULL", bind="inproc://cups")
                self.open_socket("pots", type="PULL", bind="tcp://127.0.0.1:*")
                self.spawn(asyncio.Event().wait())

            @on.frames("cups")
            @on.message
            def heard(self, event) -> None: ...

            @every(3600)
            def boil(self) -> None: ...
        """
    )
    before = counts(b)
    for _ in range(100):
        await b.app.plugins.reload("tea")
    await b.app.plugins.retired()
    assert counts(b) == before
    alive = [x for x in gc.get_objects() if isinstance(x, Plugin) and x.instance == "tea"]
    assert alive == [b.app.plugins.get("tea")]


async def test_each_conversation_keeps_its_order_and_others_do_not_wait(
    bot: Any, write: Write
) -> None:
    b = await bot(SLOW)
    old = b.app.plugins.get("tea")
    for cup in ("slow", "two"):
        tell(b, f"!tea {cup}")
    await asyncio.sleep(0)
    write(NEW)
    await b.app.plugins.reload("tea")
    tell(b, "!tea three")
    tell(b, "!tea of-bob", sender="bob@localhost/x")
    await until(lambda: bodies(b) == ["new of-bob"])
    old.gate.set()
    await b.app.plugins.retired()
    await b.settle()
    assert bodies(b) == ["new of-bob", "old slow", "old two", "new three"]


async def test_several_versions_end_one_after_the_other(bot: Any, write: Write) -> None:
    b = await bot(SLOW)
    first = b.app.plugins.get("tea")
    tell(b, "!tea slow")
    write(SLOW.replace("old", "second"))
    await b.app.plugins.reload("tea")
    second = b.app.plugins.get("tea")
    tell(b, "!tea slow")
    await b.app.plugins.reload("tea")  # this version gets nothing to do
    write(NEW)
    await b.app.plugins.reload("tea")
    tell(b, "!tea cup")
    second.gate.set()
    await asyncio.sleep(0)
    assert bodies(b) == []
    first.gate.set()
    await b.app.plugins.retired()
    await b.settle()
    assert bodies(b) == ["old slow", "second slow", "new cup"]


async def test_versions_that_still_end_are_bounded(
    bot: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zxmpp.loader.MAX_LEAVING", 2)
    b = await bot(SLOW)
    versions = []
    for _ in range(2):
        versions.append(b.app.plugins.get("tea"))
        tell(b, "!tea slow")
        await b.app.plugins.reload("tea")
    with pytest.raises(PluginError, match="2 versions that were replaced still end; wait"):
        await b.app.plugins.reload("tea")
    for version in versions:
        version.gate.set()
    await b.app.plugins.retired()
    assert await b.app.plugins.reload("tea") == ["tea"]


async def test_what_does_not_end_in_the_drain_time_is_cancelled_and_named(
    bot: Any, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    b = await bot(SLOW, settings=NO_RATE + "[app]\ndrain_seconds = 0.05")
    for cup in ("slow", "two"):
        tell(b, f"!tea {cup}")
    write(NEW)
    await b.app.plugins.reload("tea")
    tell(b, "!tea three")
    await b.app.plugins.retired()
    await b.settle()
    # The one that ran, the one that waited, and the next version's.
    assert sorted(bodies(b)) == ["It was unloaded.", "new three", "tea was stopped."]
    assert re.search(r"handler .*command tea.* was cancelled", caplog.text)
    assert "the old version of tea is not done in time (drain_seconds = 0.05)" in caplog.text


async def test_a_handler_reloads_its_own_plugin(bot: Any, write: Write) -> None:
    b = await bot(
        """
        class Tea(Plugin):
            @command
            async def again(self) -> str:
                return "again: " + ", ".join(await self.app.plugins.reload("tea"))
        """
    )
    assert await b.says("!again") == "again: tea"
    write(TEA)
    assert await b.says("!again") == "again: tea"
    await b.app.plugins.retired()
    assert await b.says("!tea") == "green"


async def test_a_stop_in_the_middle_is_no_matter(bot: Any, write: Write) -> None:
    b = await bot(SLOW)
    tell(b, "!tea slow")
    write(NEW)
    await b.app.plugins.reload("tea")
    tell(b, "!tea two")
    write("class Tea(Plugin):\n    async def start(self):\n        await asyncio.Event().wait()\n")
    reload = asyncio.ensure_future(b.app.plugins.reload("tea"))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await b.app.stop(drain=0)
    reload.cancel()
    await asyncio.wait([reload])
    assert bodies(b) == ["tea was stopped.", "new two"]
    assert b.app.pipeline.in_flight == 0


async def test_a_plugin_that_is_unloaded_meanwhile_stays_unloaded(bot: Any, write: Write) -> None:
    b = await bot(TEA)
    write(
        TEA
        + """
    async def start(self) -> None:
        await self.app.plugins.unload("tea")
"""
    )
    with pytest.raises(PluginError, match="unloaded or reloaded by somebody else"):
        await b.app.plugins.reload("tea")
    assert "tea" not in b.app.plugins
    assert "no command" in await b.says("!tea")


# -- what goes over -----------------------------------------------------------------------------


async def test_adopt_takes_the_state_over(bot: Any, write: Write) -> None:
    counter = """
class Tea(Plugin):
    cups = 0

    def adopt(self, old) -> None:
        self.cups = old.cups

    @command
    def tea(self) -> int:
        self.cups += 1
        return f"cup {self.cups}"
"""
    b = await bot(counter)
    assert await b.says("!tea") == "cup 1"
    await b.app.plugins.reload("tea")
    assert await b.says("!tea") == "cup 2"
    write(counter.replace("self.cups = old.cups", "self.cups = old.pots"))
    with pytest.raises(PluginError, match=r"adopt failed: .*tea\.py:\d+: AttributeError"):
        await b.app.plugins.reload("tea")
    assert await b.says("!tea") == "cup 3"


POTS = """
class Tea(Plugin):
    async def start(self) -> None:
        self.pots = self.open_socket("pots", type="REP", bind="tcp://127.0.0.1:*")

    @on.frames("pots")
    def pour(self, event: FramesEvent) -> bytes:
        return b"old"
"""


async def test_a_socket_goes_over_as_it_is(bot: Any, write: Write) -> None:
    b = await bot(POTS)
    source = b.app.socket("pots")
    with zmq.asyncio.Context() as context, context.socket(zmq.REQ) as asker:
        asker.linger = 0
        asker.connect(source.bound[0])
        async with asyncio.timeout(10):
            for said in (b"old", b"new"):
                await asker.send(b"pour")
                assert await asker.recv() == said
                write(POTS.replace('b"old"', 'b"new"'))
                await b.app.plugins.reload("tea")
            await b.app.plugins.retired()
            assert b.app.socket("pots") is source
            assert not source.socket.closed
            write(POTS.replace("REP", "ROUTER"))
            with pytest.raises(PluginError, match="'pots' with other keys; unload the plugin"):
                await b.app.plugins.reload("tea")
            await asker.send(b"pour")
            assert await asker.recv() == b"new"
    await b.app.plugins.unload("tea")
    assert source.socket.closed


async def test_a_burst_from_a_socket_keeps_its_order_over_many_reloads(bot: Any) -> None:
    text = """
        class Tea(Plugin):
            heard = []

            def adopt(self, old) -> None:
                self.heard = old.heard

            @on.frames("cups")
            async def cup(self, event: FramesEvent) -> None:
                await asyncio.sleep(0)
                self.heard.append(int(event.frames[0]))
        """
    settings = '[pipeline]\ncredit = 8\n[sockets.cups]\ntype = "PULL"\nbind = "inproc://c"\n'
    settings += '[sockets.out]\ntype = "PUSH"\nconnect = "inproc://c"\nsend_buffer = 5000'
    b = await bot(text, settings=settings)
    for number in range(2000):
        b.app.socket("out").send(b"%d" % number)
    for _ in range(30):
        await b.app.plugins.reload("tea")
        seen = len(b.app.plugins.get("tea").heard)
        await until(lambda seen=seen: len(b.app.plugins.get("tea").heard) > min(seen + 40, 1900))
    await until(lambda: len(b.app.plugins.get("tea").heard) >= 2000)
    assert b.app.plugins.get("tea").heard == list(range(2000))
    assert b.app.pipeline.counts["paused"]
    await b.app.plugins.retired()
    assert not b.app.socket("cups").socket.paused


async def test_what_comes_to_a_new_socket_waits_for_the_handlers(bot: Any, write: Write) -> None:
    b = await bot(TEA)
    write(
        """
        class Tea(Plugin):
            heard = []

            async def start(self) -> None:
                self.cups = self.open_socket("cups", type="PULL", bind="inproc://early")
                out = self.open_socket("out", type="PUSH", connect="inproc://early")
                out.send(b"early")
                for _ in range(20):
                    await asyncio.sleep(0)

            @on.frames("cups")
            def cup(self, event: FramesEvent) -> None:
                self.heard.append(event.frames)
        """
    )
    await b.app.plugins.reload("tea")
    await until(lambda: b.app.plugins.get("tea").heard)
    assert b.app.plugins.get("tea").heard == [[b"early"]]


async def test_inlets_and_timers_are_never_open_twice(bot: Any, write: Write) -> None:
    text = """
class Tea(Plugin):
    async def start(self) -> None:
        self.add_inlet(self.tap)
        self.add_timer(0.001, self.boil)
        self.boiling = asyncio.Event()
        self.done = asyncio.Event()
        for _ in range(20):
            await asyncio.sleep(0)

    def tap(self):
        self.app.taps.append(self)
        return self

    def close(self) -> None:
        self.app.taps.remove(self)

    async def boil(self) -> None:
        self.boiling.set()
        await self.done.wait()
        self.app.boiled.append(self)
"""
    write(text)
    b = TestBot(NO_RATE, ["tea:Tea"])
    b.app.taps, b.app.boiled = [], []  # type: ignore[attr-defined]
    async with b:
        old = b.app.plugins.get("tea")
        await old.boiling.wait()  # type: ignore[attr-defined]
        await b.app.plugins.reload("tea")
        new = b.app.plugins.get("tea")
        assert b.app.taps == [new]  # type: ignore[attr-defined]
        # A call of a timer that is under way may end, and is the last.
        await new.boiling.wait()  # type: ignore[attr-defined]
        old.done.set()  # type: ignore[attr-defined]
        await b.app.plugins.retired()
        assert b.app.boiled == [old]  # type: ignore[attr-defined]
        with pytest.raises(PluginError, match="was unloaded or reloaded"):
            old.add_inlet(old.tap)  # type: ignore[attr-defined]


# -- what goes along ----------------------------------------------------------------------------


async def test_what_depends_on_it_is_reloaded_along(bot: Any, write: Write) -> None:
    write(
        """
        class Milk(Plugin):
            dependencies = ("tea",)

            async def start(self) -> None:
                self.tea = self.plugin("tea")

            @command
            def milk(self) -> str:
                return "milk in " + self.tea.tea()
        """,
        "milk",
    )
    b = await bot(TEA, **{"milk:Milk": {}, "tea:Tea": {}})
    assert await b.says("!milk") == "milk in green"
    write(TEA.replace("green", "black"))
    assert await b.app.plugins.reload("tea") == ["tea", "milk"]
    assert await b.says("!milk") == "milk in black"
    old = [*b.app.plugins]
    write("class Milk(Plugin):\n    dependencies = ('tea',)\n    def start(self): 1 / 0\n", "milk")
    with pytest.raises(PluginError, match="'milk' failed to start"):
        await b.app.plugins.reload("tea")
    assert [*b.app.plugins] == old
    assert await b.says("!milk") == "milk in black"


async def test_what_it_newly_depends_on_is_loaded(bot: Any, write: Write) -> None:
    b = await bot(TEA)
    write(TEA + "    dependencies = ('echo',)\n")
    await b.app.plugins.reload("tea")
    assert [plugin.instance for plugin in b.app.plugins] == ["echo", "tea"]
    assert await b.says("!echo hi") == "hi"


async def test_a_package_is_imported_anew_whole_and_nothing_else(
    write: Write, tmp_path: Path
) -> None:
    write("KIND = 'green'\n", "cups.kinds", head="")
    write(
        "from cups.kinds import KIND\nimport other\n" + TEA.replace('"green"', "KIND"),
        "cups.__init__",
    )
    write("", "other", head="")
    async with TestBot(NO_RATE, ["cups:Tea"]) as b:
        other = sys.modules["other"]
        write("KIND = 'black'\n", "cups.kinds", head="")
        assert list(b.app.plugins.changed()) == ["tea"]
        await b.app.plugins.reload("tea")
        assert await b.says("!tea") == "black"
        assert sys.modules["other"] is other
        assert b.app.plugins.changed() == {}
        old = dict(sys.modules)
        write("KIND = ", "cups.kinds", head="")
        with pytest.raises(PluginError, match=r"kinds\.py:1: SyntaxError"):
            await b.app.plugins.reload("tea")
        assert dict(sys.modules) == old
        assert sys.modules["cups"].kinds is sys.modules["cups.kinds"]
        assert "SyntaxError" not in await b.says("!tea")


async def test_plugins_of_one_module_stay_together(bot: Any, write: Write) -> None:
    b = await bot(TEA + TEA.replace("Tea", "Mint").replace("def tea", "def mint"),
                  **{"tea:Tea": {}, "tea:Mint": {}})  # fmt: skip
    assert await b.app.plugins.reload("tea") == ["tea", "mint"]
    tea, mint = b.app.plugins
    assert type(tea).__init__.__globals__ is type(mint).__init__.__globals__
    assert sys.modules["tea"].Mint is type(mint)


async def test_a_plugin_in_the_package_of_another_goes_along(write: Write) -> None:
    write(TEA, "shop.__init__")
    write(TEA.replace("Tea", "Mint").replace("def tea", "def mint"), "shop.mint")
    async with TestBot(NO_RATE, ["shop:Tea", "shop.mint:Mint"]) as b:
        for name in ("tea", "mint"):
            assert await b.app.plugins.reload(name) == ["tea", "mint"]
            assert sys.modules["shop.mint"].Mint is type(b.app.plugins.get("mint"))


async def test_what_has_no_module_of_its_own_says_so() -> None:
    class Local(Plugin):
        @command
        def local(self) -> str:
            return "here"

    async with TestBot(plugins=[Local]) as b:
        with pytest.raises(PluginError, match="put it into a module of its own"):
            await b.app.plugins.reload("local")
        with pytest.raises(PluginError, match="'nobody' is not loaded"):
            await b.app.plugins.reload("nobody")
        assert await b.says("!local") == "here"


async def test_a_bundled_plugin_is_reloaded_alone() -> None:
    async with TestBot(plugins=["echo", "help"]) as b:
        kept = {n: m for n, m in sys.modules.items() if n.startswith("zxmpp")}
        try:
            assert await b.app.plugins.reload("echo") == ["echo"]
            changed = {n for n, m in kept.items() if sys.modules[n] is not m}
            assert changed == {"zxmpp_plugins.echo"}
            assert await b.says("!echo hi") == "hi"
        finally:
            sys.modules.update(kept)


# -- by itself ----------------------------------------------------------------------------------


async def test_watch_reloads_what_is_written(
    bot: Any, write: Write, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("zxmpp.watch.INTERVAL", 0.001)
    b = await bot(TEA)
    watching = asyncio.ensure_future(watch(b.app))
    old = b.app.plugins.get("tea")
    write("class Tea(Plugin:\n")
    await until(lambda: "SyntaxError" in caplog.text)
    looks = b.app.plugins.changed
    seen: list[int] = []
    monkeypatch.setattr(b.app.plugins, "changed", lambda: seen.append(1) or looks())
    await until(lambda: len(seen) > 3)
    assert caplog.text.count("SyntaxError: ") == 1, "a fault is named once"
    assert b.app.plugins.get("tea") is old
    write(TEA.replace("green", "black"))
    await until(lambda: b.app.plugins.get("tea") is not old)
    assert await b.says("!tea") == "black"
    watching.cancel()
    await asyncio.wait([watching])
