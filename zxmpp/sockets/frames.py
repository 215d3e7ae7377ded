"""What a handler returned, as frames; and an Event's failure, as a frame.

Rules:
- bytes go as they are, str as UTF-8, a list or tuple of only those as a multipart message.
- Anything else is JSON, if msgspec can write it (dict, Struct, dataclass, number, list, ...).
"""

from __future__ import annotations

from typing import Any

import msgspec

from zxmpp.event import Failure

__all__ = ["ERROR_PREFIX", "error_frame", "reply_frames"]

#: How every error frame begins. What begins so is never answered with an error: no loop of errors.
ERROR_PREFIX = b'{"error":'

_encode = msgspec.json.Encoder().encode


def reply_frames(reply: Any) -> list[bytes]:
    """The frames of `reply`. TypeError if it is nothing that can be sent."""
    if isinstance(reply, bytes):
        return [reply]
    if isinstance(reply, str):
        return [reply.encode()]
    if isinstance(reply, bytearray | memoryview):
        return [bytes(reply)]
    if isinstance(reply, list | tuple) and reply:
        if all(isinstance(frame, bytes | str) for frame in reply):
            return [frame.encode() if isinstance(frame, str) else frame for frame in reply]
        if any(isinstance(frame, bytes) for frame in reply):
            raise TypeError("a message is a list of only bytes and str; encode the others")
    try:
        return [_encode(reply)]
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise TypeError(
            f"a {type(reply).__name__} can't be sent as JSON ({error}); return bytes, str, a list "
            f"of them, or what JSON has"
        ) from None


def error_frame(failure: Failure) -> bytes:
    """``{"error": {"condition": ..., "text": ..., "reference": ...}}`` in UTF-8."""
    return _encode(
        {
            "error": {
                "condition": failure.condition,
                "text": failure.text,
                "reference": failure.reference,
            }
        }
    )
