"""What the commands share: options, the exit status, how errors are told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zxmpp.errors import ConfigError, ZxmppError

if TYPE_CHECKING:
    from zxmpp.config import Reading

__all__ = [
    "ConfigPath",
    "Exit",
    "JsonLogs",
    "Quiet",
    "Verbose",
    "errors_logged",
    "good",
    "plain",
    "status_of",
]

log = logging.getLogger(__name__)


class Exit(IntEnum):
    """What the process ends with."""

    #: Stopped by a signal, as asked; for other commands: good.
    GOOD = 0
    #: Failed at run time: a port in use, a plugin that does not start, a bug.
    FAILED = 1
    #: The configuration or an argument is wrong: it does not mend itself.
    USAGE = 2


ConfigPath = Annotated[Path, typer.Argument(help="The bot's TOML file.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Log everything, stanzas too; secrets are masked.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings and errors only.")]
JsonLogs = Annotated[bool, typer.Option("--json-logs", help="Log one JSON object per line.")]


@contextmanager
def errors_logged(json_logs: bool) -> Iterator[None]:
    """Who reads the log as JSON must not meet a line that is none: errors are logged, too."""
    try:
        yield
    except Exception as error:
        if not json_logs:
            raise
        known = isinstance(error, ZxmppError)
        for line in str(error).splitlines() if known else [str(error)]:
            log.critical("%s", line, exc_info=None if known else error)
        raise typer.Exit(status_of(error)) from None


def good(config: Path, secrets: bool = True) -> Reading:
    """The configuration, checked whole. ConfigError with every problem."""
    from zxmpp.cli.check import good

    return good(config, secrets)


def status_of(error: Exception) -> Exit:
    return Exit.USAGE if isinstance(error, ConfigError) else Exit.FAILED


def plain(text: str) -> str:
    """`text` without what would drive a terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)
