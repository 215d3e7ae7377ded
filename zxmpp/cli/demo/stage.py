"""Everything that the demo needs, running: server, workers, bot and Alice.

Rules:
- The workers are there first: they find the bot by themselves, whoever comes first.
- `Stage.step` bounds a wait, and ends it when a process that it may depend on is gone.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from zxmpp.cli.demo.alice import Alice, alice_in_memory, alice_on_server
from zxmpp.cli.demo.children import Child, child
from zxmpp.cli.demo.screen import Screen
from zxmpp.errors import ZxmppError
from zxmpp.testing.bot import TestBot
from zxmpp.testing.servers import Prosody, ServerError
from zxmpp.testing.servers.ports import free_port

__all__ = ["DemoError", "Stage", "set_up"]

#: Seconds that each step may take.
STEP = 30
_BOT = "bot@bot.localhost"
_ROOM = "ops@rooms.localhost"
_SECRET = "a-secret-of-this-demo"
_REMEDY = (
    "Remedy: the lines above say how far it got; `zxmpp demo --keep` leaves the files to run by "
    "hand."
)

T = TypeVar("T")


class DemoError(ZxmppError):
    """A step of the demo failed: says which, how, and the remedy."""

    def __init__(self, step: str, what: str) -> None:
        super().__init__(f"step {step!r}: {what}\n{_REMEDY}")


class Stage:
    """What runs during the demo."""

    def __init__(self, screen: Screen, folder: Path) -> None:
        self.screen = screen
        self.folder = folder
        self.broker = f"tcp://127.0.0.1:{free_port()}"
        self.alerts = f"tcp://127.0.0.1:{free_port()}"
        self.room = _ROOM
        #: The processes that should run until the demo's end.
        self.workers: list[Child] = []
        self.bot: Child | None = None
        self.alice: Alice
        #: Which worker wrote a line; the last ones are kept.
        self.worked: asyncio.Queue[str] = asyncio.Queue(100)

    @property
    def children(self) -> list[Child]:
        return [*self.workers, *([self.bot] if self.bot is not None else [])]

    def hear(self, name: str, line: str) -> None:
        """Show what a process wrote."""
        self.screen.say(name, line.removeprefix("worker: "))

    def hear_worker(self, name: str, line: str) -> None:
        """Show what a worker wrote, and take down that it worked."""
        self.hear(name, line)
        if self.worked.full():
            self.worked.get_nowait()
        self.worked.put_nowait(name)

    async def step(self, what: str, doing: Coroutine[Any, Any, T]) -> T:
        """Do it, within the time of a step. DemoError if it fails, or a process is gone."""
        task = asyncio.create_task(doing)
        try:
            await asyncio.wait(
                {task, *(running.ended for running in self.children)},
                timeout=STEP, return_when=asyncio.FIRST_COMPLETED,
            )  # fmt: skip
            if task.done():
                return task.result()
            for running in self.children:
                if running.ended.done():
                    raise DemoError(what, running.obituary())
            raise DemoError(what, f"it did not happen within {STEP} s.")
        except (TimeoutError, ZxmppError, OSError) as error:
            if isinstance(error, DemoError):
                raise
            raise DemoError(what, str(error) or type(error).__name__) from error
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def alert(self) -> None:
        """Run the alert script to its end. DemoError if it fails."""
        what = "the alert script pushes its alert"
        command = (sys.executable, str(self.folder / "alert.py"), self.alerts)
        async with child("script", *command, folder=self.folder, hear=self.hear) as script:
            self.screen.say("script", f"python alert.py, as process {script.pid}")
            await self.step(what, _wait(script))
            if script.ended.result():
                raise DemoError(what, script.obituary())


async def _wait(running: Child) -> None:
    await asyncio.wait([running.ended])


@asynccontextmanager
async def set_up(screen: Screen, folder: Path) -> AsyncIterator[Stage]:
    """Start all of it with the files of `folder`; end all of it after the block."""
    stage = Stage(screen, folder)
    async with AsyncExitStack() as stack:
        for number in (1, 2):
            worker = await stack.enter_async_context(child(
                f"worker {number}", sys.executable, str(folder / "worker.py"), stage.broker,
                folder=folder, hear=stage.hear_worker,
            ))  # fmt: skip
            stage.workers.append(worker)
            screen.say(worker.name, f"python worker.py, as process {worker.pid}")
        server = Prosody(components={"bot.localhost": _SECRET})
        try:
            server.find()
        except ServerError as error:
            screen.say("server", f"{error}")
            await _in_memory(stage, stack)
        else:
            await _on_server(stage, stack, server)
        yield stage


def _configure(stage: Stage, component_port: int) -> Path:
    config = stage.folder / "bot.toml"
    text = config.read_text().replace("5347", str(component_port))
    text = text.replace("tcp://127.0.0.1:5555", stage.broker)
    config.write_text(text.replace("tcp://127.0.0.1:5556", stage.alerts))
    return config


async def _on_server(stage: Stage, stack: AsyncExitStack, server: Prosody) -> None:
    await stage.step("a private Prosody starts", stack.enter_async_context(server))
    stage.screen.say("server", f"a private Prosody, as process {server.pid}, on loopback only")
    alice = await stage.step(
        "alice logs in", stack.enter_async_context(alice_on_server(server, _BOT, _ROOM))
    )
    await stage.step("alice enters the room", alice.enter())
    stage.alice = alice
    stage.bot = await stack.enter_async_context(child(
        "bot's log", sys.executable, "-m", "zxmpp.cli", "run",
        str(_configure(stage, server.component_port)), "--quiet",
        folder=stage.folder, hear=stage.hear, secret=_SECRET,
    ))  # fmt: skip
    stage.screen.say("bot", f"zxmpp run bot.toml, as process {stage.bot.pid}, a component")
    await stage.step("the bot enters the room", alice.bot_is_in.wait())


async def _in_memory(stage: Stage, stack: AsyncExitStack) -> None:
    stage.screen.say("bot", "going on without a server: bot.toml in this process, its stream in "
                            "memory")  # fmt: skip
    # The bot's own plugin stands beside its configuration.
    sys.path.insert(0, str(stage.folder))
    stack.callback(sys.path.remove, str(stage.folder))
    bot = TestBot(_configure(stage, 5347), timeout=STEP)
    await stage.step("the bot starts", stack.enter_async_context(bot))
    stage.alice = await stack.enter_async_context(alice_in_memory(bot, _ROOM))
