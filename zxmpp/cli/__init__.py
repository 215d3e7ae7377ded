"""The ``zxmpp`` command; ``zxmpp --help`` lists what it can do.

Rules:
- Results go to stdout, the log and errors to stderr.
- A foreseen error is one message with the remedy, no traceback. Exit status: see `Exit`.
- A secret is never an argument.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zxmpp.cli import new
from zxmpp.cli.acl import acl
from zxmpp.errors import ConfigError, ZxmppError

if TYPE_CHECKING:
    from zxmpp.config import Reading

__all__ = ["Exit", "main"]

log = logging.getLogger(__name__)


class Exit(IntEnum):
    """What the process ends with."""

    #: Stopped by a signal, as asked; for other commands: good.
    GOOD = 0
    #: Failed at run time: a port in use, a plugin that does not start, a bug.
    FAILED = 1
    #: The configuration or an argument is wrong: it does not mend itself.
    USAGE = 2


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


cli = typer.Typer(
    name="zxmpp",
    help="Chat automation over XMPP with backend workers over ZeroMQ.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cli.add_typer(acl, name="acl")
cli.add_typer(new.cli, name="new")

ConfigPath = Annotated[Path, typer.Argument(help="The bot's TOML file.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Log everything, stanzas too; secrets are masked.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings and errors only.")]
JsonLogs = Annotated[bool, typer.Option("--json-logs", help="Log one JSON object per line.")]
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


@cli.command()
def run(
    config: ConfigPath = Path("bot.toml"),
    verbose: Verbose = False,
    quiet: Quiet = False,
    json_logs: JsonLogs = False,
    uvloop: Annotated[
        bool, typer.Option("--uvloop", help="Use uvloop (extra: zxmpp[uvloop]).")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Reload a plugin when its file changes.")
    ] = False,
) -> None:
    """Run a bot in the foreground until SIGTERM or Ctrl-C; a second one stops at once. SIGHUP reads
    the configuration, and plugins whose files changed, again.

    Exit status: 0 stopped by a signal; 1 failed at run time, as when a port is in use; 2 the
    configuration or an argument is wrong.
    """
    from zxmpp.cli.logs import level_of, set_up_logging
    from zxmpp.cli.notify import NotifyingApp

    set_up_logging(level_of(quiet, verbose, "INFO"), json_logs)
    with _errors_logged(json_logs):
        settings = _good(config).settings
        set_up_logging(level_of(quiet, verbose, settings.app.log_level), json_logs)
        with asyncio.Runner(loop_factory=_loop_factory(uvloop)) as runner:
            runner.run(NotifyingApp(config).run(watch=watch))


@cli.command()
def record(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The new file to write.")
    ],
    config: ConfigPath = Path("bot.toml"),
    mask_bodies: Annotated[
        bool,
        typer.Option("--mask-bodies", help="Mask all texts and frames, save names of commands."),
    ] = False,
    max_bytes: Annotated[
        int, typer.Option(min=65536, metavar="N", help="The most that the file may have.")
    ] = 10**9,
    verbose: Verbose = False,
    quiet: Quiet = False,
    json_logs: JsonLogs = False,
) -> None:
    """Run a bot, as `zxmpp run` does, and write down all that comes in and all that it sends.

    The file is for this user only; secrets are never in it. Exit status: as of `zxmpp run`.
    """
    from zxmpp.cli.logs import level_of, set_up_logging
    from zxmpp.cli.record import run_recorded

    set_up_logging(level_of(quiet, verbose, "INFO"), json_logs)
    with _errors_logged(json_logs):
        settings = _good(config).settings
        set_up_logging(level_of(quiet, verbose, settings.app.log_level), json_logs)
        asyncio.run(run_recorded(config, settings, output, mask_bodies, max_bytes))


@cli.command()
def replay(
    recording: Annotated[Path, typer.Argument(help="A file that `zxmpp record` wrote.")],
    plugin: Annotated[
        str, typer.Option(metavar="NAME", help="As in [plugins.NAME], or as in `use`.")
    ],
    config: Annotated[
        Path | None, typer.Option(help="The bot's TOML file: the plugin's config, roles.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Let a plugin hear a recording, without a server and in no time, and show what it would send
    otherwise than then.

    Exit status: 0 the same; 1 there is a difference; 2 an argument, the file or the plugin is wrong.
    """
    from zxmpp.cli.logs import level_of, set_up_logging
    from zxmpp.cli.record import show_replay

    set_up_logging(level_of(False, verbose, "WARNING"))
    settings = _good(config, secrets=False).settings if config else None
    if not show_replay(recording, plugin, settings):
        raise typer.Exit(Exit.FAILED)


@contextmanager
def _errors_logged(json_logs: bool) -> Iterator[None]:
    """Who reads the log as JSON must not meet a line that is none: errors are logged, too."""
    try:
        yield
    except Exception as error:
        if not json_logs:
            raise
        known = isinstance(error, ZxmppError)
        for line in str(error).splitlines() if known else [str(error)]:
            log.critical("%s", line, exc_info=None if known else error)
        raise typer.Exit(_status(error)) from None


def _good(config: Path, secrets: bool = True) -> Reading:
    """The configuration, checked whole. ConfigError with every problem."""
    from zxmpp.cli.check import good

    return good(config, secrets)


def _loop_factory(uvloop: bool) -> type[asyncio.AbstractEventLoop] | None:
    if not uvloop:
        return None
    try:
        import uvloop as library
    except ImportError as error:
        raise ConfigError("uvloop is not installed; pip install 'zxmpp[uvloop]'") from error
    return library.Loop


@cli.command()
def check(config: ConfigPath = Path("bot.toml")) -> None:
    """Check a configuration without starting anything: keys, types, secrets, plugins.

    Each problem is one line with its place. Exit status: 0 good; 2 there are problems.
    """
    settings = _good(config).settings
    for name, stream in settings.streams.items():
        typer.echo(f"stream {name}: {stream.kind} {stream.jid}")
    for name, socket in settings.sockets.items():
        where = [f"bind {address}" for address in socket.bind]
        where += [f"connect {address}" for address in socket.connect]
        typer.echo(f"socket {name}: {socket.type} {', '.join(where)}")
    for name, plugin in settings.plugins.items():
        typer.echo(f"plugin {name}: {plugin.use}")
    typer.echo(f"{config}: good")


@cli.command()
def plugins(
    config: Annotated[
        Path | None, typer.Argument(help="A bot's TOML file: show its plugins, too.")
    ] = None,
) -> None:
    """Show what plugins there are: from where, with which commands and config."""
    from zxmpp.cli.check import examine
    from zxmpp.cli.plugins import rows, show

    show(rows(examine(config, secrets=False).settings if config else None))


@cli.command()
def shell(
    config: ConfigPath = Path("bot.toml"),
    verbose: Verbose = False,
    quiet: Quiet = False,
    json_logs: JsonLogs = False,
) -> None:
    """Chat with a bot in the terminal: no server and no secrets, real sockets and plugins."""
    from zxmpp.cli.logs import level_of, set_up_logging
    from zxmpp.cli.shell import run_shell

    # What goes on in the chat stands on the screen: the log tells of trouble only.
    set_up_logging(level_of(quiet, verbose, "WARNING"), json_logs)
    settings = _good(config, secrets=False).settings
    try:
        asyncio.run(run_shell(settings))
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


@cli.command()
def demo(
    script: Annotated[
        bool, typer.Option("--script", help="Play a fixed conversation, on a terminal too.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the demo's folder to play with.")
    ] = False,
) -> None:
    """Show the whole way with real processes: a chat message to a worker and back, an alert into a
    room. On a terminal you chat; else, or with --script, a fixed conversation is played and checked.

    Exit status: 0 all went as it should; 1 a step failed.
    """
    from zxmpp.cli.demo import run_demo

    raise typer.Exit(run_demo(script=script, keep=keep))


@cli.command()
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
    with _errors_logged(json_logs):
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


@cli.command()
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


@cli.command()
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


@cli.command()
def version() -> None:
    """Print the versions of zxmpp and what it stands on."""
    from importlib.metadata import version as version_of

    import zmq

    for name in ("zxmpp", "slixmpp", "pyzmq"):
        typer.echo(f"{name} {version_of(name)}")
    typer.echo(f"libzmq {zmq.zmq_version()}")
    typer.echo(f"python {sys.version.split()[0]}")


def _status(error: Exception) -> Exit:
    return Exit.USAGE if isinstance(error, ConfigError) else Exit.FAILED


def main() -> None:
    """Entry point."""
    try:
        cli()
    except ConfigError as error:
        # Problems stand a line each with their place, as compilers write them.
        typer.echo(str(error) if error.problems else f"zxmpp: {error}", err=True)
        if error.problems:
            count = len(error.problems)
            typer.echo(f"zxmpp: {count} problem{'s' if count > 1 else ''}", err=True)
        sys.exit(Exit.USAGE)
    except ZxmppError as error:
        typer.echo(f"zxmpp: {error}", err=True)
        sys.exit(Exit.FAILED)
