"""Bundled plugins that have a state, reloaded: nothing is lost, nothing is done twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from zxmpp.testing.bot import TestBot, body_of

from .conftest import COMPONENT, counts

CONFIG = f"""
{COMPONENT}
[roles]
admin = ["alice@localhost"]
[plugins.admin]
[plugins.vote]
[plugins.remind]
"""
ALICE = "alice@localhost/desk"


@pytest.mark.usefixtures("same_modules")
async def test_reminders_and_votes_go_on(tmp_path: Path) -> None:
    async with TestBot(f'{CONFIG}file = "{tmp_path}/book.json"') as bot:
        await bot.says("!remind 2s tea", sender=ALICE)
        await bot.says("!poll q a b", sender=ALICE)
        for name in ("remind", "vote", "admin"):
            assert await bot.says(f"!reload {name}", sender=ALICE) == f"Reloaded: {name}."
        await bot.app.plugins.retired()
        assert await bot.says("!vote 2", sender=ALICE) == "Counted: b"
        before = len(bot.sent)
        assert body_of(await bot.next_message(after=before)) == "Reminder: tea"
        assert counts(bot, "remind") == {"told": 1}
        assert await bot.says("!reminders", sender=ALICE) == "You have no reminders here."
        await bot.says("!remind 1h cake", sender=ALICE)
    async with TestBot(f'{CONFIG}file = "{tmp_path}/book.json"') as bot:
        assert "cake" in await bot.says("!reminders", sender=ALICE)
