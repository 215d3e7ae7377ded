"""Floods of what is no text: each sender has one share of all that a handler takes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from zxmpp import Plugin, StanzaEvent, on
from zxmpp.testing.bot import TestBot

from .helpers import dropped


class Ear(Plugin):
    """Hears all that is no text."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.heard: Counter[str] = Counter()

    @on.reaction
    def reacted(self, event: StanzaEvent) -> None:
        self.heard["reaction"] += 1

    @on.invitation
    def invited(self, event: StanzaEvent) -> None:
        self.heard["invitation"] += 1

    @on.presence(type="subscribe")
    def subscribed(self, event: StanzaEvent) -> None:
        self.heard["subscribe"] += 1

    @on.presence(type="unavailable")
    def left(self, event: StanzaEvent) -> None:
        self.heard["unavailable"] += 1

    @on.iq(payload="{urn:x}ask")
    def asked(self, event: StanzaEvent) -> None:
        self.heard["iq"] += 1


FLOODS = {
    "reaction": "<message type='chat' {}><reactions xmlns='urn:xmpp:reactions:0' id='x'/></message>",
    "invitation": "<message {}><x xmlns='jabber:x:conference' jid='r@rooms.localhost'/></message>",
    "subscribe": "<presence type='subscribe' {}/>",
    "iq": "<iq type='get' {}><ask xmlns='urn:x'/></iq>",
}


@pytest.mark.parametrize("what", FLOODS)
async def test_a_flood_of_what_is_no_text_is_bounded(what: str) -> None:
    async with TestBot("[guards]\nrate = 0.001\nburst = 5\n", plugins=[Ear]) as bot:
        ear: Any = bot.app.plugins.get("ear")
        sent = []
        for number in range(50):
            head = f"from='mallory@localhost/{number}' to='bot@localhost/test' id='{number}'"
            sent += await bot.hears(FLOODS[what].format(head))
        assert ear.heard[what] == 5
        assert dropped(bot)["guard:rate"] == 45
        # Requests are owed an answer; what is none gets none. (slixmpp answers subscriptions.)
        answers = [each for each in sent if not each.tag.endswith("}presence")]
        assert len(answers) == (50 if what == "iq" else 0)
        await bot.hears(
            FLOODS[what].format("from='alice@localhost/x' to='bot@localhost/test' id='a'")
        )
        assert ear.heard[what] == 6


async def test_who_leaves_is_heard_of_whatever_was_before() -> None:
    async with TestBot("[guards]\nrate = 0.001\nburst = 1\n", plugins=[Ear]) as bot:
        ear: Any = bot.app.plugins.get("ear")
        for _ in range(10):
            await bot.hears(
                "<presence type='unavailable' from='m@localhost/x' to='bot@localhost'/>"
            )
        assert ear.heard["unavailable"] == 10
