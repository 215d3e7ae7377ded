"""Why a stream has no session, in words: what is wrong, and what will mend it."""

from __future__ import annotations

from slixmpp import JID

from zxmpp.streams.settings import StreamSettings

__all__ = ["CONFLICT", "REFUSALS", "WRONG_PASSWORD", "unreachable"]

#: Stream errors (RFC 6120, 4.9.3) that another try in a moment will not mend, and what will.
REFUSALS = {
    "not-authorized": "the secret is wrong, or the server does not know this JID: compare with the "
    "server's configuration",
    "host-unknown": "the server does not know this JID: add it to the server's configuration, or "
    "check jid, kind and port",
    "host-gone": "the server no longer serves this JID: give another one",
    "improper-addressing": "the server does not serve this JID: check jid and host",
    "invalid-namespace": "this port is not for this kind of stream: check kind and port",
    "invalid-from": "the server does not accept this JID here: check jid",
    "unsupported-version": "the server speaks no XMPP 1.0 on this port: check port",
    "see-other-host": "the server names another host, which is not followed: set host and port",
}
CONFLICT = "this JID is in use by another connection: stop that one, or give this bot another JID"
WRONG_PASSWORD = (
    "the password is wrong, or the account does not exist: check jid and the secret, and start anew"
)


def unreachable(reason: object, settings: StreamSettings) -> str:
    """`reason`, as slixmpp tells it, with what to look at."""
    if isinstance(reason, ConnectionRefusedError):
        return f"{reason}: nobody listens there: see that the server is up, and check host and port"
    if isinstance(reason, str) and reason.startswith("No DNS record"):
        if settings.host:
            return f"no DNS record for {settings.host}; check host"
        domain = JID(settings.jid).domain
        return f"no DNS record for {domain}; check jid, or say in host where the server is"
    return str(reason)
