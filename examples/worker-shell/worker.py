"""A program as a service: a request is its stdin, its stdout is the answer."""

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from contextlib import suppress

from zxmpp import UserError
from zxmpp.mdp import Worker

#: The whole list of arguments. No shell reads it, and nothing of a request gets into it.
PROGRAM = ["factor"]
#: All that the program finds in its environment.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}
#: The largest answer, in bytes.
LIMIT = 16 * 1024

worker = Worker("factor", connect="tcp://127.0.0.1:5555", slots=2)


@worker
async def run(body: bytes) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, stdin=PIPE, stdout=PIPE, env=ENVIRONMENT, process_group=0
    )
    try:
        _, answer = await asyncio.gather(feed(process, body), take(process))
        status = await process.wait()
    finally:
        # Cancelled, or too much of an answer: the program, and what it started, end now.
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            print(f"{PROGRAM[0]}: killed", flush=True)
    print(f"{PROGRAM[0]}: status {status}", flush=True)
    if status:
        raise UserError(f"{PROGRAM[0]} can't do that (status {status}).")
    return answer.rstrip(b"\n")


async def feed(process: Process, body: bytes) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # it need not read all
        process.stdin.write(body)
        await process.stdin.drain()
    process.stdin.close()


async def take(process: Process) -> bytes:
    try:
        await process.stdout.readexactly(LIMIT + 1)
    except asyncio.IncompleteReadError as end:
        return end.partial
    raise UserError(f"{PROGRAM[0]} says more than {LIMIT} bytes.")


if __name__ == "__main__":
    worker.run()
