"""The bot's vCard and avatar, from the configuration (XEP-0054, XEP-0084, XEP-0153).

Rules:
- An account's are at its server: they are read at the session start, and written only where they
  are not what the configuration says. What it does not say stays as it is.
- A component has no account: it answers for each of its addresses itself. Nobody gets more than
  `BURST` answers at once, nor one more in less than `1 / RATE` seconds: a picture is large.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from msgspec import Struct
from slixmpp.exceptions import IqError
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from zxmpp.buckets import Buckets
from zxmpp.errors import StreamError
from zxmpp.streams.chores import CHORE_SECONDS
from zxmpp.streams.pep import Pep
from zxmpp.streams.settings import VCardSettings

__all__ = ["Avatar", "VCard", "read_avatar"]

_VCARD = "{vcard-temp}"
_DATA, _METADATA = "urn:xmpp:avatar:data", "urn:xmpp:avatar:metadata"
#: How each type of picture begins.
_TYPES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"),
          (b"GIF8", "image/gif"))  # fmt: skip
#: The largest picture: it goes through a stanza, as base64.
MAX_AVATAR = 200 * 1024
#: A component's answers for one sender, a second and at once.
RATE, BURST = 0.2, 10


class Avatar(Struct, frozen=True):
    """A picture."""

    data: bytes
    media_type: str

    @property
    def id(self) -> str:
        """Its SHA-1, by which everybody knows it."""
        return hashlib.sha1(self.data).hexdigest()

    @property
    def size(self) -> dict[str, str]:
        """Width and height of a PNG."""
        width, height = struct.unpack(">II", self.data[16:24])
        return {"width": str(width), "height": str(height)}


def read_avatar(name: str, path: str) -> Avatar:
    """The picture at `path`. StreamError if the stream `name` can't have it."""
    where = f"stream {name!r}: the avatar {path}"
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_AVATAR + 1)
    except OSError as error:
        raise StreamError(
            f"{where} can't be read ({error}); check [streams.{name}.vcard]"
        ) from error
    if len(data) > MAX_AVATAR:
        raise StreamError(f"{where} has more than {MAX_AVATAR} bytes; make it smaller")
    for begin, media_type in _TYPES:
        if data.startswith(begin) and len(data) >= 24:
            return Avatar(data, media_type)
    raise StreamError(f"{where} is neither PNG nor JPEG nor GIF; convert it")


class VCard:
    """What `settings` say, at the account of `xmpp` or as a component's answer."""

    def __init__(self, name: str, xmpp: Any, settings: VCardSettings) -> None:
        self.avatar = read_avatar(name, settings.avatar) if settings.avatar else None
        self._xmpp = xmpp
        self._texts = {"FN": settings.name, "DESC": settings.description, "URL": settings.url}
        self._handler: Callback | None = None
        self._buckets = Buckets(RATE, BURST)
        if self.wanted and xmpp.is_component and "xep_0054" not in xmpp.plugin:
            asked = f"{{{xmpp.default_ns}}}iq/{_VCARD}vCard"
            self._handler = Callback("zxmpp vCard", MatchXPath(asked), self._answer)
            xmpp.register_handler(self._handler)

    @property
    def wanted(self) -> bool:
        """Whether the configuration says anything."""
        return self.avatar is not None or any(self._texts.values())

    def close(self) -> None:
        """Answer nothing more. Idempotent."""
        if self._handler is not None:
            self._xmpp.remove_handler(self._handler.name)

    def write_into(self, vcard: ET.Element) -> bool:
        """Make `vcard` say what the configuration says; whether that changed anything."""
        changed = False
        for name, text in self._texts.items():
            if text and (vcard.findtext(f"{_VCARD}{name}") or "") != text:
                _put(vcard, name).text = text
                changed = True
        if self.avatar is not None:
            kept = vcard.findtext(f"{_VCARD}PHOTO/{_VCARD}BINVAL") or ""
            picture = base64.b64encode(self.avatar.data).decode()
            if "".join(kept.split()) != picture:
                photo = _put(vcard, "PHOTO")
                ET.SubElement(photo, f"{_VCARD}TYPE").text = self.avatar.media_type
                ET.SubElement(photo, f"{_VCARD}BINVAL").text = picture
                changed = True
        return changed

    # -- a component ----------------------------------------------------------------------------

    def _answer(self, iq: Any) -> None:
        if iq.xml.get("type") == "get":
            answer = iq.reply()
            if self._buckets.take(iq.xml.get("from", "").partition("/")[0]):
                answer["error"]["condition"] = "resource-constraint"
                answer["error"]["type"] = "wait"
                answer.send()
                return
            vcard = ET.SubElement(answer.xml, f"{_VCARD}vCard")
            self.write_into(vcard)
            answer.send()
        elif iq.xml.get("type") == "set":
            answer = iq.reply()
            answer["error"]["condition"] = "not-allowed"
            answer.send()

    # -- an account -----------------------------------------------------------------------------

    async def publish(self) -> None:
        """See that the server has it."""
        ask = self._xmpp.make_iq_get()
        ET.SubElement(ask.xml, f"{_VCARD}vCard")
        vcard = None
        try:
            answer = await ask.send(timeout=CHORE_SECONDS)
            vcard = answer.xml.find(f"{_VCARD}vCard")
        except IqError as error:
            if error.condition != "item-not-found":
                raise
        vcard = ET.Element(f"{_VCARD}vCard") if vcard is None else vcard
        if self.write_into(vcard):
            tell = self._xmpp.make_iq_set()
            tell.xml.append(vcard)
            await tell.send(timeout=CHORE_SECONDS)

    async def publish_avatar(self) -> None:
        """See that the server has the picture where clients of today look (XEP-0084: PNG only)."""
        avatar = self.avatar
        if avatar is None or avatar.media_type != "image/png":
            return
        pep = Pep(self._xmpp)
        if any(id == avatar.id for id, _ in await pep.items(_METADATA)):
            return
        data = ET.Element(f"{{{_DATA}}}data")
        data.text = base64.b64encode(avatar.data).decode()
        await pep.publish(_DATA, avatar.id, data)
        metadata = ET.Element(f"{{{_METADATA}}}metadata")
        about = {"id": avatar.id, "type": avatar.media_type, "bytes": str(len(avatar.data))}
        ET.SubElement(metadata, f"{{{_METADATA}}}info", about | avatar.size)
        await pep.publish(_METADATA, avatar.id, metadata)


def _put(vcard: ET.Element, name: str) -> ET.Element:
    """A new empty element of that name, in place of what was there."""
    for old in vcard.findall(f"{_VCARD}{name}"):
        vcard.remove(old)
    return ET.SubElement(vcard, f"{_VCARD}{name}")
