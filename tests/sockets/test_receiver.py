"""Reading whole messages in bounded time: never split, never lost, what is too much dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from time import perf_counter
from typing import Any

import pytest
import zmq

from zxmpp.sockets.raw import WatchedSocket
from zxmpp.sockets.receiver import Receiver

SOON = 3600.0


class Wire:
    def __init__(self, context: zmq.Context[Any]) -> None:
        self.dropped: Counter[str] = Counter()
        self.push: zmq.Socket[bytes] = context.socket(zmq.PUSH)
        self.pull = context.socket(zmq.PULL, WatchedSocket)
        for socket in (self.push, self.pull):
            socket.set(zmq.SNDHWM if socket is self.push else zmq.RCVHWM, 0)
        self.pull.bind("inproc://wire")
        self.push.connect("inproc://wire")
        self.receiver = Receiver(
            self.pull, max_bytes=1000, max_frames=10, name="s", dropped=self.dropped
        )

    def batch(self, most: int = 100, seconds: float = SOON) -> list[list[bytes]]:
        return self.receiver.batch(most, perf_counter() + seconds)


@pytest.fixture
def wire(context: zmq.Context[Any]) -> Iterator[Wire]:
    wire = Wire(context)
    yield wire
    wire.push.close(0)
    wire.pull.close(0)


def test_messages_come_whole_and_at_most_as_many_as_asked_for(wire: Wire) -> None:
    for number in range(10):
        wire.push.send_multipart([b"%d" % number] * (1 + number % 3))
    first = wire.batch(most=4)
    assert first == [[b"%d" % n] * (1 + n % 3) for n in range(4)]
    assert wire.receiver.spent
    assert wire.batch() == [[b"%d" % n] * (1 + n % 3) for n in range(4, 10)]
    assert not wire.receiver.spent
    assert wire.batch() == []


def test_too_many_frames_and_too_many_bytes_are_dropped_and_the_rest_arrives(
    wire: Wire,
) -> None:
    wire.push.send(b"first")
    wire.push.send_multipart([b"x"] * 10_000)
    wire.push.send_multipart([b"x"] * 11)
    wire.push.send_multipart([b"x" * 600, b"x" * 600])
    wire.push.send_multipart([b"x" * 1001, b"y", b"z"])
    wire.push.send(b"x" * 1001)
    wire.push.send_multipart([b"x"] * 10)
    wire.push.send(b"x" * 1000)
    wire.push.send(b"last")
    messages: list[list[bytes]] = []
    while not messages or messages[-1] != [b"last"]:
        messages += wire.batch()
    assert messages == [[b"first"], [b"x"] * 10, [b"x" * 1000], [b"last"]]
    assert wire.dropped == {"too-many-frames": 2, "too-large": 3}


def test_throwing_away_keeps_to_the_time_and_goes_on_in_the_next_batch(
    wire: Wire,
) -> None:
    wire.push.send_multipart([b"x"] * 5000)
    wire.push.send(b"next")
    batches = 0
    messages: list[list[bytes]] = []
    while not messages:
        messages = wire.batch(seconds=-1)
        batches += 1
    assert messages == [[b"next"]]
    assert batches > 10
    assert wire.dropped == {"too-many-frames": 1}


def test_a_message_that_is_read_in_part_is_completed_later(wire: Wire) -> None:
    wire.push.send_multipart([b"a", b"b", b"c"])
    wire.push.send(b"next")
    recv = wire.receiver._recv
    calls = 0

    def dry(flags: int, copy: bool) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise zmq.Again
        return recv(flags, copy)

    wire.receiver._recv = dry
    assert wire.batch() == []
    assert wire.batch() == [[b"a", b"b", b"c"], [b"next"]]


def test_a_slow_stream_of_big_messages_ends_the_batch_in_time(wire: Wire) -> None:
    wire.receiver._max_bytes = 10_000_000
    for _ in range(3):
        wire.push.send(bytes(1_000_000))
        wire.push.send_multipart([bytes(1_000_000), b""])
    for _ in range(6):
        assert len(wire.batch(seconds=-1)) == 1
