"""What a stream says of itself: what it is and can (XEP-0030), its version (XEP-0092), how to reach
who runs it (XEP-0157), all that in a hash (XEP-0115).

Rules:
- Discovery stays slixmpp's xep_0030, with what plugins add to it; here it also answers for each
  address of a component, and for the hash.
- A change of the features is told by a new presence, once, however many change at a time.
- Whatever somebody else says of itself is neither asked for nor kept: slixmpp's xep_0115, which its
  xep_0045 brings along, asks each stranger and remembers the answer for ever. Who wants it all the
  same lists it in `plugins`; then the hash is its own.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from slixmpp.plugins.xep_0030 import DiscoInfo
from slixmpp.stanza import Presence

from zxmpp.streams.names import (
    CHAT_STATES,
    CORRECTION,
    DIRECT_INVITATION,
    FALLBACK,
    OOB,
    REACTIONS,
    RECEIPTS,
    REPLY,
    STYLING,
)
from zxmpp.streams.settings import StreamSettings

__all__ = ["CAPS", "Profile", "caps_hash", "with_version"]

CAPS = "http://jabber.org/protocol/caps"
#: Who computes the hash, as a URI (XEP-0115, 4).
NODE = "https://pypi.org/project/zxmpp"
#: XEP-0153
VCARD_UPDATE = "vcard-temp:x:update"
#: What all streams can.
FEATURES = (
    CAPS, CHAT_STATES, CORRECTION, DIRECT_INVITATION, FALLBACK, OOB, REACTIONS, REPLY, STYLING,
)  # fmt: skip
_FORM = "{jabber:x:data}"
_SERVER_INFO = "http://jabber.org/network/serverinfo"


def with_version(config: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """slixmpp's `plugin_config` with zxmpp as the software, unless it says another one."""
    given = config.get("xep_0092", {})
    ours = {"software_name": "zxmpp", "version": version("zxmpp")}
    return {**config, "xep_0092": {**ours, **given}}


def caps_hash(info: Any) -> str:
    """The verification string of a disco#info (XEP-0115, 5.1)."""
    text = "".join(
        "{}/{}/{}/{}<".format(*(part or "" for part in identity))
        for identity in sorted(info["identities"], key=lambda known: [part or "" for part in known])
    )
    text += "".join(f"{feature}<" for feature in sorted(info["features"]))
    for kind, fields in sorted(_forms(info.xml), key=lambda form: form[0]):
        text += f"{kind}<"
        for name, values in sorted(fields.items()):
            text += "".join(f"{part}<" for part in (name, *sorted(values)))
    return base64.b64encode(hashlib.sha1(text.encode()).digest()).decode()


def _forms(xml: ET.Element) -> list[tuple[str, dict[str, list[str]]]]:
    forms = []
    for form in xml.iter(f"{_FORM}x"):
        fields = {
            field.get("var", ""): [value.text or "" for value in field.iter(f"{_FORM}value")]
            for field in form.iter(f"{_FORM}field")
        }
        kind = fields.pop("FORM_TYPE", [""])[0]
        if kind:
            forms.append((kind, fields))
    return forms


class Profile:
    """What `xmpp` says of itself, after `settings`. `again` sends the presence anew."""

    def __init__(self, xmpp: Any, settings: StreamSettings, again: Callable[[], None]) -> None:
        #: The hash of the avatar (XEP-0153), once the server has it.
        self.photo = ""
        self._xmpp = xmpp
        self._contact = settings.contact
        self._features = (*FEATURES, RECEIPTS) if settings.receipts else FEATURES
        self._again = again
        self._told: str | None = None
        self._looks = False
        xmpp.register_plugin("xep_0030")
        self._disco = xmpp.plugin["xep_0030"]
        # Unasked answers of strangers would be kept for ever.
        self._disco.use_cache = False
        self._disco.api.register(self._info, "get_info", default=True)
        for change in ("add_feature", "del_feature", "set_features", "del_features"):
            plain = getattr(self._disco.static, change)
            self._disco.api.register(self._noticed(plain), change, default=True)
        xmpp.add_event_handler("session_bind", self._bound)
        if "xep_0115" not in settings.plugins:
            if "xep_0115" in xmpp.plugin:
                stock = xmpp.plugin["xep_0115"]
                xmpp.del_filter("out", stock._filter_add_caps)
                xmpp.del_event_handler("entity_caps", stock._process_caps)
            xmpp.add_filter("out", self._sign)

    def close(self) -> None:
        """Say nothing more. Idempotent."""
        self._xmpp.del_event_handler("session_bind", self._bound)
        with contextlib.suppress(ValueError):
            self._xmpp.del_filter("out", self._sign)

    # -- discovery ------------------------------------------------------------------------------

    def _bound(self, _: Any) -> None:
        self._told = None
        for feature in self._features:
            self._disco.add_feature(feature)
        if self._contact:
            info = self._disco.static.get_info(self._xmpp.boundjid, "", None, None)
            if not any(kind == _SERVER_INFO for kind, _ in _forms(info.xml)):
                info.xml.append(self._contact_form())

    def _contact_form(self) -> ET.Element:
        form = ET.Element(f"{_FORM}x", {"type": "result"})
        kind = ET.SubElement(form, f"{_FORM}field", {"var": "FORM_TYPE", "type": "hidden"})
        ET.SubElement(kind, f"{_FORM}value").text = _SERVER_INFO
        field = ET.SubElement(
            form, f"{_FORM}field", {"var": "admin-addresses", "type": "list-multi"}
        )
        for address in self._contact:
            ET.SubElement(field, f"{_FORM}value").text = address
        return form

    def _info(self, jid: Any, node: str | None, ifrom: Any, data: Any) -> Any:
        """disco#info of `jid`: what is known of it, else what is known of the stream."""
        static = self._disco.static
        if node and node.startswith(f"{NODE}#"):
            node = ""
        known = jid is not None and static.node_exists(jid, node)
        info = copy.copy(static.get_info(jid if known else self._xmpp.boundjid, node, ifrom, data))
        if not node and not info["identities"]:
            component = self._xmpp.is_component
            if component and (jid is None or not jid.user):
                info.add_identity("component", "generic")
            info.add_identity("client", "bot")
        return info

    # -- the hash -------------------------------------------------------------------------------

    def hash(self) -> str:
        """Of what is true now."""
        jid = self._xmpp.boundjid
        if self._xmpp.is_component:
            # All addresses are the same; it is they who are seen in rooms.
            jid = type(jid)(f"bot@{jid.domain}")
        info: DiscoInfo = self._info(jid, "", None, None)
        return caps_hash(info)

    def _sign(self, stanza: Any) -> Any:
        if not isinstance(stanza, Presence) or stanza.xml.get("type") is not None:
            return stanza
        name = f"{{{CAPS}}}c"
        if stanza.xml.find(name) is None:
            self._told = self.hash()
            attributes = {"hash": "sha-1", "node": NODE, "ver": self._told}
            ET.SubElement(stanza.xml, name, attributes)
        if self.photo and stanza.xml.find(f"{{{VCARD_UPDATE}}}x") is None:
            x = ET.SubElement(stanza.xml, f"{{{VCARD_UPDATE}}}x")
            ET.SubElement(x, f"{{{VCARD_UPDATE}}}photo").text = self.photo
        return stanza

    def _noticed(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any) -> Any:
            if self._told is not None and not self._looks:
                self._looks = True
                self._xmpp.loop.call_soon(self._look)
            return change(*args)

        return changed

    def _look(self) -> None:
        self._looks = False
        if self._told is not None and self._told != self.hash():
            self._again()
