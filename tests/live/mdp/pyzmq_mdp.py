"""pyzmq-mdp 0.2 of PyPI, an implementation of MDP/0.1 written elsewhere, as a process of its own.

``pyzmq_mdp.py broker|worker|client ADDRESS``; runs in an environment that has it. The package wants a
class that pyzmq has dropped since; what stands in for it here is all that is not its own.
"""

import sys

import zmq
import zmq.eventloop.ioloop
from tornado.ioloop import IOLoop


class DelayedCallback:
    """Calls once, some milliseconds after `start`."""

    def __init__(self, callback, milliseconds, io_loop=None):
        self._callback = callback
        self._seconds = milliseconds / 1000
        self._handle = None

    def start(self):
        self._handle = IOLoop.current().call_later(self._seconds, self._callback)

    def stop(self):
        if self._handle is not None:
            IOLoop.current().remove_timeout(self._handle)


zmq.eventloop.ioloop.DelayedCallback = DelayedCallback
zmq.eventloop.ioloop.IOLoop = IOLoop

role, address = sys.argv[1:]
if role == "broker":
    from mdp.broker import MDPBroker

    broker = MDPBroker(zmq.Context(), address)
    print("ready", flush=True)
    IOLoop.current().start()
elif role == "worker":
    from mdp.worker import MDPWorker

    class Echo(MDPWorker):
        """Says back what it gets, in capitals."""

        HB_INTERVAL, HB_LIVENESS = 1000, 3

        def on_request(self, message):
            print("request", message, flush=True)
            self.reply([frame.upper() for frame in message])

    worker = Echo(zmq.Context(), address, b"echo")
    print("ready", flush=True)
    IOLoop.current().start()
else:
    from mdp.client import mdp_request

    socket = zmq.Context().socket(zmq.REQ)
    socket.linger = 0
    socket.connect(address)
    for line in sys.stdin:
        if line.startswith("command."):
            service, _, body = line.strip().partition(" ")
            answer = mdp_request(socket, service.encode(), [body.encode()], 10.0)
        else:
            answer = mdp_request(socket, b"echo", [line.strip().encode(), b"", b"\0end"], 10.0)
        print(answer, flush=True)
