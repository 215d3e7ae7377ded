"""The task queues, both on a Redis at a unix socket: ``queues.py KIND PATH`` is one worker process.

Beyond the defaults, in their favour: arq looks for jobs every 10 ms instead of twice a second, takes
100 at once instead of 10, and logs nothing; dramatiq has 16 threads a process instead of 8.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

#: Seconds between two looks of arq, of its workers and of who waits for a result.
POLL = 0.01
#: Of dramatiq, per worker process; more are no faster.
THREADS = 16


def dramatiq_echo(path: str) -> Any:
    """The actor, for whoever sends to it and for its worker."""
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.results import Results
    from dramatiq.results.backends import RedisBackend

    url = f"unix://{path}"
    broker = RedisBroker(url=url)
    broker.add_middleware(Results(backend=RedisBackend(url=url), store_results=True))
    dramatiq.set_broker(broker)

    def echo(body: str) -> str:
        return body

    return dramatiq.actor(echo, broker=broker)


def run_dramatiq(path: str, threads: str = str(THREADS)) -> None:
    from dramatiq import Worker

    broker = dramatiq_echo(path).broker
    broker.emit_after("process_boot")
    Worker(broker, worker_threads=int(threads)).start()
    print("ready", flush=True)
    while True:
        time.sleep(60)


async def echo(context: dict[str, Any], body: str) -> str:
    """The job of arq."""
    return body


def run_arq(path: str) -> None:
    from arq.connections import RedisSettings
    from arq.worker import Worker

    print("ready", flush=True)
    settings = RedisSettings(unix_socket_path=path)
    Worker([echo], redis_settings=settings, poll_delay=POLL, max_jobs=100, log_results=False).run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    {"dramatiq": run_dramatiq, "arq": run_arq}[sys.argv[1]](*sys.argv[2:])
