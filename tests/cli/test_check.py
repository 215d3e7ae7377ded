"""``zxmpp check`` and ``zxmpp plugins``: what there is, and all that is wrong with it."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import SECRET, Zxmpp

GOOD = """\
[roles]
admin = ["alice@localhost"]

[streams.bot]
kind = "component"
jid = "bot.localhost"

[sockets.alerts]
type = "PULL"
bind = "tcp://127.0.0.1:*"

[plugins.mine]
use = "mine:Mine"
limit = 3
"""

MINE = '''
from msgspec import Struct
from zxmpp import Plugin, command

class Config(Struct, forbid_unknown_fields=True):
    limit: int = 5
    names: list[str] = []

class Mine(Plugin):
    """Do what is mine."""

    Config = Config
    dependencies = ("help",)

    @command(role="admin")
    def dig(self) -> str:
        """Dig."""
        return f"dug {self.config.limit}"

class First(Plugin):
    dependencies = ("second", "xep_9999")

class Second(Plugin):
    dependencies = ("first",)

class Lost(Plugin):
    dependencies = ("hepl",)
'''

BAD = """\
[streams.bot]
kind = "component"
jid = "bot.localhost"
pign_interval = 3

[sockets.a]
type = "PULL"
bind = "tcp://127.0.0.1"

[[plugins.relay.routes]]
socket = "a"
to = ["alice@localhost"]

[[plugins.relay.routes]]
socket = "a"
to = ["alice@localhost"]
topc = "x"

[plugins.workers.commands.x]
service = "a"
usge = "<text ...>"

[plugins.ehco]

[plugins.mine]
use = "mine:Mine"
limmit = 1

[plugins.first]
use = "mine:First"

[plugins.second]
use = "mine:Second"

[plugins.lost]
use = "mine:Lost"

[plugins.broken]
use = "broken:Broken"

[streams.other]
kind = "component"
jid = "other.localhost"
secret_env = "ZXMPP_NOT_THERE"
"""


def test_a_good_file(zxmpp: Zxmpp, tmp_path: Path) -> None:
    (tmp_path / "bot.toml").write_text(GOOD)
    (tmp_path / "mine.py").write_text(MINE)
    done = zxmpp("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "plugin mine: mine:Mine" in done.stdout
    assert done.stdout.endswith("bot.toml: good\n")


def test_every_problem_at_once_with_its_line(zxmpp: Zxmpp, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(BAD)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("1 / 0")
    done = zxmpp("check", "bad.toml")
    assert done.returncode == 2
    said = dict(
        line.split(": ", 1) for line in done.stderr.splitlines() if line.startswith("bad.toml:")
    )
    expected = {
        4: "[streams.bot] has no key 'pign_interval'; did you mean 'ping_interval'?",
        8: "[sockets.a] bind 'tcp://127.0.0.1' has no port; write tcp://HOST:PORT",
        17: "[plugins.relay] routes[1] has no key 'topc'; did you mean 'topic'?",
        19: "[plugins.workers] asks services, and this bot has no broker; add a table [broker]",
        21: "[plugins.workers] commands.x has no key 'usge'; did you mean 'usage'?",
        23: "[plugins.ehco] no plugin 'ehco' is installed; did you mean 'echo'?",
        25: "[plugins.mine] command 'dig' wants the role 'admin'",
        27: "[plugins.mine] has no key 'limmit'; did you mean 'limit'?",
        36: "[plugins.lost] plugin 'lost' depends on 'hepl': no plugin 'hepl' is installed; did "
            "you mean 'help'?",
        39: "[plugins.broken] plugin 'broken:Broken': its module can't be imported: "
            f"{tmp_path / 'broken.py'}:1: ZeroDivisionError",
        44: "[streams.other] no secret for other.localhost: the environment variable "
            "ZXMPP_NOT_THERE is not set",
    }  # fmt: skip
    for line, text in expected.items():
        assert said.get(f"bad.toml:{line}", "").startswith(text), (line, done.stderr)
    assert "bad.toml:29: [plugins.first] depends on 'xep_9999'" in done.stderr
    assert "depend on each other in a circle: first -> second -> first" in done.stderr or (
        "depend on each other in a circle: second -> first -> second" in done.stderr
    )
    assert done.stderr.endswith("zxmpp: 13 problems\n")
    assert SECRET not in done.stderr


def test_a_file_that_is_not_there(zxmpp: Zxmpp) -> None:
    done = zxmpp("check", "none.toml")
    assert done.returncode == 2
    assert done.stderr.startswith("zxmpp: none.toml: the configuration can't be read")


def test_plugins_names_all_and_hides_none_for_a_broken_one(zxmpp: Zxmpp, tmp_path: Path) -> None:
    (tmp_path / "bot.toml").write_text(GOOD + '\n[plugins.broken]\nuse = "broken:Broken"\n')
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("1 / 0")
    # No secret: none is needed to look at plugins.
    done = zxmpp("plugins", "bot.toml", secret="")
    assert done.returncode == 0, done.stderr
    cells = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in done.stdout.splitlines()
        if line.startswith("│")
    ]
    by_name = {row[0]: row for row in cells if row[0]}
    assert {"echo", "help", "relay", "workers", "mine", "broken"} <= set(by_name)
    assert by_name["echo"][2].startswith("zxmpp ")
    mine = by_name["mine"]
    assert mine == ["mine", "Do what is mine.", "mine.py", "dig (admin)", "limit = 5"]
    assert ["", "", "", "", "names = []"] in cells
    assert "ZeroDivisionError" in done.stdout
