"""slixmpp's own tests, from its source package, end alike with its streams and with zxmpp's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zxmpp.testing.servers import Prosody
from zxmpp.testing.servers.ports import free_port

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".slixmpp-tests"
SUITE = Path(__file__).with_name("slixmpp_suite.py")

#: What takes modules that are not Prosody's own.
LACKING = {
    "itests.test_moderate.TestModerate.test_moderate_msg",
    "itests.test_sos.TestSos.test_sos",
}

#: In place of the private server's own choice: what slixmpp's has, of Prosody's own modules.
_CONFIG = """
modules_enabled = {{
  "blocklist", "bookmarks", "carbons", "csi_simple", "disco", "invites", "invites_adhoc",
  "invites_register", "lastactivity", "mam", "pep", "ping", "posix", "private", "register",
  "roster", "saslauth", "smacks", "time", "tls", "uptime", "vcard4", "vcard_legacy", "version"
}}
http_ports = {{ {http_port} }}
Component "upload.prosody" "http_file_share"
  http_host = "localhost"
  http_external_url = "http://localhost:{http_port}/"
"""


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    script = ROOT / ".ci/install-slixmpp-tests"
    done = subprocess.run([script], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{script} failed; it needs PyPI:\n{done.stderr}", pytrace=False)


def _run(streams: str, part: str, *where: str, **environment: str) -> tuple[dict[str, str], str]:
    """How each test of `part` ended, and what was said on the way."""
    done = subprocess.run(
        [sys.executable, SUITE, streams, FOLDER, part, *where],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=FOLDER,
        env=os.environ | environment,
    )
    assert done.stdout, done.stderr
    outcomes: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return outcomes, done.stderr


def _compare(ours: dict[str, str], stock: dict[str, str], said: str) -> None:
    differing = {
        name: (ours.get(name), stock.get(name))
        for name in ours.keys() | stock.keys()
        if ours.get(name) != stock.get(name)
    }
    assert not differing, said


def test_units() -> None:
    stock, _ = _run("stock", "tests")
    ours, said = _run("zxmpp", "tests")
    _compare(ours, stock, said)
    assert set(ours.values()) == {"passed", "skipped"}, said
    assert len(ours) > 500


def test_integration() -> None:
    accounts = {"slix-ci-1@prosody": "one", "slix-ci-2@prosody": "two"}
    with Prosody(
        accounts,
        {"slixmpp.prosody": "secret"},
        tls=True,
        archive=True,
        host="prosody",
        extra_config=_CONFIG.format(http_port=free_port()),
    ) as server:
        ports = {5222: server.c2s_port, 5223: server.tls_port, 5347: server.component_port}
        environment = {
            "CI": "woodpecker",
            "CI_MUC_SERVER": server.muc,
            "SSL_CERT_FILE": str(server.ca_file),
        }
        for number, (jid, password) in enumerate(accounts.items(), 1):
            environment[f"CI_ACCOUNT{number}"] = jid
            environment[f"CI_ACCOUNT{number}_PASSWORD"] = password
        where = ("itests", server.address, json.dumps(ports))
        stock, _ = _run("stock", *where, **environment)
        ours, said = _run("zxmpp", *where, **environment)
    _compare(ours, stock, said)
    wrong = {name for name, outcome in ours.items() if outcome not in ("passed", "skipped")}
    assert wrong <= LACKING, said
    assert list(ours.values()).count("passed") >= 37
