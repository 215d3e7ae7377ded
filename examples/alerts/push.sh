#!/bin/sh
# push.sh HOST TEXT: one alert, by one line of shell.
python3 -c 'import sys, zmq; c = zmq.Context(); s = c.socket(zmq.PUSH); s.immediate, s.sndtimeo = 1, 5000; s.connect("tcp://127.0.0.1:5556"); s.send_json({"host": sys.argv[1], "text": sys.argv[2]}); c.destroy(linger=5000)' "$1" "$2"
