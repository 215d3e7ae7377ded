"""``zxmpp new``: what is made works as it is; what can't be made is said, and nothing is touched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Zxmpp
from zxmpp.cli.new import TEMPLATES, make
from zxmpp.config import load
from zxmpp.errors import ZxmppError

KINDS = {
    "bot": ["bot", "client"],
    "bot --component": ["bot", "component"],
    "plugin": ["plugin"],
    "worker": ["worker"],
}


def files(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def python(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *args], cwd=cwd, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_its_tests_pass_as_it_is(zxmpp: Zxmpp, tmp_path: Path, kind: str) -> None:
    what, *options = kind.split()
    done = zxmpp("new", what, "tea-time", *options)
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "tea-time"
    run = python("pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
    assert run.returncode == 0, run.stdout + run.stderr
    lint = python("ruff", "check", "--isolated", "--no-cache", "--select", "E4,E7,E9,F,I,UP,B", ".",
                  cwd=folder)  # fmt: skip
    assert lint.returncode == 0, lint.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_what_it_made_and_what_to_type(zxmpp: Zxmpp, tmp_path: Path, kind: str) -> None:
    what, *options = kind.split()
    made, after = zxmpp("new", what, "tea-time", *options).stdout.split("Type next:\n")
    listed = {line.strip() for line in made.splitlines()[1:]}
    assert listed == set(files(tmp_path / "tea-time"))
    commands = [line.strip() for line in after.splitlines() if line.startswith("  ")]
    assert commands[0] == "cd tea-time"
    assert len(commands) == 3
    # The name that the templates have is nowhere left.
    for name, text in files(tmp_path / "tea-time").items():
        for word in ("my-name", "my_name", "MyName"):
            assert word not in name + text, name


def test_a_bot_talks_at_once_and_lacks_only_its_secret(zxmpp: Zxmpp, tmp_path: Path) -> None:
    zxmpp("new", "bot", "tea-time")
    done = zxmpp("shell", "tea-time/bot.toml", stdin="!hello Ann\n", secret="")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("Hello, Ann!\n")
    done = zxmpp("check", "tea-time/bot.toml", secret="")
    assert done.returncode == 2
    assert "no secret for tea-time@example.org" in done.stderr
    assert "ZXMPP_BOT_SECRET is not set or empty. Put the password there" in done.stderr
    assert done.stderr.endswith("zxmpp: 1 problem\n")
    done = zxmpp("check", "tea-time/bot.toml", secret="known")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("kind", ["client", "component"])
def test_what_the_bot_s_configuration_has_as_comments_is_right(kind: str, tmp_path: Path) -> None:
    bot = tmp_path / "bot.toml"
    lines = (TEMPLATES / kind / "bot.toml").read_text().splitlines()
    # Comments that are no prose: tables, and keys with values.
    lines = [
        line[2:] if line.startswith("# [") or (line[:2] == "# " and " = " in line) else line
        for line in lines
    ]
    lines = [line for line in lines if not line.startswith("credential of")]
    bot.write_text("\n".join(lines))
    settings = load(bot)
    assert settings.roles == {"admin": ["you@example.org"]}
    assert set(settings.sockets) == {"alerts"}
    assert settings.broker is not None
    assert settings.streams["bot"].rooms == ["ops@rooms.example.org"]
    assert settings.plugins["my-name"].table["tell"] == "ops@rooms.example.org"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../x", "letters, digits and single hyphens"),
        ("My-Bot", "letters, digits and single hyphens"),
        ("bot-", "letters, digits and single hyphens"),
        ("x" * 41, "at most 40"),
        ("bot\n", "letters, digits and single hyphens"),
        ("json", "choose another, as my-json"),
        ("class", "choose another, as my-class"),
        ("pytest", "choose another, as my-pytest"),
        ("test-bot", "choose another, as my-test-bot"),
        ("help", "a plugin 'help' is installed already"),
    ],
)
def test_a_name_that_can_t_be(zxmpp: Zxmpp, tmp_path: Path, name: str, said: str) -> None:
    done = zxmpp("new", "bot", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["folder", "file", "dangling link"])
def test_nothing_is_overwritten(zxmpp: Zxmpp, tmp_path: Path, what: str) -> None:
    there = tmp_path / "tea-time"
    if what == "folder":
        there.mkdir()
    elif what == "file":
        there.write_text("mine")
    else:
        there.symlink_to("nowhere")
    done = zxmpp("new", "bot", "tea-time")
    assert done.returncode == 2
    assert "tea-time is there already, and nothing is overwritten" in done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["tea-time"]
    assert what != "file" or there.read_text() == "mine"


def test_what_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = Path.write_text, []

    def fail_late(path: Path, *args: str) -> int:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(path)
        return write(path, *args)

    monkeypatch.setattr(Path, "write_text", fail_late)
    with pytest.raises(ZxmppError, match=r"tea-time can't be made in .*: No space left on device"):
        make("tea-time", "bot", "client", into=tmp_path)
    assert list(tmp_path.iterdir()) == []
