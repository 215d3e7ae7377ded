"""push.py HOST TEXT: one alert."""

import sys

import zmq

ADDRESS = "tcp://127.0.0.1:5556"

with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
    socket.immediate = True  # wait for the bot, and do not queue for one that is not there
    socket.sndtimeo = socket.linger = 5000
    socket.connect(ADDRESS)
    try:
        socket.send_json({"host": sys.argv[1], "text": sys.argv[2]})
    except zmq.Again:
        sys.exit(f"push.py: nobody takes alerts at {ADDRESS}")
