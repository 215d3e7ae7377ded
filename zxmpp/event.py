"""What flows through the pipeline: one `Event` per arrival. Imports no other zxmpp module.

Rules:
- An Event is frozen, slotted and typed; it is made once, where it came in, by the source.
- `sender` is an identity that was verified by the server or the socket, never a name that the
  sender chose (a room nick, a display name, a header).
- An Event carries the way to answer it: its `source`.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

__all__ = [
    "HANDLED",
    "Event",
    "Failure",
    "FramesEvent",
    "Handled",
    "Lifecycle",
    "LifecycleEvent",
    "RequestEvent",
    "Source",
    "StanzaEvent",
]

#: A key of the route index: what kind of arrival it is, in one hashable value.
Key: TypeAlias = Hashable


class Failure(Struct, frozen=True):
    """Why an Event was not handled, as the sender may know it.

    `condition` is a defined stanza-error condition and `kind` its error type (RFC 6120, 8.3.2 and
    8.3.3). `reference` leads to the traceback in the log; empty where there is none. `application`
    is the XML name of an application-specific condition (8.3.4), if there is one.
    """

    condition: str
    kind: str
    text: str
    reference: str = ""
    application: str = ""


class Source(Protocol):
    """Where Events come in and answers go out: a stream or a socket."""

    @property
    def name(self) -> str:
        """The name in the configuration, as in ``[streams.NAME]`` or ``[sockets.NAME]``."""

    @property
    def pausable(self) -> bool:
        """Whether `pause` pushes back on the peer. False for streams: an answer that a handler
        awaits may be behind in the same stream."""

    @property
    def owes_answer(self) -> bool:
        """Whether Events from here may want an answer even where no handler has one: an IQ request
        and a request on a REP socket do. Then the pipeline calls `answer` with None."""

    def pause(self) -> None:
        """Stop reading. Idempotent."""

    def resume(self) -> None:
        """Read again. Idempotent."""

    def answer(self, event: Any, reply: Any) -> None:
        """Send what a handler returned (or yielded) for `event`. With None: settle what is owed to
        the sender, if anything still is.

        Raises TypeError for a reply that this source can't send, ValueError where the event has
        no way back (a PULL socket, a presence).
        """

    def fail(self, event: Any, failure: Failure) -> bool:
        """Tell the sender of `event` that it was not handled. False if there is no way to."""


class Event(Struct, frozen=True, eq=False):
    """One arrival."""

    #: Where it came in, and where its answer goes out: a stream or a socket.
    source: Source
    #: The buckets of the route index that it belongs to.
    keys: tuple[Key, ...]
    #: Who sent it: the only identity that counts.
    sender: str
    #: The conversation that it is part of: Events of one lane are handled in order.
    lane: Hashable

    @property
    def head(self) -> bytes:
        """What topic prefixes are compared with; empty for all but frames."""
        return b""


class FramesEvent(Event, frozen=True, eq=False):
    """One whole multipart message from a ZeroMQ socket.

    `sender` is the hex form of the routing id, else the socket's name.
    """

    #: The message's frames without the routing prefix.
    frames: list[bytes]
    #: That prefix as a reply needs it again: the routing id (and the empty delimiter after it, if
    #: there was one) of a ROUTER or STREAM socket; empty for all other types.
    envelope: list[bytes]

    @property
    def head(self) -> bytes:
        return self.frames[0] if self.frames else b""


class StanzaEvent(Event, frozen=True, eq=False):
    """One stanza (RFC 6120, 8) from an XMPP stream.

    `sender` is the verified bare JID of whoever sent it: the 'from'
    that the server stamped or, in a room, the real JID if the room's own presence told us. Where
    a room hides it, `sender` is the occupant JID, ``room@service/nick``, which never equals a bare
    JID. Allow-lists look at `sender` only; roles also at what the room vouches for, the last two.
    """

    #: slixmpp's object.
    stanza: Any
    #: ``message``, ``presence`` or ``iq``; the local name of anything else.
    name: str
    #: The 'type' attribute with its default filled in: ``normal`` for a message, ...
    type: str
    #: The full JID in 'from'. In a room this is the occupant JID.
    from_: str
    #: The JID in 'to', as stamped by the server.
    to: str
    #: The text of ``<body/>``; empty if there is none.
    body: str = ""
    #: The bare JID of the room for a message or presence that came through a room; else empty.
    room: str = ""
    #: The nick of the sender in that room. Chosen by the sender: a label, never an identity.
    nick: str = ""
    #: Facts that guards judge: any of ``delayed`` (XEP-0203), ``own-echo``, ``carbon``
    #: (XEP-0280), ``history`` (before our own join was complete, XEP-0045).
    marks: frozenset[str] = frozenset()
    #: XEP-0359 stanza-id that our own server or the room assigned; empty if none.
    stanza_id: str = ""
    #: What the room's own presence says of the sender (XEP-0045): ``owner``, ``admin``, ``member``,
    #: ``none``; empty outside of rooms that we asked to join.
    affiliation: str = ""
    #: The sender's occupant id (XEP-0421), if the room announces that it gives them.
    occupant_id: str = ""


class RequestEvent(Event, frozen=True, eq=False):
    """One HTTP request that a plugin let in; its source answers it.

    `sender` is the hook's name: what stands in the request says nothing of who sent it.
    """

    #: The name of the hook that it came to.
    hook: str
    #: Names in lower case; none that shows a secret.
    headers: dict[str, str]
    #: As it was sent.
    body: bytes
    #: The address that the connection came from; behind a proxy the proxy's.
    remote: str = ""
    #: What follows ``?`` in the address.
    query: dict[str, str] = {}


class Lifecycle(StrEnum):
    """What can change in the life of the app, a stream, a room or a socket."""

    STARTED = "started"  #: app: all is up
    STOPPING = "stopping"  #: app: drain begins
    ONLINE = "online"  #: stream: session established
    OFFLINE = "offline"  #: stream: session lost
    REFUSED = "refused"  #: stream: credentials or address refused by the server
    GIVEN_UP = "given-up"  #: stream: a stanza will not be sent; `detail` names it and why
    JOINED = "joined"  #: room: our own presence came back
    LEFT = "left"  #: room: we are out, `detail` says why
    LISTENING = "listening"  #: socket: bound
    CONNECTED = "connected"  #: socket: a transport connection is up
    ACCEPTED = "accepted"  #: socket: a peer connected to us
    DISCONNECTED = "disconnected"  #: socket: a connection broke
    CLOSED = "closed"  #: socket: a connection or listener was closed on our side
    RETRIED = "retried"  #: socket: a connection attempt failed and is tried again
    HANDSHAKE_DONE = "handshake-done"  #: socket: ZMTP handshake done
    HANDSHAKE_FAILED = "handshake-failed"  #: socket: ZMTP handshake failed (also CURVE and ZAP)
    FAILED = "failed"  #: socket: bind, accept or close failed


class LifecycleEvent(Event, frozen=True, eq=False):
    """A change in the life of the app, a stream, a room or a socket."""

    #: What has changed.
    what: Lifecycle
    #: Of whom: a stream's or socket's name, or a room's JID.
    subject: str
    #: A text: the reason, the nick, the endpoint.
    detail: str = ""


class Handled:
    """Type of `HANDLED`."""

    def __repr__(self) -> str:
        return "HANDLED"


#: What a handler of an IQ returns when it has sent (or will send) the result itself.
HANDLED = Handled()
