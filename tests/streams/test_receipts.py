"""Who gets a receipt, and who does not."""

from __future__ import annotations

import pytest

from zxmpp.streams.receipts import BURST, Receipts

from .conftest import Line
from .test_source import DELAY, ROOM, Ear, message

ASKS = "<body>hi</body><request xmlns='urn:xmpp:receipts'/>"


@pytest.fixture
def ear(line: Line) -> Ear:
    ear = Ear(line)
    ear.receipts = Receipts(ear.source)  # type: ignore[attr-defined]
    return ear


@pytest.mark.parametrize("type", ["chat", "normal"])
async def test_who_writes_to_us_gets_one(ear: Ear, type: str) -> None:
    ear.hear(message(ASKS, type=type, to="ann@bot.localhost"))
    sent = await ear.line.sent()
    assert '<received xmlns="urn:xmpp:receipts" id="m1"' in sent
    assert 'to="alice@localhost/desk"' in sent
    assert "<body" not in sent
    if ear.line.xmpp.is_component:
        assert 'from="ann@bot.localhost"' in sent


async def test_the_event_is_heard_all_the_same_and_once(ear: Ear) -> None:
    assert ear.hear(message(ASKS)).body == "hi"
    assert ear.source.counts["receipts"] == 1


@pytest.mark.parametrize(
    "text",
    [
        message(),
        message(ASKS, type="error"),
        message(ASKS, f"{ROOM}/Alice", "groupchat"),
        message(ASKS, f"{ROOM}/Alice", "chat"),
        message(ASKS, "other@rooms.localhost/x", "groupchat"),
        message(ASKS + DELAY),
        message(ASKS + "<received xmlns='urn:xmpp:receipts' id='m0'/>"),
        message(ASKS).replace("id='m1'", ""),
        message("<x xmlns='other'><request xmlns='urn:xmpp:receipts'/></x>"),
    ],
)
async def test_nobody_else_does(ear: Ear, text: str) -> None:
    ear.hear(text)
    assert await ear.line.sent() == ""


async def test_not_with_slixmpps_own(ear: Ear) -> None:
    ear.line.xmpp.register_plugin("xep_0184")
    ear.hear(message(ASKS))
    assert (await ear.line.sent()).count("urn:xmpp:receipts") == 1


async def test_not_after_the_end(ear: Ear) -> None:
    ear.receipts.close()  # type: ignore[attr-defined]
    ear.hear(message(ASKS))
    assert await ear.line.sent() == ""


async def test_nobody_gets_more_than_his_share(ear: Ear) -> None:
    for _ in range(BURST + 30):
        ear.hear(message(ASKS))
    counts = ear.source.counts
    assert BURST <= counts["receipts"] < BURST + 30
    assert counts["receipts"] + counts["receipts-over-rate"] == BURST + 30
    ear.hear(message(ASKS, from_="bob@localhost/x"))
    assert counts["receipts"] + counts["receipts-over-rate"] == BURST + 31
    assert 'to="bob@localhost/x"' in await ear.line.sent()
