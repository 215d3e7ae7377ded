"""A whole bot in memory, of whose commands one is used: stream, pipeline, command, reply."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from wire import BATCH, DOMAIN, Wire, batch, timed

from zxmpp import Plugin, command
from zxmpp.testing import TestBot
from zxmpp.testing.transport import feed

__all__ = ["Commanded", "bot_with"]

_BOT = f"""
[streams.bot]
kind = "component"
jid = "{DOMAIN}"
[guards]
rate = 0
"""


class Commanded:
    """What the benchmark asks of the bot."""

    def __init__(self, bot: TestBot) -> None:
        self.xmpp = bot.app.stream("bot").xmpp
        self.wire = Wire(lambda text: feed(self.xmpp, text))
        self._transport = self.xmpp.transport
        self._transport.on_write = self._written

    def _written(self, text: str) -> None:
        self._transport.take()
        self.wire.take(text.encode())

    async def measure(self, case: str, seconds: float) -> float:
        data = batch("command").encode()
        return await timed(seconds, lambda: self._answered(data))

    async def _answered(self, data: bytes) -> AsyncIterator[None]:
        self.wire.expect(b" is served</body>", BATCH)
        yield
        self.xmpp.data_received(data)
        await self.wire.all_there()


def bot_with(commands: int) -> TestBot:
    def one(number: int) -> Any:
        async def serve(self: Plugin, what: str) -> str:
            """Serve something."""
            return f"{what} is served"

        serve.__name__ = f"command{number}"
        return command(serve)

    names = {f"command{number}": one(number) for number in range(commands)}
    return TestBot(_BOT, [type("Kitchen", (Plugin,), names)])
