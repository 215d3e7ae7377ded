"""Any interleaving of what peers, time and the embedding process can do to the broker.

No request is lost, answered twice, or held by two live workers; no answer reaches anybody but its
asker; nothing that has ended is started; and nothing is left in memory when all is done.
"""

from __future__ import annotations

from itertools import count

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.mdp.broker.model import (
    CLIENTS,
    HEARTBEAT,
    JOIN_BYTES,
    LEASE,
    LIVENESS,
    MAX_CREDIT,
    REMEMBER,
    TIMEOUT,
    Ask,
    Mate,
    Model,
)  # fmt: skip
from zxmpp.mdp.broker.requests import FRAME_BYTES
from zxmpp.mdp.messages import Command, Problem
from zxmpp.mdp.wire import V01, V02, Dialect, Tag02

WORKERS: list[tuple[bytes, Dialect, bool]] = [
    (b"w01", V01, False), (b"w02", V02, False), (b"wtag", Tag02, False),
    (b"ours1", V02, True), (b"ours2", V02, True), (b"ours3", V02, True),
]  # fmt: skip
SERVICES = [b"a", b"b"]
GARBAGE: list[list[bytes]] = [
    [], [b""], [b"x"], [b"", b"MDPC01"], [b"", b"MDPC01", b"a"], [b"MDPC02"], [b"MDPC02", b"\x09"],
    [b"MDPW01", b"\x01", b"a"], [b"", b"MDPW01"], [b"", b"MDPW01", b"\x77"], [b"MDPW03", b"\x01"],
    [b"MDPW02", b"\x81", b"a", b"{"], [b"MDPW02", b"\x81", b"a", b"x" * 5000],
    [b"MDPC02", b"\x81", b"a", b"[]", b"x"], [b"", b"MDPW02", b"\x01", b""], [b""] * 50,
]  # fmt: skip

peers = st.sampled_from([peer for peer, _, _ in WORKERS])
workers = st.sampled_from(WORKERS)
services = st.sampled_from(SERVICES)
clients = st.sampled_from([b"c1", b"c2", b"c3"])
picks = st.integers(0, 1000)
# Short times make workers silent by and by, long ones let requests and leases run out.
times = st.sampled_from([0.05, 0.2, 0.5, 1.0, 1.0, 2.5, 3.1, 9.0])


class BrokerMachine(RuleBasedStateMachine):
    """The core between six workers, three clients and the process around it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.bench = self.model.bench
        self.numbers = count()

    def token(self) -> bytes:
        return b"token-%d" % next(self.numbers)

    def mate(self, peer: bytes, seen: bool = True) -> Mate | None:
        mate = self.model.mates.get(peer)
        if mate is not None and seen:
            mate.seen = self.bench.now
        return mate

    def held(self, peer: bytes, pick: int) -> tuple[bytes, Ask] | None:
        mate = self.model.mates.get(peer)
        if mate is None or not mate.held:
            return None
        address = list(mate.held)[pick % len(mate.held)]
        return address, mate.held[address]

    # -- workers ---------------------------------------------------------------------------------

    @rule(worker=workers, service=services, slots=st.integers(1, 3), credit=st.integers(0, 5))
    def ready(self, worker: tuple[bytes, Dialect, bool], service: bytes, slots: int,
              credit: int) -> None:  # fmt: skip
        peer, dialect, ours = worker
        if peer in self.model.mates:
            self.model.throw_out(peer)
        elif ours:
            credit = min(credit, MAX_CREDIT)
            slots = max(1, min(slots, credit))
            self.model.mates[peer] = Mate(peer, dialect, ours, service, slots, credit,
                                          self.bench.now)  # fmt: skip
        else:
            self.model.mates[peer] = Mate(peer, dialect, ours, service, 1, 1, self.bench.now)
        if ours:
            self.bench.ours(peer, service, slots, credit)
        else:
            self.bench.worker(peer, service, dialect)

    @rule(peer=peers, pick=picks, failed=st.booleans())
    def final(self, peer: bytes, pick: int, failed: bool) -> None:
        found = self.held(peer, pick)
        if found is None:
            return
        address, ask = found
        mate = self.mate(peer)
        assert mate is not None
        del mate.held[address]
        body = b"done " + ask.token
        failed = failed and mate.ours
        if not ask.ended:
            ask.ended = True
            if failed:
                ask.owed = ask.owed if ask.told else 0
            else:
                ask.answered = self.bench.now
                joined = ask.parts if ask.kind in ("0.1", "0.2-tag") else []
                self.model.answer[ask] = [*joined, body]
        if not mate.ours:
            self.bench.reply(peer, address, body, dialect=mate.dialect)
        elif failed:
            self.bench.reply_ours(peer, address, body, problem=Problem("refused", "no"))
        else:
            self.bench.reply_ours(peer, address, body)

    @rule(peer=peers, pick=picks, size=st.sampled_from([0, 0, 0, 500]))
    def partial(self, peer: bytes, pick: int, size: int) -> None:
        found = self.held(peer, pick)
        if found is None or self.model.mates[peer].dialect is not V02:
            return
        address, ask = found
        mate = self.mate(peer)
        assert mate is not None
        body = b"." * size + b"part " + ask.token
        if not ask.ended:
            ask.parts.append(body)
            if ask.kind in ("0.2", "ours", "inside"):
                self.model.part[ask] = body
            elif sum(len(part) + FRAME_BYTES for part in ask.parts) > JOIN_BYTES:
                self.model.end(ask)
        if mate.ours:
            self.bench.reply_ours(peer, address, body, command=Command.PARTIAL)
        else:
            self.bench.reply(peer, address, body, dialect=V02, command=Command.PARTIAL)

    @rule(worker=workers, pick=picks, command=st.sampled_from([Command.FINAL, Command.RETURN]))
    def foreign(self, worker: tuple[bytes, Dialect, bool], pick: int, command: Command) -> None:
        """An answer under an address that is another worker's, an old one, or made up."""
        peer, dialect, ours = worker
        mate = self.model.mates.get(peer)
        addresses = [
            address
            for address in [*self.model.addresses, b"made-up", b"c1"]
            if mate is None or address not in mate.held
        ]
        address = addresses[-1 - pick % min(len(addresses), 12)]
        self.model.throw_out(peer)
        if ours:
            self.bench.reply_ours(peer, address, command=command)
        else:
            self.bench.reply(peer, address, dialect=dialect)

    @rule(peer=peers, pick=picks)
    def give_back(self, peer: bytes, pick: int) -> None:
        found = self.held(peer, pick)
        if found is None or not self.model.mates[peer].ours:
            return
        address, ask = found
        if ask.parts and not ask.ended:
            self.model.throw_out(peer)
        else:
            mate = self.mate(peer)
            assert mate is not None
            del mate.held[address]
        self.bench.control(peer, Command.RETURN, address)

    @rule(peer=peers, credit=st.integers(0, 5))
    def credit(self, peer: bytes, credit: int) -> None:
        if peer in (b"w01", b"wtag"):
            return  # their dialects have no such command
        mate = self.mate(peer)
        if mate is None or not mate.ours:
            self.model.throw_out(peer)
        else:
            mate.credit = min(credit, MAX_CREDIT)
        self.bench.control(peer, Command.CREDIT, credit=credit)

    @rule(worker=workers)
    def heartbeat(self, worker: tuple[bytes, Dialect, bool]) -> None:
        peer, dialect, _ = worker
        if self.mate(peer) is None:
            self.model.throw_out(peer)
        self.bench.send(peer, dialect.heartbeat)

    @rule()
    def all_live(self) -> None:
        for peer, dialect, _ in WORKERS:
            if self.mate(peer) is not None:
                self.bench.send(peer, dialect.heartbeat)

    @rule(worker=workers)
    def disconnect(self, worker: tuple[bytes, Dialect, bool]) -> None:
        peer, dialect, _ = worker
        if peer in self.model.mates:
            self.model.lose(peer)
        self.bench.send(peer, dialect.disconnect)

    @rule(peer=peers)
    def worker_dies(self, peer: bytes) -> None:
        if peer in self.model.mates:
            self.model.lose(peer)
        self.bench.broker.gone(peer, self.bench.now)

    # -- askers ----------------------------------------------------------------------------------

    def admit(self, ask: Ask) -> None:
        """To be called before the broker is asked."""
        self.model.asks[ask.token] = ask
        if ask.id:
            self.model.by_id[ask.id] = ask
        if self.model.draining and ask.kind != "inside":
            self.model.end(ask)

    def crowded(self, before: int) -> None:
        """After it was: a plain asker is not told that the queue was full."""
        queued = {
            item.body[0]
            for service in self.bench.broker.requests.services.values()
            for items in service.queue._by_asker.values()
            for item in items
        }
        if self.bench.broker.counts["queue-full"] == before:
            return
        self.model.look()
        held = {ask for mate in self.model.mates.values() for ask in mate.held.values()}
        lost = [ask for ask in self.model.open() if ask not in held and ask.token not in queued]
        assert len(lost) <= 1
        for ask in lost:
            assert not ask.told
            self.model.end(ask)

    @rule(peer=clients, kind=st.sampled_from(sorted(CLIENTS)), service=services)
    def ask_plain(self, peer: bytes, kind: str, service: bytes) -> None:
        token = self.token()
        ask = Ask(token, kind, peer, service, self.bench.now + TIMEOUT, peer)
        self.admit(ask)
        before = self.bench.broker.counts["queue-full"]
        self.bench.ask(peer, token, service, CLIENTS[kind])
        self.crowded(before)

    @rule(peer=clients, service=services, timeout=st.sampled_from([0.0, 0.5, 2.0, 15.0]))
    def ask_ours(self, peer: bytes, service: bytes, timeout: float) -> None:
        token = self.token()
        self.send_ours(token, peer, service, timeout, f"an id of {token.decode()}")

    def send_ours(self, token: bytes, peer: bytes, service: bytes, timeout: float, id: str) -> None:
        ask = Ask(token, "ours", peer, service, self.bench.now + timeout, peer, id)
        self.admit(ask)
        before = self.bench.broker.counts["queue-full"]
        self.bench.ask_ours(peer, id, token, service, timeout=timeout)
        self.crowded(before)

    @precondition(lambda self: self.model.by_id)
    @rule(peer=clients, pick=picks)
    def ask_again(self, peer: bytes, pick: int) -> None:
        """The same id once more: while it runs, after its answer, or after it was given up."""
        model, now = self.model, self.bench.now
        id = list(model.by_id)[-1 - pick % len(model.by_id)]
        ask = model.by_id[id]
        if ask.kind == "inside":
            # Nobody may have it, as long as it runs.
            if not ask.ended:
                self.bench.ask_ours(peer, id, b"stolen", ask.service)
            return
        if not ask.ended:
            ask.peer = peer
            self.bench.ask_ours(peer, id, b"ignored", ask.service)
        elif ask.answered is not None and now - ask.answered <= REMEMBER:
            ask.peer, ask.owed = peer, 1
            model.answer[ask] = [b"done " + ask.token]
            self.bench.ask_ours(peer, id, b"ignored", ask.service)
        else:
            self.send_ours(self.token(), peer, ask.service, 10.0, id)

    @rule(fair=st.sampled_from(["anna", "ben"]), service=services, timeout=st.integers(0, 12))
    def ask_inside(self, fair: str, service: bytes, timeout: int) -> None:
        token = self.token()
        id = f"inside with {token.decode()}"
        ask = Ask(token, "inside", b"", service, self.bench.now + timeout, fair, id)
        self.admit(ask)
        before = self.bench.broker.counts["queue-full"]
        ask.request = self.bench.broker.submit(
            service, [token], id=id, fair=fair, timeout=timeout, now=self.bench.now
        )
        self.crowded(before)

    @precondition(lambda self: self.model.by_id)
    @rule(peer=clients, pick=picks)
    def cancel(self, peer: bytes, pick: int) -> None:
        model = self.model
        id = list(model.by_id)[-1 - pick % len(model.by_id)]
        ask = model.by_id[id]
        frame = b'{"id":"%s"}' % id.encode()
        if ask.request is not None:
            # A client can't.
            self.bench.send(peer, V02.client_extended(Command.CANCEL, ask.service, frame))
            model.look()
            model.check()
        if not ask.ended:
            model.end(ask)
        if ask.request is not None:
            self.bench.broker.cancel(ask.request, self.bench.now)
        else:
            self.bench.send(peer, V02.client_extended(Command.CANCEL, ask.service, frame))

    @rule(peer=clients)
    def client_dies(self, peer: bytes) -> None:
        for ask in self.model.open():
            if ask.kind == "ours" and ask.peer == peer:
                self.model.end(ask)
        self.bench.broker.gone(peer, self.bench.now)

    # -- the rest --------------------------------------------------------------------------------

    @rule(peer=st.sampled_from([b"w01", b"w02", b"ours1", b"ours2", b"c1", b"stranger"]),
          frames=st.sampled_from(GARBAGE))  # fmt: skip
    def garbage(self, peer: bytes, frames: list[bytes]) -> None:
        registered = peer in self.model.mates
        if registered or b"MDPW01" in frames[:2] or frames[:1] == [b"MDPW02"] or (
            frames[1:2] == [b"MDPW02"]
        ):  # fmt: skip
            self.model.throw_out(peer)
        self.bench.send(peer, frames)

    @rule(seconds=times)
    def time_passes(self, seconds: float) -> None:
        # Whoever drives a broker calls it at each heartbeat.
        while seconds > 0:
            self._pass(min(seconds, HEARTBEAT))
            seconds -= HEARTBEAT

    def _pass(self, seconds: float) -> None:
        self.bench.now += seconds
        for ask in self.model.open():
            if ask.deadline <= self.bench.now:
                self.model.end(ask)
        self.bench.stand_still(0)
        self.model.look()
        for ask in self.model.open():
            assert ask.deadline > self.bench.now
        for mate in self.model.mates.values():
            patience = LEASE if mate.held and not mate.ours else HEARTBEAT * LIVENESS
            assert self.bench.now - mate.seen <= patience + HEARTBEAT, "silent for too long"

    @rule()
    def probe(self) -> None:
        self.bench.broker.probe(self.bench.now)

    @rule(really=st.integers(0, 9))
    def shut_down(self, really: int) -> None:
        if really == 9:
            self.stop()

    def stop(self) -> None:
        self.model.draining = True
        for ask in self.model.open():
            self.model.end(ask)
        for peer in list(self.model.mates):
            self.model.throw_out(peer)
        self.bench.broker.shut_down(self.bench.now)

    @invariant()
    def all_is_well(self) -> None:
        self.model.look()
        self.model.check()

    def teardown(self) -> None:
        """The end: no workers, no time left, nothing in memory."""
        self.all_is_well()
        for peer in list(self.model.mates):
            self.worker_dies(peer)
            self.all_is_well()
        for _ in range(4):
            self.time_passes(TIMEOUT + REMEMBER)
        self.all_is_well()
        assert not list(self.model.open())
        self.bench.assert_empty()


BrokerMachine.TestCase.settings = settings(
    max_examples=600, stateful_step_count=50, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
TestBroker = BrokerMachine.TestCase
