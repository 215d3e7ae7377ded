"""Requests for services that the embedding process serves itself.

Rules:
- Such services are nobody else's: a worker that offers one is sent away.
- A request for one is handed over at once (`Outgoing.errands`), and ends as any other: by the one
  answer, by its deadline, or because nobody waits for it. When it ends without an answer from here,
  it stands in `Outgoing.recalled`.
- A failure is told to a peer of ours as the protocol has it. Plain MDP has no word for failure: there
  the last frame says it.
"""

from __future__ import annotations

from typing import Protocol

from zxmpp.mdp.broker.records import Request
from zxmpp.mdp.broker.requests import Requests
from zxmpp.mdp.messages import Problem

__all__ = ["Errands", "House"]


class House(Protocol):
    """Who serves in the embedding process."""

    def owns(self, service: bytes) -> bool:
        """Whether `service` is a name of its own, served or not."""

    def has(self, service: bytes) -> bool:
        """Whether `service` is served, for ``mmi.service``."""

    def take(self, request: Request) -> None:
        """Work on `request`; the answer comes later."""

    def recall(self, request: Request) -> None:
        """Nobody waits for `request` any more."""


class Errands:
    """The requests that the embedding process works on."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self.house: House | None = None

    def serve(self, house: House) -> None:
        """From now on `house` serves what it owns."""
        self.house = house
        self._requests.is_own = house.owns

    def owns(self, service: bytes) -> bool:
        return self.house is not None and self.house.owns(service)

    def has(self, service: bytes) -> bool:
        return self.house is not None and self.house.has(service)

    def part(self, request: Request, body: list[bytes], progress: float | None, now: float) -> None:
        """A part of the answer to `request`; nothing happens if that has ended."""
        if request in self._requests.here:
            self._requests.part(request, body, progress, now)

    def answer(self, request: Request, body: list[bytes], now: float) -> bool:
        """The answer to `request`, or its last part. False if that has ended."""
        if not self._let_go(request):
            return False
        self._requests.answer(request, body, now)
        self._requests.tidy(request.service)
        return True

    def refuse(self, request: Request, problem: Problem, body: list[bytes], now: float) -> bool:
        """There is no answer to `request`; `body` says so to who has no other word for it. False if
        it has ended."""
        if not request.asker.extended:
            return self.answer(request, body, now)
        if not self._let_go(request):
            return False
        self._requests.fail(request, problem, now, queued=False)
        self._requests.tidy(request.service)
        return True

    def _let_go(self, request: Request) -> bool:
        if request not in self._requests.here:
            return False
        del self._requests.here[request]
        return True

    def end_all(self, now: float) -> None:
        """The broker stops."""
        for request in list(self._requests.here):
            self._requests.refuse(request, "stopping", now)
