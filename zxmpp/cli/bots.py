"""``zxmpp run``, ``record``, ``replay``, ``check``, ``plugins``, ``shell``, ``demo``: what begins with a
bot's configuration."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from zxmpp.cli.common import ConfigPath, Exit, JsonLogs, Quiet, Verbose, errors_logged, good
from zxmpp.errors import ConfigError

__all__ = ["check", "demo", "plugins", "record", "replay", "run", "shell"]


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
    with errors_logged(json_logs):
        settings = good(config).settings
        set_up_logging(level_of(quiet, verbose, settings.app.log_level), json_logs)
        with asyncio.Runner(loop_factory=_loop_factory(uvloop)) as runner:
            runner.run(NotifyingApp(config).run(watch=watch))


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
    with errors_logged(json_logs):
        settings = good(config).settings
        set_up_logging(level_of(quiet, verbose, settings.app.log_level), json_logs)
        asyncio.run(run_recorded(config, settings, output, mask_bodies, max_bytes))


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
    settings = good(config, secrets=False).settings if config else None
    if not show_replay(recording, plugin, settings):
        raise typer.Exit(Exit.FAILED)


def _loop_factory(uvloop: bool) -> type[asyncio.AbstractEventLoop] | None:
    if not uvloop:
        return None
    try:
        import uvloop as library
    except ImportError as error:
        raise ConfigError("uvloop is not installed; pip install 'zxmpp[uvloop]'") from error
    return library.Loop


def check(config: ConfigPath = Path("bot.toml")) -> None:
    """Check a configuration without starting anything: keys, types, secrets, plugins.

    Each problem is one line with its place. Exit status: 0 good; 2 there are problems.
    """
    settings = good(config).settings
    for name, stream in settings.streams.items():
        typer.echo(f"stream {name}: {stream.kind} {stream.jid}")
    for name, socket in settings.sockets.items():
        where = [f"bind {address}" for address in socket.bind]
        where += [f"connect {address}" for address in socket.connect]
        typer.echo(f"socket {name}: {socket.type} {', '.join(where)}")
    for name, plugin in settings.plugins.items():
        typer.echo(f"plugin {name}: {plugin.use}")
    typer.echo(f"{config}: good")


def plugins(
    config: Annotated[
        Path | None, typer.Argument(help="A bot's TOML file: show its plugins, too.")
    ] = None,
) -> None:
    """Show what plugins there are: from where, with which commands and config."""
    from zxmpp.cli.check import examine
    from zxmpp.cli.plugins import rows, show

    show(rows(examine(config, secrets=False).settings if config else None))


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
    settings = good(config, secrets=False).settings
    try:
        asyncio.run(run_shell(settings))
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


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
