from zxmpp.mdp import Worker

worker = Worker("wordcount", connect="tcp://127.0.0.1:5555")


@worker
def count(text: str) -> str:
    answer = f"{len(text.split())} words"
    print(f"{answer}: {text}", flush=True)
    return answer


if __name__ == "__main__":
    worker.run()
