"""What is wrong in ``[sockets.NAME]`` is said with table, key and remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import zmq

from zxmpp.errors import ConfigError
from zxmpp.sockets import SocketSettings

BIND = "tcp://127.0.0.1:5556"


def table(**more: Any) -> dict[str, Any]:
    return {"type": "PULL", "bind": [BIND], **more}


def test_a_table_becomes_settings() -> None:
    settings = SocketSettings.from_table(
        "alerts",
        {
            "type": "sub",
            "bind": BIND,
            "connect": ["ipc:///run/a", "inproc://b"],
            "subscribe": ["disk", ""],
            "hwm": 5,
            "ZMQ_TCP_KEEPALIVE": 1,
            "identity": "me",
            "ipv6": True,
            "send_buffer": 7,
        },
    )
    assert settings.kind is zmq.SUB
    assert settings.bind == (BIND,)
    assert settings.connect == ("ipc:///run/a", "inproc://b")
    assert settings.subscribe == (b"disk", b"")
    assert settings.options == {
        "SNDHWM": 5, "RCVHWM": 5, "TCP_KEEPALIVE": 1, "ROUTING_ID": b"me", "IPV6": 1,
    }  # fmt: skip
    assert settings.send_buffer == 7


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rcvhmw": 1}, "[sockets.alerts] rcvhmw is no known key; did you mean rcvhwm?"),
        ({"budget_mesages": 1}, "did you mean budget_messages?"),
        ({"type": "PUL"}, "did you mean PULL?"),
        ({"type": 5}, "no type of socket; use one of PUB"),
        ({"bind": "tpc://127.0.0.1:1"}, "did you mean tcp://?"),
        ({"bind": "127.0.0.1:5556"}, "no transport"),
        ({"bind": "tcp://127.0.0.1"}, "no port"),
        ({"bind": "tcp://127.0.0.1:70000"}, "from 1 to 65535"),
        ({"bind": "tcp://127.0.0.1:x"}, "from 1 to 65535"),
        ({"bind": "tcp://::1:5000"}, "write tcp://[::1]:PORT"),
        ({"bind": "ipc://" + "x" * 200}, "shorter"),
        ({"bind": "ipc://"}, "nothing after"),
        ({"bind": [BIND, BIND]}, "twice"),
        ({"bind": 7}, "wants a text or a list of texts"),
        ({"connect": "tcp://127.0.0.1:*"}, "[sockets.alerts] connect 'tcp://127.0.0.1:*'"),
        ({"connect": "tcp://*:5"}, "can't be connected to"),
        ({"sndhwm": "many"}, "[sockets.alerts] sndhwm wants a whole number"),
        ({"sndhwm": -3}, "sndhwm is refused by ZeroMQ on a PULL socket with the value -3"),
        ({"sndhwm": 2**40}, "32 bits"),
        ({"sndhwm": 1, "hwm": 2}, "says the same as sndhwm"),
        ({"SndHwm": 1, "zmq_sndhwm": 2}, "says the same as SndHwm"),
        ({"routing_id": 5}, "wants a text"),
        ({"linger": -1}, "would hang"),
        ({"fd": 3}, "can only be read"),
        ({"rcvtimeo": 3}, "never wait"),
        ({"subscribe": "x"}, "is for SUB and XSUB; this is a PULL socket"),
        ({"send_buffer": -1}, "from 0 to"),
        ({"send_buffer": True}, "wants a whole number"),
        ({"budget_seconds": "1"}, "wants seconds"),
        ({"monitor": 1}, "wants true or false"),
        ({"xpub_nodrop": 1}, "refused by ZeroMQ on a PULL socket"),
        ({"curve_secretkey": "x" * 40}, "write curve_secretkey_env = VARIABLE"),
        ({"curve_secretkey_env": "ZXMPP_TEST_NOT_SET"}, "variable ZXMPP_TEST_NOT_SET, which is no"),
        ({"plain_password_file": "/nonexistent/x"}, "can't read /nonexistent/x"),
    ],
)
def test_what_is_wrong_is_said(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        SocketSettings.from_table("alerts", table(**more))


@pytest.mark.parametrize(
    "given", [{"type": "PULL"}, {"bind": [BIND]}, {"type": "PULL", "bind": []}]
)
def test_type_and_an_address_are_needed(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"\[sockets.alerts\]"):
        SocketSettings.from_table("alerts", given)


def test_a_secret_is_read_and_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    public, secret = zmq.curve_keypair()
    monkeypatch.setenv("ZXMPP_TEST_KEY", secret.decode())
    (tmp_path / "password").write_text("hunter2\n")
    settings = SocketSettings.from_table(
        "s",
        table(
            curve_secretkey_env="ZXMPP_TEST_KEY",
            curve_publickey=public.decode(),
            plain_password_file=str(tmp_path / "password"),
        ),
    )
    options = settings.all_options("s")
    assert options["CURVE_SECRETKEY"] == secret
    assert options["PLAIN_PASSWORD"] == b"hunter2"
    assert secret.decode() not in repr(settings)
    assert "hunter2" not in repr(settings)


def test_a_wrong_secret_is_not_shown_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZXMPP_TEST_KEY", "too-short-to-be-a-key")
    with pytest.raises(ConfigError, match="curve_secretkey_env is refused by ZeroMQ") as caught:
        SocketSettings.from_table("s", table(curve_secretkey_env="ZXMPP_TEST_KEY"))
    assert "too-short" not in str(caught.value)


def test_safe_defaults_hold_unless_the_user_says_otherwise() -> None:
    router = SocketSettings.from_table("s", table(type="ROUTER")).all_options("s")
    assert router["ROUTER_MANDATORY"] == 1
    assert router["MAXMSGSIZE"] == 16 * 1024 * 1024
    assert router["LINGER"] >= 0
    for interval in ("HEARTBEAT_IVL", "HEARTBEAT_TIMEOUT", "HANDSHAKE_IVL", "RECONNECT_IVL_MAX"):
        assert router[interval] > 0
    push = {"type": "PUSH", "connect": BIND}
    assert SocketSettings.from_table("s", push).all_options("s")["IMMEDIATE"] == 1
    dealer = SocketSettings.from_table("s", {**push, "type": "DEALER"})
    assert "IMMEDIATE" not in dealer.all_options("s")  # libzmq would lose what is not read yet
    chosen = SocketSettings.from_table("s", {**push, "immediate": 0, "linger": 5, "maxmsgsize": -1})
    assert chosen.all_options("s")["IMMEDIATE"] == 0
    assert chosen.all_options("s")["LINGER"] == 5
    assert chosen.all_options("s")["MAXMSGSIZE"] == -1
