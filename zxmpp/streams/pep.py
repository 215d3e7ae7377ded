"""What the own account keeps at its server, node by node (XEP-0163, XEP-0060).

Rules:
- One request each, with a bound in time; IqError and IqTimeout are for the caller.
- What is kept privately says so with each publication: a server that can't keep it so refuses it.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from slixmpp.exceptions import IqError

from zxmpp.streams.chores import CHORE_SECONDS

__all__ = ["Pep"]

_PUBSUB = "{http://jabber.org/protocol/pubsub}"
_FORM = "{jabber:x:data}"
#: What XEP-0402 (3) asks of the node.
_PRIVATE = {
    "pubsub#persist_items": "true",
    "pubsub#max_items": "max",
    "pubsub#send_last_published_item": "never",
    "pubsub#access_model": "whitelist",
}


class Pep:
    """The nodes of `xmpp`'s own account."""

    def __init__(self, xmpp: Any) -> None:
        self._xmpp = xmpp

    async def items(self, node: str) -> list[tuple[str, ET.Element]]:
        """What the node holds, by id; nothing if there is no such node."""
        iq, pubsub = self._request("get")
        ET.SubElement(pubsub, f"{_PUBSUB}items", {"node": node})
        try:
            answer = await iq.send(timeout=CHORE_SECONDS)
        except IqError as error:
            if error.condition == "item-not-found":
                return []
            raise
        items = answer.xml.iter(f"{_PUBSUB}item")
        return [(item.get("id", ""), item[0]) for item in items if len(item)]

    async def publish(
        self, node: str, id: str, payload: ET.Element, *, private: bool = False
    ) -> None:
        """Put `payload` there, in place of what had that id."""
        iq, pubsub = self._request("set")
        publish = ET.SubElement(pubsub, f"{_PUBSUB}publish", {"node": node})
        ET.SubElement(publish, f"{_PUBSUB}item", {"id": id}).append(payload)
        if private:
            options = ET.SubElement(pubsub, f"{_PUBSUB}publish-options")
            form = ET.SubElement(options, f"{_FORM}x", {"type": "submit"})
            kind = "http://jabber.org/protocol/pubsub#publish-options"
            for name, value in {"FORM_TYPE": kind, **_PRIVATE}.items():
                field = ET.SubElement(form, f"{_FORM}field", {"var": name})
                if name == "FORM_TYPE":
                    field.set("type", "hidden")
                ET.SubElement(field, f"{_FORM}value").text = value
        await iq.send(timeout=CHORE_SECONDS)

    async def retract(self, node: str, id: str) -> None:
        """Take it away, if it is there."""
        iq, pubsub = self._request("set")
        retract = ET.SubElement(pubsub, f"{_PUBSUB}retract", {"node": node, "notify": "true"})
        ET.SubElement(retract, f"{_PUBSUB}item", {"id": id})
        try:
            await iq.send(timeout=CHORE_SECONDS)
        except IqError as error:
            if error.condition != "item-not-found":
                raise

    def _request(self, type_: str) -> tuple[Any, ET.Element]:
        make = self._xmpp.make_iq_get if type_ == "get" else self._xmpp.make_iq_set
        iq = make()
        return iq, ET.SubElement(iq.xml, f"{_PUBSUB}pubsub")
