"""Majordomo (RFC 7, 8 and 18): a broker core without I/O, a worker and a client on asyncio.

Useful alone: it needs `zxmpp.sockets` and nothing else of zxmpp. A name is imported when it is first
used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zxmpp.mdp.broker import Broker, BrokerOptions, DeadLetter
    from zxmpp.mdp.client import Client
    from zxmpp.mdp.driver import Driver
    from zxmpp.mdp.errors import BadAnswer, NoAnswer, NoAnswerInTime
    from zxmpp.mdp.handler import Job, Progress
    from zxmpp.mdp.pending import Part
    from zxmpp.mdp.worker import Worker

_HOMES = {
    "BadAnswer": "errors", "Broker": "broker", "BrokerOptions": "broker", "Client": "client",
    "DeadLetter": "broker", "Driver": "driver", "Job": "handler", "NoAnswer": "errors",
    "NoAnswerInTime": "errors", "Part": "pending", "Progress": "handler", "Worker": "worker",
}  # fmt: skip

__all__ = [
    "BadAnswer", "Broker", "BrokerOptions", "Client", "DeadLetter", "Driver", "Job", "NoAnswer",
    "NoAnswerInTime", "Part", "Progress", "Worker",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
