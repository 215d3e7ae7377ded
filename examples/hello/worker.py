import sys

from zxmpp.mdp import Worker

worker = Worker("shout", connect=sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555")


@worker
def shout(text: str) -> str:
    print(f"worker: got {text!r}", flush=True)
    return text.upper() + "!"


if __name__ == "__main__":
    worker.run()
