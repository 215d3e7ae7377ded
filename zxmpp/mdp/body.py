"""Bodies: Python values to frames and back.

Rules:
- bytes, str (UTF-8) and lists of them are frames as they are; anything else is one frame of JSON or
  MessagePack, by msgspec.
- What comes back is read as the type that was asked for: bytes (all frames, joined), str, a list of
  bytes (the frames), or anything that msgspec makes of JSON or MessagePack.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from zxmpp.sockets.frames import reply_frames

__all__ = ["BadBody", "Format", "decode_body", "encode_body"]

#: How values that are neither bytes nor text are written.
Format: TypeAlias = Literal["json", "msgpack"]


class BadBody(ValueError):
    """Frames that are not what was wanted of them; the text goes on from "it is not"."""


def encode_body(value: Any, format: Format = "json") -> list[bytes]:
    """`value` as frames, at least one. TypeError if it can't be written."""
    if value is None:
        return [b""]
    if format == "msgpack" and not _is_frames(value):
        try:
            return [msgspec.msgpack.encode(value)]
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise TypeError(
                f"a {type(value).__name__} can't be sent as MessagePack: {error}"
            ) from None
    return reply_frames(value)


def _is_frames(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(item, bytes | str) for item in value)
    return isinstance(value, bytes | str | bytearray | memoryview)


def decode_body(frames: list[bytes], wanted: Any, format: Format = "json") -> Any:
    """`frames` as a `wanted`. BadBody says what is wrong with them."""
    if wanted is bytes:
        return b"".join(frames)
    if wanted == list[bytes]:
        return frames
    whole = b"".join(frames)
    if wanted is str:
        try:
            return whole.decode()
        except UnicodeDecodeError as error:
            raise BadBody(f"it is not UTF-8 at byte {error.start}") from None
    if wanted is type(None):
        return None
    decode = msgspec.json.decode if format == "json" else msgspec.msgpack.decode
    try:
        return decode(whole, type=wanted)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        name = "JSON" if format == "json" else "MessagePack"
        raise BadBody(f"it is not the {name} that is wanted: {error}") from None
