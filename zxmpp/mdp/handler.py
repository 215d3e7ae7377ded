"""What a service's function takes and gives: its signature, its job, and where it runs.

Rules:
- The first parameter gets the body, read as its annotation says (bytes if there is none); one
  annotated `Job` gets the job; there are no others without a default.
- A plain function runs in a thread, or with ``pool="process"`` in a process; an async one on the
  loop. A generator of either kind streams: what it yields are parts.
- A thread or process can't be stopped from outside: a cancelled job of a plain function runs to its
  end, and its answer is dropped. It may look at `Job.cancelled`.
"""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import typing
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from typing import Any, Literal, TypeAlias

from zxmpp.errors import ConfigError
from zxmpp.mdp.body import Format, decode_body

__all__ = ["Function", "Job", "Pool", "Progress", "Runner", "runner_for"]

#: Where a plain function runs.
Pool: TypeAlias = Literal["thread", "process"]

#: Seconds for a Dask scheduler to answer at the start.
DASK_SECONDS = 10.0

_END = object()


class Progress:
    """Yielded by a function that streams: how far it is, from 0 to 1, and perhaps a part."""

    __slots__ = ("body", "fraction")

    def __init__(self, fraction: float, body: Any = None) -> None:
        self.fraction = float(fraction)
        self.body = body


class Job:
    """One request, as its function may see it."""

    __slots__ = ("address", "attempt", "body", "cancelled", "deadline", "id", "sender", "service",
                 "session", "task", "trace")  # fmt: skip

    def __init__(self, service: str, address: bytes, body: list[bytes]) -> None:
        self.service = service
        #: The broker's name for this handing over.
        self.address = address
        #: The frames.
        self.body = body
        #: The same for each attempt at the same request; empty if the broker does not say.
        self.id = ""
        #: How often the request was given to a worker, this time included; 0 if that is not known.
        self.attempt = 0
        #: The JID of who asks, verified by the bot; empty if it is not a person.
        self.sender = ""
        self.trace = ""
        #: By the clock of the loop; None if the broker names no limit.
        self.deadline: float | None = None
        #: Whether nobody waits for the answer any more.
        self.cancelled = False
        #: Who runs it, and the registration that it came by.
        self.task: asyncio.Task[Any] | None = None
        self.session: Any = None


class Function:
    """A service's function, looked at once. ConfigError if it can't be one."""

    def __init__(self, call: Callable[..., Any], format: Format = "json") -> None:
        if not callable(call):
            raise ConfigError(f"a service needs a function, not {call!r}")
        self.call = call
        self.name = getattr(call, "__qualname__", repr(call))
        self.format = format
        self.streams = inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call)
        self.is_async = inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)
        self.body: str | None = None
        self.body_type: Any = bytes
        self.job: str | None = None
        try:
            hints = typing.get_type_hints(call)
        except (NameError, TypeError):
            hints = {}
        for parameter in inspect.signature(call).parameters.values():
            hint = hints.get(parameter.name, bytes)
            if isinstance(hint, type) and issubclass(hint, Job):
                self.job = parameter.name
            elif self.body is None and parameter.kind not in (
                parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL
            ):  # fmt: skip
                self.body, self.body_type = parameter.name, hint
            elif parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL
            ):  # fmt: skip
                raise ConfigError(
                    f"{self.name} can't be a service: nothing comes for {parameter.name!r}; it "
                    f"takes the body, and one parameter annotated Job"
                )
        self._by_position = self.job is None and self.body is not None and (
            next(iter(inspect.signature(call).parameters.values())).kind
            is not inspect.Parameter.KEYWORD_ONLY
        )  # fmt: skip

    def arguments(self, job: Job) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What to call it with. BadBody if the body is not of its type."""
        if self.body is None:
            return (), {} if self.job is None else {self.job: job}
        body = decode_body(job.body, self.body_type, self.format)
        if self._by_position:
            return (body,), {}
        named = {self.body: body}
        if self.job is not None:
            named[self.job] = job
        return (), named


class Runner(ABC):
    """Runs a function somewhere."""

    def __init__(self, function: Function) -> None:
        self.function = function

    #: Whether cancelling the task that awaits `run` stops the function.
    stops = False

    async def start(self) -> None:  # noqa: B027  (most need none)
        """Get ready."""

    @abstractmethod
    async def run(self, job: Job) -> Any:
        """Its result."""

    def stream(self, job: Job) -> AsyncIterator[Any]:
        """What it yields."""
        raise TypeError(f"{self.function.name} does not stream")

    async def close(self) -> None:  # noqa: B027
        """Free what it has. What still runs is left to end."""


class OnLoop(Runner):
    """An async function."""

    stops = True

    async def run(self, job: Job) -> Any:
        args, named = self.function.arguments(job)
        return await self.function.call(*args, **named)

    def stream(self, job: Job) -> AsyncIterator[Any]:
        args, named = self.function.arguments(job)
        items: AsyncIterator[Any] = self.function.call(*args, **named)
        return items


def _call(function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    try:
        return function(*args, **named)
    except StopIteration as error:
        # A future can't carry it: whoever awaits it would wait for ever.
        raise RuntimeError("the function raised StopIteration") from error


def _close(items: Any) -> None:
    # One that another thread is in the middle of can't be closed; it ends by itself.
    with suppress(ValueError):
        items.close()


class InPool(Runner):
    """A plain function in a thread or process."""

    def __init__(self, function: Function, pool: Pool, slots: int) -> None:
        super().__init__(function)
        self._slots = slots
        self._pool: Executor
        if pool == "thread":
            self._pool = ThreadPoolExecutor(slots, thread_name_prefix=f"service {function.name}")
            return
        if function.streams or function.job is not None:
            raise ConfigError(
                f"{function.name} can't run in a process: a generator, or a function that takes its "
                f"Job, needs this process; use threads, or return the whole answer"
            )
        self._pool = self._processes()

    def _processes(self) -> Executor:
        # Not forked: this process has threads of ZeroMQ's.
        return ProcessPoolExecutor(self._slots, multiprocessing.get_context("spawn"))

    async def run(self, job: Job) -> Any:
        args, named = self.function.arguments(job)
        loop, pool = asyncio.get_running_loop(), self._pool
        try:
            return await loop.run_in_executor(pool, partial(_call, self.function.call, args, named))
        except BrokenProcessPool:
            # A process died: this pool will not do anything any more.
            if self._pool is pool:
                pool.shutdown(wait=False)
                self._pool = self._processes()
            raise

    async def stream(self, job: Job) -> AsyncIterator[Any]:
        args, named = self.function.arguments(job)
        loop = asyncio.get_running_loop()
        items = self.function.call(*args, **named)
        try:
            while (item := await loop.run_in_executor(self._pool, next, items, _END)) is not _END:
                yield item
        finally:
            await loop.run_in_executor(self._pool, _close, items)

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class OnDask(Runner):
    """A plain function on a Dask cluster (extra ``zxmpp[dask]``)."""

    stops = True

    def __init__(self, function: Function, scheduler: str) -> None:
        super().__init__(function)
        if function.streams or function.is_async or function.job is not None:
            raise ConfigError(
                f"{function.name} can't run on Dask: that takes a plain function of the body which "
                f"returns its answer"
            )
        self._scheduler = scheduler
        self._client: Any = None

    async def start(self) -> None:
        try:
            import distributed
        except ImportError as error:
            raise ConfigError("dask is not installed; pip install 'zxmpp[dask]'") from error
        connect: Any = distributed.Client
        try:
            self._client = await connect(self._scheduler, asynchronous=True, timeout=DASK_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            raise ConfigError(
                f"the Dask scheduler at {self._scheduler} can't be reached: {error}; start it, or "
                f"look at the address"
            ) from error

    async def run(self, job: Job) -> Any:
        args, named = self.function.arguments(job)
        future = self._client.submit(self.function.call, *args, **named, pure=False)
        try:
            return await future
        except asyncio.CancelledError:
            await future.cancel()
            raise

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


def runner_for(function: Function, pool: Pool, slots: int, dask: str) -> Runner:
    """Where `function` runs. ConfigError if it can't run there."""
    if dask:
        return OnDask(function, dask)
    if function.is_async:
        return OnLoop(function)
    return InPool(function, pool, slots)
