"""The ``zxmpp`` command: run, check, demo.

Rules:
- Results go to stdout, the log to stderr.
- A wrong configuration is one message with the remedy, no traceback, and exit status 2.
- A secret is never an argument.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from zxmpp.errors import ZxmppError

__all__ = ["main"]

cli = typer.Typer(
    name="zxmpp",
    help="Chat automation over XMPP with backend workers over ZeroMQ.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

ConfigPath = Annotated[Path, typer.Argument(help="The bot's TOML file.", show_default=False)]
Debug = Annotated[bool, typer.Option("--debug", "-d", help="Log all, stanzas too.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings and errors only.")]


def set_up_logging(level: str) -> None:
    """Log to stderr, one line an entry."""
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


@cli.command()
def run(
    config: ConfigPath = Path("bot.toml"),
    debug: Debug = False,
    quiet: Quiet = False,
    uvloop: Annotated[bool, typer.Option(help="Use uvloop (extra: zxmpp[uvloop]).")] = False,
) -> None:
    """Run a bot until SIGTERM or Ctrl-C."""
    from zxmpp.app import App
    from zxmpp.config import load

    settings = load(config)
    set_up_logging("DEBUG" if debug else "WARNING" if quiet else settings.app.log_level)
    # Plugins of the bot's own stand beside its configuration.
    sys.path.insert(0, str(config.resolve().parent))
    with asyncio.Runner(loop_factory=_loop_factory(uvloop)) as runner:
        runner.run(App(settings).run())


def _loop_factory(uvloop: bool) -> type[asyncio.AbstractEventLoop] | None:
    if not uvloop:
        return None
    try:
        import uvloop as library
    except ImportError as error:
        raise ZxmppError("uvloop is not installed; pip install 'zxmpp[uvloop]'") from error
    return library.Loop


@cli.command()
def check(config: ConfigPath = Path("bot.toml")) -> None:
    """Check a configuration without connecting: keys, types, secrets, plugins."""
    from zxmpp.config import load, to_struct
    from zxmpp.loader import find
    from zxmpp.streams import read_secret

    settings = load(config)
    sys.path.insert(0, str(config.resolve().parent))
    for name, stream in settings.streams.items():
        read_secret(name, stream)
        typer.echo(f"stream {name}: {stream.kind} {stream.jid}")
    for name, socket in settings.sockets.items():
        where = [f"bind {address}" for address in socket.bind]
        where += [f"connect {address}" for address in socket.connect]
        typer.echo(f"socket {name}: {socket.type} {', '.join(where)}")
    for name, plugin in settings.plugins.items():
        to_struct(find(plugin.use).Config, plugin.table, f"[plugins.{name}]")
        typer.echo(f"plugin {name}: {plugin.use}")
    typer.echo(f"{config}: good")


@cli.command()
def demo(
    keep: Annotated[bool, typer.Option(help="Keep the demo's folder to play with.")] = False,
) -> None:
    """Show the whole way on a private Prosody: a chat message to a worker and back, an alert into
    a room."""
    from zxmpp.cli.demo import run_demo

    asyncio.run(run_demo(keep))


@cli.command()
def version() -> None:
    """Print the versions of zxmpp and what it stands on."""
    from importlib.metadata import version as version_of

    import zmq

    for name in ("zxmpp", "slixmpp", "pyzmq"):
        typer.echo(f"{name} {version_of(name)}")
    typer.echo(f"libzmq {zmq.zmq_version()}")
    typer.echo(f"python {sys.version.split()[0]}")


def main() -> None:
    """Entry point."""
    try:
        cli()
    except ZxmppError as error:
        typer.echo(f"zxmpp: {error}", err=True)
        sys.exit(2)
