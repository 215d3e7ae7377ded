"""Bookmarked rooms: which are joined, what the server is told, and what it may refuse."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from zxmpp.streams import bookmarks
from zxmpp.streams.bookmarks import Bookmarks
from zxmpp.streams.chores import Chores
from zxmpp.streams.rooms import Rooms

from .conftest import Line, refusal

PUBSUB = "http://jabber.org/protocol/pubsub"


class Account:
    """A client whose server keeps bookmarks."""

    def __init__(self, line: Line) -> None:
        line.xmpp.register_plugin("xep_0060")
        line.online()
        line.answers(self._answer)
        self.line = line
        self.items = ""
        self.told: list[str] = []
        self.refuse: dict[str, str] = {}
        self.rooms = Rooms(
            line.xmpp, "bot", lambda: "bot@localhost/test", lambda *_: None, lambda: None
        )
        self.chores = Chores("main")
        self.bookmarks = Bookmarks(line.xmpp, self.rooms, self.chores)

    def _answer(self, type_: str, to: str, inner: str) -> str | None:
        if "<items" in inner:
            if not self.items:
                return refusal("item-not-found")
            return (f"<pubsub xmlns='{PUBSUB}'><items node='urn:xmpp:bookmarks:1'>{self.items}"
                    "</items></pubsub>")  # fmt: skip
        if "pubsub" not in inner:
            return None
        what = re.findall("<(publish-options|configure|create|publish|retract)", inner)[-1]
        item = "".join(re.findall('<item id="([^"]*)"', inner))
        self.told.append(f"{what} {item}".rstrip())
        condition = self.refuse.get(what) or self.refuse.get(item)
        return refusal(condition) if condition else ""

    async def settle(self) -> None:
        async with asyncio.timeout(5):
            while self.chores.running:
                await asyncio.sleep(0)

    async def session(self) -> list[str]:
        self.bookmarks.session_started()
        await self.settle()
        return [f"{room.jid}/{room.wanted_nick}" for room in self.rooms]


def bookmark(jid: str, nick: str = "", autojoin: str = "true", more: str = "") -> str:
    inner = f"<nick>{nick}</nick>" if nick else ""
    return (f"<item id='{jid}'><conference xmlns='urn:xmpp:bookmarks:1' autojoin='{autojoin}'>"
            f"{inner}{more}</conference></item>")  # fmt: skip


@pytest.fixture
def account(client: Line) -> Account:
    return Account(client)


async def test_those_that_say_so_are_joined(account: Account) -> None:
    account.items = (
        bookmark("a@rooms.localhost", "herald") + bookmark("b@rooms.localhost", autojoin="1")
        + bookmark("c@rooms.localhost", autojoin="false") + "<item id='d@rooms.localhost'/>"
        + "<item id='e@rooms.localhost'><other xmlns='urn:other' autojoin='true'/></item>"
        + bookmark("f@rooms.localhost", more="<password>secret</password>")
    )  # fmt: skip
    assert await account.session() == [
        "a@rooms.localhost/herald", "b@rooms.localhost/bot", "f@rooms.localhost/bot",
    ]  # fmt: skip
    assert account.rooms.get("f@rooms.localhost").password == "secret"  # type: ignore[union-attr]
    assert account.chores.counts == {}


async def test_there_may_be_none(account: Account) -> None:
    assert await account.session() == []
    assert account.chores.counts == {}


async def test_the_configuration_comes_first(account: Account) -> None:
    account.rooms.join("a@rooms.localhost", "own")
    account.items = bookmark("a@rooms.localhost", "herald")
    assert await account.session() == ["a@rooms.localhost/own"]


async def test_nonsense_is_left_out_and_counted(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bookmarks, "MAX_ROOMS", 2)
    account.items = "".join(
        [bookmark("rooms.localhost"), bookmark("a@b@c"), bookmark("x@rooms.localhost", "n" * 1100),
         *(bookmark(f"r{number}@rooms.localhost") for number in range(4))]
    )  # fmt: skip
    assert await account.session() == ["r0@rooms.localhost/bot", "r1@rooms.localhost/bot"]
    assert account.chores.counts == {"bookmark-not-joined": 5}


async def test_what_is_joined_and_left_is_told(account: Account) -> None:
    await account.session()
    account.bookmarks.add("a@rooms.localhost", "herald")
    await account.settle()
    account.bookmarks.remove("a@rooms.localhost")
    await account.settle()
    assert account.told == ["publish-options a@rooms.localhost", "retract a@rooms.localhost"]


async def test_what_changes_while_offline_is_told_later(account: Account) -> None:
    account.bookmarks.add("a@rooms.localhost", "herald")
    account.bookmarks.add("b@rooms.localhost", "herald")
    account.bookmarks.remove("b@rooms.localhost")
    account.items = bookmark("b@rooms.localhost")
    assert account.told == []
    # What was left is not joined, though the server still says so.
    assert await account.session() == []
    assert account.told == ["publish-options a@rooms.localhost", "retract b@rooms.localhost"]
    assert await account.session() == []
    assert len(account.told) == 2


async def test_a_server_that_knows_no_options_gets_a_private_node(account: Account) -> None:
    await account.session()
    account.refuse = {"publish-options": "resource-constraint", "create": "conflict"}
    account.bookmarks.add("a@rooms.localhost", "herald")
    await account.settle()
    assert account.told == [
        "publish-options a@rooms.localhost", "create", "configure", "publish a@rooms.localhost",
    ]  # fmt: skip
    assert account.chores.counts == {}


async def test_what_can_not_be_private_is_not_published(account: Account, caplog: Any) -> None:
    await account.session()
    account.refuse = {"publish-options": "conflict", "configure": "not-acceptable"}
    account.bookmarks.add("a@rooms.localhost", "herald")
    await account.settle()
    assert "publish a@rooms.localhost" not in account.told
    assert account.chores.counts == {"bookmark-refused": 1}
    assert "the bookmark of a@rooms.localhost is not changed: not-acceptable" in caplog.text


async def test_one_refusal_does_not_hold_up_the_next(account: Account) -> None:
    await account.session()
    account.refuse = {"a@rooms.localhost": "forbidden"}
    account.bookmarks.add("a@rooms.localhost", "herald")
    account.bookmarks.add("b@rooms.localhost", "herald")
    await account.settle()
    assert account.told[-1] == "publish-options b@rooms.localhost"
    assert account.chores.counts == {"bookmark-refused": 1}
