"""The broker: who gets which request, and what becomes of it. No I/O, no clock of its own.

Rules:
- `receive`, `submit`, `cancel`, `tick` and `gone` say what happened, and when (`now`, seconds of any
  steady clock). What is to be sent and told stands in `outgoing` afterwards; whoever drives the
  broker takes it from there, and calls `tick` at `next_due`.
- A request ends once. Until then it waits in one queue or is held by one registered worker.
- Only the worker that holds a request may answer it, under the address it was given for it. The
  address is this broker's name for one handing over; to a worker it is opaque (RFC 7, "envelope").
- A worker that is gone costs a request an attempt only if it may have begun: the first `slots` of
  what it held. One that runs out of attempts becomes a dead letter.
- Plain workers hold one request at a time. They are never told of time-outs or cancellations: what
  they answer too late is dropped and counted.

Sources: RFC 7, RFC 8, RFC 18. What may follow what is in `zxmpp.mdp.broker.states`.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from itertools import count, islice
from typing import Final

import msgspec
from msgspec import Struct

from zxmpp.mdp.broker import mmi
from zxmpp.mdp.broker.memory import Answer, Answers, DeadLetter, DeadLetters
from zxmpp.mdp.broker.options import BrokerOptions
from zxmpp.mdp.broker.outgoing import Delivery, Outgoing
from zxmpp.mdp.broker.records import Asker, Request, Service, Worker
from zxmpp.mdp.broker.states import (
    MOVES,
    REACTIONS,
    IllegalMove,
    Move,
    Reaction,
    RequestState,
    WorkerState,
)
from zxmpp.mdp.wire import (
    MMI,
    V02,
    Command,
    Malformed,
    Message,
    Meta,
    Options,
    Problem,
    decode,
    encode_meta,
    meta_of,
)

__all__ = ["Broker", "Complaint", "Delivery"]

#: An id that its requester made has so many characters: it has to be hard to guess.
MIN_ID, MAX_ID = 16, 128
#: Deadlines of ended requests that may stand among the others before they are swept out.
SPARE_DEADLINES = 1000

_ENDED: Final = RequestState.ENDED
_FINAL: Final = Command.FINAL
_RECALL: Final = encode_meta(Meta(recall=True))
_INSIDE: Final = Asker(b"", None, True)


class Complaint(Struct, frozen=True):
    """Something that a peer did wrong; counted already, for the log."""

    peer: bytes
    reason: str


class Broker:
    """See the module's rules. `life` is what this broker's addresses begin with; random as a rule."""

    def __init__(self, options: BrokerOptions | None = None, *, life: str = "") -> None:
        self.options = options = options or BrokerOptions()
        self.counts: Counter[str] = Counter()
        self.outgoing = Outgoing(self.counts)
        self.complaints: list[Complaint] = []
        self.dead_letters = DeadLetters(options.dead_letters, options.remember_bytes)
        self.services: dict[bytes, Service] = {}
        self.workers: dict[bytes, Worker] = {}
        #: Set while the embedding process stops: nothing new is taken from clients.
        self.draining = False
        #: Requests that have not ended, and the bytes of their bodies.
        self.open = 0
        self.open_bytes = 0
        self._answers = Answers(options.remember, options.remember_seconds, options.remember_bytes)
        self._life = life or secrets.token_hex(4)
        self._numbers = count(1)
        self._by_id: dict[str, Request] = {}
        #: Clients of ours that wait, with what they wait for.
        self._waiting: dict[bytes, dict[Request, None]] = {}
        self._deadlines: list[tuple[float, int, Request]] = []
        #: Workers that may hold requests which they have not begun.
        self._loaded: dict[Worker, None] = {}
        self._next_beat: float | None = None
        self._reactions: dict[Reaction, Callable[[Worker, Message, float], None]] = {
            Reaction.TAKE_ANSWER: self._take_answer,
            Reaction.TAKE_BACK: self._take_back,
            Reaction.REFRESH: self._refresh,
            Reaction.SET_CREDIT: self._set_credit,
            Reaction.FORGET: lambda worker, _, now: self._lose(worker, "left", now),
        }

    # -- what comes in ---------------------------------------------------------------------------

    def receive(self, peer: bytes, frames: list[bytes], delimited: bool, now: float) -> None:
        """A message of `peer` (its routing id): `frames` begin with the header, `delimited` says
        whether an empty frame stood before it. Never raises for what a peer sends."""
        try:
            message = decode(frames, delimited)
            if message.worker:
                self._from_worker(peer, message, now)
            else:
                self._from_client(peer, message, now)
        except Malformed as error:
            self._malformed(peer, error, now)

    def _from_worker(self, peer: bytes, message: Message, now: float) -> None:
        worker = self.workers.get(peer)
        if worker is None:
            reaction = REACTIONS[WorkerState.UNKNOWN, message.command]
            if reaction is Reaction.REGISTER:
                self._register(peer, message, now)
            elif reaction is Reaction.UNEXPECTED:
                self._unexpected(peer, message, now)
            return
        reaction = REACTIONS[WorkerState.REGISTERED, message.command]
        act = self._reactions.get(reaction)
        if act is None or message.dialect is not worker.dialect:
            self._unexpected(peer, message, now)
        else:
            act(worker, message, now)

    def _malformed(self, peer: bytes, error: Malformed, now: float) -> None:
        self._complain(peer, error.reason)
        worker = self.workers.get(peer)
        dialect = worker.dialect if worker is not None else error.dialect
        if worker is not None:
            # RFC 18: an invalid message makes the peer invalid.
            self._lose(worker, "invalid", now)
        if dialect is not None:
            self.outgoing.frames.append([peer, *dialect.disconnect])

    def _unexpected(
        self, peer: bytes, message: Message, now: float, reason: str = "unexpected"
    ) -> None:
        self._complain(peer, f"{reason}-{message.command}" if reason == "unexpected" else reason)
        if (worker := self.workers.get(peer)) is not None:
            self._lose(worker, "unexpected", now)
        self.outgoing.frames.append([peer, *message.dialect.disconnect])

    def _complain(self, peer: bytes, reason: str) -> None:
        self.counts[reason] += 1
        self.complaints.append(Complaint(peer, reason))

    # -- workers ---------------------------------------------------------------------------------

    def _register(self, peer: bytes, message: Message, now: float) -> None:
        if message.name.startswith(MMI):
            # RFC 8: these are the broker's own.
            self._unexpected(peer, message, now, "reserved-service")
            return
        slots, credit, name = 1, 1, ""
        if message.meta is not None:
            try:
                options = msgspec.json.decode(message.meta, type=Options)
            except msgspec.MsgspecError:
                raise Malformed("bad-meta", message.dialect) from None
            credit = max(0, min(options.credit, self.options.max_credit))
            slots = max(1, min(options.slots, credit))
            name = options.name[:64]
        service = self._service(message.name)
        worker = Worker(
            peer, service, message.dialect, now, slots=slots, credit=credit,
            extended=message.meta is not None, name=name,
        )  # fmt: skip
        self.workers[peer] = service.workers[peer] = worker
        self.counts["registered"] += 1
        if self._next_beat is None:
            self._next_beat = now + self.options.heartbeat
        service.place(worker)
        self._dispatch(service, now)

    def _refresh(self, worker: Worker, message: Message, now: float) -> None:
        worker.seen = now

    def _set_credit(self, worker: Worker, message: Message, now: float) -> None:
        credit = _meta(message).credit
        if credit is None or credit < 0:
            raise Malformed("bad-meta", message.dialect)
        worker.seen = now
        worker.credit = min(credit, self.options.max_credit)
        worker.service.place(worker)
        self._dispatch(worker.service, now)

    def _take_answer(self, worker: Worker, message: Message, now: float) -> None:
        request = worker.held.get(message.name)
        if request is None:
            self._unexpected(worker.peer, message, now, "foreign-answer")
            return
        worker.seen = now
        meta = None
        if message.meta is not None and message.meta != b"{}":
            meta = _meta(message)
        if message.command is not _FINAL:
            if request.state is _ENDED:
                self.counts["late-part"] += 1
            else:
                self._part(request, message.body, meta.progress if meta else None, now)
            return
        if request.state is _ENDED:
            self.counts["late-answer"] += 1
        elif meta is not None and meta.problem is not None:
            worker.answered += 1
            self._fail(request, meta.problem, now)
        else:
            worker.answered += 1
            self._answer(request, message.body, now)
        self._let_go(worker, message.name, now)

    def _take_back(self, worker: Worker, message: Message, now: float) -> None:
        request = worker.held.get(message.name)
        if request is None:
            self._unexpected(worker.peer, message, now, "foreign-answer")
            return
        worker.seen = now
        if request.state is not _ENDED:
            self.counts["returned"] += 1
            request.attempt -= 1
            self._hand_back(request)
        self._let_go(worker, message.name, now)

    def _let_go(self, worker: Worker, address: bytes, now: float) -> None:
        del worker.held[address]
        worker.service.place(worker)
        if worker.service.queue:
            self._dispatch(worker.service, now)

    def _lose(self, worker: Worker, why: str, now: float) -> None:
        """`worker` is registered no more; what it held goes to others."""
        self.counts[f"worker-{why}"] += 1
        service = worker.service
        del self.workers[worker.peer], service.workers[worker.peer]
        self._loaded.pop(worker, None)
        worker.credit = 0
        service.place(worker)
        held, worker.held = list(worker.held.values()), {}
        back: list[Request] = []
        for position, request in enumerate(held):
            if request.state is _ENDED:
                continue
            if position >= worker.slots:
                request.attempt -= 1
            if request.parts and not request.asker.extended:
                self.counts["interrupted"] += 1
                self._fail(request, Problem("interrupted", "its worker died in mid-answer"), now)
            elif request.attempt >= self.options.attempts:
                self._bury(request, now)
            else:
                back.append(request)
        for request in reversed(back):
            self.counts["requeued"] += 1
            self._hand_back(request)
        self._dispatch(service, now)
        self._tidy(service)

    def _bury(self, request: Request, now: float) -> None:
        self.counts["dead-letter"] += 1
        letter = DeadLetter(request.service.name, request.body, request.id, request.sender,
                            request.trace, request.attempt, now)  # fmt: skip
        self.dead_letters.add(letter)
        text = f"{request.attempt} workers died of it or with it"
        self._fail(request, Problem("dead-letter", text), now)

    def _service(self, name: bytes) -> Service:
        service = self.services.get(name)
        if service is None:
            service = self.services[name] = Service(name)
        return service

    def _tidy(self, service: Service) -> None:
        """Forget a service that nobody offers or waits for."""
        if not service.workers and not service.queue:
            self.services.pop(service.name, None)

    # -- requests --------------------------------------------------------------------------------

    def _from_client(self, peer: bytes, message: Message, now: float) -> None:
        meta = None if message.meta is None else meta_of(message.meta)
        if message.command is Command.CANCEL:
            request = self._by_id.get(meta.id) if meta else None
            if request is not None:
                self.cancel(request, now)
            return
        asker = Asker(peer, message.dialect, meta is not None)
        if message.name.startswith(MMI):
            self._ask_broker(asker, message, meta)
            return
        if meta is None:
            deadline = now + self.options.timeout
            self._admit(message.name, message.body, asker, peer, deadline, now)
            return
        if not MIN_ID <= len(meta.id) <= MAX_ID:
            self._complain(peer, "bad-id")
            text = f"an id has {MIN_ID} to {MAX_ID} characters and is hard to guess; use a UUID"
            self.outgoing.refuse(asker, message.name, meta.id, Problem("bad-request", text))
            return
        if self._known(asker, meta.id, now):
            return
        if meta.id in self._by_id:
            self._complain(peer, "bad-id")
            return
        deadline = now + self._seconds(meta.timeout)
        self._admit(message.name, message.body, asker, peer, deadline, now,
                    id=meta.id, trace=meta.trace)  # fmt: skip

    def _ask_broker(self, asker: Asker, message: Message, meta: Meta | None) -> None:
        body = mmi.answer(self, message.name, message.body)
        dialect = message.dialect
        if meta is None:
            frames = dialect.client_final(message.name, body)
        else:
            frames = dialect.client_extended(
                _FINAL, message.name, encode_meta(Meta(id=meta.id)), body
            )
        self.outgoing.frames.append([asker.peer, *frames])

    def _seconds(self, timeout: float | None) -> float:
        if timeout is None:
            return self.options.timeout
        return max(0.0, min(timeout, self.options.max_timeout))

    def _known(self, asker: Asker, id: str, now: float) -> bool:
        """Whether a client's request of that id runs or was answered: then the answer goes to
        `asker`, who asks again."""
        request = self._by_id.get(id)
        if request is not None and request.asker.dialect is not None:
            self.counts["repeated"] += 1
            self._stop_waiting(request)
            request.asker = asker
            self._wait(request, now)
            return True
        self._answers.expire(now)
        answer = self._answers.get(id)
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

    def submit(
        self, service: bytes, body: list[bytes], *, id: str, fair: Hashable, timeout: float,
        now: float, sender: str = "", trace: str = "",
    ) -> Request:  # fmt: skip
        """A request of whoever embeds the broker: what becomes of it comes as `Delivery`.

        `fair` is the asker between whom and others the service is shared; `id` must be new.
        """
        if service.startswith(MMI):
            request = self._new(service, body, _INSIDE, fair, now, id)
            self.outgoing.deliveries.append(
                Delivery(request, _FINAL, mmi.answer(self, service, body))
            )
            request.state = _ENDED
            self._tidy(request.service)
            return request
        deadline = now + self._seconds(timeout)
        return self._admit(service, body, _INSIDE, fair, deadline, now,
                           id=id, sender=sender, trace=trace)  # fmt: skip

    def _new(
        self, service: bytes, body: list[bytes], asker: Asker, fair: Hashable, deadline: float,
        id: str = "", sender: str = "", trace: str = "",
    ) -> Request:  # fmt: skip
        return Request(next(self._numbers), self._service(service), body, asker, fair, deadline,
                       id=id, sender=sender, trace=trace)  # fmt: skip

    def _admit(
        self, name: bytes, body: list[bytes], asker: Asker, fair: Hashable, deadline: float,
        now: float, *, id: str = "", sender: str = "", trace: str = "",
    ) -> Request:  # fmt: skip
        request = self._new(name, body, asker, fair, deadline, id, sender, trace)
        service = request.service
        service.counts["requests"] += 1
        self.open += 1
        self.open_bytes += request.size
        if id:
            self._by_id[id] = request
        problem = self._no_room(request)
        if problem is not None:
            self._refuse(request, problem, now)
            self._tidy(service)
            return request
        heappush(self._deadlines, (deadline, request.number, request))
        self._wait(request, now)
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
            self._refuse(loser, "queue-full", now)
            return request
        service.queue.put(fair, request)
        if service.workers:
            self._dispatch(service, now)
        return request

    def _no_room(self, request: Request) -> str | None:
        if self.draining and request.asker.dialect is not None:
            return "stopping"
        if self.open > self.options.total or self.open_bytes > self.options.total_bytes:
            return "broker-full"
        return None

    def _refuse(self, request: Request, condition: str, now: float) -> None:
        self.counts[condition] += 1
        texts = {
            "stopping": "the broker stops; try again in a moment",
            "broker-full": "too many requests wait or run; try again in a moment",
            "queue-full": "too many requests wait for this service; try again in a moment",
        }
        self._fail(request, Problem(condition, texts[condition]), now, queued=False)

    def _dispatch(self, service: Service, now: float) -> None:
        while service.queue and (worker := service.free_worker()) is not None:
            self._hand(service.queue.take(), worker, now)

    def _hand(self, request: Request, worker: Worker, now: float) -> None:
        """Give `request` to `worker`."""
        self._move(request, Move.DISPATCH)
        address = b"%s-%x" % (self._life.encode(), next(self._numbers))
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
                self._loaded[worker] = None
        else:
            frames = worker.dialect.request(address, request.body)
        self.outgoing.frames.append([worker.peer, *frames])
        worker.service.place(worker)

    def _part(
        self, request: Request, body: list[bytes], progress: float | None, now: float
    ) -> None:
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
            request.joined_bytes += sum(map(len, body))
            if request.joined_bytes > self.options.join_bytes:
                self.counts["answer-too-big"] += 1
                text = "its parts are too big to be joined"
                self._fail(request, Problem("answer-too-big", text), now)

    def _answer(self, request: Request, body: list[bytes], now: float) -> None:
        request.service.counts["answered"] += 1
        if request.joined:
            # The last part may be an empty frame, which only says that this is the end.
            body = request.joined if body == [b""] else request.joined + body
        self.outgoing.final(request, body)
        if request.asker.extended and request.asker.dialect is not None:
            kept, problem = body, None
            if request.parts:
                kept, problem = [], Problem("interrupted", "parts of the answer were lost")
            self._answers.keep(
                request.id, Answer(request.service.name, kept, problem, request.parts), now
            )
        self._end(request)

    def _fail(self, request: Request, problem: Problem, now: float, queued: bool = True) -> None:
        """End `request` without an answer."""
        service = request.service
        service.counts["failed"] += 1
        self.outgoing.failure(request, problem)
        if request.state is RequestState.QUEUED and queued:
            service.queue.remove(request.fair, request)
            self._tidy(service)
        self._end(request)

    def _end(self, request: Request) -> None:
        self._move(request, Move.END)
        self.open -= 1
        self.open_bytes -= request.size
        if request.id:
            self._by_id.pop(request.id, None)
        self._stop_waiting(request)
        # Who still holds it needs no more than its address.
        request.body = []
        request.joined = []
        if len(self._deadlines) > 2 * self.open + SPARE_DEADLINES or not self.open:
            self._deadlines = [entry for entry in self._deadlines if entry[2].state is not _ENDED]
            heapify(self._deadlines)

    def _hand_back(self, request: Request) -> None:
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

    def cancel(self, request: Request, now: float, condition: str = "cancelled") -> None:
        """Nobody waits for `request` any more. Idempotent. Its worker is told, if it is of ours."""
        if request.state is _ENDED:
            return
        self.counts[condition] += 1
        held = request.worker if request.state is RequestState.HELD else None
        self._fail(request, Problem(condition), now)
        if held is not None and held.extended:
            frames = held.dialect.extended(Command.CANCEL, request.address, b"{}")
            self.outgoing.frames.append([held.peer, *frames])

    # -- clients of ours, who can be told that the broker lives ----------------------------------

    def _wait(self, request: Request, now: float) -> None:
        asker = request.asker
        if asker.extended and asker.dialect is not None:
            self._waiting.setdefault(asker.peer, {})[request] = None
            if self._next_beat is None:
                self._next_beat = now + self.options.heartbeat

    def _stop_waiting(self, request: Request) -> None:
        asker = request.asker
        if asker.dialect is None or not asker.extended:
            return
        waiting = self._waiting.get(asker.peer, {})
        waiting.pop(request, None)
        if not waiting:
            self._waiting.pop(asker.peer, None)

    # -- time ------------------------------------------------------------------------------------

    def next_due(self, now: float) -> float | None:
        """When `tick` has something to do, at the latest; None if nothing is planned."""
        due = [] if self._next_beat is None else [self._next_beat]
        if self._deadlines:
            due.append(self._deadlines[0][0])
        if self._loaded:
            due.append(now + self.options.recall)
        return min(due, default=None)

    def tick(self, now: float) -> None:
        """Do what is due: time-outs, heartbeats, workers that are silent, recalls."""
        while self._deadlines and self._deadlines[0][0] <= now:
            self.cancel(heappop(self._deadlines)[2], now, "timeout")
        if self._next_beat is not None and self._next_beat <= now:
            self._beat(now)
        if self._loaded:
            self._recall(now)

    def _beat(self, now: float) -> None:
        options = self.options
        patience = options.heartbeat * options.liveness
        for worker in list(self.workers.values()):
            busy = bool(worker.held) and not worker.extended
            if now - worker.seen > (max(options.lease, patience) if busy else patience):
                self.outgoing.frames.append([worker.peer, *worker.dialect.disconnect])
                self._lose(worker, "silent", now)
            else:
                self.outgoing.frames.append([worker.peer, *worker.dialect.heartbeat])
        for peer in self._waiting:
            self.outgoing.frames.append([peer, *V02.client_heartbeat])
        self._answers.expire(now)
        alive = bool(self.workers or self._waiting or len(self._answers))
        self._next_beat = now + options.heartbeat if alive else None

    def probe(self, now: float) -> None:
        """Send every worker and waiting client a heartbeat now: for after a connection broke, so
        that who is gone is found unroutable."""
        if self._next_beat is not None:
            self._next_beat = now
            self.tick(now)

    def _recall(self, now: float) -> None:
        """Ask for requests that wait in a busy worker while another has a free slot."""
        for worker in list(self._loaded):
            if len(worker.held) <= worker.slots:
                del self._loaded[worker]
                continue
            service = worker.service
            if service.queue or not service.idle:
                continue
            free = sum(idle.slots - len(idle.held) for idle in service.idle)
            for address, request in islice(worker.held.items(), worker.slots, None):
                if free <= 0 or now - request.since < self.options.recall:
                    break
                if request.state is not _ENDED and not request.recalled:
                    request.recalled = True
                    free -= 1
                    frames = worker.dialect.extended(Command.CANCEL, address, _RECALL)
                    self.outgoing.frames.append([worker.peer, *frames])

    def gone(self, peer: bytes, now: float) -> None:
        """`peer` could not be reached: it has no connection any more."""
        worker = self.workers.get(peer)
        if worker is not None:
            self._lose(worker, "gone", now)
        for request in list(self._waiting.get(peer, ())):
            self.cancel(request, now, "asker-gone")

    def shut_down(self, now: float) -> None:
        """End everything: workers are told to disconnect, requests fail by name."""
        self.draining = True
        for service in list(self.services.values()):
            while service.queue:
                self._refuse(service.queue.take(), "stopping", now)
            self._tidy(service)
        for worker in list(self.workers.values()):
            self.outgoing.frames.append([worker.peer, *worker.dialect.disconnect])
            for request in list(worker.held.values()):
                if request.state is not _ENDED:
                    self._refuse(request, "stopping", now)
            self._lose(worker, "stopped", now)


def _meta(message: Message) -> Meta:
    """The meta data of a worker's message; its sender is to be told if they are wrong."""
    try:
        return meta_of(message.meta or b"")
    except Malformed as error:
        raise Malformed(error.reason, message.dialect) from None
