"""What every private XMPP server has: accounts, components, a room service, ports, TLS.

Rules:
- Accounts, secrets and ports stay what they are when the server is killed and started again;
  what the server remembers besides (rosters, rooms, archives) may be lost, as in a real crash.
- A server counts as ready when its log says that it listens on *our* ports and it has answered on
  them: a stranger that was quicker on a port is not taken for it.
"""

from __future__ import annotations

import secrets
import socket
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zxmpp.testing.servers.certificate import make_certificate
from zxmpp.testing.servers.life import Life, PortTaken, ServerError
from zxmpp.testing.servers.ports import LOOPBACK, free_port
from zxmpp.testing.servers.process import PAUSE_S, Process

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from slixmpp import ClientXMPP

__all__ = ["UPLOAD_BYTES", "Server", "ServerError"]

#: The largest file that the service for files takes.
UPLOAD_BYTES = 100_000

_HEADER = (
    "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' version='1.0' "
    "xmlns='{namespace}' to='{to}'>"
)


class Server(Life):
    """A private XMPP server. Use it as ``with`` or ``async with``, or start and close it.

    `accounts` maps bare JIDs to passwords, `components` the components' JIDs to their secrets.
    Left out, there are alice, bob and bot with an account each and the component ``echo.HOST``,
    all with passwords made for the occasion. `tls` adds a certificate, STARTTLS on the port for
    clients, and a port for direct TLS (XEP-0368); plaintext works all the same. `archive` keeps
    messages (XEP-0313) and stamps them with stanza-ids; it makes Prosody four times and ejabberd
    forty times slower. `upload` adds a service for files (XEP-0363) that takes `UPLOAD_BYTES` each.
    """

    def __init__(
        self,
        accounts: Mapping[str, str] | None = None,
        components: Mapping[str, str] | None = None,
        *,
        tls: bool = False,
        archive: bool = False,
        upload: bool = False,
        host: str = "localhost",
    ) -> None:
        super().__init__()
        self.host = host
        #: The service for rooms (XEP-0045): everybody may make a room by joining it.
        self.muc = f"rooms.{host}"
        #: The service for files, with `upload`.
        self.files = f"upload.{host}"
        self.archive = archive
        self.upload = upload
        self.tls = tls
        if accounts is None:
            accounts = {f"{who}@{host}": secrets.token_hex(8) for who in ("alice", "bob", "bot")}
        if components is None:
            components = {f"echo.{host}": secrets.token_hex(8)}
        #: Bare JIDs and their passwords.
        self.accounts: dict[str, str] = {}
        for jid, password in accounts.items():
            self._check_account(jid, password)
            self.accounts[jid] = password
        #: JIDs of components (XEP-0114) and their secrets.
        self.components = dict(components)
        #: The IP address that the server listens on.
        self.address = LOOPBACK
        self.c2s_port = 0
        self.component_port = 0
        #: The port for direct TLS; 0 without `tls`.
        self.tls_port = 0
        #: The port for files, by HTTP; 0 without `upload`.
        self.http_port = 0

    @abstractmethod
    def _has_begun(self, log: str) -> bool:
        """Whether `log` says that the server listens on all of our ports."""

    @abstractmethod
    def _found_port_in_use(self, log: str) -> bool:
        """Whether `log` says that one of our ports is taken."""

    @abstractmethod
    def _add_running(self, jid: str, password: str) -> None:
        """Make an account while the server runs."""

    @property
    def ca_file(self) -> Path | None:
        """The certificate that a client must trust; None without `tls`. Exists while `folder`
        does."""
        return self._certificate_file if self.tls else None

    @property
    def _certificate_file(self) -> Path:
        return self.folder / "cert.pem"

    @property
    def _key_file(self) -> Path:
        return self.folder / "key.pem"

    def add_account(self, jid: str, password: str | None = None) -> str:
        """Make an account, before the start or while the server runs. Returns its password.

        Without `password` one is made up. Raises ServerError if there is such an account.
        """
        password = secrets.token_hex(8) if password is None else password
        self._check_account(jid, password)
        if self.running:
            self._add_running(jid, password)
        self.accounts[jid] = password
        return password

    def _check_account(self, jid: str, password: str) -> None:
        user, at, host = jid.partition("@")
        if not (user and at and host == self.host):
            raise ServerError(f"{jid!r} can't be an account of {self.host}: want user@{self.host}")
        if not password:
            raise ServerError(f"The account {jid} needs a password that is not empty")
        if jid in self.accounts:
            raise ServerError(f"There is an account {jid} already")

    def slixmpp_client(self, jid: str, plugins: Sequence[str] = ()) -> ClientXMPP:
        """A stock slixmpp client for `jid` (bare or full), set up for this server, not connected.

        Connect it with ``client.connect(server.address, server.c2s_port)``.
        """
        from zxmpp.testing.servers.clients import slixmpp_client

        return slixmpp_client(self, jid, plugins)

    def login(
        self, jid: str, plugins: Sequence[str] = (), timeout: float = 10
    ) -> AbstractAsyncContextManager[ClientXMPP]:
        """``async with server.login("alice@localhost") as alice``: a client that is online.

        Raises ServerError if there is no session within `timeout` seconds.
        """
        from zxmpp.testing.servers.clients import login

        return login(self, jid, plugins, timeout)

    def _choose_ports(self) -> None:
        self.c2s_port, self.component_port = free_port(), free_port()
        if self.upload:
            self.http_port = free_port()
        if self.tls:
            self.tls_port = free_port()
            names = [self.host, self.muc]
            make_certificate(self._certificate_file, self._key_file, names)

    def _becoming_ready(self, process: Process) -> Iterator[float]:
        while not self._has_begun(log := process.log()):
            if self._found_port_in_use(log):
                raise PortTaken
            yield PAUSE_S
        yield from _answers(self.c2s_port, "jabber:client", self.host, b"mechanism>")
        for jid in self.components:
            yield from _answers(
                self.component_port, "jabber:component:accept", jid, b"stream:stream"
            )


def _answers(port: int, namespace: str, to: str, sign: bytes) -> Iterator[float]:
    """Open a stream on `port`, again and again, until `sign` comes back. Yields pauses."""
    header = _HEADER.format(namespace=namespace, to=to).encode()
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                # On loopback a connection succeeds or fails at once; only reading may have to wait.
                probe.connect((LOOPBACK, port))
                probe.setblocking(False)
                probe.sendall(header)
                answer = b""
                while sign not in answer:
                    try:
                        part = probe.recv(65536)
                    except BlockingIOError:
                        yield PAUSE_S
                        continue
                    if not part:
                        break
                    answer += part
                else:
                    return
            except OSError:
                pass
        yield PAUSE_S
