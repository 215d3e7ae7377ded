"""The ``zxmpp`` command; ``zxmpp --help`` lists what it can do.

Rules:
- Results go to stdout, the log and errors to stderr.
- A foreseen error is one message with the remedy, no traceback. Exit status: see `Exit`.
- A secret is never an argument.
"""

from __future__ import annotations

import sys

import typer

from zxmpp.cli import bots, new, services
from zxmpp.cli.acl import acl
from zxmpp.cli.common import Exit
from zxmpp.errors import ConfigError, ZxmppError

__all__ = ["Exit", "main"]

cli = typer.Typer(
    name="zxmpp",
    help="Chat automation over XMPP with backend workers over ZeroMQ.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cli.add_typer(acl, name="acl")
cli.add_typer(new.cli, name="new")
for command in (
    bots.run, bots.record, bots.replay, bots.check, bots.plugins, bots.shell, bots.demo,
    services.worker, services.call, services.top,
):  # fmt: skip
    cli.command()(command)


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
