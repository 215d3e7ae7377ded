"""What Majordomo's messages say: commands, the meta data of the extension, and what is wrong with a
message. How that is put in frames is `zxmpp.mdp.wire`'s matter; imports no other zxmpp module.

Rules:
- The meta data are one frame of JSON, of at most `MAX_META` bytes; a key that is not known is passed
  over, so that newer peers can say more.
- Frames that are no message are `Malformed`, with a short reason that can be counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

__all__ = [
    "MAX_META", "MAX_TRACE", "Command", "Malformed", "Meta", "Options", "Problem", "encode_meta",
    "meta_of", "options_of",
]  # fmt: skip

#: Largest frame of meta data, in bytes; and of what stands in it, characters of a trace.
MAX_META: Final = 4096
MAX_TRACE: Final = 128

T = TypeVar("T")


class Command(StrEnum):
    """What a message says; the same for all dialects."""

    READY = "ready"  #: worker to broker: here I am, for this service
    REQUEST = "request"  #: client to broker to worker
    PARTIAL = "partial"  #: worker to broker to client: a part of the answer, more follow
    FINAL = "final"  #: worker to broker to client: the answer, or its last part (REPLY in 0.1)
    HEARTBEAT = "heartbeat"  #: both ways: a sign of life
    DISCONNECT = "disconnect"  #: both ways: this connection is over
    CANCEL = "cancel"  #: extension; client to broker to worker: nobody waits for this any more
    RETURN = "return"  #: extension; worker to broker: not started, give it to somebody else
    CREDIT = "credit"  #: extension; worker to broker: hold so many at once from now on


class Problem(Struct, frozen=True):
    """Why a request ended without an answer: `condition` is a short name, `text` is for people."""

    condition: str
    text: str = ""


class Options(Struct, frozen=True, omit_defaults=True):
    """What a worker of ours says in READY."""

    #: Requests that it runs at the same time.
    slots: int = 1
    #: Requests that it holds at the same time: those that run and those that wait in it.
    credit: int = 1
    #: What it calls itself, for people.
    name: str = ""


class Meta(Struct, frozen=True, omit_defaults=True):
    """The frame of JSON in an extended message. Each field stands where it means something."""

    #: The requester's name for its request, unguessable: whoever knows it may ask for the answer.
    id: str = ""
    #: Seconds that are left for the answer.
    timeout: float | None = None
    #: How often this request was given to a worker, this time included.
    attempt: int = 0
    #: Who asks: a JID that the bot has verified. Empty for clients of the broker.
    sender: str = ""
    #: Goes with the request everywhere, into logs too.
    trace: str = ""
    #: In PARTIAL, which part this is, from 1; in FINAL, how many there were.
    part: int = 0
    #: In PARTIAL, how far the work is, from 0 to 1.
    progress: float | None = None
    #: In PARTIAL to a client: forget the parts so far, another worker begins anew.
    restart: bool = False
    #: In FINAL: there is no answer, and why.
    problem: Problem | None = None
    #: In CANCEL: only if it has not begun; send it back then.
    recall: bool = False
    #: In CREDIT: the new number, 0 for no more.
    credit: int | None = None


class Malformed(Exception):
    """Frames that are no message of Majordomo. `reason` is short and can be counted; `disconnect` are
    the frames that tell a worker so, where it is a worker's."""

    def __init__(self, reason: str, disconnect: Sequence[bytes] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.disconnect = disconnect


_decode_meta: Callable[[bytes], Meta] = msgspec.json.Decoder(Meta).decode
_decode_options: Callable[[bytes], Options] = msgspec.json.Decoder(Options).decode
_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


def encode_meta(meta: Meta | Options) -> bytes:
    """`meta` as a frame."""
    return _encode(meta)


def meta_of(frame: bytes, disconnect: Sequence[bytes] = ()) -> Meta:
    """The meta data in `frame`. Malformed, with `disconnect`, if there is none."""
    return _json(frame, _decode_meta, disconnect)


def options_of(frame: bytes, disconnect: Sequence[bytes]) -> Options:
    """What a worker of ours says of itself in READY. Malformed if it can't be read."""
    return _json(frame, _decode_options, disconnect)


def _json(frame: bytes, read: Callable[[bytes], T], disconnect: Sequence[bytes]) -> T:
    if len(frame) > MAX_META:
        raise Malformed("meta-too-big", disconnect)
    try:
        return read(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Malformed("bad-meta", disconnect) from None
