"""How much each of many strangers may do: a token bucket for each. Imports no other zxmpp module.

Rules:
- `rate` a second on average, `burst` at once.
- The memory is bounded: of too many, who was quiet for longest is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

__all__ = ["Buckets"]


class Buckets:
    """The buckets of at most `size` strangers."""

    def __init__(
        self, rate: float, burst: int, size: int = 4096, clock: Callable[[], float] = monotonic
    ) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = float(burst)
        self._size = size
        #: Key -> tokens, when they were counted, how often in a row there was none.
        self._buckets: OrderedDict[str, tuple[float, float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str) -> int:
        """Take a token of `key`: 0, or how often in a row there was none."""
        now = self._clock()
        tokens, then, refused = self._buckets.pop(key, (self._burst, now, 0))
        tokens = min(self._burst, tokens + (now - then) * self._rate)
        refused = 0 if tokens >= 1 else refused + 1
        self._buckets[key] = (tokens if refused else tokens - 1, now, refused)
        if len(self._buckets) > self._size:
            self._buckets.popitem(last=False)
        return refused
