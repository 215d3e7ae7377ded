"""``zxmpp shell``: a chat without a server."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Zxmpp, command, environment

BOT = """\
[streams.bot]
kind = "component"
jid = "bot.localhost"
nick = "bot"

[plugins.echo]
[plugins.help]
[plugins.tell]
use = "tell:Tell"
"""

TELL = '''
from zxmpp import Plugin, command

class Tell(Plugin):
    """Tell people things."""

    @command
    def tell(self, who: str, *, what: str) -> str:
        """Tell somebody."""
        self.say(who, what)
        return "told"

    @command
    def bell(self) -> str:
        """Ring."""
        return "ding \\x9b2J \\u202edong"
'''


@pytest.fixture
def bot(tmp_path: Path) -> Path:
    (tmp_path / "bot.toml").write_text(BOT)
    (tmp_path / "tell.py").write_text(TELL)
    return tmp_path


def test_piped_lines_get_their_replies_in_order(zxmpp: Zxmpp, bot: Path) -> None:
    lines = [
        "!echo one", "!tell bob@localhost two", "/room ops@rooms.localhost", "!echo three",
        "/room", "/me bob@localhost", "!echo four", "/me @", "/what", "!bell", "//echo",
        "!echo last",
    ]  # fmt: skip
    done = zxmpp("shell", stdin="\n".join(lines), secret="")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = done.stdout.splitlines()[1:]
    assert said == [
        "bot: one",
        "bot to bob@localhost: two",
        "bot: told",
        "bot in ops@rooms.localhost: three",
        "bot: four",
        "'@' is not a JID such as alice@localhost",
        "/what is nothing here; /help says what is, //text says a text",
        "bot: ding 2J \ufffddong",
        "bot: last",
    ]


def test_quit_ends_before_the_rest(zxmpp: Zxmpp, bot: Path) -> None:
    done = zxmpp("shell", stdin="/help\n/quit\n!echo more\n", secret="")
    assert done.returncode == 0
    assert "/room JID" in done.stdout
    assert "more" not in done.stdout.splitlines()[-1]


def test_a_file_as_stdin(bot: Path) -> None:
    (bot / "lines").write_text("!echo from a file\n")
    with (bot / "lines").open() as lines:
        done = subprocess.run(
            command("shell"), cwd=bot, stdin=lines, env=environment(""), capture_output=True,
            text=True, timeout=30, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("bot: from a file\n")


def test_on_a_terminal_it_prompts_and_ctrl_d_ends_it(bot: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("shell"), cwd=bot, stdin=theirs, stdout=theirs, env=environment(""),
        stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(theirs)
    try:
        shown = b""
        os.write(ours, b"!echo hello\n")
        while b"bot: hello" not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, b"\x04")
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, b"")
        assert b"> " in shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)
