"""A private Prosody (0.12 and later).

Rules:
- Everything lives in memory but the accounts, which are one small file each: so they survive a
  restart, and one can be added while the server runs.
- No limits on traffic, no connections to other servers, no HTTP but for files.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from zxmpp.testing.servers.base import UPLOAD_BYTES, Server, ServerError
from zxmpp.testing.servers.ports import LOOPBACK

__all__ = ["Prosody"]

_MODULES = (
    "blocklist", "carbons", "csi_simple", "disco", "pep", "ping", "posix", "private",
    "register", "roster", "saslauth", "smacks", "time", "uptime", "vcard4", "vcard_legacy", "version",
)  # fmt: skip

_CONFIG = """\
-- Written by zxmpp for a private server. Changes are lost.
run_as_root = true
data_path = {data}
log = {{ {{ levels = {{ min = "info" }}, to = "file", filename = {log} }} }}
interfaces = {{ {address} }}
local_interfaces = {{ {address} }}
c2s_ports = {{ {c2s_port} }}
c2s_direct_tls_ports = {{ {tls_ports} }}
component_ports = {{ {component_port} }}
http_ports = {{ {http_port} }}
http_interfaces = {{ {address} }}
https_ports = {{}}
s2s_ports = {{}}
modules_enabled = {{ {modules} }}
modules_disabled = {{ "s2s", {tls_off} }}
certificates = {certificates}
{ssl}
authentication = "internal_plain"
network_settings = {{ nagle = false }}
default_storage = "memory"
storage = {{ accounts = "internal" }}
c2s_require_encryption = false
s2s_require_encryption = false
allow_unencrypted_plain_auth = true
c2s_stanza_size_limit = 64 * 1024 * 1024
component_stanza_size_limit = 64 * 1024 * 1024
c2s_close_timeout = 1
muc_room_cache_size = 100000
{extra}
VirtualHost {host}
Component {muc} "muc"
  modules_enabled = {{ {muc_modules} }}
  restrict_room_creation = false
  muc_room_locking = false
{components}
"""

_FILES = """\
Component {files} "http_file_share"
  http_host = {address}
  http_external_url = "http://127.0.0.1:{port}/"
  http_file_share_size_limit = {limit}"""


class Prosody(Server):
    """A private Prosody. `extra_config` is Lua for the global section of its configuration."""

    title = "Prosody"
    package = "prosody"

    def __init__(
        self,
        accounts: Mapping[str, str] | None = None,
        components: Mapping[str, str] | None = None,
        *,
        tls: bool = False,
        archive: bool = False,
        upload: bool = False,
        host: str = "localhost",
        extra_config: str = "",
    ) -> None:
        super().__init__(accounts, components, tls=tls, archive=archive, upload=upload, host=host)
        self._extra_config = extra_config

    @classmethod
    def find(cls) -> Path:
        # Never run it to ask for its version: `prosody --version` starts a server.
        program = shutil.which("prosody") or shutil.which("prosody", path="/usr/bin:/usr/local/bin")
        if program is None:
            raise ServerError(
                "Prosody is not installed. Remedy: apt-get install prosody "
                "(the system-wide service need not run), or see https://prosody.im/download"
            )
        return Path(program)

    def _prepare(self, folder: Path) -> None:
        ssl = ""
        if self.tls:
            ssl = f"ssl = {{ certificate = {_lua(self.ca_file)}, key = {_lua(self._key_file)} }}"
        modules = [*_MODULES, *(["tls"] if self.tls else []), *(["mam"] if self.archive else [])]
        components = [
            f"Component {_lua(jid)}\n  component_secret = {_lua(secret)}"
            for jid, secret in self.components.items()
        ]
        if self.upload:
            components.append(
                _FILES.format(
                    files=_lua(self.files), port=self.http_port, address=_lua(LOOPBACK),
                    limit=UPLOAD_BYTES,
                )
            )  # fmt: skip
        (folder / "certs").mkdir(exist_ok=True)
        self._accounts_folder.mkdir(parents=True, exist_ok=True)
        config = folder / "prosody.cfg.lua"
        config.touch(mode=0o600)
        config.write_text(
            _CONFIG.format(
                address=_lua(LOOPBACK),
                c2s_port=self.c2s_port,
                certificates=_lua(folder / "certs"),
                component_port=self.component_port,
                components="\n".join(components),
                data=_lua(folder / "data"),
                extra=self._extra_config,
                host=_lua(self.host),
                http_port=self.http_port or "",
                log=_lua(self.log_path),
                modules=", ".join(map(_lua, modules)),
                muc=_lua(self.muc),
                muc_modules='"muc_mam"' if self.archive else "",
                ssl=ssl,
                tls_off="" if self.tls else '"tls"',
                tls_ports=self.tls_port or "",
            ),
            encoding="utf-8",
        )
        for jid, password in self.accounts.items():
            self._write_account(jid, password)

    def _command(self, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        return [str(self.find()), "-F", "--config", str(folder / "prosody.cfg.lua")], {}

    def _has_begun(self, log: str) -> bool:
        services = [("c2s", self.c2s_port), ("component", self.component_port)]
        if not self.components:
            services.pop()
        if self.http_port:
            services.append(("http", self.http_port))
        if self.tls_port:
            services.append(("c2s_direct_tls", self.tls_port))
        return all(
            f"Activated service '{name}' on [{LOOPBACK}]:{port}\n" in log for name, port in services
        )

    def _found_port_in_use(self, log: str) -> bool:
        return "Failed to open server port" in log

    @property
    def _accounts_folder(self) -> Path:
        return self.folder / "data" / _file_name(self.host) / "accounts"

    def _write_account(self, jid: str, password: str) -> None:
        path = self._accounts_folder / f"{_file_name(jid.partition('@')[0])}.dat"
        path.touch(mode=0o600)
        path.write_text(f'return {{ ["password"] = {_lua(password)} }};\n', encoding="utf-8")

    def _add_running(self, jid: str, password: str) -> None:
        # Prosody reads an account's file whenever the account is asked for.
        self._write_account(jid, password)


def _is_plain(byte: int) -> bool:
    return byte < 128 and chr(byte).isalnum()


def _lua(value: object) -> str:
    """A Lua string, whatever is in it: bytes that could end or alter it are written as \\ddd."""
    safe = b" -./:@_"
    inner = "".join(
        chr(byte) if _is_plain(byte) or byte in safe else f"\\{byte:03d}"
        for byte in str(value).encode()
    )
    return f'"{inner}"'


def _file_name(name: str) -> str:
    """How Prosody's internal storage writes a user's or host's name as a file's."""
    return "".join(chr(byte) if _is_plain(byte) else f"%{byte:02x}" for byte in name.encode())
