"""What a broker owes its peers, worked out from what went over the wire alone.

Rules:
- Each request carries a body of its own, so that it is known again wherever it turns up.
- The model is told of an event before the broker's messages about it are looked at; a message that
  it can't explain is a failure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.mdp.bench import Bench, read
from zxmpp.mdp.broker import Request, RequestState
from zxmpp.mdp.messages import Command, meta_of
from zxmpp.mdp.wire import V01, V02, Dialect, Message, Tag02

__all__ = [
    "ATTEMPTS", "CLIENTS", "HEARTBEAT", "JOIN_BYTES", "LEASE", "LIVENESS", "MAX_CREDIT", "REMEMBER",
    "TIMEOUT", "Ask", "Mate", "Model",
]  # fmt: skip

HEARTBEAT, LIVENESS, LEASE, ATTEMPTS, TIMEOUT, REMEMBER = 1.0, 3, 8.0, 3, 20.0, 10.0
QUEUE, MAX_CREDIT, JOIN_BYTES = 5, 3, 400

CLIENTS = {"0.1": V01, "0.2": V02, "0.2-tag": Tag02}


@dataclass(eq=False)
class Ask:
    """A request, from its being taken to its end."""

    token: bytes
    #: 0.1, 0.2, 0.2-tag: plain; ours; inside.
    kind: str
    peer: bytes
    service: bytes
    deadline: float
    fair: object
    id: str = ""
    request: Request | None = None
    ended: bool = False
    attempts: int = 0
    parts: list[bytes] = field(default_factory=list)
    #: When it was answered, not given up.
    answered: float | None = None
    #: The end that the model has worked out, and the asker is to be told.
    owed: int = 1

    @property
    def told(self) -> bool:
        """Whether such an asker hears of failures."""
        return self.kind in ("ours", "inside")


@dataclass(eq=False)
class Mate:
    """A registered worker."""

    peer: bytes
    dialect: Dialect
    ours: bool
    service: bytes
    slots: int
    credit: int
    seen: float
    held: dict[bytes, Ask] = field(default_factory=dict)


class Model:
    """What is known of a broker on a bench."""

    def __init__(self) -> None:
        self.bench = Bench(
            heartbeat=HEARTBEAT, liveness=LIVENESS, lease=LEASE, attempts=ATTEMPTS, queue=QUEUE,
            timeout=TIMEOUT, max_timeout=TIMEOUT, remember_seconds=REMEMBER, recall=0.1,
            max_credit=MAX_CREDIT, join_bytes=JOIN_BYTES,
        )  # fmt: skip
        self.asks: dict[bytes, Ask] = {}
        self.by_id: dict[str, Ask] = {}
        self.mates: dict[bytes, Mate] = {}
        self.addresses: list[bytes] = []
        self.draining = False
        self.dead = 0
        #: Workers that may be told to disconnect now, and must be.
        self.to_leave: set[bytes] = set()
        #: The answer that was just given: its frames, as told to one that takes no parts.
        self.answer: dict[Ask, list[bytes]] = {}
        self.part: dict[Ask, bytes] = {}
        self.restarts: set[Ask] = set()

    # -- events ----------------------------------------------------------------------------------

    def open(self) -> Iterator[Ask]:
        return (ask for ask in self.asks.values() if not ask.ended)

    def end(self, ask: Ask) -> None:
        """It is over; who is told of it is told now."""
        assert not ask.ended
        ask.ended = True
        if not ask.told:
            ask.owed = 0

    def lose(self, peer: bytes) -> None:
        """A worker is gone: what it held may go to others."""
        mate = self.mates.pop(peer)
        for position, ask in enumerate(mate.held.values()):
            if ask.ended:
                continue
            ask.attempts += position < mate.slots
            if ask.parts and ask.kind == "0.2":
                self.end(ask)
            elif ask.attempts >= ATTEMPTS:
                self.end(ask)
                self.dead += 1
            else:
                self.restart(ask)

    def restart(self, ask: Ask) -> None:
        if ask.parts and ask.told:
            self.restarts.add(ask)
        ask.parts = []

    def throw_out(self, peer: bytes) -> None:
        """A worker did what it must not: it is told to disconnect."""
        if peer in self.mates:
            self.lose(peer)
        self.to_leave.add(peer)

    # -- what the broker says --------------------------------------------------------------------

    def look(self) -> None:
        """Explain all that went out."""
        for to, frames in self.bench.take():
            message = read(frames)
            if message.worker:
                self._to_worker(to, message)
            elif message.command is not Command.HEARTBEAT:
                self._to_client(to, message)
        for told in self.bench.told():
            [ask] = [ask for ask in self.asks.values() if ask.request is told.request]
            failed = told.problem.condition if told.problem else ""
            self._answer(ask, told.command, told.body, told.restart, failed)
        self.bench.complaints()
        assert not self.to_leave, "not told to disconnect"
        assert not self.restarts, "not told of the new beginning"
        assert not self.part, "a part was not passed on"
        assert not self.answer, "an answer was not passed on"
        for ask in self.asks.values():
            assert not ask.ended or ask.owed == 0, "ended, and the asker was not told"

    def _to_worker(self, to: bytes, message: Message) -> None:
        if message.command is Command.DISCONNECT:
            if to in self.mates:
                mate = self.mates[to]
                silent = self.bench.now - mate.seen
                lease = LEASE if mate.held and not mate.ours else HEARTBEAT * LIVENESS
                assert silent > lease, "disconnected though it was not silent"
                self.lose(to)
            else:
                self.to_leave.remove(to)
            return
        mate = self.mates[to]
        if message.command is Command.REQUEST:
            self._dispatched(mate, message)
        elif message.command is Command.CANCEL:
            assert mate.ours
            ask = mate.held[message.name]
            if meta_of(message.meta or b"").recall:
                assert not ask.ended
                assert list(mate.held).index(message.name) >= mate.slots
            else:
                assert ask.ended

    def _dispatched(self, mate: Mate, message: Message) -> None:
        ask = self.asks[message.body[0]]
        assert message.body == [ask.token]
        assert mate.service == ask.service
        assert not ask.ended, "it has ended already"
        assert ask.deadline > self.bench.now, "it is too late for it"
        assert ask.attempts < ATTEMPTS
        holders = [other for other in self.mates.values() if ask in other.held.values()]
        assert not holders, "another live worker holds it"
        assert len(mate.held) < mate.credit
        assert mate.dialect is message.dialect
        assert mate.ours == (message.meta is not None)
        assert message.name not in self.addresses, "an address is used twice"
        if not mate.held:
            mate.seen = self.bench.now
        mate.held[message.name] = ask
        self.addresses.append(message.name)

    def _to_client(self, to: bytes, message: Message) -> None:
        if message.meta is None:
            # Plain: it is known by what the body says.
            token = message.body[-1].split(b" ")[-1]
            ask = self.asks[token]
            assert CLIENTS[ask.kind] is message.dialect
            restart, failed = False, ""
        else:
            meta = meta_of(message.meta)
            ask = self.by_id[meta.id]
            restart = meta.restart
            failed = meta.problem.condition if meta.problem else ""
        assert ask.peer == to, "somebody else's answer"
        assert ask.service == message.name
        self._answer(ask, message.command, message.body, restart, failed)

    def _answer(
        self, ask: Ask, command: Command, body: list[bytes], restart: bool, failed: str
    ) -> None:
        if restart:
            self.restarts.remove(ask)
        elif command is Command.PARTIAL:
            assert body == [self.part.pop(ask)]
        else:
            assert ask.owed == 1, "told twice of its end"
            ask.owed = 0
            if ask in self.answer:
                expected = self.answer.pop(ask)
                assert failed in ("", "interrupted")
                assert body == ([] if failed else expected)
            else:
                assert failed, "an answer that no worker gave"
                if not ask.ended:
                    # A queue that is full, or its time.
                    assert failed in ("queue-full", "timeout")
                    assert failed != "timeout" or ask.deadline <= self.bench.now
                    ask.ended = True

    # -- what must hold at any time --------------------------------------------------------------

    def check(self) -> None:
        """Each open request is in one queue or with one worker; nobody holds more than allowed."""
        broker = self.bench.broker
        queued: list[bytes] = []
        for service in broker.requests.services.values():
            assert service.queue or service.workers, "a service that is nobody's"
            waiting = [item for items in service.queue._by_asker.values() for item in items]
            assert len(waiting) == len(service.queue) <= QUEUE + MAX_CREDIT * len(self.mates) + 9
            queued += [item.body[0] for item in waiting]
            idle = [*service.idle, *service.spare]
            assert not (queued and waiting and idle), "a request waits, and so does a worker"
        held = [
            item.body[0]
            for worker in broker.workers.values()
            for item in worker.held.values()
            if item.state is RequestState.HELD
        ]
        known = [
            ask.token for mate in self.mates.values() for ask in mate.held.values() if not ask.ended
        ]
        assert sorted(held) == sorted(known)
        assert sorted(queued + held) == sorted(ask.token for ask in self.open())
        assert broker.requests.open == len(queued + held)
        assert broker.requests.open_bytes == sum(map(len, queued + held))
        assert set(broker.workers) == set(self.mates)
        assert broker.counts["dead-letter"] == self.dead
        assert set(broker.requests.loaded) <= set(broker.workers.values())
        for peer, worker in broker.workers.items():
            assert list(worker.held) == list(self.mates[peer].held)
