"""The worker alone, and behind a bot without a server."""

import asyncio

from zxmpp.mdp import Worker
from zxmpp.testing import TestBot

from my_name import my_name

BOT = """
[broker]
bind = "tcp://127.0.0.1:*"

[plugins.workers.commands.my-name]
service = "my-name"
usage = "<text ...>"
help = "Count the words."
"""


def test_the_function() -> None:
    assert my_name("to be or not to be") == "6 words"


async def test_a_bot_asks_it() -> None:
    async with TestBot(BOT) as bot:
        worker = Worker("my-name", my_name, connect=bot.app.services.bound[0])
        serving = asyncio.create_task(worker.serve())
        try:
            assert await bot.says("!my-name that is the question") == "4 words"
        finally:
            worker.stop()
            await serving
