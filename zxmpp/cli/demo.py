"""``zxmpp demo``: the whole way, on a private Prosody, with real processes.

The bot, its plugin, the worker and the alert script are the files of examples/hello; only ports
are other ones. Nothing outside a temporary folder and the loopback interface is touched.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from rich.console import Console
from slixmpp import JID

from zxmpp.errors import ZxmppError
from zxmpp.testing.servers import Prosody
from zxmpp.testing.servers.clients import login
from zxmpp.testing.servers.ports import free_port

__all__ = ["run_demo"]

console = Console(highlight=False)

#: Seconds that each step may take.
STEP = 30


def say(who: str, what: str) -> None:
    console.print(f"[bold]{who:>10}[/]  ", end="")
    console.print(what, markup=False)


async def run_demo(keep: bool = False) -> None:
    """Play the demo and print what happens. ZxmppError if a step does not happen in time."""
    folder = Path(tempfile.mkdtemp(prefix="zxmpp-demo-"))
    with as_file(files("zxmpp_examples") / "hello") as source:
        shutil.copytree(source, folder, dirs_exist_ok=True)
    prosody = Prosody(components={"bot.localhost": "a-secret-of-this-demo"})
    try:
        async with AsyncExitStack() as stack:
            say("server", "starting a private Prosody ...")
            await stack.enter_async_context(prosody)
            say("server", f"Prosody runs as process {prosody.pid}, on loopback only")
            await _play(stack, folder, prosody)
        console.print("\nThat was the whole way: XMPP -> plugin -> ZeroMQ worker -> XMPP, and "
                      "script -> ZeroMQ -> room.")  # fmt: skip
        if keep:
            console.print(f"The files are in {folder}: bot.toml, shout.py, worker.py, alert.py")
        else:
            console.print("To play with the files: zxmpp demo --keep")
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


async def _play(stack: AsyncExitStack, folder: Path, prosody: Prosody) -> None:
    jobs, alerts = f"tcp://127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{free_port()}"
    config = folder / "bot.toml"
    text = config.read_text()
    text = text.replace("5347", str(prosody.component_port))
    text = text.replace("tcp://127.0.0.1:5555", jobs).replace("tcp://127.0.0.1:5556", alerts)
    config.write_text(text)
    python = sys.executable

    await stack.enter_async_context(
        _process("worker", python, str(folder / "worker.py"), jobs, cwd=folder)
    )
    room = f"ops@{prosody.muc}"
    alice = await stack.enter_async_context(login(prosody, "alice@localhost/desk", ["xep_0045"]))
    heard: asyncio.Queue[Any] = asyncio.Queue(100)
    alice.add_event_handler("message", lambda message: heard.put_nowait(message))
    bot_is_in = asyncio.Event()
    alice.add_event_handler(f"muc::{room}::got_online", lambda presence: (
        bot_is_in.set() if presence["from"].resource == "bot" else None
    ))  # fmt: skip
    await alice.plugin["xep_0045"].join_muc_wait(JID(room), "alice", maxstanzas=0)
    await stack.enter_async_context(
        _process("bot", python, "-m", "zxmpp.cli", "run", str(config), "--quiet", cwd=folder,
                 secret=prosody.components["bot.localhost"])
    )  # fmt: skip
    say("bot", f"zxmpp run {config.name}: a component, its plugins, and a worker process beside it")
    async with _step("the bot joins the room"):
        await bot_is_in.wait()

    async def hear(kind: str) -> str:
        async with _step("an answer arrives"):
            while True:
                message = await heard.get()
                if message["type"] == kind and message["from"].bare != alice.boundjid.bare:
                    return str(message["body"])

    question = "!shout hello from chat"
    say("alice", question)
    alice.send_message(mto=JID("bot@bot.localhost"), mbody=question, mtype="chat")
    say("bot", await hear("chat"))
    async with _step("the alert script ends"), _process(
        "script", python, str(folder / "alert.py"), alerts, cwd=folder
    ) as script:  # fmt: skip
        await script.wait()
    say(room, await hear("groupchat"))


@asynccontextmanager
async def _step(what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(STEP):
            yield
    except TimeoutError:
        raise ZxmppError(
            f"demo: it did not happen within {STEP} s that {what}; the lines above say how far it "
            f"got"
        ) from None


@asynccontextmanager
async def _process(
    name: str, *command: str, cwd: Path, secret: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process whose output is shown; ended by SIGTERM, by SIGKILL if that does not do."""
    import os

    environment = {**os.environ, **({"ZXMPP_BOT_SECRET": secret} if secret else {})}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    pipe = process.stdout

    async def show() -> None:
        while pipe is not None and (line := await pipe.readline()):
            say(name, re.sub(rf"^{name}: ", "", line.decode(errors="replace").rstrip()))

    shown = asyncio.ensure_future(show())
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(10):
                    await process.wait()
            except TimeoutError:
                process.kill()
        await process.wait()
        await shown
