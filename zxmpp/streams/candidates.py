"""The index of a stream's handlers: who may match a stanza.

Rules:
- Whoever matches is found; in order of registration, each once (see `zxmpp.routes`).
- What a stanza offers is read from it as it is now: filters and handlers may have altered it, and
  what slixmpp makes of a child depends on the plugins that were registered when it came.
- Handlers that wait for one id are looked up by it, and come and go without touching the rest.
- Nothing that a sender invents is kept: only keys that handlers want make plans.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from zxmpp.routes import Entry, Index
from zxmpp.streams.matching import ANY, CHECKED, DEEPER, MASK, Interest, is_regular

__all__ = ["MAX_KINDS", "HandlerIndex"]

#: Kinds of root element of which something is remembered.
MAX_KINDS = 256


class _Id:
    """Marks the keys that are ids."""


class HandlerIndex:
    """Handlers by what they want."""

    def __init__(self) -> None:
        self._index: Index[Interest] = Index()
        self._known = self._index.keys()
        self._masks = 0
        self._firsts: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()
        #: By name and plugin_attrib of a stanza, the first steps that fit it.
        self._fitting: dict[tuple[Any, Any], tuple[str, ...]] = {}

    def add(self, handler: Any) -> Entry[Interest]:
        """Put `handler` behind all that are here."""
        interest = Interest(handler)
        keys = [*interest.keys, *((_Id, wanted) for wanted in interest.ids)]
        entry = self._index.add(interest, keys)
        interest.sequence = entry.sequence
        self._masks += interest.masks
        if interest.firsts:
            self._firsts.update(interest.firsts)
            self._seconds.update(interest.seconds)
            self._fitting.clear()
        return entry

    def remove(self, entry: Entry[Interest]) -> None:
        """Take out what `add` put in."""
        entry.close()
        self._masks -= entry.item.masks
        if entry.item.firsts:
            self._firsts -= Counter(entry.item.firsts)
            self._seconds -= Counter(entry.item.seconds)
            self._fitting.clear()

    def keys(self, stanza: Any, plain: bool) -> tuple[Hashable, ...] | None:
        """The keys of `stanza` under which a handler stands; None if it matches in a way of its
        own, so that every handler must be asked. `plain` says what `is_plain` says."""
        xml = stanza.xml
        if not plain and not is_regular(type(stanza)):
            return None
        if type(xml) is not Element or type(tag := xml.tag) is not str:
            return None
        known = self._known
        keys: list[Hashable] = [key for key in (ANY, tag) if key in known]
        key: Hashable
        if self._masks:
            mask = MASK + tag.rpartition("}")[2]
            keys += [key for key in (mask, (mask, xml.get("type"))) if key in known]
        keys += [key for child in {child.tag for child in xml} if (key := (tag, child)) in known]
        firsts: Iterable[str] | None = self._fitting.get((stanza.name, stanza.plugin_attrib))
        if firsts is None:
            firsts = self._fit(stanza.name, stanza.plugin_attrib)
            if firsts is None:
                return None
        loaded = stanza.loaded_plugins
        if loaded and not loaded.isdisjoint(self._firsts):
            firsts = {*firsts, *loaded.intersection(self._firsts)}
        for first in firsts:
            if first in known:
                keys.append(first)
            if stanza.plugins:
                keys += [key for name, _ in stanza.plugins if (key := (first, name)) in known]
            if not self._seconds.keys().isdisjoint(stanza.sub_interfaces):
                keys += [key for name in stanza.sub_interfaces if (key := (first, name)) in known]
            if stanza.iterables:
                keys.append((first, DEEPER))
            if not plain:
                keys.append((first, CHECKED))
        return tuple(keys)

    def _fit(self, name: Any, attrib: Any) -> tuple[str, ...] | None:
        # slixmpp looks for the first step in `plugin_attrib` as a part of that text.
        if type(attrib) is not str or type(name) is not str:
            return None
        fitting = tuple(first for first in self._firsts if first == name or first in attrib)
        if len(self._fitting) >= MAX_KINDS:
            self._fitting.clear()
        self._fitting[name, attrib] = fitting
        return fitting

    def find(self, keys: tuple[Hashable, ...], wanted: str) -> Sequence[Interest]:
        """What stands under `keys` and under the id `wanted`, in order, each once."""
        plan = self._index.plan(keys)
        waiting = self._index.bucket((_Id, wanted))
        if not waiting:
            return plan.always
        entries = {entry.sequence: entry for entry in plan.plain}
        entries.update(waiting)
        return [entries[sequence].item for sequence in sorted(entries)]
