"""The bot, with its own bot.toml, without a server."""

from pathlib import Path

import pytest
import zmq
from zxmpp.testing import TestBot, body_of

CONFIG = (Path(__file__).parents[1] / "bot.toml").read_text()


@pytest.fixture
def bot_config() -> str:
    return CONFIG


async def test_hello(bot: TestBot) -> None:
    assert await bot.says("!hello Ann") == "Hello, Ann!"
    assert (await bot.says("!hello")).startswith("name is missing")


async def test_help_tells_of_it(bot: TestBot) -> None:
    assert "!hello <name> - Greet somebody." in await bot.says("!help")


async def test_an_alert_is_told() -> None:
    socket = '\ntype = "PULL"\nbind = "tcp://127.0.0.1:*"\n'
    plugin = {"my_name:MyName": {"tell": "ann@example.org"}}
    async with TestBot(f"[sockets.alerts]{socket}", plugin) as bot:
        with zmq.Context() as context, context.socket(zmq.PUSH) as script:
            script.connect(bot.app.socket("alerts").bound[0])
            script.send(b"disk full")
            message = await bot.next_message()
    assert (message.get("to"), body_of(message)) == ("ann@example.org", "disk full")
