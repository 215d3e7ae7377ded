"""XML names that several modules of this package look for."""

from __future__ import annotations

from typing import Final

__all__ = [
    "CARBONS", "CHAT_STATES", "CLIENT", "COMPONENT", "CORRECTION", "DELAYS", "DIRECT_INVITATION",
    "DISCO_INFO", "FALLBACK", "HINTS", "MUC", "MUC_USER", "OCCUPANT_ID", "OOB", "ORIGIN_ID", "PING",
    "REACTIONS", "RECEIPTS", "REPLY", "STANZA_ERRORS", "STANZA_ID", "STYLING",
]  # fmt: skip

#: The namespaces that a message's body may be in (RFC 6120, 4.8.2; XEP-0114).
CLIENT: Final = "jabber:client"
COMPONENT: Final = "jabber:component:accept"
#: XEP-0030
DISCO_INFO: Final = "{http://jabber.org/protocol/disco#info}"
#: XEP-0045
MUC: Final = "{http://jabber.org/protocol/muc}"
MUC_USER: Final = "{http://jabber.org/protocol/muc#user}"
#: XEP-0199
PING: Final = "{urn:xmpp:ping}ping"
#: XEP-0203, and XEP-0091 before it
DELAYS: Final = ("{urn:xmpp:delay}delay", "{jabber:x:delay}x")
#: XEP-0280
CARBONS: Final = tuple(
    f"{{urn:xmpp:carbons:{version}}}{name}" for version in (1, 2) for name in ("sent", "received")
)
#: XEP-0359
STANZA_ID: Final = "{urn:xmpp:sid:0}stanza-id"
#: RFC 6120, 8.3.3
STANZA_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"
#: XEP-0421
OCCUPANT_ID: Final = "{urn:xmpp:occupant-id:0}occupant-id"
#: XEP-0066
OOB: Final = "jabber:x:oob"
#: XEP-0085
CHAT_STATES: Final = "http://jabber.org/protocol/chatstates"
#: XEP-0184
RECEIPTS: Final = "urn:xmpp:receipts"
#: XEP-0249
DIRECT_INVITATION: Final = "jabber:x:conference"
#: XEP-0308
CORRECTION: Final = "urn:xmpp:message-correct:0"
#: XEP-0334
HINTS: Final = "urn:xmpp:hints"
#: XEP-0359
ORIGIN_ID: Final = "{urn:xmpp:sid:0}origin-id"
#: XEP-0393
STYLING: Final = "urn:xmpp:styling:0"
#: XEP-0428
FALLBACK: Final = "urn:xmpp:fallback:0"
#: XEP-0444
REACTIONS: Final = "urn:xmpp:reactions:0"
#: XEP-0461
REPLY: Final = "urn:xmpp:reply:0"
