"""``zxmpp demo`` as a process: played, chatted with, without Prosody, and broken on purpose."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.live.walkthrough import EXAMPLES

LIMIT = 30
COMMAND = (sys.executable, "-m", "zxmpp.cli", "demo")
#: The same without a Prosody that can be found, wherever it is installed.
WITHOUT_PROSODY = (
    sys.executable, "-c", (
    "import shutil, sys; find = shutil.which\n"
    "shutil.which = lambda name, *a, **k: None if name == 'prosody' else find(name, *a, **k)\n"
    "from zxmpp.cli import main; sys.argv[1:] = ['demo', '--script']; main()"),
)  # fmt: skip
ANSWERS = [
    "HELLO FROM CHAT!", "HELLO AGAIN!", "Usage: !help [command]",
    "!shout <text ...> - Say it louder.", "db1: disk is 91 % full",
]  # fmt: skip


def all_gone(output: str, processes: int) -> bool:
    """Whether the processes that the demo told of are no more."""
    pids = [int(pid) for pid in re.findall(r"process (\d+)", output)]
    assert len(set(pids)) == processes, output
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


async def run(
    *command: str, examples: Path | None = None, send: tuple[str, int] | None = None
) -> tuple[int, str]:
    """Run the demo without a terminal; its exit status and all that it wrote. `send` is a text
    that is waited for, and the signal that is sent then."""
    environment = dict(os.environ)
    if examples is not None:
        environment["PYTHONPATH"] = str(examples)
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    output = ""
    try:
        async with asyncio.timeout(LIMIT):
            async for line in process.stdout:
                output += line.decode()
                if send is not None and send[0] in output:
                    process.send_signal(send[1])
                    send = None
            return await process.wait(), output
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def with_worker(folder: Path, text: str) -> Path:
    """A folder for PYTHONPATH, where the examples have `text` for a worker."""
    copy = folder / "zxmpp_examples"
    shutil.copytree(EXAMPLES / "hello", copy / "hello")
    (copy / "__init__.py").touch()
    (copy / "hello" / "worker.py").write_text(text)
    return folder


async def test_script_on_prosody() -> None:
    status, output = await run(*COMMAND)
    assert status == 0, output
    assert "a private Prosody, as process" in output
    for answer in ANSWERS:
        assert re.search(rf"{re.escape(answer)} +\(\d+\.\d ms\)", output), (answer, output)
    assert {"worker 1  got", "worker 2  got"} <= set(re.findall(r"worker \d  got", output))
    assert all_gone(output, 5)  # two workers, Prosody, the bot, the alert script


async def test_script_without_prosody() -> None:
    status, output = await run(*WITHOUT_PROSODY)
    assert status == 0, output
    assert "Prosody is not installed. Remedy: apt-get install prosody" in output
    assert "going on without a server" in output
    assert all(answer in output for answer in ANSWERS), output
    assert all_gone(output, 3)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ((".upper()", ".lower()"), "expected a chat message with 'HELLO FROM CHAT!'; what came is"),
        (("worker = ", "raise SystemExit(3)\nworker = "), "ended by itself, with exit code 3"),
    ],
    ids=["wrong answer", "ends at once"],
)
async def test_broken_worker(change: tuple[str, str], complaint: str, tmp_path: Path) -> None:
    worker = (EXAMPLES / "hello" / "worker.py").read_text()
    assert change[0] in worker
    examples = with_worker(tmp_path, worker.replace(*change, 1))
    status, output = await run(*COMMAND, examples=examples)
    assert status == 1, output
    assert re.search(r"zxmpp demo: step '[\w ]+': ", output), output
    assert complaint in output
    assert "Remedy: " in output
    assert all_gone(output, len(set(re.findall(r"process (\d+)", output))))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
async def test_signal(number: signal.Signals, tmp_path: Path) -> None:
    # Workers that never answer: the signal comes in the middle of a step.
    examples = with_worker(tmp_path, "import signal\nsignal.pause()\n")
    status, output = await run(*COMMAND, examples=examples, send=("!shout hello", number))
    assert status == 128 + number, output
    assert "Traceback" not in output
    assert all_gone(output, 4)


class Terminal:
    """A pseudo-terminal with the demo on it."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self.output = ""
        self._seen = 0

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    async def shows(self, text: str) -> None:
        """Wait until `text` stands after what was waited for before."""
        loop = asyncio.get_running_loop()
        more = asyncio.Event()
        loop.add_reader(self._fd, more.set)
        try:
            async with asyncio.timeout(LIMIT):
                while (at := self.output.find(text, self._seen)) < 0:
                    await more.wait()
                    more.clear()
                    with suppress(BlockingIOError):
                        self.output += os.read(self._fd, 65536).decode()
            self._seen = at + len(text)
        except (TimeoutError, OSError):
            pytest.fail(f"{text!r} was not shown:\n{self.output}", pytrace=False)
        finally:
            loop.remove_reader(self._fd)


@pytest.mark.parametrize("end", ["\x04", "/quit\n"], ids=["ctrl-d", "quit"])
async def test_chat_on_a_terminal(end: str) -> None:
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *COMMAND, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    terminal = Terminal(master)
    try:
        await terminal.shows("alice> ")
        assert "Try first:  !shout hello" in terminal.output
        terminal.type("!shout hi\n")
        await terminal.shows("HI!")
        terminal.type("/room !shout in the room\n")
        await terminal.shows("IN THE ROOM!")
        terminal.type("/alert\n")
        await terminal.shows("db1: disk is 91 % full")
        terminal.type("hm\n")
        await terminal.shows("commands, which begin with !")
        terminal.type(end)
        await terminal.shows("zxmpp demo --keep")
        async with asyncio.timeout(LIMIT):
            assert await process.wait() == 0
        assert all_gone(terminal.output, 5)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(master)
        os.close(slave)
