"""What the broker says of itself: the services whose names begin with ``mmi.`` (RFC 8).

Rules:
- ``mmi.service``, with a name: ``200`` if a worker is registered for it, busy or not, or it is
  served where the broker runs; else ``404``.
- Ours, as RFC 8 allows: ``mmi.services``, ``mmi.workers``, ``mmi.broker``, ``mmi.dead`` answer ``200``
  and a frame of JSON. Nobody's JID or body is in them.
- Anything else is ``501``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from zxmpp.mdp.broker.core import Broker

__all__ = ["answer"]


def answer(broker: Broker, service: bytes, body: list[bytes]) -> list[bytes]:
    """The frames of the answer to a request for `service`."""
    if service == b"mmi.service":
        name = body[0] if len(body) == 1 else b""
        known = broker.requests.services.get(name)
        there = broker.errands.has(name) or (known is not None and known.workers)
        return [b"200" if there else b"404"]
    report = _REPORTS.get(service)
    if report is None:
        return [b"501"]
    return [b"200", msgspec.json.encode(report(broker))]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _services(broker: Broker) -> list[dict[str, Any]]:
    here = Counter(request.service.name for request in broker.requests.here)
    return [
        {
            "name": _text(service.name),
            "workers": len(service.workers),
            "idle": len(service.idle),
            "queued": len(service.queue),
            "running": here[service.name]
            + sum(len(worker.held) for worker in service.workers.values()),
            **{key: service.counts[key] for key in ("requests", "answered", "failed")},
        }
        for service in sorted(broker.requests.services.values(), key=lambda service: service.name)
        if not service.name.startswith(b"mmi.")
    ]


def _workers(broker: Broker) -> list[dict[str, Any]]:
    return [
        {
            "id": worker.peer.hex(),
            "name": worker.name,
            "service": _text(worker.service.name),
            "protocol": worker.dialect.name + ("+" if worker.extended else ""),
            "held": len(worker.held),
            "slots": worker.slots,
            "credit": worker.credit,
            "answered": worker.answered,
        }
        for worker in broker.workers.values()
    ]


def _broker(broker: Broker) -> dict[str, Any]:
    return {
        "open": broker.requests.open,
        "open_bytes": broker.requests.open_bytes,
        "workers": len(broker.workers),
        "dead_letters": len(broker.requests.dead_letters),
        "counts": dict(broker.counts),
    }


def _dead(broker: Broker) -> list[dict[str, Any]]:
    return [
        {
            "service": _text(letter.service),
            "id": letter.id,
            "trace": letter.trace,
            "attempts": letter.attempts,
            "bytes": sum(map(len, letter.body)),
        }
        for letter in broker.requests.dead_letters
    ]


_REPORTS: dict[bytes, Callable[[Broker], Any]] = {
    b"mmi.services": _services,
    b"mmi.workers": _workers,
    b"mmi.broker": _broker,
    b"mmi.dead": _dead,
}
