"""What a room says of its occupants, and when it is believed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from zxmpp.streams.room import NOBODY, Occupant

from .conftest import Line
from .test_rooms import DISCO_INFO, IDS, MUC_USER, ROOM, Table, answer


@pytest.fixture
def table(line: Line) -> Iterator[Table]:
    table = Table(line)
    yield table
    table.rooms.close()


def ident(value: str) -> str:
    return f"<occupant-id xmlns='{IDS}' id='{value}'/>"


async def test_affiliations_are_kept_up_to_date(table: Table) -> None:
    await table.joined()
    for affiliation in ("owner", "member", "none"):
        table.present("Alice", affiliation=affiliation)
        assert table.room.known("Alice") == Occupant("", affiliation)
    table.present("Alice", affiliation="emperor")
    assert table.room.known("Alice") == NOBODY
    table.present("Alice", affiliation="owner")
    table.present("Alice", type="unavailable", affiliation="owner")
    assert table.room.known("Alice") == NOBODY


async def test_a_nick_that_changes_hands(table: Table) -> None:
    await table.joined()
    await table.announce(IDS)
    table.present("Alice", jid="alice@localhost/desk", affiliation="owner", more=ident("a"))
    table.present("Alice", 303, type="unavailable", new="Alicia", affiliation="owner")
    table.present("Alicia", jid="alice@localhost/desk", affiliation="owner", more=ident("a"))
    table.present("Alice", jid="mallory@localhost/x", more=ident("m"))
    assert table.room.known("Alice") == Occupant("mallory@localhost", "none", "m")
    assert table.room.known("Alicia") == Occupant("alice@localhost", "owner", "a")


async def test_nobody_is_known_once_we_are_out(table: Table) -> None:
    await table.joined()
    await table.announce(IDS)
    table.present("Alice", jid="alice@localhost/desk", affiliation="owner", more=ident("a"))
    table.present("bot", 110, 307, type="unavailable")
    assert table.room.known("Alice") == NOBODY
    assert not table.room.gives_ids


@pytest.mark.parametrize("features", [[], [MUC_USER], [IDS + ":x"], [IDS, "other"]])
async def test_occupant_ids_count_where_the_room_gives_them(
    table: Table, features: list[str]
) -> None:
    await table.joined()
    table.present("Alice", affiliation="owner", more=ident("a"))
    assert table.room.known("Alice") == Occupant("", "owner")
    await table.announce(*(feature.replace("'", "") for feature in features))
    expected = "a" if IDS in features else ""
    assert table.room.known("Alice") == Occupant("", "owner", expected)


async def test_who_is_asked_anew_after_each_join(table: Table) -> None:
    await table.joined()
    table.line.lose()
    table.rooms.session_ended()
    first = table.question
    await table.joined()
    # The late answer to the first question is of another time.
    second, table.question = table.question, first
    await table.announce(IDS)
    assert not table.room.gives_ids
    table.question = second
    await table.announce(IDS)
    assert table.room.gives_ids


async def test_only_the_room_announces(table: Table) -> None:
    await table.joined()
    found = re.search(r'<iq[^>]* id="([^"]+)"', table.question)
    assert found
    for stranger in (f"{ROOM}/Mallory", "mallory@evil.example/x"):
        table.line.feed(
            f"<iq type='result' id='{found[1]}' from='{stranger}'><query xmlns='{DISCO_INFO}'>"
            f"<feature var='{IDS}'/></query></iq>"
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not table.room.gives_ids


async def test_a_room_that_refuses_to_tell_gives_none(table: Table) -> None:
    await table.joined()
    found = re.search(r'<iq[^>]* id="([^"]+)"', table.question)
    assert found
    await answer(table, found[1], "forbidden")
    table.line.feed(
        f"<iq type='error' id='{found[1]}' from='{ROOM}'><error type='auth'>"
        "<forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
    )
    await asyncio.sleep(0)
    assert not table.room.gives_ids


async def test_what_stands_twice_is_forged(table: Table) -> None:
    """A service that leaves in what an occupant put into the own presence."""
    await table.joined()
    await table.announce(IDS)
    twice = f"<x {MUC_USER}><item affiliation='owner' jid='admin@localhost'/></x>"
    table.present("Mallory", more=twice)
    assert table.room.known("Mallory") == NOBODY
    table.present("Mallory", jid="mallory@localhost", inner="<item affiliation='owner'/>")
    assert table.room.known("Mallory") == NOBODY
    table.present("Mallory", affiliation="member", more=ident("a") + ident("m"))
    assert table.room.known("Mallory") == NOBODY
