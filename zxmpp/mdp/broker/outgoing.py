"""How parts and ends of an answer are told to each kind of asker.

Rules:
- An asker of ours (a client with the extension, or who embeds the broker) is told everything: parts,
  progress, a new beginning, and why there is no answer.
- Plain MDP has no word for failure: such a client hears nothing and runs into its own time limit,
  as with any broker. It is counted as ``untold``.
- A plain client of 0.1 takes one answer only: parts are kept and joined (`Request.joined`).
"""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from zxmpp.mdp.broker.records import Asker, Request
from zxmpp.mdp.messages import Command, Meta, Problem, encode_meta

__all__ = ["Delivery", "Outgoing"]

_NO_META = b"{}"


class Delivery(Struct, frozen=True):
    """What an asker inside this process gets: a part, or the end of its request."""

    request: Request
    #: PARTIAL or FINAL.
    command: Command
    body: list[bytes]
    progress: float | None = None
    #: Forget the parts so far.
    restart: bool = False
    problem: Problem | None = None


class Outgoing:
    """What is to be sent (`frames`, each message with the routing id of its receiver first) and told
    inside: `deliveries` to askers, `errands` (what to work on) and `recalled` (what to end) to who serves
    there."""

    def __init__(self, counts: Counter[str]) -> None:
        self.frames: list[list[bytes]] = []
        self.deliveries: list[Delivery] = []
        self.errands: list[Request] = []
        self.recalled: list[Request] = []
        self._counts = counts

    def part(self, request: Request, body: list[bytes], progress: float | None) -> None:
        """A part of the answer."""
        asker = request.asker
        if asker.dialect is None:
            self.deliveries.append(Delivery(request, Command.PARTIAL, body, progress))
        elif asker.extended:
            meta = Meta(id=request.id, part=request.parts, progress=progress)
            self._extended(asker, Command.PARTIAL, request.service.name, meta, body)
        else:
            self.frames.append(
                [asker.peer, *asker.dialect.client_partial(request.service.name, body)]
            )

    def restart(self, request: Request) -> None:
        """The parts so far are void."""
        asker = request.asker
        if asker.dialect is None:
            self.deliveries.append(Delivery(request, Command.PARTIAL, [], restart=True))
        else:
            meta = Meta(id=request.id, restart=True)
            self._extended(asker, Command.PARTIAL, request.service.name, meta, [])

    def final(self, request: Request, body: list[bytes]) -> None:
        """The answer, or its last part."""
        asker = request.asker
        if asker.dialect is None:
            self.deliveries.append(Delivery(request, Command.FINAL, body))
        elif asker.extended:
            meta = Meta(id=request.id, part=request.parts)
            self._extended(asker, Command.FINAL, request.service.name, meta, body)
        else:
            self.frames.append(
                [asker.peer, *asker.dialect.client_final(request.service.name, body)]
            )

    def failure(self, request: Request, problem: Problem) -> None:
        """There is no answer."""
        asker = request.asker
        if asker.dialect is None:
            self.deliveries.append(Delivery(request, Command.FINAL, [], problem=problem))
        else:
            self.refuse(asker, request.service.name, request.id, problem)

    def refuse(self, asker: Asker, service: bytes, id: str, problem: Problem) -> None:
        """A client's request is not taken."""
        if asker.extended:
            self._extended(asker, Command.FINAL, service, Meta(id=id, problem=problem), [])
        else:
            self._counts["untold"] += 1

    def _extended(
        self, asker: Asker, command: Command, service: bytes, meta: Meta, body: list[bytes]
    ) -> None:
        assert asker.dialect is not None
        frames = asker.dialect.client_extended(command, service, encode_meta(meta), body)
        self.frames.append([asker.peer, *frames])
