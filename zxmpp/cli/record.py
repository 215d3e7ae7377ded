"""``zxmpp record`` and ``zxmpp replay``.

Rules:
- The recording is a bot that runs as ever; that it can't be written on never ends the bot.
- A replay's diff goes to stdout, what else there is to say to stderr.
- What was recorded can't drive the terminal: control characters are shown as U+FFFD.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import typer

from zxmpp.cli.common import plain
from zxmpp.cli.notify import NotifyingApp
from zxmpp.config import Settings
from zxmpp.errors import ConfigError, ZxmppError
from zxmpp.recording import Masker, Recorder, RecordFile, header_of
from zxmpp.testing import replay

__all__ = ["run_recorded", "show_replay"]

log = logging.getLogger(__name__)


async def run_recorded(
    config: Path, settings: Settings, output: Path, mask_bodies: bool, max_bytes: int
) -> None:
    """Run the bot of `config`, which holds `settings`, and record it."""
    file = RecordFile(output, header_of(settings, mask_bodies), max_bytes)
    masker = None
    if mask_bodies:
        masker = Masker(settings.commands.prefix, lambda name: app.commands.get(name) is not None)
    recorder = Recorder(file.write, masker)
    app = NotifyingApp(config, recorder)
    log.info("recording to %s", output)
    why = "failed"
    try:
        await app.run()
        why = "stopped"
    finally:
        file.close(why, recorder.now())
        if file.lost:
            log.warning("%d entries are missing at the end of %s", file.lost, output)


def show_replay(recording: Path, plugin: str, settings: Settings | None) -> bool:
    """Print how the replay differs. Whether it is the same."""
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = replay(recording, plugin, settings)
    except ConfigError:
        raise
    except ZxmppError as error:
        raise ConfigError(f"{recording} can't be replayed with {plugin}: {error}") from error
    for line in found.diff:
        typer.echo(plain(line))
    if found.plugin not in found.senders:
        known = ", ".join(sorted(found.senders)) or "nobody"
        typer.echo(f"zxmpp: {found.plugin} sent nothing then; who did: {known}", err=True)
    verdict = "different" if found.diff else "the same"
    typer.echo(f"zxmpp: {found.then} sent then, {found.now} now: {verdict}", err=True)
    return not found.diff
