"""Texts from outside, fit to be said: what strangers wrote, in feeds, requests and other rooms.

Rules:
- What XML 1.0 (2.2) has no place for goes, and so does what turns the direction of the text that
  follows (Unicode, UAX 9): it could make a line read as another one's.
- Each has a bound. What is cut off is shown by an ellipsis.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

__all__ = ["NO_XML", "one_line", "shown", "tidy"]

NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_UNSEEN = re.compile("[\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def tidy(text: str, limit: int) -> str:
    """`text` of at most `limit` characters, its lines ended by a line feed alone."""
    # Of a long one only as much is looked at as may be left.
    text = _UNSEEN.sub("", NO_XML.sub("", _ENDS.sub("\n", text[: 2 * limit + 1000]))).strip()
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def one_line(text: str, limit: int) -> str:
    """`text` as one line, with single spaces."""
    return tidy(" ".join(tidy(text, limit).split()), limit)


def shown(value: Any) -> str:
    """A value of JSON as a template shows it: a text as it stands, anything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
