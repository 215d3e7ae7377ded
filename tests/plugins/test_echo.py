"""The echo plugin."""

from __future__ import annotations

from zxmpp.testing.bot import TestBot


async def test_it_says_the_text_as_it_was_typed() -> None:
    async with TestBot("[plugins.echo]") as bot:
        assert await bot.says("!echo hi,  'there'  ") == "hi,  'there'"
        assert await bot.says("!echo") == "text is missing. Usage: !echo <text ...>"
