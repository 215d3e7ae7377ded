"""What the broker keeps of requests that have ended: answers to ask for again, and dead letters.

Rules:
- All of it is bounded in number, bytes and age.
- An answer is found by the id that its requester made, which must be hard to guess.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from msgspec import Struct

from zxmpp.mdp.messages import Problem

__all__ = ["Answer", "Answers", "DeadLetter", "DeadLetters"]


class Answer(Struct, frozen=True):
    """How a request ended."""

    service: bytes
    body: list[bytes]
    problem: Problem | None
    parts: int


class Answers:
    """The latest answers, by the id of their request."""

    def __init__(self, most: int, seconds: float, most_bytes: int) -> None:
        self._most = most
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, tuple[float, int, Answer]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, id: str, answer: Answer, now: float) -> None:
        size = sum(map(len, answer.body))
        self.forget(id)
        self._kept[id] = (now, size, answer)
        self._bytes += size
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            self._drop_oldest()
        self.expire(now)

    def expire(self, now: float) -> None:
        """Forget what is too old."""
        while self._kept and now - next(iter(self._kept.values()))[0] > self._seconds:
            self._drop_oldest()

    def get(self, id: str) -> Answer | None:
        found = self._kept.get(id)
        return None if found is None else found[2]

    def forget(self, id: str) -> None:
        if id in self._kept:
            self._bytes -= self._kept.pop(id)[1]

    def _drop_oldest(self) -> None:
        self._bytes -= self._kept.popitem(last=False)[1][1]


class DeadLetter(Struct, frozen=True):
    """A request that no worker survived."""

    service: bytes
    body: list[bytes]
    id: str
    sender: str
    trace: str
    attempts: int
    #: By the broker's clock.
    died: float


class DeadLetters:
    """The latest `most` dead letters, oldest first, at most `most_bytes` of bodies."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._letters: deque[DeadLetter] = deque()
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        #: How many there were in all.
        self.total = 0

    def __len__(self) -> int:
        return len(self._letters)

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(self._letters)

    def add(self, letter: DeadLetter) -> None:
        self._letters.append(letter)
        self.total += 1
        self._bytes += sum(map(len, letter.body))
        while len(self._letters) > self._most or self._bytes > self._most_bytes:
            self._bytes -= sum(map(len, self._letters.popleft().body))
