"""A worker process that echoes: ``workers.py KIND ADDRESS``. Says "ready" when it is connected.

- ``bare``: a blocking loop, for the balancer and the proxy
- ``plain``: a blocking loop that speaks MDP/0.1 as the workers of the guide do
- ``credit``: a worker of zxmpp, as its documentation has it
"""

from __future__ import annotations

import asyncio
import sys

import zmq
from zmq.utils.monitor import recv_monitor_message

PREFIX = [b"", b"MDPW01"]
READY, REQUEST, REPLY, HEARTBEAT, DISCONNECT = b"\1", b"\2", b"\3", b"\4", b"\5"
HEARTBEAT_MS = 2500


def connected(address: str) -> zmq.Socket[bytes]:
    socket = zmq.Context.instance().socket(zmq.DEALER)
    monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    socket.connect(address)
    recv_monitor_message(monitor)
    socket.disable_monitor()
    return socket


def bare(address: str) -> None:
    socket = connected(address)
    socket.send_multipart([b"", b""])
    print("ready", flush=True)
    while True:
        socket.send_multipart(socket.recv_multipart())


def plain(address: str) -> None:
    socket = connected(address)
    socket.rcvtimeo = HEARTBEAT_MS
    socket.send_multipart([*PREFIX, READY, b"echo"])
    print("ready", flush=True)
    while True:
        try:
            _, header, command, *rest = socket.recv_multipart()
        except zmq.Again:
            command = HEARTBEAT
        if command == REQUEST:
            client, empty, *body = rest
            socket.send_multipart([b"", header, REPLY, client, empty, *body])
        elif command == HEARTBEAT:
            socket.send_multipart([*PREFIX, HEARTBEAT])
        elif command == DISCONNECT:
            raise SystemExit("the broker said DISCONNECT")


def credit(address: str, service: str = "echo") -> None:
    from zxmpp.mdp import Worker

    worker = Worker(service, connect=address)

    @worker
    async def echo(body: bytes) -> bytes:
        return body

    async def main() -> None:
        serving = asyncio.ensure_future(worker.serve())
        while not worker.registered:
            await asyncio.sleep(0.01)
        print("ready", flush=True)
        await serving

    asyncio.run(main())


if __name__ == "__main__":
    {"bare": bare, "plain": plain, "credit": credit}[sys.argv[1]](*sys.argv[2:])
