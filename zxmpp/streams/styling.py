"""Texts in the light mark-up that clients show (XEP-0393).

Rules:
- A text from elsewhere (a log line, what a worker says) is no mark-up: send it as `plain`, or as a
  `block`. Whatever it contains stays in there.
- What is made here is what is sent: characters that are taken out of texts are gone before it is made.
"""

from __future__ import annotations

import re
from typing import Final

from zxmpp.streams.writing import clean_text

__all__ = ["FENCE", "Plain", "block", "plain", "quote"]

#: What opens and closes a preformatted block (XEP-0393, 5.1.2).
FENCE: Final = "```"
#: A line that would close it.
_CLOSES = re.compile(r"^(?=```\s*$)", re.MULTILINE)


class Plain(str):
    """A text that clients are asked to show as it stands (XEP-0393, 6.2)."""

    __slots__ = ()


def plain(text: str) -> Plain:
    """`text`, to be shown as it stands: no ``*`` in it makes anything bold. Say it or return it."""
    return Plain(text)


def block(text: str) -> str:
    """`text` as a preformatted block: a table, code, a log. It can't end the block."""
    return f"{FENCE}\n{_CLOSES.sub(' ', clean_text(text).strip(chr(10)))}\n{FENCE}"


def quote(text: str) -> str:
    """`text` as a quotation."""
    return "\n".join(f"> {line}" for line in clean_text(text).split("\n"))
