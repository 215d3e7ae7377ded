"""``zxmpp record`` and ``zxmpp replay`` as processes: what they write, print and end with."""

from __future__ import annotations

import asyncio
import signal
import stat
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.cli.conftest import SECRET, Zxmpp, command, environment
from tests.cli.test_run import BOT, read_until
from zxmpp.config import load
from zxmpp.recording import Recorder, RecordFile, Recording, header_of
from zxmpp.testing import TestBot, virtual_time

PLUGIN = """
import asyncio
from zxmpp import Plugin, command

class Slow(Plugin):
    \"\"\"Say it after a day.\"\"\"

    @command(timeout=100000)
    async def slow(self, text: str) -> str:
        \"\"\"Say it after a day.\"\"\"
        await asyncio.sleep(86400)
        return {said}
"""
CONFIG = """
[streams.bot]
jid = "bot@localhost"

[plugins.slow]
use = "slow:Slow"
"""


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recording of the plugin slow.py; ``slow.py`` and ``bot.toml`` stand beside it."""
    (tmp_path / "slow.py").write_text(PLUGIN.format(said="text"))
    (tmp_path / "bot.toml").write_text(CONFIG)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("slow", None)
    settings = load(tmp_path / "bot.toml")

    @virtual_time
    async def record() -> None:
        file = RecordFile(tmp_path / "bot.jsonl", header_of(settings))
        recorder = Recorder(file.write)
        async with TestBot(settings, timeout=100000, recorder=recorder) as bot:
            assert await bot.says("!slow soup\u202e") == "soup\u202e"
        file.close("stopped", recorder.now())

    record()
    return tmp_path / "bot.jsonl"


@pytest.mark.parametrize(
    "options", [["--plugin", "slow", "--config", "bot.toml"], ["--plugin", "slow:Slow"]]
)
def test_the_same_ends_with_0_and_no_word_on_stdout(
    recorded: Path, zxmpp: Zxmpp, options: list[str]
) -> None:
    done = zxmpp("replay", recorded.name, *options, secret="")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr == "zxmpp: 1 sent then, 1 now: the same\n"


def test_a_difference_ends_with_1_and_a_diff(recorded: Path, zxmpp: Zxmpp) -> None:
    (recorded.parent / "slow.py").write_text(PLUGIN.format(said="text + '?'"))
    done = zxmpp("replay", recorded.name, "--plugin", "slow", "--config", "bot.toml")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[:2] == ["--- then: bot to alice@localhost", "+++ now: bot to alice@localhost"]
    # What would drive a terminal is not printed.
    assert "<body>soup\ufffd</body>" in lines[3]
    assert "<body>soup\ufffd?</body>" in lines[4]
    assert done.stderr == "zxmpp: 1 sent then, 1 now: different\n"


def test_who_sent_nothing_then_is_named(recorded: Path, zxmpp: Zxmpp) -> None:
    done = zxmpp("replay", recorded.name, "--plugin", "echo")
    assert done.returncode == 0
    assert "echo sent nothing then; who did: slow" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["none.jsonl", "--plugin", "echo"], "can't be read: No such file"),
        (["bot.toml", "--plugin", "echo"], "bot.toml is no recording of zxmpp's"),
        (["bot.jsonl", "--plugin", "ecko"], "did you mean 'echo'?"),
        (["bot.jsonl", "--plugin", "slow:Nothing"], "module 'slow' has no 'Nothing'"),
        (["bot.jsonl", "--plugin", "echo", "--config", "no.toml"], "can't be read"),
        (["bot.jsonl"], "--plugin"),
        (["bot.jsonl", "--plugin", "workers"], "this bot has no broker"),
    ],
)
def test_what_is_wrong_ends_with_2(
    recorded: Path, zxmpp: Zxmpp, options: list[str], words: str
) -> None:
    done = zxmpp("replay", *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_bot_that_is_recorded_ends_as_ever(tmp_path: Path) -> None:
    (tmp_path / "bot.toml").write_text(BOT.format(port=1))
    arguments = ["record", "bot.toml", "-o", "out.jsonl", "--mask-bodies"]
    process = await asyncio.create_subprocess_exec(
        *command(*arguments), cwd=tmp_path, env=environment(), stdout=PIPE, stderr=PIPE
    )
    try:
        assert b"recording to out.jsonl" in await read_until(process, b"the next try is in")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            out, rest = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, out) == (0, b"")
    assert b"stopped" in rest
    path = tmp_path / "out.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    recording = Recording(path)
    assert recording.header.masked
    entries = list(recording)
    assert [e.what for e in entries if e.name == "app"] == ["started", "stopping"]
    assert (entries[-1].way, entries[-1].detail) == ("end", "stopped")
    assert SECRET not in path.read_text()


def test_a_recording_is_never_written_over(tmp_path: Path, zxmpp: Zxmpp) -> None:
    (tmp_path / "bot.toml").write_text(BOT.format(port=1))
    (tmp_path / "out.jsonl").write_text("mine")
    done = zxmpp("record", "bot.toml", "-o", "out.jsonl")
    assert done.returncode == 2
    assert "never written over another file; name a new one" in done.stderr
    assert (tmp_path / "out.jsonl").read_text() == "mine"


def test_a_bot_that_fails_to_start_says_so_in_the_file(tmp_path: Path, zxmpp: Zxmpp) -> None:
    (tmp_path / "bot.toml").write_text(
        BOT.format(port=1) + '[sockets.s]\ntype = "PULL"\nbind = "ipc:///no/such/folder/s"\n'
    )
    done = zxmpp("record", "bot.toml", "-o", "out.jsonl")
    assert done.returncode == 1
    assert "make the folder of the ipc path first" in done.stderr
    assert list(Recording(tmp_path / "out.jsonl"))[-1].detail == "failed"
