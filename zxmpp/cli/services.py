"""``zxmpp worker``, ``call``, ``top``: both ends of a service, and a look at its broker."""

from __future__ import annotations

import asyncio
import logging
import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from zxmpp.cli.common import Exit, JsonLogs, Quiet, Verbose, errors_logged
from zxmpp.errors import ConfigError

__all__ = ["call", "top", "worker"]

log = logging.getLogger(__name__)


class Mdp(StrEnum):
    """The version of Majordomo to speak: 0.2 with a broker of zxmpp, else 0.1 or 0.2-plain."""

    V01 = "0.1"
    V02 = "0.2"
    V02_PLAIN = "0.2-plain"


class Pool(StrEnum):
    """Where a plain function runs."""

    THREAD = "thread"
    PROCESS = "process"


class Format(StrEnum):
    """How values that are neither bytes nor text are written and read."""

    JSON = "json"
    MSGPACK = "msgpack"


Connect = Annotated[
    str, typer.Option(help="The broker's address, for example tcp://127.0.0.1:5555.")
]
MdpVersion = Annotated[
    Mdp, typer.Option(help="The MDP version to speak; 0.2 with a broker of zxmpp.")
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="KEY=VALUE",
        help="A key of [sockets.NAME], as curve_serverkey=...; a secret's place, as "
        "curve_secretkey_file=PATH. Repeatable.",
    ),
]


def worker(
    function: Annotated[str, typer.Argument(metavar="MODULE:FUNCTION", help="What to serve.")],
    connect: Connect,
    service: Annotated[
        str, typer.Option(help="The service's name; by default the function's.")
    ] = "",
    slots: Annotated[int, typer.Option(min=1, help="Requests that run at once.")] = 1,
    credit: Annotated[
        int | None, typer.Option(min=1, help="Requests that are held; with zxmpp's broker.")
    ] = None,
    pool: Annotated[Pool, typer.Option(help="Where a plain function runs.")] = Pool.THREAD,
    dask: Annotated[
        str, typer.Option(metavar="ADDRESS", help="A Dask scheduler, to run it there.")
    ] = "",
    mdp: MdpVersion = Mdp.V02,
    format: Annotated[Format, typer.Option(help="Of values that are no text.")] = Format.JSON,
    heartbeat: Annotated[
        float, typer.Option(min=0.01, metavar="S", help="Seconds, about the broker's.")
    ] = 2.5,
    drain: Annotated[
        float, typer.Option(min=0, metavar="S", help="Seconds that a stop waits for what runs.")
    ] = 30.0,
    name: Annotated[str, typer.Option(help="What `zxmpp top` calls this worker.")] = "",
    option: Options = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    json_logs: JsonLogs = False,
) -> None:
    """Serve a function as a worker of a broker. The current folder can be imported from.

    SIGTERM or Ctrl-C finish what runs and hand back the rest; a second one stops at once. Exit
    status: 0 stopped by a signal; 1 failed at run time; 2 an argument or the module is wrong.
    """
    from zxmpp.cli.logs import level_of, set_up_logging
    from zxmpp.cli.notify import NotifyingWorker
    from zxmpp.cli.worker import find_function, leave, read_options, summary

    set_up_logging(level_of(quiet, verbose, "INFO"), json_logs)
    with errors_logged(json_logs):
        table, _ = read_options(connect, option or [])
        call = find_function(function)
        served = NotifyingWorker(
            service or getattr(call, "__name__", ""), call, connect=connect, slots=slots,
            credit=credit, pool=pool.value, dask=dask, format=format.value, version=mdp.value,
            heartbeat=heartbeat, drain=drain, name=name, **table,
        )  # fmt: skip
        log.info("service %s: serving %s at %s", served.service, function, connect)
        served.run()
    log.info("service %s: stopped: %s", served.service, summary(served))
    leave(Exit.GOOD)


def call(
    service: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The service, as mmi.services; a bot's command."),
    ] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BODY | ARGS...]",
            help="The request; - or none: stdin, if that is no terminal. Of a command its words.",
        ),
    ] = None,
    connect: Annotated[
        str, typer.Option(help="A broker's address, for example tcp://127.0.0.1:5555.")
    ] = "",
    bot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A running bot's TOML file: call a command of it."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.001, metavar="S", help="Seconds for the whole answer.")
    ] = 10.0,
    mdp: MdpVersion = Mdp.V02,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the bytes as they are, on a terminal, too.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="The answer is JSON: check it and lay it out. With --bot: "
            "write what the command says as JSON, an object a line.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="With --bot: write a file there."),
    ] = None,
    option: Options = None,
    verbose: Verbose = False,
) -> None:
    """Ask a service of a broker, or call a command of a running bot, and print the answer.

    zxmpp call SERVICE --connect ADDRESS [BODY]: frames are lines; progress goes to stderr.

    zxmpp call --bot bot.toml NAME [ARGS...]: as the user that runs the bot; without NAME, what
    commands there are. Put -- before arguments that begin with a dash.

    Exit status: 0 answered; 1 no answer, refused, or no such bot; 2 an argument is wrong.
    """
    from zxmpp.cli.logs import level_of, set_up_logging

    set_up_logging(level_of(False, verbose, "WARNING"))
    words = arguments or []
    if bool(connect) == (bot is not None):
        raise ConfigError("name a broker's address with --connect, or a bot's file with --bot")
    try:
        if bot is not None:
            from zxmpp.cli.control import call_bot

            if raw or option or mdp is not Mdp.V02:
                raise ConfigError("--raw, --mdp and --option are for a service, not for --bot")
            asyncio.run(
                call_bot(bot, service or "", words, timeout, as_json=as_json, output=output)
            )
            return
        from zxmpp.cli.call import ask, check_service, read_body
        from zxmpp.cli.worker import read_options

        if raw and as_json:
            raise ConfigError("--raw and --json contradict each other; choose one")
        if service is None or len(words) > 1 or output is not None:
            raise ConfigError("a service is asked as in: zxmpp call NAME BODY --connect ADDRESS")
        check_service(service)
        table, settings = read_options(connect, option or [])
        data = read_body(words[0] if words else None, settings.max_message_bytes)
        asyncio.run(
            ask(service, data, connect, timeout, mdp.value, table, raw=raw, as_json=as_json)
        )
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


def top(
    connect: Connect,
    interval: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="Seconds from one look to the next.")
    ] = 1.0,
    once: Annotated[
        bool, typer.Option("--once", help="One look, also where stdout is no terminal.")
    ] = False,
    option: Options = None,
) -> None:
    """Show the services, workers and rates of a broker of zxmpp until Ctrl-C.

    Exit status: 0 ended by a signal, or shown once; 1 no such broker; 2 an argument is wrong.
    """
    from zxmpp.cli.logs import set_up_logging
    from zxmpp.cli.top import run_top
    from zxmpp.cli.worker import read_options

    set_up_logging("ERROR")
    table, _ = read_options(connect, option or [])
    try:
        asyncio.run(run_top(connect, interval, once, table))
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None
