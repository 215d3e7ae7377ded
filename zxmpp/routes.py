"""Which handlers may want an arrival: an index from keys to items. Imports no other zxmpp module.

Rules:
- Items come out in the order in which they were added, whatever buckets they stand in, each once.
- The index only prunes. A finder still asks each item's own test, if it has one.
- Finding costs the same with one item or a thousand, unless they share a bucket.
- A change during a loop over what was found does not alter what was found.
- A change forgets the plans that mention its keys, and no other. Keys that stand for one arrival,
  such as the id of a request, are looked up by `bucket`: they belong in no plan.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, KeysView, Mapping, Sequence
from itertools import count
from typing import Generic, TypeVar

__all__ = ["Entry", "Index", "Plan"]

T = TypeVar("T")

#: Plans are remembered per tuple of keys; senders could invent tuples without end.
MAX_PLANS = 1024


class Entry(Generic[T]):
    """One item in an index, and where it stands. `close` takes it out; idempotent."""

    __slots__ = ("_removed", "item", "keys", "prefix", "sequence")

    def __init__(
        self,
        item: T,
        keys: tuple[Hashable, ...],
        prefix: bytes,
        sequence: int,
        removed: Callable[[Entry[T]], None],
    ) -> None:
        self.item = item
        self.keys = keys
        self.prefix = prefix
        self.sequence = sequence
        self._removed: Callable[[Entry[T]], None] | None = removed

    def close(self) -> None:
        if self._removed is not None:
            removed, self._removed = self._removed, None
            removed(self)


class Plan(Generic[T]):
    """The items behind one tuple of keys: those that want every head, and those by prefix."""

    __slots__ = ("_by_length", "always", "plain", "prefixed")

    def __init__(self, entries: Iterable[Entry[T]]) -> None:
        ordered = sorted(entries, key=lambda entry: entry.sequence)
        #: The entries without a prefix, in order.
        self.plain: tuple[Entry[T], ...] = tuple(entry for entry in ordered if not entry.prefix)
        #: What to use when nothing here has a prefix.
        self.always: tuple[T, ...] = tuple(entry.item for entry in self.plain)
        by_length: dict[int, dict[bytes, list[Entry[T]]]] = {}
        for entry in ordered:
            if entry.prefix:
                bucket = by_length.setdefault(len(entry.prefix), {})
                bucket.setdefault(entry.prefix, []).append(entry)
        self._by_length = tuple(by_length.items())
        self.prefixed = bool(by_length)

    def pick(self, head: bytes) -> Sequence[T]:
        """The items for a message whose first frame is `head`, in order."""
        if not self.prefixed:
            return self.always
        hits: list[Entry[T]] = []
        for length, bucket in self._by_length:
            hits += bucket.get(head[:length], ())
        if not hits:
            return self.always
        hits += self.plain
        hits.sort(key=lambda entry: entry.sequence)
        return [entry.item for entry in hits]


class Index(Generic[T]):
    """Items by key, and within a key by prefix of the message's head."""

    def __init__(self) -> None:
        self._buckets: dict[Hashable, dict[int, Entry[T]]] = {}
        self._plans: dict[tuple[Hashable, ...], Plan[T]] = {}
        #: By key, the tuples of `_plans` that mention it.
        self._mentions: dict[Hashable, set[tuple[Hashable, ...]]] = {}
        self._sequence = count()

    def __len__(self) -> int:
        return len({number for bucket in self._buckets.values() for number in bucket})

    def keys(self) -> KeysView[Hashable]:
        """The keys whose buckets hold anything: a view, which changes with the index."""
        return self._buckets.keys()

    def add(self, item: T, keys: Iterable[Hashable], prefix: bytes = b"") -> Entry[T]:
        """Put `item` into the buckets `keys`; with `prefix`, only for heads that begin so."""
        entry = Entry(item, tuple(dict.fromkeys(keys)), prefix, next(self._sequence), self._remove)
        if not entry.keys:
            raise ValueError("an item of the route index needs at least one key")
        for key in entry.keys:
            self._buckets.setdefault(key, {})[entry.sequence] = entry
        self._forget(entry.keys)
        return entry

    def _remove(self, entry: Entry[T]) -> None:
        for key in entry.keys:
            bucket = self._buckets[key]
            del bucket[entry.sequence]
            if not bucket:
                del self._buckets[key]
        self._forget(entry.keys)

    def _forget(self, keys: tuple[Hashable, ...]) -> None:
        for key in keys:
            for plan in self._mentions.pop(key, ()):
                del self._plans[plan]
                for other in plan:
                    if other != key and (mentions := self._mentions.get(other)) is not None:
                        mentions.discard(plan)
                        if not mentions:
                            del self._mentions[other]

    def bucket(self, key: Hashable) -> Mapping[int, Entry[T]]:
        """What stands in the bucket `key`, by sequence; to read, not to keep."""
        return self._buckets.get(key, {})

    def plan(self, keys: tuple[Hashable, ...]) -> Plan[T]:
        """What stands in any of the buckets `keys`."""
        plan = self._plans.get(keys)
        if plan is None:
            entries: dict[int, Entry[T]] = {}
            for key in keys:
                entries.update(self._buckets.get(key, ()))
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
                self._mentions.clear()
            for key in keys:
                self._mentions.setdefault(key, set()).add(keys)
            plan = self._plans[keys] = Plan(entries.values())
        return plan

    def find(self, keys: tuple[Hashable, ...], head: bytes = b"") -> Sequence[T]:
        """The items of the buckets `keys` whose prefix fits `head`, in order of addition."""
        return self.plan(keys).pick(head)
