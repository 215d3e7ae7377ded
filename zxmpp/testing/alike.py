"""What was sent, as text that two runs of the same bot have in common.

Rules:
- By address: what goes to one JID, by one socket or to one service, each in its order.
- Ids that the bot made are ``*``, also where it refers to them; ids of others stay. Times (XEP-0082),
  UUIDs and references into the log are ``TIME``, ``UUID``, ``REFERENCE``. A session of an ad-hoc
  command (XEP-0050) is ``*``, too.
- Where texts are masked, none is compared.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import defaultdict

from zxmpp.recording import Entry, Frame, Header, frame_bytes

__all__ = ["Alike"]

_CHANCE = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"), "TIME"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"(?<=The log has it as )[0-9a-f]{8}\b"), "REFERENCE"),
    (re.compile(r'(?<="reference":")[0-9a-f]{8}\b'), "REFERENCE"),
)


class Alike:
    """Takes what was sent in one run, of a recording with `header`."""

    def __init__(self, header: Header) -> None:
        self._header = header
        #: Ids that the bot made.
        self._ids: set[str] = set()
        #: Address -> lines.
        self.lines: defaultdict[str, list[str]] = defaultdict(list)
        self.count = 0

    def add(self, entry: Entry) -> None:
        """One more that was sent."""
        self.count += 1
        if entry.kind == "stanza":
            address, text = self._stanza(entry)
        else:
            named = {"frames": entry.name, "http": f"hook {entry.name}"}
            address = named.get(entry.kind, f"service {entry.name}")
            frames = list(entry.frames)
            if entry.kind == "frames" and self._header.sockets.get(entry.name) in _BY_PEER:
                address += f" to {frame_bytes(frames.pop(0)).hex()}"
            text = " ".join(map(self._frame, frames))
        for pattern, name in _CHANCE:
            text = pattern.sub(name, text)
        self.lines[address] += text.split("\n")

    def _frame(self, frame: Frame) -> str:
        if self._header.masked:
            return "masked"
        return json.dumps(frame, ensure_ascii=False) if isinstance(frame, str) else frame.base64

    def _stanza(self, entry: Entry) -> tuple[str, str]:
        try:
            xml = ET.fromstring(entry.xml)
        except ET.ParseError:
            # It was sent as text.
            return entry.name, entry.xml
        if "id" in xml.attrib and xml.get("type") not in ("result", "error"):
            self._ids.add(xml.attrib["id"])
        for element in xml.iter():
            for key, value in element.attrib.items():
                if value in self._ids or key == "sessionid":
                    element.set(key, "*")
            if element.text in self._ids:
                element.text = "*"
            elif self._header.masked and element.text:
                element.text = "masked"
        to = xml.get("to", "").partition("/")[0] or "the server"
        return f"{entry.name} to {to}", ET.canonicalize(ET.tostring(xml, encoding="unicode"))


_BY_PEER = ("ROUTER", "STREAM")
