"""A bot of zxmpp in memory with one ``echo`` command: from the bytes of a stanza to those of the answer.

All is at its defaults, but for the rate that is allowed to one sender: here one sends it all. Several
stanzas come in one read, as they do from a busy server.
"""

from __future__ import annotations

import asyncio
from xml.sax.saxutils import quoteattr

from turns import PREFIX, serve

from zxmpp import Plugin, command
from zxmpp.testing import TestBot, body_of

CONFIG = "[guards]\nrate = 0\n"


class Echo(Plugin):
    @command
    def echo(self, *, text: str) -> str:
        """Say it back."""
        return text


async def run(bot: TestBot, case: str, words: list[str]) -> list[str]:
    # A bot for tests keeps all that it sent, errbot's queue only what nobody has popped yet.
    for server in bot.app.servers.values():
        server.sent.clear()
    if case == "alone":
        return [await bot.says(PREFIX + word) for word in words]
    head = f"<message from='alice@localhost/test' to={quoteattr(bot.address())} type='chat'"
    said = (
        f"{head} id='{n}'><body>{PREFIX}{word}</body></message>" for n, word in enumerate(words)
    )
    return [body_of(stanza) for stanza in await bot.hears("".join(said))]


def main() -> None:
    with asyncio.Runner() as runner:
        bot = TestBot(CONFIG, [Echo])
        runner.run(bot.__aenter__())
        serve(lambda case, words: runner.run(run(bot, case, words)))
        runner.run(bot.__aexit__())


if __name__ == "__main__":
    main()
