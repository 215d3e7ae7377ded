import zmq

socket = zmq.Context().socket(zmq.REP)
socket.connect("tcp://127.0.0.1:5555")
while True:
    text = socket.recv().decode()
    answer = f"{len(text.split())} words"
    print(f"{answer}: {text}", flush=True)
    socket.send(answer.encode())
