"""``zxmpp run``: how it ends, and what it logs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import socket
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import SECRET, Zxmpp, command, environment

#: Nobody listens there: the bot goes on trying.
BOT = """\
[streams.bot]
kind = "component"
jid = "bot.localhost"
host = "127.0.0.1"
port = {port}

[plugins.echo]
"""


@asynccontextmanager
async def running(folder: Path, *options: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *command("run", *options), cwd=folder, env=environment(), stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def read_until(process: Process, mark: bytes) -> bytes:
    assert process.stderr is not None
    seen = b""
    async with asyncio.timeout(30):
        while mark not in seen:
            line = await process.stderr.readline()
            assert line, seen.decode()
            seen += line
    return seen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_0(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "bot.toml").write_text(BOT.format(port=1))
    async with running(tmp_path) as process:
        await read_until(process, b"the next try is in")
        process.send_signal(number)
        async with asyncio.timeout(30):
            out, rest = await process.communicate()
        assert (process.returncode, out) == (0, b"")
        assert b"stopped" in rest
        assert b"Traceback" not in rest


async def test_logs_as_json_hold_no_secret(tmp_path: Path) -> None:
    digest = hashlib.sha1(b"stream-1" + SECRET.encode()).hexdigest()  # XEP-0114, 3
    handshaken = asyncio.Event()
    heard = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        writer.write(
            b"<stream:stream xmlns='jabber:component:accept' id='stream-1' from='bot.localhost' "
            b"xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        while b"</handshake>" not in heard:
            data = await reader.read(4096)
            if not data:
                break
            heard += data
        writer.write(b"<handshake/>")
        handshaken.set()
        while await reader.read(4096):
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        (tmp_path / "bot.toml").write_text(BOT.format(port=port))
        async with running(tmp_path, "-v", "--json-logs") as process:
            seen = await read_until(process, b"online as bot.localhost")
            await handshaken.wait()
            process.terminate()
            async with asyncio.timeout(30):
                _, rest = await process.communicate()
    assert process.returncode == 0
    assert digest.encode() in heard, "it was the real secret"
    entries = [json.loads(line) for line in (seen + rest).decode().splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(entry) for entry in entries)
    wire = [entry for entry in entries if "<handshake" in entry["message"]]
    assert wire, "stanzas are logged at -v"
    assert SECRET not in (seen + rest).decode()
    assert digest not in (seen + rest).decode()


async def test_slixmpp_is_silent_at_info(tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        (tmp_path / "bot.toml").write_text(BOT.format(port=port))
        async with running(tmp_path) as process:
            seen = await read_until(process, b"the next try is in")
            process.terminate()
            _, rest = await process.communicate()
    assert b"INFO zxmpp" in seen
    assert b"slixmpp" not in seen + rest


@pytest.mark.parametrize("how", ["--watch", "SIGHUP"])
async def test_a_plugin_is_reloaded_when_its_file_changes(tmp_path: Path, how: str) -> None:
    plugin = tmp_path / "greeter.py"
    good = "from zxmpp import Plugin\nclass Greeter(Plugin): ...\n"
    plugin.write_text(good)
    (tmp_path / "bot.toml").write_text('[plugins.greeter]\nuse = "greeter:Greeter"\n')
    async with running(tmp_path, *(["--watch"] if how == "--watch" else [])) as process:
        await read_until(process, b"plugin greeter is loaded")
        for text, says in ((good + "oops(", b"SyntaxError: "), (good + "#", b"reloaded: greeter")):
            plugin.write_text(text)
            if how == "SIGHUP":
                process.send_signal(signal.SIGHUP)
            seen = await read_until(process, says)
            if text.endswith("oops("):
                assert f"{plugin}:3: ".encode() in seen
        process.terminate()
        async with asyncio.timeout(30):
            _, rest = await process.communicate()
    assert process.returncode == 0
    assert b"Traceback" not in rest


def test_a_wrong_configuration_ends_it_with_2(zxmpp: Zxmpp, tmp_path: Path) -> None:
    (tmp_path / "bot.toml").write_text("[app]\nx = 1\n[plugins.ehco]\n")
    done = zxmpp("run")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "bot.toml:2: [app] has no key 'x'; it knows log_level, drain_seconds, control",
        (
            "bot.toml:3: [plugins.ehco] no plugin 'ehco' is installed; did you mean 'echo'? A "
            'plugin of your own is named as use = "module:Class"'
        ),
        "zxmpp: 2 problems",
    ]
    done = zxmpp("run", "--json-logs")
    assert done.returncode == 2
    assert [json.loads(line)["level"] for line in done.stderr.splitlines()] == ["CRITICAL"] * 2
    assert zxmpp("run", "--wat").returncode == 2
    assert zxmpp("run", secret="").returncode == 2


@pytest.mark.parametrize("how", ["in-use", "refused"])
def test_an_address_that_is_not_to_be_had_ends_it_with_1(
    zxmpp: Zxmpp, tmp_path: Path, how: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        # 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
        host = "127.0.0.1" if how == "in-use" else "192.0.2.1"
        address = f"tcp://{host}:{taken.getsockname()[1]}"
        (tmp_path / "bot.toml").write_text(f'[sockets.a]\ntype = "PULL"\nbind = "{address}"\n')
        done = zxmpp("run", "-q")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"zxmpp: socket a can't bind {address}: ")


def test_help_tells_the_exit_status(zxmpp: Zxmpp) -> None:
    text = " ".join(zxmpp("run", "--help").stdout.split())
    for said in ("0 stopped by a signal", "1 failed at run time", "2 the configuration"):
        assert said in text
