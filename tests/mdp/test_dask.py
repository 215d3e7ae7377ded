"""A service whose function runs on a Dask cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import distributed
import pytest

from tests.mdp import helpers
from tests.mdp.helpers import LIMIT, a_broker, bounded, eventually, free_address, serving
from zxmpp.errors import ConfigError, UserError
from zxmpp.mdp import Job, NoAnswer, Worker


@pytest.fixture
async def cluster() -> AsyncIterator[Any]:
    """A cluster in this process: a scheduler, and one worker with two threads."""
    async with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0",
        asynchronous=True, protocol="tcp", host="127.0.0.1",
    ) as cluster:  # fmt: skip
        yield cluster


def on_cluster(body: str) -> str:
    distributed.get_worker()  # raises where there is none
    return f"{body} on the cluster"


def refuses(body: str) -> str:
    raise UserError(f"no {body} here")


async def test_it_answers(cluster: Any) -> None:
    async with a_broker() as broker:
        worker = Worker("s", on_cluster, connect=broker.address, dask=cluster.scheduler_address)
        other = Worker("n", helpers.doubled, connect=broker.address, slots=4,
                       dask=cluster.scheduler_address)  # fmt: skip
        async with serving(worker, other):
            assert await broker.answer("s", b"x") == b"x on the cluster"
            asked = [broker.answer("n", b"%d" % n) for n in range(10)]
            assert await asyncio.gather(*asked) == [b"%d" % (2 * n) for n in range(10)]


async def test_a_failure_is_told_as_elsewhere(
    cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_broker() as broker:
        failing = Worker("s", helpers.fails, connect=broker.address, dask=cluster.scheduler_address)
        refusing = Worker("r", refuses, connect=broker.address, dask=cluster.scheduler_address)
        async with serving(failing, refusing):
            with pytest.raises(NoAnswer, match="something went wrong"):
                await broker.answer("s", b"7")
            assert "no 7 here" in caplog.text
            with pytest.raises(NoAnswer, match="the request can't be used"):
                await broker.answer("s", b"seven")
            with pytest.raises(NoAnswer, match="no sun here") as told:
                await broker.answer("r", b"sun")
            assert told.value.reason == "refused"


async def test_the_same_body_twice_is_two_jobs(cluster: Any, tmp_path: Path) -> None:
    body = str(tmp_path / "runs").encode()
    async with a_broker() as broker:
        worker = Worker(
            "s", helpers.meets, connect=broker.address, slots=2, dask=cluster.scheduler_address
        )
        async with serving(worker):
            asked = [broker.answer("s", body) for _ in range(2)]
            assert await asyncio.gather(*asked) == [b"xx"] * 2


async def test_what_is_cancelled_does_not_hold_up_the_next(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    async with a_broker() as broker:
        worker = Worker("s", helpers.slow, connect=broker.address, dask=cluster.scheduler_address)
        async with serving(worker):
            pending = broker.ask("s", str(tmp_path / "never").encode())
            await broker.until(lambda: any(w.held for w in broker.broker.workers.values()))
            await eventually(lambda: cluster.scheduler.tasks)
            pending.close()
            assert await broker.answer("s", str(tmp_path / "go").encode()) == b"done"
            assert worker.counts["cancelled"] == 1
            await eventually(lambda: not cluster.scheduler.tasks)
            (tmp_path / "never").touch()


async def test_no_scheduler_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zxmpp.mdp.handler.DASK_SECONDS", 0.2)
    address = await free_address()
    worker = Worker("s", on_cluster, connect="tcp://127.0.0.1:1", dask=address)
    with pytest.raises(ConfigError, match=f"the Dask scheduler at {address} can't be reached"):
        await bounded(worker.serve())


async def test_what_cant_run_on_dask_is_told_at_once() -> None:
    async def on_loop(body: str) -> str:
        return body

    def parts(body: str) -> Iterator[str]:
        yield body

    def with_job(body: str, job: Job) -> str:
        return body

    functions: list[Any] = [on_loop, parts, with_job]
    for function in functions:
        worker = Worker("s", function, connect="tcp://127.0.0.1:1", dask="tcp://127.0.0.1:1")
        with pytest.raises(ConfigError, match="can't run on Dask"):
            async with asyncio.timeout(LIMIT):
                await worker.serve()
