"""What stands between clients and workers, without zxmpp: ``brokers.py KIND ADDRESS``.

- ``balancer``: gives the least recently used worker one request at a time, and nothing else: no
  services, no heartbeats, no time-outs. One ROUTER for both sides: a poll for two would cost more.
- ``proxy``: zmq.proxy, which deals requests out in turn, and any number to one worker.

A client sends a body and gets one. A worker gets client and body, and sends both back; to the
balancer it says two empty frames first.
"""

from __future__ import annotations

import sys
from collections import deque

import zmq


def balance(context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
    router = context.socket(zmq.ROUTER)
    router.bind(address)
    receive, send = router.recv_multipart, router.send_multipart
    free: deque[bytes] = deque()
    waiting: deque[list[bytes]] = deque()
    while True:
        frames = receive()
        if len(frames) == 2:
            if free:
                send([free.popleft(), *frames])
            else:
                waiting.append(frames)
            continue
        worker, client, body = frames
        if client:
            send([client, body])
        if waiting:
            send([worker, *waiting.popleft()])
        else:
            free.append(worker)


def proxy(context: zmq.Context[zmq.Socket[bytes]], address: str, behind: str) -> None:
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    front.bind(address)
    back.bind(behind)
    zmq.proxy(front, back)


if __name__ == "__main__":
    {"balancer": balance, "proxy": proxy}[sys.argv[1]](zmq.Context(), *sys.argv[2:])
