"""What the own account keeps at its server, node by node (XEP-0163), by slixmpp's xep_0060.

Rules:
- One request each, with a bound in time; IqError and IqTimeout are for the caller.
- What is kept privately says so with each publication. A server that does not know these options
  (ejabberd 23) gets a node that is configured so first; one that can't have it so gets nothing.
"""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET
from typing import Any

from slixmpp.exceptions import IqError

from zxmpp.streams.chores import CHORE_SECONDS

__all__ = ["Pep"]

_ITEM = "{http://jabber.org/protocol/pubsub}item"
_KIND = "http://jabber.org/protocol/pubsub#"
#: What XEP-0402 (3) asks of the node.
_PRIVATE = {
    "pubsub#persist_items": "true",
    "pubsub#max_items": "max",
    "pubsub#send_last_published_item": "never",
    "pubsub#access_model": "whitelist",
}
#: How many items a node is to hold, where the server does not know "max".
_MANY = "128"


class Pep:
    """The nodes of `xmpp`'s own account."""

    def __init__(self, xmpp: Any) -> None:
        xmpp.register_plugin("xep_0060")
        self._pubsub = xmpp.plugin["xep_0060"]
        self._forms = xmpp.plugin["xep_0004"]

    async def items(self, node: str) -> list[tuple[str, ET.Element]]:
        """What the node holds, by id; nothing if there is no such node."""
        try:
            answer = await self._pubsub.get_items(None, node, timeout=CHORE_SECONDS)
        except IqError as error:
            if error.condition == "item-not-found":
                return []
            raise
        return [(item.get("id", ""), item[0]) for item in answer.xml.iter(_ITEM) if len(item)]

    async def publish(
        self, node: str, id: str, payload: ET.Element, *, private: bool = False
    ) -> None:
        """Put `payload` there, in place of what had that id."""
        if not private:
            await self._publish(node, id, payload, None)
            return
        try:
            await self._publish(node, id, payload, self._form("publish-options", "max"))
        except IqError as error:
            if error.condition not in ("resource-constraint", "conflict", "not-acceptable"):
                raise
            await self._configure(node)
            await self._publish(node, id, payload, None)

    async def _publish(self, node: str, id: str, payload: ET.Element, options: Any) -> None:
        await self._pubsub.publish(None, node, id, payload, options, timeout=CHORE_SECONDS)

    async def _configure(self, node: str) -> None:
        """See that there is the node, and that it is private."""
        with contextlib.suppress(IqError):
            await self._pubsub.create_node(None, node, timeout=CHORE_SECONDS)
        for most in ("max", _MANY):
            form = self._form("node_config", most)
            try:
                await self._pubsub.set_node_config(None, node, form, timeout=CHORE_SECONDS)
                return
            except IqError:
                if most == _MANY:
                    raise

    def _form(self, kind: str, most: str) -> Any:
        form = self._forms.make_form("submit")
        form.add_field("FORM_TYPE", ftype="hidden", value=_KIND + kind)
        for name, value in {**_PRIVATE, "pubsub#max_items": most}.items():
            form.add_field(name, value=value)
        return form

    async def retract(self, node: str, id: str) -> None:
        """Take it away, if it is there."""
        try:
            await self._pubsub.retract(None, node, id, notify="true", timeout=CHORE_SECONDS)
        except IqError as error:
            if error.condition != "item-not-found":
                raise
