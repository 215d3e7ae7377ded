"""TOML to typed settings.

Rules:
- Every key is known: an unknown one is an error that names the nearest known one.
- A ConfigError has every problem, a line each: which file and line, which table and key, what is
  wrong and what would be right.
- Secrets never stand in the file: a key ``..._env`` names an environment variable, a key
  ``..._file`` a file.
"""

from __future__ import annotations

from pathlib import Path

from zxmpp.config.convert import near, to_struct
from zxmpp.config.reader import BROKER, Reading
from zxmpp.config.settings import (
    AppSettings,
    BrokerSettings,
    CommandSettings,
    GuardSettings,
    PipelineSettings,
    PluginSettings,
    Settings,
)
from zxmpp.errors import ConfigError, Problem

__all__ = [
    "BROKER",
    "AppSettings",
    "BrokerSettings",
    "CommandSettings",
    "GuardSettings",
    "PipelineSettings",
    "PluginSettings",
    "Reading",
    "Settings",
    "listed",
    "load",
    "near",
    "parse",
    "read_text",
    "to_struct",
]


def load(path: str | Path) -> Settings:
    """Read the TOML file at `path`. ConfigError says all that is wrong and where."""
    reading = Reading(read_text(path))
    if problems := tuple(reading.problems):
        raise ConfigError(listed(problems, path), problems)
    return reading.settings


def parse(text: str) -> Settings:
    """Settings from TOML text. ConfigError says all that is wrong and where."""
    reading = Reading(text)
    if problems := tuple(reading.problems):
        raise ConfigError(listed(problems), problems)
    return reading.settings


def read_text(path: str | Path) -> str:
    """The text of the file at `path`. ConfigError if it can't be read or is no text."""
    path = Path(path)
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: the configuration can't be read: {error.strerror or error}. Name the file, "
            f"as in: zxmpp run bot.toml"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error


def listed(problems: tuple[Problem, ...], path: str | Path = "") -> str:
    """`problems`, a line each: ``bot.toml:3: [streams.bot] port: ...``; of a text without a file,
    ``line 3: ...``."""
    lines = []
    for problem in problems:
        place = ":".join(str(part) for part in (path, problem.line) if str(part) not in ("", "0"))
        if not str(path) and problem.line:
            place = f"line {problem.line}"
        lines.append(f"{place}: {problem.text}" if place else problem.text)
    return "\n".join(lines)
