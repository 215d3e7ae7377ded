"""What the broker knows of requests, workers and services. Plain records: `broker.core` moves them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from zxmpp.mdp.broker.queue import FairQueue
from zxmpp.mdp.broker.states import RequestState
from zxmpp.mdp.wire import Dialect

__all__ = ["Asker", "Request", "Service", "Worker"]


class Asker:
    """Where an answer goes: a client of the broker, or who embeds it (`peer` is empty then)."""

    __slots__ = ("dialect", "extended", "peer")

    def __init__(self, peer: bytes, dialect: Dialect | None, extended: bool) -> None:
        self.peer = peer
        self.dialect = dialect
        self.extended = extended


class Request:
    """One request, from its arrival to its end."""

    __slots__ = (
        "address", "asker", "attempt", "body", "deadline", "fair", "id", "joined", "joined_bytes",
        "number", "parts", "recalled", "sender", "service", "since", "size", "state", "trace", "worker",
    )  # fmt: skip

    def __init__(
        self, number: int, service: Service, body: list[bytes], asker: Asker, fair: Hashable,
        deadline: float, *, id: str = "", sender: str = "", trace: str = "",
    ) -> None:  # fmt: skip
        self.number = number
        self.service = service
        self.body = body
        self.size = sum(map(len, body))
        self.asker = asker
        #: Between whom the service is shared fairly.
        self.fair = fair
        #: By the broker's clock, in seconds.
        self.deadline = deadline
        #: The requester's name for it; empty where it gave none.
        self.id = id
        self.sender = sender
        self.trace = trace
        self.state = RequestState.QUEUED
        self.attempt = 0
        #: Who holds it, under which address, and since when.
        self.worker: Worker | None = None
        self.address = b""
        self.since = 0.0
        #: Whether that worker was asked to give it back.
        self.recalled = False
        #: Parts that were passed on to the asker.
        self.parts = 0
        #: Parts that are kept until the end, for an asker that takes none.
        self.joined: list[bytes] = []
        self.joined_bytes = 0


class Worker:
    """A registered worker."""

    __slots__ = (
        "answered", "credit", "dialect", "extended", "held", "name", "peer", "ring", "seen",
        "service", "slots",
    )  # fmt: skip

    def __init__(
        self, peer: bytes, service: Service, dialect: Dialect, now: float, *, slots: int = 1,
        credit: int = 1, extended: bool = False, name: str = "",
    ) -> None:  # fmt: skip
        self.peer = peer
        self.service = service
        self.dialect = dialect
        self.extended = extended
        self.slots = slots
        self.credit = credit
        self.name = name
        #: When it last gave a sign of life.
        self.seen = now
        #: What it was given and has not let go of, by address, oldest first. A request that ended
        #: meanwhile stays until the worker lets go: it takes up a slot.
        self.held: dict[bytes, Request] = {}
        #: The ring of its service that it stands in.
        self.ring: dict[Worker, None] | None = None
        self.answered = 0


class Service:
    """A name, its workers, and who waits for them."""

    __slots__ = ("counts", "idle", "name", "queue", "spare", "workers")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.queue: FairQueue[Request] = FairQueue()
        self.workers: dict[bytes, Worker] = {}
        #: Workers with a free slot, longest waiting first; and those that would only keep a request
        #: ready for later.
        self.idle: dict[Worker, None] = {}
        self.spare: dict[Worker, None] = {}
        self.counts: Counter[str] = Counter()

    def place(self, worker: Worker) -> None:
        """Put `worker` at the end of the ring where it belongs now."""
        held = len(worker.held)
        ring = (self.idle if held < worker.slots else self.spare) if held < worker.credit else None
        if worker.ring is not None:
            worker.ring.pop(worker, None)
        worker.ring = ring
        if ring is not None:
            ring[worker] = None

    def free_worker(self) -> Worker | None:
        """Whose turn it is to get a request."""
        for ring in (self.idle, self.spare):
            for worker in ring:
                return worker
        return None
