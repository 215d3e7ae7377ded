"""A broker core on a bench: frames in, frames out, and a clock that only the test moves.

What a test sees is what a peer would see: `take` are the messages that went out since the last look,
by routing id, whole as on the wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zxmpp.mdp.broker import Broker, BrokerOptions, Delivery, Request
from zxmpp.mdp.messages import Command, Meta, Options, encode_meta, meta_of
from zxmpp.mdp.wire import V01, V02, Dialect, Message, decode, split

__all__ = ["Bench", "problem", "read"]


def read(frames: Sequence[bytes]) -> Message:
    """A message of the broker, as a peer reads it."""
    delimited, rest = split(list(frames))
    return decode(rest, delimited, to_broker=False)


class Bench:
    """A broker; its peers are named by their routing ids."""

    def __init__(self, **options: Any) -> None:
        self.broker = Broker(BrokerOptions(**options))
        self.now = 1000.0

    # -- in --------------------------------------------------------------------------------------

    def send(self, peer: bytes, frames: Sequence[bytes]) -> None:
        """`frames` as the peer writes them."""
        delimited, rest = split(list(frames))
        self.broker.receive(peer, rest, delimited, self.now)

    def worker(self, peer: bytes, service: bytes = b"echo", dialect: Dialect = V01) -> None:
        """A plain worker registers."""
        self.send(peer, dialect.ready(service))

    def ours(self, peer: bytes, service: bytes = b"echo", slots: int = 1, credit: int = 1) -> None:
        """A worker with the extension registers."""
        meta = encode_meta(Options(slots, credit))
        self.send(peer, V02.extended(Command.READY, service, meta))

    def ask(
        self, peer: bytes, body: bytes = b"x", service: bytes = b"echo", dialect: Dialect = V01
    ) -> None:
        """A plain client asks."""
        self.send(peer, dialect.client_request(service, [body]))

    def ask_ours(
        self, peer: bytes, id: str, body: bytes = b"x", service: bytes = b"echo", **meta: Any
    ) -> None:
        """A client with the extension asks."""
        frame = encode_meta(Meta(id=id, **meta))
        self.send(peer, V02.client_extended(Command.REQUEST, service, frame, [body]))

    def submit(
        self, id: str, fair: str = "me", body: bytes = b"x", timeout: float = 30, **more: Any
    ) -> Request:
        """Who embeds the broker asks."""
        return self.broker.submit(
            b"echo", [body], id=id, fair=fair, timeout=timeout, now=self.now, **more
        )

    def reply(
        self, peer: bytes, address: bytes, *body: bytes, dialect: Dialect = V01,
        command: Command = Command.FINAL,
    ) -> None:  # fmt: skip
        self.send(peer, dialect.reply(command, address, body or (b"done",)))

    def reply_ours(
        self, peer: bytes, address: bytes, *body: bytes, command: Command = Command.FINAL,
        **meta: Any,
    ) -> None:  # fmt: skip
        self.send(peer, V02.extended(command, address, encode_meta(Meta(**meta)), body or (b"d",)))

    def control(self, peer: bytes, command: Command, name: bytes = b"", **meta: Any) -> None:
        """RETURN or CREDIT of a worker of ours."""
        self.send(peer, V02.extended(command, name, encode_meta(Meta(**meta))))

    def tick(self, seconds: float = 0.0) -> None:
        """The clock goes on, and the broker is told whenever something is due."""
        end = self.now + seconds
        while (due := self.broker.next_due(self.now)) is not None and self.now < due < end:
            self.now = due
            self.broker.tick(due)
        self.stand_still(end - self.now)

    def stand_still(self, seconds: float) -> None:
        """The clock goes on, and the broker is not told before the end of it."""
        self.now += seconds
        self.broker.tick(self.now)

    # -- out -------------------------------------------------------------------------------------

    def take(self) -> list[tuple[bytes, list[bytes]]]:
        """What went out, in order: receiver and frames."""
        frames, self.broker.outgoing.frames = self.broker.outgoing.frames, []
        return [(message[0], message[1:]) for message in frames]

    def messages(self, peer: bytes | None = None) -> list[Message]:
        """The same, read; of one peer or all. Heartbeats are left out."""
        read_all = [read(frames) for to, frames in self.take() if peer is None or to == peer]
        return [message for message in read_all if message.command is not Command.HEARTBEAT]

    def requests(self) -> list[tuple[bytes, bytes, bytes]]:
        """Requests that workers were given: worker, address, body."""
        found = []
        for to, frames in self.take():
            message = read(frames)
            if message.command is Command.REQUEST:
                found.append((to, message.name, b"|".join(message.body)))
        return found

    def told(self) -> list[Delivery]:
        """What was told inside."""
        deliveries, self.broker.outgoing.deliveries = self.broker.outgoing.deliveries, []
        return deliveries

    def complaints(self) -> list[tuple[bytes, str]]:
        found, self.broker.complaints = self.broker.complaints, []
        return [(complaint.peer, complaint.reason) for complaint in found]

    # -- state -----------------------------------------------------------------------------------

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.broker.counts)

    def assert_empty(self) -> None:
        """Nothing is left in memory."""
        requests = self.broker.requests
        assert (requests.open, requests.open_bytes) == (0, 0)
        assert not requests.by_id
        assert not requests.waiting
        assert not requests.loaded
        assert not requests.services
        assert not requests._deadlines
        assert not len(requests.answers)
        assert requests.answers._bytes == 0
        assert not self.broker.workers
        assert self.broker.next_due(self.now) is None


def problem(message: Message) -> str:
    """Why the answer that a client of ours got is none."""
    found = meta_of(message.meta or b"").problem
    return found.condition if found else ""
