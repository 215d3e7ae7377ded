"""A recorded bot on real servers: what it wrote down is what was said, and replays the same."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from slixmpp import JID

from tests.cli.conftest import command, environment
from tests.cli.test_run import read_until
from tests.live.test_bot import LIMIT, address, heard, stream
from zxmpp.recording import Recording
from zxmpp.testing import replay
from zxmpp.testing.servers import Server


@pytest.mark.parametrize("role", ["component", "client"])
async def test_a_conversation_on_a_server(shared: Server, role: str, tmp_path: Path) -> None:
    known = shared.components if role == "component" else shared.accounts
    secret = known["echo.localhost" if role == "component" else "bot@localhost"]
    room = f"record-{role}@{shared.muc}"
    (tmp_path / "bot.toml").write_text(
        stream(shared, role, rooms=[room]) + "\n[plugins.echo]\n[plugins.help]\n"
    )
    path = tmp_path / "bot.jsonl"
    arguments = ["record", "bot.toml", "--output", path.name]
    async with shared.login("alice@localhost/desk", ["xep_0045"]) as alice:
        got: asyncio.Queue[Any] = asyncio.Queue()
        alice.add_event_handler("message", got.put_nowait)
        await alice.plugin["xep_0045"].join_muc_wait(JID(room), "alice", maxstanzas=0)
        process = await asyncio.create_subprocess_exec(
            *command(*arguments), cwd=tmp_path, env=environment(secret),
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            await read_until(process, f"in room {room}".encode())
            alice.send_message(JID(address(role)), "!echo hello", mtype="chat")
            assert await heard(alice, got, "chat") == "hello"
            alice.send_message(JID(room), "!echo from the room", mtype="groupchat")
            assert await heard(alice, got, "groupchat") == "from the room"
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(LIMIT):
                await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0
    text = path.read_text()
    assert secret not in text
    for words in ("<auth", "<response", "<handshake", "<ping"):
        assert words not in text
    entries = list(Recording(path))
    assert {"online", "joined", "offline"} <= {entry.what for entry in entries}
    assert [e.by for e in entries if e.way == "out" and "<body>" in e.xml] == ["echo", "echo"]
    found = await asyncio.to_thread(replay, path, "echo")
    assert (found.diff, found.then, found.now) == ([], 2, 2)
