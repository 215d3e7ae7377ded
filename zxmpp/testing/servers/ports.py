"""Free loopback ports for private servers.

Rules:
- Ports lie below the range that the system hands out to outgoing connections (ip(7),
  ip_local_port_range). So nobody takes the port of a server that is down for a moment, and a
  client that calls it again and again can't connect to itself (TCP simultaneous open).
- A port is never given out twice by one process. Other processes are told apart by trying to
  bind; the server that loses the race that is left says so in its log, and gets other ports.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

__all__ = ["LOOPBACK", "free_port"]

LOOPBACK = "127.0.0.1"

_LOWEST = 10240
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_given: set[int] = set()


def _ceiling() -> int:
    """The first port that outgoing connections may use; Linux's default where it is not known."""
    try:
        lowest = int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32768
    # A machine with a very wide range leaves too little room: take the usual one.
    return lowest if lowest >= _LOWEST + 2000 else 32768


def _is_free(port: int) -> bool:
    # Without SO_REUSEADDR: a port in TIME_WAIT counts as taken, which is the safe side.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on, and that was not given out before.

    Raises OSError if none was found in 1000 tries.
    """
    # SystemRandom: a test that seeds `random` must not lead two processes to the same ports.
    source = random.SystemRandom()
    for _ in range(1000):
        port = source.randrange(_LOWEST, _ceiling())
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise OSError(f"No free TCP port on {LOOPBACK} in 1000 tries: is something holding them all?")
