"""One room: our nick, whether we are in, and what the room says of its occupants.

Rules:
- Only the room's own presence tells who somebody is. What stands in it twice was put in by an
  occupant, and then none of it is believed.
- Occupant ids (XEP-0421) count only where the room announces that it gives them: elsewhere anybody
  can put one into what they send. It is asked after each join.
- At most `MAX_OCCUPANTS` are known. Of others nothing is known but the occupant JID.
"""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct
from slixmpp.jid import JID

from zxmpp.errors import StreamError
from zxmpp.streams.names import DISCO_INFO, MUC_USER, OCCUPANT_ID
from zxmpp.streams.writing import clean_text

__all__ = [
    "MAX_OCCUPANTS", "NOBODY", "Occupant", "Room", "RoomState", "bare_of", "check_nick",
]  # fmt: skip

MAX_OCCUPANTS = 10_000
#: Bytes of a nick (RFC 7622, 3.4).
MAX_NICK = 1023
#: Seconds that the room may take to say what it announces.
ASK_TIMEOUT = 30.0

#: XEP-0045, 5.2
_AFFILIATIONS = frozenset({"owner", "admin", "member", "none"})


class RoomState(StrEnum):
    """Whether we are in."""

    OUT = "out"
    JOINING = "joining"
    JOINED = "joined"


class Occupant(Struct, frozen=True):
    """What the room's presence said of an occupant; empty where it said nothing."""

    #: The real bare JID.
    real: str = ""
    #: ``owner``, ``admin``, ``member`` or ``none``.
    affiliation: str = ""
    #: What the presence had as such: `Room.known` says whether it counts.
    occupant_id: str = ""


#: Of whom the room said nothing.
NOBODY = Occupant()


def bare_of(jid: str) -> str:
    """`jid` without its resource; empty if it is none."""
    try:
        return str(JID(jid).bare)
    except ValueError:
        return ""


def _occupant(xml: Any) -> Occupant:
    """What the presence `xml` says of its sender."""
    items = [item for x in xml.iterfind(f"{MUC_USER}x") for item in x.iterfind(f"{MUC_USER}item")]
    ids = [each.get("id", "") for each in xml.iterfind(OCCUPANT_ID)]
    if len(items) != 1 or len(ids) > 1:
        return NOBODY
    affiliation = items[0].get("affiliation", "")
    return Occupant(
        bare_of(items[0].get("jid", "")),
        affiliation if affiliation in _AFFILIATIONS else "",
        ids[0] if ids else "",
    )


def check_nick(nick: str) -> None:
    """StreamError if no room takes `nick` (RFC 7622, 3.4); an empty one is none yet."""
    long = len(nick.encode(errors="replace")) > MAX_NICK
    controls = clean_text(nick) != nick or "\n" in nick or "\t" in nick
    if long or controls or (nick and not nick.strip()):
        raise StreamError(
            f"{nick[:100]!r} is no nick: it is too long, or has characters that no room takes"
        )


class Room:
    """One room: our nick, the state, the occupants."""

    def __init__(self, jid: str, nick: str, password: str = "") -> None:
        self.jid = jid
        self.wanted_nick = nick
        #: Our nick, as the room has it.
        self.nick = nick
        self.password = password
        self.state = RoomState.OUT
        #: Whether what comes is said now: history is over.
        self.live = False
        #: By nick.
        self.occupants: dict[str, Occupant] = {}
        #: Whether the room announces that the occupant ids in what comes from it are its own.
        self.gives_ids = False
        #: The question for that which is under way, or was answered last.
        self.asked: asyncio.Future[Any] | None = None
        #: Whether the room let us in, or told us why not, in this session.
        self.settled = False
        self.timer: asyncio.TimerHandle | None = None
        self.tries = 0
        self.failures = 0
        self.last_heard = 0.0

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def note(self, nick: str, xml: Any) -> bool:
        """The presence `xml` came from `nick`. False if there is no room left for one more."""
        if nick not in self.occupants and len(self.occupants) >= MAX_OCCUPANTS:
            return False
        self.occupants[nick] = _occupant(xml)
        return True

    def known(self, nick: str, said: str = "") -> Occupant:
        """What the room vouches for of who is `nick` now. `said` is the occupant id in a message,
        which has to agree: else it is another one's, who had the nick before."""
        occupant = self.occupants.get(nick, NOBODY)
        if not occupant.occupant_id:
            return occupant
        if not self.gives_ids:
            return msgspec.structs.replace(occupant, occupant_id="")
        return occupant if said in ("", occupant.occupant_id) else NOBODY

    def forget(self) -> None:
        """We are out: nothing is known of anybody."""
        self.occupants.clear()
        self.gives_ids = False
        self.asked = None

    def ask(self, xmpp: Any, own: str) -> None:
        """Ask, as `own`, whether the room gives occupant ids (XEP-0421, 3)."""
        iq = xmpp.make_iq_get(ito=self.jid, ifrom=own)
        iq.xml.append(ET.Element(f"{DISCO_INFO}query"))
        self.asked = iq.send(timeout=ASK_TIMEOUT)
        self.asked.add_done_callback(self._answered)

    def _answered(self, answer: asyncio.Future[Any]) -> None:
        if answer.cancelled() or answer.exception() is not None or answer is not self.asked:
            return
        features = answer.result().xml.iterfind(f"{DISCO_INFO}query/{DISCO_INFO}feature")
        namespace = OCCUPANT_ID[1:].partition("}")[0]
        self.gives_ids = any(feature.get("var") == namespace for feature in features)
