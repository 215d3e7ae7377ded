"""The admin plugin: the bot as it is, changed while it runs, by one role alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from zxmpp import ConfigError, Plugin, PluginError, command
from zxmpp.streams.room import Occupant
from zxmpp.testing.bot import TestBot
from zxmpp_plugins import admin

from .conftest import COMPONENT, ROOM

CONFIG = f"""
{COMPONENT}
[sockets.alerts]
type = "PULL"
bind = "tcp://127.0.0.1:*"
[roles]
admin = ["alice@localhost"]
[plugins.admin]
[plugins.echo]
[plugins.help]
"""
ALICE = "alice@localhost/desk"
COMMANDS = ("status", "plugins", "sockets", "rooms", "who ops@rooms.localhost", "load echo",
            "unload echo", "reload echo", "join x@rooms.localhost", "leave ops@rooms.localhost",
            "loglevel debug")  # fmt: skip


async def says(bot: TestBot, text: str, room: str = "") -> str:
    return (
        (await bot.says(text, sender=ALICE, room=room)).removeprefix("```\n").removesuffix("\n```")
    )


def rows(table: str) -> dict[str, str]:
    """What stands behind the first word of each line."""
    return {line.split()[0]: " ".join(line.split()[1:]) for line in table.splitlines()}


class Broken(Plugin):
    @command
    def breaks(self) -> None:
        raise ValueError("broken")


class Needy(Plugin):
    dependencies = ("echo",)


# -- who may -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", COMMANDS)
async def test_for_others_there_is_nothing(text: str) -> None:
    async with TestBot(CONFIG) as bot:
        name = text.split()[0]
        for sender in (
            "mallory@localhost/alice",
            "alice@localhost.evil.net/desk",
            "alice@evil.net/x",
        ):
            assert (await bot.says(f"!{text}", sender=sender)).startswith(
                f"There is no command !{name}."
            )
        # A room hides who it is, and the nick is an admin's.
        assert await bot.says(f"!{text}", sender="alice@evil.net/x", room=ROOM, hidden=True) == ""
        assert {plugin.instance for plugin in bot.app.plugins} == {"admin", "echo", "help"}


async def test_every_command_is_behind_the_role() -> None:
    async with TestBot(CONFIG) as bot:
        mine = [known for known in bot.app.commands if known.owner.name == "admin"]
        assert {known.name for known in mine} == {text.split()[0] for text in COMMANDS}
        assert {known.role for known in mine} == {"admin"}
        assert admin.Admin.declared(admin.AdminConfig()) == {known.name: "admin" for known in mine}


@pytest.mark.parametrize("roles", ["", "[roles]\nadmins = ['alice@localhost']"])
async def test_without_the_role_it_is_not_loaded(roles: str) -> None:
    with pytest.raises(
        PluginError, match="wants the role 'admin', which the configuration does not"
    ):
        async with TestBot(f"{roles}\n[plugins.admin]"):
            pass


async def test_a_role_has_a_name() -> None:
    with pytest.raises(ConfigError, match="these commands are not for everybody"):
        async with TestBot("[plugins.admin]\nrole = ''"):
            pass


# -- looking -----------------------------------------------------------------------------------


async def test_status() -> None:
    async with TestBot(CONFIG, plugins=[Broken]) as bot:
        await bot.says("!breaks")
        shown = await says(bot, "!status")
        now = rows(shown)
        assert now["stream"] == "bot online"
        assert (now["plugins"], now["sockets"], now["in"], now["up"]) == (
            "4",
            "1",
            "flight 0",
            "0 m",
        )
        assert "counted failed" in shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 m"), (59, "0 m"), (3600, "1 h"), (90_061, "1 d 1 h 1 m"), (86_400 * 400, "400 d")],
)
async def test_how_long_it_is_up(seconds: float, shown: str) -> None:
    async with TestBot(CONFIG) as bot:
        bot.app.plugins.get("admin")._since -= seconds
        assert rows(await says(bot, "!status"))["up"] == shown


async def test_plugins_and_what_they_count() -> None:
    async with TestBot(CONFIG, plugins=[Broken]) as bot:
        await bot.says("!breaks")
        await says(bot, "!unload echo")
        shown = rows(await says(bot, "!plugins"))
        assert shown["help"] == "Tell which commands there are."
        assert shown["broken"] == "failed 1"
        assert shown["echo"] == "(not loaded)"


async def test_sockets() -> None:
    async with TestBot(CONFIG) as bot:
        bound = bot.app.socket("alerts").bound[0]
        assert rows(await says(bot, "!sockets"))["alerts"] == f"PULL open {bound} 0 0 0"
        bot.app.socket("alerts").pause()
        assert rows(await says(bot, "!sockets"))["alerts"].startswith("PULL paused")


async def test_rooms_and_who_is_there() -> None:
    async with TestBot(CONFIG) as bot:
        await bot.says("hi", sender="bob@localhost/x", room=ROOM)
        await bot.says("hi", sender="ghost@localhost/x", room=ROOM, hidden=True)
        assert rows(await says(bot, "!rooms"))[ROOM] == "bot robot joined 3"
        assert await says(bot, f"!who {ROOM}") == (
            "nick   affiliation  address\n"
            "bob    member       bob@localhost\n"
            "ghost  member       (hidden)\n"
            "robot  member       robot@bot.localhost"
        )
        assert await says(bot, "!who nowhere@rooms.localhost") == (
            "The bot is not in nowhere@rooms.localhost; rooms shows where it is."
        )


async def test_a_room_that_reads_along_sees_no_addresses() -> None:
    async with TestBot(CONFIG) as bot:
        assert await says(bot, f"!who {ROOM}", ROOM) == (
            "nick   affiliation\nalice  member\nrobot  member"
        )


async def test_a_large_room_is_cut() -> None:
    async with TestBot(CONFIG) as bot:
        room: Any = bot.app.stream().rooms.get(ROOM)  # type: ignore[attr-defined]
        room.occupants = {f"n{number:04}": Occupant() for number in range(1000)}
        shown = (await says(bot, f"!who {ROOM}")).splitlines()
        assert shown[0] == "800 more are not shown."
        assert len(shown) == 202


# -- changing ----------------------------------------------------------------------------------


async def test_unload_and_load_again() -> None:
    async with TestBot(CONFIG) as bot:
        assert await says(bot, "!unload echo") == "echo is unloaded."
        assert (await says(bot, "!echo hi")).startswith("There is no command !echo.")
        assert await says(bot, "!load echo") == "echo is loaded."
        assert await says(bot, "!echo hi") == "hi"
        assert await says(bot, "!load echo") == "echo is loaded; reload loads it anew."


async def test_it_has_the_settings_of_the_configuration() -> None:
    table = "[plugins.vote]\nmax_options = 2\n"
    async with TestBot(CONFIG + table) as bot:
        await says(bot, "!unload vote")
        await says(bot, "!load vote")
        assert bot.app.plugins.get("vote").config.max_options == 2


@pytest.mark.parametrize(
    "name", ["relay", "os:system", "zxmpp_plugins.relay:Relay", "../x", "x" * 999]
)
async def test_nothing_is_loaded_but_what_the_configuration_has(name: str) -> None:
    async with TestBot(CONFIG) as bot:
        assert f"The configuration has no [plugins.{name}]" in await says(bot, f"!load {name}")
        assert {plugin.instance for plugin in bot.app.plugins} == {"admin", "echo", "help"}


async def test_what_can_t_be_unloaded() -> None:
    async with TestBot(CONFIG, plugins=[Needy]) as bot:
        assert await says(bot, "!unload admin") == (
            "admin can't unload itself: nothing could load it again."
        )
        assert await says(bot, "!unload echo") == (
            "plugin 'echo' is needed by needy; unload 'needy' first"
        )
        assert (await says(bot, "!unload nothing")).startswith("plugin 'nothing' is not loaded")
        assert await says(bot, "!echo hi") == "hi"


@pytest.mark.usefixtures("same_modules")
async def test_reload_tells_what_was_replaced_or_why_not() -> None:
    class Local(Plugin):
        pass

    async with TestBot(CONFIG, plugins=[Local]) as bot:
        assert await says(bot, "!reload help") == "Reloaded: help."
        assert await says(bot, "!echo hi") == "hi"
        assert await says(bot, "!reload admin") == "Reloaded: admin."
        assert (await says(bot, "!reload ecko")).startswith("plugin 'ecko' is not loaded")
        assert (await says(bot, "!reload local")).startswith(
            "plugin 'local' is a class that can't be imported anew"
        )


async def test_join_and_leave() -> None:
    async with TestBot(CONFIG) as bot:
        assert await says(bot, "!join dev@rooms.localhost") == "Joining dev@rooms.localhost."
        assert (
            await says(bot, "!join DEV2@Rooms.localhost/x botty") == "Joining dev2@rooms.localhost."
        )
        shown = rows(await says(bot, "!rooms"))
        assert shown["dev@rooms.localhost"] == "bot robot joined 1"
        assert shown["dev2@rooms.localhost"] == "bot botty joined 1"
        assert await says(bot, "!leave dev@rooms.localhost") == "Left dev@rooms.localhost."
        assert "dev@rooms.localhost" not in rows(await says(bot, "!rooms"))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("!join rooms.localhost", "is not the JID of a room"),
        ("!join @", "is not a JID"),
        ("!join a@rooms.localhost nick nowhere", "no stream 'nowhere'"),
        ("!leave rooms.localhost", "is not the JID of a room"),
        ("!who @", "is not a JID"),
    ],
)
async def test_what_is_no_room(text: str, answer: str) -> None:
    async with TestBot(CONFIG) as bot:
        assert answer in await says(bot, text)


@pytest.fixture
def levels() -> Iterator[None]:
    logs = [logging.getLogger(name) for name in ("zxmpp", "zxmpp.streams", "slixmpp")]
    before = [log.level for log in logs]
    yield
    for log, level in zip(logs, before, strict=True):
        log.setLevel(level)


@pytest.mark.usefixtures("levels")
async def test_loglevel() -> None:
    logging.getLogger("zxmpp.streams")
    async with TestBot(CONFIG) as bot:
        assert await says(bot, "!loglevel debug zxmpp.streams") == (
            "zxmpp.streams logs debug and above."
        )
        assert logging.getLogger("zxmpp.streams").level == logging.DEBUG
        assert await says(bot, "!loglevel error") == "zxmpp logs error and above."
        assert logging.getLogger("zxmpp").level == logging.ERROR


@pytest.mark.parametrize(
    "log", ["root", "asyncio", "zxmppx", "zxmpp.nothing", "zxmpp." + "x" * 500]
)
async def test_logs_that_are_none_are_not_made(log: str) -> None:
    async with TestBot(CONFIG) as bot:
        assert "is no log of zxmpp or slixmpp." in await says(bot, f"!loglevel debug {log}")
        assert log not in logging.root.manager.loggerDict or log == "asyncio"
        assert (await says(bot, "!loglevel loud")).startswith("level: 'loud' is not one of debug,")
