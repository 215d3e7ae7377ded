import sys

import zmq

context = zmq.Context()
socket = context.socket(zmq.PUSH)
socket.connect(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5556")
socket.send_json({"host": "db1", "text": "disk is 91 % full"})
context.destroy(linger=5000)
