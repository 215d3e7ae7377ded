"""``zxmpp top``: services, workers and rates of a broker, live in the terminal.

Rules:
- All it knows, it asks of the broker: ``mmi.services``, ``mmi.workers``, ``mmi.broker``.
- A rate is the difference between two looks; without an earlier one, or after the broker began anew,
  there is none.
- A broker that is away is said to be, and asked again.
- Names come from workers: they can't drive the terminal, and no markup in them is heard.
"""

from __future__ import annotations

import asyncio
import signal
from time import monotonic
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from zxmpp.cli.common import plain
from zxmpp.mdp import BadAnswer, Client, NoAnswer

__all__ = ["Look", "look", "render", "run_top"]

#: Seconds that the broker has for its answer.
PATIENCE = 3.0
#: Width without a terminal that says how wide it is.
WIDTH = 160


class ServiceRow(Struct, frozen=True):
    """A service, as ``mmi.services`` has it."""

    name: str
    workers: int = 0
    idle: int = 0
    queued: int = 0
    running: int = 0
    requests: int = 0
    answered: int = 0
    failed: int = 0


class WorkerRow(Struct, frozen=True):
    """A worker, as ``mmi.workers`` has it."""

    id: str
    name: str = ""
    service: str = ""
    protocol: str = ""
    held: int = 0
    slots: int = 1
    credit: int = 1
    answered: int = 0


class BrokerRow(Struct, frozen=True):
    """The whole, as ``mmi.broker`` has it."""

    open: int = 0
    open_bytes: int = 0
    workers: int = 0
    dead_letters: int = 0
    counts: dict[str, int] = {}


class Look(Struct, frozen=True):
    """What the broker said at `time` (seconds, of any clock that goes on)."""

    time: float
    services: list[ServiceRow]
    workers: list[WorkerRow]
    broker: BrokerRow


async def look(client: Client) -> Look:
    """Ask the broker. NoAnswer if it is away, BadAnswer if it is another one."""
    services = await _ask(client, "mmi.services", list[ServiceRow])
    workers = await _ask(client, "mmi.workers", list[WorkerRow])
    broker = await _ask(client, "mmi.broker", BrokerRow)
    return Look(monotonic(), services, workers, broker)


async def _ask(client: Client, service: str, wanted: Any) -> Any:
    frames = await client.request(service, timeout=PATIENCE, result=list[bytes])
    if len(frames) != 2 or frames[0] != b"200":
        said = plain(b" ".join(frames)[:40].decode("utf-8", "replace"))
        raise BadAnswer(f"{service}: the broker says {said}, it is none of zxmpp's")
    try:
        return msgspec.json.decode(frames[1], type=wanted)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"{service}: another version of zxmpp's broker: {error}") from None


# -- what is shown -----------------------------------------------------------------------------------


def _text(name: str) -> Text:
    """A name that a stranger gave: one line, no markup."""
    return Text(plain(name).replace("\n", "\ufffd").replace("\t", "\ufffd"))


def _rate(now: int, before: int | None, seconds: float) -> str:
    if before is None or now < before or seconds <= 0:
        return "-"
    return f"{(now - before) / seconds:.1f}"


def _table(*columns: str, texts: int) -> Table:
    """A table whose first `texts` columns are text, the rest numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index < texts else "right", no_wrap=True,
                         overflow="ellipsis", min_width=len(name))  # fmt: skip
    return table


def render(now: Look, before: Look | None = None, note: str = "") -> RenderableType:
    """`now`, with the rates since `before`."""
    if before is not None and any(
        now.broker.counts.get(name, 0) < count for name, count in before.broker.counts.items()
    ):
        before = None  # the broker began anew
    seconds = 0.0 if before is None else now.time - before.time
    broker = now.broker
    head = Text(
        f"{broker.workers} workers, {broker.open} open requests ({broker.open_bytes} bytes), "
        f"{broker.dead_letters} dead letters"
    )
    shown: list[RenderableType] = [head]
    if note:
        shown.append(Text(plain(note), style="bold red"))
    return Group(
        *shown, Text(), _services(now, before, seconds), Text(), _workers(now, before, seconds),
        Text(), _counts(broker),
    )  # fmt: skip


def _services(now: Look, before: Look | None, seconds: float) -> Table:
    table = _table("service", "workers", "idle", "queued", "running", "requests/s", "answered/s",
                   "failed", texts=1)  # fmt: skip
    earlier = {row.name: row for row in before.services} if before else {}
    for row in now.services:
        old = earlier.get(row.name)
        table.add_row(
            _text(row.name), str(row.workers), str(row.idle), str(row.queued), str(row.running),
            _rate(row.requests, old.requests if old else None, seconds),
            _rate(row.answered, old.answered if old else None, seconds), str(row.failed),
        )  # fmt: skip
    return table


def _workers(now: Look, before: Look | None, seconds: float) -> Table:
    table = _table("worker", "service", "protocol", "held", "slots", "credit", "answered/s",
                   texts=3)  # fmt: skip
    earlier = {row.id: row for row in before.workers} if before else {}
    for row in sorted(now.workers, key=lambda row: (row.service, row.name, row.id)):
        old = earlier.get(row.id)
        table.add_row(
            _text(row.name or row.id), _text(row.service), _text(row.protocol), str(row.held),
            str(row.slots), str(row.credit), _rate(row.answered, old.answered if old else None, seconds),
        )  # fmt: skip
    return table


def _counts(broker: BrokerRow) -> Text:
    counts = (f"{name} {count}" for name, count in sorted(broker.counts.items()) if count)
    return Text(plain("   ".join(counts)))


# -- the command -------------------------------------------------------------------------------------


async def run_top(connect: str, interval: float, once: bool, table: dict[str, Any]) -> None:
    """Show until SIGINT or SIGTERM; one look if `once`, or if stdout is no terminal."""
    console = Console()
    async with Client(connect, **table) as client:
        if once or not console.is_terminal:
            if not console.is_terminal:
                console = Console(width=WIDTH)
            try:
                console.print(render(await look(client)))
            except NoAnswer as error:
                raise _away(connect, error) from None
            return
        await _live(client, console, connect, interval)


def _away(connect: str, error: NoAnswer) -> NoAnswer:
    if isinstance(error, BadAnswer):
        return error
    return NoAnswer(f"no broker of zxmpp answers at {connect}; is it running?", error.reason)


async def _live(client: Client, console: Console, connect: str, interval: float) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    looking = asyncio.ensure_future(_look_on(client, console, connect, interval))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if looking.done():
            looking.result()
    finally:
        for task in (looking, stopping):
            task.cancel()
        await asyncio.gather(looking, stopping, return_exceptions=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _look_on(client: Client, console: Console, connect: str, interval: float) -> None:
    now: Look | None = None
    first = Text(f"asking the broker at {connect} ...")
    # Without its own refreshing, Live needs no thread.
    with Live(first, console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                before, now = now, await look(client)
                live.update(render(now, before), refresh=True)
            except BadAnswer:
                raise
            except NoAnswer as error:
                note = f"{_away(connect, error)} Asking again; what stands here is old."
                live.update(render(now, None, note) if now else Text(note), refresh=True)
            await asyncio.sleep(interval)
