"""What stands between clients and workers, without zxmpp: ``brokers.py KIND ADDRESS``.

- ``balancer``: gives the least recently used worker one request at a time, and nothing else: no
  services, no heartbeats, no time-outs. One ROUTER for both sides: a poll for two would cost more.
- ``mdp_balancer``: the same for clients and workers of MDP/0.1: their frames, more of them, and
  nothing else of the protocol
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


def balance_mdp(context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
    router = context.socket(zmq.ROUTER)
    router.bind(address)
    receive, send = router.recv_multipart, router.send_multipart
    free: deque[bytes] = deque()
    waiting: deque[list[bytes]] = deque()
    while True:
        frames = receive()
        if frames[2] == b"MDPC01":
            request = [frames[0], b"", *frames[4:]]
            if free:
                send([free.popleft(), b"", b"MDPW01", b"\2", *request])
            else:
                waiting.append(request)
            continue
        if frames[3] == b"\4":
            continue
        if frames[3] == b"\3":
            send([frames[4], b"", b"MDPC01", b"echo", *frames[6:]])
        if waiting:
            send([frames[0], b"", b"MDPW01", b"\2", *waiting.popleft()])
        else:
            free.append(frames[0])


def proxy(context: zmq.Context[zmq.Socket[bytes]], address: str, behind: str) -> None:
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    front.bind(address)
    back.bind(behind)
    zmq.proxy(front, back)


if __name__ == "__main__":
    kinds = {"balancer": balance, "mdp_balancer": balance_mdp, "proxy": proxy}
    kinds[sys.argv[1]](zmq.Context(), *sys.argv[2:])
