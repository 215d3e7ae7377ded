"""``zxmpp demo``: the whole way, with real processes.

The bot, its plugin, the workers and the alert script are the files of examples/hello; only ports
are other ones. Rules:
- Nothing outside a temporary folder and the loopback interface is touched.
- Everything that the demo starts ends with it: at its end, on an error, on Ctrl-C or SIGTERM.
- Each wait has a bound; what goes wrong names the step and the remedy.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from importlib.resources import as_file, files
from pathlib import Path

from zxmpp.cli.demo.chat import chat
from zxmpp.cli.demo.screen import Screen
from zxmpp.cli.demo.script import play
from zxmpp.cli.demo.stage import set_up
from zxmpp.errors import ZxmppError

__all__ = ["run_demo"]


def run_demo(*, script: bool = False, keep: bool = False) -> int:
    """Run the demo; the exit status of the command.

    On a terminal it is a chat, else, or with `script`, a fixed conversation. `keep` leaves the
    files of the bot in a folder. 0: all went as it should; 1: a step failed (stderr says which);
    128 and the number of a signal: that signal ended it.
    """
    script = script or not (sys.stdin.isatty() and sys.stdout.isatty())
    try:
        return asyncio.run(_run(Screen(), script, keep))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except ZxmppError as error:
        sys.stdout.flush()
        sys.stderr.write(f"zxmpp demo: {error}\n")
        return 1


async def _run(screen: Screen, script: bool, keep: bool) -> int:
    signals: list[int] = []
    task, loop = asyncio.current_task(), asyncio.get_running_loop()

    def end(number: int) -> None:
        signals.append(number)
        if task is not None:
            task.cancel()

    # Ctrl-C is asyncio's own; these two would else end this process without its clean-up.
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end, number)
    folder = Path(tempfile.mkdtemp(prefix="zxmpp-demo-"))
    try:
        with as_file(files("zxmpp_examples") / "hello") as source:
            shutil.copytree(
                source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        original = (folder / "bot.toml").read_text()
        try:
            async with set_up(screen, folder) as stage:
                await (play(stage) if script else chat(stage))
        finally:
            # The demo's ports are of no use later.
            with suppress(OSError):
                (folder / "bot.toml").write_text(original)
        if not keep:
            screen.note("To play with its files: zxmpp demo --keep")
    except asyncio.CancelledError:
        if not signals:
            raise
        return 128 + signals[0]
    finally:
        if keep:
            screen.note(f"The files are in {folder}: bot.toml, shout.py, worker.py, alert.py")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 0
