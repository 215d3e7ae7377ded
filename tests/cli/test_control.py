"""``zxmpp call --bot``: commands of a running bot from another process, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cli.broker import LIMIT, Ended, cli, finished, on_terminal, started
from tests.cli.conftest import Zxmpp, command, environment

CONFIG = """\
[app]
control = "{control}"
drain_seconds = 0.2

[streams.bot]
kind = "component"
jid = "bot.localhost"
host = "127.0.0.1"
port = 1

[roles]
admin = ["alice@localhost"]

[plugins.mine]
use = "mine:Mine"
"""

PLUGIN = r'''
import asyncio
from typing import Literal

from msgspec import Struct
from zxmpp import Call, Form, Image, Plugin, Progress, Refused, Table, command


class Order(Struct):
    """An order.

    dish: Which dish?
    """

    dish: Literal["soup", "fish"]
    spicy: bool
    count: int = 1


class Mine(Plugin):
    @command
    def add(self, a: int, b: int = 2) -> str:
        """Add two numbers."""
        return str(a + b)

    @command
    def echo(self, *, text: str) -> str:
        """Say it back."""
        return text

    @command(role="admin")
    def table(self) -> Table:
        """Rows."""
        return Table(["name", "n"], [["a", 1], ["bbb", None]], "All")

    @command
    def picture(self, count: int = 1):
        """A file."""
        for _ in range(count):
            yield Image("x.png", b"\x89PNG\r\n\0\xff", text="a picture")

    @command
    async def steps(self):
        """Progress, and pieces."""
        yield Progress(0.5)
        yield "one"
        yield Progress(1, "soon")
        yield "two"

    @command
    def evil(self) -> str:
        """Drive a terminal."""
        return "a\x1b[2Jb"

    @command
    def refuse(self) -> str:
        """No."""
        raise Refused("not \x1b[31mtoday")

    @command
    async def ask(self, call: Call) -> str:
        """Ask."""
        tea = await call.choose("Which?", {"g": "Green", "b": "Black"})
        cups = await call.ask("How many?", int)
        sure = await call.confirm("Sure?")
        return f"{tea} {cups} {sure}"

    @command
    def order(self) -> Form:
        """A form."""
        return Form(Order, lambda order: f"{order.count} {order.dish} {order.spicy}", "An order")

    @command
    async def hold(self) -> None:
        """Wait for ever."""
        print("begun", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            print("cancelled", flush=True)
'''

BOT = ("--bot", "bot.toml")


def write(folder: Path) -> None:
    (folder / "bot.toml").write_text(CONFIG.format(control=folder / "c"))
    (folder / "mine.py").write_text(PLUGIN)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Process]:
    """A bot, until it can be called."""
    write(folder)
    async with started(folder, "run") as process:
        await shows(process.stderr, b"plugin mine is loaded")
        yield process


async def shows(stream: asyncio.StreamReader | None, mark: bytes) -> None:
    assert stream is not None
    async with asyncio.timeout(LIMIT):
        while mark not in (line := await stream.readline()):
            assert line, f"it ended without {mark!r}"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a bot that runs for all tests which leave it as it is."""
    folder = tmp_path_factory.mktemp("shared")
    write(folder)
    with subprocess.Popen(
        command("run"), cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            while "plugin mine is loaded" not in (line := process.stderr.readline()):
                assert line, "the bot did not start"
            yield folder
        finally:
            process.kill()


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[Process]:
    async with running(tmp_path) as process:
        yield process


async def call(folder: Path, *args: str, stdin: str = "") -> Ended:
    return await cli(folder, "call", *BOT, *args, stdin=stdin.encode())


def ends(ended: Ended) -> tuple[int, str, str]:
    return ended.status, ended.out.decode(), ended.err


async def test_the_result_is_on_stdout(shared: Path) -> None:
    for args, out in (
        (["add", "3"], "5\n"),
        (["add", "--", "-3", "1"], "-2\n"),
        (["echo", 'it\'s  "so"', "\n"], 'it\'s  "so" \n\n'),
        # The user who runs the bot may do all.
        (["table"], "All\nname  n\na     1\nbbb\n"),
    ):
        assert ends(await call(shared, *args)) == (0, out, "")


async def test_without_a_name_it_lists_the_commands(shared: Path) -> None:
    status, out, _ = ends(await call(shared))
    assert status == 0
    assert "add <a> [b] - Add two numbers.\n" in out
    assert "table - Rows.\n" in out
    first = json.loads((await call(shared, "--json")).out.splitlines()[0])
    assert first["name"] == "add"
    assert first["schema"]["required"] == ["a"]


async def test_progress_is_on_stderr_and_json_on_lines(shared: Path) -> None:
    ended = await call(shared, "steps")
    assert ends(ended)[:2] == (0, "one\ntwo\n")
    assert "50%" in ended.err
    assert "soon" in ended.err
    ended = await call(shared, "steps", "--json")
    assert [json.loads(line) for line in ended.out.splitlines()] == [
        {"type": "text", "text": "one"}, {"type": "text", "text": "two"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["add", "x"], "a: 'x' is not a whole number. Usage: !add <a> [b]"),
        (["ad"], "There is no command ad. Did you mean add?"),
        (["refuse"], "not \ufffd[31mtoday"),
        (["add", "1", "2", "3"], ("'3' is one word too many; quote what belongs together. "
                                 "Usage: !add <a> [b]")),
    ],
)  # fmt: skip
async def test_a_failure_ends_it_with_1(shared: Path, args: list[str], text: str) -> None:
    assert ends(await call(shared, *args)) == (1, "", f"zxmpp: {text}\n")


async def test_a_failure_is_json_too(shared: Path) -> None:
    ended = await call(shared, "ad", "--json")
    assert json.loads(ended.out) == {
        "type": "error", "condition": "item-not-found",
        "text": "There is no command ad. Did you mean add?",
    }  # fmt: skip


async def test_a_file_goes_where_it_is_told(shared: Path) -> None:
    data = b"\x89PNG\r\n\0\xff"
    assert (await call(shared, "picture")).out == data
    ended = await call(shared, "picture", "-o", "out.png")
    assert ends(ended) == (0, "", "a picture\n")
    assert (shared / "out.png").read_bytes() == data
    ended = await call(shared, "picture", "2", "-o", "out.png")
    assert ended.status == 1
    assert "there is another file" in ended.err
    ended = await call(shared, "picture", "-o", "no/such/folder")
    assert ended.status == 1
    assert "no/such/folder can't be written: No such file or directory" in ended.err


async def test_on_a_terminal(shared: Path) -> None:
    async with on_terminal(shared, "call", *BOT, "evil") as terminal:
        await terminal.shows("a\ufffd[2Jb")
        assert await terminal.ends() == 0
        assert b"\x1b[2J" not in terminal.shown
    async with on_terminal(shared, "call", *BOT, "picture") as terminal:
        await terminal.shows("x.png (image/png, 8 bytes): -o FILE writes it")
        assert await terminal.ends() == 0
        assert b"\0" not in terminal.shown


async def test_questions_are_answered_from_stdin(shared: Path) -> None:
    ended = await call(shared, "ask", stdin="2\nmany\n3\ny\n")
    assert ends(ended)[:2] == (0, "b 3 True\n")
    for text in ("Which?", "1. Green", "'many' is not a whole number", "Sure?"):
        assert text in ended.err
    ended = await call(shared, "order", stdin="Fish\nno\n\n")
    assert ends(ended)[:2] == (0, "1 fish False\n")
    ended = await call(shared, "ask", stdin="green\n")
    assert ended.status == 1
    assert "the command asks 'How many?', and stdin has no answer to that" in ended.err


async def test_questions_are_answered_on_a_terminal(shared: Path) -> None:
    async with on_terminal(shared, "call", *BOT, "ask") as terminal:
        for question, answer in (("2. Black", "1"), ("How many?", "7"), ("Sure?", "no")):
            await terminal.shows(question)
            terminal.types(answer)
        await terminal.shows("g 7 False")
        assert await terminal.ends() == 0


async def test_a_time_limit_cancels(tmp_path: Path, bot: Process) -> None:
    ended = await call(tmp_path, "hold", "--timeout", "0.5")
    assert (ended.status, ended.out) == (1, b"")
    assert "no end of hold in 0.5 s; it is cancelled" in ended.err
    await shows(bot.stdout, b"cancelled")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_the_end_of_the_caller_cancels(
    tmp_path: Path, bot: Process, number: signal.Signals
) -> None:
    async with started(tmp_path, "call", *BOT, "hold") as caller:
        await shows(bot.stdout, b"begun")
        caller.send_signal(number)
        ended = await finished(caller)
        assert ended.status == (-number if number is signal.SIGKILL else 128 + number)
        assert "Traceback" not in ended.err
    await shows(bot.stdout, b"cancelled")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_the_end_of_the_bot_ends_the_call(
    tmp_path: Path, bot: Process, number: signal.Signals
) -> None:
    async with started(tmp_path, "call", *BOT, "hold", "--timeout", "60") as caller:
        await shows(bot.stdout, b"begun")
        bot.send_signal(number)
        ended = await finished(caller)
    assert ended.status == 1
    assert ended.err in ("zxmpp: mine was stopped.\n",
                         "zxmpp: the bot went away; its log says why\n")  # fmt: skip
    # What a killed one leaves behind is in nobody's way.
    await bot.wait()
    assert "no bot of bot.toml runs here" in (await call(tmp_path, "add", "1")).err
    async with running(tmp_path):
        assert (await call(tmp_path, "add", "1")).out == b"3\n"


async def test_a_second_bot_is_told_of_the_first(tmp_path: Path, bot: Process) -> None:
    ended = await cli(tmp_path, "run")
    assert ended.status == 1
    assert "a bot of this configuration runs already" in ended.err
    assert (await call(tmp_path, "add", "1")).out == b"3\n"


def test_no_bot_is_named_with_the_remedy(tmp_path: Path, zxmpp: Zxmpp) -> None:
    (tmp_path / "bot.toml").write_text("")
    done = zxmpp("call", *BOT, "add")
    assert done.returncode == 1
    assert "no bot of bot.toml runs here; start it, as in: zxmpp run bot.toml" in done.stderr
    (tmp_path / "bot.toml").write_text('[app]\ncontrol = "off"\n')
    done = zxmpp("call", *BOT, "add")
    assert done.returncode == 2
    assert "this bot can't be called" in done.stderr


def test_what_is_not_a_socket_of_ours_is_not_used(tmp_path: Path, zxmpp: Zxmpp) -> None:
    (tmp_path / "c").write_text("")
    (tmp_path / "bot.toml").write_text(f'[app]\ncontrol = "{tmp_path}/c"\n')
    done = zxmpp("call", *BOT, "add")
    assert done.returncode == 1
    assert f"{tmp_path}/c is not a socket of your own" in done.stderr


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["add"], "with --connect, or a bot's file with --bot"),
        ([*BOT, "add", "--connect", "tcp://127.0.0.1:1"], "with --connect, or a bot's file"),
        ([*BOT, "add", "--raw"], "are for a service, not for --bot"),
        (["--connect", "tcp://127.0.0.1:1"], "a service is asked as in"),
        (["x", "a", "b", "--connect", "tcp://127.0.0.1:1"], "a service is asked as in"),
        (["--bot", "none.toml", "add"], "none.toml: the configuration can't be read"),
    ],
)
def test_what_can_not_be_meant_ends_with_2(zxmpp: Zxmpp, args: list[str], text: str) -> None:
    done = zxmpp("call", *args)
    assert done.returncode == os.EX_OK + 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr
