"""One peer of a burst: a thread of the test, or a process of its own.

``python burst_sender.py KIND ADDRESS PEER COUNT`` (it needs pyzmq only) ends with its standard input.
It must not close before all has arrived: libzmq loses what a receiver at its high-water mark has not
read of an ipc connection when the sender closes it (zeromq/libzmq#4660).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import zmq

__all__ = ["EVERY", "send_burst"]

#: Of so many messages the receiver answers (or passes on) one.
EVERY = 50


def send_burst(
    context: zmq.Context[Any],
    kind: str,
    address: str,
    peer: int,
    count: int,
    hold: Callable[[], object],
) -> bool:
    """Send the messages of one peer, then read what comes back. False if that is not all. Closes
    when `hold` returns."""
    socket: zmq.Socket[bytes] = context.socket(getattr(zmq, kind))
    socket.setsockopt(zmq.LINGER, 60_000)
    socket.setsockopt(zmq.RCVTIMEO, 30_000)
    if kind == "XPUB":
        socket.setsockopt(zmq.XPUB_NODROP, 1)
    if kind == "DEALER":
        socket.setsockopt(zmq.RCVHWM, 0)
    try:
        socket.connect(address)
        if kind == "XPUB":
            socket.recv()  # the subscription
        head, rest = bytes([peer]), b"x" * 91
        for number in range(count):
            socket.send(head + number.to_bytes(8) + rest)
        if kind == "DEALER":
            for number in range(count // EVERY):
                if int.from_bytes(socket.recv()) != (number + 1) * EVERY - 1:
                    return False
    except zmq.Again:
        return False
    finally:
        hold()
        socket.close()
    return True


if __name__ == "__main__":
    kind, address, peer, count = sys.argv[1:]
    with zmq.Context() as context:
        right = send_burst(context, kind, address, int(peer), int(count), sys.stdin.read)
    sys.exit(not right)
