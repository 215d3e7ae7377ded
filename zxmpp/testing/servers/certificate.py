"""A throw-away certificate for a private server, made with the `openssl` program.

Rules:
- The key never leaves the server's own temporary folder, and is readable by its owner only.
- The certificate is its own authority: clients verify it with it as their ``ca_file``. It has
  what OpenSSL's strict mode asks for, which is Python 3.13's default (RFC 5280, 4.2.1).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from zxmpp.errors import ZxmppError

__all__ = ["make_certificate"]

_TIMEOUT_S = 30


def make_certificate(certificate: Path, key: Path, names: Sequence[str]) -> None:
    """Write a `certificate` and its `key`, in PEM, for the DNS `names` and for 127.0.0.1.

    Raises ZxmppError if that is not possible.
    """
    program = shutil.which("openssl")
    if program is None:
        raise ZxmppError(
            "A private server with tls=True needs the program `openssl` to make its certificate: "
            "apt-get install openssl, or leave tls=True out."
        )
    key.touch(mode=0o600)
    addresses = [*(f"DNS:{name}" for name in names), "IP:127.0.0.1"]
    command = [
        program, "req", "-x509", "-nodes", "-days", "2", "-sha256",
        "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-subj", f"/CN={names[0]}", "-addext", f"subjectAltName={','.join(addresses)}",
        "-addext", "keyUsage=critical,digitalSignature,keyCertSign",
        "-keyout", os.fspath(key), "-out", os.fspath(certificate),
    ]  # fmt: skip
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=_TIMEOUT_S,
    )
    if done.returncode:
        raise ZxmppError(f"openssl could not make a certificate: {done.stderr.strip()}")
