"""What the attacks share: a good plugin, a guarded one, and ways to talk and look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import quoteattr

from zxmpp import Plugin, StanzaEvent, command, on
from zxmpp.testing.bot import TestBot, body_of
from zxmpp.testing.transport import feed

ROOM = "ops@rooms.localhost"
LIMIT = 10
NO_RATE = "[guards]\nrate = 0\n"


class Good(Plugin):
    """What must go on whatever the others do."""

    @command
    def good(self) -> str:
        """Answer."""
        return "still here"

    @command
    async def turn(self) -> str:
        """Answer when the loop gets to it."""
        return "my turn"


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(LIMIT):
        while not true():
            await asyncio.sleep(0.001)


def tell(bot: TestBot, body: str, sender: str = "alice@localhost/test", ident: str = "1") -> None:
    """Say something and wait for nothing."""
    feed(
        bot.app.servers["bot"].xmpp,
        f"<message from={quoteattr(sender)} to='bot@localhost/test' type='chat' id='{ident}'>"
        f"<body>{body}</body></message>",
    )


def bodies(bot: TestBot) -> list[str]:
    return [body_of(stanza) for stanza in bot.sent if body_of(stanza)]


def counts(bot: TestBot, owner: str) -> dict[str, int]:
    return bot.app.pipeline.statistics().owners[owner]


def dropped(bot: TestBot) -> dict[str, int]:
    return bot.app.pipeline.statistics().counts


ROLES = '[roles]\nadmin = ["alice@localhost"]\n' + NO_RATE


class Secrets(Plugin):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls: list[str] = []
        self.requests = 0

    @command(role="admin")
    def wipe(self, event: StanzaEvent) -> str:
        """Only for admins."""
        self.calls.append(event.from_)
        return "wiped"

    @on.iq(payload="{urn:x}admin", where=lambda event: event.sender == "alice@localhost")
    def ask(self, event: StanzaEvent) -> None:
        self.requests += 1


def calls(bot: TestBot) -> list[str]:
    found: list[str] = bot.app.plugins.get("secrets").calls  # type: ignore[attr-defined]
    return found
