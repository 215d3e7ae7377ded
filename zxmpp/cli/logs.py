"""The log: to stderr, as lines for people or as JSON for machines.

Rules:
- A secret of the wire is masked in whatever is written, tracebacks too.
- slixmpp tells at INFO what zxmpp tells in its own words: below WARNING it is silent, save at DEBUG.
  So is its failed log-in, which would hide the reason behind a symptom.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from zxmpp.streams.secret import mask

__all__ = ["JsonFormatter", "TextFormatter", "level_of", "set_up_logging"]


def level_of(quiet: bool, verbose: bool, default: str) -> str:
    """The level that ``-q`` and ``-v`` ask for; `default` without them."""
    return "DEBUG" if verbose else "WARNING" if quiet else default


class TextFormatter(logging.Formatter):
    """One line an entry: time, level, logger, message; a traceback follows on its own lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return mask(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, and
    ``exception`` with the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": mask(record.getMessage()),
        }
        if record.exc_info:
            entry["exception"] = mask(self.formatException(record.exc_info))
        return json.dumps(entry)


def set_up_logging(level: str, as_json: bool = False) -> None:
    """Log to stderr from `level` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    quiet = level == "INFO"
    logging.getLogger("slixmpp").setLevel(logging.WARNING if quiet else logging.NOTSET)
    log_in = logging.getLogger("slixmpp.features.feature_mechanisms.mechanisms")
    log_in.setLevel(logging.NOTSET if level == "DEBUG" else logging.CRITICAL)
