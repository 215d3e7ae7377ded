"""How a broker behaves: bounds and times. Imports no zxmpp module."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["BrokerOptions"]


class BrokerOptions(Struct, frozen=True, kw_only=True):
    """Times are in seconds."""

    #: Seconds between two heartbeats.
    heartbeat: float = 2.5
    #: Intervals without a sign of life after which a peer is given up.
    liveness: int = 3
    #: Seconds without a sign of life that a plain worker may work on one request: those of the guide
    #: are silent meanwhile.
    lease: float = 120.0
    #: Workers that a request is given to, at most, when they die of it or with it.
    attempts: int = 3
    #: Seconds that a request has which names no time of its own.
    timeout: float = 60.0
    #: The longest time that a request may name.
    max_timeout: float = 3600.0
    #: Requests that wait for one service.
    queue: int = 1000
    #: Requests of all services, waiting and running.
    total: int = 10_000
    #: Bytes of their bodies, in all.
    total_bytes: int = 256 * 1024 * 1024
    #: The most requests that a worker of ours may hold at once, whatever it asks for.
    max_credit: int = 1000
    #: Seconds that a request may lie in a busy worker of ours while another is free.
    recall: float = 0.1
    #: The largest answer that is put together for peers which take no parts, in bytes.
    join_bytes: int = 16 * 1024 * 1024
    #: Answers that are kept for requesters who ask for them again by their id.
    remember: int = 1000
    #: Seconds that they are kept.
    remember_seconds: float = 60.0
    #: Bytes of them, in all.
    remember_bytes: int = 16 * 1024 * 1024
    #: Requests that are kept of those that no worker survived.
    dead_letters: int = 100

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0")
        if self.liveness < 2:
            raise ValueError("liveness is a number of heartbeats from 2 up; RFC 7 has 3 to 5")
        if self.timeout > self.max_timeout:
            raise ValueError("timeout must not be above max_timeout")
