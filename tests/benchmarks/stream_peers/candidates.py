"""The components that are compared, and the plugins that they load.

Rules:
- A list names what a bot's author registers. What those plugins need comes along: the number in a
  list's name is what slixmpp then has loaded, and it is checked.
- Each list holds the shorter one.
"""

from __future__ import annotations

from typing import Any

__all__ = ["KINDS", "PLUGINS", "make_component"]

#: stock slixmpp's component and ours.
KINDS = ("stock", "ours")

#: Rooms with what they bring along (discovery, forms, PubSub, capabilities), version, ping: 26
#: handlers, of which slixmpp has 5 without any plugin.
_13 = ("xep_0045", "xep_0092", "xep_0199")
#: And what a modern chat bot announces: 39 handlers.
_29 = (
    *_13, "xep_0050", "xep_0054", "xep_0066", "xep_0085", "xep_0153", "xep_0184", "xep_0202",
    "xep_0224", "xep_0249", "xep_0308", "xep_0334", "xep_0359", "xep_0380", "xep_0428", "xep_0444",
    "xep_0461",
)  # fmt: skip
#: And archives, carbons, retraction, bytestreams: 45 handlers.
_39 = (
    *_29, "xep_0012", "xep_0049", "xep_0065", "xep_0280", "xep_0313", "xep_0421", "xep_0424",
)  # fmt: skip

PLUGINS: dict[int, tuple[str, ...]] = {0: (), 13: _13, 29: _29, 39: _39}


def make_component(kind: str, plugins: int, jid: str, secret: str, port: int = 0) -> Any:
    """A component of `kind` with `plugins` plugins loaded. Needs an event loop."""
    if kind == "stock":
        from slixmpp import ComponentXMPP
    else:
        from zxmpp.streams import ComponentXMPP
    xmpp = ComponentXMPP(jid, secret, "127.0.0.1", port)
    for name in PLUGINS[plugins]:
        xmpp.register_plugin(name)
    loaded = len(xmpp.plugin._enabled)
    if loaded != plugins:
        raise SystemExit(f"{loaded} plugins are loaded, not {plugins}: mend the list in {__file__}")
    return xmpp
