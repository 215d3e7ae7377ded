"""Majordomo on the wire: frames to messages and back. No I/O; imports only `messages`.

Rules:
- Strict in what is sent, tolerant in what comes as far as it can't be mistaken: a worker's REPLY
  without the empty frame behind the address is read (the guide's PHP worker sends it so).
- Whatever is not understood is `Malformed`.
- Everything but meta data is bytes: services, addresses and bodies are never decoded here.
- A dialect is what a peer's first message shows: header and leading empty frame together.

Sources: RFC 7 (MDP/0.1), RFC 18 (MDP/0.2), zeromq/rfc. The extension for zxmpp's own peers is made
of commands of RFC 18 with the highest bit set, and a frame of JSON behind the name; no peer gets one
that has not used one itself. docs/reference/mdp.md has all frames as tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from zxmpp.mdp.messages import Command, Malformed

__all__ = ["DIALECTS", "MMI", "V01", "V02", "Dialect", "Message", "Tag02", "decode", "split"]

#: Services that begin so are the broker's own (RFC 8).
MMI: Final = b"mmi."
#: Longest name of a service, in bytes.
MAX_SERVICE: Final = 255

_EMPTY: Final = b""


class Message(Struct, frozen=True, gc=False):
    """One message as it came in. `name` is the service of READY and a client's REQUEST, PARTIAL,
    FINAL; the address else. `meta` is the JSON of an extended message, None in a plain one."""

    dialect: Dialect
    worker: bool
    command: Command
    name: bytes
    meta: bytes | None
    body: list[bytes]


class Dialect:
    """One way to write Majordomo. The methods return frames without a routing id.

    `delimited` is whether an empty frame stands first; `codes` are a worker's commands.
    """

    def __init__(
        self, name: str, version: bytes, delimited: bool, codes: dict[Command, bytes], *,
        client_codes: dict[Command, bytes] | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.delimited = delimited
        #: Whether a client can be sent parts of an answer.
        self.has_partial = client_codes is not None
        head = [_EMPTY] if delimited else []
        self.client_header = b"MDPC" + version
        self.worker_header = b"MDPW" + version
        self._worker = [*head, self.worker_header]
        self._client = [*head, self.client_header]
        self.codes = codes
        self.client_codes = client_codes
        self.heartbeat = [*self._worker, codes[Command.HEARTBEAT]]
        self.disconnect = [*self._worker, codes[Command.DISCONNECT]]
        self._request = [*self._worker, codes[Command.REQUEST]]
        self._ready = [*self._worker, codes[Command.READY]]
        final = [client_codes[Command.FINAL]] if client_codes else []
        self._client_final = [*self._client, *final]
        self._client_request = [*self._client, *([b"\x01"] if client_codes else [])]

    def __repr__(self) -> str:
        return f"<Dialect {self.name}>"

    # -- plain, as the RFCs have it --------------------------------------------------------------

    def ready(self, service: bytes) -> list[bytes]:
        """Worker to broker."""
        return [*self._ready, service]

    def request(self, address: bytes, body: Sequence[bytes]) -> list[bytes]:
        """Broker to worker."""
        return [*self._request, address, _EMPTY, *body]

    def reply(self, command: Command, address: bytes, body: Sequence[bytes]) -> list[bytes]:
        """Worker to broker: PARTIAL or FINAL."""
        return [*self._worker, self.codes[command], address, _EMPTY, *body]

    def client_request(self, service: bytes, body: Sequence[bytes]) -> list[bytes]:
        """Client to broker."""
        return [*self._client_request, service, *body]

    def client_final(self, service: bytes, body: Sequence[bytes]) -> list[bytes]:
        """Broker to client."""
        return [*self._client_final, service, *body]

    def client_partial(self, service: bytes, body: Sequence[bytes]) -> list[bytes]:
        """Broker to client; only where `has_partial`."""
        assert self.client_codes is not None
        return [*self._client, self.client_codes[Command.PARTIAL], service, *body]

    # -- the extension ---------------------------------------------------------------------------

    def extended(
        self, command: Command, name: bytes, meta: bytes, body: Sequence[bytes] = ()
    ) -> list[bytes]:
        """Between a worker of ours and the broker, both ways."""
        return [*self._worker, _WORKER_EXTENDED[command], name, meta, *body]

    def client_extended(
        self, command: Command, service: bytes, meta: bytes, body: Sequence[bytes] = ()
    ) -> list[bytes]:
        """Between a client of ours and the broker, both ways."""
        return [*self._client, _CLIENT_EXTENDED[command], service, meta, *body]

    @property
    def client_heartbeat(self) -> list[bytes]:
        """Broker to a client of ours that waits for an answer."""
        return [*self._client, _CLIENT_EXTENDED[Command.HEARTBEAT]]


_CODES_01 = {
    Command.READY: b"\x01", Command.REQUEST: b"\x02", Command.FINAL: b"\x03",
    Command.HEARTBEAT: b"\x04", Command.DISCONNECT: b"\x05",
}  # fmt: skip
_CODES_02 = {
    Command.READY: b"\x01", Command.REQUEST: b"\x02", Command.PARTIAL: b"\x03",
    Command.FINAL: b"\x04", Command.HEARTBEAT: b"\x05", Command.DISCONNECT: b"\x06",
}  # fmt: skip
_WORKER_EXTENDED = {
    Command.READY: b"\x81", Command.REQUEST: b"\x82", Command.PARTIAL: b"\x83",
    Command.FINAL: b"\x84", Command.CANCEL: b"\x87", Command.RETURN: b"\x88",
    Command.CREDIT: b"\x89",
}  # fmt: skip
_CLIENT_EXTENDED = {
    Command.REQUEST: b"\x81", Command.PARTIAL: b"\x82", Command.FINAL: b"\x83",
    Command.HEARTBEAT: b"\x85", Command.CANCEL: b"\x87",
}  # fmt: skip

#: MDP/0.1, RFC 7.
V01: Final = Dialect("0.1", b"01", True, _CODES_01)
#: MDP/0.2, RFC 18.
V02: Final = Dialect(
    "0.2", b"02", False, _CODES_02,
    client_codes={Command.REQUEST: b"\x01", Command.PARTIAL: b"\x02", Command.FINAL: b"\x03"},
)  # fmt: skip
#: What RFC 18 calls its reference implementation: the header of 0.2 on the layout of 0.1.
Tag02: Final = Dialect("0.2-tag", b"02", True, _CODES_01)

DIALECTS: Final = {dialect.name: dialect for dialect in (V01, V02, Tag02)}


# -- reading --------------------------------------------------------------------------------------


def _plain_client(dialect: Dialect) -> Callable[[list[bytes]], Message]:
    def parse(frames: list[bytes]) -> Message:
        if len(frames) < 3:
            raise Malformed("too-short")
        return Message(dialect, False, Command.REQUEST, _service(frames[1]), None, frames[2:])

    return parse


def _service(name: bytes, disconnect: Sequence[bytes] = ()) -> bytes:
    if not name or len(name) > MAX_SERVICE:
        raise Malformed("bad-service-name", disconnect)
    return name


def _coded_client(dialect: Dialect, to_broker: bool) -> Callable[[list[bytes]], Message]:
    plain = dialect.client_codes or {}
    wanted = {Command.REQUEST, Command.CANCEL} if to_broker else set(Command) - {Command.REQUEST}
    commands = {code: (command, False) for command, code in plain.items() if command in wanted}
    if not to_broker:
        wanted.discard(Command.CANCEL)
    commands |= {
        code: (command, True) for command, code in _CLIENT_EXTENDED.items() if command in wanted
    }

    def parse(frames: list[bytes]) -> Message:
        if len(frames) < 2:
            raise Malformed("too-short")
        found = commands.get(frames[1])
        if found is None:
            raise Malformed("unknown-command")
        command, extended = found
        if command is Command.HEARTBEAT:
            return Message(dialect, False, command, _EMPTY, None, [])
        # A body must be there; not so where the meta data say it all: that nobody waits any more,
        # how far the work is, why there is no answer.
        bodiless = extended and (command is Command.CANCEL or not to_broker)
        if len(frames) < 4 + (extended and not bodiless):
            raise Malformed("too-short")
        name = _service(frames[2])
        if extended:
            return Message(dialect, False, command, name, frames[3], frames[4:])
        return Message(dialect, False, command, name, None, frames[3:])

    return parse


def _worker(dialect: Dialect, to_broker: bool) -> Callable[[list[bytes]], Message]:
    answers = {Command.PARTIAL, Command.FINAL}
    both = {Command.HEARTBEAT, Command.DISCONNECT}
    if to_broker:
        wanted = {Command.READY, Command.RETURN, Command.CREDIT} | answers | both
    else:
        wanted = {Command.REQUEST, Command.CANCEL} | both
    commands = {code: (command, False) for command, code in dialect.codes.items()
                if command in wanted}  # fmt: skip
    if dialect is V02:
        commands |= {code: (command, True) for command, code in _WORKER_EXTENDED.items()
                     if command in wanted}  # fmt: skip

    def parse(frames: list[bytes]) -> Message:
        count = len(frames)
        if count < 2:
            raise Malformed("too-short", dialect.disconnect)
        found = commands.get(frames[1])
        if found is None:
            raise Malformed("unknown-command", dialect.disconnect)
        command, extended = found
        if extended:
            if count < 4:
                raise Malformed("too-short", dialect.disconnect)
            body = frames[4:]
            if command is Command.READY:
                _service(frames[2], dialect.disconnect)
            elif not body and command in (Command.REQUEST, Command.FINAL, Command.PARTIAL):
                raise Malformed("too-short", dialect.disconnect)
            return Message(dialect, True, command, frames[2], frames[3], body)
        if command in both:
            return Message(dialect, True, command, _EMPTY, None, [])
        if count < 3:
            raise Malformed("too-short", dialect.disconnect)
        if command is Command.READY:
            return Message(
                dialect, True, command, _service(frames[2], dialect.disconnect), None, []
            )
        # The empty frame may be missing; what follows the address is then the body.
        rest = 4 if count > 3 and not frames[3] else 3
        if count <= rest:
            raise Malformed("too-short", dialect.disconnect)
        return Message(dialect, True, command, frames[2], None, frames[rest:])

    return parse


def _parsers(to_broker: bool) -> dict[tuple[bytes, bool], Callable[[list[bytes]], Message]]:
    coded = _coded_client(V02, to_broker)
    return {
        (V01.client_header, True): _plain_client(V01) if to_broker else _client_reply(V01),
        (V02.client_header, False): coded,
        (V02.client_header, True): _plain_client(Tag02) if to_broker else _client_reply(Tag02),
        (V01.worker_header, True): _worker(V01, to_broker),
        (V02.worker_header, False): _worker(V02, to_broker),
        (V02.worker_header, True): _worker(Tag02, to_broker),
    }


def _client_reply(dialect: Dialect) -> Callable[[list[bytes]], Message]:
    def parse(frames: list[bytes]) -> Message:
        if len(frames) < 3:
            raise Malformed("too-short")
        return Message(dialect, False, Command.FINAL, frames[1], None, frames[2:])

    return parse


_TO_BROKER: Final = _parsers(True)
#: A broker's DISCONNECT without the empty frame is read (pyzmq-mdp sends it so).
_FROM_BROKER: Final = _parsers(False) | {(V01.worker_header, False): _worker(V01, False)}


def decode(frames: list[bytes], delimited: bool, *, to_broker: bool = True) -> Message:
    """What `frames` say, which begin with the header; `delimited` is whether an empty frame stood
    before it. `to_broker` is which way they go. Raises Malformed."""
    parse = (_TO_BROKER if to_broker else _FROM_BROKER).get(
        (frames[0] if frames else _EMPTY, delimited)
    )
    if parse is None:
        raise _unknown(frames, delimited)
    return parse(frames)


def _unknown(frames: list[bytes], delimited: bool) -> Malformed:
    header = frames[0] if frames else _EMPTY
    if header == V01.worker_header:
        return Malformed("no-empty-frame", V01.disconnect)
    if header == V01.client_header:
        return Malformed("no-empty-frame")
    if header[:4] in (b"MDPC", b"MDPW"):
        return Malformed("unknown-version")
    return Malformed("no-header" if header or len(frames) > 1 else "empty")


def split(frames: list[bytes]) -> tuple[bool, list[bytes]]:
    """Frames as a DEALER gets them: whether an empty one stands first, and the others."""
    if frames and not frames[0]:
        return True, frames[1:]
    return False, frames
