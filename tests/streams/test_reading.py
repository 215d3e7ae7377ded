"""What a message says besides its text, and who is believed."""

from __future__ import annotations

from typing import Any

import pytest

from zxmpp.streams.reading import (
    MAX_REACTIONS,
    Invitation,
    Reaction,
    own_words,
    receipt_of,
    reference_of,
)

from .conftest import Line
from .test_source import ROOM, Book, Ear, message

REACTIONS = "<reactions xmlns='urn:xmpp:reactions:0' id='m7'>{}</reactions>"
DIRECT = "<x xmlns='jabber:x:conference' jid='new@rooms.localhost' reason='hi' password='p'/>"
NEW = "new@rooms.localhost"


def mediated(inviter: str) -> str:
    return (
        f"<x xmlns='http://jabber.org/protocol/muc#user'><invite from='{inviter}'>"
        "<reason>hi</reason></invite><password>p</password></x>"
    )


@pytest.fixture
def ear(line: Line, monkeypatch: pytest.MonkeyPatch) -> Ear:
    monkeypatch.setattr(Book, "serves", lambda _, service: service == "rooms.localhost", False)
    return Ear(line)


@pytest.mark.parametrize(
    ("inner", "keys"),
    [
        (REACTIONS.format(""), (("message", "no-body"), ("message", "reaction"))),
        (f"<body>+1</body>{REACTIONS.format('')}", ("message", ("message", "reaction"))),
        (DIRECT, (("message", "no-body"), ("message", "invitation"))),
        (mediated("a@localhost"), (("message", "no-body"), ("message", "invitation"))),
        ("<x xmlns='http://jabber.org/protocol/muc#user'/>", (("message", "no-body"),)),
        ("<received xmlns='urn:xmpp:receipts' id='m7'/>",
         (("message", "no-body"), ("message", "receipt"))),
    ],
)  # fmt: skip
async def test_keys(ear: Ear, inner: str, keys: Any) -> None:
    assert ear.hear(message(inner)).keys == ("stanza", *keys)
    assert ear.hear(message(inner, type="error")).keys == ("stanza", ("message", "error"))


async def test_a_reaction(ear: Ear) -> None:
    emojis = "".join(f"<reaction>{emoji}</reaction>" for emoji in ("👍", "👍", "🎉", ""))
    event = ear.hear(message(REACTIONS.format(emojis)))
    assert Reaction.of(event) == Reaction("m7", ("👍", "🎉"))
    assert Reaction.of(ear.hear(message(REACTIONS.format("")))) == Reaction("m7", ())
    assert Reaction.of(ear.hear(message())) == Reaction("", ())


async def test_a_reaction_is_bounded(ear: Ear) -> None:
    many = "".join(f"<reaction>{number}</reaction>" for number in range(1000))
    long = f"<reaction>{'x' * 1000}</reaction>"
    reaction = Reaction.of(ear.hear(message(REACTIONS.format(long + many))))
    assert len(reaction.emojis) == MAX_REACTIONS
    assert reaction.emojis[0] == "0"


async def test_a_direct_invitation_is_its_senders(ear: Ear) -> None:
    event = ear.hear(message(DIRECT))
    assert Invitation.of(event) == Invitation(NEW, "alice@localhost", True, "hi", "p")


async def test_a_room_that_we_know_says_who_invites(ear: Ear) -> None:
    event = ear.hear(message(mediated("alice@localhost/desk"), from_=NEW, type="normal"))
    assert Invitation.of(event) == Invitation(NEW, "alice@localhost", True, "hi", "p")
    # Some add a direct one, for clients that know only those: it is not the room that invites.
    event = ear.hear(message(DIRECT + mediated(f"{NEW}/alice"), from_=NEW, type="normal"))
    assert Invitation.of(event) == Invitation(NEW, f"{NEW}/alice", True, "hi", "p")


async def test_a_stranger_may_say_what_it_likes(ear: Ear) -> None:
    forged = mediated("admin@localhost")
    event = ear.hear(message(forged, from_="room@evil.example", type="normal"))
    assert Invitation.of(event) == Invitation(
        "room@evil.example", "admin@localhost", False, "hi", "p"
    )
    # Somebody who writes as a room does.
    event = ear.hear(message(forged, from_="mallory@localhost/x", type="normal"))
    assert Invitation.of(event) == Invitation("", "", False)
    event = ear.hear(message(forged + DIRECT, from_="mallory@localhost/x", type="normal"))
    assert Invitation.of(event).inviter == "mallory@localhost"
    # An occupant of a room that we know, in private.
    event = ear.hear(message(forged, from_=f"{ROOM}/Masked", type="chat"))
    assert Invitation.of(event) == Invitation("", "", False)
    event = ear.hear(message(DIRECT, from_=f"{ROOM}/Masked", type="chat"))
    assert Invitation.of(event).inviter == f"{ROOM}/Masked"


@pytest.mark.parametrize("room", ["", "localhost", "@", "a b@c d/\u0000"])
async def test_an_invitation_to_no_room(ear: Ear, room: str) -> None:
    room = room.replace("\u0000", "x")
    event = ear.hear(message(f"<x xmlns='jabber:x:conference' jid='{room}'/>"))
    assert Invitation.of(event).room == ""
    assert Invitation.of(ear.hear(message())) == Invitation("", "", False)


async def test_what_a_message_is_referred_to_by(ear: Ear) -> None:
    sid = f"<body>hi</body><stanza-id xmlns='urn:xmpp:sid:0' id='s1' by='{ROOM}'/>"
    origin = "<body>hi</body><origin-id xmlns='urn:xmpp:sid:0' id='o1'/>"
    assert reference_of(ear.hear(message())) == "m1"
    assert reference_of(ear.hear(message(origin))) == "o1"
    assert reference_of(ear.hear(message(sid, f"{ROOM}/Alice", "groupchat"))) == "s1"
    assert reference_of(ear.hear(message(from_=f"{ROOM}/Alice", type="groupchat"))) == "m1"


async def test_a_receipt(ear: Ear) -> None:
    event = ear.hear(message("<received xmlns='urn:xmpp:receipts' id='m7'/>"))
    assert receipt_of(event) == "m7"
    assert receipt_of(ear.hear(message())) == ""


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [("0", "6", "!go"), ("0", "99", None), ("5", "2", None), ("x", "6", None), ("-1", "6", None)],
)
async def test_own_words(ear: Ear, start: str, end: str, words: str | None) -> None:
    whole = "> é \U0001f600\n!go"
    text = (
        f"<body>{whole}</body><fallback xmlns='urn:xmpp:fallback:0' for='{{}}'>"
        f"<body start='{start}' end='{end}'/></fallback>"
    )
    assert own_words(ear.hear(message(text.format("urn:xmpp:reply:0")))) == (words or whole)
    assert own_words(ear.hear(message(text.format("urn:other")))) == whole
