"""The exec plugin: only what was configured, by whom it was meant for, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from zxmpp import ConfigError, PluginError, UserError
from zxmpp.testing.bot import TestBot, body_of
from zxmpp.testing.transport import feed
from zxmpp_plugins.exec import CommandSettings, arguments
from zxmpp_plugins.program import plain

from .conftest import counts, until

ROLES = '[roles]\nops = ["alice@localhost"]\n[plugins.echo]\n[plugins.exec]\n'


def config(*run: str, more: str = "", top: str = "") -> str:
    return (
        f"{ROLES}{top}\n[plugins.exec.commands.it]\nrole = 'ops'\n"
        f"run = {json.dumps(['/bin/sh', '-c', *run] if len(run) == 1 else list(run))}\n{more}"
    )


def fenced(text: str) -> str:
    return f"```\n{text}\n```"


async def says(bot: TestBot, text: str = "!it") -> str:
    return await bot.says(text, sender="alice@localhost/desk")


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# -- what is run -------------------------------------------------------------------------------


TWO = 'usage = "<first> [second]"'
ARGV = ("/usr/bin/printf", "%s|", "{first}", "{second}")


@pytest.mark.parametrize(
    ("typed", "output"),
    [
        ("a b", "a|b|"),
        ("a", "a|"),
        ("'a b' c", "a b|c|"),
        ('"a; touch /tmp/x" "$(id)"', "a; touch /tmp/x|$(id)|"),
        ("`id` $HOME", "`id`|$HOME|"),
        ("'a|b>c&d' '*'", "a|b>c&d|*|"),
        ("'' b", "|b|"),
        ("{second} b", "{second}|b|"),
        ("h\u00e9 \u4f60", "h\u00e9|\u4f60|"),
    ],
)
async def test_an_argument_is_one_whatever_is_in_it(typed: str, output: str) -> None:
    async with TestBot(config(*ARGV, more=TWO)) as bot:
        assert await says(bot, f"!it {typed}") == fenced(output)


@pytest.mark.parametrize("typed", ["-v", "--version x", "a -rf", "'-'"])
async def test_an_argument_is_no_option_unless_it_may_be(typed: str) -> None:
    async with TestBot(config(*ARGV, more=TWO)) as bot:
        assert "it must not begin with -" in await says(bot, f"!it {typed}")
        assert "run" not in counts(bot, "exec")
    async with TestBot(
        config("/bin/echo", "x", "{first}", more='usage = "<first>"\ndashes = true')
    ) as bot:
        assert await says(bot, "!it -n") == fenced("x -n")


@pytest.mark.parametrize("value", ["a\0b", "\x1b[2J", "a\x07", "\ud800", "\u202eevil", "x" * 4097])
def test_arguments_have_no_control_characters(value: str) -> None:
    settings = CommandSettings(["/bin/echo", "{word}"], "ops", usage="<word>")
    with pytest.raises(UserError, match=r"word: it has (control|more than)"):
        arguments(settings, {"word": value})


def test_values_of_types_are_words() -> None:
    settings = CommandSettings(
        ["/bin/x", "{n}", "{on}", "{t}"], "ops", usage="<n:int> <on:bool> [t:time]", dashes=True
    )
    assert arguments(settings, {"n": -3, "on": True, "t": None}) == ["/bin/x", "-3", "true"]


async def test_a_type_is_checked_before_anything_runs() -> None:
    async with TestBot(config("/bin/echo", "{n}", more='usage = "<n:int>"')) as bot:
        assert (await says(bot, "!it x")).startswith("n: 'x' is not a whole number. Usage: !it <n>")
        assert await says(bot, "!it 7") == fenced("7")


async def test_the_environment_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZXMPP_BOT_SECRET", "hush")
    more = 'cwd = "/usr"\nenv = { LANG = "de_DE.UTF-8", NAME = "x y" }'
    async with TestBot(config("/usr/bin/env", "-u", "_", "/usr/bin/env", more=more)) as bot:
        assert sorted((await says(bot)).splitlines()[1:-1]) == [
            "LANG=de_DE.UTF-8", "NAME=x y", "PATH=/usr/local/bin:/usr/bin:/bin",
        ]  # fmt: skip
    async with TestBot(config("pwd; cat; echo $0", more='cwd = "/usr"')) as bot:
        # There is no input to wait for.
        assert await says(bot) == fenced("/usr\n/bin/sh")


# -- who may -----------------------------------------------------------------------------------


async def test_for_others_it_does_not_exist() -> None:
    async with TestBot(config("/bin/echo", "x")) as bot:
        for sender in (
            "mallory@localhost/alice",
            "alice@localhost.evil.net/x",
            "alice@evil/localhost",
        ):
            assert await bot.says("!it", sender=sender) == "There is no command !it."
        assert await bot.says("!it", sender="alice@evil.net/x", room="r@rooms.localhost",
                              hidden=True) == ""  # fmt: skip
        assert counts(bot, "exec") == {}


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("run = ['/bin/ls']", "role"),
        ("run = ['/bin/ls']\nrole = ''", "nothing is run for everybody"),
        ("role = 'ops'", "run"),
        ("run = []\nrole = 'ops'", "absolute path"),
        ("run = ['ls']\nrole = 'ops'", "absolute path"),
        ("run = 'ls -l'\nrole = 'ops'", "run"),
        ('run = ["/bin/ls", "a\\u0000b"]\nrole = "ops"', "NUL"),
        ("run = ['/bin/ls', '--x={a}']\nusage = '<a>'\nrole = 'ops'", "a whole argument"),
        ("run = ['/bin/{a}', '{a}']\nusage = '<a>'\nrole = 'ops'", "a whole argument"),
        ("run = ['/bin/ls']\nusage = '<a>'\nrole = 'ops'", "must name the same"),
        ("run = ['/bin/ls', '{a}']\nrole = 'ops'", "must name the same"),
        ("run = ['/bin/ls', '{a}']\nusage = 'a'\nrole = 'ops'", "is not like <language>"),
        ("run = ['/bin/ls']\nrole = 'ops'\ntimeout = 0", "timeout must be above 0"),
        ("run = ['/bin/ls']\nrole = 'ops'\nshell = true", "shell"),
    ],
)
async def test_a_wrong_table(table: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        async with TestBot(f"{ROLES}[plugins.exec.commands.it]\n{table}"):
            pass


async def test_a_role_that_is_not_there() -> None:
    with pytest.raises(
        PluginError, match="wants the role 'root', which the configuration does not"
    ):
        async with TestBot("[plugins.exec.commands.it]\nrun = ['/bin/ls']\nrole = 'root'"):
            pass


# -- how it ends -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("echo out; echo err >&2", fenced("out\nerr")),
        ("true", "it ended without output."),
        ("echo; echo", "it ended without output."),
        ("echo no; exit 3", fenced("no") + "\nit ended with status 3."),
        ("kill -TERM $$", "it was ended by signal 15."),
        ("printf 'a\\377b\\303'", fenced("a\ufffdb")),
        (
            "printf '\\033[1;31mred\\033[0m\\007 \\033]0;title\\007x\\000\\r\\ny'",
            fenced("red x\ny"),
        ),
        ("printf '```\\n!it\\n'", fenced(" ```\n!it")),
    ],
)
async def test_what_is_told(script: str, answer: str) -> None:
    async with TestBot(config(script)) as bot:
        assert await says(bot) == answer
        assert counts(bot, "exec") == {"run": 1}


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (b"a\x1b[2Jb\x1b[?25lc", "abc"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1b(Bx\x1b=y\x1bcz", "xyz"),
        (b"10 %\r20 %\r\ndone", "10 %\n20 %\ndone"),
        ("a\u202eb\u2066c\x9bd".encode(), "abcd"),
        (b"\n\n a \t b\n\n", " a \t b"),
        (b"half \xc3", "half "),
    ],
)
def test_nothing_obeys_a_terminal(output: bytes, text: str) -> None:
    assert plain(output) == text


@pytest.mark.parametrize("path", ["/bin/not-there", "/etc/passwd"])
async def test_what_can_t_be_run(path: str, caplog: pytest.LogCaptureFixture) -> None:
    async with TestBot(config(path, "x")) as bot:
        assert (await says(bot)).startswith("it can't be run: ")
        assert counts(bot, "exec")["not-started"] == 1
    assert f"{path} can't be run" in caplog.text


async def test_more_output_than_is_shown() -> None:
    async with TestBot(config("yes | head -c 100000", more="max_output_bytes = 100")) as bot:
        lines = "\n".join(["y"] * 50)
        assert await says(bot) == f"{fenced(lines)}\n(99900 more bytes are left out.)"
        assert counts(bot, "exec") == {"run": 1, "output-cut": 1}


async def test_output_without_end_stops_at_the_time_limit_and_keeps_nobody_waiting() -> None:
    async with TestBot(
        config("/usr/bin/yes", "x", more="timeout = 0.5\nmax_output_bytes = 10")
    ) as bot:
        running = asyncio.ensure_future(says(bot))
        await until(lambda: bot.app.pipeline.in_flight)
        for number in range(10):
            _feed(bot, f"!echo {number}")
            await until(lambda said=str(number): said in map(body_of, bot.sent))
        await running
        bodies = list(filter(None, map(body_of, bot.sent)))
        assert bodies[-1].endswith("it took more than 0.5 s and was stopped.")
        assert counts(bot, "exec") == {"timeout": 1, "output-cut": 1}


def _feed(bot: TestBot, text: str) -> None:
    xmpp: Any = bot.app.stream().xmpp
    feed(xmpp, f"<message from='alice@localhost/desk' to='bot@localhost/test' type='chat'>"
               f"<body>{text}</body></message>")  # fmt: skip


# -- nothing is left ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "sleep 1000 & echo $!; wait",
        "trap '' TERM INT HUP; echo $$; while :; do sleep 1000; done",
        "(trap '' HUP; sh -c 'echo $$; sleep 1000' & wait)",
    ],
)
async def test_a_time_limit_kills_all_of_it(script: str) -> None:
    async with TestBot(config(script, more="timeout = 0.3")) as bot:
        _, pid, _, end = (await says(bot)).split("\n")
        assert end == "it took more than 0.3 s and was stopped."
        await until(lambda: gone(int(pid)))


async def test_what_it_leaves_behind_goes_with_it() -> None:
    async with TestBot(config("sleep 1000 & echo $!")) as bot:
        pid = int((await says(bot)).split("\n")[1])
        await until(lambda: gone(pid))


async def test_who_gets_away_with_the_pipe_keeps_nobody_waiting() -> None:
    async with TestBot(config("setsid sleep 1000 & echo $!")) as bot:
        pid = int((await says(bot)).split("\n")[1])
        assert counts(bot, "exec") == {"run": 1}
    if not gone(pid):
        os.kill(pid, signal.SIGKILL)


async def test_unloading_kills_it() -> None:
    more = "edits = 'always'\ntimeout = 1000"
    async with TestBot(config("sleep 1000 & echo $!; wait", more=more)) as bot:
        before = len(bot.sent)
        _feed(bot, "!it")
        pid = int(body_of(await bot.next_message(after=before)).split("\n")[1])
        assert not gone(pid)
        await bot.app.plugins.unload("exec")
        await until(lambda: gone(pid))


async def test_output_is_shown_while_it_comes(tmp_path: Path) -> None:
    script = f"echo one; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo two"
    async with TestBot(config(script, more="edits = 'always'")) as bot:
        before = len(bot.sent)
        _feed(bot, "!it")
        first = await bot.next_message(after=before)
        assert body_of(first) == fenced("one")
        (tmp_path / "go").touch()
        second = await bot.next_message(after=before + 1)
        assert body_of(second) == fenced("one\ntwo")
        assert next(child.get("id") for child in second if child.tag.endswith("}replace")) == (
            first.get("id")
        )


async def test_only_so_many_run_at_the_same_time(tmp_path: Path) -> None:
    script = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo done"
    async with TestBot(config(script, top="max_running = 2")) as bot:
        before = len(bot.sent)
        for _ in range(3):
            _feed(bot, "!it")
        refused = await bot.next_message(after=before)
        assert body_of(refused) == "2 programs run already; try again later."
        assert counts(bot, "exec")["running-full"] == 1
        (tmp_path / "go").touch()
        await bot.settle()
        assert [body_of(s) for s in bot.sent[before:]].count(fenced("done")) == 2
        assert await says(bot) == fenced("done")
