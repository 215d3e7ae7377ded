"""The help plugin shows what the caller may see, and no more."""

from __future__ import annotations

import pytest

from zxmpp import Plugin, command
from zxmpp.testing.bot import TestBot

CONFIG = """
[roles]
admin = ["alice@localhost"]
[plugins.help]
[plugins.echo]
"""


class Boss(Plugin):
    @command(role="admin")
    def fire(self, who: str, times: int = 1) -> str:
        """Fire somebody.

        Twice, if need be.
        """
        return f"{who} is fired"

    @command
    def bare(self) -> None:
        pass


async def test_the_list_has_usage_and_summary() -> None:
    async with TestBot(CONFIG, plugins=[Boss]) as bot:
        assert await bot.says("!help", sender="alice@localhost/desk") == (
            "Commands:\n"
            "!bare\n"
            "!echo <text ...> - Say the text back, as it was typed.\n"
            "!fire <who> [times] - Fire somebody.\n"
            "!help [command] - List the commands, or say how one is used."
        )


@pytest.mark.parametrize("name", ["fire", "!fire"])
async def test_one_command_in_full(name: str) -> None:
    async with TestBot(CONFIG, plugins=[Boss]) as bot:
        assert await bot.says(f"!help {name}", sender="alice@localhost/desk") == (
            "Usage: !fire <who> [times]\nFire somebody.\n\nTwice, if need be."
        )


async def test_what_one_may_not_use_looks_as_if_it_did_not_exist() -> None:
    async with TestBot(CONFIG, plugins=[Boss]) as bot:
        mallory = "mallory@localhost/alice"
        assert "fire" not in await bot.says("!help", sender=mallory)
        assert await bot.says("!help fire", sender=mallory) == (
            "There is no command !fire. !help lists what there is."
        )
        assert await bot.says("!help fired", sender=mallory) == (
            "There is no command !fired. !help lists what there is."
        )
        assert "Did you mean !echo?" in await bot.says("!help ecko", sender=mallory)


async def test_a_long_name_is_not_said_back_whole() -> None:
    async with TestBot(CONFIG) as bot:
        reply = await bot.says(f"!help {'x' * 4000}")
        assert reply.startswith("There is no command !xxx")
        assert len(reply) < 200
