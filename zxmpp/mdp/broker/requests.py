"""Requests, from their admission to their end: bounds, queues, deadlines, and who is told.

Rules:
- Every request is admitted once and ends once; all that is counted of it goes back to zero then.
- What is full says so by name. A full queue makes room at the cost of who waits with most.
- A request that its requester names again by its id is not run again.
- Sources: RFC 7 and 18 for what goes out; what may follow what is in `zxmpp.mdp.broker.states`.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final

from zxmpp.mdp.broker.memory import Answer, Answers, DeadLetter, DeadLetters
from zxmpp.mdp.broker.options import BrokerOptions
from zxmpp.mdp.broker.outgoing import Outgoing
from zxmpp.mdp.broker.records import Asker, Request, Service, Worker
from zxmpp.mdp.broker.states import MOVES, IllegalMove, Move, RequestState
from zxmpp.mdp.messages import Command, Meta, Problem, encode_meta

__all__ = ["Requests"]

#: Deadlines of ended requests that may stand among the others before they are swept out.
SPARE_DEADLINES = 1000
#: What a frame that is kept costs beside its bytes: empty ones are not for nothing.
FRAME_BYTES = 64

_ENDED: Final = RequestState.ENDED
_FINAL: Final = Command.FINAL

#: Why a request is not taken, and what the asker reads.
_REFUSALS: Final = {
    "stopping": "the broker stops; try again in a moment",
    "broker-full": "too many requests wait or run; try again in a moment",
    "queue-full": "too many requests wait for this service; try again in a moment",
}


class Requests:
    """The requests of a broker; `life` is what its addresses begin with."""

    def __init__(
        self, options: BrokerOptions, counts: Counter[str], outgoing: Outgoing, life: str
    ) -> None:
        self.options = options
        self.counts = counts
        self.outgoing = outgoing
        self.services: dict[bytes, Service] = {}
        self.dead_letters = DeadLetters(options.dead_letters, options.remember_bytes)
        #: Answers that were given lately.
        self.answers = Answers(options.remember, options.remember_seconds, options.remember_bytes)
        #: Set while the embedding process stops: nothing new is taken from clients.
        self.draining = False
        #: Requests that have not ended, and the bytes of their bodies.
        self.open = 0
        self.open_bytes = 0
        self.by_id: dict[str, Request] = {}
        #: Clients of ours that wait, with what they wait for.
        self.waiting: dict[bytes, dict[Request, None]] = {}
        #: Workers that may hold requests which they have not begun.
        self.loaded: dict[Worker, None] = {}
        #: Whether a service is the embedding process's own; and its requests that are there.
        self.is_own: Callable[[bytes], bool] | None = None
        self.here: dict[Request, None] = {}
        self._life = f"{life or secrets.token_hex(4)}-".encode()
        self._numbers = count(1)
        self._deadlines: list[tuple[float, int, Request]] = []

    # -- admission -------------------------------------------------------------------------------

    def service(self, name: bytes) -> Service:
        """The service of that name; made if need be."""
        service = self.services.get(name)
        if service is None:
            service = self.services[name] = Service(name)
        return service

    def tidy(self, service: Service) -> None:
        """Forget a service that nobody offers or waits for."""
        if not service.workers and not service.queue:
            self.services.pop(service.name, None)

    def known(self, asker: Asker, id: str, now: float) -> bool:
        """Whether a client's request of that id runs or was answered: then the answer goes to
        `asker`, who asks again."""
        request = self.by_id.get(id)
        if request is not None and request.asker.dialect is not None:
            self.counts["repeated"] += 1
            self._stop_waiting(request)
            request.asker = asker
            self._wait(request)
            return True
        self.answers.expire(now)
        answer = self.answers.get(id)
        if answer is None:
            return False
        self.counts["repeated"] += 1
        if answer.problem is not None:
            self.outgoing.refuse(asker, answer.service, id, answer.problem)
        elif asker.dialect is not None:
            meta = encode_meta(Meta(id=id, part=answer.parts))
            frames = asker.dialect.client_extended(_FINAL, answer.service, meta, answer.body)
            self.outgoing.frames.append([asker.peer, *frames])
        return True

    def new(
        self, service: bytes, body: list[bytes], asker: Asker, fair: Hashable, deadline: float,
        id: str = "", sender: str = "", trace: str = "",
    ) -> Request:  # fmt: skip
        """A request that is not admitted yet."""
        return Request(next(self._numbers), self.service(service), body, asker, fair, deadline,
                       id=id, sender=sender, trace=trace)  # fmt: skip

    def admit(
        self, name: bytes, body: list[bytes], asker: Asker, fair: Hashable, deadline: float,
        now: float, *, id: str = "", sender: str = "", trace: str = "",
    ) -> Request:  # fmt: skip
        """Take a request: to a worker, to the queue, or to its end if there is no room."""
        request = self.new(name, body, asker, fair, deadline, id, sender, trace)
        service = request.service
        service.counts["requests"] += 1
        self.open += 1
        self.open_bytes += request.size
        if id:
            self.by_id[id] = request
        problem = self._no_room(request)
        if problem is not None:
            self.refuse(request, problem, now)
            self.tidy(service)
            return request
        if deadline <= now:
            self.counts["timeout"] += 1
            self.fail(request, Problem("timeout"), now, queued=False)
            self.tidy(service)
            return request
        heappush(self._deadlines, (deadline, request.number, request))
        self._wait(request)
        if self.is_own is not None and self.is_own(name):
            self._move(request, Move.DISPATCH)
            self.here[request] = None
            self.outgoing.errands.append(request)
            return request
        worker = None if service.queue else service.free_worker()
        if worker is not None:
            self._hand(request, worker, now)
            return request
        if len(service.queue) >= self.options.queue:
            # The one who waits with most makes room: so nobody's flood shuts others out.
            crowd, depth = service.queue.crowd()
            loser = request
            if service.queue.depth(fair) + 1 < depth:
                loser = service.queue.newest(crowd)
                service.queue.remove(crowd, loser)
                service.queue.put(fair, request)
            self.refuse(loser, "queue-full", now)
            return request
        # Nobody is free: whoever becomes it takes from the queue.
        service.queue.put(fair, request)
        return request

    def seconds(self, timeout: float | None) -> float:
        """The time that a request gets which asks for `timeout`."""
        if timeout is None:
            return self.options.timeout
        return max(0.0, min(timeout, self.options.max_timeout))

    def _no_room(self, request: Request) -> str | None:
        if self.draining and request.asker.dialect is not None:
            return "stopping"
        if self.open > self.options.total or self.open_bytes > self.options.total_bytes:
            return "broker-full"
        return None

    def refuse(self, request: Request, condition: str, now: float) -> None:
        """End `request`, which stands in no queue, for want of room."""
        self.counts[condition] += 1
        self.fail(request, Problem(condition, _REFUSALS[condition]), now, queued=False)

    # -- to a worker and back --------------------------------------------------------------------

    def dispatch(self, service: Service, now: float) -> None:
        """Give what waits for `service` to workers that are free."""
        # What is too late never starts, even if `tick` is late itself.
        self.expire(now)
        while service.queue and (worker := service.free_worker()) is not None:
            self._hand(service.queue.take(), worker, now)

    def _hand(self, request: Request, worker: Worker, now: float) -> None:
        """Give `request` to `worker`."""
        self._move(request, Move.DISPATCH)
        address = self._life + b"%x" % next(self._numbers)
        request.attempt += 1
        request.worker, request.address, request.since = worker, address, now
        request.recalled = False
        if not worker.held:
            # Its lease begins now, not with its last sign of life.
            worker.seen = now
        worker.held[address] = request
        if worker.extended:
            meta = Meta(
                id=request.id, timeout=round(request.deadline - now, 3), attempt=request.attempt,
                sender=request.sender, trace=request.trace,
            )  # fmt: skip
            frames = worker.dialect.extended(
                Command.REQUEST, address, encode_meta(meta), request.body
            )
            if len(worker.held) > worker.slots:
                self.loaded[worker] = None
        else:
            frames = worker.dialect.request(address, request.body)
        self.outgoing.frames.append([worker.peer, *frames])
        worker.service.place(worker)

    def part(self, request: Request, body: list[bytes], progress: float | None, now: float) -> None:
        """A part of the answer has come."""
        if progress is not None and not 0 <= progress <= 1:
            progress = None
        asker = request.asker
        if progress is not None and body == [b""]:
            # Progress alone; a plain client has no use for it.
            if asker.extended:
                self.outgoing.part(request, [], progress)
        elif asker.extended or (asker.dialect is not None and asker.dialect.has_partial):
            request.parts += 1
            self.outgoing.part(request, body, progress)
        else:
            request.joined += body
            request.joined_bytes += sum(map(len, body)) + FRAME_BYTES * len(body)
            if request.joined_bytes > self.options.join_bytes:
                self.cancel(request, now, "answer-too-big", "its parts are too big to be joined")

    def answer(self, request: Request, body: list[bytes], now: float) -> None:
        """The answer has come, or its last part."""
        request.service.counts["answered"] += 1
        if request.joined:
            # The last part may be an empty frame, which only says that this is the end.
            body = request.joined if body == [b""] else request.joined + body
        self.outgoing.final(request, body)
        if request.asker.extended and request.asker.dialect is not None:
            kept, problem = body, None
            if request.parts:
                kept, problem = [], Problem("interrupted", "parts of the answer were lost")
            self.answers.keep(
                request.id, Answer(request.service.name, kept, problem, request.parts), now
            )
        self._end(request)

    # -- the end ---------------------------------------------------------------------------------

    def fail(self, request: Request, problem: Problem, now: float, queued: bool = True) -> None:
        """End `request` without an answer."""
        service = request.service
        service.counts["failed"] += 1
        self.outgoing.failure(request, problem)
        if request.state is RequestState.QUEUED and queued:
            service.queue.remove(request.fair, request)
            self.tidy(service)
        self._end(request)

    def _end(self, request: Request) -> None:
        self._move(request, Move.END)
        self.open -= 1
        self.open_bytes -= request.size
        if request.id:
            self.by_id.pop(request.id, None)
        self._stop_waiting(request)
        if request in self.here:
            del self.here[request]
            self.outgoing.recalled.append(request)
            self.tidy(request.service)
        # Who still holds it needs no more than its address.
        request.body = []
        request.joined = []
        if len(self._deadlines) > 2 * self.open + SPARE_DEADLINES or not self.open:
            self._deadlines = [entry for entry in self._deadlines if entry[2].state is not _ENDED]
            heapify(self._deadlines)

    def hand_back(self, request: Request) -> None:
        """Put `request`, whose worker has not finished it, before all others."""
        self._move(request, Move.HAND_BACK)
        request.worker = None
        if request.parts:
            self.outgoing.restart(request)
        request.parts = request.joined_bytes = 0
        request.joined = []
        request.service.queue.put(request.fair, request, first=True)

    @staticmethod
    def _move(request: Request, move: Move) -> None:
        state = MOVES.get((request.state, move))
        if state is None:
            raise IllegalMove(f"request {request.number} is {request.state}; it can't {move}")
        request.state = state

    def cancel(
        self, request: Request, now: float, condition: str = "cancelled", text: str = ""
    ) -> None:
        """Nobody waits for `request` any more. Idempotent. Its worker is told, if it is of ours."""
        if request.state is _ENDED:
            return
        self.counts[condition] += 1
        held = request.worker if request.state is RequestState.HELD else None
        self.fail(request, Problem(condition, text), now)
        if held is not None and held.extended:
            frames = held.dialect.extended(Command.CANCEL, request.address, b"{}")
            self.outgoing.frames.append([held.peer, *frames])

    def bury(self, request: Request, now: float) -> None:
        """No worker survived `request`."""
        self.counts["dead-letter"] += 1
        letter = DeadLetter(request.service.name, request.body, request.id, request.sender,
                            request.trace, request.attempt, now)  # fmt: skip
        self.dead_letters.add(letter)
        text = f"{request.attempt} workers died of it or with it"
        self.fail(request, Problem("dead-letter", text), now)

    # -- clients of ours, who can be told that the broker lives ----------------------------------

    def _wait(self, request: Request) -> None:
        asker = request.asker
        if asker.extended and asker.dialect is not None:
            self.waiting.setdefault(asker.peer, {})[request] = None

    def _stop_waiting(self, request: Request) -> None:
        asker = request.asker
        if asker.dialect is None or not asker.extended:
            return
        waiting = self.waiting.get(asker.peer, {})
        waiting.pop(request, None)
        if not waiting:
            self.waiting.pop(asker.peer, None)

    # -- time ------------------------------------------------------------------------------------

    @property
    def next_deadline(self) -> float | None:
        """When the next request runs out of time."""
        return self._deadlines[0][0] if self._deadlines else None

    def expire(self, now: float) -> None:
        """End what has run out of time."""
        while self._deadlines and self._deadlines[0][0] <= now:
            self.cancel(heappop(self._deadlines)[2], now, "timeout")
