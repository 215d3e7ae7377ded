"""Clients that nobody here wrote drive the bot: profanity and poezio in terminals, @xmpp/client.

Debian's profanity and poezio; tests/live/clients has the program for @xmpp/client, from npm. slixmpp's
own client code drives the bot in test_adhoc.py. profanity shows the notes of a command that is over,
and no table.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.live.terminal import Terminal
from zxmpp import App, Call, Plugin, Table, command
from zxmpp.config import parse
from zxmpp.testing.servers import Prosody

CLIENTS = Path(__file__).parent / "clients"
BOT = "bot@localhost/zxmpp"
DOWN, ENTER, CTRL_Y = b"\x1bOB", b"\r", b"\x19"
#: poezio does not run as root.
NOBODY = 65534


class Shop(Plugin):
    """What clients call."""

    @command
    def greet(self, name: str, size: Literal["small", "large"] = "small", cups: int = 2) -> str:
        """Greet somebody.

        name: Whom
        """
        return f"{cups} {size} for {name}"

    @command
    async def order(self, call: Call) -> str:
        """Ask, and ask again."""
        kind = await call.choose("Which tea?", ["green", "black"])
        cups = await call.ask("How many cups?", int)
        return f"{cups} of {kind}"

    @command
    def stock(self) -> Table:
        """What there is."""
        return Table(["kind", "left"], [["green", 3], ["black", 5]])

    @command(role="admin")
    def secret(self) -> str:
        """For admins."""
        return "42"


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/games:/usr/bin")
    if found is None:
        pytest.fail(f"{name} is not installed. Remedy: apt-get install {name}", pytrace=False)
    return found


@pytest.fixture(scope="module")
def server() -> Iterator[Prosody]:
    accounts = {"alice@localhost": "secret", "bot@localhost": "secret"}
    with Prosody(accounts, tls=True) as running:
        yield running


@pytest.fixture
async def bot(server: Prosody, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    monkeypatch.setenv("ZXMPP_BOT_SECRET", "secret")
    settings = parse(
        f"[roles]\nadmin = []\n[streams.bot]\nkind = 'client'\njid = '{BOT}'\n"
        f"host = '{server.address}'\nport = {server.c2s_port}\ntls = 'none'\n[plugins.echo]"
    )
    async with App(settings) as app:
        await app.plugins.load_classes([Shop])
        await app.online()
        yield app


# -- profanity ----------------------------------------------------------------------------------


@pytest.fixture
async def profanity(bot: App, server: Prosody, tmp_path: Path) -> AsyncIterator[Terminal]:
    accounts = tmp_path / ".local" / "share" / "profanity" / "accounts"
    accounts.parent.mkdir(parents=True)
    (tmp_path / ".config" / "profanity").mkdir(parents=True)
    accounts.write_text(
        f"[alice]\nenabled=true\njid=alice@localhost\nresource=profanity\n"
        f"server={server.address}\nport={server.c2s_port}\npassword=secret\ntls.policy=disable\n"
    )
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    async with Terminal([program("profanity"), "-a", "alice"], env) as terminal:
        await terminal.see("logged in successfully")
        yield terminal


class TestProfanity:
    async def test_chats(self, profanity: Terminal) -> None:
        await profanity.enter("/msg bot@localhost !greet Bob large")
        await profanity.see("2 large for Bob")

    async def test_lists_ad_hoc_commands(self, profanity: Terminal) -> None:
        await profanity.enter(f"/msg {BOT}")
        await profanity.enter("/cmd list")
        seen = await profanity.see("greet", "order", "stock")
        assert "secret" not in seen

    async def test_fills_in_a_form(self, profanity: Terminal) -> None:
        await profanity.enter(f"/msg {BOT}")
        await profanity.enter("/cmd exec greet")
        await profanity.see("Whom", "small")
        await profanity.enter("/field1 Bob")
        await profanity.enter("/form submit")
        await profanity.enter("/win 2")
        await profanity.see("2 small for Bob")


# -- poezio -------------------------------------------------------------------------------------


@pytest.fixture
def home(server: Prosody) -> Iterator[Path]:
    """A folder of poezio's own; not below pytest's, which is root's alone."""
    folder = Path(tempfile.mkdtemp())
    shutil.copy(server.ca_file or "", folder / "ca.pem")
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        os.chown(folder / "ca.pem", NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def poezio(bot: App, server: Prosody, home: Path) -> AsyncIterator[Terminal]:
    (home / "poezio.cfg").write_text(
        f"[Poezio]\njid=alice@localhost/poezio\npassword=secret\ncustom_host={server.address}\n"
        f"custom_port={server.c2s_port}\nca_cert_path={home}/ca.pem\nrooms=\n"
        f"data_dir={home}\nlog_dir={home}\nauto_reconnect=false\nuse_remote_bookmarks=false\n"
    )
    env = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "PATH": os.environ["PATH"]}
    command = [program("poezio"), "-f", str(home / "poezio.cfg")]
    user = NOBODY if os.getuid() == 0 else None
    async with Terminal(command, env, user=user) as terminal:
        await terminal.see("Your JID is")
        yield terminal


async def says(poezio: Terminal, line: str) -> None:
    """Give a command in the roster's tab, which has no line to type in until one is begun."""
    for _ in range(5):
        # Until the tab is ready a key is lost.
        poezio.press(b"/")
        with contextlib.suppress(AssertionError):
            await poezio.see(gone="Enter commands with", timeout=2)
            break
    await poezio.enter(line)


class TestPoezio:
    async def test_fills_in_a_form(self, poezio: Terminal) -> None:
        await says(poezio, f"ad-hoc {BOT}")
        seen = await poezio.see("greet", "order", "stock")
        assert "secret" not in seen
        # The first one is marked.
        await poezio.press_and_see(DOWN)
        poezio.press(ENTER)
        await poezio.see("Greet somebody.", "Whom", "small")
        poezio.press(b"Bob")
        await poezio.see("Bob")
        poezio.press(CTRL_Y)
        await poezio.see("2 small for Bob")


# -- @xmpp/client -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clients")
    for name in ("package.json", "adhoc.mjs"):
        shutil.copy(CLIENTS / name, folder)
    npm = [program("npm"), "install", "--silent", "--no-audit", "--no-fund"]
    subprocess.run(npm, cwd=folder, check=True, timeout=120)
    return folder


class TestXmppJs:
    async def drive(self, folder: Path, server: Prosody, node: str, *stages: Any) -> Any:
        ask = {
            "service": f"xmpp://{server.address}:{server.c2s_port}", "jid": "alice@localhost",
            "password": "secret", "to": BOT, "node": node, "stages": stages,
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            program("node"), "adhoc.mjs", json.dumps(ask), cwd=folder,
            env={**os.environ, "NODE_TLS_REJECT_UNAUTHORIZED": "0", "NODE_NO_WARNINGS": "1"},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(30):
            out, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return json.loads(out)

    async def test_a_form(self, bot: App, server: Prosody, node: Path) -> None:
        seen = await self.drive(node, server, "greet", {"name": "Bob", "cups": 3})
        assert seen["commands"] == ["echo", "greet", "order", "stock"]
        [form] = seen["forms"]
        assert form["name"] == {"type": "text-single", "label": "Whom", "values": []}
        assert form["size"]["type"] == "list-single"
        assert form["size"]["values"] == ["small"]
        assert seen["status"] == "completed"
        assert seen["notes"] == [["info", "3 small for Bob"]]

    async def test_several_stages(self, bot: App, server: Prosody, node: Path) -> None:
        seen = await self.drive(node, server, "order", {"answer": "black"}, {"answer": "2"})
        assert seen["notes"] == [["info", "2 of black"]]

    async def test_a_table(self, bot: App, server: Prosody, node: Path) -> None:
        seen = await self.drive(node, server, "stock")
        assert seen["rows"] == [["green", "3"], ["black", "5"]]
