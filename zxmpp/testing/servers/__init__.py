"""Private XMPP servers for tests and demonstrations: a real Prosody, a real ejabberd.

Rules:
- Every server has its own temporary folder, free loopback ports and accounts; two at the same
  time don't meet, and nothing of the system's own servers is read, written or stopped.
- They listen on 127.0.0.1 only and never talk to other servers.
- Whatever ends the Python process ends the servers that it started.
"""

from __future__ import annotations

from zxmpp.testing.servers.base import Server, ServerError
from zxmpp.testing.servers.ejabberd import Ejabberd
from zxmpp.testing.servers.prosody import Prosody

__all__ = ["Ejabberd", "Prosody", "Server", "ServerError"]
