"""SIGHUP: only what changed is touched, and a wrong file changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from zxmpp import App, ConfigError, Plugin, PluginError, ZxmppError, command
from zxmpp.commands.roles import Who
from zxmpp.handlers import Phase
from zxmpp.testing import TestBot


class Base(Plugin):
    @command
    def base(self) -> str:
        return "base"


class User(Plugin):
    dependencies = ("base",)


class Fails(Plugin):
    async def start(self) -> None:
        raise RuntimeError("no database")


BASE, USER, FAILS = (f"{__name__}:{name}" for name in ("Base", "User", "Fails"))

START = f"""
[roles]
admin = ["alice@localhost"]
[sockets.a]
type = "PULL"
bind = "tcp://127.0.0.1:*"
[sockets.b]
type = "PULL"
bind = "tcp://127.0.0.1:*"
[plugins.echo]
[plugins.base]
use = "{BASE}"
[plugins.user]
use = "{USER}"
"""


@pytest.fixture
async def app(tmp_path: Path) -> App:
    path = tmp_path / "bot.toml"
    path.write_text(START)
    app = App(path)
    await app.start()
    yield app
    await app.stop()


def write(app: App, *changes: tuple[str, str]) -> None:
    assert app.path is not None
    text = app.path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    app.path.write_text(text)


async def test_no_change_touches_nothing(app: App) -> None:
    before = [*app.plugins, *app.sockets.values()]
    assert await app.reload() == []
    assert [*app.plugins, *app.sockets.values()] == before


async def test_only_what_changed(app: App) -> None:
    echo, kept = app.plugins.get("echo"), app.socket("a")
    write(
        app,
        ("[plugins.echo]", "[plugins.echo]\n[plugins.help]"),
        ("[sockets.b]", "[sockets.c]"),
        ("alice@", "bob@"),
        ("[roles]", "[pipeline]\nlane_limit = 7\n[roles]"),
    )
    done = await app.reload()
    assert done == [
        "[pipeline] changed: restart to apply it",
        "roles changed",
        "socket b removed",
        "socket c added",
        "plugin help added",
    ]
    assert app.plugins.get("echo") is echo
    assert app.socket("a") is kept
    assert list(app.sockets) == ["@local", "a", "c"]
    assert app.commands.roles.holds(Who("bob@localhost"), "admin")
    assert not app.commands.roles.holds(Who("alice@localhost"), "admin")


async def test_what_depends_on_a_change_is_started_anew(app: App) -> None:
    user = app.plugins.get("user")
    write(app, (f'[plugins.base]\nuse = "{BASE}"', '[plugins.base]\nuse = "echo"'))
    write(app, ("[plugins.echo]\n", ""))
    done = await app.reload()
    assert done == [
        "plugin base changed",
        "plugin echo removed",
        "plugin user started anew: it depends on one that changed",
    ]
    assert app.plugins.get("user") is not user


async def test_a_wrong_file_changes_nothing(app: App) -> None:
    before = [*app.plugins, *app.sockets.values()]
    write(app, ("[plugins.echo]", "[plugins.echo]\nvolume = 11"), ("[sockets.b]", "[sockets.c]"))
    with pytest.raises(ConfigError, match="volume"):
        await app.reload()
    assert [*app.plugins, *app.sockets.values()] == before


async def test_a_plugin_that_fails_gives_way_to_the_old_one(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    write(app, (f'[plugins.base]\nuse = "{BASE}"', f'[plugins.base]\nuse = "{FAILS}"'))
    done = await app.reload()
    assert "the old one is back" in done[-1]
    assert "no database" in caplog.text
    assert isinstance(app.plugins.get("base"), Base)
    assert isinstance(app.plugins.get("user"), User)


async def test_an_app_without_a_file_says_so() -> None:
    async with App() as app:
        with pytest.raises(ConfigError, match="without a configuration file"):
            await app.reload()


async def test_roles_apply_at_once() -> None:
    class Secret(Plugin):
        @command(role="admin")
        def secret(self) -> str:
            return "psst"

    async with TestBot('[roles]\nadmin = ["alice@localhost"]', [Secret]) as bot:
        assert await bot.says("!secret") == "psst"
        bot.app.commands.roles.set({})
        assert "no command" in await bot.says("!secret")


async def test_a_socket_that_cant_be_opened_gives_way_to_the_old_one(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    taken = app.socket("a").bound[0]
    write(app, ('[sockets.b]\ntype = "PULL"\nbind = "tcp://127.0.0.1:*"',
                f'[sockets.b]\ntype = "PULL"\nbind = "{taken}"'))  # fmt: skip
    assert await app.reload() == ["socket b: the new configuration failed, see the log"]
    assert taken in caplog.text
    assert not app.socket("b").socket.closed


# -- plugins' own files -------------------------------------------------------------------------

KETTLE = """
from msgspec import Struct
from zxmpp import Plugin, command

class KettleConfig(Struct, frozen=True, forbid_unknown_fields=True):
    cups: int = 1

class Kettle(Plugin):
    Config = KettleConfig
    dependencies = ()

    async def start(self) -> None:
        pass
"""


Kettle = Callable[[str], object]


@pytest.fixture
def kettle(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kettle]:
    """Write the file of a plugin."""
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "kettle_of_sighup.py"
    path.write_text(KETTLE)
    write(
        app, ("[plugins.echo]", '[plugins.kettle]\nuse = "kettle_of_sighup:Kettle"\n[plugins.echo]')
    )
    yield path.write_text
    sys.modules.pop(path.stem, None)


async def test_a_plugin_whose_file_changed_is_reloaded(app: App, kettle: Kettle) -> None:
    assert await app.reload() == ["plugin kettle added"]
    assert await app.reload() == []
    before = [*app.plugins]
    kettle(KETTLE.replace("cups: int", "cups: int = 1\n    pots: int"))
    assert await app.reload() == ["plugin kettle reloaded: its file changed"]
    assert await app.reload() == []
    assert len(set(before) & {*app.plugins}) == len(before) - 1
    # The table is checked against what the file says now.
    kettle(KETTLE.replace("cups: int", "mugs: int"))
    write(app, ("[plugins.kettle]", "[plugins.kettle]\nmugs = 3"))
    assert await app.reload() == ["plugin kettle changed"]
    assert app.plugins.get("kettle").config.mugs == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("class Kettle(\n", r"kettle_of_sighup\.py:1: SyntaxError"),
        (KETTLE.replace("cups", "mugs"), r"\[plugins.kettle\] has no key 'cups'"),
    ],
)
async def test_a_wrong_file_of_a_plugin_changes_nothing(
    app: App, kettle: Kettle, text: str, says: str
) -> None:
    write(app, ("[plugins.kettle]", "[plugins.kettle]\ncups = 2"))
    await app.reload()
    before, module = [*app.plugins, *app.sockets.values()], sys.modules["kettle_of_sighup"]
    kettle(text)
    write(app, ("[sockets.b]", "[sockets.c]"), ("[plugins.echo]", "[plugins.help]"))
    with pytest.raises(ZxmppError, match=says):
        await app.reload()
    assert [*app.plugins, *app.sockets.values()] == before
    assert sys.modules["kettle_of_sighup"] is module


async def test_a_new_plugin_that_cant_be_imported_is_named(app: App, kettle: Kettle) -> None:
    before = [*app.plugins]
    kettle("class Kettle(")
    with pytest.raises(PluginError, match=r"can't be imported: .*kettle_of_sighup\.py:1: SyntaxE"):
        await app.reload()
    assert [*app.plugins] == before


async def test_a_changed_plugin_that_fails_to_start_was_never_stopped(
    app: App, kettle: Kettle, caplog: pytest.LogCaptureFixture
) -> None:
    await app.reload()
    old, module = app.plugins.get("kettle"), sys.modules["kettle_of_sighup"]
    kettle(KETTLE.replace("pass", "raise OSError('no water')"))
    write(app, ("[plugins.echo]", "[plugins.help]"))
    done = await app.reload()
    assert done == ["plugins: the new configuration failed, see the log; the old one is back"]
    assert "no water" in caplog.text
    assert app.plugins.get("kettle") is old
    assert old._owner.phase is Phase.LIVE
    assert sys.modules["kettle_of_sighup"] is module
    assert {"echo"} == {"echo", "help"} & {plugin.instance for plugin in app.plugins}


class Port(Plugin):
    class Config(Struct, frozen=True, forbid_unknown_fields=True):
        high_water: int = 100

    async def start(self) -> None:
        address = "tcp://127.0.0.1:*"
        self.open_socket("port", type="PULL", bind=address, rcvhwm=self.config.high_water)


async def test_a_socket_that_the_old_version_holds_is_closed_first(app: App) -> None:
    write(app, ("[plugins.echo]", f'[plugins.port]\nuse = "{__name__}:Port"\n[plugins.echo]'))
    await app.reload()
    before = app.socket("port")
    write(app, ("[plugins.port]", "[plugins.port]\nhigh_water = 7"))
    assert await app.reload() == ["plugin port changed"]
    assert before.socket.closed
    assert app.socket("port").socket.settings.options["RCVHWM"] == 7
