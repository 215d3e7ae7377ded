"""Long texts in parts that a server takes.

Rules:
- A part ends at the end of a line; a line that is too long for one is cut at a space, else anywhere
  between two characters. Nothing but that line end or space is lost.
- A preformatted block (XEP-0393) that goes on in the next part is closed in this one and opened
  there again.
- The number of parts is bounded; the last one says how much is left out.
"""

from __future__ import annotations

from zxmpp.streams.styling import FENCE

__all__ = ["cost", "split"]

#: The longest first line of a block that is repeated, such as the name of a language.
MAX_OPENING = 64
_NOTE = "\n[{} more characters are left out]"
#: Bytes that are kept for the end of a block, and for the note in the last part.
_CLOSING, _NOTING = len(FENCE) + 1, 64
#: The least room for text that is of any use, in bytes.
MIN_ROOM = 256


def cost(text: str) -> int:
    """The bytes that `text` takes in a stanza."""
    return (
        len(text.encode())
        + 4 * text.count("&")
        + 3 * (text.count("<") + text.count(">"))
        + 5 * (text.count("'") + text.count('"'))
    )


def split(text: str, limit: int, most: int) -> tuple[list[str], int]:
    """`text` in at most `most` parts of at most `limit` bytes each (see `cost`; at least
    `MIN_ROOM`), and how many characters are left out."""
    if cost(text) <= limit:
        return [text], 0
    parts: list[str] = []
    start, opening = 0, ""
    while start < len(text) and len(parts) < most:
        head = f"{opening}\n" if opening else ""
        room = max(MIN_ROOM, limit - cost(head) - _CLOSING)
        last = len(parts) == most - 1
        end = _fitting(text, start, room)
        if last and end < len(text):
            end = _fitting(text, start, max(MIN_ROOM, room - _NOTING))
        end, after = _cut(text, start, end, opening)
        piece = text[start:end]
        opening = _open_after(piece, opening)
        start = after
        if not piece.strip():
            continue
        tail = f"\n{FENCE}" if opening else ""
        if opening and (text.startswith(f"{FENCE}\n", start) or text[start:] == FENCE):
            # What closes it here stands for the line that would close it there.
            start, opening = min(len(text), start + len(FENCE) + 1), ""
        if last and start < len(text):
            tail += _NOTE.format(len(text) - start)
        parts.append(f"{head}{piece}{tail}")
    return parts, len(text) - start


def _fitting(text: str, start: int, room: int) -> int:
    """How far one comes from `start` with `room` bytes."""
    low, high = start, min(len(text), start + room)
    if cost(text[start:high]) <= room:
        return high
    while low + 1 < high:
        middle = (low + high) // 2
        if cost(text[start:middle]) <= room:
            low = middle
        else:
            high = middle
    return low


def _cut(text: str, start: int, end: int, opening: str) -> tuple[int, int]:
    """Where the part that may reach to `end` ends best, and where the next one begins."""
    if end >= len(text):
        return end, end
    at = text.rfind("\n", start + 1, end + 1)
    if at > 0:
        # A block is better opened in the next part than here, for nothing.
        before = text.rfind("\n", start + 1, at)
        if before > 0 and text.startswith(FENCE, before + 1):
            at = at if _open_after(text[start:before], opening) else before
        return at, at + 1
    at = text.rfind(" ", start + 1, end + 1)
    return (at, at + 1) if at > 0 else (end, end)


def _open_after(piece: str, opening: str) -> str:
    """The first line of the block that is open after `piece`; empty if none is."""
    if FENCE not in piece:
        return opening
    for line in piece.split("\n"):
        if opening:
            if line.rstrip() == FENCE:
                opening = ""
        elif line.startswith(FENCE):
            opening = line if len(line) <= MAX_OPENING else FENCE
    return opening
