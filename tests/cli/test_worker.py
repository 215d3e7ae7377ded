"""``zxmpp worker``: a function becomes a service, and what happens if it can't."""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import Process
from contextlib import closing
from pathlib import Path

import pytest
import zmq

from tests.cli.broker import LIMIT, OpenBroker, broker, cli, finished, started, until
from zxmpp.mdp import Client
from zxmpp.sockets import Socket

JOBS = """\
import time
from pathlib import Path

from zxmpp.mdp import Worker

def shout(text: str) -> str:
    return text.upper()

def add(numbers: list[int]) -> dict[str, int]:
    return {"sum": sum(numbers)}

def slow(text: str) -> str:
    Path("begun").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return "done"

kept = Worker("kept", connect="tcp://127.0.0.1:1")
five = 5
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "jobs.py").write_text(JOBS)
    return tmp_path


def options(opened: OpenBroker) -> list[str]:
    return ["--connect", opened.address, "--heartbeat", "1"]


@pytest.mark.parametrize("mdp", ["0.1", "0.2", "0.2-plain"])
async def test_it_serves_a_function_under_its_name(folder: Path, mdp: str) -> None:
    async with (
        broker() as opened,
        started(folder, "worker", "jobs:shout", *options(opened), "--mdp", mdp) as process,
        Client(opened.address) as client,
    ):
        assert await client.request("shout", "hello", timeout=LIMIT) == b"HELLO"
        process.send_signal(signal.SIGTERM)
        ended = await finished(process)
    assert (ended.status, ended.out) == (0, b"")
    assert "service shout: stopped: answered 1" in ended.err
    assert "Traceback" not in ended.err


async def test_service_slots_credit_and_name_are_what_the_broker_sees(folder: Path) -> None:
    async with broker() as opened:
        command = ["worker", "jobs:shout", *options(opened), "--service", "loud", "--slots", "2",
                   "--credit", "5", "--name", "first"]  # fmt: skip
        async with started(folder, *command):
            await until(opened.workers)
            [worker] = opened.driver.broker.workers.values()
            assert worker.service.name == b"loud"
            assert (worker.slots, worker.credit, worker.name) == (2, 5, "first")


async def test_a_pool_of_processes_imports_from_the_folder_too(folder: Path) -> None:
    async with broker() as opened, Client(opened.address) as client:
        command = ["worker", "jobs:add", *options(opened), "--pool", "process"]
        async with started(folder, *command, "--format", "msgpack") as process:
            answer = await client.request(
                "add", [1, 2, 3], timeout=LIMIT, format="msgpack", result=dict[str, int]
            )
            assert answer == {"sum": 6}
            process.send_signal(signal.SIGTERM)
            assert (await finished(process)).status == 0


async def begun(folder: Path, process: Process) -> None:
    await until((folder / "begun").exists, "the job's begin")
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    async with asyncio.timeout(LIMIT):
        while b"a second signal stops at once" not in await process.stderr.readline():
            pass


async def test_sigterm_finishes_what_runs(folder: Path) -> None:
    async with (
        broker() as opened,
        Client(opened.address) as client,
        started(folder, "worker", "jobs:slow", *options(opened)) as process,
    ):
        asked = asyncio.create_task(client.request("slow", timeout=LIMIT))
        await begun(folder, process)
        (folder / "go").touch()
        assert await asked == b"done"
        assert (await finished(process)).status == 0


@pytest.mark.parametrize("how", ["a second signal", "the end of the drain"])
async def test_a_thread_that_goes_on_does_not_hold_up_the_end(folder: Path, how: str) -> None:
    async with broker() as opened, Client(opened.address) as client:
        drain = "0.1" if how == "the end of the drain" else "3600"
        command = ["worker", "jobs:slow", *options(opened), "--drain", drain]
        async with started(folder, *command) as process:
            asked = asyncio.create_task(client.request("slow", timeout=LIMIT))
            await begun(folder, process)
            if how == "a second signal":
                process.send_signal(signal.SIGTERM)
            ended = await finished(process)
            assert ended.status == 0
            assert "ends with the process" in ended.err
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)


async def test_its_log_can_be_json(folder: Path) -> None:
    async with (
        broker() as opened,
        started(folder, "worker", "jobs:shout", *options(opened), "--json-logs") as process,
    ):
        await until(opened.workers)
        process.send_signal(signal.SIGINT)
        ended = await finished(process)
    lines = [json.loads(line) for line in ended.err.splitlines()]
    assert "serving jobs:shout" in lines[0]["message"]
    assert "stopped" in lines[-1]["message"]


async def test_curve_keys_come_by_option_and_file(folder: Path) -> None:
    server, server_secret = zmq.curve_keypair()
    public, secret = zmq.curve_keypair()
    (folder / "secret").write_bytes(secret)
    heard: asyncio.Queue[list[bytes]] = asyncio.Queue()

    def take(messages: list[list[bytes]]) -> None:
        for message in messages:
            heard.put_nowait(message)

    (folder / "server-secret").write_bytes(server_secret)
    router = Socket(
        "ROUTER", name="broker", bind="tcp://127.0.0.1:*", on_messages=take, curve_server=1,
        curve_secretkey_file=str(folder / "server-secret"),
    )  # fmt: skip
    with closing(router):  # fmt: skip
        command = ["worker", "jobs:shout", "--connect", router.bound[0]]
        for key, value in {
            "curve_serverkey": server.decode(), "curve_publickey": public.decode(),
            "curve_secretkey_file": str(folder / "secret"),
        }.items():  # fmt: skip
            command += ["--option", f"{key}={value}"]
        async with started(folder, *command):
            async with asyncio.timeout(LIMIT):
                assert (await heard.get())[3] == b"shout"


WRONG = {
    "jobs": "write it as module:function",
    "jobs:": "write it as module:function",
    "nowhere:shout": "no module 'nowhere'; it must be installed, or stand in the folder",
    "nowhere.at.all:shout": "no module 'nowhere.at.all'; it must be installed",
    "jobs:shuot": "has no 'shuot'; did you mean shout?",
    "jobs:five": "not a function",
    "jobs:kept": "is a Worker, with a service and a broker of its own",
    "raises:f": "module 'raises' can't be imported: ValueError: no luck (",
    "leaves:f": "module 'leaves' can't be imported: SystemExit: 3",
    "broken:f": "module 'broken' can't be imported: SyntaxError",
    "lacks:f": "No module named 'not_there'; install that",
    "two:f": "nothing comes for 'second'",
}


@pytest.mark.parametrize("place", WRONG)
async def test_what_can_not_be_served_is_said(folder: Path, place: str) -> None:
    (folder / "raises.py").write_text("raise ValueError('no luck')\n")
    (folder / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    (folder / "broken.py").write_text("def f(:\n")
    (folder / "lacks.py").write_text("import not_there\n")
    (folder / "two.py").write_text("def f(first, second): ...\n")
    ended = await cli(folder, "worker", place, "--connect", "tcp://127.0.0.1:1")
    assert ended.status == 2
    assert WRONG[place] in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--connect", "127.0.0.1:5555"], "--connect '127.0.0.1:5555' has no transport"),
        (["--option", "sndhwm"], "--option wants KEY=VALUE"),
        (["--option", "sndhwm=many"], "--option sndhwm wants a whole number"),
        (["--option", "sndhwn=1"], "--option sndhwn is no known key; did you mean sndhwm?"),
        (["--option", "ZMQ_CONNECT=tcp://127.0.0.1:2"], "can't be set here"),
        (["--option", "sndhwm=1", "--option", "SNDHWM=2"], "is there twice"),
        (["--option", "curve_secretkey_file=nowhere"], "curve_secretkey can't read nowhere"),
        (["--credit", "1", "--slots", "2"], "credit one from slots up"),
        (["--service", "mmi.mine"], "mmi. is the broker's own"),
        (["--slots", "0"], "--slots"),
        (["--mdp", "3"], "--mdp"),
    ],
)
async def test_a_wrong_argument_ends_it_with_2(
    folder: Path, arguments: list[str], said: str
) -> None:
    given = ["worker", "jobs:shout", "--connect", "tcp://127.0.0.1:1", *arguments]
    ended = await cli(folder, *given)
    assert ended.status == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


async def test_a_secret_is_no_argument(folder: Path) -> None:
    secret = zmq.curve_keypair()[1].decode()
    for option in (f"curve_secretkey={secret}", secret):
        ended = await cli(
            folder, "worker", "jobs:shout", "--connect", "tcp://127.0.0.1:1", "--option", option
        )
        assert ended.status == 2
        assert secret not in ended.err
