"""The hooks of `webhook`: their settings, and whether a request has the secret. No HTTP library.

Rules:
- A hook without a secret is an error, unless it says that it is `open`.
- Secrets are compared in constant time, and stand in the environment or a file, never in the
  configuration.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from msgspec import Struct

from zxmpp import PluginError
from zxmpp_plugins.inbound import jid_of
from zxmpp_plugins.templates import checked

__all__ = ["SECRET_HEADERS", "Hook", "admits", "read_secret"]

Shape = Literal["generic", "github", "gitlab", "alertmanager"]

#: Headers that show a secret: nobody else gets to see them.
SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-gitlab-token"})
_SIGNATURE = "x-hub-signature-256"
#: How each shape may prove that it knows the secret.
_PROOFS: dict[Shape, tuple[str, ...]] = {
    "generic": ("authorization", _SIGNATURE),
    "github": (_SIGNATURE,),
    "gitlab": ("x-gitlab-token",),
    "alertmanager": ("authorization",),
}
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")


class Hook(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.webhook.hooks.NAME]``"""

    #: Where requests go; ``/NAME`` if empty.
    path: str = ""
    #: Who is told: JIDs of people, or of rooms that the stream is in. Empty: nobody; the hook is for
    #: ``@on.request("NAME")`` of another plugin.
    to: list[str] = []
    #: Who sends: ``generic`` (an object of JSON, or plain text), ``github``, ``gitlab`` or
    #: ``alertmanager``.
    shape: Shape = "generic"
    #: The text, with ``$name`` of what the shape has; its own ``$text`` if empty.
    template: str = ""
    #: The environment variable that holds the secret.
    secret_env: str = ""
    #: The file that does.
    secret_file: str = ""
    #: Whether anybody may send, without a secret.
    open: bool = False
    #: Which stream sends; needed if there are several.
    stream: str = ""

    def __post_init__(self) -> None:
        if self.path and not _PATH.fullmatch(self.path):
            raise ValueError(f"path: {self.path!r} is no path such as /hooks/build")
        for to in self.to:
            if jid_of(to) is None:
                raise ValueError(f"to: {to!r} is not a JID such as ops@rooms.example.org")
        if self.open == bool(self.secret_env or self.secret_file):
            raise ValueError(
                "name its secret by secret_env or secret_file, or let anybody in by open = true; "
                "one of both"
            )
        if self.secret_env and self.secret_file:
            raise ValueError("secret_env and secret_file exclude each other")
        checked(self.template, "template")


def read_secret(where: str, hook: Hook) -> bytes:
    """The secret of `hook`. PluginError says where it was looked for."""
    if hook.open:
        return b""
    if hook.secret_file:
        path = Path(hook.secret_file).expanduser()
        source = f"the file {path}"
        try:
            secret = path.read_bytes()
        except OSError as error:
            raise PluginError(f"{where} secret_file: {path}: {error.strerror or error}") from error
    else:
        source = f"the environment variable {hook.secret_env}"
        secret = os.environb.get(hook.secret_env.encode(), b"")
    secret = secret.removesuffix(b"\n").removesuffix(b"\r")
    if not secret or b"\n" in secret:
        raise PluginError(
            f"{where}: {source} is empty or has more than one line; put the secret in"
        )
    return secret


def admits(hook: Hook, secret: bytes, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a request with these `headers` (names in lower case) and `body` may come in."""
    if hook.open:
        return True
    return any(_proves(name, headers.get(name, ""), secret, body) for name in _PROOFS[hook.shape])


def _proves(name: str, value: str, secret: bytes, body: bytes) -> bool:
    given = value.encode("utf-8", "surrogateescape")
    if name == _SIGNATURE:
        return hmac.compare_digest(
            given, b"sha256=" + hmac.digest(secret, body, "sha256").hex().encode()
        )
    if name == "authorization":
        scheme, _, given = given.partition(b" ")
        if scheme.lower() == b"basic":
            try:
                # The password; whoever it says it is does not matter.
                given = base64.b64decode(given, validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                return False
        elif scheme.lower() != b"bearer":
            return False
    return hmac.compare_digest(given, secret)
