import sys

import zmq

socket = zmq.Context().socket(zmq.REP)
socket.connect(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555")
while True:
    text = socket.recv().decode()
    print(f"worker: got {text!r}", flush=True)
    socket.send(text.upper().encode() + b"!")
