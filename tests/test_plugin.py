"""Loading, ordering, unloading; what a plugin owns is freed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from msgspec import Struct

from zxmpp import (
    App,
    Call,
    FramesEvent,
    LifecycleEvent,
    Plugin,
    Reaction,
    StanzaEvent,
    StreamError,
    command,
    every,
    on,
)
from zxmpp.config import PluginSettings
from zxmpp.errors import ConfigError, PluginError
from zxmpp.loader import find
from zxmpp.testing import TestBot
from zxmpp.testing.bot import body_of

EVENTS: list[str] = []


class Base(Plugin):
    async def start(self) -> None:
        EVENTS.append(f"start {self.name}")

    async def stop(self) -> None:
        EVENTS.append(f"stop {self.name}")


class First(Base):
    pass


class Second(Base):
    dependencies = ("first",)


class Third(Base):
    dependencies = ("second", "first")


class Needy(Base):
    dependencies = ("helpp",)


class Tick(Base):
    dependencies = ("tock",)


class Tock(Base):
    dependencies = ("tick",)


class Full(Plugin):
    """One of everything that a plugin can register."""

    ticks: ClassVar[asyncio.Event]

    class Config(Struct, frozen=True, forbid_unknown_fields=True):
        room: str = "ops@rooms.localhost"
        limit: int = 3

    async def start(self) -> None:
        self.open_socket("full", type="PULL", bind="inproc://full")
        self.add_handler(on.frames("full", topic=b"x"), lambda event: None)
        self.add_command(lambda call: "dynamic", "dynamic")
        self.spawn(asyncio.Event().wait(), name="for ever")
        self.add_timer(3600, lambda: None)

    @command
    def hello(self, call: Call) -> str:
        """Say hello."""
        return "hello"

    @on.message
    def message(self, event: Any) -> None: ...

    @on.presence(type="unavailable")
    @on.frames("full")
    async def two(self, event: FramesEvent) -> None: ...

    @on.lifecycle("started")
    def started(self, event: LifecycleEvent) -> None: ...

    @every(3600)
    async def hourly(self) -> None: ...


class Broken(Full):
    async def start(self) -> None:
        await super().start()
        raise RuntimeError("can't reach the database")


class Exits(Plugin):
    async def start(self) -> None:
        raise SystemExit(1)


@pytest.fixture
async def app() -> AsyncIterator[App]:
    EVENTS.clear()
    async with App() as app:
        yield app


def counts(app: App) -> dict[str, int]:
    """What a plugin can leave behind."""
    gc.collect()
    return {
        "routes": len(app.pipeline._index),
        "owners": len(app.pipeline._owners),
        "commands": len(app.commands),
        "sockets": len(app.sockets),
        "tasks": len(asyncio.all_tasks()),
        "timers": len([
            handle
            for handle in getattr(asyncio.get_running_loop(), "_scheduled", ())
            if not handle.cancelled()
        ]),
        "readers": len(asyncio.get_running_loop()._selector.get_map()),  # type: ignore[attr-defined]
    }  # fmt: skip


async def test_unload_frees_everything(app: App) -> None:
    before = counts(app)
    plugin = await app.plugins.load("full", Full, {"limit": 5})
    await asyncio.sleep(0)
    assert plugin.config.limit == 5
    during = counts(app)
    assert during["routes"] == before["routes"] + 5
    assert during["commands"] == before["commands"] + 2
    assert during["sockets"] == before["sockets"] + 1
    assert during["tasks"] >= before["tasks"] + 3
    await app.plugins.unload("full")
    assert counts(app) == before
    await app.plugins.load("full", Full)
    await app.plugins.unload("full")
    assert counts(app) == before


@pytest.mark.parametrize("cls", [Broken, Exits])
async def test_a_plugin_that_fails_to_start_leaves_nothing(app: App, cls: type[Plugin]) -> None:
    before = counts(app)
    with pytest.raises(PluginError, match=r"failed to start|called sys.exit in start"):
        await app.plugins.load("bad", cls)
    assert counts(app) == before
    assert "bad" not in app.plugins


async def test_what_a_plugin_closes_itself_is_forgotten(app: App) -> None:
    plugin = await app.plugins.load("first", First)
    for _ in range(100):
        plugin.add_handler(on.message(), lambda event: None).close()
    assert len(plugin._handles) == 0


def here(name: str) -> PluginSettings:
    return PluginSettings(f"{__name__}:{name}")


async def test_dependencies_start_first_and_stop_last(app: App) -> None:
    await app.plugins.load_all(
        {"third": here("Third"), "second": here("Second"), "first": here("First")}
    )
    assert EVENTS == ["start first", "start second", "start third"]
    with pytest.raises(PluginError, match="needed by second, third"):
        await app.plugins.unload("first")
    EVENTS.clear()
    await app.plugins.unload_all()
    assert EVENTS == ["stop third", "stop second", "stop first"]


async def test_an_unknown_dependency_names_the_nearest(app: App) -> None:
    with pytest.raises(PluginError, match=r"'needy' depends on 'helpp': .*did you mean 'help'"):
        await app.plugins.load_all({"needy": here("Needy")})


async def test_a_circle_is_shown(app: App) -> None:
    with pytest.raises(PluginError, match=r"circle: (tick -> tock -> tick|tock -> tick -> tock)"):
        await app.plugins.load_all({"tick": here("Tick"), "tock": here("Tock")})
    assert list(app.plugins) == []


async def test_a_config_typo_names_the_nearest_key(app: App) -> None:
    with pytest.raises(ConfigError, match=r"\[plugins.full\] has no key 'limmit'.*'limit'"):
        await app.plugins.load("full", Full, {"limmit": 5})
    with pytest.raises(ConfigError, match=r"\[plugins.full\] limit: Expected `int`, got `str`"):
        await app.plugins.load("full", Full, {"limit": "5"})


@pytest.mark.parametrize(
    ("use", "says"),
    [
        ("ehco", "no plugin 'ehco' is installed; did you mean 'echo'"),
        ("no_such_module:Class", "can't be imported"),
        (f"{__name__}:Missing", "has no 'Missing'"),
        (f"{__name__}:EVENTS", "no subclass of zxmpp.Plugin"),
    ],
)
def test_what_find_says(use: str, says: str) -> None:
    with pytest.raises(PluginError, match=says):
        find(use)


async def test_a_taken_command_names_its_owner(app: App) -> None:
    await app.plugins.load("full", Full)
    with pytest.raises(PluginError, match="command 'hello' belongs to plugin full already"):
        await app.plugins.load("other", Full)
    assert "other" not in app.plugins


async def test_an_unknown_role_is_an_error_at_load(app: App) -> None:
    class Roles(Plugin):
        @command(role="admin")
        def secret(self) -> str:
            return "secret"

    with pytest.raises(PluginError, match=r"role 'admin', .*add it under \[roles\]"):
        await app.plugins.load("roles", Roles)


async def test_a_timer_ticks_and_survives_its_faults(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    ticks = 0
    enough = asyncio.Event()

    class Ticker(Plugin):
        @every(0.001)
        def tick(self) -> None:
            nonlocal ticks
            ticks += 1
            if ticks >= 3:
                enough.set()
            raise SystemExit(1)

    await app.plugins.load("ticker", Ticker)
    async with asyncio.timeout(5):
        await enough.wait()
    assert app.pipeline.statistics().owners["ticker"]["timer-failed"] >= 2
    assert "timer" in caplog.text


async def test_a_task_that_fails_is_logged(app: App, caplog: pytest.LogCaptureFixture) -> None:
    plugin = await app.plugins.load("first", First)

    async def fails() -> None:
        raise ValueError("task trouble")

    task = plugin.spawn(fails())
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert "task trouble" in caplog.text
    assert app.pipeline.statistics().owners["first"]["task-failed"] == 1


def test_decorators_say_what_is_wrong() -> None:
    with pytest.raises(TypeError, match="slixmpp matcher"):
        on.stanza("message/body")
    with pytest.raises(TypeError, match="name of a socket"):
        on.frames("")
    with pytest.raises(ValueError, match="above 0"):
        every(0)


async def test_a_subclass_can_replace_a_handler(app: App) -> None:
    class Quiet(Full):
        def message(self, event: Any) -> None: ...  # not marked: no handler any more

    before = counts(app)["routes"]
    await app.plugins.load("quiet", Quiet)
    assert counts(app)["routes"] == before + 4


async def test_a_stop_that_hangs_does_not_hold_up_the_end(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hangs(Plugin):
        async def stop(self) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr("zxmpp.lifetime.STOP_SECONDS", 0.01)
    await app.plugins.load("hangs", Hangs)
    async with asyncio.timeout(5):
        await app.plugins.unload_all()
    assert not list(app.plugins)
    app.pipeline.owner("hangs")  # the name is free again


async def test_a_plugin_unloaded_meanwhile_does_not_stop_the_end(app: App) -> None:
    class First(Plugin):
        pass

    class Second(Plugin):
        async def stop(self) -> None:
            await self.app.plugins.unload("first")

    await app.plugins.load("first", First)
    await app.plugins.load("second", Second)
    await app.plugins.unload_all()
    assert not list(app.plugins)


async def test_nothing_is_registered_after_unloading(app: App) -> None:
    plugin = await app.plugins.load("first", First)
    await app.plugins.unload("first")
    before = counts(app)
    with pytest.raises(PluginError, match="was unloaded"):
        plugin.add_handler(on.message(), lambda event: None)
    assert counts(app) == before


async def test_a_timer_survives_a_cancellation_from_within(app: App) -> None:
    enough = asyncio.Event()
    ticks: list[int] = []

    class Awaits(Plugin):
        @every(0.001)
        async def tick(self) -> None:
            ticks.append(1)
            if len(ticks) > 2:
                enough.set()
            raise asyncio.CancelledError

    await app.plugins.load("awaits", Awaits)
    async with asyncio.timeout(5):
        await enough.wait()


async def test_what_is_said_has_an_id_and_goes_back_on_its_stream() -> None:
    class Talker(Plugin):
        async def start(self) -> None:
            self.ids: list[str] = []
            self.reactions: list[Reaction] = []

        @on.message
        async def talk(self, event: StanzaEvent) -> None:
            self.ids.append(self.say(event.from_, "yes", reply_to=event))
            self.ids.append(self.react(event, "👍"))
            with pytest.raises(StreamError, match="can't send a file"):
                await self.send_file(event.from_, b"", "a.txt", stream=event.source.name)

        @on.reaction
        def reacted(self, event: StanzaEvent) -> None:
            self.reactions.append(Reaction.of(event))

    streams = "\n".join(
        f"[streams.{name}]\njid = '{name}@localhost'\nupload_service = 'localhost'"
        for name in ("one", "two")
    )
    async with TestBot(streams, plugins=[Talker]) as bot:
        sent = await bot.hears(
            "<message from='alice@localhost/x' to='two@localhost/test' type='chat' id='m'>"
            "<body>hi</body></message>",
            stream="two",
        )
        talker = bot.app.plugins.get("talker")
        assert [stanza.get("id") for stanza in sent] == talker.ids
        assert body_of(sent[0]) == "> hi\nyes"
        await bot.hears(
            "<message from='alice@localhost/x' to='two@localhost/test' type='chat' id='n'>"
            "<reactions xmlns='urn:xmpp:reactions:0' id='m'><reaction>🎉</reaction></reactions>"
            "</message>",
            stream="two",
        )
        assert talker.reactions == [Reaction("m", ("🎉",))]
