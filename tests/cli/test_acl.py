"""``zxmpp acl explain``: yes or no, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import SECRET, Zxmpp

BOT = """\
[roles]
admin = ["alice@localhost", "example.net", {room = "ops@rooms.localhost", affiliation = "owner"}]
ops = [{room = "ops@rooms.localhost", occupant_id = "x1"}, "@broker"]

[broker]
bind = "tcp://127.0.0.1:*"

[plugins.mine]
use = "mine:Mine"

[plugins.workers.commands.deploy]
role = "ops"
"""

MINE = """
from zxmpp import Plugin, command

class Mine(Plugin):
    dependencies = ("help",)

    @command(role="admin")
    def wipe(self) -> None: ...

class Broken(Plugin):
    @classmethod
    def declared(cls, config):
        raise RuntimeError("oops")
"""

IN_ROOM = ("--room", "ops@rooms.localhost")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bot.toml").write_text(BOT)
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("alice@localhost", "wipe"), "yes: [roles] admin has alice@localhost"),
        (("Alice@localhost/phone", "!wipe"), "yes: [roles] admin has alice@localhost"),
        (("m@example.net", "wipe"), "yes: [roles] admin has example.net"),
        (("m@example.net.evil.net", "wipe"), "no: no entry of [roles] admin matches m@example.net."),
        (("ops@rooms.localhost/alice", "wipe", *IN_ROOM, "--affiliation", "owner"),
         "yes: [roles] admin has {room = ops@rooms.localhost, affiliation = owner}"),
        (("ops@rooms.localhost/alice", "wipe", *IN_ROOM),
         ("no: no entry of [roles] admin matches ops@rooms.localhost/alice in ops@rooms.localhost "
         "(neither affiliation nor occupant id)")),
        (("bob@localhost", "deploy", *IN_ROOM, "--occupant-id", "x1"), "yes: [roles] ops has {room"),
        (("bob@localhost", "deploy", "--room", "x@rooms.localhost", "--occupant-id", "x1"), "no: "),
        (("bob@localhost", "help"), "yes: help is for everybody: it names no role"),
        (("bob@localhost", "cancel"), "yes: cancel is for everybody"),
        (("@local", "deploy"), "yes: @local holds every role"),
        (("@broker", "deploy"), "yes: [roles] ops has @broker"),
        (("@broker", "wipe"), "no: "),
    ],
)  # fmt: skip
def test_explain(zxmpp: Zxmpp, folder: Path, args: tuple[str, ...], says: str) -> None:
    # No secret: nothing is started.
    done = zxmpp("acl", "explain", *args, secret="")
    assert done.stdout.startswith(says), done.stderr
    assert done.stdout.count("\n") == 1
    assert (done.returncode, done.stderr) == (0 if says.startswith("yes") else 1, "")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("alice@localhost", "wpie"), "no command 'wpie'; did you mean 'wipe'?"),
        (("a b@x", "wipe"), "'a b@x' is not a JID"),
        (("", "wipe"), "'' is not a JID"),
        (("alice@localhost", "wipe", "--room", "rooms.localhost"), "--room is a bare JID"),
        (("alice@localhost", "wipe", *IN_ROOM, "--affiliation", "boss"), "--affiliation is of owner"),
        (("alice@localhost", "wipe", "--affiliation", "owner"), "name it with --room"),
        (("alice@localhost", "wipe", "--config", "none.toml"), "can't be read"),
    ],
)  # fmt: skip
def test_wrong_arguments(zxmpp: Zxmpp, folder: Path, args: tuple[str, ...], says: str) -> None:
    done = zxmpp("acl", "explain", *args)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stdout == ""


def test_a_wrong_configuration_is_told_whole(zxmpp: Zxmpp, folder: Path) -> None:
    text = BOT.replace('"ops"', '"opps"') + '[plugins.broken]\nuse = "mine:Broken"\n'
    (folder / "bot.toml").write_text(text)
    done = zxmpp("acl", "explain", "alice@localhost", "wipe")
    assert done.returncode == 2
    assert "bot.toml:11: [plugins.workers] command 'deploy' wants the role 'opps'" in done.stderr
    assert "bot.toml:13: [plugins.broken] Broken.declared raises RuntimeError" in done.stderr
    assert SECRET not in done.stderr
