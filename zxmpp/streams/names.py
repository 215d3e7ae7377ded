"""XML names that several modules of this package look for."""

from __future__ import annotations

from typing import Final

__all__ = [
    "CARBONS", "CLIENT", "COMPONENT", "DELAYS", "DISCO_INFO", "MUC", "MUC_USER", "OCCUPANT_ID",
    "PING", "STANZA_ERRORS", "STANZA_ID",
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
