"""What of a recording is taken out: secrets always, texts and frames if asked for.

Rules:
- Secrets are masked as in the log (`zxmpp.streams.secret`).
- With `Masker` every text of a stanza and every frame becomes a placeholder. The same text becomes
  the same placeholder within one recording, by a key that is nowhere written; of its length only
  the next power of two shows. Addresses, ids, names and all other attributes stay.
- A prefix and the name of a known command stay, so that a replay runs the same commands.
"""

from __future__ import annotations

import copy
import hmac
import re
import secrets
import xml.etree.ElementTree as ET
from collections.abc import Callable

__all__ = ["Masker"]

#: The shortest placeholder.
_LEAST = 16


class Masker:
    """Masks texts. `prefix` begins a command, `known` tells whether there is one of a name."""

    def __init__(self, prefix: str, known: Callable[[str], bool]) -> None:
        self._command = re.compile(rf"\s*(?:{re.escape(prefix)}\s*)?(\S+)")
        self._known = known
        self._key = secrets.token_bytes(32)

    def text(self, text: str) -> str:
        """The placeholder of `text`; white space alone stays."""
        if not text.strip():
            return text
        digest = hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256").hex()
        size = _LEAST
        while size < len(text):
            size *= 2
        return f"masked-{digest[:9]}".ljust(size, ".")

    def body(self, text: str) -> str:
        """Like `text`, save for the name of a command that it begins with."""
        found = self._command.match(text)
        if found is None or not self._known(found[1]):
            return self.text(text)
        return found[0] + self._words(text[found.end() :])

    def _words(self, text: str) -> str:
        # White space stays where it was: the number of arguments matters.
        return "".join(
            part if not part or part.isspace() else self.text(part)
            for part in re.split(r"(\s+)", text)
        )

    def frame(self, data: bytes) -> bytes:
        """The placeholder of a frame; an empty one stays."""
        return self.text(data.decode("latin-1")).encode("latin-1") if data else data

    def element(self, xml: ET.Element) -> ET.Element:
        """A copy of `xml` with all texts masked."""
        masked = copy.deepcopy(xml)
        for element in masked.iter():
            if element.text:
                body = element.tag.endswith("}body")
                element.text = self.body(element.text) if body else self.text(element.text)
            if element.tail:
                element.tail = self.text(element.tail)
        return masked
