"""A private ejabberd (23.01 and later).

Rules:
- Erlang is started directly, not by ejabberdctl: Debian's insists on the user ``ejabberd`` and
  on AppArmor's paths. So it runs as whoever runs the tests.
- The node is not distributed: no epmd, no cookie, no node name that two servers could share.
- No limits on traffic, no connections to other servers, no HTTP but for files.
"""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from zxmpp.testing.servers.base import UPLOAD_BYTES, Server, ServerError
from zxmpp.testing.servers.ports import LOOPBACK

__all__ = ["Ejabberd"]

#: Where packages put ejabberd: Debian (by architecture), other systems, ProcessOne's own.
_PLACES = ("usr/lib/*", "usr/lib", "usr/lib/erlang/lib", "usr/local/lib", "opt/ejabberd*/lib")
#: As good as no limit, where ejabberd wants a number.
_PLENTY = 1_000_000

_MODULES: dict[str, dict[str, Any]] = {
    "mod_adhoc": {},
    "mod_blocking": {},
    "mod_caps": {},
    "mod_carboncopy": {},
    "mod_disco": {},
    "mod_last": {},
    "mod_muc": {
        "access": "all",
        "access_create": "all",
        "access_persistent": "all",
        "max_user_conferences": 1000,
        "max_users": 1000,
    },
    "mod_offline": {"access_max_user_messages": "plenty"},
    "mod_ping": {},
    "mod_privacy": {},
    "mod_private": {},
    "mod_pubsub": {"plugins": ["flat", "pep"]},
    "mod_register": {"access": "all", "ip_access": "all", "captcha_protected": False},
    "mod_roster": {},
    "mod_stream_mgmt": {"max_ack_queue": _PLENTY},
    "mod_time": {},
    "mod_vcard": {},
    "mod_version": {},
}

#: Accounts are made at every start: an account that is there already is left as it is. Erlang
#: reads a string as one number a byte, so no password can break out of its quotes.
_BOOT = """\
lists:foreach(
  fun({User, Password}) ->
    ejabberd_auth:try_register(list_to_binary(User), list_to_binary(HOST),
                               list_to_binary(Password))
  end, ACCOUNTS).
io:format("~nzxmpp: accounts are ready~n").
"""


class Ejabberd(Server):
    """A private ejabberd. `extra_config` is merged over its configuration (as from YAML)."""

    title = "ejabberd"
    package = "ejabberd"

    def __init__(
        self,
        accounts: Mapping[str, str] | None = None,
        components: Mapping[str, str] | None = None,
        *,
        tls: bool = False,
        archive: bool = False,
        upload: bool = False,
        host: str = "localhost",
        extra_config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(accounts, components, tls=tls, archive=archive, upload=upload, host=host)
        self._extra_config = extra_config or {}

    @classmethod
    def find(cls) -> Path:
        if shutil.which("erl"):
            for place in _PLACES:
                for found in sorted(Path("/").glob(f"{place}/ejabberd-*/ebin/ejabberd.app")):
                    return found
        raise ServerError(
            "ejabberd is not installed (or Erlang's `erl` is not on the PATH). Remedy: apt-get "
            "install ejabberd (the system-wide service need not run), or see https://ejabberd.im"
        )

    def _prepare(self, folder: Path) -> None:
        config = folder / "ejabberd.yml"
        config.touch(mode=0o600)
        # JSON is YAML, and the standard library writes it.
        config.write_text(json.dumps(self._config(), indent=1), encoding="utf-8")
        accounts = ", ".join(
            f"{{{_erlang(jid.partition('@')[0])}, {_erlang(password)}}}"
            for jid, password in self.accounts.items()
        )
        boot = folder / "boot.erl"
        boot.touch(mode=0o600)
        boot.write_text(
            _BOOT.replace("HOST", _erlang(self.host)).replace("ACCOUNTS", f"[{accounts}]")
        )

    def _config(self) -> dict[str, Any]:
        listener: dict[str, Any] = {
            "ip": LOOPBACK,
            "shaper": "none",
            "access": "all",
            "max_stanza_size": "infinity",
        }
        client: dict[str, Any] = {**listener, "module": "ejabberd_c2s"}
        listen: list[dict[str, Any]] = [{**client, "port": self.c2s_port, "starttls": self.tls}]
        if self.tls_port:
            listen.append({**client, "port": self.tls_port, "tls": True})
        if self.components:
            hosts = {jid: {"password": secret} for jid, secret in self.components.items()}
            # Without this each connection gets the stanzas of all components in turn.
            service = {"module": "ejabberd_service", "global_routes": False}
            component = {**listener, **service, "hosts": hosts}
            listen.append({**component, "port": self.component_port})
        modules = {name: dict(options) for name, options in _MODULES.items()}
        modules["mod_muc"]["host"] = self.muc
        modules["mod_pubsub"]["host"] = f"pubsub.{self.host}"
        if self.upload:
            http = {"module": "ejabberd_http", "request_handlers": {"/upload": "mod_http_upload"}}
            listen.append({"ip": LOOPBACK, "port": self.http_port, **http})
            modules["mod_http_upload"] = {
                "host": self.files,
                "put_url": f"http://{LOOPBACK}:{self.http_port}/upload",
                "docroot": str(self.folder / "upload"),
                "access": "all",
                "max_size": UPLOAD_BYTES,
            }
        if self.archive:
            modules["mod_mam"] = {"default": "always"}
            modules["mod_muc"] |= {"access_mam": "all", "default_room_options": {"mam": True}}
        config: dict[str, Any] = {
            "hosts": [self.host],
            "loglevel": "info",
            "log_rotate_count": 0,
            "acme": {"auto": False},
            "auth_method": ["internal"],
            "auth_password_format": "plain",
            "default_db": "mnesia",
            "s2s_access": "none",
            "max_fsm_queue": _PLENTY,
            "registration_timeout": "infinity",
            "shaper_rules": {"plenty": _PLENTY},
            "listen": listen,
        }
        if self.ca_file is not None:
            pem = self.folder / "pair.pem"
            pem.touch(mode=0o600)
            pem.write_text(self.ca_file.read_text() + self._key_file.read_text())
            config["certfiles"] = [str(pem)]
        extra = dict(self._extra_config)
        modules.update(extra.pop("modules", {}))
        return {**config, "modules": modules, **extra}

    def _command(self, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        command = [
            "erl", "-noinput",
            # No busy waiting for work: an idle server must not take the tests' CPU.
            "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none",
            "-mnesia", "dir", json.dumps(str(folder / "mnesia")),
            "-s", "ejabberd",
            "-eval", f'ok = file:eval({json.dumps(str(folder / "boot.erl"))})',
        ]  # fmt: skip
        environment = {
            "EJABBERD_CONFIG_PATH": str(folder / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(folder / "logs" / "ejabberd.log"),
            "ERL_CRASH_DUMP": str(folder / "erl_crash.dump"),
            "ERL_LIBS": str(self.find().parents[2]),
            # The table of ports is made for as many as there may be open files: keep it small.
            "ERL_MAX_PORTS": "16384",
        }
        return command, environment

    def _has_begun(self, log: str) -> bool:
        ports = [self.c2s_port, *([self.tls_port] if self.tls_port else [])]
        if self.components:
            ports.append(self.component_port)
        if self.http_port:
            ports.append(self.http_port)
        return "zxmpp: accounts are ready" in log and all(
            f"Start accepting TCP connections at {LOOPBACK}:{port} " in log
            or f"Start accepting TLS connections at {LOOPBACK}:{port} " in log
            for port in ports
        )

    def _found_port_in_use(self, log: str) -> bool:
        return "address already in use" in log

    def _add_running(self, jid: str, password: str) -> None:
        """In-band registration (XEP-0077), by hand on a connection of its own."""
        user = quoteattr(jid.partition("@")[0])[1:-1]
        secret = quoteattr(password)[1:-1]
        request = (
            f"<stream:stream xmlns='jabber:client' to={quoteattr(self.host)} version='1.0' "
            "xmlns:stream='http://etherx.jabber.org/streams'>"
            "<iq type='set' id='register'><query xmlns='jabber:iq:register'>"
            f"<username>{user}</username><password>{secret}</password></query></iq>"
        )
        answer = b""
        with socket.create_connection((LOOPBACK, self.c2s_port), timeout=10) as connection:
            connection.sendall(request.encode())
            while b"type='error'" not in answer and (part := connection.recv(65536)):
                answer += part
                if b"type='result'" in answer:
                    return
        raise ServerError(f"ejabberd did not make the account {jid}: {answer[-500:]!r}")


def _erlang(text: str) -> str:
    """An Erlang string as the list of its bytes."""
    return f"[{','.join(str(byte) for byte in text.encode())}]"
