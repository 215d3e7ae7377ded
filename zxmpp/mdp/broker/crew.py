"""The registered workers: who they are, what they hold, whether they live, and what is asked back.

Rules:
- A worker that is gone costs a request an attempt only if it may have begun: the first `slots` of
  what it held. One that runs out of attempts becomes a dead letter.
- A plain worker is silent while it works (the guide's workers are), so a busy one has a lease; any
  other has to be heard of every `heartbeat * liveness` seconds.
- Requests that wait in a busy worker are asked back when another is free; only our own workers hold
  such.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Final

from zxmpp.mdp.broker.options import BrokerOptions
from zxmpp.mdp.broker.outgoing import Outgoing
from zxmpp.mdp.broker.records import Request, Worker
from zxmpp.mdp.broker.requests import Requests
from zxmpp.mdp.broker.states import RequestState
from zxmpp.mdp.messages import Command, Meta, Problem, encode_meta, options_of
from zxmpp.mdp.wire import Message

__all__ = ["Crew"]

#: Characters of a worker's name that are kept.
MAX_NAME = 64

_ENDED: Final = RequestState.ENDED
_RECALL: Final = encode_meta(Meta(recall=True))


class Crew:
    """The workers of a broker."""

    def __init__(
        self, options: BrokerOptions, counts: Counter[str], outgoing: Outgoing, requests: Requests
    ) -> None:
        self.workers: dict[bytes, Worker] = {}
        self._options = options
        self._counts = counts
        self._outgoing = outgoing
        self._requests = requests

    def register(self, peer: bytes, message: Message, now: float) -> None:
        """`peer` said READY. Malformed if what it says of itself can't be read."""
        slots, credit, name = 1, 1, ""
        if message.meta is not None:
            options = options_of(message.meta, message.dialect.disconnect)
            credit = max(0, min(options.credit, self._options.max_credit))
            slots = max(1, min(options.slots, credit))
            name = options.name[:MAX_NAME]
        service = self._requests.service(message.name)
        worker = Worker(
            peer, service, message.dialect, now, slots=slots, credit=credit,
            extended=message.meta is not None, name=name,
        )  # fmt: skip
        self.workers[peer] = service.workers[peer] = worker
        self._counts["registered"] += 1
        service.place(worker)
        self._requests.dispatch(service, now)

    def set_credit(self, worker: Worker, credit: int, now: float) -> None:
        """`worker` wants to hold so many from now on."""
        worker.credit = min(credit, self._options.max_credit)
        worker.service.place(worker)
        self._requests.dispatch(worker.service, now)

    def let_go(self, worker: Worker, address: bytes, now: float) -> None:
        """`worker` is done with what it was given under `address`."""
        del worker.held[address]
        worker.service.place(worker)
        if worker.service.queue:
            self._requests.dispatch(worker.service, now)

    def lose(self, worker: Worker, why: str, now: float) -> None:
        """`worker` is registered no more; what it held goes to others."""
        self._counts[f"worker-{why}"] += 1
        service = worker.service
        del self.workers[worker.peer], service.workers[worker.peer]
        self._requests.loaded.pop(worker, None)
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
                self._counts["interrupted"] += 1
                self._requests.fail(
                    request, Problem("interrupted", "its worker died in mid-answer"), now
                )
            elif request.attempt >= self._options.attempts:
                self._requests.bury(request, now)
            else:
                back.append(request)
        for request in reversed(back):
            self._counts["requeued"] += 1
            self._requests.hand_back(request)
        self._requests.dispatch(service, now)
        self._requests.tidy(service)

    def beat(self, now: float, stood_still: bool) -> None:
        """A heartbeat to each; who was silent for too long is sent away. With `stood_still` this
        process did nothing for so long that what came meanwhile has not been read yet."""
        options = self._options
        patience = options.heartbeat * options.liveness
        for worker in list(self.workers.values()):
            if stood_still:
                worker.seen = now
            busy = bool(worker.held) and not worker.extended
            if now - worker.seen > (max(options.lease, patience) if busy else patience):
                self._outgoing.frames.append([worker.peer, *worker.dialect.disconnect])
                self.lose(worker, "silent", now)
            else:
                self._outgoing.frames.append([worker.peer, *worker.dialect.heartbeat])

    def recall(self, now: float) -> None:
        """Ask for requests that wait in a busy worker while another has a free slot."""
        for worker in list(self._requests.loaded):
            if len(worker.held) <= worker.slots:
                del self._requests.loaded[worker]
                continue
            service = worker.service
            if service.queue or not service.idle:
                continue
            free = sum(idle.slots - len(idle.held) for idle in service.idle)
            for address, request in islice(worker.held.items(), worker.slots, None):
                if free <= 0 or now - request.since < self._options.recall:
                    break
                if request.state is _ENDED:
                    continue
                # One that was asked for already and is not back yet will take a slot, too.
                free -= 1
                if not request.recalled:
                    request.recalled = True
                    frames = worker.dialect.extended(Command.CANCEL, address, _RECALL)
                    self._outgoing.frames.append([worker.peer, *frames])
