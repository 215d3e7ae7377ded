"""Who holds a role: by JID, by domain, by what the room says; and by nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from zxmpp.commands import BROKER, LOCAL, Roles, RoomMember, Who, who_of
from zxmpp.commands.roles import member_of
from zxmpp.event import StanzaEvent

ROOM = "ops@rooms.example.org"
OTHER = "den@rooms.example.org"
ROLES = Roles(
    {
        "jid": ["alice@example.org"],
        "domain": ["example.net"],
        "owner": [RoomMember(ROOM, "owner")],
        "staff": [RoomMember(ROOM, ("owner", "admin"))],
        "id": [RoomMember(ROOM, occupant_id="x/1=")],
        "broker": [BROKER],
        "hosts": ["broker", "local"],
        "nobody": [],
    }
)


def held(who: Who) -> set[str]:
    return {role for role in ROLES if ROLES.holds(who, role)}


@pytest.mark.parametrize(
    ("who", "roles"),
    [
        (Who("alice@example.org"), {"jid"}),
        (Who("m@example.net"), {"domain"}),
        (Who("example.net"), {"domain"}),
        (Who("alice@example.org", ROOM, "owner"), {"jid", "owner", "staff"}),
        (Who(f"{ROOM}/Bob", ROOM, "owner"), {"owner", "staff"}),
        (Who(f"{ROOM}/Bob", ROOM, "admin"), {"staff"}),
        (Who(f"{ROOM}/Bob", ROOM, "", "x/1="), {"id"}),
        (Who(f"{ROOM}/Bob", ROOM, "admin", "x/1="), {"id", "staff"}),
        (Who(LOCAL), {"jid", "domain", "owner", "staff", "id", "broker", "hosts", "nobody"}),
        (Who(BROKER), {"broker"}),
    ],
)
def test_who_holds_what(who: Who, roles: set[str]) -> None:
    assert held(who) == roles


@pytest.mark.parametrize(
    "who",
    [
        Who(""),
        Who("@"),
        Who("alice@example.org.evil.net"),
        Who("m@example.net.evil.net"),
        Who("m@sub.example.net"),
        Who("m@xexample.net"),
        Who("example.net@evil.net"),
        Who("m@evil.net@example.net"),
        Who("x@example.net/nick"),
        Who("example.net/nick"),
        Who("evil.net/m@example.net"),
        Who("alice@example.org/phone"),
        Who(f"{ROOM}/alice@example.org"),
        Who(f"{ROOM}/@local"),
        Who("owner"),
        # Neither what another room says, nor what no room says.
        Who(f"{OTHER}/Bob", OTHER, "owner"),
        Who(f"{OTHER}/Bob", OTHER, "", "x/1="),
        Who("bob@example.org", "", "owner", "x/1="),
        Who(f"{ROOM}/Bob", ROOM, "member"),
        Who(f"{ROOM}/Bob", ROOM, "none"),
        Who(f"{ROOM}/Bob", ROOM, "", "x/1"),
        Who(f"{ROOM}/Bob", ROOM, "x/1="),
        Who(f"{ROOM}/Bob", ROOM),
    ],
)
def test_who_holds_nothing(who: Who) -> None:
    assert held(who) == set()


def test_by_default_nobody_holds_anything() -> None:
    assert not Roles().holds(Who("alice@example.org"), "admin")
    assert Roles().holds(Who(LOCAL), "admin")


def test_a_new_table_holds_at_once() -> None:
    roles = Roles({"admin": ["alice@example.org"], "ops": ["example.net"]})
    roles.set({"admin": ["bob@example.org"]})
    assert roles.holds(Who("bob@example.org"), "admin")
    assert not roles.holds(Who("alice@example.org"), "admin")
    assert not roles.holds(Who("m@example.net"), "ops")
    assert list(roles) == ["admin"]


@pytest.mark.parametrize(
    ("who", "role", "says"),
    [
        (Who("alice@example.org"), "jid", "yes: [roles] jid has alice@example.org"),
        (Who("m@example.net"), "domain", "yes: [roles] domain has example.net"),
        (Who(f"{ROOM}/B", ROOM, "admin"), "staff",
         f"yes: [roles] staff has {{room = {ROOM}, affiliation = owner or admin}}"),
        (Who(f"{ROOM}/B", ROOM, "", "x/1="), "id",
         f"yes: [roles] id has {{room = {ROOM}, occupant_id = x/1=}}"),
        (Who(LOCAL), "nobody", "yes: @local holds every role"),
        (Who("eve@evil.net"), "jid", "no: no entry of [roles] jid matches eve@evil.net"),
        (Who("eve@evil.net"), "owner", ("no: no entry of [roles] owner matches eve@evil.net; "
         "entries with a room count for who speaks there")),
        (Who(f"{ROOM}/B", ROOM, "member"), "owner",
         (f"no: no entry of [roles] owner matches {ROOM}/B in {ROOM} (affiliation member); "
         f"for that room it has {{room = {ROOM}, affiliation = owner}}")),
        (Who(f"{ROOM}/B", ROOM), "owner", (f"no: no entry of [roles] owner matches {ROOM}/B in "
         f"{ROOM} (neither affiliation nor occupant id); for that room it has "
         f"{{room = {ROOM}, affiliation = owner}}")),
        (Who("bob@b.org", "x@rooms.example.org", "owner"), "owner",
         ("no: no entry of [roles] owner matches bob@b.org in x@rooms.example.org "
         "(affiliation owner)")),
        (Who("alice@example.org"), "gone", "no: there is no [roles] gone"),
    ],
)  # fmt: skip
def test_why(who: Who, role: str, says: str) -> None:
    assert ROLES.explain(who, role) == says
    assert ROLES.holds(who, role) == says.startswith("yes")


@pytest.mark.parametrize(
    ("text", "member"),
    [
        ("Alice@Example.ORG", "alice@example.org"),
        ("EXAMPLE.net", "example.net"),
        ("STRASSE@example.org", "strasse@example.org"),
        ("@local", "@local"),
        ("@broker", "@broker"),
    ],
)
def test_members_are_normalised(text: str, member: str) -> None:
    assert member_of(text) == member


@pytest.mark.parametrize(
    "text",
    ["", " ", "alice@example.org/phone", "ops@rooms.example.org/Alice", "a b@example.org",
     " alice@example.org", "@", "@localhost", "@Local", "alice@", "*.example.org", "*@example.org",
     "alice@example.org@evil.net"],
)  # fmt: skip
def test_what_is_no_member(text: str) -> None:
    with pytest.raises(ValueError, match=r"bare JID|no patterns"):
        member_of(text)


@pytest.mark.parametrize("near", ["\u0430lice@example.org", "al\u0131ce@example.org"])
def test_letters_that_look_alike_are_not_the_same(near: str) -> None:
    assert member_of(near) != "alice@example.org"


def event(**more: Any) -> StanzaEvent:
    given: dict[str, Any] = {
        "source": None, "keys": (), "lane": "", "stanza": None, "name": "message", "type": "chat",
        "sender": "alice@example.org", "from_": "alice@example.org/x", "to": "",
    }  # fmt: skip
    return StanzaEvent(**given | more)


def test_who_sent_it() -> None:
    assert who_of(event()) == Who("alice@example.org")
    said = event(sender=f"{ROOM}/Bob", from_=f"{ROOM}/Bob", room=ROOM, affiliation="owner")
    assert who_of(said) == Who(f"{ROOM}/Bob", ROOM, "owner")
    # In private through the room: an Event's `room` is empty then.
    said = event(from_=f"{ROOM}/Bob", affiliation="owner", occupant_id="x")
    assert who_of(said) == Who("alice@example.org", ROOM, "owner", "x")


@pytest.mark.parametrize("sender", [LOCAL, BROKER])
def test_no_stanza_comes_from_our_own_names(sender: str) -> None:
    assert held(who_of(event(sender=sender, from_=sender))) == set()
