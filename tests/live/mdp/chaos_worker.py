"""A worker for the chaos test: ``chaos_worker.py ADDRESS VERSION``. It answers with what it got and
writes down what it began."""

import asyncio
import os
import random
import sys

from zxmpp.mdp import Worker

address, version = sys.argv[1:]
worker = Worker(
    "work", connect=address, version=version, heartbeat=0.3, slots=2 if version == "0.2" else 1,
    credit=4 if version == "0.2" else None, name=str(os.getpid()), drain=2,
)  # fmt: skip


@worker
async def work(text: bytes) -> bytes:
    print(text.decode(), flush=True)
    await asyncio.sleep(random.expovariate(1 / 0.03))
    return text


worker.run()
