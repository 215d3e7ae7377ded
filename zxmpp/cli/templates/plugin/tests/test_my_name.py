"""The plugin in a bot, without a server."""

import pytest
from zxmpp.testing import TestBot

#: Once it is installed, [plugins.my-name] is enough: no `use`.
CONFIG = """
[plugins.my-name]
use = "my_name:MyName"
greeting = "Good day"
"""


@pytest.fixture
def bot_config() -> str:
    return CONFIG


async def test_it_greets(bot: TestBot) -> None:
    assert await bot.says("!my-name Ann") == "Good day, Ann!"
    assert (await bot.says("!my-name")).startswith("name is missing")
