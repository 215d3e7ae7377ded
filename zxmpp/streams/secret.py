"""Where a stream's password comes from, and how it stays out of the log.

Rules:
- A secret is read from the environment, from a credential of the same name that the service manager
  hands over (systemd.exec(5), $CREDENTIALS_DIRECTORY), or from a file; never from an argument or the
  configuration itself.
- It is handed on as a plain str that nothing here logs or shows. slixmpp logs what it sends and
  receives at DEBUG: a filter on its logger masks SASL exchanges (RFC 6120, 6), the component
  handshake (XEP-0114), passwords of rooms (also of invitations, XEP-0249) and registrations, and
  what opens a place for a file (XEP-0363, 5).
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from zxmpp.errors import ConfigError
from zxmpp.streams.settings import StreamSettings

__all__ = ["SecretFilter", "default_secret_env", "hide_secrets", "mask", "read_secret"]

#: slixmpp's logger that shows the wire.
WIRE_LOGGER = "slixmpp.xmlstream.xmlstream"

_MASKED = "[masked]"
_SECRET = re.compile(
    r"(<(?:\w+:)?(?:(?:auth|response|challenge|success|handshake|password)\b"
    r"|header\s+name=[\"'](?i:authorization|cookie)[\"'])[^>]*(?<!/)>)"
    r"[^<]*"
)
_ATTRIBUTE = re.compile(r"""(\bpassword=)(?:'[^']*'|"[^"]*")""")


def default_secret_env(name: str) -> str:
    """The environment variable that holds the secret of the stream `name`."""
    return f"ZXMPP_{re.sub(r'[^A-Za-z0-9]', '_', name).upper()}_SECRET"


def read_secret(name: str, settings: StreamSettings) -> str:
    """The secret of the stream `name`. ConfigError says where it was looked for and what to do.

    The end of the last line is cut off; an empty secret counts as missing.
    """
    where = f"[streams.{name}]"
    variable = settings.secret_env or default_secret_env(name)
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    credential = Path(folder, variable)
    if settings.secret_file:
        path = Path(settings.secret_file).expanduser()
        secret = _content(f"{where} secret_file: {path}", path, settings.jid)
        source = f"the file {path}"
    elif folder and not os.environ.get(variable) and credential.exists():
        secret = _content(f"{where} the credential {credential}", credential, settings.jid)
        source = f"the credential {credential}"
    else:
        secret = os.environ.get(variable, "").removesuffix("\n").removesuffix("\r")
        source = f"the environment variable {variable}"
        if folder:
            source += f" (as well as the credential {credential})"
    if not secret:
        raise ConfigError(
            f"{where} no secret for {settings.jid}: {source} is not set or empty. Put the "
            f"{'password' if settings.kind == 'client' else 'component secret'} there, or name "
            f"another place with secret_env or secret_file"
        )
    if "\n" in secret or "\0" in secret:
        raise ConfigError(
            f"{where} {source} holds more than one line; it must hold the secret only"
        )
    return secret


def _content(what: str, path: Path, jid: str) -> str:
    try:
        secret = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"{what} can't be read: {error.strerror or error}. Write the secret of {jid} into it, "
            f"readable by this user only"
        ) from error
    except UnicodeDecodeError:
        # Not chained: the original error shows the file's content.
        raise ConfigError(f"{what} is not UTF-8 text") from None
    return secret.removesuffix("\n").removesuffix("\r")


def mask(text: str) -> str:
    """`text` of the wire with what is secret taken out."""
    text = _SECRET.sub(rf"\1{_MASKED}", text)
    return _ATTRIBUTE.sub(rf"\1'{_MASKED}'", text) if "password=" in text else text


class SecretFilter(logging.Filter):
    """Masks secrets in the arguments of log records that show the wire."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple) and record.args:
            record.args = tuple(
                arg if isinstance(arg, int | float) else _shown(arg) for arg in record.args
            )
        return True


def _shown(value: object) -> object:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    masked = mask(text)
    return masked if masked != text else value


_filter = SecretFilter()


def hide_secrets() -> None:
    """Put the filter on slixmpp's logger. Idempotent."""
    logging.getLogger(WIRE_LOGGER).addFilter(_filter)
