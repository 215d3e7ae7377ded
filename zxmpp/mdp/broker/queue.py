"""A queue that is fair between those who put something in. Imports no other zxmpp module.

Rules:
- Who waits is served in turn, one request each; each one's own requests keep their order.
- `crowd` is who has most in it: a full queue makes room at that one's cost.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["FairQueue"]

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items by the name of who put them in."""

    def __init__(self) -> None:
        self._by_asker: OrderedDict[Hashable, OrderedDict[T, None]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def depth(self, asker: Hashable) -> int:
        """How many items `asker` has in it."""
        return len(self._by_asker.get(asker, ()))

    def put(self, asker: Hashable, item: T, *, first: bool = False) -> None:
        """Put `item` behind the asker's others; with `first` before them, and before all askers."""
        items = self._by_asker.get(asker)
        if items is None:
            items = self._by_asker[asker] = OrderedDict()
        items[item] = None
        if first:
            items.move_to_end(item, last=False)
            self._by_asker.move_to_end(asker, last=False)
        self._count += 1

    def take(self) -> T:
        """The next item; that asker comes again after all others. KeyError if it is empty."""
        asker, items = self._by_asker.popitem(last=False)
        item, _ = items.popitem(last=False)
        self._count -= 1
        if items:
            self._by_asker[asker] = items
        return item

    def remove(self, asker: Hashable, item: T) -> None:
        """Take `item` out. KeyError if it is not there."""
        items = self._by_asker[asker]
        del items[item]
        self._count -= 1
        if not items:
            del self._by_asker[asker]

    def crowd(self) -> tuple[Hashable, int]:
        """Who has most in it, and how much."""
        return max(
            ((asker, len(items)) for asker, items in self._by_asker.items()),
            key=lambda pair: pair[1], default=("", 0),
        )  # fmt: skip

    def newest(self, asker: Hashable) -> T:
        """What `asker` put in last."""
        return next(reversed(self._by_asker[asker]))
